"""Giving up privileges: agent and workers run as the user of `--user`, the supervisor stays what it is.

`find` turns NAME[:GROUP] into a User; `command` puts this file before the program of a child. It then runs first, on
its own and without the site's packages: it takes the user's groups, group and user, gives up gaining privileges by
exec for good (PR_SET_NO_NEW_PRIVS, prctl(2)), and executes the program. An exec, because a process that has only
changed its user is not its own in /proc. The signals that are blocked stay blocked.
Standard library only. Errors: PrivilegeError, one sentence.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import sys
from collections.abc import Sequence
from typing import NamedTuple

_PR_SET_NO_NEW_PRIVS = 38
EXIT_FAILED = 1


class PrivilegeError(Exception):
    """Message: why no process can run as that user."""


class User(NamedTuple):
    name: str  # as it was given
    uid: int
    gid: int
    groups: tuple[int, ...]  # all of them, gid too


def find(text: str) -> User:
    """The user of `NAME[:GROUP]`, names or numbers. Raises PrivilegeError."""
    if os.geteuid() != 0:
        raise PrivilegeError(f"--user {text} needs root: only root can become another user")
    name, colon, group = text.partition(":")
    if not name or (colon and not group):
        raise PrivilegeError(f"'{text}' is no user, expected NAME or NAME:GROUP")
    entry = _entry(name)
    if entry is None and not _is_number(name):
        raise PrivilegeError(f"there is no user '{name}' on this machine")
    uid = int(name) if entry is None else entry.pw_uid
    if uid == 0:
        raise PrivilegeError(f"'{name}' is root, expected a user without privileges")
    if group:
        gid = _gid(group)
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise PrivilegeError(f"user {name} has no entry on this machine, expected a group beside it: {name}:GROUP")
    groups = (gid,) if entry is None else tuple(os.getgrouplist(entry.pw_name, gid))
    return User(text, uid, gid, groups)


def command(user: User, arguments: Sequence[str]) -> list[str]:
    """What to execute so that `arguments` are executed as `user`."""
    groups = ",".join(map(str, user.groups))
    return [sys.executable, "-I", "-S", __file__, str(user.uid), str(user.gid), groups, *arguments]


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(name)) if _is_number(name) else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return None


def _gid(group: str) -> int:
    if _is_number(group):
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise PrivilegeError(f"there is no group '{group}' on this machine") from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _become(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Raises OSError."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")


def main(arguments: Sequence[str]) -> int:
    uid, gid, groups, *program = arguments
    what = "cannot become another user"
    try:
        _become(int(uid), int(gid), [int(group) for group in groups.split(",")])
        what = "may not read the program"
        os.close(os.open(__file__, os.O_RDONLY | os.O_CLOEXEC))
        what = f"cannot execute {program[0]}"
        os.execv(program[0], program)
    except OSError as error:
        print(f"hivemesh: user {uid} {what}: {error}", file=sys.stderr)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
