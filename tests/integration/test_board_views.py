"""What the boards' own views say: the hours that meetings went on in, and what those invited came to."""

from __future__ import annotations

from conftrack.model import Endpoint
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.store import Store
from tests.worlds import at, leg, meeting, page, store_all


async def test_a_meeting_counts_in_every_local_hour_that_it_went_on_in(database: Database, store: Store) -> None:
    """From 8:59 to 10:00 it is two hours, 8 and 9; past midnight the hours are those of the next day of the week, while
    the meeting stays with the day it started on."""
    await store.adopt_timezone()
    day, night = meeting("day", room="day"), meeting("night", room="night")
    await store_all(
        store,
        [
            page(
                day, night,
                leg("leg-1", joined=59, left=120, meeting="day"),
                leg("leg-2", joined=15 * 60 + 30, left=16 * 60 + 30, meeting="night"),
            )
        ],
    )  # fmt: skip

    rows = await database.pool.fetch(
        "select hour, weekday - extract(isodow from day)::integer from conftrack.meeting_hours order by hour_at"
    )
    assert [tuple(row) for row in rows] == [(8, 0), (9, 0), (23, 0), (0, 1)]


async def test_those_invited_are_on_time_late_excused_absent_or_not_known(database: Database, store: Store) -> None:
    """Who came is never absent, whatever was judged before; who was not judged is not known. To be in the test before
    the start is not to come."""
    endpoints = [
        Endpoint(code=code, name=code, aliases=(code,))
        for code in ("early", "late", "again", "away", "missing", "tested", "blind")
    ]
    await inventory.put(database.pool, [], endpoints)
    stays = [("early", -9, 30), ("late", 1, 30), ("again", -9, -5), ("again", 6, 30), ("tested", -9, -5)]
    told = [
        leg(f"leg-{number}", joined=joined, left=left, identity=who) for number, (who, joined, left) in enumerate(stays)
    ]
    await store_all(store, [page(meeting(), *told)])
    async with database.pool.acquire() as connection:
        await connection.execute(
            "insert into conftrack.invitation (uid, room, starts_at, origin, known_at) "
            "values ('u', 'hall', $1, 'file', $1)",
            at(0),
        )
        await connection.execute(
            "insert into conftrack.expected (invitation_id, endpoint_id, excused_at, excused_by, excused_reason) "
            "select invitation_id, endpoint_id, x.at, x.who, x.who from conftrack.invitation, conftrack.endpoint "
            "left join (values ('away', $1::timestamptz, 'a')) x (code, at, who) using (code)",
            at(0),
        )
        await connection.execute(
            "insert into conftrack.incident (endpoint_id, invitation_id, kind, opened_at) "
            "select endpoint_id, invitation_id, 'absent', $1 from conftrack.invitation, conftrack.endpoint "
            "where code in ('late', 'missing', 'tested')",
            at(5),
        )
        await connection.execute(
            "update conftrack.meeting set invitation_id = (select invitation_id from conftrack.invitation)"
        )
        rows = await connection.fetch("select endpoint, state from conftrack.expected_endpoints")

    assert {row["endpoint"]: row["state"] for row in rows} == {
        "early": "on_time", "late": "late", "again": "late", "away": "excused", "missing": "absent",
        "tested": "absent", "blind": None,
    }  # fmt: skip
