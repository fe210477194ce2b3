"""Asking a Janus over its Admin API: JSON posted, JSON answered, most errors in answers of HTTP status 200."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import msgspec
from aiolimiter import AsyncLimiter

from conftrack.config import Secret, SourceConfig
from conftrack.errors import SourceError
from conftrack.sources.base import Clock, Observer
from conftrack.sources.http import HttpClient
from conftrack.sources.janus import wire

T = TypeVar("T")

#: Requests in so many seconds, at most: whoever is there when a source starts is looked up one by one.
_RATE = (1000, 1)
#: At one request. A snapshot that comes late is worth less than the next one.
_ATTEMPTS = 2
#: Our clock and Janus's agree as far as Janus tells its own.
_AGREE = timedelta(seconds=2)
_DECODER = msgspec.json.Decoder(wire.Answer)


class Refused(SourceError):
    """Janus understood the request and said no; `code` is Janus's own."""

    def __init__(self, message: str, code: int, *, permanent: bool = False) -> None:
        super().__init__(message, permanent=permanent)
        self.code = code


class _SecretInBody:
    """Janus takes its secret in the request itself; no header proves anything."""

    names = "admin_secret"

    async def authorization(self, client: HttpClient) -> None:
        return None

    def forget(self, authorization: str) -> bool:
        return False


class AdminApi:
    """The Admin API of one Janus, used as `async with api:`."""

    def __init__(
        self,
        config: SourceConfig,
        *,
        secret: Secret | None,
        admin_key: Secret | None,
        clock: Clock,
        observe: Observer,
    ) -> None:
        self._source = config.name
        self._clock = clock
        self._secret = {"admin_secret": secret.reveal()} if secret else {}
        self._admin_key = {"admin_key": admin_key.reveal()} if admin_key else {}
        self._client = HttpClient(config, clock=clock, observe=observe, auth=_SecretInBody(), rate=AsyncLimiter(*_RATE))
        self._transactions = count(1)

    async def __aenter__(self) -> AdminApi:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.__aexit__(*exc)

    @property
    def host(self) -> str:
        """The system's address as it may be shown."""
        return self._client.host

    def now(self) -> datetime:
        """Janus's own time. Its answers tell it to the second, so where ours agrees as far, ours is the finer word."""
        ours, theirs = self._clock(), self._client.now()
        return ours if abs(ours - theirs) < _AGREE else theirs

    async def ask(self, request: dict[str, Any], path: str = "", *, stream: str = "live") -> wire.Answer:
        """One request, about the session or handle at `path`. Raises `Refused` where Janus says no."""
        body = {**request, **self._secret, "transaction": f"conftrack-{next(self._transactions)}"}
        answer = await self._client.ask(path, body, _DECODER.decode, stream=stream, attempts=_ATTEMPTS)
        if answer.value.error is not None:
            raise self._refusal(request["janus"], answer.value.error)
        return answer.value

    async def ask_if_there(self, request: dict[str, Any], path: str) -> wire.Answer | None:
        """The same; None when the session or handle is not there any more."""
        try:
            return await self.ask(request, path)
        except Refused as refused:
            if refused.code in (wire.NO_SESSION, wire.NO_HANDLE):
                return None
            raise

    async def videoroom(self, request: str, *, stream: str = "live", **of: wire.Id) -> wire.VideoRoomAnswer:
        """One request to the VideoRoom plugin. Raises `Refused` where the plugin says no."""
        body = {"request": request, **of, **self._admin_key}
        message = {"janus": "message_plugin", "plugin": wire.PLUGIN, "request": body}
        answer = self.read((await self.ask(message, stream=stream)).response, wire.VideoRoomAnswer)
        if answer.error_code is not None:
            raise self._refusal(request, wire.Reason(answer.error_code, answer.error))
        return answer

    def read(self, raw: msgspec.Raw, what: type[T]) -> T:
        """A part of an answer. Raises SourceError when it is not what was asked for."""
        try:
            return msgspec.json.decode(raw, type=what)
        except msgspec.DecodeError as error:
            raise SourceError(f"{self._client.host} answered with what cannot be read: {error}") from None

    def _refusal(self, request: str, reason: wire.Reason) -> Refused:
        said = f"{self._client.host} refused {request} ({reason.code}: {reason.reason})"
        advice = {
            wire.UNAUTHORIZED: "check admin_secret",
            wire.NO_PLUGIN: "load the VideoRoom plugin there, or remove the source",
            wire.WRONG_ADMIN_KEY: "check admin_key",
        }.get(reason.code)
        if advice is None:
            return Refused(said, reason.code)
        return Refused(f"{said}: {advice} in [[sources]] {self._source}", reason.code, permanent=True)
