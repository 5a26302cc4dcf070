"""Files of services: as in the configuration, or one service with its name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from textwrap import dedent

import pytest

from discovery.checks import HealthCheck
from discovery.config import FollowedName, NameKind
from discovery.model import Endpoint, PoolPolicy, Position, Service, Timeouts
from discovery.sources.folder import Content
from proxy.config.service_files import Context, ServiceFiles, read_file

CONTEXT = Context(timeouts=Timeouts(upstream_idle=7.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


def content(path: Path, text: str, context: Context = CONTEXT) -> Content:
    path.write_text(dedent(text))
    return read_file(str(path), context, {"PORT": "8080"})


def test_several_services(path: Path) -> None:
    text = """\
        services:
          web: { domain: web.local, endpoints: [ { address: "10.0.0.1:${PORT}" } ], health_check: {} }
          api: { endpoints: [ { address: "api.corp.example:80" } ] }
        """
    assert content(path, text) == Content(
        services=(
            Service(
                name="web",
                domain="web.local",
                endpoints=(Endpoint(id="10.0.0.1:8080", address="10.0.0.1:8080"),),
                health_check=HealthCheck(),
                pool=PoolPolicy(idle_timeout=7.0),
                position=Position(file=str(path), line=2, column=3),
            ),
            Service(
                name="api",
                pool=PoolPolicy(idle_timeout=7.0),
                position=Position(file=str(path), line=3, column=3),
            ),
        ),
        followed=(
            FollowedName(
                service="api",
                endpoint=Endpoint(id="api.corp.example:80", address="api.corp.example:80"),
                kind=NameKind.ADDRESS,
                name="api.corp.example",
                port=80,
            ),
        ),
    )


def test_one_service_in_json(path: Path) -> None:
    [service] = content(path, '{"name": "web", "endpoints": [{"id": "a", "address": "[::1]:1"}]}').services
    assert (service.name, service.endpoints) == ("web", (Endpoint(id="a", address="[::1]:1"),))
    assert service.position == Position(file=str(path), line=1, column=1)


def test_programs_may_be_checks_here(path: Path) -> None:
    [service] = content(path, "{ name: a, health_check: { protocol: command, command: [ id ] } }").services
    assert service.health_check is not None
    assert service.health_check.command == ("id",)


def test_an_empty_list_of_services_is_none(path: Path) -> None:
    assert content(path, "services: {}") == Content()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ":0:0: the file is empty, expected a mapping with services, or a service with its name"),
        ("# nothing", "the file is empty"),
        ("- a", ":1:1: expected a mapping with services, or a service with its name, got a list"),
        ("services: { a: { domian: x } }", ":1:18: services.a.domian: unknown key, did you mean 'domain'?"),
        ("services: {}\nlisteners: []", ":2:1: listeners: unknown key, expected services"),
        ("domain: a.local", ":1:1: name: missing, expected a name"),
        ("{ name: a, endpoints: [ { id: b } ] }", ":1:25: endpoints[0].address: missing, expected host:port"),
        ("{ name: a, mesh: { mtls: true } }", ":1:26: mesh.mtls: mutual TLS is not in this release, expected false"),
        ("services: { a: ", "not YAML: "),
        ("services: { a: { domain: x }, b: { domain: x } }", "'x' is already the domain of services.a in line 1"),
        ("{ name: a, dns_answer: proxy }", ":1:1: service a: dns_answer: 'proxy' is answered with the addresses of"),
        ("{ name: a, domain: '${NOWHERE}' }", ":1:20: domain: environment variable NOWHERE is not set"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(path: Path, text: str, problem: str) -> None:
    found = content(path, text)
    assert (found.services, found.followed) == ((), ())
    [only] = found.problems
    assert only.startswith(str(path))
    assert problem.removeprefix(":0:0") in only


def test_a_proxy_with_an_address_may_be_answered(path: Path) -> None:
    assert content(path, "{ name: a, dns_answer: proxy }", Context(has_proxy_address=True)).problems == ()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    [problem] = read_file(str(tmp_path / "a.yaml"), CONTEXT).problems
    assert problem == f"{tmp_path}/a.yaml: cannot be read: no such file or directory, expected a YAML file"


def test_files_are_read_in_another_process(path: Path) -> None:
    path.write_text("{ name: a }")
    other = path.with_name("b.yaml")
    other.write_text("services: []")

    found = asyncio.run(ServiceFiles(CONTEXT).read([str(path), str(other)]))

    assert found[str(path)] == read_file(str(path), CONTEXT)
    assert found[str(path)].services[0].name == "a"
    assert found[str(other)].problems == (f"{other}:1:11: services: expected a mapping, got a list",)


def test_a_process_that_cannot_be_started_is_a_problem_of_every_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(path))
    found = asyncio.run(ServiceFiles(CONTEXT).read([str(path)]))
    assert found[str(path)].problems[0].startswith(f"{path}: the process that checks it cannot be started: ")
