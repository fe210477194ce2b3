"""The public views as they are, beside what `tests.facts` says that they should hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import asyncpg

from conftrack.privacy import pseudonym
from conftrack.storage.database import Database
from tests.facts import Figures, Row

#: Columns that only the database knows.
_NUMBERS = {"leg_id", "meeting_id"}
#: Columns that hold nothing yet.
_EMPTY = {"host_org", "scheduled_start", "scheduled_end", "incidents"}


async def differences(pool: asyncpg.Pool[asyncpg.Record], figures: Figures) -> list[str]:
    """A line for every row that a view lacks or should not have."""
    meetings = {
        row["meeting_id"]: (row["room"], row["started_at"])
        for row in await pool.fetch("select meeting_id, room, started_at from conftrack.meetings")
    }
    key = await pool.fetchval("select value from conftrack.setting where name = 'pseudonym_key'")
    names = {row["identity"][1] for row in figures.legs() if isinstance(row["identity"], tuple)}
    people = {pseudonym(name, bytes.fromhex(key)): ("person", name) for name in names} if names else {}

    def plain(row: asyncpg.Record) -> Row:
        values = {name: value for name, value in row.items() if name not in _NUMBERS | _EMPTY}
        if "meeting_id" in row and "room" not in row:
            values["meeting"] = meetings.get(row["meeting_id"])
        if "identity" in values:
            values["identity"] = people.get(values["identity"], values["identity"])
        return values

    expected: dict[str, Callable[[], list[Row]]] = {
        "meetings": figures.meetings,
        "legs": figures.legs,
        "endpoint_connections": figures.endpoint_connections,
        "attendance": figures.attendance,
        "usage_daily": figures.usage_daily,
        "usage_monthly": figures.usage_monthly,
    }
    found = []
    for view, rows in expected.items():
        wanted = Counter(map(_line, rows()))
        there = Counter(_line(plain(row)) for row in await pool.fetch(f"select * from conftrack.{view}"))  # noqa: S608
        found += [f"{view} lacks {line}" for line in (wanted - there).elements()]
        found += [f"{view} has {line}" for line in (there - wanted).elements()]
    return found


def _line(row: Row) -> str:
    return ", ".join(f"{name}: {_word(value)}" for name, value in sorted(row.items()))


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_word, value))
    return f"{value:.6g}" if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


async def empty(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    """Takes everything out of the database again, which is faster than making another one."""
    names = await pool.fetch(
        "select oid::regclass::text as name from pg_class "
        "where relnamespace = 'conftrack'::regnamespace and relkind = 'r' and relname not in ('migration', 'setting')"
    )
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")  # in any order
        await connection.execute(";".join(f"delete from {row['name']}" for row in names))  # noqa: S608


async def legs(database: Database) -> dict[str, asyncpg.Record]:
    """By their ids."""
    rows = await database.pool.fetch("select * from conftrack.legs")
    return {row["external_id"]: row for row in rows}


async def meetings(database: Database) -> list[asyncpg.Record]:
    return await database.pool.fetch("select * from conftrack.meetings order by started_at, room")


async def rows_of_facts(database: Database) -> set[tuple[object, ...]]:
    """Every row with where it lies and which transaction wrote it: equal if nothing was written."""
    tables = await database.pool.fetch(
        "select oid::regclass::text as name from pg_class where relnamespace = 'conftrack'::regnamespace "
        "and relkind = 'r' and relname not in ('cursor', 'backfill', 'run', 'completeness', 'migration')"
    )
    rows: set[tuple[object, ...]] = set()
    for table in tables:
        found = await database.pool.fetch(f"select ctid, xmin, t::text as row from {table['name']} t")  # noqa: S608
        rows |= {(table["name"], *row.values()) for row in found}
    return rows
