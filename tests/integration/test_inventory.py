"""The inventory: whichever way round it and the calls come in, every call ends up with its site and unit."""

from __future__ import annotations

import asyncio
import itertools
from datetime import date

import asyncpg
import pytest

from conftrack.model import Endpoint, OrgUnit
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.inventory import InventoryError
from conftrack.storage.queries import query
from conftrack.storage.store import Store
from tests.worlds import NOW, count, leg, meeting, page, store_all

PROVINCE = OrgUnit(code="province", name="Tỉnh")
NORTH = OrgUnit(code="north", name="Bắc", parent="province", level=1)
SOUTH = OrgUnit(code="south", name="Nam", parent="province", level=1)


def site(code: str = "Site-1", org: str | None = "north", aliases: tuple[str, ...] = ("xa-1@vc.example",)) -> Endpoint:
    return Endpoint(code=code, name=f"Điểm cầu {code}", org=org, aliases=aliases)


async def usage(database: Database) -> dict[str | None, tuple[int, int, int]]:
    """Endpoints, legs and attendees by unit, of all sources."""
    rows = await database.pool.fetch("select * from conftrack.usage_monthly where source is null")
    return {row["org"]: (row["endpoints"], row["legs"], row["attendees"]) for row in rows}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_calls_and_inventory_may_come_in_any_order(
    order: tuple[int, ...], database: Database, store: Store
) -> None:
    """Two aliases of one site are one endpoint with one head count, for its unit and all above, in the end."""

    async def calls() -> None:
        await store_all(store, [page(meeting(), leg("l1", identity="xa-1@vc.example"), leg("l2", identity="site-1"))])

    async def known() -> None:
        await inventory.put(database.pool, [PROVINCE, NORTH], [site()])
        await store.refresh()

    async def counted() -> None:
        await store_all(store, [page(count(30, endpoint="SITE-1"))])

    steps = (calls, known, counted)
    for number in order:
        await steps[number]()

    assert await usage(database) == dict.fromkeys(("north", "province", None), (1, 2, 30))


async def test_an_alias_found_later_merges_what_belongs_together(database: Database, store: Store) -> None:
    """Until then each alias is an endpoint of its own; the past is put right, and the number of matches is told."""
    await inventory.put(database.pool, [PROVINCE, NORTH], [site(aliases=())])
    await store_all(store, [page(leg("l1", identity="site-1"), leg("l2", identity="210"), leg("l3", identity="999"))])
    assert await usage(database) == {None: (3, 3, 3), "north": (1, 1, 1), "province": (1, 1, 1)}

    assert await inventory.put(database.pool, [], [site(aliases=("210",))]) == 1
    assert await inventory.put(database.pool, [], [site(aliases=("210",))]) == 0
    await store.refresh()
    assert await usage(database) == {None: (2, 3, 2), "north": (1, 2, 1), "province": (1, 2, 1)}


async def test_an_alias_moves_to_another_site_with_its_past(database: Database, store: Store) -> None:
    """A wrong match is corrected by saying whose alias it is."""
    await inventory.put(database.pool, [PROVINCE, NORTH, SOUTH], [site(), site("Site-2", "south", ())])
    await store_all(store, [page(leg(identity="xa-1@vc.example"))])
    await inventory.put(database.pool, [], [site("Site-2", "south")])
    await store.refresh()

    assert set(await usage(database)) == {None, "province", "south"}


async def test_a_head_count_finds_its_site_by_an_alias_that_is_known_later(database: Database, store: Store) -> None:
    """The count came under a name that only the inventory connects with the caller's."""
    await inventory.put(database.pool, [PROVINCE, NORTH], [site()])
    await store_all(store, [page(meeting(), leg(identity="xa-1@vc.example"), count(44, endpoint="Hội trường 1"))])
    assert (await usage(database))[None] == (1, 1, 1)

    await inventory.put(database.pool, [], [site(aliases=("hội trường 1",))])
    await store.refresh()
    assert (await usage(database))["north"] == (1, 1, 44)


async def test_units_that_move_take_their_past_with_them(database: Database, store: Store) -> None:
    """A reorganised tree counts as it stands now, for units above and for sites that change unit."""
    await inventory.put(database.pool, [PROVINCE, NORTH, SOUTH], [site()])
    await store_all(store, [page(leg(identity="xa-1@vc.example"))])
    assert set(await usage(database)) == {None, "province", "north"}

    await inventory.put(database.pool, [OrgUnit(code="north", name="Bắc", parent="south", level=2)], [])
    await store.refresh()
    assert set(await usage(database)) == {None, "province", "south", "north"}

    await inventory.put(database.pool, [], [site(org="south")])
    await store.refresh()
    assert set(await usage(database)) == {None, "province", "south"}


async def test_what_contradicts_itself_changes_nothing(database: Database) -> None:
    """Two sites that claim one alias, a unit that is not there: all or nothing, with the names."""
    with pytest.raises(InventoryError, match=r"xa-1@vc\.example.*Site-1.*Site-2"):
        await inventory.put(database.pool, [PROVINCE, NORTH], [site(), site("Site-2")])
    with pytest.raises(InventoryError, match=r"Site-1.*north"):
        await inventory.put(database.pool, [PROVINCE], [site()])

    assert await database.pool.fetchval("select count(*) from conftrack.org_units") == 0
    assert await database.pool.fetchval("select count(*) from conftrack.endpoints") == 0


async def test_a_unit_with_a_parent_that_is_not_there_is_refused(database: Database) -> None:
    """Else it would stand beside the tree without a word, and be in no sum."""
    with pytest.raises(InventoryError, match=r"north.*province"):
        await inventory.put(database.pool, [NORTH], [])


async def test_a_unit_below_itself_is_refused(database: Database) -> None:
    """A circle has no top to add up to."""
    circle = [OrgUnit(code="north", name="N", parent="south"), OrgUnit(code="south", name="S", parent="north")]
    with pytest.raises(InventoryError, match="itself"):
        await inventory.put(database.pool, circle, [])


async def test_a_page_and_an_inventory_never_miss_each_other(database: Database, store: Store) -> None:
    """While one site after the other is put in, its calls come in: in the end no call that has a site is without."""

    async def put() -> None:
        for number in range(25):
            await inventory.put(database.pool, [], [site(f"S{number}", None, (f"{number}",))])

    async def call() -> None:
        source = await store.register("one", "test")
        for number in range(25):
            await store.store(source, page(leg(f"l{number}", identity=f"{number}")), now=NOW)

    await asyncio.gather(put(), call())

    assert await database.pool.fetchval("select count(*) from conftrack.legs where endpoint is null") == 0


async def test_callers_wait_for_an_inventory_that_is_coming_in(dsn: str, database: Database, store: Store) -> None:
    """Who is looked up in that moment is found."""
    source = await store.register("one", "test")
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        await other.execute(query("lock_inventory"))
        await other.execute("insert into conftrack.endpoint (code, name) values ('S', 'S')")
        await other.execute("insert into conftrack.alias select 'xa-1@vc.example', endpoint_id from conftrack.endpoint")
        storing = asyncio.create_task(store.store(source, page(leg(identity="xa-1@vc.example")), now=NOW))
        waiting = (
            "select exists (select from pg_locks where locktype = 'advisory' and not granted "
            "and database = (select oid from pg_database where datname = current_database()))"
        )
        while not await database.pool.fetchval(waiting):  # noqa: ASYNC110  (the server does not tell)
            await asyncio.sleep(0.01)
    await storing
    await other.close()

    assert await database.pool.fetchval("select endpoint from conftrack.legs") == "S"


async def test_a_unit_that_is_founded_anew_under_its_code_keeps_its_sites(database: Database, store: Store) -> None:
    """Units merge and keep a code: from then on there are two of it, and a site belongs to the newer."""
    old = OrgUnit(code="north", name="Huyện Bắc", parent="province", level=1)
    new = OrgUnit(code="north", name="Xã Bắc", parent="province", level=1, valid_from=date(2025, 7, 1))
    await inventory.put(database.pool, [PROVINCE, old], [site()])
    await store_all(store, [page(leg(identity="xa-1@vc.example"))])
    await inventory.put(database.pool, [new], [site()])
    await store.refresh()

    rows = await database.pool.fetch(
        "select name, valid_from, valid_to from conftrack.org_units where code = 'north' order by name"
    )
    assert [tuple(row) for row in rows] == [
        ("Huyện Bắc", None, date(2025, 7, 1)),
        ("Xã Bắc", date(2025, 7, 1), None),
    ]
    assert await usage(database) == dict.fromkeys(("north", "province", None), (1, 1, 1))
