"""What room sensors read, and the head counts that follow from it, in any order of arrival."""

from __future__ import annotations

import itertools
from datetime import timedelta

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftrack.config import PrivacyConfig
from conftrack.model import Endpoint, Origin, Page, Reading
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.keeping import Keeping
from conftrack.storage.queries import query
from conftrack.storage.store import Store
from tests import views
from tests.facts import Facts
from tests.worlds import NOW, ZONE, at, count, facts_of, leg, meeting, page, small_world, store_all

XA = Endpoint(code="XA-1", name="Xã 1", aliases=("xa-77@vc.example",))
ALIAS = "xa-77@vc.example"


def read(minutes: float, people: int, device: str = "XA-1") -> Reading:
    return Reading(device=device, at=at(minutes), people=people)


def sensed(*readings: Reading) -> Page:
    return Page(stream="people", origin=Origin.HISTORY, observed_at=NOW, readings=readings)


async def counts(database: Database) -> list[tuple[str, int, str]]:
    """Who was in meetings, with how many people, and where the number is from."""
    rows = await database.pool.fetch(
        "select coalesce(endpoint, identity) as who, attendees, provenance from conftrack.endpoint_connections "
        "order by joined_at, 1"
    )
    return [(row["who"], row["attendees"], row["provenance"]) for row in rows]


async def sense(database: Database, store: Store, *readings: Reading) -> None:
    await inventory.put(database.pool, (), (XA,))
    await store_all(store, [sensed(*readings)], "rooms")


# -- one meeting


async def test_the_highest_minute_of_the_presence_is_the_head_count(database: Database, store: Store) -> None:
    """Not the highest reading, which flickers, and nothing from before the room joined or after it left."""
    await sense(
        database,
        store,
        read(-1, 50),
        read(10, 7),
        read(10.3, 40),
        read(10.6, 7),
        read(20, 9),
        read(59.9, 9),
        read(60, 50),
    )
    await store_all(store, [page(leg(identity=ALIAS))])

    assert await counts(database) == [("XA-1", 9, "people_count")]
    assert await database.pool.fetchval("select attendees from conftrack.meetings") == 9


async def test_a_sensor_that_read_nothing_counts_nothing(database: Database, store: Store) -> None:
    """One that died before the meeting holds no number for it: the room is one endpoint, as without a sensor."""
    await sense(database, store, read(-30, 50), read(-5, 50))
    await store_all(store, [page(leg(identity=ALIAS))])

    assert await counts(database) == [("XA-1", 1, "connections")]


async def test_a_sensor_that_dies_leaves_what_it_saw(database: Database, store: Store) -> None:
    """What was seen of a meeting stays seen; the silence after it is neither zero nor more of the same."""
    await sense(database, store, read(5, 8))
    await store_all(store, [page(leg(identity=ALIAS)), page(leg("leg-2", 70, 90, room="other", identity=ALIAS))])

    assert await counts(database) == [("XA-1", 8, "people_count"), ("XA-1", 1, "connections")]


async def test_what_was_seen_outside_meetings_is_not_kept_for_ever(database: Database, store: Store) -> None:
    """Minutes of a meeting stay, with the five around it that may still turn out to be of it; the head count too when
    the meeting is derived again."""
    await sense(database, store, *(read(minute, 9) for minute in (-60, -4, 5, 64, 70, 200)))
    await store_all(store, [page(leg(identity=ALIAS))])
    keeping = Keeping(database.pool, ZONE, PrivacyConfig())

    for day, kept in ((80, 6), (100, 3), (101, 3)):
        await keeping.tidy(NOW + timedelta(days=day))
        assert await database.pool.fetchval("select count(*) from conftrack.people_minute") == kept
    await store_all(store, [page(leg(identity=ALIAS, left=61))])
    assert await counts(database) == [("XA-1", 9, "people_count")]


async def test_an_empty_room_is_a_count_of_nobody(database: Database, store: Store) -> None:
    """Zero that a camera saw is a number, as any other."""
    await sense(database, store, read(5, 0), read(6, 0))
    await store_all(store, [page(leg(identity=ALIAS))])

    assert await counts(database) == [("XA-1", 0, "people_count")]


async def test_what_the_site_reported_stands_before_the_sensor(database: Database, store: Store) -> None:
    """Whichever came first; and the sensor before an import."""
    await sense(database, store, read(5, 8))
    await store_all(store, [page(leg(identity=ALIAS), count(30, endpoint="XA-1", provenance="imported"))])
    assert await counts(database) == [("XA-1", 8, "people_count")]

    await store_all(store, [page(count(5, endpoint="XA-1"))])
    await store_all(store, [sensed(read(6, 20))], "rooms")
    assert await counts(database) == [("XA-1", 5, "reported")]


async def test_a_room_that_is_in_two_meetings_is_counted_in_each(database: Database, store: Store) -> None:
    """Each by what was seen while it was in that one."""
    await sense(database, store, read(5, 8), read(45, 3))
    await store_all(
        store, [page(leg(left=30, identity=ALIAS)), page(leg("leg-2", 40, 60, room="other", identity=ALIAS))]
    )

    assert await counts(database) == [("XA-1", 8, "people_count"), ("XA-1", 3, "people_count")]


async def test_a_meeting_of_days_takes_what_is_read_at_its_end(database: Database, store: Store) -> None:
    """A line that never hangs up is found by a late reading as any other."""
    await inventory.put(database.pool, (), (XA,))
    for left in (5000, None):
        await store_all(store, [page(leg(f"leg-{left}", 0, left, room=f"room {left}", identity=ALIAS))])
    await store_all(store, [sensed(read(4990, 6))], "rooms")

    assert await counts(database) == [("XA-1", 6, "people_count")] * 2


async def test_readings_that_come_again_change_nothing(database: Database, store: Store) -> None:
    """They are unchanged, exactly counted, and no meeting is derived again for them."""
    await inventory.put(database.pool, (), (XA,))
    await store_all(store, [page(leg(identity=ALIAS))])
    readings = [read(5, 8), read(5.5, 9), read(6, 9)]
    source = await store.register("rooms", "test")
    first = await store.store(source, sensed(*readings), now=NOW)
    assert (first.inserted, first.updated, first.unchanged) == (2, 0, 0)
    await store.refresh()

    again = await store.store(source, sensed(*reversed(readings)), now=NOW)
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 2)
    assert await database.pool.fetchval("select count(*) from conftrack.dirty_conference") == 0

    more = await store.store(source, sensed(read(5.7, 9)), now=NOW)
    assert (more.inserted, more.updated, more.unchanged) == (0, 1, 0)
    await store.refresh()
    assert await counts(database) == [("XA-1", 9, "people_count")]


async def test_readings_of_others_derive_nothing_again(database: Database, store: Store) -> None:
    """The cost follows what changed: a sensor's minute touches the meetings that its room is in then, no other."""
    await inventory.put(database.pool, (), (XA,))
    await store_all(store, [*small_world(), page(leg("leg-x", 0, 60, room="other", identity=ALIAS))])
    source = await store.register("rooms", "test")
    await store.store(source, sensed(read(30, 8, "someone-else"), read(90, 8), read(-10, 8)), now=NOW)
    assert await database.pool.fetchval("select count(*) from conftrack.dirty_conference") == 0

    await store.store(source, sensed(read(30, 8)), now=NOW)
    rooms = await database.pool.fetch(
        "select c.room from conftrack.dirty_conference d join conftrack.conference c using (conference_id)"
    )
    assert [row["room"] for row in rooms] == ["other"]


async def test_a_sensor_that_is_matched_later_counts_for_the_past(database: Database, store: Store) -> None:
    """And one that turns out to be another room's counts there, and no longer here."""
    other = Endpoint(code="XA-2", name="Xã 2", aliases=("b",))
    await inventory.put(database.pool, (), (XA, other))
    await store_all(store, [page(leg(identity=ALIAS), leg("leg-2", 1, 60, identity="b"))])
    await store_all(store, [sensed(read(5, 8, "camera"))], "rooms")
    assert await counts(database) == [("XA-1", 1, "connections"), ("XA-2", 1, "connections")]

    for place, expected in (((XA, other), [8, 1]), ((other, XA), [1, 8])):
        first, second = place
        seeing = msgspec.structs.replace(first, aliases=(*first.aliases, "camera"))
        await inventory.put(database.pool, (), (second, seeing))
        await store.refresh()
        assert [people for _, people, _ in await counts(database)] == expected


async def test_meetings_that_turn_out_to_be_one_have_one_count(database: Database, store: Store) -> None:
    """The best of both, and nothing is left of what each had alone; and again when they turn out to be two."""
    stay = page(
        leg(left=20, meeting="m-1", identity=ALIAS), leg("leg-2", 40, 60, meeting="m-2", identity=ALIAS),
        meeting("m-1", 0, 20), meeting("m-2", 40, 60),
    )  # fmt: skip
    await inventory.put(database.pool, (), (XA,))
    told = [stay, sensed(read(5, 3), read(45, 8))]
    await store_all(store, told)
    assert await counts(database) == [("XA-1", 3, "people_count"), ("XA-1", 8, "people_count")]

    for more in (page(meeting("m-1", 0, 50)), page(meeting("m-1", 0, 20))):
        told.append(more)
        await store_all(store, [more])
        facts = facts_of(told)
        facts.inventory.put((), (XA,))
        assert await views.differences(database.pool, facts.come_to()) == []


async def test_a_sensor_that_no_endpoint_knows_is_listed(database: Database, store: Store) -> None:
    """Somebody who mistyped a code finds out: it is among the callers without an endpoint, until it has one."""
    await sense(database, store, read(5, 8), read(5, 8, "XA-l"), read(6, 8, "XA-l"))
    queue, total = await inventory.unmatched(database.pool)
    assert [(c.identity, c.minutes, c.last_seen_at, c.room) for c in queue] == [("xa-l", 2, at(6), None)]
    assert total == 1


# -- any order


Step = tuple[Endpoint, ...] | Page

_PUTS: tuple[tuple[Endpoint, ...], ...] = (
    (Endpoint(code="XA-1", name="1", aliases=("a", "dev")),),
    (Endpoint(code="XA-1", name="1", aliases=("a", "b")), Endpoint(code="XA-2", name="2", aliases=("dev",))),
    (Endpoint(code="XA-1", name="1", aliases=("a", "b", "dev")), Endpoint(code="XA-2", name="2")),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Rooms that join, leave and redial, their legs corrected, their meetings listed late so that they split and merge;
    sensors that read all the while; an inventory that finds out whose they are: in any order, anything twice."""
    minute = st.integers(0, 20)

    def span() -> tuple[int, int]:
        first, last = sorted((draw(minute), draw(minute)))
        return first, last

    steps: list[Step] = list(draw(st.lists(st.sampled_from(_PUTS), min_size=1, max_size=2)))
    for number in range(draw(st.integers(1, 3))):
        whose, room = draw(st.sampled_from("ab")), draw(st.sampled_from("xxy"))
        for _ in range(draw(st.integers(1, 2))):
            joined, left = span()
            steps.append(page(leg(f"leg-{number}", joined, left, room=room, identity=whose)))
    for number in range(draw(st.integers(0, 2))):
        started, ended = span()
        steps.append(page(meeting(f"m-{number}", started, ended, room="x")))
    for _ in range(draw(st.integers(1, 8))):
        when = draw(minute) + draw(st.sampled_from([0.0, 0.01, 0.2, 0.5, 0.99]))
        readings = [
            read(when, draw(st.integers(0, 4)), draw(st.sampled_from(["XA-1", "dev", "b"])))
            for _ in range(draw(st.integers(1, 2)))
        ]
        steps.append(sensed(*readings))
    if draw(st.booleans()):
        provenance = draw(st.sampled_from(["reported", "people_count", "imported"]))
        told = count(draw(st.integers(0, 4)), draw(minute), room="x", endpoint="XA-1", provenance=provenance)
        steps.append(page(told, origin=Origin.PUSH))
    steps = draw(st.permutations(steps))
    return steps + draw(st.lists(st.sampled_from(steps), max_size=3))


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=histories(), refreshed=st.lists(st.booleans(), min_size=25, max_size=25))
async def test_head_counts_follow_from_the_facts_in_any_order(
    steps: list[Step], refreshed: list[bool], database: Database
) -> None:
    """Sensors first or legs first, corrected, split, merged, matched late or to another: the same as if it had all been
    known from the start."""
    await views.empty(database.pool)
    store, facts = Store(database.pool, ZONE), Facts(ZONE)
    source = await store.register("one", "test")
    for step, now in zip(steps, itertools.cycle(refreshed), strict=False):
        if isinstance(step, Page):
            facts.tell("one", step)
            await store.store(source, step, now=NOW)
        else:
            facts.inventory.put((), step)
            await inventory.put(database.pool, (), step)
        if now:
            await store.refresh()
    await store.refresh()

    assert await views.differences(database.pool, facts.come_to()) == []
    await database.pool.execute(query("mark_all_dirty"))
    await store.refresh()
    assert await views.differences(database.pool, facts.come_to()) == []
