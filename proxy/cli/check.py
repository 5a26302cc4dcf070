"""`hivemesh check`: is this configuration good, and if not, everything that is wrong with it."""

from __future__ import annotations

import click

from mesh.domains import all_routes_of
from proxy.cli import output
from proxy.cli.context import Options, common_options


@click.command()
@click.argument("file", required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of configuration files instead.")
@common_options
def check(options: Options, file: str | None, schema: bool) -> int:
    """Check FILE and run its tests, without touching a running hivemesh.

    Prints every problem as file:line:column: key: message and exits 1 when there are any.
    """
    if schema:
        from proxy.config.schema import schema as json_schema

        output.print_json(json_schema())
        return 0
    if file is None:
        raise click.UsageError("check needs a FILE, or --schema")
    from msgspec import to_builtins

    from proxy.config.validate import check as checked

    loaded = checked(file)
    if options.as_json:
        ok = loaded.config is not None
        output.print_json({"ok": ok, "problems": [to_builtins(problem) for problem in loaded.problems]})
        return 0 if ok else 1
    if loaded.config is None:
        for problem in loaded.problems:
            print(output.printable(str(problem)))
        return 1
    snapshot = loaded.config.snapshot
    counts = (
        (len(snapshot.listeners), "listener"),
        (sum(len(all_routes_of(listener, snapshot.services)) for listener in snapshot.listeners), "route"),
        (len(snapshot.services), "service"),
        (sum(len(service.endpoints) for service in snapshot.services), "endpoint"),
    )
    tests = len(loaded.config.tests)
    passed = f", {output.counted(tests, 'test')} passed" if tests else ""
    print(f"{file}: ok: {', '.join(output.counted(count, noun) for count, noun in counts)}{passed}")
    return 0
