"""Maintenance in Postgres: planned work, and the endpoints that it covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias, get_args

import msgspec

from conftrack.model import Record
from conftrack.storage.database import Connection
from conftrack.storage.queries import query

Scope: TypeAlias = Literal["endpoint", "org", "source", "carrier", "area"]
"""What maintenance is of: an endpoint, a unit and all below it, a source, a carrier, an area."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
Span: TypeAlias = tuple[datetime, datetime]
"""A half-open period [since, until)."""


class Planned(Record, frozen=True, kw_only=True):
    """Maintenance as somebody plans it: [starts_at, ends_at), and again by the RRULE `repeats` until `expires_at`."""

    scope: Scope
    #: A code, or a name.
    of: str
    starts_at: datetime
    ends_at: datetime
    repeats: str | None = None
    expires_at: datetime
    author: str
    reason: str


class Maintenance(Planned, frozen=True, kw_only=True):
    """Maintenance as it is stored."""

    maintenance_id: int
    #: Where it ends before its time.
    cancelled_at: datetime | None = None
    #: Where the scope is a source: everything on it is covered, callers outside the inventory too.
    source_id: int | None = None
    #: The codes of the endpoints it covers, as the inventory is now, by their number; none where it is a source's.
    endpoints: Mapping[int, str] = msgspec.field(default_factory=dict)


async def load(connection: Connection, since: datetime, until: datetime) -> list[Maintenance]:
    """Whatever may have a window in [since, until), cancelled or not: `conftrack.maintenance.windows` says when."""
    found = []
    for row in await connection.fetch(query("list_maintenance"), since, until):
        values = dict(row)
        named: dict[Scope, str | None] = {
            "endpoint": values.pop("endpoint"), "org": values.pop("org"), "source": values.pop("source"),
            "carrier": values.pop("carrier"), "area": values.pop("area"),
        }  # fmt: skip
        scope, of = next((scope, of) for scope, of in named.items() if of is not None)
        covered = dict(zip(values.pop("endpoint_ids"), values.pop("codes"), strict=True))
        found.append(Maintenance(**values, scope=scope, of=of, endpoints=covered))
    return found


async def names(connection: Connection, scope: Scope) -> list[str]:
    """The codes, or names, that maintenance of this scope can be of."""
    return [row["name"] for row in await connection.fetch(query("list_scope_name"), scope)]


async def add(connection: Connection, planned: Planned, spans: Sequence[Span], at: datetime) -> int | None:
    """Stores it, and has what was in its windows, which are `spans`, judged again. Returns its number; None where
    there is no such endpoint, unit or source."""
    of: dict[Scope, str] = {planned.scope: planned.of}
    number: int | None = await connection.fetchval(
        query("add_maintenance"), of.get("endpoint"), of.get("org"), of.get("source"), of.get("carrier"),
        of.get("area"), planned.starts_at, planned.ends_at, planned.repeats, planned.expires_at, planned.author,
        planned.reason, at,
    )  # fmt: skip
    if number is not None:
        detail = msgspec.to_builtins(planned) | {"maintenance": number}
        await _record(connection, "maintenance add", detail, spans, planned.author, at)
    return number


async def cancel(connection: Connection, number: int, spans: Sequence[Span], by: str, at: datetime) -> bool:
    """Ends it now: windows that are over stay, one that is open ends `at`, none comes again; what is in `spans` is
    judged again. False where there is none of this number that could be."""
    if await connection.fetchval(query("cancel_maintenance"), number, at, by) is None:
        return False
    await _record(connection, "maintenance cancel", {"maintenance": number}, spans, by, at)
    return True


async def _record(
    connection: Connection, action: str, detail: Mapping[str, object], spans: Sequence[Span], by: str, at: datetime
) -> None:
    await connection.execute(query("mark_window"), [since for since, _ in spans], [until for _, until in spans])
    await connection.execute(query("keep_audit"), at, by, action, msgspec.json.encode(detail).decode())
