"""The way from a process to a server, in our hands: every piece that the process says is counted, maybe its last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self
from urllib.parse import parse_qs, urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_PIECE = 2**16


class Wire:
    """A port of 127.0.0.1 that leads to a server. `said` is called after each piece the process sent has gone on."""

    port: int

    def __init__(self, connect: Callable[[], Awaitable[Streams]], said: Callable[[], None]) -> None:
        self._connect = connect
        self._said = said
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Ends every connection on both sides, in the middle of whatever is going on."""
        for writer in self._open:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await self._connect()
        except OSError:
            writer.close()
            return
        both = {writer, there_writer}
        self._open |= both
        try:
            await asyncio.gather(
                self._pump(reader, there_writer, self._said), self._pump(there_reader, writer, lambda: None)
            )
        finally:
            self._open -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: Callable[[], None]) -> None:
        try:
            while piece := await reader.read(_PIECE):
                writer.write(piece)
                said()
                await writer.drain()
        except OSError:
            pass  # one side is gone: the other learns it
        finally:
            writer.close()


async def to_http(port: int) -> Streams:
    return await asyncio.open_connection("127.0.0.1", port)


async def to_postgres(dsn: str) -> Streams:
    """The server that a DSN names, by its socket or by its address."""
    parts = urlsplit(dsn)
    asked = parse_qs(parts.query)
    host = asked.get("host", [parts.hostname or "localhost"])[0]
    port = int(asked.get("port", [parts.port or 5432])[0])
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, port)


def through(dsn: str, port: int) -> str:
    """The same database of the same server, by a port of this machine."""
    parts = urlsplit(dsn)
    user = f"{parts.username or 'postgres'}" + (f":{parts.password}" if parts.password else "")
    return f"postgresql://{user}@127.0.0.1:{port}{parts.path}?sslmode=disable"
