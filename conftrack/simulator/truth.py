"""The true figures of a world, counted from its plan and never from what the vendor's face shows.

`count` is of a whole system, over all its months; `of_month` is of a month and of any part of the province.

These are the definitions of "What counts" in the design, spelled out once more in the plainest Python there is, so
that they can be held against what the product computes in SQL.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from conftrack.model import FAILED
from conftrack.simulator.incidents import TrueIncident
from conftrack.simulator.plan import MINUTE, SECOND, Heads, Leg, Meeting, micros, moment

_PROVENANCE = ("reported", "people_count", "imported")
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
    meetings: Iterable[Meeting], *, until: datetime, since: datetime | None = None, timezone: ZoneInfo, inventory: bool
) -> Truth:
    """The figures of every meeting that had ended, with all of its legs, by `until`.

    With `since`, only of those that started at or after it. With an `inventory` two aliases of one endpoint are one
    endpoint; without it an endpoint is the alias it showed.
    """
    last = micros(until)
    first = micros(since) if since else None
    months: defaultdict[date, _Tally] = defaultdict(lambda: _Tally(timezone, inventory=inventory))
    total = _Tally(timezone, inventory=inventory)
    for meeting in meetings:
        if meeting.end > last:
            continue
        people = _people(meeting)
        failed = [leg for leg in meeting.legs() if _failed(leg)]
        begin = _begin(meeting, people)
        if first is not None:
            if not people:
                failed = [leg for leg in failed if leg.left >= first]
            elif begin < first:
                continue
        if people or failed:
            for tally in (months[_day(begin, timezone).replace(day=1)], total):
                tally.take(meeting, people, failed)
    return Truth(
        months={month: _plain(tally.figures()) for month, tally in sorted(months.items())},
        total=_plain(total.figures()),
    )


def _plain(figures: MonthFigures) -> Figures:
    return Figures(**{name: getattr(figures, name) for name in Figures.__struct_fields__})


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
    month = _Tally(timezone, part)
    for meeting in meetings:
        people = _people(meeting)
        if since <= _day(_begin(meeting, people), timezone) < until:
            month.take(meeting, people, [leg for leg in meeting.legs() if _failed(leg)])
    for one in incidents:
        if since <= one.meeting_start.astimezone(timezone).date() < until:
            month.take_incident(one)
    return month.figures()


class _Tally:
    """What adds up to the figures of a part of the province."""

    def __init__(self, timezone: ZoneInfo, part: Part = lambda code, day: True, *, inventory: bool = True) -> None:
        self._timezone = timezone
        self._part = part
        self._inventory = inventory
        self._counts: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._called: Counter[str] = Counter()
        self._hours: Counter[tuple[int, int]] = Counter()
        self._provenance: Counter[str] = Counter()
        self._endpoints: set[str] = set()
        self._intervals: list[tuple[int, int]] = []

    def take(self, meeting: Meeting, people: list[Leg], failed: list[Leg]) -> None:
        """A meeting; without people it is none, but what failed in it did."""
        day = _day(_begin(meeting, people), self._timezone)
        self._counts["failed"] += sum(self._part(leg.endpoint, day) for leg in failed)
        if people:
            self._take_people(meeting, people, day)
        elif meeting.scheduled and (self._part(None, day) or any(self._part(code, day) for code in meeting.invited)):
            self._counts["not_held"] += 1

    def _take_people(self, meeting: Meeting, people: list[Leg], day: date) -> None:
        begin, over = _begin(meeting, people), max(leg.left for leg in people)
        codes = {leg.identity: leg.endpoint for leg in people if leg.endpoint is not None and self._inventory}
        legs: defaultdict[str, list[Leg]] = defaultdict(list)
        for leg in people:
            legs[codes.get(leg.identity, leg.identity)].append(leg)
        heads = _heads(meeting.heads, codes)
        host = min(legs, key=lambda one: (-heads.get(one, (1, ""))[0], legs[one][0].endpoint is None, one))
        least = min(_BRIDGED, (over - begin) / 10)
        here = {one: of_one for one, of_one in legs.items() if self._part(of_one[0].endpoint, day)}
        if here:
            self._sizes[str(max(size for size in _SIZES if size <= len(legs)))] += 1
            self._called["planned" if meeting.scheduled else "unplanned"] += 1
            local = moment(begin).astimezone(self._timezone)
            self._hours[local.weekday(), local.hour] += 1
            self._counts["meetings"] += 1
            self._counts["meeting"] += over - begin
        for one, of_one in here.items():
            number, provenance = heads.get(one, (1, "connections"))
            there = _presence(of_one)
            self._endpoints.add(one)
            self._provenance[provenance] += number
            self._intervals += [(_joined(leg), leg.left) for leg in of_one]
            self._counts["connections"] += 1
            self._counts["spared"] += number if one != host else 0
            self._counts["presence"] += there
            self._counts["person"] += there * number
        if meeting.scheduled:
            for code in meeting.invited:
                if self._part(code, day):
                    self._take_guest(legs.get(code, []), meeting.scheduled[0], least)

    def _take_guest(self, legs: list[Leg], start: int, least: float) -> None:
        """Who left before the start came to the test of the lines, and not to the meeting."""
        stayed = [leg for leg in legs if leg.left > start]
        self._counts["expected"] += 1
        if not stayed:
            self._counts["absent"] += 1
            return
        self._counts["attended" if _presence(legs) >= least else "brief"] += 1
        self._counts["on_time" if min(map(_joined, stayed)) <= start else "late"] += 1

    def take_incident(self, one: TrueIncident) -> None:
        if one.kind != "outage" and self._part(one.endpoint, one.meeting_start.astimezone(self._timezone).date()):
            self._kinds[one.kind] += 1
            self._causes[one.end_class or one.kind] += 1
            self._counts["incident"] += micros(one.closed_at) - micros(one.opened_at)

    def figures(self) -> MonthFigures:
        counts = self._counts
        return MonthFigures(
            meetings=counts["meetings"], endpoints=len(self._endpoints), endpoint_connections=counts["connections"],
            legs=len(self._intervals), attendees=self._provenance.total(), meeting_seconds=counts["meeting"] / SECOND,
            leg_seconds=sum(left - joined for joined, left in self._intervals) / SECOND,
            peak_legs=_peak(self._intervals), failed_connections=counts["failed"],
            meetings_by_size=dict(self._sizes), meetings_by_kind=dict(self._called), meetings_by_hour=dict(self._hours),
            not_held=counts["not_held"], attendees_by_provenance={n: c for n, c in self._provenance.items() if c},
            person_seconds=counts["person"] / SECOND, presence_seconds=counts["presence"] / SECOND,
            people_spared=counts["spared"], expected=counts["expected"], attended=counts["attended"],
            brief=counts["brief"], absent=counts["absent"], on_time=counts["on_time"], late=counts["late"],
            incidents=self._kinds.total(), incidents_by_kind=dict(self._kinds), incidents_by_cause=dict(self._causes),
            incident_seconds=counts["incident"] / SECOND,
        )  # fmt: skip


def _people(meeting: Meeting) -> list[Leg]:
    return [leg for leg in meeting.legs() if leg.counts]


def _begin(meeting: Meeting, people: list[Leg]) -> int:
    """The first join; where nobody came, when its records begin."""
    return min(map(_joined, people), default=meeting.start)


def _day(at: int, timezone: ZoneInfo) -> date:
    return moment(at).astimezone(timezone).date()


def _heads(heads: list[Heads], codes: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """The number of people that stands for each endpoint, and where it comes from: the site's own report before the
    camera's peak before what was imported."""
    best: dict[str, tuple[int, int]] = {}
    for head in heads:
        endpoint = codes.get(head.identity, head.identity)
        offered = (_PROVENANCE.index(head.provenance), -head.people)
        best[endpoint] = min(best.get(endpoint, offered), offered)
    return {endpoint: (-less, _PROVENANCE[rank]) for endpoint, (rank, less) in best.items()}


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
