"""The pages of monthly reports and what is downloaded from them, over HTTP, on a real database."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape
from io import BytesIO
from pathlib import Path

import docx
import msgspec
import openpyxl
import pypdfium2
import pytest

from conftrack.config import ReportConfig, WebConfig
from conftrack.model import Endpoint, Headcount, LegRecord, MeetingRecord, OrgUnit, Origin, Page
from conftrack.report.forms import FORMS, MEDIA_TYPES
from conftrack.report.keeper import Reports
from conftrack.report.model import Closed, Report, Scope
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.inventory import Inventory
from conftrack.storage.store import Store
from tests.integration.test_web_login import FAR, sign_in, status, visiting
from tests.province import NASTY, NOW, USERS, ZONE, Province, a_morning, alias, code

OCTOBER = date(2026, 10, 1)
FORMULA = "=cmd|' /C calc'!A1"


@pytest.fixture
async def province(database: Database) -> Province:
    """A morning of November, and a meeting of five sites on 5 October."""
    made = await a_morning(database)
    await hold(made.store, "october", datetime(2026, 10, 5, 1, tzinfo=UTC), range(1, 6))
    return made


async def hold(
    store: Store, name: str, start: datetime, sites: range, *, source: str = "pexip-main", title: str = NASTY
) -> None:
    """A meeting of so many sites, one connection each, with 30 people at the first."""
    end = start + timedelta(minutes=90)
    page = Page(
        stream="participant", origin=Origin.HISTORY, observed_at=NOW, position=NOW,
        meetings=(MeetingRecord(external_id=name, room=name, title=title, started_at=start, ended_at=end),),
        legs=tuple(
            LegRecord(external_id=f"{name}-{site}", room=name, meeting=name, identity=alias(site), joined_at=start,
                      left_at=end, end_class="left")
            for site in sites
        ),
        headcounts=(Headcount(room=name, at=start, endpoint=alias(sites[0]), people=30, provenance="reported"),),
    )  # fmt: skip
    await store.store(await store.register(source, "pexip"), page, now=NOW)
    await store.refresh()


def reports(province: Province, *sources: str, **config: object) -> Reports:
    return Reports(
        province.database.pool, timezone=ZONE, clock=lambda: province.now,
        config=ReportConfig(**config),  # type: ignore[arg-type]
        sources=sources or ("pexip-main",),
    )  # fmt: skip


def text(html: str) -> str:
    """What a reader sees, one line; SVG and choices left out."""
    body = re.sub(r"<(svg|select).*?</\1>", " ", html[html.index("<main") :], flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


async def page(province: Province, path: str, language: str = "en", keeper: Reports | None = None) -> str:
    headers = {"Accept-Language": language}
    async with province.served(reports=keeper) as url, visiting(url, **headers) as client, client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


async def download(province: Province, path: str, keeper: Reports | None = None) -> bytes:
    async with province.served(reports=keeper) as url, visiting(url) as client, client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


def figure(html: str, name: str) -> str:
    """The value of the month, as it is written in the table of a figure."""
    found = re.search(rf'<tr data-figure="{name}"><th scope="row">[^<]*</th>\s*<td class="number">([^<]*)</td>', html)
    assert found is not None, name
    return found[1]


# -- the list


async def test_the_list_tells_of_every_month_how_far_it_is(province: Province) -> None:
    """The one that goes on, those that are over, and what was closed, by whom, with its addenda; each leads to its
    page and its files."""
    keeper = reports(province)
    closed = await keeper.close(OCTOBER, "Nguyễn <Thị> Lan")
    await hold(province.store, "late", datetime(2026, 10, 6, 1, tzinfo=UTC), range(1, 3))
    await keeper.amend(OCTOBER, "truc")
    await hold(province.store, "september", datetime(2026, 9, 6, 1, tzinfo=UTC), range(1, 3))

    html = await page(province, "/reports")
    said = text(html)

    assert "November 2026 provisional: the month is open" in said
    at = closed.closed_at.astimezone(ZONE)
    assert f"October 2026 closed at {at:%H:%M %d/%m/%Y} by Nguyễn <Thị> Lan 1 PDF DOCX XLSX" in said
    assert "September 2026 provisional: not closed" in said
    assert "August" not in said
    assert '<a href="/reports/2026-10">' in html
    assert 'href="/reports/2026-10.pdf?lang=en"' in html
    assert "Tháng Trạng thái" in text(await page(province, "/reports?lang=vi"))


async def test_an_empty_database_has_a_list_and_no_report(database: Database) -> None:
    store = Store(database.pool, ZONE)
    await store.adopt_timezone()
    province = await a_morning(database)
    await database.pool.execute("truncate conftrack.meeting, conftrack.usage_day cascade")

    assert "No meeting is known yet." in text(await page(province, "/reports"))
    async with province.served() as url, visiting(url) as client:
        assert await status(client, "/reports/2026-11") == 404


# -- a month


async def test_an_open_month_says_that_it_is_provisional(province: Province) -> None:
    """In its title, at its head, and that nothing is compared; a month that is over says that nobody closed it."""
    november = text(await page(province, "/reports/2026-11"))
    assert "November 2026 (provisional: the month is open)" in november
    assert "PROVISIONAL: the month is open; as of 09:32 24/11/2026" in november
    october = text(await page(province, "/reports/2026-10"))
    assert "PROVISIONAL: not closed; as of 09:32 24/11/2026" in october
    assert "tạm tính: số liệu chưa chốt" in text(await page(province, "/reports/2026-10?lang=vi"))


async def test_a_closed_month_shows_what_was_signed_and_beside_it_what_came_late(province: Province) -> None:
    """The figures stay; each that changed stands in the addendum, before and after; today's tree is the facts as they
    are now."""
    keeper = reports(province)
    signed = await keeper.close(OCTOBER, "lan")
    await hold(province.store, "late", datetime(2026, 10, 6, 1, tzinfo=UTC), range(1, 4))
    html = await page(province, "/reports/2026-10")
    assert (figure(html, "meetings"), figure(html, "attendees")) == ("1", "34")
    assert f"SHA-256 of the figures: {signed.digest}" in text(html)
    assert "provisional" not in text(html).lower()
    assert "Addend" not in text(html)

    addendum = await keeper.amend(OCTOBER, "truc")
    assert addendum is not None
    html = await page(province, "/reports/2026-10")
    said = text(html)
    assert (figure(html, "meetings"), figure(html, "attendees")) == ("1", "34")
    assert "corrected by 1 addenda" in said
    assert "Addendum 1 of" in said
    table = text("<main>" + html[html.index('id="table-addendum_1"') :].split("</table>")[0])
    for line in ("Meetings 1 2", "Endpoint connections 5 8", "People 34 66", "Meeting hours 1.5 3.0"):
        assert f" {line} " in f"{table} "
    assert "Meetings by size: 2 to 9 endpoints 1 2" in table
    assert "When meetings begin: Tue 08–09 0 1" in table
    details = text("<main>" + html[html.index('id="table-details_1"') :].split("</table>")[0])
    assert "Xã Tân An Endpoint connections 1 2" in details
    assert "PT-01 Phòng họp UBND xã Tân An People 30 60" in details
    assert f"{NASTY}, 08:00 06/10/2026 Ended — 09:30 06/10/2026" in details
    assert f"{NASTY}, 08:00 06/10/2026 Kind — unplanned" in details
    assert not re.search(r"\d{4}-\d{2}-\d{2}T| / |[a-z]_[a-z]", details)

    today = await page(province, "/reports/2026-10?tree=today")
    assert figure(today, "meetings") == "2"
    assert "PROVISIONAL: not closed" in text(today)
    assert "Units are those of today" in text(today)


async def test_a_unit_and_a_source_have_reports_of_their_own(province: Province) -> None:
    """Of a unit with all below it, of a source, of both; what was chosen stays chosen, in the downloads too."""
    keeper = reports(province, "pexip-main", "other")
    await hold(province.store, "elsewhere", datetime(2026, 10, 7, 1, tzinfo=UTC), range(2, 4), source="other")
    for asked, connections in {"": "7", "unit=X2": "2", "source=other": "2", "unit=X1&source=pexip-main": "1",
                               "unit=X1&source=other": "0"}.items():  # fmt: skip
        html = await page(province, f"/reports/2026-10?{asked}", keeper=keeper)
        assert figure(html, "endpoint_connections") == connections, asked

    html = await page(province, "/reports/2026-10?unit=X2&tree=today", keeper=keeper)
    assert '<option value="X2" selected>' in html
    assert 'href="/reports/2026-10.pdf?unit=X2&amp;tree=today&amp;lang=en"' in html
    assert "Xã Lý Nhân and all units below it" in text(html)
    assert "Xã Tân An" not in text(html)


async def test_units_follow_the_tree_of_the_day_or_todays(province: Province) -> None:
    """A commune that merged on 1 November stands in the report of October, and in none on today's tree."""
    pool = province.database.pool
    known = await inventory.load(pool)
    merged = [
        msgspec.structs.replace(one, valid_to=date(2026, 11, 1), successors=("X2",)) if one.code == "X1" else one
        for one in known.units
    ]
    await inventory.apply(pool, known, Inventory.of(merged, known.endpoints))

    then = text(await page(province, "/reports/2026-10"))
    today = text(await page(province, "/reports/2026-10?tree=today"))

    assert "Xã Tân An" in then
    assert "Xã Tân An 1" not in today
    assert "Xã Lý Nhân 1 2 2 31" in today


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/reports/2026-13", 404, "There is no month “2026-13”. There are: 2026-10 – 2026-11"),
        ("/reports/2026-1", 404, "There is no month “2026-1”."),
        ("/reports/2026-12", 404, "There is no month “2026-12”."),
        ("/reports/2001-01", 404, "There is no month “2001-01”."),
        ("/reports/٢٠٢٦-10.pdf", 404, "There is no month"),
        ("/reports/2026-10.odt", 404, "There is no form “odt”. There are: html, pdf, docx, xlsx, json"),
        ("/reports/2026-10?unit=X99", 422, "There is no unit “X99”."),
        ("/reports/2026-10.pdf?unit=X99", 422, "There is no unit “X99”."),
        ("/reports/2026-10?source=zoom", 422, "There is no source “zoom”. There are: pexip-main"),
        ("/reports/2026-10?tree=old", 422, "There is no tree “old”. There are: then, today"),
        ("/reports/2026-10?month=2026-09", 422, "There is no filter “month”. There are: unit, source, tree"),
        ("/reports?unit=X1", 422, "There is no filter “unit”."),
        ("/reports/2026-10?unit=X1&unit=X2", 422, "“unit” is given more than once."),
    ],
)
async def test_what_cannot_be_is_refused(province: Province, path: str, code: int, says: str) -> None:
    """With what there is; never figures of something else, nor zeros of a time of which nothing is known."""
    async with province.served() as url, visiting(url) as client, client.get(path) as answer:
        assert answer.status == code
        assert says in text(await answer.text())


async def test_long_lists_are_cut_on_the_page_and_whole_in_the_file(database: Database) -> None:
    """A page opens on a phone, however many endpoints there are; short lists stay whole beside a long one."""
    province = await a_morning(database, communes=4)
    many = [Endpoint(code=f"DC{number:04}", name=f"Điểm {number}", org="X1") for number in range(1500)]
    await inventory.put(database.pool, [], many)
    html = await page(province, "/reports/2026-11")

    assert html.count("Điểm 7") < 300
    assert "Rows: 1,505" in text(html)
    assert re.search(r"The first [\d,]+ of 1,505; the spreadsheet has them all\.", text(html))
    assert len(html) < 600_000
    assert "Giao ban" in html
    whole = (await download(province, "/reports/2026-11.html")).decode()
    assert all(f"Điểm {number}<" in whole for number in range(1500))


# -- files


async def test_every_file_has_its_type_its_name_and_its_language(province: Province) -> None:
    async with province.served() as url, visiting(url) as client:
        for form in FORMS:
            async with client.get(f"/reports/2026-10.{form}?unit=X1&lang=vi") as answer:
                assert (answer.status, answer.content_type) == (200, MEDIA_TYPES[form]), form
                named = answer.headers["Content-Disposition"]
                assert named == f'attachment; filename="conftrack-2026-10-X1.{form}"'
                assert answer.headers["Cache-Control"] == "no-store"


async def test_the_figures_of_every_file_are_those_of_the_page(province: Province) -> None:
    """Each opened with a reader of its kind."""
    await reports(province).close(OCTOBER, "lan")
    html = await page(province, "/reports/2026-10", "vi")
    title, people = "Tình hình sử dụng hệ thống hội nghị trực tuyến tháng 10 năm 2026", figure(html, "attendees")
    assert (title in text(html), people) == (True, "34")

    with pypdfium2.PdfDocument(await download(province, "/reports/2026-10.pdf?lang=vi")) as pdf:
        said = re.sub(r"\s+", " ", " ".join(one.get_textpage().get_text_bounded() for one in pdf))
    assert title in said
    assert f"Đại biểu {people} " in said

    letter = docx.Document(BytesIO(await download(province, "/reports/2026-10.docx?lang=vi")))
    assert title in [one.text for one in letter.paragraphs]
    rows = [[cell.text for cell in row.cells] for table in letter.tables for row in table.rows]
    assert ["Đại biểu", people] in [row[:2] for row in rows]

    book = openpyxl.load_workbook(BytesIO(await download(province, "/reports/2026-10.xlsx?lang=vi")))
    cells = [row[:2] for sheet in book for row in sheet.iter_rows(values_only=True)]
    assert ("Đại biểu", int(people)) in cells
    assert [sheet.freeze_panes for sheet in book.worksheets[1:-1]] == ["B2"] * (len(book.worksheets) - 2)

    figures = msgspec.json.decode(await download(province, "/reports/2026-10.json"), type=Closed).report.of()
    for name in ("meetings", "legs", "endpoint_connections", "endpoints", "attendees", "failed_connections"):
        assert figure(html, name) == str(getattr(figures, name)), name

    alone = (await download(province, "/reports/2026-10.html?lang=vi")).decode()
    assert f"<title>{title}</title>" in alone
    assert figure(alone, "attendees") == people
    assert not re.search(r"<script|<link|https?://(?!www\.w3\.org/)", alone)


async def test_json_of_a_unit_is_of_nobody_else(province: Province) -> None:
    made = await download(province, "/reports/2026-10.json?unit=X2")

    assert msgspec.json.decode(made, type=Report).of(Scope(unit="X2")).endpoint_connections == 1
    assert b"PT-01" not in made


async def test_names_are_never_formulas_nor_markup(province: Province) -> None:
    """Of a unit, an endpoint and a meeting: text in a spreadsheet, though somebody edits its cell; text on a page."""
    await inventory.put(
        province.database.pool, [OrgUnit(code="X1", name=FORMULA, parent="PT", level=1)],
        [Endpoint(code=code(1), name=f"{FORMULA} {NASTY}", org="X1", aliases=(alias(1),))],
    )  # fmt: skip
    await hold(province.store, "formula", datetime(2026, 10, 8, 1, tzinfo=UTC), range(1, 3), title=FORMULA)
    book = openpyxl.load_workbook(BytesIO(await download(province, "/reports/2026-10.xlsx")))
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    nasty = [cell for cell in cells if str(cell.value).startswith("=cmd")]

    assert {cell.data_type for cell in cells} <= {"s", "n", "d"}
    assert {cell.parent.title for cell in nasty} >= {"Use by unit", "Every endpoint", "Every meeting"}
    assert all(cell.quotePrefix for cell in nasty)

    for path in ("/reports/2026-10", "/reports/2026-10?unit=X1", "/reports/2026-10.html"):
        html = (await download(province, path)).decode()
        assert "<script>alert" not in html
        assert "&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html


async def test_a_broken_template_is_told_and_the_other_forms_go_on(
    province: Province, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """503 and words on the page, which form and which others there are; the log names the file and what is wrong."""
    template = tmp_path / "letter.docx"
    broken = docx.Document()
    broken.add_paragraph("{{ titel }}")
    broken.save(str(template))
    async with (
        province.served(letterhead=ReportConfig(template=template)) as url,
        visiting(url) as client,
    ):
        async with client.get("/reports/2026-10.docx") as answer:
            said = text(await answer.text())
            assert answer.status == 503
        assert await status(client, "/reports/2026-10.xlsx") == 200

    assert "could not be made as DOCX. The log of the service says why. There are also: HTML, PDF, XLSX, JSON" in said
    assert str(tmp_path) not in said
    assert f"the template {template} cannot be filled ('titel' is undefined): correct it, or start again" in caplog.text


# -- who reads


async def test_reports_are_read_by_those_who_read_the_other_pages(province: Province) -> None:
    """On this machine without signing in; elsewhere behind the login, which leads back; files no less than pages."""
    paths = ("/reports", "/reports/2026-10?unit=X1", "/reports/2026-10.json")
    async with province.served(WebConfig(users=USERS)) as url, visiting(url) as client:
        assert [await status(client, path) for path in paths] == [200, 200, 200]
    async with province.served(FAR) as url, visiting(url) as client:
        for path in paths:
            async with client.get(path, allow_redirects=False) as answer:
                assert answer.status == 303
                assert answer.headers["Location"].startswith("/login?next=")
        assert await sign_in(client, "vy", way_on=paths[2]) == (303, paths[2])
        assert [await status(client, path) for path in paths] == [200, 200, 200]
