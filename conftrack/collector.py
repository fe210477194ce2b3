"""One source's collecting: catch up its history, take a live snapshot, take in a push.

Each of the three reads the source, stores what came in, and returns a Result; `derive` then makes of it what follows.
Beside them `invite` asks who is invited.
A source that fails gives a Result with an error and changes no fact; only a bug or a broken database raises.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime

import msgspec

from conftrack.board import Change
from conftrack.config import SourceConfig
from conftrack.errors import SourceError
from conftrack.incidents.keeper import Incidents
from conftrack.model import Page
from conftrack.sources.base import Clock, Inviting, Push, Source
from conftrack.state import SourceState, StreamState
from conftrack.storage.store import Outcome, Prepared, RejectedRecord, Store

logger = logging.getLogger(__name__)

TOGETHER = 5000
"""Records of pages that came in while one was being stored, and are stored together, at most."""

Progress = Callable[[Page, Outcome], None]
"""Told of every page that was stored."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one reading of one stream came to. `error` None: all of it was read."""

    source: str
    stream: str
    outcome: Outcome = Outcome()
    error: str | None = None
    permanent: bool = False
    events: tuple[Change, ...] = ()
    seconds: float = 0.0


class Collector:
    """Collects from one opened source. Its `state` is what the pages and the metrics show of the source."""

    def __init__(
        self,
        config: SourceConfig,
        source: Source,
        source_id: int,
        *,
        store: Store,
        incidents: Incidents,
        state: SourceState,
        clock: Clock,
    ) -> None:
        self.config = config
        self.source = source
        self._source_id = source_id
        self._store = store
        self._incidents = incidents
        self._state = state
        self._clock = clock
        #: The board must be taken from the database before the next snapshot: it is empty, or a write failed.
        self._board_lost = True
        self._board_turn = asyncio.Lock()
        self._invited_told = True

    # -- history

    async def catch_up(self, stream: str, *, progress: Progress | None = None) -> Result:
        """Reads the stream's history from its cursor, less the overlap, to now."""
        reached = await self._store.cursor(self._source_id, stream)
        since = reached - self.config.overlap if reached is not None else None
        return await self._read(stream, since, None, progress)

    async def backfill(
        self, stream: str, since: datetime, until: datetime, *, progress: Progress | None = None
    ) -> Result:
        """Reads the stream's history of [since, until) again; its cursor stays where it is. One that was stopped goes
        on from where it was."""
        reached = await self._store.backfill_position(self._source_id, stream, since, until)
        result = await self._read(stream, reached or since, until, progress, backfill=(since, until))
        if result.error is None:
            await self._store.end_backfill(self._source_id, stream, since, until)
        return result

    async def _read(
        self,
        stream: str,
        since: datetime | None,
        until: datetime | None,
        progress: Progress | None,
        backfill: tuple[datetime, datetime] | None = None,
    ) -> Result:
        began = time.monotonic()
        outcome = Outcome()
        try:
            async with aclosing(self.source.history(stream, since, until)) as pages:
                seen: set[str | bytes] = set()
                waiting: list[Page] = []
                storing: asyncio.Task[Outcome] | None = None
                try:
                    async for one in pages:
                        waiting.append(one)
                        busy = storing is not None and not storing.done()
                        if busy and one.window is None and sum(map(_size, waiting)) < TOGETHER:
                            continue
                        page = _together(waiting)
                        waiting.clear()
                        # It is prepared while the one before it is being committed, never committed before it.
                        prepared = await self._store.prepare(self._source_id, page)
                        if storing is not None:
                            before, storing = storing, None
                            outcome += await before
                        seen |= _record_ids(page)
                        stored_total = len(seen) if page.window is not None else None
                        storing = asyncio.create_task(self._commit(prepared, stored_total, backfill, progress))
                        if page.window is not None:
                            seen = set()
                finally:
                    if storing is not None:
                        outcome += await storing
            result = Result(source=self.config.name, stream=stream, outcome=outcome)
        except SourceError as error:
            result = self._failed(stream, error, outcome)
        return await self._concluded(result, began)

    async def _commit(
        self,
        prepared: Prepared,
        stored_total: int | None,
        backfill: tuple[datetime, datetime] | None,
        progress: Progress | None,
    ) -> Outcome:
        outcome = await self._store.commit(prepared, now=self._clock(), stored_total=stored_total, backfill=backfill)
        if progress is not None:
            progress(prepared.page, outcome)
        return outcome

    # -- live

    async def poll(self) -> Result:
        """Takes a snapshot of what is going on; what changed since the last one is stored."""
        began = time.monotonic()
        try:
            snapshot = await self._store.admit(await self.source.live())
        except SourceError as error:
            return await self._concluded(self._failed("live", error, Outcome()), began)
        async with self._board_turn:
            if self._board_lost:
                await self._take_up_board()
            seen_at = self._state.board.seen_at
            changes = self._state.board.observe(snapshot)
            page = changes.page
            if seen_at is not None and snapshot.taken_at - seen_at > self._state.stale_after():
                page = msgspec.structs.replace(page, blind_since=seen_at)
            self._board_lost = True  # until the database agrees
            outcome = await self._store.store(self._source_id, page, now=self._clock())
            self._board_lost = False
        result = Result(source=self.config.name, stream="live", outcome=outcome, events=changes.events)
        return await self._concluded(result, began)

    async def receive(self, push: Push) -> Result:
        """Takes in what the system pushed; returns once it is stored. Raises PushRefused."""
        began = time.monotonic()
        page = await self._store.admit(self.source.receive(push))
        async with self._board_turn:
            if self._board_lost:
                await self._take_up_board()
            outcome = await self._store.store(self._source_id, page, now=self._clock())
            events = self._state.board.push(page)
        return await self._concluded(
            Result(source=self.config.name, stream=page.stream, outcome=outcome, events=events), began
        )

    # -- who is invited

    async def invite(self) -> None:
        """Expects in each room whom the system tells, where it knows. What is not told changes nothing."""
        if not isinstance(self.source, Inviting):
            return
        name, said = self.config.name, {"action": "invited", "source": self.config.name}
        try:
            told = await self.source.invited()
        except SourceError as error:
            level = logging.WARNING if self._invited_told else logging.DEBUG
            logger.log(level, "%s does not tell who is invited to its rooms: %s", name, error, extra=said)
            self._invited_told = False
            return
        if not self._invited_told:
            logger.info("%s tells again who is invited to its rooms", name, extra=said)
        self._invited_told = True
        if rooms := await self._store.take_invited(self._source_id, name, told, now=self._clock()):
            logger.info("%s invites others to %d of its rooms", name, len(rooms), extra=said)

    async def _take_up_board(self) -> None:
        facts = await self._store.open_facts(self._source_id)
        seen_at = await self._store.cursor(self._source_id, "live")
        self._state.board.restore(*facts, seen_at)
        self._board_lost = False

    # -- what follows

    async def derive(self) -> None:
        """Derives meetings, usage and incidents of all that was read since. For after a cycle of readings: what is
        derived of a meeting needs all its streams."""
        await self._store.refresh()
        await self._incidents.refresh()

    # -- rejected

    async def retry(self, record: RejectedRecord) -> bool:
        """Reads a rejected record again, as this version understands it; whether it is readable now."""
        now = self._clock()
        page = self.source.decode(record.stream, record.raw, record.position or now)
        return await self._store.settle(record, page, now=now)

    # -- what every reading ends with

    def _failed(self, stream: str, error: SourceError, outcome: Outcome) -> Result:
        return Result(
            source=self.config.name, stream=stream, outcome=outcome, error=str(error), permanent=error.permanent
        )

    async def _concluded(self, result: Result, began: float) -> Result:
        """Keeps the poll in the database and in memory; the first failure and the recovery are logged, not between."""
        now = self._clock()
        await self._store.record_poll(self._source_id, result.stream, result.outcome, now=now, error=result.error)
        stream = self._state.streams.setdefault(result.stream, StreamState())
        said = {"action": "poll", "source": result.source, "stream": result.stream}
        if result.error is not None:
            level = logging.DEBUG if stream.up is False else logging.WARNING
            logger.log(level, "%s %s failed: %s", result.source, result.stream, result.error, extra=said)
            stream.up, stream.last_error = False, result.error
        else:
            if stream.up is False:
                logger.info("%s %s answers again", result.source, result.stream, extra=said)
            stream.up, stream.last_error, stream.last_success_at = True, None, now
            stream.cursor_at = await self._store.cursor(self._source_id, result.stream)
        return msgspec.structs.replace(result, seconds=time.monotonic() - began)


def _size(page: Page) -> int:
    """Its records, and the legs that they name."""
    named = sum(len(meeting.legs) for meeting in page.meetings)
    return len(page.meetings) + named + len(page.legs) + len(page.readings) + len(page.rejected)


def _together(pages: list[Page]) -> Page:
    """Pages that follow on each other, as one."""
    if len(pages) == 1:
        return pages[0]
    return msgspec.structs.replace(
        pages[-1],
        meetings=tuple(m for page in pages for m in page.meetings),
        legs=tuple(leg for page in pages for leg in page.legs),
        readings=tuple(r for page in pages for r in page.readings),
        rejected=tuple(r for page in pages for r in page.rejected),
        begins_at=next((page.begins_at for page in pages if page.begins_at is not None), None),
    )


def _record_ids(page: Page) -> set[str | bytes]:
    """One key for each record of the page; a record that was rejected is kept, so it is stored too."""
    ids: set[str | bytes] = {m.external_id for m in page.meetings}
    ids.update(leg.external_id for leg in page.legs)
    ids.update(f"{reading.device} {reading.at.isoformat()}" for reading in page.readings)
    ids.update(r.external_id or hashlib.sha256(r.raw).digest() for r in page.rejected)
    return ids
