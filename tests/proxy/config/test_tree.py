"""YAML itself: syntax, duplicate keys, aliases, variables, limits."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest
import yaml

from discovery.config import Config
from proxy.config import tree
from proxy.config.load import load_text

Problems = Callable[..., list[str]]


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers say the same."""
    if request.param == "python":
        monkeypatch.setattr(tree, "_LOADER", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML without libyaml")


def test_a_syntax_error_has_its_place(problems: Problems) -> None:
    [problem] = problems("workers: 1\ninstance: [a\n")
    assert problem.startswith("3:1: not YAML: ")


def test_an_indenting_tab_is_named(problems: Problems) -> None:
    [problem] = problems("limits:\n\tbody: 1\n")
    assert problem.startswith("2:1: not YAML: ")
    assert problem.endswith("(a tab cannot indent, use spaces)")


def test_a_duplicate_key_is_a_problem_at_the_second(problems: Problems) -> None:
    assert problems("limits:\n  body: 1\n  body: 1\n") == ["3:3: limits.body: duplicate key, first given in line 2"]


def test_keys_are_texts(problems: Problems) -> None:
    assert problems("services:\n  web:\n    endpoints:\n      - { [a]: 1, address: 127.0.0.1:1 }\n") == [
        "4:11: services.web.endpoints[0]: expected text as key"
    ]


def test_a_second_document_is_a_problem(problems: Problems) -> None:
    assert problems("workers: 1\n---\nworkers: 2\n") == ["2:1: a second document starts here, expected one"]


@pytest.mark.parametrize("tag", ["!!python/name:os.getcwd", "!!str", "!mine"])
def test_tags_are_refused(problems: Problems, tag: str) -> None:
    [problem] = problems(f"instance: {tag} a\n")
    assert problem.startswith("1:11: instance: tag '")
    assert problem.endswith("' is not supported, expected a plain value")


def test_control_characters_have_their_place(problems: Problems) -> None:
    assert problems("workers: 1\ninstance: a\x07\n") == [
        "2:12: character U+0007 is not allowed in YAML, expected printable text"
    ]


# --- aliases ------------------------------------------------------------------------------------------------------


def test_aliases_and_merging_work(config: Callable[..., Config]) -> None:
    services = config(
        """\
        services:
          a: &base
            domain: a.local
            mesh: &mesh { timeout: 3s }
            pool: { max_idle: 4 }
          b: { <<: *base, domain: b.local }
          c: { mesh: *mesh }
        """
    ).snapshot.services

    assert [service.domain for service in services] == ["a.local", "b.local", ""]
    assert [service.timeout for service in services] == [3.0, 3.0, 3.0]
    assert services[1].pool.max_idle == 4


def test_merging_something_else_is_a_problem(problems: Problems) -> None:
    assert problems("limits: { <<: 5 }\n") == [
        '1:15: limits."<<": expected a mapping or a list of mappings to merge',
    ]


def test_an_unknown_alias_is_a_problem(problems: Problems) -> None:
    [problem] = problems("instance: *nobody\n")
    assert "nobody" in problem


def test_an_alias_to_what_it_is_part_of_is_a_problem(problems: Problems) -> None:
    assert problems("limits: &a\n  body: *a\n") == [
        "2:9: limits.body: alias *a cannot be used: it is part of what it stands for"
    ]


def test_aliases_that_multiply_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    loaded = load_text("\n".join(lines), "f")
    assert loaded.problems
    assert f"more than {tree.MAX_NODES} values, aliases counted each time" in str(loaded.problems[0])


def test_deep_nesting_is_refused_at_once(problems: Problems) -> None:
    [problem] = problems("a: " + "[" * 20_000)
    assert f"nested deeper than {tree.MAX_DEPTH} levels" in problem


# --- variables ----------------------------------------------------------------------------------------------------


def test_variables_are_filled_in(config: Callable[..., Config]) -> None:
    loaded = config(
        """\
        instance: i-${HOST}-${NOBODY:-x}-${EMPTY:-y}
        listeners:
          - name: l
            address: ${HOST}:${PORT}
            routes:
              - { name: r, filters: [ { direct_response: { body: "$${HOST}" } } ] }
        services: { web: { endpoints: [ { address: "${HOST}:1", weight: "${WEIGHT}" } ] } }
        """
    )

    assert loaded.snapshot.settings.instance == "i-127.0.0.1-x-y"
    assert loaded.snapshot.listeners[0].address == "127.0.0.1:8080"
    response = loaded.snapshot.listeners[0].routes[0].filters.direct_response
    assert response is not None
    assert response.body == "${HOST}"
    assert loaded.snapshot.services[0].endpoints[0].weight == 7


def test_a_variable_that_is_not_set_is_one_problem(problems: Problems) -> None:
    assert problems("timeouts: { drain: '${NOBODY}' }\n") == [
        "1:20: timeouts.drain: environment variable NOBODY is not set, set it or write ${NOBODY:-default}"
    ]


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A", "${A-b}"])
def test_half_a_variable_is_a_problem(problems: Problems, text: str) -> None:
    assert problems(f"instance: 'a{text}'\n") == [
        "1:11: instance: expected ${NAME} or ${NAME:-default} ($${ for a plain ${)"
    ]


def test_what_a_variable_holds_is_no_yaml(problems: Problems) -> None:
    found = problems("trusted_proxies: ${LIST}\n", {"LIST": "[ 10.0.0.0/8 ]"})
    assert found == ["1:18: trusted_proxies: expected a list, got '[ 10.0.0.0/8 ]' (write [[ 10.0.0.0/8 ]])"]


def test_keys_are_not_expanded(problems: Problems) -> None:
    [problem] = problems("${HOST}: 1\n")
    assert "unknown key" in problem


def test_columns_count_characters(problems: Problems) -> None:
    assert problems(dedent("services: { web: { endpoints: [ { node: 'é', weight: x, address: '[::1]:1' } ] } }")) == [
        "1:41: services.web.endpoints[0].node: 'é' is not a name, "
        "expected letters, digits and _ . : @ - [ ] (at most 253)",
        "1:54: services.web.endpoints[0].weight: 'x' is not a whole number, expected a whole number from 0 to 1000000",
    ]
