"""What a worker shows of requests that end, through the whole data plane."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from instance import Instance
from raw_origin import RawOrigin
from waiting import eventually

from mesh.record import Record
from proxy import taps
from proxy.admin.view import TooManyTaps
from proxy.control.messages import Seen
from proxy.control.taps import MOST_TAPS


class Watching:
    """What a tap was shown."""

    def __init__(self, proxy: Instance, **wanted: Any) -> None:
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.end: Callable[[], None] = proxy.inside.tap(self.take, **wanted)

    def take(self, seen: Seen) -> None:
        self.seen.append(seen)

    @property
    def records(self) -> list[Record]:
        return [record for seen in self.seen for record in seen.records]

    @property
    def lost(self) -> int:
        return sum(seen.lost for seen in self.seen)

    def one(self) -> Record:
        (record,) = eventually(lambda: self.records, "a request was shown")
        return record


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Instance]:
    with RawOrigin() as origin:
        origin.serve()
        instance = Instance(tmp_path, {"address": origin.address, "version": "v7"})
        yield instance
        instance.close()


def test_a_request_is_shown_as_the_access_log_has_it(proxy: Instance) -> None:
    watching = Watching(proxy)
    assert watching.seen == [Seen(number=1)]  # it has begun
    proxy.client().get("/buy?item=1", {"User-Agent": "tests/1", "Host": "shop.test"})
    record = watching.one()
    logged = proxy.logged(status=200)
    shown = {name: getattr(record, name) for name in logged}
    assert shown == {**logged, "path": "/buy?item=(redacted)"}
    assert record.path == "/buy?item=(redacted)"
    assert (record.listener, record.peer, record.headers, record.version) == ("web", "127.0.0.1", (), "v7")
    assert record.config_version > 0


def test_headers_come_along_as_they_are_asked_for(proxy: Instance) -> None:
    few = Watching(proxy, headers=("x-a", "authorization"), filter="header.x-b")
    every = Watching(proxy, headers=("*",), is_open=True)
    some = Watching(proxy, cookies=("hm", "b"), is_open=True)
    headers = {"X-A": "1", "X-B": "2", "Authorization": "Basic x", "Cookie": "hm=1; sid=2; b=3; hm=4"}
    proxy.client().get("/?q=1", headers)
    shown = dict(few.one().headers)
    assert (shown["x-a"], shown["x-b"]) == ("1", "2")
    assert shown["authorization"].startswith("(redacted) ")
    assert len(shown) == 3
    assert dict(every.one().headers) == {name.lower(): value for name, value in {**headers, "Host": "a"}.items()} | {
        "host": dict(every.one().headers)["host"]
    }
    assert every.one().path == "/?q=1"
    assert some.one().headers == (("cookie", "hm=1; hm=4; b=3"),)


def test_a_filter_chooses(proxy: Instance) -> None:
    watching = Watching(proxy, filter='path =~ "/b.*" && status == 200 && t_upstream >= 0')
    client = proxy.client()
    for path in ("/a", "/b", "/c", "/b2"):
        client.get(path)
    eventually(lambda: len(watching.records) == 2, "both were shown")
    assert [record.path for record in watching.records] == ["/b", "/b2"]


def test_a_filter_sees_no_more_than_is_shown(proxy: Instance) -> None:
    """Otherwise what is hidden could be found out letter by letter."""
    hidden = Watching(proxy, filter='header.cookie =~ "a.*" || path =~ ".*secret.*"')
    shown = Watching(proxy, filter='header.cookie =~ "a.*" || path =~ ".*secret.*"', is_open=True)
    proxy.client().get("/?q=secret", {"Cookie": "a=1"})
    assert shown.one().headers == (("cookie", "a=1"),)
    assert hidden.records == []


def test_more_than_a_tap_may_take_is_counted(proxy: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "MICROS", 10**15)  # a long second
    every = Watching(proxy)
    watching, filtered = Watching(proxy, most=1), Watching(proxy, most=1, filter="status == 200")
    client = proxy.client()
    for _ in range(8):
        client.get()
    eventually(lambda: len(every.records) == 8, "all were shown")
    for limited in (watching, filtered):
        eventually(lambda limited=limited: len(limited.records) + limited.lost == 8, "all are accounted for")
        assert limited.lost == 7


def test_it_ends(proxy: Instance) -> None:
    first, second = Watching(proxy), Watching(proxy)
    proxy.client().get("/1")
    eventually(lambda: second.records and first.records, "shown")
    first.end()
    proxy.client().get("/2")
    eventually(lambda: len(second.records) == 2, "shown to the other")
    second.end()
    plane = proxy.inside.embedded._worker._plane
    eventually(lambda: plane.taps is None and plane.forwarder.taps is None, "nothing is left")
    assert [record.path for record in first.records] == ["/1"]


def test_a_new_channel_ends_all_of_them(proxy: Instance) -> None:
    Watching(proxy)
    worker = proxy.inside.embedded._worker
    assert worker._plane.taps
    proxy.inside._loop.call_soon_threadsafe(worker.detach)
    eventually(lambda: worker._plane.taps is None, "nobody looks on any more")
    assert proxy.client().get().status == 200


def test_there_is_an_end_to_how_many_there_may_be(proxy: Instance) -> None:
    running = [Watching(proxy) for _ in range(MOST_TAPS)]
    with pytest.raises(TooManyTaps, match="16 taps are running, which is the most; one must end first"):
        Watching(proxy)
    running[3].end()
    Watching(proxy)


def test_what_finds_no_room_is_lost_and_counted(proxy: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(proxy)
    worker = proxy.inside.embedded._worker
    monkeypatch.setattr(type(worker._wire), "backlog", 10**9)
    client = proxy.client()
    for _ in range(3):
        client.get()
    eventually(lambda: worker._plane.taps._taps[1].lost == 3, "all three are counted")
    assert watching.records == []
    monkeypatch.setattr(type(worker._wire), "backlog", 0)
    eventually(lambda: watching.lost == 3, "and told when there is room")


def test_batches_are_bounded(proxy: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "PERIOD", 60.0)
    monkeypatch.setattr(taps, "MOST_RECORDS", 4)
    watching = Watching(proxy)
    client = proxy.client()
    for _ in range(9):
        client.get()
    eventually(lambda: len(watching.records) == 8, "full batches were sent")
    monkeypatch.setattr(taps, "MOST_BYTES", taps.RECORD_BYTES + 2000)
    client.get("/" + "x" * 2000)
    eventually(lambda: len(watching.records) == 10, "so was what is large")
