"""What is read for people and metrics: from the same views and rollups that Grafana and the reports read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from conftrack.storage.queries import query


class SourceTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What a source came to over all its months. `durations`: ended meetings per bucket of the bounds asked for, the
    last one for what is longer than all; `duration_seconds` is their sum."""

    meetings: int
    legs: int
    leg_seconds: float
    attendees: int
    durations: tuple[int, ...]
    duration_seconds: float


class IncidentTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents of endpoints so far by (unit, kind, end class), and each source's legs whose cause is unknown."""

    incidents: dict[tuple[str, str, str], int]
    unknown_causes: dict[str, int]


class SiteRow(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    name: str
    org: str | None
    org_name: str | None
    carrier: str | None
    area: str | None
    aliases: list[str]


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the view `source_status`."""

    source: str
    kind: str
    stream: str | None
    cursor_at: datetime | None
    last_success_at: datetime | None
    last_error: str | None
    source_total: int | None
    stored_total: int | None
    rejected: int


class Reader:
    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def totals(self, bounds: Sequence[float]) -> dict[str, SourceTotals]:
        """The totals of every source; `bounds` (seconds, ascending) cut the durations of meetings."""
        counts: dict[str, list[int]] = {}
        seconds: dict[str, float] = {}
        for row in await self._pool.fetch(query("list_duration"), list(bounds)):
            buckets = counts.setdefault(row["source"], [0] * (len(bounds) + 1))
            buckets[row["bucket"]] += row["meetings"]
            seconds[row["source"]] = seconds.get(row["source"], 0.0) + row["seconds"]
        return {
            row["source"]: SourceTotals(
                meetings=row["meetings"],
                legs=row["legs"],
                leg_seconds=row["leg_seconds"],
                attendees=row["attendees"],
                durations=tuple(counts.get(row["source"], [0] * (len(bounds) + 1))),
                duration_seconds=seconds.get(row["source"], 0.0),
            )
            for row in await self._pool.fetch(query("list_total"))
        }

    async def incident_totals(self) -> IncidentTotals:
        rows = await self._pool.fetch(query("count_incident"))
        unknown = await self._pool.fetch(query("count_unknown_cause"))
        return IncidentTotals(
            incidents={(row["org"], row["kind"], row["end_class"]): row["incidents"] for row in rows},
            unknown_causes={row["source"]: row["legs"] for row in unknown},
        )

    async def sites(self) -> list[SiteRow]:
        return [SiteRow(**row) for row in await self._pool.fetch(query("list_site"))]

    async def status(self) -> list[StreamStatus]:
        return [StreamStatus(**row) for row in await self._pool.fetch(query("list_status"))]
