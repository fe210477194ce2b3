"""The operator at the terminal: who it is, and asking for a yes."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
from collections.abc import Awaitable, Callable

import click

Consent = Callable[[str], Awaitable[bool]]
"""Asks a question, and says whether the answer is yes."""


def consent(*, given: bool) -> Consent | None:
    """Consent that is given already, else by asking on the terminal; None where there is none to ask on."""
    if given:
        return _yes
    return _ask if sys.stdin.isatty() else None


async def agreed(
    asked: Consent | None, question: str, say: Callable[[str], None] = click.echo, *, done: str = "changed"
) -> bool:
    """Whether the operator says yes. If not, or where nobody can be asked, `say` tells that nothing was `done`."""
    if asked is None:
        say(f"Nothing was {done}: there is no terminal to ask on; with --yes it is done without asking.")
        return False
    if not await asked(question):
        say(f"Nothing was {done}.")
        return False
    return True


async def _yes(question: str) -> bool:
    return True


async def _ask(question: str) -> bool:
    """A stop is a no."""
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    loop = asyncio.get_running_loop()
    typed = asyncio.Event()
    loop.add_reader(sys.stdin, typed.set)
    try:
        await typed.wait()
        return sys.stdin.readline().strip().casefold() in {"y", "yes", "c", "có"}
    except asyncio.CancelledError:
        click.echo(err=True)
        return False
    finally:
        loop.remove_reader(sys.stdin)


def operator() -> str:
    """Who runs the command, as the machine knows."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
