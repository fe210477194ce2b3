"""The command line: builds everything from the configuration, passes it down, owns the exit codes.

0 done, 1 failed, 2 bad usage or configuration. Errors are sentences on stderr; a traceback is a bug of conftrack.
"""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import click

from conftrack import __version__
from conftrack.cli.alerting import alerts
from conftrack.cli.collecting import backfill, collect, run
from conftrack.cli.database import db, rejected
from conftrack.cli.expected import expected
from conftrack.cli.grafana import grafana
from conftrack.cli.headcounts import headcount
from conftrack.cli.inventory import inventory
from conftrack.cli.looking import demo_command, doctor_command
from conftrack.cli.mailing import mails, send
from conftrack.cli.maintenance import maintenance
from conftrack.cli.privacy import privacy
from conftrack.cli.report import report
from conftrack.cli.users import user
from conftrack.errors import ConftrackError
from conftrack.storage.database import Unavailable, sentence_of


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog="Start here: conftrack demo")
@click.version_option(__version__, prog_name="conftrack")
@click.option(
    "--config", "path", type=click.Path(path_type=Path), help="Configuration file [CONFTRACK_CONFIG, ./conftrack.toml]."
)
@click.option("-v", "--verbose", is_flag=True, help="Log every cycle, not only what changes.")
@click.pass_context
def cli(context: click.Context, path: Path | None, verbose: bool) -> None:
    """Knows how a government's video conferencing is really used, and which site is failing right now.

    conftrack collects the meeting logs of conference systems, keeps them in Postgres, and shows them: pages at
    /, metrics for Prometheus at /metrics, views for Grafana in the database.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )  # fmt: skip
    for noisy in ("asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for repeated in ("apscheduler", "stamina"):  # at each try of a source that is away, which is told once
        logging.getLogger(repeated).setLevel(logging.WARNING if verbose else logging.ERROR)
    context.obj = path


for command in (
    run, collect, backfill, db, rejected, inventory, expected, headcount, maintenance, alerts, grafana, report, privacy,
    user,
    doctor_command, demo_command,
):  # fmt: skip
    cli.add_command(command)
for command in (send, mails):
    report.add_command(command)


def main() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a locale without Vietnamese is no failure
    try:
        cli()
    except ConftrackError as error:
        click.echo(f"conftrack: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except (*Unavailable, OSError) as error:
        logging.getLogger("conftrack").debug("what failed:", exc_info=True)
        if isinstance(error, Unavailable):
            said = sentence_of(error)
        else:  # a full disk, a folder that is none or not ours
            said = error.strerror or str(error) or type(error).__name__
            said = f"{error.filename}: {said}" if error.filename is not None else said
        click.echo(f"conftrack: {said}", err=True)
        raise SystemExit(1) from None
