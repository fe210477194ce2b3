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
from conftrack.errors import DatabaseAway, DatabaseError
from conftrack.storage import migrate
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.queries import query

POOL_SIZE = 8

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

Unavailable = (
    DatabaseAway,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it is shut down, or starts
    asyncpg.InsufficientResourcesError,  # its disk is full, or its sessions are too many
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,  # a deadlock: to be tried again
    asyncpg.ReadOnlySQLTransactionError,  # a standby
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InterfaceError,  # pool or session are closed
    asyncpg.InternalClientError,
)
"""What is raised when the database is away, goes away, or cannot do what is asked of it. Not what is raised for a
statement or a value that is wrong, which is a bug, nor for a network connection that is not the database's."""


def sentence_of(error: BaseException) -> str:
    """What to tell of an error that is `Unavailable`."""
    return str(error) if isinstance(error, DatabaseAway) else f"the database failed: {_said(error)}"


def _said(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__  # Postgres' details hold values of rows


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
                min_size=0,  # asyncpg logs a traceback at each try to keep up a session that nobody waits for
                max_size=POOL_SIZE,
                init=_prepare if self._check else None,
                connect=self._connect,
                server_settings=_settings(),
            )
            async with self.pool.acquire():
                pass
        except BaseException as error:
            await self._give_up_embedded()
            if isinstance(error, Unavailable):
                raise DatabaseError(f"{sentence_of(error)}; check [database] dsn") from error
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
        """Every session is opened here: an embedded server that was killed is brought back by the next one. Raises
        DatabaseAway for whatever goes wrong."""
        try:
            try:
                return await asyncpg.connect(*where, **options)
            except OSError:
                if self._embedded is None:
                    raise
            await asyncio.to_thread(self._embedded.start)
            return await asyncpg.connect(*where, **options)
        except (
            DatabaseError, OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:  # fmt: skip
            raise DatabaseAway(f"the database does not answer: {_said(error)}") from error

    async def _make_ready(self) -> None:
        connection = await self.connect()
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
