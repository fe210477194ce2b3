"""The public views: the columns others rely on, and figures a person can check by hand."""

from __future__ import annotations

from datetime import date

import pytest

from conftrack.model import Origin
from conftrack.storage.database import Database
from conftrack.storage.store import Store
from tests.worlds import at, count, leg, meeting, page, store_all

#: What the design promises; more may be there.
COLUMNS = {
    "org_units": "code name",
    "endpoints": "endpoint name org kind seats aliases",
    "meetings": "meeting_id source external_id room title host_org scheduled_start scheduled_end started_at ended_at "
    "duration_seconds endpoint_count leg_count attendees",
    "legs": "leg_id meeting_id source external_id endpoint org identity protocol direction joined_at left_at "
    "duration_seconds end_class end_reason rx_bitrate tx_bitrate rx_loss tx_loss jitter_seconds latency_seconds",
    "endpoint_connections": "meeting_id source endpoint org joined_at left_at attended attendees provenance",
    "attendance": "meeting_id source endpoint org people provenance at",
    "incidents": "incident_id source endpoint org meeting_id kind end_class opened_at closed_at",
    "usage_daily": "day source org meetings endpoints endpoint_connections legs attendees meeting_seconds leg_seconds "
    "peak_legs failed_connections incidents",
    "usage_monthly": "month source org meetings endpoints endpoint_connections legs attendees meeting_seconds "
    "leg_seconds peak_legs failed_connections incidents",
    "source_status": "source kind stream cursor_at last_success_at source_total stored_total rejected",
}


async def usage(database: Database, view: str, columns: str) -> list[tuple[object, ...]]:
    """These figures of all sources and units, by period."""
    rows = await database.pool.fetch(f"select {columns} from conftrack.{view} where source is null order by 1")  # noqa: S608
    return [tuple(row) for row in rows]


async def test_the_views_have_the_columns_that_others_rely_on(database: Database) -> None:
    """Dashboards and BI tools name them; not one may go."""
    for view, columns in COLUMNS.items():
        await database.pool.execute(f"select {', '.join(columns.split())} from conftrack.{view} limit 0")  # noqa: S608


async def test_times_are_absolute_months_are_dates_and_spans_are_seconds(database: Database) -> None:
    """A column's type is a part of the promise: nothing local, nothing in text."""
    rows = await database.pool.fetch(
        "select table_name as view, column_name as name, data_type as type from information_schema.columns "
        "where table_schema = 'conftrack' and table_name = any($1::text[])",
        list(COLUMNS),
    )
    for row in rows:
        if row["name"].endswith("_at") or row["name"] in ("at", "scheduled_start", "scheduled_end"):
            assert row["type"] == "timestamp with time zone", row
        if row["name"].endswith(("_seconds", "_loss")):
            assert row["type"] == "double precision", row
        if row["name"] in ("day", "month"):
            assert row["type"] == "date", row
    assert len(rows) > 100


async def test_a_redial_within_five_minutes_is_one_presence(database: Database, store: Store) -> None:
    """A gap of exactly five minutes is bridged and counts as presence, a longer one is not."""
    await store_all(
        store,
        [
            page(
                meeting(),
                leg("chair", 0, 100, meeting="meeting-1", identity="chair"),
                leg("a1", 0, 10, meeting="meeting-1", identity="a"),
                leg("a2", 15, 30, meeting="meeting-1", identity="a"),
                leg("b1", 0, 10, meeting="meeting-1", identity="b"),
                leg("b2", 15.1, 30, meeting="meeting-1", identity="b"),
            )
        ],
    )

    rows = await database.pool.fetch(
        "select identity, legs, presence_seconds from conftrack.endpoint_connections order by identity"
    )
    assert [tuple(row) for row in rows] == [("a", 2, 1800), ("b", 2, 1494), ("chair", 1, 6000)]


@pytest.mark.parametrize(
    ("minutes", "attended", "full"),
    [(1.9, False, False), (2, True, False), (16.9, True, False), (17, True, True)],
)
async def test_who_attended_a_short_meeting(
    minutes: float, attended: bool, full: bool, database: Database, store: Store
) -> None:
    """Of twenty minutes a tenth is attendance, and 85 % is all of it; the bounds count in."""
    await store_all(store, [page(leg("chair", 0, 20, identity="chair"), leg("guest", 0, minutes, identity="guest"))])

    row = await database.pool.fetchrow("select * from conftrack.endpoint_connections where identity = 'guest'")
    assert row is not None
    assert (row["attended"], row["full_attendance"]) == (attended, full)


async def test_in_a_long_meeting_five_minutes_are_attendance(database: Database, store: Store) -> None:
    """A tenth of two hours would be twelve minutes: five are enough."""
    await store_all(store, [page(leg("chair", 0, 120, identity="chair"), leg("guest", 0, 5, identity="guest"))])

    assert await database.pool.fetchval("select attended from conftrack.endpoint_connections where identity = 'guest'")


async def test_while_a_meeting_goes_on_nobody_has_missed_it(database: Database, store: Store) -> None:
    """What cannot be known yet is null, not false and not zero."""
    await store_all(
        store, [page(leg("up", 0, None, identity="a"), leg("gone", 0, 1, identity="b"), origin=Origin.LIVE)]
    )

    rows = await database.pool.fetch("select attended, full_attendance from conftrack.endpoint_connections")
    assert [tuple(row) for row in rows] == [(None, None)] * 2
    (row,) = await database.pool.fetch("select ended_at, duration_seconds, leg_count from conftrack.meetings")
    assert tuple(row) == (None, None, 2)


async def test_a_meeting_over_midnight_is_of_the_day_and_month_it_began_in(database: Database, store: Store) -> None:
    """With all its legs and seconds, so that the days add up to the month; its day is the local one."""
    midnight = 16 * 60  # from eight in the morning
    month_end = midnight + 29 * 24 * 60  # 2 March and 29 days
    long = leg("a", month_end - 30, month_end + 30, identity="a")
    await store_all(store, [page(long, leg("b", month_end + 10, month_end + 30, identity="b"))])

    daily = await usage(database, "usage_daily", "day, meetings, legs, leg_seconds, peak_legs")
    assert daily == [(date(2026, 3, 31), 1, 2, 4800, 2)]
    monthly = await usage(database, "usage_monthly", "month, meetings, legs, leg_seconds, peak_legs")
    assert monthly == [(date(2026, 3, 1), 1, 2, 4800, 2)]


async def test_a_meeting_over_the_midnight_of_utc_is_of_one_day_here(database: Database, store: Store) -> None:
    """From 06:30 to 07:30 on the first of a month, which is still the last of the one before in UTC (B5)."""
    first = (30 * 24 - 1.5) * 60  # from eight in the morning of 2 March
    await store_all(store, [page(leg("a", first, first + 60, identity="a"))])

    assert await usage(database, "usage_daily", "day, meetings, leg_seconds") == [(date(2026, 4, 1), 1, 3600)]
    assert await usage(database, "usage_monthly", "month, meetings, leg_seconds") == [(date(2026, 4, 1), 1, 3600)]


async def test_a_months_peak_may_lie_between_two_of_its_days(database: Database, store: Store) -> None:
    """A meeting that reaches into the next day is up together with those that begin then."""
    midnight = 16 * 60
    await store_all(
        store,
        [
            page(leg("late", midnight - 30, midnight + 60, room="a", identity="a")),
            page(leg("early", midnight + 30, midnight + 90, room="b", identity="a")),
        ],
    )

    daily = await usage(database, "usage_daily", "day, peak_legs, endpoints")
    assert daily == [(date(2026, 3, 2), 1, 1), (date(2026, 3, 3), 1, 1)]
    monthly = await usage(database, "usage_monthly", "peak_legs, endpoints, legs")
    assert monthly == [(2, 1, 2)]


async def test_attempts_are_shown_and_failures_counted(database: Database, store: Store) -> None:
    """An attempt is a row with no join; only what failed is in the figure, refusals and scanners are not."""
    classes = ("no_answer", "unreachable", "negotiation", "capacity", "busy", "declined", "auth", "unknown")
    attempts = [leg(name, None, 5, end_class=name, identity=name) for name in classes]
    noise = leg("noise", None, 5, end_class="unreachable", excluded="noise")
    await store_all(store, [page(leg("chair", identity="chair"), *attempts, noise)])

    assert await database.pool.fetchval("select count(*) from conftrack.legs where joined_at is null") == 9
    assert await usage(database, "usage_monthly", "legs, endpoints, failed_connections") == [(1, 1, 4)]


async def test_what_is_not_people_is_kept_and_never_counted(database: Database, store: Store) -> None:
    """A recorder does not make a meeting, nor make one longer."""
    await store_all(
        store,
        [
            page(leg("recorder", 0, 90, excluded="recorder"), leg("person", 10, 40, identity="a")),
            page(leg("lonely", 200, 300, excluded="recorder", room="empty")),
        ],
    )

    rows = await database.pool.fetch("select started_at, ended_at, leg_count from conftrack.meetings")
    assert [tuple(row) for row in rows] == [(at(10), at(40), 1)]
    assert await database.pool.fetchval("select count(*) from conftrack.legs") == 3


async def test_one_leg_told_by_two_nodes_is_counted_once(database: Database, store: Store) -> None:
    """A cluster makes a record a node: the same endpoint at the same time in both is one leg, and one in the peak."""
    await store_all(
        store,
        [
            page(meeting("node-1"), meeting("node-2", 1, 60)),
            page(leg("l1", 0, 60, meeting="node-1", identity="a"), leg("l2", 1, 60, meeting="node-2", identity="a")),
            page(leg("l3", 2, 60, meeting="node-2", identity="b")),
        ],
    )

    (row,) = await database.pool.fetch("select leg_count, endpoint_count from conftrack.meetings")
    assert tuple(row) == (2, 2)
    assert await usage(database, "usage_daily", "legs, peak_legs") == [(2, 2)]
    assert await database.pool.fetchval("select external_id from conftrack.legs where copy") == "l2"


@pytest.mark.parametrize(("second", "counted"), [(10, 1), (10.1, 2)])
async def test_a_copy_shares_half_of_the_shorter_legs_time(
    second: float, counted: int, database: Database, store: Store
) -> None:
    """Half is enough; with less in common it is somebody who left one node and came in at another."""
    nodes = [meeting("node-1", 0, 60), meeting("node-2", 0, 60)]
    legs = [
        leg("l1", 0, 20, meeting="node-1", identity="a"),
        leg("l2", second, second + 20, meeting="node-2", identity="a"),
    ]
    await store_all(store, [page(*nodes, *legs)])

    assert await database.pool.fetchval("select leg_count from conftrack.meetings") == counted


async def test_a_leg_without_a_record_is_no_copy(database: Database, store: Store) -> None:
    """Only a record tells of the same leg again: who comes in by two devices at once has two legs."""
    nodes = [meeting("node-1", 0, 60), meeting("node-2", 0, 60)]
    legs = [leg("l1", 0, 60, meeting="node-1", identity="a"), leg("l2", 1, 59, identity="a")]
    await store_all(store, [page(*nodes, *legs)])

    assert await database.pool.fetchval("select leg_count from conftrack.meetings") == 2


async def test_two_devices_of_one_endpoint_are_two_legs_and_one_connection(database: Database, store: Store) -> None:
    """Only another record tells of the same leg again; in one record each leg is one."""
    await store_all(store, [page(meeting(), *(leg(n, meeting="meeting-1", identity="a") for n in ("l1", "l2")))])

    assert await usage(database, "usage_daily", "legs, endpoint_connections, peak_legs") == [(2, 1, 2)]


async def test_attendees_say_where_each_number_comes_from(database: Database, store: Store) -> None:
    """A count where there is one, one person where there is none; the meeting and the month add them up."""
    await store_all(store, [page(meeting(), leg("a", identity="a"), leg("b", identity="b"), count(80, endpoint="a"))])

    rows = await database.pool.fetch(
        "select identity, attendees, provenance from conftrack.endpoint_connections order by identity"
    )
    assert [tuple(row) for row in rows] == [("a", 80, "reported"), ("b", 1, "connections")]
    assert await database.pool.fetchval("select attendees from conftrack.meetings") == 81
    assert await database.pool.fetchval("select attendees from conftrack.usage_monthly where source = 'one'") == 81
