"""Storing pages: what stands when several tell of one thing, and that neither a crash nor a repetition shows."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from conftrack.board import Board
from conftrack.config import DatabaseConfig, Secret
from conftrack.model import Endpoint, LegRecord, Origin, Page, Reading, Rejected, Snapshot, Window
from conftrack.storage import deriving, inventory
from conftrack.storage.database import Database, Unavailable
from conftrack.storage.queries import query
from conftrack.storage.store import Outcome, Refreshed, Store
from tests import views
from tests.views import legs, meetings, rows_of_facts
from tests.worlds import NOW, ZONE, at, count, facts_of, leg, meeting, page, small_world, store_all

# -- what stands when several tell of one thing


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_history_outranks_push_and_push_outranks_live_in_any_order(
    order: tuple[int, ...], database: Database, store: Store
) -> None:
    """Each field is that of the best origin that knows it, whichever came first."""
    pages = [
        page(leg(left=50, protocol="sip", direction="in", end_class="unknown"), origin=Origin.LIVE),
        page(leg(left=58, protocol="h323", end_class="dropped"), origin=Origin.PUSH),
        page(leg(joined=1, left=60)),
    ]
    await store_all(store, [pages[n] for n in order])

    row = (await legs(database))["leg-1"]
    assert (row["joined_at"], row["left_at"]) == (at(1), at(60))
    assert (row["end_class"], row["protocol"], row["direction"]) == ("dropped", "h323", "in")


async def test_a_leg_that_is_seen_again_has_not_ended(database: Database, store: Store) -> None:
    """An end concluded from a snapshot is undone by a later one, whichever is stored first."""
    gone = page(leg(left=20), origin=Origin.LIVE, seen=21)
    there = page(leg(left=None), origin=Origin.LIVE, seen=30)
    source = await store.register("one", "test")
    await store.store(source, gone, now=NOW)
    await store.store(source, there, now=NOW)
    assert (await legs(database))["leg-1"]["left_at"] is None

    await store.store(source, gone, now=NOW)
    assert (await legs(database))["leg-1"]["left_at"] is None


async def test_a_snapshot_that_shows_nothing_new_is_still_the_newest(database: Database, store: Store) -> None:
    """An older one that is stored after it does not end what it showed to be up."""
    await store_all(
        store,
        [
            page(leg(left=None), origin=Origin.LIVE, seen=10),
            page(leg(left=None), origin=Origin.LIVE, seen=30),
            page(leg(left=15), origin=Origin.LIVE, seen=20),
        ],
    )

    assert (await legs(database))["leg-1"]["left_at"] is None


async def test_an_end_that_was_pushed_outlives_snapshots(database: Database, store: Store) -> None:
    """A snapshot on its way while a leg ended does not bring it back."""
    await store_all(
        store,
        [
            page(leg(left=None), origin=Origin.LIVE, seen=5),
            page(leg(left=10, end_class="left"), origin=Origin.PUSH),
            page(leg(left=None), origin=Origin.LIVE, seen=11),
        ],
    )

    assert (await legs(database))["leg-1"]["left_at"] == at(10)


async def test_the_first_pushed_end_stands_whether_or_not_history_has_spoken(database: Database, store: Store) -> None:
    """A second "unpublished" is the echo of the first: it changes neither the end nor its cause."""
    first = page(leg("echo", left=10, end_class="left"), origin=Origin.PUSH)
    second = page(leg("echo", left=12, end_class="dropped"), origin=Origin.PUSH)
    history = page(leg("echo", left=14))
    await store_all(store, [first, second, history])
    await store_all(store, [first, history, second], "two")

    rows = await database.pool.fetch("select left_at, end_class from conftrack.legs")
    assert [tuple(row) for row in rows] == [(at(14), "left")] * 2


async def test_the_same_pushed_end_told_again_with_another_cause_has_that_cause(
    database: Database, store: Store
) -> None:
    """A participant left, and then it is known that it left because its session had timed out."""
    left = page(leg(left=10, end_class="left", end_reason="leaving"), origin=Origin.PUSH)
    timed_out = page(leg(left=10, end_class="dropped", end_reason="timeout"), origin=Origin.PUSH)
    await store_all(store, [left, timed_out])

    row = (await legs(database))["leg-1"]
    assert (row["left_at"], row["end_class"], row["end_reason"]) == (at(10), "dropped", "timeout")


async def test_an_echo_tells_the_cause_that_the_first_pushed_end_had_not(database: Database, store: Store) -> None:
    """What a poll had concluded is not taken for what was pushed."""
    polled = page(leg("echo", left=9, end_class="dropped"), origin=Origin.LIVE, seen=9)
    first = page(leg("echo", left=10), origin=Origin.PUSH)
    second = page(leg("echo", left=12, end_class="left"), origin=Origin.PUSH)
    await store_all(store, [polled, first, second])

    row = (await legs(database))["echo"]
    assert (row["left_at"], row["end_class"]) == (at(10), "left")


async def test_two_records_of_one_leg_in_a_page_are_as_in_two_pages(database: Database, store: Store) -> None:
    """The leave that follows a join in one push does not wipe out what the join told."""
    join = leg(left=None, protocol="webrtc", identity="xa-1@vc.example", excluded="recorder")
    leave = LegRecord(external_id="leg-1", room="hall", left_at=at(60), end_class="left")
    outcome = await store_all(store, [page(join, leave, origin=Origin.PUSH)])

    assert outcome == Outcome(inserted=1)
    row = (await legs(database))["leg-1"]
    assert (row["protocol"], row["identity"], row["joined_at"]) == ("webrtc", "xa-1@vc.example", at(0))
    assert (row["left_at"], row["end_class"], row["excluded"]) == (at(60), "left", None)


async def test_a_leg_that_left_before_it_joined_was_there_for_no_time(database: Database, store: Store) -> None:
    """Where the two ends come from two clocks, no figure turns negative."""
    await store_all(
        store,
        [
            page(leg(joined=10, left=None), origin=Origin.LIVE),
            page(leg(joined=None, left=9), origin=Origin.PUSH),
            page(leg("next", 15, 20)),
        ],
    )

    assert (await legs(database))["leg-1"]["duration_seconds"] == 0
    (held,) = await meetings(database)
    assert (held["started_at"], held["ended_at"], held["leg_count"]) == (at(10), at(20), 2)


async def test_an_older_snapshot_may_know_of_an_earlier_start(database: Database, store: Store) -> None:
    """What is up has been up since it was first seen, in whichever order the snapshots are stored."""
    late = page(meeting(started=20, ended=None), leg("a", 25, None, meeting="meeting-1"), origin=Origin.LIVE, seen=30)
    early = page(meeting(started=10, ended=15), leg("a", 22, 23, meeting="meeting-1"), origin=Origin.LIVE, seen=16)
    other = page(meeting("other", 5, 15), leg("b", 5, 15, meeting="other"))
    await store_all(store, [late, early, other])

    assert (await legs(database))["a"]["joined_at"] == at(22)
    assert [(row["started_at"], row["ended_at"]) for row in await meetings(database)] == [(at(5), None)]


async def test_a_restart_ends_what_was_up_when_it_was_last_seen(database: Database, store: Store) -> None:
    """Legs still open that joined before are over since the last snapshot; whoever joined after is not touched."""
    source = await store.register("one", "test")
    await store.store(source, page(leg("old", 0, None), origin=Origin.LIVE, seen=1), now=at(1))
    await store.store(source, page(origin=Origin.LIVE, seen=40), now=at(40))
    restart = page(leg("new", 51, None), origin=Origin.PUSH, seen=51, restarted_at=at(50))
    await store.store(source, restart, now=at(51))
    await store.store(source, restart, now=at(52))

    rows = await legs(database)
    assert (rows["old"]["left_at"], rows["old"]["end_class"]) == (at(40), "dropped")
    assert rows["new"]["left_at"] is None


async def test_without_snapshots_a_leg_lasts_until_the_restart(database: Database, store: Store) -> None:
    """A system that only pushes says nothing in between: unknown is not zero."""
    source = await store.register("one", "test")
    await store.store(source, page(leg("old", 0, None), origin=Origin.PUSH), now=at(1))
    await store.store(source, page(origin=Origin.PUSH, seen=50, restarted_at=at(50)), now=at(51))

    assert (await legs(database))["old"]["left_at"] == at(50)


async def test_a_conference_that_lost_its_last_leg_holds_nothing_together(database: Database, store: Store) -> None:
    """A leg moves to the conference that history names; where it was before does not join what is apart."""
    source = await store.register("one", "test")
    await store.store(source, page(leg("mover", 0, None, meeting="guess"), origin=Origin.LIVE), now=NOW)
    await store.refresh()
    await store.store(source, page(leg("mover", 0, 30, meeting="real")), now=NOW)
    await store.refresh()
    await store.store(source, page(leg("other", 40, 60, meeting="later")), now=NOW)
    await store.refresh()

    assert [row["external_id"] for row in await meetings(database)] == ["real", "later"]


async def test_a_record_finds_the_meeting_that_it_reaches_into(database: Database, store: Store) -> None:
    """However many the room has had before, and however long ago that one began."""
    for number in range(4):
        began = 100 * number
        await store_all(store, [page(meeting(f"m{number}", began, began + 60), leg(f"l{number}", began, began + 60))])
    await store_all(store, [page(meeting("again", 350, 380), leg("late", 350, 380, meeting="again"))])

    assert [row["leg_count"] for row in await meetings(database)] == [1, 1, 1, 2]


async def test_what_was_a_copy_counts_again_once_its_meeting_is_another(database: Database, store: Store) -> None:
    """Two records overlap while one is open; when it has ended they are two meetings, and nobody is a copy."""
    open_end = leg("up", 0, None, meeting="a", identity="xa-1@vc.example")
    again = leg("again", 20, 30, meeting="b", identity="xa-1@vc.example")
    source = await store.register("one", "test")
    await store.store(source, page(meeting("a", ended=None), open_end), now=NOW)
    await store.store(source, page(meeting("b", 20, 30), again), now=NOW)
    await store.refresh()
    assert (await legs(database))["again"]["copy"]

    await store.store(source, page(meeting("a", ended=10), leg("up", 0, 10, meeting="a")), now=NOW)
    await store.refresh()
    assert not (await legs(database))["again"]["copy"]
    assert [row["leg_count"] for row in await meetings(database)] == [1, 1]


async def test_an_attempt_between_two_meetings_does_not_make_them_one(database: Database, store: Store) -> None:
    """Meetings that touch are two, and whoever fails to connect at that very moment belongs to the later."""
    await store_all(
        store,
        [
            page(meeting("a", 0, 30), leg("in-a", 0, 30, meeting="a")),
            page(meeting("b", 30, 60), leg("in-b", 30, 60, meeting="b")),
            page(leg("attempt", None, 30, end_class="no_answer", meeting="c")),
        ],
    )

    assert [row["external_id"] for row in await meetings(database)] == ["a", "b"]
    assert (await legs(database))["attempt"]["meeting_id"] == (await meetings(database))[1]["meeting_id"]


# -- counting and repeating


async def test_outcomes_are_exact(database: Database, store: Store) -> None:
    """Each record of a page is counted once: new, changed, unchanged or not readable."""
    source = await store.register("one", "test")
    bad = Rejected(raw=b"?", error="no")
    first = await store.store(source, page(meeting(), leg("a"), leg("b"), count(3), bad), now=NOW)
    second = await store.store(
        source,
        page(meeting(title="Giao ban"), leg("a"), leg("b", left=61), leg("c"), count(4), count(1, 31), bad),
        now=NOW,
    )

    assert first == Outcome(inserted=4, rejected=1)
    assert second == Outcome(inserted=2, updated=3, unchanged=2)


async def test_reading_everything_again_writes_nothing(database: Database, store: Store) -> None:
    """Not a row: all is unchanged, and there is nothing to derive."""
    source = await store.register("one", "test")
    for one in small_world():
        await store.store(source, one, now=NOW)
    await store.refresh()
    before = await rows_of_facts(database)
    again = [one for one in small_world() if not one.rejected]
    outcome = sum([await store.store(source, one, now=NOW) for one in again], Outcome())

    assert outcome == Outcome(unchanged=outcome.records)
    assert await store.refresh() == Refreshed(meetings=0, days=0)
    assert await rows_of_facts(database) == before


async def test_a_source_that_is_known_is_not_written_again(database: Database, store: Store) -> None:
    """Who waits for a lease registers every two seconds; and the planner knows how few sources there are."""
    number = await store.register("one", "test")
    row = "select xmin, kind from conftrack.source"
    before = await database.pool.fetchrow(row)

    assert await store.register("one", "test") == number
    assert await database.pool.fetchrow(row) == before
    assert await database.pool.fetchval(
        "select reltuples from pg_class where oid = 'conftrack.source'::regclass"
    ) == 1  # fmt: skip
    assert await store.register("one", "other") == number
    assert await database.pool.fetchval("select kind from conftrack.source") == "other"


async def test_after_a_bulk_load_the_planner_knows_that_head_counts_have_meetings(
    database: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They found theirs in the same refresh: believed to have none, all of them were read for each meeting."""
    monkeypatch.setattr(deriving, "BULK", 0)
    await store_all(store, small_world())

    strangers = await database.pool.fetchval(
        "select null_frac from pg_stats where tablename = 'headcount' and attname = 'meeting_id'"
    )
    assert strangers < 1


async def test_a_small_world_comes_to_what_the_definitions_say(database: Database, store: Store) -> None:
    """The world that the tests of crashes use gives the right figures when nothing crashes."""
    await store_all(store, small_world())

    assert await views.differences(database.pool, facts_of(small_world()).come_to()) == []


async def test_a_page_with_a_leg_that_came_in_meanwhile_is_stored_all_the_same(
    database: Database, store: Store
) -> None:
    """A push and a history page that tell of one new leg are prepared side by side; both count."""
    source = await store.register("one", "test")
    pushed = await store.prepare(source, page(leg(left=None), leg("only-pushed"), origin=Origin.PUSH))
    read = await store.prepare(source, page(leg(), leg("only-read")))
    outcomes = await asyncio.gather(store.commit(pushed, now=NOW), store.commit(read, now=NOW))

    assert sum(outcomes, Outcome()) == Outcome(inserted=3, updated=1)
    assert (await legs(database))["leg-1"]["left_at"] == at(60)


async def test_a_leg_is_not_lost_when_everything_is_derived_while_its_page_waits(
    database: Database, store: Store
) -> None:
    """Between looking a page up and writing it, nothing it relies on is cleared away."""
    source = await store.register("one", "test")
    prepared = await store.prepare(source, page(leg("lone")))
    await database.pool.execute(query("mark_all_dirty"))
    await store.refresh()
    await store.commit(prepared, now=NOW)
    await store.refresh()

    assert [row["leg_count"] for row in await meetings(database)] == [1]


async def test_collectors_side_by_side_come_to_the_same(dsn: str, tmp_path: Path) -> None:
    """Three sources are stored and derived over connections of their own, and an inventory comes in between:
    nobody waits for ever, and the figures are those of one after the other."""
    facts = facts_of([])
    site = Endpoint(code="xa-1", name="Xã 1", aliases=("xa-1@vc.example",))
    facts.inventory.put([], [site])

    async def collect(source: str) -> None:
        async with Database(DatabaseConfig(dsn=Secret(dsn)), tmp_path) as database:
            store = Store(database.pool, ZONE)
            number = await store.register(source, "test")
            for one in small_world():
                await store.store(number, one, now=NOW)
                await store.refresh()

    async def take_inventory() -> None:
        async with Database(DatabaseConfig(dsn=Secret(dsn)), tmp_path) as database:
            await inventory.put(database.pool, [], [site])

    sources = ("one", "two", "three")
    async with asyncio.timeout(60):
        await asyncio.gather(*map(collect, sources), take_inventory())
    for source in sources:
        for one in small_world():
            facts.tell(source, one)
    async with Database(DatabaseConfig(dsn=Secret(dsn)), tmp_path) as database:
        await Store(database.pool, ZONE).refresh()
        assert await views.differences(database.pool, facts.come_to()) == []


async def test_days_are_cut_anew_when_the_time_zone_changes(database: Database) -> None:
    """Seven in the evening in London is the next day in Ho Chi Minh City, for the past as well."""
    days = "select distinct day from conftrack.usage_daily"
    ours = Store(database.pool, ZONE)
    await ours.adopt_timezone()
    await store_all(ours, [page(leg(joined=18 * 60, left=19 * 60))])
    assert await database.pool.fetchval(days) == date(2026, 3, 3)

    theirs = Store(database.pool, ZoneInfo("Europe/London"))
    await theirs.adopt_timezone()
    await theirs.refresh()
    assert await database.pool.fetchval(days) == date(2026, 3, 2)
    await theirs.adopt_timezone()
    assert await theirs.refresh() == Refreshed(meetings=0, days=0)


# -- what is known of the reading itself


async def test_a_window_is_certified_by_both_totals(database: Database, store: Store) -> None:
    """The source's own count beside ours, the newest window of a stream in its status; too few are counted."""
    source = await store.register("one", "test")
    window = Window(since=at(0), until=at(60), source_total=3)
    await store.store(source, page(leg("a"), leg("b"), position=at(60), window=window), now=NOW, stored_total=2)
    await store.store(source, page(leg("c"), position=at(60), window=window), now=NOW, stored_total=3)

    status = await database.pool.fetchrow("select * from conftrack.source_status")
    assert status is not None
    assert (status["source_total"], status["stored_total"], status["complete_until"]) == (3, 3, at(60))
    row = await database.pool.fetchrow("select windows, short_windows from conftrack.completeness")
    assert row is not None
    assert tuple(row) == (2, 1)


async def test_the_certificate_of_a_year_read_at_once_outlives_the_next_reading(
    database: Database, store: Store
) -> None:
    """What was compared of the past stays compared, though the next window ends in the same hour."""
    source = await store.register("one", "test")
    year = Window(since=at(-365 * 24 * 60), until=at(30), source_total=7)
    newest = Window(since=at(15), until=at(40), source_total=2)
    for window, total in ((year, 7), (newest, 2)):
        await store.store(source, page(position=window.until, window=window), now=NOW, stored_total=total)

    assert await certified(database, at(-30 * 24 * 60), at(0)) == (7, 7, 1)
    assert await certified(database, at(0), at(60)) == (9, 9, 2)
    assert await database.pool.fetchval("select complete_until from conftrack.source_status") == at(40)


async def certified(database: Database, since: datetime, until: datetime) -> tuple[int, int, int]:
    """Of a period: the source's total, ours, and how many windows."""
    row = await database.pool.fetchrow(query("certify_source"), since, until)
    assert row is not None
    return row["source_total"], row["stored_total"], row["windows"]


async def test_a_failed_poll_changes_no_number(database: Database, store: Store) -> None:
    """It is told in the status of its stream, until the next that works."""
    source = await store.register("one", "test")
    await store.store(source, page(leg(), position=at(60)), now=at(61))
    await store.refresh()
    before = await rows_of_facts(database)
    await store.record_poll(source, "history", Outcome(), now=at(62), error="503")

    assert await rows_of_facts(database) == before
    status = "select last_error, last_failure_at, last_success_at, cursor_at from conftrack.source_status"
    assert tuple(await database.pool.fetchrow(status) or ()) == ("503", at(62), at(61), at(60))
    await store.store(source, page(position=at(63)), now=at(64))
    assert await database.pool.fetchval(status) is None


async def test_a_backfill_moves_its_own_position_and_not_the_cursor(database: Database, store: Store) -> None:
    """What is read again goes on where it stopped, and the daily reading where it was."""
    source = await store.register("one", "test")
    await store.store(source, page(leg(), position=at(600)), now=NOW)
    period = (at(0), at(60))
    prepared = await store.prepare(source, page(leg("old", 0, 10), position=at(10)))
    await store.commit(prepared, now=NOW, backfill=period)

    assert await store.backfill_position(source, "history", *period) == at(10)
    assert await store.cursor(source, "history") == at(600)
    await store.end_backfill(source, "history", *period)
    assert await store.backfill_position(source, "history", *period) is None


# -- what cannot be stored as it is


async def test_text_that_postgres_cannot_hold_does_not_stop_its_page(database: Database, store: Store) -> None:
    """A name with a NUL in it, as JSON allows, is stored without it; its neighbours as they are."""
    await store_all(
        store, [page(meeting(title="a\x00b"), leg("bad", end_reason="x\x00y", identity="d\x00e"), leg("good"))]
    )

    rows = await legs(database)
    assert set(rows) == {"bad", "good"}
    assert "\ufffd" in rows["bad"]["end_reason"]


async def test_a_number_that_no_column_holds_does_not_stop_its_page(database: Database, store: Store) -> None:
    """A rate of 2**32 - 1, a vendor's "unknown", is not known."""
    await store_all(store, [page(leg("bad", rx_bitrate=2**32 - 1, tx_bitrate=2**31 - 1), leg("good"))])

    rows = await legs(database)
    assert set(rows) == {"bad", "good"}
    assert (rows["bad"]["rx_bitrate"], rows["bad"]["tx_bitrate"]) == (None, 2**31 - 1)


IMPOSSIBLE = [datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]


@pytest.mark.parametrize("time", IMPOSSIBLE)
async def test_a_time_that_cannot_be_makes_no_meeting_of_ages(time: datetime, database: Database, store: Store) -> None:
    """Whatever source lets it through, its record is kept as a rejected one, and counted; its neighbours are stored."""
    source = await store.register("one", "test")
    bad = page(
        meeting("m-bad", started_at=time), meeting("m-good"), leg("bad", joined_at=time),
        leg("attempt", None, left_at=time), leg("good"), count(12, at=time), count(15),
    )  # fmt: skip
    bad = replace(
        bad, readings=(Reading(device="site-1", at=time, people=3), Reading(device="site-1", at=NOW, people=4))
    )

    assert await store.store(source, bad, now=NOW) == Outcome(inserted=4, rejected=5)
    assert await store.store(source, bad, now=NOW) == Outcome(unchanged=9)
    await store.refresh()

    assert set(await legs(database)) == {"good"}
    assert [m["duration_seconds"] for m in await meetings(database)] == [3600]
    kept = {r.external_id: json.loads(r.raw) for r in await store.list_rejected() if r.external_id}
    assert kept.keys() == {"m-bad", "bad", "attempt"}
    assert datetime.fromisoformat(kept["bad"]["joined_at"]) == time


async def test_a_snapshot_with_a_time_that_cannot_be_is_kept_once(store: Store) -> None:
    """It is neither on the board nor kept anew at each look, whatever is measured of its leg meanwhile."""
    source = await store.register("one", "test")
    board = Board()
    for loss in (0.0, 0.1):
        bad = leg("bad", left=None, joined_at=IMPOSSIBLE[0], rx_loss=loss)
        snapshot = await store.admit(Snapshot(taken_at=NOW, legs=(bad, leg("good", left=None))))
        await store.store(source, board.observe(snapshot).page, now=NOW)

    assert board.legs.keys() == {"good"}
    assert [r.external_id for r in await store.list_rejected()] == ["bad"]


async def test_what_did_not_decode_is_kept_whole_and_once(database: Database, store: Store) -> None:
    """Its bytes, stream and error, however often it is read; and its page is stored around it."""
    source = await store.register("one", "test")
    bad = [
        Rejected(raw=b'{"a": "\xff\x00"}', error="not text", external_id="x"),
        Rejected(raw=b"[]", error="no object"),
    ]
    first = await store.store(source, page(*bad, leg(), position=at(60)), now=NOW)
    again = await store.store(source, page(*bad, leg(), position=at(60)), now=NOW)

    assert first == Outcome(inserted=1, rejected=2)
    assert again == Outcome(unchanged=3)
    kept = await store.list_rejected()
    assert [(r.raw, r.error, r.stream, r.position, r.external_id, r.source) for r in kept] == [
        (b'{"a": "\xff\x00"}', "not text", "history", at(60), "x", "one"),
        (b"[]", "no object", "history", at(60), None, "one"),
    ]


async def test_a_rejected_record_is_settled_when_it_comes_in_readable(database: Database, store: Store) -> None:
    """By its id, in its own stream: then it is not counted as missing any more."""
    source = await store.register("one", "test")
    await store.store(source, page(Rejected(raw=b"1", error="no", external_id="leg-1"), stream="participant"), now=NOW)
    await store.store(source, page(Rejected(raw=b"2", error="no", external_id="leg-1"), stream="other"), now=NOW)
    await store.store(source, page(leg("leg-2"), stream="participant"), now=NOW)
    assert len(await store.list_rejected()) == 2

    await store.store(source, page(leg("leg-1"), stream="participant"), now=NOW)
    assert [r.stream for r in await store.list_rejected()] == ["other"]


async def test_a_retried_record_is_stored_or_kept_with_its_newest_error(database: Database, store: Store) -> None:
    """And no stream has been read any further by it."""
    source = await store.register("one", "test")
    read = page(Rejected(raw=b"1", error="old"), stream="live", origin=Origin.LIVE, position=at(10))
    await store.store(source, read, now=at(10))
    (record,) = await store.list_rejected("one")

    assert not await store.settle(record, page(Rejected(raw=b"1", error="new"), stream="live"), now=NOW)
    assert [r.error for r in await store.list_rejected()] == ["new"]
    assert await store.settle(record, page(leg(), stream="live", origin=Origin.LIVE, seen=10), now=NOW)
    assert await store.list_rejected() == []
    assert "leg-1" in await legs(database)
    assert await store.cursor(source, "live") == at(10)


async def test_a_retried_record_of_a_time_that_cannot_be_stays_rejected(database: Database, store: Store) -> None:
    """However its source reads it."""
    source = await store.register("one", "test")
    await store.store(source, page(Rejected(raw=b"1", error="old")), now=NOW)
    (record,) = await store.list_rejected("one")

    assert not await store.settle(record, page(leg(joined_at=IMPOSSIBLE[0])), now=NOW)
    assert [(r.raw, r.error) for r in await store.list_rejected()] == [(b"1", "Holds a time that cannot be")]
    assert await legs(database) == {}


async def test_a_cursor_never_lies_in_the_future_and_never_goes_back(store: Store) -> None:
    """One page of a clock that runs ahead would else stop a stream without a word."""
    source = await store.register("one", "test")
    await store.store(source, page(stream="participant", position=at(60)), now=at(61))
    await store.store(source, page(stream="participant", position=at(30)), now=at(62))
    assert await store.cursor(source, "participant") == at(60)

    await store.store(source, page(stream="participant", position=at(9999)), now=at(63))
    assert await store.cursor(source, "participant") == at(63)


# -- crashes


async def crashing(database: Database, step: int) -> None:
    """From the `step`-th statement on that writes a fact, once: its server process is killed in it. 0: never.

    The count lives in a sequence, which no rollback takes back."""
    await database.pool.execute(f"""
        create schema if not exists crash;
        create sequence if not exists crash.step;
        create or replace function crash.now() returns trigger language plpgsql as $$
        begin
          if nextval('crash.step') = {step} then
            perform pg_terminate_backend(pg_backend_pid());
          end if;
          return null;
        end $$;
        select setval('crash.step', 1, false);
    """)


async def watch_every_write(database: Database) -> None:
    tables = await database.pool.fetch(
        "select oid::regclass::text as name, relname from pg_class "
        "where relnamespace = 'conftrack'::regnamespace and relkind = 'r' and relname not in ('setting', 'source')"
    )
    for table in tables:
        await database.pool.execute(
            f"create trigger crash after insert or update or delete on {table['name']} "
            "for each statement execute function crash.now()"
        )
    await database.pool.execute(
        "create constraint trigger crash_at_commit after insert or update on conftrack.cursor "
        "deferrable initially deferred for each row execute function crash.now()"
    )


async def test_a_server_process_killed_at_any_write_loses_and_doubles_nothing(database: Database) -> None:
    """Whichever statement it dies in: a page is in or it is not, the cursor is never ahead of the rows, and after
    doing again what failed the figures are those of a day without crashes."""
    bad = Rejected(raw=b"?", error="no")
    pages = [
        page(meeting("a", ended=None), leg("up", left=None, meeting="a"), leg("lone", 70, 80), origin=Origin.LIVE),
        page(meeting("a"), meeting("b", 70, 90), leg("up", meeting="a"), leg("lone", 70, 80, meeting="b"),
             leg("new", 5, 55, meeting="a", identity="an", personal=True), count(5), bad, position=at(80)),
    ]  # fmt: skip
    expected = facts_of(pages).come_to()
    await crashing(database, 0)
    await watch_every_write(database)
    step, crashed = 1, True
    while crashed:
        await views.empty(database.pool)
        await crashing(database, step)
        crashed = await _store_through_crashes(database, pages)
        assert await views.differences(database.pool, expected) == [], f"killed at write {step}"
        step += 1
    assert step > 30  # else the triggers did not fire


async def _store_through_crashes(database: Database, pages: list[Page]) -> bool:
    """Stores every page until it is stored; whether anything failed."""
    crashed = False
    store = Store(database.pool, ZONE)
    for number, one in enumerate(pages):
        stored = False
        while True:
            try:
                source = await store.register("one", "test")
                if not stored:
                    await store.store(source, one, now=NOW)
                    stored = True
                await store.refresh()
                break
            except Unavailable:
                crashed = True
                await _assert_whole_pages(database, store, pages[: number + 1])
    return crashed


async def _assert_whole_pages(database: Database, store: Store, pages: list[Page]) -> None:
    """All records that the cursors vouch for are there, and the last page is there whole or not at all."""
    source = await store.register("one", "test")
    there = set(await legs(database))
    for one in pages:
        reached = await store.cursor(source, one.stream)
        if reached is not None and one.position is not None and one.position <= reached:
            assert {record.external_id for record in one.legs} <= there
    new = {record.external_id for record in pages[-1].legs} - {r.external_id for p in pages[:-1] for r in p.legs}
    assert new <= there or not new & there


async def test_a_collector_killed_at_any_moment_goes_on_where_it_was(dsn: str, database: Database) -> None:
    """SIGKILL, again and again; the next one starts from the cursors, and the figures are those of one that lived."""
    dice = random.Random(11)
    lives = 0
    while await _live(dsn, dice) != b"done":
        lives += 1
        assert lives < 20
    assert lives > 1  # else nothing was killed

    assert await views.differences(database.pool, facts_of(small_world()).come_to()) == []


async def _live(dsn: str, dice: random.Random) -> bytes:
    """One collector: the last line it wrote before it was killed, or before it was done."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.worlds", dsn, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    last = b""
    for _ in range(dice.randrange(3, 6)):
        if not (line := await process.stdout.readline()):
            break
        last = line.strip()
    if last != b"done":
        await asyncio.sleep(dice.random() / 20)
        process.send_signal(signal.SIGKILL)
    await process.wait()
    return last
