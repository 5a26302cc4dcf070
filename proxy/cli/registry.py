"""Commands that change who is where: `register`, `deregister`, `drain`, `uneject`."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any

import click

from proxy.cli import output
from proxy.cli.client import Refused, Unreachable
from proxy.cli.context import Options, common_options

Json = dict[str, Any]

KEPT_FOR = "30s"  # of a registration that is kept up: its lease where none is given
BEATS = 3  # heartbeats in the time of a lease


def parse_seconds(text: str) -> float:
    from proxy.config.scalars import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def parse_meta(pairs: tuple[str, ...]) -> dict[str, str]:
    meta = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"'{pair}' is not NAME=VALUE")
        meta[name] = value
    return meta


def parse_check(text: str, interval: str) -> Json:
    """A health check in short: tcp, ttl=10s, grpc, grpc=SERVICE, http=/path, https=/path."""
    kind, _, value = text.partition("=")
    check: Json = {"protocol": kind}
    if kind in ("http", "https"):
        check["path"] = value or "/health"
    elif kind == "grpc" and value:
        check["grpc_service"] = value
    elif kind == "ttl":
        check["ttl"] = value
    elif kind not in ("tcp", "grpc") or value:
        raise click.UsageError(f"'{text}' is not a check, expected tcp, http=/PATH, https=/PATH, grpc or ttl=10s")
    if interval and kind != "ttl":
        check["interval"] = interval
    return check


@click.command()
@click.argument("service")
@click.argument("address")
@click.option("--id", "identity", metavar="ID", help="Identity within the service; default: made from the address.")
@click.option("--version", metavar="VERSION", help="What traffic splits and routes choose by.")
@click.option("--node", metavar="NODE", help="The machine it runs on.")
@click.option("--weight", type=click.IntRange(0), help="Share among the endpoints of its version.")
@click.option("--ttl", metavar="TIME", help="Taken out unless a heartbeat comes within so long, such as 30s.")
@click.option("--meta", multiple=True, metavar="NAME=VALUE", help="Free text; may be given again.")
@click.option("--check", metavar="CHECK", help="tcp, http=/PATH, https=/PATH, grpc, grpc=SERVICE or ttl=10s.")
@click.option("--interval", metavar="TIME", default="", help="From check to check.")
@click.option("--keep", is_flag=True, help="Send heartbeats until Ctrl-C, then deregister.")
@common_options
def register(
    options: Options,
    service: str,
    address: str,
    identity: str | None,
    version: str | None,
    node: str | None,
    weight: int | None,
    ttl: str | None,
    meta: tuple[str, ...],
    check: str | None,
    interval: str,
    keep: bool,
) -> None:
    """Register ADDRESS (host:port) as an endpoint of SERVICE, or replace what it was registered with.

    With --keep the registration lives as long as this command: it sends heartbeats, and deregisters when it ends.
    """
    from proxy.config.endpoints import endpoint_id

    given = {"version": version, "node": node, "weight": weight, "ttl": ttl or (KEPT_FOR if keep else None)}
    body: Json = {"address": address, **{key: value for key, value in given.items() if value is not None}}
    if meta:
        body["metadata"] = parse_meta(meta)
    if check is not None:
        body["health_check"] = parse_check(check, interval)
    path = ("services", service, "endpoints", identity or endpoint_id(address))
    if not keep:
        answer = options.client.put(*path, body=body)
        return _said(options, answer, f"registered {service}/{path[-1]}")
    every = parse_seconds(body["ttl"]) / BEATS
    if every <= 0:
        raise click.UsageError("--keep needs a --ttl above 0")
    _said(options, options.client.put(*path, body=body), f"registered {service}/{path[-1]}, until Ctrl-C")
    _keep(options, path, body, every)
    _said(options, options.client.delete(*path), f"deregistered {service}/{path[-1]}")


def _keep(options: Options, path: tuple[str, ...], body: Json, every: float) -> None:
    """Heartbeats until SIGINT or SIGTERM. An agent that is away is asked again, one that has forgotten is told anew."""
    ended = threading.Event()
    former = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not ended.wait(every):
            try:
                options.client.put(*path, "heartbeat")
            except Unreachable as error:
                output.print_error(str(error))
            except Refused as error:
                if error.status != 404:
                    raise
                with contextlib.suppress(Unreachable):
                    options.client.put(*path, body=body)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@click.command()
@click.argument("service")
@click.argument("identity", metavar="ID")
@common_options
def deregister(options: Options, service: str, identity: str) -> None:
    """Remove endpoint ID, which was registered with the API, from SERVICE. It finishes what it has."""
    answer = options.client.delete("services", service, "endpoints", identity)
    _said(options, answer, f"deregistered {service}/{identity}")


@click.command()
@click.argument("endpoint", metavar="SERVICE/ENDPOINT")
@click.option("--undo", is_flag=True, help="It takes requests again.")
@common_options
def drain(options: Options, endpoint: str, undo: bool) -> None:
    """Let an endpoint, whoever defined it, finish what it has and take nothing new."""
    path = (*_path(endpoint), "drain")
    answer = options.client.delete(*path) if undo else options.client.post(*path)
    _said(options, answer, f"{endpoint} {'takes requests again' if undo else 'drains'}")


@click.command()
@click.argument("endpoint", metavar="SERVICE/ENDPOINT")
@common_options
def uneject(options: Options, endpoint: str) -> None:
    """Close the circuit breaker of an endpoint: it takes requests again, and its errors are forgotten."""
    answer = options.client.post(*_path(endpoint), "uneject")
    _said(options, answer, f"{endpoint} {'takes requests again' if answer['changed'] else 'was not ejected'}")


def _path(endpoint: str) -> tuple[str, ...]:
    service, slash, identity = endpoint.partition("/")
    if not slash or not service or not identity:
        raise click.UsageError(f"'{endpoint}' is not SERVICE/ENDPOINT")
    return "services", service, "endpoints", identity


def _said(options: Options, answer: Json, sentence: str) -> None:
    if options.as_json:
        print(output.compact_json(answer), flush=True)
    else:
        print(output.printable(sentence), flush=True)


COMMANDS: tuple[click.Command, ...] = (register, deregister, drain, uneject)
