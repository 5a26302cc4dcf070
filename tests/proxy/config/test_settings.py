"""Limits, timeouts, access log, admin API, metrics, and what else stands at the top."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import AdminSettings, Config
from discovery.model import AccessLog, EscapePolicy, Limits, LogFormat, RecordSettings, Timeouts

Problems = Callable[..., list[str]]


def test_everything_can_be_set(config: Callable[..., Config]) -> None:
    loaded = config(
        """\
        admin: { address: "unix:/run/hm.sock", token: abc }
        metrics: { address: ":9901" }
        access_log: { path: /var/log/a.log, format: text, min_status: 500, min_duration: 1s }
        records: { size: 100, errors: 0, sample: 0.25 }
        instance: edge
        workers: 4
        trusted_proxies: [ 10.0.0.0/8 ]
        path_escapes: keep
        merge_slashes: false
        limits: { request_head: 32KiB, body: 10MB, connections: 5 }
        timeouts: { keep_alive_secs: 5, drain: 0 }
        """
    )
    settings = loaded.snapshot.settings

    assert loaded.admin == AdminSettings(address="unix:/run/hm.sock", token="abc")
    assert loaded.metrics_address == "0.0.0.0:9901"
    assert loaded.workers == 4
    assert settings.access_log == AccessLog(
        path="/var/log/a.log", format=LogFormat.TEXT, min_status=500, min_duration=1.0
    )
    assert settings.records == RecordSettings(size=100, errors=0, sample=0.25)
    assert settings.instance == "edge"
    assert settings.trusted_proxies == ("10.0.0.0/8",)
    assert settings.path_escapes is EscapePolicy.KEEP
    assert not settings.merge_slashes
    assert settings.limits == Limits(request_head=32 * 1024, body=10_000_000, connections=5)
    assert settings.timeouts == Timeouts(keep_alive=5.0, drain=0.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("limits: { request_head: 10 }", "limits.request_head: '10' is out of range, expected 1KiB to 1MiB"),
        ("limits: { headers: 0 }", "limits.headers: 0 is out of range, expected a whole number from 1 to 10000"),
        ("limits: { body: 1.5MB }", "limits.body: '1.5MB' is not a size, expected bytes or a"),
        ("limits: { bdy: 1 }", "limits.bdy: unknown key, did you mean 'body'?"),
        ("limits: ~", "limits: expected limits, a mapping with request_head, "),
        ("timeouts: { connect: 0s }", "timeouts.connect: '0s' is no time at all, expected more than 0"),
        ("timeouts: { connect_ms: 0 }", "timeouts.connect_ms: '0' is no time at all, expected more than 0"),
        ("timeouts: { worker_hang: 999ms }", "timeouts.worker_hang: '999ms' is too short, expected 0 or at least 1s"),
        ("timeouts: { connect: soon }", "timeouts.connect: 'soon' is not a duration"),
        ("access_log: { format: xml }", "access_log.format: 'xml' is not known, expected json or text or off"),
        ("access_log: { path: /var/log/ }", "access_log.path: '/var/log/' is not a file, expected stdout, stderr or"),
        ("access_log: { min_status: 600 }", "access_log.min_status: 600 is out of range"),
        ("records: { size: 65537 }", "records.size: 65537 is out of range, expected a whole number from 0 to 65536"),
        ("records: { errors: -1 }", "records.errors: -1 is out of range, expected a whole number from 0 to 65536"),
        ("records: { sample: 2 }", "records.sample: 2 is out of range, expected a number from 0 to 1"),
        ("records: { sample: 10% }", "records.sample: '10%' is not a number, expected a number from 0 to 1"),
        ("access_log: { status: [5xx] }", "access_log.status[0]: '5xx' is no status, expected one from 100 to 599, or"),
        ("access_log: { status: [599-500] }", "access_log.status[0]: 599-500 ends before it begins"),
        ("access_log: { flags: [uf] }", "access_log.flags[0]: 'uf' is no response flag, did you mean UF?"),
        ("access_log: { flags: [X] }", "access_log.flags[0]: 'X' is no response flag, expected any or one of NR, NC, "),
        ("access_log: { retries: 1 }", "access_log.retries: unknown key, did you mean 'retried'?"),
        ("access_log: { filters: [{ min_statu: 1 }] }", "access_log.filters[0].min_statu: unknown key, did you mean"),
        ("workers: many", "workers: 'many' is not a whole number, expected a whole number from 0 to 62 or 'auto'"),
        ("workers: 65", "workers: 65 is out of range"),
        ("instance: a b", "instance: 'a b' is not a token"),
        ("trusted_proxies: 10.0.0.0/8", "trusted_proxies: expected a list, got '10.0.0.0/8' (write [10.0.0.0/8])"),
        ("trusted_proxies: [ 1.2.3.4, 1.2.3.4/32 ]", "trusted_proxies[1]: '1.2.3.4/32' is given twice, first as entry"),
        ("path_escapes: decode", "path_escapes: 'decode' is not known, expected reject or keep"),
        ("merge_slashes: 1", "merge_slashes: '1' is neither, expected true or false"),
        ("metrics: {}", "metrics.address: missing, expected host:port or unix:PATH"),
        ("admin: { address: 0.0.0.0:9900 }", "admin.address: others can reach '0.0.0.0:9900', expected a token"),
        ("admin: { address: ':9900' }", "admin.address: others can reach '0.0.0.0:9900', expected a token"),
        ("listener: []", "listener: unknown key, did you mean 'listeners'?"),
        ("listeners: [ { name: a/b, address: ':1' } ]", "listeners[0].name: 'a/b' is not a name"),
        ("listeners: [ { name: a } ]", "listeners[0].address: missing, expected host:port, :port, [v6]:port or unix:"),
    ],
)
def test_what_the_top_may_not_say(problems: Problems, text: str, problem: str) -> None:
    [found] = problems(text)
    assert found.split(": ", 1)[1].startswith(problem)


def test_an_address_that_others_reach_needs_a_token(problems: Problems) -> None:
    assert problems("admin: { address: 0.0.0.0:9900, token: s3cret }") == []


@pytest.mark.parametrize("token", ["'s3 cret'", '"s3\\ncret"', "''", "[s3cret]", "s3" + "x" * 5000])
def test_a_bad_token_is_not_repeated(problems: Problems, token: str) -> None:
    [found] = problems(f"admin: {{ address: 0.0.0.0:9900, token: {token} }}")
    assert found.startswith("1:40: admin.token: ")
    assert "s3" not in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "listeners: [ { name: a, address: ':1' }, { name: a, address: ':2' } ]",
            "1:50: listeners[1].name: 'a' is already the name of entry [0] in line 1",
        ),
        (
            "listeners: [ { name: a, address: ':1' }, { name: b, address: '0.0.0.0:1' } ]",
            "1:62: listeners[1].address: '0.0.0.0:1' is already the address of listeners[0] in line 1",
        ),
        (
            "admin: { address: 'localhost:1' }\nlisteners: [ { name: a, address: '127.0.0.1:1' } ]",
            "2:34: listeners[0].address: '127.0.0.1:1' is already the address of admin in line 1",
        ),
        (
            "metrics: { address: '[::1]:1' }\nadmin: { address: '[0::1]:1' }",
            "2:19: admin.address: '[::1]:1' is already the address of metrics in line 1",
        ),
    ],
)
def test_names_and_addresses_are_taken_once(problems: Problems, text: str, problem: str) -> None:
    assert problems(text) == [problem]
