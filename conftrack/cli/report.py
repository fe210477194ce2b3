"""`report`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click

from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.errors import ConftrackError
from conftrack.inventory.asking import agreed, consent, operator
from conftrack.inventory.show import counted
from conftrack.language import LOCALES
from conftrack.report.forms import FORMS, Form, file_name, make
from conftrack.report.forms.docx import write_template
from conftrack.report.keeper import Reports
from conftrack.report.model import Addendum, Closed, Scope
from conftrack.storage.database import Database


class Month(click.ParamType[date]):
    """A month as 2026-10."""

    name = "MONTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        found = re.fullmatch(r"(20\d\d)-(0[1-9]|1[0-2])", value, re.ASCII)
        if not found:
            self.fail(f"{value!r} is no month: write it as 2026-10", param, ctx)
        return date(int(found[1]), int(found[2]), 1)


class _ByMonth(click.Group):
    """`report 2026-10` is `report show 2026-10`, its options before or after."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any(arg[:1].isdigit() for arg in args) and not any(arg in self.commands for arg in args):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ByMonth)
def report() -> None:
    """The monthly summary: conftrack report 2026-10.

    Until a month is closed its figures are those of the facts as they are now. `close` freezes them; what changes
    after that is an addendum, never a silent change."""


def with_reports(path: Path | None, work: Callable[[Reports], Awaitable[int]]) -> None:
    """Runs `work` with the reports of the configured database, and ends the command with what it returns."""
    config = read_config(path)

    async def run() -> int:
        async with Database(config.database, config.data_dir) as database:
            return await work(
                Reports(
                    database.pool, timezone=config.timezone, clock=now, config=config.report,
                    privacy=config.privacy, sources=[source.name for source in config.sources],
                )
            )  # fmt: skip

    run_to_end(run())


def _choices(of: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """Reads a list such as html,pdf."""

    def read(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
        named = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
        for one in named:
            if one not in of:
                raise click.BadParameter(f"{one!r} is none of {', '.join(of)}")
        return named or tuple(of)

    return read


@report.command("show")
@click.argument("month", type=Month())
@click.option(
    "--format",
    "forms",
    default="pdf,docx,xlsx",
    show_default=True,
    callback=_choices(FORMS),
    metavar="LIST",
    help=f"Which of {', '.join(FORMS)}.",
)
@click.option(
    "--lang",
    "languages",
    default="vi",
    show_default=True,
    callback=_choices(tuple(LOCALES)),
    metavar="LIST",
    help="Which of vi, en.",
)
@click.option(
    "--out",
    default=".",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder they go to.",
    show_default="this one",
)
@click.option("--unit", metavar="CODE", help="Of this unit and all below it.")
@click.option("--source", metavar="NAME", help="Of this source alone.")
@click.option("--restate", is_flag=True, help="With the organisation of today, not of the time.")
@click.pass_obj
def show(
    path: Path | None, month: date, forms: tuple[Form, ...], languages: tuple[str, ...], out: Path, unit: str | None,
    source: str | None, restate: bool,
) -> None:  # fmt: skip
    """Writes the report of a month; `report 2026-10` is enough.

    Of a closed month it is what was signed, with its addenda beside it; restated, the facts as they are now."""
    letterhead = read_config(path).report
    scope = Scope(source=source, unit=unit)
    out.mkdir(parents=True, exist_ok=True)

    async def work(reports: Reports) -> int:
        found = await reports.read(month, tree="today" if restate else "then")
        try:
            (found.report if isinstance(found, Closed) else found).of(scope)
        except KeyError as unknown:
            raise ConftrackError(f"the report of {month:%Y-%m} knows no unit or source {unknown}") from None
        for form in forms:
            for language in languages if form != "json" else languages[:1]:
                made = await make(form, found, scope=scope, language=language, letterhead=letterhead)
                name = file_name(form, found, scope)
                if len(languages) > 1 and form != "json":
                    name = f"{name.removesuffix(form)}{language}.{form}"
                (out / name).write_bytes(made)
                click.echo(str(out / name))
        return 0

    with_reports(path, work)


@report.command("template")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--lang", "language", type=click.Choice(list(LOCALES)), default="vi", show_default=True)
def write_out(file: Path, language: str) -> None:
    """Writes the document that the DOCX form fills, to be changed and named in `[report] template`."""
    if file.exists():
        raise ConftrackError(f"{file} is there already: nothing was written")
    write_template(file, language)
    click.echo(f"{file} is written. Name it in `template` of [report].")


@report.command("close")
@click.argument("month", type=Month())
@click.option("--anyway", is_flag=True, help="Although a source has not been read up to the end of the month.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def close(path: Path | None, month: date, anyway: bool, yes: bool) -> None:
    """Freezes the figures of a month, which cannot be undone.

    Shows them first; what is frozen is what was shown. Later facts become addenda: see `conftrack report amend`."""

    async def work(reports: Reports) -> int:
        found = await reports.closable(month, anyway=anyway)
        figures = found.of()
        click.echo(
            f"{month:%Y-%m}, {found.since} to {found.until - timedelta(days=1)}: {figures.meetings:,} meetings, "
            f"{figures.legs:,} connections, {figures.endpoint_connections:,} endpoint connections of "
            f"{figures.endpoints:,} endpoints, {figures.attendees:,} people."
        )
        if running := sum(held.ended_at is None for held in found.meetings):
            click.echo(f"Not over yet: {counted(running, 'meeting')}. What comes of that later will be a correction.")
        if not await agreed(consent(given=yes), "Close it for good?", done="closed"):
            return 1
        closed = await reports.freeze(found, operator())
        click.echo(f"Closed. SHA-256 of the figures: {closed.digest}")
        return 0

    with_reports(path, work)


@report.command("amend")
@click.argument("month", type=Month())
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.pass_obj
def amend(path: Path | None, month: date, dry_run: bool) -> None:
    """Adds to a closed month what later facts changed, dated; what was signed stays beside it."""

    async def work(reports: Reports) -> int:
        found = await (reports.pending(month) if dry_run else reports.amend(month, operator()))
        if not found:
            click.echo(f"Nothing changed since {month:%Y-%m} was closed or amended last.")
            return 0
        for change in found.changes if isinstance(found, Addendum) else found:
            click.echo(f"  {change.of}  {change.figure}: {_shown(change.before)} → {_shown(change.after)}")
        if isinstance(found, Addendum):
            click.echo(f"Addendum {found.number} to {month:%Y-%m}. SHA-256 of the figures: {found.digest}")
        return 0

    with_reports(path, work)


@report.command("list")
@click.pass_obj
def list_reports(path: Path | None) -> None:
    """Lists the months that are known, and which of them are closed."""
    timezone = read_config(path).timezone

    async def work(reports: Reports) -> int:
        closed = {one.month: one for one in await reports.closed()}
        for month in sorted({*await reports.months(), *closed}, reverse=True):
            one = closed.get(month)
            if one is None:
                click.echo(f"{month:%Y-%m}  {'open' if month > reports.last() else 'not closed'}")
            else:
                addenda = f", addenda: {one.addenda}" if one.addenda else ""
                day = f"{one.closed_at.astimezone(timezone):%Y-%m-%d}"
                click.echo(f"{month:%Y-%m}  closed {day} by {one.closed_by}{addenda}  {one.digest}")
        return 0

    with_reports(path, work)


def _shown(value: object) -> str:
    return "—" if value is None else str(value)
