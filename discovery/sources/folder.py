"""A directory of service files, as rules: which files have to be read now, and what all of them say together.

A file is read when it looked the same twice, so that one that is still being written is left alone, and is taken to be
gone when it was missing twice, so that a file that is replaced is never gone. What was there at the first look is read
at once. A file that cannot be understood keeps the services that it gave before. Of two files with the same service
the one whose name comes first is right. A directory that cannot be looked at keeps everything.
Pure: the driver (directory.py) looks and reads.
"""

from __future__ import annotations

from collections.abc import Mapping

from discovery.config import FollowedName
from discovery.model import Service, Struct
from discovery.sources.fingerprints import Fingerprint

SUFFIXES = (".yaml", ".yml", ".json")

# A directory beyond this is probably another one than was meant.
MAX_FILES = 1000
MAX_FILE_BYTES = 8 * 1024 * 1024

_SHOWN_PROBLEMS = 5


class Content(Struct):
    """What one file says: services and endpoints that are names, or what is wrong with it, with file and line."""

    services: tuple[Service, ...] = ()
    followed: tuple[FollowedName, ...] = ()
    problems: tuple[str, ...] = ()


def is_service_file(name: str) -> bool:
    """Files that begin with a dot are editors' and Kubernetes' own."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


class Folder:
    """`services` and `followed` are what all files say."""

    def __init__(self) -> None:
        self.services: tuple[Service, ...] = ()
        self.followed: tuple[FollowedName, ...] = ()
        self._contents: dict[str, Content] = {}  # the last one of each file that could be understood
        self._problems: dict[str, tuple[str, ...]] = {}  # of files
        self._double: tuple[str, ...] = ()
        self._failure = ""
        self._seen: Mapping[str, Fingerprint] | None = None  # at the last look
        self._read: dict[str, Fingerprint] = {}

    @property
    def problem(self) -> str | None:
        """Everything that is wrong, in one line."""
        found = [problem for name in sorted(self._problems) for problem in self._problems[name]]
        found = [*([self._failure] if self._failure else []), *found, *self._double]
        if len(found) > _SHOWN_PROBLEMS:
            found = [*found[:_SHOWN_PROBLEMS], f"and {len(found) - _SHOWN_PROBLEMS} more"]
        return "; ".join(found) or None

    def look(self, files: Mapping[str, Fingerprint]) -> list[str]:
        """Which of `files` (those that are there now, by name) are to be read."""
        if len(files) > MAX_FILES:
            self.fail(f"{len(files)} files of services, expected at most {MAX_FILES}; what was known stays")
            return []
        self._failure = ""
        before, self._seen = self._seen, dict(files)
        for name in [name for name in self._read if name not in files]:
            if before is None or name not in before:
                del self._read[name]
                self._contents.pop(name, None)
                self._problems.pop(name, None)
                self._put_together()
        return sorted(
            name
            for name, now in files.items()
            if self._read.get(name) != now and (before is None or before.get(name) == now)
        )

    def fail(self, reason: str) -> None:
        """The directory cannot be looked at."""
        self._failure = reason

    def take(self, contents: Mapping[str, Content]) -> None:
        """What was read of the files that `look` named, as they were then."""
        assert self._seen is not None
        for name, content in contents.items():
            self._read[name] = self._seen[name]
            if content.problems:
                self._problems[name] = content.problems
            else:
                self._problems.pop(name, None)
                self._contents[name] = content
        self._put_together()

    def forget(self) -> None:
        """Read everything again: what it means depends on something that has changed."""
        for name in self._read:
            self._read[name] = (0, 0, 0, 0)

    def _put_together(self) -> None:
        owners: dict[str, str] = {}
        services: list[Service] = []
        followed: list[FollowedName] = []
        double: list[str] = []
        for file in sorted(self._contents):
            content = self._contents[file]
            for service in content.services:
                owner = owners.setdefault(service.name, file)
                if owner == file:
                    services.append(service)
                else:
                    where = service.position or file
                    double.append(f"{where}: service {service.name} is in {owner} already, which comes first")
            followed += [each for each in content.followed if owners[each.service] == file]
        self.services = tuple(services)
        self.followed = tuple(followed)
        self._double = tuple(double)
