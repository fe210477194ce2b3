"""What a month comes to, in plain Python: the measure that monthly reports are held to.

Written from the definitions alone (`conftrack.report.model`, and "What counts" of the design) over the facts as
`tests.facts` joins them into meetings; no SQL, and nothing of what the report package computes. Everything is looked
for again for every scope, without a thought for speed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, TypeAlias

from conftrack.incidents.causes import explain
from conftrack.model import EndClass, IncidentKind, Owner
from conftrack.report.model import SIZES, Report, Scope, Tree
from conftrack.storage.inventory import Site, Unit
from conftrack.storage.invitations import Invitation
from tests.facts import Facts, Leg, Meeting, Span, Who, peak, presence

Row: TypeAlias = dict[str, Any]
Told: TypeAlias = dict[tuple[object, ...], Row]
"""Rows by what they are of: a scope, an endpoint, a meeting, an absence."""

LASTS = timedelta(hours=4)
"""How long a meeting is taken to last whose invitation names no end."""
BRIEF = timedelta(minutes=5)


@dataclass(frozen=True)
class Incident:
    """A row of the table, with names."""

    source: str | None
    #: Its code; None: a caller outside the inventory, or an outage.
    endpoint: str | None
    kind: IncidentKind
    end_class: EndClass | None
    owner: Owner | None
    opened_at: datetime
    closed_at: datetime | None
    day: date
    withdrawn: bool = False


@dataclass
class Known:
    """Everything that a report is made of. Spans are half-open."""

    facts: Facts
    #: When the report is made.
    now: datetime
    #: Every period of every unit.
    units: Sequence[Unit] = ()
    sites: Sequence[Site] = ()
    #: The units an endpoint had before, each until a day: the first in the next.
    former: Mapping[str, Sequence[tuple[date, str | None]]] = field(default_factory=dict)
    #: In the order they came in, all at one moment.
    invitations: Sequence[Invitation] = ()
    invited_at: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    incidents: Sequence[Incident] = ()
    #: When each source could not be seen, and no history told later.
    unseen: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    #: Of each endpoint.
    maintenance: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    sources: Sequence[str] = ("one",)

    def begin(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.facts.zone).astimezone(UTC)


# -- the organisation


@dataclass
class Organisation:
    """Which units an endpoint belonged to."""

    known: Known
    tree: Tree

    @cached_property
    def periods(self) -> dict[str, list[Unit]]:
        units = sorted(self.known.units, key=lambda u: (u.code, u.valid_from or date.min))
        return {code: list(of_code) for code, of_code in groupby(units, key=lambda u: u.code)}

    @cached_property
    def sites(self) -> dict[str, Site]:
        return {site.code: site for site in self.known.sites}

    def path(self, code: str, day: date) -> list[str]:
        """The unit of an endpoint and all above it."""
        day = day if self.tree == "then" else self.today
        own = self.sites[code].org
        for until, org in sorted(self.known.former.get(code, ()), reverse=True):
            if day < until:
                own = org
        return self._standing(own, day)

    def _standing(self, code: str | None, day: date) -> list[str]:
        """Where a unit stands on a day: itself and all above it. For one that is not there, the one that it became or
        came of; where that is several, the units above all of them; where none, those above it."""
        if code is None:
            return []
        periods = self.periods[code]
        here = next((p for p in periods if _first(p) <= day < _end(p)), None)
        if here is not None:
            return [code, *self._standing(here.parent, day)]
        gone = [p for p in periods if _end(p) <= day]
        if gone:
            kin, above = gone[-1].successors, gone[-1].parent
        else:
            first = _first(periods[0])
            others = (p for p in self.known.units if code in p.successors and _end(p) == first)
            kin, above = tuple(p.code for p in others), periods[0].parent
        if not kin:
            return self._standing(above, day)
        paths = [self._standing(one, day) for one in kin]
        if len(paths) == 1:
            return paths[0]
        return [unit for unit in paths[0] if unit not in kin and all(unit in path for path in paths)]

    @property
    def today(self) -> date:
        return self.known.now.astimezone(self.known.facts.zone).date()

    def parents(self, since: date, until: date) -> dict[str, str | None]:
        """The units that there were in these days, with the last one above each."""
        if self.tree == "today":
            since, until = self.today, self.today + timedelta(days=1)
        found: dict[str, str | None] = {}
        for code, periods in self.periods.items():
            there = [p for p in periods if _first(p) < until and since < _end(p)]
            if there:
                last = min(until, _end(there[-1])) - timedelta(days=1)
                found[code] = next(iter(self._standing(there[-1].parent, last)), None)
        return found


def _first(unit: Unit) -> date:
    return unit.valid_from or date.min


def _end(unit: Unit) -> date:
    return unit.valid_to or date.max


# -- who was invited, and came


@dataclass(eq=False)
class Convocation:
    """An invitation to one meeting with all that was held on it, or one meeting held on a standing invitation."""

    invitation: Invitation
    meetings: list[Meeting]
    day: date

    @property
    def planned(self) -> bool:
        return self.invitation.starts_at is not None

    @property
    def start(self) -> datetime:
        return self.invitation.starts_at or _start(self.meetings[0])


@dataclass(eq=False)
class Guest:
    """One endpoint that was expected."""

    convocation: Convocation
    endpoint: str
    presence: str
    #: None: it did not come, or not to a planned meeting.
    on_time: bool | None
    reason: str | None

    @property
    def who(self) -> Who:
        return "site", self.endpoint

    @property
    def source(self) -> str:
        return self.convocation.meetings[0].source


def _start(meeting: Meeting) -> datetime:
    assert meeting.name is not None
    return meeting.name[1]


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


# -- the month


class Month:
    """The figures of one month, by the definitions."""

    def __init__(self, known: Known, days: tuple[date, date], tree: Tree) -> None:
        self.known = known
        self.organisation = Organisation(known, tree)
        self.since, self.until = days
        self._zone = known.facts.zone
        meetings, legs = known.facts.joined()
        self._everything = [m for m in meetings if m.name is not None]
        self.meetings = [m for m in self._everything if self._ours(m.day(self._zone))]
        self.failed = [
            leg for leg in legs if leg.failed and leg.meeting is not None and self._ours(leg.meeting.day(self._zone))
        ]
        self._invitations = {m: self._invitation(m) for m in self._everything}
        self.incidents = [i for i in known.incidents if self._ours(i.day) and i.kind != "outage" and not i.withdrawn]

    def _ours(self, day: date) -> bool:
        return self.since <= day < self.until

    def told(self) -> Told:
        """All of it."""
        units = {("unit", code): {"parent": parent} for code, parent in self.parents.items()}
        return units | self._scopes() | self._endpoints() | self._absences() | self._held()

    # -- invitations

    def _invitation(self, meeting: Meeting) -> Invitation | None:
        """That which a meeting is held on: one to this moment before a standing one, one to this source before one to
        any, the one that begins nearest, the first that came in."""
        since, until = meeting.span

        def fits(one: Invitation) -> bool:
            if one.room != meeting.room or one.source not in (None, meeting.source):
                return False
            if one.starts_at is None:
                return until > self.known.invited_at
            return one.starts_at < until and since < (one.ends_at or one.starts_at + LASTS)

        def rank(numbered: tuple[int, Invitation]) -> tuple[object, ...]:
            number, one = numbered
            away = abs(one.starts_at - since) if one.starts_at is not None else timedelta()
            return one.starts_at is None, one.source is None, away, number

        return min(((n, i) for n, i in enumerate(self.known.invitations) if fits(i)), key=rank, default=(0, None))[1]

    @cached_property
    def convocations(self) -> list[Convocation]:
        """Those that were held in the month."""
        found = []
        for one in self.known.invitations:
            held = sorted((m for m, i in self._invitations.items() if i is one), key=_start)
            together = [[m] for m in held] if one.starts_at is None else [held] if held else []
            found += [Convocation(one, meetings, meetings[0].day(self._zone)) for meetings in together]
        return [c for c in found if self._ours(c.day)]

    @cached_property
    def not_held(self) -> list[Convocation]:
        """Over, and nobody came; where nobody could see, that is not known."""
        held = {id(i) for i in self._invitations.values() if i is not None}
        found = []
        for one in self.known.invitations:
            if one.starts_at is not None and id(one) not in held:
                day, until = one.starts_at.astimezone(self._zone).date(), one.ends_at or one.starts_at + LASTS
                gaps = [g for source, gaps in self.known.unseen.items() if one.source in (None, source) for g in gaps]
                gaps.append((datetime.min.replace(tzinfo=UTC), self._looked))
                unseen = any(_overlap(gap, (one.starts_at, until)) for gap in gaps)
                if self._ours(day) and until <= self.known.now and not unseen:
                    found.append(Convocation(one, [], day))
        return found

    @cached_property
    def guests(self) -> list[Guest]:
        return [self._guest(c, code) for c in self.convocations for code in c.invitation.expected]

    def _guest(self, convocation: Convocation, code: str) -> Guest:
        start, reason = convocation.start, convocation.invitation.expected[code]
        legs = [leg for m in convocation.meetings for leg in m.counted if leg.who == ("site", code)]
        # Who was in the room for the test before a planned meeting, and no longer, did not come.
        lasted = [leg for leg in legs if leg.until > start or not convocation.planned]
        if lasted:
            on_time = min(leg.since for leg in lasted) <= start if convocation.planned else None
            states = [self._attended(m, ("site", code)) for m in convocation.meetings]
            presence = "attended" if True in states else "unknown" if None in states else "brief"
            return Guest(convocation, code, presence, on_time if presence != "unknown" else None, reason)
        unseen = any(self._missed(m) for m in convocation.meetings)
        state = "excused" if reason is not None else "unknown" if unseen else "absent"
        return Guest(convocation, code, state, None, reason)

    def _missed(self, meeting: Meeting) -> bool:
        """Whether it could not be seen for so long that somebody could have attended meanwhile; of one that was there
        at the last look before a gap, and then no more, nobody knows how long it went on."""
        since, until = _start(meeting), meeting.ended_at or self.known.now
        least = min(BRIEF, (until - since) / 10)
        gaps = self.known.unseen.get(meeting.source, ())
        parts = ((max(since, a), min(until, b)) for a, b in gaps)
        return any(a < b and b - a >= least for a, b in parts) or any(a == meeting.ended_at for a, _ in gaps)

    def _attended(self, meeting: Meeting, who: Who) -> bool | None:
        """Whether it was there for long enough; None: it still is, or the meeting goes on. False: it was not there."""
        if who not in meeting.present:
            return False
        there = self._there(meeting, who)
        return None if there is None or meeting.seconds is None else there >= min(300, meeting.seconds / 10)

    @staticmethod
    def _there(meeting: Meeting, who: Who) -> float | None:
        """How long an endpoint was in a meeting; None: it still is."""
        legs = [leg for leg in meeting.counted if leg.who == who]
        if any(leg.said.left_at is None for leg in legs):
            return None
        return sum((until - since).total_seconds() for since, until in presence(legs))

    # -- figures of a scope

    def _scopes(self) -> Told:
        sources = [None, *self.known.sources]
        above = set(self.parents.values())
        units = [(unit, alone) for unit in self.parents for alone in (False, True) if unit in above or not alone]
        scopes = [Scope(source=s, unit=u, alone=a) for s in sources for u, a in ((None, False), *units)]
        return {("scope", scope.source, scope.unit, scope.alone): self.figures(scope) for scope in scopes}

    @cached_property
    def parents(self) -> dict[str, str | None]:
        return self.organisation.parents(self.since, self.until)

    def _inside(self, scope: Scope) -> Callable[[str | None, date], bool]:
        """Whether an endpoint (None: a caller outside the inventory) counts for a unit on a day."""

        def inside(code: str | None, day: date) -> bool:
            if scope.unit is None:
                return True
            path = self.organisation.path(code, day) if code is not None else []
            return scope.unit in (path[:1] if scope.alone else path)

        return inside

    def figures(self, scope: Scope) -> Row:
        inside = self._inside(scope)

        def counts(leg: Leg | tuple[Meeting, Who]) -> bool:
            meeting, who = leg if isinstance(leg, tuple) else (leg.meeting, leg.who)
            assert meeting is not None
            code = who[1] if who[0] == "site" else None
            return scope.source in (None, meeting.source) and inside(code, meeting.day(self._zone))

        legs = [leg for m in self.meetings for leg in m.counted if counts(leg)]
        connections = {(leg.meeting, leg.who) for leg in legs if leg.meeting is not None}
        meetings = {meeting for meeting, _ in connections}
        guests = [
            g for g in self.guests if scope.source in (None, g.source) and inside(g.endpoint, g.convocation.day)
        ]  # fmt: skip
        incidents = [
            i for i in self.incidents if scope.source in (None, i.source) and inside(i.endpoint, i.day)
        ]  # fmt: skip
        closed = [(i.closed_at - i.opened_at).total_seconds() for i in incidents if i.closed_at is not None]
        states = Counter(g.presence for g in guests)
        good, bad = self._available(scope) if scope.source is None else (0, 0)
        return {
            "meetings": len(meetings),
            "meetings_by_size": _parts(str(max(s for s in (1, *SIZES) if s <= len(m.present))) for m in meetings),
            "meetings_by_kind": _parts(self._kind(m) for m in meetings),
            "not_held": sum(
                scope.source in (None, c.invitation.source)
                and (scope.unit is None or any(inside(code, c.day) for code in c.invitation.expected))
                for c in self.not_held
            ),
            "legs": len(legs),
            "endpoint_connections": len(connections),
            "endpoints": len({who for _, who in connections}),
            "attendees": sum(m.people(who) for m, who in connections),
            "attendees_by_provenance": _parts(
                _provenance(m, who) for m, who in connections for _ in range(m.people(who))
            ),
            "meeting_seconds": sum(m.seconds or 0 for m in meetings),
            "leg_seconds": sum((g.until - g.since).total_seconds() for g in legs if g.said.left_at is not None),
            "person_seconds": sum(m.people(who) * (self._there(m, who) or 0) for m, who in connections),
            "expected": len(guests),
            **{name: states[name] for name in ("attended", "brief", "absent", "excused", "unknown")},
            "on_time": sum(g.on_time is True for g in guests),
            "late": sum(g.on_time is False for g in guests),
            "failed_connections": sum(counts(leg) for leg in self.failed),
            "incidents": len(incidents),
            "incidents_by_kind": _parts(i.kind for i in incidents),
            "incidents_by_cause": _parts(_cause(i) for i in incidents),
            "incidents_by_owner": _parts(i.owner or explain(i.kind, i.end_class).owner for i in incidents),
            "incidents_closed": len(closed),
            "incident_seconds": sum(closed),
            "good_seconds": good,
            "bad_seconds": bad,
            "peak_legs": peak(legs),
            "heat": self._heat(meetings) if scope.unit is None else {},
            "people_spared": sum(m.people(who) for m, who in connections if who != _host(m)),
        }

    def _kind(self, meeting: Meeting) -> str:
        invitation = self._invitations[meeting]
        if invitation is None:
            return "unplanned"
        return "standing" if invitation.starts_at is None else "planned"

    def _heat(self, meetings: Iterable[Meeting]) -> Row:
        local = [_start(m).astimezone(self._zone) for m in meetings]
        return dict(Counter(f"{at.weekday()} {at.hour:02}h" for at in local))

    # -- availability

    def _available(self, scope: Scope) -> tuple[float, float]:
        """Of the endpoints that are of the unit at the end of the month."""
        inside = self._inside(scope)
        sites = [site for site in self.known.sites if inside(site.code, self.until - timedelta(days=1))]
        return sum(self.times[s.code]["good"] for s in sites), sum(self.times[s.code]["bad"] for s in sites)

    @cached_property
    def times(self) -> dict[str, Counter[str]]:
        return {site.code: self._times(site) for site in self.known.sites}

    @cached_property
    def _looked(self) -> datetime:
        """Nobody looked before the first meeting that is known."""
        return min((_start(m) for m in self._everything), default=self.known.now)

    def _times(self, site: Site) -> Counter[str]:
        """The seconds of service hours, by what they were: maintenance before unseen before bad before good. Cut
        wherever anything begins or ends, so that each piece is one of them all through."""
        since, until = self.known.begin(self.since), min(self.known.begin(self.until), self.known.now)
        if site.retired_on is not None:
            until = min(until, self.known.begin(site.retired_on))
        spans = {
            "maintenance": list(self.known.maintenance.get(site.code, ())),
            "unseen": [(since, self._looked), *(gap for gaps in self.known.unseen.values() for gap in gaps)],
            "bad": [
                (i.opened_at, i.closed_at or self.known.now)
                for i in self.known.incidents
                if i.endpoint == site.code and i.kind != "outage" and not i.withdrawn
            ],
        }
        edges = {since, until, *(edge for of in spans.values() for span in of for edge in span)}
        edges |= set(_opening(site.service_hours, since, until, self.known))
        found: Counter[str] = Counter()
        for begin, end in pairwise(sorted(edge for edge in edges if since <= edge <= until)):
            if _open_at(site.service_hours, begin.astimezone(self._zone).time()):
                state = next((s for s, of in spans.items() if any(a <= begin < b for a, b in of)), "good")
                found[state] += (end - begin).total_seconds()  # type: ignore[assignment]
        return found

    # -- endpoints

    def _endpoints(self) -> Told:
        rows = {site: self._endpoint(site) for site in self.known.sites}
        there = {site for site in rows if site.retired_on is None or site.retired_on > self.since}
        counted = ("legs", "expected", "failed_connections", "incidents")
        return {
            ("endpoint", site.code): row
            for site, row in rows.items()
            if site in there or any(row[name] for name in counted)
        }  # fmt: skip

    def _endpoint(self, site: Site) -> Row:
        who: Who = ("site", site.code)
        meetings = [m for m in self.meetings if who in m.present]
        legs = [leg for m in meetings for leg in m.counted if leg.who == who]
        guests = sorted((g for g in self.guests if g.endpoint == site.code), key=lambda g: g.convocation.start)
        # What it was excused from, and what nobody could see, is passed over.
        judged = [g for g in guests if g.presence not in ("excused", "unknown")]
        incidents = [i for i in self.incidents if i.endpoint == site.code]
        closed = [(i.closed_at - i.opened_at).total_seconds() for i in incidents if i.closed_at is not None]
        states = Counter(g.presence for g in guests)
        path = self.organisation.path(site.code, self.until - timedelta(days=1))
        times = self.times[site.code]
        return {
            "name": site.name,
            "unit": path[0] if path else None,
            "seats": site.seats,
            "endpoint_connections": len(meetings),
            "legs": len(legs),
            "attendees": sum(m.people(who) for m in meetings),
            "person_seconds": sum(m.people(who) * (self._there(m, who) or 0) for m in meetings),
            "presence_seconds": sum(self._there(m, who) or 0 for m in meetings),
            "expected": len(guests),
            **{name: states[name] for name in ("attended", "brief", "absent", "excused", "unknown")},
            "on_time": sum(g.on_time is True for g in guests),
            "late": sum(g.on_time is False for g in guests),
            "absence_streak": max(
                (len(list(run)) for absent, run in groupby(g.presence == "absent" for g in judged) if absent), default=0
            ),
            "failed_connections": sum(leg.who == who for leg in self.failed),
            "incidents": len(incidents),
            "incidents_closed": len(closed),
            "incident_seconds": sum(closed),
            "good_seconds": times["good"],
            "bad_seconds": times["bad"],
            "maintenance_seconds": times["maintenance"],
            "unseen_seconds": times["unseen"],
        }

    # -- what is listed one by one

    def _absences(self) -> Told:
        return {
            ("absence", g.endpoint, g.convocation.invitation.room, g.convocation.start, g.source): {
                "presence": g.presence,
                "reason": g.reason,
                "unit": next(iter(self.organisation.path(g.endpoint, g.convocation.day)), None),
            }
            for g in self.guests
            if g.presence != "attended"
        }

    def _held(self) -> Told:
        return {
            ("meeting", m.source, m.room, _start(m)): {
                "title": self._title(m),
                "ended_at": m.ended_at,
                "kind": self._kind(m),
                "endpoints": len(m.present),
                "attendees": sum(m.people(who) for who in m.present),
                "expected": sum(g.convocation.meetings[0] is m for g in self.guests),
                "attended": sum(g.convocation.meetings[0] is m and g.presence == "attended" for g in self.guests),
            }
            for m in self.meetings
        }

    def _title(self, meeting: Meeting) -> str | None:
        said = meeting.listing.said if meeting.listing is not None else None
        invitation = self._invitations[meeting]
        return (said.title if said is not None else None) or (invitation.title if invitation is not None else None)


def _parts(names: Iterable[str]) -> Row:
    return dict(Counter(names))


def _provenance(meeting: Meeting, who: Who) -> str:
    return meeting.standing[who].provenance if who in meeting.standing else "connections"


def _host(meeting: Meeting) -> Who:
    """The endpoint with the most people: where the others would have gone. Of equals one of the inventory, by code."""
    return min(meeting.present, key=lambda who: (-meeting.people(who), who[0] != "site", who))


def _cause(incident: Incident) -> str:
    by_leg = incident.kind in ("dropped", "connect_failed") and incident.end_class is not None
    return str(incident.end_class) if by_leg else incident.kind


def _opening(hours: str | None, since: datetime, until: datetime, known: Known) -> Iterator[datetime]:
    """Every moment near a period at which service hours begin or end."""
    for clock in hours.split("-") if hours is not None else ():
        hour, minute = map(int, clock.split(":"))
        day = since.astimezone(known.facts.zone).date() - timedelta(days=1)
        while known.begin(day) <= until:
            yield known.begin(day + timedelta(days=hour // 24)) + timedelta(hours=hour % 24, minutes=minute)
            day += timedelta(days=1)


def _open_at(hours: str | None, clock: time) -> bool:
    if hours is None:
        return True
    opens, closes = hours.split("-")
    now = f"{clock:%H:%M}"
    return opens <= now < closes if opens < closes else now >= opens or now < closes


# -- what a report says, to be held against it


def of_report(report: Report) -> Told:
    """A report in the same form."""
    found: Told = {("unit", unit.code): {"parent": unit.parent} for unit in report.units}
    for scoped in report.figures:
        scope = scoped.scope
        found["scope", scope.source, scope.unit, scope.alone] = plain(scoped.figures)
    for endpoint in report.endpoints:
        row = plain(endpoint)
        found["endpoint", row.pop("code")] = row
    for absence in report.absences:
        key = ("absence", absence.endpoint, absence.room, absence.starts_at, absence.source)
        found[key] = {"presence": absence.presence, "reason": absence.reason, "unit": absence.unit}
    for meeting in report.meetings:
        row = plain(meeting)
        found["meeting", row.pop("source"), row.pop("room"), row.pop("started_at")] = row
    return found


def plain(record: Any) -> Row:
    """The fields of a record by name; of figures with parts those that there are any of."""
    row: Row = {name: getattr(record, name) for name in record.__struct_fields__}
    for name, value in row.items():
        if name == "heat":
            row[name] = {f"{one.weekday} {one.hour:02}h": one.meetings for one in value if one.meetings}
        elif isinstance(value, tuple):
            row[name] = {part.name: part.count for part in value if part.count}
    return row


def differences(there: Told, wanted: Told) -> list[str]:
    """A line for every figure that is not as wanted. A scope that is not there came to nothing, and one that came to
    nothing need not be there."""
    lines = []
    for name in sorted(there.keys() | wanted.keys(), key=str):
        ours, theirs = there.get(name), wanted.get(name)
        if name[0] == "scope" and (ours is None or theirs is None):
            if any((ours or theirs or {}).values()):
                lines.append(f"{_name(name)}: is {_some(ours)}, wanted {_some(theirs)}")
            continue
        if ours is None or theirs is None:
            lines.append(f"{_name(name)}: {'lacking' if ours is None else 'not wanted'} {ours or theirs}")
            continue
        lines += [
            f"{_name(name)}: {figure} is {ours.get(figure)!s}, wanted {value!s}"
            for figure, value in theirs.items()
            if not _same(ours.get(figure), value)
        ]
    return lines


def _some(row: Row | None) -> Row:
    """What of a row is anything."""
    return {name: value for name, value in (row or {}).items() if value}


def _name(name: tuple[object, ...]) -> str:
    return " ".join(f"{part:%m-%d %H:%M}" if isinstance(part, datetime) else str(part) for part in name)


def _same(one: object, other: object) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return abs(one - other) < 1e-3
    return one == other
