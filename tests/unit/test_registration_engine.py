"""When a site that is not registered is an incident; and that looking earlier, or in another order, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from conftrack.incidents.engine import Verdict
from conftrack.incidents.registration import Open, Registrations, unregistered

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
START = datetime(2026, 11, 24, 1, tzinfo=UTC)
"""Eight o'clock in Viet Nam; times are minutes from here."""
LATER = 100_000.0


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def spans(pairs: Sequence[tuple[float, float | None]]) -> tuple[Open, ...]:
    return tuple((at(since), None if until is None else at(until)) for since, until in pairs)


def judged(*registered: tuple[float, float | None], seen: float = LATER, **said: Any) -> Verdict:
    for name in ("up", "maintenance", "blind"):
        said[name] = spans(said.get(name, ()))
    return unregistered(Registrations(key=-1, registered=spans(registered), seen_until=at(seen), **said), ZONE)


def found(*registered: tuple[float, float | None], **said: Any) -> list[tuple[float, float | None]]:
    """When its episodes opened and closed."""
    episodes = judged(*registered, **said).episodes
    assert {(e.kind, e.key) for e in episodes} <= {("unregistered", -1)}
    return [(minute(e.opened_at), None if e.closed_at is None else minute(e.closed_at)) for e in episodes]


def minute(moment: datetime) -> float:
    return (moment - START).total_seconds() / 60


def test_who_was_registered_and_is_not_is_missing_until_it_is_again() -> None:
    assert found((0, 100), (130, None)) == [(100, 130)]


def test_who_never_registered_is_not_missing() -> None:
    """Most devices of a province are called by their address and register nowhere: nobody is told about them."""
    assert found() == []
    assert found((50, None)) == []
    assert judged().due_at is None


def test_a_minute_is_given_to_register_again() -> None:
    """A device that is restarted, or moves to another node, is back within it."""
    assert found((0, 100), (101, None)) == []
    assert found((0, 100), (101.1, None)) == [(100, 101.1)]
    assert found((0, 100), seen=100.9) == []
    assert judged((0, 100), seen=100.9).due_at == at(101)
    assert found((0, 100), seen=101) == [(100, None)]


def test_who_is_registered_by_one_address_is_not_missing_by_another() -> None:
    """Two aliases, or two systems of which one takes over."""
    assert found((0, 100), (90, None)) == []
    assert found((0, 100), (90, 200), (300, None)) == [(200, 300)]


def test_nobody_is_missing_outside_service_hours() -> None:
    """A hall that is switched off for the night opens nothing, and one that stays off in the morning does at seven."""
    hours = {"service_hours": "07:00-17:30"}
    assert found((0, 600), (1375, None), **hours) == []
    assert found((0, 600), (1400, None), **hours) == [(1380, 1400)]
    assert found((0, 500), (1400, None), **hours) == [(500, 570), (1380, 1400)]
    assert found((0, 500), seen=569, **hours) == [(500, None)]
    assert judged((0, 500), seen=569, **hours).due_at == at(570)
    assert judged((0, 500), seen=600, **hours).due_at == at(1381)


def test_service_hours_may_go_over_midnight() -> None:
    """A post that is watched at night is one span from evening to morning."""
    hours = {"service_hours": "22:00-06:00"}
    assert found((0, 100), (1400, None), **hours) == [(840, 1320)]
    assert found((0, 1000), (1100, None), **hours) == [(1000, 1100)]
    assert found((-600, -130), (0, None), **hours) == [(-130, -120)]


def test_round_the_clock_is_not_cut_at_midnight() -> None:
    """Three days away are one incident, however its hours are written."""
    assert found((0, 100), (4420, None), service_hours="00:00-24:00") == [(100, 4420)]
    assert found((0, 100), (4420, None)) == [(100, 4420)]


def test_who_is_in_a_meeting_is_not_missing() -> None:
    """It was called, or calls, without being registered; after the meeting it is missing again."""
    assert found((0, 100), (200, None), up=[(120, 150)]) == [(100, 120), (150, 200)]
    assert found((0, 100), (200, None), up=[(90, 199.5)]) == []
    assert found((0, 100), seen=200, up=[(90, None)]) == []


def test_planned_work_is_none() -> None:
    assert found((0, 100), (200, None), maintenance=[(90, 150)]) == [(150, 200)]
    assert found((0, 100), (200, None), maintenance=[(120, 150)]) == [(100, 120), (150, 200)]
    assert found((0, 100), (200, None), maintenance=[(120, 150), (90, 130), (150, 300)]) == []


def test_what_nobody_saw_opens_nothing_and_closes_nothing() -> None:
    """Missing before a gap in our sight and after it: an incident that was open goes on, else it begins after it."""
    assert found((0, 100), (200, None), blind=[(110, 150)]) == [(100, 200)]
    assert found((0, 100), (200, None), blind=[(100.5, 150)]) == [(150, 200)]
    assert found((0, 100), (200, None), blind=[(100.5, 150), (150.5, 180)]) == [(180, 200)]
    assert found((0, 100), (150, None), blind=[(100.5, 150)]) == []


def test_who_is_out_of_service_is_never_missing() -> None:
    """From the day of its retirement on; what is open then ends with that day."""
    assert found((0, 100), retired_at=at(50)) == []
    assert found((0, 100), retired_at=at(300)) == [(100, 300)]
    assert judged((0, 100), retired_at=at(300)).due_at is None
    assert found((0, 100), seen=200, retired_at=at(300)) == [(100, None)]


def test_who_is_away_for_good_is_looked_at_every_day() -> None:
    """A device that was taken away and not retired is told each day, and nobody forgets it."""
    days = found((0, 100), seen=5 * 1440, service_hours="07:00-17:30")
    assert days == [(100, 570), *((1440 * n - 60, 1440 * n + 570) for n in range(1, 5)), (7140, None)]


# -- looking earlier, later, in another order

minutes = st.integers(0, 4000).map(float)


def pairs(most: int) -> st.SearchStrategy[tuple[Open, ...]]:
    lengths = st.sampled_from([0.5, 1.0, 1.5, 10.0, 200.0, 700.0, 2000.0])
    return st.lists(
        st.builds(lambda since, length: (at(since), at(since + length)), minutes, lengths), max_size=most
    ).map(tuple)


registrations = st.builds(
    Registrations, key=st.just(-1), registered=pairs(5), seen_until=st.just(at(LATER)), up=pairs(3),
    service_hours=st.sampled_from([None, "00:00-24:00", "07:00-17:30", "22:00-06:00"]), maintenance=pairs(2),
    blind=pairs(2), retired_at=st.none() | minutes.map(at),
)  # fmt: skip


def known_at(of: Registrations, moment: datetime) -> Registrations:
    """What could be known of it at a moment: planned work always, what ends only then, a gap once it is over."""

    def begun(spans: tuple[Open, ...]) -> tuple[Open, ...]:
        ends = ((since, until if until is not None and until <= moment else None) for since, until in spans)
        return tuple((since, until) for since, until in ends if since <= moment)

    return msgspec.structs.replace(
        of, registered=begun(of.registered), up=begun(of.up), seen_until=moment,
        blind=tuple(span for span in of.blind if span[1] <= moment),
    )  # fmt: skip


def seen(of: Registrations, moment: datetime) -> bool:
    return not any(since < moment < until for since, until in of.blind)


@given(registrations, minutes)
def test_what_is_opened_live_stays_true(of: Registrations, second: float) -> None:
    """No incident is opened that the whole does not know, none is closed too early, and none is missed."""
    assume(seen(of, at(second)))
    live = unregistered(known_at(of, at(second)), ZONE).episodes
    later = {e.opened_at: e.closed_at for e in unregistered(of, ZONE).episodes}
    for episode in live:
        assert episode.opened_at in later
        assert episode.closed_at is None or later[episode.opened_at] == episode.closed_at
    settled = at(second) - timedelta(minutes=1)
    assert {opened for opened in later if opened <= settled} == {e.opened_at for e in live}


@given(registrations, minutes)
def test_nothing_changes_by_time_alone_before_it_is_due(of: Registrations, second: float) -> None:
    known = known_at(of, at(second))
    verdict = unregistered(known, ZONE)
    assert verdict.due_at is None or verdict.due_at > at(second)
    until = verdict.due_at - timedelta(microseconds=1) if verdict.due_at is not None else at(LATER)
    assert unregistered(msgspec.structs.replace(known, seen_until=until), ZONE).episodes == verdict.episodes


@given(registrations, st.randoms())
def test_the_order_of_facts_does_not_matter(of: Registrations, rng: Any) -> None:
    def mixed(spans: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(rng.sample(spans, len(spans)))

    again = msgspec.structs.replace(
        of, registered=mixed(of.registered), up=mixed(of.up), maintenance=mixed(of.maintenance), blind=mixed(of.blind)
    )
    assert unregistered(again, ZONE) == unregistered(of, ZONE)


@given(registrations)
def test_episodes_are_apart_and_longer_than_the_grace(of: Registrations) -> None:
    episodes = unregistered(of, ZONE).episodes
    for before, after in pairwise(episodes):
        assert before.closed_at is not None
        assert before.closed_at <= after.opened_at
    assert all(e.closed_at is None or e.closed_at - e.opened_at > timedelta(minutes=1) for e in episodes)
