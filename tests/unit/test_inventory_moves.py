"""What endpoints were in before."""

from __future__ import annotations

import random
from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from conftrack.inventory.moves import moved, settled
from conftrack.storage.inventory import Past

DAYS = [date(2025, 6, 25) + timedelta(days=n) for n in range(10)]
_day = st.sampled_from(DAYS)
_unit = st.sampled_from(["a", "b", None])
_rows = st.lists(st.tuples(_day, _unit), max_size=4, unique_by=lambda row: row[0])


def on(day: date, past: Past, org: str | None) -> str | None:
    return next((unit for until, unit in past if day < until), org)


@given(_rows, _unit, st.randoms(use_true_random=False))
def test_a_past_is_the_same_in_any_order_and_has_only_real_moves(
    rows: list[tuple[date, str | None]], org: str | None, turn: random.Random
) -> None:
    """It says of each day what its rows say."""
    ordered = tuple(sorted(rows, key=lambda row: row[0]))
    turn.shuffle(rows)
    past = settled(rows, org)

    assert [on(day, past, org) for day in DAYS] == [on(day, ordered, org) for day in DAYS]
    assert all(before[1] != after[1] for before, after in pairwise([*past, (date.max, org)]))
    assert settled(past, org) == past


@given(_rows, _unit, _unit, _day)
def test_a_move_changes_only_the_days_since_then(
    rows: list[tuple[date, str | None]], left: str | None, org: str | None, since: date
) -> None:
    """Before, the endpoint was where it was; since then it is in its unit."""
    past = settled(rows, left)
    if left == org or (left is None and not past):
        return
    now = moved(past, left, org, since)

    for day in DAYS:
        assert on(day, now, org) == (org if day >= since else on(day, past, left))


@given(_rows, _unit, _day)
def test_another_day_for_the_last_move_moves_only_its_bound(
    rows: list[tuple[date, str | None]], org: str | None, since: date
) -> None:
    """Earlier or later; without a move before there is none to be known better."""
    past = settled(rows, org)
    now = moved(past, org, org, since)

    last = past[-1] if past else None
    for day in DAYS:
        stays = on(day, past[:-1], last[1]) if last is not None else org
        assert on(day, now, org) == (org if day >= since else stays)
    if last is None:
        assert now == ()
