"""The pages of endpoints, meetings, incidents and the absent: what they say, and what acting on an incident does."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import aiohttp
import pytest

from conftrack.incidents.causes import explain
from conftrack.incidents.keeper import Incidents
from conftrack.model import Endpoint, OrgUnit
from conftrack.state import Site
from conftrack.storage import inventory
from conftrack.storage.database import Database
from tests.integration.test_web_login import sign_in, token_of, visiting
from tests.province import NASTY, NOW, START, ZONE, Province, a_morning, code, some_incidents


@pytest.fixture
async def province(database: Database) -> Province:
    return await a_morning(database)


def text(html: str) -> str:
    """What a reader sees, one line."""
    body = html[html.index("<main") :]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


async def read(province: Province, path: str, language: str = "en") -> str:
    headers = {"Accept-Language": language}
    async with province.served() as url, visiting(url, **headers) as client, client.get(path) as page:
        assert page.status == 200, await page.text()
        return text(await page.text())


async def refused(province: Province, path: str) -> tuple[int, str]:
    async with province.served() as url, visiting(url) as client, client.get(path) as page:
        return page.status, text(await page.text())


def sites_in(page: str) -> list[str]:
    return re.findall(r"PT-\d\d", page)


# -- the live page


async def test_the_live_page_draws_the_endpoints_by_state(province: Province) -> None:
    """Each as wide as there are, those that are in no meeting left out; what nobody can see is drawn as unknown."""
    await some_incidents(province)
    assert await drawn_states(province) == {"in_meeting": "4", "failed": "3", "degraded": "1"}

    province.now += timedelta(minutes=5)
    assert await drawn_states(province) == {"unknown": "9"}


async def drawn_states(province: Province) -> dict[str, str]:
    async with province.served() as url, visiting(url) as client, client.get("/") as page:
        html = await page.text()
    bar = html[html.index('<svg class="states"') : html.index("</svg>")]
    return dict(re.findall(r'<rect class="(\w+)" x="\d+" width="(\d+)"', bar))


# -- endpoints


async def test_endpoints_come_with_state_and_since_what_is_urgent_first(province: Province) -> None:
    """Failed before degraded before the quiet ones; since when: the incident, the join, or the last leave."""
    await some_incidents(province)
    page = await read(province, "/endpoints")

    assert sites_in(page)[:4] == ["PT-05", "PT-07", "PT-06", "PT-04"]
    assert "PT-05 ✕ failed 09:14" in page  # lost
    assert "PT-07 ✕ failed 09:00" in page  # absent since the start
    assert "PT-04 ! degraded 09:26" in page
    assert "PT-00 ● in a meeting 08:57" in page
    assert "PT-08 ○ not in a meeting —" in page  # was never in one


async def test_a_source_that_cannot_be_seen_makes_endpoints_unknown(province: Province) -> None:
    """Unknown since it was last seen; incidents from before do not make anything failed."""
    await some_incidents(province)
    province.now += timedelta(minutes=5)
    page = await read(province, "/endpoints?state=unknown")

    assert len(sites_in(page)) == 9
    assert "PT-05 ? unknown 09:32" in page


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("unit=X3", [3]),
        ("unit=PT", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("q=tan an", [1]),
        ("q=XÃ Lí Nhân", [2]),
        ("q=hòa", [3]),
        ("q=ủy ban nhân dân xã đồng lương", [4]),
        ("q=pt-05", [5]),
        ("q=tinh phu tho", [0]),
        ("state=in_meeting&q=son", []),
        ("state=idle&unit=PT&q=son", [5, 8]),
        ("q=%25", []),
    ],
)
async def test_filters_find_whatever_the_spelling(province: Province, asked: str, found: list[int]) -> None:
    """A unit with all below it, a state, and words without regard to diacritics, capitals and usual short forms."""
    assert sorted(sites_in(await read(province, f"/endpoints?{asked}"))) == [code(number) for number in found]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/endpoints?state=broken", "There is no state “broken”. There are: failed, degraded"),
        ("/endpoints?unit=X99", "There is no unit “X99”."),
        ("/endpoints?org=PT", "There is no filter “org”. There are: q, unit, state, page"),
        ("/endpoints?state=idle&state=failed", "“state” is given more than once."),
        ("/endpoints?page=2", "There is no page “2”. There are: 1–1"),
        ("/endpoints?page=-1", "There is no page “-1”."),
        ("/endpoints/PT-01?month=2026-13", "There is no month “2026-13”."),
        ("/endpoints/PT-01?month=2026-12", "There is no month “2026-12”."),
        ("/incidents?page=9", "There is no page “9”."),
        ("/incidents?state=open", "There is no filter “state”."),
        ("/absent?unit=PT", "There is no filter “unit”."),
        ("/meetings/1?page=zwei", "There is no page “zwei”."),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(province: Province, path: str, says: str) -> None:
    """422 and what there is, never a list that looks filtered and is not."""
    status, page = await refused(province, path)

    assert status == 422
    assert says in page


@pytest.mark.parametrize(
    "path", ["/endpoints/XX", "/endpoints/%00", "/meetings/999", "/meetings/x", "/meetings/" + "9" * 30]
)
async def test_what_is_not_there_is_404(province: Province, path: str) -> None:
    """And says so on a page."""
    assert (await refused(province, path))[0] == 404


async def test_three_thousand_endpoints_come_by_the_hundred(province: Province) -> None:
    """No page holds them all; every one is there, and found by its name."""
    province.state.know_sites(
        (Site(code=f"C-{n}", name=f"Phòng họp xã Hoà {n}", org="X1", org_name="Xã Tân An"), (f"c-{n}@vc.example",))
        for n in range(3000)
    )
    async with province.served() as url, visiting(url) as client:
        for path in ("/endpoints", "/endpoints?page=30", "/endpoints?q=hoa 2999"):
            async with client.get(path) as page:
                html = await page.text()
            assert page.status == 200
            assert len(html) < 100_000
    assert "Phòng họp xã Hoà 2999" in html


async def test_an_endpoint_tells_its_month(province: Province) -> None:
    """Its meetings with legs and incidents, the newest first, its contact, and how available it was."""
    await some_incidents(province)
    page = await read(province, "/endpoints/PT-02")

    assert "Trần Thị 2 0912 000 002" in page
    assert page.index("Giao ban") < page.index("Tổng kết")
    assert "08:58:00 – 09:08:00 · connection lost Call disconnected 08:59:00 – now" in page
    assert "dropped out 09:08 – 09:12 4 mins" in page
    assert "12 attendees (reported by the site)" in page
    assert "Nothing is known of it in this month." in await read(province, "/endpoints/PT-02?month=2026-10")


async def test_availability_leaves_out_what_nobody_saw(province: Province) -> None:
    """Service hours since the first known meeting, without the four minutes of the incident; before, not 0 %."""
    await some_incidents(province)
    page = await read(province, "/endpoints/PT-02")

    # Monday from the first join at 09:00 to 17:30 and Tuesday from 07:00 to now make 11 h 2 min, less 3 s unseen.
    assert "November 2026 99.39% 4 mins 0 secs" in page
    assert "October 2026 — 0 secs 0 secs 13 days 13 hrs" in page


async def test_maintenance_is_left_out_of_availability(province: Province) -> None:
    """An incident within a window of the carrier counts for nothing."""
    await some_incidents(province)
    await province.database.pool.execute(
        "insert into conftrack.maintenance (carrier, starts_at, ends_at, expires_at, author, reason, created_at) "
        "values ('VNPT', $1, $2, $2, 'lan', 'cáp quang', $1)",
        NOW - timedelta(minutes=30), NOW - timedelta(minutes=10),
    )  # fmt: skip
    assert "November 2026 100% 0 secs 20 mins" in await read(province, "/endpoints/PT-02")


# -- meetings


async def test_a_meeting_shows_three_numbers_with_what_they_count(province: Province) -> None:
    """Connections, endpoints and people stand together, each with its definition; people with where they come from."""
    page = await read(province, f"/meetings/{province.meetings['Tổng kết']}")

    assert re.search(r"Connections 8 Lines that were up.* Endpoints 8 Sites .* People 38 Of each endpoint", page)
    assert "33 reported by the site (3 endpoints) 5 one for each endpoint without a count (5 endpoints)" in page
    assert "Nobody was invited to this meeting by a list" in page


async def test_the_roll_call_says_who_is_there_late_absent_and_excused(province: Province) -> None:
    """Of nine invited: by name, with whom to ring for those who are not there."""
    page = await read(province, f"/meetings/{province.meetings['Giao ban']}")

    assert "5 present (1 of them late) 3 absent 1 excused of 9 expected" in page
    assert "✕ absent ✕✕✕✕✕ Phòng họp UBND xã Tam Đảo Trần Thị 7 0912 000 007" in page
    assert "✕ absent ✕✕✕✕● Phòng họp UBND xã Sơn Dương came at 09:01 Trần Thị 5" in page
    assert "1 min late ✕✕✕✕● Phòng họp UBND xã Đồng Lương" in page
    assert "excused −−−−− Phòng họp UBND xã Thanh Sơn mưa lũ" in page


async def test_nobody_is_absent_while_nobody_can_see(province: Province) -> None:
    """A stale source makes those who are not excused unknown: on the board, and in the list to call by."""
    province.now += timedelta(minutes=10)
    board, absent = await read(province, f"/meetings/{province.meetings['Giao ban']}"), await read(province, "/absent")

    assert "0 present 0 absent 1 excused 8 unknown of 9 expected" in board
    assert "Its source cannot be seen now" in board
    assert "8 endpoints not known: they cannot be seen now" in absent
    assert "ABSENT" not in absent


async def test_connections_are_drawn_over_time(province: Province) -> None:
    """A bar for each leg in its place, a lost one and an attempt marked as such."""
    path = f"/meetings/{province.meetings['Giao ban']}"
    async with province.served() as url, visiting(url) as client, client.get(path) as page:
        html = await page.text()
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="3" width="([\d.]+)"', html)
    whole = (NOW - START).total_seconds() / 60 + 3  # since site 0 joined, three minutes before the hour

    assert len(bars) == 10
    assert ("up", "0.0", "1000.0") in bars
    lost = next(bar for bar in bars if bar[0] == "lost" and float(bar[1]) > 100)
    assert float(lost[1]) == pytest.approx(1000 * 4 / whole, abs=0.1)
    assert float(lost[2]) == pytest.approx(1000 * 13 / whole, abs=0.1)
    assert [bar for bar in bars if bar[0] == "tried"]


async def test_the_live_board_leads_to_the_meeting(province: Province) -> None:
    """Its link finds the meeting that goes on in the room by the names that the live view knows; others are 404."""
    async with province.served() as url, visiting(url) as client:
        async with client.get("/") as page:
            link = re.search(r'href="(/meetings/now[^"]*)"', await page.text())
        assert link is not None
        async with client.get(unescape(link[1]), allow_redirects=False) as answer:
            assert answer.headers["Location"] == f"/meetings/{province.meetings['Giao ban']}"
        async with client.get("/meetings/now?source=pexip-main&room=nowhere") as answer:
            assert answer.status == 404


# -- the absent


async def test_the_absent_are_listed_by_level_with_a_text_to_send(province: Province) -> None:
    """The province's own hall before the communes, each with contact and phone; the excused apart, the text plain."""
    units = [OrgUnit(code="PT", name="Tỉnh Phú Thọ")]
    await inventory.put(
        province.database.pool, units,
        [Endpoint(code="PT-99", name="Phòng họp Tỉnh ủy", org="PT", contact_name="Lê C", contact_phone="0210 1")],
    )  # fmt: skip
    await province.database.pool.execute(
        "insert into conftrack.expected (invitation_id, endpoint_id) "
        "select i.invitation_id, e.endpoint_id from conftrack.invitation i, conftrack.endpoint e where e.code = 'PT-99'"
    )
    async with province.served() as url, visiting(url) as client, client.get("/absent?lang=vi") as page:
        html = await page.text()
    sent = unescape(html[html.index("<pre") : html.index("</pre>")].partition(">")[2]).strip()

    assert sent.splitlines() == [
        "VẮNG MẶT (4) – Giao ban, 09:00 24/11/2026",
        "",
        "1. Phòng họp Tỉnh ủy (Tỉnh Phú Thọ): Lê C 0210 1",
        "2. Phòng họp UBND xã Sơn Dương: Trần Thị 5 0912 000 005",
        "3. Phòng họp UBND xã Tam Đảo: Trần Thị 7 0912 000 007",
        "4. Phòng họp UBND xã Vĩnh Tường: Trần Thị 6 0912 000 006",
        "",
        "Tính đến 09:32",
    ]
    assert "1 điểm cầu vắng có lý do Phòng họp UBND xã Thanh Sơn: mưa lũ" in text(html)


async def test_a_meeting_that_nobody_joined_is_missed_by_all(province: Province) -> None:
    """From its start to its end; before and after nobody is absent from it."""
    invitation = await province.database.pool.fetchval(
        "insert into conftrack.invitation (uid, room, title, starts_at, ends_at, origin, known_at) "
        "values ('x', 'bao-lut', 'Phòng chống bão', $1, $2, 'file', $1) returning invitation_id",
        NOW - timedelta(minutes=1), NOW + timedelta(minutes=1),
    )  # fmt: skip
    await province.database.pool.execute(
        "insert into conftrack.expected (invitation_id, endpoint_id) select $1, endpoint_id from conftrack.endpoint",
        invitation,
    )
    page = await read(province, "/absent")
    assert "Phòng chống bão from 09:31 Nobody has joined it yet. 9 endpoints absent" in page

    await province.database.pool.execute("update conftrack.invitation set starts_at = ends_at - interval '1 second'")
    assert "Phòng chống bão" not in await read(province, "/absent")


# -- incidents


async def test_open_incidents_come_first_with_the_parts_of_an_outage_under_it(province: Province) -> None:
    """An outage and what was ignored for half an hour are marked; what is over comes after, with its end."""
    await some_incidents(province)
    page = await read(province, "/incidents")

    assert re.search(
        r"Going on now .*bad picture or sound .*⚠ outage Viettel .*"
        r"1 endpoint in it dropped out Phòng họp UBND xã Vĩnh Tường"
        r" .*dropped out Phòng họp UBND xã Sơn Dương .*⚠ absent Phòng họp UBND xã Tam Đảo .*Over \(2\)"
        r" dropped out Phòng họp UBND xã Lý Nhân",
        page,
    )
    assert page.count("dropped out Phòng họp UBND xã Vĩnh Tường") == 1


@pytest.mark.parametrize("language", ["vi", "en"])
async def test_each_incident_says_what_it_means_and_what_to_check_first(province: Province, language: str) -> None:
    """In the reader's language, by how it ended, with whose it most likely is until somebody says."""
    await some_incidents(province)
    page = await read(province, "/incidents", language)

    for cause in (explain("dropped", "dropped"), explain("absent", None), explain("connect_failed", "no_answer")):
        assert (cause.text in page, cause.check in page) == ((True, True) if language == "en" else (False, False))
    if language == "vi":
        assert "có điện không" in page
        assert "Nhiều khả năng thuộc về:" in page


async def test_beside_each_open_incident_is_whom_to_ring(province: Province) -> None:
    """On the list and on the page of its meeting, where alerts lead; of what is over nobody is rung."""
    await some_incidents(province)
    for path in ("/incidents", f"/meetings/{province.meetings['Giao ban']}"):
        async with province.served() as url, visiting(url) as client, client.get(f"{path}?lang=en") as answer:
            parts = (await answer.text()).split('<li class="incident')[1:]
        listed = [part.partition("</li>")[0] for part in parts]

        assert {'href="tel:' in one for one in listed if one.startswith(" open") and "/endpoints/" in one} == {True}
        assert not any("Contact" in one for one in listed if not one.startswith(" open"))
        assert {">0912 000 005</a>" in one for one in listed if "/endpoints/PT-05" in one} == {True}


async def test_what_is_over_is_paged(province: Province) -> None:
    """A hundred on a page, each once; the second page has no open ones."""
    for minutes in range(100, 250):
        await province.incident(
            "dropped", code(1), minutes, closed_at=NOW - timedelta(minutes=minutes - 1), owner="line"
        )
    await province.incident("dropped", code(2), 1)
    first, second = await read(province, "/incidents"), await read(province, "/incidents?page=2")

    assert (first.count("xã Tân An 0"), second.count("xã Tân An 0")) == (100, 50)
    assert "Going on now" in first
    assert "Going on now" not in second


async def test_an_operator_acknowledges_notes_and_says_whose_it_is(province: Province) -> None:
    """Each is shown with who and when, is in the audit without the text, and leads back to where they were."""
    number = (await some_incidents(province))["dropped"]
    async with province.served() as url, visiting(url) as client:
        await sign_in(client)
        token = await token_of(client)

        async def act(action: str, **fields: str) -> int:
            given = {"token": token, "next": f"/incidents#i{number}"} | fields
            async with client.post(f"/incidents/{number}/{action}", data=given, allow_redirects=False) as answer:
                assert answer.headers.get("Location", f"/incidents#i{number}") == f"/incidents#i{number}"
                return answer.status

        assert await act("acknowledge") == 303
        assert await act("acknowledge") == 409
        assert await act("note", text="Đã gọi anh Ba 0912 345 678: mất điện") == 303
        assert await act("note", text="   ") == 422
        assert await act("note", text="x" * 2001) == 422
        assert await act("owner", owner="power") == 303
        assert await act("owner", owner="ghosts") == 422
        assert await act("excuse", reason="mưa") == 409  # only who is absent can be excused
        async with client.get("/incidents") as page:
            shown = text(await page.text())
        async with client.post("/incidents/999/acknowledge", data={"token": token}) as answer:
            assert answer.status == 409

    assert "✓ acknowledged by lan, 09:32 Whose it is: The site's power lan , 09:32: Đã gọi anh Ba" in shown
    assert [action for _, action in await province.audit()] == [
        "sign in", "acknowledge incident", "note incident", "own incident",
    ]  # fmt: skip
    assert "0912" not in str(
        await province.database.pool.fetch("select detail from conftrack.audit where actor = 'lan'")
    )


async def test_an_excuse_ends_the_absence(province: Province) -> None:
    """Who is excused is on no list of the absent any more, and the engine closes the incident by itself."""
    number = (await some_incidents(province))["absent"]
    await province.database.pool.execute("delete from conftrack.dirty_incident")
    async with province.served() as url, visiting(url) as client:
        await sign_in(client)
        fields = {"token": await token_of(client), "reason": "lũ quét"}
        async with client.post(f"/incidents/{number}/excuse", data=fields, allow_redirects=False) as answer:
            assert answer.status == 303
        async with client.get("/absent") as page:
            shown = text(await page.text())
    await Incidents(province.database.pool, ZONE).refresh()
    (row,) = await province.database.pool.fetch(
        "select * from conftrack.incidents where endpoint = 'PT-07' and kind = 'absent'"
    )

    assert "Phòng họp UBND xã Tam Đảo: lũ quét" in shown
    assert "2 endpoints absent" in shown
    assert row["closed_at"] == NOW
    assert ("lan", "excuse") in await province.audit()


# -- all of them


async def test_what_systems_and_people_write_is_text_on_every_page(province: Province) -> None:
    """A title, a caller's name, a reason, a note: nothing becomes markup, and no page has a script or style in it."""
    incidents = await some_incidents(province)
    async with province.served() as url, visiting(url) as client:
        await sign_in(client)
        token = await token_of(client)
        for action, field in (("note", "text"), ("excuse", "reason")):
            fields = {"token": token, field: NASTY}
            async with client.post(f"/incidents/{incidents['absent']}/{action}", data=fields) as done:
                assert done.status == 200
        paths = (
            "/", "/endpoints", "/endpoints/PT-02", "/endpoints/PT-07", "/incidents", "/absent",
            *(f"/meetings/{number}" for number in province.meetings.values()),
            f"/endpoints?q={NASTY}", f"/login?next={NASTY}", f"/endpoints?state={NASTY}", f"/endpoints?{NASTY}=1",
        )  # fmt: skip
        seen = 0
        for path in paths:
            async with client.get(path) as page:
                html = await page.text()
            seen += unescape(html).count(NASTY)
            assert "<script>" not in html
            assert not re.search(r"\sstyle=|\son\w+=|<style", html)
            assert re.findall(r"<script ([^>]*)>", html) in ([], *[[f'src="{s}" defer'] for s in scripts(html)])
    assert seen >= 8


def scripts(html: str) -> list[str]:
    return re.findall(r'src="(/static/\w+/\w+\.js)"', html)


@pytest.mark.parametrize("language", ["vi", "en"])
async def test_every_page_speaks_both_languages(province: Province, language: str) -> None:
    """In the language that is asked for, with a way to the other that stays on the page."""
    await some_incidents(province)
    words = {"vi": ("Trạng thái", "Đang diễn ra", "vắng mặt", "Điểm danh", "Độ sẵn sàng", "Mật khẩu"),
             "en": ("State", "Going on now", "absent", "Roll-call", "Availability", "Password")}[language]  # fmt: skip
    meeting = f"/meetings/{province.meetings['Giao ban']}"
    paths = ("/endpoints?q=xa", "/incidents", "/absent", meeting, "/endpoints/PT-07", "/login")
    other = "en" if language == "vi" else "vi"
    async with province.served() as url, visiting(url, **{"Accept-Language": language}) as client:
        for path, word in zip(paths, words, strict=True):
            async with client.get(path) as page:
                html = await page.text()
            assert word in html
            link = re.search(rf'href="([^"]*lang={other})"', html)
            assert link is not None
            assert unescape(link[1]).startswith(path)
            async with aiohttp.ClientSession(url) as fresh, fresh.get(unescape(link[1])) as page:
                assert f'<html lang="{other}"' in await page.text()


@pytest.mark.parametrize("path", ["/incidents", "/absent", "/endpoints"])
async def test_a_source_that_cannot_be_seen_is_told_before_anything_else(province: Province, path: str) -> None:
    """An empty list of incidents must not look as if nothing were wrong, while nobody can see whether it is."""
    seen = await read(province, path)
    for source in province.state.sources.values():
        source.streams["live"].last_success_at = None
    blind = await read(province, path)

    said = f"{', '.join(province.state.sources)} cannot be seen now"
    assert said not in seen
    assert said in blind
