import shutil
import socket
import subprocess
import threading

import pytest

from benchmarks.compare import native
from benchmarks.compare.bench import free_ports
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.origins import BULK, ECHO, PROBE_TIMEOUT
from benchmarks.compare.processes import Started, wait_until

pytestmark = pytest.mark.skipif(shutil.which(native.COMPILER) is None, reason="needs a C compiler")


@pytest.fixture
def started(tmp_path):
    """Start an origin on two ports and wait until it answers; the ports."""
    running = []

    def start(origin):
        ports = free_ports(origin.ports)
        running.append(Started(origin.command(ports, tmp_path), 0, tmp_path, tmp_path / "output"))
        assert wait_until(lambda: all(origin.probe(port) == "" for port in ports), 10.0), running[-1].last_words()
        return ports

    yield start
    for process in running:
        process.end()


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_bulk_transfer_moves_what_was_asked_for(started, way):
    for port in started(BULK):
        report = native.bulk(port, 4_000_000, way, connections=2)

        assert report.moved == 4_000_000
        assert report.duration > 0 and report.gb_per_s > 0


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_bulk_transfer_that_loses_bytes_fails_and_says_how_many(way):
    """Whoever answers here sends, or says that it got, one byte less than it should have."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            with listener.accept()[0] as connection:
                wanted = int.from_bytes(connection.recv(9)[1:], "big")
                if way == "down":
                    connection.sendall(bytes(wanted - 1))
                    return
                left = wanted
                while left:
                    left -= len(connection.recv(left))
                connection.sendall((wanted - 1).to_bytes(8, "big"))

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(LoadFailed, match="999 of 1000 bytes arrived"):
            native.bulk(listener.getsockname()[1], 1000, way, connections=1)
        thread.join()


def test_datagrams_come_back_to_the_client_that_sent_them(started):
    for port in started(ECHO):
        report = native.datagrams(port, 0.2, clients=8)

        assert report.echoed >= 8
        assert report.lost == 0
        assert 0 < report.p50 <= report.p99


def test_an_echo_of_something_else_ends_the_load():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer():
            data, client = server.recvfrom(2048)
            server.sendto(bytes(len(data) - 8) + b"\xff" * 8, client)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(LoadFailed, match="never sent"):
            native.datagrams(server.getsockname()[1], 5.0, clients=1, size=16)
        thread.join()


def test_datagrams_without_an_echo_are_lost():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))

        with pytest.raises(LoadFailed, match="1 datagrams were lost and 0 came back"):
            native.datagrams(silent.getsockname()[1], 1.3, clients=1)
        with pytest.raises(LoadFailed, match="0 came back"):
            native.datagrams(silent.getsockname()[1], 0.1, clients=1)  # too short to tell, and nothing to measure


@pytest.mark.parametrize("origin", [BULK, ECHO], ids=lambda origin: origin.name)
def test_nobody_there_is_a_problem_in_words(origin):
    (port,) = free_ports(1)

    assert origin.probe(port)
    assert PROBE_TIMEOUT < 10


@pytest.mark.parametrize("name", ["bulk", "datagrams"])
def test_the_programs_compile_without_a_warning_and_tell_how_they_are_called(name, tmp_path):
    source = native.SOURCES / f"{name}.c"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror"]

    done = subprocess.run([native.COMPILER, *flags, "-o", str(tmp_path / name), str(source)], capture_output=True)

    assert done.returncode == 0, done.stderr.decode()
    usage = subprocess.run([tmp_path / name], capture_output=True, text=True)
    assert usage.returncode == 2
    assert f"{name} load PORT" in usage.stderr


def test_output_without_a_report_is_an_error_that_shows_it():
    with pytest.raises(LoadFailed, match="Segmentation"):
        native.parse_bulk("Segmentation fault\n")
