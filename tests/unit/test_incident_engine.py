"""What is an incident and what is not, as design says; and that looking earlier or later changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conftrack.incidents.engine import Case, Episode, Gathering, Invited, Leg, Scope, Span, judge
from conftrack.model import FAILED

START = datetime(2026, 11, 24, 2, tzinfo=UTC)
END = 3600.0
NEVER = START + timedelta(days=1)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def up(joined: float, left: float | None = None, end_class: str | None = None, **said: Any) -> Leg:
    return Leg(joined_at=at(joined), left_at=at(left) if left is not None else None, end_class=end_class, **said)  # type: ignore[arg-type]


def attempt(left: float, end_class: str = "no_answer", direction: str = "out") -> Leg:
    return Leg(joined_at=None, left_at=at(left), end_class=end_class, direction=direction)  # type: ignore[arg-type]


def episodes(
    *legs: Leg, seen: float | None = None, ended: float | None = END, blind: Sequence[Span] = (), **case: Any
) -> list[tuple[str, float, float | None]]:
    """Kind, opening and closing, in seconds; `ended` None: the meeting goes on and was seen until `seen`."""
    gathering = Gathering(
        ended_at=at(ended) if ended is not None else None,
        seen_until=at(seen if seen is not None else END),
        blind=tuple(blind),
    )
    return [shown(e) for e in judge(gathering, [Case(key=-1, legs=legs, **case)]).episodes]


def shown(episode: Episode) -> tuple[str, float, float | None]:
    closed = episode.closed_at
    return (
        episode.kind,
        (episode.opened_at - START).total_seconds(),
        (closed - START).total_seconds() if closed is not None else None,
    )


# -- dropped


def test_who_is_lost_and_comes_back_late_was_dropped_until_then() -> None:
    """The operator sees from when to when the site was away, not when it was noticed."""
    assert episodes(up(0, 600, "dropped"), up(700, END, "ended")) == [("dropped", 600, 700)]


@pytest.mark.parametrize("back", [0.1, 19.9, 20])
def test_who_is_back_within_the_grace_was_not_gone(back: float) -> None:
    """Nobody is called about a line that came back by itself in seconds."""
    assert episodes(up(0, 600, "dropped"), up(600 + back, END, "ended")) == []


@pytest.mark.parametrize("end_class", ["left", "ended", "moved", "busy", "declined", "auth", "unknown", None])
def test_an_end_that_is_no_loss_is_no_incident(end_class: str | None) -> None:
    """Hanging up, the host's end, a transfer: no alarm; and where the cause is not known, none is made up."""
    assert episodes(up(0, 600, end_class)) == []


def test_a_move_to_another_room_is_no_incident() -> None:
    """Who drops here and joins another meeting at once has been moved."""
    assert episodes(up(0, 600, "dropped"), up(610, 2000, "left", here=False)) == []
    assert episodes(up(0, 600, "dropped"), up(700, 2000, "left", here=False)) == [("dropped", 600, 700)]


def test_the_second_device_of_a_site_keeps_it_there() -> None:
    """A site with two devices is gone only when both are."""
    assert episodes(up(0, 600, "dropped"), up(10, END, "ended")) == []


def test_a_loss_at_the_very_end_is_none() -> None:
    """A meeting that ended within the grace did not go on without the site."""
    assert episodes(up(0, END - 10, "dropped")) == []


def test_nothing_opens_before_the_grace_was_seen_to_pass() -> None:
    """A source that went stale in between opens nothing: it could not be seen whether the site came back."""
    leg = up(0, 600, "dropped")
    assert episodes(leg, ended=None, seen=619.9) == []
    assert episodes(leg, ended=None, seen=620) == [("dropped", 600, None)]
    verdict = judge(Gathering(ended_at=None, seen_until=at(610)), [Case(key=-1, legs=(leg,))])
    assert verdict.due_at == at(620)


# -- connect_failed


def test_a_chain_of_attempts_is_one_incident_closed_by_its_success() -> None:
    """Five redials are one call to the commune, not five."""
    tries = [attempt(100 + 30 * n, "no_answer" if n else "unreachable") for n in range(5)]
    found = judge(
        Gathering(ended_at=at(END), seen_until=at(END)), [Case(key=-1, legs=(*tries, up(300, END, "ended")))]
    ).episodes
    assert [shown(e) for e in found] == [("connect_failed", 100, 300)]
    assert found[0].end_class == "unreachable"


def test_attempts_after_a_success_are_another_incident() -> None:
    assert episodes(attempt(10), up(20, 500, "left"), attempt(600)) == [
        ("connect_failed", 10, 20), ("connect_failed", 600, END),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("end_class", "direction", "incident"),
    [(e, "out", True) for e in sorted(FAILED)]
    + [("busy", "out", False), ("declined", "out", False), ("auth", "in", False), ("auth", "out", False)]
    + [("no_answer", "in", False), ("unreachable", "in", False), ("negotiation", "in", True), ("capacity", "in", True)],
)
def test_which_attempts_are_failures(end_class: str, direction: str, incident: bool) -> None:
    """A wrong PIN, a refusal, a caller who gives up: none is the site's failure."""
    assert bool(episodes(attempt(10, end_class, direction))) is incident


def test_an_attempt_beside_a_connection_is_none() -> None:
    """Dialling a site that is in the meeting already says nothing about it."""
    assert episodes(up(0, END, "ended"), attempt(10)) == []


def test_calling_back_a_dropped_site_in_vain_is_part_of_the_drop() -> None:
    """One failing site is one incident, however often it is called."""
    assert episodes(up(0, 600, "dropped"), attempt(630), attempt(660), up(700, END, "ended")) == [("dropped", 600, 700)]


# -- absent


def test_who_is_expected_and_late_is_absent_from_the_grace_until_joining() -> None:
    invited = Invited(start=at(0))
    assert episodes(up(299, END, "ended"), invited=invited) == []
    assert episodes(up(900, END, "ended"), invited=invited) == [("absent", 300, 900)]
    assert episodes(invited=invited) == [("absent", 300, END)]
    assert episodes(invited=invited, ended=None, seen=299) == []
    assert episodes(invited=invited, ended=200) == []


def test_an_excuse_ends_or_prevents_absence() -> None:
    assert episodes(invited=Invited(start=at(0), excused_at=at(-600))) == []
    assert episodes(invited=Invited(start=at(0), excused_at=at(1000))) == [("absent", 300, 1000)]


def test_presence_elsewhere_is_not_attendance() -> None:
    """A site that sits in another meeting is still missing from this one."""
    assert episodes(up(0, END, "left", here=False), invited=Invited(start=at(0))) == [("absent", 300, END)]


def test_who_could_not_be_seen_is_absent_only_once_seen_again() -> None:
    """Where no history tells of it later, nobody knows whether the site was there while the source was blind."""
    gathering = Gathering(ended_at=at(END), seen_until=at(END), blind=((at(200), at(500)),), told_later=False)
    case = Case(key=-1, invited=Invited(start=at(0)))
    assert [shown(e) for e in judge(gathering, [case]).episodes] == [("absent", 500, END)]


# -- flapping


def test_three_reconnects_in_ten_minutes_are_flapping_until_ten_quiet_minutes() -> None:
    legs = [up(100 * n, 100 * n + 90, "left") for n in range(4)]
    assert episodes(*legs[:3]) == []
    assert episodes(*legs) == [("flapping", 300, 900)]
    assert episodes(*legs, ended=None, seen=400) == [("flapping", 300, None)]
    assert episodes(*legs, ended=500) == [("flapping", 300, 500)]


def test_slow_reconnects_are_no_flapping() -> None:
    legs = [up(500 * n, 500 * n + 90, "left") for n in range(6)]
    assert episodes(*legs) == []


def test_two_devices_at_once_are_no_reconnects() -> None:
    assert episodes(*(up(10 * n, END, "ended") for n in range(6))) == []


# -- quality


def test_loss_that_stays_is_an_incident_from_its_begin_until_it_stays_good() -> None:
    leg = up(0, END, "ended", quality=((at(100), "poor"), (at(400), "fair"), (at(450), "good")))
    assert episodes(leg) == [("quality", 100, 450)]


def test_a_short_dip_either_way_changes_nothing() -> None:
    dip = up(0, END, "ended", quality=((at(100), "poor"), (at(159), "good")))
    assert episodes(dip) == []
    relapse = up(0, END, "ended", quality=((at(100), "poor"), (at(300), "good"), (at(350), "poor"), (at(600), "good")))
    assert episodes(relapse) == [("quality", 100, 600)]


def test_bad_quality_ends_with_the_connection() -> None:
    """What was measured before the site died says nothing after (B8)."""
    assert episodes(up(0, 500, "left", quality=((at(100), "poor"),))) == [("quality", 100, 500)]
    assert episodes(up(0, 130, "left", quality=((at(100), "poor"),))) == []


def test_no_quality_is_claimed_for_a_time_nobody_saw() -> None:
    blind = [(at(110), at(1000))]
    leg = up(0, END, "ended", quality=((at(100), "poor"), (at(1010), "good")))
    assert episodes(leg, blind=blind) == []
    still = up(0, END, "ended", quality=((at(100), "poor"),))
    assert episodes(still, blind=blind) == [("quality", 1000, END)]


# -- maintenance


def test_planned_work_is_no_incident_unless_it_outlasts_its_window() -> None:
    window = ((at(500), at(1000)),)
    assert episodes(up(0, 600, "dropped"), up(900, END, "ended"), maintenance=window) == []
    assert episodes(up(0, 600, "dropped"), up(1200, END, "ended"), maintenance=window) == [("dropped", 1000, 1200)]
    assert episodes(up(0, 400, "dropped"), up(1200, END, "ended"), maintenance=window) == [("dropped", 400, 1200)]


# -- outages


def outage(
    seconds: Sequence[float], there: int, scopes: tuple[Scope, ...] = (("carrier", "VNPT"),)
) -> list[tuple[Scope | None, int]]:
    """The outages, and how many incidents are in each, of endpoints that are lost at these seconds; of each scope so
    many endpoints are in the meeting."""
    cases = [
        Case(key=-1 - n, legs=(up(0, s, "dropped"), up(1000, END, "ended")), scopes=scopes)
        for n, s in enumerate(seconds)
    ]
    members = {scope: [(at(0), at(END))] * there for scope in scopes}
    verdict = judge(Gathering(ended_at=at(END), seen_until=at(END)), cases, members)
    assert len([e for e in verdict.episodes if e.kind == "dropped"]) == len(seconds)
    return [(verdict.episodes[place].scope, len(parts)) for place, parts in verdict.parts.items()]


def test_many_at_once_are_one_outage() -> None:
    """Twelve sites of a carrier lost within a minute are one event, with the twelve in it (W11)."""
    assert outage([100 + 5 * n for n in range(12)], there=20) == [(("carrier", "VNPT"), 12)]


def test_few_or_slow_or_a_small_share_are_no_outage() -> None:
    assert outage([100, 101, 102, 103], there=4) == []
    assert outage([100 + 20 * n for n in range(5)], there=5) == []
    assert outage([100 + n for n in range(5)], there=11) == []
    assert outage([100 + n for n in range(5)], there=10) == [(("carrier", "VNPT"), 5)]


def test_an_incident_is_part_of_one_outage_only() -> None:
    scopes: tuple[Scope, ...] = (("carrier", "VNPT"), ("area", "Hòa Bình"), ("org", "PT-1"))
    assert outage([100 + n for n in range(6)], there=6, scopes=scopes) == [(("org", "PT-1"), 6)]


# -- looking earlier, later, in another order


seconds = st.integers(0, int(END)).map(float)


@st.composite
def legs(draw: st.DrawFn) -> Leg:
    begin, length = draw(seconds), draw(st.sampled_from([1.0, 10, 20, 21, 60, 61, 300, 900]))
    if draw(st.integers(0, 3)) == 0:
        return attempt(begin, draw(st.sampled_from(["no_answer", "unreachable", "busy", "negotiation"])))
    left = min(begin + length, END)
    changes = sorted(draw(st.lists(st.tuples(st.integers(int(begin), int(left)), st.sampled_from(
        ["good", "fair", "poor", "unknown"])), max_size=4, unique_by=lambda change: change[0])))  # fmt: skip
    return up(
        begin, left, draw(st.sampled_from(["dropped", "dropped", "left", "ended", "moved"])),
        here=draw(st.integers(0, 5)) > 0, quality=tuple((at(s), level) for s, level in changes),
    )  # fmt: skip


def window(two: tuple[float, float]) -> Span:
    return at(min(two)), at(max(two) + 1)


cases = st.builds(
    Case,
    key=st.just(-1),
    legs=st.lists(legs(), max_size=8).map(tuple),
    invited=st.none() | st.builds(Invited, start=seconds.map(at), excused_at=st.none() | seconds.map(at)),
    maintenance=st.lists(st.tuples(seconds, seconds).map(window), max_size=2).map(tuple),
)


def known_at(case: Case, moment: datetime) -> Case:
    """What could be known of it at a moment."""
    there = []
    for leg in case.legs:
        if (leg.joined_at or leg.left_at or NEVER) > moment:
            continue
        if leg.left_at is not None and leg.left_at > moment:
            leg = msgspec.structs.replace(leg, left_at=None, end_class=None)
        quality = tuple(change for change in leg.quality if change[0] <= moment)
        there.append(msgspec.structs.replace(leg, quality=quality))
    invited = case.invited
    if invited is not None and invited.excused_at is not None and invited.excused_at > moment:
        invited = msgspec.structs.replace(invited, excused_at=None)
    return msgspec.structs.replace(case, legs=tuple(there), invited=invited)


def whole(case: Case) -> tuple[Episode, ...]:
    return judge(Gathering(ended_at=at(END), seen_until=at(END)), [case]).episodes


@given(cases, st.integers(0, int(END) - 1).map(float))
@example(Case(key=-1, legs=(up(0, 1, "dropped"), attempt(1, "no_answer"))), 1.0)
@example(Case(key=-1, legs=(up(0, 1, "dropped"), attempt(9, "no_answer"))), 9.0)
def test_what_is_opened_live_stays_true(case: Case, second: float) -> None:
    """No incident is ever opened that the whole history does not know, and none is closed too early."""
    moment = at(second)
    live = judge(Gathering(ended_at=None, seen_until=moment), [known_at(case, moment)]).episodes
    later = {(e.kind, e.opened_at): e.closed_at for e in whole(case)}
    for episode in live:
        assert (episode.kind, episode.opened_at) in later
        if episode.closed_at is not None:
            assert later[episode.kind, episode.opened_at] == episode.closed_at


@given(cases, st.integers(0, int(END) - 1).map(float))
def test_nothing_changes_by_time_alone_before_it_is_due(case: Case, second: float) -> None:
    """A meeting is looked at again when something becomes due, and not before: until then the answer is the same."""
    moment = at(second)
    known = known_at(case, moment)
    verdict = judge(Gathering(ended_at=None, seen_until=moment), [known])
    assert verdict.due_at is None or verdict.due_at > moment
    until = verdict.due_at - timedelta(microseconds=1) if verdict.due_at is not None else NEVER
    assert judge(Gathering(ended_at=None, seen_until=until), [known]).episodes == verdict.episodes


@given(cases, st.randoms())
def test_the_order_of_facts_does_not_matter(case: Case, rng: Any) -> None:
    mixed = list(case.legs)
    rng.shuffle(mixed)
    assert whole(msgspec.structs.replace(case, legs=tuple(mixed))) == whole(case)


@given(cases)
def test_incidents_of_one_kind_do_not_overlap(case: Case) -> None:
    """One incident per endpoint, kind and episode, each within the meeting."""
    by_kind: dict[str, list[Episode]] = {}
    for episode in whole(case):
        by_kind.setdefault(episode.kind, []).append(episode)
    for found in by_kind.values():
        for before, after in pairwise(found):
            assert before.closed_at is not None
            assert before.closed_at <= after.opened_at
        assert all(e.closed_at is not None and e.opened_at < e.closed_at <= at(END) for e in found)
