"""One room device, asked over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from xml.etree.ElementTree import Element

import aiohttp
import msgspec
from aiolimiter import AsyncLimiter

from conftrack.config import SourceConfig
from conftrack.errors import SourceError
from conftrack.sources.base import Clock, Observer
from conftrack.sources.http import HttpClient, PasswordAuth
from conftrack.sources.roomos import wire

T = TypeVar("T")

_MAX_BODY = 2**20
#: At one request: a count that comes late is worth less than the next one.
_ATTEMPTS = 2
#: A device that is there answers within a second.
_PATIENCE = timedelta(seconds=10)


class Device:
    """The device in the room of one endpoint, used as `async with device:`.

    Everything raises SourceError when the device cannot be read, with its endpoint in the message.
    """

    def __init__(
        self,
        endpoint: str,
        url: str,
        config: SourceConfig,
        *,
        clock: Clock,
        observe: Observer,
        connector: aiohttp.TCPConnector,
        rate: AsyncLimiter,
    ) -> None:
        self.endpoint = endpoint
        self._client = HttpClient(
            msgspec.structs.replace(config, url=url, timeout=min(config.timeout, _PATIENCE)),
            clock=clock, observe=observe, auth=PasswordAuth(config), max_body=_MAX_BODY, rate=rate, accept=wire.XML,
            connector=connector,
        )  # fmt: skip

    async def __aenter__(self) -> Device:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.__aexit__(*exc)

    @property
    def host(self) -> str:
        """Its address as it may be shown."""
        return self._client.host

    async def analytics(self, stream: str) -> Element:
        """What it knows about its room."""
        return await self._get(wire.ANALYTICS, stream)

    async def url_of_slot(self, slot: int) -> str | None:
        """Where it posts what its feedback slot is for; None: nowhere."""
        return wire.url_of_slot(await self._get(wire.FEEDBACK, "feedback"), slot)

    async def register(self, slot: int, url: str) -> None:
        """Makes it post to `url` whenever its count changes. The one thing that changes something on a device."""
        try:
            answer = await self._client.order(
                "/putxml", wire.register(slot, url), wire.XML, lambda b: self._read(b, wire.refused), stream="feedback"
            )
        except SourceError as error:
            raise self._about(error) from None
        if answer.value is not None:
            raise SourceError(
                f"{self.endpoint}: {self.host} did not register feedback slot {slot} ({answer.value[:80]})"
            )

    async def _get(self, location: str, stream: str) -> Element:
        try:
            answer = await self._client.get(
                "/getxml", lambda body: self._read(body, wire.status), stream=stream, params={"location": location},
                attempts=_ATTEMPTS,
            )  # fmt: skip
        except SourceError as error:
            raise self._about(error) from None
        return answer.value

    def _read(self, body: bytes, read: Callable[[bytes], T]) -> T:
        try:
            return read(body)
        except wire.Unreadable as error:
            raise SourceError(f"{self.host} answered with {error}") from None

    def _about(self, error: SourceError) -> SourceError:
        return SourceError(f"{self.endpoint}: {error}", permanent=error.permanent, retry_after=error.retry_after)
