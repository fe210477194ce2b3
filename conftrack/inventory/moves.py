"""What units endpoints were in before, and since when they are in the one they have. Pure.

A move is told in one of two ways: by another unit in the list of endpoints, or by the list of moves, which holds all
that an endpoint was in before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from conftrack.storage.inventory import Past, Unit


def moved(past: Past, left: str | None, org: str | None, since: date) -> Past:
    """The past of an endpoint that after `past` was in the unit `left`, and is in `org` since a day: what it was in
    after that day was a mistake. Where both are the same unit, it is known better since when. Without any unit before
    there is no move."""
    if not past and left in (None, org):
        return past
    if left == org:
        left = past[-1][1]
    kept = [(min(until, since), unit) for until, unit in _up_to(since, past, left)]
    return settled(kept, org)


def _up_to(since: date, past: Past, left: str | None) -> Iterable[tuple[date, str | None]]:
    for until, unit in (*past, (date.max, left)):
        yield until, unit
        if until >= since:
            return


def settled(past: Iterable[tuple[date, str | None]], org: str | None) -> Past:
    """The same past with a row only where the unit became another, of one that is in `org` now."""
    found: list[tuple[date, str | None]] = []
    for until, unit in sorted(past, key=lambda row: row[0]):
        if found and found[-1][1] == unit:
            found.pop()
        found.append((until, unit))
    if found and found[-1][1] == org:
        found.pop()
    return tuple(found)


def since_when(past: Past, left: Sequence[Unit], today: date) -> date:
    """Since when an endpoint is in another unit, where nobody says: since the unit that it left ended, if it has by
    `today` and had the endpoint until then, else since `today`."""
    end = left[-1].valid_to if left else None
    came = past[-1][0] if past else date.min
    return end if end is not None and came < end <= today else today
