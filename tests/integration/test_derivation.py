"""What is derived equals what the definitions say, for whatever worlds and orders of arrival can be thought of.

`tests.facts` works everything out anew in plain Python; the database derives it bit by bit, as the pages come in. Times
lie on a coarse grid around a midnight at a month's end, so that ends and beginnings meet.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftrack.model import Endpoint, Headcount, LegRecord, MeetingRecord, OrgUnit, Origin, Page, Provenance, Reading
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.queries import query
from conftrack.storage.store import Store
from tests import views
from tests.facts import INSTANT, Facts

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
MIDNIGHT = datetime(2026, 1, 31, 17, tzinfo=UTC)  # 1 February in Ho Chi Minh City
NOW = MIDNIGHT + timedelta(days=30)
SLOTS = 12
#: The widths of a slot: five minutes are as far as gaps are bridged.
WIDTHS = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=25))


class Put(msgspec.Struct, frozen=True):
    """An inventory comes in."""

    units: tuple[OrgUnit, ...]
    endpoints: tuple[Endpoint, ...]


class Told(msgspec.Struct, frozen=True):
    """A page comes in from a source; `refreshed` says whether what follows from it is derived at once."""

    source: str
    page: Page
    refreshed: bool


class Said(msgspec.Struct, frozen=True):
    """One record as its origin tells it."""

    source: str
    origin: Origin
    observed_at: datetime
    record: LegRecord | MeetingRecord | Headcount | Reading

    @property
    def read(self) -> tuple[object, ...]:
        """What was told by one read of the source may come in one page."""
        return self.source, self.origin, self.observed_at, isinstance(self.record, Headcount | Reading)


Step: TypeAlias = Put | Told
Moment: TypeAlias = Callable[[int], datetime]

PUTS = (
    Put(
        (OrgUnit(code="province", name="P"), OrgUnit(code="north", name="N", parent="province", level=1)),
        (
            Endpoint(code="Site-1", name="1", org="north", aliases=("a",)),
            Endpoint(code="site-2", name="2", aliases=("c",)),
        ),
    ),
    Put(
        (OrgUnit(code="south", name="S", parent="north", level=2),),
        (Endpoint(code="Site-1", name="1", org="south", aliases=("b",)),),
    ),
    Put(
        (OrgUnit(code="south", name="S", parent="province", level=1),),
        (Endpoint(code="site-2", name="2", org="province", aliases=("b",)),),
    ),
)
#: Mostly one room, so that what comes in meets.
ROOMS = st.sampled_from("xxxy")
ADDRESSES = st.sampled_from(["a", "b", "c", "e"])
NAMES = st.sampled_from(["e", "nguyễn văn an"])
END_CLASSES = st.sampled_from([None, "left", "dropped", "unreachable", "capacity", "busy"])
REFRESHED = st.sampled_from([False, False, True])
EXCLUDED = st.sampled_from([None, None, None, "recorder"])
COUNTED: st.SearchStrategy[Provenance] = st.sampled_from(["reported", "people_count", "imported"])


@st.composite
def worlds(draw: st.DrawFn) -> list[Step]:
    """Whatever a real system can do: reads of one origin come in their order, the origins among themselves and
    snapshots in any."""
    width = draw(st.sampled_from(WIDTHS))

    def moment(slot: int) -> datetime:
        return MIDNIGHT + (slot - SLOTS // 2) * width

    chains: list[list[Said | Put]] = [list(PUTS[: draw(st.integers(0, len(PUTS)))])]
    for source in ("one", "two")[: draw(st.sampled_from([1, 1, 2]))]:
        told: dict[object, list[Said | Put]] = defaultdict(list)
        names = [f"r{n}" for n in range(draw(st.integers(0, 3)))]
        rooms = {name: draw(ROOMS) for name in names}
        for name in names:
            for origin in draw(st.lists(st.sampled_from([Origin.HISTORY, Origin.PUSH]), max_size=2)):
                told[origin].append(Said(source, origin, moment(0), _listing(draw, name, rooms[name], moment)))
            for slot in _sightings(draw):
                listing = _listing(draw, name, draw(ROOMS), moment)
                told[name, slot].append(Said(source, Origin.LIVE, moment(slot), listing))
        for name in [f"l{n}" for n in range(draw(st.integers(1, 3)))]:
            for origin, slot, leg in _leg(draw, name, rooms, moment):
                told[(name, slot) if origin is Origin.LIVE else origin].append(Said(source, origin, moment(slot), leg))
        for _ in range(draw(st.integers(0, 2))):
            told["counts"].append(Said(source, Origin.PUSH, moment(0), _count(draw, moment)))
        for number in range(draw(st.integers(0, 5))):  # a chain each: in any order
            told["readings", number].append(Said(source, Origin.PUSH, moment(0), _reading(draw, moment)))
        chains += told.values()
    order = draw(st.permutations([n for n, chain in enumerate(chains) for _ in chain]))
    queues = [iter(chain) for chain in chains]
    return _paged(draw, [next(queues[n]) for n in order])


def _span(draw: st.DrawFn, moment: Moment) -> tuple[datetime, datetime]:
    since, until = sorted((draw(st.integers(0, SLOTS)), draw(st.integers(0, SLOTS))))
    return moment(since), moment(until)


def _listing(draw: st.DrawFn, name: str, room: str, moment: Moment) -> MeetingRecord:
    since, until = _span(draw, moment)
    return MeetingRecord(
        external_id=name,
        room=room,
        title=draw(st.sampled_from([None, "t", "u"])),
        started_at=draw(st.sampled_from([since, None])),
        ended_at=draw(st.sampled_from([until, None])),
    )


def _sightings(draw: st.DrawFn) -> list[int]:
    """When up to two snapshots show it."""
    return draw(st.lists(st.integers(0, SLOTS), min_size=draw(st.sampled_from([0, 1])), max_size=2, unique=True))


def _leg(draw: st.DrawFn, name: str, rooms: dict[str, str], moment: Moment) -> list[tuple[Origin, int, LegRecord]]:
    """What the origins say of one leg; each of them knows other fields of it."""
    room = draw(ROOMS)
    origins = draw(st.lists(st.sampled_from(Origin), min_size=1, max_size=2, unique=True))
    said: list[tuple[Origin, int, LegRecord]] = []
    for origin in origins:
        meeting = draw(st.sampled_from([None, *(2 * [name for name in rooms if rooms[name] == room])]))
        personal = draw(st.booleans()) and draw(st.booleans())
        known = LegRecord(
            external_id=name,
            room=room,
            meeting=meeting,
            identity=draw(st.none() | (NAMES if personal else ADDRESSES)),
            personal=personal,
            protocol=draw(st.sampled_from([None, "sip", "h323"])),
            rx_loss=draw(st.sampled_from([None, 0.0, 0.25])),
        )
        if origin is Origin.LIVE:
            said += [(origin, slot, _stay(draw, known, moment)) for slot in _sightings(draw)]
        elif origin is Origin.HISTORY:
            said += [(origin, 0, _stay(draw, known, moment)) for _ in range(draw(st.sampled_from([1, 1, 2])))]
        else:
            said += [(origin, 0, leg) for leg in _pushes(draw, known, moment, Origin.HISTORY in origins)]
    return said


def _stay(draw: st.DrawFn, known: LegRecord, moment: Moment, *, ended: bool | None = None) -> LegRecord:
    """A leg, or an attempt, at some time."""
    since, until = _span(draw, moment)
    ended = draw(st.sampled_from([True, True, False])) if ended is None else ended
    return msgspec.structs.replace(
        known,
        joined_at=since if draw(st.sampled_from([True, True, False])) else None,
        left_at=until if ended else None,
        end_class=draw(END_CLASSES) if ended else None,
        end_reason=draw(st.sampled_from([None, "bye"])) if ended else None,
        excluded=draw(EXCLUDED),
    )


def _pushes(draw: st.DrawFn, known: LegRecord, moment: Moment, corrected: bool) -> list[LegRecord]:
    """A join, an end, or both, and perhaps another end. Where history will correct it, that one is an echo: a system
    with a history has no need to take an end back."""
    pushes = [_stay(draw, known, moment, ended=False)] if draw(st.booleans()) else []
    if not pushes or draw(st.booleans()):
        pushes.append(_stay(draw, known, moment, ended=True))
        if draw(st.booleans()):
            again = _stay(draw, known, moment, ended=True)
            first = pushes[-1].left_at
            if corrected and first is not None:
                again = msgspec.structs.replace(again, left_at=first + INSTANT)
            pushes.append(again)
    return pushes


def _count(draw: st.DrawFn, moment: Moment) -> Headcount:
    return Headcount(
        room=draw(ROOMS),
        at=moment(draw(st.integers(0, SLOTS))),
        endpoint=draw(st.sampled_from(["Site-1", "site-2", "a", "b", "e"])),
        people=draw(st.integers(0, 3)),
        provenance=draw(COUNTED),
    )


def _reading(draw: st.DrawFn, moment: Moment) -> Reading:
    return Reading(
        device=draw(st.sampled_from(["Site-1", "site-2", "a", "b", "e"])),
        at=moment(draw(st.integers(0, SLOTS))) + timedelta(seconds=draw(st.sampled_from([-1, 0, 0.5, 1, 30]))),
        people=draw(st.integers(0, 3)),
    )


def _paged(draw: st.DrawFn, told: Sequence[Said | Put]) -> list[Step]:
    """What one read gave comes in one page or in several; any page may come twice."""
    steps: list[Step] = []
    for _, group in itertools.groupby(told, key=lambda one: None if isinstance(one, Put) else one.read):
        together = list(group)
        said = [one for one in together if isinstance(one, Said)]
        steps += [one for one in together if isinstance(one, Put)]
        size = draw(st.integers(1, len(together)))
        for at in range(0, len(said), size):
            page = _page(said[at : at + size])
            times = draw(st.sampled_from([1, 1, 1, 2]))
            steps += [Told(said[at].source, page, draw(REFRESHED)) for _ in range(times)]
    return steps


def _page(said: Sequence[Said]) -> Page:
    records = [one.record for one in said]
    return Page(
        stream="test",
        origin=said[0].origin,
        observed_at=said[0].observed_at,
        meetings=tuple(r for r in records if isinstance(r, MeetingRecord)),
        legs=tuple(r for r in records if isinstance(r, LegRecord)),
        headcounts=tuple(r for r in records if isinstance(r, Headcount)),
        readings=tuple(r for r in records if isinstance(r, Reading)),
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=worlds())
async def test_what_is_derived_bit_by_bit_is_what_the_definitions_say(steps: list[Step], database: Database) -> None:
    """Whatever comes in, in whatever order and pages, and whenever it is derived: every public row is as defined, and
    deriving everything again gives the same."""
    await views.empty(database.pool)
    store, facts = Store(database.pool, ZONE), Facts(ZONE)
    for step in steps:
        if isinstance(step, Put):
            facts.inventory.put(step.units, step.endpoints)
            await inventory.put(database.pool, step.units, step.endpoints)
        else:
            facts.tell(step.source, step.page)
            await store.store(await store.register(step.source, "test"), step.page, now=NOW)
            if step.refreshed:
                await store.refresh()
    await store.refresh()
    expected = facts.come_to()

    assert await views.differences(database.pool, expected) == []
    await database.pool.execute(query("mark_all_dirty"))
    await store.refresh()
    assert await views.differences(database.pool, expected) == []
