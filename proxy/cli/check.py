"""`hivemesh check`: is this configuration good, and if not, everything that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mesh.domains import all_routes_of
from proxy.cli import output
from proxy.cli.context import Options, common_options

if TYPE_CHECKING:
    from discovery.config import Config
    from proxy.config.load import Written


@click.command()
@click.argument("file", required=False)
@click.option("--effective", is_flag=True, help="Print all that is in force with FILE, and where each value is from.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of configuration files instead.")
@common_options
def check(options: Options, file: str | None, effective: bool, strict: bool, schema: bool) -> int:
    """Check FILE and run its tests, without touching a running hivemesh.

    Prints every problem as file:line:column: key: message and exits 1 when there are any. Then come warnings: what is
    valid, and probably not meant.
    """
    if schema:
        from proxy.config.schema import schema as json_schema

        output.print_json(json_schema())
        return 0
    if file is None:
        raise click.UsageError("check needs a FILE, or --schema")
    from msgspec import to_builtins

    from proxy.config.load import load_written
    from proxy.config.validate import checked

    written = load_written(file)
    loaded = checked(written)
    code = 1 if loaded.config is None or (strict and loaded.warnings) else 0
    if options.as_json:
        answer: dict[str, Any] = {"ok": code == 0}
        answer["problems"] = to_builtins(loaded.problems)
        answer["warnings"] = to_builtins(loaded.warnings)
        if effective and loaded.config is not None:
            document, origins = _described(loaded.config, written)
            answer |= {"config": document, "origins": to_builtins(origins)}
        output.print_json(answer)
        return code
    for problem in (*loaded.problems, *loaded.warnings):
        # What is asked for can be read by a program; the warnings stand beside it.
        click.echo(output.printable(str(problem)), err=effective and loaded.config is not None)
    if loaded.config is None:
        return 1
    if effective:
        from proxy.config.annotated import annotated

        print(annotated(*_described(loaded.config, written)), end="")
        return code
    print(f"{file}: ok: {_summary(loaded.config)}{_warned(len(loaded.warnings))}")
    return code


def _described(config: Config, written: Written) -> tuple[Any, Any]:
    from proxy.config.effective import effective
    from proxy.config.origins import origins

    document = effective(config)
    return document, origins(document, written.places(), written.file)


def _summary(config: Config) -> str:
    snapshot = config.snapshot
    counts = (
        (len(snapshot.listeners), "listener"),
        (sum(len(all_routes_of(listener, snapshot.services)) for listener in snapshot.listeners), "route"),
        (len(snapshot.services), "service"),
        (sum(len(service.endpoints) for service in snapshot.services), "endpoint"),
    )
    tests = len(config.tests)
    passed = f", {output.counted(tests, 'test')} passed" if tests else ""
    return ", ".join(output.counted(count, noun) for count, noun in counts) + passed


def _warned(count: int) -> str:
    return f", {output.counted(count, 'warning')}" if count else ""
