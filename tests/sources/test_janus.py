"""The Janus source against a real Janus, and, for what one cannot be made to say, against its recorded events."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from conftrack.config import Secret, SourceConfig
from conftrack.errors import SourceError
from conftrack.model import LegRecord, Origin, Page
from conftrack.sources.base import Clock, Observer, Push, PushRefused, Source
from conftrack.sources.janus import JanusOptions, JanusSource
from tests.janus_server import PLUGIN, Client, JanusServer
from tests.sources.conformance import NOW, FakeSystem, SourceConformance

RECORDED = Path(__file__).parent / "data/janus/events.json"


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def ignored(**_: object) -> None:
    """Observes nothing."""


def make_source(
    url: str = "http://127.0.0.1:1/admin",
    *,
    timeout: timedelta = timedelta(seconds=10),
    clock: Clock = now,
    observe: Observer = ignored,
    **options: Secret | None,
) -> JanusSource:
    options.setdefault("admin_secret", Secret(JanusServer.admin_secret))
    config = SourceConfig(
        name="janus-tinh",
        kind="janus",
        url=url,
        timeout=timeout,
        push_username=JanusServer.push_username,
        push_password=Secret(JanusServer.push_password),
        options=JanusOptions(**options),
    )
    return JanusSource(config, clock=clock, observe=observe)


def make_push(body: bytes, user: str = JanusServer.push_username, password: str = JanusServer.push_password) -> Push:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Push(headers={"Authorization": f"Basic {credentials}"}, body=body, received_at=now())


def merged(pages: Iterable[Page]) -> dict[str, LegRecord]:
    """The pushed legs as they stand after these pages, as the store keeps them: what is known stays known, and a later
    end does not move the first one, while the same end told again may know why."""
    legs: dict[str, LegRecord] = {}
    for page in pages:
        for leg in page.legs:
            known = {name: value for name, value in msgspec.structs.asdict(leg).items() if value is not None}
            old = legs.get(leg.external_id, leg)
            if old is not leg and old.left_at and leg.left_at and leg.left_at > old.left_at:
                known = {name: value for name, value in known.items() if name not in _END}
            legs[leg.external_id] = msgspec.structs.replace(old, **known)
    return legs


_END = ("left_at", "end_class", "end_reason")


class Scene:
    """A real Janus that pushes to a real receiver, and a source that hears and asks it."""

    def __init__(self, janus: JanusServer, source: JanusSource, posts: asyncio.Queue[Push]) -> None:
        self.janus = janus
        self.source = source
        self._posts = posts
        self.pages: list[Page] = []

    async def told(self, enough: Callable[[dict[str, LegRecord]], bool]) -> dict[str, LegRecord]:
        """The legs that events told of, once there is enough of them."""
        async with asyncio.timeout(15):
            while not enough(merged(self.pages)):
                self.pages.append(self.source.receive(await self._posts.get()))
        return merged(self.pages)

    async def restarted(self) -> datetime:
        async with asyncio.timeout(15):
            while True:
                self.pages.append(page := self.source.receive(await self._posts.get()))
                if page.restarted_at:
                    return page.restarted_at

    async def joined(self, room: int | str, display: str | None = None, **how: Any) -> Client:
        client = await self.janus.client()
        await client.join(room, display, **how)
        return client


@pytest.fixture
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Parametrised indirectly with settings of the server."""
    posts: asyncio.Queue[Push] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        posts.put_nowait(Push(headers=request.headers, body=await request.read(), received_at=now()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/push/janus", receive)
    runner = web.AppRunner(app)
    async with AsyncExitStack() as stack:
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        settings = getattr(request, "param", {})
        janus = await stack.enter_async_context(JanusServer(push_url=f"http://{host}:{port}/push/janus", **settings))
        source = await stack.enter_async_context(make_source(janus.admin_url))
        yield Scene(janus, source, posts)


@pytest.fixture
async def janus() -> AsyncIterator[JanusServer]:
    async with JanusServer() as server:
        yield server


@pytest.fixture
async def source(janus: JanusServer) -> AsyncIterator[JanusSource]:
    async with make_source(janus.admin_url) as source:
        yield source


def ended(number: int) -> Callable[[dict[str, LegRecord]], bool]:
    return lambda legs: sum(leg.left_at is not None for leg in legs.values()) >= number


class TestConformance(SourceConformance):
    """What every source keeps to, against an Admin API that can be made ill."""

    secrets = (JanusServer.admin_secret,)
    other_requests = (("POST", "/admin"), ("POST", "/admin/1"), ("POST", "/admin/1/2"))

    @asynccontextmanager
    async def system(self) -> AsyncIterator[FakeSystem]:
        async with FakeSystem(self._answer) as system:
            yield system

    def source(self, system: FakeSystem, observe: Observer) -> Source:
        return make_source(f"{system.url}/admin", timeout=timedelta(seconds=0.5), clock=lambda: NOW, observe=observe)

    async def _answer(self, request: web.Request) -> web.Response:
        """A Janus with one room, and one participant in it."""
        asked = json.loads(await request.read())
        answers: dict[str, dict[str, Any]] = {
            "info": {"version_string": "1.1.2"},
            "list_sessions": {"sessions": [1]},
            "list_handles": {"handles": [2]},
            "handle_info": {
                "info": {"plugin": PLUGIN, "plugin_specific": {"type": "publisher", "room": 4711, "id": 12}}
            },
            "list": {"response": {"list": [{"room": 4711, "num_participants": 1}]}},
            "listparticipants": {"response": {"participants": [{"id": 12}]}},
        }
        name = asked["request"]["request"] if asked["janus"] == "message_plugin" else asked["janus"]
        return web.json_response({"janus": "success", **answers[name]})


# What is going on now


async def test_snapshot_is_what_was_driven(janus: JanusServer, source: JanusSource) -> None:
    """A snapshot shows every participant of every room, publishing or not, once, and nothing else."""
    for room in (1, 2, 3):
        await janus.create_room(room)
    for room, display in [(1, "Xã Hòa Bình"), (1, "sip:Xa-A@vc.example"), (2, None)]:
        await (await janus.client()).join(room, display)
    await janus.client()  # attached, but in no room

    snapshot = await source.live()

    legs = {(leg.room, leg.identity, leg.personal) for leg in snapshot.legs}
    assert {("1", "xã hòa bình", True), ("1", "xa-a@vc.example", False), ("2", None, True)} == legs
    assert {snapshot.taken_at} == {leg.joined_at for leg in snapshot.legs}
    assert (len(snapshot.legs), snapshot.meetings, snapshot.rejected) == (3, (), ())
    assert timedelta(seconds=-1) <= now() - snapshot.taken_at < timedelta(seconds=10)


async def test_leg_keeps_its_id_and_first_sight_until_it_leaves(janus: JanusServer, source: JanusSource) -> None:
    """Polling again changes nothing about a participant who stays; one who left is not shown any more."""
    await janus.create_room(1)
    staying, leaving = await janus.client(), await janus.client()
    await staying.join(1, "stays")
    await leaving.join(1, "leaves")
    first = await source.live()
    await leaving.leave()

    second = await source.live()

    assert [leg for leg in first.legs if leg.identity == "stays"] == list(second.legs)


@pytest.mark.parametrize("scene", [{"string_ids": True}], indirect=True)
async def test_string_ids(scene: Scene) -> None:
    """Rooms and participants named by strings work like numbered ones."""
    await scene.janus.create_room("giao-ban")
    await scene.joined("giao-ban", "Xã A", id="xa-a")

    snapshot = await scene.source.live()

    (leg,) = snapshot.legs
    assert leg.room == "giao-ban"
    assert leg.external_id.startswith("giao-ban/xa-a/")


async def test_placeholder_publisher_is_nobody(janus: JanusServer, source: JanusSource) -> None:
    """The dummy publisher that Janus keeps in a room to subscribe to is not a participant."""
    await janus.create_room(1, dummy_publisher=True)
    await (await janus.client()).join(1, "somebody")

    snapshot = await source.live()

    assert [leg.identity for leg in snapshot.legs] == ["somebody"]


async def test_feed_of_another_server_is_backplane(janus: JanusServer, source: JanusSource) -> None:
    """A publisher relayed from another Janus is shown, kept apart from people, and is the same leg at each poll."""
    await janus.create_room(1)
    stream = {"type": "audio", "mid": "0", "mindex": 0, "codec": "opus"}
    await janus.videoroom("add_remote_publisher", room=1, id=7, display="far away", iface="127.0.0.1", streams=[stream])
    async with asyncio.timeout(10):
        while not (first := await source.live()).legs:
            pass  # Janus takes it up a moment after it said so

    second = await source.live()

    assert first.legs == second.legs
    assert [(leg.external_id, leg.excluded) for leg in second.legs] == [("1/7", "backplane")]


async def test_private_rooms(scene: Scene) -> None:
    """Who is in a room that Janus does not list is seen when the source starts, and afterwards where events tell."""
    await scene.janus.create_room(1, is_private=True)
    await scene.joined(1, "before the source started")
    first = await scene.source.live()
    await scene.janus.create_room(2, is_private=True)
    await scene.joined(2, "after it started")
    await scene.told(lambda legs: len(legs) == 2)

    second = await scene.source.live()

    assert {"before the source started"} == {leg.identity for leg in first.legs}
    assert {"before the source started", "after it started"} == {leg.identity for leg in second.legs}


@pytest.mark.parametrize("scene", [{"admin_key": "k3y-of-the-plugin"}], indirect=True)
async def test_admin_key_shows_private_rooms(scene: Scene) -> None:
    """With the plugin's admin key private rooms are polled like others."""
    async with make_source(scene.janus.admin_url, admin_key=Secret("k3y-of-the-plugin")) as source:
        await source.live()
        await scene.janus.create_room(1, is_private=True)
        await scene.joined(1, "Xã A")

        snapshot = await source.live()

    assert [leg.identity for leg in snapshot.legs] == ["xã a"]


async def test_room_that_vanishes_is_empty(scene: Scene) -> None:
    """A room that was known and is destroyed before its participants are asked for has none; the poll goes on."""
    await scene.janus.create_room(1, is_private=True)
    await scene.joined(1, "was here")
    await scene.told(lambda legs: len(legs) == 1)
    await scene.janus.destroy_room(1)

    snapshot = await scene.source.live()

    assert snapshot.legs == ()


async def test_wrong_admin_secret_is_permanent_and_named(janus: JanusServer) -> None:
    """A refused secret is an error that asking again does not help, that names the key, and never the secret; the
    doctor's check finds it too, although Janus says who it is to anybody."""
    async with make_source(janus.admin_url, admin_secret=Secret("wr0ng-secret")) as source:
        for ask in (source.live, source.check):
            with pytest.raises(SourceError, match="admin_secret in \\[\\[sources\\]\\] janus-tinh") as caught:
                await ask()
            assert caught.value.permanent
            assert "wr0ng-secret" not in repr(caught.value)


async def test_check_tells_whether_events_come(scene: Scene, source: JanusSource) -> None:
    """The check names server and rooms, and says when no event handler is loaded there, or its events are refused."""
    await scene.janus.create_room(1)
    options = JanusOptions(admin_secret=Secret(JanusServer.admin_secret))
    config = SourceConfig(name="janus", kind="janus", url=scene.janus.admin_url, options=options)

    assert re.search(r"Janus [0-9.]+ \(janus-test\); VideoRooms: 1; it sends events; ", await scene.source.check())
    assert "it sends no events" in await source.check()
    async with JanusSource(config, clock=now, observe=ignored) as without_password:
        assert "refused here: push_password is not set" in await without_password.check()


async def test_unreachable_server_may_come_back(janus: JanusServer, source: JanusSource) -> None:
    """A server that is down is a passing error; once it is up again the source goes on."""
    await source.live()
    await janus.kill()
    with pytest.raises(SourceError) as caught:
        await source.live()

    await janus.start()

    assert not caught.value.permanent
    assert (await source.live()).legs == ()


async def test_there_is_no_history() -> None:
    """Asking for history is a SourceError, not an empty answer."""
    with pytest.raises(SourceError, match="no history"):
        async for _ in make_source().history("rooms", None):
            pass


# What is pushed


async def test_events_and_polls_name_the_same_legs(scene: Scene) -> None:
    """One join has one id, whether an event told of it or a poll found it, before or after a restart of ours."""
    await scene.janus.create_room(1)
    began = now()
    for display, chosen in [("Xã A", None), ("sip:xa-b@vc.example", 12)]:
        await scene.joined(1, display, id=chosen)
    deaf = (await scene.source.live()).legs
    told = await scene.told(lambda legs: len(legs) == 2)

    heard = (await scene.source.live()).legs

    assert told.keys() == {leg.external_id for leg in deaf} == {leg.external_id for leg in heard}
    assert {"xã a", "xa-b@vc.example"} == {leg.identity for leg in told.values()}
    assert {leg.joined_at for leg in told.values()} == {leg.joined_at for leg in heard}
    assert all(leg.joined_at and began <= leg.joined_at <= now() and leg.left_at is None for leg in told.values())
    async with make_source(scene.janus.admin_url) as restarted:
        assert told.keys() == {leg.external_id for leg in (await restarted.live()).legs}


async def test_how_legs_end(scene: Scene) -> None:
    """Each way out of a room has its class: hanging up is leaving, the host's doing is the end, silence is a drop."""
    await scene.janus.create_room(1)
    await scene.janus.create_room(2)
    leaves, closes, goes, dies = [await scene.joined(1, who) for who in ("leaves", "closes", "goes", "dies")]
    kicked = await scene.janus.client()
    kicked_id = await kicked.join(1, "kicked")
    await scene.joined(2, "room destroyed")
    await leaves.leave()
    await closes.detach()
    await goes.hang_up()
    await scene.janus.kick(1, kicked_id)
    await scene.janus.destroy_room(2)
    silent_at = now()
    await dies.die()

    # Janus may tell first that the silent one left, and then why.
    legs = await scene.told(lambda legs: ended(6)(legs) and "timeout" in {leg.end_reason for leg in legs.values()})

    assert {leg.identity: (leg.end_class, leg.end_reason) for leg in legs.values()} == {
        "leaves": ("left", "leaving"),
        "closes": ("left", "leaving"),
        "goes": ("left", "leaving"),
        "kicked": ("ended", "kicked"),
        "room destroyed": ("ended", "destroyed"),
        "dies": ("dropped", "timeout"),
    }
    ends = {leg.identity: leg.left_at for leg in legs.values() if leg.left_at}
    died_at = ends.pop("dies")
    assert silent_at < died_at <= now()
    assert all(end < died_at for end in ends.values())
    assert (await scene.source.live()).legs == ()


async def test_rejoining_under_a_chosen_id_is_another_leg(scene: Scene) -> None:
    """A client that chooses its participant id and comes back has two legs, one after the other."""
    await scene.janus.create_room(1)
    await (await scene.joined(1, "Xã A", id=12)).hang_up()
    await scene.joined(1, "Xã A", id=12)

    legs = await scene.told(lambda legs: len(legs) == 2 and ended(1)(legs))

    first, second = sorted(legs.values(), key=lambda leg: leg.joined_at or now())
    assert first.left_at
    assert second.joined_at
    assert first.left_at <= second.joined_at
    assert second.left_at is None
    assert [second.external_id] == [leg.external_id for leg in (await scene.source.live()).legs]


async def test_rejoining_between_polls_is_another_leg(janus: JanusServer, source: JanusSource) -> None:
    """The same without events, once a poll has seen that the participant was away."""
    await janus.create_room(1)
    client = await janus.client()
    await client.join(1, id=12)
    (first,) = (await source.live()).legs
    await client.hang_up()
    away = (await source.live()).legs
    await (await janus.client()).join(1, id=12)

    (second,) = (await source.live()).legs

    assert away == ()
    assert first.external_id != second.external_id


async def test_lost_end_does_not_keep_a_leg_up(scene: Scene) -> None:
    """If the event of a participant's leaving was lost, its joining again shows that the first leg is over."""
    await scene.janus.create_room(1)
    await (await scene.joined(1, "Xã A", id=12)).hang_up()
    await scene.joined(1, "Xã A", id=12)
    legs = await scene.told(lambda legs: len(legs) == 2)
    async with make_source(scene.janus.admin_url) as source:
        for leg in legs.values():
            room, id, handle = map(int, leg.external_id.split("/"))
            joined = {"event": "joined", "room": room, "id": id, "display": "Xã A"}
            body = event(64, leg.joined_at or now(), session=1, handle=handle, plugin=PLUGIN, data=joined)
            source.receive(make_push(body))

        snapshot = await source.live()

    assert [leg.external_id for leg in snapshot.legs] == [max(legs, key=lambda name: legs[name].joined_at or now())]


async def test_crash_of_the_server_is_told(scene: Scene) -> None:
    """A server that comes back says when; who joined before is not there, and the same id later is another leg."""
    await scene.janus.create_room(1)
    await scene.joined(1, "Xã A", id=12)
    before = await scene.told(lambda legs: len(legs) == 1)
    await scene.janus.kill()
    killed_at = now()
    await scene.janus.start()

    restarted_at = await scene.restarted()

    assert killed_at <= restarted_at <= now()
    assert (await scene.source.live()).legs == ()
    await scene.janus.create_room(1)
    await scene.joined(1, "Xã A", id=12)
    assert before.keys() < (await scene.told(lambda legs: len(legs) == 2)).keys()


async def test_orderly_shutdown_ends_legs(scene: Scene) -> None:
    """A server that is shut down ends the legs that are up, then."""
    await scene.janus.create_room(1)
    await scene.joined(1, "Xã A")
    await scene.told(lambda legs: len(legs) == 1)
    await scene.janus.stop()

    legs = await scene.told(ended(1))

    assert [(leg.end_class, leg.end_reason) for leg in legs.values()] == [("ended", "shutdown")]


async def test_restarted_collector_knows_whom_a_later_event_means(scene: Scene) -> None:
    """Events name who leaves by room and id only; a source that knows the join from a poll alone names its leg, and
    leaves the time of joining to those who know it."""
    await scene.janus.create_room(1)
    client = await scene.joined(1, "Xã A", id=12)
    (known,) = (await scene.source.live()).legs
    left_at = (known.joined_at or now()) + timedelta(minutes=1)
    await client.detach()
    leaving = event(64, left_at, plugin=PLUGIN, data={"event": "leaving", "room": 1, "id": 12})

    (leg,) = scene.source.receive(make_push(leaving)).legs

    assert (known.external_id, left_at, "left") == (leg.external_id, leg.left_at, leg.end_class)
    assert leg.joined_at is None


def event(type: int, at: datetime, *, session: int | None = None, handle: int | None = None, **said: Any) -> bytes:
    ids = {name: value for name, value in (("session_id", session), ("handle_id", handle)) if value}
    body = {"emitter": "e", "type": type, "timestamp": round(at.timestamp() * 1e6), **ids, "event": said}
    return json.dumps(body).encode()


def recorded() -> list[bytes]:
    return [bytes(raw) for raw in msgspec.json.decode(RECORDED.read_bytes(), type=list[msgspec.Raw])]


async def test_recorded_evening() -> None:
    """A recorded run of Janus 1.1.2 in one post: who was there and how each left."""
    page = make_source().receive(make_push(RECORDED.read_bytes()))

    assert (page.origin, page.rejected) == (Origin.PUSH, ())
    assert [(leg.identity, leg.end_class) for leg in sorted(page.legs, key=lambda leg: leg.joined_at or now())] == [
        ("xã hòa bình", "left"),
        ("xã an lạc", "left"),
        ("xa-c@vc.tinh.example", "ended"),
        (None, "left"),
        ("xã e", "dropped"),
        ("xã an lạc", "left"),
        ("xã f", "ended"),
        ("xã g", "ended"),
    ]
    assert page.restarted_at == datetime(2026, 11, 24, 22, 15, 4, 297355, UTC)


def crash_of_the_server() -> list[bytes]:
    """Somebody is there when Janus dies without a word, and comes back once it has started again."""
    came, started, back = (datetime(2026, 11, 24, 23, minute, tzinfo=UTC) for minute in (0, 10, 11))
    joined = {"plugin": PLUGIN, "data": {"event": "joined", "room": 4711, "id": 12}}
    return [
        event(64, came, session=1, handle=2, **joined),
        event(256, started, status="started"),
        event(64, back, session=3, handle=4, **joined),
    ]


async def test_crash_ends_who_was_there_however_late_their_join_is_told() -> None:
    """A join that comes in after the restart that ended it is over, as if it had come before."""
    came, started, back = crash_of_the_server()
    source = make_source()

    legs = merged(source.receive(make_push(body)) for body in (started, back, came))

    ends = {name: (leg.end_class, leg.left_at) for name, leg in legs.items()}
    assert ends == {
        "4711/12/2": ("dropped", datetime(2026, 11, 24, 23, 10, tzinfo=UTC)),
        "4711/12/4": (None, None),
    }


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
async def test_a_time_out_is_why_its_participant_left_before_it(order: tuple[int, ...]) -> None:
    """Janus may say that the silent one left, and in a post of its own, a moment later, that its session timed out."""
    came, left, died = (datetime(2026, 11, 24, 23, 0, second, tzinfo=UTC) for second in (0, 9, 10))
    who = {"room": 4711, "id": 12}
    posts = [
        event(64, came, session=1, handle=2, plugin=PLUGIN, data={"event": "joined", **who}),
        event(64, left, session=1, handle=2, plugin=PLUGIN, data={"event": "leaving", **who}),
        event(1, died, session=1, name="timeout"),
    ]
    source = make_source()

    (leg,) = merged(source.receive(make_push(posts[place])) for place in order).values()

    assert (leg.left_at, leg.end_class, leg.end_reason) == (left, "dropped", "timeout")


_TELLING = (b'"started"', b'"joined"', b'"leaving"', b'"kicked"', b'"timeout"', b'"shutdown"', b'"event": "destroyed"')


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_order_and_repetition_of_events_do_not_matter(data: st.DataObject) -> None:
    """Events that come in any order, twice, and cut into posts anyhow, give the same legs."""
    events = [raw for raw in recorded() if any(word in raw for word in _TELLING)] + crash_of_the_server()
    again = data.draw(st.lists(st.sampled_from(events), max_size=5))
    shuffled = data.draw(st.permutations(events + again))
    size = data.draw(st.integers(1, len(shuffled)))
    source = make_source()

    pages = [
        source.receive(make_push(b"[" + b",".join(shuffled[at : at + size]) + b"]"))
        for at in range(0, len(shuffled), size)
    ]

    assert merged(pages) == merged([make_source().receive(make_push(b"[" + b",".join(events) + b"]"))])


async def test_malformed_event_is_kept_beside_its_neighbours() -> None:
    """One event that cannot be read is rejected whole; the others of its post count."""
    good = event(64, now(), session=1, handle=2, plugin=PLUGIN, data={"event": "joined", "room": 1, "id": 3})
    bad = good.replace(b'"room": 1', b'"room": null')

    page = make_source().receive(make_push(b"[" + bad + b"," + good + b"]"))

    assert [leg.external_id for leg in page.legs] == ["1/3/2"]
    assert [bad] == [rejected.raw for rejected in page.rejected]
    assert "room" in page.rejected[0].error


@pytest.mark.parametrize("year", [1970, 9999])
async def test_event_of_a_time_that_cannot_be_is_kept(year: int) -> None:
    """A server whose clock was never set makes neither legs of ages nor a restart that ends all of them."""
    at = datetime(year, 1, 1, 0, 0, 3, tzinfo=UTC)
    joined = event(64, at, session=1, handle=2, plugin=PLUGIN, data={"event": "joined", "room": 1, "id": 3})
    started = event(256, at, status="started")

    page = make_source().receive(make_push(b"[" + joined + b"," + started + b"]"))

    assert (page.legs, page.restarted_at) == ((), None)
    assert [joined, started] == [rejected.raw for rejected in page.rejected]
    assert {rejected.error for rejected in page.rejected} == {f"Holds a time of the year {year}"}


async def test_rejected_event_can_be_decoded_again() -> None:
    """What was rejected is read again as it was kept; what still cannot be read stays rejected."""
    source, at = make_source(), now()
    good = event(64, at, session=1, handle=2, plugin=PLUGIN, data={"event": "joined", "room": 1, "id": 3})

    assert [leg.external_id for leg in source.decode("events", good, at).legs] == ["1/3/2"]
    assert [rejected.raw for rejected in source.decode("events", b"{]", at).rejected] == [b"{]"]
    assert [rejected.raw for rejected in source.decode("live", b'{"id": []}', at).rejected] == [b'{"id": []}']


async def test_single_event_without_array_is_taken() -> None:
    """A handler that does not group its events posts each as an object alone."""
    page = make_source().receive(make_push(event(256, now(), status="started")))

    assert page.restarted_at


async def test_periodic_status_is_no_restart() -> None:
    """Janus 1.2 and newer report their load as a core event of the same subtype as a start: it ends nothing."""
    page = make_source().receive(make_push(event(256, now(), status="update", info={"sessions": 3})))

    assert page.restarted_at is None


async def test_other_plugins_are_ignored() -> None:
    """Events of another plugin, whatever they look like, are neither legs nor rejected."""
    page = make_source().receive(make_push(event(64, now(), plugin="janus.plugin.sip", data={"event": "joined"})))

    assert (page.legs, page.rejected) == ((), ())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer token"},
        {"Authorization": "Basic ?"},
        make_push(b"", password="wrong").headers,
        make_push(b"", user="another").headers,
    ],
)
async def test_push_without_the_password_is_refused(headers: dict[str, str]) -> None:
    """Events count only with the configured user name and password."""
    with pytest.raises(PushRefused):
        make_source().receive(Push(headers=headers, body=RECORDED.read_bytes(), received_at=now()))


async def test_push_is_refused_while_no_password_is_configured() -> None:
    """Without push_password nobody can push, not even with an empty password."""
    config = SourceConfig(name="janus", kind="janus", url="http://127.0.0.1:1/admin")
    source = JanusSource(config, clock=now, observe=ignored)

    with pytest.raises(PushRefused, match="push_password"):
        source.receive(make_push(b"[]", user="", password=""))
