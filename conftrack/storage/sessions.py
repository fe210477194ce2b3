"""Sessions of people who signed in, known by the digest of a cookie that is not kept, with their lines in the audit."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg
import msgspec

from conftrack.storage.queries import query

IDLE = timedelta(hours=2)
"""A session that was not used for so long is over."""
LASTS = timedelta(hours=12)
"""A session is over after so long in any case: a shift."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    username: str
    expires_at: datetime


class Sessions:
    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def open(self, digest: bytes, username: str, address: str, *, now: datetime) -> Session:
        """Begins a session, and forgets those of anybody that are over."""
        session = Session(username=username, expires_at=now + LASTS)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(query("drop_session"), now, now - IDLE)
            await connection.execute(query("open_session"), digest, username, now, session.expires_at)
            await connection.execute(query("keep_audit"), now, username, "sign in", _detail(address))
        return session

    async def find(self, digest: bytes, *, now: datetime) -> Session | None:
        """The session of a cookie, which is in use now; None when it is over, or never was."""
        row = await self._pool.fetchrow(query("find_session"), digest, now, now - IDLE)
        if row is None:
            return None
        await self._pool.execute(query("touch_session"), digest, now)
        return Session(**row)

    async def close(self, digest: bytes, address: str, *, now: datetime) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            username = await connection.fetchval(query("close_session"), digest)
            if username is not None:
                await connection.execute(query("keep_audit"), now, username, "sign out", _detail(address))

    async def refused(self, username: str, action: str, address: str, *, now: datetime) -> None:
        await self._pool.execute(query("keep_audit"), now, username, action, _detail(address))


def _detail(address: str) -> str:
    return msgspec.json.encode({"address": address}).decode()
