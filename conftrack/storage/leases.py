"""Leases: no two collectors ever work on one source. A lease is an advisory lock on a database session of its own, so
it is gone the moment its holder is: a second collector takes over within seconds, and there is no other coordinator."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg

from conftrack.errors import LeaseHeld
from conftrack.storage.database import Database, Unavailable
from conftrack.storage.queries import query

_LOST = (OSError, *Unavailable)  # OSError: no answer in time, and what asyncpg meets when it calls the question back

MAILS = 0
"""The lease of whoever mails reports; sources have numbers from 1 on."""
CHECK_EVERY = 2.0
"""Seconds between two looks whether the session still answers; a session that is closed is noticed at once."""
ANSWER_WITHIN = 5.0
"""Seconds in which the session must answer; after that its leases are taken for lost."""


class Leases:
    """The leases of one process. Opened with `async with`; leaving gives all of them up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: asyncpg.Connection[asyncpg.Record] | None = None
        self._closed = asyncio.Event()
        self._held: set[int] = set()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Leases:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._drop_session()

    async def acquire(self, source_id: int) -> bool:
        """Takes the lease if nobody holds it. False while another process does, or while the database is away."""
        async with self._turn:
            if source_id in self._held and self._alive():
                return True
            try:
                if not self._alive():
                    await self._drop_session()
                    self._session = await self._database.connect()
                    self._closed.clear()
                    self._session.add_termination_listener(lambda _: self._closed.set())
                session = self._session
                assert session is not None  # noqa: S101  (just made, or alive)
                if await session.fetchval(query("try_lease"), source_id, timeout=ANSWER_WITHIN):
                    self._held.add(source_id)
                    return True
            except _LOST:
                await self._drop_session()
            return False

    async def holds(self, source_id: int) -> bool:
        """Whether the lease is still ours: asks the session, since a lock dies with it."""
        async with self._turn:
            if source_id not in self._held or not self._alive():
                return False
            try:
                assert self._session is not None  # noqa: S101  (alive)
                await self._session.fetchval("select 1", timeout=ANSWER_WITHIN)
            except _LOST:
                await self._drop_session()
                return False
            return True

    async def until_lost(self, source_id: int) -> None:
        """Returns when the lease is no longer ours: whoever works under it stops then."""
        while await self.holds(source_id):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), CHECK_EVERY)

    async def release(self, source_id: int) -> None:
        async with self._turn:
            if source_id in self._held:
                self._held.discard(source_id)
                if self._alive() and self._session is not None:
                    with contextlib.suppress(*_LOST):
                        await self._session.fetchval(query("release_lease"), source_id, timeout=ANSWER_WITHIN)

    async def require(self, source_id: int, name: str) -> None:
        """Takes the lease or raises LeaseHeld, which says who has it."""
        if not await self.acquire(source_id):
            holder = await self._database.pool.fetchrow(query("find_lease"), source_id)
            who = f" ({holder['application_name']})" if holder else ""
            raise LeaseHeld(
                f"source {name} is being collected by another conftrack{who}: stop it first, or let it work"
            )

    def _alive(self) -> bool:
        return self._session is not None and not self._session.is_closed()

    async def _drop_session(self) -> None:
        self._held.clear()
        session, self._session = self._session, None
        if session is not None and not session.is_closed():
            with contextlib.suppress(*_LOST):
                await session.close(timeout=ANSWER_WITHIN)
            session.terminate()
