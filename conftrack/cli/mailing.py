"""`report send` and `report mails`: reports by mail."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from conftrack.cli.report import Month
from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.config import Config
from conftrack.inventory.asking import operator
from conftrack.inventory.show import counted, visible
from conftrack.report.mailing import mailing
from conftrack.storage.database import Database
from conftrack.storage.mails import Mail, Mails, Sent

_STATES = {
    "waiting": "waits for another try",
    "sending": "is being sent, or was when conftrack ended",
    "sent": "sent",
    "refused": "refused for good",
    "unsure": "nobody knows whether it arrived",
}


@click.command("send")
@click.argument("month", type=Month())
@click.option("--to", metavar="NAME", help="Only to this [[report.mail]] list.")
@click.option("--again", is_flag=True, help="Also to those who were sent it, or may have got it.")
@click.option("--dry-run", is_flag=True, help="Only show who would get what.")
@click.pass_obj
def send(path: Path | None, month: date, to: str | None, again: bool, dry_run: bool) -> None:
    """Mails the report of a month as it stands to whoever is to get it, and has not.

    Exit code 1 if somebody could not be sent it."""
    config = read_config(path)

    async def done() -> int:
        async with Database(config.database, config.data_dir) as database:
            work = mailing(database, config, clock=now)
            if dry_run:
                for mail, known in (await work.plan(month, to)).items():
                    _show_plan(config, mail, known, again=again)
                click.echo("Nothing was sent (--dry-run).")
                return 0
            sent = await work.send(month, by=operator(), to=to, again=again)
            _show(sent, config.timezone)
            return int(any(one.state != "sent" for one in sent))

    run_to_end(done())


@click.command("mails")
@click.argument("month", type=Month(), required=False)
@click.pass_obj
def mails(path: Path | None, month: date | None) -> None:
    """Lists the mails of a month, or of all, and what became of each.

    Exit code 1 while nobody knows of one whether it arrived: ask those people, then `conftrack report send … --again`
    if it did not."""
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database:
            sent = await Mails(database.pool).sent(month)
        _show(sent, config.timezone)
        if not sent:
            click.echo("No report was mailed.")
        return int(any(one.state == "unsure" for one in sent))

    run_to_end(work())


def _show(sent: Iterable[Sent], timezone: ZoneInfo) -> None:
    for one in sent:
        at = f"{one.changed_at.astimezone(timezone):%Y-%m-%d %H:%M}"
        answer = f" ({visible(one.answer)})" if one.answer and one.state != "sent" else ""
        click.echo(f"{_named(one.mail)}  {one.address}: {_STATES[one.state]}{answer}, {at}")


def _show_plan(config: Config, mail: Mail, known: Iterable[Sent], *, again: bool) -> None:
    to = next(one for one in config.report.mail if one.name == mail.list)
    states = {one.address: one.state for one in known}
    goes = [one for one in to.to if again or states.get(one, "waiting") in ("waiting", "refused")]
    of = f"unit {to.unit}" if to.unit else "everything"
    forms, languages = ", ".join(to.forms), ", ".join(to.languages)
    click.echo(f"{_named(mail)}: of {of}, {forms} in {languages}, to {len(goes)} of {counted(len(to.to), 'recipient')}")
    for address in to.to:
        state = f" ({_STATES[states[address]]})" if address in states else ""
        click.echo(f"  {'to' if address in goes else 'not to'} {address}{state}")


def _named(mail: Mail) -> str:
    edition = {0: "not closed", 1: "closed"}.get(mail.edition, f"addendum {mail.edition - 1}")
    return f"{mail.month:%Y-%m} {edition}  {mail.list}"
