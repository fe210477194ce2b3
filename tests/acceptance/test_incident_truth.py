"""Precision and recall: every true failure of a simulated month is found once, with its cause and its duration.

And none that never was: not from normal leaves, host endings, transfers, planned work, redials within the grace, wrong
PINs, a dead source or a collector that is started anew.

`python -m tests.benchmarks.incidents` prints the table of a whole month.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from conftrack.model import IncidentKind
from conftrack.sources.pexip.live import REGISTRATIONS_EVERY
from conftrack.storage.database import Database
from tests.incident_month import Comparison, Watching, collected, compared, month

POLLED = 4
"""Meetings of the month that is polled; a month that is only read from history has one on each working day."""


def _explained(comparison: Comparison) -> str:
    wrong = [*comparison.missed, *comparison.false, *comparison.false_alarms]
    return "\n".join([comparison.table(), *map(repr, wrong[:20])])


async def test_history_alone_tells_every_failure_to_the_microsecond(database: Database) -> None:
    """What no poll saw is found afterwards, all but the loss of packets, of which a history keeps no course."""
    world = month(4, meetings=22, works=False)
    watching = Watching(every=None)
    comparison = await compared(world, database, await collected(world, database, watching), live=False)
    told = _explained(comparison)

    assert (comparison.missed, comparison.false) == ([], []), told
    assert {kind for kind, _ in comparison.lines} == {"absent", "connect_failed", "dropped", "flapping", "outage"}
    assert {cause for kind, cause in comparison.lines if kind == "connect_failed"} >= {
        "no_answer", "unreachable", "negotiation",
    }  # fmt: skip
    assert max(max(line.off, line.duration_off) for line in comparison.lines.values()) < 1e-3, told


async def test_nothing_that_is_down_for_planned_work_is_an_incident(database: Database) -> None:
    """Neither by itself nor as a part of an outage; what outlasts the work is one from then on."""
    world = month(6, meetings=22)
    comparison = await compared(world, database, await collected(world, database, Watching(every=None)), live=False)

    assert (comparison.missed, comparison.false) == ([], []), _explained(comparison)


@pytest.mark.parametrize("seconds", [5, 10])
async def test_polls_find_every_failure_once_and_raise_no_false_alarm(database: Database, seconds: int) -> None:
    """With a collector that is started anew in one meeting, and a source that is dead for minutes in another."""
    world = month(seconds, meetings=POLLED, minutes=15)
    watching = Watching(every=timedelta(seconds=seconds), restarted=frozenset({1}), dead=frozenset({3}))
    comparison = await compared(world, database, await collected(world, database, watching))
    told = _explained(comparison)

    assert (comparison.missed, comparison.false, comparison.false_alarms) == ([], [], []), told
    assert {kind for kind, _ in comparison.lines} > {
        "absent", "connect_failed", "dropped", "flapping", "quality", "unregistered",
    }  # fmt: skip
    off = {of: max(line.off, line.duration_off) for of, line in comparison.lines.items()}
    asked = REGISTRATIONS_EVERY.total_seconds() + seconds
    assert all(x <= (asked if kind == "unregistered" else seconds) for (kind, _), x in off.items()), told
    # A failed call is known from history, a drop after its grace; half of them no later than two polls from then on.
    limits: dict[IncidentKind, int] = {
        "connect_failed": 30,
        "dropped": 20,
        "absent": 0,
        "flapping": 0,
        "unregistered": 90,
    }
    assert all(comparison.delays[kind][0] <= limit + 2 * seconds for kind, limit in limits.items()), told
