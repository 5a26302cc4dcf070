"""What can only be checked when all of the file was seen: names that refer to other parts, places taken twice, paths
that no request can have.

Works on what was written, whether or not it was valid: a service with a mistake in it still exists, so one mistake
stays one problem.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from discovery.model import DnsAnswer, EscapePolicy, Protocol, ProxyHeader, Service
from mesh.paths import PathError, normalise
from proxy.config.nodes import Mapping, Node, Path, Scalar, Sequence, child, in_line, path_text, shown
from proxy.config.reading import Reading, Written
from proxy.config.retries import too_long

NO_PROXY_ADDRESS = "'proxy' is answered with the addresses of dns.proxy_address, and there are none"


def check(root: Node, escapes: EscapePolicy, merge_slashes: bool, reading: Reading) -> None:
    check_names("service", reading.service_references, _service_names(root), reading)
    listeners = _listeners(root)
    check_names("listener", reading.listener_references, listeners, reading)
    _check_tested(listeners, reading)
    check_taken(reading.bound_addresses, "address", reading)
    check_taken(reading.bound_datagrams, "address", reading)
    check_taken(reading.domains, "domain", reading)
    check_paths(escapes, merge_slashes, reading)
    _check_proxies(root, reading)
    _check_datagrams(root, reading)
    _check_answers(root, reading)
    check_mirrors(child(root, "services"), (None, "services"), reading)


def check_policies(services: Iterable[Service], has_zone: bool, reading: Reading) -> None:
    """What routes and services leave to each other, and to the instance."""
    timeouts = {service.name: service.timeout for service in services}
    for service, attempt, node, path in reading.attempts:
        timeout = timeouts.get(service, 0.0)
        if timeout and attempt >= timeout:
            reading.problem(node, path, too_long(attempt, timeout))
    check_zones(has_zone, reading)


def check_zones(has_zone: bool, reading: Reading) -> None:
    for _, node, path in reading.zone_preferences if not has_zone else ():
        message = "nobody knows which zone this instance is in, expected `zone` at the top of the file"
        reading.problem(node, path, message)


def check_mirrors(services: Node | None, path: Path, reading: Reading) -> None:
    """A service that gets a copy of its own requests gets each of them twice."""
    for name, (_, service) in services.entries.items() if isinstance(services, Mapping) else ():
        check_own_mirror(name, service, (path, name), reading)


def check_own_mirror(name: str, service: Node, path: Path, reading: Reading) -> None:
    mirror = child(child(service, "mesh"), "mirror")
    other = child(mirror, "service")
    if isinstance(other, Scalar) and other.text == name and child(mirror, "version") is None:
        message = f"'{shown(name)}' would get its own requests twice, expected another service, or a version"
        reading.problem(other, (((path, "mesh"), "mirror"), "service"), message)


def _service_names(root: Node) -> dict[str, None]:
    services = child(root, "services")
    return dict.fromkeys(services.entries) if isinstance(services, Mapping) else {}


def _listeners(root: Node) -> dict[str, Node]:
    items = _items(child(root, "listeners"))
    return {name.text: item for item in items if isinstance(name := child(item, "name"), Scalar)}


def check_names(kind: str, references: list[Written], known: Collection[str], reading: Reading) -> None:
    for name, node, path in references:
        if name not in known:
            hint = reading.suggestion(name, known)
            few = ", ".join(known) if 0 < len(known) <= 5 else "the name of one under " + kind + "s"
            reading.problem(node, path, f"there is no {kind} '{shown(name)}'{hint or ', expected ' + few}")


def _check_tested(listeners: dict[str, Node], reading: Reading) -> None:
    """Route tests are requests, so they can only come to where requests are read."""
    for name, node, path in reading.listener_references:
        protocol = child(listeners.get(name), "protocol")
        if isinstance(protocol, Scalar) and protocol.text in (Protocol.TCP, Protocol.UDP):
            message = f"'{shown(name)}' is a {protocol.text} listener, expected an http or auto listener"
            reading.problem(node, path, message)


def _check_proxies(root: Node, reading: Reading) -> None:
    """Whoever may send a PROXY header may say that he is anybody, so they have to be told."""
    trusted = child(root, "trusted_proxies")
    if reading.proxy_receivers and (trusted is None or (isinstance(trusted, Sequence) and not trusted.items)):
        _, node, path = reading.proxy_receivers[0]
        reading.problem(node, path, "PROXY headers are taken from trusted_proxies only, expected some networks there")


def _check_datagrams(root: Node, reading: Reading) -> None:
    """Nothing comes before datagrams, so a service that expects a PROXY header cannot be given any; and none go to a
    unix socket, because answers would have no way back."""
    services, listeners = child(root, "services"), child(root, "listeners")
    for index, listener in enumerate(_items(listeners)):
        protocol = child(listener, "protocol")
        if not isinstance(protocol, Scalar) or protocol.text != Protocol.UDP:
            continue
        for place, path in _targets(listener, ((None, "listeners"), index)):
            name = child(place, "service")
            if not isinstance(name, Scalar):
                continue
            header = child(child(child(services, name.text), "mesh"), "proxy_protocol")
            if isinstance(header, Scalar) and header.text in (ProxyHeader.V1, ProxyHeader.V2):
                message = f"'{shown(name.text)}' has mesh.proxy_protocol, and datagrams carry no PROXY header"
                reading.problem(name, (path, "service"), f"{message}, expected another service")
            for endpoint in _items(child(child(services, name.text), "endpoints")):
                address = child(endpoint, "address")
                if isinstance(address, Scalar) and address.text.startswith("unix:"):
                    message = f"'{shown(name.text)}' has an endpoint at {shown(address.text)}, where no datagrams go"
                    reading.problem(name, (path, "service"), f"{message}, expected another service")
                    break


def _check_answers(root: Node, reading: Reading) -> None:
    """Only the user knows under which of its addresses others reach the proxy."""
    services = child(root, "services")
    if not isinstance(services, Mapping) or child(child(root, "dns"), "proxy_address") is not None:
        return
    for name, (_, service) in services.entries.items():
        answer = child(service, "dns_answer")
        if isinstance(answer, Scalar) and answer.text == DnsAnswer.PROXY:
            path: Path = (((None, "services"), name), "dns_answer")
            reading.problem(answer, path, f"{NO_PROXY_ADDRESS}, expected some there")


def _targets(listener: Node, path: Path) -> Iterator[tuple[Node, Path]]:
    """Everything of a listener that may have the key `service`."""
    yield listener, path
    for index, route in enumerate(_items(child(listener, "routes"))):
        at: Path = ((path, "routes"), index)
        yield route, at
        for number, share in enumerate(_items(child(route, "split"))):
            yield share, ((at, "split"), number)


def _items(node: Node | None) -> list[Node]:
    return node.items if isinstance(node, Sequence) else []


def check_taken(written: list[Written], what: str, reading: Reading) -> None:
    first: dict[str, tuple[Node, Path]] = {}
    for text, node, path in written:
        other, where = first.setdefault(text, (node, path))
        if other is not node:
            owner = path_text(where).removesuffix(f".{what}")
            reading.problem(node, path, f"'{shown(text)}' is already the {what} of {owner}{in_line(other)}")


def check_paths(escapes: EscapePolicy, merge_slashes: bool, reading: Reading) -> None:
    """Requests are compared after their path was normalised, so a path that is not normal matches none."""
    for text, node, path in reading.matched_paths:
        try:
            normal = normalise(text.encode(), escapes, merge_slashes).decode()
        except PathError as error:
            reading.problem(node, path, f"no request has the path '{shown(text)}': {error}, expected another path")
            continue
        if normal != text:
            message = (
                f"'{shown(text)}' matches no request, because paths are normalised first, expected '{shown(normal)}'"
            )
            reading.problem(node, path, message)
