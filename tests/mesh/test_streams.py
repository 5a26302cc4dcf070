"""Which route takes a connection: server name before client before order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import StreamRoute
from mesh.networks import NetworkError, Networks
from mesh.streams import StreamRouter


def router(*routes: StreamRoute) -> StreamRouter:
    return StreamRouter([(route, route.name) for route in routes])


def route(name: str, *sni: str, clients: tuple[str, ...] = ()) -> StreamRoute:
    return StreamRoute(name=name, sni=sni, clients=clients, service="s")


LOCAL = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    ("sni", "target"),
    [
        (b"a.local", "exact"),
        (b"b.local", "exact"),
        (b"x.local", "short"),
        (b"x.y.local", "short"),
        (b"x.deep.local", "long"),
        (b"x.y.deep.local", "long"),
        (b"deep.local", "short"),
        (b"local", "rest"),
        (b"xlocal", "rest"),
        (b"a.local.org", "rest"),
        (b"", "rest"),
    ],
)
def test_the_more_specific_name_wins_wherever_it_stands(sni: bytes, target: str) -> None:
    routes = [
        route("rest"),
        route("short", "*.local"),
        route("long", "*.deep.local"),
        route("exact", "a.local", "b.local"),
    ]
    assert router(*routes).match(sni, b"127.0.0.1") == target
    assert router(*reversed(routes)).match(sni, b"127.0.0.1") == target


def test_a_star_is_one_label_at_least() -> None:
    routes = router(route("wild", "*.local"))
    assert routes.match(b".local", b"") is None
    assert routes.match(b"local", b"") is None
    assert routes.match(b"..local", b"") == "wild"  # no name that is parsed here looks like that


def test_clients_before_none_and_then_the_order() -> None:
    routes = router(route("any", "a.local"), route("local", "a.local", clients=LOCAL), route("late", "a.local"))
    assert routes.match(b"a.local", b"127.0.0.1") == "local"
    assert routes.match(b"a.local", b"10.0.0.1") == "any"
    two = router(route("first", clients=LOCAL), route("second", clients=LOCAL))
    assert two.match(b"", b"127.9.9.9") == "first"


def test_a_name_comes_before_a_client() -> None:
    routes = router(route("client", clients=LOCAL), route("wild", "*.local"), route("exact", "a.local"))
    assert routes.match(b"a.local", b"127.0.0.1") == "exact"
    assert routes.match(b"b.local", b"127.0.0.1") == "wild"
    assert routes.match(b"c.org", b"127.0.0.1") == "client"


def test_a_route_that_fails_on_its_clients_lets_others_have_the_connection() -> None:
    routes = router(
        route("exact", "a.b.local", clients=LOCAL), route("wild", "*.b.local", clients=LOCAL), route("short", "*.local")
    )
    assert routes.match(b"a.b.local", b"10.0.0.1") == "short"
    assert router(route("exact", "a.local", clients=LOCAL), route("rest")).match(b"a.local", b"10.0.0.1") == "rest"


@pytest.mark.parametrize("client", [b"", b"nonsense", b"10.0.0.1"])
def test_who_is_in_no_network_has_no_route(client: bytes) -> None:
    assert router(route("local", clients=LOCAL)).match(b"", client) is None


def test_no_route_takes_nothing() -> None:
    assert router().match(b"a.local", b"127.0.0.1") is None
    assert not router().looks_at_sni
    assert not router(route("rest", clients=LOCAL)).looks_at_sni
    assert router(route("rest"), route("exact", "a")).looks_at_sni


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(NetworkError):
        router(route("r", clients=("10.0.0.0/33",)))


LABELS = st.sampled_from(["a", "b", "c"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PATTERNS = NAMES | NAMES.map(lambda name: f"*.{name}")
ROUTES = st.lists(
    st.tuples(st.lists(PATTERNS, max_size=3, unique=True), st.sampled_from([(), LOCAL, ("10.0.0.0/8",)])), max_size=6
)


def expected(routes: list[StreamRoute], sni: str, client: str) -> str | None:
    """The precedence of StreamRoute's docstring, written down naively."""
    best: tuple[tuple[int, int, bool, int], str] | None = None
    for index, entry in enumerate(routes):
        if entry.clients and not Networks(entry.clients).contains(client.encode()):
            continue
        for pattern in entry.sni or ("",):
            if pattern.startswith("*"):
                if not (sni.endswith(pattern[1:]) and len(sni) > len(pattern) - 1):
                    continue
                rank = (1, -len(pattern))
            elif pattern and pattern != sni:
                continue
            else:
                rank = (0, 0) if pattern else (2, 0)
            key = (*rank, not entry.clients, index)
            if best is None or key < best[0]:
                best = (key, entry.name)
    return best and best[1]


@given(ROUTES, NAMES | st.just(""), st.sampled_from(["127.0.0.1", "10.1.1.1", "192.0.2.1", ""]))
def test_it_decides_by_the_precedence(shapes: list[tuple[list[str], tuple[str, ...]]], sni: str, client: str) -> None:
    routes = [route(str(index), *names, clients=clients) for index, (names, clients) in enumerate(shapes)]
    assert router(*routes).match(sni.encode(), client.encode()) == expected(routes, sni, client)
