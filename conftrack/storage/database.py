"""A connection pool to the database, wherever it is: the configured DSN, or the embedded Postgres."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any, Self, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from conftrack.config import DatabaseConfig
from conftrack.errors import DatabaseError
from conftrack.storage import migrate
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.queries import query

POOL_SIZE = 8

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

Unavailable = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What asyncpg raises when the database is away, or goes away."""


class Database:
    """Opened with `async with`; starts the embedded Postgres first when no DSN is configured, and gives it up after.

    An empty database gets its schema; an older or newer one is refused. With `check` false nothing is looked at or
    made: for the commands that do just that.
    """

    pool: asyncpg.Pool
    dsn: str

    def __init__(self, config: DatabaseConfig, data_dir: Path, *, check: bool = True) -> None:
        self._config = config
        self._check = check
        self._embedded = None if config.dsn else EmbeddedPostgres(data_dir)

    @property
    def embedded(self) -> bool:
        return self._embedded is not None

    async def __aenter__(self) -> Self:
        if self._embedded is not None:
            self.dsn = await asyncio.to_thread(self._embedded.start)
        else:
            assert self._config.dsn is not None  # noqa: S101  (the other branch of __init__)
            self.dsn = self._config.dsn.reveal()
        try:
            if self._check:
                await self._make_ready()
            self.pool = await asyncpg.create_pool(
                self.dsn,
                min_size=1,
                max_size=POOL_SIZE,
                init=_prepare if self._check else None,
                connect=self._connect,
                server_settings=_settings(),
            )
        except BaseException as error:
            await self._give_up_embedded()
            if isinstance(error, (*Unavailable, ValueError)):
                raise DatabaseError(f"the database does not answer: {error}; check [database] dsn") from error
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            async with asyncio.timeout(10):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()
        await self._give_up_embedded()

    async def connect(self) -> asyncpg.Connection:
        """A session of its own, outside the pool: for locks that last as long as it."""
        return await self._connect(self.dsn, server_settings=_settings())

    async def _connect(self, *where: Any, **options: Any) -> asyncpg.Connection:
        """Every session is opened here: an embedded server that was killed is brought back by the next one."""
        try:
            return await asyncpg.connect(*where, **options)
        except OSError:
            if self._embedded is None:
                raise
        await asyncio.to_thread(self._embedded.start)
        return await asyncpg.connect(*where, **options)

    async def _make_ready(self) -> None:
        connection = await asyncpg.connect(self.dsn, server_settings=_settings())
        try:
            if not await migrate.check(connection):
                await migrate.migrate(connection)
        finally:
            await connection.close()

    async def _give_up_embedded(self) -> None:
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.stop)


def _settings() -> dict[str, str]:
    return {
        "application_name": f"conftrack {socket.gethostname()} {os.getpid()}",
        "timezone": "UTC",
        "jit": "off",  # compiling costs more than these queries take
        "random_page_cost": "1.1",
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
    }


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.execute("set client_min_messages = warning")
    await connection.execute(query("create_stage"))
    await connection.execute(query("create_work"))
    await connection.execute(query("create_usage_work"))
