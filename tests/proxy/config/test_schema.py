"""The JSON Schema agrees with what is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from proxy.config.load import load_text
from proxy.config.records import SAME_AS
from proxy.config.schema import schema

EXAMPLES = Path(__file__).parents[3] / "examples"
SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("name", ["quickstart.yaml", "reference.yaml", "tcp.yaml", "health.yaml"])
def test_the_examples_are_valid(name: str) -> None:
    document = yaml.safe_load((EXAMPLES / name).read_text())
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


@pytest.mark.parametrize(
    "text",
    [
        "{ workers: auto }",
        "{ workers: '${WORKERS:-2}' }",
        "{ access_log: { format: off } }",
        "{ limits: { body: 0, request_head: 64KiB, trailers: 8192 } }",
        "{ timeouts: { drain: 0, connect_ms: 500, keep_alive_secs: 5 } }",
        "{ timeouts: { connect: '${CONNECT:-5s}' } }",
        "{ services: { a: { mesh: { mtls_enabled: false } } } }",
        "{ services: { a: { endpoints: [ { address: '127.0.0.1:1', version: 2, metadata: { a: true } } ] } } }",
        "{ listeners: [ { name: '${NAME}', address: ':1' } ] }",
        "{ listeners: [ { name: a, address: ':1', routes: [ { name: r, filters: [{ redirect: { port: 1 } }] } ] } ] }",
    ],
)
def test_what_can_be_read_is_valid(text: str) -> None:
    assert load_text(text, "f", {"NAME": "web"}).config is not None
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{ dns: {} }",
        "{ workers: -1 }",
        "{ workers: many }",
        "{ merge_slashes: maybe }",
        "{ limits: { bdy: 1 } }",
        "{ timeouts: { connect: 5 } }",
        "{ timeouts: { connect: soon } }",
        "{ timeouts: { connect_ms: 5s } }",
        "{ access_log: { format: xml } }",
        "{ services: { a: { load_balancing: fastest } } }",
        "{ services: { a: { mesh: { mtls: true } } } }",
        "{ services: { a: { endpoints: [ {} ] } } }",
        "{ listeners: [ { name: a } ] }",
        "{ listeners: [ { name: a, address: ':1', routes: [ { name: r, match: { headers: { x: { a: b } } } } ] } ] }",
        "{ tests: [ { request: GET / } ] }",
    ],
)
def test_what_cannot_be_read_is_not_valid(text: str) -> None:
    assert load_text(text, "f", {}).config is None
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


def unused(described: object, values: list[object], path: str = "") -> Iterator[str]:
    """Keys of the schema `described` that none of `values` has."""
    assert isinstance(described, dict)
    for alternative in described.get("anyOf", []):
        yield from unused(alternative, values, path)
    mappings = [value for value in values if isinstance(value, dict)]
    for key, below in described.get("properties", {}).items():
        if below["description"].startswith(SAME_AS):
            continue
        found = [mapping[key] for mapping in mappings if key in mapping]
        if not found:
            yield f"{path}.{key}"
        yield from unused(below, found, f"{path}.{key}")
    if "items" in described:
        items = [item for value in values if isinstance(value, list) for item in value]
        yield from unused(described["items"], items, f"{path}[]")
    if isinstance(described.get("additionalProperties"), dict):
        yield from unused(described["additionalProperties"], [v for m in mappings for v in m.values()], f"{path}.*")


def test_the_reference_has_every_key() -> None:
    document = yaml.safe_load((EXAMPLES / "reference.yaml").read_text())
    assert list(unused(SCHEMA, [document])) == []
    assert ".listeners[].routes[].filters[].redirect.port" in list(unused(SCHEMA, [{}]))


def test_every_key_is_described() -> None:
    def descriptions(described: object) -> Iterator[object]:
        if isinstance(described, dict):
            for below in described.get("properties", {}).values():
                yield below.get("description")
            for value in described.values():
                yield from descriptions(value)
        elif isinstance(described, list):
            for value in described:
                yield from descriptions(value)

    assert all(descriptions(SCHEMA))
