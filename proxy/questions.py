"""A method, a URL and header fields as the Question that a client's request would be: for the HTTP API and the command.

The URL is taken apart as in route tests. Its authority is the Host field, port included, as clients send it; a Host
among the fields stands in for it, as with curl. Which listener is meant: the one that is named, or the only one that
takes requests, or the one at the port of the URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from discovery.model import Listener, Protocol
from mesh.decision import Question
from proxy.config.nodes import shown
from proxy.config.samples import MAX_URL, client_address, split_authority, split_url
from proxy.config.words import header_name, header_value
from proxy.config.words import method as method_name

# Ports of URLs that name none (RFC 9110 section 4.2).
PORTS = {"": 80, "http": 80, "https": 443}

# What a question says in other words, or what is the connection's.
ELSEWHERE = {
    "content-length": "the size of the body is asked for by itself (body_size)",
    "transfer-encoding": "a body of unknown length is body_size -1",
    "trailer": "a question has no body that trailers could follow",
}

# As of proxy/http1/intake.py, where longer ids of trusted peers are not taken.
MOST_REQUEST_ID = 128
_REQUEST_ID = re.compile(rf"[!-~]{{0,{MOST_REQUEST_ID}}}")


def question_of(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    client: str,
    body_size: int,
    listener: str,
    request_id: str,
    listeners: Sequence[Listener],
) -> Question:
    """`client`: IP address of the peer, "" for a unix socket. `body_size`: -1 when it is not known beforehand.
    ValueError says in a sentence what cannot be asked."""
    if len(url) > MAX_URL:
        raise ValueError(f"a URL of {len(url)} characters is longer than {MAX_URL}")
    asked = split_url(url, method_name(method))
    host = f"{asked.host}:{asked.port}" if asked.port else asked.host
    fields: list[tuple[str, str]] = []
    for name, value in headers:
        folded = header_name(name).lower()
        if folded in ELSEWHERE:
            raise ValueError(f"header {name} is not expected: {ELSEWHERE[folded]}")
        if folded == "host":
            split_authority(value)
            host = value
        else:
            fields.append((name, header_value(value)))
    if body_size < -1:
        raise ValueError(f"{body_size} is not the size of a body, expected bytes, or -1 for a body of unknown length")
    if not _REQUEST_ID.fullmatch(request_id):
        raise ValueError(
            f"'{shown(request_id)}' is not a request id, expected at most {MOST_REQUEST_ID} printable ASCII characters"
        )
    port = int(asked.port) if asked.port else PORTS[asked.scheme] if asked.host else 0
    return Question(
        method=method,
        host=host,
        target=asked.target,
        headers=tuple(fields),
        client=client_address(client) if client else "",
        body_size=body_size,
        listener=listener_for(listener, port, listeners),
        request_id=request_id,
    )


def listener_for(name: str, port: int, listeners: Sequence[Listener]) -> str:
    """Name of the listener at which a request arrives. `port`: of its URL, 0 for none. ValueError tells which there
    are."""
    takers = [each for each in listeners if each.protocol in (Protocol.HTTP, Protocol.AUTO)]
    there = ", ".join(f"{each.name} ({each.address})" for each in takers)
    if not takers:
        raise ValueError("no listener takes HTTP requests")
    if name:
        if any(each.name == name for each in takers):
            return name
        kind = "takes no HTTP requests" if any(each.name == name for each in listeners) else "is none"
        raise ValueError(f"listener '{shown(name)}' {kind}, expected one of {there}")
    if len(takers) == 1:
        return takers[0].name
    at_port = [each.name for each in takers if port and _port_of(each.address) == port]
    if len(at_port) == 1:
        return at_port[0]
    which = f"{'none of them' if not at_port else 'more than one'} is at port {port}" if port else "the URL has no host"
    raise ValueError(f"more than one listener takes HTTP requests and {which}: name one of {there}")


def _port_of(address: str) -> int:
    """0 for a unix socket."""
    port = address.rpartition(":")[2]
    return int(port) if not address.startswith("unix:") and port.isdigit() else 0
