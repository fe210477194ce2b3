"""The form behind a signed link, as a phone without a login sees it, and the sheet that the links are printed on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from html import unescape
from urllib.parse import urlsplit

import aiohttp
import pytest

from conftrack.config import WebConfig
from conftrack.headcounts.counting import LASTS, Counting
from conftrack.storage.database import Database
from conftrack.web.counts import GUESSES, TRIES
from tests.integration.test_web_login import sign_in, visiting
from tests.integration.test_web_pages import text
from tests.province import NOW, START, USERS, ZONE, Province, a_morning, code

FAR = WebConfig(host="10.0.0.1", users=USERS)


@pytest.fixture
async def province(database: Database) -> Province:
    return await a_morning(database)


async def path_of(province: Province, number: int) -> str:
    """The path of a site's link to the meeting that goes on."""
    counting = Counting(province.database.pool, ZONE, "https://hop.example/")
    [of] = await counting.called(name="giao-ban-1", day=None, now=NOW)
    cards = await counting.cards(of, None)
    [link] = [card.link for card in cards.cards if card.guest.code == code(number)]
    assert link.startswith("https://hop.example/c/")
    return urlsplit(link).path


@asynccontextmanager
async def phone(province: Province, language: str = "en") -> AsyncIterator[aiohttp.ClientSession]:
    """A browser far away, which nobody signed in with, and which keeps no cookie."""
    headers = {"Accept-Language": language}
    async with (
        province.served(FAR) as url,
        aiohttp.ClientSession(url, headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        yield client


async def load(client: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with client.get(path, allow_redirects=False) as page:
        return page.status, text(await page.text())


async def send(client: aiohttp.ClientSession, path: str, **fields: str) -> tuple[int, str]:
    async with client.post(path, data=fields, allow_redirects=False) as page:
        return page.status, page.headers.get("Location") or text(await page.text())


async def stored(province: Province) -> list[tuple[int, str | None]]:
    rows = await province.database.pool.fetch(
        "select people, note from conftrack.headcount where invitation_id is not null order by caller_id"
    )
    return [(row["people"], row["note"]) for row in rows]


# -- typing


async def test_a_site_types_its_number_without_a_login(province: Province) -> None:
    """It sees whose number it is and for what, saves it, sees what is stored, and it counts."""
    path = await path_of(province, 1)
    async with phone(province) as client:
        status, page = await load(client, path)
        assert status == 200
        for said in (
            "Phòng họp UBND xã Tân An", "Giao ban", "giao-ban", "09:00 – 11:00, 24/11/2026",
            "Nothing has been typed yet", "The system records when sites are connected",
        ):  # fmt: skip
            assert said in page
        assert await send(client, path, people=" 25 ", note="cả thôn 2") == (303, path)
        page = (await load(client, path))[1]
        assert "Stored: 25 people, typed at 09:32 (cả thôn 2)" in page
    await province.store.refresh()

    assert await stored(province) == [(25, "cả thôn 2")]
    row = await province.database.pool.fetchrow(
        "select attendees, provenance from conftrack.endpoint_connections where meeting_id = $1 and endpoint = $2",
        province.meetings["Giao ban"], code(1),
    )  # fmt: skip
    assert row is not None
    assert tuple(row) == (25, "reported")


async def test_the_form_speaks_vietnamese_first_and_needs_no_script(province: Province) -> None:
    """No script, no style and no picture that the content security policy would keep out; nothing leads inside."""
    path = await path_of(province, 1)
    async with phone(province, "fr") as client, client.get(path) as page:
        html = await page.text()
        policy = page.headers["Content-Security-Policy"]

    assert "Số người có mặt" in html
    assert "Hệ thống ghi lại thời gian kết nối" in html
    assert "default-src 'self'" in policy
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", html)
    assert set(re.findall(r'(?:href|action|src)="([^"]*)"', html)) == {
        path, f"{path}?lang=vi", f"{path}?lang=en", *re.findall(r'"(/static/[^"]*)"', html),
    }  # fmt: skip


async def test_zero_is_a_number_and_empty_is_none(province: Province) -> None:
    """Zero is stored as a count of zero; an empty field, words, and signs change nothing."""
    path = await path_of(province, 1)
    async with phone(province) as client:
        for wrong in ("", " ", "-1", "1.200", "12 người", "٣", "1e3", "9999999", "²", "\0"):
            status, page = await send(client, path, people=wrong, note="x")
            assert (status, "in digits only" in page) == (422, True)
        assert await send(client, path) == (422, page)
        assert await stored(province) == []
        assert (await send(client, path, people="0"))[0] == 303
        assert "Stored: 0 people" in (await load(client, path))[1]
        assert (await send(client, path, people="", note=""))[0] == 422

    assert await stored(province) == [(0, None)]


async def test_a_number_that_cannot_be_true_is_asked_about(province: Province) -> None:
    """More than ten times the seats: only with the box for just this number; another number is asked about anew."""
    path = await path_of(province, 1)
    async with phone(province) as client:
        status, page = await send(client, path, people="401", note="hội nghị")
        assert status == 422
        assert "401 people: is that right?" in page
        assert "The room has 40 seats." in page
        assert (await send(client, path, people="402", sure="401"))[0] == 422
        assert (await send(client, path, people="401", sure="on"))[0] == 422
        assert await stored(province) == []
        assert (await send(client, path, people="401", sure="401"))[0] == 303
        assert (await send(client, path, people="400"))[0] == 303

    assert await stored(province) == [(400, None)]


async def test_a_note_is_text_and_no_more(province: Province) -> None:
    """Without what cannot be seen, shown as it was typed, and refused when it is a letter."""
    path = await path_of(province, 1)
    async with phone(province) as client:
        assert (await send(client, path, people="5", note="<b>\u202ea\0b\n c</b>"))[0] == 303
        async with client.get(path) as page:
            assert "(&lt;b&gt; a b c&lt;/b&gt;)" in await page.text()
        assert (await send(client, path, people="6", note="x" * 201))[0] == 422
        async with client.post(
            path, data=b"x" * 20_000, headers={"Content-Type": "application/x-www-form-urlencoded"}
        ) as big:
            assert big.status == 413
        async with client.post(path, json={"people": 7}) as other:
            assert other.status == 415
        for charset, data in (("utf-8", b"people=7&note=\xff"), ("none-such", b"people=7")):
            headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
            async with client.post(path, data=data, headers=headers) as garbled:
                assert garbled.status == 400, charset

    assert await stored(province) == [(5, "<b> a b c</b>")]


# -- what is refused


async def test_links_that_are_not_good_say_nothing(province: Province) -> None:
    """Tampered ones, those for what is not there, and made-up ones get one and the same page; nothing is stored."""
    good, other = await path_of(province, 1), await path_of(province, 2)
    said, _, signature = good.rpartition(".")
    wrong = [
        f"{good[:-1]}{'A' if good[-1] != 'A' else 'B'}", f"{said}.{other.rpartition('.')[2]}", f"{good}x",
        f"{good[:3]}9{good[4:]}", "/c/x", "/c/1.1.x", "/c/%00", "/c/" + "a" * 500, f"/c/.{signature}",
        "/c/%F0%9F%92%A9",
    ]  # fmt: skip
    async with phone(province) as client:
        pages = set()
        for path in wrong:
            pages.add(await load(client, path))
            pages.add(await send(client, path, people="5"))
        await province.database.pool.execute(
            "delete from conftrack.expected x using conftrack.endpoint e "
            "where x.endpoint_id = e.endpoint_id and e.code = $1",
            code(2),
        )
        pages.add(await load(client, other))
        pages.add(await send(client, other, people="5"))

    assert len(pages) == 1
    [(status, page)] = pages
    assert status == 404
    assert "This link is not known" in page
    assert "Giao ban" not in page
    assert await stored(province) == []


async def test_a_link_that_has_ended_is_gone(province: Province) -> None:
    """410 from the moment on, for reading and for typing."""
    path = await path_of(province, 1)
    async with phone(province) as client:
        province.now = START + timedelta(hours=2) + LASTS - timedelta(seconds=1)
        assert (await send(client, path, people="5"))[0] == 303
        province.now += timedelta(seconds=1)
        assert (await load(client, path))[0] == 410
        status, page = await send(client, path, people="6")

    assert (status, "This link has ended" in page, "Giao ban" in page) == (410, True, False)
    assert await stored(province) == [(5, None)]


async def test_after_the_month_is_closed_the_number_is_shown_and_stays(province: Province) -> None:
    """403 with what is stored, and no form."""
    path = await path_of(province, 1)
    async with phone(province) as client:
        assert (await send(client, path, people="5"))[0] == 303
        await province.database.pool.execute(
            "insert into conftrack.report (month, since, until, closed_at, closed_by, figures) "
            "values ($1, $1, $2, $3, 'lan', '')",
            date(2026, 11, 1), date(2026, 12, 1), NOW,
        )  # fmt: skip
        for status, page in (await load(client, path), await send(client, path, people="6")):
            assert status == 403
            assert "Stored: 5 people" in page
            assert "is closed" in page
            assert "Number of people present" not in page

    assert await stored(province) == [(5, None)]


async def test_one_link_may_be_tried_so_often_and_no_other_suffers(province: Province) -> None:
    """429 after many requests for one link; another site's link, from the same address, works."""
    path, other = await path_of(province, 1), await path_of(province, 2)
    async with phone(province) as client:
        answers = [(await send(client, path, people=str(n)))[0] for n in range(TRIES + 1)]
        assert answers == [303] * TRIES + [429]
        async with client.get(path) as page:
            assert (page.status, page.headers["Retry-After"]) == (429, "60")
        assert (await load(client, other))[0] == 200

    assert await stored(province) == [(TRIES - 1, None)]


async def test_guessing_is_limited_and_shuts_nobody_out(province: Province) -> None:
    """429 after many wrong links from an address; who has a link there too, as behind a proxy, still types."""
    path = await path_of(province, 1)
    async with phone(province) as client:
        answers = [(await load(client, f"/c/1.{n}.aaaa"))[0] for n in range(GUESSES + 1)]
        assert answers == [404] * GUESSES + [429]
        assert (await send(client, path, people="8"))[0] == 303

    assert await stored(province) == [(8, None)]


async def test_no_link_number_or_note_is_in_the_log(province: Province, caplog: pytest.LogCaptureFixture) -> None:
    """At any level."""
    caplog.set_level(0)
    path = await path_of(province, 1)
    async with phone(province) as client:
        await send(client, path, people="4711", note="Nguyễn Văn Kín", sure="4711")
        await load(client, "/c/geheim")

    for secret in (path[3:], "4711", "Kín", "geheim"):
        # (The test's own server logs requests; `conftrack run` does not: access_log=None.)
        assert not [r for r in caplog.records if secret in r.getMessage() and r.name != "aiohttp.access"]


# -- the sheet


async def test_operators_print_the_sheet(province: Province) -> None:
    """From the meeting's page, a card for each expected site; viewers, and who has not signed in, do not."""
    meeting = province.meetings["Giao ban"]
    async with province.served(FAR) as url, visiting(url) as client:
        assert (await sign_in(client))[0] == 303
        async with client.get(f"/meetings/{meeting}") as page:
            [address] = re.findall(r'href="(/counts/[^"]*)"', await page.text())
        async with client.get("/absent") as page:
            assert address in unescape(await page.text())
        async with client.get(unescape(address)) as page:
            html = await page.text()
            assert page.status == 200
        assert (await load(client, "/counts/999"))[0] == 404
        assert (await load(client, "/counts/1?day=morgen"))[0] == 422
    async with province.served(FAR) as url, visiting(url) as client:
        assert (await sign_in(client, name="vy"))[0] == 303
        async with client.get(f"/meetings/{meeting}") as page:
            assert "/counts/" not in await page.text()
        async with client.get(address) as page:
            assert page.status == 403
    async with province.served() as url, visiting(url) as client, client.get(address) as page:
        assert page.status == 403

    assert html.count("<svg") == 9
    assert "Hội trường UBND tỉnh" in html
    assert "http://localhost:8080/c/" in html
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", html)
