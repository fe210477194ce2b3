"""What the pages show of the past and of who is expected: rows of the public views, with names and contacts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Literal

import asyncpg
import msgspec

from conftrack.model import EndClass, IncidentKind, Owner, Provenance
from conftrack.storage import maintenance, rollcall
from conftrack.storage.maintenance import Maintenance
from conftrack.storage.queries import query
from conftrack.storage.rollcall import Convocation


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the rows; fields are as in the views. `name` is that of the endpoint, None outside the inventory."""


class UnitRow(Row, frozen=True):
    code: str
    name: str
    parent: str | None
    level: int


class SiteDetail(Row, frozen=True):
    code: str
    name: str
    org: str | None
    org_name: str | None
    kind: str | None
    seats: int | None
    carrier: str | None
    area: str | None
    service_hours: str | None
    aliases: list[str]
    retired_on: date | None
    contact_name: str | None
    contact_phone: str | None


class SiteMeeting(Row, frozen=True):
    """One endpoint in one meeting. `joined_at` None: it only tried."""

    meeting_id: int
    source: str
    room: str
    title: str | None
    started_at: datetime
    ended_at: datetime | None
    joined_at: datetime | None
    left_at: datetime | None
    presence_seconds: float | None
    attended: bool | None
    attendees: int | None
    provenance: Provenance | None


class LegRow(Row, frozen=True):
    leg_id: int
    meeting_id: int
    endpoint: str | None
    identity: str | None
    name: str | None
    protocol: str | None
    direction: Literal["in", "out"] | None
    joined_at: datetime | None
    left_at: datetime | None
    end_class: EndClass | None
    end_reason: str | None
    rx_bitrate: int | None
    tx_bitrate: int | None
    rx_loss: float | None
    tx_loss: float | None
    jitter_seconds: float | None


class MeetingRow(Row, frozen=True):
    meeting_id: int
    source: str
    room: str
    title: str | None
    scheduled_start: datetime | None
    started_at: datetime
    ended_at: datetime | None
    duration_seconds: float | None
    endpoint_count: int
    leg_count: int
    attendees: int


class PeopleRow(Row, frozen=True):
    """The people of a meeting whose number comes from one kind of place, and at how many endpoints that is."""

    provenance: Provenance
    people: int
    endpoints: int


class HeadcountRow(Row, frozen=True):
    endpoint: str | None
    name: str | None
    identity: str | None
    people: int
    provenance: Provenance
    at: datetime
    note: str | None


class Note(Row, frozen=True):
    at: datetime
    author: str
    text: str


class IncidentRow(Row, frozen=True):
    incident_id: int
    kind: IncidentKind
    source: str | None
    endpoint: str | None
    name: str | None
    contact_name: str | None
    contact_phone: str | None
    identity: str | None
    org: str | None
    org_name: str | None
    carrier: str | None
    area: str | None
    meeting_id: int | None
    title: str | None
    room: str | None
    end_class: EndClass | None
    end_reason: str | None
    opened_at: datetime
    closed_at: datetime | None
    parent_id: int | None
    owner: Owner | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    notes: tuple[Note, ...] = ()


class Unseen(Row, frozen=True):
    """A source could not be seen in [since, until), and no history told later; `until` None: nor since."""

    source: str
    since: datetime
    until: datetime | None
    last_seen: datetime


class PageReader:
    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    # -- endpoints

    async def units(self) -> list[UnitRow]:
        return [UnitRow(**row) for row in await self._pool.fetch(query("list_unit_of_tree"))]

    async def last_left(self, codes: Collection[str]) -> dict[str, datetime]:
        """When these endpoints last left a meeting; without those that never were in one."""
        rows = await self._pool.fetch(query("list_last_left"), list(codes))
        return {row["code"]: row["left_at"] for row in rows}

    async def site(self, code: str) -> SiteDetail | None:
        row = await self._pool.fetchrow(query("find_site"), code)
        return SiteDetail(**row) if row is not None else None

    async def site_meetings(self, code: str, since: date, until: date) -> list[SiteMeeting]:
        """The meetings of the local days [since, until) that it was in, or tried to be; the newest first."""
        found = await self._pool.fetch(query("find_site_meeting"), code, since, until)
        ids = [row["meeting_id"] for row in found]
        return [SiteMeeting(**row) for row in await self._pool.fetch(query("list_site_meeting"), code, ids)]

    async def site_incidents(self, code: str, since: datetime, until: datetime) -> list[IncidentRow]:
        """Its incidents that have a part in [since, until), the newest first."""
        found = await self._pool.fetch(query("find_site_incident"), code, since, until)
        return await self.incidents([row["incident_id"] for row in found])

    async def maintenance(self, since: datetime, until: datetime) -> list[Maintenance]:
        """Whatever may have a window in [since, until)."""
        async with self._pool.acquire() as connection:
            return await maintenance.load(connection, since, until)

    async def unseen(self, sources: Collection[str]) -> list[Unseen]:
        return [Unseen(**row) for row in await self._pool.fetch(query("list_unseen"), list(sources))]

    async def first_meeting(self) -> datetime | None:
        return await self._pool.fetchval(query("find_first_meeting"))  # type: ignore[no-any-return]

    # -- meetings

    async def meeting(self, meeting_id: int) -> MeetingRow | None:
        row = await self._pool.fetchrow(query("find_meeting"), meeting_id)
        return MeetingRow(**row) if row is not None else None

    async def newest_meeting(self, source: str, room: str) -> int | None:
        """The number of the newest meeting of a room."""
        return await self._pool.fetchval(query("find_meeting_of_room"), source, room)  # type: ignore[no-any-return]

    async def legs(self, meeting_ids: Collection[int], endpoint: str | None = None) -> list[LegRow]:
        """Connections and attempts, of one endpoint or of all, in the order in which they began."""
        rows = await self._pool.fetch(query("list_leg"), list(meeting_ids), endpoint)
        return [LegRow(**row) for row in rows]

    async def people(self, meeting_id: int) -> list[PeopleRow]:
        return [PeopleRow(**row) for row in await self._pool.fetch(query("list_provenance"), meeting_id)]

    async def headcounts(self, meeting_id: int) -> list[HeadcountRow]:
        return [HeadcountRow(**row) for row in await self._pool.fetch(query("list_headcount"), meeting_id)]

    async def convocation(self, meeting_id: int) -> Convocation | None:
        """Who is expected at a meeting; None where nobody was invited."""
        async with self._pool.acquire() as connection:
            return await rollcall.load(connection, meeting_id=meeting_id)

    async def running(self, now: datetime) -> list[Convocation]:
        """Who is expected at meetings that go on or should, in order of their start."""
        found = []
        async with self._pool.acquire() as connection:
            for row in await connection.fetch(query("find_running"), now):
                by = {"meeting_id": row["meeting_id"]} if row["meeting_id"] else {"invitation_id": row["invitation_id"]}
                if (one := await rollcall.load(connection, **by)) is not None:
                    found.append(one)
        return found

    # -- incidents

    async def open_incidents(self) -> list[tuple[int, int | None]]:
        """The number of each that is open, and of the outage that it is part of; the newest first."""
        rows = await self._pool.fetch(query("find_open_incident"))
        return [(row["incident_id"], row["parent_id"]) for row in rows]

    async def closed_incidents(self, limit: int, skipped: int) -> list[int]:
        """The numbers of those that are part of no outage, the newest first."""
        rows = await self._pool.fetch(query("find_closed_incident"), limit, skipped)
        return [row["incident_id"] for row in rows]

    async def count_closed_incidents(self) -> int:
        return await self._pool.fetchval(query("count_closed_incident"))  # type: ignore[no-any-return]

    async def incidents_within(self, outages: Collection[int]) -> list[int]:
        rows = await self._pool.fetch(query("find_child_incident"), list(outages))
        return [row["incident_id"] for row in rows]

    async def meeting_incidents(self, meeting_id: int) -> list[IncidentRow]:
        found = await self._pool.fetch(query("find_meeting_incident"), meeting_id)
        return await self.incidents([row["incident_id"] for row in found])

    async def incidents(self, ids: Sequence[int]) -> list[IncidentRow]:
        """These incidents with their notes, in this order; those that are gone are left out."""
        notes: dict[int, list[Note]] = {}
        for row in await self._pool.fetch(query("list_note"), ids):
            notes.setdefault(row["incident_id"], []).append(Note(at=row["at"], author=row["author"], text=row["text"]))
        rows = {row["incident_id"]: row for row in await self._pool.fetch(query("list_incident"), ids)}
        return [IncidentRow(**rows[number], notes=tuple(notes.get(number, ()))) for number in ids if number in rows]
