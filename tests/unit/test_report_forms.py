"""The forms of a report: what a reader finds in each of them."""

from __future__ import annotations

import ctypes
import re
import unicodedata
import zipfile
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import msgspec
import openpyxl
import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from docx import Document

from conftrack import charts
from conftrack.config import ReportConfig
from conftrack.language import Language, rounded_down
from conftrack.report.contents import document
from conftrack.report.corrections import NAMING, Corrections
from conftrack.report.cut import cut, row_name
from conftrack.report.forms import FORMS, Form, make
from conftrack.report.forms.docx import write_template
from conftrack.report.forms.layout import PRINTED_CELLS, FormError, for_paper
from conftrack.report.model import (
    Absence,
    Certificate,
    Change,
    Closed,
    EndpointFigures,
    Figures,
    Held,
    Report,
    Scope,
)
from conftrack.report.names import DEFINITIONS, OTHER_FIGURES
from tests import report_sample as sample

LETTERHEAD = ReportConfig(authority="UBND TỈNH PHÚ THỌ", issuer="SỞ Y TẾ & <GIÁO DỤC>", place="Phú Thọ")
NASTY = '=HYPERLINK("http://x.example")'


async def said(form: Form, report: Report | Closed, scope: Scope = Scope(), language: str = "vi") -> str:  # noqa: B008
    """All text of a form, blanks made one."""
    made = await make(form, report, scope=scope, language=language, letterhead=LETTERHEAD)
    if form == "pdf":
        with pypdfium2.PdfDocument(made) as pdf:
            text = " ".join(page.get_textpage().get_text_bounded() for page in pdf)
    elif form == "docx":
        document = Document(BytesIO(made))
        text = " ".join("".join(node.itertext()) for node in document.element.body.iter() if node.tag.endswith("}p"))
    elif form == "xlsx":
        book = openpyxl.load_workbook(BytesIO(made))
        text = " ".join(
            str(cell) for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row if cell is not None
        )
    else:
        text = made.decode()
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "json"])
async def test_every_form_holds_the_figures_in_vietnamese(form: Form) -> None:
    """The three numbers stand together, as the figures have them, with names whose diacritics are whole."""
    report = sample.report()
    figures = report.of()

    text = await said(form, report)

    for count in (figures.endpoint_connections, figures.endpoints, figures.attendees):
        assert str(count) in text if form == "xlsx" else f"{count:,}".replace(",", ".") in text
    for words in ("Lượt điểm cầu", "Đại biểu", "Sở Giáo dục và Đào tạo", "Ủy ban nhân dân xã Hạ Hòa"):
        assert words in text


def test_what_was_not_checked_is_not_said_of_the_source() -> None:
    """A month that was fetched later has no window that was checked; that says nothing of what the source tells."""
    told = sample.report().certificates[1]

    def certified(windows: int) -> str:
        report = msgspec.structs.replace(
            sample.report(), certificates=(msgspec.structs.replace(told, windows=windows),)
        )
        return next(s for s in document(report, Scope(), "en").sections if "Certificate" in s.title).paragraphs[0]

    assert "was not compared with what is stored" in certified(0)
    assert "does not tell how many" in certified(744)


async def test_the_spreadsheet_has_the_time_to_repair_of_every_endpoint() -> None:
    """Of those of the longest list too, not only of the worst and the best."""
    report = sample.report()
    book = openpyxl.load_workbook(
        BytesIO(await make("xlsx", report, scope=Scope(), language="en", letterhead=LETTERHEAD))
    )

    heading, first, *_ = book["Every endpoint"].iter_rows(values_only=True)
    assert first[heading.index("Mean time to repair")] == timedelta(seconds=report.endpoints[0].mean_repair or 0)


async def test_json_is_the_report_itself() -> None:
    """Whatever reads it has every figure."""
    report = sample.report()

    assert msgspec.json.decode(await said("json", report), type=Report) == report


@pytest.mark.parametrize("form", FORMS)
async def test_the_report_of_a_unit_holds_nobody_elses_endpoints(form: Form) -> None:
    """What a unit is sent is its own and what is below it."""
    endpoints = (sample.endpoint(1, "TTYT"), sample.endpoint(77, "SGD"))
    report = sample.report(endpoints=0)
    report = msgspec.structs.replace(report, endpoints=endpoints)

    text = await said(form, report, Scope(unit="SYT"))

    assert endpoints[0].name in text
    assert endpoints[1].name not in text
    assert "Sở Giáo dục và Đào tạo" not in text


@pytest.mark.parametrize("form", ["html", "pdf", "docx", "xlsx"])
async def test_an_open_month_says_so(form: Form) -> None:
    """Figures that may still change are never taken for signed ones."""
    report = msgspec.structs.replace(sample.report(), is_open=True)

    assert "tạm tính" in (await said(form, report)).lower()
    assert "provisional" in (await said(form, report, language="en")).lower()


@pytest.mark.parametrize("form", ["html", "pdf", "docx", "xlsx"])
async def test_names_are_text_and_nothing_else(form: Form) -> None:
    """A name cannot be a formula, markup, or a command of whatever sets the page."""
    nasty = (
        msgspec.structs.replace(sample.endpoint(1), name=NASTY),
        msgspec.structs.replace(sample.endpoint(2), name="<script>alert(1)</script> #panic() {{ 7 * 7 }} & $x^2$"),
    )
    report = msgspec.structs.replace(sample.report(endpoints=0), endpoints=nasty)
    made = await make(form, report, scope=Scope(), language="vi", letterhead=LETTERHEAD)

    text = await said(form, report)

    if form == "xlsx":
        book = openpyxl.load_workbook(BytesIO(made))
        kinds = {cell.data_type for sheet in book for row in sheet.iter_rows() for cell in row}
        assert "f" not in kinds
    if form == "html":
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text
    else:
        assert "#panic() {{ 7 * 7 }}" in text


@pytest.mark.parametrize("letters", ["M ", "Ợ", "tràm ", "1.000 "])
async def test_a_row_of_a_pdf_is_as_high_as_what_is_in_it(letters: str) -> None:
    """However long a name is, it ends above the row after it."""
    report = sample.report()
    endpoints = tuple(
        msgspec.structs.replace(sample.endpoint(n), name=f"{letters * n} z{n:02}z", endpoint_connections=1)
        for n in range(1, 60)
    )

    made = await make(
        "pdf",
        msgspec.structs.replace(report, endpoints=endpoints, absences=()),
        scope=Scope(),
        language="vi",
        letterhead=LETTERHEAD,
    )

    found: list[tuple[int, float, float]] = []
    with pypdfium2.PdfDocument(made) as pdf:
        for number, page in enumerate(pdf):
            text = page.get_textpage()
            for n in range(1, 60) if page.get_width() > page.get_height() else ():
                code, end = (text.search(sought).get_next() for sought in (f"DC{n:05}", f"z{n:02}z"))
                if code is not None and end is not None:
                    _, _, _, top = text.get_charbox(code[0])
                    _, bottom, _, _ = text.get_charbox(end[0])
                    found.append((number, top, bottom))
    assert len(found) > 50
    for (page_number, _, bottom), (page_of_next, top, _) in pairwise(found):
        assert page_number != page_of_next or bottom > top


async def test_the_letter_has_the_official_parts() -> None:
    """Decree 30/2020: motto, who issues it, place and date; of the text what the letterhead says, as it says it."""
    text = await said("docx", sample.report())

    for part in ("CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", "Độc lập - Tự do - Hạnh phúc", "BÁO CÁO", "Nơi nhận"):
        assert part in text
    assert "UBND TỈNH PHÚ THỌ" in text
    assert "SỞ Y TẾ & <GIÁO DỤC>" in text


def test_shares_are_rounded_down_to_a_hundredth_of_a_percent_once() -> None:
    """29 of 100 is 29 %, 7 of 9 is 77.77 %, and what is not whole never looks whole."""
    vietnamese = Language("vi", ZoneInfo("Asia/Ho_Chi_Minh"))
    wrong = [
        (part, whole)
        for whole in range(1, 400)
        for part in range(whole + 1)
        if not rounded_down(rounded_down(part / whole)) == rounded_down(part / whole) == part * 10_000 // whole / 10_000
    ]
    assert wrong == []
    assert vietnamese.percent(rounded_down(7 / 9)) == "77,77%"
    assert vietnamese.percent(1 - 1e-13) == "99,99%"


def test_a_change_that_is_none_has_no_sign() -> None:
    """As many as last month is neither more nor less."""
    vietnamese = Language("vi", ZoneInfo("Asia/Ho_Chi_Minh"))
    assert [vietnamese.change(share) for share in (0, 0.004, -0.004, 0.01, -0.25, 11.5)] == [
        "0%", "0%", "0%", "+1%", "−25%", "+1.150%",
    ]  # fmt: skip


def test_corrections_of_parts_are_told_in_words() -> None:
    """By size, and by the hour in which meetings begin: not as the numbers by which they are kept."""
    changes = (
        Change(of="* / *", figure="meetings_by_size.10", before=1, after=2),
        Change(of="* / *", figure="heat.0.8", before=None, after=1),
    )
    closed = sample.closed()
    corrected = msgspec.structs.replace(closed.addenda[0], changes=changes)
    (section,) = Corrections(
        msgspec.structs.replace(closed, addenda=(corrected,)), Scope(), Language("vi", ZoneInfo("Asia/Ho_Chi_Minh"))
    ).section()

    assert [row.values[-3] for row in section.tables[0].rows] == [
        "Cuộc họp theo quy mô: từ 10 đến 49 điểm cầu", "Giờ bắt đầu họp: Th 2 08–09"
    ]  # fmt: skip


def test_an_absence_is_of_the_unit_that_the_endpoint_was_in_that_day() -> None:
    """An endpoint that moved within the month: each unit is shown its own absences, as its figures count them."""
    report = sample.report()
    first, *others = report.absences
    moved = msgspec.structs.replace(first, unit="XHB")
    report = msgspec.structs.replace(report, absences=(moved, *others))

    assert moved in cut(report, Scope(unit="XHB")).absences
    assert moved not in cut(report, Scope(unit="SYT")).absences


# -- the letters of the PDF


class Letter(NamedTuple):
    """How far a letter reaches from its foot, in points."""

    left: float
    bottom: float
    right: float
    top: float


def vietnamese() -> list[str]:
    """The vowels with every tone, and đ; small and capital."""
    small = [unicodedata.normalize("NFC", vowel + tone) for vowel in "aăâeêioôơuưy" for tone in ("", *TONES)]
    return [letter for one in (*small, "đ") for letter in (one, one.upper())]


GRAVE, ACUTE, TILDE, HOOK, DOT = TONES = ("\u0300", "\u0301", "\u0303", "\u0309", "\u0323")


async def test_the_fonts_of_the_pdf_are_in_it_and_draw_every_letter_of_vietnamese() -> None:
    """Whoever opens it needs no font, and of no letter a sign is missing: of each the tone is above or below what it is
    without, and its text is found again."""
    endpoint = msgspec.structs.replace(sample.endpoint(1), name=" ".join(vietnamese()))
    report = msgspec.structs.replace(sample.report(endpoints=0), endpoints=(endpoint,))
    made = await make("pdf", report, scope=Scope(), language="vi", letterhead=LETTERHEAD)

    fonts: dict[str, bool] = {}
    drawn: dict[str, dict[float, Letter]] = {}
    with pypdfium2.PdfDocument(made) as pdf:
        for page in pdf:
            for item in page.get_objects([pdfium.FPDF_PAGEOBJ_TEXT], max_depth=15):
                font, name = pdfium.FPDFTextObj_GetFont(item), ctypes.create_string_buffer(200)
                pdfium.FPDFFont_GetBaseFontName(font, name, 200)
                fonts[name.value.decode().partition("+")[2]] = pdfium.FPDFFont_GetIsEmbedded(font) == 1
            text = page.get_textpage()
            for place in range(text.count_chars()):
                x, y = ctypes.c_double(), ctypes.c_double()
                pdfium.FPDFText_GetCharOrigin(text, place, x, y)
                left, bottom, right, top = text.get_charbox(place)
                size = round(pdfium.FPDFText_GetFontSize(text, place), 2)
                letter = chr(pdfium.FPDFText_GetUnicode(text, place))
                drawn.setdefault(letter, {})[size] = Letter(
                    left - x.value, bottom - y.value, right - x.value, top - y.value
                )  # fmt: skip

    assert fonts == {"LibertinusSerif-Regular": True, "LibertinusSerif-Bold": True}
    assert [letter for letter in vietnamese() if letter not in drawn] == []
    size = max(set.intersection(*(set(drawn[letter]) for letter in vietnamese())))
    for letter in vietnamese():
        bare = unicodedata.normalize("NFD", letter)
        if bare[-1] not in TONES:
            continue
        base = unicodedata.normalize("NFC", bare[:-1])
        with_tone, without = drawn[letter][size], drawn["u" if base == "i" else base][size]  # not the dot of i
        if letter == "ỵ":  # its dot is beside its foot
            continue
        if bare[-1] == DOT:
            assert with_tone.bottom < without.bottom - 0.5, letter
        else:
            assert with_tone.top > without.top + 0.2, letter


async def test_a_long_code_stands_on_none_of_its_neighbours() -> None:
    """What is wider than its column goes on in the next line, in the rankings and in the lists."""
    code, name = "PT-XA-ĐKMQĐKMQĐKMQĐKMQĐKMQĐKMQĐKMQ-01", "ŽŽŽ"
    endpoint = msgspec.structs.replace(sample.endpoint(1), code=code, name=name)
    report = msgspec.structs.replace(sample.report(endpoints=0), endpoints=(endpoint,))
    made = await make("pdf", report, scope=Scope(), language="en", letterhead=LETTERHEAD)

    seen = 0
    with pypdfium2.PdfDocument(made) as pdf:
        for page in pdf:
            text = page.get_textpage()
            boxes = [(chr(pdfium.FPDFText_GetUnicode(text, n)), text.get_charbox(n)) for n in range(text.count_chars())]
            names = [left for letter, (left, *_) in boxes if letter == "Ž"]
            ends = [right for letter, (_, _, right, _) in boxes if letter in "ĐQ"]
            seen += len(names)
            assert not names or max(ends) < min(names)
    assert seen >= 6


# -- paper


def test_on_paper_a_long_list_pushes_no_short_one_out() -> None:
    """Of thousands of endpoints the first are printed; of the meetings all, and none is said not to have been."""
    told = document(sample.report(endpoints=6000), Scope(), "en")

    tables = {table.key: table for table in for_paper(told).tables}

    assert len(tables["meetings"].rows) == 8
    assert 0 < len(tables["endpoints"].rows) < 6000
    note = tables["endpoints"].notes[0]
    assert note == f"The first {len(tables['endpoints'].rows):,} of 6,000; the spreadsheet has them all."
    assert sum(len(t.rows) * len(t.columns) for s in for_paper(told).annexes for t in s.tables) <= PRINTED_CELLS


def test_a_lying_bar_has_its_value_behind_it_however_long_its_label_is() -> None:
    """The label is cut, so that room is left for the bar; pointed at, it is whole. What is not known has no value."""
    label = "không thống nhất được mã hóa hoặc codec"
    svg = ElementTree.fromstring(charts.bars("Sự cố", ["a", label, "?"], [40, 8, None], number=str, lying=True))  # noqa: S314
    words = {node.text for node in svg.iter() if node.tag.endswith("}text")}
    widths = {
        group[1].text: float(group[0].get("width", 0)) for group in svg.iter() if group.get("class") == "bar"
    }  # fmt: skip

    assert words == {"a", f"{label[:24]}…", "?", "40", "8"}
    assert widths.keys() == {"a: 40", f"{label}: 8"}
    assert widths["a: 40"] > 70
    assert widths["a: 40"] == pytest.approx(5 * widths[f"{label}: 8"], rel=0.01)


# -- addenda


@pytest.mark.parametrize("kind", [Figures, EndpointFigures, Held, Absence, Certificate])
def test_whatever_may_be_corrected_has_a_name(kind: type) -> None:
    """An addendum speaks of no figure in code."""
    unnamed = {field.name for field in msgspec.structs.fields(kind)} - {*DEFINITIONS, *OTHER_FIGURES, *NAMING}

    assert unnamed == set()


async def test_an_addendum_says_what_was_corrected_in_words() -> None:
    """Meetings and absences by title and time, times as times, and what a source read at last."""
    closed = sample.closed()
    held, away = closed.report.meetings[0], closed.report.absences[0]
    changes = (
        Change(of=row_name(held), figure="ended_at", before=None, after="2026-10-06T03:04:05Z"),
        Change(of=row_name(held), figure="kind", before="unplanned", after="planned"),
        Change(of=row_name(held), figure="room", before=None, after="secret-code"),
        Change(of=row_name(away), figure="presence", before="absent", after="excused"),
        Change(of="DC00001", figure="unit", before="SGD", after="SYT"),
        Change(of="janus", figure="ever_read", before=False, after=True),
    )
    addendum = msgspec.structs.replace(closed.addenda[0], changes=changes)
    text = await said("html", msgspec.structs.replace(closed, addenda=(addendum,)), language="en")
    table = re.sub(r"\s*<[^>]+>\s*", " ", text[text.index('id="table-details_1"') :].partition("</table>")[0])
    table = re.sub(r" +", " ", table)

    assert f"{held.title}, 08:00 06/10/2026 Ended — 10:04 06/10/2026" in table
    assert "Kind unplanned planned" in table
    assert "secret-code" not in table
    assert f": {away.title}" in table
    assert "What became of it absent without an excuse absent with an excuse" in table
    assert "Unit Sở Giáo dục và Đào tạo Sở Y tế" in table
    assert "janus Has been read no yes" in table
    made = await said("json", msgspec.structs.replace(closed, addenda=(addendum,)))
    assert msgspec.json.decode(made, type=Closed).addenda[0].changes == changes


# -- a template of the user's own


def letter_saying(said: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        letter = Document()
        letter.add_paragraph(said)
        letter.save(str(path))

    return write


def some_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("not a document"), "is no .docx that can be read"),
    "zip": (some_zip, "cannot be filled"),
    "gone": (lambda path: None, "is no .docx that can be read"),
    "an unknown name": (letter_saying("{{ titel }}"), "cannot be filled ('titel' is undefined)"),
    "an unknown part": (letter_saying("{{ letterhead.fax }}"), "has no attribute 'fax'"),
    "a loop without an end": (letter_saying("{% for note in notes %}"), "cannot be filled (Unexpected end of template"),
    "a sum that fails": (letter_saying("{{ 1 / 0 }}"), "cannot be filled (division by zero)"),
    "a loop too long": (
        letter_saying("{% for n in range(999999999) %}{% endfor %}"),
        "cannot be filled (Range too big",
    ),
    "what reaches out": (letter_saying("{{ title.__class__.mro() }}"), "cannot be filled"),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_template_is_named_with_what_is_wrong_and_what_to_do(kind: str, tmp_path: Path) -> None:
    """However it is broken; nothing but that form is hurt."""
    write, says = BROKEN[kind]
    template = tmp_path / "letter.docx"
    write(template)
    letterhead = ReportConfig(template=template)

    with pytest.raises(FormError) as told:
        await make("docx", sample.report(), scope=Scope(), language="vi", letterhead=letterhead)

    assert str(told.value).startswith(f"the template {template} ")
    assert says in str(told.value)
    assert "`conftrack report template FILE` writes" in str(told.value)


@pytest.mark.parametrize("language", ["vi", "en"])
async def test_a_template_that_was_written_out_and_changed_is_filled(language: str, tmp_path: Path) -> None:
    """The one that `conftrack report template` writes, with a sentence of the user's."""
    template = tmp_path / "letter.docx"
    write_template(template, language)
    letter = Document(str(template))
    letter.add_paragraph("Thay mặt {{ letterhead.issuer }}")
    letter.save(str(template))
    letterhead = msgspec.structs.replace(LETTERHEAD, template=template)
    made = await make("docx", sample.report(), scope=Scope(), language=language, letterhead=letterhead)

    assert [one.text for one in Document(BytesIO(made)).paragraphs][-1] == "Thay mặt SỞ Y TẾ & <GIÁO DỤC>"
