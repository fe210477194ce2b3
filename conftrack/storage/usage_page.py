"""What the usage page shows: figures of months and days, who made them up, when meetings began, what went wrong."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

import asyncpg
import msgspec

from conftrack.model import IncidentKind, Provenance
from conftrack.storage.queries import query


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """A month or a day as the views have it. What has no row there, and was seen, had nothing: all zero."""

    meetings: int = 0
    #: Distinct ones.
    endpoints: int = 0
    endpoint_connections: int = 0
    legs: int = 0
    attendees: int = 0
    meeting_seconds: float = 0
    leg_seconds: float = 0
    peak_legs: int = 0
    failed_connections: int = 0
    incidents: int = 0


class UnitUsage(msgspec.Struct, frozen=True, kw_only=True):
    org: str
    endpoint_connections: int
    attendees: int


class Start(msgspec.Struct, frozen=True, kw_only=True):
    meeting_id: int
    started_at: datetime


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The people in a meeting whose number comes from one kind of place."""

    meeting_id: int
    provenance: Provenance
    people: int


class UsageReader:
    """`source` None: all of them. `org` None: everything, else the unit and all below it; `orgs` are their codes."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def months(self, source: str | None, org: str | None, first: date, last: date) -> dict[date, Usage]:
        """By the first day of each month, from `first` to `last`; without those that have no row."""
        return _by_first(await self._pool.fetch(query("list_month_usage"), source, org, first, last))

    async def days(self, source: str | None, org: str | None, since: date, until: date) -> dict[date, Usage]:
        """The local days [since, until); without those that have no row."""
        return _by_first(await self._pool.fetch(query("list_day_usage"), source, org, since, until))

    async def units(self, source: str | None, orgs: Collection[str], month: date) -> list[UnitUsage]:
        rows = await self._pool.fetch(query("list_unit_usage"), source, list(orgs), month)
        return [UnitUsage(**row) for row in rows]

    async def first_day(self, source: str | None) -> date | None:
        """The day of the first meeting that is known; None: none is."""
        return await self._pool.fetchval(query("find_first_day"), source)  # type: ignore[no-any-return]

    async def sources(self) -> list[str]:
        """Every source there ever was, by name."""
        return [row["source"] for row in await self._pool.fetch(query("list_known_source"))]

    async def starts(self, source: str | None, since: date, until: date) -> list[Start]:
        """When the meetings of the local days [since, until) began."""
        return [Start(**row) for row in await self._pool.fetch(query("list_meeting_start"), source, since, until)]

    async def parts(self, meeting_ids: Collection[int], orgs: Collection[str] | None) -> list[Part]:
        """The people of these meetings, all or those of these units."""
        codes = None if orgs is None else list(orgs)
        rows = await self._pool.fetch(query("list_part_of_meeting"), list(meeting_ids), codes)
        return [Part(**row) for row in rows]

    async def kinds(
        self, source: str | None, orgs: Collection[str] | None, since: date, until: date
    ) -> dict[IncidentKind, int]:
        """The incidents of the local days [since, until), how many of each kind."""
        codes = None if orgs is None else list(orgs)
        rows = await self._pool.fetch(query("count_incident_kind"), source, codes, since, until)
        return {row["kind"]: row["incidents"] for row in rows}


def _by_first(rows: list[asyncpg.Record]) -> dict[date, Usage]:
    return {row["first"]: Usage(**{name: value for name, value in row.items() if name != "first"}) for row in rows}
