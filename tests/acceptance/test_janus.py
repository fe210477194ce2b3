"""A real Janus watched by `conftrack run` in three ways: by polling, by its events, and by both.

One evening is played for all three, so what each stored can be held against what happened. Between two scenes whoever
polls has looked; so a poll sees somebody come or go at most one scene late or early, however slow the machine is.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from tests.conftest import _clone
from tests.janus_server import PLUGIN, JanusServer
from tests.janus_stage import Act, Facts, Stage, Stay, differences
from tests.service_process import Service, conftrack, series

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = "janus-tinh"
HALL, OFFICE = 1001, 1002
EVENING = (
    (Act("open", HALL), Act("open", OFFICE)),
    (Act("join", HALL, "xa-a"), Act("join", HALL, "xa-b"), Act("join", HALL, "an"), Act("join", HALL, "kim"),
     Act("join", OFFICE, "phone"), Act("join", OFFICE, "nobody")),
    (Act("leave", HALL, "xa-a"), Act("close", HALL, "an"), Act("join", OFFICE, "xa-b")),
    (Act("join", HALL, "xa-a"), Act("kick", HALL, "xa-b")),
    (Act("destroy", OFFICE), Act("join", HALL, "xa-b")),
    (Act("die", HALL, "kim"),),
    (Act("crash"),),
    (Act("restart"), Act("open", HALL)),
    (Act("join", HALL, "xa-a"), Act("join", HALL, "an")),
    (Act("hang up", HALL, "xa-a"), Act("leave", HALL, "an")),
)  # fmt: skip


def basic(password: str) -> str:
    return "Basic " + b64encode(f"{JanusServer.push_username}:{password}".encode()).decode()


class Watcher:
    """One `conftrack run` with a database of its own."""

    def __init__(self, config: Path, dsn: str, port: int, *, polls: bool, hears: bool) -> None:
        self.config = config
        self.dsn = dsn
        self.polls = polls
        self.hears = hears
        self._port = port
        self.start()

    def start(self) -> None:
        self.service = Service(self.config, self._port)

    async def first_answer(self) -> int:
        """How it answers the first post that reaches it; nothing is in it."""
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while True:
                headers = {"Authorization": basic(JanusServer.push_password)}
                with suppress(aiohttp.ClientConnectorError):
                    async with http.post(self.push_url, headers=headers, data=b"[]") as answer:
                        return answer.status
                await asyncio.sleep(0.01)

    def close(self) -> None:
        errors = self.service.stop()
        assert "Traceback" not in errors, errors

    @property
    def push_url(self) -> str:
        return f"{self.service.url}/push/{SOURCE}"

    async def until(self, wanted: Callable[[str], bool], seconds: float = 20) -> str:
        """The metrics, once they say what is wanted."""
        return await asyncio.to_thread(self.service.until, wanted, seconds=seconds)

    async def looks(self) -> None:
        """Returns when a poll that began after now has been taken in, which the second one to end from now on did."""

        def polled_at(metrics: str) -> float | None:
            name = "conftrack_source_last_success_timestamp_seconds"
            return series(metrics, name, source=SOURCE, stream="live")

        before = polled_at(await self.until(lambda _: True))
        between = polled_at(await self.until(lambda metrics: polled_at(metrics) != before))
        await self.until(lambda metrics: polled_at(metrics) != between)

    async def hears_of(self, legs: int) -> None:
        """Returns when events have come in that told of that many legs."""

        def heard(metrics: str) -> bool:
            name, of = "conftrack_records_total", {"source": SOURCE, "stream": "events"}
            told = [series(metrics, name, **of, outcome=outcome) for outcome in ("inserted", "updated", "unchanged")]
            return None not in told and sum(filter(None, told)) >= legs

        await self.until(heard)

    async def is_blind(self) -> None:
        """Returns when a poll has failed."""
        await self.until(lambda metrics: series(metrics, "conftrack_source_up", source=SOURCE, stream="live") == 0)

    async def has_counted(self, stays: list[Stay]) -> None:
        """Returns when the totals have followed the facts, to this number of legs."""
        await self.until(lambda metrics: series(metrics, "conftrack_legs_total", source=SOURCE) == len(stays))

    async def shows(self, stays: list[Stay]) -> bool:
        """Whether the live figures come to be these people's, and no others'."""
        meetings = len({stay.room for stay in stays})

        def right(metrics: str) -> bool:
            legs = series(metrics, "conftrack_legs_live", source=SOURCE)
            return (legs, series(metrics, "conftrack_meetings_live", source=SOURCE)) == (len(stays), meetings)

        try:
            await self.until(right, seconds=5)
        except AssertionError:
            return False
        return True


class Relay:
    """Where Janus posts its events: keeps every post, and passes it on to whoever listens before it answers."""

    def __init__(self) -> None:
        self.posts: list[bytes] = []
        self.listeners: list[Watcher] = []
        self.answers: set[int] = set()

    async def __aenter__(self) -> Relay:
        self._http = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_post("/", self._receive)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _receive(self, request: web.Request) -> web.Response:
        self._proof = {"Authorization": request.headers["Authorization"]}
        self.posts.append(await request.read())
        await asyncio.gather(*(self._pass(listener, self.posts[-1]) for listener in self.listeners))
        return web.Response()

    async def _pass(self, to: Watcher, body: bytes) -> None:
        async with self._http.post(to.push_url, headers=self._proof, data=body) as answer:
            self.answers.add(answer.status)

    async def again(self, to: Watcher) -> None:
        """Every event that there was, backwards, then every other one once more, in posts cut anyhow."""
        events = [event for body in self.posts for event in msgspec.json.decode(body, type=list[msgspec.Raw])]
        events = [*reversed(events), *events[::2]]
        for at in range(0, len(events), 29):
            await self._pass(to, msgspec.json.encode(events[at : at + 29]))


@dataclass(frozen=True, slots=True, repr=False)
class Evening:
    relay: Relay
    watchers: dict[str, Watcher]
    stays: list[Stay]
    #: Of each watcher as they were when it was over.
    facts: dict[str, Facts]
    #: Scenes after which the live figures of a watcher were not those of the people who were there.
    misshown: dict[str, list[int]]
    #: The live page of the one who polls and hears while most are there.
    page: str


def write_config(path: Path, dsn: str, admin_url: str, live_interval: str = "300ms") -> Path:
    path.write_text(
        f"""
[database]
dsn = "{dsn}"
[[sources]]
name = "{SOURCE}"
kind = "janus"
url = "{admin_url}"
admin_secret = "{JanusServer.admin_secret}"
push_username = "{JanusServer.push_username}"
push_password = "{JanusServer.push_password}"
live_interval = "{live_interval}"
"""
    )
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def evening(
    server_dsn: str, template: str, tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[Evening]:
    folder = tmp_path_factory.mktemp("janus")
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay())
        janus = await stack.enter_async_context(JanusServer(push_url=relay.url))
        watchers: dict[str, Watcher] = {}
        for name, polls, hears in (("polls", True, False), ("hears", False, True), ("both", True, True)):
            dsn = await stack.enter_async_context(asynccontextmanager(_clone)(server_dsn, template))
            # Without an interval to speak of, one poll is made at the start, when nobody is there.
            config = write_config(folder / f"{name}.toml", dsn, janus.admin_url, "300ms" if polls else "1h")
            watchers[name] = Watcher(config, dsn, unused_tcp_port_factory(), polls=polls, hears=hears)
            stack.callback(watchers[name].close)
        for watcher in watchers.values():
            await watcher.until(lambda metrics: series(metrics, "conftrack_legs_live", source=SOURCE) == 0)
        relay.listeners += [watcher for watcher in watchers.values() if watcher.hears]
        yield await play(janus, relay, watchers)
        relay.listeners.clear()


async def play(janus: JanusServer, relay: Relay, watchers: dict[str, Watcher]) -> Evening:
    stage, page = Stage(janus), ""
    misshown: dict[str, list[int]] = {name: [] for name in watchers}
    for number, scene in enumerate(EVENING):
        await stage.play(*scene)
        if scene == (Act("crash"),):
            await asyncio.gather(*(watcher.is_blind() for watcher in watchers.values() if watcher.polls))
            continue
        await asyncio.gather(*(watcher.looks() for watcher in watchers.values() if watcher.polls))
        stage.looked()
        shown = await asyncio.gather(*(watcher.shows(stage.there) for watcher in watchers.values()))
        for name, right in zip(watchers, shown, strict=True):
            misshown[name] += [] if right else [number]
        if len(stage.there) > 5:
            page = await asyncio.to_thread(watchers["both"].service.get, "/")
    for watcher in watchers.values():
        await watcher.has_counted(stage.stays)
    facts = {name: await Facts.of(watcher.dsn) for name, watcher in watchers.items()}
    return Evening(relay, watchers, stage.stays, facts, misshown, page)


@pytest.mark.parametrize("watcher", ["polls", "hears", "both"])
async def test_facts_equal_what_was_played(evening: Evening, watcher: str) -> None:
    """Every stay is one leg of its room's one meeting, with the moments and the end that this watcher can know."""
    how = evening.watchers[watcher]

    assert differences(evening.stays, evening.facts[watcher], heard=how.hears, polled=how.polls) == []


@pytest.mark.parametrize("watcher", ["polls", "hears", "both"])
async def test_live_figures_follow(evening: Evening, watcher: str) -> None:
    """After every scene the live figures are those of the people who were there."""
    assert evening.misshown[watcher] == []


async def test_page_names_endpoints_and_no_person(evening: Evening) -> None:
    """The live page shows rooms and addresses; people are a number."""
    assert "xa-a@vc.tinh.example" in evening.page
    assert "+842103846647" in evening.page
    assert str(OFFICE) in evening.page
    assert "Văn An".casefold() not in evening.page.casefold()


@pytest.mark.parametrize("password", [None, "", "wrong"])
async def test_events_of_a_stranger_are_refused(evening: Evening, password: str | None) -> None:
    """A post without the password is answered 401, and nothing of it is stored or shown."""
    watcher = evening.watchers["hears"]
    joined = {"event": "joined", "room": HALL, "id": 99, "display": "stranger@vc.example"}
    event = {"type": 64, "timestamp": 1_800_000_000_000_000, "session_id": 1, "handle_id": 2}
    body = json.dumps([event | {"event": {"plugin": PLUGIN, "data": joined}}])
    headers = {"Authorization": basic(password)} if password is not None else {}

    async with aiohttp.ClientSession(headers=headers) as http, http.post(watcher.push_url, data=body) as answer:
        assert answer.status == 401

    assert await Facts.of(watcher.dsn) == evening.facts["hears"]
    assert await watcher.shows([])


@pytest.mark.parametrize("watcher", ["hears", "both"])
async def test_events_again_and_backwards_change_nothing(evening: Evening, watcher: str) -> None:
    """Janus's posts of the whole evening once more, backwards and some twice, leave every row as it was."""
    listener = evening.watchers[watcher]

    await evening.relay.again(listener)
    if listener.polls:
        await listener.looks()

    assert evening.relay.answers == {200}
    assert await Facts.of(listener.dsn) == evening.facts[watcher]
    assert await listener.shows([])


async def test_late_events_correct_what_polling_saw(evening: Evening) -> None:
    """Whoever polled and gets the events only afterwards, backwards, then knows what one knows who had both."""
    listener = evening.watchers["polls"]

    await evening.relay.again(listener)
    await listener.looks()

    assert differences(evening.stays, await Facts.of(listener.dsn), heard=True, polled=True) == []


async def test_killed_collector_takes_up_where_it_was(
    dsn: str, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    """`run` is killed while people are there, and comes back: nobody is there twice; who left meanwhile is gone, who
    came meanwhile is there, and how the others leave is known."""
    port = unused_tcp_port_factory()
    async with JanusServer(push_url=f"http://127.0.0.1:{port}/push/{SOURCE}") as janus:
        stage = Stage(janus)
        config = write_config(tmp_path / "conftrack.toml", dsn, janus.admin_url)
        watcher = Watcher(config, dsn, port, polls=True, hears=True)
        try:
            await watcher.looks()
            await stage.play(Act("open", HALL))
            await watcher.hears_of(0)  # Janus has stopped trying to tell of its start
            await stage.play(*(Act("join", HALL, who) for who in ("xa-a", "an", "kim", "nobody")))
            await watcher.hears_of(4)
            await watcher.looks()
            stage.looked()

            watcher.service.kill()
            await stage.play(Act("leave", HALL, "xa-a"), Act("close", HALL, "an"), Act("join", HALL, "xa-b"))
            watcher.start()
            first_answer = await watcher.first_answer()
            await watcher.looks()
            stage.looked()
            for stay in stage.stays:
                if stay.who == "xa-b":
                    stay.joined = stay.first_seen or stay.joined  # Janus may have given up telling of it
                elif stay not in stage.there:
                    stay.left = None  # whom a dead collector knew is nobody that a later event could name
            right = await watcher.shows(stage.there)
            page = await asyncio.to_thread(watcher.service.get, "/")

            await asyncio.sleep(2)  # before that an event may be about somebody of the same name who was there before
            await stage.play(Act("leave", HALL, "xa-b"), Act("kick", HALL, "kim"))
            await watcher.looks()
        finally:
            watcher.close()

    assert first_answer == 200, "Janus keeps nothing that is answered with an error"
    assert right
    assert "person:" not in page
    assert differences(stage.stays, await Facts.of(dsn), heard=True, polled=True) == []


async def test_doctor_tells_how_it_stands_with_each(evening: Evening, tmp_path: Path) -> None:
    """The doctor names the server and which streams come in, and a wrong secret by its key, without showing it."""
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(evening.watchers["both"].config.read_text().replace(JanusServer.admin_secret, "wr0ng-secret"))
    right = evening.watchers["both"].config

    well, ill = await asyncio.gather(
        *(asyncio.to_thread(conftrack, config, "doctor", "--json") for config in (right, wrong))
    )

    def said(doctor: CompletedProcess[str], name: str) -> list[tuple[str, str]]:
        return [(check["state"], check["found"]) for check in json.loads(doctor.stdout) if check["name"] == name]

    assert (well.returncode, ill.returncode) == (0, 1)
    assert {found.split(":")[0] for _, found in said(well, "stream")} == {f"{SOURCE} live", f"{SOURCE} events"}
    assert "(janus-test)" in str(said(well, f"source {SOURCE}"))
    assert [state for state, _ in said(ill, f"source {SOURCE}")] == ["bad"]
    assert f"admin_secret in [[sources]] {SOURCE}" in ill.stdout
    assert "wr0ng-secret" not in ill.stdout + ill.stderr


async def test_server_that_is_away_is_logged_once(
    dsn: str, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    """However often it is tried, its absence is one line of the log."""
    config = write_config(tmp_path / "conftrack.toml", dsn, f"http://127.0.0.1:{unused_tcp_port_factory()}/admin")
    watcher = Watcher(config, dsn, unused_tcp_port_factory(), polls=True, hears=False)

    def tried(metrics: str) -> bool:
        name = "conftrack_source_requests_total"
        return (series(metrics, name, source=SOURCE, stream="live", status="error") or 0) > 5

    try:
        await watcher.until(tried)
    finally:
        log = watcher.service.stop()

    assert [line.split()[2] for line in log.splitlines()] == ["INFO", "WARNING"]
    assert "cannot be reached" in log
