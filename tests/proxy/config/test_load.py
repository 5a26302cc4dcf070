"""A file is read whole: every problem at once, in file order, and never an exception."""

from __future__ import annotations

import copy
import gc
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.config import Config
from discovery.model import LogFormat, Position
from proxy.config import load as load_module
from proxy.config.load import load, load_text
from proxy.config.route_tests import run

EIGHT_MISTAKES = """\
listeners:
  - name: web
    address: 127.0.0.1:80800
    routes:
      - name: default
        match: { path_prefix: api }
        service: webb
        timeout: 5
services:
  web:
    endpoints:
      - { id: web-1, adress: 127.0.0.1:9001 }
      - { id: web-2, address: 127.0.0.1:9002, weight: -1 }
    load_balancing: round-robin
    mesh: { mtls: true }
"""

EIGHT_LINES = """\
shop.yaml:3:14: listeners[0].address: '80800' is not a port, expected 1 to 65535
shop.yaml:6:31: listeners[0].routes[0].match.path_prefix: 'api' is not a path, expected one that starts with / \
(no ?, no #; other than ASCII as %XX)
shop.yaml:7:18: listeners[0].routes[0].service: there is no service 'webb', did you mean 'web'?
shop.yaml:8:18: listeners[0].routes[0].timeout: '5' is not a duration, expected one such as 5s, 250ms or 1m30s \
(a unit is missing: 5s or 5ms)
shop.yaml:12:22: services.web.endpoints[0].adress: unknown key, did you mean 'address'?
shop.yaml:13:55: services.web.endpoints[1].weight: -1 is out of range, expected a whole number from 0 to 1000000
shop.yaml:14:21: services.web.load_balancing: 'round-robin' is not known, expected round_robin or \
weighted_round_robin or least_connections or random or ip_hash or peak_ewma or maglev or ring_hash, \
did you mean 'round_robin'?
shop.yaml:15:19: services.web.mesh.mtls: mutual TLS is not in this release, expected false
"""


def test_eight_mistakes_are_eight_lines_in_file_order() -> None:
    loaded = load_text(EIGHT_MISTAKES, "shop.yaml")

    assert loaded.config is None
    assert "".join(f"{problem}\n" for problem in loaded.problems) == EIGHT_LINES


def test_positions_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(
        "listeners:\n  - name: web\n    address: :8080\n    routes:\n      - { name: r, service: web }\n"
        "services:\n  web: {}\ntests:\n  - { request: GET /, expect: { route: r } }\n"
    )

    config = load(file).config

    assert config is not None
    listener, service, test = config.snapshot.listeners[0], config.snapshot.services[0], config.tests[0]
    assert listener.position == Position(file=str(file), line=2, column=5)
    assert listener.routes[0].position == Position(file=str(file), line=5, column=9)
    assert service.position == Position(file=str(file), line=7, column=3)
    assert test.position == Position(file=str(file), line=9, column=5)


def test_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfworkers: 1\n")

    config = load(file).config

    assert config is not None
    assert config.digest == hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def test_defaults_are_filled_in(config: Callable[..., Config]) -> None:
    loaded = config("workers: auto\n")

    assert loaded.workers == len(os.sched_getaffinity(0))
    assert loaded.admin.address == "127.0.0.1:9900"
    assert loaded.snapshot.settings.access_log.format is LogFormat.OFF
    assert loaded.snapshot.settings.instance.startswith("hivemesh-")


def test_an_access_log_block_switches_the_log_on(config: Callable[..., Config]) -> None:
    assert config("access_log: {}").snapshot.settings.access_log.format is LogFormat.JSON
    assert config("access_log: { format: off }").snapshot.settings.access_log.format is LogFormat.OFF


def test_two_instances_of_one_machine_differ_in_their_name(config: Callable[..., Config]) -> None:
    one = config("admin: { address: 127.0.0.1:1 }").snapshot.settings.instance
    other = config("admin: { address: 127.0.0.1:2 }").snapshot.settings.instance

    assert one != other
    assert one == config("admin: { address: 127.0.0.1:1 }").snapshot.settings.instance


def test_idle_connections_are_kept_as_long_as_timeouts_say(config: Callable[..., Config]) -> None:
    loaded = config(
        """\
        timeouts: { upstream_idle: 7s }
        services: { a: {}, b: { pool: { max_idle: 1 } }, c: { pool: { idle_timeout: 3s } } }
        """
    )

    assert [service.pool.idle_timeout for service in loaded.snapshot.services] == [7.0, 7.0, 3.0]


# --- files that are none ------------------------------------------------------------------------------------------


def only_problem(path: Path) -> str:
    loaded = load(path)
    assert loaded.config is None
    [problem] = loaded.problems
    return str(problem).removeprefix(f"{path}:").strip()


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    assert only_problem(tmp_path / "none.yaml") == "cannot be read: no such file or directory, expected a YAML file"


def test_a_folder_is_a_problem(tmp_path: Path) -> None:
    assert only_problem(tmp_path) == "cannot be read: is a directory, expected a YAML file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.touch(mode=0)
    assert only_problem(file) == "cannot be read: permission denied, expected a YAML file"


def test_a_path_with_a_zero_byte_is_a_problem() -> None:
    [problem] = load("a\0b").problems
    assert "cannot be read" in str(problem)


def test_a_file_that_is_not_utf8_is_a_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"instance: a\n# caf\xe9\n")
    assert only_problem(file) == "2:6: byte 0xe9 is not UTF-8, expected a YAML file in UTF-8"


def test_a_file_that_is_too_large_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "MAX_BYTES", 10)
    file = tmp_path / "large.yaml"
    file.write_text("#" * 11)
    assert only_problem(file) == "larger than 10 bytes, expected a configuration"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n"])
def test_an_empty_file_is_a_problem(problems: Callable[[str], list[str]], text: str) -> None:
    assert problems(text) == ["the file is empty, expected a mapping with listeners and services"]


@pytest.mark.parametrize(("text", "got"), [("- a\n", "a list"), ("a\n", "'a'")])
def test_a_root_that_is_no_mapping_is_a_problem(problems: Callable[[str], list[str]], text: str, got: str) -> None:
    assert problems(text) == [f"1:1: expected a mapping with listeners and services, got {got}"]


def test_garbage_collection_is_left_as_it_was() -> None:
    assert gc.isenabled()
    load_text("workers: 1", "f")
    assert gc.isenabled()


# --- whatever the text is ------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *("listeners", "services", "routes", "name", "address", "match", "headers", "filters", "redirect", "tests"),
        *("request", "expect", "endpoints", "web", "127.0.0.1:1", "GET /", "5s", "1", "-1", "true", "null", "/a", "~"),
        *("${A}", "${A:-b}", "$${", "${", "admin", "token", "limits", "timeout", "timeout_ms", "split", "weight", ""),
    ]
)
TREES = st.recursive(
    WORDS | st.integers() | st.booleans() | st.none() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
YAML_ISH = st.lists(
    st.sampled_from(
        [*"{}[]:,-&*!|>'\"%@`#?<~ \n\t\0\x85\ufeff\ud800é0", "- ", ": ", "\n  ", "&a ", "*a", "<<: ", "!!x "]
    )
    | WORDS,
    max_size=40,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.text() | YAML_ISH | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_raises(text: str) -> None:
    loaded = load_text(text, "f", {"A": "x"})
    assert (loaded.config is None) == bool(loaded.problems)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_no_tree_raises_and_every_problem_has_a_place(tree: object) -> None:
    loaded = load_text(yaml.safe_dump(tree, allow_unicode=True), "f", {"A": "x"})
    assert (loaded.config is None) == bool(loaded.problems)
    lines = [problem.position.line for problem in loaded.problems if problem.position is not None]
    assert lines == sorted(lines)
    assert len(lines) == len(loaded.problems)


REFERENCE = yaml.safe_load((Path(__file__).parents[3] / "examples/reference.yaml").read_text())


def places(tree: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value of a tree."""
    found = [path] if path else []
    if isinstance(tree, dict | list):
        for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
            found += places(child, (*path, key))
    return found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_one_wrong_value_anywhere_raises_nothing(data: st.DataObject) -> None:
    tree = copy.deepcopy(REFERENCE)
    *parents, last = data.draw(st.sampled_from(places(tree)))
    holder = tree
    for key in parents:
        holder = holder[key]
    holder[last] = data.draw(TREES)

    loaded = load_text(yaml.safe_dump(tree, allow_unicode=True), "f", {"A": "x"})

    assert (loaded.config is None) == bool(loaded.problems)
    if loaded.config is not None:
        run(loaded.config)


def test_ten_thousand_mistakes_do_not_take_forever() -> None:
    services = "".join(f"  service-{n}: {{}}\n" for n in range(3000))
    routes = "".join(f"      - {{ name: r{n}, service: servce-{n} }}\n" for n in range(3000))
    text = f"listeners:\n  - name: web\n    address: :80\n    routes:\n{routes}services:\n{services}"

    loaded = load_text(text, "f")

    assert len(loaded.problems) == 3000
    assert "did you mean 'service-0'?" in str(loaded.problems[0])
    assert "did you mean" not in str(loaded.problems[-1])
