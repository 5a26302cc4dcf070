"""The cookies of affinity and of sticky splits: what they say, to whom, and what cannot be made."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Endpoint, TrafficSplit
from discovery.policies import Affinity, KeyKind
from mesh.affinity import ENDPOINT, VERSION, Cookie, Seal, affinities_for, cookie_name, joined, stickiness_for
from mesh.balance import Candidate
from mesh.bonds import Bond
from mesh.request import SampleRequest

COOKIE = Affinity(name="hm")
TEXT = st.text(max_size=20)


@given(TEXT, TEXT, st.lists(TEXT, max_size=3))
def test_a_value_is_known_again_by_whoever_has_the_secret(secret: str, owner: str, parts: list[str]) -> None:
    seal = Seal(secret, ENDPOINT, owner)
    value = seal.value(*parts)
    assert len(value) == 24 and value.replace(b"-", b"").replace(b"_", b"").isalnum()
    assert seal.is_ours(value) and Seal(secret, ENDPOINT, owner).value(*parts) == value
    assert not Seal(secret + "x", ENDPOINT, owner).is_ours(value)
    assert not Seal(secret, ENDPOINT, owner + "x").is_ours(value)
    assert not Seal(secret, VERSION, owner).is_ours(value)


@given(st.binary(max_size=40))
def test_what_others_made_is_not_ours(value: bytes) -> None:
    assert not Seal("secret", ENDPOINT, "app").is_ours(value)


@given(st.integers(0, 23), st.integers(0, 255))
def test_a_changed_value_is_not_ours(at: int, byte: int) -> None:
    seal = Seal("secret", ENDPOINT, "app")
    value = seal.value("a", "10.0.0.1:80")
    changed = value[:at] + bytes([byte]) + value[at + 1 :]
    assert seal.is_ours(changed) is (changed == value)


def test_names_of_different_things_differ() -> None:
    seal = Seal("secret", ENDPOINT, "app")
    values = {seal.value(*parts) for parts in (("a", "b"), ("ab", ""), ("", "ab"), ("a", "b", ""), ("a",), ("b", "a"))}
    assert len(values) == 6


def test_neither_an_address_nor_the_secret_can_be_read_from_a_cookie() -> None:
    # Two services with the same endpoint have nothing in common in their cookies.
    candidate = Candidate(Endpoint(id="a", address="10.0.0.1:80"))
    lines = []
    for service in ("one", "two"):
        made = affinities_for(service, COOKIE, "secret", [candidate])
        line = made.line(candidate, Bond(made, False))
        assert line is not None
        lines.append(line.partition(b"=")[2].partition(b";")[0])
    assert lines[0][:12] != lines[1][:12] and lines[0][12:] != lines[1][12:]


def test_a_cookie_without_a_name_is_called_after_its_owner() -> None:
    names = {
        cookie_name(Affinity(), purpose, owner) for purpose in (ENDPOINT, VERSION) for owner in ("service/a", "route/a")
    }
    assert len(names) == 4 and all(name.startswith("hm-") and len(name) == 11 for name in names)
    assert cookie_name(COOKIE, ENDPOINT, "service/a") == "hm"


def test_the_line_says_what_is_configured() -> None:
    line = Cookie("hm", Affinity(ttl=0.5, path="/a", secure=True, same_site="Strict")).with_values([b"v"])
    assert line == b"Set-Cookie: hm=v; Path=/a; Max-Age=1; HttpOnly; Secure; SameSite=Strict\r\n"


# --- splits -------------------------------------------------------------------------------------------------------

SHARES = (
    TrafficSplit(version="v1", weight=90),
    TrafficSplit(version="v2", weight=10),
    TrafficSplit(version="v3", weight=0),
)


def user(name: object) -> SampleRequest:
    return SampleRequest(headers=[(b"x-user", str(name).encode())])


def test_clients_are_drawn_evenly_and_alike() -> None:
    sticky = stickiness_for("service/app", Affinity(kind=KeyKind.HEADER, name="X-User"), "s", SHARES)
    drawn = [sticky.draw(user(number)) for number in range(10_000)]
    assert drawn == [sticky.draw(user(number)) for number in range(10_000)]
    tenths = Counter(int(number * 10) for number in drawn if number is not None)
    assert all(abs(tenths[tenth] - 1000) < 5 * 30 for tenth in range(10))
    assert sticky.draw(SampleRequest()) is None
    assert sticky.share(user(1)) is None and sticky.line(SHARES[0], user(1)) is None


def test_two_splits_draw_independently() -> None:
    affinity = Affinity(kind=KeyKind.HEADER, name="x-user")
    one, two = (stickiness_for(f"service/{name}", affinity, "s", SHARES) for name in ("one", "two"))
    both = Counter()
    for number in range(10_000):
        first, second = one.draw(user(number)), two.draw(user(number))
        assert first is not None and second is not None
        both[first < 0.5, second < 0.5] += 1
    assert all(abs(count - 2500) < 5 * 44 for count in both.values())


def test_a_cookie_names_a_share() -> None:
    sticky = stickiness_for("service/app", COOKIE, "s", SHARES)
    for share in SHARES:
        line = sticky.line(share, user(1))
        assert line is not None
        cookie = line.removeprefix(b"Set-Cookie: ").partition(b";")[0]
        assert sticky.share(SampleRequest(headers=[(b"cookie", b"x=1; " + cookie)])) is share
        other = stickiness_for("service/other", COOKIE, "s", SHARES)
        assert other.share(SampleRequest(headers=[(b"cookie", cookie)])) is None
    assert sticky.share(SampleRequest()) is None and sticky.draw(user(1)) is None


def test_two_lines_of_one_cookie_become_one() -> None:
    split = b"Set-Cookie: hm=S.x; Path=/\r\n"
    bond = b"Set-Cookie: hm=B.x; Path=/; HttpOnly\r\n"
    other = b"Set-Cookie: hm2=C; Path=/\r\n"
    assert joined(split, bond) == b"Set-Cookie: hm=B.S.x; Path=/; HttpOnly\r\n"
    assert joined(split, other) == split + other
    assert joined(split + other, bond) == other + b"Set-Cookie: hm=B.S.x; Path=/; HttpOnly\r\n"
