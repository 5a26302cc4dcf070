from __future__ import annotations

import pytest

from proxy.admin.access import Access, host_of


def status(access: Access, method: str = "GET", path: str = "/v1/stats", **headers: str) -> int:
    """The status of the refusal, or 200."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    refusal = access.refusal(method, path, names)
    return 200 if refusal is None else refusal.status


LOOPBACK = Access("127.0.0.1:9900")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9900", "127.0.0.1", "localhost:9900", "LOCALHOST", "localhost.", "[::1]:9900", "127.9.9.9:80"]
)
def test_loopback_names_are_ours(host: str) -> None:
    assert status(LOOPBACK, Host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1:9900", "", "[", "[::2]", ":"]
)
def test_any_other_name_is_a_rebound_one(host: str) -> None:
    assert status(LOOPBACK, Host=host) == 421


def test_a_request_without_host_is_refused() -> None:
    assert status(LOOPBACK) == 421


def test_the_configured_address_is_ours_and_its_neighbour_is_not() -> None:
    access = Access("10.1.2.3:9900", "secret")
    token = {"Authorization": "Bearer secret"}
    assert status(access, Host="10.1.2.3:9900", **token) == 200
    assert status(access, Host="10.1.2.4:9900", **token) == 421
    assert status(Access("[fd00::1]:9900"), Host="[FD00::1]:9900") == 200


def test_the_wildcard_address_takes_addresses_and_no_names() -> None:
    access = Access("0.0.0.0:9900")
    assert status(access, Host="192.0.2.7:9900") == 200
    assert status(access, Host="proxy.example:9900") == 421


def test_a_unix_socket_has_no_names_to_rebind() -> None:
    assert status(Access("unix:/run/h.sock"), Host="anything") == 200
    assert status(Access("unix:/run/h.sock")) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://127.0.0.1:9900"},
    ],
)
def test_a_page_of_another_site_may_not_change_anything(headers: dict[str, str]) -> None:
    assert status(LOOPBACK, "POST", "/v1/reload", Host="127.0.0.1:9900", **headers) == 403
    assert status(LOOPBACK, "DELETE", "/v1/reload", Host="127.0.0.1:9900", **headers) == 403


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec_Fetch_Site": "none"}, {"Sec_Fetch_Site": "same-origin", "Origin": "http://127.0.0.1:9900"}],
)
def test_a_program_or_our_own_page_may(headers: dict[str, str]) -> None:
    assert status(LOOPBACK, "POST", "/v1/reload", Host="127.0.0.1:9900", **headers) == 200


def test_with_a_token_everything_but_the_probes_needs_it() -> None:
    access = Access("127.0.0.1:9900", "s3cret")
    for path in ("/v1/stats", "/metrics", "/v1/config", "/nothing"):
        assert status(access, path=path, Host="localhost") == 401
        assert status(access, path=path, Host="localhost", Authorization="Bearer s3cret") == 200
    for path in ("/livez", "/readyz"):
        assert status(access, path=path, Host="localhost") == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "s3cret",
        "Bearer",
        "Bearer ",
        "Bearer s3cre",
        "Bearer s3crets",
        "Basic s3cret",
        "Bearer S3CRET",
        "Bearer \udcff",
    ],
)
def test_a_wrong_token_is_refused(authorization: str) -> None:
    assert status(Access("127.0.0.1:9900", "s3cret"), Host="localhost", Authorization=authorization) == 401


def test_the_scheme_of_the_token_may_be_in_any_case() -> None:
    assert status(Access("127.0.0.1:9900", "s3cret"), Host="localhost", Authorization="bearer s3cret") == 200


def test_the_host_of_an_authority() -> None:
    assert [host_of(text) for text in ("a:1", "[::1]:2", "[::1]", "A.b", "")] == ["a", "::1", "::1", "a.b", ""]
