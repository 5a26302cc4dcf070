"""`hivemesh plan`: what a configuration file would change about the running hivemesh, or about another file.

The running one is asked (POST /v1/plan), because it alone knows what is in force besides its file and what is under
way; between two files the same rules run here (proxy/plan/making.py). What is shown is grouped by listener and service
and marked as in a diff.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click
from rich.text import Text

from proxy.cli import output
from proxy.cli.context import Options, common_options

Json = dict[str, Any]

EXIT_CHANGES = 4

STYLES = {"+": "green", "-": "red", "~": "yellow"}
# Longest list or mapping that is shown in a line.
SHORT = 90


@click.command()
@click.argument("file")
@click.option("--from", "former", metavar="FILE", help="Compare with this file instead of the running hivemesh.")
@click.option("--exit-code", is_flag=True, help=f"Exit with {EXIT_CHANGES} when something would change.")
@common_options
def plan(options: Options, file: str, former: str | None, exit_code: bool) -> int:
    """Say what FILE would change if it were loaded now: routes, services, endpoints that drain, settings, and what
    becomes of live connections. Nothing is changed.

    FILE is checked first, as `check` does; with problems the exit code is 1.
    """
    from msgspec import to_builtins

    from proxy.config.validate import check as checked

    configs = []
    for name in (file, former):
        loaded = checked(name) if name is not None else None
        if loaded is None:
            continue
        if loaded.config is None:
            output.print_refused(loaded.problems, options.as_json)
            return 1
        configs.append(loaded.config)
    if former is None:
        found = options.client.post("plan", body=to_builtins(configs[0]))
    else:
        from proxy.plan.making import make
        from proxy.plan.values import as_json

        wanted, running = configs
        found = as_json(make(running, wanted, running.snapshot, wanted.snapshot))
    if options.as_json:
        output.print_json(found)
    else:
        _show(found)
    if found["is_refused"]:
        return 1
    return EXIT_CHANGES if exit_code and found["changes"] else 0


def _show(found: Json) -> None:
    screen = output.console()
    if found["is_refused"]:
        print("a reload would refuse it:")
        for problem in found["problems"]:
            print(output.problem_line(problem))
        return
    for line in lines(found):
        screen.print(line, soft_wrap=True)


def lines(found: Json) -> Iterator[Text]:
    """The plan as it is shown, line by line."""
    group = ""
    for change in found["changes"]:
        heading = _heading(change)
        if heading != group:
            if group:
                yield Text("")
            group = heading
            if change["kind"] not in ("listener", "service"):
                yield Text(output.printable(heading), style="bold")
        yield from _change(change)
    if group:
        yield Text("")
    for note in found["notes"]:
        yield Text(f"note: {output.printable(note)}", style="dim")
    yield Text(output.printable(found["summary"]), style="bold")


def _heading(change: Json) -> str:
    kind = change["kind"]
    if kind in ("setting", "node"):
        return f"{kind}s"
    if kind in ("listener", "route"):
        return f"listener {change['inside'] or change['name']}"
    return f"service {change['inside'] or change['name']}"


def _change(change: Json) -> Iterator[Text]:
    kind, sign = change["kind"], change["sign"]
    is_head = kind in ("listener", "service")
    indent = "" if is_head else "  "
    style = STYLES[sign]
    if kind == "setting":
        (value,) = change["values"]
        yield Text(f"{indent}{sign} ", style=style) + _value(value)
    else:
        text = Text(
            f"{indent}{sign} {kind} {output.printable(change['name'])}", style=f"bold {style}" if is_head else style
        )
        text.append(f"  {output.printable(change['about'])}", style="" if is_head else style if sign != "~" else "")
        text.append(_where(change), style="dim")
        yield text
        for value in change["values"]:
            yield Text(f"{indent}    ") + _value(value)
    for effect in change["effects"]:
        yield Text(f"{indent}    {output.printable(effect)}", style="italic")


def _where(change: Json) -> str:
    was, now = (_position(change[key]) for key in ("was_at", "now_at"))
    if was and now and was != now:
        return f"  ({was} -> {now})"
    return f"  ({was or now})" if was or now else ""


def _position(position: Json | None) -> str:
    if position is None:
        return ""
    file, line = output.printable(position["file"]), position.get("line", 0)
    return f"{file}:{line}" if line else file


def _value(value: Json) -> Text:
    was, now = value["was"], value["now"]
    text = Text(f"{output.printable(value['key'])}: ")
    if isinstance(was, list) and isinstance(now, list) and _is_plain((*was, *now)):
        parts = [*(("+", each) for each in now if each not in was), *(("-", each) for each in was if each not in now)]
        if parts:
            for sign, each in parts:
                text.append(f"{sign}{output.printable(str(each))} ", style=STYLES[sign])
            return text
    text.append(_short(was), style="red")
    text.append(" -> ")
    text.append(_short(now), style="green")
    return text


def _is_plain(values: Iterable[object]) -> bool:
    return not any(isinstance(each, dict | list) for each in values)


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {_short(each)}" for key, each in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(_short(each) for each in value) + "]"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = str(value) if value != "" else '""'
    text = output.printable(text)
    return text if len(text) <= SHORT else text[: SHORT - 3] + "..."
