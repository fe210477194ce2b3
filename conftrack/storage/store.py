"""The facts in Postgres: pages go in, and what is derived from them is kept right.

`Store` is the only thing that writes facts. One page is one transaction; `refresh` derives meetings and usage from
what has changed since, in a transaction of its own. A crash between any two statements leaves the state before or
after one of them, and every page may be stored again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import TypeAlias
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from conftrack.config import PrivacyConfig
from conftrack.model import Invited, LegRecord, Level, MeetingRecord, Origin, Page, Rejected
from conftrack.privacy import Privacy, Said, nameless
from conftrack.storage.arriving import once, possible, storable
from conftrack.storage.database import Connection
from conftrack.storage.deriving import compute_usage, derive_meetings
from conftrack.storage.queries import query
from conftrack.storage.told import take

_CONFERENCE = ("external_id", "room", "title", "started_at", "ended_at", "sensitive")
_SAID = (
    "protocol", "direction", "joined_at", "left_at", "end_class", "end_reason", "excluded", "rx_bitrate", "tx_bitrate",
    "rx_loss", "tx_loss", "jitter_seconds", "latency_seconds",
)  # fmt: skip
_STAGE = ("external_id", "conference_id", "caller_id", *_SAID)
_LEG = ("source_id", *_STAGE, "history_fields", "push_fields", "observed_at")
_conference_row = attrgetter(*_CONFERENCE)
_said = attrgetter(*_SAID)
_CONFERENCE_BIT = 1
CALLERS_KNOWN = 200_000
"""Caller numbers kept in memory at most."""
USUAL = PrivacyConfig()
"""What is kept of people where nothing else is configured."""
AT_A_TIME = 500
"""Legs of which rows are made before the others have their turn: the page before, which is on its way to the server."""

Name: TypeAlias = tuple[str, bool]
"""What a caller shows, and whether a person typed it: then it is another caller than the machine of that address."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What storing came to, in records: exact, each record once. `rejected` counts those not seen before."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            inserted=self.inserted + other.inserted,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            rejected=self.rejected + other.rejected,
        )

    @property
    def records(self) -> int:
        return self.inserted + self.updated + self.unchanged + self.rejected

    @property
    def changed(self) -> int:
        return self.inserted + self.updated


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    meetings: int
    days: int


class RejectedRecord(msgspec.Struct, frozen=True, kw_only=True):
    rejected_id: int
    source: str
    source_id: int
    stream: str
    external_id: str | None
    position: datetime | None
    raw: bytes
    error: str
    first_seen_at: datetime


@dataclass(slots=True)
class Prepared:
    """A page on its way in: its rows, and which of its legs are here already."""

    source_id: int
    page: Page
    conferences: dict[str, tuple[object, ...]]
    callers: dict[Name, int] = field(default_factory=dict)
    #: Where names are kept: by the number of the caller its name, and when it was seen first and last.
    people: dict[int, tuple[str, datetime, datetime]] = field(default_factory=dict)
    #: Rows for COPY: legs that are new, and legs to be merged with what is here.
    new: list[tuple[object, ...]] = field(default_factory=list)
    known: list[tuple[object, ...]] = field(default_factory=list)
    #: Conferences of the new legs.
    touched: set[int] = field(default_factory=set)


class Store:
    """Ingest, cursors and what is derived. `timezone` cuts the days; see `adopt_timezone`. `privacy` says what may come
    in; every page goes through it, whoever stores it."""

    def __init__(self, pool: asyncpg.Pool, timezone: ZoneInfo, privacy: PrivacyConfig = USUAL) -> None:
        self._pool = pool
        self._timezone = timezone
        self._config = privacy
        # Pages of one source are stored one after the other, whether read or pushed.
        self._turn: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._privacy: Privacy | None = None
        self._callers: dict[Name, int] = {}

    # -- sources and cursors

    async def register(self, name: str, kind: str) -> int:
        async with self._pool.acquire() as connection:
            row = await _one(connection, "register_source", name, kind)
            if row["unlearned"]:
                await connection.execute(query("learn_sources"))
        return int(row["source_id"])

    async def cursor(self, source_id: int, stream: str) -> datetime | None:
        """How far the stream was read: everything that ended before is stored. None: nothing yet."""
        row = await self._pool.fetchrow(query("get_cursor"), source_id, stream)
        return row["reached_at"] if row else None

    async def backfill_position(self, source_id: int, stream: str, since: datetime, until: datetime) -> datetime | None:
        """How far a backfill of [since, until) came that has not ended; None where none was begun."""
        return await self._pool.fetchval(query("get_backfill"), source_id, stream, since, until)  # type: ignore[no-any-return]

    async def end_backfill(self, source_id: int, stream: str, since: datetime, until: datetime) -> None:
        await self._pool.execute(query("end_backfill"), source_id, stream, since, until)

    async def record_poll(
        self, source_id: int, stream: str, outcome: Outcome, *, now: datetime, error: str | None = None
    ) -> None:
        """Keeps that a poll was made and what it came to, or why it failed. A failed poll changes no fact."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                query("record_run"), source_id, stream, now, 1, int(error is not None),
                outcome.inserted, outcome.updated, outcome.unchanged, outcome.rejected,
            )  # fmt: skip
            if error is not None:
                await connection.execute(query("record_failure"), source_id, stream, now, error)

    # -- ingest

    async def privacy(self) -> Privacy:
        """The gate, with this database's key."""
        if self._privacy is None:
            key = await self._pool.fetchval(query("put_setting_once"), "pseudonym_key", secrets.token_hex(32))
            self._privacy = Privacy(self._config, bytes.fromhex(key))
        return self._privacy

    async def admit(self, said: Said) -> Said:
        """What may be known of what a source said, and can be: for whatever is shown before it is stored."""
        privacy = await self.privacy()
        asked = privacy.asks(said)
        return possible(privacy.admit(said, await self._sites(self._pool, asked) if asked else frozenset()))

    async def store(self, source_id: int, page: Page, *, now: datetime, stored_total: int | None = None) -> Outcome:
        """Stores one page: rows, rejected records, cursor and certificate, all or nothing.

        `stored_total` is the number of distinct records of the page's window that are stored with this page.
        """
        return await self.commit(await self.prepare(source_id, page), now=now, stored_total=stored_total)

    async def prepare(self, source_id: int, page: Page) -> Prepared:
        """The part of storing a page that changes no fact: it looks up what is here already, and makes the rows. It
        may run while the page before it is being committed."""
        try:
            return await self._prepare(source_id, page)
        except asyncpg.DataError:
            return await self._prepare(source_id, storable(page))

    async def _prepare(self, source_id: int, page: Page) -> Prepared:
        page = await self.admit(page)
        conferences = {key: _conference_row(m) for key, m in once(page.meetings, page.origin).items()}
        legs = once(page.legs, page.origin)
        if not legs and not page.headcounts and not page.readings:
            return Prepared(source_id, page, conferences)
        async with self._pool.acquire() as connection:
            here: dict[str, bool] = {}
            numbers: dict[str | None, int] = {}
            if legs:
                found = await connection.fetch(query("find_leg"), source_id, list(legs))
                here = {row["external_id"]: row["hushed"] for row in found}
                links = {
                    leg.meeting or f"~{key}": leg.room
                    for key, leg in legs.items()
                    if leg.meeting is not None or key not in here
                }
                numbers, sensitive = await self._number_conferences(connection, source_id, links)
                hushed = [key for key, leg in legs.items() if here.get(key) or leg.meeting in sensitive]
                if hushed:
                    sites = await self._sites(connection, {legs[key].identity for key in hushed})
                    legs |= {key: nameless(legs[key], sites) for key in hushed}
            names = {(leg.identity, leg.personal) for leg in legs.values() if leg.identity is not None}
            names |= {(h.endpoint.casefold(), False) for h in page.headcounts}
            names |= {(r.device.casefold(), False) for r in page.readings}
            callers = await self._number_callers(connection, names)
        prepared = Prepared(source_id, page, conferences, callers=callers)
        fields = {Origin.HISTORY: (-1, 0, None), Origin.PUSH: (0, -1, None), Origin.LIVE: (0, 0, page.observed_at)}
        for place, (key, leg) in enumerate(legs.items()):
            if place % AT_A_TIME == 0:
                await asyncio.sleep(0)
            caller = callers[leg.identity, leg.personal] if leg.identity is not None else None
            if caller is not None and leg.personal and (await self.privacy()).keeps_names:
                _note_person(prepared.people, caller, leg, page.observed_at)
            if key in here:
                prepared.known.append((key, numbers.get(leg.meeting), caller, *_said(leg)))
            else:
                conference = numbers[leg.meeting or f"~{key}"]
                prepared.touched.add(conference)
                row = (source_id, key, conference, caller, *_said(leg), *fields[page.origin])
                prepared.new.append(row if leg.meeting is not None else _without_conference(row))
        return prepared

    async def commit(
        self,
        prepared: Prepared,
        *,
        now: datetime,
        stored_total: int | None = None,
        backfill: tuple[datetime, datetime] | None = None,
        read: bool = True,
    ) -> Outcome:
        """Writes a prepared page in one transaction. Pages of one source are committed one after the other.

        What moves with it is the stream's cursor, or the position of the `backfill` (since, until) it belongs to;
        nothing if the page was not `read` from the source just now.
        """
        try:
            async with self._turn[prepared.source_id]:
                return await self._commit(prepared, now, stored_total, backfill, read)
        except (asyncpg.UniqueViolationError, asyncpg.DataError, OverflowError):
            # A leg that was new when the page was prepared came in with another page since, or no column can hold
            # something in it: look again.
            again = await self.prepare(prepared.source_id, storable(prepared.page))
            async with self._turn[prepared.source_id]:
                return await self._commit(again, now, stored_total, backfill, read)

    async def _commit(
        self,
        prepared: Prepared,
        now: datetime,
        stored_total: int | None,
        backfill: tuple[datetime, datetime] | None,
        read: bool,
    ) -> Outcome:
        source_id, page = prepared.source_id, prepared.page
        outcome = Outcome()
        async with self._pool.acquire() as connection, connection.transaction():
            begun = await _one(connection, "begin_page", source_id, page.stream)
            if page.restarted_at:
                await connection.execute(query("close_restarted"), source_id, page.restarted_at)
            if prepared.conferences:
                outcome += await self._write_conferences(connection, prepared)
                if named := [(leg, one.external_id) for one in page.meetings for leg in one.legs]:
                    await connection.execute(
                        query("link_leg"), source_id, [leg for leg, _ in named], [record for _, record in named]
                    )
            if prepared.new or prepared.known:
                outcome += await self._write_legs(connection, prepared)
            if prepared.people:
                people = sorted(prepared.people.items())  # in one order, or two pages could wait for each other
                await connection.execute(
                    query("keep_person"), [number for number, _ in people], [name for _, (name, _, _) in people],
                    [first for _, (_, first, _) in people], [last for _, (_, _, last) in people],
                    now - self._config.keep_names_for,
                )  # fmt: skip
            if page.headcounts:
                outcome += await self._write_headcounts(connection, prepared)
            if page.readings:
                outcome += await self._write_readings(connection, prepared)
            if page.quality:
                await connection.execute(
                    query("keep_quality"), source_id, [q.external_id for q in page.quality],
                    [q.at for q in page.quality], [q.level for q in page.quality],
                )  # fmt: skip
            if page.registrations is not None:
                await connection.execute(
                    query("keep_registration"), source_id, page.observed_at,
                    [r.alias for r in page.registrations if r.registered],
                    [r.alias for r in page.registrations if not r.registered],
                )  # fmt: skip
            if page.blind_since is not None:
                await connection.execute(query("keep_blindness"), source_id, page.blind_since, page.observed_at)
            if page.begins_at is not None and backfill is None:
                await connection.execute(query("keep_loss"), source_id, page.stream, page.begins_at)
            if page.blind_since is not None or page.begins_at is not None:
                await connection.execute(query("mark_unseen"), source_id)
            if begun["has_rejected"]:
                ids = [*prepared.conferences, *(leg.external_id for leg in page.legs)]
                await connection.execute(query("settle_rejected"), source_id, page.stream, ids)
            for rejected in page.rejected:
                outcome += await self._keep_rejected(connection, source_id, page, rejected, now)
            if backfill is not None:
                await connection.execute(query("advance_backfill"), source_id, page.stream, *backfill, page.position)
            elif read:
                await connection.execute(query("advance_cursor"), source_id, page.stream, page.position, now)
            if page.window is not None and stored_total is not None:
                await connection.execute(
                    query("certify_window"), source_id, page.stream, page.window.since, page.window.until,
                    page.window.source_total, stored_total, now,
                )  # fmt: skip
        return outcome

    @staticmethod
    async def _write_conferences(connection: Connection, prepared: Prepared) -> Outcome:
        page, rows = prepared.page, prepared.conferences
        await connection.copy_records_to_table("stage_conference", records=rows.values(), columns=_CONFERENCE)
        row = await _one(connection, "merge_conference", prepared.source_id, int(page.origin), page.observed_at)
        inserted, updated = row["inserted"], row["updated"]
        return Outcome(inserted=inserted, updated=updated, unchanged=len(rows) - inserted - updated)

    @staticmethod
    async def _write_legs(connection: Connection, prepared: Prepared) -> Outcome:
        """New legs go straight into the table by COPY, which is what most of a page is; legs that are here already
        are staged and merged."""
        page, new, known = prepared.page, prepared.new, prepared.known
        if new:
            await connection.copy_records_to_table("leg", schema_name="conftrack", records=new, columns=_LEG)
            await connection.execute(query("mark_conference"), prepared.touched)
        updated = 0
        if known:
            await connection.copy_records_to_table("stage_leg", records=known, columns=_STAGE)
            updated = await connection.fetchval(
                query("merge_leg"), prepared.source_id, int(page.origin), page.observed_at
            )
        return Outcome(inserted=len(new), updated=updated, unchanged=len(known) - updated)

    @staticmethod
    async def _write_headcounts(connection: Connection, prepared: Prepared) -> Outcome:
        counts = prepared.page.headcounts
        row = await _one(
            connection, "merge_headcount", prepared.source_id, [h.room for h in counts], [h.at for h in counts],
            [prepared.callers[h.endpoint.casefold(), False] for h in counts], [h.provenance for h in counts],
            [h.people for h in counts], [h.note for h in counts],
        )  # fmt: skip
        inserted, updated = row["inserted"], row["updated"]
        return Outcome(inserted=inserted, updated=updated, unchanged=len(counts) - inserted - updated)

    @staticmethod
    async def _write_readings(connection: Connection, prepared: Prepared) -> Outcome:
        """What is counted is a sensor's minutes, not its readings."""
        readings = prepared.page.readings
        row = await _one(
            connection, "merge_reading", [prepared.callers[r.device.casefold(), False] for r in readings],
            [r.at for r in readings], [r.people for r in readings],
        )  # fmt: skip
        inserted, updated = row["inserted"], row["updated"]
        minutes = len({(r.device.casefold(), r.at.replace(second=0, microsecond=0)) for r in readings})
        return Outcome(inserted=inserted, updated=updated, unchanged=minutes - inserted - updated)

    @staticmethod
    async def _keep_rejected(
        connection: Connection, source_id: int, page: Page, rejected: Rejected, now: datetime
    ) -> Outcome:
        fresh = await connection.fetchval(
            query("keep_rejected"), source_id, page.stream, rejected.external_id, page.position, rejected.raw,
            rejected.error, now,
        )  # fmt: skip
        return Outcome(rejected=1) if fresh else Outcome(unchanged=1)

    async def _number_callers(self, connection: Connection, names: Set[Name]) -> dict[Name, int]:
        """The caller numbers of names; those of people are replaced by pseudonyms on the way in. The number of an
        address never changes, so what was looked up once is known. That of a person does, when it is erased."""
        if len(self._callers) > CALLERS_KNOWN:
            self._callers.clear()
        wanted = names - self._callers.keys()
        found: dict[Name, int] = {}
        if wanted:
            privacy = await self.privacy()
            async with connection.transaction():
                await connection.execute(query("keep_inventory"))
                identities = {
                    (name, personal): privacy.pseudonym(name) if personal else name for name, personal in wanted
                }
                personal = {identity: name[1] for name, identity in identities.items()}
                await connection.execute(query("add_caller"), list(personal), list(personal.values()))
                rows = await connection.fetch(query("find_caller"), list(personal))
            numbers = {row["identity"]: row["caller_id"] for row in rows}
            found = {name: numbers[identity] for name, identity in identities.items()}
            self._callers |= {name: number for name, number in found.items() if not name[1]}
        return {name: found.get(name) or self._callers[name] for name in names}

    @staticmethod
    async def _sites(connection: Connection | asyncpg.Pool, identities: Set[str | None]) -> frozenset[str]:
        """Which of the addresses belong to an endpoint of the inventory."""
        rows = await connection.fetch(query("find_alias"), [one for one in identities if one is not None])
        return frozenset(row["alias"] for row in rows)

    @staticmethod
    async def _number_conferences(
        connection: Connection, source_id: int, rooms: Mapping[str, str]
    ) -> tuple[dict[str | None, int], frozenset[str]]:
        """The numbers of the conferences that legs name, by external id, and which of them are sensitive; one we do not
        have is added."""
        found = await connection.fetch(query("find_conference"), source_id, list(rooms))
        if len(found) < len(rooms):
            here = {row["external_id"] for row in found}
            missing = {key: room for key, room in rooms.items() if key not in here}
            await connection.execute(query("add_leg_conference"), source_id, list(missing), list(missing.values()))
            found = await connection.fetch(query("find_conference"), source_id, list(rooms))
        sensitive = frozenset(row["external_id"] for row in found if row["sensitive"])
        return {row["external_id"]: row["conference_id"] for row in found}, sensitive

    # -- who is invited

    async def take_invited(self, source_id: int, source: str, told: Sequence[Invited], *, now: datetime) -> list[str]:
        """Expects in each room whom its source tells now; the rooms where that are others than before."""
        privacy = await self.privacy()
        today = now.astimezone(self._timezone).date()
        async with self._pool.acquire() as connection, connection.transaction():
            return await take(connection, source_id, source, told, privacy, today=today, now=now)

    # -- what is derived

    async def refresh(self) -> Refreshed:
        """Derives meetings and usage from every fact that changed since the last refresh. Cost follows the changes."""
        async with self._pool.acquire() as connection:
            if not await connection.fetchval(query("count_dirty")):
                return Refreshed(meetings=0, days=0)
            async with connection.transaction():
                meetings = await derive_meetings(connection, self._timezone)
            async with connection.transaction():
                days = await compute_usage(connection)
        return Refreshed(meetings=meetings, days=days)

    async def derive(self, connection: Connection) -> Refreshed:
        """What `refresh` does, within the caller's transaction: it sees what follows from a change, and may undo it."""
        meetings = await derive_meetings(connection, self._timezone)
        return Refreshed(meetings=meetings, days=await compute_usage(connection))

    async def adopt_timezone(self) -> None:
        """Derives everything again when the configured time zone is not the one the days were cut in."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(query("lock_meetings"))
            known = await connection.fetchval(query("get_setting"), "timezone")
            if known != self._timezone.key:
                await connection.execute(query("put_setting"), "timezone", self._timezone.key)
                await connection.execute(query("mark_all_dirty"))
                await connection.execute(query("mark_registration"))

    # -- what the collector starts from

    async def open_facts(
        self, source_id: int
    ) -> tuple[list[MeetingRecord], list[LegRecord], dict[str, Level], list[str]]:
        """What was going on when the source was last seen: conferences and legs without an end, the level of loss of
        those that it was not good of, and the aliases that were registered."""
        conferences = await self._pool.fetch(query("list_open_conference"), source_id)
        legs = await self._pool.fetch(query("list_open_leg"), source_id)
        levels = await self._pool.fetch(query("list_open_quality"), source_id)
        registered = await self._pool.fetch(query("list_open_registration"), source_id)
        return (
            [MeetingRecord(**row) for row in conferences],
            [LegRecord(**row) for row in legs],
            {row["external_id"]: row["level"] for row in levels},
            [row["alias"] for row in registered],
        )

    # -- rejected records

    async def list_rejected(self, source: str | None = None) -> list[RejectedRecord]:
        return [RejectedRecord(**row) for row in await self._pool.fetch(query("list_rejected"), source)]

    async def settle(self, record: RejectedRecord, page: Page, *, now: datetime) -> bool:
        """Stores what a rejected record turned out to be, or keeps it with its newest error; whether it is settled."""
        page = await self.admit(page)
        if page.rejected:
            await self._pool.execute(query("update_rejected"), record.rejected_id, page.rejected[0].error)
            return False
        await self.commit(await self.prepare(record.source_id, page), now=now, read=False)
        await self._pool.execute(query("drop_rejected"), record.rejected_id)
        return True


async def _one(connection: Connection, name: str, *arguments: object) -> asyncpg.Record:
    """The one row of a query that always gives one."""
    row = await connection.fetchrow(query(name), *arguments)
    if row is None:
        raise AssertionError(f"query {name} gave no row")
    return row


def _note_person(
    people: dict[int, tuple[str, datetime, datetime]], caller: int, leg: LegRecord, observed_at: datetime
) -> None:
    """Takes down who was seen in a leg, and when."""
    assert leg.identity is not None  # noqa: S101  (who has none has no number)
    moments = [moment for moment in (leg.joined_at, leg.left_at) if moment is not None] or [observed_at]
    if leg.left_at is None:
        moments.append(observed_at)
    _, first, last = people.get(caller, ("", moments[0], moments[0]))
    people[caller] = leg.identity, min(first, *moments), max(last, *moments)


def _without_conference(row: tuple[object, ...]) -> tuple[object, ...]:
    """A new leg that names no conference stands under a stand-in, which must not count as having been said."""
    values = dict(zip(_LEG, row, strict=True))
    said = _CONFERENCE_BIT
    for bit, name in enumerate(_STAGE[1:]):
        said |= (values[name] is not None or name == "excluded") << bit
    said -= _CONFERENCE_BIT
    for name in ("history_fields", "push_fields"):
        if values[name] == -1:
            values[name] = said
    return tuple(values.values())
