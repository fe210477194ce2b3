"""One simulated world: the province, what happened in it, what is going on, and the true figures of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from conftrack.simulator.incidents import TrueIncident, incidents, unregistered
from conftrack.simulator.plan import Maintenance, Meeting, micros
from conftrack.simulator.programme import Past, Programme
from conftrack.simulator.province import Province, phu_tho
from conftrack.simulator.registrations import SLOT, Away, half_hour
from conftrack.simulator.truth import Truth, count

Clock = Callable[[], datetime]

VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")


class World:
    """A year of conferences before `anchor`, and live ones from it on, all of it decided by `seed` and `anchor`.

    `scale` multiplies how many meetings the year had (1.0: about 700, with 40,000 legs); the live programme is the
    same at every scale. Nothing here is random: two worlds with the same arguments are equal in any process, and one
    that is asked later knows the same past.
    """

    def __init__(self, seed: int = 2026, *, anchor: datetime, scale: float = 1.0) -> None:
        self.anchor = anchor
        #: The aliases that rooms dial by themselves when a meeting begins; no room of the year and the programme does.
        self.standing: dict[str, Sequence[str]] = {}
        self.province: Province = phu_tho()
        self._seed = seed
        self._endpoints = {endpoint.code: endpoint for endpoint in self.province.endpoints}
        self._meetings: list[Meeting] = list(Past(seed, self.province, anchor, scale, VIETNAM).meetings())
        self._programme: Programme | None = Programme(seed, self.province, anchor)
        self._away: list[Away] = []
        self._half_hours = 0

    @classmethod
    def staged(cls, meetings: Iterable[Meeting], *, anchor: datetime, away: Sequence[Away] = ()) -> World:
        """A world in which exactly these meetings happen, and these sites go away, for tests that count by hand."""
        world = cls(anchor=anchor, scale=0)
        world._meetings = sorted(meetings, key=lambda meeting: meeting.start)
        world._programme = None
        world._away = list(away)
        return world

    def meetings(self, until: datetime) -> Sequence[Meeting]:
        """Every meeting that began by `until`, and maybe later ones that are already decided.

        The same list each time; later calls add to its end and never change what stands in it.
        """
        if self._programme:
            self._meetings.extend(self._programme.until(until))
        return self._meetings

    def truth(self, until: datetime, *, since: datetime | None = None, inventory: bool = False) -> Truth:
        """The true figures of all meetings that had ended by `until`, by local month and in total.

        `inventory` says whether the reader knows which aliases belong to which endpoint; without it an endpoint is
        the alias that it showed. `since` leaves out meetings that started before it.
        """
        return count(self.meetings(until), until=until, since=since, timezone=VIETNAM, inventory=inventory)

    def incidents(self, until: datetime, *, since: datetime | None = None) -> list[TrueIncident]:
        """The true incidents of all meetings that had ended by `until`, of those that began at or after `since`; and of
        sites that were away and back in that time."""
        meetings, first = self.meetings(until), micros(since) if since else 0
        missed = [gone for gone in self.away(until) if gone.start >= first and gone.end <= micros(until)]
        found = incidents(meetings, until=until, since=since, endpoints=self._endpoints)
        found += unregistered(missed, meetings, endpoints=self._endpoints, timezone=VIETNAM)
        return sorted(found, key=lambda incident: (incident.opened_at, incident.kind, incident.endpoint or ""))

    def away(self, until: datetime) -> list[Away]:
        """The sites that stop being registered by `until`, for a while."""
        last = micros(until)
        while self._programme and (begin := micros(self.anchor) + self._half_hours * SLOT) <= last:
            self._away += half_hour(self._half_hours, self._seed, self.province, begin, VIETNAM)
            self._half_hours += 1
        return [gone for gone in self._away if gone.start <= last]

    def maintenance(self, until: datetime) -> list[Maintenance]:
        """Planned work of all meetings that begin by `until`."""
        last = micros(until)
        return [work for meeting in self.meetings(until) if meeting.start <= last for work in meeting.maintenance]


def accelerated(real: Clock, start: datetime, speed: float) -> Clock:
    """A clock that shows `start` now and from then on runs `speed` times as fast as `real`."""
    begun = real()

    def now() -> datetime:
        return start + timedelta(seconds=(real() - begun).total_seconds() * speed)

    return now
