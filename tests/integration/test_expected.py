"""Invitations against a real database: from files and calendars, as operators change them, and called over."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from conftrack.incidents.keeper import Incidents
from conftrack.incidents.rollcall import call
from conftrack.inventory import files
from conftrack.inventory.headings import Kind, Language, read_files
from conftrack.inventory.moments import aware, local, moment
from conftrack.inventory.tables import WrongFiles
from conftrack.inventory.work import Work
from conftrack.model import Endpoint, LegRecord, OrgUnit, Origin
from conftrack.storage import inventory, invitations, rollcall
from conftrack.storage.database import Database
from conftrack.storage.inventory import Entry, InventoryError
from conftrack.storage.invitations import Invitation, NotInvited
from conftrack.storage.rollcall import LOOKS_BACK, Connected, Convocation
from conftrack.storage.store import Store
from tests import views
from tests.worlds import NOW, ZONE, at, leg, page, store_all

KINDS: tuple[Kind, ...] = ("units", "endpoints", "moves", "aliases", "invitations")
#: Four o'clock in the afternoon in Ho Chi Minh City, the day before the world's meetings.
TODAY = at(-16 * 60)
SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Desk:
    """Where an operator works: files to import, and what was told."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.told: list[str] = []
        self.now = TODAY

    def file(self, text: str, name: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    async def take(self, *given: str | Path, replaces: bool = False) -> None:
        async def consent(_: str) -> bool:
            return True

        self.told.clear()
        paths = [
            one if isinstance(one, Path) else self.file(one, f"{n}.{'ics' if one.startswith('BEGIN:') else 'csv'}")
            for n, one in enumerate(given)
        ]
        work = Work(
            self.database.pool,
            ZONE,
            clock=lambda: self.now,
            actor="lan@trung-tam",
            say=self.told.append,
            consent=consent,
        )
        await work.import_rows(read_files(paths, KINDS), replaces=replaces)

    async def refused(self, *given: str | Path) -> list[str]:
        """The problems, without the folder's name; and nothing has changed."""
        before = await self.stands(), await inventory.load(self.database.pool)
        with pytest.raises(WrongFiles) as caught:
            await self.take(*given)
        assert (await self.stands(), await inventory.load(self.database.pool)) == before
        return [str(problem).replace(f"{self.folder}/", "") for problem in caught.value.problems]

    async def stands(self) -> dict[str, Invitation]:
        found = await invitations.load(self.database.pool, (), datetime(1970, 1, 1, tzinfo=UTC))
        return dict(found.invitations)

    async def expected(self) -> dict[str, list[str]]:
        return {uid: list(one.expected) for uid, one in sorted((await self.stands()).items())}

    async def marks(self) -> list[tuple[int | None, int | None]]:
        rows = await self.database.pool.fetch(
            "delete from conftrack.dirty_incident returning meeting_id, invitation_id"
        )
        return sorted({(row["meeting_id"], row["invitation_id"]) for row in rows}, key=str)

    @property
    def nothing_to_do(self) -> bool:
        return self.told[-1].startswith("Nothing to do")


UNITS = [
    OrgUnit(code="T", name="Tỉnh"),
    OrgUnit(code="T-H", name="Huyện", parent="T", level=1),
    OrgUnit(code="T-X1", name="Xã Một", parent="T-H", level=2),
    OrgUnit(code="T-X2", name="Xã Hai", parent="T-H", level=2),
]
SITES = [
    Endpoint(code="S0", name="Sở", org="T", kind="room", area="Trung tâm", carrier="VNPT", aliases=("so@vc.example",)),
    Endpoint(code="H1", name="Huyện", org="T-H", kind="room", area="Cụm, 1", carrier="Viettel"),
    Endpoint(code="X1", name="Xã Một", org="T-X1", kind="hall", area="Cụm, 1", carrier="VNPT",
             aliases=("xa-1@vc.example",)),
    Endpoint(code="X2", name="Xã Hai", org="T-X2", kind="hall", area="Cụm, 1", carrier="Viettel",
             aliases=("xa-2@vc.example",)),
]  # fmt: skip


async def furnish(database: Database) -> None:
    await inventory.put(database.pool, UNITS, SITES)


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    await furnish(database)
    return Desk(database, tmp_path)


LIST = (
    "Mã cuộc họp;Phòng họp;Tên cuộc họp;Bắt đầu;Kết thúc;Thành phần mời;Lý do vắng\n"
    "GM-1;hall;Giao ban;02/03/2026 8h00;11h30;X1, X2;\nGM-1;hall;;;;S0;Đi công tác\n"
)


# -- lists


async def test_the_lines_of_a_meeting_are_its_invitation(desk: Desk) -> None:
    """Local times, an end that is an hour alone, several endpoints in a cell, an excuse with who said so and when."""
    await desk.take(LIST)

    assert await desk.stands() == {
        "GM-1": Invitation(
            uid="GM-1", room="hall", title="Giao ban", starts_at=at(0), ends_at=at(210),
            expected={"S0": "Đi công tác", "X1": None, "X2": None},
        )
    }  # fmt: skip
    assert "Invitations: 1 new" in desk.told
    excused = await desk.database.pool.fetchrow(
        "select excused_by, excused_at from conftrack.expected where excused_at is not null"
    )
    assert tuple(excused or ()) == ("lan@trung-tam", TODAY)
    await desk.take(LIST)
    assert desk.nothing_to_do


async def test_a_list_without_uids_may_be_taken_twice(desk: Desk) -> None:
    """The room and the start name the meeting; without a start it is a standing invitation to the room."""
    text = "room,start,endpoint\nhall,2026-03-02 08:00,X1\nhall,,X2\n"
    await desk.take(text)

    assert await desk.expected() == {"hall@2026-03-02T01:00Z": ["X1"], "hall@always": ["X2"]}
    await desk.take(text.replace("2026-03-02 08:00", "02/03/2026 08:00"))
    assert desk.nothing_to_do


@pytest.mark.parametrize(
    ("selector", "codes"),
    [
        ("org:T", ["H1", "S0", "X1", "X2"]),
        ("đơn vị: T-H", ["H1", "X1", "X2"]),
        ("area:Cụm, 1", ["H1", "X1", "X2"]),
        ("Nhà mạng:VNPT; X2", ["S0", "X1", "X2"]),
        ("kind:hall", ["X1", "X2"]),
    ],
)
async def test_a_selector_stands_for_all_endpoints_in_service_that_it_means(
    selector: str, codes: list[str], desk: Desk
) -> None:
    """A unit with all below it, an area, a carrier, a kind; in the words of either language; one retired by the day of
    the meeting is left out."""
    await desk.take('code,name,org,area,carrier,kind,retired_on\nX9,cũ,T-X1,"Cụm, 1",VNPT,hall,2026-03-02\n')
    await desk.take(f'room,start,endpoint\nhall,2026-03-02 08:00,"{selector}"\n')

    assert await desk.expected() == {"hall@2026-03-02T01:00Z": codes}


async def test_who_is_selected_may_be_excused_by_name(desk: Desk) -> None:
    """The line that names an endpoint says more than the one that selects it, whichever comes first."""
    lines = ["hall,org:T-H,", "hall,X1,mưa lũ"]
    for turn in (lines, lines[::-1]):
        await desk.take("\n".join(["room,endpoint,excused", *turn]) + "\n")
        assert (await desk.stands())["hall@always"].expected == {"H1": None, "X1": "mưa lũ", "X2": None}


async def test_every_mistake_is_told_with_its_place_and_what_may_be_meant(desk: Desk) -> None:
    """All of them at once, those of the cells and those of what they mean; nothing of the files is put in."""
    problems = await desk.refused(
        "code,name,seats\nX3,Xã Ba,9\n",
        "meeting,room,source,start,end,endpoint\n"
        "a,hall,,2026-03-02 8h,2026-03-02 07:00,Xa Mot\n"
        "b,hall,,2026-03-02,,X1\n"
        "c,hall,,02/03/2026 25:00,,X1\n"
        "d,hall,,,11:00,org:T-X\n"
        "e,hall,,2026-03-02 08:00,,area:Cum 1\n"
        "f,hall,pexip,2026-03-02 08:00,,X3\n"
        "g,hall,,2026-03-02 08:00,,X1\ng,lobby,,,,X2\n",
    )

    no_time = "is not a day with a time like 2025-07-01 08:00 or 01/07/2025 8h00"
    assert problems == [
        '1.csv, line 2, column "end": is not after the start',
        """1.csv, line 2, column "endpoint": there is no endpoint 'Xa Mot'; write the code of 'Xã Một': X1""",
        f"""1.csv, line 3, column "start": '2026-03-02' {no_time}""",
        f"""1.csv, line 4, column "start": '02/03/2026 25:00' {no_time}""",
        '1.csv, line 5, column "end": is an hour of no day: there is no start',
        """1.csv, line 5, column "endpoint": there is no unit 'T-X'; did you mean T-X1 (Xã Một)?""",
        """1.csv, line 6, column "endpoint": no endpoint has the area 'Cum 1'; did you mean 'Cụm, 1'?""",
        """1.csv, line 7, column "source": there is no source 'pexip'""",
        '1.csv, line 9, column "room": is hall on line 8, for g as well',
    ]


async def test_a_list_is_read_against_the_endpoints_that_come_with_it(desk: Desk) -> None:
    """A new endpoint may be invited in the same import."""
    await desk.take("code,name,org\nX3,Xã Ba,T-H\n", "room,endpoint\nhall,org:T-H\n")

    assert await desk.expected() == {"hall@always": ["H1", "X1", "X2", "X3"]}


async def test_excel_times_are_read_as_they_are_shown(desk: Desk) -> None:
    """A cell with a day and a time, which Excel keeps as a fraction, means that minute; a day alone is refused."""
    path = desk.folder / "book.xlsx"
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for line in (("room", "start", "endpoint"), ("hall", datetime(2026, 3, 2, 8, 0, 0, 3), "X1")):  # noqa: DTZ001
        sheet.append(line)
    book.save(path)
    await desk.take(path)
    assert (await desk.stands())["hall@2026-03-02T01:00Z"].starts_at == at(0)

    sheet.append(("hall", datetime(2026, 3, 2), "X1"))  # noqa: DTZ001
    book.save(path)
    assert "2026-03-02 has no time of day" in (await desk.refused(path))[0]


async def test_who_is_on_no_line_any_more_is_not_invited_and_an_excuse_stays(desk: Desk) -> None:
    """A list is all of its meeting's list; an empty reason takes no excuse away, for an operator may have given it."""
    await desk.take(LIST)
    await desk.take("meeting,room,endpoint,excused\nGM-1,hall,S0; H1; X1,\n")

    stands = (await desk.stands())["GM-1"]
    assert stands.expected == {"H1": None, "S0": "Đi công tác", "X1": None}
    assert (stands.title, stands.starts_at) == ("Giao ban", at(0))  # no column says otherwise
    assert any("invited H1" in line and "not invited any more X2" in line for line in desk.told)
    await desk.take("meeting,room,endpoint,excused\nGM-1,hall,S0; H1; X1,\n")
    assert desk.nothing_to_do


async def test_replace_withdraws_what_is_to_come_and_leaves_what_was(desk: Desk) -> None:
    """Lists that are everything: another standing or coming invitation of a list goes, a past one stays."""
    await desk.take("room,start,endpoint\nold,2026-02-01 08:00,X1\nhall,2026-03-02 08:00,X1\nhall,,X1\n")
    await desk.take("room,endpoint\nlobby,X2\n", replaces=True)

    assert list(await desk.expected()) == ["lobby@always", "old@2026-02-01T01:00Z"]
    assert "Invitations: 1 new, 2 withdrawn" in desk.told


async def test_an_invitation_marks_the_meetings_it_is_about(desk: Desk, store: Store) -> None:
    """Those of its room at its time, before a change and after it, and itself when it is dated; no others."""
    legs = [leg("1"), leg("2", 500, 560), leg("3", room="lobby"), leg("4", -300, -240)]
    await store_all(store, [page(*legs)])
    await desk.marks()
    ids = {
        row["started_at"]: row["meeting_id"]
        for row in await desk.database.pool.fetch(
            "select started_at, meeting_id from conftrack.meeting where room = 'hall'"
        )
    }
    first, later, earlier = ids[at(0)], ids[at(500)], ids[at(-300)]
    dated = Invitation(uid="u", room="hall", starts_at=at(0), ends_at=at(210), expected={"X1": None})
    moved = replace(dated, starts_at=at(510), ends_at=None)
    standing = replace(dated, uid="s", starts_at=None, ends_at=None)

    async def change(before: dict[str, Invitation], after: dict[str, Invitation]) -> set[tuple[int | None, int | None]]:
        entry = Entry(at=TODAY, actor="x", action="x", detail={})
        async with desk.database.pool.acquire() as connection, connection.transaction():
            await invitations.change(connection, before, after, entry)
        return set(await desk.marks())

    assert await change({}, {"u": dated}) == {(first, None), (None, 1)}
    assert await change({"u": dated}, {"u": moved}) == {(first, None), (later, None), (None, 1)}
    assert await change({}, {"s": standing}) == {(first, None), (later, None), (earlier, None)}
    assert await change({"u": moved}, {"u": moved}) == set()
    assert await change({"u": moved}, {}) == {(later, None), (None, 1)}
    with pytest.raises(InventoryError, match="somebody else"):
        await change({"u": dated}, {"u": moved})


# -- files written


_reason = st.sampled_from([None, "mất điện", "=1+1", "đi họp; chiều về"])


@st.composite
def plans(draw: st.DrawFn) -> list[Invitation]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        starts_at = draw(st.none() | st.integers(0, 10_000).map(lambda m: at(float(m))))
        stays = draw(st.none() | st.integers(1, 600))
        found.append(
            Invitation(
                uid=f"{draw(st.sampled_from(['GM', '=x', '2026/']))}{number}",
                room=draw(st.sampled_from(["hall", "Phòng 1", "-a"])), title=draw(st.sampled_from([None, "Họp; tỉnh"])),
                starts_at=starts_at, ends_at=starts_at + timedelta(minutes=stays) if starts_at and stays else None,
                expected=dict(
                    sorted(draw(st.dictionaries(st.sampled_from([s.code for s in SITES]), _reason, min_size=1)).items())
                ),
            )
        )  # fmt: skip
    return found


@SLOW
@given(held=plans(), language=st.sampled_from(["vi", "en"]), form=st.sampled_from(["folder", "book.xlsx"]))
async def test_what_is_exported_imports_to_no_change_and_into_nothing_brings_it_back(
    held: list[Invitation], language: Language, form: str, desk: Desk
) -> None:
    """Whatever is invited, as CSV or a workbook, in either language, with --replace too."""
    await views.empty(desk.database.pool)
    await furnish(desk.database)
    wanted = {one.uid: one for one in held}
    entry = Entry(at=TODAY, actor="x", action="x", detail={})
    async with desk.database.pool.acquire() as connection, connection.transaction():
        await invitations.change(connection, {}, wanted, entry)
    assert await desk.stands() == wanted

    sheet = files.invitations(held, ZONE, language)
    stored = await inventory.load(desk.database.pool)
    written = files.write(stored, desk.folder / form, language, force=True, invitations=sheet)
    await desk.take(*written, replaces=True)
    assert desk.nothing_to_do, desk.told

    await views.empty(desk.database.pool)
    await desk.take(*written)
    assert await desk.stands() == wanted


@given(
    when=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001
    zone=st.sampled_from(["Asia/Ho_Chi_Minh", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"]),
)
def test_a_moment_is_read_as_it_was_written(when: datetime, zone: str) -> None:
    """To the second, in any zone, in the hour that comes twice too."""
    utc, there = when.replace(microsecond=0, tzinfo=UTC), ZoneInfo(zone)

    assert aware(moment(local(utc, there)), there) == utc


def test_an_hour_that_the_clocks_skip_is_refused() -> None:
    """It would be another hour than the one that is written."""
    with pytest.raises(ValueError, match="put forward"):
        aware(moment("2026-03-29 02:30"), ZoneInfo("Europe/Berlin"))


# -- calendars


def calendar(*events: Iterable[str]) -> str:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:test"]
    for event in events:
        lines += ["BEGIN:VEVENT", "DTSTAMP:20260101T000000Z", *event, "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


WEEKLY = [
    "UID:w@cal", "SUMMARY:Giao ban\\, tuần", "DTSTART;TZID=Asia/Ho_Chi_Minh:20260302T080000", "DURATION:PT2H",
    "RRULE:FREQ=WEEKLY;COUNT=3", "LOCATION:hall", "ATTENDEE;CN=Xã Một:mailto:XA-1@vc.example",
    "ATTENDEE:sip:xa-2@vc.example;transport=tls", "ATTENDEE:mailto:lan@tinh.example",
]  # fmt: skip


async def test_a_calendar_is_invitations(desk: Desk, store: Store) -> None:
    """Each meeting of a series by its own uid; attendees are endpoints by their addresses, others are listed, and so is
    a room that no meeting was held in."""
    await store_all(store, [page(leg("1", room="halls"))])
    await desk.take(calendar(WEEKLY))

    stands = await desk.stands()
    assert sorted(stands) == [f"w@cal/202603{day:02}T010000Z" for day in (2, 9, 16)]
    first = stands["w@cal/20260302T010000Z"]
    assert (first.room, first.title, first.starts_at, first.ends_at) == ("hall", "Giao ban, tuần", at(0), at(120))
    assert (list(first.expected), first.origin) == (["X1", "X2"], "calendar")
    notes = [line.replace(f"{desk.folder}/", "") for line in desk.told if line.startswith("Note")]
    assert notes == [
        """Note: 0.ics, line 4, column "LOCATION": no meeting was held in the room 'hall' yet; did you mean 'halls'?""",
        """Note: 0.ics, line 4, column "ATTENDEE": this attendee is no endpoint's alias: lan@tinh.example""",
    ]
    await desk.take(calendar(WEEKLY))
    assert desk.nothing_to_do


async def test_a_calendar_says_the_same_however_its_accents_are_encoded(desk: Desk, store: Store) -> None:
    """A letter apart from its marks, as macOS writes them: it is the same room and title."""
    await store_all(store, [page(leg("1", room="Phòng họp"))])
    text = calendar(WEEKLY).replace("LOCATION:hall", "LOCATION:Phòng họp")
    await desk.take(text)
    taken = await desk.stands()
    await desk.take(unicodedata.normalize("NFD", text))

    assert desk.nothing_to_do
    assert {(one.room, one.title) for one in taken.values()} == {("Phòng họp", "Giao ban, tuần")}


async def test_what_is_moved_or_cancelled_in_a_calendar_is_so_here(desk: Desk) -> None:
    """One of a series keeps its uid and its excuses at its new time; one that is taken out or cancelled is withdrawn,
    unless it has begun."""
    await desk.take(calendar(WEEKLY))
    async with desk.database.pool.acquire() as connection, connection.transaction():
        number = await invitations.number(connection, "w@cal/20260309T010000Z")
        assert number is not None
        await invitations.excuse(connection, number, "X1", "mưa", "lan", NOW)
    moved = ["RECURRENCE-ID;TZID=Asia/Ho_Chi_Minh:20260309T080000",
             "DTSTART;TZID=Asia/Ho_Chi_Minh:20260310T140000", *WEEKLY[:2], *WEEKLY[5:]]  # fmt: skip
    desk.now = at(60)
    await desk.take(calendar([*WEEKLY, "EXDATE;TZID=Asia/Ho_Chi_Minh:20260316T080000"], moved))

    stands = await desk.stands()
    assert {uid: one.starts_at for uid, one in stands.items()} == {
        "w@cal/20260302T010000Z": at(0),
        "w@cal/20260309T010000Z": datetime(2026, 3, 10, 7, tzinfo=UTC),
    }
    assert stands["w@cal/20260309T010000Z"].expected["X1"] == "mưa"
    await desk.take(calendar([*WEEKLY, "STATUS:CANCELLED"]))
    assert list(await desk.stands()) == ["w@cal/20260302T010000Z"]


@pytest.mark.parametrize(
    ("lines", "room"),
    [
        (["LOCATION:Phòng họp 3"], "Phòng họp 3"),
        (["LOCATION:HALL"], "hall"),
        (["LOCATION:Tầng 2", "ATTENDEE;CUTYPE=ROOM;CN=x:mailto:hall@vc.example"], "hall"),
        (["LOCATION:hall", "X-CONFTRACK-ROOM:lobby"], "lobby"),
        ([], None),
    ],
)
async def test_the_room_is_one_that_meetings_were_held_in_if_any_is_named(
    lines: list[str], room: str | None, desk: Desk, store: Store
) -> None:
    """By the place, or a room among the attendees; X-CONFTRACK-ROOM is it for sure; without one it is passed over."""
    await store_all(store, [page(leg("1"))])
    await desk.take(calendar(["UID:1", "DTSTART:20260302T010000Z", "ATTENDEE:mailto:so@vc.example", *lines]))

    assert [one.room for one in (await desk.stands()).values()] == ([room] if room else [])
    assert any("names no room, passed over" in line for line in desk.told) is (room is None)


async def test_what_is_no_meeting_of_endpoints_is_passed_over_and_said(desk: Desk) -> None:
    """A whole day, somebody's lunch, and what was over before today; a time without a zone is local."""
    day = ["UID:1", "DTSTART;VALUE=DATE:20260302", "SUMMARY:Nghỉ"]
    lunch = ["UID:2", "DTSTART:20260302T010000Z", "SUMMARY:Ăn trưa", "LOCATION:hall", "ATTENDEE:mailto:an@x.example"]
    past = ["UID:3", "DTSTART:20260201T010000Z", "DURATION:PT1H", "LOCATION:hall", "ATTENDEE:mailto:so@vc.example"]
    good = ["UID:4", "DTSTART:20260302T080000", "LOCATION:hall", "ATTENDEE:mailto:so@vc.example"]
    await desk.take(calendar(day, lunch, past, good))

    assert {uid: one.starts_at for uid, one in (await desk.stands()).items()} == {"4": at(0)}
    assert sum("passed over" in line for line in desk.told) == 2


async def test_a_broken_calendar_is_refused_with_its_place(desk: Desk) -> None:
    """What is no calendar, a line that cannot be read, an event without a start or with a rule that never ends."""
    assert "is no iCalendar file" in (await desk.refused(desk.file("hello", "x.ics")))[0]
    broken = calendar(["UID:1", "DTSTART:20260302T010000Z", "DTEND:soon"], ["UID:2", "SUMMARY:x"])
    assert [line.split(": ")[0] for line in await desk.refused(broken)] == [
        '0.ics, line 4, column "DTEND"',
        '0.ics, line 10, column "DTSTART"',
    ]
    many = calendar([*WEEKLY[:2], "DTSTART:20260302T010000Z", "RRULE:FREQ=SECONDLY", *WEEKLY[5:]])
    assert "more than 10,000 meetings" in (await desk.refused(many))[0]


# -- excuses


async def test_an_excuse_is_kept_with_who_gave_it_and_has_the_meeting_judged_again(desk: Desk) -> None:
    """It is in the audit, may be taken back, and is refused for who is not invited."""
    await desk.take(LIST)
    await desk.marks()
    async with desk.database.pool.acquire() as connection:
        number = await invitations.number(connection, "GM-1")
        assert number is not None
        await invitations.excuse(connection, number, "X1", "mất điện", "lan", NOW)
        assert (await desk.stands())["GM-1"].expected["X1"] == "mất điện"
        assert await desk.marks() == [(None, number)]
        await invitations.excuse(connection, number, "X1", "mất điện cả xã", "minh", NOW + timedelta(hours=1))
        first = await connection.fetchval("select excused_at from conftrack.expected where excused_by = 'minh'")
        assert first == NOW  # it was excused in time, and better words do not change that
        await invitations.excuse(connection, number, "X1", None, "minh", NOW)
        assert (await desk.stands())["GM-1"].expected["X1"] is None
        with pytest.raises(NotInvited, match="H1 is not expected"):
            await invitations.excuse(connection, number, "H1", "x", "lan", NOW)

    kept = await desk.database.pool.fetch(
        "select actor, action, detail from conftrack.audit order by audit_id desc limit 3"
    )
    assert [(row["actor"], row["action"], json.loads(row["detail"])["reason"]) for row in kept] == [
        ("minh", "excuse revoked", None),
        ("minh", "excuse", "mất điện cả xã"),
        ("lan", "excuse", "mất điện"),
    ]


# -- what a roll-call is made of


async def held(desk: Desk, store: Store, legs: Iterable[LegRecord], starts: float | None, until: float) -> None:
    """An invitation of X1 and X2, the legs as a live source showed them until a minute, and meetings on it."""
    one = Invitation(uid="u", room="hall", starts_at=None if starts is None else at(starts),
                     expected={"X1": None, "X2": None})  # fmt: skip
    entry = Entry(at=TODAY, actor="x", action="x", detail={})
    async with desk.database.pool.acquire() as connection, connection.transaction():
        await invitations.change(connection, {}, {"u": one}, entry)
    await store_all(store, [page(*legs, origin=Origin.PUSH, seen=until)])
    await desk.database.pool.execute(
        "insert into conftrack.cursor (source_id, stream, reached_at) "
        "select source_id, 'live', $1 from conftrack.source",
        at(until),
    )
    await Incidents(desk.database.pool, ZONE).refresh()


async def loaded(desk: Desk, **by: int) -> Convocation | None:
    async with desk.database.pool.acquire() as connection:
        return await rollcall.load(connection, **by)


async def number_of(desk: Desk, what: str) -> int:
    return int(await desk.database.pool.fetchval(f"select min({what}_id) from conftrack.{what}"))  # noqa: S608


@st.composite
def sittings(draw: st.DrawFn) -> list[LegRecord]:
    """Legs of two invited endpoints and one that is not, around the start, in the room and next door."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        joined = draw(st.integers(-120, 60))
        stays = draw(st.integers(1, 60))
        said: dict[str, Any] = {
            "identity": draw(st.sampled_from(["xa-1@vc.example", "xa-2@vc.example", "so@vc.example"]))
        }
        said["room"] = draw(st.sampled_from(["hall", "hall", "hall", "lobby"]))
        said["end_class"] = draw(st.sampled_from(["left", "dropped", "unreachable"]))
        attempt = said["end_class"] == "unreachable"
        found.append(leg(str(number), None if attempt else joined, joined + stays, **said))
    return found


@SLOW
@given(legs=sittings())
async def test_what_is_loaded_is_every_connection_from_the_test_before_on(legs: list[LegRecord], desk: Desk) -> None:
    """Of those who are invited, in the meeting and in tests of its room; and the day's counts say the same."""
    await views.empty(desk.database.pool)
    await furnish(desk.database)
    await held(desk, Store(desk.database.pool, ZONE), legs, 0, 200)  # a store remembers who has called
    got = await loaded(desk, invitation_id=await number_of(desk, "invitation"))
    assert got is not None

    spans = [
        (row["span_from"], row["span_to"], row["held"])
        for row in await desk.database.pool.fetch(
            "select span_from, span_to, invitation_id is not null as held from conftrack.meeting where room = 'hall'"
        )
    ]

    def connections(alias: str) -> list[Connected]:
        found = []
        for one in legs:
            moment = one.joined_at or one.left_at
            assert moment is not None
            assert one.left_at is not None
            if one.identity == alias and one.room == "hall" and one.left_at > at(0) - LOOKS_BACK:
                here = next(is_held for since, until, is_held in spans if since <= moment <= until)
                if here or moment < at(0):
                    found.append(
                        Connected(joined_at=one.joined_at, left_at=one.left_at, end_class=one.end_class, here=here)
                    )
        return sorted(found, key=str)

    seen = {guest.code: sorted(guest.connections, key=str) for guest in got.guests}
    assert seen == {"X1": connections("xa-1@vc.example"), "X2": connections("xa-2@vc.example")}

    roll = call(got, at(200))
    async with desk.database.pool.acquire() as connection:
        (day,) = await invitations.gatherings(connection, at(0), at(24 * 60))
    assert (day.expected, day.come, day.present) == (2, sum(a.joined_at is not None for a in roll.answers), 0)
    assert list(day.meeting_ids) == list(got.meeting_ids)


async def test_a_meeting_on_a_standing_invitation_is_called_over_from_its_own_start(desk: Desk, store: Store) -> None:
    """Each meeting of the room by itself, by its number; the invitation alone has no roll to call."""
    legs = [leg("1", 0, None, identity="xa-1@vc.example"), leg("2", -700, -600, identity="xa-2@vc.example")]
    await held(desk, store, legs, None, 30)
    meeting = await desk.database.pool.fetchval("select meeting_id from conftrack.meeting where ended_at is null")
    got = await loaded(desk, meeting_id=meeting)
    assert got is not None

    assert (got.starts_at, got.ended_at, got.meeting_ids, got.source) == (at(0), None, (meeting,), "one")
    assert [(a.guest.code, a.now) for a in call(got, at(30)).answers] == [("X1", "present"), ("X2", "absent")]
    assert await loaded(desk, invitation_id=await number_of(desk, "invitation")) is None
    async with desk.database.pool.acquire() as connection:
        days = await invitations.gatherings(connection, at(-24 * 60), at(24 * 60))
    assert [(day.starts_at, day.come, day.present) for day in days] == [(at(-700), 1, 0), (at(0), 1, 1)]


async def test_before_anybody_comes_the_roll_is_called_from_the_invitation(desk: Desk, store: Store) -> None:
    """Who is not seen is absent as far as the source was seen, else unknown; blindness is loaded with it."""
    await held(desk, store, [], 60, 0)
    await desk.database.pool.execute(
        "insert into conftrack.blindness select source_id, $1, $2 from conftrack.source", at(-20), at(-10)
    )
    got = await loaded(desk, invitation_id=await number_of(desk, "invitation"))
    assert got is not None

    assert (got.meeting_ids, got.seen_until, got.blind) == ((), at(0), ((at(-20), at(-10)),))
    assert [a.now for a in call(got, at(0)).answers] == ["absent", "absent"]
    assert [a.now for a in call(got, at(5)).answers] == ["unknown", "unknown"]
    assert await loaded(desk, invitation_id=-1) is None
