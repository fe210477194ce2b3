"""A monthly report as data: every figure, what it counts, and how far it can be relied on. No I/O.

A `Report` is the whole of a month: of every source and every unit, so that what a unit is shown is cut from the same
figures as what the province signs. It is what is frozen when a month is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Literal, TypeAlias

from conftrack.model import Provenance, Record

Tree: TypeAlias = Literal["then", "today"]
"""The organisation that figures of units follow: as it was on the day of each meeting, or as it is today."""

SIZES = (2, 10, 50, 100)
"""Meetings are told apart by endpoints: fewer than 2, from 2, from 10, from 50, from 100."""

MeetingKind: TypeAlias = Literal["planned", "standing", "unplanned"]
"""How a meeting was called: invited to at a time, on a standing list of its room, or nobody was invited."""

Presence: TypeAlias = Literal["attended", "brief", "absent", "excused", "unknown"]
"""What became of an endpoint that was expected. brief: it came, for less than counts as attending. unknown: nobody
could see."""


class Part(Record, frozen=True):
    """How many of one kind."""

    name: str
    count: int


class Beginnings(Record, frozen=True):
    """Meetings that began in one hour (0-23) of one weekday (0 is Monday)."""

    weekday: int
    hour: int
    meetings: int


class Sums(Record, frozen=True):
    """What a month came to, of a scope or of one endpoint. Each field is what `names.DEFINITIONS` says of its name;
    durations are seconds."""

    legs: int = 0
    endpoint_connections: int = 0
    attendees: int = 0
    person_seconds: float = 0.0
    #: Attended, brief, absent, excused and unknown add up to it.
    expected: int = 0
    attended: int = 0
    brief: int = 0
    absent: int = 0
    excused: int = 0
    unknown: int = 0
    on_time: int = 0
    late: int = 0
    failed_connections: int = 0
    incidents: int = 0
    incidents_closed: int = 0
    incident_seconds: float = 0.0
    #: In service hours: without and with an incident. Of a scope those of the endpoints of the inventory: only of all
    #: sources together, and of the unit that an endpoint is of at the end of the month.
    good_seconds: float = 0.0
    bad_seconds: float = 0.0

    @property
    def participation(self) -> float | None:
        """0-1; None: nobody was expected, or nothing could be seen."""
        return _share(self.attended, self.expected - self.unknown)

    @property
    def availability(self) -> float | None:
        return _share(self.good_seconds, self.good_seconds + self.bad_seconds)

    @property
    def mean_repair(self) -> float | None:
        """Seconds; None: no incident ended."""
        return _share(self.incident_seconds, self.incidents_closed)


class Figures(Sums, frozen=True):
    """The figures of one scope."""

    meetings: int = 0
    #: Names are the least number of endpoints: "1" and SIZES.
    meetings_by_size: tuple[Part, ...] = ()
    #: Names are MeetingKind.
    meetings_by_kind: tuple[Part, ...] = ()
    not_held: int = 0
    endpoints: int = 0
    #: Names are Provenance; they add up to `attendees`.
    attendees_by_provenance: tuple[Part, ...] = ()
    meeting_seconds: float = 0.0
    leg_seconds: float = 0.0
    #: Names are IncidentKind.
    incidents_by_kind: tuple[Part, ...] = ()
    #: Names are EndClass, or IncidentKind where no leg's end opened it.
    incidents_by_cause: tuple[Part, ...] = ()
    #: Names are Owner.
    incidents_by_owner: tuple[Part, ...] = ()
    peak_legs: int = 0
    #: Only of a whole source, and of everything.
    heat: tuple[Beginnings, ...] = ()
    #: People who did not have to travel: all but those of the largest endpoint of each meeting.
    people_spared: int = 0

    @property
    def on_time_rate(self) -> float | None:
        return _share(self.on_time, self.on_time + self.late)


class Unit(Record, frozen=True):
    """An org unit of the tree that the report follows, as it was last in the month."""

    code: str
    name: str
    parent: str | None = None
    #: 0 at the top.
    level: int = 0
    #: The days of the month on which it was there, where it was not all through it: first, and first without.
    valid_from: date | None = None
    valid_to: date | None = None


class Scope(Record, frozen=True):
    """What figures are of. `source` None: of all. `unit` None: of everything, callers outside the inventory too."""

    source: str | None = None
    unit: str | None = None
    #: Only endpoints of the unit itself, not of those below it.
    alone: bool = False


class Scoped(Record, frozen=True):
    """The figures of one scope."""

    scope: Scope
    figures: Figures


class EndpointFigures(Sums, frozen=True, kw_only=True):
    """The figures of one endpoint of the inventory."""

    code: str
    name: str
    #: Of the tree that the report follows, at the end of the month; None: of no unit.
    unit: str | None = None
    seats: int | None = None
    presence_seconds: float = 0.0
    #: See `names.DEFINITIONS`.
    absence_streak: int = 0
    #: In service hours, besides good and bad ones; each second in one of them only.
    maintenance_seconds: float = 0.0
    unseen_seconds: float = 0.0


class Absence(Record, frozen=True):
    """An endpoint that was expected at a meeting and did not come, or came only briefly."""

    endpoint: str
    source: str | None
    room: str
    title: str | None
    starts_at: datetime
    presence: Presence
    #: As somebody excused it.
    reason: str | None = None
    #: Of the tree that the report follows, on the day of the meeting; None: of no unit.
    unit: str | None = None


class Held(Record, frozen=True):
    """A meeting of the month."""

    source: str
    room: str
    title: str | None
    started_at: datetime
    #: None: it still went on when the figures were taken.
    ended_at: datetime | None
    kind: MeetingKind
    endpoints: int
    attendees: int
    expected: int = 0
    attended: int = 0


class Certificate(Record, frozen=True):
    """How complete the reading of one source was, in the month."""

    source: str
    #: Live polls, and readings of histories.
    polls: int
    failed_polls: int
    #: Of the checked windows of history that have a part in the month: the source's own number of records, and ours;
    #: None: it tells none.
    source_total: int | None
    stored_total: int | None
    windows: int
    #: Windows after which the source had more records than are stored.
    short_windows: int
    rejected: int
    #: Of the month so far, the seconds in which the source could not be seen and no history told later, with those
    #: before the first meeting that is known of any.
    unseen_seconds: float
    #: Up to when it was read, where that is before the end of the month; None: the whole month was.
    read_until: datetime | None
    #: It has been read at all.
    ever_read: bool = True


class Earlier(Record, frozen=True):
    """The figures of everything in a month to compare with. `figures` None: that month is not known, or not whole."""

    month: date
    figures: Figures | None
    units: tuple[Scoped, ...] = ()


class Assumptions(Record, frozen=True):
    """What figures rest on that nobody measured, as it is configured; None: it is not, and there is no such figure."""

    #: Connections at once that the licence allows.
    licence: int | None = None
    #: Both ways, of one person to one meeting.
    travel_km: float | None = None
    #: Of one person and kilometre, in đồng.
    cost_per_km: float | None = None


class Report(Record, frozen=True):
    """A month. Scopes: everything and every source, each of everything, of every unit with all below it, and of every
    unit alone that has endpoints of its own and units below."""

    #: The first day of the month that it is named after.
    month: date
    #: Local days [since, until).
    since: date
    until: date
    timezone: str
    tree: Tree
    #: When the figures were taken.
    made_at: datetime
    #: The month was not over then.
    is_open: bool
    #: In the order of the tree: each followed by those below it.
    units: tuple[Unit, ...]
    figures: tuple[Scoped, ...]
    #: By code.
    endpoints: tuple[EndpointFigures, ...]
    #: In order of time, then by endpoint.
    absences: tuple[Absence, ...]
    meetings: tuple[Held, ...]
    certificates: tuple[Certificate, ...]
    month_before: Earlier
    year_before: Earlier
    assumptions: Assumptions

    def of(self, scope: Scope = Scope()) -> Figures:  # noqa: B008 - frozen
        """The figures of a scope; all zero where nothing was. Raises KeyError for a unit or source it does not know."""
        for one in self.figures:
            if one.scope == scope:
                return one.figures
        if scope.unit is not None and scope.unit not in {unit.code for unit in self.units}:
            raise KeyError(scope.unit)
        if scope.source is not None and scope.source not in {one.source for one in self.certificates}:
            raise KeyError(scope.source)
        return Figures()

    def below(self, code: str | None) -> Iterator[Unit]:
        """The units directly below one; None: at the top."""
        known = {unit.code for unit in self.units}
        return (unit for unit in self.units if (unit.parent if unit.parent in known else None) == code)

    def within(self, code: str | None) -> list[EndpointFigures]:
        """The endpoints of a unit and of all below it; None: all."""
        if code is None:
            return list(self.endpoints)
        codes: set[str] = {code}
        for unit in self.units:  # in the order of the tree
            if unit.parent in codes:
                codes.add(unit.code)
        return [endpoint for endpoint in self.endpoints if endpoint.unit in codes]


class Closed(Record, frozen=True):
    """A closed month as it stands: what was signed, and what was corrected since."""

    report: Report
    closed_at: datetime
    closed_by: str
    #: SHA-256 of the figures, in hexadecimal.
    digest: str
    #: The oldest first.
    addenda: tuple[Addendum, ...] = ()


class Addendum(Record, frozen=True):
    """A correction of a closed month: the figures as they are since `made_at`."""

    number: int
    made_at: datetime
    made_by: str
    report: Report
    digest: str
    #: The figures that differ from those that stood before.
    changes: tuple[Change, ...]


class Change(Record, frozen=True):
    """A figure that was corrected; texts are as the JSON of a report has them. `of` names the scope or the endpoint."""

    of: str
    figure: str
    before: bool | float | int | str | None
    after: bool | float | int | str | None


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


PROVENANCES: tuple[Provenance, ...] = ("reported", "people_count", "imported", "connections")
"""Best first."""
