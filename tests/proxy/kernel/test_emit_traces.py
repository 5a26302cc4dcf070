"""Which trace goes on and which starts anew (W3C Trace Context)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kernel.emit import continue_trace, continues_trace

TRACE_ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE_ID}-{PARENT}-01"

TRACEPARENTS = [
    (GOOD, True),
    (f"00-{TRACE_ID}-{PARENT}-00", True),
    (f"00-{TRACE_ID}-{PARENT}-03", True),
    (f"01-{TRACE_ID}-{PARENT}-01", True),  # a later version, read as version 00
    (f"cc-{TRACE_ID}-{PARENT}-01-what-the-future-holds", True),
    (f"cc-{TRACE_ID}-{PARENT}-01.what", False),
    (f"00-{TRACE_ID}-{PARENT}-01-more", False),  # version 00 has no more
    (f"ff-{TRACE_ID}-{PARENT}-01", False),
    (f"0-{TRACE_ID}-{PARENT}-01", False),
    (f"0x-{TRACE_ID}-{PARENT}-01", False),
    (f"00-{'0' * 32}-{PARENT}-01", False),
    (f"00-{TRACE_ID}-{'0' * 16}-01", False),
    (f"00-{TRACE_ID.upper()}-{PARENT}-01", False),
    (f"00-{TRACE_ID}-{PARENT.upper()}-01", False),
    (f"00-{TRACE_ID}-{PARENT}-0A", False),
    (f"00-{TRACE_ID}-{PARENT}-0g", False),
    (f"00-{TRACE_ID}-{PARENT}", False),
    (f"00-{TRACE_ID[:-1]}-{PARENT}-01", False),
    (f"00_{TRACE_ID}_{PARENT}_01", False),
    (f" {GOOD}", False),
    ("", False),
    ("x" * 55, False),
]


@pytest.mark.parametrize(("given_one", "valid"), TRACEPARENTS)
def test_a_valid_traceparent_goes_on_and_any_other_starts_a_new_trace(given_one: str, valid: bool) -> None:
    following = continue_trace(given_one.encode()).decode()
    version, trace_id, parent, flags = following.split("-")
    assert version == "00"
    assert len(trace_id) == 32 and len(parent) == 16
    assert int(trace_id, 16) and int(parent, 16)
    assert (trace_id == TRACE_ID) == valid
    assert parent != PARENT
    sampled = int(flags, 16) & 1
    assert sampled == (int(given_one[53:55], 16) & 1 if valid else 1)
    assert continues_trace(given_one.encode(), following.encode()) == valid


def test_a_new_trace_every_time() -> None:
    assert len({continue_trace(None)[3:35] for _ in range(100)}) == 100
    assert len({continue_trace(GOOD.encode())[36:52] for _ in range(100)}) == 100
    assert not continues_trace(None, continue_trace(None))


@given(st.binary(max_size=70))
def test_random_bytes_as_traceparent(raw: bytes) -> None:
    following = continue_trace(raw)
    assert continue_trace(following)[3:35] == following[3:35]
