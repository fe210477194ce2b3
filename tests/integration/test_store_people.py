"""Storing pages: who was there, as a person or a site, and by which name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conftrack.board import Board
from conftrack.model import Origin, Snapshot
from conftrack.storage.database import Database
from conftrack.storage.queries import query
from conftrack.storage.store import Outcome, Store
from tests.views import legs, meetings
from tests.worlds import NOW, ZONE, at, count, leg, meeting, page, store_all

# -- people


async def attendees(database: Database) -> list[tuple[int, str]]:
    rows = await database.pool.fetch(
        "select attendees, provenance from conftrack.endpoint_connections order by identity"
    )
    return [(row["attendees"], row["provenance"]) for row in rows]


SITE = "site-1"


@pytest.mark.parametrize("order", [1, -1])
async def test_the_best_head_count_stands(order: int, database: Database, store: Store) -> None:
    """The site's own word before the camera's peak, that before an import, and one person where nobody counted."""
    counts = [
        count(40, 10, provenance="imported"),
        count(30, 15, provenance="people_count"),
        count(35, 20, provenance="people_count"),
        count(32, 25, provenance="people_count"),
        count(28, 40, provenance="reported"),
    ][::order]
    known: list[Any] = []
    found = []
    await store_all(store, [page(meeting(), leg(identity=SITE))])
    for one in sorted(counts, key=lambda c: ("imported", "people_count", "reported").index(c.provenance)):
        known.append(one)
        await store_all(store, [page(one, origin=Origin.PUSH)])
        found.append(await attendees(database))

    assert found[0] == [(40, "imported")]
    assert found[3] == [(35, "people_count")]
    assert found[4] == [(28, "reported")]
    assert [row["attendees"] for row in await meetings(database)] == [28]


async def test_of_two_head_counts_of_one_kind_the_later_stands(database: Database, store: Store) -> None:
    """The site counted again: by the time of counting, not of arrival."""
    await store_all(store, [page(meeting(), leg(identity=SITE), count(8, 40), count(12, 20))])

    assert await attendees(database) == [(8, "reported")]


async def test_a_corrected_head_count_replaces_the_first(database: Database, store: Store) -> None:
    """The same site, moment and provenance again is a correction; the same number again is nothing."""
    source = await store.register("one", "test")
    await store.store(source, page(meeting(), leg(identity=SITE), count(12)), now=NOW)
    assert await store.store(source, page(count(12)), now=NOW) == Outcome(unchanged=1)
    assert await store.store(source, page(count(21)), now=NOW) == Outcome(updated=1)
    await store.refresh()

    assert await attendees(database) == [(21, "reported")]
    assert await database.pool.fetchval("select attendees from conftrack.usage_monthly where source is null") == 21


async def test_a_head_count_waits_for_its_meeting(database: Database, store: Store) -> None:
    """It may come in before anything else is known of the meeting, and is placed when that is."""
    await store_all(store, [page(count(9, 0), origin=Origin.PUSH)])
    assert await meetings(database) == []

    await store_all(store, [page(meeting(), leg(identity=SITE))])
    assert await attendees(database) == [(9, "reported")]


@pytest.mark.parametrize(("minutes", "people"), [(-0.1, 1), (0, 9), (60, 9), (60.1, 1)])
async def test_a_head_count_belongs_to_a_meeting_from_its_start_to_its_end(
    minutes: float, people: int, database: Database, store: Store
) -> None:
    """Both edges count in; before and after it is of no meeting, and is kept."""
    await store_all(store, [page(meeting(), leg(identity=SITE)), page(count(9, minutes), origin=Origin.PUSH)])

    assert [row["attendees"] for row in await meetings(database)] == [people]
    assert await database.pool.fetchval("select people from conftrack.attendance") == 9


async def test_a_head_count_between_two_meetings_is_of_the_later(database: Database, store: Store) -> None:
    """One number is never two meetings' people."""
    await store_all(
        store,
        [
            page(meeting("a", 0, 30), leg("in-a", 0, 30, meeting="a", identity=SITE)),
            page(meeting("b", 30, 60), leg("in-b", 30, 60, meeting="b", identity=SITE)),
            page(count(9, 30), origin=Origin.PUSH),
        ],
    )

    assert [row["attendees"] for row in await meetings(database)] == [1, 9]


async def test_a_head_count_leaves_a_meeting_that_turns_out_to_have_ended_before(
    database: Database, store: Store
) -> None:
    """While a meeting is open everything later is within it; not any more once its end is known."""
    source = await store.register("one", "test")
    await store.store(source, page(meeting(ended=None), leg(left=None, identity=SITE), count(9, 90)), now=NOW)
    await store.refresh()
    assert await attendees(database) == [(9, "reported")]

    await store.store(source, page(meeting(), leg()), now=NOW)
    await store.refresh()
    assert await attendees(database) == [(1, "connections")]
    assert not await database.pool.fetchval("select stands from conftrack.attendance")


# -- names


async def everything_stored(database: Database) -> str:
    """All text and bytes in the schema but the rejected records, which are kept whole."""
    columns = await database.pool.fetch("""
        select a.attrelid::regclass::text as name, quote_ident(a.attname) as field, t.typname as type
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid and c.relkind = 'r' and c.relnamespace = 'conftrack'::regnamespace
        join pg_type t on t.oid = a.atttypid
        where a.attnum > 0 and not a.attisdropped and t.typcategory in ('S', 'U') and c.relname <> 'rejected'
    """)
    found = []
    for table, field, kind in columns:
        text = f"convert_from({field}, 'LATIN1')" if kind == "bytea" else f"{field}::text"
        found += await database.pool.fetch(f"select {text} as text from {table} where {field} is not null")  # noqa: S608
    return "\n".join(row["text"] for row in found).casefold()


async def test_a_persons_name_is_nowhere_in_the_database(database: Database, store: Store) -> None:
    """Whatever a page tells of a personal client, its name stays out, while an address of a machine is kept."""
    person = leg("p", identity="nguyễn văn an", personal=True, left=None)
    await store_all(
        store,
        [
            page(person, leg("m", identity="xa-1@vc.example"), origin=Origin.LIVE),
            page(leg("p", identity="nguyễn văn an", personal=True), leg("p2", identity="nguyễn văn an", personal=True)),
        ],
    )

    stored = await everything_stored(database)
    assert "xa-1@vc.example" in stored
    assert "nguyễn" not in stored
    assert "văn an" not in stored


async def test_a_person_is_the_same_after_a_restart_and_nobody_else(database: Database) -> None:
    """One pseudonym a name in one database, whoever stores it; two names are two people."""
    await store_all(Store(database.pool, ZONE), [page(leg("a", identity="an", personal=True))])
    await store_all(
        Store(database.pool, ZONE),
        [page(leg("b", identity="an", personal=True), leg("c", identity="bình", personal=True))],
    )

    rows = await legs(database)
    assert rows["a"]["identity"] == rows["b"]["identity"] != rows["c"]["identity"]


async def test_a_person_is_not_the_machine_that_has_their_name_as_an_alias(database: Database, store: Store) -> None:
    """Whoever types "hall" is not the room system that is called so, even in one page."""
    await store_all(store, [page(leg("p", identity="hall", personal=True), leg("m", identity="hall"))])

    rows = await legs(database)
    assert rows["m"]["identity"] == "hall"
    assert rows["p"]["identity"].startswith("person:")


async def test_two_databases_call_one_person_differently(dsn: str, database: Database, store: Store) -> None:
    """A pseudonym cannot be looked up elsewhere: its key is this database's own."""
    await store_all(store, [page(leg(identity="an", personal=True))])
    first = (await legs(database))["leg-1"]["identity"]
    await database.pool.execute(
        "delete from conftrack.setting; delete from conftrack.caller; delete from conftrack.leg"
    )
    await store_all(Store(database.pool, ZONE), [page(leg(identity="an", personal=True))])

    assert (await legs(database))["leg-1"]["identity"] != first


async def test_a_person_who_leaves_after_a_restart_is_the_one_who_came(database: Database) -> None:
    """The board takes up open legs under their pseudonyms; storing their end does not make other people of them."""
    person = leg(identity="an", personal=True, left=None)
    store = Store(database.pool, ZONE)
    source = await store.register("one", "test")
    await store.store(source, page(person, origin=Origin.LIVE, seen=1, stream="live", position=at(1)), now=at(1))
    before = (await legs(database))["leg-1"]["identity"]

    restarted = Store(database.pool, ZONE)
    board = Board()
    board.restore(*await restarted.open_facts(source), await restarted.cursor(source, "live"))
    await restarted.store(source, board.observe(Snapshot(taken_at=at(9))).page, now=at(9))
    row = (await legs(database))["leg-1"]
    assert (row["identity"], row["left_at"]) == (before, at(1))


async def test_a_record_finds_its_legs_that_did_not_name_it(store: Store, database: Database) -> None:
    """They were read while it went on, when none could say which record it is of: two nodes told of one of them."""
    here, there = leg("a", 0, 20, identity="e1@vc"), leg("copy of a", 0.01, 19.99, identity="e1@vc")
    source = await store.register("pexip", "pexip")
    await store.store(source, page(here, there, leg("b", 0, 60, identity="e2@vc", meeting="first")), now=NOW)
    await store.refresh()
    counted = "select count(*) from conftrack.legs where counted"
    assert await database.pool.fetchval(counted) == 3, "nothing says yet that they are of two records"

    records = meeting("first", legs=("a", "b", "never seen")), meeting("second", legs=("copy of a",))
    await store.store(source, page(*records), now=NOW)
    await store.refresh()

    assert await database.pool.fetchval(counted) == 2
    assert await database.pool.fetchval("select count(*) from conftrack.meetings") == 1
    await store.store(source, page(here, there), now=NOW)
    await store.refresh()
    assert await database.pool.fetchval(counted) == 2, "who says nothing takes nothing back"


@pytest.mark.parametrize("watched", [True, False])
async def test_what_a_history_lost_is_unseen_only_where_no_poll_saw_it(
    watched: bool, store: Store, database: Database
) -> None:
    """Of a source with a past; a new one has lost nothing."""
    pool = database.pool
    old, new = await store.register("old", "pexip"), await store.register("new", "pexip")
    await store.store(old, page(leg("a", 0, 10), stream="participant", position=at(20)), now=NOW)
    for source in (old, new):
        if watched:
            live = page(origin=Origin.LIVE, seen=90, stream="live", position=at(90), blind_since=at(30))
            await store.store(source, live, now=NOW)
        await store.store(source, page(stream="participant", position=at(20)), now=NOW)
        gone = page(leg(f"{source}", 70, 80), stream="participant", position=at(100), begins_at=at(80))
        await store.store(source, gone, now=NOW)

    unseen = await pool.fetch("select source_id, since, until, last_seen from conftrack.unseen")
    assert [tuple(row) for row in unseen] == [(old, at(30 if watched else 20), at(80), at(30 if watched else 20))]


async def test_of_two_that_write_a_setting_at_once_both_get_the_one_that_stands(database: Database) -> None:
    """The second waits for the first, whose row its own statement cannot see."""
    put = query("put_setting_once")
    async with database.pool.acquire() as one, database.pool.acquire() as other:
        async with one.transaction():
            assert await one.fetchval(put, "key", "first") == "first"
            waiting = asyncio.create_task(other.fetchval(put, "key", "second"))
            while not await one.fetchval("select exists (select from pg_locks where not granted)"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await waiting == "first"
        assert await one.fetchval(put, "key", "third") == "first"
