"""`user`."""

from __future__ import annotations

from typing import get_args

import click

from conftrack.config import Role, user_name
from conftrack.web.passwords import SHORTEST, hash_password


@click.group()
def user() -> None:
    """People who sign in to the pages."""


@user.command("hash")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(get_args(Role)), default="operator", show_default=True, help="What they may do."
)
def user_hash(name: str, role: str) -> None:
    """Asks for a password twice, and prints the lines that let NAME sign in.

    They go into the configuration file; the password is kept nowhere."""
    try:
        user_name(name)
    except ValueError as error:
        raise click.BadParameter(f"must be {error}", param_hint="NAME") from None
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if len(password) < SHORTEST:
        raise click.UsageError(f"a password has at least {SHORTEST} characters")
    click.echo(f'[[web.users]]\nname = "{name}"\nrole = "{role}"\npassword_hash = "{hash_password(password)}"')
