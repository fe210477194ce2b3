"""The live page over HTTP and in a real browser: it tells the truth when things are well, stale, empty and huge."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Literal
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, expect

from conftrack.board import Change
from conftrack.metrics import Metrics
from conftrack.model import EndClass, LegRecord, MeetingRecord, Snapshot
from conftrack.state import Site, SourceState, State, StreamState
from conftrack.web import application
from conftrack.web.feed import PACE

NOW = datetime(2026, 11, 24, 2, 32, 14, tzinfo=UTC)  # 09:32:14 in Viet Nam


def leg(number: int, **overrides: Any) -> LegRecord:
    """Site `number`, for ten minutes in room r1."""
    given: dict[str, Any] = {"external_id": f"leg-{number}", "room": "r1", "identity": f"site-{number}@vc.example"}
    return LegRecord(**given | {"joined_at": NOW - timedelta(minutes=10)} | overrides)


def observe(source: SourceState, legs: Iterable[LegRecord], *, at: datetime = NOW, title: str = "Giao ban") -> None:
    """A good poll that showed these legs."""
    legs = tuple(legs)
    meetings = (MeetingRecord(external_id=room, room=room, title=title) for room in {leg.room for leg in legs})
    source.board.observe(Snapshot(taken_at=at, meetings=tuple(meetings), legs=legs))
    source.streams["live"] = StreamState(up=True, last_success_at=at)


def world(*names: str, sites: int = 10) -> State:
    """Sources that were never seen, and an inventory of Điểm cầu 0, Điểm cầu 1, ..."""
    state = State(NOW)
    state.know_sites(
        (Site(code=f"PT-{n:04d}", name=f"Điểm cầu {n}", org="PT", org_name="Tỉnh"), (f"site-{n}@vc.example",))
        for n in range(sites)
    )
    for name in names or ("pexip-main",):
        state.sources[name] = SourceState(name=name, kind="pexip", live_interval=timedelta(seconds=10))
    return state


@asynccontextmanager
async def served(state: State, port: int = 0) -> AsyncIterator[str]:
    async def ready() -> str | None:
        return None

    app = application(
        state,
        Metrics(state, clock=lambda: NOW, version="1"),
        clock=lambda: NOW,
        timezone=ZoneInfo("Asia/Ho_Chi_Minh"),
        ready=ready,
        pushes={},
    )
    async with TestServer(app, port=port or None) as server:
        yield str(server.make_url("")).rstrip("/")


async def read(state: State, language: str = "en") -> str:
    """The page as text, one line for each piece of it."""
    async with served(state) as url, aiohttp.ClientSession() as client, client.get(f"{url}/?lang={language}") as page:
        assert page.status == 200
        return text(await page.text())


def text(html: str) -> str:
    shown = re.sub(r"<details class=\"definitions.*?</details>|<div id=\"lost.*?</div>", "", html, flags=re.DOTALL)
    return re.sub(r"\s*\n\s*", "\n", unescape(re.sub(r"<[^>]+>", "\n", shown)))


def figures(page: str) -> list[str]:
    """Meetings, connections, endpoints and people now."""
    return re.findall(r"(?:Meetings now|Connections|Endpoints|People, at least)\n(.+)\n", page)


async def events(client: aiohttp.ClientSession, url: str) -> AsyncGenerator[str]:
    """The parts of the page as they are pushed."""
    async with client.get(f"{url}/events?lang=en") as stream:
        kind, data = "", []
        async for raw in stream.content:
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif not name and data:
                if kind == "part":
                    yield "\n".join(data)
                data = []


# -- what it says


async def test_a_fresh_source_gives_figures_meetings_and_its_age() -> None:
    """Meetings, connections, endpoints and people stand together, and the meeting lists its sites by name."""
    state = world()
    observe(state.sources["pexip-main"], [
        leg(1), leg(2), leg(2, external_id="second device"), leg(3, identity="stranger@example.org"),
        leg(4, room="r2", excluded="recorder"),
    ], at=NOW - timedelta(seconds=3))  # fmt: skip
    page = await read(state)

    assert figures(page) == ["1", "4", "3", "≥ 3"]
    assert "updated 3 seconds ago" in page.replace("\n", " ")
    assert "since 09:22" in page
    assert re.search(r"Điểm cầu 1\n.*Điểm cầu 2\n.*stranger@example\.org\n", page, re.DOTALL)


async def test_a_stale_source_shows_no_current_figure() -> None:
    """In place of figures stand dashes, a warning says since when, and the last known list is marked as past."""
    state = world()
    source = state.sources["pexip-main"]
    observe(source, [leg(1)], at=NOW - timedelta(minutes=34))
    source.streams["live"].up, source.streams["live"].last_error = False, "manager.example: no answer within 30 s"
    page = await read(state)

    assert figures(page) == ["—"] * 4
    assert "⚠ STALE since 08:58:14 — these figures are not current" in page
    assert "manager.example: no answer within 30 s" in page
    assert "Not known: no source can be seen now." in page
    assert "pexip-main as last seen at 08:58:14: not current" in page
    assert "10 unknown" in page
    assert "0 in a meeting" not in page


async def test_a_restarted_collector_calls_nothing_current_before_it_has_looked() -> None:
    """What the database remembers from yesterday is shown as of yesterday, with its date."""
    state = world()
    board = state.sources["pexip-main"].board
    board.restore([MeetingRecord(external_id="r1", room="r1")], [leg(1)], {}, (), NOW - timedelta(days=1))
    page = await read(state)

    assert figures(page) == ["—"] * 4
    assert "STALE since 09:32:14 23/11/2026" in page


async def test_a_source_that_was_never_seen_says_so() -> None:
    """A wrong password on the first day is not an empty province."""
    state = world()
    state.sources["pexip-main"].streams["live"] = StreamState(up=False, last_error="wrong user name or password")
    page = await read(state)

    assert figures(page) == ["—"] * 4
    assert "NOT SEEN YET" in page
    assert "wrong user name or password" in page


async def test_an_empty_system_is_zero_and_not_unknown() -> None:
    """A source that answers and has nobody gives zeros."""
    state = world()
    observe(state.sources["pexip-main"], [])
    page = await read(state)

    assert figures(page) == ["0"] * 4
    assert "No meeting is going on." in page
    assert "10 not in a meeting" in page


async def test_figures_of_some_sources_say_whom_they_leave_out() -> None:
    """One blind source of two: the figures are of the other, and say that they may be too low."""
    state = world("pexip-main", "bbb-daotao", "janus-xa")
    observe(state.sources["pexip-main"], [leg(1)])
    observe(state.sources["bbb-daotao"], [leg(2), leg(3)], at=NOW - timedelta(hours=1))
    state.sources["janus-xa"].held_elsewhere = True
    page = await read(state)

    assert figures(page) == ["1", "1", "1", "≥ 1"]
    assert "Without bbb-daotao, janus-xa, which cannot be seen: the true figures may be higher." in page
    assert "Read by another collector" in page


async def test_without_a_source_the_page_says_what_to_do() -> None:
    """The first thing a new installation shows is the next step."""
    page = await read(State(NOW))

    assert "No source is configured" in page
    assert "[[sources]]" in page


async def test_names_that_people_typed_are_never_shown() -> None:
    """A personal client is a person, in the list and in the ticker, in both languages."""
    state = world()
    person = leg(1, identity="Nguyễn Thị Lan", personal=True)
    observe(state.sources["pexip-main"], [person])
    state.events.append(("pexip-main", Change(kind="joined", at=NOW, leg=person)))
    english, vietnamese = await read(state), await read(state, "vi")

    assert "Nguyễn Thị Lan" not in english + vietnamese
    assert "1 person" in english
    assert "1 cá nhân" in vietnamese


async def test_what_a_conference_system_says_is_text_and_never_markup() -> None:
    """A meeting may be called anything."""
    state = world()
    observe(state.sources["pexip-main"], [leg(1, identity="<img src=x>")], title='"><script>alert(1)</script>')
    async with served(state) as url, aiohttp.ClientSession() as client, client.get(url) as page:
        html = await page.text()

    assert "<script>alert" not in html
    assert "<img" not in html
    assert "<script>alert(1)</script>" in unescape(html)


async def test_the_ticker_has_the_newest_first_in_local_time() -> None:
    """Joined, left, lost and moved, each with its time, whatever the order in which it was noticed."""
    state = world()
    observe(state.sources["pexip-main"], [leg(1)])

    def happened(minute: int, kind: Literal["joined", "left", "moved"], end_class: EndClass | None = None) -> None:
        change = Change(kind=kind, at=NOW + timedelta(minutes=minute), leg=leg(minute, end_class=end_class))
        state.events.append(("pexip-main", change))

    happened(3, "moved")
    happened(1, "joined")
    happened(4, "left", "dropped")
    happened(2, "left", "left")
    page = await read(state)
    ticker = page[page.index("Joined and left") : page.index("The collector itself")]

    assert re.findall(r"(\d\d:\d\d:\d\d)\n\S\n(\w+)\nĐiểm cầu (\d)\nGiao ban", ticker) == [
        ("09:36:14", "lost", "4"), ("09:35:14", "moved", "3"), ("09:34:14", "left", "2"), ("09:33:14", "joined", "1"),
    ]  # fmt: skip


async def test_numbers_and_dates_are_written_as_the_reader_writes_them() -> None:
    """3.000 and Thứ Ba in Vietnamese, 3,000 and Tuesday in English."""
    state = world(sites=3000)
    observe(state.sources["pexip-main"], map(leg, range(3000)))
    english, vietnamese = await read(state), await read(state, "vi")

    assert {"3.000", "≥ 3.000"} <= set(vietnamese.splitlines())
    assert figures(english) == ["1", "3,000", "3,000", "≥ 3,000"]
    assert "Thứ Ba, 24 tháng 11, 2026" in vietnamese
    assert re.search("Tuesday,? 24 November 2026", english)


async def test_three_thousand_endpoints_stay_a_small_page() -> None:
    """Long lists are cut and say how much is left out; a quiet second costs a kilobyte, not the page again."""
    state = world(sites=3000)
    observe(state.sources["pexip-main"], (leg(n, room="all" if n < 2000 else f"r{n // 10}") for n in range(3000)))
    async with served(state) as url, aiohttp.ClientSession() as client:
        async with client.get(f"{url}/?lang=en") as answer:
            html = await answer.text()
        parts = events(client, url)
        first = [await anext(parts) for _ in range(5)]
        state.sources["pexip-main"].streams["live"].last_success_at = NOW - timedelta(seconds=5)
        await state.tell()
        second = [await asyncio.wait_for(anext(parts), 5) for _ in range(2)]
        await parts.aclose()

    page = text(html)
    assert "and 1,900 more endpoints" in page
    assert "and 71 more meetings" in page
    assert len(html) < 200_000
    assert sum(map(len, first)) < 200_000
    assert [re.findall('^<section id="(.*?)"', part) for part in second] == [["freshness"], ["health"]]
    assert sum(map(len, second)) < 2_000


# -- how it is renewed


async def test_a_join_is_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches sees the site and the new figure without asking, and not only when the page is due anyway."""
    monkeypatch.setattr("conftrack.web.feed.HEARTBEAT", timedelta(hours=1))
    state = world()
    source = state.sources["pexip-main"]
    observe(source, [leg(1)])
    async with served(state) as url, aiohttp.ClientSession() as client, asyncio.timeout(10):
        parts = events(client, url)
        while 'id="health"' not in await anext(parts):
            pass
        observe(source, [leg(1), leg(2)])
        await state.tell()
        while "Điểm cầu 2" not in await anext(parts):
            pass
        await parts.aclose()


async def test_a_storm_of_changes_is_pushed_once_a_second() -> None:
    """Three thousand sites joining at once do not flood the screens."""
    state = world(sites=100)
    source = state.sources["pexip-main"]
    observe(source, [])

    async def storm() -> None:
        for joined in range(1, 40):
            observe(source, map(leg, range(joined)))
            await state.tell()
            await asyncio.sleep(0.05)

    async with served(state) as url, aiohttp.ClientSession() as client:
        parts = events(client, url)
        while 'id="health"' not in await anext(parts):
            pass
        began = time.monotonic()
        storming = asyncio.create_task(storm())
        pushed = 0
        async with asyncio.timeout(30):
            while 'id="figures"' not in (part := await anext(parts)) or ">39<" not in part:
                pushed += 'id="figures"' in part
        took = time.monotonic() - began
        await storming
        await parts.aclose()

    assert pushed <= took / PACE + 1


async def test_open_pages_do_not_hold_the_server_up() -> None:
    """A restart is not delayed by the screens on the wall."""
    state = world()
    async with aiohttp.ClientSession() as client:
        async with served(state) as url:
            parts = events(client, url)
            await anext(parts)
            began = time.monotonic()
        assert time.monotonic() - began < 10  # the least that a supervisor waits before it kills
        with suppress(StopAsyncIteration, aiohttp.ClientError):
            while True:
                await anext(parts)


# -- in a browser


async def open_page(browser: Browser, url: str, *, width: int = 1280) -> tuple[Page, list[str]]:
    """The page, in English, with a clock that the test winds; and what the browser complains about."""
    page = await browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    await page.clock.install()
    await page.goto(f"{url}/?lang=en")
    await expect(page.locator(".source.fresh").first).to_be_visible()
    return page, complaints


class Wire:
    """Between browser and server: carries every byte, or none while it is held, with no end in sight."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.carries = asyncio.Event()
        self.carries.set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for one, other in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.carries.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def test_the_browser_takes_in_what_changes_and_keeps_what_is_open(browser: Browser) -> None:
    """A join appears in the list that the operator has opened, which stays open and keeps the focus."""
    state = world()
    source = state.sources["pexip-main"]
    observe(source, [leg(1)])
    async with served(state) as url:
        page, complaints = await open_page(browser, url)
        await page.locator("details.meeting summary").click()
        observe(source, [leg(1), leg(2)])
        await state.tell()

        await expect(page.locator(".callers").get_by_text("Điểm cầu 2")).to_be_visible()
        await expect(page.locator(".figure").nth(1)).to_have_text("2")
        await expect(page.locator("details.meeting summary")).to_be_focused()
        await page.close()

    assert complaints == []  # the content security policy above all


async def test_a_dead_server_leaves_no_figure_that_looks_live(browser: Browser) -> None:
    """Ten seconds after the server has gone the page is red by itself; when it is back the page is, too."""
    state = world()
    observe(state.sources["pexip-main"], [leg(1)])
    async with served(state) as url:
        page, _ = await open_page(browser, url)
        await expect(page.locator("#lost")).to_be_hidden()
    await page.clock.fast_forward(11_000)

    await expect(page.locator("#lost")).to_contain_text("Connection to conftrack lost")
    await expect(page.locator("#lost")).to_contain_text("09:32:14")
    await expect(page.locator(".figure")).to_have_text(["—"] * 4)
    await expect(page.locator(".source.fresh")).to_be_hidden()

    observe(state.sources["pexip-main"], [leg(1), leg(2)])
    async with served(state, int(url.rsplit(":", 1)[1])):
        await expect(page.locator(".figure").nth(1)).to_have_text("2", timeout=10_000)
        await expect(page.locator("#lost")).to_be_hidden()
        await page.close()


async def test_a_connection_that_hangs_is_lost_too(browser: Browser) -> None:
    """A line that carries nothing and never breaks off is noticed as well, and recovered from."""
    state = world()
    observe(state.sources["pexip-main"], [leg(1)])
    async with served(state) as far, (wire := Wire(int(far.rsplit(":", 1)[1]))).laid() as url:
        page, _ = await open_page(browser, url)
        wire.carries.clear()
        await page.clock.fast_forward(11_000)
        await expect(page.locator("#lost")).to_be_visible()
        await expect(page.locator(".figure")).to_have_text(["—"] * 4)

        wire.carries.set()
        await expect(page.locator(".figure").nth(1)).to_have_text("1")
        await expect(page.locator("#lost")).to_be_hidden()
        await page.close()


@pytest.mark.parametrize("condition", ["fresh", "stale"])
async def test_the_page_fits_a_phone(browser: Browser, condition: str) -> None:
    """At 375 pixels nothing is cut off to the side, and what is tapped is as large as a finger."""
    state = world("pexip-main", "bbb")
    observe(state.sources["pexip-main"], [leg(1, identity="a" * 80 + "@example.org")], title="Hội nghị " + "x" * 90)
    observe(state.sources["bbb"], [leg(2)], at=NOW if condition == "fresh" else NOW - timedelta(hours=1))
    async with served(state) as url:
        page, _ = await open_page(browser, url, width=375)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 375
        for target in await page.locator("summary, nav a").all():
            box = await target.bounding_box()
            assert box is not None
            assert box["height"] >= 44
        await page.close()
