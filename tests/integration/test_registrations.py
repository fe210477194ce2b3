"""Sites that stop being registered, as operators meet them: polled, restarted, out of sight, in meetings."""

from __future__ import annotations

import random
from datetime import date
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from conftrack.incidents.keeper import RECENT, Incidents
from conftrack.model import Endpoint
from conftrack.state import Site, State
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.queries import query
from conftrack.storage.store import Store
from tests.integration.test_incidents import SITES, Desk, System
from tests.worlds import at

SHOWN = ("endpoint", "opened_at", "closed_at")


def alias(site: str) -> str:
    return f"{site.lower()}@vc.example"


@pytest.fixture
async def desk(database: Database) -> Desk:
    """All sites are registered, and were seen so at minute 0."""
    made = await Desk(database).open()
    await made.know(*SITES)
    made.system.registered = {alias(site) for site in SITES}
    await made.look(0)
    return made


def unregister(desk: Desk, *sites: str) -> None:
    assert desk.system.registered is not None
    desk.system.registered -= {alias(site) for site in sites}


def register(desk: Desk, *sites: str) -> None:
    assert desk.system.registered is not None
    desk.system.registered |= {alias(site) for site in sites}


async def spans(desk: Desk) -> list[tuple[Any, ...]]:
    rows = await desk.database.pool.fetch(
        "select alias, since, until from conftrack.registration order by alias, since"
    )
    return [tuple(row) for row in rows]


async def test_a_site_that_is_registered_no_more_is_told_after_a_minute_and_closes_when_it_is(desk: Desk) -> None:
    """It belongs to the site and the source, to no meeting, and to the local day it opened on."""
    unregister(desk, "XA-01")
    await desk.watch(10, 10.8)
    assert await desk.rows("endpoint") == []
    await desk.look(11)
    assert await desk.rows("endpoint", "org", "source", "kind", "meeting_id", "day", "opened_at", "closed_at") == [
        ("XA-01", "XA", "one", "unregistered", None, date(2026, 3, 2), 10, None)
    ]
    register(desk, "XA-01")
    await desk.look(15)
    assert await desk.rows(*SHOWN) == [("XA-01", 10, 15)]
    assert await desk.database.pool.fetchval(
        "select incidents from conftrack.incident_day where period = $1 and source_id is null and org_unit_id is null",
        date(2026, 3, 2),
    ) == 1  # fmt: skip


async def test_the_board_says_that_it_failed(desk: Desk) -> None:
    """Who should be registered and is not, is shown as failed, as what is missing from a meeting is."""
    unregister(desk, "XA-01")
    await desk.watch(10, 11)
    state = State(at(0))
    state.know_sites((Site(code=site, name=site), (alias(site),)) for site in SITES)
    state.sources["one"] = desk.state
    state.incidents = {i.incident_id: i for i in await desk.incidents.open()}

    assert state.site_states(at(11)) == dict.fromkeys(SITES, "idle") | {"XA-01": "failed"}


async def test_only_changes_are_written(desk: Desk) -> None:
    """Three thousand devices that stay registered cost nothing."""
    first = await spans(desk)
    await desk.watch(1, 3)
    assert await spans(desk) == first
    assert len(first) == len(SITES)


async def test_a_minute_away_is_no_incident(desk: Desk) -> None:
    unregister(desk, "XA-01")
    await desk.watch(10, 10.8)
    register(desk, "XA-01")
    await desk.watch(11, 14)
    assert await desk.rows("endpoint") == []


async def test_a_system_that_does_not_tell_who_is_registered_changes_nothing(database: Database) -> None:
    """Neither a version without the list, nor an account that may not read it."""
    desk = await Desk(database).open()
    await desk.know(*SITES)
    await desk.watch(0, 3)
    assert await spans(desk) == []
    assert await desk.rows("endpoint") == []


async def test_nothing_opens_and_nothing_closes_while_nobody_tells(desk: Desk) -> None:
    """The polls work, the list does not: what was known of it stays as it was."""
    unregister(desk, "XA-01")
    await desk.watch(10, 11)
    unregister(desk, "XA-02")
    await desk.look(12)
    told, desk.system.registered = desk.system.registered, None
    await desk.watch(12.5, 20)
    assert await desk.rows(*SHOWN) == [("XA-01", 10, None)]
    desk.system.registered = told
    await desk.look(20.5)
    assert await desk.rows(*SHOWN) == [("XA-01", 10, None), ("XA-02", 12, None)]


async def test_failed_polls_open_and_close_nothing(desk: Desk) -> None:
    """A source that is down says nothing about who is registered with it."""
    unregister(desk, "XA-01")
    await desk.watch(10, 11)
    desk.system.ill = True
    register(desk, "XA-01")
    unregister(desk, "XA-02")
    await desk.watch(12, 20)
    assert await desk.rows(*SHOWN) == [("XA-01", 10, None)]


async def test_what_happened_out_of_sight_begins_when_it_is_seen(desk: Desk) -> None:
    """Who was there before a gap and is not after it is missing from its end on; who is back is back then."""
    unregister(desk, "XA-01")
    await desk.watch(10, 11)
    desk.system.ill = True
    unregister(desk, "XA-02")
    register(desk, "XA-01")
    await desk.look(12)
    desk.system.ill = False
    await desk.watch(30, 32)
    assert await desk.rows(*SHOWN) == [("XA-01", 10, 30), ("XA-02", 30, None)]


async def test_a_restarted_collector_knows_who_was_registered(desk: Desk) -> None:
    """It opens nothing twice, and notes who went away and who came back meanwhile."""
    unregister(desk, "XA-01", "XA-02")
    await desk.watch(10, 11)
    before = await desk.rows("incident_id", *SHOWN)
    assert len(before) == 2
    registered, desk.system = desk.system.registered, System()
    desk.system.minute, desk.system.registered = 11, registered
    await desk.open()
    await desk.look(11.1)
    assert await desk.rows("incident_id", *SHOWN) == before
    register(desk, "XA-02")
    unregister(desk, "XA-03")
    await desk.open()
    await desk.watch(11.2, 12.5)
    assert [row[1:] for row in await desk.rows("incident_id", *SHOWN)] == [
        ("XA-01", 10, None), ("XA-02", 10, 11.2), ("XA-03", 11.2, None),
    ]  # fmt: skip


async def test_service_hours_begin_and_end_it(desk: Desk) -> None:
    """Who is away after closing time is nobody's trouble until the morning."""
    await desk.know("XA-01", service_hours="07:00-17:30")  # until minute 570, from minute 1380
    unregister(desk, "XA-01")
    await desk.watch(565, 566.1)
    await desk.look(569)
    assert await desk.rows(*SHOWN) == [("XA-01", 565, None)]
    await desk.look(571)
    assert await desk.rows(*SHOWN) == [("XA-01", 565, 570)]
    await desk.watch(1379, 1380.8)
    assert len(await desk.rows(*SHOWN)) == 1
    await desk.look(1381)
    assert await desk.rows(*SHOWN) == [("XA-01", 565, 570), ("XA-01", 1380, None)]
    assert {row[0] for row in await desk.rows("day")} == {date(2026, 3, 2), date(2026, 3, 3)}


async def test_who_is_in_a_meeting_is_not_missing(desk: Desk) -> None:
    """Called by its address it works: no alarm beside the meeting, and one when it has left and is still not there."""
    unregister(desk, "XA-01")
    await desk.watch(10, 12)
    desk.system.minute = 13
    desk.join("leg", "XA-01")
    await desk.watch(13, 20)
    assert await desk.rows(*SHOWN) == [("XA-01", 10, 13)]
    desk.part("leg")
    await desk.watch(20.1, 22)
    assert await desk.rows(*SHOWN) == [("XA-01", 10, 13), ("XA-01", 20, None)]


async def test_planned_work_closes_it(desk: Desk) -> None:
    """Work that is planned in the middle of it, and told of afterwards, is not counted as missing."""
    unregister(desk, "XA-01")
    await desk.watch(10, 12)
    await desk.database.pool.execute(
        "insert into conftrack.maintenance (endpoint_id, starts_at, ends_at, expires_at, author, reason, created_at) "
        "select endpoint_id, $1, $2, $2, 'trực', 'thay thiết bị', $1 from conftrack.endpoint where code = 'XA-01'",
        at(9), at(11.5),
    )  # fmt: skip
    await desk.database.pool.execute(
        "insert into conftrack.dirty_incident (endpoint_id) select endpoint_id from conftrack.endpoint"
    )
    await desk.look(12.2)
    assert await desk.rows(*SHOWN) == []
    await desk.look(12.5)
    assert await desk.rows(*SHOWN) == [("XA-01", 11.5, None)]


async def test_the_inventory_decides_whose_alias_it_is_and_when_it_serves(desk: Desk) -> None:
    """An alias that is matched later brings its past with it; a site that is retired is missing no more."""
    desk.system.registered |= {"h323-77"}  # type: ignore[operator]
    await desk.look(5)
    desk.system.registered -= {"h323-77"}
    unregister(desk, "XA-02")
    await desk.watch(10, 12)
    assert await desk.rows(*SHOWN) == [("XA-02", 10, None)]

    await inventory.put(desk.database.pool, [], [Endpoint(code="XA-77", name="Nhà văn hóa", aliases=("h323-77",))])
    before = await inventory.load(desk.database.pool)
    retired = inventory.Inventory.of(
        before.units,
        (
            inventory.Site(**{**{n: getattr(e, n) for n in e.__struct_fields__}, "retired_on": date(2026, 3, 2)})
            if e.code == "XA-02"
            else e
            for e in before.endpoints
        ),
    )
    await inventory.apply(desk.database.pool, before, retired)
    await desk.incidents.refresh()
    assert await desk.rows(*SHOWN) == [("XA-77", 10, None)]


async def test_a_page_that_is_stored_twice_changes_nothing(desk: Desk) -> None:
    """A poll whose write was cut short is made again from the database, whatever of it was written."""
    unregister(desk, "XA-01")
    await desk.look(10)
    first = await spans(desk)
    await desk.open()
    await desk.look(10)
    assert await spans(desk) == first


async def test_the_hours_are_those_of_the_configured_zone(desk: Desk) -> None:
    """A zone that was set wrong and is corrected brings up what was missed by it."""
    await desk.know("XA-01", service_hours="07:00-17:30")
    unregister(desk, "XA-01")
    await desk.watch(600, 602)
    assert await desk.rows(*SHOWN) == []
    await desk.store.adopt_timezone()
    utc = ZoneInfo("UTC")  # where it is eleven in the morning
    await Store(desk.database.pool, utc).adopt_timezone()
    await Incidents(desk.database.pool, utc).refresh()
    assert await desk.rows(*SHOWN) == [("XA-01", 600, None)]


async def test_years_of_registrations_change_nothing_and_are_not_read(desk: Desk) -> None:
    """What a site is judged by reaches back a month, and to when it was last registered before; the rest only grows."""
    await desk.database.pool.execute(
        "insert into conftrack.registration (source_id, alias, since, until) "
        "select source_id, $1, day, day + interval '86370 seconds' "
        "from conftrack.source, generate_series($2::timestamptz - interval '900 days', $2, '1 day') day",
        alias("XA-01"), at(-24 * 60),
    )  # fmt: skip
    unregister(desk, "XA-01", "XA-02")
    await desk.watch(10, 11)

    assert await desk.rows("endpoint", "opened_at", "closed_at") == [("XA-01", 10, None), ("XA-02", 10, None)]
    sites = await desk.database.pool.fetch("select endpoint_id from conftrack.endpoint order by code limit 2")
    found = await desk.database.pool.fetch(query("list_registered"), [row["endpoint_id"] for row in sites], RECENT)
    assert [len(row["begins"]) for row in found] == [RECENT.days + 1, 1]


async def test_a_registration_is_missed_as_its_definition_says(desk: Desk) -> None:
    """Before the end of a period once registered, by any alias anywhere, and by none of them all through it."""
    rng = random.Random(20261130)
    pool = desk.database.pool
    other = await desk.store.register("two", "test")
    await pool.execute("insert into conftrack.registrar (source_id, read_at) values ($1, $2)", other, at(0))
    endpoint = await pool.fetchval("select endpoint_id from conftrack.endpoint where code = 'XA-01'")
    await pool.execute("insert into conftrack.alias (alias, endpoint_id) values ('second', $1)", endpoint)
    for _ in range(60):
        await pool.execute("delete from conftrack.registration")
        for source in (1, other):
            for name in (alias("XA-01"), "second"):
                moments = sorted(rng.sample(range(20), rng.choice((0, 1, 2, 3, 4, 5))))
                rows = [
                    (source, name, at(since), at(until) if until is not None else None)
                    for since, until in zip_longest(moments[::2], moments[1::2])
                ]
                await pool.executemany("insert into conftrack.registration values ($1, $2, $3, $4)", rows)
        since, until = sorted(rng.sample(range(20), 2))
        assert await pool.fetchval(
            """
            select conftrack.missed_registration($1, $2, $3) = (
              exists (select from conftrack.endpoint_registration r where r.endpoint_id = $1 and r.until < $3)
              and not exists (
                select from conftrack.endpoint_registration r
                where r.endpoint_id = $1 and r.since <= $2 and (r.until is null or r.until >= $3)
              )
            )
            """, endpoint, at(since), at(until),
        )  # fmt: skip
