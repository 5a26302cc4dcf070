"""SIGUSR2: the program on disk takes the place of the one that runs, or says why not.

Where the two must differ, the program is started from a copy of its packages that the test edits.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Hive, Load, answering, children_of, is_alive, listener
from program import ROOT
from raw_client import RawClient
from raw_origin import OK, RawOrigin
from waiting import eventually

Start = Callable[..., Hive]


def upgrade(hive: Hive, count: int = 1) -> dict[str, int]:
    """Upgrade, and wait until the former processes have ended. The new ones."""
    hive.signal(signal.SIGUSR2)
    hive.await_event("upgraded", count)
    hive.await_event("former agent exited", count)
    eventually(lambda: len(children_of(hive.pid)) == len(hive.children()), "the former processes have ended")
    return hive.children()


class Copy:
    """The program's packages in another place. `how` starts hivemesh from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in ("discovery", "mesh", "proxy"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.c"))
        self.python = folder / "python"
        self.python.symlink_to(os.path.realpath(sys.executable))
        path = os.pathsep.join([str(folder), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        self.how = {"start": (str(self.python), "-P", "-m", "proxy"), "env": {"PYTHONPATH": path}}

    def edit(self, name: str, change: Callable[[str], str]) -> Callable[[], None]:
        """Change a module as installers do: by a new file. The result undoes it."""
        file = self.folder / name
        before = file.read_text()
        self._replace(file, change(before))
        return lambda: self._replace(file, before)

    def _replace(self, file: Path, text: str) -> None:
        fresh = file.with_suffix(".fresh")
        fresh.write_text(text)
        fresh.replace(file)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")


def ends_at_once(text: str) -> str:
    """A module that can be imported, and ends with 7 when it is run."""
    return text.replace('if __name__ == "__main__":', 'if __name__ == "__main__":\n    sys.exit(7)\n')


# --- what an upgrade does ------------------------------------------------------------------------------------------


def test_what_was_registered_stays_and_counting_goes_on(start: Start) -> None:
    """Readers that resume name the last index they saw: an index may not come again and mean something else."""

    def nodes() -> list[str]:
        return [node["name"] for node in json.loads(hive.admin("GET", "/v1/nodes")[1])]

    def change(name: str) -> int:
        status, body = hive.admin("PUT", f"/v1/nodes/{name}", {})
        assert status == 200, body
        return int(json.loads(body)["index"])

    hive = start()
    indexes = [change(name) for name in ("n1", "n2", "n3")]

    upgrade(hive)

    assert nodes() == ["n1", "n2", "n3"]
    assert change("n4") > max(indexes)


def test_every_process_is_replaced_and_the_pid_stays(start: Start) -> None:
    hive = start(workers=2)
    before = hive.children()

    after = upgrade(hive)

    assert sorted(after) == ["agent", "worker 0", "worker 1"]
    assert not set(before.values()) & set(after.values())
    assert hive.await_event("upgraded")["pid"] == hive.pid
    assert {hive.get() for _ in range(20)} == {"one"}
    assert all(entry["status"] == 0 for entry in hive.entries() if entry["event"].startswith("former"))


def test_no_request_fails_and_readiness_never_goes(start: Start) -> None:
    hive = start(workers=2)
    with (
        Load(hive.config["listeners"][0]["address"]) as load,
        Load(hive.config["admin"]["address"], 2, "/readyz") as prober,
    ):
        for count in range(1, 4):
            load.goes_on()
            upgrade(hive, count)
        load.goes_on()
        prober.goes_on(10)

    assert load.failures == []
    assert prober.failures == []


def test_it_is_steered_as_before(start: Start) -> None:
    hive = start(workers=2)
    upgrade(hive)
    hive.config["listeners"][0]["routes"] = [answering("two")]
    hive.write()

    hive.signal(signal.SIGHUP)

    hive.answers("two")
    workers = hive.children()
    os.kill(workers["worker 0"], signal.SIGKILL)
    hive.await_event("worker exited")
    assert {hive.get() for _ in range(20)} == {"two"}
    os.kill(workers["agent"], signal.SIGKILL)
    hive.await_event("agent exited")
    eventually(lambda: hive.admin("GET", "/readyz")[0] == 200, "ready again")
    hive.signal(signal.SIGTERM)
    assert hive.wait() == 0


def test_a_program_without_workers_is_upgraded_as_well(start: Start) -> None:
    hive = start(workers=0)
    before = hive.children()["agent"]

    with Load(hive.config["listeners"][0]["address"]) as load:
        after = upgrade(hive)
        load.goes_on()

    assert load.failures == []
    assert list(after) == ["agent"]
    assert after["agent"] != before


def test_a_file_that_changed_unnoticed_is_in_force_afterwards(start: Start) -> None:
    hive = start()
    hive.config["listeners"][0]["routes"] = [answering("two")]
    hive.write()

    upgrade(hive)

    hive.answers("two")


def test_unix_sockets_stay_until_the_program_ends(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    web = {**listener("unix", answering("one")), "address": f"unix:{path}"}
    hive = start(listeners=[listener("web", answering("one")), web])

    upgrade(hive)

    with RawClient(f"unix:{path}") as client:
        client.ask()
        assert client.response().text == "one"
    assert hive.stop() == 0
    assert not path.exists()


def test_what_is_open_ends_in_the_former_worker(start: Start) -> None:
    with RawOrigin() as origin:
        services = {"app": {"endpoints": [{"id": "a", "address": origin.address}]}}
        hive = start(routes=[{"name": "all", "service": "app"}], services=services)
        before = hive.children()
        with RawClient(hive.config["listeners"][0]["address"]) as client:
            client.ask()
            upstream = origin.accept()
            upstream.request()

            hive.signal(signal.SIGUSR2)
            hive.await_event("upgraded")
            with RawClient(hive.config["listeners"][0]["address"]) as other:
                other.ask()
                second = origin.accept()
                second.request()
                second.send(OK)
                assert other.response().status == 200
            assert is_alive(before["worker 0"])
            upstream.send(OK)

            response = client.response()
            assert response.status == 200
            assert ("connection", "close") in response.headers
        eventually(lambda: not is_alive(before["agent"]), "the former agent has ended")


def test_what_does_not_end_is_cut_off_at_the_deadline(start: Start) -> None:
    with RawOrigin() as origin:
        services = {"app": {"endpoints": [{"id": "a", "address": origin.address}]}}
        timeouts = {"drain": "200ms", "drain_streams": "200ms"}
        hive = start(routes=[{"name": "all", "service": "app"}], services=services, timeouts=timeouts)
        before = hive.children()
        with RawClient(hive.config["listeners"][0]["address"]) as client:
            client.ask()
            origin.accept().request()

            upgrade(hive)

            assert not any(is_alive(pid) for pid in before.values())


def test_the_second_signal_is_refused(start: Start) -> None:
    hive = start()
    hive.signal(signal.SIGUSR2)
    hive.await_event("upgrade requested")

    hive.signal(signal.SIGUSR2)

    assert hive.await_event("upgrade refused")["reason"] == "an upgrade is going on already"
    hive.await_event("upgraded")
    assert hive.get() == "one"


def test_no_reload_falls_into_an_upgrade(start: Start) -> None:
    hive = start()
    hive.signal(signal.SIGUSR2)
    hive.await_event("upgrade requested")

    status, body = hive.admin("POST", "/v1/reload")

    assert (status, "being replaced" in body) == (422, True)
    hive.await_event("upgraded")


@pytest.mark.parametrize("moment", ["upgrade requested", "new agent", "upgraded"])
def test_sigterm_ends_old_and_new(start: Start, moment: str) -> None:
    hive = start(workers=2)
    before = hive.children()
    hive.signal(signal.SIGUSR2)
    if moment == "new agent":
        eventually(lambda: hive.children()["agent"] != before["agent"], "another agent was started")
    else:
        hive.await_event(moment)
    family = children_of(hive.pid)

    hive.signal(signal.SIGTERM)

    assert hive.wait() == 0, hive.log()
    assert not any(is_alive(pid) for pid in (*family, *before.values()))


def test_a_former_agent_that_dies_meanwhile_is_not_missed(start: Start) -> None:
    hive = start(workers=2)
    before = hive.children()
    with Load(hive.config["listeners"][0]["address"]) as load:
        hive.signal(signal.SIGUSR2)
        eventually(lambda: hive.children()["agent"] != before["agent"], "another agent was started")
        os.kill(before["agent"], signal.SIGKILL)
        hive.await_event("upgraded")
        eventually(lambda: not any(is_alive(pid) for pid in before.values()), "the former processes have ended")
        load.goes_on()

    assert load.failures == []


def test_as_process_1_of_a_container_it_stays_process_1(start: Start) -> None:
    isolate = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*isolate, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a PID namespace")
    hive = start(workers=2, how={"start": [*isolate, sys.executable, "-m", "proxy"]})
    (supervisor,) = children_of(hive.pid)
    try:
        before = children_of(supervisor)
        with Load(hive.config["listeners"][0]["address"]) as load:
            os.kill(supervisor, signal.SIGUSR2)

            assert hive.await_event("upgraded")["pid"] == 1
            eventually(lambda: not any(is_alive(pid) for pid in before), "the former processes have ended")
            load.goes_on()
        assert load.failures == []
        assert children_of(hive.pid) == [supervisor]
        os.kill(supervisor, signal.SIGTERM)
        assert hive.wait() == 0
    finally:
        hive.kill()  # and with it everything in its namespace


# --- what keeps it from happening ------------------------------------------------------------------------------------


def unchanged(hive: Hive, before: dict[str, int]) -> None:
    eventually(lambda: len(children_of(hive.pid)) == len(before), "nothing else runs")
    assert hive.children() == before
    assert hive.get() == "one"
    hive.config["listeners"][0]["routes"] = [answering("two")]
    hive.write()
    eventually(lambda: hive.admin("POST", "/v1/reload")[0] == 200, "it can be reloaded")
    hive.answers("two")


def test_an_invalid_file_changes_nothing(start: Start) -> None:
    hive = start()
    before = hive.children()
    hive.write("listeners: [ { name: web, adress: x } ]")

    hive.signal(signal.SIGUSR2)

    reason = hive.await_event("upgrade failed")["reason"]
    assert reason.startswith("the configuration is not valid for the new program: ")
    assert "adress" in reason
    unchanged(hive, before)


@pytest.mark.parametrize(
    ("module", "text", "reason"),
    [
        ("proxy/dataplane.py", "import nothing_like_it", "the new program cannot be loaded: proxy.control.agent"),
        ("proxy/control/program.py", "this is no program", "SyntaxError"),
        ("proxy/control/program.py", "import os; os.abort()", "ended by signal 6"),
    ],
)
def test_a_program_that_cannot_be_loaded_changes_nothing(
    start: Start, copy: Copy, module: str, text: str, reason: str
) -> None:
    hive = start(how=copy.how)
    before = hive.children()
    mend = copy.edit(module, lambda _: text)

    hive.signal(signal.SIGUSR2)

    assert reason.split(":")[0] in hive.await_event("upgrade failed")["reason"]
    mend()
    unchanged(hive, before)


def test_a_program_that_takes_another_hand_over_is_not_given_ours(start: Start, copy: Copy) -> None:
    hive = start(how=copy.how)
    before = hive.children()
    copy.edit("proxy/control/handover.py", lambda text: text.replace("FORMAT = 1", "FORMAT = 2"))

    hive.signal(signal.SIGUSR2)

    assert "takes a hand-over of format 2, and this one gives format 1" in hive.await_event("upgrade failed")["reason"]
    unchanged(hive, before)


def test_an_executable_that_is_gone_changes_nothing(start: Start, copy: Copy) -> None:
    hive = start(how=copy.how)
    before = hive.children()
    target = copy.python.readlink()
    copy.python.unlink()

    hive.signal(signal.SIGUSR2)

    assert f"{copy.python} cannot be started: " in hive.await_event("upgrade refused")["reason"]
    copy.python.symlink_to(target)
    unchanged(hive, before)


@pytest.mark.parametrize(
    ("module", "reason"),
    [("agent", "its agent has ended"), ("worker", "worker 0 exits before it is ready")],
)
def test_a_program_that_does_not_come_into_service_changes_nothing(
    start: Start, copy: Copy, module: str, reason: str
) -> None:
    hive = start(how=copy.how)
    before = hive.children()
    with Load(hive.config["listeners"][0]["address"]) as load:
        mend = copy.edit(f"proxy/control/{module}.py", ends_at_once)

        hive.signal(signal.SIGUSR2)

        assert hive.await_event("upgrade failed")["reason"] == reason
        load.goes_on()
    assert load.failures == []
    mend()
    unchanged(hive, before)
    assert upgrade(hive) != before
    hive.answers("two")


def test_after_a_failed_upgrade_who_dies_is_replaced(start: Start, copy: Copy) -> None:
    hive = start(how=copy.how)
    before = hive.children()
    mend = copy.edit("proxy/control/agent.py", ends_at_once)
    hive.signal(signal.SIGUSR2)
    hive.await_event("upgrade failed")
    mend()

    os.kill(before["agent"], signal.SIGKILL)

    hive.await_event("started", 2)
    after = hive.children()
    assert after["worker 0"] == before["worker 0"]
    assert after["agent"] != before["agent"]
    unchanged(hive, after)


@pytest.mark.parametrize("who", ["agent", "worker 0"])
def test_after_a_failed_upgrade_to_other_messages_all_are_replaced_when_one_dies(
    start: Start, copy: Copy, who: str
) -> None:
    hive = start(how=copy.how)
    before = hive.children()
    mend = copy.edit("proxy/control/agent.py", ends_at_once)
    copy.edit("proxy/control/messages.py", lambda text: text + "\n# another language\n")
    hive.signal(signal.SIGUSR2)
    hive.await_event("upgrade failed")
    mend()

    os.kill(before[who], signal.SIGKILL)

    hive.await_event("upgraded")
    eventually(lambda: not any(is_alive(pid) for pid in before.values()), "the former processes have ended")
    unchanged(hive, hive.children())


def test_state_that_the_new_program_cannot_read_is_read_from_the_file(start: Start, copy: Copy) -> None:
    hive = start(how=copy.how)
    copy.edit(
        "proxy/control/agent.py",
        lambda text: text.replace("msgspec.msgpack.decode(start.state", "msgspec.msgpack.decode(b'' and start.state"),
    )

    upgrade(hive)

    assert hive.get() == "one"
    assert hive.problems() == []
