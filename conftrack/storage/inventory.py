"""The inventory in Postgres: org units, endpoints and aliases, and the callers that they name.

An inventory is read whole, and put in as the difference between two whole ones, in one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby, pairwise
from typing import Any, TypeAlias

import asyncpg
import msgspec

from conftrack.errors import ConftrackError
from conftrack.model import Endpoint, OrgUnit, Record
from conftrack.storage.database import Connection
from conftrack.storage.queries import query
from conftrack.storage.store import Store

_ENDPOINT = (
    "code", "name", "org", "kind", "seats", "carrier", "area", "service_hours", "contact_name", "contact_phone",
    "retired_on",
)  # fmt: skip
_SETTLED = 5
"""How often a preview waits for what came in meanwhile to be derived."""


Past: TypeAlias = tuple[tuple[date, str | None], ...]


class InventoryError(ConftrackError):
    """The inventory contradicts itself, or is not what it was."""


class Unit(OrgUnit, frozen=True, kw_only=True):
    """An org unit during one period. One that was reshaped has several periods under one code, apart in time."""

    #: The first day without it; None: it goes on.
    valid_to: date | None = None
    #: The codes of those that took over on that day.
    successors: tuple[str, ...] = ()


class Site(Endpoint, frozen=True, kw_only=True):
    """An endpoint of the inventory. Its code is an alias by itself, and not among `aliases`."""

    #: The first day out of service; None: in service.
    retired_on: date | None = None
    #: The units that it belonged to before `org`, the oldest first: the first day in another, and the unit's code.
    former: Past = ()


class Inventory(Record, frozen=True):
    """All units (by code, each in order of time) and all endpoints (by code)."""

    units: tuple[Unit, ...] = ()
    endpoints: tuple[Site, ...] = ()

    @classmethod
    def of(cls, units: Iterable[Unit], endpoints: Iterable[Site]) -> Inventory:
        return cls(
            units=tuple(sorted(units, key=lambda u: (u.code, u.valid_from or date.min))),
            endpoints=tuple(sorted(endpoints, key=lambda e: e.code)),
        )

    def periods(self) -> dict[str, tuple[Unit, ...]]:
        """The periods of each unit, the newest last."""
        return {code: tuple(units) for code, units in groupby(self.units, key=lambda u: u.code)}

    def owners(self) -> dict[str, str]:
        """Every alias, codes included, with the code of its endpoint."""
        return {alias: e.code for e in self.endpoints for alias in (own_alias(e.code), *e.aliases)}


class Unmatched(Record, frozen=True):
    """A caller without an endpoint, and how it was seen: legs that were up, attempts, head counts in its name, minutes
    that a sensor in its room counted."""

    identity: str
    personal: bool
    legs: int
    attempts: int
    headcounts: int
    minutes: int
    last_seen_at: datetime
    #: A meeting that it was in, or tried to reach.
    title: str | None
    room: str | None
    met_at: datetime | None


class Figure(Record, frozen=True):
    """One figure before and after a change: of an `org` and all below it, or of everything; of a `month`, or of all
    time."""

    name: str
    before: float
    after: float
    org: str | None = None
    month: date | None = None


class Effect(Record, frozen=True):
    """What a change of the inventory would make of the past."""

    #: Callers that find another endpoint.
    callers: int
    #: Of the endpoints that callers find, and of everything.
    endpoints: tuple[Figure, ...]
    everything: tuple[Figure, ...]
    #: The figures of months that are not the same after, in order of time.
    months: tuple[Figure, ...]


class Entry(Record, frozen=True):
    """Who changed what, and when. `detail` becomes JSON."""

    at: datetime
    actor: str
    action: str
    detail: Mapping[str, Any]


def own_alias(code: str) -> str:
    """What an endpoint's code is as an alias."""
    return code.casefold()


async def load(pool: asyncpg.Pool[asyncpg.Record]) -> Inventory:
    """The inventory as it is."""
    async with pool.acquire() as connection:
        return await _load(connection)


async def load_history(connection: Connection) -> dict[str, Past]:
    """The past of endpoints that were in another unit before, by code: as `Site.former` has it."""
    found: defaultdict[str, list[tuple[date, str | None]]] = defaultdict(list)
    for row in await connection.fetch(query("list_endpoint_former")):
        found[row["endpoint"]].append((row["valid_to"], row["org"]))
    return {code: tuple(past) for code, past in found.items()}


async def apply(
    pool: asyncpg.Pool[asyncpg.Record],
    before: Inventory,
    after: Inventory,
    entry: Entry | None = None,
    then: Callable[[Connection], Awaitable[None]] | None = None,
) -> int:
    """Makes `after` of `before`, all or nothing; no unit and no endpoint that is in one may be missing in the other.
    Returns how many callers found another endpoint by it: their whole past is attributed anew at the next refresh.
    `then` is done in the same transaction.

    Raises InventoryError when the inventory is not `before` any more.
    """
    async with pool.acquire() as connection, connection.transaction():
        await _lock(connection)
        if await _load(connection) != before:
            raise InventoryError("somebody else changed the inventory meanwhile: nothing was changed, try again")
        callers = await _write(connection, before, after)
        if then is not None:
            await then(connection)
        if entry is not None:
            detail = msgspec.json.encode(entry.detail).decode()
            await connection.execute(query("keep_audit"), entry.at, entry.actor, entry.action, detail)
    return callers


async def put(pool: asyncpg.Pool[asyncpg.Record], units: Sequence[OrgUnit], endpoints: Sequence[Endpoint]) -> int:
    """Adds or changes these units and endpoints, all or nothing; what is not named stays, and so do aliases, unless
    another endpoint claims them. What an endpoint was in before is neither changed nor added to. Returns how many
    callers found another endpoint by it, as `apply` does.

    A unit that begins on a later day than the one of its code that is there is founded anew: the older ends that day.

    Raises InventoryError for an alias that two endpoints claim, a unit that is not there, or one below itself.
    """
    claimed: dict[str, str] = {}
    for endpoint in endpoints:
        for alias in (own_alias(endpoint.code), *endpoint.aliases):
            if claimed.setdefault(alias, endpoint.code) != endpoint.code:
                raise InventoryError(f"alias {alias} belongs to {claimed[alias]} and to {endpoint.code}")
    async with pool.acquire() as connection, connection.transaction():
        await _lock(connection)
        before = await _load(connection)
        periods = {code: {unit.valid_from: unit for unit in period} for code, period in before.periods().items()}
        for unit in units:
            of_code = periods.setdefault(unit.code, {})
            old = msgspec.structs.asdict(of_code[unit.valid_from]) if unit.valid_from in of_code else {}
            of_code[unit.valid_from] = Unit(**old | msgspec.structs.asdict(unit))
        sites = {
            e.code: msgspec.structs.replace(e, aliases=tuple(a for a in e.aliases if claimed.get(a, e.code) == e.code))
            for e in before.endpoints
        }
        for endpoint in endpoints:
            had = sites.get(endpoint.code)
            aliases = {*(had.aliases if had else ()), *endpoint.aliases} - {own_alias(endpoint.code)}
            kept = {"aliases": tuple(sorted(aliases)), "former": had.former if had else ()}
            sites[endpoint.code] = Site(**msgspec.structs.asdict(endpoint) | kept)
        after = Inventory.of((u for period in periods.values() for u in in_turn(period.values())), sites.values())
        _refuse_loose_ends(after, [unit.code for unit in units], endpoints)
        return await _write(connection, before, after)


def in_turn(units: Iterable[Unit]) -> list[Unit]:
    """The periods of one unit in order of time, each without an end ending where the next begins."""
    ordered = sorted(units, key=lambda unit: unit.valid_from or date.min)
    for index, (earlier, later) in enumerate(pairwise(ordered)):
        if earlier.valid_to is None:
            ordered[index] = msgspec.structs.replace(earlier, valid_to=later.valid_from)
    return ordered


def _refuse_loose_ends(after: Inventory, codes: Iterable[str], endpoints: Iterable[Endpoint]) -> None:
    parents = {code: units[-1].parent for code, units in after.periods().items()}
    for endpoint in endpoints:
        if endpoint.org is not None and endpoint.org not in parents:
            raise InventoryError(f"endpoint {endpoint.code}: there is no org unit {endpoint.org}")
    for code in codes:
        above, seen = parents[code], {code}
        while above is not None:
            if above in seen:
                raise InventoryError(f"org unit {code} stands below itself")
            if above not in parents:
                raise InventoryError(f"org unit {code}: there is no org unit {above} to be above it")
            seen.add(above)
            above = parents[above]


async def what_if(store: Store, pool: asyncpg.Pool[asyncpg.Record], before: Inventory, after: Inventory) -> Effect:
    """What the past would come to if `after` were made of `before`: it is done, derived, read, and undone. Pages wait
    meanwhile."""
    owned = before.owners()
    codes = sorted({code for alias, code in after.owners().items() if owned.get(alias) != code})
    orgs = sorted(_units_above(after, codes) | _units_above(before, codes))
    for attempt in range(_SETTLED):
        await store.refresh()
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await _lock(connection)
                if await connection.fetchval(query("count_dirty")) and attempt < _SETTLED - 1:
                    continue  # a page came in between; its part must not look like ours
                was = await _figures(connection, codes, orgs)
                callers = await _write(connection, before, after)
                await store.derive(connection)
                becomes = await _figures(connection, codes, orgs)
            finally:
                await transaction.rollback()
        return _effect(callers, was, becomes)
    raise AssertionError("the last attempt does not go on")


async def count_callers(pool: asyncpg.Pool[asyncpg.Record], identities: Iterable[str]) -> tuple[int, int]:
    """How many callers have these identities, and how many legs those have."""
    row = (await pool.fetch(query("count_caller"), list(identities)))[0]
    return row["callers"], row["legs"]


async def seen(pool: asyncpg.Pool[asyncpg.Record], identities: Iterable[str]) -> frozenset[str]:
    """Those of these identities that have called."""
    return frozenset(row["identity"] for row in await pool.fetch(query("find_caller"), list(identities)))


async def unmatched(
    pool: asyncpg.Pool[asyncpg.Record], *, persons: bool = False, limit: int | None = None
) -> tuple[list[Unmatched], int]:
    """Callers without an endpoint, the most seen first, and how many there are in all. Persons (clients that show a
    name that somebody typed) are left out unless asked for."""
    rows = await pool.fetch(query("list_unmatched"), persons, limit)
    found = [Unmatched(**{name: row[name] for name in Unmatched.__struct_fields__}) for row in rows]
    return found, rows[0]["total"] if rows else 0


async def _lock(connection: Connection) -> None:
    await connection.execute(query("lock_meetings"))
    await connection.execute(query("lock_inventory"))


async def _load(connection: Connection) -> Inventory:
    units = [
        Unit(**dict(row) | {"successors": tuple(row["successors"])})
        for row in await connection.fetch(query("list_unit"))
    ]  # fmt: skip
    history = await load_history(connection)
    sites = [
        Site(
            **dict(row)
            | {
                "aliases": tuple(sorted(a for a in row["aliases"] if a != own_alias(row["code"]))),
                "former": history.get(row["code"], ()),
            }
        )
        for row in await connection.fetch(query("list_endpoint"))
    ]
    return Inventory.of(units, sites)


async def _write(connection: Connection, before: Inventory, after: Inventory) -> int:
    await _write_units(connection, before.periods(), after.periods())
    had = {e.code: e for e in before.endpoints}
    changed = [e for e in after.endpoints if had.get(e.code) != e]
    await connection.execute(query("put_endpoint"), *([getattr(e, name) for e in changed] for name in _ENDPOINT))
    retold = [e for e in changed if e.former != (had[e.code].former if e.code in had else ())]
    former = [(e.code, until, org) for e in retold for until, org in e.former]
    await connection.execute(query("drop_endpoint_former"), [e.code for e in retold])
    await connection.execute(query("put_endpoint_former"), *([row[n] for row in former] for n in range(3)))
    moved = [e.code for e in changed if e.code in had and had[e.code].org != e.org]
    await connection.execute(query("mark_endpoint_moved"), moved)
    owned, owns = before.owners(), after.owners()
    await connection.execute(query("drop_alias"), [alias for alias in owned if alias not in owns])
    new = {alias: code for alias, code in owns.items() if owned.get(alias) != code}
    await connection.execute(query("put_alias"), list(new), list(new.values()))
    await connection.execute(query("mark_registration"))
    return int(await connection.fetchval(query("match_caller")))


async def _write_units(
    connection: Connection, before: Mapping[str, tuple[Unit, ...]], after: Mapping[str, tuple[Unit, ...]]
) -> None:
    changed = {code: units for code, units in after.items() if before.get(code) != units}
    newest = [units[-1] for units in changed.values()]
    former = [unit for units in changed.values() for unit in units[:-1]]
    succeeded = [(u.code, u.valid_to, s) for units in changed.values() for u in units for s in u.successors]
    await connection.execute(
        query("put_org_unit"), list(changed), [u.name for u in newest], [u.level for u in newest],
        [u.valid_from for u in newest], [u.valid_to for u in newest],
    )  # fmt: skip
    moved = await connection.fetch(query("put_org_parent"), list(changed), [u.parent for u in newest])
    await connection.execute(query("mark_unit_moved"), [row["code"] for row in moved])
    await connection.execute(query("drop_org_past"), list(changed))
    await connection.execute(
        query("put_org_former"), [u.code for u in former], [u.valid_from for u in former],
        [u.valid_to for u in former], [u.name for u in former], [u.parent for u in former], [u.level for u in former],
    )  # fmt: skip
    await connection.execute(
        query("put_org_successor"), [code for code, _, _ in succeeded], [day for _, day, _ in succeeded],
        [successor for _, _, successor in succeeded],
    )  # fmt: skip


def _units_above(inventory: Inventory, codes: Iterable[str]) -> set[str]:
    """The units of these endpoints and every one above."""
    parents = {code: units[-1].parent for code, units in inventory.periods().items()}
    orgs = {e.code: e.org for e in inventory.endpoints}
    found: set[str] = set()
    for code in codes:
        org = orgs.get(code)
        while org is not None and org not in found:
            found.add(org)
            org = parents.get(org)
    return found


_Figures = dict[tuple[str | None, date | None, str], float]


async def _figures(connection: Connection, codes: list[str], orgs: list[str]) -> tuple[dict[str, int], _Figures]:
    sums = (await connection.fetch(query("sum_match"), codes))[0]
    months = {
        (row["org"], row["month"], name): value
        for row in await connection.fetch(query("list_usage_month"), orgs)
        for name, value in row.items()
        if name not in {"org", "month"}
    }
    return dict(sums), months


def _effect(callers: int, was: tuple[dict[str, int], _Figures], becomes: tuple[dict[str, int], _Figures]) -> Effect:
    def sums(prefix: str) -> tuple[Figure, ...]:
        return tuple(
            Figure(name=name.removeprefix(prefix), before=value, after=becomes[0][name])
            for name, value in was[0].items()
            if name.startswith(prefix)
        )

    keys = sorted(dict.fromkeys([*was[1], *becomes[1]]), key=lambda k: (k[1] or date.min, k[0] or ""))
    months = [
        Figure(name=name, before=was[1].get((org, month, name), 0), after=becomes[1].get((org, month, name), 0),
               org=org, month=month)
        for org, month, name in keys
    ]  # fmt: skip
    return Effect(
        callers=callers,
        endpoints=sums("endpoint_"),
        everything=sums("all_"),
        months=tuple(figure for figure in months if figure.before != figure.after),
    )
