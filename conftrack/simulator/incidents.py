"""The true incidents of a world: what really failed, from its plan, whatever any system shows or any poll sees.

These are the definitions of "Failure of an endpoint" in the design, spelled out once more in the plainest Python there
is, so that they can be held against what the product derives. Only endpoints have incidents: a person's browser is
none. What the design leaves open is read like this:

- An incident begins with the failure, not with the end of the grace: a drop when the leg ends, loss when it rises.
- Calls to a site that was dropped are part of that episode, as later calls of a chain are part of the first one's.
- Who left before the start of the meeting did not join it.
- What began in planned work and outlasts it is an incident from the end of the work on.
- Who registers again within a minute was not missing; who was in a meeting meanwhile was not either.
- The share of an outage is of the endpoints that were in the meeting when it began, or were called in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from conftrack.model import FAILED, EndClass, IncidentKind
from conftrack.simulator.plan import MINUTE, SECOND, Leg, Meeting, micros, moment
from conftrack.simulator.province import Endpoint
from conftrack.simulator.registrations import Away, served

_POOR = 500
_Span = tuple[int, int]


class TrueIncident(msgspec.Struct, frozen=True, kw_only=True):
    kind: IncidentKind
    #: Of a meeting; "" for who was not registered.
    room: str
    #: First join of the meeting; the time it should have begun, if nobody came. Without a meeting when it opened.
    meeting_start: datetime
    #: Its code; None for an outage.
    endpoint: str | None
    opened_at: datetime
    closed_at: datetime
    #: How the leg or the attempt ended that opened it.
    end_class: EndClass | None = None
    #: Of an outage: "org", "area" or "carrier" and its name.
    scope: tuple[str, str] | None = None
    #: Codes of the endpoints in an outage.
    endpoints: tuple[str, ...] = ()


def incidents(
    meetings: Sequence[Meeting], *, until: datetime, since: datetime | None, endpoints: Mapping[str, Endpoint]
) -> list[TrueIncident]:
    """All incidents of the meetings that began at or after `since` and had ended by `until`, by opening."""
    works = _works(meetings, endpoints)
    first, last = micros(since) if since else 0, micros(until)
    found = [
        incident
        for meeting in meetings
        if meeting.end <= last and meeting.start >= first
        for incident in _Happened(meeting, works, endpoints).incidents()
    ]
    return sorted(found, key=lambda incident: (incident.opened_at, incident.kind, incident.endpoint or ""))


def unregistered(
    missed: Iterable[Away], meetings: Sequence[Meeting], *, endpoints: Mapping[str, Endpoint], timezone: ZoneInfo
) -> list[TrueIncident]:
    """Those of sites that were away, while they should have been there."""
    works = _works(meetings, endpoints)
    found: list[TrueIncident] = []
    for gone in missed:
        site = endpoints[gone.endpoint]
        there = [*works.get(site.code, [])]
        for meeting in meetings:
            if meeting.end > gone.start and meeting.start < gone.end:
                there += [
                    (_joined(leg), leg.left) for leg in meeting.legs() if leg.counts and leg.endpoint == site.code
                ]
        for start, end in served(site, gone.start, gone.end, timezone):
            at = start
            for since, until in sorted([*there, (end, end)]):
                over = min(since, end)
                if over - at > MINUTE:
                    found.append(
                        TrueIncident(
                            kind="unregistered", room="", meeting_start=moment(at), endpoint=site.code,
                            opened_at=moment(at), closed_at=moment(over),
                        )
                    )  # fmt: skip
                at = max(at, until)
    return found


def _works(meetings: Iterable[Meeting], endpoints: Mapping[str, Endpoint]) -> dict[str, list[_Span]]:
    """When each endpoint was being worked at."""
    spans: dict[str, list[_Span]] = {}
    for work in (work for meeting in meetings for work in meeting.maintenance):
        for site in endpoints.values():
            if work.endpoint == site.code or work.org == site.org:
                spans.setdefault(site.code, []).append((work.start, work.end))
    return {code: sorted(of_site) for code, of_site in spans.items()}


class _Happened:
    """One meeting, looked at afterwards."""

    def __init__(self, meeting: Meeting, works: Mapping[str, list[_Span]], endpoints: Mapping[str, Endpoint]) -> None:
        self.meeting, self.works, self.endpoints = meeting, works, endpoints
        self.legs: dict[str, list[Leg]] = {}
        for leg in meeting.legs():
            if leg.endpoint is not None and leg.excluded is None and not leg.copy:
                self.legs.setdefault(leg.endpoint, []).append(leg)
        people = [leg for leg in meeting.legs() if leg.counts]
        scheduled = meeting.scheduled or (meeting.start, meeting.end)
        self.held = bool(people)
        self.start = min((_joined(leg) for leg in people), default=scheduled[0])
        self.over = max((leg.left for leg in people), default=scheduled[1])

    def incidents(self) -> list[TrueIncident]:
        found: list[TrueIncident] = []
        for code in sorted({*self.legs, *self.meeting.invited}):
            legs = sorted(self.legs.get(code, []), key=lambda leg: leg.left)
            up = sorted((leg for leg in legs if leg.joined is not None), key=_joined)
            if self.held:
                failed = [*self._dropped(code, up)]
                failed += self._connect_failed(code, legs, up, failed)
                found += [*failed, *self._flapping(code, up), *self._quality(code, up)]
            if code in self.meeting.invited and self.meeting.scheduled:
                found += self._absent(code, up, self.meeting.scheduled[0])
        return found + self._outages(found)

    def _one(
        self, kind: IncidentKind, code: str, opened: int, closed: int, end_class: EndClass | None = None
    ) -> Iterator[TrueIncident]:
        closed = min(closed, self.over)
        for start, end in self.works.get(code, []):
            if start <= opened < end:
                opened = end
        if opened < closed:
            yield TrueIncident(
                kind=kind, room=self.meeting.room, meeting_start=moment(self.start), endpoint=code,
                opened_at=moment(opened), closed_at=moment(closed), end_class=end_class,
            )  # fmt: skip

    def _dropped(self, code: str, up: list[Leg]) -> Iterator[TrueIncident]:
        for leg in up:
            grace = leg.left + 20 * SECOND
            still = any(other is not leg and _joined(other) <= grace and other.left > leg.left for other in up)
            if leg.end_class == "dropped" and grace < self.over and not still:
                yield from self._one("dropped", code, leg.left, self._next(up, leg.left), "dropped")

    def _connect_failed(
        self, code: str, legs: list[Leg], up: list[Leg], before: list[TrueIncident]
    ) -> Iterator[TrueIncident]:
        busy = [(micros(incident.opened_at), micros(incident.closed_at)) for incident in before]
        for leg in legs:
            vain = leg.joined is None and leg.direction == "out" and leg.end_class in FAILED and leg.left < self.over
            there = any(_joined(other) <= leg.left < other.left for other in up)
            if vain and not there and not any(start <= leg.left < end for start, end in busy):
                back = min(self._next(up, leg.left), self.over)
                busy.append((leg.left, back))
                yield from self._one("connect_failed", code, leg.left, back, leg.end_class)

    def _absent(self, code: str, up: list[Leg], start: int) -> Iterator[TrueIncident]:
        late = start + 5 * MINUTE
        joined = min((_joined(leg) for leg in up if leg.left > start), default=self.over)
        if joined > late:
            yield from self._one("absent", code, late, joined)

    def _flapping(self, code: str, up: list[Leg]) -> Iterator[TrueIncident]:
        again = []
        for place, leg in enumerate(up[1:], 1):
            before = max(up[:place], key=lambda other: other.left)
            if before.left <= _joined(leg) and before.end_class != "moved":
                again.append(_joined(leg))
        while len(again) >= 3:
            if again[2] - again[0] > 10 * MINUTE:
                again.pop(0)
                continue
            opened = last = again[2]
            del again[:3]
            while again and again[0] - last <= 10 * MINUTE:
                last = again.pop(0)
            yield from self._one("flapping", code, opened, last + 10 * MINUTE)

    def _quality(self, code: str, up: list[Leg]) -> Iterator[TrueIncident]:
        for leg in up:
            since, until = leg.trouble()
            if max(leg.rx_loss, leg.tx_loss) >= _POOR and until - since >= MINUTE:
                yield from self._one("quality", code, since, until if leg.left - until >= MINUTE else leg.left)

    def _next(self, up: list[Leg], at: int) -> int:
        return min((_joined(leg) for leg in up if _joined(leg) > at), default=self.over)

    # -- many at once

    def _outages(self, found: list[TrueIncident]) -> list[TrueIncident]:
        failing = [incident for incident in found if incident.kind in ("dropped", "connect_failed")]
        outages: list[TrueIncident] = []
        while True:
            best = max(self._crowds(failing), key=lambda crowd: len(crowd[1]), default=None)
            if best is None:
                return outages
            scope, crowd = best
            outages.append(
                TrueIncident(
                    kind="outage", room=self.meeting.room, meeting_start=moment(self.start), endpoint=None,
                    opened_at=min(i.opened_at for i in crowd), closed_at=max(i.closed_at for i in crowd), scope=scope,
                    endpoints=tuple(sorted({i.endpoint for i in crowd if i.endpoint})),
                )
            )  # fmt: skip
            failing = [incident for incident in failing if incident not in crowd]

    def _crowds(self, failing: list[TrueIncident]) -> Iterator[tuple[tuple[str, str], list[TrueIncident]]]:
        """Every set of failures within a minute that is an outage, units before areas before carriers."""
        for name in ("org", "area", "carrier"):
            of_scope: dict[str, list[TrueIncident]] = {}
            for incident in failing:
                if incident.endpoint:
                    of_scope.setdefault(getattr(self.endpoints[incident.endpoint], name), []).append(incident)
            for scope, together in sorted(of_scope.items()):
                together.sort(key=lambda incident: incident.opened_at)
                for first in together:
                    opened = micros(first.opened_at)
                    crowd = [i for i in together if 0 <= micros(i.opened_at) - opened <= MINUTE]
                    sites = {i.endpoint for i in crowd}
                    if len(sites) >= 5 and 2 * len(sites) >= len(sites | self._there(name, scope, opened)):
                        yield (name, scope), crowd

    def _there(self, name: str, scope: str, at: int) -> set[str | None]:
        return {
            code
            for code, legs in self.legs.items()
            if getattr(self.endpoints[code], name) == scope and any(leg.placed <= at <= leg.left for leg in legs)
        }


def _joined(leg: Leg) -> int:
    if leg.joined is None:
        raise ValueError("this leg never connected")
    return leg.joined
