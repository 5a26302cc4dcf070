"""Paths have one spelling, however they were written, and never leave their root."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import EscapePolicy
from mesh.paths import PathError, TargetForm, is_plain, normalise, origin, replace_prefix

KEEP, REJECT = EscapePolicy.KEEP, EscapePolicy.REJECT


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", b"/"),
        (b"*", b"*"),
        (b"/a/b", b"/a/b"),
        (b"/a/b/", b"/a/b/"),
        (b"/a/b/c/./../../g", b"/a/g"),  # RFC 3986 section 5.2.4
        (b"/mid/content=5/../6", b"/mid/6"),
        (b"/.", b"/"),
        (b"/..", b"/"),
        (b"/../../a", b"/a"),
        (b"/a/..", b"/"),
        (b"/a/.", b"/a/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/...", b"/a/..."),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/a/.%2e/b", b"/b"),
        (b"/%61%2Db%5f%7E", b"/a-b_~"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        (b"/%25%34%31", b"/%2541"),
        (b"/a%3bb%3f%23", b"/a%3Bb%3F%23"),
        (b"/a;b=c,d:@!$&'()*+", b"/a;b=c,d:@!$&'()*+"),
        (b"//a///b//", b"/a/b/"),
        (b"/a//../b", b"/b"),
        (b"/a//.", b"/a/"),
        (b"//", b"/"),
    ],
)
def test_a_path_has_one_spelling(path: bytes, expected: bytes) -> None:
    assert normalise(path, REJECT, True) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [(b"//a///b//", b"//a///b//"), (b"/a//../b", b"/a/b"), (b"/.//a", b"//a"), (b"//..", b"/"), (b"//", b"//")],
)
def test_slashes_are_left_alone_when_they_are_not_merged(path: bytes, expected: bytes) -> None:
    assert normalise(path, REJECT, False) == expected


@pytest.mark.parametrize("path", [b"/a%2fb", b"/a%2F..%2f", b"/a%5Cb", b"/a%5c", b"/a\\b"])
def test_encoded_separators_are_refused_or_kept_but_never_decoded(path: bytes) -> None:
    with pytest.raises(PathError, match="at byte"):
        normalise(path, REJECT, True)
    kept = normalise(path, KEEP, True)
    assert kept == path.replace(b"%2f", b"%2F").replace(b"%5c", b"%5C").replace(b"\\", b"%5C")


@pytest.mark.parametrize("policy", [KEEP, REJECT])
@pytest.mark.parametrize(
    "path",
    [
        b"/%00",
        b"/a%00b",
        b"/\x00",
        b"/%",
        b"/%4",
        b"/%4g",
        b"/%g4",
        b"/%%41",
        b"/% 1",
        b"/%-1",
        b"/a b",
        b"/\t",
        b"/\x7f",
        b"/\xff",
        b"/\xc3\xa9",
        b"/a?b",
        b"/a#b",
        b"",
        b"a",
        b"a/b",
        b"**",
    ],
)
def test_what_is_no_path_is_refused(path: bytes, policy: EscapePolicy) -> None:
    with pytest.raises(PathError):
        normalise(path, policy, True)


path_bytes = st.one_of(
    st.binary(max_size=30).map(lambda tail: b"/" + tail),
    st.lists(
        st.sampled_from(
            [b"/", b"/", b".", b"..", b"a", b"%2e", b"%2E", b"%2F", b"%5c", b"%61", b"%25", b"2e", b"\\", b"%"]
        ),
        max_size=14,
    ).map(lambda pieces: b"/" + b"".join(pieces)),
)


@given(path_bytes, st.sampled_from([KEEP, REJECT]), st.booleans())
def test_normalising_twice_changes_nothing_and_no_dot_segment_stays(
    path: bytes, policy: EscapePolicy, merge: bool
) -> None:
    try:
        once = normalise(path, policy, merge)
    except PathError:
        assert not is_plain(path)
        return
    assert normalise(once, policy, merge) == once
    segments = once.split(b"/")
    assert segments[0] == b""
    assert b"." not in segments and b".." not in segments
    assert not merge or b"//" not in once
    assert b"%2e" not in once.lower() and b"\\" not in once
    if is_plain(path):
        assert once == path


@given(path_bytes)
def test_keeping_escapes_never_makes_a_separator(path: bytes) -> None:
    try:
        kept = normalise(path, KEEP, False)
    except PathError:
        return
    assert kept.count(b"/") <= path.count(b"/")


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        (b"/", True),
        (b"/a/b.c/", True),
        (b"*", True),
        (b"", False),
        (b"a", False),
        (b"/a//b", False),
        (b"/a%20", False),
        (b"/a/../b", False),
        (b"/\\", False),
        (b"/\x80", False),
        (b"/a ", False),
        (b"/a?", False),
        (b"/a~!", True),
    ],
)
def test_plain_paths_are_recognised(path: bytes, plain: bool) -> None:
    assert is_plain(path) is plain


@pytest.mark.parametrize(
    ("path", "prefix", "replacement", "expected"),
    [  # Gateway API, HTTPPathModifier, ReplacePrefixMatch
        (b"/foo/bar", b"/foo", b"/xyz", b"/xyz/bar"),
        (b"/foo/bar", b"/foo", b"/xyz/", b"/xyz/bar"),
        (b"/foo/bar", b"/foo/", b"/xyz", b"/xyz/bar"),
        (b"/foo/bar", b"/foo/", b"/xyz/", b"/xyz/bar"),
        (b"/foo", b"/foo", b"/xyz", b"/xyz"),
        (b"/foo/", b"/foo", b"/xyz", b"/xyz/"),
        (b"/foo/bar", b"/foo", b"", b"/bar"),
        (b"/foo/bar", b"/foo", b"/", b"/bar"),
        (b"/foo/", b"/foo", b"", b"/"),
        (b"/foo", b"/foo", b"", b"/"),
        (b"/foo/", b"/foo", b"/", b"/"),
        (b"/foo", b"/foo", b"/", b"/"),
        # a route for everything, put below a folder
        (b"/", b"/", b"/app", b"/app/"),
        (b"/x", b"/", b"/app", b"/app/x"),
    ],
)
def test_prefixes_are_replaced_by_whole_elements(
    path: bytes, prefix: bytes, replacement: bytes, expected: bytes
) -> None:
    assert replace_prefix(path, prefix, replacement) == expected


@pytest.mark.parametrize(("path", "prefix"), [(b"/foobar", b"/foo"), (b"/bar", b"/foo"), (b"/", b"/foo")])
def test_replacing_a_prefix_that_did_not_match_is_an_error(path: bytes, prefix: bytes) -> None:
    with pytest.raises(ValueError, match="does not begin with"):
        replace_prefix(path, prefix, b"/xyz")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/", (TargetForm.ORIGIN, b"", b"", b"/", b"", False)),
        (b"/a?b=c?d", (TargetForm.ORIGIN, b"", b"", b"/a", b"b=c?d", True)),
        (b"/a?", (TargetForm.ORIGIN, b"", b"", b"/a", b"", True)),
        (b"//h/a", (TargetForm.ORIGIN, b"", b"", b"//h/a", b"", False)),
        (b"/a://b", (TargetForm.ORIGIN, b"", b"", b"/a://b", b"", False)),
        (b"*", (TargetForm.ASTERISK, b"", b"", b"*", b"", False)),
        (b"http://h", (TargetForm.ABSOLUTE, b"http", b"h", b"/", b"", False)),
        (b"HTTPS://H:8/a/b?c", (TargetForm.ABSOLUTE, b"https", b"H:8", b"/a/b", b"c", True)),
        (b"http://h?a=/b@c", (TargetForm.ABSOLUTE, b"http", b"h", b"/", b"a=/b@c", True)),
        (b"http://[::1]:8/", (TargetForm.ABSOLUTE, b"http", b"[::1]:8", b"/", b"", False)),
    ],
)
def test_targets_are_taken_apart(target: bytes, expected: tuple[object, ...]) -> None:
    assert tuple(origin(target)) == expected


def test_options_may_ask_the_whole_server_in_two_ways() -> None:
    assert origin(b"*", b"OPTIONS").path == b"*"
    assert origin(b"http://h", b"OPTIONS").path == b"*"
    assert origin(b"http://h/", b"OPTIONS").path == b"/"
    assert origin(b"http://h?q", b"OPTIONS").path == b"/"
    assert origin(b"http://h", b"GET").path == b"/"


@pytest.mark.parametrize(
    ("target", "method"),
    [
        (b"h:443", b"CONNECT"),
        (b"h", b""),
        (b"", b""),
        (b"ftp://h/", b""),
        (b"http:/h", b""),
        (b"http://", b""),
        (b"http:///a", b""),
        (b"http://:80/", b""),
        (b"http://u@h/", b""),
        (b"/a#b", b""),
        (b"http://h#", b""),
        (b"*", b"GET"),
        (b"*a", b"OPTIONS"),
        (b"a/b", b""),
    ],
)
def test_other_targets_are_refused(target: bytes, method: bytes) -> None:
    with pytest.raises(PathError, match="request target"):
        origin(target, method)


@given(st.binary(max_size=40), st.sampled_from([b"", b"GET", b"OPTIONS", b"CONNECT"]))
def test_any_target_is_taken_apart_or_refused(target: bytes, method: bytes) -> None:
    try:
        found = origin(target, method)
    except PathError:
        return
    assert found.path.startswith(b"/") or found.path == b"*"
    assert found.has_query or not found.query
