"""Reading a conference system over HTTP: polite, patient, and silent about secrets.

One `HttpClient` is one system. It only ever asks: it GETs, and POSTs where that is how a system is asked (`ask`) or
how a client's proof is traded for an OAuth token (`exchange`).
A request that may succeed later (429, 5xx, time-out, reset, truncated or unreadable answer) is made again a bounded
number of times; what is left is a `SourceError` that says what failed, where, and what to do.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Generic, Protocol, TypeVar

import aiohttp
import msgspec
import stamina
from aiolimiter import AsyncLimiter
from yarl import URL

from conftrack import __version__
from conftrack.config import SourceConfig
from conftrack.errors import SourceError
from conftrack.sources.base import Clock, Observer

T = TypeVar("T")

#: Requests under way at once. Pexip's own command line allows itself no more (pexip/pexshell, lib/src/mcu/mod.rs).
PARALLEL = 5
#: A bucket of 300 that refills by 10 a second: at most 900 requests in any 60 s, and 600 in the long run; Pexip
#: refuses what goes beyond 1,000 in 60 s.
BURST, REFILL_SECONDS = 300, 30
#: All attempts at one request together, seconds; the last attempt may outlast it by its own time-out.
PATIENCE = 90.0
#: A longer Retry-After is not waited for here: the caller gets it in `SourceError.retry_after`.
LONGEST_WAIT = 30.0
#: A source's clock may be ahead of ours by this much before we believe our own.
CLOCK_AHEAD = timedelta(hours=1)
MAX_BODY = 256 * 2**20


class NotFound(SourceError):
    """The system has no such resource."""


class _TokenRefused(SourceError):
    """The system does not accept the credentials of this request."""


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """What a request gave, and when by the system's own clock."""

    value: T
    at: datetime


class Auth(Protocol):
    """How requests prove who sends them."""

    #: What a refusal tells the operator to check.
    names: str

    async def authorization(self, client: HttpClient) -> str | None:
        """The value of the Authorization header; None sends none."""
        ...

    def forget(self, authorization: str) -> bool:
        """Told that this value was refused; true if another one can be had."""
        ...


class PasswordAuth:
    """HTTP Basic with the user name and password of the source."""

    names = "username and password"

    def __init__(self, config: SourceConfig) -> None:
        self._header: str | None = None
        if config.username is not None:
            password = config.password.reveal() if config.password else ""
            pair = f"{config.username}:{password}".encode()
            self._header = f"Basic {base64.b64encode(pair).decode()}"

    async def authorization(self, client: HttpClient) -> str | None:
        return self._header

    def forget(self, authorization: str) -> bool:
        return False


class HttpClient:
    """One conference system's HTTP interface, used as `async with client:`.

    TLS certificates are always verified, against `ca_file` where the source names one. Redirects are not followed.
    Every attempt is reported to `observe` with its HTTP status, or "timeout", "error" (no whole answer came) or
    "invalid" (an answer came that cannot be read).
    """

    def __init__(
        self,
        config: SourceConfig,
        *,
        clock: Clock,
        observe: Observer,
        auth: Auth,
        max_body: int = MAX_BODY,
        rate: AsyncLimiter | None = None,
        accept: str = "application/json",
        connector: aiohttp.TCPConnector | None = None,
    ) -> None:
        """`connector` is one that several clients share (see `connect`); whoever made it closes it."""
        url = URL(config.url)
        self._base = url.with_user(None).with_query(None).with_fragment(None)
        self._config = config
        self._clock = clock
        self._observe = observe
        self._auth = auth
        self._max_body = max_body
        self._accept = accept
        self._connector = connector
        self._slots = asyncio.Semaphore(PARALLEL)
        self._rate = rate or AsyncLimiter(BURST, REFILL_SECONDS)
        self._heard: tuple[datetime, float] | None = None

    @property
    def host(self) -> str:
        """The system's address as it may be shown."""
        return self._base.authority

    def url(self, path: str) -> str:
        """The address of a path (`/…/`) on this system."""
        return str(self._base.with_path(self._base.path.rstrip("/") + path))

    def now(self) -> datetime:
        """The system's own time: never later than it really is there, so that nothing is yet to end before it.

        Taken from the Date header of its last answer plus the time since; our clock until it has answered.
        """
        if self._heard is None:
            return self._clock()
        date, heard_at = self._heard
        since = timedelta(seconds=asyncio.get_running_loop().time() - heard_at)
        return min(date + since, self._clock() + CLOCK_AHEAD)

    async def __aenter__(self) -> HttpClient:
        self._session = aiohttp.ClientSession(
            connector=self._connector or connect(self._config),
            connector_owner=self._connector is None,
            timeout=aiohttp.ClientTimeout(total=self._config.timeout.total_seconds()),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"conftrack/{__version__}", "Accept": self._accept},
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def get(
        self,
        path: str,
        decode: Callable[[bytes], T],
        *,
        stream: str,
        params: Mapping[str, str] | None = None,
        attempts: int = 5,
    ) -> Answer[T]:
        """GETs a path and decodes the whole body, again and again where that may help.

        `decode` raises `msgspec.DecodeError` for a body that is not what was asked for: it is asked for again.
        Raises `NotFound` on 404 and `SourceError` on anything else that is not an answer.
        """
        return await self._patiently("GET", path, decode, stream, attempts, params=params)

    async def ask(
        self, path: str, question: object, decode: Callable[[bytes], T], *, stream: str, attempts: int = 5
    ) -> Answer[T]:
        """The same for a system whose questions are POSTs in JSON. The question must not change anything there."""
        body = msgspec.json.encode(question)
        return await self._patiently("POST", path, decode, stream, attempts, body=body, form="application/json")

    async def order(self, path: str, body: bytes, form: str, decode: Callable[[bytes], T], *, stream: str) -> Answer[T]:
        """POSTs a command of the media type `form`, once: it may change something there."""
        return await self._patiently("POST", path, decode, stream, 1, body=body, form=form)

    async def _patiently(
        self,
        method: str,
        path: str,
        decode: Callable[[bytes], T],
        stream: str,
        attempts: int,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        form: str | None = None,
    ) -> Answer[T]:
        renewed = False
        async for attempt in stamina.retry_context(
            on=_again, attempts=attempts, timeout=PATIENCE, wait_initial=0.2, wait_max=10, wait_jitter=0.3
        ):
            with attempt:
                authorization = await self._auth.authorization(self)
                headers = {"Content-Type": form} if form is not None else {}
                if authorization:
                    headers["Authorization"] = authorization
                try:
                    return await self._send(method, path, decode, stream, params=params, body=body, headers=headers)
                except _TokenRefused as error:
                    if renewed or not authorization or not self._auth.forget(authorization):
                        raise
                    renewed = True
                    raise SourceError(str(error)) from None  # not permanent: the next attempt has a new token
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def exchange(self, path: str, form: Mapping[str, str], decode: Callable[[bytes], T]) -> Answer[T]:
        """Sends a client's proof to the token endpoint, once."""
        return await self._send("POST", path, decode, "token", body=form)

    async def _send(
        self,
        method: str,
        path: str,
        decode: Callable[[bytes], T],
        stream: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer[T]:
        async with self._slots, self._rate:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            status: str | None = "error"
            try:
                async with self._session.request(
                    method, self.url(path), params=params, data=body, headers=headers, allow_redirects=False
                ) as response:
                    at = self._listen(response)
                    if response.status != HTTPStatus.OK:
                        status = str(response.status)
                        raise self._refusal(response, path)
                    status = "invalid"
                    value = self._decoded(await self._body(response, path), decode, path)
                status = "200"
                return Answer(value, at)
            except TimeoutError:
                status = "timeout"
                seconds = self._config.timeout.total_seconds()
                raise SourceError(f"{self.host} did not answer {path} within {seconds:g} s") from None
            except asyncio.CancelledError:
                status = None  # says nothing about the system
                raise
            except aiohttp.ClientConnectorCertificateError as error:
                status = "error"
                reason = getattr(error.certificate_error, "verify_message", "certificate verify failed")
                raise SourceError(
                    f"the TLS certificate of {self.host} is not trusted ({reason}): set ca_file in "
                    f"[[sources]] {self._config.name} to the authority that issued it",
                    permanent=True,
                ) from None
            except aiohttp.ClientConnectorError as error:
                status = "error"
                reason = error.os_error.strerror or type(error.os_error).__name__
                raise SourceError(f"{self.host} cannot be reached: {reason}") from None
            except (aiohttp.ClientError, OSError) as error:
                # Not chained: aiohttp's errors carry the request, and with it the Authorization header.
                status = "error"
                raise SourceError(f"{self.host} broke off its answer to {path} ({type(error).__name__})") from None
            finally:
                if status is not None:
                    self._observe(stream=stream, status=status, seconds=loop.time() - begun)

    def _listen(self, response: aiohttp.ClientResponse) -> datetime:
        date = _http_date(response.headers.get("Date"))
        if date is None:
            return self._clock()
        self._heard = (date, asyncio.get_running_loop().time())
        return min(date, self._clock() + CLOCK_AHEAD)

    async def _body(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max_body:
                raise SourceError(f"{self.host} answered {path} with more than {self._max_body} bytes", permanent=True)
        return bytes(body)

    def _decoded(self, body: bytes, decode: Callable[[bytes], T], path: str) -> T:
        try:
            return decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if body.lstrip()[:1] == b"<":
                raise SourceError(
                    f"{self.host} answered {path} with a web page instead of JSON (a login page? a proxy?): "
                    f"check url in [[sources]] {self._config.name}"
                ) from None
            raise SourceError(f"{self.host} answered {path} with JSON that cannot be read: {error}") from None

    def _refusal(self, response: aiohttp.ClientResponse, path: str) -> SourceError:
        code, source, names = response.status, self._config.name, self._auth.names
        if code == HTTPStatus.UNAUTHORIZED:
            return _TokenRefused(
                f"{self.host} refused {names} (HTTP 401): check {names} in [[sources]] {source}", permanent=True
            )
        if code == HTTPStatus.FORBIDDEN:
            return SourceError(
                f"{self.host} refused {names} for {path} (HTTP 403): check {names} in [[sources]] {source}, and "
                "that the account may read the API",
                permanent=True,
            )
        if code == HTTPStatus.NOT_FOUND:
            return NotFound(f"{self.host} has no {path} (HTTP 404): check url in [[sources]] {source}", permanent=True)
        if 300 <= code < 400:
            where = _host(response.headers.get("Location", ""))
            return SourceError(
                f"{self.host} redirects {path} to {where or 'another page'} (HTTP {code}), which is not followed: "
                f"check url in [[sources]] {source}",
                permanent=True,
            )
        passing = code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or code >= 500
        return SourceError(
            f"{self.host} answered {path} with HTTP {code}",
            permanent=not passing,
            retry_after=self._retry_after(response) if passing else None,
        )

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        """Retry-After in seconds, which the system gives as a number or as a date by its own clock."""
        text = response.headers.get("Retry-After", "")
        if text.isascii() and text.isdigit():
            return float(text)
        if (until := _http_date(text)) is None:
            return None
        now = _http_date(response.headers.get("Date")) or self._clock()
        return max(0.0, (until - now).total_seconds())


def connect(config: SourceConfig, limit: int = PARALLEL) -> aiohttp.TCPConnector:
    """Connections to the source's systems, `limit` at once, over TLS that trusts what the source says. SourceError when
    its ca_file cannot be read."""
    try:
        tls = ssl.create_default_context(cafile=config.ca_file)
    except OSError as error:  # an ssl.SSLError is one
        raise SourceError(
            f"ca_file of [[sources]] {config.name} cannot be read: {error.strerror or error}", permanent=True
        ) from None
    return aiohttp.TCPConnector(ssl=tls, limit=limit)


def _again(error: Exception) -> bool | float:
    if not isinstance(error, SourceError) or error.permanent:
        return False
    if not error.retry_after:
        return True
    return error.retry_after if error.retry_after <= LONGEST_WAIT else False


def _http_date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)


def _host(url: str) -> str | None:
    try:
        return URL(url).host
    except ValueError:
        return None
