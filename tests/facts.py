"""What facts come to, in plain Python: the measure that the database is held to.

Written from the definitions alone and without a thought for speed: everything is worked out anew from all that was
ever said. Rows come out as the public views show them, without the numbers that only the database knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from statistics import median_low
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from conftrack.model import FAILED, Endpoint, Headcount, LegRecord, MeetingRecord, OrgUnit, Origin, Page

Row: TypeAlias = dict[str, Any]
Span: TypeAlias = tuple[datetime, datetime]
#: What an endpoint is known by: its code, else its alias or a person's name, else its one leg.
Who: TypeAlias = tuple[str, ...]

FOREVER = datetime.max.replace(tzinfo=UTC)
BRIDGED = timedelta(minutes=5)
INSTANT = timedelta(microseconds=1)
PROVENANCE = ("reported", "people_count", "imported")

_END = ("left_at", "end_class", "end_reason")


# -- merging what several origins said


def merged_leg(said: Sequence[tuple[Origin, datetime, LegRecord]]) -> LegRecord:
    """One leg from all records of it, in order of arrival."""
    live = sorted((s for s in said if s[0] is Origin.LIVE), key=lambda s: s[1])
    return LegRecord(
        **_lived([r for _, _, r in live], "joined_at", _END)
        | _pushed([r for o, _, r in said if o is Origin.PUSH])
        | _last_word([r for o, _, r in said if o is Origin.HISTORY])
    )


def merged_meeting(said: Sequence[tuple[Origin, datetime, MeetingRecord]]) -> MeetingRecord:
    """One meeting record from all that was said of it, in order of arrival."""
    live = sorted((s for s in said if s[0] is Origin.LIVE), key=lambda s: s[1])
    return MeetingRecord(
        **_lived([r for _, _, r in live], "started_at", ("ended_at",))
        | _last_word([r for o, _, r in said if o is Origin.PUSH])
        | _last_word([r for o, _, r in said if o is Origin.HISTORY])
    )


def _last_word(records: Sequence[LegRecord] | Sequence[MeetingRecord]) -> Row:
    known: Row = {}
    for record in records:
        known |= _known(record)
    return known


def _known(record: LegRecord | MeetingRecord) -> Row:
    """The fields with a value; `excluded` always has one, since None says that the leg is people."""
    values = msgspec.structs.asdict(record)
    if values.get("identity") is None:  # whether a name is a person's goes with the name
        values.pop("personal", None)
    return {name: value for name, value in values.items() if value is not None or name == "excluded"}


def _pushed(records: Sequence[LegRecord]) -> Row:
    """The last word, but the first end: it stands with its cause, later ones are its echo."""
    known: Row = {}
    for record in records:
        now = _known(record)
        if "left_at" in known and now.get("left_at", known["left_at"]) > known["left_at"]:
            now = {name: value for name, value in now.items() if name not in _END or name not in known}
        known |= now
    return known


def _lived(records: Sequence[LegRecord] | Sequence[MeetingRecord], start: str, end: Sequence[str]) -> Row:
    """Of snapshots in the order they were taken: the last word, but the earliest start, and of the end only what the
    last one shows."""
    known = _last_word(records)
    if starts := [moment for r in records if (moment := getattr(r, start)) is not None]:
        known[start] = min(starts)
    for name in end:
        known.pop(name, None)
        if records and (value := getattr(records[-1], name)) is not None:
            known[name] = value
    return known


# -- the inventory


@dataclass
class Inventory:
    parents: dict[str, str | None] = field(default_factory=dict)
    orgs: dict[str, str | None] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def put(self, units: Iterable[OrgUnit], endpoints: Iterable[Endpoint]) -> None:
        for unit in units:
            self.parents[unit.code] = unit.parent
        for endpoint in endpoints:
            self.orgs[endpoint.code] = endpoint.org
            for alias in (endpoint.code.casefold(), *endpoint.aliases):
                self.aliases[alias] = endpoint.code

    def units_of(self, who: Who) -> list[str]:
        """The unit of an endpoint and every one above it."""
        org = self.orgs[who[1]] if who[0] == "site" else None
        found = []
        while org is not None:
            found.append(org)
            org = self.parents[org]
        return found

    def place(self, who: Who) -> Row:
        code = who[1] if who[0] == "site" else None
        return {"endpoint": code, "org": self.orgs[code] if code is not None else None}


# -- meetings


@dataclass(eq=False)
class Leg:
    source: str
    said: LegRecord
    who: Who
    copy: bool = False
    meeting: Meeting | None = None

    @property
    def since(self) -> datetime:
        assert self.said.joined_at is not None
        return self.said.joined_at

    @property
    def until(self) -> datetime:
        """One that left before it joined, by two clocks, was there for no time."""
        return FOREVER if self.said.left_at is None else max(self.said.left_at, self.since)

    @property
    def is_people(self) -> bool:
        return self.said.joined_at is not None and self.said.excluded is None

    @property
    def counted(self) -> bool:
        return self.is_people and not self.copy

    @property
    def failed(self) -> bool:
        return self.said.joined_at is None and self.said.excluded is None and self.said.end_class in FAILED

    @property
    def moments(self) -> list[datetime]:
        """When it is known to have begun and ended; an attempt is one moment."""
        ends = [self.since, self.until] if self.said.joined_at is not None else [self.said.left_at or FOREVER]
        return [moment for moment in ends if moment != FOREVER]


@dataclass(eq=False)
class Record:
    """A meeting record with its legs, or one leg that has none."""

    name: str | None
    legs: list[Leg]
    said: MeetingRecord | None = None

    @cached_property
    def span(self) -> Span | None:
        """From the first moment known of it to the last. It is open until it says that it ended, one that was never
        listed while a leg is up."""
        said = [self.said.started_at, self.said.ended_at] if self.said is not None else []
        moments = [m for m in said if m is not None] + [m for leg in self.legs for m in leg.moments]
        if not moments:
            return None
        if self.said is not None:
            is_open = self.said.ended_at is None
        else:
            is_open = any(leg.said.left_at is None for leg in self.legs)
        return min(moments), FOREVER if is_open else max(moments)


@dataclass(eq=False)
class Meeting:
    source: str
    room: str
    records: list[Record]
    span: Span
    #: The head count that stands for each endpoint.
    standing: dict[Who, Headcount] = field(default_factory=dict)

    @property
    def legs(self) -> list[Leg]:
        return [leg for record in self.records for leg in record.legs]

    @cached_property
    def counted(self) -> list[Leg]:
        return [leg for leg in self.legs if leg.counted]

    @cached_property
    def present(self) -> set[Who]:
        return {leg.who for leg in self.counted}

    @property
    def name(self) -> tuple[str, datetime] | None:
        """How rows refer to it; if nobody came it is none."""
        return (self.room, min(leg.since for leg in self.counted)) if self.counted else None

    @property
    def listing(self) -> Record | None:
        """The record that names it: the one that started first."""
        named = [record for record in self.records if record.name is not None]
        starts = {record: (record.said and record.said.started_at) or FOREVER for record in named}
        return min(named, key=lambda r: (starts[r], (r.span or self.span)[0], r.name or ""), default=None)

    @property
    def ended_at(self) -> datetime | None:
        last = max((leg.until for leg in self.counted), default=FOREVER)
        return None if last == FOREVER else last

    @property
    def seconds(self) -> float | None:
        if self.name is None or self.ended_at is None:
            return None
        return (self.ended_at - self.name[1]).total_seconds()

    def day(self, zone: ZoneInfo) -> date:
        return (self.name[1] if self.name else self.span[0]).astimezone(zone).date()

    def people(self, who: Who) -> int:
        return self.standing[who].people if who in self.standing else 1


def _groups(spans: Iterable[tuple[Span, Any]], joins: Callable[[datetime, datetime], bool]) -> list[list[Any]]:
    """In order of time, a thing joins the group before it if `joins(its start, the group's last end)`."""
    groups: list[list[Any]] = []
    last = FOREVER
    for (since, until), thing in sorted(spans, key=lambda s: s[0]):
        if groups and joins(since, last):
            groups[-1].append(thing)
            last = max(last, until)
        else:
            groups.append([thing])
            last = until
    return groups


def _bridged(since: datetime, last: datetime) -> bool:
    return last == FOREVER or since <= last + BRIDGED


def _overlapping(since: datetime, last: datetime) -> bool:
    return since < last


def _hull(spans: Iterable[Span]) -> Span:
    spans = list(spans)
    return min(since for since, _ in spans), max(until for _, until in spans)


def meetings_of_room(source: str, room: str, records: Iterable[Record]) -> list[Meeting]:
    timed = [(record.span, record) for record in records if record.span is not None]
    units = _groups([t for t in timed if t[1].name is None], _bridged)
    units += [[record] for _, record in timed if record.name is not None]
    spans = []
    for unit in units:
        since, until = _hull(record.span for record in unit)
        spans.append(((since, max(until, since + INSTANT)), unit))  # a moment takes an instant
    meetings = []
    for island in _groups(spans, _overlapping):
        members = [record for unit in island for record in unit]
        meeting = Meeting(source, room, members, _hull(record.span for record in members))
        for leg in meeting.legs:
            leg.meeting = meeting
        meetings.append(meeting)
    return meetings


def mark_copies(meeting: Meeting) -> None:
    """A leg that another record tells of too is a copy of the one that was told of first."""
    told = [(record, leg) for record in meeting.records if record.name is not None for leg in record.legs]
    before = {
        leg: [other for its, other in told if its is not record and other.who == leg.who and _same(other, leg)]
        for record, leg in told
    }
    for leg, others in before.items():
        leg.copy = any(not before[other] for other in others)


def _same(first: Leg, second: Leg) -> bool:
    """Whether half of the shorter one's time, or more, is common to both."""
    if not (first.is_people and second.is_people) or first.until <= second.since:
        return False
    if (first.since, first.said.external_id) >= (second.since, second.said.external_id):
        return False
    if first.until == second.until == FOREVER:
        return True
    common = min(first.until, second.until) - second.since
    return 2 * common >= min(first.until - first.since, second.until - second.since)


def presence(legs: Iterable[Leg]) -> list[Span]:
    """The times an endpoint was there, gaps of up to five minutes bridged."""
    spans = [(leg.since, leg.until) for leg in legs]
    return [_hull(group) for group in _groups([(span, span) for span in spans], _bridged)]


def peak(legs: Iterable[Leg]) -> int:
    steps = [step for leg in legs for step in ((leg.since, 1), (leg.until, -1))]
    up = most = 0
    for _, change in sorted(steps):
        up += change
        most = max(most, up)
    return most


@dataclass(eq=False)
class Placed:
    """A head count, the endpoint it is of and the meeting it falls in."""

    source: str
    name: str
    who: Who
    count: Headcount
    meeting: Meeting | None
    stands: bool = False

    @property
    def rank(self) -> tuple[object, ...]:
        """Best first: the site's own word, the camera's highest, an import; of equals the latest."""
        seen = self.count.people if self.count.provenance == "people_count" else 0
        return PROVENANCE.index(self.count.provenance), -seen, FOREVER - self.count.at, self.name


# -- all of it


class Facts:
    """Everything that was told, in the order it came in."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self.inventory = Inventory()
        self._legs: defaultdict[tuple[str, str], list[tuple[Origin, datetime, LegRecord]]] = defaultdict(list)
        self._listed: defaultdict[tuple[str, str], list[tuple[Origin, datetime, MeetingRecord]]] = defaultdict(list)
        self._counts: dict[tuple[str, str, datetime, str, str], Headcount] = {}
        #: What each device read in each second.
        self._readings: defaultdict[tuple[str, datetime], list[int]] = defaultdict(list)

    def tell(self, source: str, page: Page) -> None:
        for leg in page.legs:
            self._legs[source, leg.external_id].append((page.origin, page.observed_at, leg))
        for meeting in page.meetings:
            self._listed[source, meeting.external_id].append((page.origin, page.observed_at, meeting))
        for count in page.headcounts:
            self._counts[source, count.room, count.at, count.endpoint.casefold(), count.provenance] = count
        for reading in page.readings:
            self._readings[reading.device.casefold(), reading.at.replace(microsecond=0)].append(reading.people)

    def come_to(self) -> Figures:
        meetings, legs, placed = self._join()
        return Figures(self.zone, self.inventory, meetings, legs, placed)

    def joined(self) -> tuple[list[Meeting], list[Leg]]:
        """The meetings, each with its legs and head counts, those that nobody came to too; and all legs."""
        meetings, legs, _ = self._join()
        return meetings, legs

    def _join(self) -> tuple[list[Meeting], list[Leg], list[Placed]]:
        legs = []
        rooms: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
        records = {
            (source, name): Record(name, [], merged_meeting(said)) for (source, name), said in self._listed.items()
        }
        for (source, _), told in self._legs.items():
            said = merged_leg(told)
            leg = Leg(source, said, self._who(said.identity, said.personal, source, said.external_id))
            legs.append(leg)
            if said.meeting is None:
                rooms[source, said.room].append(Record(None, [leg]))
            else:
                records.setdefault((source, said.meeting), Record(said.meeting, [])).legs.append(leg)
        for (source, _), record in records.items():
            if record.said is not None:
                rooms[source, record.said.room].append(record)
            elif record.legs:
                rooms[source, record.legs[0].said.room].append(record)
        meetings = [m for (source, room), its in rooms.items() for m in meetings_of_room(source, room, its)]
        for meeting in meetings:
            mark_copies(meeting)
        return meetings, legs, self._place(meetings)

    def _who(self, identity: str | None, personal: bool, *leg: str) -> Who:
        if identity is None:
            return "leg", *leg
        if personal:
            return "person", identity
        return ("site", self.inventory.aliases[identity]) if identity in self.inventory.aliases else ("alias", identity)

    def _place(self, meetings: Sequence[Meeting]) -> list[Placed]:
        placed = []
        for (source, room, at, name, _), count in self._counts.items():
            here = [m for m in meetings if (m.source, m.room) == (source, room) and m.span[0] <= at <= m.span[1]]
            meeting = max(here, key=lambda m: m.span, default=None)  # on the edge of two it is the later one's
            placed.append(Placed(source, name, self._who(name, False), count, meeting))
        placed += self._sensed(meetings)
        for one in placed:
            if one.meeting is not None:
                rivals = [p for p in placed if p.meeting is one.meeting and p.who == one.who]
                one.stands = one is min(rivals, key=lambda p: p.rank)
                if one.stands:
                    one.meeting.standing[one.who] = one.count
        return placed

    def _sensed(self, meetings: Sequence[Meeting]) -> list[Placed]:
        """For each endpoint in each meeting the highest of its sensors' minutes that began while it was there."""
        seconds: defaultdict[tuple[str, datetime], list[int]] = defaultdict(list)
        for (device, second), told in self._readings.items():
            seconds[device, second.replace(second=0)].append(max(told))
        sensed = []
        for meeting in meetings:
            for who in meeting.present:
                spans = presence(leg for leg in meeting.counted if leg.who == who)
                seen = [
                    (median_low(read), minute, device)
                    for (device, minute), read in seconds.items()
                    if self._who(device, False) == who and any(since <= minute < until for since, until in spans)
                ]
                if seen:
                    # Of equals the latest, and of those the first device.
                    people, minute, device = min(seen, key=lambda s: (-s[0], FOREVER - s[1], s[2]))
                    count = Headcount(
                        room=meeting.room, at=minute, endpoint=device, people=people, provenance="people_count"
                    )
                    sensed.append(Placed(meeting.source, device, who, count, meeting))
        return sensed


@dataclass
class Figures:
    """What the facts come to, as rows of the public views. A meeting is named by its room and start, a person's name
    is ("person", name)."""

    zone: ZoneInfo
    inventory: Inventory
    _meetings: list[Meeting]
    _legs: list[Leg]
    _placed: list[Placed]

    def meetings(self) -> list[Row]:
        return [
            {
                "source": m.source,
                "room": m.room,
                "external_id": m.listing.name if m.listing else None,
                "title": m.listing.said.title if m.listing and m.listing.said else None,
                "started_at": m.name[1],
                "ended_at": m.ended_at,
                "duration_seconds": m.seconds,
                "endpoint_count": len(m.present),
                "leg_count": len(m.counted),
                "attendees": sum(m.people(who) for who in m.present),
                "day": m.day(self.zone),
            }
            for m in self._meetings
            if m.name is not None
        ]

    def legs(self) -> list[Row]:
        rows = []
        for leg in self._legs:
            said = msgspec.structs.asdict(leg.said)
            lasted = said["joined_at"] is not None and said["left_at"] is not None
            del said["room"], said["meeting"], said["personal"]
            meeting = leg.meeting.name if leg.meeting else None
            derived = {
                "source": leg.source,
                "meeting": meeting,
                "meeting_started_at": meeting[1] if meeting else None,
                "identity": _identity(leg.said),
                "duration_seconds": (leg.until - leg.since).total_seconds() if lasted else None,
                "copy": leg.copy,
                "counted": leg.counted,
            }
            rows.append(said | derived | self.inventory.place(leg.who))
        return rows

    def endpoint_connections(self) -> list[Row]:
        return [self._connection(m, who) for m in self._meetings for who in m.present]

    def _connection(self, meeting: Meeting, who: Who) -> Row:
        legs = [leg for leg in meeting.counted if leg.who == who]
        spans = presence(legs)
        since, until = _hull(spans)
        seconds = None if until == FOREVER else sum((end - start).total_seconds() for start, end in spans)
        whole = meeting.seconds
        share = (seconds, whole) if seconds is not None and whole is not None else None
        return self.inventory.place(who) | {
            "meeting": meeting.name,
            "source": meeting.source,
            "identity": min((i for leg in legs if (i := _identity(leg.said)) is not None), default=None),
            "joined_at": since,
            "left_at": None if until == FOREVER else until,
            "presence_seconds": seconds,
            "legs": len(legs),
            "attended": share[0] >= min(300, share[1] / 10) if share else None,
            "full_attendance": 100 * share[0] >= 85 * share[1] if share else None,
            "attendees": meeting.people(who),
            "provenance": meeting.standing[who].provenance if who in meeting.standing else "connections",
        }

    def attendance(self) -> list[Row]:
        return [
            self.inventory.place(p.who)
            | {
                "meeting": p.meeting.name if p.meeting else None,
                "source": p.source,
                "identity": p.name,
                "people": p.count.people,
                "provenance": p.count.provenance,
                "at": p.count.at,
                "note": p.count.note,
                "stands": p.stands,
            }
            for p in self._placed
        ]

    def usage_daily(self) -> list[Row]:
        return self._usage("day", lambda day: day)

    def usage_monthly(self) -> list[Row]:
        return self._usage("month", lambda day: day.replace(day=1))

    def _usage(self, name: str, period: Callable[[date], date]) -> list[Row]:
        legs: defaultdict[tuple[date, str | None, str | None], list[Leg]] = defaultdict(list)
        for leg in self._legs:
            if leg.meeting is None or not (leg.counted or leg.failed):
                continue
            for source in (leg.source, None):
                for org in (*self.inventory.units_of(leg.who), None):
                    legs[period(leg.meeting.day(self.zone)), source, org].append(leg)
        return [{name: when, "source": source, "org": org} | _sums(part) for (when, source, org), part in legs.items()]


def _sums(legs: Sequence[Leg]) -> Row:
    """What these legs come to, with the meetings they were in."""
    counted = [leg for leg in legs if leg.counted]
    meetings = {leg.meeting for leg in counted if leg.meeting is not None}
    connections = {(leg.meeting, leg.who) for leg in counted if leg.meeting is not None}
    return {
        "meetings": len(meetings),
        "endpoints": len({leg.who for leg in counted}),
        "endpoint_connections": len(connections),
        "legs": len(counted),
        "attendees": sum(meeting.people(who) for meeting, who in connections),
        "meeting_seconds": sum(m.seconds or 0 for m in meetings),
        "leg_seconds": sum((leg.until - leg.since).total_seconds() for leg in counted if leg.until != FOREVER),
        "peak_legs": peak(counted),
        "failed_connections": sum(leg.failed for leg in legs),
    }


def _identity(leg: LegRecord) -> str | tuple[str, str] | None:
    return ("person", leg.identity) if leg.personal and leg.identity is not None else leg.identity
