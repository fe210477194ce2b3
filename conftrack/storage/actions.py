"""What people say about incidents, each with its line in the audit, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import asyncpg
import msgspec

from conftrack.model import Owner
from conftrack.storage import invitations
from conftrack.storage.queries import query


class Actions:
    """Every action says whether there was anything to do: not for an incident that is gone, or acknowledged already.
    An action that did nothing is not in the audit."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def acknowledge(self, incident_id: int, *, by: str, at: datetime) -> bool:
        return await self._do("acknowledge_incident", (incident_id, by, at), by, at, {"incident": incident_id})

    async def add_note(self, incident_id: int, text: str, *, by: str, at: datetime) -> bool:
        return await self._do("note_incident", (incident_id, at, by, text), by, at, {"incident": incident_id})

    async def set_owner(self, incident_id: int, owner: Owner | None, *, by: str, at: datetime) -> bool:
        detail = {"incident": incident_id, "owner": owner}
        return await self._do("own_incident", (incident_id, owner), by, at, detail)

    async def excuse(self, incident_id: int, reason: str, *, by: str, at: datetime) -> bool:
        """Excuses the endpoint of an absence from what it was invited to; its incidents are derived again."""
        async with self._pool.acquire() as connection, connection.transaction():
            absence = await connection.fetchrow(query("find_absence"), incident_id)
            if absence is None or absence["invitation_id"] is None:
                return False
            try:
                await invitations.excuse(connection, absence["invitation_id"], absence["code"], reason, by, at)
            except invitations.NotInvited:  # it was taken off the list meanwhile
                return False
        return True

    async def _do(
        self, action: str, values: tuple[object, ...], by: str, at: datetime, detail: Mapping[str, object]
    ) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            done = await connection.fetchval(query(action), *values) is not None
            if done:
                told = msgspec.json.encode(detail).decode()
                await connection.execute(query("keep_audit"), at, by, action.replace("_", " "), told)
        return done
