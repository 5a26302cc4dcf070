"""The commands of `hivemesh`: which there are, and which exit code an error becomes.

Exit codes: 0 ok, 1 invalid input or a failed check, 2 usage, 3 cannot reach the agent, 4 changes, of those who were
asked for that (`plan --exit-code`). What a command shows is in the file called like it, or in show.py and registry.py.
"""

from __future__ import annotations

import os
import sys

import click

from proxy.cli import output, registry, show, stats, tap, top
from proxy.cli.check import check
from proxy.cli.client import DEFAULT_ADMIN, Refused, Unreachable
from proxy.cli.context import ADMIN_VARIABLE, TOKEN_VARIABLE, Options
from proxy.cli.dns import dns
from proxy.cli.explain import explain
from proxy.cli.plan import plan
from proxy.cli.simulate import simulate

EXIT_FAILED = 1
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130


def cli(arguments: list[str]) -> int:
    """Carry out one command. The exit code."""
    try:
        result = hivemesh.main(arguments, prog_name="hivemesh", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Unreachable as error:
        output.print_error(str(error))
        return EXIT_UNREACHABLE
    except Refused as error:
        if not error.says_all:
            for problem in error.problems:
                print(output.problem_line(problem))
        output.print_error(str(error))
        return EXIT_FAILED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show.print_version,
    help="Print what `hivemesh version` prints.",
)
@click.option(
    "--admin",
    metavar="URL",
    envvar=ADMIN_VARIABLE,
    default=DEFAULT_ADMIN,
    show_default=True,
    show_envvar=True,
    help="Where the agent is: http://HOST:PORT or unix:PATH.",
)
@click.option("--token", metavar="TOKEN", envvar=TOKEN_VARIABLE, default="", show_envvar=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def hivemesh(context: click.Context, admin: str, token: str, as_json: bool) -> None:
    """A proxy that routes live connections, and the commands to look at it and steer it."""
    context.obj = Options(admin, token, as_json)


@hivemesh.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config", metavar="FILE", default="hivemesh.yaml", show_default=True)
@click.option("--user", metavar="NAME[:GROUP]", help="Agent and workers run as this user; needs root.")
def run(config: str, user: str | None) -> None:
    """Run the proxy in the foreground until SIGTERM or SIGINT.

    SIGTERM drains and exits, SIGINT the same and at once the second time, SIGHUP reads FILE again, SIGUSR1 reopens
    the logs, SIGUSR2 starts the program that is installed now on the same sockets.
    """
    as_user = ["--user", user] if user else []
    # Options before `run` lead here: start again on the way that leaves the commands behind.
    os.execv(sys.executable, [sys.executable, "-m", "proxy", "run", "-c", config, *as_user])


for command in (
    check,
    explain,
    plan,
    simulate,
    *show.COMMANDS,
    *registry.COMMANDS,
    dns,
    stats.stats,
    *tap.COMMANDS,
    top.top,
):
    hivemesh.add_command(command)
