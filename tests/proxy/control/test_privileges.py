"""Only the supervisor keeps root: agent and workers run as the user of `--user`."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ports import free_address
from processes import Hive, answering, children_of, fail_to_start, listener
from waiting import eventually

from proxy.control import privileges
from proxy.control.privileges import PrivilegeError, find

Start = Callable[..., Hive]

NOBODY = "nobody"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that another user may enter: pytest's are closed to all others, and closed again by every run."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def as_nobody(tmp_path: Path) -> dict[str, Any]:
    """How to start hivemesh so that it runs as nobody. An interpreter in a folder that only root may enter, /root for
    one, is shown to it in a mount namespace where everybody may."""
    how: dict[str, Any] = {"options": ["--user", NOBODY]}
    python = Path(sys.executable).resolve()
    closed = next((folder for folder in reversed(python.parents) if not folder.stat().st_mode & stat.S_IXOTH), None)
    if closed is None:
        return how
    inner = closed / python.relative_to(closed).parts[0]
    kept = tmp_path / "kept"
    kept.mkdir()
    steps = [
        ["mount", "--bind", inner, kept],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "none", closed],
        ["mkdir", inner],
        ["mount", "--bind", kept, inner],
    ]
    script = " && ".join(shlex.join(map(str, step)) for step in steps) + ' && exec "$@"'
    isolate = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*isolate, "true"], capture_output=True).returncode:
        pytest.skip(f"{NOBODY} may not execute {python}")
    return {**how, "start": [*isolate, sys.executable, "-m", "proxy"]}


# --- who that is -----------------------------------------------------------------------------------------------------


@as_root
def test_names_and_numbers_lead_to_the_same_user() -> None:
    entry = pwd.getpwnam(NOBODY)
    group = grp.getgrgid(entry.pw_gid).gr_name

    user = find(NOBODY)

    assert (user.uid, user.gid) == (entry.pw_uid, entry.pw_gid)
    for text in (f"{NOBODY}:{group}", str(entry.pw_uid), f"{entry.pw_uid}:{entry.pw_gid}"):
        assert find(text)[1:] == user[1:]


@as_root
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no-such-user", "there is no user 'no-such-user' on this machine"),
        (f"{NOBODY}:no-such-group", "there is no group 'no-such-group' on this machine"),
        ("", "'' is no user, expected NAME or NAME:GROUP"),
        (f"{NOBODY}:", f"'{NOBODY}:' is no user, expected NAME or NAME:GROUP"),
        ("root", "'root' is root, expected a user without privileges"),
        ("0:0", "'0' is root, expected a user without privileges"),
        ("3999999", "user 3999999 has no entry on this machine, expected a group beside it: 3999999:GROUP"),
    ],
)
def test_who_cannot_be_is_told_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(PrivilegeError) as raised:
        find(text)
    assert str(raised.value) == message


@as_root
def test_a_number_without_an_entry_has_the_group_beside_it() -> None:
    assert find("3999999:3999998") == ("3999999:3999998", 3999999, 3999998, (3999998,))


def test_only_root_can_become_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges.os, "geteuid", lambda: 1000)

    with pytest.raises(PrivilegeError, match="--user nobody needs root"):
        find(NOBODY)


# --- what they may ---------------------------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize("workers", [0, 1])
def test_agent_and_workers_have_no_privileges_and_get_none(
    start: Start, tmp_path: Path, as_nobody: dict[str, Any], workers: int
) -> None:
    log = tmp_path / "access.log"
    log.touch()
    os.chown(log, pwd.getpwnam(NOBODY).pw_uid, -1)
    hive = start(workers=workers, how=as_nobody, access_log={"path": str(log)})
    entry = pwd.getpwnam(NOBODY)

    for pid in children_of(hive.pid):
        now = status(pid)
        assert now["Uid"] == [str(entry.pw_uid)] * 4
        assert now["Gid"] == [str(entry.pw_gid)] * 4
        assert now["Groups"] == [str(entry.pw_gid)]
        assert now["CapEff"] == now["CapPrm"] == ["0" * 16]
        assert now["NoNewPrivs"] == ["1"]
    assert status(hive.pid)["Uid"] == ["0"] * 4
    assert hive.get() == "one"
    assert "running as root" not in hive.events()
    eventually(lambda: log.read_text(), "the request is in the log")


@as_root
def test_what_it_binds_later_the_supervisor_binds_as_root(
    start: Start, tmp_path: Path, as_nobody: dict[str, Any]
) -> None:
    path = tmp_path / "web.sock"
    folder = tmp_path.stat()
    assert folder.st_uid == 0  # where nobody can make a file
    hive = start(how=as_nobody)
    hive.config["listeners"].append({**listener("unix", answering("one")), "address": f"unix:{path}"})
    hive.write()

    assert hive.admin("POST", "/v1/reload")[0] == 200

    assert path.owner() == NOBODY
    assert stat.S_ISSOCK(path.stat().st_mode)


@as_root
def test_after_an_upgrade_they_have_none_either(start: Start, as_nobody: dict[str, Any]) -> None:
    hive = start(how=as_nobody)

    hive.signal(signal.SIGUSR2)

    hive.await_event("former agent exited")
    uid = str(pwd.getpwnam(NOBODY).pw_uid)
    assert [status(pid)["Uid"] for pid in children_of(hive.pid)] == [[uid] * 4] * 2
    assert hive.get() == "one"


@as_root
def test_a_log_that_the_user_may_not_write_is_told(start: Start, tmp_path: Path, as_nobody: dict[str, Any]) -> None:
    log = tmp_path / "access.log"
    hive = start(how=as_nobody, access_log={"path": str(log)})

    event = hive.await_event("access log not opened")

    assert event["path"] == str(log)
    assert event["reason"] == f"Permission denied for user {pwd.getpwnam(NOBODY).pw_uid}"
    assert hive.get() == "one"


@as_root
def test_an_unknown_user_is_told_before_anything_starts(tmp_path: Path) -> None:
    config = {"admin": {"address": free_address()}, "listeners": [listener("web", answering("one"))]}

    result = fail_to_start(tmp_path, config, "--user", "no-such-user")

    assert result.returncode == 1
    assert result.stderr == "hivemesh: there is no user 'no-such-user' on this machine\n"


@as_root
def test_root_without_a_user_is_warned_once(start: Start) -> None:
    hive = start(workers=2)

    assert hive.events().count("running as root") == 1
    assert "--user" in hive.await_event("running as root")["reason"]
