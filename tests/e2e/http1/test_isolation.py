"""What one connection received is never seen on another: bytes that nobody asked for end with their connection."""

from __future__ import annotations

from raw_origin import OK, RawOrigin

UPGRADE = {"Connection": "Upgrade", "Upgrade": "echo/1"}

# Bytes that one read from a socket takes at most.
READ_SIZE = 64 * 1024


def routes_to_two() -> list[dict[str, object]]:
    return [{"name": "one", "match": {"path_prefix": "/one"}, "service": "one"}, {"name": "two", "service": "two"}]


def test_upgrade_that_is_granted_in_two_pieces_carries_nothing_of_other_connections(
    hive, origin: RawOrigin, second_origin: RawOrigin
) -> None:
    services = {
        "one": {"endpoints": [{"id": "e1", "address": origin.address}]},
        "two": {"endpoints": [{"id": "e1", "address": second_origin.address}]},
    }
    proxy = hive(routes=routes_to_two(), services=services)
    curious, other = proxy.client(), proxy.client()
    curious.ask("GET", "/two", UPGRADE)
    tunnel = second_origin.accept()
    tunnel.head()
    tunnel.send(b"HTTP/1.1 101 Switching ")

    other.ask(target="/one")
    upstream = origin.accept()
    upstream.request()
    upstream.send(OK + b"left behind")
    assert other.response().body == b"ok"
    assert upstream.is_ended_by_peer()

    tunnel.send(b"Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n")
    assert curious.response().status == 101
    tunnel.send(b"welcome")
    assert curious.read_exactly(7) == b"welcome"
    curious.send(b"thanks")
    assert tunnel.read_exactly(6) == b"thanks"


def test_response_of_exactly_one_read_does_not_hide_the_bytes_behind_it(hive, origin: RawOrigin) -> None:
    """The connection is given up although the read that completed the response held nothing else."""
    proxy = hive(origin, app={"pool": {"max_connections": 1}})
    first, second = proxy.client(), proxy.client()
    first.ask(target="/first")
    upstream = origin.accept()
    upstream.request()
    second.ask(target="/second")  # waits for that connection

    size = READ_SIZE - len(b"HTTP/1.1 200 OK\r\nContent-Length: 65xxx\r\n\r\n")
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    assert len(response) == READ_SIZE
    with proxy.paused():
        upstream.send(response + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert first.response().body == bytes(size)
    assert upstream.is_ended_by_peer()
    assert origin.accept().answer().target == "/second"
    assert second.response().body == b"ok"
