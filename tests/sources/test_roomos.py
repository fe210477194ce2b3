"""The room devices as a source, against simulated ones over real HTTP, and, where those are too kind, by hand."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from defusedxml.ElementTree import fromstring

from conftrack.config import Secret, SourceConfig, load
from conftrack.errors import ConfigError, SourceError
from conftrack.model import Page
from conftrack.simulator.roomos import RoomDevice
from conftrack.sources.base import Clock, Observer, Push, PushRefused
from conftrack.sources.roomos import RoomOsOptions, RoomOsSource
from tests.sources.conformance import (
    NOW,
    FakeSystem,
    Observations,
    SourceConformance,
    facts,
    read,
    reset,
    silence,
    status,
)

USER, PASSWORD, PUSH_PASSWORD = "reader", "not-to-be-seen", "push-not-to-be-seen"
STATUS = "<Status><RoomAnalytics><PeopleCount><Capacity>12</Capacity>{}</PeopleCount></RoomAnalytics></Status>"


def make_source(
    devices: Mapping[str, str],
    *,
    clock: Clock = lambda: NOW,
    observe: Observer | None = None,
    password: str = PASSWORD,
    feedback_url: str | None = None,
    timeout: timedelta = timedelta(seconds=1),
) -> RoomOsSource:
    config = SourceConfig(
        name="rooms",
        kind="roomos",
        username=USER,
        password=Secret(password),
        timeout=timeout,
        push_username="rooms",
        push_password=Secret(PUSH_PASSWORD),
        options=RoomOsOptions(
            devices=dict(devices), feedback_url=feedback_url, register_feedback=feedback_url is not None
        ),
    )
    return RoomOsSource(config, clock=clock, observe=observe or Observations())


def make_device(clock: Clock = lambda: NOW) -> RoomDevice:
    return RoomDevice(clock=clock, username=USER, password=PASSWORD)


@asynccontextmanager
async def serving(*apps: web.Application) -> AsyncIterator[list[str]]:
    """The addresses of servers on loopback."""
    servers = [TestServer(app) for app in apps]
    for server in servers:
        await server.start_server()
    try:
        yield [f"http://127.0.0.1:{server.port}" for server in servers]
    finally:
        for server in servers:
            await server.close()


async def seen(source: RoomOsSource) -> dict[str, int]:
    (page,) = await read(source, "people")
    return {reading.device: reading.people for reading in page.readings}


class TestConformance(SourceConformance):
    secrets = (PASSWORD, PUSH_PASSWORD)

    def system(self) -> AbstractAsyncContextManager[FakeSystem]:
        self.current = "<Current>7</Current>"

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(text=STATUS.format(self.current), content_type="text/xml")

        return FakeSystem(answer)

    def source(self, system: FakeSystem, observe: Observer) -> RoomOsSource:
        return make_source({"XA-1": system.url}, observe=observe)

    def spoil(self, system: FakeSystem) -> str:
        self.current = "<Current>many</Current>"
        return "XA-1"

    async def test_history_resumes_from_a_position(self) -> None:
        """A device has no past: from wherever it is read, it tells what is now."""
        async with self.opened() as (source, _):
            for since in (None, self.since):
                (page,) = await read(source, "people", since)
                assert [(r.device, r.at, r.people) for r in page.readings] == [("XA-1", NOW, 7)]
                assert facts([page]) == []


# -- polled


@pytest.mark.parametrize(
    ("said", "people"),
    [("<Current>7</Current>", 7), ("<Current>0</Current>", 0), ("<Current>-1</Current>", None), ("", None)],
)
async def test_what_a_device_does_not_know_is_no_reading(said: str, people: int | None) -> None:
    """-1 is unknown, as is a device that has no count at all; zero is a number."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=STATUS.format(said), content_type="text/xml")

    async with FakeSystem(answer) as system, make_source({"XA-1": system.url}) as source:
        assert await seen(source) == ({} if people is None else {"XA-1": people})
        assert system.requests == [("GET", "/getxml?location=/Status/RoomAnalytics")]


async def test_presence_and_use_are_no_count() -> None:
    """A room that was just left says for up to two minutes that somebody is there: it is empty all the same."""
    device = make_device()
    async with serving(device.app) as (url,), make_source({"XA-1": url}) as source:
        for people in (4, 0):
            await device.see(people)
            assert await seen(source) == {"XA-1": people}
        await device.see(0, standby=True)
        assert await seen(source) == {}


async def test_a_device_that_dies_hurts_only_itself_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The others are read on, it is named once, and its coming back is told too."""
    devices = [make_device() for _ in range(3)]
    now = NOW
    async with serving(*(device.app for device in devices)) as urls:
        places = {f"XA-{n}": url for n, url in enumerate(urls)}
        async with make_source(places, clock=lambda: now) as source:
            for n, device in enumerate(devices):
                await device.see(n)
            devices[1].trouble = "half"
            for _ in range(3):
                assert await seen(source) == {"XA-0": 0, "XA-2": 2}
            assert [r.getMessage() for r in caplog.records if "XA-1" in r.getMessage()] == [
                f"rooms: a device cannot be read: XA-1: {urls[1].removeprefix('http://')} answered with XML that "
                "cannot be read (ParseError)"
            ]
            assert "2 of 3 devices answer" in await source.check()
            assert "XA-1" in await source.check()

            devices[1].trouble = "none"
            caplog.set_level(logging.INFO)
            now += timedelta(minutes=1)
            assert await seen(source) == {"XA-0": 0, "XA-1": 1, "XA-2": 2}
            assert "XA-1 answers again" in caplog.text


async def test_a_device_that_does_not_answer_is_left_alone_for_a_while() -> None:
    """A dead one is not asked at every poll, one that refuses the password less still."""
    now = NOW
    device = make_device()
    async with AsyncExitStack() as stack:
        (url,), dead = await stack.enter_async_context(serving(device.app)), FakeSystem(status(500))
        await stack.enter_async_context(dead)
        source = make_source({"XA-1": url, "XA-2": dead.url}, clock=lambda: now)
        async with source:
            for fault, rest in ((reset, timedelta(minutes=1)), (status(401), timedelta(minutes=10))):
                dead.always = fault
                now += timedelta(hours=1)
                assert await seen(source) == {"XA-1": 0}
                dead.requests.clear()
                now += rest - timedelta(seconds=1)
                await seen(source)
                assert dead.requests == []
                now += timedelta(seconds=1)
                await seen(source)
                assert dead.requests != []


async def test_when_no_device_answers_the_source_is_down() -> None:
    """Nothing that was read is not nobody: the poll fails, also while all are left alone."""
    async with FakeSystem(status(500)) as dead, make_source({"XA-1": dead.url}) as source:
        dead.always = silence
        for _ in range(2):
            with pytest.raises(SourceError, match="none of 1 devices answers; XA-1: ") as failure:
                await read(source, "people")
            assert not failure.value.permanent


@pytest.mark.parametrize("trouble", ["half", "login page", "broken"])
async def test_what_is_no_status_is_no_reading(trouble: str) -> None:
    """Half an answer, a login page or an error page says nothing about who is there."""
    device = make_device()
    device.trouble = trouble  # type: ignore[assignment]
    async with serving(device.app) as (url,), make_source({"XA-1": url}) as source:
        with pytest.raises(SourceError, match="XA-1"):
            await read(source, "people")


async def test_entities_are_not_expanded() -> None:
    """A document that would grow, or read files, is refused."""
    bomb = '<!DOCTYPE s [<!ENTITY a "7">]>' + STATUS.format("<Current>&a;</Current>")
    async with FakeSystem(status(200, bomb)) as system, make_source({"XA-1": system.url}) as source:
        with pytest.raises(SourceError, match="EntitiesForbidden"):
            await read(source, "people")


async def test_only_so_many_devices_are_asked_at_once() -> None:
    """However many there are."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=STATUS.format("<Current>1</Current>"), content_type="text/xml")

    async with FakeSystem(answer) as system:
        async with make_source({f"XA-{n}": system.url for n in range(60)}) as source:
            assert len(await seen(source)) == 60
        assert system.most_under_way <= 20


# -- pushed


class Receiver:
    """Where devices push to: what conftrack's own address does with a push."""

    def __init__(self) -> None:
        self.source: RoomOsSource | None = None
        self.pages: list[Page] = []
        self.refused = 0

    @property
    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/push/rooms", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        assert self.source is not None
        push = Push(headers=request.headers, body=await request.read(), received_at=NOW, query=request.query)
        try:
            self.pages.append(self.source.receive(push))
        except PushRefused:
            self.refused += 1
            raise web.HTTPUnauthorized from None
        return web.Response()

    @property
    def counts(self) -> list[tuple[str, int]]:
        return [(r.device, r.people) for page in self.pages for r in page.readings]


async def test_a_registered_device_pushes_every_change_it_knows() -> None:
    """Each with the endpoint it is in; a device that falls asleep says nothing."""
    device, receiver = make_device(), Receiver()
    async with serving(device.app, receiver.app) as (url, here):
        receiver.source = source = make_source({"XA-1": url}, feedback_url=f"{here}/push/rooms")
        async with source:
            await seen(source)
            for people in (3, 5, 5, 0):
                await device.see(people)
            await device.see(0, standby=True)

    assert receiver.counts == [("XA-1", 3), ("XA-1", 5), ("XA-1", 0)]
    assert {page.readings[0].at for page in receiver.pages if page.readings} == {NOW}
    assert receiver.refused == 0
    assert device.posted == 4


async def test_a_slot_that_fell_silent_is_registered_again() -> None:
    """After a restart a device does not push, nor say so; the polls go on, and in ten minutes it pushes again."""
    device, receiver = make_device(), Receiver()
    now = NOW
    async with serving(device.app, receiver.app) as (url, here):
        source = make_source({"XA-1": url}, clock=lambda: now, feedback_url=f"{here}/push/rooms")
        async with source:
            receiver.source = source
            await seen(source)
            device.reboot()
            await device.see(3)
            now += timedelta(minutes=9)
            assert await seen(source) == {"XA-1": 3}
            assert (receiver.counts, len(device.commands)) == ([], 1)
            now += timedelta(minutes=1)
            await seen(source)
            await device.see(4)
            assert (receiver.counts, len(device.commands)) == ([("XA-1", 4)], 2)


async def test_nothing_is_written_to_a_device_unless_it_is_configured() -> None:
    """And then nothing but the slot, which is left alone where it is somebody else's."""
    device = make_device()
    async with serving(device.app) as (url,):
        async with make_source({"XA-1": url}) as source:
            await seen(source)
            await source.check()
        assert device.commands == []

        device.slots[4] = "http://tms.example/feedback"
        async with make_source({"XA-1": url}, feedback_url="https://conftrack.example/push/rooms") as source:
            assert await seen(source) == {"XA-1": 0}
            assert device.commands == []
            device.slots.clear()
        async with make_source({"XA-1": url}, feedback_url="https://conftrack.example/push/rooms") as source:
            await source.check()
            assert device.commands == []
            await seen(source)

    (command,) = device.commands
    said = fromstring(command)
    assert [(e.tag, e.text) for e in said.iterfind("HttpFeedback/Register/*")] == [
        ("FeedbackSlot", "4"),
        ("Format", "XML"),
        ("ServerUrl", device.slots[4]),
        ("Expression", "/Status/RoomAnalytics/PeopleCount"),
    ]
    assert PUSH_PASSWORD not in command.decode()


def make_push(url: str, body: str, headers: Mapping[str, str] | None = None) -> Push:
    query = dict(parse_qsl(urlsplit(url).query))
    return Push(headers=headers or {}, body=body.encode(), received_at=NOW, query=query)


def test_only_who_has_the_key_of_a_room_speaks_for_it() -> None:
    """No key, another room's key, or none of ours: refused, whatever it says."""
    source = make_source(
        {"XA-1": "http://127.0.0.1:1", "XA-2": "http://127.0.0.1:2"},
        feedback_url="https://conftrack.example/push/rooms",
    )
    body = STATUS.format("<Current>3</Current>")
    right = source.feedback_url("XA-1")
    assert [r.people for r in source.receive(make_push(right, body)).readings] == [3]

    for wrong in (right.replace("XA-1", "XA-2"), right[:-1], right.split("&")[0], "", source.feedback_url("XA-3")):
        with pytest.raises(PushRefused):
            source.receive(make_push(wrong, body))


@pytest.mark.parametrize(("login", "accepted"), [("rooms:" + PUSH_PASSWORD, True), ("rooms:x", False), ("x", False)])
def test_a_macro_may_push_with_a_password(login: str, accepted: bool) -> None:
    """One that posts by itself can send a user name and password, as any other system."""
    source = make_source({"XA-1": "http://127.0.0.1:1"})
    headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
    push = make_push("http://here/?endpoint=XA-1", STATUS.format("<Current>3</Current>"), headers)
    if accepted:
        assert len(source.receive(push).readings) == 1
    else:
        with pytest.raises(PushRefused):
            source.receive(push)


def test_a_push_that_cannot_be_read_is_kept() -> None:
    """Whole, with its room, so that a later version may read it; what is not about people is no fact."""
    source = make_source({"XA-1": "http://127.0.0.1:1"}, feedback_url="https://conftrack.example/push/rooms")
    url = source.feedback_url("XA-1")
    for body in ("<Status><Room", STATUS.format("<Current>many</Current>"), STATUS.format("<Current>70000</Current>")):
        page = source.receive(make_push(url, body))
        (rejected,) = page.rejected
        assert rejected.external_id == "XA-1"
        assert source.decode("feedback", rejected.raw, NOW).rejected == (rejected,)

    other = source.receive(make_push(url, "<Event><CallDisconnect><CallId>3</CallId></CallDisconnect></Event>"))
    assert (other.readings, other.rejected) == ((), ())


# -- configured


def configured(tmp_path: Path, text: str) -> SourceConfig:
    file = tmp_path / "conftrack.toml"
    file.write_text(f'[[sources]]\nname = "rooms"\nkind = "roomos"\n{text}', encoding="utf-8")
    (source,) = load(file, {}, {"roomos": RoomOsSource}).sources
    return source


def test_devices_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    """Endpoint code and address, and no url of the source."""
    source = configured(tmp_path, '[sources.devices]\nXA-1 = "https://10.1.2.3"\n"XA.2" = "https://xa2.example:8443"\n')
    assert isinstance(source.options, RoomOsOptions)
    assert source.options.devices == {"XA-1": "https://10.1.2.3", "XA.2": "https://xa2.example:8443"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing key `devices`"),
        ("devices = {}", "at least one"),
        ('url = "https://10.1.2.3"\ndevices = {XA-1 = "https://10.1.2.3"}', "unknown key `url`"),
        ('devices = {XA-1 = "10.1.2.3"}', "https://"),
        ('devices = {XA-1 = "https://admin:seCret@10.1.2.3"}', "nothing secret"),
        ('register_feedback = true\ndevices = {XA-1 = "https://10.1.2.3"}', "feedback_url"),
        ('feedback_slot = 5\ndevices = {XA-1 = "https://10.1.2.3"}', "feedback_slot"),
    ],
)
def test_what_cannot_work_is_refused_by_name(text: str, says: str, tmp_path: Path) -> None:
    """Before anything is asked, and without showing a password."""
    with pytest.raises(ConfigError, match=says) as refused:
        configured(tmp_path, text)
    assert "seCret" not in str(refused.value)


async def test_a_password_in_the_clear_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Once, with how many devices; loopback is nobody's to listen to."""
    async with make_source({"XA-1": "http://10.255.255.1", "XA-2": "http://127.0.0.1:1", "XA-3": "https://10.2.2.2"}):
        assert [r.getMessage() for r in caplog.records if "clear" in r.getMessage()] == [
            "the password of [[sources]] rooms is sent in the clear to 1 devices, XA-1 the first: use https"
        ]
