"""Head counts that people give, in Postgres: those that sites type, with a log of their own, and imported ones."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from conftrack.model import Record
from conftrack.storage.database import Connection
from conftrack.storage.inventory import Entry, own_alias
from conftrack.storage.queries import query


class Sitting(Record, frozen=True, order=True):
    """An endpoint at what it is invited to: at the one meeting of an invitation, or, with a `day`, at the meeting that
    is held on a standing invitation on that local day."""

    invitation_id: int
    endpoint_id: int
    day: date | None = None


class Seat(Record, frozen=True):
    """What is known of a sitting. `people`, `note` and `at` are what was typed last, and when; None: nothing yet."""

    uid: str
    room: str
    title: str | None
    #: None: a standing invitation's.
    starts_at: datetime | None
    ends_at: datetime | None
    code: str
    name: str
    seats: int | None
    people: int | None
    note: str | None
    at: datetime | None
    #: The month that it belongs to is closed.
    closed: bool


class Called(Record, frozen=True):
    """An invitation, without who is on it."""

    invitation_id: int
    uid: str
    room: str
    title: str | None
    starts_at: datetime | None
    ends_at: datetime | None


class Guest(Record, frozen=True):
    """Who is expected, with the number that was typed last."""

    endpoint_id: int
    code: str
    name: str
    org_name: str | None
    people: int | None
    at: datetime | None


class Held(Record, frozen=True):
    """A meeting that a line of a list may mean; `place` is that of the line, from 1."""

    place: int
    meeting_id: int
    source_id: int
    source: str
    room: str
    title: str | None
    started_at: datetime
    ended_at: datetime | None
    day: date
    closed: bool


class Imported(Record, frozen=True):
    """A number of people at an endpoint in a meeting."""

    meeting: Held
    endpoint: str
    people: int
    note: str | None = None


async def signing_key(pool: asyncpg.Pool[asyncpg.Record]) -> bytes:
    """The key of the links: made once, and the same for whoever works on this database."""
    return bytes.fromhex(await pool.fetchval(query("put_setting_once"), "headcount_key", secrets.token_hex(32)))


async def find(
    connection: asyncpg.Pool[asyncpg.Record] | Connection, sitting: Sitting, timezone: ZoneInfo
) -> Seat | None:
    """None where nobody is expected any more, or ever was."""
    row = await connection.fetchrow(
        query("find_sitting"), sitting.invitation_id, sitting.endpoint_id, sitting.day, timezone.key
    )
    return Seat(**row) if row is not None else None


async def type_in(
    connection: Connection, sitting: Sitting, people: int, note: str | None, *, now: datetime, timezone: ZoneInfo
) -> Seat | None:
    """Puts a number in the place of what stood, within the caller's transaction. Nothing is written where the month is
    closed, which the answer says, or nobody is expected (None), or number and note are what they were."""
    await hold(connection)
    seat = await find(connection, sitting, timezone)
    if seat is None or seat.closed or (seat.people, seat.note) == (people, note):
        return seat
    caller = await _caller(connection, seat.code)
    await connection.execute(
        query("put_typed"), sitting.invitation_id, sitting.day, caller, people, note, now
    )  # fmt: skip
    await connection.execute(query("mark_typed"), sitting.invitation_id, sitting.day, timezone.key)
    if seat.people != people:
        await connection.execute(
            query("log_typed"), now, seat.uid, sitting.day, sitting.endpoint_id, seat.people, people
        )
    return msgspec.structs.replace(seat, people=people, note=note, at=now)


async def hold(connection: Connection) -> None:
    """No month is closed, no meeting derived, and no inventory comes in, before the caller's transaction is over."""
    for name in ("keep_inventory", "keep_meetings", "keep_open"):  # in the order in which everybody takes them
        await connection.execute(query(name))


async def called(
    pool: asyncpg.Pool[asyncpg.Record],
    *,
    room: str | None = None,
    uid: str | None = None,
    number: int | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
) -> list[Called]:
    """The invitations to a room, or the one of a uid or a number, the dated ones first; those that are over by `after`
    or begin at `before` or later are left out."""
    return [Called(**row) for row in await pool.fetch(query("list_sitting"), room, uid, number, after, before)]


async def guests(pool: asyncpg.Pool[asyncpg.Record], invitation_id: int, day: date | None) -> list[Guest]:
    return [Guest(**row) for row in await pool.fetch(query("list_card"), invitation_id, day)]


async def meetings(pool: asyncpg.Pool[asyncpg.Record], wanted: Sequence[tuple[str, datetime, datetime]]) -> list[Held]:
    """The meetings that each of these may mean: a room or a title, and a span of time it went on in."""
    columns = zip(*wanted, strict=True) if wanted else ((), (), ())
    return [Held(**row) for row in await pool.fetch(query("find_counted_meeting"), *map(list, columns))]


async def imported(
    connection: asyncpg.Pool[asyncpg.Record] | Connection, meeting_ids: Sequence[int]
) -> dict[tuple[int, str], tuple[int, str | None]]:
    """Number and note by meeting and endpoint, of those that were imported before."""
    rows = await connection.fetch(query("list_imported"), meeting_ids)
    return {(row["meeting_id"], row["code"]): (row["people"], row["note"]) for row in rows}


async def put_imported(connection: Connection, counts: Sequence[Imported], entry: Entry) -> None:
    """Puts in numbers, each in the place of one imported before, within the caller's transaction that is on `hold`."""
    await connection.execute(
        query("drop_imported"), [c.meeting.meeting_id for c in counts], [c.endpoint for c in counts]
    )
    callers = {code: await _caller(connection, code) for code in sorted({c.endpoint for c in counts})}
    for source_id in sorted({c.meeting.source_id for c in counts}):
        of = [c for c in counts if c.meeting.source_id == source_id]
        await connection.execute(
            query("merge_headcount"), source_id, [c.meeting.room for c in of], [c.meeting.started_at for c in of],
            [callers[c.endpoint] for c in of], ["imported"] * len(of), [c.people for c in of], [c.note for c in of],
        )  # fmt: skip
    detail = msgspec.json.encode(entry.detail).decode()
    await connection.execute(query("keep_audit"), entry.at, entry.actor, entry.action, detail)


async def _caller(connection: Connection, code: str) -> int:
    """The caller that an endpoint's code is: it has one even if it never called by it."""
    identity = own_alias(code)
    await connection.execute(query("add_caller"), [identity], [False])
    number: int = await connection.fetchval(query("number_caller"), identity)
    return number
