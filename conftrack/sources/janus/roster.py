"""Who joined a Janus and how that ended, from whatever events and snapshots have told so far.

Janus names a leaving participant by room and id only, and tells apart from it that its session had timed out or its
room was destroyed. So an end is kept under what it names, and which join it ended is worked out when it is asked:
the order in which facts arrive, and how often, does not matter. No I/O and no clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from conftrack.model import EndClass
from conftrack.sources.janus.wire import Id

#: What Janus tells of one parting (the participant left, its session timed out) it tells within this time.
_ONE_PARTING = timedelta(seconds=2)
#: When somebody was first seen we know to the second of Janus's clock, or to what that and ours differ by.
_FIRST_SIGHT = timedelta(seconds=2)


class Key(NamedTuple):
    """A participant as Janus names it. Not a join: clients may choose their id, and rooms come back."""

    room: Id
    participant: Id


Scope = Key | tuple[Literal["room", "session", "server"], Id]
"""Whom an end ends: one participant, everybody in a room or of a session, everybody."""

SERVER: Scope = ("server", 0)


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """One handle's one stay in a room."""

    key: Key
    handle: int
    session: int
    display: str | None
    #: When it joined, if an event told; else when it was first seen.
    since: datetime
    told: bool

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return self.key, ("room", self.key.room), ("session", self.session), SERVER


class End(msgspec.Struct, frozen=True, order=True):
    at: datetime
    end_class: EndClass
    #: Janus's own word; None where it could say none.
    reason: str | None


class Roster:
    """The joins of one Janus, open ones and those that ended lately."""

    def __init__(self) -> None:
        self._joins: dict[int, Join] = {}
        self._within: defaultdict[Scope, dict[int, Join]] = defaultdict(dict)
        self._ends: defaultdict[Scope, set[End]] = defaultdict(set)
        self._restarts: set[datetime] = set()
        #: When snapshots were taken, in order.
        self._looks: list[datetime] = []
        #: When a join whose end nobody told was first missed.
        self._missed: dict[int, datetime] = {}

    def told(self, join: Join) -> None:
        """An event told of this join: the last word on it."""
        if self._missed.get(join.handle, join.since) < join.since:
            del self._missed[join.handle]
        self._joins[join.handle] = join
        for scope in join.scopes:
            self._within[scope][join.handle] = join

    def seen(self, join: Join) -> None:
        """It is there now: news only if it was not known to be."""
        known = self._joins.get(join.handle)
        if known is None or not self._is_open(known):
            self._missed.pop(join.handle, None)
            self.told(join)

    def ended(self, scope: Scope, end: End) -> None:
        """An event told of an end."""
        self._ends[scope].add(end)

    def restarted(self, at: datetime) -> None:
        """An event told that Janus began anew: whoever joined before and was still there was lost."""
        self._restarts.add(at)

    def looked(self, at: datetime, gone: Iterable[Join]) -> None:
        """A snapshot was taken; these are not there any more, and that is all we know of how they went."""
        insort(self._looks, at)
        for join in gone:
            self._missed.setdefault(join.handle, at)

    def within(self, scopes: Iterable[Scope]) -> list[Join]:
        """The joins that an end of any of these scopes may have ended."""
        found = {handle: join for scope in scopes for handle, join in self._within.get(scope, {}).items()}
        return list(found.values())

    def open(self) -> dict[Key, Join]:
        """Who is there, as far as we know."""
        return {join.key: join for join in self._joins.values() if self._is_open(join)}

    def _is_open(self, join: Join) -> bool:
        return self._over_at(join) is None

    def _over_at(self, join: Join) -> datetime | None:
        end = self.end_of(join)
        return end.at if end else self._missed.get(join.handle) or self._again(join)

    def _again(self, join: Join) -> datetime | None:
        """When the same participant joined next: it cannot be there twice, so this join was over by then."""
        return min((j.since for j in self._within[join.key].values() if j.since > join.since), default=None)

    def end_of(self, join: Join) -> End | None:
        """The first end after it joined, and before the same participant joined again or Janus restarted.

        A timed-out session makes its participants leave too, just before or after: then the time-out is why.
        """
        since = _surely_since(join)
        restart = min((at for at in self._restarts if since < at), default=None)
        until = min((at for at in (self._again(join), restart) if at is not None), default=None)
        ends = sorted(
            end
            for scope in join.scopes
            for end in self._ends.get(scope, ())
            if since <= end.at and (until is None or end.at <= until)
        )
        if not ends:
            return self._lost(join, until) if until is not None and until == restart else None
        first = ends[0]
        if first.end_class == "left":
            for end in ends:
                if end.end_class == "dropped" and end.at - first.at <= _ONE_PARTING:
                    return msgspec.structs.replace(end, at=first.at)
        return first

    def _lost(self, join: Join, restart: datetime) -> End | None:
        """Of who was there until Janus went down: they were when the last snapshot was taken. Without one since they
        joined, all that is known is when Janus came back."""
        missed = self._missed.get(join.handle)
        if missed is not None and missed < restart:
            return None
        looks = bisect_right(self._looks, restart)
        seen_at = self._looks[looks - 1] if looks else join.since
        return End(seen_at if seen_at > join.since else restart, "dropped", None)

    def forget(self, before: datetime) -> None:
        """Drops what was over by then."""
        for join in list(self._joins.values()):
            over_at = self._over_at(join)
            if over_at is not None and over_at < before:
                del self._joins[join.handle]
                self._missed.pop(join.handle, None)
                for scope in join.scopes:
                    del self._within[scope][join.handle]
        self._within = defaultdict(dict, {scope: joins for scope, joins in self._within.items() if joins})
        recent = {scope: {end for end in ends if end.at >= before} for scope, ends in self._ends.items()}
        self._ends = defaultdict(set, {scope: ends for scope, ends in recent.items() if ends})
        self._restarts = {at for at in self._restarts if at >= before}
        del self._looks[: bisect_left(self._looks, before)]


def _surely_since(join: Join) -> datetime:
    """What happened before this did not happen to this join."""
    return join.since if join.told else join.since + _FIRST_SIGHT
