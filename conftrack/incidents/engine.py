"""Which incidents there are, as a pure function of the facts: no clock, no I/O, nothing remembered.

The facts of one endpoint in one meeting are a `Case`. Whatever could not be seen yet is not judged: nothing opens or
closes after `Gathering.seen_until`. The same facts give the same episodes, whenever and however often they are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from conftrack.model import FAILED, EndClass, IncidentKind, Level

DROP_GRACE = timedelta(seconds=20)
"""Who is back within this was not gone."""
ABSENT_GRACE = timedelta(minutes=5)
"""Who joins within this after the start was not absent."""
FLAPS = 3
FLAP_SPAN = timedelta(minutes=10)
"""So many reconnects within this are flapping, until there was none for as long."""
QUALITY_SPAN = timedelta(seconds=60)
"""How long loss must be poor to be an incident, and good to be none any more."""
UNREGISTERED_GRACE = timedelta(seconds=60)
"""Who registers again within this was not gone."""
OUTAGE_SPAN = timedelta(seconds=60)
OUTAGE_ENDPOINTS, OUTAGE_SHARE = 5, 0.5
"""So many endpoints, and this share, of one unit, carrier or area failing within OUTAGE_SPAN are one outage."""

#: What an attempt may fail with that came from outside: who is not answered, or calls a wrong number, is not failing.
_FAILED_INCOMING = frozenset({"negotiation", "capacity"})

Span = tuple[datetime, datetime]
"""A half-open period [since, until)."""
Scope = tuple[Literal["org", "area", "carrier"], str]
"""What an outage is of: a unit (its code), an area or a carrier. Of equals, the one named first here."""
_SCOPES = ("org", "area", "carrier")
_FAILING = frozenset({"dropped", "connect_failed"})


class Leg(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One connection of the endpoint, or one attempt (joined_at None)."""

    joined_at: datetime | None
    left_at: datetime | None
    end_class: EndClass | None = None
    end_reason: str | None = None
    direction: str | None = None
    #: It is in the meeting that is judged, not in another one.
    here: bool = True
    #: From when on its loss was at another level; good before the first.
    quality: tuple[tuple[datetime, Level], ...] = ()


class Invited(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The endpoint is expected, from `start` on."""

    start: datetime
    excused_at: datetime | None = None


class Case(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One endpoint, and what is known of it in one meeting."""

    #: Negative: minus the number of an endpoint of the inventory; positive: the number of a caller outside it.
    key: int
    legs: tuple[Leg, ...] = ()
    invited: Invited | None = None
    maintenance: tuple[Span, ...] = ()
    scopes: tuple[Scope, ...] = ()


class Gathering(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The meeting, or the invitation to one, that cases are judged in."""

    #: When it ended; None while it goes on.
    ended_at: datetime | None
    #: Up to when it was seen.
    seen_until: datetime
    #: When the source could not be seen.
    blind: tuple[Span, ...] = ()
    #: The source has a history, which tells later who was there meanwhile; of quality it does not.
    told_later: bool = True

    def seen(self, at: datetime) -> bool:
        """Whether it is known how things stood at a moment."""
        return self.ended_at is not None or at <= self.seen_until


class Episode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One incident. `closed_at` None: it goes on."""

    kind: IncidentKind
    #: As in `Case`; None for an outage.
    key: int | None
    opened_at: datetime
    closed_at: datetime | None
    end_class: EndClass | None = None
    end_reason: str | None = None
    scope: Scope | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The episodes of a meeting, in the order of opening; and when time alone will change them (None: never)."""

    episodes: tuple[Episode, ...] = ()
    #: For each outage among the episodes, the places of those that are part of it.
    parts: dict[int, tuple[int, ...]]
    due_at: datetime | None = None


def judge(
    gathering: Gathering, cases: Iterable[Case], members: Mapping[Scope, Sequence[Span]] | None = None
) -> Verdict:
    """All incidents of one meeting.

    `members`: for each scope, when each of its endpoints was first in the meeting and when it last was; the share of
    an outage is of those that were there when it began. Without it there are no outages.
    """
    found: list[tuple[Episode, Case]] = []
    due: list[datetime] = []
    for case in cases:
        judged = _Judged(gathering, case)
        found += ((episode, case) for episode in judged.episodes())
        due += judged.due
    found.sort(key=lambda each: (each[0].opened_at, each[0].kind, each[1].key))
    episodes = [episode for episode, _ in found]
    parts: dict[int, tuple[int, ...]] = {}
    for outage, places in _outages(found, members or {}):
        parts[len(episodes)] = places
        episodes.append(outage)
    return Verdict(episodes=tuple(episodes), parts=parts, due_at=min(due, default=None))


class _Judged:
    """One case. `due` collects the moments at which it must be looked at again."""

    def __init__(self, gathering: Gathering, case: Case) -> None:
        self.gathering, self.case = gathering, case
        self.due: list[datetime] = []
        self.up = sorted((leg for leg in case.legs if leg.joined_at is not None), key=_joined)
        #: From when to when it was lost, or may turn out to have been: attempts between are to call it back.
        self.lost: list[tuple[datetime, datetime | None]] = []

    def episodes(self) -> list[Episode]:
        dropped = self._dropped()
        return [*dropped, *self._connect_failed(), *self._absent(), *self._flapping(), *self._quality()]

    # -- what is common to all

    def _joins_after(self, at: datetime) -> datetime | None:
        """When the endpoint is next seen joining, here or elsewhere."""
        return next((_joined(leg) for leg in self.up if _joined(leg) > at), None)

    def _up_at(self, at: datetime, but: Leg | None = None) -> bool:
        """Whether a leg of the endpoint goes on through this moment, here or elsewhere."""
        return any(
            leg is not but and _joined(leg) <= at and (leg.left_at is None or leg.left_at > at) for leg in self.up
        )

    def _over(self) -> datetime | None:
        return self.gathering.ended_at

    def _wait_for(self, at: datetime) -> bool:
        """Whether it is too early to say what was at this moment; then it is due."""
        if self.gathering.seen(at):
            return False
        self.due.append(at)
        return True

    def _opened(self, kind: IncidentKind, at: datetime, back: datetime | None, leg: Leg | None = None) -> list[Episode]:
        """An episode from `at` until `back`, or the meeting's end; planned work is cut off its beginning."""
        over = self._over()
        ends = [end for end in (back, over) if end is not None]
        closed = min(ends) if ends else None
        for since, until in sorted(self.case.maintenance):
            if since <= at < until:
                at = until
        if closed is not None and closed <= at:
            return []
        if self._wait_for(at):
            return []
        return [
            Episode(
                kind=kind, key=self.case.key, opened_at=at, closed_at=closed,
                end_class=leg.end_class if leg is not None else None,
                end_reason=leg.end_reason if leg is not None else None,
            )
        ]  # fmt: skip

    # -- the kinds

    def _dropped(self) -> list[Episode]:
        found: list[Episode] = []
        over = self._over()
        lost_here = [leg for leg in self.up if leg.here and leg.left_at is not None and leg.end_class == "dropped"]
        for leg in sorted(lost_here, key=_left):
            lost = _left(leg)
            patience = lost + DROP_GRACE
            if over is not None and over <= patience:
                continue
            back = self._joins_after(lost)
            if self._up_at(lost, but=leg) or (back is not None and back <= patience):
                continue
            self.lost.append((lost, back))
            if self._wait_for(patience):
                continue
            for opened in self._opened("dropped", lost, back, leg):
                if not found or _ended_by(found[-1], opened.opened_at):  # else two devices were lost together
                    found.append(opened)
        return found

    def _connect_failed(self) -> list[Episode]:
        """Attempts that follow on each other are one episode; those to call a dropped endpoint back are part of its."""
        found: list[Episode] = []
        attempts = [leg for leg in self.case.legs if leg.joined_at is None and leg.here and leg.left_at is not None]
        for leg in sorted(attempts, key=_left):
            at = _left(leg)
            failed = leg.end_class in (_FAILED_INCOMING if leg.direction == "in" else FAILED)
            over = self._over()
            if not failed or (over is not None and at >= over) or self._up_at(at):
                continue
            if found and not _ended_by(found[-1], at):
                continue
            if any(lost <= at and (back is None or at < back) for lost, back in self.lost):
                continue
            found += self._opened("connect_failed", at, self._joins_after(at), leg)
        return found

    def _absent(self) -> list[Episode]:
        invited = self.case.invited
        if invited is None:
            return []
        late = invited.start + ABSENT_GRACE
        excused = invited.excused_at
        joined = next((_joined(leg) for leg in self.up if leg.here), None)
        over = self._over()
        if (joined is not None and joined <= late) or (excused is not None and excused <= late):
            return []
        if over is not None and over <= late:
            return []
        if self._wait_for(late):
            return []
        at = late
        for since, until in () if self.gathering.told_later else sorted(self.gathering.blind):
            if since <= at < until:
                at = until
        ends = [end for end in (joined, excused) if end is not None]
        return self._opened("absent", at, min(ends) if ends else None)

    def _flapping(self) -> list[Episode]:
        here = [leg for leg in self.up if leg.here]
        joins = [
            _joined(leg)
            for place, leg in enumerate(here)
            if place
            and all(before.left_at is not None and before.left_at <= _joined(leg) for before in here[:place])
            and max(here[:place], key=_left).end_class != "moved"  # a transfer back is no reconnect
        ]
        found: list[Episode] = []
        place = FLAPS - 1
        while place < len(joins):
            if joins[place] - joins[place - FLAPS + 1] > FLAP_SPAN:
                place += 1
                continue
            opened, last = joins[place], joins[place]
            place += 1
            while place < len(joins) and joins[place] - last <= FLAP_SPAN:
                last = joins[place]
                place += 1
            place += FLAPS - 1
            calm = last + FLAP_SPAN
            over = self._over()
            still = (over is None or over > calm) and self._wait_for(calm)
            found += self._opened("flapping", opened, None if still else calm)
        return found

    def _quality(self) -> list[Episode]:
        spans: list[tuple[datetime, datetime | None, Leg]] = []
        for leg in self.up:
            if leg.here and leg.quality:
                spans += ((since, until, leg) for since, until in self._poor(leg))
        found: list[Episode] = []
        merged: list[tuple[datetime, datetime | None, Leg]] = []
        for since, until, leg in sorted(spans, key=lambda span: span[0]):
            if merged and (merged[-1][1] is None or since <= merged[-1][1]):
                before, end, first = merged[-1]
                merged[-1] = before, None if end is None or until is None else max(end, until), first
            else:
                merged.append((since, until, leg))
        for since, until, leg in merged:
            found += self._opened(
                "quality", since, until, msgspec.structs.replace(leg, end_class=None, end_reason=None)
            )
        return found

    def _poor(self, leg: Leg) -> list[tuple[datetime, datetime | None]]:
        """The episodes of one leg: from the begin of loss that stayed poor to the begin of one that stayed good."""
        steps: list[tuple[datetime, Level]] = [*leg.quality]
        for blind_since, seen_again in self.gathering.blind:
            then: Level = next((level for at, level in reversed(leg.quality) if at <= seen_again), "good")
            steps += ((blind_since, "unknown"), (seen_again, then))
        steps.sort(key=lambda step: step[0])
        found: list[tuple[datetime, datetime | None]] = []
        opened: datetime | None = None
        for place, (since, level) in enumerate(steps):
            if leg.left_at is not None and since >= leg.left_at:
                break
            ends = [end for end in (steps[place + 1][0] if place + 1 < len(steps) else None, leg.left_at) if end]
            until = min(ends) if ends else None
            wanted: Level = "poor" if opened is None else "good"
            if level != wanted:
                continue
            settled = since + QUALITY_SPAN
            if until is not None and until < settled:
                continue
            if until is None and self._wait_for(settled):
                continue
            if opened is None:
                opened = since
            else:
                found.append((opened, since))
                opened = None
        if opened is not None:
            found.append((opened, leg.left_at))
        return found


# -- many at once


def crowded(episodes: Iterable[Episode]) -> bool:
    """Whether so many endpoints fail at once that there may be an outage: only then `judge` needs to know `members`."""
    failing = sorted((e.opened_at, e.key) for e in episodes if e.kind in _FAILING and e.key is not None and e.key < 0)
    return any(
        failing[place + OUTAGE_ENDPOINTS - 1][0] - failing[place][0] <= OUTAGE_SPAN
        for place in range(len(failing) - OUTAGE_ENDPOINTS + 1)
    )


def _outages(
    found: Sequence[tuple[Episode, Case]], members: Mapping[Scope, Sequence[Span]]
) -> list[tuple[Episode, tuple[int, ...]]]:
    """Where so many endpoints of one scope fail within a minute that it is one event. An episode is part of one
    outage at most, of the largest."""
    failing: dict[Scope, list[int]] = {}
    for place, (episode, case) in enumerate(found):
        if episode.kind in _FAILING and case.key < 0:
            for scope in case.scopes:
                failing.setdefault(scope, []).append(place)
    free = set(range(len(found)))
    outages: list[tuple[Episode, tuple[int, ...]]] = []
    while True:
        best: tuple[int, int, float, Scope, tuple[int, ...]] | None = None
        for scope, places in failing.items():
            for part in _clusters([place for place in places if place in free], found, scope, members):
                opened = found[part[0]][0].opened_at.timestamp()
                candidate = (-len(part), _SCOPES.index(scope[0]), opened, scope, part)
                if best is None or candidate < best:
                    best = candidate
        if best is None:
            return sorted(outages, key=lambda each: (each[0].opened_at, each[0].scope))
        *_, scope, part = best
        free -= set(part)
        children = [found[place][0] for place in part]
        ends = [child.closed_at for child in children]
        outages.append(
            (
                Episode(
                    kind="outage", key=None, scope=scope, opened_at=children[0].opened_at,
                    closed_at=None if None in ends else max(end for end in ends if end is not None),
                    end_class=_commonest(child.end_class for child in children),
                ),
                part,
            )
        )  # fmt: skip


def _clusters(
    places: list[int], found: Sequence[tuple[Episode, Case]], scope: Scope, members: Mapping[Scope, Sequence[Span]]
) -> Iterable[tuple[int, ...]]:
    start = 0
    while start < len(places):
        opened = found[places[start]][0].opened_at
        part = tuple(p for p in places[start:] if found[p][0].opened_at - opened <= OUTAGE_SPAN)
        endpoints = {found[p][1].key for p in part}
        there = sum(1 for since, until in members.get(scope, ()) if since <= opened + OUTAGE_SPAN and until >= opened)
        if len(endpoints) >= OUTAGE_ENDPOINTS and len(endpoints) >= OUTAGE_SHARE * there:
            yield part
            start += len(part)
        else:
            start += 1


def _commonest(causes: Iterable[EndClass | None]) -> EndClass | None:
    counts = Counter(cause for cause in causes if cause is not None)
    return min(counts, key=lambda cause: (-counts[cause], cause), default=None)


def _ended_by(episode: Episode, at: datetime) -> bool:
    return episode.closed_at is not None and episode.closed_at <= at


def _joined(leg: Leg) -> datetime:
    if leg.joined_at is None:
        raise ValueError("an attempt never joined")
    return leg.joined_at


def _left(leg: Leg) -> datetime:
    if leg.left_at is None:
        raise ValueError("it has not ended")
    return leg.left_at
