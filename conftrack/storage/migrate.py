"""Applies `sql/migrations/NNNN_words.sql` in order, each in its own transaction, all under one advisory lock.

An applied file is recorded with its checksum and never changes again.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import asyncpg
import msgspec

from conftrack import resources
from conftrack.errors import DatabaseError, SchemaMismatch

_FILE = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_LOCK = "select pg_advisory_lock(hashtext('conftrack migrate'))"
_UNLOCK = "select pg_advisory_unlock(hashtext('conftrack migrate'))"
_TABLE = """
create schema if not exists conftrack;
create table if not exists conftrack.migration (
  version integer primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now()
)"""
OLDEST_POSTGRES = 15


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Where a database stands: `applied` and `pending` versions, and those whose file has changed since."""

    applied: tuple[int, ...]
    pending: tuple[Migration, ...]
    changed: tuple[int, ...]
    #: Applied by a newer conftrack; this one has no file for them.
    unknown: tuple[int, ...]


def migrations(folder: Path | None = None) -> tuple[Migration, ...]:
    """The files, in order, numbered from 1 without a gap."""
    found = []
    for path in sorted((folder or resources.folder("sql") / "migrations").glob("*.sql")):
        match = _FILE.match(path.name)
        if match is None:
            raise DatabaseError(f"{path.name} is not named like 0001_what_it_does.sql")
        found.append(Migration(version=int(match[1]), name=match[2], sql=path.read_text(encoding="utf-8")))
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise DatabaseError("the migrations are not numbered 0001, 0002, … without a gap")
    return tuple(found)


async def status(connection: asyncpg.Connection) -> Status:
    files = {m.version: m for m in migrations()}
    if await connection.fetchval("select to_regclass('conftrack.migration') is null"):
        rows = []
    else:
        rows = await connection.fetch("select version, checksum from conftrack.migration order by version")
    applied = {row["version"]: row["checksum"] for row in rows}
    return Status(
        applied=tuple(applied),
        pending=tuple(m for v, m in files.items() if v not in applied),
        changed=tuple(v for v, c in applied.items() if v in files and files[v].checksum != c),
        unknown=tuple(v for v in applied if v not in files),
    )


async def migrate(connection: asyncpg.Connection, *, to: int | None = None) -> tuple[Migration, ...]:
    """Applies what is pending, up to version `to`; returns what was applied. Safe to run several times at once."""
    server = connection.get_server_version()
    if server.major < OLDEST_POSTGRES:
        raise DatabaseError(f"Postgres {server.major} is too old: conftrack needs {OLDEST_POSTGRES} or newer")
    await connection.execute(_LOCK)
    try:
        await connection.execute(_TABLE)
        state = await status(connection)
        _refuse_other(state)
        done = tuple(m for m in state.pending if to is None or m.version <= to)
        for migration in done:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into conftrack.migration (version, name, checksum) values ($1, $2, $3)",
                    migration.version, migration.name, migration.checksum,
                )  # fmt: skip
        for grant in ("conftrack.grant_reader", "conftrack_names.grant_reader"):
            if await connection.fetchval("select to_regproc($1) is not null", grant):
                await connection.execute(f"call {grant}()")
        return done
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseError(f"the database user may not change the schema: {error}") from error
    finally:
        await connection.execute(_UNLOCK)


async def check(connection: asyncpg.Connection) -> bool:
    """True when the schema is the one this version works with, False when the database is empty.

    Raises SchemaMismatch when it is older, newer or altered.
    """
    state = await status(connection)
    if not state.applied:
        return False
    _refuse_other(state)
    if state.pending:
        raise SchemaMismatch(
            f"the database has schema {state.applied[-1]:04d}, this conftrack needs "
            f"{state.pending[-1].version:04d}: run `conftrack db migrate`"
        )
    return True


def _refuse_other(state: Status) -> None:
    if state.unknown:
        raise SchemaMismatch(
            f"the database has schema {state.applied[-1]:04d}, newer than this conftrack knows: "
            "install the conftrack version that made it, or a later one"
        )
    if state.changed:
        files = ", ".join(f"{v:04d}" for v in state.changed)
        raise SchemaMismatch(f"migration {files} is not the one that was applied: reinstall conftrack")
