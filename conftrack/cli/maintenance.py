"""`maintenance`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from msgspec.structs import replace

from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.errors import ConftrackError
from conftrack.inventory.asking import operator
from conftrack.inventory.checks import NAMED, nearest
from conftrack.inventory.moments import aware, local, moment
from conftrack.inventory.show import counted, visible
from conftrack.maintenance import check, spans, windows
from conftrack.storage import maintenance as stored
from conftrack.storage.database import Database
from conftrack.storage.maintenance import SCOPES, Maintenance, Planned, Scope

SHOWN = 5
"""How many of the next windows are shown."""


class _Moment(click.ParamType[datetime]):
    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> datetime:
        try:
            found = moment(value)
        except ValueError as error:
            self.fail(str(error), param, context)
        assert found is not None  # noqa: S101  (only nothing is none)
        return found


@click.group()
def maintenance() -> None:
    """Planned work: in its windows nothing is an incident."""


@maintenance.command("add")
@click.option("--endpoint", metavar="CODE", help="Of one endpoint,")
@click.option("--org", metavar="CODE", help="or of a unit and all below it,")
@click.option("--carrier", metavar="NAME", help="or of all endpoints of a carrier,")
@click.option("--area", metavar="NAME", help="or of all endpoints of an area,")
@click.option("--source", metavar="NAME", help="or of everything on a source.")
@click.option("--from", "since", type=_Moment(), required=True, help='Local time, such as "2026-12-06 22:00".')
@click.option("--to", "until", type=_Moment(), required=True, help="Its end.")
@click.option("--repeats", metavar="RRULE", help="Comes again, such as FREQ=WEEKLY;BYDAY=SU.")
@click.option("--until", "expires", type=_Moment(), help="When it comes no more; needed with --repeats.")
@click.option("--reason", required=True, help="What is done, for those who read of it.")
@click.option("--author", help="Who plans it [who runs this].")
@click.option("--dry-run", is_flag=True, help="Only show the windows, and what they cover.")
@click.pass_obj
def maintenance_add(
    path: Path | None,
    /,
    since: datetime,
    until: datetime,
    repeats: str | None,
    expires: datetime | None,
    reason: str,
    author: str | None,
    dry_run: bool,
    **scopes: str | None,
) -> None:
    """Plans work on endpoints, once or repeatedly."""
    given = [(scope, of) for scope in SCOPES if (of := scopes[scope]) is not None]
    if len(given) != 1:
        raise click.UsageError("give one of --endpoint, --org, --carrier, --area and --source")
    if repeats is not None and expires is None:
        raise click.UsageError("what --repeats needs an --until")
    if not reason.strip():
        raise click.UsageError("--reason must not be empty")
    config = read_config(path)
    try:
        starts_at, ends_at, expires_at = (aware(one, config.timezone) for one in (since, until, expires or until))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    assert starts_at is not None and ends_at is not None and expires_at is not None  # noqa: S101, PT018  (all given)
    scope, of = given[0]
    planned = Planned(
        scope=scope, of=of, starts_at=starts_at, ends_at=ends_at, repeats=repeats, expires_at=expires_at,
        author=author or operator(), reason=reason.strip(),
    )  # fmt: skip
    planned = replace(planned, repeats=check(planned, config.timezone))
    every = list(spans(planned, config.timezone))

    async def work() -> int:
        at = now()
        async with Database(config.database, config.data_dir) as database, database.pool.acquire() as connection:
            known = await stored.names(connection, scope)
            if of not in known:
                raise ConftrackError(f"there is no {_WORDS[scope]} {of!r}{nearest(of, known)}")
            transaction = connection.transaction()
            await transaction.start()
            number = await stored.add(connection, planned, every, at)
            rows = await stored.load(connection, planned.starts_at, planned.expires_at)
            for begins, ends in [span for span in every if span[1] > at][:SHOWN]:
                click.echo(_span(begins, ends, config.timezone))
            covered = next(_covered(row) for row in rows if row.maintenance_id == number)
            click.echo(f"{counted(len(every), 'window')} in all; {covered}.")
            if dry_run:
                await transaction.rollback()
                click.echo("Nothing was changed (--dry-run).")
            else:
                await transaction.commit()
                click.echo(f"Planned as number {number}.")
        return 0

    run_to_end(work())


@maintenance.command("list")
@click.option("--days", type=click.IntRange(min=1, max=3660), default=30, show_default=True, help="So many days ahead.")
@click.pass_obj
def maintenance_list(path: Path | None, days: int) -> None:
    """Lists the windows that are open or to come, in order of time."""
    config = read_config(path)

    async def work() -> int:
        since, until = now(), now() + timedelta(days=days)
        async with Database(config.database, config.data_dir) as database, database.pool.acquire() as connection:
            found = windows(await stored.load(connection, since, until), since, until, config.timezone)
        for window in found:
            of = window.of
            again = f", {of.repeats} until {local(of.expires_at, config.timezone)}" if of.repeats else ""
            when = _span(window.since, window.until, config.timezone)
            click.echo(
                f"{of.maintenance_id}. {when} {of.scope} {visible(of.of)}: {visible(of.reason)} "
                f"({visible(of.author)}{again}); {_covered(of)}"
            )
        if not found:
            click.echo(f"No maintenance in the next {counted(days, 'day')}.")
        return 0

    run_to_end(work())


@maintenance.command("cancel")
@click.argument("number", type=int)
@click.pass_obj
def maintenance_cancel(path: Path | None, number: int) -> None:
    """Ends maintenance now: an open window closes, and none comes again."""
    config = read_config(path)

    async def work() -> int:
        at = now()
        async with (
            Database(config.database, config.data_dir) as database,
            database.pool.acquire() as connection,
            connection.transaction(),
        ):
            rows = await stored.load(connection, at, datetime.max.replace(tzinfo=UTC))
            of = next((row for row in rows if row.maintenance_id == number and row.cancelled_at is None), None)
            if of is None:
                raise ConftrackError(f"there is no maintenance {number} that is not over or cancelled")
            await stored.cancel(connection, number, list(spans(of, config.timezone, since=at)), operator(), at)
        click.echo(f"Cancelled number {number}: {of.scope} {visible(of.of)}, {visible(of.reason)}.")
        return 0

    run_to_end(work())


_WORDS: dict[Scope, str] = {
    "endpoint": "endpoint",
    "org": "unit",
    "source": "source",
    "carrier": "endpoint of the carrier",
    "area": "endpoint of the area",
}


def _span(since: datetime, until: datetime, timezone: ZoneInfo) -> str:
    begins, ends = local(since, timezone) or "", local(until, timezone) or ""
    return f"{begins} – {ends.removeprefix(begins[: len('2026-12-06 ')])}"


def _covered(of: Maintenance) -> str:
    if of.scope == "source":
        return "covers everything on it"
    codes = list(of.endpoints.values())
    listed = ", ".join(sorted(codes)[:NAMED]) + (f" and {len(codes) - NAMED:,} more" if len(codes) > NAMED else "")
    return f"covers {counted(len(codes), 'endpoint')}" + (f" ({listed})" if codes else "")
