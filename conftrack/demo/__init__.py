"""`conftrack demo`: a simulated province collected for real. Embedded Postgres, a simulated Pexip in a process of its
own over real HTTP, the collector, the pages and the metrics; no configuration.

A year of history comes first, and a summary that puts every figure beside the simulated world's truth; then live
meetings go on. A second start takes up the data and the world where they were.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiohttp
import asyncpg
import msgspec
from platformdirs import user_data_path
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from conftrack.collector import Collector, Result
from conftrack.config import Config, Secret, SourceConfig, WebConfig, WebUser, read_listen
from conftrack.demo.papers import take_invitations, take_maintenance
from conftrack.errors import ConfigError, ConftrackError
from conftrack.incidents.keeper import Incidents
from conftrack.model import Endpoint, Headcount, OrgUnit, Origin, Page
from conftrack.serving import serve
from conftrack.simulator import VIETNAM
from conftrack.sources import kinds
from conftrack.sources.base import Clock, normalise_alias
from conftrack.state import SourceState
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.leases import Leases
from conftrack.storage.queries import query
from conftrack.storage.store import Outcome, Store
from conftrack.web.passwords import hash_password

SOURCE = "phu-tho"
PAPERS_EVERY = timedelta(minutes=1)
TRIES = 10
"""Catch-ups in a row before the history is called unreadable; with every fault switched on a few fail."""

TOLD_BY_HISTORY = ("connect_failed", "dropped", "flapping")
"""The kinds of incidents that a year which nobody watched still tells of: for absence somebody must have been invited,
and quality is seen live."""

_UNITS = {
    "meeting_seconds": "meeting hours",
    "leg_seconds": "leg hours",
    "endpoint_connections": "endpoint connections",
    "peak_legs": "most legs at once",
    "failed_connections": "failed connections",
}


class Anchor(msgspec.Struct, frozen=True):
    """When the demo's world was made: its year of history ends then, and its live meetings begin."""

    at: datetime
    faults: bool


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    month: date | None
    name: str
    ours: float
    truth: float

    @property
    def equal(self) -> bool:
        return abs(self.ours - self.truth) <= 1e-3 if "seconds" in self.name else self.ours == self.truth


class Demo:
    def __init__(self, data_dir: Path | None, *, listen: str, faults: bool, fresh: bool, clock: Clock) -> None:
        self._folder = (data_dir or user_data_path("conftrack") / "demo").resolve()
        try:
            host, port = read_listen(listen)
        except ValueError as error:
            raise ConfigError(f"--listen must be {error}") from error
        #: Lets people act on the demo's incidents; another one at each start.
        self._password = secrets.token_urlsafe(9)
        user = WebUser(name="demo", role="admin", password_hash=Secret(hash_password(self._password)))
        self._web = WebConfig(host=host, port=port, users=(user,))
        self._faults = faults
        self._fresh = fresh
        self._clock = clock
        self._console = Console(stderr=True)

    async def run(self, *, exit_after: bool, as_json: bool) -> int:
        """Runs until stopped, or with `exit_after` until the summary: 0 when every figure equals the truth, else 1."""
        began = time.monotonic()
        anchor = self._anchor()
        self._console.print(f"The demo's data: {self._folder}", highlight=False, soft_wrap=True)
        async with Simulator(anchor) as simulator:
            config = self._config(simulator)
            async with Database(config.database, config.data_dir) as database:
                store = Store(database.pool, config.timezone)
                await store.adopt_timezone()
                await self._take_inventory(simulator, database.pool)
                source_id = await store.register(SOURCE, "pexip")
                await self._take_plans(simulator, database.pool)
                outcome = await self._collect_history(config, store, database, simulator, anchor)
                figures = await self._compare(database.pool, simulator, anchor)
                self._summarise(figures, outcome, time.monotonic() - began, as_json)
                wrong = [figure for figure in figures if not figure.equal]
                if exit_after or wrong:
                    return int(bool(wrong))
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._keep_papers(simulator, database.pool, store, source_id))
                    await serve(config, database, kinds(), clock=self._clock, started=self._announce)
        return 0

    # -- what it starts from

    def _anchor(self) -> Anchor:
        if self._fresh and (self._folder / "demo.json").exists():
            shutil.rmtree(self._folder)
        path = self._folder / "demo.json"
        if path.exists():
            anchor = msgspec.json.decode(path.read_bytes(), type=Anchor)
            return Anchor(anchor.at, self._faults)
        anchor = Anchor(self._clock().replace(microsecond=0), self._faults)
        self._folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(anchor))
        return anchor

    def _config(self, simulator: Simulator) -> Config:
        source = SourceConfig(
            name=SOURCE,
            kind="pexip",
            url=simulator.url,
            username=simulator.username,
            password=Secret(simulator.password),
            live_interval=timedelta(seconds=5),
            history_interval=timedelta(seconds=30),
            timeout=timedelta(seconds=3 if self._faults else 30),
        )
        return Config(timezone=VIETNAM, data_dir=self._folder, web=self._web, sources=(source,))

    async def _take_inventory(self, simulator: Simulator, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        told = await simulator.json("/inventory.json")
        level = {"province": 0}
        units = [
            OrgUnit(
                code=u["code"], name=u["name"], parent=u["parent"], level=level.get(u["kind"], 1),
                valid_from=date.fromisoformat(u["valid_from"]),
            )
            for u in told["units"]
        ]  # fmt: skip
        endpoints = [
            Endpoint(
                code=e["code"], name=e["name"], org=e["org"], kind=e["kind"], seats=e["seats"], carrier=e["carrier"],
                area=e["area"], service_hours=e["service_hours"], contact_phone=e["contact"],
                aliases=tuple(alias for a in e["aliases"] if (alias := normalise_alias(a))),
            )
            for e in told["endpoints"]
        ]  # fmt: skip
        await inventory.put(pool, units, endpoints)

    # -- who is invited, and what work is planned: known an hour ahead

    async def _take_plans(
        self, simulator: Simulator, pool: asyncpg.Pool[asyncpg.Record], since: datetime | None = None
    ) -> None:
        asked = {"from": since.isoformat()} if since is not None else None
        await take_invitations(pool, await simulator.text("/invitations.csv", asked), SOURCE)
        await take_maintenance(pool, await simulator.json("/maintenance.json", asked), self._clock())

    # -- the year

    async def _collect_history(
        self, config: Config, store: Store, database: Database, simulator: Simulator, anchor: Anchor
    ) -> Outcome:
        source = config.sources[0]
        source_id = await store.register(source.name, source.kind)
        state = SourceState(name=source.name, kind=source.kind, live_interval=source.live_interval)
        incidents = Incidents(database.pool, config.timezone)
        outcome = Outcome()
        async with (
            Leases(database) as leases,
            kinds()[source.kind](source, clock=self._clock, observe=lambda **_: None) as opened,
        ):
            await leases.require(source_id, source.name)
            collector = Collector(
                source, opened, source_id, store=store, incidents=incidents, state=state, clock=self._clock
            )
            with Bar(self._console, anchor.at - timedelta(days=365), anchor.at) as bar:
                # The second round reads the overlap again: what came late or was edited meanwhile.
                for _ in range(2):
                    for stream in opened.streams:
                        outcome += await self._catch_up(collector, stream, bar)
            outcome += await self._take_headcounts(
                simulator, store, source_id, anchor.at - timedelta(days=400), self._clock()
            )
            await collector.derive()
        return outcome

    async def _catch_up(self, collector: Collector, stream: str, bar: Bar) -> Outcome:
        outcome = Outcome()
        result: Result | None = None
        for _ in range(TRIES):
            result = await collector.catch_up(stream, progress=bar.stored)
            outcome += result.outcome
            if result.error is None:
                return outcome
        raise ConftrackError(f"the simulated system could not be read: {result.error if result else ''}")

    # -- head counts, which no bridge knows: the sites tell them

    async def _take_headcounts(
        self, simulator: Simulator, store: Store, source_id: int, since: datetime, until: datetime
    ) -> Outcome:
        text = await simulator.text("/headcounts.csv", {"from": since.isoformat(), "to": until.isoformat()})
        counts = tuple(
            Headcount(
                room=row["room"], at=datetime.fromisoformat(row["at"]),
                endpoint=normalise_alias(row["endpoint"]) or row["endpoint"], people=int(row["people"]),
                provenance=row["provenance"], note=row["note"] or None,  # type: ignore[arg-type]
            )
            for row in csv.DictReader(io.StringIO(text))
        )  # fmt: skip
        page = Page(stream="headcount", origin=Origin.PUSH, observed_at=until, headcounts=counts)
        return await store.store(source_id, page, now=self._clock())

    async def _keep_papers(
        self, simulator: Simulator, pool: asyncpg.Pool[asyncpg.Record], store: Store, source_id: int
    ) -> None:
        since = self._clock() - timedelta(hours=2)
        while True:
            until = self._clock()
            await self._take_plans(simulator, pool, since=since)
            await self._take_headcounts(simulator, store, source_id, since, until)
            await store.refresh()
            since = until - timedelta(minutes=5)
            await asyncio.sleep(PAPERS_EVERY.total_seconds())

    # -- the summary

    async def _compare(self, pool: asyncpg.Pool[asyncpg.Record], simulator: Simulator, anchor: Anchor) -> list[Figure]:
        truth = await simulator.json("/truth.json", {"until": anchor.at.isoformat(), "inventory": "1"})
        month_of_anchor = anchor.at.astimezone(VIETNAM).date().replace(day=1)
        year = (await pool.fetch(query("figures_until"), SOURCE, anchor.at))[0]
        rows = await pool.fetch(query("figures_by_month"), SOURCE, month_of_anchor)
        months = {row["month"]: dict(row.items()) for row in rows}
        incidents = await simulator.json("/incidents.json", {"until": anchor.at.isoformat()})
        truth["total"]["incidents"] = sum(incident["kind"] in TOLD_BY_HISTORY for incident in incidents)
        ours = await pool.fetchval(query("incidents_until"), SOURCE, anchor.at, list(TOLD_BY_HISTORY))
        figures = _figures(None, {**year, "incidents": ours}, truth["total"])
        for name, figures_of_month in truth["months"].items():
            month = date.fromisoformat(name)
            if month < month_of_anchor:
                figures += _figures(month, months.get(month, {}), figures_of_month)
        return figures

    def _summarise(self, figures: list[Figure], outcome: Outcome, seconds: float, as_json: bool) -> None:
        wrong = [figure for figure in figures if not figure.equal]
        if as_json:
            shown = {
                "equal": not wrong,
                "seconds": round(seconds, 1),
                "year": {f.name: {"ours": f.ours, "truth": f.truth} for f in figures if f.month is None},
                "months": len({f.month for f in figures}) - 1,
                "wrong": [msgspec.to_builtins(f) for f in wrong],
                "records": msgspec.to_builtins(outcome),
            }
            print(json.dumps(shown, ensure_ascii=False))
            return
        table = Table("the year", "conftrack", "the truth", "", title=None)
        for figure in figures:
            if figure.month is None:
                hours = 3600 if "seconds" in figure.name else 1
                table.add_row(
                    _UNITS.get(figure.name, figure.name),
                    f"{figure.ours / hours:,.0f}",
                    f"{figure.truth / hours:,.0f}",
                    "equal" if figure.equal else "DIFFERENT",
                )
        for column in table.columns[1:3]:
            column.justify = "right"
        console = Console()
        console.print(table)
        months = {figure.month for figure in figures} - {None}
        per_month = [f for f in wrong if f.month is not None]
        console.print(
            f"{len(months)} months compared one by one: {'all equal' if not per_month else f'{len(per_month)} WRONG'}. "
            f"{outcome.records:,} records read, {outcome.changed:,} written, {outcome.rejected:,} rejected, "
            f"in {seconds:.0f} s.",
            highlight=False,
            soft_wrap=True,
        )
        for figure in per_month:
            console.print(f"  {figure.month} {figure.name}: {figure.ours} instead of {figure.truth}", highlight=False)

    async def _announce(self, url: str) -> None:
        console = Console()
        last_month = self._clock().astimezone(VIETNAM).date().replace(day=1) - timedelta(days=1)
        console.print(
            f"\nLive now:  {url}/\nSign in:   demo, {self._password}\n"
            f"Report:    {url}/reports/{last_month:%Y-%m}\nMetrics:   {url}/metrics\n"
            f"Database:  conftrack db dsn, with CONFTRACK_DATA_DIR={self._folder}\n"
            f"Ctrl-C stops it; the next start goes on from here.",
            highlight=False,
            soft_wrap=True,
        )


def _figures(month: date | None, ours: Mapping[str, Any], truth: Mapping[str, Any]) -> list[Figure]:
    return [Figure(month=month, name=name, ours=ours.get(name) or 0, truth=value) for name, value in truth.items()]


class Bar:
    """The progress of the year, on a terminal."""

    def __init__(self, console: Console, since: datetime, until: datetime) -> None:
        self._since = since
        self._until = until
        self._progress = Progress(
            TextColumn("{task.description:12}"), BarColumn(), TextColumn("{task.fields[records]:,} records"),
            TimeElapsedColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._records: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def stored(self, page: Page, outcome: Outcome) -> None:
        if page.stream not in self._tasks:
            self._tasks[page.stream] = self._progress.add_task(page.stream, total=1.0, records=0)
        records = self._records[page.stream] = self._records.get(page.stream, 0) + outcome.records
        if page.position is not None:
            done = (page.position - self._since) / (self._until - self._since)
            self._progress.update(self._tasks[page.stream], completed=min(max(done, 0.0), 1.0), records=records)


class Simulator:
    """The simulated system in a process of its own; it ends with us, however we end."""

    url: str
    username: str
    password: str

    def __init__(self, anchor: Anchor) -> None:
        self._anchor = anchor
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "conftrack.simulator", "--anchor", self._anchor.at.isoformat(), "--start", "now",
            "--faults", "all" if self._anchor.faults else "none", "--stop-with-stdin",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        if self._process.stdout is None:
            raise AssertionError("the pipe that was asked for")
        line = await self._process.stdout.readline()
        if not line:
            raise ConftrackError("the simulated system did not start")
        told = json.loads(line)
        self.url, self.username, self.password = told["url"], told["username"], told["password"]
        self._session = aiohttp.ClientSession(self.url, raise_for_status=True)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def text(self, path: str, parameters: Mapping[str, str] | None = None) -> str:
        if self._session is None:
            raise AssertionError("open it first")
        async with self._session.get(path, params=parameters) as answer:
            return await answer.text()

    async def json(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        return json.loads(await self.text(path, parameters))
