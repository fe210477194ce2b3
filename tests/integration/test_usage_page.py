"""The usage page: its figures are the views', what is not known is not zero, and nothing is compared that cannot be."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape
from xml.etree import ElementTree

import asyncpg
import pytest
from babel.numbers import format_decimal

from conftrack.charts import bars
from conftrack.model import Headcount, LegRecord, MeetingRecord, Origin, Page
from conftrack.state import SourceState, State
from conftrack.storage.database import Database
from conftrack.storage.deriving import count_incidents
from conftrack.storage.queries import query
from conftrack.storage.store import Store
from tests.integration.test_web_login import visiting
from tests.province import NASTY, NOW, ZONE, Province, a_morning, alias, some_incidents

FIGURES = (
    "legs", "endpoint_connections", "endpoints", "attendees", "meetings", "meeting_seconds", "leg_seconds", "peak_legs",
    "failed_connections", "incidents",
)  # fmt: skip
#: When meetings were held before, the sites 1, 2, ... of each, and a site that tried in vain.
PAST = {"2025-10-20": 2, "2025-11-03": 3, "2026-09-01": 2, "2026-10-05": 5, "2026-10-31": 3}


@pytest.fixture
async def province(database: Database) -> Province:
    """A morning, and a year behind it: meetings from 08:00 to 10:30 local time, with an hour's gap for site 1."""
    made = await a_morning(database)
    for number, (day, sites) in enumerate(PAST.items()):
        await hold(made.store, f"past-{number}", datetime.fromisoformat(f"{day}T01:00Z"), sites)
    await made.store.refresh()
    return made


async def hold(store: Store, name: str, start: datetime, sites: int, source: str = "pexip-main") -> None:
    end = start + timedelta(minutes=150)
    legs = [
        LegRecord(external_id=f"{name}-{site}", room=name, meeting=name, identity=alias(site), joined_at=start,
                  left_at=end, end_class="left")
        for site in range(1, sites + 1)
    ]  # fmt: skip
    legs += [
        LegRecord(external_id=f"{name}-again", room=name, meeting=name, identity=alias(1),
                  joined_at=end - timedelta(minutes=30), left_at=end, end_class="left"),
        LegRecord(external_id=f"{name}-vain", room=name, meeting=name, identity=alias(7), left_at=start,
                  end_class="no_answer"),
    ]  # fmt: skip
    page = Page(
        stream="participant", origin=Origin.HISTORY, observed_at=NOW,
        meetings=(MeetingRecord(external_id=name, room=name, title=NASTY, started_at=start, ended_at=end),),
        legs=tuple(legs),
        headcounts=(Headcount(room=name, at=start, endpoint=alias(1), people=30, provenance="reported"),),
    )  # fmt: skip
    await store.store(await store.register(source, "pexip"), page, now=NOW)


async def page_of(province: Province, path: str, language: str = "en") -> str:
    headers = {"Accept-Language": language}
    async with province.served() as url, visiting(url, **headers) as client, client.get(path) as page:
        assert page.status == 200, await page.text()
        return await page.text()


def text(html: str) -> str:
    """What a reader sees, one line; SVG and closed choices left out."""
    body = re.sub(r"<(svg|select).*?</\1>", " ", html[html.index("<main") :], flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def tiles(html: str) -> dict[str, str]:
    """The large figures as they are written."""
    found = re.findall(r'data-figure="(\w+)">.*?<dd class="figure">(.*?)</dd>', html, re.DOTALL)
    return dict(found)


def compared(html: str, figure: str) -> list[str]:
    """What stands beside a figure: the month and the year before."""
    tile = html[html.index(f'data-figure="{figure}"') :]
    return [text(f"<main>{line}").strip() for line in re.findall(r'"compared">(.*?)</dd>', tile, re.DOTALL)[:2]]


def written(row: asyncpg.Record) -> dict[str, str]:
    return {
        name: format_decimal(round(row[name] / 3600) if "seconds" in name else row[name], locale="en")
        for name in FIGURES
    }


async def row_of(province: Province, month: date, source: str | None = None, org: str | None = None) -> asyncpg.Record:
    row = await province.database.pool.fetchrow(
        "select * from conftrack.usage_monthly "
        "where month = $1 and source is not distinct from $2 and org is not distinct from $3",
        month, source, org,
    )  # fmt: skip
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("asked", "source", "org"),
    [
        ("", None, None),
        ("&unit=PT", None, "PT"),
        ("&unit=X3", None, "X3"),
        ("&source=pexip-main", "pexip-main", None),
        ("&source=janus&unit=X2", "janus", "X2"),
    ],
)
async def test_every_figure_is_that_of_the_view(
    province: Province, asked: str, source: str | None, org: str | None
) -> None:
    """For everything, a source, a unit with all below it, and both."""
    await hold(province.store, "other", datetime(2026, 10, 7, 1, tzinfo=UTC), 4, source="janus")
    await province.store.refresh()
    html = await page_of(province, f"/usage?month=2026-10{asked}")

    row = await row_of(province, date(2026, 10, 1), source, org)
    assert tiles(html) == written(row)
    assert row["attendees"] > row["endpoints"] or org is not None


async def test_a_whole_month_stands_beside_the_month_and_the_year_before(province: Province) -> None:
    """With a percentage where both are known whole, without one where the other is not or had nothing."""
    html = await page_of(province, "/usage?month=2026-10")
    assert compared(html, "meetings") == ["09/2026: 1 (+100%)", "10/2025: 1 (in part)"]  # known since 20 October 2025
    assert compared(html, "endpoint_connections") == ["09/2026: 2 (+300%)", "10/2025: 2 (in part)"]

    html = await page_of(province, "/usage?month=2026-09")
    assert compared(html, "meetings") == ["08/2026: 0", "09/2025: no data"]


async def test_an_open_month_is_marked_and_compared_with_nothing(province: Province) -> None:
    """It is what comes without asking; the others' figures are there, a percentage is not."""
    html = await page_of(province, "/usage")

    assert "The month is still open: counted up to 09:32 on 24/11/2026" in text(html)
    assert tiles(html) == written(await row_of(province, date(2026, 11, 1)))
    assert compared(html, "meetings") == ["10/2026: 2", "11/2025: 1"]
    assert html.count("rect partial") == 6  # this month, and today, in each chart
    assert "still open" not in text(await page_of(province, "/usage?month=2026-10"))


async def test_what_was_before_the_first_meeting_is_not_known(province: Province) -> None:
    """No figure, no zero, no chart of days; a month that was seen and had nothing is zero."""
    before = await page_of(province, "/usage?month=2025-09")
    assert set(tiles(before).values()) == {"—"}
    assert "Nothing is known of this month." in text(before)
    assert "<svg" not in before

    first = await page_of(province, "/usage?month=2025-10")
    assert tiles(first)["meetings"] == "1"
    assert "the first meeting that is known was on 20/10/2025" in text(first)

    empty = await page_of(province, "/usage?month=2026-08")
    assert set(tiles(empty).values()) == {"0"}
    assert "No meeting began in this month." in text(empty)


async def test_what_was_not_read_yet_is_not_known(province: Province) -> None:
    """A source that fell silent in November: November is known up to then, December not at all."""
    province.now = datetime(2026, 12, 5, 3, tzinfo=UTC)
    november = await page_of(province, "/usage?month=2026-11")
    assert "it is known up to 09:32 on 24/11/2026." in text(november)
    assert compared(november, "meetings")[0] == "10/2026: 2"

    december = await page_of(province, "/usage")
    assert set(tiles(december).values()) == {"—"}
    assert compared(december, "meetings")[0] == "11/2026: 2 (in part)"


async def test_gaps_and_sources_that_were_never_read_are_told(province: Province) -> None:
    """What nobody saw is not in the figures, and the page says so."""
    await province.database.pool.execute(
        "delete from conftrack.cursor where stream <> 'live'"
    )  # no history tells later
    await province.database.pool.execute(
        "insert into conftrack.blindness (source_id, since, until) select source_id, $1, $2 from conftrack.source",
        datetime(2026, 9, 30, 16, tzinfo=UTC), datetime(2026, 9, 30, 19, 30, tzinfo=UTC),
    )  # fmt: skip
    province.state.sources["janus"] = SourceState(name="janus", kind="janus", live_interval=timedelta(seconds=10))

    october = text(await page_of(province, "/usage?month=2026-10"))
    assert "pexip-main could not be seen for 2 hrs 30 mins;" in october  # from midnight of the month on
    assert "Without janus, which has never been read." in october
    assert "could not be seen" not in text(await page_of(province, "/usage?month=2026-11"))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("month=2026-13", "There is no month “2026-13”."),
        ("month=2026-12", "There is no month “2026-12”."),
        ("month=10", "There is no month “10”."),
        ("unit=X99", "There is no unit “X99”."),
        ("source=zoom", "There is no source “zoom”. There are: pexip-main"),
        ("org=PT", "There is no filter “org”. There are: month, source, unit"),
        ("month=2026-10&month=2026-09", "“month” is given more than once."),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(province: Province, asked: str, says: str) -> None:
    """422 and what there is, never figures of something else."""
    async with province.served() as url, visiting(url) as client, client.get(f"/usage?{asked}") as page:
        assert page.status == 422
        assert says in text(await page.text())


async def test_units_are_ranked_and_add_up(province: Province) -> None:
    """The busiest first, each leading to its own figures; with what is in no unit the rows are the month."""
    html = await page_of(province, "/usage?month=2026-10")
    ranking = text("<main>" + html[html.index("Units by endpoint connections") :])

    assert "Xã Tân An 2 60 Xã Lý Nhân 2 2 Xã Hoà Bình 2 2 Xã Đồng Lương 1 1 Xã Sơn Dương 1 1" in ranking
    assert "the other 3 units together 0 0" in ranking
    assert "in none of these units" not in ranking
    assert "/usage?month=2026-10&amp;unit=X1" in html
    november = text(await page_of(province, "/usage"))
    assert "in none of these units 4 13" in november  # the hall of the province, twice, a person, an unknown caller


async def test_a_long_ranking_is_cut_after_fifteen(database: Database) -> None:
    """The rest is one row, with what it had together."""
    province = await a_morning(database, communes=20)
    await hold(province.store, "large", datetime(2026, 10, 7, 1, tzinfo=UTC), 20)
    await province.store.refresh()
    html = await page_of(province, "/usage?month=2026-10")
    ranking = html[html.index("Units by endpoint connections") :]

    assert len(re.findall(r'<th scope="row"><a', ranking)) == 15
    assert "the other 5 units together 5 5" in text(f"<main>{ranking}")


async def test_meetings_are_shaded_by_local_hour_and_weekday(province: Province) -> None:
    """08:00 in Viet Nam is 08, whatever UTC says; of a unit only the meetings that it was in."""
    html = await page_of(province, "/usage?month=2026-10")
    assert "08–09 1 1 Meetings of the month" in text(html)  # Monday the 5th, Saturday the 31st
    assert html.count('class="shade-6">1<') == 2

    html = await page_of(province, "/usage?month=2026-10&unit=X5")
    assert html.count('class="shade-6">1<') == 1


async def test_incidents_by_kind_are_those_of_the_month(province: Province) -> None:
    """Their sum is the figure above; an outage is not counted beside the incidents in it."""
    await some_incidents(province)
    async with province.database.pool.acquire() as connection, connection.transaction():
        await count_incidents(connection, [NOW.date()])
    html = await page_of(province, "/usage")
    kinds = text("<main>" + html[html.index("Incidents by kind") :])

    assert tiles(html)["incidents"] == "6"
    assert "dropped out 3 " in kinds
    assert sum(int(count) for count in re.findall(r" (\d+)(?= |$)", kinds)) == 6
    assert "outage" not in kinds


async def test_people_say_where_their_number_comes_from(province: Province) -> None:
    """And the parts are the whole."""
    page = text(await page_of(province, "/usage?month=2026-10"))

    assert "Where the number of people comes from: 60 reported by the site · 6 one for each endpoint" in page
    assert tiles(await page_of(province, "/usage?month=2026-10"))["attendees"] == "66"


@pytest.mark.parametrize(
    ("language", "says"),
    [
        (
            "en",
            ["Endpoint connections", "One endpoint in one meeting, however many connections it made.", "October 2026"],
        ),
        ("vi", ["Lượt điểm cầu", "dù kết nối bao nhiêu lần.", "tháng 10 năm 2026", "Th 2", "Đại biểu 66"]),
    ],
)
async def test_it_speaks_both_languages_with_every_definition(
    province: Province, language: str, says: list[str]
) -> None:
    """Each figure's definition is on its tile and once to be read and printed."""
    html = await page_of(province, "/usage?month=2026-10", language)

    assert [words for words in says if words not in text(html)] == []
    definitions = re.findall(r'<div title="([^"]+)" data-figure', html)
    assert len(definitions) == len(FIGURES)
    assert [one for one in definitions if f"<dd>{one}</dd>" not in html] == []


async def test_every_chart_is_a_table_too(province: Province) -> None:
    """The thirteen months and the days so far, with what is not known named as that."""
    page = text(await page_of(province, "/usage"))
    months = page[page.index("Thirteen months") : page.index("The days of")]

    assert "November 2026 (in part) 2 16 46" in months
    assert "August 2026 0 0 0" in months
    assert "November 2025 1 3 32" in months
    assert len(re.findall(r"\b202[56]\b", months)) == 13
    days = page[page.index("The days of") : page.index("When meetings begin")]
    assert "24/11/2026 (in part) 1" in days
    assert "25/11/2026" not in days


async def test_an_empty_database_has_a_page(database: Database) -> None:
    """It says that nothing is known, and shows no zero."""
    store = Store(database.pool, ZONE)
    await store.adopt_timezone()
    empty = Province(database=database, store=store, state=State(NOW), meetings={})
    for path in ("/usage", "/usage?month=2026-10"):
        html = await page_of(empty, path)
        assert "No meeting is known yet." in text(html)
        assert set(tiles(html).values()) == {"—"}
        assert "<svg" not in html


async def test_no_query_reads_all_legs(province: Province) -> None:
    """However many years there are: what it needs of legs it finds by an index."""
    day, month = date(2026, 10, 5), date(2026, 10, 1)
    asked: dict[str, list[object]] = {
        "list_month_usage": [None, None, month, month], "list_day_usage": [None, None, month, day],
        "list_unit_usage": [None, ["X1"], month], "find_first_day": [None], "list_known_source": [],
        "list_meeting_start": [None, month, day], "list_part_of_meeting": [[1, 2], ["X1"]],
        "count_incident_kind": [None, ["X1"], month, day],
    }  # fmt: skip
    async with province.database.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")  # tables of a test are too small for an index
        for name, values in asked.items():
            plan = "\n".join(row[0] for row in await connection.fetch(f"explain {query(name)}", *values))
            assert "Seq Scan on leg" not in plan, name


def test_a_chart_obeys_the_content_security_policy_and_escapes_its_words() -> None:
    """No script, no style, no address outside; a value that is not known has no bar; labels stay text."""
    svg = bars(NASTY, [NASTY, "b", "c"], [1, None, 3], number=lambda value: f"{value:g} <b>", partial=["b", "c"])
    root = ElementTree.fromstring(svg)  # noqa: S314  # our own
    tags = [node.tag.rpartition("}")[2] for node in root.iter()]

    assert "script" not in tags
    assert "style" not in tags
    assert not [node for node in root.iter() if "style" in node.attrib or "href" in "".join(node.attrib)]
    assert tags.count("desc") == 0
    assert [node.text for node in root.iter() if node.tag.endswith("title")] == [f"{NASTY}: 1 <b>", "c: 3 <b>"]
    assert root.get("aria-label") == NASTY
    assert svg.count("rect partial") == 1
