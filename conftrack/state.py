"""What the service knows right now, in memory: the one thing that /metrics and the pages read.

The collector writes it after each cycle; nobody who reads it asks the conference system or the database anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from conftrack.board import Board, Change
from conftrack.model import EndClass, IncidentKind, LegRecord
from conftrack.storage.reader import IncidentTotals, SourceTotals

logger = logging.getLogger(__name__)

EVENTS_KEPT = 200
AWAY: frozenset[IncidentKind] = frozenset({"connect_failed", "dropped", "absent", "unregistered"})
"""The kinds in which an endpoint is not where it should be."""
IGNORED_AFTER = timedelta(minutes=30)
"""How long a warning may go on unacknowledged before it counts as critical."""


SiteState = Literal["in_meeting", "idle", "failed", "degraded", "maintenance", "unknown"]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint of the inventory, as far as the live view needs it."""

    code: str
    name: str
    org: str | None = None
    org_name: str | None = None
    carrier: str | None = None
    area: str | None = None


class OpenIncident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident that is going on, as in the view `incidents`."""

    incident_id: int
    kind: IncidentKind
    source: str | None
    #: The endpoint's code; None for a caller outside the inventory, and for an outage.
    endpoint: str | None
    identity: str | None
    org: str | None
    carrier: str | None
    area: str | None
    meeting_id: int | None
    end_class: EndClass | None
    end_reason: str | None
    opened_at: datetime
    #: The outage that it is part of.
    parent_id: int | None = None
    acknowledged_at: datetime | None = None

    def severity(self, now: datetime) -> Literal["warning", "critical"]:
        """An outage is critical, and so is what nobody has acknowledged for IGNORED_AFTER."""
        ignored = self.acknowledged_at is None and now - self.opened_at >= IGNORED_AFTER
        return "critical" if self.kind == "outage" or ignored else "warning"


@dataclass(slots=True)
class StreamState:
    """One stream of one source. `up` None: not tried yet."""

    up: bool | None = None
    last_success_at: datetime | None = None
    cursor_at: datetime | None = None
    #: How many records the source's own total is ahead of ours, in the newest window read; None: it does not tell.
    missing: int | None = None
    last_error: str | None = None


@dataclass(slots=True)
class SourceState:
    name: str
    kind: str
    live_interval: timedelta
    #: Whether the system can be asked what is going on now.
    has_live: bool = True
    board: Board = field(default_factory=Board)
    streams: dict[str, StreamState] = field(default_factory=dict)
    #: What the counters stand at, from the facts, so that they survive a restart; None: not read yet.
    totals: SourceTotals | None = None
    #: Another collector holds this source; everything here is what was known before.
    held_elsewhere: bool = False

    def stale_after(self) -> timedelta:
        """How old the last good live poll may be before what it showed is no longer called now."""
        return max(3 * self.live_interval, timedelta(seconds=15))

    def fresh(self, now: datetime) -> bool:
        """Whether `board` may be shown as what is going on now."""
        live = self.streams.get("live")
        return (
            live is not None
            and live.last_success_at is not None
            and self.board.seen_at is not None
            and now - live.last_success_at <= self.stale_after()
        )


class State:
    """Everything that is known now. Readers wait for news with `changed`."""

    def __init__(self, started_at: datetime) -> None:
        self.started_at = started_at
        self.sources: dict[str, SourceState] = {}
        #: The newest joins, leaves and moves of all sources, with the source's name; newest last.
        self.events: deque[tuple[str, Change]] = deque(maxlen=EVENTS_KEPT)
        self.sites: dict[str, Site] = {}
        #: What is going wrong, by incident id.
        self.incidents: dict[int, OpenIncident] = {}
        #: What the counters of incidents stand at, from the facts; None: not read yet.
        self.incident_totals: IncidentTotals | None = None
        #: Codes of the endpoints that are in a maintenance window now.
        self.in_maintenance: frozenset[str] = frozenset()
        self._site_of_alias: dict[str, str] = {}
        #: Since when the database is known not to answer; None while it does.
        self.database_lost_at: datetime | None = None
        #: When the database last took a write; None before the first.
        self.stored_at: datetime | None = None
        self._version = 0
        self._news = asyncio.Condition()

    def know_sites(self, sites: Iterable[tuple[Site, Iterable[str]]]) -> None:
        """Takes in the inventory: each site with its normalised aliases."""
        pairs = [(site, tuple(aliases)) for site, aliases in sites]
        self.sites = {site.code: site for site, _ in pairs}
        self._site_of_alias = {alias: site.code for site, aliases in pairs for alias in aliases}

    def site(self, leg: LegRecord) -> Site | None:
        """The endpoint of the inventory that this leg is; None for an unmatched caller."""
        code = self._site_of_alias.get(leg.identity) if leg.identity is not None else None
        return self.sites.get(code) if code is not None else None

    def site_states(self, now: datetime) -> dict[str, SiteState]:
        """The state of every endpoint of the inventory.

        In a meeting on any fresh source: in_meeting, or degraded with an open incident. Else in maintenance; else
        unknown while any source that can tell is stale or was never seen, or none can tell; else failed while it
        should be in a meeting and is not, or idle.
        """
        telling = [source for source in self.sources.values() if source.has_live]
        blind = not telling or any(not source.fresh(now) for source in telling)
        troubled = {incident.endpoint for incident in self.incidents.values()}
        away = {incident.endpoint for incident in self.incidents.values() if incident.kind in AWAY}
        states: dict[str, SiteState] = dict.fromkeys(self.sites, "unknown" if blind else "idle")
        for code in states if not blind else ():
            if code in away:
                states[code] = "failed"
        for code in self.in_maintenance & states.keys():
            states[code] = "maintenance"
        for source in self.sources.values():
            if source.fresh(now):
                for leg in source.board.people():
                    if (site := self.site(leg)) is not None:
                        states[site.code] = "degraded" if site.code in troubled else "in_meeting"
        return states

    def lose_database(self, why: str, now: datetime) -> None:
        """Notes that the database does not answer; only the first to notice is logged."""
        if self.database_lost_at is None:
            self.database_lost_at = now
            logger.warning("%s", why, extra={"action": "database"})
        else:
            logger.debug("%s", why, extra={"action": "database"})

    def find_database(self) -> None:
        """Notes that the database has answered."""
        if self.database_lost_at is not None:
            self.database_lost_at = None
            logger.info("the database answers again", extra={"action": "database"})

    async def tell(self) -> None:
        """Wakes everyone who waits for news."""
        async with self._news:
            self._version += 1
            self._news.notify_all()

    async def changes(self, at_least_every: timedelta) -> AsyncIterator[None]:
        """Yields at every change, and at least that often: freshness changes by itself."""
        seen = -1
        while True:
            async with self._news:
                if self._version == seen:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(at_least_every.total_seconds()):
                            await self._news.wait()
            seen = self._version
            yield
