"""Two files, and what the plan says of the way from one to the other."""

from __future__ import annotations

import msgspec
import pytest

from discovery.config import Config
from proxy.config.load import load_text
from proxy.config.problems import Problem
from proxy.plan.making import make
from proxy.plan.values import Change, Live, Load, Plan, ValueChange, summary

FILE = """
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - { name: api, match: { path_prefix: /api }, service: api, timeout: 5s }
      - { name: one, match: { path: /x, headers: { a: "1" } }, service: api }
      - { name: two, match: { path: /x, headers: { b: "1" } }, service: api }
      - { name: all, service: web }
  - { name: db, address: 127.0.0.1:5432, protocol: tcp, service: api }
  - { name: syslog, address: 127.0.0.1:5140, protocol: udp, service: api }
services:
  api:
    endpoints: [ { id: a1, address: 127.0.0.1:9001 }, { id: a2, address: 127.0.0.1:9002 } ]
  web:
    load_balancing: maglev
    endpoints:
      - { id: w1, address: 127.0.0.1:9003, version: v1 }
      - { id: w2, address: 127.0.0.1:9004, version: v2 }
    traffic_split: [ { version: v1, weight: 80 }, { version: v2, weight: 20 } ]
    mesh: { circuit_breaker: { max_requests: 100 } }
"""


def config(text: str = FILE) -> Config:
    loaded = load_text(text, "hivemesh.yaml", {})
    assert loaded.config is not None, loaded.problems
    return loaded.config


def plan(*edits: tuple[str, str], live: Live | None = None, was: str = FILE) -> Plan:
    """From `was` to the same with each first text in place of the second."""
    text = was
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    running, wanted = config(was), config(text)
    return make(running, wanted, running.snapshot, wanted.snapshot, live=live)


def only(found: Plan) -> Change:
    (change,) = found.changes
    return change


def values(change: Change) -> dict[str, tuple[object, object]]:
    return {value.key: (value.was, value.now) for value in change.values}


def test_the_same_file_changes_nothing() -> None:
    found = plan()
    assert (found.changes, found.notes) == ((), ())
    assert summary(found) == "no change"


def test_lines_that_moved_and_comments_change_nothing() -> None:
    assert plan(("listeners:", "# a comment\n\nlisteners:")).changes == ()


def test_a_route_tells_which_keys_changed_in_the_words_of_the_file() -> None:
    change = only(plan(("service: api, timeout: 5s", "service: api, timeout: 2s, filters: [ { max_body: 1KiB } ]")))
    assert (change.kind, change.sign, change.inside, change.name) == ("route", "~", "web", "api")
    assert values(change) == {"timeout": ("5s", "2s"), "filters": (None, {"max_body": "1KiB"})}
    assert change.about == "/api[/*] -> api"
    assert str(change.now_at) == "hivemesh.yaml:6"


def test_routes_that_come_and_go() -> None:
    found = plan(("{ name: api, match: { path_prefix: /api }", "{ name: new, match: { path_prefix: /new }"))
    assert [(each.sign, each.name) for each in found.changes] == [("+", "new"), ("-", "api")]
    assert found.changes[0].effects == ("no. 3 of 4 in order of precedence",)
    assert summary(found) == "+1 route, -1 route"


def test_another_order_of_routes_that_match_equally_well_is_told() -> None:
    text = FILE.splitlines()
    text[7], text[6] = text[6], text[7]
    wanted, running = config("\n".join(text)), config()
    change = only(make(running, wanted, running.snapshot, wanted.snapshot))
    assert (change.sign, change.kind, change.values) == ("~", "route", ())
    assert change.effects in (("comes before one now",), ("comes after two now",))


def test_another_order_of_routes_that_exclude_each_other_changes_nothing() -> None:
    was = FILE.replace('{ b: "1" }', '{ a: "2" }')
    text = was.splitlines()
    text[7], text[6] = text[6], text[7]
    wanted, running = config("\n".join(text)), config(was)
    found = make(running, wanted, running.snapshot, wanted.snapshot)
    assert found.changes == ()
    assert found.notes == ("routes of listener web are listed in another order, which changes nothing",)


def test_another_order_of_routes_that_precedence_tells_apart_changes_nothing() -> None:
    text = FILE.splitlines()
    text[8], text[5] = text[5], text[8]
    wanted, running = config("\n".join(text)), config()
    found = make(running, wanted, running.snapshot, wanted.snapshot)
    assert found.changes == ()
    assert len(found.notes) == 1


def test_weights_are_told_one_by_one() -> None:
    change = only(plan(("version: v1, weight: 80", "version: v1, weight: 60"), ("v2, weight: 20", "v2, weight: 40")))
    assert values(change) == {"traffic_split.v1": (80, 60), "traffic_split.v2": (20, 40)}


def test_an_endpoint_that_goes_drains() -> None:
    live = Live(endpoints={("api", ("a2", "127.0.0.1:9002")): Load(requests=3, connections=7, idle=2)})
    found = plan((", { id: a2, address: 127.0.0.1:9002 }", ""), live=live)
    change = only(found)
    assert (change.sign, change.kind, change.inside, change.name) == ("-", "endpoint", "api", "a2")
    assert change.effects == ("drains: 3 requests and 5 connections finish there",)
    assert found.flow.draining == 1


def test_an_endpoint_with_another_address_drains_at_the_former() -> None:
    change = only(plan(("a2, address: 127.0.0.1:9002", "a2, address: 127.0.0.1:9009")))
    assert (change.sign, values(change)) == ("~", {"address": ("127.0.0.1:9002", "127.0.0.1:9009")})
    assert change.effects == ("takes nothing new at 127.0.0.1:9002; nothing is under way there",)


def test_an_endpoint_elsewhere_in_the_list_is_no_change() -> None:
    a1, a2 = "{ id: a1, address: 127.0.0.1:9001 }", "{ id: a2, address: 127.0.0.1:9002 }"
    assert plan((f"{a1}, {a2}", f"{a2}, {a1}")).changes == ()


def test_a_new_endpoint_with_a_check_waits_for_its_first_success() -> None:
    was = FILE.replace("  api:\n", "  api:\n    health_check: { interval: 5s }\n")
    running = config(was)
    wanted = config(
        was.replace("address: 127.0.0.1:9002 }", "address: 127.0.0.1:9002 }, { id: a3, address: 127.0.0.1:9 }")
    )
    # As the registry would have it.
    services = tuple(
        msgspec.structs.replace(
            each,
            endpoints=tuple(
                msgspec.structs.replace(endpoint, state="checking") if endpoint.id == "a3" else endpoint
                for endpoint in each.endpoints
            ),
        )
        for each in wanted.snapshot.services
    )
    then = msgspec.convert(
        msgspec.to_builtins(msgspec.structs.replace(wanted.snapshot, services=services)), type(running.snapshot)
    )
    change = only(make(running, wanted, running.snapshot, then))
    assert change.effects == ("takes requests after its first successful health check",)


def test_keys_that_move_are_estimated() -> None:
    found = plan(("      - { id: w2, address: 127.0.0.1:9004, version: v2 }\n", ""))
    (service, _) = found.changes
    assert service.values == ()
    (effect,) = service.effects
    share = int(effect.split("about ")[1].split("%")[0])
    assert 40 <= share <= 60  # the half that was on the other one
    assert effect.endswith("of the hash keys move to another endpoint")


def test_a_limit_below_what_is_under_way_is_told() -> None:
    live = Live(services={"web": Load(requests=14)})
    change = only(plan(("max_requests: 100", "max_requests: 10"), live=live))
    assert values(change) == {"mesh.circuit_breaker.max_requests": (100, 10)}
    assert change.effects == ("14 requests are under way: new ones get 503 until they are fewer",)


OPEN = Live(
    listeners={
        "web": Load(requests=5, connections=100),
        "db": Load(requests=40, connections=40),
        "syslog": Load(requests=3),
    }
)


def test_connections_stay_when_routes_change() -> None:
    found = plan(("timeout: 5s", "timeout: 2s"), live=OPEN)
    assert summary(found) == (
        "~1 route, 143 live connections stay open, 48 requests or streams under way on the old policy, 0 cut"
    )


def test_connections_of_a_listener_that_goes_stay_and_sessions_of_datagrams_end() -> None:
    found = plan(
        ("  - { name: db, address: 127.0.0.1:5432, protocol: tcp, service: api }\n", ""),
        ("  - { name: syslog, address: 127.0.0.1:5140, protocol: udp, service: api }\n", ""),
        live=OPEN,
    )
    db, syslog = found.changes
    assert db.effects[1] == "40 open connections stay, until both sides have ended"
    assert syslog.effects == ("it hears no datagrams any more: 3 sessions end",)
    assert (found.flow.connections, found.flow.cut) == (140, 3)


def test_sessions_of_a_service_that_goes_with_its_listener_do_not_finish() -> None:
    was = FILE + "  log: { endpoints: [ { id: l1, address: 127.0.0.1:9009 } ] }\n"
    was = was.replace("protocol: udp, service: api", "protocol: udp, service: log")
    running, wanted = config(was), config(FILE.replace("  - { name: syslog, ", "  # ").replace("# address", "#"))
    live = Live(listeners={"syslog": Load(requests=2)}, endpoints={("log", ("l1", "127.0.0.1:9009")): Load(requests=2)})
    found = make(running, wanted, running.snapshot, wanted.snapshot, live=live)
    assert [each.effects[-1] for each in found.changes if each.kind == "endpoint"] == [
        "sessions of datagrams among them end with their listener"
    ]


def test_a_listener_with_another_address_gets_a_new_socket() -> None:
    change = only(plan(("127.0.0.1:8080", "127.0.0.1:8081"), live=OPEN))
    assert values(change) == {"address": ("127.0.0.1:8080", "127.0.0.1:8081")}
    assert change.effects == (
        "a new socket is opened at 127.0.0.1:8081",
        "127.0.0.1:8080 accepts no connections any more, and who is connecting at that moment is refused",
        "100 open connections stay, served by the new routes",
    )


def test_settings_and_restarts() -> None:
    running, wanted = config(), config("timeouts: { connect: 1s }\nworkers: 0\n" + FILE)
    restarts = [Problem(message="0 takes effect after a restart", key="workers")]
    found = make(running, wanted, running.snapshot, wanted.snapshot, restarts=restarts)
    told = {change.name: (change.values[0], change.effects) for change in found.changes}
    assert told == {
        "timeouts.connect": (ValueChange(key="timeouts.connect", was="5s", now="1s"), ()),
        "workers": (ValueChange(key="workers", was=1, now=0), ("takes effect after a restart",)),
    }


def test_workers_that_end_tell_what_they_hold() -> None:
    running, wanted = config("workers: 3\n" + FILE), config("workers: 1\n" + FILE)
    found = make(running, wanted, running.snapshot, wanted.snapshot, live=Live(workers=(9, 4, 3)))
    (effect,) = only(found).effects
    assert effect.startswith("7 connections of workers that end: requests have 30s and streams 30s to finish")


def test_secrets_are_never_shown() -> None:
    one, other = "1" * 32 + "-first", "2" * 32 + "-other"
    text = "secret: {}\nadmin: {{ token: {} }}\n"
    running, wanted = config(text.format(one, one) + FILE), config(text.format(other, other) + FILE)
    found = make(running, wanted, running.snapshot, wanted.snapshot)
    assert {change.name for change in found.changes} == {"secret", "admin.token"}
    shown = msgspec.json.encode(found).decode()
    assert "first" not in shown and "other" not in shown.replace("another", "")


def test_names_that_are_followed() -> None:
    found = plan(("{ id: a2, address: 127.0.0.1:9002 }", "{ id: a2, address: backend:80 }"))
    assert [(each.kind, each.sign, each.inside, each.name) for each in found.changes] == [
        ("endpoint", "-", "api", "a2"),
        ("name", "+", "api", "a2"),
    ]


def test_tests_of_the_file_change_nothing_that_runs() -> None:
    found = plan(("listeners:", 'tests: [ { request: "GET http://x/", expect: { service: web } } ]\nlisteners:'))
    assert found.changes == ()
    assert found.notes[0].startswith("tests: 1 in place of 0")


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (("  - { name: db, address: 127.0.0.1:5432, protocol: tcp, service: api }\n", ""), "-1 listener"),
        (("max_requests: 100", "max_requests: 10"), "~1 service"),
        (("{ id: a1, address: 127.0.0.1:9001 }, ", ""), "-1 endpoint, 1 endpoint drains"),
        (
            ("services:\n", "services:\n  new: { endpoints: [ { id: n, address: 127.0.0.1:1 } ] }\n"),
            "+1 service, +1 endpoint",
        ),
    ],
)
def test_the_summary_counts(edit: tuple[str, str], line: str) -> None:
    assert summary(plan(edit)) == line
