"""The options that every command takes, before or after its name, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any

import click

from proxy.cli.client import DEFAULT_ADMIN, Client

ADMIN_VARIABLE = "HIVEMESH_ADMIN"
TOKEN_VARIABLE = "HIVEMESH_TOKEN"


@dataclass(frozen=True)
class Options:
    admin: str = DEFAULT_ADMIN
    token: str = ""
    as_json: bool = False

    @cached_property
    def client(self) -> Client:
        try:
            return Client(self.admin, self.token)
        except ValueError as error:
            raise click.UsageError(str(error)) from None


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the common options. It gets them merged, as its first argument `options`."""

    @wraps(command)
    @click.pass_context
    def wrapper(context: click.Context, /, admin: str | None, token: str | None, as_json: bool, **own: Any) -> Any:
        outer = context.find_object(Options) or Options()
        options = replace(
            outer,
            admin=outer.admin if admin is None else admin,
            token=outer.token if token is None else token,
            as_json=outer.as_json or as_json,
        )
        return command(options, **own)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--token", metavar="TOKEN", help=f"Token of the admin address (or {TOKEN_VARIABLE})."),
        click.option("--admin", metavar="URL", help=f"http://HOST:PORT or unix:PATH (or {ADMIN_VARIABLE})."),
    ):
        wrapper = option(wrapper)
    return wrapper
