"""Leases: one collector a source, and another within seconds of its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from conftrack.config import DatabaseConfig, Secret
from conftrack.errors import LeaseHeld
from conftrack.storage.database import Database
from conftrack.storage.leases import Leases

#: Another collector: takes the lease of source 7, says so and waits to be killed.
HOLDER = """
import asyncio, sys
from pathlib import Path
from conftrack.config import DatabaseConfig, Secret
from conftrack.storage.database import Database
from conftrack.storage.leases import Leases

async def main():
    async with Database(DatabaseConfig(dsn=Secret(sys.argv[1])), Path()) as database, Leases(database) as leases:
        print(await leases.acquire(7), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def another_collector(dsn: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, dsn, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"True\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def taken_within(leases: Leases, source_id: int, seconds: float) -> bool:
    async with asyncio.timeout(seconds):
        while not await leases.acquire(source_id):  # noqa: ASYNC110  (nothing tells when another has died)
            await asyncio.sleep(0.05)
    return True


async def test_of_many_who_want_a_source_exactly_one_has_it(database: Database) -> None:
    """And when that one gives it up, exactly one of the others."""
    several = [Leases(database) for _ in range(5)]
    first = await asyncio.gather(*(leases.acquire(7) for leases in several))
    assert first.count(True) == 1

    holder = several[first.index(True)]
    await holder.release(7)
    rest = [leases for leases in several if leases is not holder]
    second = await asyncio.gather(*(leases.acquire(7) for leases in rest))
    assert second.count(True) == 1
    assert not await holder.holds(7)
    await asyncio.gather(*(leases.__aexit__() for leases in several))


async def test_sources_are_leased_one_by_one(database: Database) -> None:
    """Two collectors share the sources, and whoever has one may ask for it again."""
    async with Leases(database) as one, Leases(database) as two:
        assert await one.acquire(1)
        assert await two.acquire(2)
        assert not await two.acquire(1)
        assert await one.acquire(1)
        await one.release(1)
        assert await two.acquire(1)


async def test_leaving_gives_everything_up(database: Database) -> None:
    """A collector that ends in good order is followed at once."""
    async with Leases(database) as one:
        assert await one.acquire(1)
        assert await one.acquire(2)
    async with Leases(database) as two:
        assert await taken_within(two, 1, 5)
        assert await taken_within(two, 2, 5)


async def test_a_killed_collector_is_followed_within_seconds(dsn: str, database: Database) -> None:
    """Its session dies with it, and the lease with the session."""
    async with another_collector(dsn) as process, Leases(database) as leases:
        assert not await leases.acquire(7)
        process.send_signal(signal.SIGKILL)
        assert await taken_within(leases, 7, 5)


async def test_who_is_refused_learns_who_has_the_source(dsn: str, database: Database) -> None:
    """By host and process, so that it can be found and stopped."""
    async with another_collector(dsn) as process, Leases(database) as leases:
        with pytest.raises(LeaseHeld, match=f"pexip-main .*{socket.gethostname()} {process.pid}"):
            await leases.require(7, "pexip-main")

        await leases.require(8, "other")
        assert await leases.holds(8)


async def test_a_lease_is_lost_with_its_session(database: Database) -> None:
    """Whoever lost it knows at the next look, and does not get it back while another has it."""
    async with Leases(database) as one, Leases(database) as two:
        assert await one.acquire(7)
        await database.pool.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = 7 "
            "and database = (select oid from pg_database where datname = current_database())"
        )
        assert await taken_within(two, 7, 5)
        assert not await one.holds(7)
        assert not await one.acquire(7)
        assert await two.holds(7)


async def test_without_a_database_nobody_has_a_lease(dsn: str, tmp_path: Path) -> None:
    """A database that is away is no error here: the source is just not ours."""
    async with Database(DatabaseConfig(dsn=Secret(dsn)), tmp_path) as database:
        database.dsn = f"postgresql://postgres@/nowhere_{os.getpid()}?host={tmp_path}"
        async with Leases(database) as leases:
            assert not await leases.acquire(7)
            assert not await leases.holds(7)
