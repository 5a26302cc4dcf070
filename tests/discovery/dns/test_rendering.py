"""Sizes, pointers, rotation and variants of answers: what a sender relies on."""

from __future__ import annotations

from collections import Counter

import dns.message
import pytest
from dns_answers import ask, read, zone

from discovery.dns.answer import Answer
from discovery.dns.names import NameProblem, wire_name
from discovery.dns.records import MAX_MESSAGE
from discovery.dns.zone import Zone
from discovery.model import DnsOrder, DnsPolicy, DnsSettings, Endpoint, Service

NAME = "web.service.hivemesh"


def answer_of(asked: Zone, qtype: str = "A", name: str = NAME) -> Answer:
    answer = ask(asked, name, qtype)
    assert answer is not None
    return answer


def service(count: int, v6: bool = False, order: DnsOrder | None = None, weight: int = 1) -> Service:
    endpoints = tuple(
        Endpoint(
            id=str(number),
            address=f"[fd00::{number:x}]:80" if v6 else f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:80",
            weight=1 if number else weight,
        )
        for number in range(count)
    )
    return Service(name="web", endpoints=endpoints, dns=DnsPolicy(order=order))


@pytest.mark.parametrize(("v6", "qtype", "size"), [(False, "A", 16), (True, "AAAA", 28)])
@pytest.mark.parametrize("count", [1, 2, 100])
def test_addresses_stand_side_by_side_and_point_to_the_question(v6: bool, qtype: str, size: int, count: int) -> None:
    answer = answer_of(zone(service(count, v6)), qtype)
    start, step, records = answer.rotation
    assert (step, records) == (size, count)
    assert start == 12 + len(wire_name(NAME)) + 4
    assert len(answer.wire) == start + step * records
    pieces = [answer.wire[at : at + step] for at in range(start, len(answer.wire), step)]
    assert all(piece.startswith(b"\xc0\x0c") for piece in pieces)
    turned = answer.wire[:start] + b"".join(pieces[1:] + pieces[:1])
    assert read(turned).data == read(answer.wire).data


def test_no_message_is_too_long_for_tcp() -> None:
    answer = answer_of(zone(service(4200)))
    assert MAX_MESSAGE - 16 < len(answer.wire) <= MAX_MESSAGE
    answer = answer_of(zone(service(4200)), "SRV")
    assert MAX_MESSAGE - 64 < len(answer.wire) <= MAX_MESSAGE
    long = Service(name="web", metadata={str(number): "x" * 900 for number in range(100)})
    assert MAX_MESSAGE - 1000 < len(answer_of(zone(long), "TXT").wire) <= MAX_MESSAGE


def test_which_endpoints_are_left_out_is_drawn_anew_each_time() -> None:
    asked = zone(service(200), settings=DnsSettings(max_answers=10))
    first, second = ({line for wire in answer_of(asked).variants for line in read(wire).data} for _ in range(2))
    assert len(first) == len(second) == 160
    assert first != second


def test_max_answers_bounds_every_answer_and_variants_cover_the_rest() -> None:
    service_of = service(20)
    asked = zone(service_of, settings=DnsSettings(max_answers=3))
    answer = answer_of(asked)
    assert answer.rotation.records == 3
    assert answer.wire == answer.variants[0]
    listed = {line for wire in answer.variants for line in read(wire).data}
    assert len(listed) == 20
    assert len(read(answer_of(asked, "SRV").wire).answer) == 3


def test_weighted_answers_come_in_variants_whose_first_places_follow_the_weights() -> None:
    answer = answer_of(zone(service(3, order=DnsOrder.WEIGHTED, weight=6)))
    assert answer.rotation.records == 0
    assert answer.wire == answer.variants[0]
    first = Counter(read(wire).answer[0].split()[-1] for wire in answer.variants)
    assert first == {"10.0.0.0": 6, "10.0.0.1": 1, "10.0.0.2": 1}
    assert {tuple(read(wire).data) for wire in answer.variants} == {("10.0.0.0", "10.0.0.1", "10.0.0.2")}


def test_equal_weights_are_simply_rotated() -> None:
    answer = answer_of(zone(service(5, order=DnsOrder.WEIGHTED)))
    assert (answer.rotation.records, answer.variants) == (5, ())


@pytest.mark.parametrize("count", [1, 5, 400, 1100])
def test_additional_addresses_begin_where_the_answer_says(count: int) -> None:
    answer = answer_of(zone(service(count)), "SRV")
    message = dns.message.from_wire(answer.wire, one_rr_per_rrset=True)
    if not message.additional:
        assert answer.additional == 0
        return
    cut = bytearray(answer.wire[: answer.additional])
    cut[10:12] = b"\0\0"
    left = dns.message.from_wire(bytes(cut), one_rr_per_rrset=True)
    assert left.answer == message.answer
    assert left.additional == []


def test_targets_of_srv_are_written_out() -> None:
    """RFC 2782 forbids to compress them."""
    wire = answer_of(zone(service(2)), "SRV").wire
    assert wire.count(wire_name("addr.hivemesh")) == 2


def test_a_negative_answer_is_the_smallest_there_is() -> None:
    answer = answer_of(zone(service(1)), "A", "nothing.service.hivemesh")
    soa = wire_name("hivemesh") + b"\0\6\0\1" + bytes(6) + wire_name("ns.hivemesh") + wire_name("hostmaster.hivemesh")
    assert len(answer.wire) == 12 + len(wire_name("nothing.service.hivemesh")) + 4 + len(soa) + 20


@pytest.mark.parametrize(
    "changes", [{"zone": "a" * 64}, {"zone": ".".join(["abcdefghi"] * 23)}, {"nameserver": "a..b"}]
)
def test_names_that_cannot_be_are_told(changes: dict[str, str]) -> None:
    with pytest.raises(NameProblem):
        zone(settings=DnsSettings(**changes))  # type: ignore[arg-type]
