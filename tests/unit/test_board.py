"""The live board: what snapshots and pushes make of each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from conftrack.board import Board
from conftrack.model import LegRecord, Origin, Page, Snapshot

START = datetime(2026, 11, 24, 2, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def make_leg(name: str = "a", *, joined_at: datetime | None = START, **said: Any) -> LegRecord:
    return LegRecord(external_id=name, room="1001", identity=f"{name}@vc.example", joined_at=joined_at, **said)


def pushed(*legs: LegRecord, restarted_at: datetime | None = None) -> Page:
    return Page(stream="events", origin=Origin.PUSH, observed_at=at(0), legs=legs, restarted_at=restarted_at)


def test_snapshot_says_nothing_about_who_joined_after_it() -> None:
    """Somebody whose join was pushed while a snapshot was being taken has not left because it does not show them."""
    board = Board()
    board.observe(Snapshot(taken_at=at(0)))
    board.push(pushed(make_leg(joined_at=at(10.1))))

    changes = board.observe(Snapshot(taken_at=at(10)))

    assert changes.events == ()
    assert changes.page.legs == ()
    assert [leg.external_id for leg in board.people()] == ["a"]


def test_pushed_end_is_told_with_its_cause() -> None:
    """Whoever reads the ticker sees that an endpoint was lost, not only that it is gone."""
    board = Board()
    board.push(pushed(make_leg()))

    (event,) = board.push(pushed(make_leg(left_at=at(60), end_class="dropped", end_reason="timeout")))

    assert (event.kind, event.at, event.leg.end_class, event.leg.end_reason) == ("left", at(60), "dropped", "timeout")
    assert board.people() == []


def test_restart_loses_everybody_who_was_there_before() -> None:
    """Who was known to be there is told as dropped; who joined the restarted system stays."""
    board = Board()
    board.push(pushed(make_leg("before"), make_leg("after", joined_at=at(61))))

    (event,) = board.push(pushed(restarted_at=at(60)))

    assert (event.kind, event.leg.external_id, event.leg.end_class) == ("left", "before", "dropped")
    assert [leg.external_id for leg in board.people()] == ["after"]


def test_open_leg_from_before_a_restart_does_not_come_back() -> None:
    """A join that is pushed again together with the restart that ended it is over."""
    board = Board()

    board.push(pushed(make_leg(), restarted_at=at(60)))

    assert board.people() == []
