"""Filters become bytes that the proxy copies, and never bytes that end a header early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import HeaderEdit, Redirect, UrlRewrite
from mesh.edits import EditError, compile_request_edit, location, rewrite_target


def test_no_edit_is_an_empty_plan() -> None:
    assert compile_request_edit(None) == (frozenset(), b"")
    assert compile_request_edit(HeaderEdit()) == (frozenset(), b"")


def test_setting_is_dropping_and_appending_and_names_keep_their_case() -> None:
    edit = HeaderEdit(set={"X-Env": "demo"}, add={"X-Tag": " b "}, remove=("X-Debug",))
    assert compile_request_edit(edit) == ({b"x-env", b"x-debug"}, b"X-Env: demo\r\nX-Tag: b\r\n")


def test_a_header_that_is_removed_and_set_is_set() -> None:
    plan = compile_request_edit(HeaderEdit(remove=("x-a",), set={"X-A": "1"}))
    assert plan == ({b"x-a"}, b"X-A: 1\r\n")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (HeaderEdit(set={"X A": "1"}), "'X A'"),
        (HeaderEdit(add={"": "1"}), "''"),
        (HeaderEdit(remove=("x:",)), "'x:'"),
        (HeaderEdit(set={"X-A": "1\r\nX-B: 2"}), "'X-A'"),
        (HeaderEdit(add={"X-A": "1\x00"}), "'X-A'"),
        (HeaderEdit(set={"Content-Length": "3"}), "'Content-Length'"),
        (HeaderEdit(remove=("Transfer-Encoding",)), "'Transfer-Encoding'"),
        (HeaderEdit(set={"Host": "x"}), "url_rewrite"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(edit: HeaderEdit, message: str) -> None:
    with pytest.raises(EditError, match=message):
        compile_request_edit(edit)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=3))
def test_a_plan_has_one_line_per_header(headers: dict[str, str]) -> None:
    try:
        plan = compile_request_edit(HeaderEdit(set=headers))
    except EditError:
        return
    lines = plan.append.split(b"\r\n")
    assert lines.pop() == b""
    assert len(lines) == len(headers)
    assert all(b"\r" not in line and b"\n" not in line and b":" in line for line in lines)


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        (Redirect(), b"http://shop.local:8080/api/items?q=1"),
        (Redirect(scheme="https"), b"https://shop.local/api/items?q=1"),
        (Redirect(scheme="http"), b"http://shop.local:8080/api/items?q=1"),
        (Redirect(scheme="https", port=443), b"https://shop.local/api/items?q=1"),
        (Redirect(scheme="https", port=8443), b"https://shop.local:8443/api/items?q=1"),
        (Redirect(port=80), b"http://shop.local/api/items?q=1"),
        (Redirect(host="example.org"), b"http://example.org:8080/api/items?q=1"),
        (Redirect(host="example.org", port=80), b"http://example.org/api/items?q=1"),
        (Redirect(path="/login"), b"http://shop.local:8080/login?q=1"),
        (Redirect(path_prefix="/v2"), b"http://shop.local:8080/v2/items?q=1"),
        (Redirect(path_prefix="/"), b"http://shop.local:8080/items?q=1"),
    ],
)
def test_a_redirect_changes_what_it_names_and_keeps_the_rest(redirect: Redirect, expected: bytes) -> None:
    assert location(redirect, b"/api", b"http", b"shop.local:8080", b"/api/items", b"q=1") == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [(b"h", b"https://h/"), (b"h:80", b"https://h/"), (b"[::1]", b"https://[::1]/"), (b"[::1]:80", b"https://[::1]/")],
)
def test_a_redirect_to_https_leaves_the_port_behind(host: bytes, expected: bytes) -> None:
    assert location(Redirect(scheme="https"), b"/", b"http", host, b"/", b"") == expected


def test_a_redirect_is_always_absolute() -> None:
    """A path that begins with two slashes would otherwise name another host."""
    redirect = Redirect(path_prefix="/")
    assert location(redirect, b"/a", b"http", b"h", b"/a//evil.org", b"") == b"http://h//evil.org"


def test_rewriting_a_path() -> None:
    assert rewrite_target(UrlRewrite(path_prefix="/app"), b"/", b"/x") == b"/app/x"
    assert rewrite_target(UrlRewrite(path_prefix="/"), b"/app", b"/app") == b"/"
    assert rewrite_target(UrlRewrite(path="/fixed"), b"/", b"/x") == b"/fixed"
    assert rewrite_target(UrlRewrite(host="h"), b"/", b"/x") == b"/x"
