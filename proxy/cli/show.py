"""Commands that show one answer of the agent, and `reload`."""

from __future__ import annotations

from typing import Any

import click

from proxy.cli import output
from proxy.cli.context import Options, common_options
from proxy.plan.wording import route_text, target_text

Json = dict[str, Any]


@click.command()
@common_options
def reload(options: Options) -> None:
    """Read the configuration again. A file with problems changes nothing; they are printed, and the exit code is 1."""
    result = options.client.post("reload")
    if options.as_json:
        output.print_json(result)
    elif result["changed"]:
        print(f"reloaded: version {result['version']} is in force")
    else:
        print(f"nothing has changed: version {result['version']} stays in force")
    for problem in [] if options.as_json else result["problems"]:
        print(output.problem_line(problem))


@click.command()
@common_options
def services(options: Options) -> None:
    """List the services and the states of their endpoints."""
    found = options.client.get("services")
    if options.as_json:
        return output.print_json(found)
    output.print_table(
        (
            *("SERVICE", "DOMAIN", "BALANCING", "POLICIES", ">HEALTHY", ">EJECTED", ">ENDPOINTS"),
            *(">ACTIVE", ">PENDING", ">REQUESTS", "WRITTEN AT"),
        ),
        (
            (
                service["name"],
                service["domain"] or "-",
                service["load_balancing"],
                ", ".join(service["policies"]) or "-",
                service["endpoints"]["healthy"],
                service["endpoints"]["ejected"],
                sum(service["endpoints"].values()),
                service["active_requests"],
                service["pending_requests"],
                service["requests"],
                service["position"] or "-",
            )
            for service in found
        ),
    )


@click.command()
@click.argument("service", required=False)
@common_options
def endpoints(options: Options, service: str | None) -> None:
    """List the endpoints, of SERVICE or of all services."""
    found = options.client.get("services", service, "endpoints") if service else options.client.get("endpoints")
    if options.as_json:
        return output.print_json(found)
    output.print_table(
        (
            *("SERVICE", "ENDPOINT", "ADDRESS", "VERSION", "STATE", ">FOR", "REASON", "FROM"),
            *(">WEIGHT", ">ACTIVE", ">IDLE", ">ERRORS", ">REQUESTS", ">P99"),
        ),
        (
            (
                endpoint["stats"]["service"],
                endpoint["id"] + (" (backup)" if endpoint["backup"] else ""),
                endpoint["address"],
                endpoint["version"] or "-",
                state_text(endpoint),
                "-" if endpoint["state"] == "ejected" else output.age(endpoint["since"]),
                endpoint["reason"] or "-",
                endpoint["origin"],
                endpoint["weight"],
                endpoint["active_requests"],
                endpoint["pool"]["idle"],
                endpoint["breaker"]["errors"],
                endpoint["requests"],
                output.seconds(endpoint["stats"]["stats"]["duration_quantiles"]["p99"]),
            )
            for endpoint in found
        ),
    )


@click.command()
@common_options
def nodes(options: Options) -> None:
    """List the machines that endpoints run on."""
    found = options.client.get("nodes")
    if options.as_json:
        return output.print_json(found)
    output.print_table(
        ("NODE", "ADDRESS", "STATE", ">HEALTHY", ">ENDPOINTS"),
        (
            (
                node["name"],
                node["address"] or "-",
                node["state"],
                node["endpoints"].get("healthy", 0),
                sum(node["endpoints"].values()),
            )
            for node in found
        ),
    )


@click.command()
@common_options
def routes(options: Options) -> None:
    """List the routes and where they were written."""
    found = options.client.get("routes")
    if options.as_json:
        return output.print_json(found)
    output.print_table(
        ("LISTENER", "ROUTE", "MATCH", "TO", "POLICIES", ">REQUESTS", "WRITTEN AT"),
        (
            (
                entry["listener"],
                entry["route"]["name"],
                route_text(entry),
                target_text(entry["route"]),
                ", ".join(entry["policies"]) or "-",
                entry["requests"],
                entry["position"] or "-",
            )
            for entry in found
        ),
    )


@click.command()
@common_options
def problems(options: Options) -> None:
    """List what is wrong at the moment: the configuration that was refused last, and anything else."""
    found = options.client.get("problems")
    if options.as_json:
        return output.print_json(found)
    for problem in found:
        print(output.problem_line(problem))
    if not found:
        print("no problems")


@click.command()
@click.option("--origins", is_flag=True, help="Say of each value where it is from.")
@common_options
def config(options: Options, origins: bool) -> None:
    """Print the configuration in force, with every default written out."""
    found = options.client.get("config", query=[("origins", "true")] if origins else ())
    if options.as_json:
        return output.print_json(found)
    if origins:
        from msgspec import convert

        from proxy.config.annotated import annotated
        from proxy.config.origins import Origin

        print(annotated(found["config"], convert(found["origins"], dict[str, Origin])), end="")
        return None
    import yaml

    print(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), end="")


@click.command()
@common_options
def workers(options: Options) -> None:
    """List the workers."""
    found = options.client.get("workers")
    if options.as_json:
        return output.print_json(found)
    output.print_table(
        (">WORKER", ">PID", "STATE", ">SNAPSHOT", ">LAST SEEN", ">CONNECTIONS", ">LOG LINES LOST"),
        (
            (
                worker["worker"],
                worker["pid"] or "-",
                worker["state"],
                worker["version"],
                output.seconds(worker["heartbeat_age"]),
                worker["connections"],
                worker["access_log_dropped"],
            )
            for worker in found
        ),
    )


@click.command()
@common_options
def version(options: Options) -> None:
    """Print the version of this program, and which modules of the request path are compiled."""
    _print_version(options.as_json)


def print_version(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    """The option --version."""
    if given:
        _print_version(as_json=False)
        context.exit()


COMMANDS: tuple[click.Command, ...] = (reload, services, endpoints, nodes, routes, problems, config, workers, version)


def _print_version(as_json: bool) -> None:
    import platform

    from proxy import build

    modules = build.modules()
    if as_json:
        output.print_json({"version": build.version(), "python": platform.python_version(), "modules": modules})
        return
    print(f"hivemesh {build.version()}, Python {platform.python_version()}, request path {build.request_path()}")
    for name, state in modules.items():
        print(f"  {name}: {state}")


def state_text(endpoint: Json) -> str:
    """A healthy endpoint with a half-open breaker takes few requests."""
    if endpoint["state"] == "healthy" and endpoint["breaker"]["state"] == "half-open":
        return "half-open"
    return str(endpoint["state"])
