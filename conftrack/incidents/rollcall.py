"""The roll-call of a meeting: who is there, who is not, and how the test before it went. Pure: no clock, no I/O.

What was not seen is unknown, never absent. The same facts give the same roll-call whenever it is asked for; what has
been said of a moment that was seen is not taken back when more is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from conftrack.incidents.engine import DROP_GRACE, QUALITY_SPAN
from conftrack.model import FAILED, Record
from conftrack.storage.rollcall import LOOKS_BACK, Connected, Convocation, Guest

State: TypeAlias = Literal["present", "testing", "absent", "excused", "unknown"]
"""testing: in the room, or in a meeting of it, before the start."""
Result: TypeAlias = Literal["stayed", "poor", "dropped", "failed"]
"""How a test went: failed is never connected."""

MARKS = tuple(timedelta(minutes=minutes) for minutes in (-60, -30, -15, 0, 5))
"""When the roll is called, from the start."""
TEST_ENDS = timedelta(minutes=5)
"""Who joins later than this before the start comes to the meeting, not to its test."""
TESTERS = 2
"""So many of those invited in it make a test; one alone is early."""
STALE_AFTER = timedelta(seconds=30)
"""How long after the source was last seen what it showed is still called now, unless somebody knows better."""


class Tested(Record, frozen=True):
    """How an endpoint did in the test; `joined_at` is when it first came, None where it never got in."""

    joined_at: datetime | None
    result: Result


class Answer(Record, frozen=True):
    """What the roll-call says of one endpoint."""

    guest: Guest
    #: At the moment of the roll-call; once the meeting is over, whether it came.
    now: State
    #: At each of MARKS; None: that is yet to come, or the meeting was over by then.
    marks: tuple[State | None, ...]
    #: When it was first in the meeting, and by how much that was late: nothing is on time. None: it was not there.
    joined_at: datetime | None
    late_by: timedelta | None
    #: None: it was not in the test, or there was none.
    tested: Tested | None
    #: There was a test, this endpoint was not in it, and then it was absent, failed to connect or dropped.
    failed_untested: bool


class RollCall(Record, frozen=True):
    """The answers of all who are expected, in the order of `Convocation.guests`."""

    answers: tuple[Answer, ...]
    #: There was a test before the start.
    tested: bool

    def count(self, state: State) -> int:
        return sum(answer.now == state for answer in self.answers)


def call(convocation: Convocation, now: datetime, *, stale_after: timedelta = STALE_AFTER) -> RollCall:
    """The roll-call as of `now`. What the source showed last counts as now for `stale_after`."""
    views = [_View(convocation, guest, stale_after) for guest in convocation.guests]
    tests = [view.tested() for view in views]
    was_tested = sum(test is not None for test in tests) >= TESTERS
    return RollCall(
        answers=tuple(
            view.answer(now, test if was_tested else None, was_tested) for view, test in zip(views, tests, strict=True)
        ),
        tested=was_tested,
    )


class _View:
    """One endpoint in one meeting."""

    def __init__(self, convocation: Convocation, guest: Guest, stale_after: timedelta) -> None:
        self._meeting = convocation
        self._guest = guest
        self._stale_after = stale_after
        self._start = convocation.starts_at
        self._up = [leg for leg in guest.connections if leg.joined_at is not None]

    def answer(self, now: datetime, tested: Tested | None, was_tested: bool) -> Answer:
        joined = self._first_there(now)
        over = self._meeting.ended_at
        last = now if over is None else min(now, over)
        marks = tuple(self._state(self._start + mark) if self._start + mark <= last else None for mark in MARKS)
        failed = self._failed(now) or marks[-1] == "absent"
        return Answer(
            guest=self._guest,
            now="present" if joined is not None and over is not None and over <= now else self._state(last),
            marks=marks,
            joined_at=joined,
            late_by=None if joined is None else max(joined - self._start, timedelta()),
            tested=tested,
            failed_untested=was_tested and tested is None and failed,
        )

    # -- how it stands

    def _state(self, at: datetime) -> State:
        seen = self._seen(at)
        legs = self._test_legs() if at < self._start else [leg for leg in self._up if leg.here]
        if seen and any(_up_at(leg, at) for leg in legs):
            # A leg that went away while nobody could see it may have been gone by then.
            certain = all(
                any(_joined(leg) <= since and (leg.left_at is None or leg.left_at > until) for leg in legs)
                for since, until in self._blind(at)
            )
            if certain:
                return "testing" if at < self._start else "present"
        if self._guest.excused_reason is not None:
            return "excused"
        return "absent" if seen and not any(True for _ in self._blind(at)) else "unknown"

    def _seen(self, at: datetime) -> bool:
        """Whether what is known reaches up to this moment."""
        until = self._meeting.seen_until
        over = self._meeting.ended_at
        return (until is not None and at <= until + self._stale_after) or (over is not None and at <= over)

    def _blind(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The times around this moment of which nothing will ever be known."""
        if not self._meeting.told_later:
            yield from ((since, until) for since, until in self._meeting.blind if since <= at < until)

    def _first_there(self, now: datetime) -> datetime | None:
        """When the first connection began that lasted into the meeting."""
        if now < self._start:
            return None
        there = [
            _joined(leg)
            for leg in self._up
            if leg.here and _joined(leg) <= now and (leg.left_at is None or leg.left_at > self._start)
        ]
        return min(there, default=None)

    # -- the test before the start

    def _test_legs(self) -> list[Connected]:
        """Connections in the room before the start, in the meeting itself or another."""
        return [leg for leg in self._up if _joined(leg) < self._start]

    def tested(self) -> Tested | None:
        since, until = self._start - LOOKS_BACK, self._start - TEST_ENDS
        up = [leg for leg in self._test_legs() if _joined(leg) < until and (leg.left_at is None or leg.left_at > since)]
        if up:
            return Tested(joined_at=min(map(_joined, up)), result=self._result(up))
        attempts = [
            leg
            for leg in self._guest.connections
            if leg.joined_at is None and leg.left_at is not None and since <= leg.left_at < until
        ]
        return Tested(joined_at=None, result="failed") if any(_failed(leg) for leg in attempts) else None

    def _result(self, up: list[Connected]) -> Result:
        if any(leg.left_at is not None and leg.left_at < self._start and self._lost(leg) for leg in up):
            return "dropped"
        return "poor" if any(_poor_before(leg, self._start) for leg in up) else "stayed"

    def _lost(self, leg: Connected) -> bool:
        """It was dropped, and the endpoint was not back at once."""
        lost = leg.left_at
        if lost is None or leg.end_class != "dropped":
            return False
        return not any(
            other is not leg and _joined(other) <= lost + DROP_GRACE and (other.left_at is None or other.left_at > lost)
            for other in self._up
        )

    def _failed(self, now: datetime) -> bool:
        """Something went wrong with it in the meeting."""
        for leg in self._guest.connections:
            if leg.here and leg.left_at is not None and self._start <= leg.left_at <= now:
                if leg.joined_at is None and _failed(leg):
                    return True
                if leg.joined_at is not None and self._lost(leg):
                    return True
        return False


def _failed(leg: Connected) -> bool:
    return leg.end_class in FAILED


def _joined(leg: Connected) -> datetime:
    if leg.joined_at is None:
        raise ValueError("an attempt never joined")
    return leg.joined_at


def _up_at(leg: Connected, at: datetime) -> bool:
    return _joined(leg) <= at and (leg.left_at is None or leg.left_at > at)


def _poor_before(leg: Connected, end: datetime) -> bool:
    """Whether its quality stayed poor for long enough before a moment."""
    last = end if leg.left_at is None else min(end, leg.left_at)
    ends = [at for at, _ in leg.quality[1:]] + [last]
    return any(
        level == "poor" and min(until, last) - since >= QUALITY_SPAN
        for (since, level), until in zip(leg.quality, ends, strict=False)
    )
