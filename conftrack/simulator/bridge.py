"""What the bridge knows at one moment: conferences that run, and a history that forgets the oldest.

Sits between the world, which knows the future, and the HTTP face, which must not. History is kept sorted by end time,
so that the usual question, a window of end times, is answered by bisection however large the history is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, TypeAlias

import msgspec

from conftrack.simulator import rows
from conftrack.simulator.faults import Injector
from conftrack.simulator.plan import MINUTE, SECOND, Conference, Leg, Meeting, moment
from conftrack.simulator.tastypie import Field, Query, select
from conftrack.simulator.world import World

RETENTION = 10_000
"""Conference instances that the history keeps, first in first out (Pexip: "Management history API")."""

# After this long a history row is complete and never changes again.
_RESTLESS = 10 * MINUTE
# A client that asks for a page has those that are this many before it: it asks ahead, though not that far.
_IN_FLIGHT = 6

# A window of end times and the size of its pages.
_Reading: TypeAlias = tuple[int, int, int]


class Entry(msgspec.Struct, gc=False, frozen=True):
    """One row of history: a conference, a participant of it, or junk."""

    end: int
    id: str
    conference: Conference
    leg: Leg | None = None
    junk: Any = None


CONFERENCE_FIELDS: dict[str, Field[Entry]] = {
    "id": Field(lambda entry: entry.id),
    "name": Field(lambda entry: entry.conference.name),
    "service_type": Field(lambda entry: entry.conference.service_type),
    "tag": Field(lambda entry: entry.conference.tag),
    "start_time": Field(lambda entry: entry.conference.start, "datetime"),
    "end_time": Field(lambda entry: entry.end, "datetime"),
    "duration": Field(lambda entry: (entry.end - entry.conference.start) // SECOND, "integer"),
    "participant_count": Field(lambda entry: len(entry.conference.legs), "integer"),
}


def _leg(entry: Entry) -> Leg:
    if entry.leg is None:
        raise TypeError("not a participant")
    return entry.leg


PARTICIPANT_FIELDS: dict[str, Field[Entry]] = {
    "id": Field(lambda entry: entry.id),
    "call_uuid": Field(lambda entry: _leg(entry).call),
    "conversation_id": Field(lambda entry: _leg(entry).call),
    "conference": Field(lambda entry: entry.conference.id),
    "conference_name": Field(lambda entry: entry.conference.name),
    "display_name": Field(lambda entry: _leg(entry).name),
    "remote_alias": Field(lambda entry: _leg(entry).shown),
    "local_alias": Field(lambda entry: rows.room_alias(entry.conference.name)),
    "call_direction": Field(lambda entry: _leg(entry).direction),
    "protocol": Field(lambda entry: _leg(entry).protocol),
    "role": Field(lambda entry: _leg(entry).role),
    "service_type": Field(lambda entry: _leg(entry).service_type),
    "disconnect_reason": Field(lambda entry: _leg(entry).reason),
    "vendor": Field(lambda entry: _leg(entry).vendor),
    "is_streaming": Field(lambda entry: _leg(entry).excluded == "streaming", "boolean"),
    "start_time": Field(lambda entry: _leg(entry).joined, "datetime"),
    "end_time": Field(lambda entry: entry.end, "datetime"),
    "duration": Field(lambda entry: (entry.end - (_leg(entry).joined or entry.end)) // SECOND, "integer"),
}


class Shelf:
    """History rows of one kind, sorted by (end time, id)."""

    def __init__(self, fields: dict[str, Field[Entry]]) -> None:
        self.fields = fields
        self.entries: list[Entry] = []

    def add(self, new: Iterable[Entry]) -> None:
        fresh = sorted(new, key=_order)
        if fresh:
            # What is new mostly ends after all the rest: only the tail is sorted again.
            where = bisect_left(self.entries, _order(fresh[0]), key=_order)
            self.entries[where:] = sorted(self.entries[where:] + fresh, key=_order)

    def before(self, end: int) -> int:
        """How many rows ended before this."""
        return bisect_left(self.entries, end, key=_end)

    def drop(self, conferences: frozenset[str]) -> None:
        self.entries = [entry for entry in self.entries if entry.conference.id not in conferences]


def _end(entry: Entry) -> int:
    return entry.end


def _order(entry: Entry) -> tuple[int, str]:
    return entry.end, entry.id


class Bridge:
    """The conference system of a world. `now` is the server's own time, in microseconds, and never runs back far."""

    def __init__(self, world: World, injector: Injector, retention: int = RETENTION) -> None:
        self._world, self._injector, self._retention = world, injector, retention
        self.conferences = Shelf(CONFERENCE_FIELDS)
        self.participants = Shelf(PARTICIPANT_FIELDS)
        self._known = 0
        self._encoded: dict[str, msgspec.Raw] = {}
        #: Pages of participants that were sent: their window and size, their offset, the ids of their rows.
        self._sent: list[tuple[_Reading, int, list[str]]] = []
        #: Rows that it asked on after, so that it must have them.
        self._taken: set[str] = set()

    # History

    def page(self, shelf: Shelf, query: Query, now: int) -> tuple[int, list[Any]]:
        """How many rows of a shelf match, and those of the page that was asked for, ready to encode."""
        self.advance(now)
        first, last = query.offset, query.offset + query.limit
        window = query.window("end_time") if query.order in ("end_time", "-end_time") else None
        if window is None:
            real = [entry for entry in self._visible(shelf, 0, now + 1, now) if entry.junk is None]
            found = select(real, query, shelf.fields)
            return len(found), self._render(found[first:last], now)
        low, high = window[0] or 0, now + 1 if window[1] is None else window[1]
        evicting = shelf is self.participants and self._injector.faults.evicted > self._injector.counts["evicted"]
        reading = (low, high, query.limit)
        if evicting:
            self._take_note(reading, query.offset)
            self._evict()
        view = _View(shelf, low, min(now + 1, high), self, now)
        backwards = query.order == "-end_time"
        if backwards:
            first, last = max(0, view.total - last), max(0, view.total - first)
        entries = view.cut(first, last, self._injector.reorders())
        if view.shuffled:
            self._injector.counts["reordered"] += 1
        if backwards:
            entries.reverse()
        if entries and self._injector.repeats():
            entries.insert(len(entries) // 2, entries[len(entries) // 2])
        self._injector.counts["malformed"] += sum(entry.junk is not None for entry in entries)
        if evicting:
            self._sent.append((reading, query.offset, [entry.id for entry in entries]))
        return view.total, self._render(entries, now)

    def participant(self, key: str, now: int) -> Entry | None:
        """One finished leg."""
        self.advance(now)
        shown = self._visible(self.participants, 0, now + 1, now)
        return next((entry for entry in shown if entry.id == key), None)

    def linked(self, conference: Conference, now: int) -> bool:
        """Whether a conference has moved to history; for up to three seconds it may be neither there nor in status."""
        return conference.end + _gap(conference) <= now

    def backplanes(self, now: int) -> list[rows.Row]:
        """The links between the nodes of meetings that have ended."""
        return [
            rows.backplane(meeting.conferences[0], other)
            for meeting in self._world.meetings(moment(now))
            for other in meeting.conferences[1:]
            if meeting.end <= now
        ]

    # Now

    def running(self, now: int) -> list[Conference]:
        """The conferences that somebody is in, or is being called into."""
        self.advance(now)
        entries = self.conferences.entries[self.conferences.before(now + 1) :]
        return [e.conference for e in entries if e.junk is None and e.conference.start <= now]

    def live(self, now: int) -> Iterator[tuple[Leg, Conference]]:
        for conference in self.running(now):
            for leg in conference.legs:
                if leg.placed <= now < leg.left:
                    yield leg, conference

    # How it is kept

    def advance(self, now: int) -> None:
        """Takes in what the world has decided by now, and forgets what is too old."""
        meetings = self._world.meetings(moment(now))
        if len(meetings) > self._known:
            self._take(meetings[self._known :])
            self._known = len(meetings)
        over = self.conferences.before(now + 1) - self._retention
        if over > 0:
            self._drop(self.conferences.entries[:over])

    def warm(self, now: int) -> None:
        """Encodes every row that will not change again, for benchmarks of what is on the other side."""
        self.advance(now)
        for shelf in (self.conferences, self.participants):
            for entry in shelf.entries[: shelf.before(now - 60 * MINUTE)]:
                if entry.junk is None and self.linked(entry.conference, now):
                    self._encoded[entry.id] = msgspec.Raw(msgspec.json.encode(self._row(entry, now)))

    def _take(self, meetings: Sequence[Meeting]) -> None:
        conferences = [c for meeting in meetings for c in meeting.conferences]
        self.conferences.add(self._with_junk(Entry(c.end, c.id, c) for c in conferences))
        self.participants.add(self._with_junk(Entry(leg.left, leg.id, c, leg) for c in conferences for leg in c.legs))

    def _with_junk(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            yield entry
            junk = self._injector.junk(entry.id)
            if junk is not None:
                yield Entry(entry.end, f"{entry.id} junk", entry.conference, None, junk)

    def _drop(self, oldest: Sequence[Entry]) -> None:
        gone = frozenset(entry.conference.id for entry in oldest)
        self.conferences.drop(gone)
        self.participants.drop(gone)

    def _take_note(self, reading: _Reading, offset: int) -> None:
        """Who asks for later pages of a window, or for a later window, has what came before, but for what is under way.

        That an answer left is no proof: it may have been torn, or thrown away because another showed that pages move.
        """
        low, _, size = reading
        under_way = []
        for sent in self._sent:
            (_, high, _), start, ids = sent
            if high <= low or (sent[0] == reading and start + _IN_FLIGHT * size <= offset):
                self._taken.update(ids)
            else:
                under_way.append(sent)
        self._sent = under_way

    def _evict(self) -> None:
        """Lets the oldest conference go, with all its participants, once the client has these."""
        oldest = next((entry for entry in self.conferences.entries if entry.junk is None), None)
        if oldest is not None and all(leg.id in self._taken for leg in oldest.conference.legs):
            self._injector.counts["evicted"] += 1
            self._drop([oldest])

    def _visible(self, shelf: Shelf, low: int, high: int, now: int) -> list[Entry]:
        return _View(shelf, low, high, self, now).all()

    def shows(self, entry: Entry, now: int) -> bool:
        """Whether a row that has ended is in the history yet."""
        if entry.leg is None and entry.junk is None and not self.linked(entry.conference, now):
            return False
        late = entry.end + self._injector.delay(entry.id) > now
        self._injector.counts["late"] += late
        return not late

    def _render(self, entries: Sequence[Entry], now: int) -> list[Any]:
        return [self._encoded.get(entry.id) or self._row(entry, now) for entry in entries]

    def _row(self, entry: Entry, now: int) -> Any:
        if entry.junk is not None:
            return entry.junk
        if entry.leg is None:
            return rows.conference(entry.conference)
        early = self._injector.is_early(entry.id, now - entry.end)
        self._injector.counts["edited"] += early
        return rows.participant(entry.leg, entry.conference, linked=self.linked(entry.conference, now), early=early)


class _View:
    """The rows of a shelf that ended in [low, high) and show at one moment, cut without copying the shelf."""

    def __init__(self, shelf: Shelf, low: int, high: int, bridge: Bridge, now: int) -> None:
        entries = self._entries = shelf.entries
        self._from = shelf.before(low)
        end = max(self._from, shelf.before(high))
        self._rest = min(max(self._from, shelf.before(now - _RESTLESS)), end)
        self._near = [entry for entry in entries[self._rest : end] if bridge.shows(entry, now)]
        self.total = self._rest - self._from + len(self._near)
        self.shuffled = False

    def all(self) -> list[Entry]:
        return self._slice(0, self.total)

    def cut(self, first: int, last: int, rng: Random | None) -> list[Entry]:
        last = min(last, self.total)
        if first >= last or rng is None:
            return self._slice(first, last)
        start, stop = first, last
        while start > 0 and self._at(start - 1).end == self._at(first).end:
            start -= 1
        while stop < self.total and self._at(stop).end == self._at(last - 1).end:
            stop += 1
        plain = self._slice(start, stop)
        mixed = sorted(plain, key=lambda entry: (entry.end, rng.random()))
        self.shuffled = [e.id for e in mixed] != [e.id for e in plain]
        return mixed[first - start : last - start]

    def _at(self, index: int) -> Entry:
        settled = self._rest - self._from
        return self._entries[self._from + index] if index < settled else self._near[index - settled]

    def _slice(self, first: int, last: int) -> list[Entry]:
        settled = self._rest - self._from
        return (
            self._entries[self._from + min(first, settled) : self._from + min(last, settled)]
            + self._near[max(0, first - settled) : max(0, last - settled)]
        )


def _gap(conference: Conference) -> int:
    return int(3 * SECOND * max(0.0, 2 * rows.chance("gap", conference.id) - 1))
