"""From the facts of a month to its figures. Pure: no clock, no I/O; the same facts in any order give the same report.

An endpoint's part in a meeting counts for the units above it on the day of that meeting; its availability, for those
above it at the end of the month.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from conftrack.incidents.availability import Availability, availability
from conftrack.incidents.causes import explain
from conftrack.incidents.engine import Span
from conftrack.maintenance import windows
from conftrack.model import Record
from conftrack.report.certificates import certificates
from conftrack.report.model import (
    PROVENANCES,
    SIZES,
    Absence,
    Assumptions,
    Beginnings,
    Earlier,
    EndpointFigures,
    Figures,
    Held,
    MeetingKind,
    Part,
    Presence,
    Report,
    Scope,
    Scoped,
    Tree,
    Unit,
)
from conftrack.storage.reports import (
    Facts,
    IncidentFact,
    InvitationFact,
    LegFact,
    MeetingFact,
    PresenceFact,
)

LEAST = timedelta(minutes=5)
"""Who is in a meeting so long, or a tenth of it, attended."""

_COUNTED = (
    "legs", "endpoint_connections", "expected", "attended", "brief", "absent", "excused", "unknown", "on_time", "late",
    "failed_connections", "incidents", "incidents_closed",
)  # fmt: skip

Path = Callable[[str, date], tuple[str, ...]]
"""The units above an endpoint on a day, its own first."""


class Frame(Record, frozen=True, gc=True):
    """What a report is made for, besides its facts."""

    month: date
    tree: Tree
    timezone: ZoneInfo
    made_at: datetime
    units: tuple[Unit, ...]
    path: Path
    #: Sources that are configured; one that was never read is in no fact.
    sources: Collection[str]
    assumptions: Assumptions


def summarise(facts: Facts, frame: Frame, month_before: Earlier, year_before: Earlier) -> Report:
    """The report of a month."""
    month = _Month(facts, frame)
    return Report(
        month=frame.month, since=facts.since, until=facts.until, timezone=frame.timezone.key, tree=frame.tree,
        made_at=frame.made_at, is_open=frame.made_at < facts.ends_at, units=frame.units,
        figures=month.figures(), endpoints=month.endpoints(), absences=month.absences(), meetings=month.held(),
        certificates=tuple(certificates(facts, frame.sources, frame.made_at)),
        month_before=month_before, year_before=year_before, assumptions=frame.assumptions,
    )  # fmt: skip


def compare(facts: Facts, frame: Frame) -> Earlier:
    """The figures of a month that another is compared with; none if it is not known whole."""
    first = facts.first_meeting
    if first is None or first.astimezone(frame.timezone).date() > facts.since or frame.made_at < facts.ends_at:
        return Earlier(month=frame.month, figures=None)
    return earlier(frame.month, _Month(facts, frame).figures())


def earlier(month: date, figures: Iterable[Scoped]) -> Earlier:
    scoped = tuple(one for one in figures if one.scope.source is None and not one.scope.alone)
    whole = next((one.figures for one in scoped if one.scope.unit is None), Figures())
    return Earlier(month=month, figures=whole, units=tuple(one for one in scoped if one.scope.unit is not None))


class _Tally(msgspec.Struct):
    """What adds up to the figures of one scope."""

    meetings: set[int] = msgspec.field(default_factory=set)
    endpoints: set[int] = msgspec.field(default_factory=set)
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    people: Counter[str] = msgspec.field(default_factory=Counter)
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    causes: Counter[str] = msgspec.field(default_factory=Counter)
    owners: Counter[str] = msgspec.field(default_factory=Counter)
    #: Durations as whole microseconds, so that no order of adding matters.
    times: Counter[str] = msgspec.field(default_factory=Counter)
    up: list[tuple[datetime, datetime | None]] = msgspec.field(default_factory=list)


class _Month:
    def __init__(self, facts: Facts, frame: Frame) -> None:
        self._facts = facts
        self._frame = frame
        self._meetings = {meeting.meeting_id: meeting for meeting in facts.meetings}
        self._tallies: defaultdict[Scope, _Tally] = defaultdict(_Tally)
        self._sites: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._parents = {unit.parent for unit in frame.units}
        self._present: defaultdict[tuple[int, str], list[PresenceFact]] = defaultdict(list)
        self._legs: defaultdict[tuple[int, str], list[LegFact]] = defaultdict(list)
        self._sizes: Counter[int] = Counter()
        self._people: Counter[int] = Counter()
        self._absences: list[Absence] = []
        self._judged: defaultdict[str, list[tuple[datetime, Presence]]] = defaultdict(list)
        self._expected: Counter[int] = Counter()
        self._attended: Counter[int] = Counter()
        self._take_presences()
        self._take_legs()
        self._take_invitations()
        self._take_failures()
        self._take_incidents()
        self._available = self._take_availability()

    # -- taking facts in

    def _tallied(self, source: str | None, endpoint: str | None, day: date) -> Iterator[_Tally]:
        """The tallies that something of an endpoint (None: outside the inventory) on a source counts in."""
        for scope in self._scopes(source, endpoint, day):
            yield self._tallies[scope]
        if endpoint is not None:
            yield self._sites[endpoint]

    def _scopes(self, source: str | None, endpoint: str | None, day: date) -> Iterator[Scope]:
        path = self._frame.path(endpoint, day) if endpoint is not None else ()
        for of in (None,) if source is None else (None, source):
            yield Scope(source=of)
            for unit in path:
                yield Scope(source=of, unit=unit)
            if path and path[0] in self._parents:
                yield Scope(source=of, unit=path[0], alone=True)

    def _take_presences(self) -> None:
        largest: dict[int, PresenceFact] = {}
        for one in self._facts.presences:
            self._sizes[one.meeting_id] += 1
            self._people[one.meeting_id] += one.attendees
            largest[one.meeting_id] = min(largest.get(one.meeting_id, one), one, key=_rank)
            if one.endpoint is not None:
                self._present[one.meeting_id, one.endpoint].append(one)
        for one in self._facts.presences:
            meeting = self._meetings[one.meeting_id]
            spared = 0 if largest[one.meeting_id] is one else one.attendees
            present = _micros(one.presence_seconds or 0)
            for tally in self._tallied(meeting.source, one.endpoint, meeting.day):
                tally.meetings.add(one.meeting_id)
                tally.endpoints.add(one.endpoint_key)
                tally.counts["endpoint_connections"] += 1
                tally.counts["legs"] += one.legs
                tally.counts["people_spared"] += spared
                tally.people[one.provenance] += one.attendees
                tally.times["leg"] += _micros(one.leg_seconds)
                tally.times["presence"] += present
                tally.times["person"] += present * one.attendees

    def _take_legs(self) -> None:
        for leg in self._facts.legs:
            meeting = self._meetings[leg.meeting_id]
            if leg.endpoint is not None:
                self._legs[leg.meeting_id, leg.endpoint].append(leg)
            for tally in self._tallied(meeting.source, leg.endpoint, meeting.day):
                tally.up.append((leg.joined_at, leg.left_at))

    def _take_invitations(self) -> None:
        for invitation in self._facts.invitations:
            held = [self._meetings[number] for number in invitation.meeting_ids if number in self._meetings]
            if not held:
                self._take_not_held(invitation)
                continue
            first = held[0]
            for endpoint, reason in invitation.expected:
                presence = self._presence(endpoint, reason, invitation, held)
                on_time = self._on_time(endpoint, invitation, held) if presence in ("attended", "brief") else None
                self._expected[first.meeting_id] += 1
                self._attended[first.meeting_id] += presence == "attended"
                starts_at = invitation.starts_at or first.started_at
                self._judged[endpoint].append((starts_at, presence))
                for tally in self._tallied(first.source, endpoint, first.day):
                    tally.counts["expected"] += 1
                    tally.counts[presence] += 1
                    if on_time is not None:
                        tally.counts["on_time" if on_time else "late"] += 1
                if presence != "attended":
                    self._absences.append(
                        Absence(
                            endpoint=endpoint, source=first.source, room=first.room, title=first.title,
                            starts_at=starts_at, presence=presence, reason=reason,
                            unit=next(iter(self._frame.path(endpoint, first.day)), None),
                        )
                    )  # fmt: skip

    def _take_not_held(self, invitation: InvitationFact) -> None:
        """A planned meeting that nobody has come to, if it is over and somebody could have been seen."""
        starts_at, ends_at, source = invitation.starts_at, invitation.ends_at, invitation.source
        if starts_at is None or ends_at is None or ends_at > self._frame.made_at:
            return
        if self._facts.first_meeting is None or starts_at < self._facts.first_meeting:  # nobody looked before
            return
        unseen = (gap for gap in self._facts.unseen if source in (None, gap.source))
        if any(gap.since < ends_at and (gap.until is None or gap.until > starts_at) for gap in unseen):
            return
        scopes = set(self._scopes(source, None, invitation.day))
        for endpoint, _ in invitation.expected:
            scopes.update(self._scopes(source, endpoint, invitation.day))
        for scope in scopes:
            self._tallies[scope].counts["not_held"] += 1

    def _presence(
        self, endpoint: str, reason: str | None, invitation: InvitationFact, held: Sequence[MeetingFact]
    ) -> Presence:
        came = [one for meeting in held for one in self._present.get((meeting.meeting_id, endpoint), ())]
        if came and self._on_time(endpoint, invitation, held) is None and invitation.starts_at is not None:
            came = []  # to the test before the start, and no longer
        if any(one.attended for one in came):
            return "attended"
        if came:
            return "unknown" if any(one.attended is None for one in came) else "brief"
        if reason is not None:
            return "excused"
        return "unknown" if any(self._might_have_come(meeting) for meeting in held) else "absent"

    def _might_have_come(self, meeting: MeetingFact) -> bool:
        """Nobody could see for so long that somebody could have attended in that time. What was there at the last look
        before may have gone on."""
        ended_at = meeting.ended_at or self._frame.made_at
        least = min(LEAST, (ended_at - meeting.started_at) / 10)
        for gap in self._facts.unseen:
            if gap.source == meeting.source:
                unseen = min(gap.until or ended_at, ended_at) - max(gap.since, meeting.started_at)
                if (unseen >= least and unseen > timedelta()) or meeting.ended_at == gap.last_seen:
                    return True
        return False

    def _on_time(self, endpoint: str, invitation: InvitationFact, held: Sequence[MeetingFact]) -> bool | None:
        """Whether it was there at the start; None: the meeting has none, or it was only there before."""
        start = invitation.starts_at
        if start is None:
            return None
        legs = [leg for meeting in held for leg in self._legs.get((meeting.meeting_id, endpoint), ())]
        joined = [leg.joined_at for leg in legs if leg.left_at is None or leg.left_at > start]
        return min(joined) <= start if joined else None

    def _take_failures(self) -> None:
        for failure in self._facts.failures:
            for tally in self._tallied(failure.source, failure.endpoint, failure.day):
                tally.counts["failed_connections"] += failure.attempts

    def _take_incidents(self) -> None:
        for incident in self._facts.incidents:
            if not self._facts.since <= incident.day < self._facts.until:
                continue
            means = explain(incident.kind, incident.end_class)
            ended = incident.end_class if incident.kind in ("connect_failed", "dropped") else None
            for tally in self._tallied(incident.source, incident.endpoint, incident.day):
                tally.counts["incidents"] += 1
                tally.kinds[incident.kind] += 1
                tally.causes[ended or incident.kind] += 1
                tally.owners[incident.owner or means.owner] += 1
                if incident.closed_at is not None:
                    tally.counts["incidents_closed"] += 1
                    tally.times["incident"] += round((incident.closed_at - incident.opened_at) / _MICROSECOND)

    def _take_availability(self) -> dict[str, Availability]:
        facts, zone = self._facts, self._frame.timezone
        now = min(facts.ends_at, self._frame.made_at)
        failing: defaultdict[str, list[IncidentFact]] = defaultdict(list)
        for incident in facts.incidents:
            if incident.endpoint is not None:
                failing[incident.endpoint].append(incident)
        unknown: list[Span] = [(gap.since, gap.until or now) for gap in facts.unseen]
        unknown.append((facts.begins_at, facts.first_meeting or now))  # nobody looked before
        planned: defaultdict[str, list[Span]] = defaultdict(list)
        for window in windows(facts.maintenance, facts.begins_at, now, zone):
            for code in window.of.endpoints.values():
                planned[code].append((window.since, window.until))
        found: dict[str, Availability] = {}
        alike: dict[tuple[str | None, datetime, tuple[Span, ...]], Availability] = {}
        for site in facts.endpoints:
            last = now
            if site.retired_on is not None:
                last = min(now, datetime.combine(site.retired_on, datetime.min.time(), zone))
            kind = site.service_hours, last, tuple(planned[site.code])
            spans: list[Span] = [(one.opened_at, one.closed_at or now) for one in failing[site.code]]
            if spans or kind not in alike:
                judged = availability(
                    (facts.begins_at, last), site.service_hours, zone, maintenance=planned[site.code],
                    unknown=unknown, incidents=spans,
                )  # fmt: skip
                if not spans:
                    alike[kind] = judged
            else:
                judged = alike[kind]
            found[site.code] = judged
            for tally in self._tallied(None, site.code, self._last_day):
                tally.times["good"] += _micros(judged.good)
                tally.times["bad"] += _micros(judged.in_incident)
        return found

    @property
    def _last_day(self) -> date:
        return self._facts.until - timedelta(days=1)

    # -- what it came to

    def figures(self) -> tuple[Scoped, ...]:
        known = {unit.code: place for place, unit in enumerate(self._frame.units)}
        scopes = sorted(
            self._tallies,
            key=lambda s: (
                s.source or "",
                -1 if s.unit is None else known.get(s.unit, len(known)),
                s.unit or "",
                s.alone,
            ),
        )
        found = (Scoped(scope=scope, figures=self._figures(scope, self._tallies[scope])) for scope in scopes)
        return tuple(one for one in found if one.figures != Figures())

    def _figures(self, scope: Scope, tally: _Tally) -> Figures:
        meetings = [self._meetings[number] for number in tally.meetings]
        return Figures(
            **_sums(tally),
            meetings=len(meetings),
            meetings_by_size=_parts(Counter(_size(self._sizes[meeting.meeting_id]) for meeting in meetings)),
            meetings_by_kind=_parts(Counter(_kind(meeting) for meeting in meetings)),
            not_held=tally.counts["not_held"],
            endpoints=len(tally.endpoints),
            attendees_by_provenance=_parts(tally.people, PROVENANCES),
            meeting_seconds=sum(
                (one.ended_at - one.started_at for one in meetings if one.ended_at is not None), timedelta()
            ).total_seconds(),
            leg_seconds=_seconds(tally.times["leg"]),
            incidents_by_kind=_parts(tally.kinds),
            incidents_by_cause=_parts(tally.causes),
            incidents_by_owner=_parts(tally.owners),
            peak_legs=_peak(tally.up),
            heat=_heat(meetings, self._frame.timezone) if scope.unit is None else (),
            people_spared=tally.counts["people_spared"],
        )

    def endpoints(self) -> tuple[EndpointFigures, ...]:
        return tuple(
            self._site(site.code, site.name, site.seats)
            for site in self._facts.endpoints
            if site.retired_on is None or site.retired_on > self._facts.since or self._sites[site.code].counts.total()
        )

    def _site(self, code: str, name: str, seats: int | None) -> EndpointFigures:
        tally, judged = self._sites[code], self._available[code]
        return EndpointFigures(
            **_sums(tally),
            code=code,
            name=name,
            unit=next(iter(self._frame.path(code, self._last_day)), None),
            seats=seats,
            presence_seconds=_seconds(tally.times["presence"]),
            absence_streak=_streak(self._judged.get(code, ())),
            maintenance_seconds=judged.maintenance,
            unseen_seconds=judged.unknown,
        )

    def absences(self) -> tuple[Absence, ...]:
        return tuple(sorted(self._absences, key=lambda one: (one.starts_at, one.endpoint, one.source or "", one.room)))

    def held(self) -> tuple[Held, ...]:
        return tuple(
            Held(
                source=one.source, room=one.room, title=one.title, started_at=one.started_at, ended_at=one.ended_at,
                kind=_kind(one), endpoints=self._sizes[one.meeting_id], attendees=self._people[one.meeting_id],
                expected=self._expected[one.meeting_id], attended=self._attended[one.meeting_id],
            )
            for one in sorted(self._facts.meetings, key=attrgetter("started_at", "source", "room"))
        )  # fmt: skip


def _sums(tally: _Tally) -> dict[str, Any]:
    """The figures that a scope and an endpoint have both, by name."""
    times = tally.times
    return {name: tally.counts[name] for name in _COUNTED} | {
        "attendees": tally.people.total(),
        "person_seconds": _seconds(times["person"]),
        "incident_seconds": _seconds(times["incident"]),
        "good_seconds": _seconds(times["good"]),
        "bad_seconds": _seconds(times["bad"]),
    }


_MICROSECOND = timedelta(microseconds=1)


def _rank(one: PresenceFact) -> tuple[object, ...]:
    """The one with the most people first: where the others would have gone. Of equals one of the inventory, by code."""
    return -one.attendees, one.endpoint is None, one.endpoint or "", one.endpoint_key


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _seconds(micros: int) -> float:
    return micros / 1_000_000


def _size(endpoints: int) -> str:
    return str(max((least for least in SIZES if least <= endpoints), default=1))


def _kind(meeting: MeetingFact) -> MeetingKind:
    if meeting.invitation_id is None:
        return "unplanned"
    return "standing" if meeting.scheduled_start is None else "planned"


def _parts(counts: Mapping[str, int], order: Sequence[str] | None = None) -> tuple[Part, ...]:
    """What there is any of: in the order given, else the most first."""
    names = sorted(counts, key=lambda name: (-counts[name], name)) if order is None else order
    return tuple(Part(name=name, count=counts[name]) for name in names if counts.get(name))


def _peak(spans: Iterable[tuple[datetime, datetime | None]]) -> int:
    """The most that were up at once; who leaves as another joins was not there with it."""
    steps = [(joined, 1) for joined, _ in spans]
    steps += [(max(joined, left), -1) for joined, left in spans if left is not None]
    up = peak = 0
    for _, step in sorted(steps):
        up += step
        peak = max(peak, up)
    return peak


def _heat(meetings: Iterable[MeetingFact], timezone: ZoneInfo) -> tuple[Beginnings, ...]:
    local = (meeting.started_at.astimezone(timezone) for meeting in meetings)
    counts = Counter((at.weekday(), at.hour) for at in local)
    return tuple(Beginnings(weekday=day, hour=hour, meetings=n) for (day, hour), n in sorted(counts.items()))


def _streak(judged: Iterable[tuple[datetime, Presence]]) -> int:
    longest = running = 0
    for _, presence in sorted(judged):
        if presence == "absent":
            running += 1
            longest = max(longest, running)
        elif presence in ("attended", "brief"):
            running = 0
    return longest
