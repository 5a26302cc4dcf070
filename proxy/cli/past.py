"""A request that is over, as a page: where it went, where its time went, and what its flags mean.

Pure: a record in, lines out.
"""

from __future__ import annotations

from rich.text import Text

from mesh.record import Record
from proxy.cli.because import joined_target, status_text
from proxy.cli.layout import BAD, DIM, GOOD, STRONG, WARN, Column, Page, joined, text
from proxy.cli.timeline import cells_of, milliseconds, parts_of
from proxy.http1.flags import denial_in_words, flag_in_words

PART_STYLES = ("blue", "yellow", "magenta", "cyan", "green")

KEPT = {"sample": "as one of the sample", "error": "because something went wrong"}


def recount(page: Page, record: Record) -> None:
    """What became of one request."""
    ended = status_text(record.status) if record.status else "no answer"
    good = 0 < record.status < 400 and not record.flags
    asked = text(f"{record.method} {record.host}{record.path}", STRONG)
    page.headline(joined([asked, page.marks.arrow, text(ended, GOOD if good else BAD), text(_end(record))]))
    _request(page, record)
    _way(page, record)
    _time(page, record)
    _flags(page, record)
    page.begin("Why")
    page.add(text(what_happened(record), STRONG))


def _end(record: Record) -> str:
    place = f"from {record.endpoint} " if record.endpoint and record.upstream_status else ""
    return f"{place}after {milliseconds(record.duration_ms)}"


def _request(page: Page, record: Record) -> None:
    client = text(record.client)
    if record.peer and record.peer != record.client:
        client = joined([client, text(f"told by the trusted proxy {record.peer}", DIM)], ", ")
    at = [f"listener {record.listener}" if record.listener else "", f"worker {record.worker}"]
    if record.config_version:
        at.append(f"version {record.config_version} of the configuration")
    rows = [
        ("came", text(record.ts)),
        ("client", client),
        ("id", text(record.request_id)),
        ("trace", text(record.trace_id)),
        ("agent", text(record.user_agent)),
        ("at", text(", ".join(part for part in at if part))),
        ("bytes", text(f"{record.bytes_in:,} in, {record.bytes_out:,} out")),
        ("kept", text(KEPT.get(record.kept, record.kept))),
    ]
    rows += [
        ("header" if number == 0 else "", text(f"{name}: {value}"))
        for number, (name, value) in enumerate(record.headers)
    ]
    page.begin("Request")
    page.table((Column(8), Column(page.room)), [(text(name, DIM), value) for name, value in rows if value.plain])


def _way(page: Page, record: Record) -> None:
    """Where it was sent, step by step."""
    page.begin("Way")
    if not record.route:
        page.add(text("no route", BAD))
    else:
        page.add(joined([text(f"route {record.route}", STRONG), text(record.rule_source, DIM)]))
    target = joined_target(record.service, record.version)
    if target:
        drawn = text(f"{record.drawn} was drawn and has no usable endpoint" if record.drawn else "", WARN)
        page.add(joined([text(f"service {target}"), drawn], ", "))
    for address in record.tried:
        page.add(joined([_mark(page, False), text(address), text("failed it", DIM)]))
    if record.endpoint and record.endpoint not in record.tried[-1:]:
        answered = f"answered {status_text(record.upstream_status)}" if record.upstream_status else "gave no answer"
        mark = _mark(page, bool(record.upstream_status))
        probe = text("as a trial of a half-open endpoint" if record.probe else "", DIM)
        page.add(joined([mark, text(record.endpoint), text(answered, "" if record.upstream_status else BAD), probe]))
    if not record.endpoint and record.status:
        page.add(joined([_mark(page, record.status < 400), text(f"answered here: {status_text(record.status)}")]))
    if record.attempts > 1 or record.retries:
        by_policy = f", {record.retries} of them by the retry policy" if record.retries else ""
        page.add(text(f"{record.attempts} attempts{by_policy}", DIM))
    if record.retry_denied:
        words = denial_in_words(record.retry_denied)
        page.add(joined([text("not sent again:", WARN), text(words), text(f"({record.retry_denied})", DIM)]), indent=2)


def _mark(page: Page, good: bool) -> Text:
    return text(page.marks.yes, GOOD) if good else text(page.marks.no, BAD)


def _time(page: Page, record: Record) -> None:
    parts = parts_of(record)
    page.begin("Time")
    cells = cells_of([part.took for part in parts], page.room)
    fills = page.marks.fills
    line = Text()
    for number, count in enumerate(cells):
        line += Text(fills[number % len(fills)] * count, style=PART_STYLES[number])
    if line.plain:
        page.add(line)
    total = sum(part.took for part in parts)
    rows = [
        (
            text(fills[number % len(fills)], PART_STYLES[number]),
            text(part.name),
            text(milliseconds(part.took)),
            text(f"{100 * part.took / total:.0f} %" if total else "", DIM),
        )
        for number, part in enumerate(parts)
        if part.took > 0
    ]
    rows.append((Text(""), text("total", STRONG), text(milliseconds(total), STRONG), Text("")))
    page.table((Column(1), Column(12), Column(12, right=True), Column(6, right=True)), rows)


def _flags(page: Page, record: Record) -> None:
    flags = [flag for flag in record.flags.split(",") if flag]
    if not flags:
        return
    page.begin("Flags")
    page.table(
        (Column(4), Column(page.room, gives=True)), [(text(flag, WARN), text(flag_in_words(flag))) for flag in flags]
    )
    if record.flag_details and not any(flag_in_words(flag) == record.flag_details for flag in flags):
        page.add(text(record.flag_details, DIM))


def what_happened(record: Record) -> str:
    """One sentence."""
    ended = status_text(record.status) if record.status else "no answer"
    source = f" ({record.rule_source})" if record.rule_source else ""
    took = f"route {record.route}{source} took it" if record.route else "no route took it"
    if record.drawn:
        took += f", and {record.drawn}, which was drawn, had no usable endpoint"
    target = joined_target(record.service, record.version)
    if record.upstream_status and not record.retry_denied and record.status == record.upstream_status:
        sentence = f"It went to {record.endpoint} of {target}, because {took}; the endpoint answered {ended}"
    else:
        reason = record.flag_details or ", ".join(flag_in_words(flag) for flag in record.flags.split(",") if flag)
        through = f"{took}{f' for {target}' if target else ''}"
        if record.upstream_status:
            through += f", {record.endpoint} answered {status_text(record.upstream_status)}"
        verb = "ended" if record.endpoint or not record.status else "was answered here"
        sentence = f"It {verb} with {ended}: {through}" + (f", and {reason}" if reason else "")
    if record.tried:
        sentence += f", after {', '.join(record.tried)} had failed it"
    if record.retry_denied:
        sentence += f"; it was not sent again, because {denial_in_words(record.retry_denied)}"
    return f"{sentence}."
