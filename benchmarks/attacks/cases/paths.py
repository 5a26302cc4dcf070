"""Paths: /secret is denied by the proxy, and no spelling of it may reach the server under an open one.

Every answer but one that lets a server find /secret is right: refusing, redirecting, or forwarding a path that no
server takes for it. Double encoding stays what it is: who decodes twice opens it himself.
"""

from __future__ import annotations

from benchmarks.attacks.case import ANSWERED, EITHER, FORWARDED, HOST, REFUSED, Table

TABLE = Table("paths", "RFC 3986 6.2.2, RFC 9110 17.3: an access rule counts for all spellings of a path")
ANY = EITHER | ANSWERED


def path(id: str, what: str, text: bytes, right: frozenset = ANY, **more: object) -> None:  # type: ignore[type-arg]
    line = f"GET {text.decode('latin-1').partition('?')[0]}"
    more.setdefault("seen", (line, "GET /after"))
    more.setdefault("clean_path", True)
    TABLE.request(id, what, b"GET " + text + b" HTTP/1.1\r\n" + HOST + b"\r\n", right=right, **more)


path("denied", "/secret itself", b"/secret", REFUSED, statuses=frozenset({403}))
path("denied below", "/secret/x", b"/secret/x", REFUSED, statuses=frozenset({403}))
path("not denied", "/secretly is another path", b"/secretly", FORWARDED, clean_path=False)
path("dot segments", "/open/../secret", b"/open/../secret/x")
path("dot segments above the root", "/../../secret", b"/../../secret/x")
path("one dot", "/./secret", b"/./secret/x")
path("encoded dots", "/open/%2e%2e/secret", b"/open/%2e%2e/secret/x")
path("one dot encoded", "/open/.%2e/secret", b"/open/.%2e/secret/x")
path("other dot encoded", "/open/%2E./secret", b"/open/%2E./secret/x")
path("encoded dot alone", "/%2e/secret", b"/%2e/secret/x")
path("encoded letter", "/%73ecret", b"/%73ecret/x")
path("all encoded", "/%73%65%63%72%65%74", b"/%73%65%63%72%65%74/x")
path("double slash", "//secret", b"//secret/x")
path("triple slash", "///secret", b"///secret/x")
path("slash and dots", "/open//../secret with merged slashes is /secret", b"/open//../secret/x")
path("slash and two dots", "/open//../../secret", b"/open//../../secret/x")
path("encoded slash", "/open%2f..%2fsecret", b"/open%2f..%2fsecret/x")
path("encoded slash first", "/%2fsecret", b"/%2fsecret/x")
path("encoded slash after", "/secret%2fx", b"/secret%2fx")
path("encoded slash before dots", "/open/..%2fsecret", b"/open/..%2fsecret/x")
path("backslash", "/open\\..\\secret", b"/open\\..\\secret/x")
path("backslash first", "/\\secret", b"/\\secret/x")
path("encoded backslash", "/open%5c..%5csecret", b"/open%5c..%5csecret/x")
path("encoded backslash before dots", "/open/..%5csecret", b"/open/..%5csecret/x")
# What a parameter of a segment means is the server's own business (RFC 3986 3.3); rules for servers that drop them have
# to say so.
PARAMETER = {"clean_path": False, "source": "RFC 3986 3.3: parameters are opaque"}
path("parameter on dots", "/open/..;/secret, which Tomcat resolves", b"/open/..;/secret/x", EITHER, **PARAMETER)
path("parameter on the name", "/secret;a=b/x", b"/secret;a=b/x", EITHER, **PARAMETER)
path("NUL after", "/secret%00", b"/secret%00/x")
path("NUL in the middle", "/open%00/../secret", b"/open%00/../secret/x")
path("NUL cuts", "/secret/x%00.png", b"/secret/x%00.png")
path(
    "double encoded dots",
    "/open/%252e%252e/secret",
    b"/open/%252e%252e/secret/x",
    right=EITHER,
    source="RFC 3986 2.4: never decoded twice",
)
path("double encoded slash", "/open/..%252fsecret", b"/open/..%252fsecret/x", right=EITHER, source="RFC 3986 2.4")
path("overlong UTF-8 dot", "%c0%ae%c0%ae", b"/open/%c0%ae%c0%ae/secret/x", right=EITHER, source="RFC 3629 3")
path("overlong UTF-8 slash", "%c0%af", b"/open/..%c0%afsecret/x", right=EITHER, source="RFC 3629 3")
path("fullwidth slash", "U+FF0F", b"/open/..%ef%bc%8fsecret/x", right=EITHER, source="RFC 3986 2.5")
path("bad escape", "%zz", b"/open/%zz/x", right=EITHER, source="RFC 3986 2.1")
path("escape cut short", "%2 at the end", b"/open/%2", right=EITHER, source="RFC 3986 2.1")
path("escape of a percent sign", "/open/%25", b"/open/%25", FORWARDED, targets=(b"/open/%25",), source="RFC 3986 2.4")
path("escape of a space", "stays escaped", b"/open/a%20b", FORWARDED, targets=(b"/open/a%20b",), source="RFC 3986 2.4")
path(
    "escape of a question mark",
    "stays escaped",
    b"/open/a%3fb",
    FORWARDED,
    targets=(b"/open/a%3fb", b"/open/a%3Fb"),
    source="RFC 3986 2.4",
)
path(
    "escape of a number sign",
    "stays escaped",
    b"/open/a%23b",
    FORWARDED,
    targets=(b"/open/a%23b",),
    source="RFC 3986 2.4",
)
path("escape of CRLF", "stays escaped", b"/open/a%0d%0aX-B:%201", EITHER, lacks=(b"x-b",), source="RFC 3986 2.4")
path(
    "dots in the query",
    "/open?/../secret stays",
    b"/open?/../secret/x",
    FORWARDED,
    targets=(b"/open?/../secret/x",),
    source="RFC 3986 3.4",
)
path("encoded question mark before dots", "/open%3f/../../secret", b"/open%3f/../../secret/x")
path("three dots", "/... is a name", b"/.../secret", FORWARDED, clean_path=False)
path("dots and a suffix", "/..secret is a name", b"/..secret", FORWARDED, clean_path=False)
path("other case", "/SECRET is another path", b"/SECRET/x", FORWARDED, clean_path=False, source="RFC 3986 6.2.2.1")
path("rewritten to the denied", "/old/../secret", b"/old/../secret/x")
path("rewritten and climbing", "/old/%2e%2e/%2e%2e/secret", b"/old/%2e%2e/%2e%2e/secret/x")
path("redirect and climbing", "/moved/../secret", b"/moved/../secret/x")
