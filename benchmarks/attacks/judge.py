"""From what was recorded of a case to a verdict, and to the desyncs.

A desync is a request that the server behind the proxy sees and the client did not clearly send, or that it does not see
and the client did; or an answer that reaches the wrong request. It is looked for by every reading of readings.py, since
the proxy cannot know which one the server has: all of them must find the same requests with the same bodies in the
bytes of a connection, or refuse them. h11 has to accept what was forwarded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

import h11

from benchmarks.attacks.case import Case, Verdict
from benchmarks.attacks.lane import MOST_TAG, VICTIM, Seen, methods_of
from benchmarks.attacks.readings import LENIENT, STRICT, Message, Read, Reading, read_requests, read_responses

# What is forwarded and not well-formed: no RFC wants it, so it is no verdict that a case could ask for.
MALFORMED: Final = "forwarded malformed"

LARGEST_HEAD: Final = 1024 * 1024
FOLLOWING: Final = "GET /after"
ORIGIN_REFUSED: Final = b"origin refused"
TAG: Final = b"x-tag"


@dataclass(slots=True)
class Outcome:
    """`verdict`: a Verdict, or MALFORMED. `status`: of the first answer to the client, 0 for none. `wrong`: why the
    verdict is not right, or "". `desyncs`: each in a sentence."""

    verdict: str
    status: int = 0
    wrong: str = ""
    desyncs: list[str] = field(default_factory=list)


def judge(case: Case, seen: Seen) -> Outcome:
    connections = [(data, read_requests(data)) for data in seen.connections]
    answers = read_responses(seen.received, methods_of(case), seen.ended and not seen.was_reset)
    attack = _attack(connections)
    outcome = _response(answers, seen) if case.of_response else _request(case, connections, answers, attack, seen)
    outcome.wrong = _wrong(case, outcome, attack, answers)
    allowed = _allowed(case, outcome, connections, attack)
    outcome.desyncs = _requests_out_of_step(case, connections, allowed) + _answers_out_of_step(
        case, seen, answers, attack, allowed
    )
    return outcome


def finals(answers: Read) -> list[Message]:
    return [message for message in answers.messages if message.status >= 200 or message.status == 101]


# --- the verdict ------------------------------------------------------------------------------------------------------


def _attack(connections: Iterable[tuple[bytes, Read]]) -> Message | None:
    """The first whole request that is neither a victim's nor one that followed the attack."""
    for _, found in connections:
        for message in found.complete:
            if not message.target.startswith(VICTIM.encode()) and message.line not in (FOLLOWING, "GET /smuggled"):
                return message
    return None


def _request(
    case: Case, connections: list[tuple[bytes, Read]], answers: Read, attack: Message | None, seen: Seen
) -> Outcome:
    first = next(iter(finals(answers)), None)
    status = first.status if first is not None else 0
    for data, found in connections:
        if found.error or (attack is not None and attack in found.complete and _h11_refuses(data, found)):
            return Outcome(MALFORMED, status)
    if attack is not None:
        return Outcome(Verdict.FORWARDED, status)
    if first is not None and not first.all(TAG):
        return Outcome(Verdict.REFUSED if status >= 400 else Verdict.ANSWERED, status)
    if answers.error:
        return Outcome(MALFORMED, status)
    return Outcome(Verdict.REFUSED if seen.ended else Verdict.WAITED, status)


def _response(answers: Read, seen: Seen) -> Outcome:
    first = next(iter(finals(answers)), None)
    if first is None:
        if answers.error:
            return Outcome(MALFORMED)
        return Outcome(Verdict.CUT if seen.received else Verdict.REFUSED if seen.ended else Verdict.WAITED)
    if first.status >= 500 and not first.all(TAG):
        return Outcome(Verdict.REFUSED, first.status)
    if first is answers.messages[-1] and answers.error:
        return Outcome(MALFORMED, first.status)
    return Outcome(Verdict.FORWARDED if first.complete else Verdict.CUT, first.status)


def h11_requests(data: bytes, most: int) -> tuple[list[tuple[bytes, bytes]], bool, str]:
    """Method and target of the first requests in `data`, `most` at the most, as h11 reads them; whether the last of
    them is whole; and why it reads no further, or ""."""
    lines: list[tuple[bytes, bytes]] = []
    whole = False
    machine = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)
    machine.receive_data(data)
    try:
        while (event := machine.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                lines.append((event.method, event.target))
                whole = False
            elif isinstance(event, h11.EndOfMessage):
                whole = True
                if len(lines) == most or machine.their_state is not h11.DONE:
                    break  # also where a connection might become another protocol
                machine.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                machine.send(h11.EndOfMessage())
                if machine.our_state is not h11.DONE:
                    break
                machine.start_next_cycle()
            elif isinstance(event, h11.ConnectionClosed):
                break
    except h11.ProtocolError as error:
        return lines, whole, str(error)
    return lines, whole, ""


def _h11_refuses(data: bytes, found: Read) -> bool:
    """Whether h11 does not find the same whole requests."""
    wanted = [(message.method, message.target) for message in found.complete]
    lines, _, error = h11_requests(data, len(wanted))
    return bool(error) or lines != wanted[: len(lines)]


def _wrong(case: Case, outcome: Outcome, attack: Message | None, answers: Read) -> str:
    wanted = " or ".join(sorted(case.right))
    if outcome.verdict not in case.right:
        return f"{outcome.verdict}{f' ({outcome.status})' if outcome.status else ''} instead of {wanted}"
    if outcome.verdict == Verdict.REFUSED and case.statuses and outcome.status not in case.statuses:
        return f"refused with {outcome.status or 'no answer'} instead of {' or '.join(map(str, sorted(case.statuses)))}"
    if case.of_response:
        first = next(iter(finals(answers)), None)
        return _unlike(case, first) if first is not None and outcome.verdict == Verdict.FORWARDED else ""
    if outcome.verdict == Verdict.ANSWERED:
        return _unlike(case, finals(answers)[0])
    return _unlike(case, attack) if attack is not None else ""


def _unlike(case: Case, message: Message) -> str:
    """How a forwarded message is not as it has to be."""
    if case.body is not None and message.body != case.body:
        return f"its body arrived as {_short(message.body)}"
    if case.targets and message.target not in case.targets:
        return f"its target arrived as {_short(message.target)}"
    fields = message.fields + message.trailers
    for name in case.lacks:
        if any(key == name for key, _ in fields):
            return f"{name.decode()} was passed on"
    for name in case.trailer_lacks:
        if any(key == name for key, _ in message.trailers):
            return f"{name.decode()} was passed on as a trailer"
    for name, value in case.has.items():
        if message.all(name) != [value]:
            return f"{name.decode()} arrived as {message.all(name)}"
    for name, value in case.last.items():
        members = b",".join(message.all(name)).split(b",")
        if members[-1].strip() != value:
            return f"{name.decode()} ends with {_short(members[-1])}"
    if case.clean_path:
        for name, path in _paths(message.target):
            if path.startswith(b"/secret"):
                return f"{_short(message.target)} is /secret to a server that {name}"
    return ""


def _paths(target: bytes) -> list[tuple[str, bytes]]:
    """What servers make of a path."""
    raw = target.partition(b"?")[0].partition(b"#")[0]
    decoded = unquote_to_bytes(raw)
    slashed = decoded.replace(b"\\", b"/")
    return [
        ("decodes it", _resolved(decoded)),
        ("resolves it and then decodes it", unquote_to_bytes(_resolved(raw))),
        ("takes backslashes for slashes", _resolved(slashed)),
        ("ends it at NUL", _resolved(decoded.partition(b"\0")[0])),
    ]


def _resolved(path: bytes) -> bytes:
    """Without dot segments and empty ones."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    return b"/" + b"/".join(kept)


# --- desyncs ----------------------------------------------------------------------------------------------------------


def _allowed(
    case: Case, outcome: Outcome, connections: list[tuple[bytes, Read]], attack: Message | None
) -> Counter[str]:
    """The requests that may reach the origin, with how often. One that is forwarded against the RFC is a wrong verdict
    and no desync; what follows it is one where readings of the client's own bytes disagree about its end."""
    allowed = Counter(case.seen)
    if attack is None and outcome.verdict == MALFORMED:
        found = [read_requests(data, LENIENT[0]).messages for data, _ in connections]
        attack = next((message for messages in found for message in messages if not _is_victim(message.line)), None)
    if attack is not None:
        allowed[attack.line] = max(1, allowed[attack.line])
        if outcome.verdict not in case.right and is_clear(case):
            allowed[FOLLOWING] = 1
    return allowed


def is_clear(case: Case) -> bool:
    """Whether all who can read what the client sent see the same requests in it, as far as they can."""
    readings = [read_requests(case.sent, reading) for reading in (STRICT, *LENIENT)]
    lists = [([(message.line, message.body) for message in found.complete], found.error) for found in readings]
    for one, error in lists:
        for other, other_error in lists:
            common = min(len(one), len(other))
            if one[:common] != other[:common]:
                return False
            if len(one) < len(other) and not error and one:
                return False
            if len(other) < len(one) and not other_error and other:
                return False
    return True


def _requests_out_of_step(case: Case, connections: list[tuple[bytes, Read]], allowed: Counter[str]) -> list[str]:
    problems = []
    strict = Counter(message.line for _, found in connections for message in found.complete)
    for line, count in strict.items():
        if count > allowed[line] and not _is_victim(line) and not (case.of_response and line in allowed):
            problems.append(f"the origin gets {line} {count} times, and it was sent {allowed[line]} times")
    for data, found in connections:
        if found.is_plain(len(data)):
            continue
        for reading in LENIENT:
            problem = _differs(found, read_requests(data, reading), allowed)
            if problem:
                problems.append(f"{_said(reading)}: {problem}")
    return problems


def _differs(strict: Read, other: Read, allowed: Counter[str]) -> str:
    for message in other.messages:
        if not allowed[message.line] and not _is_victim(message.line):
            return f"it sees {_short(message.line.encode('latin-1'))}"
    if strict.error or other.error:
        return ""
    if [message.line for message in strict.messages] != [message.line for message in other.messages]:
        return f"it sees {len(other.messages)} requests where there are {len(strict.messages)}"
    for one, two in zip(strict.messages, other.messages, strict=True):
        if one.complete != two.complete or one.body != two.body:
            return f"the body of {one.line} is {_short(two.body)} to it, and {_short(one.body)} by the letter"
    return ""


def _answers_out_of_step(
    case: Case, seen: Seen, answers: Read, attack: Message | None, allowed: Counter[str]
) -> list[str]:
    first = b"attack" if attack is None or b"attack" in attack.target else attack.target.partition(b"?")[0]
    later = case.seen if case.seen[:1] == (FOLLOWING,) else case.seen[1:]
    expected = [first, *(line.partition(" ")[2].encode("latin-1") for line in later)]
    if allowed[FOLLOWING] and FOLLOWING not in case.seen:
        expected.append(FOLLOWING.partition(" ")[2].encode())
    problems = _misplaced(finals(answers), expected)
    if case.of_response and not answers.is_plain(len(seen.received)):
        for reading in LENIENT:
            if reading.underscores:
                continue  # clients are no CGI
            other = read_responses(seen.received, methods_of(case), seen.ended and not seen.was_reset, reading)
            problem = _misread(answers, other, expected)
            if problem:
                problems.append(f"{_said(reading)}: {problem}")
    for target, received, ended in seen.victims:
        messages = finals(read_responses(received, [b"GET"], ended))
        tags = [tag for message in messages for tag in message.all(TAG)]
        if tags != [target.encode()]:
            status = messages[0].status if messages else "no answer"
            problems.append(f"another client gets {_short(tags[0]) if tags else status} for {target}")
    return problems


def _misplaced(messages: Sequence[Message], expected: list[bytes]) -> list[str]:
    """Answers whose tags are not those of the requests, in their order. "attack" stands for each path that holds it."""
    left = iter(expected)
    for message in messages:
        for tag in message.all(TAG):
            path = tag.partition(b"?")[0]
            if path == ORIGIN_REFUSED:
                continue
            if not any(path in (want, want[:MOST_TAG]) or (want == b"attack" and want in path) for want in left):
                return [f"the client gets the answer {_short(tag)} out of place"]
    return []


def _misread(strict: Read, other: Read, expected: list[bytes]) -> str:
    problems = _misplaced(finals(other), expected)
    if problems:
        return problems[0]
    if strict.error or other.error:
        return ""
    one = [(message.status, message.body, message.complete) for message in strict.messages]
    two = [(message.status, message.body, message.complete) for message in other.messages]
    return "" if one == two else f"the client's {len(one)} answers are {len(two)} to it, or others"


def _is_victim(line: str) -> bool:
    return line.startswith(f"GET {VICTIM}")


def _said(reading: Reading) -> str:
    return f"read with “{reading.name}”"


def _short(data: bytes) -> str:
    return repr(data if len(data) <= 60 else data[:40] + b"..." + data[-12:])[1:]
