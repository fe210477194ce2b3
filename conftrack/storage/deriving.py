"""What follows from the facts: meetings, then usage and the incidents of days. The steps are in sql/queries; here is
their order.

Each is within the caller's transaction, and one at a time on a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from zoneinfo import ZoneInfo

from conftrack.storage.database import Connection
from conftrack.storage.queries import query

BULK = 500
"""Meetings derived at once from which on a refresh follows a bulk load."""


async def derive_meetings(connection: Connection, timezone: ZoneInfo) -> int:
    """Derives the meetings of every conference that changed, and marks their days; how many meetings."""
    await connection.execute(query("lock_meetings"))
    await connection.execute(query("take_dirty_conference"))
    await connection.execute("analyze work_conference")
    await connection.execute(query("take_neighbour"))
    await connection.execute(query("mark_days_before"))
    await connection.execute("analyze work_conference")
    await connection.execute(query("find_islands"))
    await connection.execute("analyze work_conference (island, meeting_id)")  # or it takes the islands for none
    await connection.execute(query("mark_incidents"))
    await connection.execute(query("assign_meeting"))
    await connection.execute(query("take_meeting"))
    await connection.execute("analyze work_meeting")
    await connection.execute(query("hush_meeting"))
    await connection.execute(query("take_sitting"), timezone.key)
    meetings = int(await connection.fetchval("select count(*) from work_meeting"))
    if meetings > BULK:
        await connection.execute(query("learn_sizes"))
    await connection.execute(query("mark_copies"))
    if await connection.fetchval(query("has_sensor")):
        await connection.execute(query("sense_headcount"))
    await connection.execute(query("place_headcount"))
    await connection.execute(query("sum_meeting"), timezone.key)
    await connection.execute(query("mark_incidents"))
    if meetings > BULK:
        # They have their days now, and head counts their meetings.
        await connection.execute("analyze conftrack.meeting, conftrack.headcount")
    return meetings


async def compute_usage(connection: Connection) -> int:
    """Computes the marked days, and the months that they are in; how many days."""
    await connection.execute(query("lock_usage"))
    days = int(await connection.fetchval(query("take_dirty_day")))
    if days:
        await connection.execute("analyze work_day")
        await connection.execute(query("find_overlap"))
        await connection.execute("analyze work_day")
        await connection.execute(query("gather_leg"))
        await connection.execute(query("gather_leg_of_unit"))
        await connection.execute("analyze work_leg")
        for name in ("sum_day", "add_all_sources", "store_day", "sum_month", "add_all_sources", "store_month"):
            await connection.execute(query(name))
        await count_incidents(
            connection, [row["day"] for row in await connection.fetch("select day from work_day where dirty")]
        )
    return days


async def count_incidents(connection: Connection, days: Sequence[date]) -> None:
    """Counts the incidents of days again, for each source and unit."""
    await connection.execute(query("lock_usage"))  # one at a time counts a day
    await connection.execute(query("count_incident_day"), days)
