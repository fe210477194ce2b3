"""The simulator's truth against figures counted by hand: if these are wrong, everything measured by it is."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from conftrack.simulator import VIETNAM, Conference, Figures, Heads, Leg, Meeting, MonthFigures, World, of_month
from conftrack.simulator.plan import micros

ANCHOR = datetime(2026, 12, 1, tzinfo=UTC)
# 09:00 in Viet Nam.
NINE = datetime(2026, 11, 10, 2, 0, tzinfo=UTC)


def _at(minutes: float, base: datetime = NINE) -> int:
    return micros(base + timedelta(minutes=minutes))


def _leg(who: str, joined: float | None, left: float, base: datetime = NINE, **changes: Any) -> Leg:
    fields: dict[str, Any] = {
        "id": f"{who}/{joined}", "call": f"{who}/{joined}", "identity": who, "shown": who, "name": who,
        "placed": _at(left if joined is None else joined, base),
        "joined": None if joined is None else _at(joined, base),
        "left": _at(left, base), "end_class": "left" if joined is not None else "no_answer", "reason": "",
    }  # fmt: skip
    return Leg(**fields | changes)


def _meeting(*records: list[Leg], heads: tuple[Heads, ...] = (), room: str = "giao ban") -> Meeting:
    return Meeting(
        room=room,
        heads=list(heads),
        conferences=[
            Conference(
                id=f"{room}{number}",
                name=room if number == 0 else f"{room}:{number:012x}",
                start=min(leg.placed for leg in legs),
                end=max(leg.left for leg in legs),
                legs=legs,
            )
            for number, legs in enumerate(records)
        ],
    )


def _heads(who: str, people: int, provenance: Any = "reported") -> Heads:
    return Heads(at=_at(5), identity=who, shown=who, people=people, provenance=provenance)


def _total(*meetings: Meeting, until: datetime = ANCHOR, **asked: Any) -> Figures:
    return World.staged(meetings, anchor=ANCHOR).truth(until, **asked).total


def test_a_plain_meeting() -> None:
    """Two rooms, one of which reported forty people, for 60 and 30 minutes."""
    got = _total(_meeting([_leg("a@x", 0, 60), _leg("b@x", 10, 40)], heads=(_heads("a@x", 40),)))

    assert got == Figures(
        meetings=1,
        endpoints=2,
        endpoint_connections=2,
        legs=2,
        attendees=41,
        meeting_seconds=3600.0,
        leg_seconds=5400.0,
        peak_legs=2,
        failed_connections=0,
    )


def test_a_redial_is_two_legs_of_one_endpoint_connection() -> None:
    """And the moment at which one leg ends and the next begins is not a peak of two."""
    got = _total(_meeting([_leg("a@x", 0, 20), _leg("a@x", 20, 60)]))

    assert (got.legs, got.endpoint_connections, got.attendees, got.peak_legs) == (2, 1, 1, 1)


def test_a_copy_in_another_record_counts_once() -> None:
    """Neither its leg nor its seconds nor the peak."""
    copy = _leg("a@x", 0.01, 59.99, call="a@x/0", copy=True)
    got = _total(_meeting([_leg("a@x", 0, 60)], [copy, _leg("b@x", 5, 65)]))

    assert (got.meetings, got.legs, got.peak_legs) == (1, 2, 2)
    assert got.leg_seconds == 7200.0
    assert got.meeting_seconds == 3900.0


def test_what_is_not_people_is_in_no_figure() -> None:
    """A streaming leg that outlasts the meeting does not lengthen it."""
    got = _total(_meeting([_leg("a@x", 0, 60), _leg("rtmp://x", -5, 90, excluded="streaming")]))

    assert (got.legs, got.endpoints, got.meeting_seconds) == (1, 1, 3600.0)


def test_only_failures_are_failed_connections() -> None:
    """Refusals are not, nor is noise that calls itself unreachable; a failure before a success still is."""
    attempts = [
        _leg("a@x", None, 1, end_class=end_class)
        for end_class in ("no_answer", "unreachable", "negotiation", "capacity", "busy", "declined", "auth", "unknown")
    ]
    noise = _leg("7@y", None, 1, end_class="unreachable", excluded="noise")
    got = _total(_meeting([*attempts, noise, _leg("a@x", 2, 60)]))

    assert (got.failed_connections, got.legs, got.endpoints) == (4, 1, 1)


def test_everything_of_a_meeting_is_in_the_local_month_of_its_first_join() -> None:
    """23:50 on 31 October in Viet Nam is 16:50 UTC; what lies after midnight goes with it, attempts too."""
    late = datetime(2026, 10, 31, 16, 50, tzinfo=UTC)
    meeting = _meeting([_leg("a@x", 0, 60, late), _leg("b@x", 30, 60, late), _leg("c@x", None, 40, late)])
    truth = World.staged([meeting], anchor=ANCHOR).truth(ANCHOR)

    assert list(truth.months) == [date(2026, 10, 1)]
    assert truth.months[date(2026, 10, 1)].failed_connections == 1
    assert truth.months[date(2026, 10, 1)].leg_seconds == 5400.0


def test_attempts_that_nobody_joined_are_in_the_month_in_which_their_record_began() -> None:
    """No people, no meeting; but the failure happened, and those of one record stay together."""
    late = datetime(2026, 10, 31, 16, 59, tzinfo=UTC)
    meeting = _meeting([_leg("a@x", None, 0.5, late), _leg("a@x", None, 2, late)])
    truth = World.staged([meeting], anchor=ANCHOR).truth(ANCHOR)

    assert truth.total.meetings == 0
    assert {month: figures.failed_connections for month, figures in truth.months.items()} == {
        date(2026, 10, 1): 2,
    }


@pytest.mark.parametrize(
    ("heads", "people"),
    [
        ((), 1),
        ((_heads("a@x", 30, "people_count"), _heads("a@x", 34, "people_count")), 34),
        ((_heads("a@x", 99, "people_count"), _heads("a@x", 12)), 12),
        ((_heads("a@x", 50, "imported"), _heads("a@x", 9, "people_count")), 9),
        ((_heads("elsewhere@x", 80),), 1),
    ],
)
def test_the_best_head_count_wins(heads: tuple[Heads, ...], people: int) -> None:
    """The site's report before the camera's peak before an import; a site that was not connected has nobody."""
    assert _total(_meeting([_leg("a@x", 0, 60)], heads=heads)).attendees == people


def test_two_aliases_of_one_endpoint_are_one_only_with_an_inventory() -> None:
    """Without it they are two, each with its own head count."""
    endpoint = World.staged([], anchor=ANCHOR).province.endpoints[0]
    one, other = endpoint.aliases[:2]
    legs = [_leg(one, 0, 60, endpoint=endpoint.code), _leg(other, 5, 60, endpoint=endpoint.code)]
    meeting = _meeting(legs, heads=(_heads(one, 40),))
    without, with_it = _total(meeting), _total(meeting, inventory=True)

    assert (without.endpoints, without.endpoint_connections, without.attendees) == (2, 2, 41)
    assert (with_it.endpoints, with_it.endpoint_connections, with_it.attendees) == (1, 1, 40)
    assert with_it.legs == without.legs == 2


def test_a_meeting_counts_once_all_of_it_has_ended() -> None:
    """One leg that is still up keeps the meeting and its failures out."""
    meeting = _meeting([_leg("a@x", 0, 60), _leg("b@x", None, 1)])

    assert _total(meeting, until=NINE + timedelta(minutes=59)) == Figures()
    assert _total(meeting, until=NINE + timedelta(minutes=60)).meetings == 1
    assert _total(meeting, since=NINE + timedelta(seconds=1)) == Figures()


def test_the_peak_of_a_month_is_over_all_its_meetings_together() -> None:
    """Two meetings of two at the same time are a peak of four."""
    got = _total(
        _meeting([_leg("a@x", 0, 60), _leg("b@x", 0, 60)]),
        _meeting([_leg("c@x", 59, 70), _leg("d@x", 59, 70)], room="phòng hai"),
    )

    assert (got.meetings, got.peak_legs) == (2, 4)


# -- of a month and a part of the province


def _november(*meetings: Meeting, only: tuple[str | None, ...] = ("A", "B", "C", None)) -> MonthFigures:
    return of_month(
        meetings, (), since=date(2026, 11, 1), until=date(2026, 12, 1), timezone=VIETNAM,
        part=lambda code, _: code in only,
    )  # fmt: skip


def _site(code: str, joined: float | None, left: float, **changes: Any) -> Leg:
    return _leg(f"{code.lower()}@x", joined, left, endpoint=code, **changes)


def test_what_a_part_counts_is_of_its_endpoints_and_the_meetings_they_were_in() -> None:
    """A meeting is as large as it was, whoever is asked; people of no endpoint are in the whole only."""
    first = _meeting([_site("A", 0, 60), _site("B", 10, 40), _leg("an", 0, 60)], heads=(_heads("a@x", 12),))
    second = _meeting([_site("B", 100, 130), _site("B", None, 99)], room="khác")

    whole, part = _november(first, second), _november(first, second, only=("A",))

    assert (whole.meetings, whole.endpoints, whole.endpoint_connections, whole.attendees) == (2, 3, 4, 15)
    assert (part.meetings, part.endpoints, part.endpoint_connections, part.attendees) == (1, 1, 1, 12)
    assert (whole.meetings_by_size, part.meetings_by_size) == ({"1": 1, "2": 1}, {"2": 1})
    assert (whole.failed_connections, part.failed_connections) == (1, 0)
    assert (part.meeting_seconds, part.leg_seconds, part.person_seconds) == (3600, 3600, 12 * 3600)
    # Everybody but the largest endpoint would have had to travel.
    assert (whole.people_spared, part.people_spared) == (2, 0)
    assert whole.meetings_by_hour == {(1, 9): 1, (1, 10): 1}


def test_of_several_numbers_of_people_the_best_known_stands() -> None:
    """The site's own, then the camera's peak, then what was imported, then one for the connection."""
    numbers = {"A": ("reported", "people_count", "imported"), "B": ("people_count", "imported"), "C": ("imported",)}
    people = {"reported": 7, "people_count": 20, "imported": 300}
    heads = [_heads(f"{code.lower()}@x", people[one], one) for code, of_one in numbers.items() for one in of_one]
    heads.append(_heads("b@x", 5, "people_count"))
    got = _november(_meeting([*(_site(code, 0, 60) for code in numbers), _leg("an", 0, 60)], heads=tuple(heads)))

    assert got.attendees_by_provenance == {"reported": 7, "people_count": 20, "imported": 300, "connections": 1}
    assert got.attendees == 328


def test_presence_bridges_five_minutes_and_people_are_there_as_long() -> None:
    """Two devices at once are one presence; a gap of six minutes is one, of five is none."""
    legs = [_site("A", 0, 20), _site("A", 10, 30), _site("A", 35, 40), _site("A", 46, 50), _site("B", 0, 50)]
    got = _november(_meeting(legs, heads=(_heads("a@x", 3),)), only=("A",))

    assert (got.leg_seconds, got.presence_seconds, got.person_seconds) == (49 * 60, 44 * 60, 132 * 60)


def test_who_was_expected_came_or_did_not() -> None:
    """For a tenth of the meeting, or five minutes; who left before the start had come to try the line."""
    meeting = _meeting([_site("A", -5, 60), _site("B", 3, 7), _site("C", -10, -1)])
    meeting.invited, meeting.scheduled = ("A", "B", "C", "D"), (_at(0), _at(60))
    vain = _meeting([_site("A", None, 1)], room="vắng")
    vain.invited, vain.scheduled = ("A",), (_at(0), _at(60))
    got = _november(meeting, vain, only=("A", "B", "C", "D"))

    assert (got.expected, got.attended, got.brief, got.absent) == (4, 1, 1, 2)
    assert (got.on_time, got.late, got.not_held) == (1, 1, 1)
    assert (got.meetings, got.meetings_by_kind) == (1, {"planned": 1})
