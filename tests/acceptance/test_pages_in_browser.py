"""The pages in a real browser: every one fits a phone and complains of nothing, and an operator's work gets done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from conftrack.storage.database import Database
from tests.province import NASTY, PASSWORD, Province, a_morning, some_incidents


@pytest.fixture
async def province(database: Database) -> Province:
    made = await a_morning(database)
    await some_incidents(made)
    return made


class Visit:
    """A browser's window on the pages, and what the browser complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))

    async def sign_in(self, url: str, way_on: str) -> None:
        await self.page.goto(f"{url}/login?next={way_on}&lang=en")
        await self.page.fill("input[name=name]", "lan")
        await self.page.fill("input[name=password]", PASSWORD)
        await self.page.click("main button")


@pytest.fixture
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    context = await browser.new_context(viewport={"width": 360, "height": 780})
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield Visit(await context.new_page())
    await context.close()


async def test_every_page_fits_a_phone(province: Province, visit: Visit) -> None:
    """At 360 pixels nothing is cut off to the side, in either language, with forms open and with long words; what is
    tapped is as large as a finger; and the content security policy stops nothing of ours."""
    await province.database.pool.execute(
        "update conftrack.endpoint set name = name || repeat(' Trung tâm', 8) || repeat('x', 80) where code = 'PT-02'"
    )
    meetings = [f"/meetings/{number}" for number in province.meetings.values()]
    paths = [
        "/",
        "/endpoints",
        "/endpoints/PT-02",
        "/incidents",
        "/absent",
        "/usage",
        "/usage?unit=X1",
        "/reports",
        "/reports/2026-11",
        "/reports/2026-11?unit=X2&tree=today",
        "/login",
        *meetings,
    ]
    async with province.served() as url:
        await visit.sign_in(url, "/incidents")
        for path in paths:
            for language in ("en", "vi"):
                await visit.page.goto(f"{url}{path}{'&' if '?' in path else '?'}lang={language}")
                await visit.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
                width = await visit.page.evaluate("document.documentElement.scrollWidth")
                assert width <= 360, (path, language)
            for target in await visit.page.locator("summary, nav a, button, input:not([type=hidden]), select").all():
                box = await target.bounding_box()
                assert box is None or box["height"] >= 44, (path, await target.inner_text())

    assert visit.complaints == []


async def test_an_operator_works_through_an_incident(province: Province, visit: Visit) -> None:
    """From a link in an alert over the login to the incident: acknowledged, noted, and back at the same place."""
    async with province.served() as url:
        await visit.sign_in(url, "/incidents")
        incident = visit.page.locator("li.incident", has_text="Sơn Dương").first
        await incident.get_by_text("Act", exact=True).click()
        await incident.get_by_role("button", name="Acknowledge").click()
        await expect(incident).to_contain_text("acknowledged by lan, 09:32")
        assert "#i" in visit.page.url

        await incident.get_by_text("Act", exact=True).click()
        await incident.get_by_label("Note").fill(NASTY)
        await incident.get_by_role("button", name="Write").click()
        await expect(incident).to_contain_text(NASTY)

        await visit.page.get_by_role("button", name="Sign out").click()
        await visit.page.goto(f"{url}/incidents")
        await expect(visit.page.get_by_text("Act", exact=True)).to_have_count(0)

    assert visit.complaints == []


async def test_the_absent_are_copied_as_plain_text(province: Province, visit: Visit) -> None:
    """One press puts the list on the clipboard, to be pasted into Zalo."""
    async with province.served() as url:
        await visit.page.goto(f"{url}/absent?lang=en")
        await visit.page.get_by_role("button", name="Copy the text for Zalo or SMS").click()
        await expect(visit.page.get_by_role("button", name="Copied")).to_be_visible()
        copied = await visit.page.evaluate("navigator.clipboard.readText()")

    assert copied.startswith("ABSENT (3) – Giao ban, 09:00")
    assert "Tam Đảo: Trần Thị 7 0912 000 007" in copied
    assert "<" not in copied


async def test_paper_has_the_list_and_nothing_to_press(province: Province, visit: Visit) -> None:
    """Printed, the absent list is names and numbers."""
    async with province.served() as url:
        await visit.page.emulate_media(media="print")
        await visit.page.goto(f"{url}/absent?lang=en")

        await expect(visit.page.get_by_text("0912 000 007").first).to_be_visible()
        await expect(visit.page.locator("button, nav").locator("visible=true")).to_have_count(0)


async def test_a_printed_month_has_its_definitions_and_nothing_to_press(province: Province, visit: Visit) -> None:
    """On paper every figure's definition can be read, though nobody opened it; the charts are there, forms are not."""
    async with province.served() as url:
        await visit.page.goto(f"{url}/usage?lang=en")
        definition = visit.page.locator(".definitions dd").first
        await expect(definition).not_to_be_visible()
        await visit.page.emulate_media(media="print")

        await expect(definition).to_be_visible()
        assert await visit.page.locator("svg.chart").locator("visible=true").count() == 6
        await expect(visit.page.locator("form, nav, summary").locator("visible=true")).to_have_count(0)

    assert visit.complaints == []


async def test_a_printed_report_has_its_tables_and_nothing_to_press(province: Province, visit: Visit) -> None:
    """On paper what is folded on a screen is there: lists and definitions; forms, links to files and contents are not.
    A table that is pushed sideways on a phone is whole."""
    async with province.served() as url:
        await visit.page.goto(f"{url}/reports/2026-11?lang=en")
        await visit.page.get_by_text("Contents").click()
        await visit.page.get_by_role("link", name="Every meeting").click()
        await expect(visit.page.get_by_role("heading", name="Every meeting")).to_be_in_viewport()
        await visit.page.emulate_media(media="print")

        await expect(
            visit.page.locator("form, nav, summary, .contents, .downloads").locator("visible=true")
        ).to_have_count(0)
        await expect(visit.page.locator("#table-meetings")).to_contain_text("Giao ban")
        assert await visit.page.locator("svg.chart").locator("visible=true").count() >= 5
        hidden = await visit.page.evaluate(
            "[...document.querySelectorAll('.report td')].filter(cell => !cell.checkVisibility()).length"
        )
        assert hidden == 0

        await visit.page.goto(f"{url}/reports?lang=en")
        await expect(visit.page.get_by_text("provisional: the month is open")).to_be_visible()
        await expect(visit.page.locator("form, nav, button, .downloads").locator("visible=true")).to_have_count(0)

    assert visit.complaints == []


async def test_a_report_by_itself_obeys_its_own_policy(province: Province, visit: Visit, tmp_path: Path) -> None:
    """The HTML that is downloaded, opened from a disk: dressed, whole, fitting a phone, and complaining of nothing."""
    async with province.served() as url:
        await visit.page.goto(f"{url}/reports/2026-11?lang=vi")
        async with visit.page.expect_download() as started:
            await visit.page.get_by_role("link", name="HTML").click()
        download = await started.value
        assert download.suggested_filename == "conftrack-2026-11.html"
        await download.save_as(tmp_path / download.suggested_filename)
    await visit.page.goto((tmp_path / download.suggested_filename).as_uri())
    await visit.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")

    await expect(visit.page.get_by_role("heading", level=1)).to_contain_text("tháng 11 năm 2026")
    assert await visit.page.evaluate("getComputedStyle(document.querySelector('.total > *')).fontWeight") == "600"
    assert await visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert visit.complaints == []
