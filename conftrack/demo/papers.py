"""What no conference system knows, as the simulated one gives it beside: who is invited, and what work is planned."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from conftrack.storage.queries import query


async def take_invitations(pool: asyncpg.Pool[asyncpg.Record], text: str, source: str) -> None:
    """Keeps the invitations to a source's rooms: a CSV with a line for each endpoint. Those known already stay."""
    lines = list(csv.DictReader(io.StringIO(text)))
    meetings = list({line["uid"]: line for line in lines}.values())
    times = [[datetime.fromisoformat(line[name]) for line in meetings] for name in ("start", "end")]
    named = [[line[name] for line in meetings] for name in ("uid", "room", "title")]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(query("keep_demo_invitation"), *named, *times, source)
        await connection.execute(
            query("keep_demo_expected"), *([x[name] for x in lines] for name in ("uid", "endpoint"))
        )


async def take_maintenance(
    pool: asyncpg.Pool[asyncpg.Record], works: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    """Keeps planned work. What is known already stays."""
    scopes = [[work[name] for work in works] for name in ("endpoint", "org")]
    times = [[datetime.fromisoformat(work[name]) for work in works] for name in ("start", "end")]
    said = [[work[name] for work in works] for name in ("author", "reason")]
    await pool.execute(query("keep_demo_maintenance"), *scopes, *times, *said, now)
