"""What every source must keep to, as tests that any source's own test class inherits, and the server they run against.

A subclass says how to build its fake conference system and its source; see `SourceConformance`. All of it runs over
real sockets on loopback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import ClassVar, Self

import msgspec
import pytest
from aiohttp import web

from conftrack.errors import SourceError
from conftrack.model import LegRecord, MeetingRecord, Page, Snapshot
from conftrack.sources.base import Observer, Source

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""The time in the world of the tests, here and on the fake systems."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeSystem:
    """A server on loopback that answers with `answer`, notes what it is asked, and can be made ill."""

    def __init__(self, answer: Handler) -> None:
        self._answer = answer
        self._faults: list[Handler] = []
        #: Replaces every answer while it is set.
        self.always: Handler | None = None
        #: (method, path with query) of every request.
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        #: Its clock, as its answers tell it; None: they do not.
        self.now: datetime | None = NOW
        self.under_way = 0
        self.most_under_way = 0
        self.url = ""

    def next(self, *faults: Handler) -> None:
        """The next requests get these answers instead, one each."""
        self._faults.extend(faults)

    @property
    def connections(self) -> int:
        """Connections open to it now."""
        return len(self._server.connections)

    async def until_closed(self) -> None:
        """Waits until nobody is connected."""
        await until(lambda: not self.connections)

    async def __aenter__(self) -> Self:
        self._server = web.Server(self._handle, handler_cancellation=True)
        self._listener = await asyncio.get_running_loop().create_server(self._server, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listener.close()
        await self._server.shutdown(0.1)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        self.requests.append((request.method, request.path_qs))
        self.headers.append(dict(request.headers))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            handler = self.always or (self._faults.pop(0) if self._faults else self._answer)
            response = await handler(request)  # type: ignore[arg-type]
            if not response.prepared:
                response.headers["Date"] = format_datetime(self.now, usegmt=True) if self.now else ""
            return response
        finally:
            self.under_way -= 1


def status(code: int, text: str = "", **headers: str) -> Handler:
    """An answer that only has a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, text=text, headers=names)

    return answer


async def reset(request: web.Request) -> web.StreamResponse:
    """The connection breaks before anything is answered."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def truncated(request: web.Request) -> web.StreamResponse:
    """The connection breaks in the middle of the body."""
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"meta": {')
    assert request.transport is not None
    request.transport.close()
    return response


async def silence(request: web.Request) -> web.StreamResponse:
    """No answer at all, for longer than anybody waits."""
    await asyncio.sleep(60)
    raise AssertionError("somebody waited a minute")


async def until(true: Callable[[], bool]) -> None:
    """Waits for what another task does; fails after ten seconds."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for is seen from outside only
            await asyncio.sleep(0.005)


class Observations:
    """Remembers what a source reports of its requests."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.seconds: list[float] = []

    def __call__(self, *, stream: str, status: str, seconds: float) -> None:
        self.seen.append((stream, status))
        self.seconds.append(seconds)

    @property
    def statuses(self) -> list[str]:
        return [status for _, status in self.seen]


async def read(source: Source, stream: str, since: datetime | None = None, until: datetime | None = None) -> list[Page]:
    """Every page of a stream."""
    async with aclosing(source.history(stream, since, until)) as pages:
        return [page async for page in pages]


def facts(pages: list[Page]) -> list[MeetingRecord | LegRecord]:
    records: list[MeetingRecord | LegRecord] = []
    for page in pages:
        records += page.meetings
        records += page.legs
    return records


class SourceConformance:
    """Inherit, and say how to make these three; the system knows `since`, a moment between two ends in its history."""

    #: Texts that must not be seen anywhere.
    secrets: ClassVar[tuple[str, ...]] = ()
    #: Requests that a source may make besides GET: (method, path).
    other_requests: ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Some ends of every stream that has any are before it, some after.
    since: ClassVar[datetime] = NOW - timedelta(hours=2)

    def system(self) -> AbstractAsyncContextManager[FakeSystem]:
        """A system with something live, and with history if the source has any."""
        raise NotImplementedError

    def source(self, system: FakeSystem, observe: Observer) -> Source:
        """The source, configured for the system, with a time-out of at most a second."""
        raise NotImplementedError

    def spoil(self, system: FakeSystem) -> str:
        """Makes one history record unreadable; its id. Not asked of a source without history."""
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self, observe: Observer | None = None) -> AsyncIterator[tuple[Source, FakeSystem]]:
        async with self.system() as system, self.source(system, observe or Observations()) as source:
            yield source, system

    async def test_ids_are_the_same_on_every_read(self) -> None:
        """A record has one id for life, so that reading it again changes nothing."""
        async with self.opened() as (source, _):
            for stream in source.streams:
                first = facts(await read(source, stream))
                assert first == facts(await read(source, stream))
                assert len({record.external_id for record in first}) == len(first)
            if source.has_live:
                one, other = await source.live(), await source.live()
                assert {leg.external_id for leg in one.legs} == {leg.external_id for leg in other.legs} != set()

    async def test_every_time_is_aware(self) -> None:
        """No time leaves a source without its zone, and all are UTC."""
        async with self.opened() as (source, _):
            pages: list[Page | Snapshot] = [page for stream in source.streams for page in await read(source, stream)]
            if source.has_live:
                pages.append(await source.live())
            times = [time for page in pages for time in _times(page)]
            assert times
            assert {time.utcoffset() for time in times} == {timedelta(0)}

    async def test_history_resumes_from_a_position(self) -> None:
        """Reading from a moment on gives exactly what ended at or after it."""
        async with self.opened() as (source, _):
            for stream in source.streams:
                whole = facts(await read(source, stream))
                rest = facts(await read(source, stream, self.since))
                assert [record for record in whole if _end(record) >= self.since] == rest
                assert stream == "backplane" or 0 < len(rest) < len(whole)

    async def test_history_stops_before_until(self) -> None:
        """Nothing that ended at the upper bound or later is read, and no position is beyond it."""
        async with self.opened() as (source, _):
            for stream in source.streams:
                pages = await read(source, stream, None, self.since)
                assert all(_end(record) < self.since for record in facts(pages))
                assert all(page.position <= self.since for page in pages if page.position is not None)

    async def test_history_ends_with_a_window_that_counts_its_records(self) -> None:
        """The last page says what was read and how many records the system has there."""
        async with self.opened() as (source, _):
            for stream in source.streams:
                pages = await read(source, stream, self.since)
                window = pages[-1].window
                assert window is not None
                assert window.source_total in (None, len(facts(pages)))
                assert pages[-1].position == window.until

    async def test_an_empty_window_is_one_empty_page(self) -> None:
        """That nothing happened is told, too."""
        async with self.opened() as (source, _):
            for stream in source.streams:
                (page,) = await read(source, stream, NOW - timedelta(seconds=1), NOW)
                assert not facts([page])
                assert page.window is not None
                assert page.window.source_total in (None, 0)

    async def test_refused_credentials_are_permanent(self) -> None:
        """A wrong password is said once, in words, and not tried again."""
        async with self.opened() as (source, system):
            system.always = status(401)
            for call in self._calls(source):
                system.requests.clear()
                with pytest.raises(SourceError) as refused:
                    await call()
                assert refused.value.permanent
                assert "[[sources]]" in str(refused.value)
                assert len(system.requests) == 1

    async def test_too_many_requests_are_made_later(self) -> None:
        """A source that is told to wait waits as long as it is told, then reads on."""
        async with self.opened() as (source, system):
            for call in self._calls(source):
                system.next(status(429, Retry_After="1"))
                begun = asyncio.get_running_loop().time()
                await call()
                assert asyncio.get_running_loop().time() - begun >= 1

    async def test_a_failing_server_is_asked_again(self) -> None:
        """A moment of illness of the system loses nothing; each attempt is reported."""
        observe = Observations()
        async with self.opened(observe) as (source, system):
            for fault, seen in ((status(503), "503"), (truncated, "error"), (status(200, "<p>"), "invalid")):
                for call in self._calls(source):
                    observe.seen.clear()
                    system.next(fault)
                    await call()
                    assert observe.statuses[:2] == [seen, "200"]
            for call in self._calls(source):
                system.next(reset)
                await call()

    async def test_a_dead_server_is_a_passing_failure(self) -> None:
        """When a system stays ill, the source says so and gives no half answer."""
        async with self.opened() as (source, system):
            system.always = status(500)
            if source.has_live:
                with pytest.raises(SourceError) as failure:
                    await source.live()
                assert not failure.value.permanent

    async def test_an_unreadable_record_spoils_only_itself(self) -> None:
        """A record that does not decode is kept whole beside its neighbours, and can be tried again later."""
        async with self.opened() as (source, system):
            if not source.streams:
                return  # nothing is read row by row
            before = {record.external_id for stream in source.streams for record in facts(await read(source, stream))}
            spoiled = self.spoil(system)
            pages = [page for stream in source.streams for page in await read(source, stream)]
            assert {record.external_id for record in facts(pages)} == before - {spoiled}
            ((page, rejected),) = [(page, bad) for page in pages for bad in page.rejected]
            assert rejected.external_id == spoiled
            assert rejected.error
            assert source.decode(page.stream, rejected.raw, NOW).rejected == (rejected,)

    async def test_closing_a_reading_stops_it_at_once(self) -> None:
        """A reading given up, or cancelled in mid-request, leaves no connection and no task behind."""
        async with self.system() as system:
            async with self.source(system, Observations()) as source:
                for stream in source.streams[:1]:
                    pages = source.history(stream, None)
                    await anext(pages)
                    await pages.aclose()
                system.always = silence
                for call in self._calls(source):
                    system.requests.clear()
                    reading = asyncio.ensure_future(call())
                    await until(lambda: len(system.requests) > 0)
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
                    assert reading.cancelled()
            await system.until_closed()
            assert not [task for task in asyncio.all_tasks() if "conftrack/sources" in repr(task)]

    async def test_nothing_is_changed_on_the_system(self) -> None:
        """A source only ever asks: whatever it reads, and however ill the system is."""
        async with self.opened() as (source, system):
            system.next(status(503))
            for call in self._calls(source):
                await call()
            await source.check()
            assert {request for request in system.requests if request[0] != "GET"} <= set(self.other_requests)

    async def test_secrets_are_not_seen(self, caplog: pytest.LogCaptureFixture) -> None:
        """No password, key or token shows in an error, a log line or a repr, whatever goes wrong."""
        caplog.set_level(logging.DEBUG)
        texts: list[str] = []
        async with self.opened() as (source, system):
            for fault in (status(401), status(403), status(500), reset, silence, status(200, "<html>"), truncated):
                system.always = fault
                try:
                    await source.check()
                except SourceError as error:
                    texts += [str(error), repr(error), repr(error.__cause__)]
            texts.append(repr(source))
        assert len(texts) >= 20
        texts.append(caplog.text)
        texts += [repr(record.__dict__) for record in caplog.records]
        for secret in self.secrets:
            assert not [text for text in texts if secret in text]

    async def test_check_says_who_answered(self) -> None:
        """`conftrack doctor` gets one line that names the system's address."""
        async with self.opened() as (source, system):
            line = await source.check()
            assert system.url.removeprefix("http://") in line
            assert "\n" not in line

    def _calls(self, source: Source) -> list[Callable[[], Awaitable[object]]]:
        """Each way of reading that the source has, once."""
        calls: list[Callable[[], Awaitable[object]]] = []
        if source.streams:
            calls.append(lambda: read(source, source.streams[0]))
        if source.has_live:
            calls.append(source.live)
        return calls


def _times(page: Page | Snapshot) -> list[datetime]:
    records: list[msgspec.Struct] = [page, *page.meetings, *page.legs]
    return [
        value
        for record in records
        for value in (getattr(record, name) for name in record.__struct_fields__)
        if isinstance(value, datetime)
    ]


def _end(record: MeetingRecord | LegRecord) -> datetime:
    end = record.left_at if isinstance(record, LegRecord) else record.ended_at
    assert end is not None
    return end
