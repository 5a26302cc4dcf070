"""Requests of one client go to one endpoint: cookies, headers, addresses, and what breaks the bond."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from playbook import Client, Origin, Playbook, service

from discovery.model import EndpointState, PoolPolicy, Route, Service, Settings, TrafficSplit
from discovery.policies import Affinity, BrokenAffinity, CircuitBreaker, KeyKind, Subset, SubsetFallback
from mesh.request import SampleRequest
from proxy.stats import words

MakeOrigin = Callable[[], Origin]
COOKIE = Affinity(name="hm")
SETTINGS = Settings(secret="a secret of the test")


def named(origin: Origin, name: str) -> Origin:
    """An origin that answers with its name."""
    origin.serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name.encode()))
    return origin


@pytest.fixture
def origins(make_origin: MakeOrigin) -> tuple[Origin, ...]:
    return tuple(named(make_origin(), name) for name in "abc")


def app(origins: tuple[Origin, ...], affinity: Affinity | None = COOKIE, **given: Any) -> Service:
    return service("app", *origins, affinity=affinity, **given)


def with_endpoints(of: Service, **changes: dict[str, Any]) -> Service:
    """`of` with fields of endpoints replaced, by endpoint id."""
    endpoints = tuple(msgspec.structs.replace(each, **changes.get(each.id, {})) for each in of.endpoints)
    return msgspec.structs.replace(of, endpoints=endpoints)


def versions(of: Service, **by_id: str) -> Service:
    return with_endpoints(of, **{id: {"version": version} for id, version in by_id.items()})


class Browser:
    """Keeps the cookies that it is given. `last` is the Set-Cookie of the last answer, "" if it had none."""

    def __init__(self, book: Playbook) -> None:
        self.book = book
        self.client: Client = book.client()
        self.jar: dict[str, str] = {}
        self.last = ""

    def get(self, target: str = "/", **headers: str) -> str:
        """The body of the answer: who gave it."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.jar:
            fields["cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        response = self.client.get(target, headers=fields)
        self.status = response.status
        self.last = "; ".join(response.all("set-cookie"))
        for line in response.all("set-cookie"):
            name, _, rest = line.partition("=")
            self.jar[name] = rest.partition(";")[0]
        return response.text


def broken(book: Playbook) -> int:
    return book.table.shared(book.numbers["service/app"]).load(words.AFFINITY_BROKEN)


def test_a_client_stays_where_its_first_request_went(origins: tuple[Origin, ...]) -> None:
    with Playbook(app(origins), origins=origins, settings=SETTINGS) as book:
        places = set()
        for _ in range(6):
            browser = Browser(book)
            first = browser.get()
            assert browser.last.startswith("hm=") and browser.last.endswith("; Path=/; HttpOnly; SameSite=Lax")
            assert len(browser.jar["hm"]) == 24
            for _ in range(4):
                assert browser.get() == first
                assert browser.last == ""
            places.add(first)
        assert places == {"a", "b", "c"}
        assert broken(book) == 0


def test_the_attributes_of_the_cookie_are_as_configured(origins: tuple[Origin, ...]) -> None:
    affinity = Affinity(name="sid", ttl=3600.0, path="/shop", secure=True, same_site="None")
    with Playbook(app(origins, affinity), origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        browser.get()
        value = browser.jar["sid"]
        assert browser.last == f"sid={value}; Path=/shop; Max-Age=3600; HttpOnly; Secure; SameSite=None"


def test_without_a_name_every_service_has_a_cookie_of_its_own(origins: tuple[Origin, ...]) -> None:
    first = service("one", *origins, affinity=Affinity())
    second = service("two", *origins, affinity=Affinity())
    routes = (
        Route(name="one", service="one"),
        Route(name="two", service="two", match=msgspec.convert({"path": "/two"}, type=type(Route(name="").match))),
    )
    with Playbook(first, second, routes=routes, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        one, two = browser.get("/"), browser.get("/two")
        assert len(browser.jar) == 2 and all(name.startswith("hm-") for name in browser.jar)
        for _ in range(3):
            assert (browser.get("/"), browser.get("/two")) == (one, two)


def test_what_we_did_not_sign_is_ignored(origins: tuple[Origin, ...]) -> None:
    with Playbook(app(origins), origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        browser.get()
        good = browser.jar["hm"]
        forgeries = (good[:12] + "A" * 12, good[::-1], "x", "", "=" * 24, "hm=" * 2000, origins[0].address, '"' + good)
        for forged in forgeries:
            browser.jar = {"hm": forged}
            assert browser.get() in "abc"
            assert browser.last.startswith("hm="), forged
        # What another instance has signed is not ours either.
        book.apply((app(origins),), settings=Settings(secret="another"))
        browser.jar = {"hm": good}
        browser.get()
        assert browser.last.startswith("hm=") and browser.jar["hm"] != good
        assert broken(book) == 0


def test_a_new_secret_is_used_at_once_and_an_old_one_works_again(origins: tuple[Origin, ...]) -> None:
    with Playbook(app(origins), origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        first = browser.get()
        value = browser.jar["hm"]
        book.apply((app(origins),), settings=Settings(secret="another"))
        book.apply((app(origins),), settings=SETTINGS)
        assert browser.get() == first and browser.jar["hm"] == value


@pytest.mark.parametrize("state", [EndpointState.UNHEALTHY, EndpointState.DRAINING, EndpointState.EJECTED, None])
def test_a_client_whose_endpoint_is_lost_moves_once(state: EndpointState | None, origins: tuple[Origin, ...]) -> None:
    whole = app(origins)
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        first = browser.get()
        lost = (
            with_endpoints(whole, **{first: {"state": state}})
            if state is not None
            else msgspec.structs.replace(whole, endpoints=tuple(e for e in whole.endpoints if e.id != first))
        )
        book.apply((lost,))
        second = browser.get()
        assert second != first and browser.last.startswith("hm=")
        assert broken(book) == 1
        assert [browser.get() for _ in range(3)] == [second] * 3
        # It stays there when the first one comes back.
        book.apply((whole,))
        assert [browser.get() for _ in range(3)] == [second] * 3
        assert broken(book) == 1


def test_a_strict_client_is_refused_instead(origins: tuple[Origin, ...]) -> None:
    whole = app(origins, replace_broken(COOKIE))
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        first = browser.get()
        book.apply((with_endpoints(whole, **{first: {"state": EndpointState.UNHEALTHY}}),))
        assert "UH)" in browser.get() and browser.status == 503 and browser.last == ""
        book.apply((whole,))
        assert browser.get() == first
        assert broken(book) == 1


def replace_broken(affinity: Affinity) -> Affinity:
    return msgspec.structs.replace(affinity, broken=BrokenAffinity.FAIL)


def test_a_strict_client_whose_endpoint_is_gone_for_good_is_refused_once(origins: tuple[Origin, ...]) -> None:
    whole = app(origins, replace_broken(COOKIE))
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        first = browser.get()
        book.apply((msgspec.structs.replace(whole, endpoints=tuple(e for e in whole.endpoints if e.id != first)),))
        browser.get()
        assert browser.status == 503 and browser.last == "hm=; Path=/; Max-Age=0"
        del browser.jar["hm"]
        second = browser.get()
        assert second in "abc" and browser.get() == second


def test_a_full_endpoint_is_waited_for(make_origin: MakeOrigin) -> None:
    origins = (make_origin(), make_origin())
    whole = service("app", *origins, affinity=COOKIE, pool=PoolPolicy(max_connections=1))
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        client = book.client()
        client.ask()
        book.settle()
        index = 0 if origins[0].has_connection_waiting() else 1
        upstream = origins[index].connections[0] if origins[index].connections else origins[index].accept()
        upstream.answer()
        book.settle()
        cookie = str(client.response().header("set-cookie")).partition(";")[0]
        waiting = [book.client() for _ in range(2)]
        for number, each in enumerate(waiting):
            each.ask(target=f"/{number}", headers={"cookie": cookie})
            book.settle()
        # One is being served, the other waits, though the other endpoint is idle.
        assert book.cell("service/app", 8) == 1
        for number, each in enumerate(waiting):
            assert upstream.answer().target == f"/{number}"
            book.settle()
            assert each.response().status == 200
        assert not origins[1 - index].has_connection_waiting()


def test_a_request_that_failed_there_goes_elsewhere_and_the_client_stays(make_origin: MakeOrigin) -> None:
    a, b = make_origin(), named(make_origin(), "b")
    whole = service("app", a, b, affinity=COOKIE)
    with Playbook(whole, origins=(a, b), settings=SETTINGS) as book:
        browser = Browser(book)
        book.apply((with_endpoints(whole, b={"state": EndpointState.UNHEALTHY}),))
        browser.client.ask()
        a.accept().answer()
        response = browser.client.response()
        browser.jar["hm"] = str(response.header("set-cookie"))[3:].partition(";")[0]
        value = browser.jar["hm"]
        book.apply((whole,))
        a.close()
        assert browser.get() == "b"
        assert browser.last == "" and browser.jar["hm"] == value
        assert broken(book) == 0


def test_a_client_that_is_new_gets_the_cookie_of_whoever_answered(make_origin: MakeOrigin) -> None:
    dead, b = make_origin(), named(make_origin(), "b")
    dead.close()
    with Playbook(service("app", dead, b, affinity=COOKIE), origins=(b,), settings=SETTINGS) as book:
        cookies = set()
        for _ in range(4):
            browser = Browser(book)
            assert browser.get() == "b"
            cookies.add(browser.jar["hm"])
        assert len(cookies) == 1


@pytest.mark.parametrize("kind", [KeyKind.HEADER, KeyKind.CLIENT_IP])
def test_by_header_and_by_address_no_cookie_is_needed(kind: KeyKind, origins: tuple[Origin, ...]) -> None:
    affinity = Affinity(kind=kind, name="x-user" if kind is KeyKind.HEADER else "")
    settings = Settings(secret="s", trusted_proxies=("127.0.0.0/8",))
    with Playbook(app(origins, affinity), origins=origins, settings=settings) as book:
        places: dict[int, set[str]] = {}
        for _ in range(3):
            for user in range(40):  # with fewer, an endpoint may have none of them by chance
                browser = Browser(book)
                place = browser.get(x_user=str(user), x_forwarded_for=f"10.0.0.{user}")
                places.setdefault(user, set()).add(place)
                assert browser.last == ""
        assert all(len(found) == 1 for found in places.values())
        assert set.union(*places.values()) == {"a", "b", "c"}
        if kind is KeyKind.HEADER:
            browser = Browser(book)
            assert {browser.get() for _ in range(6)} == {"a", "b", "c"}


def test_by_header_a_client_moves_while_its_endpoint_is_down_and_back_again(origins: tuple[Origin, ...]) -> None:
    whole = app(origins, Affinity(kind=KeyKind.HEADER, name="x-user"))
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        first = browser.get(x_user="ann")
        book.apply((with_endpoints(whole, **{first: {"state": EndpointState.UNHEALTHY}}),))
        second = {browser.get(x_user="ann") for _ in range(4)}
        assert len(second) == 1 and first not in second
        assert broken(book) == 4
        book.apply((whole,))
        assert browser.get(x_user="ann") == first


def test_by_header_a_strict_client_is_refused(origins: tuple[Origin, ...]) -> None:
    whole = app(origins, replace_broken(Affinity(kind=KeyKind.HEADER, name="x-user")))
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        first = browser.get(x_user="ann")
        book.apply((with_endpoints(whole, **{first: {"state": EndpointState.UNHEALTHY}}),))
        browser.get(x_user="ann")
        assert browser.status == 503
        assert browser.get() in "abc" and browser.status == 200


def test_a_client_whose_endpoint_is_ejected_by_its_own_request_moves_at_once(origins: tuple[Origin, ...]) -> None:
    whole = app(origins, COOKIE, circuit_breaker=CircuitBreaker(consecutive_errors=1))
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        first = browser.get()
        origins["abc".index(first)].close()
        book.settle()
        second = browser.get()
        assert second != first and browser.last.startswith("hm=")
        assert {browser.get() for _ in range(4)} == {second}
        assert broken(book) == 1


def test_a_strict_client_whose_endpoint_is_ejected_is_refused_with_uh(origins: tuple[Origin, ...]) -> None:
    breaker = CircuitBreaker(consecutive_errors=1)
    whole = app(origins, replace_broken(COOKIE), circuit_breaker=breaker)
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        first = browser.get()
        origins["abc".index(first)].close()
        book.settle()
        answers = [(browser.get(), browser.status) for _ in range(3)]
        assert answers[-1][1] == 503 and "UH)" in answers[-1][0]
        assert Browser(book).get() in set("abc") - {first}


# --- affinity and splits ------------------------------------------------------------------------------------------

SPLIT = (TrafficSplit(version="v1", weight=50), TrafficSplit(version="v2", weight=50))


def test_affinity_is_stronger_than_weights(origins: tuple[Origin, ...]) -> None:
    whole = versions(app(origins, traffic_split=SPLIT), a="v1", b="v2", c="v2")
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        for _ in range(6):
            browser = Browser(book)
            first = browser.get()
            assert {browser.get() for _ in range(6)} == {first}
        # Even a weight of 0 takes nobody away who is there, and gets nobody new.
        browser = Browser(book)
        while browser.get() != "a":
            browser = Browser(book)
        shares = (TrafficSplit(version="v1", weight=0), TrafficSplit(version="v2", weight=1))
        book.apply((msgspec.structs.replace(whole, traffic_split=shares),))
        assert {browser.get() for _ in range(6)} == {"a"}
        assert {Browser(book).get() for _ in range(8)} == {"b", "c"}


def test_a_route_that_pins_a_version_is_stronger_than_affinity(origins: tuple[Origin, ...]) -> None:
    whole = versions(app(origins, traffic_split=SPLIT), a="v1", b="v2", c="v2")
    routes = (
        Route(name="all", service="app"),
        Route(name="beta", service="app", version="v2", match=msgspec.structs.replace(Route(name="").match, path="/b")),
    )
    with Playbook(whole, routes=routes, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        while browser.get("/") != "a":
            browser = Browser(book)
        beta = {browser.get("/b") for _ in range(6)}
        assert len(beta) == 1 and beta <= {"b", "c"}
        assert browser.last == "" and broken(book) == 0
        assert browser.get("/") == "a"


def test_a_route_that_splits_between_services_keeps_its_clients(origins: tuple[Origin, ...]) -> None:
    one = service("app", *origins[:2], affinity=COOKIE)
    two = service("two", origins[2], affinity=Affinity(name="hm2"))
    routes = (Route(name="all", split=(TrafficSplit(service="app"), TrafficSplit(service="two"))),)
    with Playbook(one, two, routes=routes, origins=origins, settings=SETTINGS) as book:
        found = Counter()
        for _ in range(40):
            browser = Browser(book)
            first = browser.get()
            assert {browser.get() for _ in range(2)} == {first}
            found[first] += 1
        assert found["c"] and found["a"] + found["b"]


def test_by_header_the_version_follows_too(origins: tuple[Origin, ...]) -> None:
    affinity = Affinity(kind=KeyKind.HEADER, name="x-user")
    whole = versions(app(origins, affinity, traffic_split=SPLIT), a="v1", b="v2", c="v2")
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        places = {user: {browser.get(x_user=str(user)) for _ in range(3)} for user in range(40)}
        assert all(len(found) == 1 for found in places.values())
        assert set.union(*places.values()) == {"a", "b", "c"}


# --- sticky splits ------------------------------------------------------------------------------------------------


def test_a_sticky_split_keeps_a_client_with_its_version(origins: tuple[Origin, ...]) -> None:
    whole = versions(app(origins, None, traffic_split=SPLIT, sticky_split=COOKIE), a="v1", b="v2", c="v2")
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        seen = set()
        for _ in range(30):  # a draw each; with few of them one version may have none
            browser = Browser(book)
            first = browser.get()
            assert browser.last.startswith("hm=")
            rest = {browser.get() for _ in range(4)}
            assert browser.last == ""
            assert rest == ({"a"} if first == "a" else {"b", "c"})
            seen.add(first)
        assert seen >= {"a"} and seen & {"b", "c"}


def test_a_version_that_is_down_hands_its_clients_over_for_good(origins: tuple[Origin, ...]) -> None:
    whole = versions(app(origins, None, traffic_split=SPLIT, sticky_split=COOKIE), a="v1", b="v2", c="v2")
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        while browser.get() != "a":
            browser = Browser(book)
        book.apply((with_endpoints(whole, a={"state": EndpointState.UNHEALTHY}),))
        assert browser.get() in "bc" and browser.last.startswith("hm=")
        book.apply((whole,))
        assert {browser.get() for _ in range(6)} == {"b", "c"}


def test_a_split_that_is_sticky_by_header_draws_each_alike(origins: tuple[Origin, ...]) -> None:
    sticky = Affinity(kind=KeyKind.HEADER, name="x-user")
    whole = versions(app(origins, None, traffic_split=SPLIT, sticky_split=sticky), a="v1", b="v2", c="v2")
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        found = {user: {browser.get(x_user=str(user)) for _ in range(4)} for user in range(16)}
        assert all(places in ({"a"}, {"b", "c"}) for places in found.values())
        assert {"a"} in found.values() and {"b", "c"} in found.values()


def test_a_failover_is_said_and_counted(origins: tuple[Origin, ...], tmp_path: Any) -> None:
    from discovery.model import AccessLog, LogFormat

    log = tmp_path / "log"
    whole = versions(app(origins, None, traffic_split=SPLIT), a="v1", b="v2", c="v2")
    down = with_endpoints(whole, a={"state": EndpointState.UNHEALTHY})
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    with Playbook(down, origins=origins, settings=settings, log=log) as book:
        browser = Browser(book)
        for _ in range(20):
            assert browser.get() in "bc"
        entries = book.log_entries()
        over = [entry for entry in entries if entry["flags"] == "fo"]
        assert over and all((entry["drawn"], entry["version"]) == ("v1", "v2") for entry in over)
        assert all("drawn" not in entry for entry in entries if not entry["flags"])
        assert book.table.shared(book.numbers["service/app"]).load(words.FAILOVERS) == len(over)


def test_one_cookie_may_serve_an_affinity_and_a_split_and_two_services(origins: tuple[Origin, ...]) -> None:
    whole = versions(app(origins, COOKIE, traffic_split=SPLIT, sticky_split=COOKIE), a="v1", b="v2", c="v2")
    other = service("other", *origins, affinity=COOKIE)
    there = Route(name="other", service="other", match=msgspec.structs.replace(Route(name="").match, path="/o"))
    routes = (Route(name="all", service="app"), there)
    with Playbook(whole, other, routes=routes, origins=origins, settings=SETTINGS) as book:
        for _ in range(6):
            browser = Browser(book)
            places = browser.get("/"), browser.get("/o")
            assert browser.jar["hm"].count(".") == 2 and len(browser.jar) == 1
            for _ in range(3):
                assert (browser.get("/"), browser.get("/o")) == places
                assert browser.last == ""


# --- subsets ------------------------------------------------------------------------------------------------------


def by_zone(fallback: SubsetFallback, **given: Any) -> tuple[Route, ...]:
    subset = Subset(headers={"zone": "x-zone"}, fallback=fallback, default={"tier": "gold"})
    return (Route(name="all", service="app", subset=subset, **given),)


ZONES = {
    "a": {"metadata": {"zone": "x"}},
    "b": {"metadata": {"zone": "y", "tier": "gold"}},
    "c": {"metadata": {"zone": "y"}},
}


@pytest.mark.parametrize(
    ("fallback", "wanted"),
    [(SubsetFallback.NONE, set()), (SubsetFallback.ANY, {"a", "b", "c"}), (SubsetFallback.DEFAULT, {"b"})],
)
def test_a_route_may_ask_for_metadata(fallback: SubsetFallback, wanted: set[str], origins: tuple[Origin, ...]) -> None:
    whole = with_endpoints(app(origins, None), **ZONES)
    with Playbook(whole, routes=by_zone(fallback), origins=origins) as book:
        browser = Browser(book)
        assert {browser.get(x_zone="x") for _ in range(4)} == {"a"}
        assert {browser.get(x_zone="y") for _ in range(4)} == {"b", "c"}
        assert {browser.get() for _ in range(6)} == {"a", "b", "c"}
        found = {browser.get(x_zone="z") if browser.status == 200 else "" for _ in range(9)} - {""}
        assert found & {"a", "b", "c"} == wanted
        assert browser.status == (200 if wanted else 503)


def test_a_subset_follows_metadata_versions_and_endpoints(origins: tuple[Origin, ...]) -> None:
    whole = with_endpoints(app(origins, None), **ZONES)
    routes = by_zone(SubsetFallback.NONE)
    with Playbook(whole, routes=routes, origins=origins) as book:
        browser = Browser(book)
        assert browser.get(x_zone="x") == "a"
        moved = with_endpoints(whole, b={"metadata": {"zone": "x"}})
        book.apply((moved,), routes)
        assert {browser.get(x_zone="x") for _ in range(4)} == {"a", "b"}
        assert {browser.get(x_zone="y") for _ in range(4)} == {"c"}
        book.apply((msgspec.structs.replace(moved, endpoints=moved.endpoints[1:]),), routes)
        assert {browser.get(x_zone="x") for _ in range(4)} == {"b"}
        pinned = by_zone(SubsetFallback.NONE, version="v2")
        book.apply((with_endpoints(moved, a={"version": "v2"}),), pinned)
        assert {browser.get(x_zone="x") for _ in range(4)} == {"a"}
        browser.get(x_zone="y")
        assert browser.status == 503


def test_an_ill_subset_is_503_and_its_retries_stay_inside(make_origin: MakeOrigin, origins: tuple[Origin, ...]) -> None:
    whole = with_endpoints(app(origins, None), **ZONES)
    routes = by_zone(SubsetFallback.ANY)
    with Playbook(whole, routes=routes, origins=origins) as book:
        browser = Browser(book)
        book.apply((with_endpoints(whole, a={"state": EndpointState.UNHEALTHY}),), routes)
        browser.get(x_zone="x")
        assert browser.status == 503
        book.apply((whole,), routes)
        origins[0].close()
        browser.get(x_zone="x")
        assert browser.status == 502
        assert {browser.get(x_zone="y") for _ in range(4)} == {"b", "c"}


def test_a_subset_is_stronger_than_affinity(origins: tuple[Origin, ...]) -> None:
    whole = with_endpoints(app(origins, COOKIE), **ZONES)
    with Playbook(whole, routes=by_zone(SubsetFallback.NONE), origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        while browser.get() != "a":
            browser = Browser(book)
        found = {browser.get(x_zone="y") for _ in range(6)}
        assert len(found) == 1 and found <= {"b", "c"} and browser.last == ""
        assert {browser.get(x_zone="x") for _ in range(3)} == {"a"}
        assert browser.get() == "a" and broken(book) == 0


# --- splits within splits -----------------------------------------------------------------------------------------


def test_a_share_without_a_version_is_split_further(origins: tuple[Origin, ...]) -> None:
    shares = (TrafficSplit(version="v1", weight=1), TrafficSplit(version="v2", weight=0))
    whole = versions(app(origins, None, traffic_split=shares), a="v1", b="v2", c="v3")
    routes = (Route(name="all", split=(TrafficSplit(service="app"), TrafficSplit(service="app", version="v3"))),)
    with Playbook(whole, routes=routes, origins=origins) as book:
        browser = Browser(book)
        assert {browser.get() for _ in range(24)} == {"a", "c"}
        # No version of the service's own split is usable: so neither is the share, though v2 is up.
        book.apply((with_endpoints(whole, a={"state": EndpointState.UNHEALTHY}),), routes)
        assert {browser.get() for _ in range(12)} == {"c"}


def test_ten_thousand_draws_are_as_the_weights_say(origins: tuple[Origin, ...]) -> None:
    """Through everything between a route and a version, nested, with one version down."""
    inner = (TrafficSplit(version="v1", weight=80), TrafficSplit(version="v2", weight=20))
    one = versions(app(origins, None, traffic_split=inner), a="v1", b="v2", c="v3")
    two = service("two", *origins)
    routes = (Route(name="all", split=(TrafficSplit(service="app", weight=3), TrafficSplit(service="two"))),)
    with Playbook(one, two, routes=routes, origins=origins) as book:
        split = book.plane.tables.listeners["web"].router.match(SampleRequest()).split  # type: ignore[attr-defined]
        ids = [b"req-%d" % number for number in range(10_000)]
        found = Counter(
            (drawn.service.name, drawn.version)
            for drawn in (split.draw_for(SampleRequest(), split.number_of(each), 0) for each in ids)
        )
        for key, share in {("app", "v1"): 0.6, ("app", "v2"): 0.15, ("two", ""): 0.25}.items():
            assert abs(found[key] - 10_000 * share) < 5 * (10_000 * share * (1 - share)) ** 0.5, found
        # Two splits, and the same one elsewhere, do not draw alike.
        book.apply((one, two), routes, Settings(instance="elsewhere"))
        other = book.plane.tables.listeners["web"].router.match(SampleRequest()).split  # type: ignore[attr-defined]
        inner_split = book.plane.tables.services["app"].split
        assert inner_split is not None
        for another in (other, inner_split):
            both = sum(split.number_of(each) < 0.5 and another.number_of(each) < 0.5 for each in ids)
            assert abs(both - 2500) < 5 * (10_000 * 0.25 * 0.75) ** 0.5


def test_a_version_whose_endpoints_are_ejected_fails_over(origins: tuple[Origin, ...]) -> None:
    breaker = CircuitBreaker(consecutive_errors=1)
    whole = versions(app(origins, None, traffic_split=SPLIT, circuit_breaker=breaker), a="v1", b="v2", c="v2")
    with Playbook(whole, origins=origins, settings=SETTINGS) as book:
        browser = Browser(book)
        origins[0].close()
        book.settle()
        statuses = []
        for _ in range(40):
            browser.get()
            statuses.append(browser.status)
        # The one that found out had no other endpoint of its version.
        assert statuses.count(502) == 1 and statuses.count(200) == 39
        assert book.table.shared(book.numbers["service/app"]).load(words.FAILOVERS) > 0
