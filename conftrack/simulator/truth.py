"""The true figures of a world, counted from its plan and never from what the vendor's face shows.

`count` is of a whole system, over all its months; `of_month` is of a month and of any part of the province.

These are the definitions of "What counts" in the design, spelled out once more in the plainest Python there is, so
that they can be held against what the product computes in SQL.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from conftrack.model import FAILED
from conftrack.simulator.incidents import TrueIncident
from conftrack.simulator.plan import MINUTE, SECOND, Heads, Leg, Meeting, micros, moment

_RANK = {"reported": 0, "people_count": 1, "imported": 2}
_PROVENANCE = tuple(_RANK)
_SIZES = (1, 2, 10, 50, 100)
_BRIDGED = 5 * MINUTE

Part: TypeAlias = Callable[[str | None, date], bool]
"""What of the province is counted: whether an endpoint, by its code (None: a person, a stranger), is, on a day."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one month, or of all."""

    meetings: int = 0
    #: Distinct over the whole period.
    endpoints: int = 0
    endpoint_connections: int = 0
    legs: int = 0
    attendees: int = 0
    meeting_seconds: float = 0.0
    leg_seconds: float = 0.0
    peak_legs: int = 0
    failed_connections: int = 0


class MonthFigures(Figures, frozen=True, kw_only=True):
    """The figures of one month and of a part of the province. Counts by name have those that there are any of."""

    #: By the least number of endpoints in the meeting, of whatever part.
    meetings_by_size: dict[str, int] = {}
    meetings_by_kind: dict[str, int] = {}
    #: By weekday (0 is Monday) and hour.
    meetings_by_hour: dict[tuple[int, int], int] = {}
    not_held: int = 0
    attendees_by_provenance: dict[str, int] = {}
    person_seconds: float = 0.0
    presence_seconds: float = 0.0
    #: People who are not at the largest endpoint of their meeting.
    people_spared: int = 0
    expected: int = 0
    attended: int = 0
    brief: int = 0
    absent: int = 0
    on_time: int = 0
    late: int = 0
    incidents: int = 0
    incidents_by_kind: dict[str, int] = {}
    incidents_by_cause: dict[str, int] = {}
    incident_seconds: float = 0.0


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    #: By first day of the local month.
    months: dict[date, Figures]
    total: Figures


def count(
    meetings: Iterable[Meeting],
    *,
    until: datetime,
    since: datetime | None = None,
    timezone: ZoneInfo,
    owners: Mapping[str, str] | None = None,
) -> Truth:
    """The figures of every meeting that had ended, with all of its legs, by `until`.

    With `since`, only of those that started at or after it. `owners` is the inventory, alias to endpoint code:
    with it two aliases of one endpoint are one endpoint; without it an endpoint is the alias it showed.
    """
    last = micros(until)
    first = micros(since) if since else None
    months: defaultdict[date, _Tally] = defaultdict(_Tally)
    total = _Tally()
    for meeting in meetings:
        if meeting.end > last:
            continue
        people = [leg for leg in meeting.legs() if leg.counts]
        failed = [leg for leg in meeting.legs() if _failed(leg)]
        if people:
            start = min(_joined(leg) for leg in people)
            if first is None or start >= first:
                for tally in (months[_month(start, timezone)], total):
                    tally.add(meeting, people, owners or {})
                    tally.failed += len(failed)
        else:
            for leg in failed:
                if first is None or leg.left >= first:
                    months[_month(meeting.start, timezone)].failed += 1
                    total.failed += 1
    return Truth(months={month: tally.figures() for month, tally in sorted(months.items())}, total=total.figures())


class _Tally:
    def __init__(self) -> None:
        self.meetings = self.connections = self.attendees = self.failed = 0
        self.meeting_micros = 0
        self.endpoints: set[str] = set()
        self.intervals: list[tuple[int, int]] = []

    def add(self, meeting: Meeting, people: list[Leg], owners: Mapping[str, str]) -> None:
        here = {owners.get(leg.identity, leg.identity) for leg in people}
        heads = _best(meeting.heads, owners)
        self.meetings += 1
        self.meeting_micros += max(leg.left for leg in people) - min(_joined(leg) for leg in people)
        self.endpoints |= here
        self.connections += len(here)
        self.attendees += sum(heads.get(endpoint, 1) for endpoint in here)
        self.intervals.extend((_joined(leg), leg.left) for leg in people)

    def figures(self) -> Figures:
        return Figures(
            meetings=self.meetings,
            endpoints=len(self.endpoints),
            endpoint_connections=self.connections,
            legs=len(self.intervals),
            attendees=self.attendees,
            meeting_seconds=self.meeting_micros / SECOND,
            leg_seconds=sum(left - joined for joined, left in self.intervals) / SECOND,
            peak_legs=_peak(self.intervals),
            failed_connections=self.failed,
        )


def of_month(
    meetings: Iterable[Meeting],
    incidents: Iterable[TrueIncident],
    *,
    since: date,
    until: date,
    timezone: ZoneInfo,
    part: Part,
) -> MonthFigures:
    """The figures of the local days [since, until), by a reader who knows the inventory. The meetings are over, and the
    incidents are theirs."""
    month = _Month(part)
    for meeting in meetings:
        people = [leg for leg in meeting.legs() if leg.counts]
        day = moment(min(map(_joined, people), default=meeting.start)).astimezone(timezone).date()
        if since <= day < until:
            month.failed += sum(_failed(leg) and part(leg.endpoint, day) for leg in meeting.legs())
            if people:
                month.take(meeting, people, day, timezone)
            elif meeting.scheduled and (part(None, day) or any(part(code, day) for code in meeting.invited)):
                month.not_held += 1
    for one in incidents:
        day = one.meeting_start.astimezone(timezone).date()
        if since <= day < until and one.kind != "outage" and part(one.endpoint, day):
            month.kinds[one.kind] += 1
            month.causes[one.end_class or one.kind] += 1
            month.incident_micros += micros(one.closed_at) - micros(one.opened_at)
    return month.figures()


class _Month:
    """What adds up to the figures of a month."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self.counts: Counter[str] = Counter()
        self.failed = self.not_held = self.incident_micros = 0
        self.kinds: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._called: Counter[str] = Counter()
        self._hours: Counter[tuple[int, int]] = Counter()
        self._provenance: Counter[str] = Counter()
        self._endpoints: set[str] = set()
        self._intervals: list[tuple[int, int]] = []

    def take(self, meeting: Meeting, people: list[Leg], day: date, timezone: ZoneInfo) -> None:
        """A meeting that people came to."""
        begin, over = min(map(_joined, people)), max(leg.left for leg in people)
        legs: defaultdict[str, list[Leg]] = defaultdict(list)
        for leg in people:
            legs[leg.endpoint or leg.identity].append(leg)
        known = {leg.identity: leg.endpoint for leg in people if leg.endpoint is not None}
        heads = _standing(meeting.heads, known)
        host = min(legs, key=lambda one: (-heads.get(one, (1, ""))[0], legs[one][0].endpoint is None, one))
        least = min(_BRIDGED, (over - begin) / 10)
        here = {one: of_one for one, of_one in legs.items() if self._part(of_one[0].endpoint, day)}
        if here:
            self._sizes[str(max(size for size in _SIZES if size <= len(legs)))] += 1
            self._called["planned" if meeting.scheduled else "unplanned"] += 1
            local = moment(begin).astimezone(timezone)
            self._hours[local.weekday(), local.hour] += 1
            self.counts["meetings"] += 1
            self.counts["meeting"] += over - begin
        for one, of_one in here.items():
            number, provenance = heads.get(one, (1, "connections"))
            there = _presence(of_one)
            self._endpoints.add(one)
            self._provenance[provenance] += number
            self._intervals += [(_joined(leg), leg.left) for leg in of_one]
            self.counts["connections"] += 1
            self.counts["spared"] += number if one != host else 0
            self.counts["presence"] += there
            self.counts["person"] += there * number
        for code in meeting.invited if meeting.scheduled else ():
            if self._part(code, day):
                self._take_guest(legs.get(code, []), meeting.scheduled[0] if meeting.scheduled else 0, least)

    def _take_guest(self, legs: list[Leg], start: int, least: float) -> None:
        """Who left before the start came to the test of the lines, and not to the meeting."""
        stayed = [leg for leg in legs if leg.left > start]
        self.counts["expected"] += 1
        if not stayed:
            self.counts["absent"] += 1
            return
        self.counts["attended" if _presence(legs) >= least else "brief"] += 1
        self.counts["on_time" if min(map(_joined, stayed)) <= start else "late"] += 1

    def figures(self) -> MonthFigures:
        counts = self.counts
        return MonthFigures(
            meetings=counts["meetings"], endpoints=len(self._endpoints), endpoint_connections=counts["connections"],
            legs=len(self._intervals), attendees=self._provenance.total(), meeting_seconds=counts["meeting"] / SECOND,
            leg_seconds=sum(left - joined for joined, left in self._intervals) / SECOND,
            peak_legs=_peak(self._intervals), failed_connections=self.failed,
            meetings_by_size=dict(self._sizes), meetings_by_kind=dict(self._called), meetings_by_hour=dict(self._hours),
            not_held=self.not_held, attendees_by_provenance={n: c for n, c in self._provenance.items() if c},
            person_seconds=counts["person"] / SECOND, presence_seconds=counts["presence"] / SECOND,
            people_spared=counts["spared"], expected=counts["expected"], attended=counts["attended"],
            brief=counts["brief"], absent=counts["absent"], on_time=counts["on_time"], late=counts["late"],
            incidents=self.kinds.total(), incidents_by_kind=dict(self.kinds), incidents_by_cause=dict(self.causes),
            incident_seconds=self.incident_micros / SECOND,
        )  # fmt: skip


def _standing(heads: list[Heads], owners: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """The number of people that stands for each endpoint, and where it comes from."""
    return {
        endpoint: (-people, _PROVENANCE[rank])
        for endpoint, (rank, people) in _offered(heads, owners).items()
    }  # fmt: skip


def _presence(legs: list[Leg]) -> int:
    """How long an endpoint was in a meeting: gaps up to five minutes are no absence."""
    total = reached = 0
    for joined, left in sorted((_joined(leg), leg.left) for leg in legs):
        if joined - reached > _BRIDGED:
            reached = joined
        total += max(0, left - reached)
        reached = max(reached, left)
    return total


def _failed(leg: Leg) -> bool:
    return leg.joined is None and leg.excluded is None and not leg.copy and leg.end_class in FAILED


def _best(heads: list[Heads], owners: Mapping[str, str]) -> dict[str, int]:
    return {endpoint: -people for endpoint, (_, people) in _offered(heads, owners).items()}


def _offered(heads: list[Heads], owners: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The site's own report before the camera's peak before what was imported: its rank, and less than no people."""
    best: dict[str, tuple[int, int]] = {}
    for head in heads:
        endpoint = owners.get(head.identity, head.identity)
        offered = (_RANK[head.provenance], -head.people)
        best[endpoint] = min(best.get(endpoint, offered), offered)
    return best


def _peak(intervals: list[tuple[int, int]]) -> int:
    # (t, -1) sorts before (t, +1): a leg that ends when another starts does not overlap it.
    steps = sorted(step for joined, left in intervals for step in ((joined, 1), (left, -1)))
    up = peak = 0
    for _, step in steps:
        up += step
        peak = max(peak, up)
    return peak


def _joined(leg: Leg) -> int:
    if leg.joined is None:
        raise ValueError("this leg never connected")
    return leg.joined


def _month(at: int, timezone: ZoneInfo) -> date:
    return moment(at).astimezone(timezone).date().replace(day=1)


def running(meetings: Iterable[Meeting], at: datetime) -> Iterator[Meeting]:
    """The meetings that have somebody or something in them at one moment."""
    now = micros(at)
    return (meeting for meeting in meetings if meeting.start <= now < meeting.end)
