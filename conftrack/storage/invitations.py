"""Invitations in Postgres: who is expected in a room, at one meeting or at every one, and who may stay away.

Whatever changes here marks what must be judged again: an absence is of somebody who was expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

import asyncpg
import msgspec

from conftrack.errors import ConftrackError
from conftrack.model import Record
from conftrack.storage.database import Connection
from conftrack.storage.inventory import Entry, InventoryError
from conftrack.storage.queries import query

Origin = Literal["file", "calendar", "source"]
"""Who told of it first. (What sources tell is kept in `told`.)"""


class NotInvited(ConftrackError):
    """The endpoint is not expected at this meeting."""


class Invitation(Record, frozen=True):
    """Who is invited to a room. `uid` is what the file or calendar calls it."""

    uid: str
    room: str
    #: The system that the room is on; None: whichever.
    source: str | None = None
    title: str | None = None
    #: None: a standing invitation, to every meeting of the room.
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    #: Of the meeting only counts are kept: there is no title.
    sensitive: bool = False
    origin: Origin = "file"
    #: The codes of the endpoints, each with why it may stay away; None: it is expected.
    expected: Mapping[str, str | None] = msgspec.field(default_factory=dict)


class Known(Record, frozen=True):
    """What invitations are read against."""

    #: By uid.
    invitations: Mapping[str, Invitation]
    #: Every room that a meeting was held in, and every source.
    rooms: frozenset[str]
    sources: frozenset[str]


class Gathering(Record, frozen=True):
    """A meeting that somebody is expected at, and how many are. Counts are what was seen: where the source was not,
    they say nothing."""

    invitation_id: int
    uid: str
    #: The meetings held on it so far; empty: nobody has come yet.
    meeting_ids: tuple[int, ...]
    source: str | None
    room: str
    title: str | None
    starts_at: datetime
    ends_at: datetime | None
    #: When the first came, and when the last one left.
    started_at: datetime | None
    ended_at: datetime | None
    expected: int
    #: Of those expected: who may stay away and does; who is in it now; who was in it at any time.
    excused: int
    present: int
    come: int


async def load(pool: asyncpg.Pool[asyncpg.Record], uids: Iterable[str], now: datetime) -> Known:
    """The invitations of these uids and all that are not over."""
    async with pool.acquire() as connection:
        rooms = await connection.fetch(query("list_room"))
        sources = await connection.fetch(query("list_source_name"))
        return Known(
            invitations=await _load(connection, uids, now),
            rooms=frozenset(row["room"] for row in rooms),
            sources=frozenset(row["name"] for row in sources),
        )


async def change(
    connection: Connection, before: Mapping[str, Invitation], after: Mapping[str, Invitation], entry: Entry
) -> None:
    """Makes `after` of `before`, within the caller's transaction that holds the inventory's lock; what is in neither
    stays. Excuses that come in are `entry.actor`'s.

    Raises InventoryError when what would be changed is not as in `before` any more.
    """
    uids = sorted({uid for uid in before.keys() | after.keys() if before.get(uid) != after.get(uid)})
    stored = await _load(connection, uids, entry.at)
    if any(stored.get(uid) != before.get(uid) for uid in uids):
        raise InventoryError("somebody else changed an invitation meanwhile: nothing was changed, try again")
    put = [after[uid] for uid in uids if uid in after]
    expected = [(i.uid, code, reason) for i in put for code, reason in i.expected.items()]
    codes = [code for _, code, _ in expected]
    await connection.execute(query("mark_invitation"), uids)
    await connection.execute(query("settle_typed"), [uid for uid in uids if _lets_go(before.get(uid), after.get(uid))])
    await connection.execute(
        query("put_invitation"), [i.uid for i in put], [i.source for i in put], [i.room for i in put],
        [i.title for i in put], [i.starts_at for i in put], [i.ends_at for i in put], [i.origin for i in put],
        entry.at, [i.sensitive for i in put],
    )  # fmt: skip
    await connection.execute(query("drop_expected"), [i.uid for i in put], [uid for uid, _, _ in expected], codes)
    await connection.execute(
        query("put_expected"), [uid for uid, _, _ in expected], codes, [reason for _, _, reason in expected],
        entry.at, entry.actor,
    )  # fmt: skip
    await connection.execute(query("drop_invitation"), [uid for uid in uids if uid not in after])
    await connection.execute(query("mark_invitation"), uids)
    await connection.execute(query("mark_hushed"), uids)


async def excuse(
    connection: Connection, invitation_id: int, endpoint: str, reason: str | None, by: str, at: datetime
) -> None:
    """Lets an endpoint stay away, with a reason for the record; None takes that back. One that is excused already stays
    so since it first was: only the reason, and who gave it, are new.

    Raises NotInvited.
    """
    uid = await connection.fetchval(query("excuse_expected"), invitation_id, endpoint, reason, by, at)
    if uid is None:
        raise NotInvited(f"endpoint {endpoint} is not expected there: nothing was changed")
    await connection.execute(query("mark_invitation"), [uid])
    detail = msgspec.json.encode({"meeting": uid, "endpoint": endpoint, "reason": reason}).decode()
    await connection.execute(query("keep_audit"), at, by, "excuse" if reason is not None else "excuse revoked", detail)


async def number(connection: Connection, uid: str) -> int | None:
    """The number of an invitation; None where there is none of this uid."""
    found: int | None = await connection.fetchval(query("number_invitation"), uid)
    return found


async def gatherings(connection: Connection, since: datetime, until: datetime) -> list[Gathering]:
    """The meetings within [since, until) that somebody is expected at, held or still to come, in order of time."""
    rows = await connection.fetch(query("list_convocation"), since, until)
    return [Gathering(**dict(row) | {"meeting_ids": tuple(row["meeting_ids"])}) for row in rows]


def _lets_go(old: Invitation | None, new: Invitation | None) -> bool:
    """Whether meetings that were held on an invitation are its own no more, and yet were what it was for."""
    if old is None or new is None:
        return old is not None
    return old.starts_at is None and (old.room, old.source, old.starts_at) != (new.room, new.source, new.starts_at)


async def _load(connection: Connection, uids: Iterable[str], now: datetime) -> dict[str, Invitation]:
    found = {}
    for row in await connection.fetch(query("list_invitation"), list(uids), now):
        values = dict(row)
        guests = zip(values.pop("endpoints"), values.pop("reasons"), strict=True)
        found[values["uid"]] = Invitation(**values, expected=dict(sorted(guests)))
    return found
