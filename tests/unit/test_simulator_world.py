"""The simulated world: as large as a real province, the same in every process, and true to its own plan."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import pairwise

import msgspec
import pytest

from conftrack.simulator import VIETNAM, Meeting, World, accelerated
from conftrack.simulator.plan import MINUTE, micros, moment
from conftrack.sources.base import normalise_alias

ANCHOR = datetime(2026, 11, 16, 9, 0, tzinfo=VIETNAM)


@pytest.fixture(scope="module")
def world() -> World:
    return World(anchor=ANCHOR)


def _digest(world: World, until: datetime) -> str:
    return sha256(msgspec.json.encode([world.province, list(world.meetings(until))])).hexdigest()


def test_the_province_is_todays_phu_tho_with_three_thousand_endpoints(world: World) -> None:
    """The 148 communes and wards of today, by their real names, and over 3,000 endpoints with unique aliases."""
    units, endpoints = world.province.units, world.province.endpoints
    communes = {unit.code: unit.name for unit in units if unit.kind in ("commune", "ward")}
    aliases = [alias for endpoint in endpoints for alias in endpoint.aliases]

    assert len(communes) == 148
    assert communes["PT-P-VIETTRI"] == "Phường Việt Trì"
    assert len({unit.code for unit in units}) == len(units)
    assert len(endpoints) > 3000
    assert len(set(aliases)) == len(aliases)
    assert {endpoint.org for endpoint in endpoints} <= {unit.code for unit in units}


def test_the_year_is_as_large_as_a_provinces_first_year(world: World) -> None:
    """600-800 meetings, 250,000 attendees by head count and 30,000-50,000 legs, in each of twelve months."""
    truth = world.truth(ANCHOR)

    assert 600 <= truth.total.meetings <= 800
    assert 30_000 <= truth.total.legs <= 50_000
    assert truth.total.attendees >= 250_000
    assert truth.total.attendees > 5 * truth.total.legs
    assert truth.total.failed_connections > 1000
    assert len(truth.months) == 13
    assert max(len(meeting.invited) for meeting in world.meetings(ANCHOR)) >= 300


def test_months_add_up_to_the_total_except_for_distinct_endpoints_and_peaks(world: World) -> None:
    """What belongs to a month belongs to one only."""
    truth = world.truth(ANCHOR)
    for name in ("meetings", "endpoint_connections", "legs", "attendees", "failed_connections"):
        assert sum(getattr(month, name) for month in truth.months.values()) == getattr(truth.total, name)
    assert sum(month.leg_seconds for month in truth.months.values()) == pytest.approx(truth.total.leg_seconds)
    assert max(month.peak_legs for month in truth.months.values()) == truth.total.peak_legs
    assert sum(month.endpoints for month in truth.months.values()) > truth.total.endpoints


def test_an_inventory_makes_one_endpoint_of_two_aliases(world: World) -> None:
    """With an inventory there are fewer endpoints and endpoint connections, and as many of all that is no endpoint."""
    without, with_it = world.truth(ANCHOR).total, world.truth(ANCHOR, inventory=True).total

    assert with_it.endpoints < without.endpoints
    assert with_it.endpoint_connections < without.endpoint_connections
    assert (with_it.legs, with_it.meetings, with_it.peak_legs) == (without.legs, without.meetings, without.peak_legs)


def test_every_behaviour_that_a_collector_must_tell_apart_occurs(world: World) -> None:
    """Copies, machines, refusals, failures, transfers, two devices at once, meetings over midnight and month end."""
    meetings = world.meetings(ANCHOR)
    legs = [leg for meeting in meetings for leg in meeting.legs()]

    assert {leg.excluded for leg in legs} == {None, "api", "streaming", "ivr", "shadow", "noise"}
    assert {leg.end_class for leg in legs} == {
        "left", "ended", "moved", "dropped", "no_answer", "unreachable", "busy", "declined", "negotiation",
        "capacity", "auth", "noise", "unknown",
    }  # fmt: skip
    assert any(leg.copy for leg in legs)
    assert any(leg.personal for leg in legs)
    assert any(not any(leg.counts for leg in meeting.legs()) for meeting in meetings)
    spans = [
        (_local(meeting.start), _local(meeting.end)) for meeting in meetings if any(x.counts for x in meeting.legs())
    ]
    assert any(start.date() != end.date() for start, end in spans)
    assert any(start.month != end.month for start, end in spans)
    assert any(_has_two_devices(meeting.legs()) for meeting in meetings)


def _local(at: int) -> datetime:
    return moment(at).astimezone(VIETNAM)


def _has_two_devices(legs: object) -> bool:
    by_endpoint: dict[str, list[tuple[int, int]]] = {}
    for leg in legs:  # type: ignore[attr-defined]
        if leg.counts and leg.endpoint:
            by_endpoint.setdefault(leg.endpoint, []).append((leg.joined, leg.left))
    return any(second[0] < first[1] for spans in by_endpoint.values() for first, second in pairwise(sorted(spans)))


def test_aliases_are_written_in_many_ways_that_mean_the_same(world: World) -> None:
    """Whatever scheme, port or capitals a leg shows, it normalises to the identity that the truth counts."""
    legs = [leg for meeting in world.meetings(ANCHOR) for leg in meeting.legs() if leg.excluded is None]

    assert {leg.shown for leg in legs if normalise_alias(leg.shown) != leg.identity} == set()
    assert sum(leg.shown != leg.identity for leg in legs) > 1000


def test_a_copy_lies_within_its_leg_and_no_other_leg_looks_like_one(world: World) -> None:
    """Copies differ from their leg by less than a second at each end; two legs of one endpoint join further apart."""
    for meeting in world.meetings(ANCHOR):
        originals = {leg.call: leg for leg in meeting.legs() if not leg.copy}
        joined: dict[str, list[int]] = {}
        for leg in meeting.legs():
            if leg.copy:
                original = originals[leg.call]
                assert leg.joined is not None
                assert original.joined is not None
                assert 0 <= leg.joined - original.joined < 1_000_000
                assert 0 <= original.left - leg.left < 1_000_000
            elif leg.counts and leg.joined is not None:
                joined.setdefault(leg.identity, []).append(leg.joined)
        assert all(b - a > 2_000_000 for at in joined.values() for a, b in pairwise(sorted(at)))


def test_meetings_of_one_room_never_touch() -> None:
    """So nobody can doubt whether two records with a pause between them are one meeting; records of one overlap."""
    by_room: dict[str, list[tuple[int, int]]] = {}
    for meeting in World(anchor=ANCHOR, scale=3).meetings(ANCHOR + timedelta(days=1)):
        first, *rest = meeting.conferences
        assert all(other.start < first.end and other.end > first.start for other in rest)
        assert all(conference.name.partition(":")[0] == meeting.room for conference in meeting.conferences)
        by_room.setdefault(meeting.room, []).append((meeting.start, meeting.end))
    for spans in by_room.values():
        spans.sort()
        assert all(b[0] - a[1] > 10 * MINUTE for a, b in pairwise(spans))


def running(meetings: Iterable[Meeting], at: datetime) -> int:
    """How many have somebody or something in them at a moment."""
    return sum(meeting.start <= micros(at) < meeting.end for meeting in meetings)


def test_nothing_happens_in_the_half_hour_before_the_anchor() -> None:
    """The history is finished and at rest when the demo starts, even in the middle of a working day."""
    anchor = datetime(2026, 11, 9, 16, 20, tzinfo=VIETNAM)
    world = World(anchor=anchor, scale=4)
    ends = [leg.left for meeting in world.meetings(anchor) for leg in meeting.legs()]
    before = [micros(anchor) - end for end in ends if end < micros(anchor)]

    assert 30 * MINUTE < min(before) < 60 * MINUTE
    assert running(world.meetings(anchor), anchor) == 0


def test_from_the_anchor_on_three_to_eight_meetings_run_at_any_time(world: World) -> None:
    """Around the clock, with a couple of large ones, and somebody comes or goes every few seconds."""
    end = ANCHOR + timedelta(days=2)
    # Beside them there are rooms into which sites of a meeting are transferred for some minutes.
    live = [meeting for meeting in world.meetings(end) if meeting.start >= micros(ANCHOR) and meeting.invited]
    counts = [running(live, ANCHOR + timedelta(seconds=s)) for s in range(5, 172_800, 61)]
    lengths = [(m.end - m.start) / MINUTE for m in live]
    steps = [at for m in live for leg in m.legs() if leg.joined for at in (leg.joined, leg.left)]

    assert min(counts) >= 3
    assert max(counts) <= 8
    assert min(lengths) >= 9.5
    assert max(lengths) <= 60
    assert 172_800 / len(steps) < 6
    assert sum(len(m.invited) >= 20 for m in live) / len(live) > 0.2


def test_the_same_arguments_make_the_same_world_in_another_process(world: World) -> None:
    """Whatever the hash seed, and however late it is asked: a demo started again days later knows the same past."""
    code = """
from datetime import datetime, timedelta
from hashlib import sha256
import msgspec
from conftrack.simulator import VIETNAM, World
anchor = datetime(2026, 11, 16, 9, 0, tzinfo=VIETNAM)
meetings = World(anchor=anchor).meetings(anchor + timedelta(days=3))
print(sha256(msgspec.json.encode(meetings[:1200])).hexdigest())
"""
    other = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True
    )
    for hours in (1, 5, 30, 72):
        world.meetings(ANCHOR + timedelta(hours=hours))
    mine = list(world.meetings(ANCHOR))[:1200]

    assert len(mine) == 1200
    assert sha256(msgspec.json.encode(mine)).hexdigest() == other.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_a_world_is_cheap() -> None:
    """Under three seconds of work and 200 MB for the whole year, in a process that has nothing else to do."""
    code = """
import time
from datetime import datetime
from pathlib import Path
from conftrack.simulator import VIETNAM, World
begun = time.process_time()
World(anchor=datetime(2026, 11, 16, 9, 0, tzinfo=VIETNAM))
print(time.process_time() - begun, Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, kilobytes = map(float, done.stdout.split())

    assert seconds < 3
    assert kilobytes < 200_000


def test_another_seed_makes_another_world() -> None:
    """The seed decides what happens; who there is does not depend on it."""
    one, other = World(1, anchor=ANCHOR, scale=0.05), World(2, anchor=ANCHOR, scale=0.05)

    assert _digest(one, ANCHOR) != _digest(other, ANCHOR)
    assert one.province == other.province


def test_the_future_never_changes_the_truth_about_the_past(world: World) -> None:
    """The figures up to a moment are the same whenever they are asked for, and only grow with the moment."""
    noon = ANCHOR + timedelta(hours=3)
    before = World(anchor=ANCHOR).truth(noon)
    world.meetings(ANCHOR + timedelta(days=2))

    assert world.truth(noon) == before
    assert world.truth(ANCHOR).total.meetings < before.total.meetings
    assert world.truth(noon, since=ANCHOR).total.meetings == before.total.meetings - world.truth(ANCHOR).total.meetings


def test_a_months_first_day_is_local() -> None:
    """Months are keyed by their first local day."""
    truth = World(anchor=ANCHOR, scale=0.1).truth(ANCHOR)
    assert date(2026, 10, 1) in truth.months


def test_an_accelerated_clock_runs_faster_from_its_start() -> None:
    """Ten real seconds at sixty-fold speed are ten minutes."""
    real = datetime(2026, 1, 1, tzinfo=UTC)
    times = iter((real, real + timedelta(seconds=10)))

    assert accelerated(lambda: next(times), ANCHOR, 60)() == ANCHOR + timedelta(minutes=10)
