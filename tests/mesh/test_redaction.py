from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.redaction import REDACTED, Redaction, is_secret, redacted_path


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "/"),
        ("/a?", "/a?"),
        ("/a?id=7", "/a?id=(redacted)"),
        ("/a?id=7&&name=x=y&flag", "/a?id=(redacted)&&name=(redacted)&(redacted)"),
        ("/a?b?c=d", "/a?b?c=(redacted)"),
        ("*", "*"),
        ("/a;jsessionid=7;v/b;c=d?e=f", "/a;jsessionid=(redacted);v/b;c=(redacted)?e=(redacted)"),
        ("http://ann:pw@shop.test/a?b=c", "http://(redacted)@shop.test/a?b=(redacted)"),
        ("http://shop.test/a@b", "http://shop.test/a@b"),
    ],
)
def test_values_of_a_query_are_hidden(path: str, shown: str) -> None:
    assert redacted_path(path) == shown


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("authorization", True),
        ("cookie", True),
        ("set-cookie", True),
        ("proxy-authorization", True),
        ("x-api-key", True),
        ("x-csrf-token", True),
        ("x-session-id", True),
        ("client-secret", True),
        ("x-password", True),
        ("x-apikey", True),
        ("api-key", True),
        ("x-goog-iap-jwt-assertion", True),
        ("x-amz-signature", True),
        ("authentication", True),
        ("accept", False),
        ("x-request-id", False),
    ],
)
def test_which_headers_are_hidden(name: str, secret: bool) -> None:
    assert is_secret(name) is secret
    assert (Redaction("s").header(name, "value") == "value") is not secret


def test_of_headers_that_are_urls_the_values_are_hidden() -> None:
    assert Redaction("s").header("referer", "http://shop.test/a?token=7") == "http://shop.test/a?token=(redacted)"


def test_equal_values_have_equal_hashes_of_one_secret_only() -> None:
    one, other = Redaction("one"), Redaction("other")
    shown = one.header("cookie", "a=b")
    assert shown.startswith(f"{REDACTED} ")
    assert shown == Redaction("one").header("cookie", "a=b")
    assert shown == one.header("authorization", "a=b")
    assert len({shown, one.header("cookie", "a=c"), other.header("cookie", "a=b")}) == 3


@given(st.text(max_size=80), st.text(max_size=40))
def test_any_text_can_be_hidden(path: str, value: str) -> None:
    """What is left has the same shape, and nothing of a value."""
    shown = redacted_path(path)
    assert shown.partition("?")[2].count("&") == path.partition("?")[2].count("&")
    assert redacted_path(shown).count(REDACTED) == shown.count(REDACTED)
    assert len(Redaction("s").header("cookie", value)) == len(REDACTED) + 1 + 8
