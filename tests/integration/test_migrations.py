"""The schema: made, brought up to date, refused when it is another's; and who may read what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from conftrack.config import DatabaseConfig, Secret
from conftrack.errors import DatabaseError, SchemaMismatch
from conftrack.model import Origin
from conftrack.storage import migrate, programs
from conftrack.storage.database import Database
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.programs import Install
from conftrack.storage.queries import query
from conftrack.storage.store import Store
from tests import views
from tests.worlds import ZONE, facts_of, leg, meeting, page, small_world, store_all

LOCKED = (
    "select exists (select from pg_locks where locktype = 'advisory' "
    "and database = (select oid from pg_database where datname = current_database()))"
)
LATEST = len(migrate.migrations())
PUBLIC = {
    "org_units", "endpoints", "meetings", "legs", "endpoint_connections", "attendance", "incidents", "usage_daily",
    "usage_monthly", "source_status", "expected_endpoints", "maintenance_windows", "time_zone", "meeting_hours",
}  # fmt: skip
MAY_BE_EMPTY = {"org_units", "endpoints", "incidents", "expected_endpoints", "maintenance_windows"}


@pytest.fixture
async def empty(empty_dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


# -- applying


async def test_applying_twice_does_nothing_the_second_time(empty: asyncpg.Connection[asyncpg.Record]) -> None:
    """Once all of them, in order; then none."""
    assert [m.version for m in await migrate.migrate(empty)] == list(range(1, LATEST + 1))
    assert await migrate.migrate(empty) == ()
    assert (await migrate.status(empty)).applied == tuple(range(1, LATEST + 1))
    assert await migrate.check(empty)


async def test_many_may_migrate_at_once(empty_dsn: str) -> None:
    """One does it, the others wait for it and find nothing to do."""
    connections = [await asyncpg.connect(empty_dsn) for _ in range(4)]
    done = await asyncio.gather(*(migrate.migrate(connection) for connection in connections))
    for connection in connections:
        await connection.close()

    assert sorted(len(applied) for applied in done) == [0, 0, 0, LATEST]


async def test_opening_an_empty_database_makes_its_schema(empty_dsn: str, tmp_path: Path) -> None:
    """Two collectors started at once on a new server both come up."""
    config = DatabaseConfig(dsn=Secret(empty_dsn))
    async with Database(config, tmp_path) as one, Database(config, tmp_path) as two:
        await store_all(Store(one.pool, ZONE), [page(leg())])
        assert await two.pool.fetchval("select count(*) from conftrack.legs") == 1


async def test_a_migration_that_fails_leaves_nothing(
    empty: asyncpg.Connection[asyncpg.Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ones before it stand, it is not there by half, and the next try goes on from it."""
    await migrate.migrate(empty)
    broken = migrate.Migration(version=LATEST + 1, name="broken", sql="create table conftrack.half (); select 1 / 0")
    files = (*migrate.migrations(), broken)
    monkeypatch.setattr(migrate, "migrations", lambda: files)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.migrate(empty)

    assert await empty.fetchval("select to_regclass('conftrack.half')") is None
    assert (await migrate.status(empty)).applied[-1] == LATEST
    assert not await empty.fetchval(LOCKED)


async def test_facts_from_before_an_upgrade_come_to_the_right_figures(empty_dsn: str, tmp_path: Path) -> None:
    """A database with only the first migration and facts in it is brought up to date, and derived as any other."""
    connection = await asyncpg.connect(empty_dsn)
    await migrate.migrate(connection, to=1)
    await connection.execute("""
        insert into conftrack.source (name, kind) values ('one', 'test');
        insert into conftrack.conference (
          source_id, external_id, room, title, started_at, ended_at, listed, history_fields
        )
        select source_id, 'meeting-1', 'hall', 'Giao ban', timestamptz '2026-03-02 01:00+00', '2026-03-02 02:00+00',
          true, 15
        from conftrack.source;
        insert into conftrack.caller (identity, personal) values ('a', false), ('b', false);
        insert into conftrack.leg (
          source_id, external_id, conference_id, caller_id, joined_at, left_at, end_class, history_fields, push_fields
        )
        select c.source_id, 'leg-' || k.identity, c.conference_id, k.caller_id, timestamptz '2026-03-02 01:00+00',
          '2026-03-02 02:00+00', 'left', -1, 0
        from conftrack.conference c, conftrack.caller k;
        insert into conftrack.dirty_conference select conference_id from conftrack.conference;
    """)
    with pytest.raises(SchemaMismatch):
        await migrate.check(connection)
    await migrate.migrate(connection)
    await connection.close()

    legs = [leg(f"leg-{name}", identity=name, meeting="meeting-1", end_class="left") for name in "ab"]
    up = [leg("leg-a", left=None, identity="a", meeting="meeting-1"), leg("leg-c", left=None)]
    told = [page(meeting(title="Giao ban"), *legs), page(*up, origin=Origin.LIVE)]
    async with Database(DatabaseConfig(dsn=Secret(empty_dsn)), tmp_path) as database:
        store = Store(database.pool, ZONE)
        await store.refresh()
        assert await views.differences(database.pool, facts_of(told[:1]).come_to()) == []

        await store_all(store, told)
        assert await views.differences(database.pool, facts_of(told).come_to()) == []


# -- refusing


async def test_an_older_schema_is_refused_with_what_to_do(empty_dsn: str, tmp_path: Path) -> None:
    """Nothing is changed behind the operator's back."""
    connection = await asyncpg.connect(empty_dsn)
    await migrate.migrate(connection, to=1)
    with pytest.raises(SchemaMismatch, match=rf"0001.*00?{LATEST:02d}.*conftrack db migrate"):
        async with Database(DatabaseConfig(dsn=Secret(empty_dsn)), tmp_path):
            pass
    await connection.close()


@pytest.mark.parametrize("ask", [migrate.check, migrate.migrate])
async def test_a_newer_schema_is_refused_with_what_to_do(
    ask: object, empty: asyncpg.Connection[asyncpg.Record]
) -> None:
    """An old conftrack keeps its hands off a new one's data."""
    await migrate.migrate(empty)
    await empty.execute("insert into conftrack.migration (version, name, checksum) values (9999, 'later', 'x')")

    assert callable(ask)
    with pytest.raises(SchemaMismatch, match=r"9999.*newer.*install"):
        await ask(empty)


@pytest.mark.parametrize("ask", [migrate.check, migrate.migrate])
async def test_a_migration_that_was_changed_is_refused(ask: object, empty: asyncpg.Connection[asyncpg.Record]) -> None:
    """What was applied is not what this conftrack would apply: its queries may not fit."""
    await migrate.migrate(empty)
    await empty.execute("update conftrack.migration set checksum = 'x' where version = 2")

    assert callable(ask)
    with pytest.raises(SchemaMismatch, match=r"0002.*reinstall"):
        await ask(empty)
    assert not await empty.fetchval(LOCKED)


async def test_a_user_who_may_not_create_is_told_so(empty_dsn: str) -> None:
    """Whose rights are missing, not a traceback."""
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("set role pg_monitor")
    with pytest.raises(DatabaseError, match="may not change the schema"):
        await migrate.migrate(connection)
    await connection.close()


def test_the_files_are_numbered_without_a_gap(tmp_path: Path) -> None:
    """Two branches that add the same number, or a file that is missing, are noticed."""
    numbers = [m.version for m in migrate.migrations()]
    assert all(after == before + 1 for before, after in pairwise(numbers))

    (tmp_path / "0001_first.sql").write_text("")
    (tmp_path / "0003_third.sql").write_text("")
    with pytest.raises(DatabaseError, match="gap"):
        migrate.migrations(tmp_path)
    (tmp_path / "0002-second.sql").write_text("")
    with pytest.raises(DatabaseError, match="0002-second"):
        migrate.migrations(tmp_path)


# -- who may read what


async def test_the_reader_reads_the_public_views_and_nothing_else(database: Database, store: Store) -> None:
    """Not one table, sequence or routine of the schema, and it writes nowhere."""
    await store.adopt_timezone()
    await store_all(store, small_world())
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local role conftrack_reader")
        relations = await connection.fetch(
            "select relname, relkind::text as kind, "
            "  has_table_privilege(oid, 'select') as reads, "
            "  has_table_privilege(oid, 'insert, update, delete, truncate, references, trigger') as writes "
            "from pg_class where relnamespace = 'conftrack'::regnamespace and relkind in ('r', 'v', 'm', 'f', 'p')"
        )
        assert {row["relname"] for row in relations if row["reads"]} == PUBLIC
        assert not [row["relname"] for row in relations if row["writes"]]
        assert not await connection.fetch(
            "select relname from pg_class where relnamespace = 'conftrack'::regnamespace "
            "and case when relkind = 'S' then has_sequence_privilege(oid, 'usage, select, update') end"
        )
        assert not await connection.fetch(
            "select proname from pg_proc where pronamespace = 'conftrack'::regnamespace "
            "and has_function_privilege(oid, 'execute')"
        )
        assert not await connection.fetchval("select has_schema_privilege('conftrack', 'create')")
        for view in PUBLIC:
            rows = await connection.fetch(f"select * from conftrack.{view}")  # noqa: S608
            assert rows or view in MAY_BE_EMPTY, view


async def test_the_reader_sees_no_contacts(database: Database) -> None:
    """Telephone numbers of people are for the operator, not for every dashboard."""
    columns = await database.pool.fetch(
        "select column_name from information_schema.columns "
        "where table_schema = 'conftrack' and table_name = any($1::text[])",
        list(PUBLIC),
    )
    assert not [row["column_name"] for row in columns if "contact" in row["column_name"]]


# -- the oldest Postgres that is promised


@pytest.fixture(scope="module")
def oldest_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = Path(f"/usr/lib/postgresql/{migrate.OLDEST_POSTGRES}/bin")
    if not (folder / "initdb").exists():
        pytest.skip(f"no PostgreSQL {migrate.OLDEST_POSTGRES} here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "_installs", lambda: iter([Install(folder, migrate.OLDEST_POSTGRES)]))
        with EmbeddedPostgres(tmp_path_factory.mktemp("oldest")) as dsn:
            yield dsn


async def test_the_oldest_postgres_stores_and_derives_the_same(oldest_dsn: str, tmp_path: Path) -> None:
    """A small world, everything in it, on the oldest server that is supported."""
    async with Database(DatabaseConfig(dsn=Secret(oldest_dsn)), tmp_path) as database:
        assert (await database.pool.fetchval("show server_version")).startswith(str(migrate.OLDEST_POSTGRES))
        store = Store(database.pool, ZONE)
        await store_all(store, small_world())
        assert await views.differences(database.pool, facts_of(small_world()).come_to()) == []

        await store_all(store, small_world())
        await database.pool.execute(query("mark_all_dirty"))
        await store.refresh()
        assert await views.differences(database.pool, facts_of(small_world()).come_to()) == []


async def test_a_user_without_rights_over_roles_gets_a_reader_later(oldest_dsn: str) -> None:
    """The schema is made all the same; once an administrator made the role, the next migration gives it the views."""
    admin = await asyncpg.connect(oldest_dsn)
    await admin.execute("create role plain login")
    await admin.execute("create database plain owner plain")
    plain_dsn = oldest_dsn.replace("//postgres@/postgres", "//plain@/plain")
    if await admin.fetchval("select exists (select from pg_roles where rolname = 'conftrack_reader')"):
        await admin.execute("alter role conftrack_reader rename to another_reader")
    plain = await asyncpg.connect(plain_dsn)
    warnings: list[str] = []
    plain.add_log_listener(lambda _, message: warnings.append(str(message)))
    await migrate.migrate(plain)
    assert any("conftrack_reader" in warning for warning in warnings)

    await admin.execute("create role conftrack_reader nologin")
    await migrate.migrate(plain)
    assert await plain.fetchval("select has_table_privilege('conftrack_reader', 'conftrack.meetings', 'select')")
    await plain.close()
    await admin.close()
