"""Files of services, as they lie in the directories of the registry.

A file has `services` as the configuration has them, or is one service with its `name`. `python -m
proxy.config.service_files` reads the files that it is told of on standard input and writes what they say to standard
output as msgpack; `ServiceFiles` starts that and waits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping as Environment
from collections.abc import Sequence

import msgspec

from discovery.config import FollowedName
from discovery.model import DnsAnswer, Service, Struct, Timeouts
from discovery.sources.folder import MAX_FILE_BYTES, Content
from proxy.config.child import DEADLINE, ChildFailed, answer_of, begin


class Context(Struct):
    """What a service's meaning depends on besides its file."""

    timeouts: Timeouts = Timeouts()
    has_proxy_address: bool = False


class Files(Struct):
    paths: tuple[str, ...]
    context: Context


class ServiceFiles:
    """Reads files in another process, by the `context` in force."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def read(self, paths: Sequence[str]) -> dict[str, Content]:
        """What each of `paths` says. Never raises for what is in them or for how the child ended."""
        files = msgspec.msgpack.encode(Files(paths=tuple(paths), context=self.context))
        try:
            return await answer_of(__name__, (), files, dict[str, Content], DEADLINE)
        except ChildFailed as error:
            return {path: Content(problems=(f"{path}: {error}",)) for path in paths}


def read_file(path: str, context: Context, environment: Environment[str, str] = os.environ) -> Content:
    # Imported here: who only waits for a child never needs them.
    from proxy.config.load import decoded, read_bytes
    from proxy.config.nodes import Mapping, child, describe
    from proxy.config.reading import Reading
    from proxy.config.records import Key, Record
    from proxy.config.references import NO_PROXY_ADDRESS, check_mirrors, check_own_mirror, check_taken
    from proxy.config.services import SERVICE_KEYS, SERVICE_RECORD, ServiceMap, followed_of, with_idle_timeout
    from proxy.config.tree import parse
    from proxy.config.words import NAME

    reading = Reading(path)
    written: list[Service] = []
    content = read_bytes(path, MAX_FILE_BYTES, reading)
    text = decoded(content, reading) if content is not None else None
    root = parse(text, reading, environment) if text is not None else None
    if isinstance(root, Mapping) and child(root, "services") is not None:
        check_mirrors(child(root, "services"), (None, "services"), reading)
        many = Record("a file of services", (Key("services", ServiceMap(), ""),), lambda fields: fields)
        found = many.read(root, None, reading)
        written = list(found.get(many.keys[0], {}).values()) if found is not None else []
    elif isinstance(root, Mapping):
        name = Key("name", NAME, "", required=True)
        one = Record(
            "a service",
            (name, *SERVICE_KEYS),
            lambda fields: fields,
            None,
            SERVICE_RECORD.later,
            SERVICE_RECORD.elsewhere,
        )
        fields = one.read(root, None, reading)
        service = SERVICE_RECORD.build(fields) if fields is not None else None
        if fields is not None and service is not None:
            check_own_mirror(fields.get(name, ""), root, None, reading)
            position = reading.position(root)
            written = [msgspec.structs.replace(service, name=fields.get(name, ""), position=position)]
    elif root is not None:
        reading.problem(
            root, None, f"expected a mapping with services, or a service with its name, got {describe(root)}"
        )
    elif text is not None and not reading.problems():
        reading.problem_at(0, 0, "the file is empty, expected a mapping with services, or a service with its name")
    check_taken(reading.domains, "domain", reading)
    services: list[Service] = []
    followed: list[FollowedName] = []
    for each in written:
        if each.dns.answer is DnsAnswer.PROXY and not context.has_proxy_address and each.position is not None:
            message = f"service {each.name}: dns_answer: {NO_PROXY_ADDRESS}, expected some in the configuration"
            reading.problem_at(each.position.line, each.position.column, message)
        service, names = followed_of(with_idle_timeout(each, context.timeouts))
        services.append(service)
        followed += names
    problems = tuple(str(problem) for problem in reading.problems())
    if problems:
        return Content(problems=problems)
    return Content(services=tuple(services), followed=tuple(followed))


def main() -> int:
    begin()
    files = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Files)
    found = {path: read_file(path, files.context) for path in files.paths}
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
