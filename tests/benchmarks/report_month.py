"""The figures of a month: what they cost over ten years of history against one, and once the month is closed.

    python -m tests.benchmarks.report_month [--scale 1.0] [--years 10] [--rounds 7]

The demo's year is read from the simulated node and derived by the product. By SQL it is given what a year that somebody
watched has besides: invitations with absentees, of which incidents are derived then; devices that were not registered
for a while; a second source that is blind for minutes every day and tells no history; planned work, and an hourly
record of reading. The years before are copies of what was derived, each 364 days earlier and with numbers of its own,
table by table; of what no report reads, such as the rollups, there are none.

Both databases are on one server, and the two are asked by turns. A report sets the month beside the one of the year
before, so the year has that one before it in both; the two reports must be equal. Prints the best time of each, the
rows and 8 KiB blocks that Postgres touched for one report, by table, and the ratios: wanted about 1. Then the same of
the month closed, with every other month that there is closed too: wanted one row, and as many blocks in both.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

import aiohttp
import asyncpg
import msgspec

from conftrack.collector import Collector
from conftrack.config import DatabaseConfig, ReportConfig, Secret, SourceConfig
from conftrack.incidents.keeper import Incidents
from conftrack.model import Endpoint, Headcount, OrgUnit, Origin, Page
from conftrack.report.keeper import Reports
from conftrack.simulator.province import phu_tho
from conftrack.sources.base import normalise_alias
from conftrack.sources.pexip import PexipSource
from conftrack.state import SourceState
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.store import Store
from tests.benchmarks.end_to_end import ANCHOR, Pexip, postgres, replace_database, simulated_pexip
from tests.conftest import with_database

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
MONTH = date(2026, 10, 1)
NOW = ANCHOR + timedelta(minutes=1)
#: Days of a year that is copied: whole weeks, so that each weekday stays one.
YEAR = 364
LAST_DAY = ANCHOR.astimezone(ZONE).date()
DAYS = (LAST_DAY - timedelta(days=YEAR - 1), LAST_DAY + timedelta(days=1))
#: Of those, what becomes October of the year before, with a week before it: the month is known whole.
MONTH_BEFORE = (date(2026, 9, 23), date(2026, 10, 31))
HISTORY, PUSHED = "phu-tho", "pushed"

#: What a year that somebody watched has besides its meetings: `of` is the source that tells a history, the other one,
#: the first moment of the year and the one after its last.
PAPERS = """
create temporary table of on commit drop as
select h.source_id as history, p.source_id as pushed, '{since}'::timestamptz as since, '{until}'::timestamptz as until
from conftrack.source h, conftrack.source p where h.name = '{history}' and p.name = '{pushed}';

-- Everybody who came was invited, and some eight more; and once a week nobody came at all.
insert into conftrack.invitation (uid, source_id, room, title, starts_at, ends_at, origin, known_at)
select 'm' || m.meeting_id, m.source_id, m.room, m.title, m.started_at + interval '5 minutes', m.ended_at, 'calendar',
  m.started_at - interval '1 day'
from conftrack.meeting m where m.ended_at > m.started_at + interval '10 minutes';
insert into conftrack.invitation (uid, source_id, room, title, starts_at, ends_at, origin, known_at)
select 'w' || at, of.history, 'phong-trong', 'Họp tuần', at, at + interval '1 hour', 'calendar', at - interval '1 day'
from of, generate_series(of.since + interval '9 hours', of.until, interval '7 days') at;
insert into conftrack.expected (invitation_id, endpoint_id)
select distinct i.invitation_id, l.endpoint_id
from conftrack.invitation i
join conftrack.meeting m on i.uid = 'm' || m.meeting_id
join conftrack.counted_leg l on l.meeting_id = m.meeting_id and l.endpoint_id is not null
union
select i.invitation_id, e.endpoint_id
from conftrack.invitation i
join conftrack.endpoint e on (e.endpoint_id * 7919 + i.invitation_id * 104729) % 400 = 0;

-- Each device was not registered for ten minutes, every hundred days.
insert into conftrack.incident (source_id, endpoint_id, kind, opened_at, closed_at, day)
select of.history, e.endpoint_id, 'unregistered', o.at, o.at + interval '10 minutes', (o.at at time zone '{zone}')::date
from of
cross join conftrack.endpoint e
cross join lateral (
  select of.since + interval '10 hours' + e.endpoint_id * interval '1 minute' + n * interval '100 days' as at
  from generate_series(0, 3) n
) o
where o.at < of.until;

insert into conftrack.blindness (source_id, since, until)
select of.pushed, at, at + interval '4 minutes'
from of, generate_series(of.since + interval '3 hours', of.until, interval '1 day') at;
insert into conftrack.cursor (source_id, stream, reached_at, last_success_at)
select pushed, 'live', until, until from of;
insert into conftrack.maintenance (endpoint_id, starts_at, ends_at, expires_at, author, reason, created_at)
select e.endpoint_id, at, at + interval '2 hours', at + interval '2 hours', 'trực', 'thay pin', at
from of
cross join generate_series(of.since + interval '20 hours', of.until, interval '2 days') at
join conftrack.endpoint e on e.endpoint_id = extract(doy from at)::integer;

insert into conftrack.run (source_id, stream, hour, polls, failures, unchanged)
select s.source_id, s.stream, hour, 120, 1, 100
from of
cross join lateral (
  values (of.history, 'conference'), (of.history, 'participant'), (of.history, 'live'), (of.pushed, 'live')
) s (source_id, stream)
cross join generate_series(of.since, of.until, interval '1 hour') hour
on conflict do nothing;
insert into conftrack.completeness
  (source_id, stream, hour, since, until, source_total, stored_total, windows, short_windows, checked_at)
select of.history, stream, hour, hour - interval '1 minute', hour + interval '1 hour', 50, 50, 1, 0, hour
from of
cross join unnest('{{conference,participant}}'::text[]) stream
cross join generate_series(of.since, of.until, interval '1 hour') hour
on conflict do nothing;
insert into conftrack.rejected (source_id, stream, position, raw, error, first_seen_at)
select of.history, 'participant', at, convert_to(at::text, 'UTF8'), 'no such time', at
from of, generate_series(of.since, of.until, interval '1 day') at;

insert into conftrack.dirty_incident (meeting_id) select meeting_id from conftrack.meeting;
insert into conftrack.dirty_incident (invitation_id) select invitation_id from conftrack.invitation;
"""

#: What a report reads, and which rows of it are of some days.
OF_DAYS = {
    "meeting": "day >= $1 and day < $2",
    "conference": "meeting_id in (select meeting_id from conftrack.meeting where day >= $1 and day < $2)",
    "leg": "conference_id in (select c.conference_id from conftrack.conference c"
           " join conftrack.meeting m on m.meeting_id = c.meeting_id where m.day >= $1 and m.day < $2)",
    "headcount": "meeting_id in (select meeting_id from conftrack.meeting where day >= $1 and day < $2)",
    "invitation": "(starts_at at time zone $3)::date >= $1 and (starts_at at time zone $3)::date < $2",
    "expected": "invitation_id in (select invitation_id from conftrack.invitation"
                " where (starts_at at time zone $3)::date >= $1 and (starts_at at time zone $3)::date < $2)",
    "incident": "day >= $1 and day < $2",
    "maintenance": "(starts_at at time zone $3)::date >= $1 and (starts_at at time zone $3)::date < $2",
    "blindness": "(since at time zone $3)::date >= $1 and (since at time zone $3)::date < $2",
    "run": "(hour at time zone $3)::date >= $1 and (hour at time zone $3)::date < $2",
    "completeness": "(hour at time zone $3)::date >= $1 and (hour at time zone $3)::date < $2",
    "rejected": "(position at time zone $3)::date >= $1 and (position at time zone $3)::date < $2",
}  # fmt: skip
#: Numbers and names that are a row's own, or lead to one of another of these tables.
NUMBERS = {"meeting_id", "conference_id", "leg_id", "invitation_id", "incident_id", "parent_id", "rejected_id",
           "maintenance_id"}  # fmt: skip
APART = 10_000_000

Touched: TypeAlias = dict[str, tuple[int, int]]
"""Of each table, the rows and the blocks, its indexes' too, that were read from it."""


# -- the histories


async def make_year(dsn: str, pexip: Pexip) -> None:
    """The year, as the product reads and derives it."""
    async with Database(DatabaseConfig(dsn=Secret(dsn)), Path()) as database:
        store, incidents = Store(database.pool, ZONE), Incidents(database.pool, ZONE)
        await store.adopt_timezone()
        await _take_inventory(database)
        source_id = await store.register(HISTORY, "pexip")
        await store.register(PUSHED, "janus")
        config = SourceConfig(
            name=HISTORY, kind="pexip", url=pexip.url, username=pexip.username, password=Secret(pexip.password)
        )
        async with PexipSource(config, clock=lambda: NOW, observe=lambda **_: None) as source:
            state = SourceState(name=HISTORY, kind="pexip", live_interval=config.live_interval)
            collector = Collector(
                config, source, source_id, store=store, incidents=incidents, state=state, clock=lambda: NOW
            )
            for stream in source.streams:
                result = await collector.catch_up(stream)
                assert result.error is None, result.error
        counts = Page(
            stream="headcount", origin=Origin.PUSH, observed_at=NOW, headcounts=await _headcounts(pexip)
        )  # fmt: skip
        await store.store(source_id, counts, now=NOW)
        await store.refresh()
        year = {
            "since": _begin(DAYS[0]), "until": NOW, "history": HISTORY, "pushed": PUSHED,
            "zone": ZONE.key,
        }  # fmt: skip
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute(PAPERS.format_map(year))
        await incidents.refresh()
        await database.pool.execute("vacuum analyze")


async def _take_inventory(database: Database) -> None:
    province = phu_tho()
    units = [
        OrgUnit(
            code=u.code, name=u.name, parent=u.parent, level=0 if u.parent is None else 1,
            valid_from=date.fromisoformat(u.valid_from),
        ) for u in province.units
    ]  # fmt: skip
    endpoints = [
        Endpoint(
            code=e.code, name=e.name, org=e.org, kind=e.kind, seats=e.seats, carrier=e.carrier, area=e.area,
            service_hours=e.service_hours, aliases=e.aliases,
        ) for e in province.endpoints
    ]  # fmt: skip
    await inventory.put(database.pool, units, endpoints)


async def _headcounts(pexip: Pexip) -> tuple[Headcount, ...]:
    asked = {"from": (ANCHOR - timedelta(days=400)).isoformat(), "to": NOW.isoformat()}
    async with (
        aiohttp.ClientSession(pexip.url, raise_for_status=True) as session,
        session.get("/headcounts.csv", params=asked) as answer,
    ):
        text = await answer.text()
    return tuple(
        Headcount(
            room=row["room"], at=datetime.fromisoformat(row["at"]),
            endpoint=normalise_alias(row["endpoint"]) or row["endpoint"], people=int(row["people"]),
            provenance=row["provenance"],  # type: ignore[arg-type]
        ) for row in csv.DictReader(io.StringIO(text))
    )  # fmt: skip


async def copy(dsn: str, years: range, days: tuple[date, date]) -> None:
    """Adds the history of these days once more for each of so many years earlier."""
    connection = await asyncpg.connect(dsn)
    for year in years:
        for table, condition in OF_DAYS.items():
            columns = await connection.fetch(
                "select attname as name, format_type(atttypid, null) as type from pg_attribute"
                " where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
                f"conftrack.{table}",
            )
            named = ", ".join(column["name"] for column in columns)
            moved = ", ".join(_moved(column["name"], column["type"], year) for column in columns)
            # $3 is named in any case, so that it may be given to all.
            await connection.execute(
                f"insert into conftrack.{table} ({named}) overriding system value"  # noqa: S608
                f" select {moved} from conftrack.{table} where {condition} and $3::text is not null",
                *days, ZONE.key,
            )  # fmt: skip
    await connection.execute("vacuum analyze")
    await connection.close()


def _moved(name: str, kind: str, years: int) -> str:
    """A column of a row that was so many years earlier."""
    days = years * YEAR
    if kind == "timestamp with time zone":
        return f"{name} - interval '{days * 24} hours'"
    if kind == "date":
        return f"{name} - {days}"
    if name in NUMBERS:
        return f"{name} + {years * APART}"
    if name in ("external_id", "uid"):
        return f"{name} || '~{years}'"
    return f"raw || convert_to('~{years}', 'UTF8')" if name == "raw" else name


def _begin(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(UTC)


# -- what is asked of them


def reports(database: Database) -> Reports:
    config = ReportConfig(licence=500, travel_km=60.0, cost_per_km=2000.0)
    return Reports(database.pool, timezone=ZONE, clock=lambda: NOW, config=config, sources=[HISTORY, PUSHED])


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def touched(dsn: str, work: Callable[[Reports], Awaitable[object]]) -> Touched:
    """What Postgres read to do it."""
    admin = await asyncpg.connect(with_database(dsn, "postgres"))
    name = await _name(dsn)

    async def alone() -> None:
        """Until every session has ended, and has said what it read."""
        for _ in range(500):
            if not await admin.fetchval("select count(*) from pg_stat_activity where datname = $1", name):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"somebody else is on {name}")

    await alone()
    before = await _read(dsn)
    await alone()
    async with Database(DatabaseConfig(dsn=Secret(dsn)), Path()) as database:
        await work(reports(database))
    await alone()
    after = await _read(dsn)
    await admin.close()
    found = {
        table: (rows - before[table][0], blocks - before[table][1])
        for table, (rows, blocks) in after.items()
        if table != "migration"  # looked at by whoever opens the database
    }
    return {table: read for table, read in found.items() if read != (0, 0)}


async def _name(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    name: str = await connection.fetchval("select current_database()")
    await connection.close()
    return name


async def _read(dsn: str) -> Touched:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """
        select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as rows,
          coalesce(heap_blks_read, 0) + coalesce(heap_blks_hit, 0) + coalesce(idx_blks_read, 0)
          + coalesce(idx_blks_hit, 0) + coalesce(toast_blks_read, 0) + coalesce(toast_blks_hit, 0)
          + coalesce(tidx_blks_read, 0) + coalesce(tidx_blks_hit, 0) as blocks
        from pg_stat_user_tables join pg_statio_user_tables using (relname, schemaname) where schemaname = 'conftrack'
        """
    )
    await connection.close()
    return {row["relname"]: (row["rows"], row["blocks"]) for row in rows}


async def close_every_month(dsn: str) -> None:
    """The month, as the product closes it; and the same figures for every other month there is."""
    async with Database(DatabaseConfig(dsn=Secret(dsn)), Path()) as database:
        asked = reports(database)
        await asked.close(MONTH, "văn phòng", anyway=True)
        await database.pool.executemany(
            """
            insert into conftrack.report (month, since, until, closed_at, closed_by, figures)
            select $1::date, $1, ($1 + 31), closed_at, closed_by, figures
            from conftrack.report where month = $2::date and $1 <> $2
            """,
            [(month, MONTH) for month in await asked.months() if asked.period(month)[1] <= LAST_DAY],
        )  # fmt: skip
        await database.pool.execute("analyze conftrack.report")


async def run(dsn: str, scale: float, years: int, rounds: int) -> None:
    year, one, all_of_them = [await replace_database(dsn, name) for name in ("year", "one", "all")]
    began = time.perf_counter()
    with simulated_pexip(scale) as pexip:
        await make_year(year, pexip)
    admin = await asyncpg.connect(dsn)
    for name in ("one", "all"):
        await admin.execute(f'drop database "{name}"')
        await admin.execute(f'create database "{name}" template "year"')
    await admin.close()
    await copy(one, range(1, 2), MONTH_BEFORE)
    await copy(all_of_them, range(1, years), DAYS)
    histories = {"one year": one, f"{years} years": all_of_them}
    print(f"made in {time.perf_counter() - began:.0f} s", flush=True)
    for name, history in histories.items():
        print(f"{name:10} {await _size(history)}", flush=True)

    async with (
        Database(DatabaseConfig(dsn=Secret(one)), Path()) as small,
        Database(DatabaseConfig(dsn=Secret(all_of_them)), Path()) as large,
    ):
        asked = [reports(small), reports(large)]
        first, second = [await one.month(MONTH) for one in asked]
        assert first == second, "the two histories have the same month"
        assert first.year_before.figures is not None
        assert first.year_before.figures.meetings > 0
        print(
            f"{MONTH:%Y-%m}: {first.of().meetings} meetings, {first.of().endpoint_connections} endpoint connections, "
            f"{len(first.endpoints)} endpoints, {len(first.figures)} scopes, "
            f"{len(msgspec.json.encode(first)) / 1e6:.1f} MB of figures"
        )
        # By turns, so that whatever else the machine does falls on both.
        times = [[await seconds(lambda r=r: r.month(MONTH)) for r in asked] for _ in range(rounds)]  # type: ignore[misc]
    opened = [min(column) for column in zip(*times, strict=True)]
    show("an open month", opened)
    show_touched([await touched(history, lambda r: r.month(MONTH)) for history in histories.values()])

    for history in histories.values():
        await close_every_month(history)
    async with (
        Database(DatabaseConfig(dsn=Secret(one)), Path()) as small,
        Database(DatabaseConfig(dsn=Secret(all_of_them)), Path()) as large,
    ):
        asked = [reports(small), reports(large)]
        times = [[await seconds(lambda r=r: r.standing(MONTH)) for r in asked] for _ in range(rounds)]  # type: ignore[misc]
    closed = [min(column) for column in zip(*times, strict=True)]
    show("a closed month", closed)
    show_touched([await touched(history, lambda r: r.standing(MONTH)) for history in histories.values()])
    print(f"a closed month costs {closed[1] / opened[1]:.3f} of an open one")


async def _size(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    counts = await connection.fetchrow(
        """
        select (select count(*) from conftrack.meetings), (select count(*) from conftrack.leg),
          (select count(*) from conftrack.incident), (select count(*) from conftrack.expected),
          (select count(*) from conftrack.run), pg_database_size(current_database()) / 1048576
        """
    )
    await connection.close()
    assert counts is not None
    return (
        "{:7,} meetings {:9,} legs {:8,} incidents {:9,} expected {:8,} hours of reading, {:,} MiB".format(*counts)
    )  # fmt: skip


def show(what: str, best: list[float]) -> None:
    small, large = best
    print(f"{what:15} {small * 1000:8.1f} ms {large * 1000:8.1f} ms   ratio {large / small:.2f} (wanted: about 1)")


def show_touched(read: list[Touched]) -> None:
    """By table, the most blocks first."""
    small, large = read
    for table in sorted({*small, *large}, key=lambda table: -large.get(table, (0, 0))[1]):
        of = [found.get(table, (0, 0)) for found in read]
        print(f"    {table:16} rows {of[0][0]:9,} {of[1][0]:9,}   blocks {of[0][1]:9,} {of[1][1]:9,}")
    rows, blocks = (tuple(sum(one[place] for one in found.values()) for found in read) for place in (0, 1))
    print(f"    {'together':16} rows {rows[0]:9,} {rows[1]:9,}   blocks {blocks[0]:9,} {blocks[1]:9,}   "
          f"ratio {rows[1] / rows[0]:.2f} and {blocks[1] / blocks[0]:.2f} (wanted: about 1)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="the year, in times of about 700 meetings")
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with postgres() as dsn:
        asyncio.run(run(dsn, arguments.scale, arguments.years, arguments.rounds))


if __name__ == "__main__":
    main()
