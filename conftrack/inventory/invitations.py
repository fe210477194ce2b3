"""What invitations there would be with the rows and calendars of some files in them, and what is wrong with that. Pure.

The rows of one invitation are all that are expected on it: who is on none of them is not invited any more. An excuse
stays until somebody gives another; only `conftrack expected excuse --revoke` takes one back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from conftrack.inventory import calendars
from conftrack.inventory.calendars import Calendar, Event
from conftrack.inventory.checks import hint, nearest
from conftrack.inventory.headings import Row, Rows
from conftrack.inventory.moments import aware, local
from conftrack.inventory.names import fold
from conftrack.inventory.tables import Problem, WrongFiles
from conftrack.model import Record
from conftrack.privacy import Privacy
from conftrack.sources.base import normalise_alias
from conftrack.storage.inventory import Inventory, Site
from conftrack.storage.invitations import Invitation, Known

#: What a selector may begin with.
_SELECTORS = {
    "org": "org", "unit": "org", "don vi": "org", "area": "area", "khu vuc": "area", "carrier": "carrier",
    "nha mang": "carrier", "kind": "kind", "loai": "kind",
}  # fmt: skip


class Invited(Record, frozen=True):
    """From the invitations as they are to what they would be, by uid; those that are in neither stay."""

    before: Mapping[str, Invitation]
    after: Mapping[str, Invitation]
    notes: tuple[str, ...] = ()


def named(rows: Rows, timezone: ZoneInfo, now: datetime, privacy: Privacy) -> list[str]:
    """The uids of all invitations that the files speak of."""
    found = [_uid(row, _start(row, timezone)) for row in _of_kind(rows, privacy)]
    since, until = calendars.horizon(now, timezone)
    for calendar in rows.calendars:
        found += [event.uid for event in calendars.meetings(calendar, since, until, timezone, [])]
    return found


def plan(
    known: Known,
    rows: Rows,
    inventory: Inventory,
    *,
    replaces: bool,
    timezone: ZoneInfo,
    now: datetime,
    privacy: Privacy,
) -> Invited:
    """What the files make of the invitations. With `replaces` they are everything of their kind, lists or calendars:
    standing invitations, and those to meetings that have not begun, are withdrawn where no file names them. A meeting
    that its event in the calendar has no more is withdrawn in any case. Of a sensitive meeting no title is taken, of a
    sensitive room not the name.

    Raises WrongFiles with every problem.
    """
    draft = _Draft(known, inventory, timezone, now, privacy)
    draft.problems += rows.problems
    draft.take_rows(_of_kind(rows, privacy), replaces)
    draft.take_calendars(rows.calendars, replaces)
    if draft.problems:
        raise WrongFiles(draft.problems)
    return Invited(before=known.invitations, after=draft.after, notes=(*draft.notes, *_doubts(draft.after, timezone)))


class _Draft:
    """The invitations while files are put into them."""

    def __init__(self, known: Known, inventory: Inventory, timezone: ZoneInfo, now: datetime, privacy: Privacy) -> None:
        self._privacy = privacy
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.after = dict(known.invitations)
        self._known = known
        self._inventory = inventory
        self._timezone = timezone
        self._now = now
        self._sites = {site.code: site for site in inventory.endpoints}
        self._owners = inventory.owners()
        self._parents = {code: units[-1].parent for code, units in inventory.periods().items()}
        self._noted_rooms: set[str] = set()
        self._folded_rooms = {fold(room): room for room in known.rooms}

    # -- lists

    def take_rows(self, rows: Sequence[Row], replaces: bool) -> None:
        groups: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if not row.failed & {"meeting", "start"}:
                start = _start(row, self._timezone)
                groups[_uid(row, start)].append(row)
        for uid, of_uid in groups.items():
            self._take_list(uid, of_uid)
        if replaces and rows:
            self._withdraw(uid for uid, one in self.after.items() if one.origin == "file" and uid not in groups)

    def _take_list(self, uid: str, rows: Sequence[Row]) -> None:
        old = self._known.invitations.get(uid)
        said: dict[str, Any] = {}
        for column in ("room", "title", "source", "start", "end"):
            having = [row for row in rows if row.values.get(column) is not None]
            for row in having:
                if row.values[column] != having[0].values[column]:
                    other = having[0]
                    self._wrong(row, column, f"is {other.values[column]} on line {other.place.line}, for {uid} as well")
                    break
            if having:
                said[column] = having[0].values[column]
            elif any(column in row.values for row in rows):
                said[column] = None
        first = rows[0]
        starts_at, ends_at = self._times(first, said, old)
        source = said.get("source", old.source if old else None)
        if source is not None and source not in self._known.sources:
            self._wrong(first, "source", f"there is no source {source!r}{nearest(source, self._known.sources)}")
        self._note_room(str(first.at("room")), said["room"], old)
        expected = self._expected(rows, starts_at)
        kept = old.expected if old is not None else {}
        sensitive = any("sensitive" in row.values for row in rows) or (old is not None and old.sensitive)
        title = said.get("title", old.title if old else None)
        self.after[uid] = Invitation(
            uid=uid, room=said["room"], source=source, title=None if sensitive else title, sensitive=sensitive,
            starts_at=starts_at, ends_at=ends_at, origin=old.origin if old is not None else "file",
            expected={code: expected[code] or kept.get(code) for code in sorted(expected)},
        )  # fmt: skip

    def _times(
        self, row: Row, said: Mapping[str, Any], old: Invitation | None
    ) -> tuple[datetime | None, datetime | None]:
        starts_at, ends_at = (old.starts_at, old.ends_at) if old is not None else (None, None)
        try:
            if "start" in said:
                starts_at = aware(said["start"], self._timezone)
        except ValueError as error:
            self._wrong(row, "start", str(error))
        if "end" in said:
            end = said["end"]
            try:
                if isinstance(end, time):
                    if starts_at is None:
                        raise ValueError("is an hour of no day: there is no start")
                    end = datetime.combine(starts_at.astimezone(self._timezone).date(), end)
                ends_at = aware(end, self._timezone)
            except ValueError as error:
                self._wrong(row, "end", str(error))
        if ends_at is not None and starts_at is None:
            self._wrong(row, "end", "an invitation without a start is to every meeting of the room, and has no end")
        elif ends_at is not None and starts_at is not None and ends_at <= starts_at:
            self._wrong(row, "end", "is not after the start")
        return starts_at, ends_at

    def _expected(self, rows: Sequence[Row], starts_at: datetime | None) -> dict[str, str | None]:
        """Who is expected, with the reason to stay away: of a line that names the endpoint before one that selects."""
        day = (starts_at or self._now).astimezone(self._timezone).date()
        chosen: dict[str, str | None] = {}
        alone: dict[str, Row] = {}
        for row in rows:
            reason = row.values.get("excused")
            for word in row.values["endpoint"]:
                name, _, value = (part.strip() for part in word.partition(":"))
                if word in self._sites:
                    if self._retired(self._sites[word], day):
                        self.notes.append(f"{row.at('endpoint')}: endpoint {word} is out of service by then")
                    if word in alone and reason is not None and alone[word].values.get("excused") not in (None, reason):
                        self._wrong(row, "excused", f"{word} has another reason on line {alone[word].place.line}")
                    if word not in alone or reason is not None:
                        chosen[word], alone[word] = reason, row
                elif value and fold(name) in _SELECTORS:
                    found = self._select(row, _SELECTORS[fold(name)], value)
                    if not found:
                        continue
                    in_service = [site.code for site in found if not self._retired(site, day)]
                    if not in_service:
                        self._wrong(row, "endpoint", f"{word} has no endpoint in service")
                    for code in in_service:
                        if code not in alone:
                            chosen[code] = chosen.get(code) or reason
                else:
                    self._wrong(row, "endpoint", f"there is no endpoint {word!r}{hint(word, self._sites.values())}")
        return chosen

    def _select(self, row: Row, by: str, value: str) -> list[Site]:
        if by == "org":
            if value not in self._parents:
                self._wrong(row, "endpoint", f"there is no unit {value!r}{hint(value, self._inventory.units)}")
                return []
            found = [site for site in self._sites.values() if value in self._above(site.org)]
            if not found:
                self._wrong(row, "endpoint", f"unit {value} and all below it have no endpoint")
            return found
        found = [site for site in self._sites.values() if getattr(site, by) == value]
        if not found:
            there = {name for site in self._sites.values() if (name := getattr(site, by)) is not None}
            self._wrong(row, "endpoint", f"no endpoint has the {by} {value!r}{nearest(value, there)}")
        return found

    def _above(self, org: str | None) -> list[str]:
        found: list[str] = []
        while org is not None and org not in found:
            found.append(org)
            org = self._parents.get(org)
        return found

    @staticmethod
    def _retired(site: Site, day: date) -> bool:
        return site.retired_on is not None and site.retired_on <= day

    # -- calendars

    def take_calendars(self, opened: Sequence[Calendar], replaces: bool) -> None:
        since, until = calendars.horizon(self._now, self._timezone)
        found: set[str] = set()
        events: set[str] = set()
        unmatched: dict[str, list[str]] = {}
        for calendar in opened:
            events |= calendar.lines.keys()
            for event in calendars.meetings(calendar, since, until, self._timezone, self.notes):
                if not event.cancelled and self._take_event(event, calendar, unmatched):
                    found.add(event.uid)
        self.notes += [
            f"{place}: {'this attendee is' if len(addresses) == 1 else 'these attendees are'} no endpoint's alias: "
            + ", ".join(addresses)
            for place, addresses in unmatched.items()
        ]
        from_calendars = [uid for uid, one in self.after.items() if one.origin == "calendar" and uid not in found]
        # Of an event all its meetings are known now; without one it has none any more.
        self._withdraw(uid for uid in from_calendars if (replaces and opened) or uid.rpartition("/")[0] in events)
        self._withdraw(uid for uid in from_calendars if uid in events)

    def _take_event(self, event: Event, calendar: Calendar, unmatched: dict[str, list[str]]) -> bool:
        room = self._room(event)
        codes: set[str] = set()
        for address in event.attendees:
            code = self._owners.get(normalise_alias(address) or "")
            if code is not None:
                codes.add(code)
            elif address not in event.rooms:
                listed = unmatched.setdefault(str(calendar.at(event.event, "ATTENDEE")), [])
                if address not in listed:
                    listed.append(address)
        place = calendar.at(event.event)
        if room is None or not codes:
            lacks = "names no room" if room is None else "has no attendee that is an endpoint"
            note = f"{place}: “{event.title or event.event}” {lacks}, passed over"
            if note not in self.notes:
                self.notes.append(note)
            return False
        old = self._known.invitations.get(event.uid)
        self._note_room(str(calendar.at(event.event, "LOCATION")), room, old)
        kept = old.expected if old is not None else {}
        sensitive = self._privacy.hushes_room(room) or self._privacy.sensitive(event.title)
        sensitive = sensitive or (old is not None and old.sensitive)
        self.after[event.uid] = Invitation(
            uid=event.uid, room=room, source=old.source if old is not None else None,
            title=None if sensitive else event.title, sensitive=sensitive,
            starts_at=event.starts_at, ends_at=event.ends_at, origin=old.origin if old is not None else "calendar",
            expected={code: kept.get(code) for code in sorted(codes)},
        )  # fmt: skip
        return True

    def _room(self, event: Event) -> str | None:
        """A room that meetings were held in; if none is named, what the calendar calls it."""
        rooms = [self._privacy.room(name) for name in event.rooms]
        if not event.named:
            for name in rooms:
                if name in self._known.rooms:
                    return name
            for name in rooms:
                if (room := self._folded_rooms.get(fold(name))) is not None:
                    return room
        return next(iter(rooms), None)

    # -- both

    def _withdraw(self, uids: Iterable[str]) -> None:
        """Takes these away, unless their meeting has begun: what was expected then stays so."""
        for uid in list(uids):
            one = self.after.get(uid)
            if one is not None and (one.starts_at is None or one.starts_at > self._now):
                del self.after[uid]

    def _note_room(self, place: str, room: str, old: Invitation | None) -> None:
        """A room that is new may be misspelt; told once, and not while there are no meetings to compare with."""
        is_new = old is None or old.room != room
        if is_new and self._known.rooms and room not in self._known.rooms | self._noted_rooms:
            self._noted_rooms.add(room)
            near = nearest(room, self._known.rooms)
            self.notes.append(f"{place}: no meeting was held in the room {room!r} yet{near}")

    def _wrong(self, row: Row, column: str, message: str) -> None:
        self.problems.append(Problem(place=row.at(column), message=message))


def _of_kind(rows: Rows, privacy: Privacy) -> list[Row]:
    of_kind = sorted((row for row in rows.rows if row.kind == "invitations"), key=lambda row: row.place)
    return [_admitted(row, privacy) for row in of_kind]


def _admitted(row: Row, privacy: Privacy) -> Row:
    """The row without what may not be known of a sensitive meeting, whose room may be part of the uid that is made."""
    room = row.values.get("room")
    if not (room is not None and privacy.hushes_room(room)) and not privacy.sensitive(row.values.get("title")):
        return row
    hushed = {"title": None, "sensitive": True} | ({"room": privacy.room(room)} if room is not None else {})
    return replace(row, values={**row.values, **hushed})


def _start(row: Row, timezone: ZoneInfo) -> datetime | None:
    """The start; None too where it cannot be, which is told of elsewhere."""
    try:
        return aware(row.values.get("start"), timezone)
    except ValueError:
        return None


def _uid(row: Row, start: datetime | None) -> str:
    return row.values.get("meeting") or _made_uid(row.values, start)


def _made_uid(values: Mapping[str, Any], start: datetime | None) -> str:
    """The same for the same room and start, so that a list without uids may be taken twice."""
    room = "/".join(part for part in (values.get("source"), values["room"]) if part)
    return f"{room}@{start.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if start is not None else f"{room}@always"


def _doubts(after: Mapping[str, Invitation], timezone: ZoneInfo) -> Iterator[str]:
    """A meeting is held on one invitation: of two at a time, one is for nothing."""
    dated = sorted(
        (one for one in after.values() if one.starts_at is not None), key=lambda i: (i.room, i.starts_at, i.uid)
    )
    for one, other in pairwise(dated):
        if one.room == other.room and one.starts_at == other.starts_at and one.source == other.source:
            start = local(one.starts_at, timezone)
            yield f"{one.uid} and {other.uid} both are to {one.room} at {start}: one and the same?"
