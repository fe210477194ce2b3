"""The room devices of an organisation as one source: each tells how many people it sees, none which meeting it is in.

A device is polled, and may push as well. What it cannot tell is not a reading, so a device that sleeps, or died, holds
no number. Times are ours: a reading is of the moment at which it came, and codecs' own clocks are often wrong.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from hashlib import sha256
from typing import ClassVar, Literal, TypeVar
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

import aiohttp
import msgspec
from aiolimiter import AsyncLimiter
from yarl import URL

from conftrack.config import SourceConfig, is_loopback
from conftrack.errors import SourceError
from conftrack.model import Origin, Page, Reading, Rejected, Snapshot, Window
from conftrack.sources.base import Clock, Observer, Push, PushRefused
from conftrack.sources.http import connect
from conftrack.sources.roomos import wire
from conftrack.sources.roomos.device import Device

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Devices asked at once, and requests a second to all of them together.
PARALLEL, RATE = 20, 100
#: How long a device that did not answer is left alone: one that may come back, and one that refused us.
REST, LONG_REST = timedelta(minutes=1), timedelta(minutes=10)
#: How often it is seen to that devices still push: a slot is silent after a restart, or after posts that nobody
#: answered (ten, a second apart, in the administrator guide of CE9.2), and no device says so.
REGISTER_EVERY = timedelta(minutes=10)
STREAM = "people"


class RoomOsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a source of kind "roomos" takes besides the common keys; it has no `url`."""

    #: The address of each device by the code of the endpoint that it is in.
    devices: dict[str, str]
    #: Whether conftrack may write to the devices: it registers a feedback slot on each, so that they push. Nothing else
    #: is ever written.
    register_feedback: bool = False
    #: Where devices reach what they push to: https://…/push/ and the name of the source.
    feedback_url: str | None = None
    #: Cisco TMS uses slot 3 (API reference guide CE9.1, HttpFeedback Register).
    feedback_slot: Literal[1, 2, 3, 4] = 4

    def __post_init__(self) -> None:
        for url in (*self.devices.values(), *((self.feedback_url,) if self.feedback_url else ())):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or "?" in url:
                raise ValueError("every address starts with https:// or http:// and names a host, and nothing secret")
        if not self.devices:
            raise ValueError("`devices` names at least one endpoint with its address")
        if self.register_feedback and self.feedback_url is None:
            raise ValueError("`register_feedback` needs `feedback_url`")


class _Kept(msgspec.Struct, frozen=True):
    """A record that could not be understood, with whose it is."""

    endpoint: str
    xml: str


class RoomOsSource:
    """All room devices that one set of credentials opens."""

    Options: ClassVar[type[msgspec.Struct] | None] = RoomOsOptions

    streams: ClassVar[tuple[str, ...]] = (STREAM,)
    has_url: ClassVar[bool] = False
    has_live: ClassVar[bool] = False
    has_push: ClassVar[bool] = True

    def __init__(self, config: SourceConfig, *, clock: Clock, observe: Observer) -> None:
        if not isinstance(config.options, RoomOsOptions):
            raise SourceError(f"[[sources]] {config.name} has no devices", permanent=True)
        self._config = config
        self._options = config.options
        self._clock = clock
        self._observe = observe
        self._devices: dict[str, Device] = {}
        #: Devices that did not answer: why, and until when they are left alone.
        self._ill: dict[str, tuple[SourceError, datetime]] = {}
        #: When it was last tried to make each device push to us.
        self._registered: dict[str, datetime] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> RoomOsSource:
        if self._options.register_feedback and self._config.push_password is None:
            raise SourceError(
                f"register_feedback of [[sources]] {self._config.name} needs push_password", permanent=True
            )
        if clear := [e for e, url in self._options.devices.items() if _in_the_clear(url)]:
            logger.warning(
                "the password of [[sources]] %s is sent in the clear to %d devices, %s the first: use https",
                self._config.name, len(clear), clear[0], extra={"action": "clear", "source": self._config.name},
            )  # fmt: skip
        async with AsyncExitStack() as stack:
            connector = connect(self._config, PARALLEL)
            await stack.enter_async_context(connector)
            rate = AsyncLimiter(RATE, 1)
            for endpoint, url in self._options.devices.items():
                device = Device(
                    endpoint, url, self._config,
                    clock=self._clock, observe=self._observe, connector=connector, rate=rate,
                )  # fmt: skip
                self._devices[endpoint] = await stack.enter_async_context(device)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    # Polled

    async def live(self) -> Snapshot:
        """Always SourceError: a device does not know which meeting it is in."""
        raise SourceError(f"[[sources]] {self._config.name}: room devices tell no meetings", permanent=True)

    async def history(
        self, stream: str, since: datetime | None, until: datetime | None = None
    ) -> AsyncGenerator[Page, None]:
        """What every device sees now, as one page; it is empty for a period that has an end, since no device remembers.

        A device that does not answer is missing from it, and left alone for a while. SourceError when none answers.
        """
        if until is not None:
            yield self._page(until, since, ())
            return
        told = await self._ask_all()
        now = self._clock()
        if not told:
            raise self._nobody()
        yield self._page(now, since, told)

    async def _ask_all(self) -> list[Reading | Rejected | None]:
        now = self._clock()
        awake = [d for e, d in self._devices.items() if e not in self._ill or self._ill[e][1] <= now]
        answers = await _together(self._ask(device) for device in awake)
        return [told for answered, told in answers if answered]

    async def _ask(self, device: Device) -> tuple[bool, Reading | Rejected | None]:
        """Whether it answered, and what it sees; None: it does not know."""
        async with self._slots:
            try:
                root = await device.analytics(STREAM)
            except SourceError as error:
                self._fell_ill(device, error)
                return False, None
            told = self._understand(device.endpoint, root, self._clock())
            if self._options.register_feedback:
                await self._see_to_pushes(device)
        if self._ill.pop(device.endpoint, None) is not None:
            logger.info("%s: %s answers again", self._config.name, device.endpoint, extra=self._said())
        return True, told

    def _understand(self, endpoint: str, root: Element, at: datetime) -> Reading | Rejected | None:
        try:
            people = wire.people(root)
        except wire.Nonsense as error:
            return _rejected(endpoint, wire.excerpt(root), error)
        return None if people is None else Reading(device=endpoint, at=at, people=people)

    def _fell_ill(self, device: Device, error: SourceError) -> None:
        rest = LONG_REST if error.permanent else REST
        if device.endpoint not in self._ill:
            logger.warning("%s: a device cannot be read: %s", self._config.name, error, extra=self._said())
        self._ill[device.endpoint] = (error, self._clock() + rest)

    def _nobody(self) -> SourceError:
        errors = [error for error, _ in self._ill.values()]
        return SourceError(
            f"none of {len(self._devices)} devices answers; {errors[0]}", permanent=all(e.permanent for e in errors)
        )

    def _page(
        self,
        now: datetime,
        since: datetime | None,
        told: Iterable[Reading | Rejected | None],
        stream: str = STREAM,
        origin: Origin = Origin.HISTORY,
    ) -> Page:
        told = tuple(told)
        return Page(
            stream=stream,
            origin=origin,
            observed_at=now,
            readings=tuple(t for t in told if isinstance(t, Reading)),
            rejected=tuple(t for t in told if isinstance(t, Rejected)),
            position=now,
            window=Window(since=min(since or now, now), until=now, source_total=None) if stream == STREAM else None,
        )

    async def check(self) -> str:
        """How many devices answer and which do not. SourceError when none does."""
        answers = await _together(self._examine(device) for device in self._devices.values())
        errors = [answer for answer in answers if isinstance(answer, SourceError)]
        if len(errors) == len(answers):
            raise SourceError(
                f"none of {len(answers)} devices answers; {errors[0]}", permanent=all(e.permanent for e in errors)
            )
        counting = sum(answer == "counts" for answer in answers)
        first = next(d.host for d, a in zip(self._devices.values(), answers, strict=True) if isinstance(a, str))
        line = f"{len(answers) - len(errors)} of {len(answers)} devices answer, the first is {first}; "
        line += f"{counting} know how many people they see"
        if counting == 0:
            line += " (standby, or RoomAnalytics PeopleCountOutOfCall is Off, or a camera that cannot)"
        return line + "".join(f"; {error}" for error in errors[:5]) + ("; …" if len(errors) > 5 else "")

    async def _examine(self, device: Device) -> str | SourceError:
        async with self._slots:
            try:
                return "counts" if wire.people(await device.analytics("check")) is not None else "does not know"
            except wire.Nonsense as error:
                return SourceError(f"{device.endpoint}: {error}")
            except SourceError as error:
                return error

    # Pushed

    async def _see_to_pushes(self, device: Device) -> None:
        """Registers our slot on the device, again and again: a device does not tell that its slot is silent. A slot
        that somebody else uses is left to them."""
        now = self._clock()
        if (seen := self._registered.get(device.endpoint)) is not None and now - seen < REGISTER_EVERY:
            return
        slot, ours = self._options.feedback_slot, self.feedback_url(device.endpoint)
        self._registered[device.endpoint] = now
        try:
            taken = await device.url_of_slot(slot)
            if taken is not None and _without_query(taken) != _without_query(ours):
                raise SourceError(
                    f"{device.endpoint}: feedback slot {slot} is somebody else's: choose another feedback_slot"
                )
            await device.register(slot, ours)
        except SourceError as error:  # it is polled all the same
            logger.log(
                logging.WARNING if seen is None else logging.DEBUG,
                "%s: a device will not push: %s", self._config.name, error, extra=self._said(),
            )  # fmt: skip

    def feedback_url(self, endpoint: str) -> str:
        """Where the device of an endpoint pushes to. It proves itself by a key in it, its own: HttpFeedback knows no
        credentials and no headers."""
        return str(URL(self._options.feedback_url or "").with_query(endpoint=endpoint, key=self._key(endpoint)))

    def _key(self, endpoint: str) -> str:
        secret = self._config.push_password
        if secret is None:
            raise PushRefused(f"push_password of [[sources]] {self._config.name} is not set")
        return hmac.new(secret.reveal().encode(), endpoint.encode(), sha256).hexdigest()

    def receive(self, push: Push) -> Page:
        """The count in one post of a device; no fact for anything else that it posts."""
        endpoint = push.query.get("endpoint", "")
        self._authenticate(push, endpoint)
        if endpoint not in self._options.devices:
            raise PushRefused(f"no device of [[sources]] {self._config.name} is in the endpoint that it names")
        at = push.received_at
        return self._page(at, None, [self._pushed(endpoint, push.body, at)], "feedback", Origin.PUSH)

    def _pushed(self, endpoint: str, body: bytes, at: datetime) -> Reading | Rejected | None:
        try:
            return self._understand(endpoint, wire.parse(body), at)
        except wire.Unreadable as error:
            return _rejected(endpoint, body.decode(errors="replace"), error)

    def _authenticate(self, push: Push, endpoint: str) -> None:
        """By the key of the endpoint, or as any other system: a macro can send a user name and password."""
        by_key = hmac.compare_digest(push.query.get("key", "").encode(), self._key(endpoint).encode())
        if not by_key and not self._knows_password(push.headers.get("Authorization", "")):
            raise PushRefused("wrong key")

    def _knows_password(self, header: str) -> bool:
        try:
            given = aiohttp.BasicAuth.decode(header, encoding="utf-8")
        except ValueError:
            return False
        username, secret = self._config.push_username, self._config.push_password
        right = secret is not None and hmac.compare_digest(given.password.encode(), secret.reveal().encode())
        return hmac.compare_digest(given.login.encode(), (username or given.login).encode()) and right

    def decode(self, stream: str, raw: bytes, at: datetime) -> Page:
        """What a device said, again, as of the moment at which it was first read."""
        kept = msgspec.json.decode(raw, type=_Kept)
        told = self._pushed(kept.endpoint, kept.xml.encode(), at)
        return msgspec.structs.replace(self._page(at, None, [told], stream, Origin.PUSH), window=None)

    def _said(self) -> dict[str, str]:
        return {"action": "device", "source": self._config.name}


def _rejected(endpoint: str, xml: str, error: ValueError) -> Rejected:
    return Rejected(raw=msgspec.json.encode(_Kept(endpoint, xml)), error=str(error), external_id=endpoint)


async def _together(calls: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """The results of all calls; none goes on when one is given up."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


def _in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _without_query(url: str) -> str:
    return re.sub(r"\?.*", "", url, flags=re.DOTALL)
