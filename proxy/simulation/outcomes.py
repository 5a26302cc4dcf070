"""What became of a request, and what would: the same words for a record and for a decision, so the two compare.

An outcome says where the request was decided to go, not how it fared there: what an endpoint answered, and that it did
not answer, is the endpoint's. So a request that was meant for a service counts as forwarded even where no endpoint was
usable at that moment, and whatever its status was.
Pure.
"""

from __future__ import annotations

from datetime import datetime

from discovery.model import Struct
from mesh.decision import Decision, Question
from mesh.record import Record

FORWARD, ANSWER, REFUSED, UNDECIDED = "forward", "answer", "refused", "undecided"

# Flags of answers of ours that say something of endpoints, or of the moment, and nothing of the configuration.
OF_ENDPOINTS = frozenset(("UH", "UF", "UC", "UR", "UPE", "UT", "URX", "DC", "dr", "LR"))
# Flags that tell which rule answered.
OF_RULES = ("NR", "NC", "RL", "UAEX", "FI", "DPE", "UO")
# What stands in `flag_details` of a request that one of max_concurrent's limits turned away.
AT_ONCE = "max_concurrent"

CONTENT_LENGTH, TRANSFER_ENCODING = "content-length", "transfer-encoding"
FRAMING = frozenset((CONTENT_LENGTH, TRANSFER_ENCODING))

NANOS = 1_000_000_000


class Outcome(Struct, omit_defaults=False, order=True):
    """kind: forward, answer (with `status`, by `flag`), refused (nothing listens there) or undecided (no rule was
    asked, or it cannot be told from the record). route "": none. version "": nothing decides which."""

    kind: str = FORWARD
    route: str = ""
    service: str = ""
    version: str = ""
    status: int = 0
    flag: str = ""


def outcome_of(record: Record) -> Outcome:
    """What was decided about a recorded request. UNDECIDED: it was refused before rules were asked."""
    flags = record.flags.split(",") if record.flags else []
    rule = next((flag for flag in OF_RULES if flag in flags), "")
    if not record.method or not record.path or (not record.route and rule != "NR"):
        return Outcome(kind=UNDECIDED, status=record.status, flag=rule)
    if record.attempts or record.endpoint or any(flag in OF_ENDPOINTS for flag in flags):
        kind = FORWARD
    elif rule == "UO" and AT_ONCE not in record.flag_details:
        kind = FORWARD  # a limit of the service or its breakers
    else:
        kind = ANSWER
    if kind == FORWARD and not record.service:
        return Outcome(kind=UNDECIDED, route=record.route, status=record.status)
    if kind == FORWARD:
        return Outcome(kind=kind, route=record.route, service=record.service, version=record.version)
    return Outcome(kind=kind, route=record.route, service=record.service, status=record.status, flag=rule)


def outcome_of_decision(decision: Decision) -> Outcome:
    """What would be decided."""
    if decision.outcome != ANSWER:
        return Outcome(route=decision.route, service=decision.service, version=decision.version)
    return Outcome(
        kind=ANSWER, route=decision.route, service=decision.service, status=decision.status, flag=decision.flag
    )


def question_of(record: Record) -> Question:
    """The request as it came, with its own id, so that what is drawn for it is what was or would have been drawn."""
    headers = tuple(field for field in record.headers if field[0].lower() not in FRAMING)
    return Question(
        method=record.method,
        host=record.host,
        target=record.path,
        headers=headers,
        client=record.peer or record.client,
        body_size=_body_size(record),
        listener=record.listener,
        request_id=record.request_id,
        most_routes=1,
        most_endpoints=1,
    )


def _body_size(record: Record) -> int:
    """What the head said: of a body that was refused less has come, or nothing. Without its fields: what came."""
    said = {name.lower(): value for name, value in record.headers if name.lower() in FRAMING}
    if TRANSFER_ENCODING in said:
        return -1
    length = said.get(CONTENT_LENGTH, "")
    return int(length) if length.isdecimal() else record.body_bytes


def began(record: Record) -> int:
    """When it began, in nanoseconds of the epoch, as finely as the record says; 0 when it does not."""
    try:
        moment = datetime.fromisoformat(record.ts)
    except ValueError:
        return 0
    return int(moment.timestamp() * 1_000_000) * 1000


def arrived(record: Record) -> int:
    """When its head was complete, which is when rules were asked."""
    return began(record) + int(record.t_recv * 1_000_000)


def ended(record: Record) -> int:
    return began(record) + int(record.duration_ms * 1_000_000)
