"""`run`, `collect` and `backfill`."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from conftrack.board import Board
from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.collector import Collector, Result
from conftrack.config import Config, SourceConfig
from conftrack.errors import ConfigError
from conftrack.incidents.keeper import Incidents
from conftrack.model import Page
from conftrack.serving import serve
from conftrack.sources import kinds
from conftrack.state import SourceState
from conftrack.storage.database import Database
from conftrack.storage.keeping import Keeping
from conftrack.storage.leases import Leases
from conftrack.storage.store import Outcome, Store

logger = logging.getLogger("conftrack")


@click.command()
@click.pass_obj
def run(path: Path | None) -> None:
    """The service: collects, keeps, shows; until stopped."""
    config = read_config(path)
    if not config.sources:
        logger.warning("no [[sources]] in the configuration: nothing is collected")

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database:
            await serve(config, database, kinds(), clock=now)
        return 0

    run_to_end(work(), until_stopped=True)


@click.command()
@click.option("--source", "names", multiple=True, help="Only this source (may be given several times).")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
@click.pass_obj
def collect(path: Path | None, names: Sequence[str], as_json: bool) -> None:
    """Catches up once: history, a live snapshot, a summary."""
    config = read_config(path)

    async def work() -> int:
        results: list[Result] = []
        async with Database(config.database, config.data_dir) as database, progress_bar() as shown:
            for source in chosen(config, names):
                async with collecting(config, source, database) as collector:
                    for stream in collector.source.streams:
                        bar = shown(f"{source.name} {stream}")
                        results += [await collector.catch_up(stream, progress=bar)]
                    if collector.source.has_live:
                        results += [await collector.poll()]
                    await collector.invite()
                    await collector.derive()
        summarise(results, as_json)
        return int(any(result.error for result in results))

    run_to_end(work())


class Day(click.ParamType["date"]):
    name = "YYYY-MM-DD"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007  (a day, no moment)
        except ValueError:
            self.fail(f"{value!r} is not a day like 2026-10-31", param, ctx)


@click.command()
@click.option("--from", "first", type=Day(), required=True, help="First local day.")
@click.option("--to", "last", type=Day(), required=True, help="Last local day, included.")
@click.option("--source", "names", multiple=True, help="Only this source (may be given several times).")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
@click.pass_obj
def backfill(path: Path | None, first: date, last: date, names: Sequence[str], as_json: bool) -> None:
    """Reads the history of a period again. Safe to repeat, and to stop: the next one goes on from where it was."""
    config = read_config(path)
    since = datetime.combine(first, time(), config.timezone)
    until = datetime.combine(last, time.max, config.timezone)
    if since > until:
        raise click.UsageError("--from is after --to")

    async def work() -> int:
        results: list[Result] = []
        async with Database(config.database, config.data_dir) as database, progress_bar(since, until) as shown:
            for source in chosen(config, names):
                async with collecting(config, source, database) as collector:
                    for stream in collector.source.streams:
                        bar = shown(f"{source.name} {stream}")
                        results += [await collector.backfill(stream, since, until, progress=bar)]
                    await collector.derive()
        summarise(results, as_json)
        return int(any(result.error for result in results))

    run_to_end(work())


def chosen(config: Config, names: Sequence[str]) -> list[SourceConfig]:
    """The configured sources of these names, all of them for none. ConfigError for a name that is not there."""
    known = {source.name: source for source in config.sources}
    if not known:
        raise ConfigError("no [[sources]] in the configuration: add one, or try `conftrack demo`")
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no source {name!r} in the configuration; there is {', '.join(known)}")
    return [known[name] for name in names] if names else list(known.values())


@asynccontextmanager
async def collecting(config: Config, source: SourceConfig, database: Database) -> AsyncIterator[Collector]:
    """A collector on one source, under its lease."""
    store = Store(database.pool, config.timezone, config.privacy)
    await store.adopt_timezone()
    await Keeping(database.pool, config.timezone, config.privacy).adopt(now())
    source_id = await store.register(source.name, source.kind)
    state = SourceState(name=source.name, kind=source.kind, live_interval=source.live_interval, board=Board())
    async with Leases(database) as leases:
        await leases.require(source_id, source.name)
        async with kinds()[source.kind](source, clock=now, observe=_unobserved) as opened:
            yield Collector(
                source,
                opened,
                source_id,
                store=store,
                incidents=Incidents(database.pool, config.timezone),
                state=state,
                clock=now,
            )


def _unobserved(*, stream: str, status: str, seconds: float) -> None:
    logger.debug("%s: %s in %.3f s", stream, status, seconds)


@asynccontextmanager
async def progress_bar(
    since: datetime | None = None, until: datetime | None = None
) -> AsyncIterator[Callable[[str], Callable[[Page, Outcome], None]]]:
    """A bar a stream on a terminal, nothing elsewhere. It fills from `since`, or from the first record, to `until`."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[records]:,} records"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def shown(name: str) -> Callable[[Page, Outcome], None]:
            task = progress.add_task(name, total=1.0, records=0)
            began: datetime | None = since
            records = 0

            def stored(page: Page, outcome: Outcome) -> None:
                nonlocal began, records
                records += outcome.records
                position = page.position
                if position is None:
                    return
                began = began or position
                whole = ((until or page.observed_at) - began).total_seconds()
                done = (position - began).total_seconds() / whole if whole > 0 else 1.0
                last = page.window is not None and position >= page.window.until
                progress.update(task, completed=1.0 if last else min(done, 0.99), records=records)

            return stored

        yield shown


def summarise(results: Sequence[Result], as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "source": r.source, "stream": r.stream, "inserted": r.outcome.inserted, "updated": r.outcome.updated,
                "unchanged": r.outcome.unchanged, "rejected": r.outcome.rejected, "seconds": round(r.seconds, 3),
                "error": r.error,
            }
            for r in results
        ]  # fmt: skip
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    table = Table(
        "source",
        "stream",
        "inserted",
        "updated",
        "unchanged",
        "rejected",
        "seconds",
        "",
        box=None,
        collapse_padding=True,
        pad_edge=False,
    )
    for column in table.columns[2:7]:
        column.justify = "right"
    for r in results:
        counts = (r.outcome.inserted, r.outcome.updated, r.outcome.unchanged, r.outcome.rejected)
        ended = "failed" if r.error else "complete"  # why it failed is in the log
        table.add_row(r.source, r.stream, *(f"{n:,}" for n in counts), f"{r.seconds:.1f}", ended)
    Console(markup=False).print(table)
