import pytest

from benchmarks.compare.idle import PER_ADDRESS, is_complete, source_address
from benchmarks.compare.load import LoadFailed

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer: x\r\n\r\nabc"


@pytest.mark.parametrize("size", range(len(ANSWER) + 1))
def test_an_answer_is_complete_with_its_last_byte_and_not_before(size):
    assert is_complete(ANSWER[:size]) == (size == len(ANSWER))


def test_an_answer_without_a_length_cannot_be_awaited():
    with pytest.raises(LoadFailed, match="without Content-Length"):
        is_complete(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_clients_spread_over_loopback_addresses():
    assert source_address(0) == source_address(PER_ADDRESS - 1) == "127.0.0.2"
    assert source_address(2 * PER_ADDRESS) == "127.0.0.4"
