"""Where each value of the effective configuration is from, and that configuration as YAML with origins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.annotated import COLUMN, annotated, scalar
from proxy.config.effective import effective
from proxy.config.load import load_written, text_written
from proxy.config.nodes import Mapping, Node, Scalar, Sequence, path_text
from proxy.config.origins import Kind, Origin, leaves, origins
from proxy.config.shapes import Json

EXAMPLES = Path(__file__).parents[3] / "examples"


def told(text: str) -> dict[str, str]:
    """The origins of everything, as people read them, without the name of the file."""
    written = text_written(dedent(text), "f", {})
    assert written.loaded.config is not None, written.loaded.problems
    found = origins(effective(written.loaded.config), written.places(), "f")
    return {path: str(origin).replace("f:", "") for path, origin in found.items()}


# --- the reference ----------------------------------------------------------------------------------------------------


def scalars(node: Node) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from scalars(item)
    elif isinstance(node, Mapping):
        for _, item in node.entries.values():
            yield from scalars(item)


REFERENCE = load_written(EXAMPLES / "reference.yaml", {})


def described() -> tuple[dict[str, Json], dict[str, Origin]]:
    assert REFERENCE.loaded.config is not None
    document = effective(REFERENCE.loaded.config)
    return document, origins(document, REFERENCE.places(), REFERENCE.file)


def test_every_value_of_the_reference_is_found_where_it_is_written() -> None:
    _, found = described()
    places = {(each.line, each.column) for each in found.values() if each.origin is Kind.FILE}
    assert REFERENCE.root is not None
    written = {(each.line, each.column): each.text for each in scalars(REFERENCE.root)}
    assert len(written) > 350
    # A condition in words stands where its key does.
    conditions = ("{ exact: ", "{ regex: ", "{ present: ")
    lines = REFERENCE.text.splitlines()
    missing = [
        (line, text)
        for (line, column), text in written.items()
        if (line, column) not in places and not lines[line - 1][: column - 1].endswith(conditions)
    ]
    assert missing == []


def composed(node: yaml.Node, path: str = "") -> Iterator[tuple[str, tuple[int, int]]]:
    """Path and place of every scalar, as YAML's own reader has them."""
    if isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            name = key.value if re.fullmatch(r"[A-Za-z0-9_/-]+", key.value) else f'"{key.value}"'
            yield from composed(item, f"{path}.{name}" if path else name)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from composed(item, f"{path}[{index}]")
    else:
        yield path, (node.start_mark.line + 1, node.start_mark.column + 1)


def test_the_place_of_a_value_is_that_of_its_key() -> None:
    _, found = described()
    written = dict(composed(yaml.compose(REFERENCE.text, yaml.SafeLoader)))
    same = written.keys() & found.keys()
    assert len(same) > 300
    assert {path: (found[path].line, found[path].column) for path in same} == {path: written[path] for path in same}


def test_everything_that_is_not_written_is_a_default_or_follows_something() -> None:
    document, found = described()
    assert {path_text(path) for path, _, _ in leaves(document)} == set(found)
    others = {path: each for path, each in found.items() if each.origin is not Kind.FILE}
    assert all(each.line == 0 for each in others.values() if each.origin is Kind.DEFAULT)
    follows = {path for path, each in others.items() if each.source}
    assert {path.rsplit(".", 1)[-1] for path in follows if "health_check" not in path} == {"id", "idle_timeout"}
    assert all(found[each.source].origin is Kind.FILE for each in others.values() if each.source)


# --- one spelling after the other -------------------------------------------------------------------------------------


def test_what_is_written_has_its_line_in_whatever_way_it_is_written() -> None:
    found = told(
        """\
        services:
          a:
            load_balancing: random
            endpoints:
              - address: names.example:80
              - { address: 10.0.0.1:80, id: first }
            mesh:
              timeout_ms: 1500
              retry_policy:
                retry_on: 5xx
                budget: 10%
        listeners:
          - name: l
            address: :80
            protocol: auto
            service: a
            routes:
              - { name: tls, match: { sni: x.test }, service: a }
              - name: plain
                match:
                  headers: { X-A: { exact: "1" } }
                service: a
                filters:
                  - max_body: 1MiB
                  - request_headers: { set: { a: b } }
        tests:
          - request: GET http://x/
            expect: { service: a }
        """
    )
    assert found["services.a.load_balancing.strategy"] == "3"
    assert found["services.a.endpoints[0].id"] == found["services.a.endpoints[0].address"] == "6"
    assert found["services.a.endpoints[1].address"] == "5"  # names come last
    assert found["services.a.mesh.timeout"] == "8"
    assert found["services.a.mesh.retry.retry_on[0]"] == "10"
    assert found["services.a.mesh.retry.budget.percent"] == "11"
    assert found["services.a.mesh.retry.budget.floor"] == "default"
    assert found["listeners[0].routes[0].name"] == "19"  # routes of requests come first
    assert found["listeners[0].routes[0].match.headers.x-a"] == "21"
    assert found["listeners[0].routes[0].filters[0].request_headers.set.a"] == "25"
    assert found["listeners[0].routes[0].filters[1].max_body"] == "24"
    assert found["listeners[0].routes[1].match.sni[0]"] == "18"
    assert found["tests[0].request.method"] == found["tests[0].request.url"] == "27"
    assert found["tests[0].request.client"] == "default"


def test_what_follows_something_says_what_and_where() -> None:
    found = told(
        """\
        timeouts: { upstream_idle: 20s }
        services:
          a:
            health_check: { protocol: http, interval: 2s }
            endpoints: [ { address: 10.0.0.1:80, health_check: { path: /x } } ]
            mesh:
              retry: { backoff: 1s }
              circuit_breaker: { base_ejection_time: 10m }
          b: { pool: { idle_timeout: 5s } }
        """
    )
    assert found["instance"] == "derived from admin.address, default"
    assert found["services.a.pool.idle_timeout"] == "from timeouts.upstream_idle, 1"
    assert found["services.b.pool.idle_timeout"] == "9"
    assert found["services.a.health_check.timeout"] == "derived from services.a.health_check.interval, 4"
    own = "services.a.endpoints[0].health_check"
    assert found[f"{own}.path"] == "5"
    assert found[f"{own}.protocol"] == "from services.a.health_check.protocol, 4"
    assert found[f"{own}.method"] == "from services.a.health_check.method, default"
    assert found[f"{own}.timeout"] == "from services.a.health_check.timeout, default"
    assert found["services.a.endpoints[0].id"] == "derived from services.a.endpoints[0].address, 5"
    assert found["services.a.mesh.retry.max_backoff"] == "derived from services.a.mesh.retry.backoff, 7"
    breaker = "services.a.mesh.circuit_breaker"
    assert found[f"{breaker}.max_ejection_time"] == f"derived from {breaker}.base_ejection_time, 8"
    assert found[f"{breaker}.max_requests"] == "default"


def test_a_part_that_is_merged_is_from_where_it_is_written() -> None:
    found = told(
        """\
        services:
          a: &a
            pool: { max_idle: 3 }
          b:
            <<: *a
            domain: b.test
          c: *a
        """
    )
    assert found["services.b.pool.max_idle"] == found["services.c.pool.max_idle"] == "3"
    assert found["services.b.domain"] == "6"


def test_what_waits_for_a_restart_is_told() -> None:
    written = text_written("admin: { address: 127.0.0.1:2 }\nworkers: 3", "f", {})
    running = text_written("admin: { address: 127.0.0.1:1 }\nworkers: 3", "f", {})
    assert written.loaded.config is not None
    assert running.loaded.config is not None
    in_force, of_file = effective(running.loaded.config), effective(written.loaded.config)
    found = origins(in_force, written.places(), "f", of_file)
    assert str(found["admin.address"]) == "as it was at the start; f:1 takes effect after a restart"
    assert found["workers"].origin is Kind.FILE


# --- as YAML ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["quickstart.yaml", "reference.yaml", "tcp.yaml", "health.yaml"])
def test_it_can_be_read_again_and_says_the_same(name: str) -> None:
    written = load_written(EXAMPLES / name, {})
    assert written.loaded.config is not None
    document = effective(written.loaded.config)
    text = annotated(document, origins(document, written.places(), "f"))

    assert yaml.safe_load(text) == document
    again = text_written(text, "again", {})
    assert [str(problem) for problem in again.loaded.problems] == []
    assert again.loaded.config is not None
    assert effective(again.loaded.config) == document


def test_origins_stand_in_one_column() -> None:
    document: dict[str, Json] = {"a": 1, "b": {"c": ["x", []]}, "d": [{"e": "y", "f": "long " * 30}], "g": {}}
    origin = Origin(origin=Kind.FILE, file="f", line=7, column=1)
    paths = ("a", "b.c[0]", "b.c[1]", "d[0].e", "d[0].f", "g")
    lines = annotated(document, dict.fromkeys(paths, origin)).splitlines()
    commented = [line for line in lines if line.endswith("  # f:7")]
    assert len(commented) == len(paths)
    assert {line.index("#") for line in commented if len(line) < 100} == {COLUMN + 2}
    assert lines[-3].startswith("  - e: y ")


@given(
    st.text() | st.sampled_from(["yes", "off", "1.10", "1:30", "0x1", "~", "", "2026-01-01", "a: b", "#x", "<<", "="])
)
def test_any_text_stays_that_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # no file can have said that
    assert yaml.safe_load(f"- {scalar(text)}  # c\n") == [text]
    assert yaml.safe_load(f"{scalar(text)}: 1  # c\n") == {text: 1}
