"""The roll-call as a function of what was seen: its states, its marks, and how tests before the start are scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from conftrack.incidents.rollcall import MARKS, STALE_AFTER, Answer, State, call
from conftrack.model import EndClass
from conftrack.storage.rollcall import Connected, Convocation, Guest
from tests.worlds import at

START = at(0)


def leg(joined: float | None, left: float | None, end: EndClass | None = None, **said: Any) -> Connected:
    """In minutes from the start of the meeting."""
    return Connected(
        joined_at=None if joined is None else at(joined),
        left_at=None if left is None else at(left),
        end_class=end,
        **said,
    )


def guest(*legs: Connected, code: str = "A", **said: Any) -> Guest:
    return Guest(code=code, name=f"Xã {code}", connections=legs, **said)


def meeting(*guests: Guest, seen: float | None = 600, **said: Any) -> Convocation:
    """From minute 0; the source was seen until minute `seen`."""
    known: dict[str, Any] = {
        "invitation_id": 1, "uid": "u", "meeting_ids": (1,), "source": "one", "room": "hall", "title": None,
        "starts_at": START, "ends_at": None, "ended_at": None, "told_later": False,
        "seen_until": None if seen is None else at(seen), "guests": guests,
    }  # fmt: skip
    return Convocation(**known | said)


def answer(*legs: Connected, now: float = 30, others: Sequence[Guest] = (), **said: Any) -> Answer:
    about = {name: said.pop(name) for name in list(said) if name.startswith("excused")}
    return call(meeting(guest(*legs, **about), *others, **said), at(now)).answers[0]


def state_at(held: Convocation, minute: float) -> State:
    """How the first of them stood in a minute."""
    return call(held, at(minute)).answers[0].now


#: Two others who were in the test, so that there was one.
TESTERS = (guest(leg(-60, -20, "left"), leg(-1, None), code="B"), guest(leg(-50, -20, "left"), leg(-1, None), code="C"))


# -- states


@pytest.mark.parametrize(
    ("legs", "minute", "state"),
    [
        ((leg(-10, None),), -5, "testing"),
        ((leg(-10, None),), 0, "present"),
        ((leg(-60, -30, "left", here=False),), -45, "testing"),
        ((leg(-60, -30, "left", here=False),), -30, "absent"),
        ((leg(-1, 10, "left"),), 10, "absent"),
        ((leg(3, None),), 2.9, "absent"),
        ((leg(3, None),), 3, "present"),
        ((leg(None, 1, "unreachable"),), 5, "absent"),
    ],
)
def test_who_is_in_the_room_is_testing_before_the_start_and_present_after(
    legs: tuple[Connected, ...], minute: float, state: State
) -> None:
    """A connection counts from its first moment to before its last; an attempt is none."""
    held = meeting(guest(*legs))

    assert state_at(held, minute) == state


def test_what_was_not_seen_is_unknown_and_never_absent() -> None:
    """Later than the source was seen, while it was blind without a history, and where it was never seen at all."""
    gone = guest(leg(1, 10, "left"))
    blind = ((at(5), at(20)),)

    def state(minute: float, **said: Any) -> State:
        return state_at(meeting(gone, **said), minute)

    assert state(31, seen=30) == "unknown"
    assert state(30.4, seen=30) == "absent"  # not stale yet
    assert state(5, seen=None) == "unknown"
    assert state(7, blind=blind) == "unknown"  # it may have gone before it was seen to be gone
    assert state(15, blind=blind) == "unknown"
    assert state(20, blind=blind) == "absent"
    assert state(7, blind=blind, told_later=True) == "present"
    assert state(15, blind=blind, told_later=True) == "absent"
    assert state(30, seen=5, ended_at=at(60)) == "absent"  # it is over, so it is known
    stayed = guest(leg(1, 40))
    assert state_at(meeting(stayed, blind=blind), 7) == "present"  # there before and after


def test_an_excuse_counts_until_the_endpoint_comes() -> None:
    """It is excused with its reason while it is away, at times that were not seen too, and present when it is there."""
    said: dict[str, Any] = {"excused_at": at(-100), "excused_reason": "mất điện"}

    away = answer(**said)
    assert away.now == "excused"
    assert set(away.marks) == {"excused"}
    assert away.guest.excused_reason == "mất điện"
    assert answer(seen=-300, **said).now == "excused"
    assert answer(leg(8, None), **said).now == "present"


def test_marks_that_are_to_come_or_after_the_end_say_nothing() -> None:
    """At T-20 the roll was called at T-60 and T-30; a meeting that was over after two minutes has no T+5."""
    assert answer(leg(-70, None), now=-20).marks == ("testing", "testing", None, None, None)
    assert answer(leg(-1, 2, "ended"), ended_at=at(2)).marks == ("absent", "absent", "absent", "present", None)


def test_late_is_by_how_much_the_first_stay_began_after_the_start() -> None:
    """One that left before the start and came back was late; one that was there at the start was not."""
    assert answer(leg(-5, None)).late_by == timedelta()
    assert answer(leg(-30, -10, "left"), leg(7, None)).late_by == timedelta(minutes=7)
    assert answer(leg(4, 5, "dropped"), leg(9, None)).joined_at == at(4)
    assert answer(leg(-30, -10, "left")).late_by is None
    assert answer(leg(-5, None), now=-1).joined_at is None  # nobody is on time before the start


def test_after_the_meeting_the_roll_says_who_came() -> None:
    """Who left earlier than the last one was there; who never came is absent, even if nobody looks any more."""
    over: dict[str, Any] = {"ended_at": at(60), "now": 300, "seen": 61}

    assert answer(leg(2, 50, "left"), **over).now == "present"
    assert answer(**over).now == "absent"


# -- the test before the start


@pytest.mark.parametrize(
    ("legs", "result"),
    [
        ((leg(-60, -20, "left", here=False),), "stayed"),
        ((leg(-60, None),), "stayed"),
        ((leg(-60, -40, "dropped"),), "dropped"),
        ((leg(-60, -40, "dropped"), leg(-39.8, None)), "stayed"),
        ((leg(-60, -40, "dropped"), leg(-30, None)), "dropped"),
        ((leg(-60, None, quality=((at(-50), "poor"), (at(-48), "good"))),), "poor"),
        ((leg(-60, None, quality=((at(-50), "poor"), (at(-49.5), "good"))),), "stayed"),
        ((leg(-60, None, quality=((at(5), "poor"),)),), "stayed"),
        ((leg(None, -30, "no_answer"),), "failed"),
        ((leg(None, -31, "no_answer"), leg(-30, None)), "stayed"),
        ((leg(None, -30, "busy"),), None),
        ((leg(-120, -95, "left"),), None),
        ((leg(-4, None),), None),
    ],
)
def test_a_test_is_scored_by_the_worst_that_happened_in_it(legs: tuple[Connected, ...], result: str | None) -> None:
    """From 90 to 5 minutes before the start; poor is a minute of it; who redials within the grace was not dropped."""
    tested = answer(*legs, others=TESTERS).tested

    assert (tested.result if tested is not None else None) == result


def test_one_who_is_early_is_no_test() -> None:
    """It takes two of those invited; then each that was in it has its score."""
    alone = call(meeting(guest(leg(-40, None)), guest(code="B")), at(30))
    both = call(meeting(guest(leg(-40, None)), guest(leg(-30, -20, "left"), code="B")), at(30))

    assert (alone.tested, alone.answers[0].tested) == (False, None)
    assert both.tested
    assert [a.tested is not None and a.tested.joined_at for a in both.answers] == [at(-40), at(-30)]


@pytest.mark.parametrize(
    ("legs", "failed"),
    [
        ((), True),
        ((leg(0, None),), False),
        ((leg(None, 2, "negotiation"), leg(3, None)), True),
        ((leg(0, 20, "dropped"),), True),
        ((leg(0, 20, "left"),), False),
        ((leg(-40, -20, "left"), leg(0, 20, "dropped")), False),
    ],
)
def test_who_skipped_the_test_and_then_failed_is_told(legs: tuple[Connected, ...], failed: bool) -> None:
    """Absent at T+5, a failed attempt or a drop, of one that was not in the test; without a test nobody skipped it."""
    assert answer(*legs, others=TESTERS).failed_untested is failed
    assert answer(*legs).failed_untested is False


# -- properties

_minutes = st.integers(-100, 60).map(float)


@st.composite
def guests(draw: st.DrawFn) -> Guest:
    legs = []
    for _ in range(draw(st.integers(0, 4))):
        joined = draw(_minutes)
        stays = draw(st.none() | st.integers(0, 60))
        left = None if stays is None else joined + stays
        end: EndClass | None = None if left is None else draw(st.sampled_from(["left", "dropped", "ended"]))
        here = left is None or left > 0
        legs.append(leg(joined, left, end, here=here))
    return guest(*legs)


def _as_seen(one: Guest, minute: float) -> Guest:
    """What had been seen of it by then."""
    return replace(
        one,
        connections=tuple(
            replace(leg, left_at=None, end_class=None, here=True) if leg.left_at and leg.left_at > at(minute) else leg
            for leg in one.connections
            if leg.joined_at is None or leg.joined_at <= at(minute)
        ),
    )


@given(one=guests(), minute=_minutes, later=_minutes)
def test_what_was_said_of_a_moment_that_was_seen_is_not_taken_back(one: Guest, minute: float, later: float) -> None:
    """Asked in the moment or long after, the state is the same; before the source was seen that far it is unknown."""
    moment, seen = sorted((minute, later))
    whole = meeting(one)
    then = meeting(_as_seen(one, seen), seen=seen)

    assert state_at(then, moment) == state_at(whole, moment)
    assert state_at(meeting(one, seen=moment), moment + (STALE_AFTER / timedelta(minutes=1)) + 1 / 60) == "unknown"


@given(one=guests(), now=_minutes)
def test_the_order_of_facts_does_not_matter(one: Guest, now: float) -> None:
    """Nor do facts told twice."""
    turned = replace(one, connections=(*one.connections[::-1], *one.connections))
    told = [call(meeting(each, *TESTERS), at(now)).answers[0] for each in (one, turned)]

    assert replace(told[0], guest=one) == replace(told[1], guest=one)
    assert len(told[0].marks) == len(MARKS)
