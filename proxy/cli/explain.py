"""`hivemesh explain`: where a request would go and why, live or by a file; and why a past request went where it went.

Live, the workers are asked through the agent. With -c the same program decides in this process, without sockets. What
is shown is in narrative.py and past.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from proxy.cli import output
from proxy.cli.client import Refused, Unreachable
from proxy.cli.context import Options, common_options

if TYPE_CHECKING:
    from mesh.decision import Decision
    from mesh.record import Record
    from proxy.cli.layout import Page

EXIT_INVALID = 1
DEFAULT_METHOD = "GET"
LOCAL = "127.0.0.1"  # who asks, unless --from says otherwise


@dataclass(frozen=True)
class Asked:
    """What the command line says about a request."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    client: str = ""
    body_size: int = 0
    listener: str = ""
    request_id: str = ""
    everything: bool = False

    def query(self) -> list[tuple[str, str]]:
        """As parameters of /v1/explain. What was not given is left to the agent."""
        found = [("method", self.method), ("url", self.url)]
        found += [("header", f"{name}: {value}") for name, value in self.headers]
        given = {"from": self.client, "listener": self.listener, "id": self.request_id}
        found += [(name, value) for name, value in given.items() if value]
        if self.body_size:
            found.append(("body_size", str(self.body_size)))
        if self.everything:
            found += [("routes", "0"), ("endpoints", "0")]
        return found


@click.command()
@click.argument("words", nargs=-1, metavar="[METHOD] URL")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A field; may be given again.")
@click.option("--from", "client", metavar="IP", default="", help="Who connects.  [default: 127.0.0.1]")
@click.option("--body-size", type=click.IntRange(min=-1), default=0, metavar="N", help="Bytes; -1: unknown, chunked.")
@click.option("--listener", metavar="NAME", default="", help="Needed where several listeners take requests.")
@click.option("--id", "identity", metavar="ID", default="", help="Request id: it decides the request's draws.")
@click.option("--request-id", metavar="ID", help="Explain a past request instead, from the ring of records.")
@click.option("--all", "everything", is_flag=True, help="List every route and endpoint.")
@click.option("-c", "--config", metavar="FILE", help="Decide by FILE, without a running hivemesh.")
@common_options
def explain(
    options: Options,
    words: tuple[str, ...],
    headers: tuple[str, ...],
    client: str,
    body_size: int,
    listener: str,
    identity: str,
    request_id: str | None,
    everything: bool,
    config: str | None,
) -> int:
    """Tell where a request would go, and why. Nothing is sent.

    URL is http://HOST/PATH, or /PATH with a Host field. METHOD is GET when it is left out.
    """
    if request_id is not None:
        if words or headers or client or body_size or listener or identity or config:
            raise click.UsageError("--request-id explains a past request: it goes with --all and --json only")
        return past(options, request_id, everything)
    if not 1 <= len(words) <= 2:
        raise click.UsageError("expected METHOD and URL, such as: hivemesh explain GET http://shop.local/api")
    method, url = words if len(words) == 2 else (DEFAULT_METHOD, words[0])
    asked = Asked(
        method=method,
        url=url,
        headers=tuple(parse_header(field) for field in headers),
        client=client,
        body_size=body_size,
        listener=listener,
        request_id=identity,
        everything=everything,
    )
    return offline(options, asked, config) if config is not None else live(options, asked)


def parse_header(field: str) -> tuple[str, str]:
    name, colon, value = field.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"'{field}' is not a header field, expected 'NAME: VALUE'")
    return name.strip(), value.strip()


def live(options: Options, asked: Asked) -> int:
    answer = options.client.get("explain", query=asked.query())
    if options.as_json:
        output.print_json(answer)
        return 0
    decisions = decisions_of(answer, options.client.admin)
    problems = [str(problem) for problem in answer.get("problems", ())]
    if not decisions:
        for problem in problems or ["no worker has answered"]:
            output.print_error(problem)
        return EXIT_INVALID
    show(decisions, problems, everything=asked.everything, id_given=bool(asked.request_id))
    return 0


def offline(options: Options, asked: Asked, file: str) -> int:
    from msgspec import to_builtins
    from msgspec.structs import replace

    from proxy.config.validate import check
    from proxy.offline import Offline
    from proxy.questions import question_of

    loaded = check(file)
    if loaded.config is None:
        output.print_refused(loaded.problems, options.as_json)
        return EXIT_INVALID
    try:
        question = question_of(
            asked.method,
            asked.url,
            asked.headers,
            asked.client or LOCAL,
            asked.body_size,
            asked.listener,
            asked.request_id,
            loaded.config.snapshot.listeners,
        )
    except ValueError as error:
        output.print_error(str(error))
        return EXIT_INVALID
    if asked.everything:
        question = replace(question, most_routes=0, most_endpoints=0)
    with Offline(loaded.config) as plane:
        decision = plane.ask(question)
    if options.as_json:
        output.print_json({"decisions": [to_builtins(decision)], "problems": []})
    else:
        show([decision], [], everything=asked.everything, file=file, id_given=bool(asked.request_id))
    return 0


def past(options: Options, request_id: str, everything: bool) -> int:
    answer = options.client.get("requests", request_id, query=(("open", "true"),))
    if options.as_json:
        output.print_json(answer)
        return 0
    from proxy.cli.past import recount

    for record in records_of(answer, options.client.admin):
        page = new_page()
        recount(page, record)
        print_page(page)
        again(options, record, everything)
    return 0


def again(options: Options, record: Record, everything: bool) -> None:
    """What would become of the same request now, if the configuration is still the one that decided it."""
    asked = Asked(
        method=record.method,
        url=f"{record.scheme}://{record.host}{record.path}" if record.path.startswith("/") else record.path,
        headers=_known_headers(record),
        client=record.peer or record.client,
        body_size=record.body_bytes,
        listener=record.listener,
        request_id=record.request_id,
        everything=everything,
    )
    try:
        answer = options.client.get("explain", query=asked.query())
    except Refused as error:
        say(f"It cannot be asked again: {error}.")
        return
    decisions = decisions_of(answer, options.client.admin)
    versions = sorted({decision.config_version for decision in decisions})
    if versions != [record.config_version]:
        now = ", ".join(map(str, versions)) or "unknown"
        say(f"The configuration has changed since: version {record.config_version} decided it, {now} is in force now.")
        return
    say("The configuration is still the same. This is what would become of it now, as far as it was recorded:")
    print()
    show(decisions, [str(problem) for problem in answer.get("problems", ())], everything=everything)


def _known_headers(record: Record) -> tuple[tuple[str, str], ...]:
    if not record.user_agent or any(name.lower() == "user-agent" for name, _ in record.headers):
        return record.headers
    return (("User-Agent", record.user_agent), *record.headers)


# --- the answers as values, and on paper -------------------------------------------------------------------------


def decisions_of(answer: Any, admin: str) -> list[Decision]:
    from mesh.decision import Decision

    return sorted(_values(answer, "decisions", Decision, admin), key=lambda decision: decision.worker)


def records_of(answer: Any, admin: str) -> list[Record]:
    from mesh.record import Record

    return _values(answer, "records", Record, admin)


def _values(answer: Any, key: str, kind: type, admin: str) -> list[Any]:
    from msgspec import ValidationError, convert

    try:
        return [convert(each, kind) for each in answer[key]]
    except (KeyError, TypeError, ValidationError) as error:
        raise Unreachable(f"the agent at {admin} answers in another form than this program knows: {error}") from None


def show(
    decisions: Sequence[Decision], problems: Sequence[str], *, everything: bool, file: str = "", id_given: bool = True
) -> None:
    from proxy.cli.narrative import tell

    page = new_page()
    tell(page, decisions, problems=problems, everything=everything, file=file, id_given=id_given)
    print_page(page)


def say(sentence: str) -> None:
    """A paragraph of its own, between two pages."""
    from proxy.cli.layout import text

    page = new_page()
    page.headline(text(""))
    page.headline(text(sentence))
    print_page(page)


def new_page() -> Page:
    """As wide as the terminal; for a pipe as wide as the terminal that it probably leads to."""
    from rich.console import Console

    from proxy.cli.layout import Page, marks_for

    return Page(Console().width, marks_for(sys.stdout.encoding))


def print_page(page: Page) -> None:
    console = output.console()
    for line in page.lines:
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
