"""What is kept of people, and for how long: tiers, sensitive meetings, erasing on request, retention.

No figure of a meeting or of usage changes by what ages or is erased here: a leg keeps its caller, and only who that was
is forgotten. Everything done is in the audit, as counts: never with a name, a title or a room.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from conftrack.config import PrivacyConfig
from conftrack.model import Record
from conftrack.privacy import REMOVED, Privacy, readable, removed, without
from conftrack.spelling import bare
from conftrack.storage.database import Connection
from conftrack.storage.queries import query
from conftrack.storage.sessions import IDLE
from conftrack.storage.store import Store

logger = logging.getLogger(__name__)

BATCH = 1000
"""Rows that one transaction of the daily tidying deletes, at most."""
OURSELVES = "conftrack"
"""Who did what nobody did by hand, in the audit."""


class Holding(Record, frozen=True):
    """How many rows there are of something, and from when the oldest is."""

    what: str
    rows: int
    since: datetime | None


class Person(Record, frozen=True):
    """A name that is kept. `identity` is the pseudonym that stands for it everywhere else."""

    identity: str
    name: str
    first_seen_at: datetime
    last_seen_at: datetime


class Trace(Record, frozen=True):
    """What there is of one person."""

    #: None: only rejected records hold the name.
    caller_id: int | None
    identity: str | None
    legs: int
    meetings: int
    #: The name itself is kept.
    named: bool
    #: The rejected records that hold the name.
    rejected: tuple[int, ...]


class Hushed(Record, frozen=True):
    """What became sensitive: records of meetings, invitations, rooms that were renamed, rejected records emptied."""

    conferences: int = 0
    invitations: int = 0
    rooms: int = 0
    rejected: int = 0


class Keeping:
    """What `[privacy]` asks for, on one database."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], timezone: ZoneInfo, config: PrivacyConfig) -> None:
        self._pool = pool
        self._timezone = timezone
        self._config = config
        self._store = Store(pool, timezone, config)

    # -- when the configuration changes

    async def adopt(self, now: datetime) -> None:
        """Makes the database be as is configured, before anything comes in: names go where they are not kept any more,
        and what the patterns say to be sensitive now, is."""
        if self._config.names != "keep":
            async with self._pool.acquire() as connection, connection.transaction():
                names = await connection.fetchval(query("drop_every_person"))
                if names:
                    await _audit(connection, now, OURSELVES, "names removed", {"names": names})
            if names:
                logger.warning(
                    "names = %r: the names of %d people that were kept are removed", self._config.names, names,
                    extra={"action": "names_removed"},
                )  # fmt: skip
        patterns = sorted(map(bare, self._config.sensitive))
        asked = hashlib.sha256(repr((patterns, self._config.names == "drop")).encode()).hexdigest()
        if await self._pool.fetchval(query("get_setting"), "privacy") != asked:
            if patterns or self._config.names == "drop":
                await self.apply(now, by=OURSELVES)
            await self._pool.execute(query("put_setting"), "privacy", asked)

    async def apply(self, now: datetime, *, by: str) -> Hushed:
        """Cleans what is stored of everything that is sensitive by the patterns of now; again, it changes nothing.

        A meeting that becomes sensitive so counts each connection of somebody outside the inventory as another one.
        """
        privacy = await self._store.privacy()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(query("lock_inventory"))
            await connection.execute(query("lock_meetings"))
            rooms = await _texts(connection, "list_said_room")
            renamed = {room: kept for room in rooms if (kept := privacy.room(room)) != room}
            titles = [title for title in await _texts(connection, "list_said_title") if privacy.sensitive(title)]
            conferences = await connection.fetchval(query("hush_conference"), list(renamed), titles)
            invited = await connection.fetch(query("hush_invitation"), list(renamed), titles)
            await connection.execute(query("mark_hushed"), [row["uid"] for row in invited])
            for room, kept in renamed.items():
                await connection.execute(query("rename_room"), room, kept)
            await _redact(connection, renamed | dict.fromkeys(titles, "…"))
            emptied = await _empty_rejected(connection, privacy)
            await self._store.derive(connection)
            done = Hushed(conferences=conferences, invitations=len(invited), rooms=len(renamed), rejected=emptied)
            if done != Hushed():
                await _audit(connection, now, by, "sensitive meetings cleaned", msgspec.to_builtins(done))
        if done != Hushed():
            logger.info(
                "cleaned of what is sensitive: %d records of meetings, %d invitations, %d rooms, %d rejected records",
                done.conferences, done.invitations, done.rooms, done.rejected, extra={"action": "sensitive"},
            )  # fmt: skip
        return done

    # -- every day

    async def tidy(self, now: datetime) -> dict[str, int] | None:
        """Deletes what is older than is kept, once a local day whoever asks how often, in small transactions.

        Returns how many rows of what, or None where it is done for today or being done. One that was cut short is
        done over by the next.
        """
        today = now.astimezone(self._timezone).date().isoformat()
        async with self._pool.acquire() as connection:
            if not await connection.fetchval(query("try_tidying")):
                return None
            try:
                if await connection.fetchval(query("get_setting"), "tidied_on") == today:
                    return None
                done = {
                    what: await _drop_before(connection, name, now - kept_for)
                    for what, name, kept_for in (
                        ("names", "drop_person", self._config.keep_names_for),
                        ("rejected", "drop_old_rejected", self._config.keep_rejected_for),
                        ("audit", "drop_old_audit", self._config.keep_audit_for),
                        ("runs", "drop_old_run", self._config.keep_runs_for),
                    )
                }
                done["readings"] = await _drop_idle_minutes(connection, now - self._config.keep_readings_for)
                async with connection.transaction():
                    await connection.execute(query("drop_session"), now, now - IDLE)
                    await connection.execute(query("put_setting"), "tidied_on", today)
                    if any(done.values()):
                        await _audit(connection, now, OURSELVES, "retention", done)
            finally:
                await connection.execute(query("end_tidying"))
        if any(done.values()):
            told = ", ".join(f"{rows:,} of {what}" for what, rows in done.items() if rows)
            logger.info("deleted what is older than is kept: %s", told, extra={"action": "retention"})
        return done

    # -- on request

    async def trace(self, *, name: str | None = None, identity: str | None = None) -> Trace | None:
        """What there is of a person, by the name as it is typed or by the pseudonym; None if nothing."""
        if name is not None:
            identity = (await self._store.privacy()).pseudonym(name)
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(query("find_person"), identity)
            holding = [
                number
                for number, raw in await _rejected(connection)
                if name is not None and without(text := readable(raw), name) != text
            ]
        if row is None and not holding:
            return None
        found = dict(row) if row is not None else {"caller_id": None, "identity": None, "named": False}
        return Trace(**{"legs": 0, "meetings": 0} | found, rejected=tuple(holding))

    async def erase(self, trace: Trace, *, by: str, now: datetime) -> None:
        """Forgets who it was, for good. Its legs stay one person's, whom no name and no key leads to; no figure
        changes. Read again, they stay so."""
        nobody = f"person:{secrets.token_hex(10)}"
        async with self._pool.acquire() as connection, connection.transaction():
            if trace.caller_id is not None and trace.identity is not None:
                await connection.execute(query("lock_inventory"))  # the person may be an endpoint's alias
                await connection.execute(query("lock_meetings"))  # no page brings the name back in the same moment
                await connection.execute(query("erase_person"), trace.caller_id, nobody)
                await _redact(connection, {trace.identity: nobody})
            for number, raw in await _rejected(connection):
                if number in trace.rejected:
                    await connection.execute(query("empty_rejected"), number, removed(raw))
            detail = {"legs": trace.legs, "meetings": trace.meetings, "name": trace.named}
            await _audit(connection, now, by, "person erased", detail | {"rejected": len(trace.rejected)})

    async def people(self, since: datetime | None, *, by: str, now: datetime) -> list[Person]:
        """The names that are kept, of who was seen since; that they were asked for is in the audit."""
        async with self._pool.acquire() as connection, connection.transaction():
            found = [Person(**row) for row in await connection.fetch(query("list_people"), since)]
            detail = {"names": len(found), "since": since.isoformat() if since is not None else None}
            await _audit(connection, now, by, "names read", detail)
        return found

    async def holdings(self) -> list[Holding]:
        """What is kept of people, and what may hold something of them."""
        return [Holding(**row) for row in await self._pool.fetch(query("list_holding"))]


async def _audit(connection: Connection, now: datetime, by: str, action: str, detail: Mapping[str, object]) -> None:
    await connection.execute(query("keep_audit"), now, by, action, msgspec.json.encode(detail).decode())


async def _texts(connection: Connection, name: str) -> list[str]:
    return [row[0] for row in await connection.fetch(query(name))]


async def _rejected(connection: Connection) -> list[tuple[int, bytes]]:
    rows = await connection.fetch(query("list_rejected_raw"))
    return [(row["rejected_id"], row["raw"]) for row in rows if not row["raw"].startswith(REMOVED)]


async def _empty_rejected(connection: Connection, privacy: Privacy) -> int:
    """Empties the rejected records that may not be kept whole."""
    emptied = 0
    for number, raw in await _rejected(connection):
        if (kept := privacy.unreadable(raw)) != raw:
            await connection.execute(query("empty_rejected"), number, kept)
            emptied += 1
    return emptied


async def _drop_before(connection: Connection, name: str, moment: datetime) -> int:
    """Deletes in batches, each its own transaction, so that nobody waits long."""
    dropped = 0
    while True:
        rows = int(await connection.fetchval(query(name), moment, BATCH))
        dropped += rows
        if rows < BATCH:
            return dropped


async def _drop_idle_minutes(connection: Connection, moment: datetime) -> int:
    """What sensors saw outside meetings before a moment, each sensor in a transaction of its own; what was gone through
    before is not looked at again."""
    reached = await connection.fetchval(query("get_setting"), "readings_tidied_to")
    since = datetime.fromisoformat(reached) if reached is not None else None
    dropped = 0
    for row in await connection.fetch(query("list_sensor")):
        dropped += int(await connection.fetchval(query("drop_idle_minute"), row["caller_id"], since, moment))
    await connection.execute(query("put_setting"), "readings_tidied_to", moment.isoformat())
    return dropped


async def _redact(connection: Connection, kept: Mapping[str, str]) -> None:
    """Puts into the audit what is kept of these texts in place of them."""
    if not kept:
        return
    # In JSON a text stands with quotes and backslashes escaped.
    sought = [msgspec.json.encode(text).decode()[1:-1] for text in kept]
    for row in await connection.fetch(query("list_audit_with"), sought):
        detail = msgspec.json.decode(row["detail"])
        redacted = _redacted(detail, kept)
        if redacted != detail:
            await connection.execute(query("put_audit_detail"), row["audit_id"], msgspec.json.encode(redacted).decode())


def _redacted(value: Any, kept: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {_redacted(name, kept): _redacted(inner, kept) for name, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner, kept) for inner in value]
    if not isinstance(value, str):
        return value
    if value in kept:
        return kept[value]
    before, at, after = value.rpartition("@")  # the uid of an invitation begins with its source and room
    source, slash, room = before.rpartition("/")
    for text, start in ((before, ""), (room, source + slash)):
        if at and text in kept:
            return f"{start}{kept[text]}@{after}"
    return value
