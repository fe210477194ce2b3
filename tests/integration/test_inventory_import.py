"""Inventory files against a real database: what they say is what stands, or nothing changes."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from conftrack.inventory import files
from conftrack.inventory.headings import Kind, Language, read_files
from conftrack.inventory.matching import Match, matched
from conftrack.inventory.moves import settled
from conftrack.inventory.tables import Sheet, WrongFiles, write_csv, write_workbook
from conftrack.inventory.work import Work
from conftrack.report.tree import OrgTree
from conftrack.sources.base import normalise_alias
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.inventory import Inventory, InventoryError, Site, Unit
from conftrack.storage.store import Store
from tests import views
from tests.worlds import ZONE, at, count, leg, meeting, page, store_all

TODAY = date(2026, 3, 4)
REFORM = date(2025, 7, 1)
KINDS: tuple[Kind, ...] = ("units", "endpoints", "moves", "aliases")


class Desk:
    """Where an operator works: files to import, and what was told."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.told: list[str] = []
        self.agrees: bool | None = True

    def file(self, text: str, name: str = "file.csv", encoding: str = "utf-8") -> Path:
        path = self.folder / name
        path.write_bytes(text.encode(encoding))
        return path

    def work(self) -> Work:
        async def consent(_: str) -> bool:
            assert self.agrees is not None
            return self.agrees

        self.told.clear()
        return Work(
            self.database.pool, ZONE, clock=lambda: datetime(2026, 3, 4, 1, tzinfo=UTC), actor="lan@trung-tam",
            say=self.told.append, consent=None if self.agrees is None else consent,
        )  # fmt: skip

    async def take(self, *texts: str | Path, replaces: bool = False) -> bool:
        paths = [self.file(t, f"{n}.csv") if isinstance(t, str) else t for n, t in enumerate(texts)]
        return await self.work().import_rows(read_files(paths, KINDS), replaces=replaces)

    async def refused(self, *texts: str | Path, replaces: bool = False) -> list[str]:
        """The problems, without the folder's name; and nothing has changed."""
        before = await inventory.load(self.database.pool)
        with pytest.raises(WrongFiles) as caught:
            await self.take(*texts, replaces=replaces)
        assert await inventory.load(self.database.pool) == before
        return [str(problem).replace(f"{self.folder}/", "") for problem in caught.value.problems]

    async def stands(self) -> Inventory:
        return await inventory.load(self.database.pool)

    async def endpoint(self, code: str) -> Site:
        return next(site for site in (await self.stands()).endpoints if site.code == code)


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path)


UNITS = "code,name,parent\nT,Tỉnh,\nT-X1,Xã Một,T\nT-X2,Xã Hai,T\n"
ENDPOINTS = (
    "code,name,org,seats,contact_phone\nT-X1-01,Hội trường xã Một,T-X1,80,0210 1\nT-X2-01,Hội trường xã Hai,T-X2,,\n"
)
ALIASES = "alias,endpoint\nSIP:Xa-1@VC.example:5061;transport=tls,T-X1-01\nxa-2@vc.example,T-X2-01\n"


# -- properties

#: All that a name may hold: text that a spreadsheet takes for a formula, a number, a day or a delimiter.
_words = st.text(st.sampled_from("aăđ ớZ09-+=@'\",;.:/()"), min_size=1, max_size=8)
_text = st.one_of(
    st.sampled_from(["=1+1", "@x", "'=x", "''-x", "007", "1e5", "2025-07-01", "TRUE", "#N/A", "=", "+84 210"]), _words
).map(lambda text: " ".join(text.split()) or "a")
_maybe = st.none() | _text
_day = st.dates(date(1997, 1, 1), date(2027, 1, 1))


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """A tree with reshaped units, endpoints with all or nothing known of them, some out of service."""
    codes = [f"{draw(st.sampled_from(['T', '0', '=T', '-x', 'Đ ']))}{n}" for n in range(draw(st.integers(1, 5)))]
    units: list[Unit] = []
    for number, code in enumerate(codes):
        parent = draw(st.none() | st.sampled_from(codes[:number])) if number else None
        above = next((unit.level for unit in units if unit.code == parent), -1)
        if draw(st.booleans()):
            units.append(
                Unit(code=code, name=draw(_text), parent=parent, level=above + 1, valid_from=draw(st.none() | _day))
            )
        else:
            turned = draw(_day)
            first = draw(st.none() | st.just(turned - timedelta(days=9)))
            units.append(
                Unit(code=code, name=draw(_text), parent=parent, level=draw(st.integers(0, 9)), valid_from=first,
                     valid_to=turned, successors=draw(st.sampled_from([(), (code,)])))
            )  # fmt: skip
            units.append(Unit(code=code, name=draw(_text), parent=parent, level=above + 1, valid_from=turned))
    aliases = draw(st.lists(st.text("abc@.0", min_size=1, max_size=9), unique=True, max_size=8))
    sites = [
        Site(
            code=f"{draw(st.sampled_from(['S', '+', 'E-0']))}{number}", name=draw(_text),
            org=draw(st.none() | st.sampled_from(codes)), kind=draw(_maybe),
            seats=draw(st.none() | st.integers(0, 999)), carrier=draw(_maybe), area=draw(_maybe),
            service_hours=draw(st.sampled_from([None, "07:00-17:30"])), contact_name=draw(_maybe),
            contact_phone=draw(_maybe), retired_on=draw(st.none() | _day), aliases=tuple(sorted(aliases[number::4])),
        )
        for number in range(draw(st.integers(0, 4)))
    ]  # fmt: skip
    pasts = st.lists(st.tuples(_day, st.none() | st.sampled_from(codes)), max_size=3, unique_by=lambda row: row[0])
    sites = [replace(site, former=settled(draw(pasts), site.org)) for site in sites]
    taken = {inventory.own_alias(site.code) for site in sites}
    return Inventory.of(units, [site for site in sites if not taken & set(site.aliases)])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    held=inventories(),
    language=st.sampled_from(["vi", "en"]),
    form=st.sampled_from(["folder", "book.xlsx"]),
    replaces=st.booleans(),
    turn=st.randoms(use_true_random=False),
)
async def test_what_is_exported_imports_to_no_change(
    held: Inventory, language: Language, form: str, replaces: bool, turn: random.Random, desk: Desk
) -> None:
    """Whatever is in the inventory: its own files, with their lines in any order, change nothing; into an empty
    database they bring all of it."""
    await views.empty(desk.database.pool)
    await inventory.apply(desk.database.pool, Inventory(), held)
    assert await desk.stands() == held

    sheets = [shuffled(sheet, turn) for sheet in files.sheets(held, language)]
    written = [desk.folder / form] if form.endswith(".xlsx") else [desk.folder / f"{s.name}.csv" for s in sheets]
    if form.endswith(".xlsx"):
        write_workbook(written[0], sheets)
    else:
        for path, sheet in zip(written, sheets, strict=True):
            write_csv(path, sheet, delimiter=turn.choice(",;\t"))
    turn.shuffle(written)
    assert await desk.take(*written, replaces=replaces)
    assert desk.told[-1].startswith("Nothing to do"), desk.told

    await views.empty(desk.database.pool)
    if all(normalise_alias(alias) == alias for site in held.endpoints for alias in site.aliases):
        await desk.take(*written, replaces=replaces)
        assert await desk.stands() == held


def shuffled(sheet: Sheet, turn: random.Random) -> Sheet:
    lines = list(sheet.lines)
    turn.shuffle(lines)
    return Sheet(name=sheet.name, headings=sheet.headings, lines=tuple(lines))


_WRONG = (
    "code,parent\nT-X1,T-X9\n",
    "code,parent\nT,T-X1\n",
    "code,valid_from,valid_to\nT-X1,2025-01-01,2024-01-01\n",
    "code,valid_to\nT,2026-01-01\n",
    "code,org\nT-X1-01,T-X9\n",
    "code,seats\nT-X1-01,many\n",
    "code,carrier\nT-X9-01,VNPT\n",
    "alias,endpoint\nt-x1-01,T-X2-01\n",
    "alias,endpoint\nnew@vc.example,T-X9-01\n",
    "code,org,nmae\nT-X1-01,T-X1,a\n",
    "endpoint,former_unit,moved_on\nT-X1-01,T-X9,2025-07-01\n",
    "endpoint,former_unit,moved_on\nT-X9-01,T-X2,2025-07-01\n",
    "endpoint,former_unit,moved_on\nT-X1-01,T-X2,2025-07-01\nT-X1-01,T,01/07/2025\n",
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wrong=st.sets(st.sampled_from(_WRONG), min_size=1, max_size=3), turn=st.randoms(use_true_random=False))
async def test_one_mistake_anywhere_changes_nothing(wrong: set[str], turn: random.Random, desk: Desk) -> None:
    """However much of the files is right, and wherever the mistake stands."""
    await views.empty(desk.database.pool)
    await desk.take(UNITS, ENDPOINTS, ALIASES)
    right = ["code,name,org\nT-X1-02,Phòng họp,T-X1\n", "alias,endpoint\nx@vc.example,T-X1-01\n"]
    texts = [*right, *sorted(wrong)]
    turn.shuffle(texts)

    problems = await desk.refused(*texts)

    assert problems
    assert all("line " in problem and "column " in problem for problem in problems)


# -- what files say


async def test_files_of_any_spreadsheet_program_say_the_same(desk: Desk) -> None:
    """With or without byte order mark, title and numbering, semicolons, commas or tabs, in either language."""
    ways = [
        ("Mã điểm cầu;Tên điểm cầu;Số chỗ\r\nA;Hội trường;80\r\n", "utf-8-sig"),
        ("mã ĐIỂM cầu,tên điểm cầu,số ghế\nA,Hội trường,80\n", "utf-8"),
        ("ma diem cau\tTen diem cau\tSuc chua\r\nA\tHội trường\t80\r\n", "utf-16"),
        ("sep=;\r\nCode;Name;Seats\r\nA;Hội trường;80\r\n", "utf-8"),
        ("DANH SÁCH, NĂM 2026;;;\r\n;;;\r\nSTT;Code;Name;Seats\r\n1;A; Hội  trường ;80\r\n;;;\r\n", "utf-8"),
        ('code,name,seats\rA,"Hội\n trường","80"\r', "utf-8"),
        # A letter apart from its marks, as macOS names files; the tone apart, as Windows' own keyboard types it.
        (unicodedata.normalize("NFD", "Code,Name,Seats\nA,Hội trường,80\n"), "utf-8"),
        ("Code,Name,Seats\nA,Hô\u0323i tr\u01b0\u01a1\u0300ng,80\n", "utf-8"),
    ]
    for text, encoding in ways:
        await views.empty(desk.database.pool)
        await desk.take(desk.file(text, encoding=encoding))
        assert await desk.stands() == Inventory(endpoints=(Site(code="A", name="Hội trường", seats=80),)), text


async def test_a_workbook_says_the_same_with_its_days_numbers_and_sheets(desk: Desk) -> None:
    """Sheets are known by their headings whatever their names; days are days, codes keep the zeros that are shown; a
    sheet without headings and a hidden one are passed over."""
    book = openpyxl.Workbook()
    notes = book.active
    assert notes is not None
    notes["A1"] = "Ghi chú của văn phòng"
    units = book.create_sheet("A")
    units.append(["Đơn vị năm 2025"])
    units.append(["Mã đơn vị", "Tên đơn vị", "Hiệu lực từ"])
    units.append([8230, "Xã Tân An", datetime(2025, 7, 1)])  # noqa: DTZ001  (Excel knows no time zones)
    units["A3"].number_format = "00000"
    sites = book.create_sheet("B")
    sites.append(["Mã điểm cầu", "Mã đơn vị", "Tên điểm cầu", "Số chỗ"])
    sites.append(["A", "08230", "Hội trường", 80.0])
    hidden = book.create_sheet("C")
    hidden.append(["Mã điểm cầu", "Tên điểm cầu", "Số chỗ"])
    hidden.append(["B", "Danh mục", "x"])
    hidden.sheet_state = "hidden"
    book.save(desk.folder / "book.xlsx")

    await desk.take(desk.folder / "book.xlsx")

    held = await desk.stands()
    assert held.units == (Unit(code="08230", name="Xã Tân An", valid_from=REFORM),)
    assert held.endpoints == (Site(code="A", name="Hội trường", org="08230", seats=80),)
    assert any("Sheet" in line and "passed over" in line for line in desk.told)


async def test_what_a_workbook_cannot_mean_is_told_with_its_cell(desk: Desk) -> None:
    """A formula is not worked out, an error is no value, a phone number that Excel made a number has lost its zero, and
    a code that it made a day is no code."""
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    page.title = "Điểm cầu"
    page.append(["Mã điểm cầu", "Tên điểm cầu", "Số chỗ", "Điện thoại", "Khu vực"])
    page.append(["A", "=1+1", "#N/A", 912345678, True])
    page.append([datetime(2026, 1, 2), "Tên", 1.5, "0912", None])  # noqa: DTZ001
    page["C2"].data_type = "e"
    book.save(desk.folder / "book.xlsx")

    assert [problem.split("sheet ")[1] for problem in await desk.refused(desk.folder / "book.xlsx")] == [
        '"Điểm cầu", line 2, column "Khu vực": holds True, which is neither text nor a number nor a day',
        '"Điểm cầu", line 2, column "Số chỗ": holds Excel\'s error #N/A',
        '"Điểm cầu", line 2, column "Tên điểm cầu": holds a formula: replace it by its value (copy, then paste values '
        "only)",
        '"Điểm cầu", line 2, column "Điện thoại": 912345678 is a number to Excel, which drops the leading 0: make the '
        "column text",
        '"Điểm cầu", line 3, column "Mã điểm cầu": is a day to Excel (02/01/2026): make the column text, then type it '
        "again",
        '"Điểm cầu", line 3, column "Số chỗ": \'1.5\' is not a whole number from 0 to 100,000',
    ]


async def test_nothing_that_is_written_can_be_taken_for_a_formula(desk: Desk) -> None:
    """A caller's address that begins like a formula is text in every file, and the same address when it comes back."""
    tricky = ["=cmd|' /c calc'!a0", "+842103846647", "-2+3", "@sum(a1)"]
    await desk.take(UNITS, ENDPOINTS, "alias,endpoint\n" + "".join(f'"{one}",T-X1-01\n' for one in tricky))
    held = await desk.stands()
    files.write(held, desk.folder / "csv", "en", force=False)
    files.write(held, desk.folder / "book.xlsx", "vi", force=False)

    lines = (desk.folder / "csv" / "aliases.csv").read_text("utf-8-sig").splitlines()
    assert [line[0] for line in lines[1:]] == ["'"] * 4
    cells = [
        c for sheet in openpyxl.load_workbook(desk.folder / "book.xlsx") for row in sheet.rows for c in row if c.value
    ]
    assert [c.value for c in cells if c.data_type == "f" or str(c.value)[0] in "=+-@"] == []
    assert await desk.take(desk.folder / "csv" / "aliases.csv", replaces=True)
    assert await desk.stands() == held


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("code,org,seats\nA,T-X1,-1\n", 'line 2, column "seats": \'-1\' is not a whole number from 0 to 100,000'),
        ("code,org,name\nA,T-X1,\n", 'line 2, column "name": endpoint A is new: it needs a name'),
        ("code,org,name\nA,Xã Một,a\n", "there is no unit 'Xã Một'; write the code of 'Xã Một': T-X1"),
        ("code,org,name\nA,T-X,a\n", "there is no unit 'T-X'; did you mean T-X"),
        ("code,org,name\nt-x1-01,T-X1,a\n", "endpoint t-x1-01 is T-X1-01 in other capitals: write it in one way"),
        ("code,org,name\nA,T,a\nB,T,b\nA,T,a\n", 'line 4, column "code": A stands on line 2 already'),
        ("code,org,service_hours\nT-X1-01,T,17:00-07:00\n", 'column "service_hours": \'17:00-07:00\' is not a span of'),
        ("code,org,retired_on\nT-X1-01,T,31/02/2026\n", "'31/02/2026' is not a day like 2025-07-01 or 01/07/2025"),
        ('code,org,name\nA,T,"a\n', "line 2: is not CSV"),
        ("code,org,name\nA,T,a\u200bb\n", 'line 2, column "name": holds the invisible character U+200B'),
        ("code,org,name\nA,T,a,b\n", 'line 2, column "No. 4": \'b\' stands under no heading'),
        ("code,org,nmae\nA,T,a\n", "line 1, column \"nmae\": no column of endpoints is called so; did you mean"),
        ("code,name,org,tên\nA,T,a,b\n", 'line 1, column "tên": a second column name'),
        ("code,name\nA,a\n", "line 1: these may be units or endpoints"),
        ("a,b\n1,2\n", "no line has the headings that are needed"),
        ("seats,carrier\n1,2\n", "line 1: these look like the headings of endpoints, but code is missing"),
        ("caller,code,seen\na,A,1\n", "line 1: this is a list of callers: use `conftrack inventory match --from`"),
        ("code,parent\nT-X1,T-X2\nT-X2,T-X1\n", "unit T-X1 is below itself: T-X1 → T-X2 → T-X1"),
        ("code,valid_to\nT,2026-01-01\n", "unit T-X1 goes on after T above it ended on 2026-01-01"),
        ("code,successors\nT-X1,T-X2\n", "unit T-X1 has successors but no end (valid_to)"),
        ("code,valid_to,successors\nT-X1,2026-01-01,T-X3\n", "unit T-X1: there is no unit 'T-X3'"),
        ("alias,endpoint\na@b,T-X1-01\nSIP:A@B,T-X2-01\n", "line 3, column \"alias\": a@b is given to T-X1-01"),
        ("alias,endpoint\nsip:,T-X1-01\n", "'sip:' is no address"),
        ("alias,endpoint\nt-x2-01,T-X1-01\n", "t-x2-01 is the code of endpoint T-X2-01, so it cannot be"),
        ("alias,endpoint\nx,T-X1-1\n", "there is no endpoint 'T-X1-1'; did you mean T-X1-01 (Hội trường xã Một)?"),
    ],
)  # fmt: skip
async def test_each_mistake_is_told_where_it_is(text: str, said: str, desk: Desk) -> None:
    """File, line and column, what is wrong, and what is probably meant."""
    await desk.take(UNITS, ENDPOINTS, ALIASES)

    problems = await desk.refused(text)

    assert any(said in problem for problem in problems), problems
    assert all(problem.startswith("0.csv") for problem in problems)


async def test_all_mistakes_are_told_at_once(desk: Desk) -> None:
    """Those of cells and those of what would come of them, over all files, in their order."""
    problems = await desk.refused(
        "code,name,parent\nT,Tỉnh,\nX,Xã,Y\n",
        "code,name,org,seats\nA,a,T,x\nB,,Z,1\n",
        "alias,endpoint\na,A\nb,C\n",
    )
    assert [problem.split(":")[0] for problem in problems] == [
        '0.csv, line 3, column "parent"',
        '1.csv, line 2, column "seats"',
        '1.csv, line 3, column "name"',
        '1.csv, line 3, column "org"',
        '2.csv, line 3, column "endpoint"',
    ]


async def test_a_file_that_is_none_is_told(desk: Desk) -> None:
    """Another encoding, an old workbook, a broken one: what to do, and no traceback."""
    (path,) = [desk.file("code,name\nA,Hội trường\n", encoding="cp1252") for _ in "x" if False] or [
        desk.folder / "x.csv"
    ]
    path.write_bytes(b"code,name\nA,H\xf4i\n")
    assert await desk.refused(path) == ['x.csv, line 2: is not UTF-8: in Excel, save it as "CSV UTF-8", or as .xlsx']
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    assert await desk.refused(path) == ["x.csv: is an old Excel file, or has a password: save it as .xlsx, without one"]
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert await desk.refused(path) == ["x.csv: is not a workbook that Excel would open"]


# -- what comes of it


async def test_a_column_that_is_not_there_changes_nothing_and_an_empty_cell_empties(desk: Desk) -> None:
    """So that a list of phone numbers alone is a file, and a number can be taken away."""
    await desk.take(UNITS, ENDPOINTS, ALIASES)
    await desk.take("code,contact_phone\nT-X1-01,\nT-X2-01,0912\n")

    first, second = (await desk.stands()).endpoints
    assert (first.contact_phone, first.seats, first.name, first.aliases) == (
        None, 80, "Hội trường xã Một", ("xa-1@vc.example",)
    )  # fmt: skip
    assert second.contact_phone == "0912"


async def test_the_reform_keeps_what_units_were_and_who_took_over(desk: Desk, store: Store) -> None:
    """A commune that kept its code is two periods of one unit; the district ends; figures follow the tree as it is now,
    a row a unit."""
    await desk.take(
        "code,name,parent\nT,Tỉnh,\nH,Huyện,T\nX1,Xã Một,H\nX2,Xã Hai,H\n",
        "code,name,org\nA,a,X1\nB,b,X2\n",
        "alias,endpoint\na@vc.example,A\nb@vc.example,B\n",
    )
    await store_all(store, [page(leg("1", identity="a@vc.example"), leg("2", identity="b@vc.example"))])
    await desk.take(
        "code,name,parent,valid_from,valid_to,successors\nH,Huyện,T,,01/07/2025,\nX1,Xã Một,H,,01/07/2025,X1\n"
        "X2,Xã Hai,H,,01/07/2025,X1\nX1,Xã Một Hai,T,01/07/2025,,\n",
        "code,org\nB,X1\n",
    )

    rows = await desk.database.pool.fetch(
        "select code, name, parent, level, valid_from, valid_to, successors from conftrack.org_units"
        " order by code, valid_from nulls first"
    )
    assert [tuple(row) for row in rows] == [
        ("H", "Huyện", "T", 1, None, REFORM, []),
        ("T", "Tỉnh", None, 0, None, None, []),
        ("X1", "Xã Một", "H", 2, None, REFORM, ["X1"]),
        ("X1", "Xã Một Hai", "T", 1, REFORM, None, []),
        ("X2", "Xã Hai", "H", 2, None, REFORM, ["X1"]),
    ]
    months = await desk.database.pool.fetch(
        "select org, endpoints from conftrack.usage_monthly where source is null and org is not null order by org"
    )
    assert [tuple(row) for row in months] == [("T", 2), ("X1", 2)]


# -- what endpoints were in before


async def past(desk: Desk, code: str = "T-X1-01") -> tuple[tuple[date, str | None], ...]:
    async with desk.database.pool.acquire() as connection:
        return (await inventory.load_history(connection)).get(code, ())


async def test_an_endpoint_that_moves_keeps_the_unit_it_was_in(desk: Desk) -> None:
    """Until the day of the import where nothing else is known; the difference says so before it is made."""
    await desk.take(UNITS, ENDPOINTS)
    await desk.take("code,org\nT-X1-01,T-X2\n")

    assert "  ~ T-X1-01 Hội trường xã Một: org T-X1 → T-X2; units before nothing → T-X1 until 2026-03-04" in desk.told
    assert await past(desk) == ((TODAY, "T-X1"),)
    assert await past(desk, "T-X2-01") == ()


async def test_an_endpoint_of_a_unit_that_ended_moves_on_that_day(desk: Desk) -> None:
    """The reform, with its new units and where their endpoints went, told in one import eight months later."""
    await desk.take(UNITS, ENDPOINTS)
    await desk.take(
        "code,name,parent,valid_from,valid_to,successors\nT-X1,Xã Một,T,,2025-07-01,T-X3\nT-X3,Xã Ba,T,2025-07-01,,\n",
        "code,org\nT-X1-01,T-X3\n",
    )
    assert await past(desk) == ((REFORM, "T-X1"),)


@pytest.mark.parametrize("heading", ["unit_since", "Thuộc đơn vị từ", "Đơn vị từ ngày"])
async def test_a_file_may_say_since_when_an_endpoint_is_in_its_unit(heading: str, desk: Desk) -> None:
    """In Vietnamese and in English."""
    await desk.take(UNITS, ENDPOINTS)
    await desk.take(f"code,org,{heading}\nT-X1-01,T-X2,15/10/2025\n")
    assert await past(desk) == ((date(2025, 10, 15), "T-X1"),)


async def test_a_mistake_in_a_move_can_be_corrected(desk: Desk) -> None:
    """Another day for the last move, earlier or later; another unit since then; and back to where it never left."""
    await desk.take(UNITS, "code,name,parent\nT-X3,Xã Ba,T\n", ENDPOINTS)
    await desk.take("code,org\nT-X1-01,T-X2\n")
    await desk.take("code,unit_since\nT-X1-01,2025-10-01\n")
    assert await past(desk) == ((date(2025, 10, 1), "T-X1"),)
    await desk.take("code,unit_since\nT-X1-01,2025-11-01\n")
    assert await past(desk) == ((date(2025, 11, 1), "T-X1"),)
    await desk.take("code,org,unit_since\nT-X1-01,T-X3,2026-01-01\n")
    assert await past(desk) == ((date(2025, 11, 1), "T-X1"), (date(2026, 1, 1), "T-X2"))

    await desk.take("code,org,unit_since\nT-X1-01,T-X3,2025-09-01\n")
    assert desk.told[1] == (
        "  ~ T-X1-01 Hội trường xã Một: units before T-X1 until 2025-11-01, T-X2 until 2026-01-01 → "
        "T-X1 until 2025-09-01"
    )
    await desk.take("code,org,unit_since\nT-X1-01,T-X1,2025-09-01\n")
    assert await past(desk) == ()


async def test_an_endpoint_that_comes_back_was_away_between(desk: Desk) -> None:
    """Also where the list of moves, unchanged, is imported along with it."""
    await desk.take(UNITS, ENDPOINTS, "endpoint,former_unit,moved_on\nT-X1-01,T-X2,2025-07-01\n")
    await desk.take("code,org\nT-X1-01,T-X2\n", "endpoint,former_unit,moved_on\nT-X1-01,T-X2,2025-07-01\n")
    assert await past(desk) == ((REFORM, "T-X2"), (TODAY, "T-X1"))


async def test_the_list_of_moves_is_all_that_an_endpoint_was_in(desk: Desk) -> None:
    """For an endpoint that it names, it stands in place of what was kept; the rest stay, but with --replace."""
    await desk.take(UNITS, ENDPOINTS)
    await desk.take("code,org\nT-X1-01,T-X2\nT-X2-01,T-X1\n")
    await desk.take("Mã điểm cầu;Đơn vị trước đó;Ngày chuyển đơn vị\nT-X1-01;;2024-01-01\nT-X1-01;T;01/07/2025\n")
    assert await past(desk) == ((date(2024, 1, 1), None), (REFORM, "T"))
    assert await past(desk, "T-X2-01") == ((TODAY, "T-X2"),)

    await desk.take("endpoint,former_unit,moved_on\nT-X1-01,T,2025-07-01\n", replaces=True)
    assert await past(desk) == ((REFORM, "T"),)
    assert await past(desk, "T-X2-01") == ()


async def test_a_first_unit_is_no_move(desk: Desk) -> None:
    """Filling in what was left out says nothing of before; where a day is given in vain, that is told."""
    await desk.take(UNITS, "code,name,unit_since\nE,Điểm cầu,2025-07-01\n")
    assert desk.told[-2].startswith("Note: unit_since says nothing of E: no unit before is known"), desk.told
    await desk.take("code,org\nE,T-X1\n")
    assert await past(desk, "E") == ()
    await desk.take("code,org\nE,\n")
    assert await past(desk, "E") == ((TODAY, "T-X1"),)


async def test_usage_follows_the_unit_of_today_and_reports_that_of_the_day(desk: Desk, store: Store) -> None:
    """A move takes the past of an endpoint along in the rollups; the tree of the day still has it where it was."""
    await desk.take(UNITS, ENDPOINTS, ALIASES)
    await store_all(store, [page(leg("1", identity="xa-1@vc.example"))])
    await desk.take("code,org,unit_since\nT-X1-01,T-X2,2026-02-01\n")

    rows = await desk.database.pool.fetch(
        "select org from conftrack.usage_monthly where source is null and org like '_-%'"
    )
    assert [row["org"] for row in rows] == ["T-X2"]
    tree = OrgTree(await desk.stands())
    assert tree.path("T-X1-01", date(2026, 1, 31)) == ("T-X1", "T")
    assert tree.path("T-X1-01", date(2026, 2, 1)) == ("T-X2", "T")


async def test_a_unit_with_another_name_and_a_later_day_is_founded_anew(desk: Desk) -> None:
    """The one before ends that day; with the same name and place, only its first day is known better."""
    await desk.take(UNITS)
    await desk.take("code,name,parent,valid_from\nT-X1,Xã Mới,T,2025-07-01\nT-X2,Xã Hai,T,1997-01-01\n")

    held = (await desk.stands()).periods()
    assert [(u.name, u.valid_from, u.valid_to) for u in held["T-X1"]] == [
        ("Xã Một", None, REFORM),
        ("Xã Mới", REFORM, None),
    ]
    assert [(u.valid_from, u.valid_to) for u in held["T-X2"]] == [(date(1997, 1, 1), None)]


async def test_replace_ends_what_is_not_named_and_keeps_its_past(desk: Desk, store: Store) -> None:
    """A unit ends today, an endpoint goes out of service with its aliases and its meetings, an alias of one in service
    is taken away; what the files have no kind of stays."""
    await desk.take(UNITS, ENDPOINTS, ALIASES + "old@vc.example,T-X1-01\n")
    await store_all(store, [page(leg("1", identity="xa-2@vc.example"), leg("2", identity="old@vc.example"))])
    await desk.take(
        "code,parent\nT,\nT-X1,T\n",
        "code,org\nT-X1-01,T-X1\n",
        "alias,endpoint\nxa-1@vc.example,T-X1-01\n",
        replaces=True,
    )

    held = await desk.stands()
    assert held.periods()["T-X2"][-1].valid_to == TODAY
    one, two = held.endpoints
    assert (one.retired_on, one.aliases) == (None, ("xa-1@vc.example",))
    assert (two.retired_on, two.aliases) == (TODAY, ("xa-2@vc.example",))
    legs = await desk.database.pool.fetch("select endpoint from conftrack.legs order by external_id")
    assert [row["endpoint"] for row in legs] == ["T-X2-01", None]

    await desk.take("code,org,retired_on\nT-X2-01,T-X1,\n")
    assert (await desk.endpoint("T-X2-01")).retired_on is None
    await desk.take("code,org\nT-X2-01,T-X1\n", replaces=True)
    assert (await desk.endpoint("T-X1-01")).retired_on == TODAY
    assert (await desk.endpoint("T-X1-01")).aliases == ("xa-1@vc.example",)


async def test_an_alias_that_moves_takes_its_past_with_it(desk: Desk, store: Store) -> None:
    """The difference says how many callers and legs count for another endpoint, and then they do."""
    await desk.take(UNITS, ENDPOINTS, ALIASES)
    await store_all(store, [page(leg("1", identity="xa-1@vc.example"), leg("2", 70, 80, identity="xa-1@vc.example"))])
    await desk.take("alias,endpoint\nxa-1@vc.example,T-X2-01\n")

    assert "Aliases: 1 moved" in desk.told
    assert "1 caller seen before finds another endpoint by it: 2 legs of the past will count for it." in desk.told
    months = await desk.database.pool.fetch(
        "select org, legs from conftrack.usage_monthly where source is null order by org"
    )
    assert [tuple(row) for row in months] == [("T", 2), ("T-X2", 2), (None, 2)]


@pytest.mark.parametrize("agrees", [False, None])
async def test_without_a_yes_nothing_changes(agrees: bool | None, desk: Desk) -> None:
    """A no, and nobody to ask: the difference is shown, and that nothing was changed."""
    desk.agrees = agrees

    assert not await desk.take(UNITS, ENDPOINTS, ALIASES)

    assert await desk.stands() == Inventory()
    assert "Units: 3 new" in desk.told
    assert "Nothing was changed" in desk.told[-1]


async def test_what_somebody_else_changed_meanwhile_is_not_written_over(desk: Desk) -> None:
    """The difference that was agreed to is not the one that it would be now."""
    before = await desk.stands()
    await desk.take(UNITS)
    with pytest.raises(InventoryError, match="somebody else changed the inventory"):
        await inventory.apply(desk.database.pool, before, Inventory(units=(Unit(code="A", name="a"),)))

    assert len((await desk.stands()).units) == 3


async def test_the_audit_says_who_changed_what_and_no_phone_number(desk: Desk) -> None:
    """Every import that changed something is an entry; of people's data only that it changed."""
    await desk.take(UNITS, "code,name,org,contact_name,contact_phone\nA,a,T,Lê Văn Tám,0912\n")
    await desk.take("code,org,seats\nA,T,7\n")
    await desk.take("code,org,seats\nA,T,7\n")

    rows = await desk.database.pool.fetch(
        "select at, actor, action, detail::text from conftrack.audit order by audit_id"
    )
    assert [(row["at"], row["actor"], row["action"]) for row in rows] == [
        (datetime(2026, 3, 4, 1, tzinfo=UTC), "lan@trung-tam", "inventory import")
    ] * 2
    assert '"seats": [null, "7"]' in rows[1]["detail"]
    assert "0912" not in rows[0]["detail"]
    assert "Tám" not in rows[0]["detail"]


async def test_doubts_are_told_beside_the_difference(desk: Desk) -> None:
    """Endpoints left in a unit that ended, one carrier in two spellings, one that stays out of service."""
    await desk.take(
        "code,name,parent,valid_to,successors\nT,Tỉnh,,,\nX,Xã,T,2026-01-01,T\n",
        "code,name,org,carrier,retired_on\nA,a,X,Viettel,\nB,b,T,VIETTEL,\nC,c,T,,2026-01-01\n",
    )
    assert [line for line in desk.told if line.startswith("Note")] == [
        "Note: 1 endpoint is still in service (A) in X (Xã), which ended on 2026-01-01; its successors: T",
        "Note: the carrier is written 'Viettel' (1×) and 'VIETTEL' (1×): one and the same?",
    ]
    await desk.take("code,org,seats\nC,T,1\n")
    assert any("C stays out of service" in line for line in desk.told)


# -- callers and their endpoints


async def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    names = await database.pool.fetch(
        "select oid::regclass::text as name from pg_class"
        " where relnamespace = 'conftrack'::regnamespace and relkind = 'r'"
    )
    return {
        row["name"]: sorted((tuple(r) for r in await database.pool.fetch(f"select * from {row['name']}")), key=repr)  # noqa: S608
        for row in names
    }


async def two_codecs(desk: Desk, store: Store) -> None:
    """One site that is known by one address and calls from a second one too, at the same time and on another day."""
    await desk.take(UNITS, ENDPOINTS, ALIASES)
    hour = [leg("1", identity="xa-1@vc.example"), leg("2", 5, 60, identity="hoi-truong-xa-mot")]
    again = [leg("3", 2000, 2060, identity="hoi-truong-xa-mot"), leg("4", None, 2001, identity="hoi-truong-xa-mot",
             end_class="no_answer")]  # fmt: skip
    await store_all(store, [page(meeting(), *hour, *again, count(40, endpoint="xa-1@vc.example"))])


def months(rows: Iterable[inventory.Figure]) -> dict[tuple[str | None, str], tuple[float, float]]:
    return {(row.org, row.name): (row.before, row.after) for row in rows}


async def test_a_preview_is_what_comes_and_leaves_no_trace(desk: Desk, store: Store) -> None:
    """Every figure after the match is the one that was shown before it; the preview itself changes not one row."""
    await two_codecs(desk, store)
    before = await desk.stands()
    after = matched(before, [Match(caller="hoi-truong-xa-mot", code="T-X1-01")], {"hoi-truong-xa-mot"})
    rows = await everything(desk.database)

    effect = await inventory.what_if(store, desk.database.pool, before, after)

    assert await everything(desk.database) == rows
    assert effect.callers == 1
    assert {f.name: (f.before, f.after) for f in effect.endpoints} == {
        "legs": (1, 3), "meetings": (1, 2), "connections": (1, 2)
    }  # fmt: skip
    shown = months(effect.months)
    assert shown[None, "endpoint_connections"] == (3, 2)
    assert shown[None, "endpoints"] == (2, 1)
    assert shown["T-X1", "legs"] == (1, 3)
    assert shown["T-X1", "failed_connections"] == (0, 1)
    assert (None, "legs") not in shown, "what stays the same is no change"

    await inventory.apply(desk.database.pool, before, after)
    await store.refresh()
    now = await desk.database.pool.fetch("select * from conftrack.usage_monthly where source is null")
    becomes = {(row["org"], name): value for row in now for name, value in row.items()}
    assert {key: becomes[key] for key in shown} == {key: value for key, (_, value) in shown.items()}


async def test_a_match_is_shown_made_and_kept_on_record(desk: Desk, store: Store) -> None:
    """However the caller is written; later calls from it are the endpoint's too."""
    await two_codecs(desk, store)
    desk.agrees = None
    await desk.work().match([Match(caller="Hoi-Truong-Xa-Mot", code="T-X1-01")])
    assert "  endpoint connections                         1             2" in desk.told
    assert await desk.database.pool.fetchval("select count(*) from conftrack.legs where endpoint is null") == 3

    desk.agrees = True
    await desk.work().match([Match(caller="Hoi-Truong-Xa-Mot", code="T-X1-01")])

    await store_all(store, [page(leg("9", 3000, 3010, identity="hoi-truong-xa-mot"))])
    assert await desk.database.pool.fetchval("select count(*) from conftrack.legs where endpoint is null") == 0
    row = await desk.database.pool.fetchrow(
        "select actor, action, detail::text from conftrack.audit order by at, audit_id desc"
    )
    assert row is not None
    assert tuple(row) == ("lan@trung-tam", "inventory match", '{"matches": {"hoi-truong-xa-mot": "T-X1-01"}}')
    assert await desk.work().match([Match(caller="hoi-truong-xa-mot", code="T-X1-01")])
    assert desk.told == ["Nothing to do: every caller has this endpoint already."]


async def test_a_match_takes_nothing_from_another_endpoint(desk: Desk, store: Store) -> None:
    """Nor does it take a caller that nobody has seen, or a code that is not there: one wrong of a list, and none is
    made."""
    await two_codecs(desk, store)
    wrong = [
        Match(caller="hoi-truong-xa-mot", code="T-X1-01"),
        Match(caller="xa-1@vc.example", code="T-X2-01"),
        Match(caller="nobody@vc.example", code="T-X2-01"),
        Match(caller="hoi-truong-xa-mot", code="T-X2-01"),
        Match(caller="hoi-truong-xa-mot", code="T-X1-1"),
    ]

    with pytest.raises(WrongFiles) as caught:
        await desk.work().match(wrong)

    said = str(caught.value)
    assert "xa-1@vc.example is an alias of T-X1-01 (Hội trường xã Một): match takes nothing away" in said
    assert "nobody has called as 'nobody@vc.example' yet" in said
    assert "hoi-truong-xa-mot is given to T-X1-01 before" in said
    assert "there is no endpoint 'T-X1-1'; did you mean T-X1-01" in said
    assert await desk.database.pool.fetchval("select count(*) from conftrack.legs where endpoint is null") == 3


async def test_the_queue_has_who_was_seen_most_first(desk: Desk, store: Store) -> None:
    """With counts, last sight and a meeting; neither persons nor scanners nor recorders are in it, unless a person is
    asked for; a head count that names no site is."""
    await desk.take(UNITS, ENDPOINTS)
    rare = leg("5", 100, 110, identity="rare", meeting="m")
    seen = [leg(str(n), n, n + 1, identity="often@vc.example") for n in range(3)]
    tried = leg("6", None, 7, identity="tried", end_class="unreachable")
    others = [
        leg("7", identity="recorder", excluded="recorder"),
        leg("8", identity="nguyễn văn an", personal=True),
        leg("9", identity="t-x1-01"),
    ]
    await store_all(
        store,
        [page(meeting("m", 90, 120, title="Giao ban"), rare, *seen, tried, *others, count(9, 5, endpoint="sân kho"))],
    )

    queue, total = await inventory.unmatched(desk.database.pool)
    shown = [(c.identity, c.legs, c.attempts, c.headcounts, c.last_seen_at, c.title or c.room) for c in queue]
    assert shown == [
        ("often@vc.example", 3, 0, 0, at(2), "hall"),
        ("rare", 1, 0, 0, at(100), "Giao ban"),
        ("tried", 0, 1, 0, at(7), "hall"),
        ("sân kho", 0, 0, 1, at(5), None),
    ]
    assert total == 4
    assert len((await inventory.unmatched(desk.database.pool, limit=1))[0]) == 1
    persons, _ = await inventory.unmatched(desk.database.pool, persons=True)
    assert [caller.identity.partition(":")[0] for caller in persons if caller.personal] == ["person"]
