"""DOCX in the official form of Vietnam's administration: a template, of conftrack or of the user, is filled."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.ns import qn
from docx.shared import Mm
from docxtpl import DocxTemplate, InlineImage
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from conftrack import charts
from conftrack.config import ReportConfig
from conftrack.language import Language
from conftrack.report.document import Document, Section, Table, plain
from conftrack.report.forms.layout import FormError, drawn, for_paper, is_number, language_of, shade, texts
from conftrack.report.forms.letter import template
from conftrack.report.forms.pdf import pictures

_PICTURE = Mm(74)
_FILLS = ("auto", "E7EEF6", "CEDDED", "B6CCE4", "9DBBDB", "85AAD2", "6C99C9")
"""Of cells, by shade: light enough for black text."""
_ROMAN = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


async def filled(document: Document, letterhead: ReportConfig) -> bytes:
    """Raises FormError if the user's template cannot be read or filled, or if the charts could not be drawn."""
    language = language_of(document)
    told = for_paper(document)
    made = await pictures(
        [
            (plain(chart.title), charts.on_paper(drawn(section, chart, language)))
            for section in told.sections
            for chart in section.charts
        ]
    )
    return await asyncio.to_thread(_filled, told, letterhead, language, made)


def write_template(path: Path, language: str) -> None:
    """Writes the document that is filled where `[report] template` is not set: to be changed and named there."""
    path.write_bytes(template(Language(language, ZoneInfo("UTC")).text))


def _filled(document: Document, letterhead: ReportConfig, language: Language, made: Sequence[bytes]) -> bytes:
    source = letterhead.template if letterhead.template is not None else BytesIO(template(language.text))
    try:
        letter = DocxTemplate(source)
        letter.init_docx()
        context = _context(
            document, letterhead, language, [InlineImage(letter, BytesIO(one), _PICTURE) for one in made]
        )
        letter.render(
            context,
            SandboxedEnvironment(
                autoescape=True, undefined=StrictUndefined,
                finalize=lambda value: plain(value) if type(value) is str else value,
            ),
        )  # fmt: skip
        _set_widths(letter.docx, document)
        saved = BytesIO()
        letter.save(saved)
    except Exception as error:
        if letterhead.template is None:
            raise
        # A template is a program that somebody wrote: it may fail in any way.
        unreadable = isinstance(error, PackageNotFoundError | zipfile.BadZipFile | OSError)
        raise FormError(
            f"the template {letterhead.template} {'is no .docx that can be read' if unreadable else 'cannot be filled'}"
            f" ({str(error) or type(error).__name__}): correct it, or start again from the one that `conftrack report "
            "template FILE` writes"
        ) from error
    return saved.getvalue()


def _context(
    document: Document, letterhead: ReportConfig, language: Language, made: Sequence[InlineImage]
) -> dict[str, object]:
    left = iter(made)
    local = document.made_at.astimezone(language.timezone)
    place = f"{letterhead.place}, " if letterhead.place else ""
    day = language.text("day      month %(month)s year %(year)s", month=f"{local:%m}", year=f"{local:%Y}")
    definitions = Section(title=document.definitions.title, tables=(document.definitions,))
    return {
        "letterhead": {
            "authority": letterhead.authority, "issuer": letterhead.issuer, "number": letterhead.number,
            "signer_title": letterhead.signer_title, "signer_name": letterhead.signer_name,
            "recipients": list(letterhead.recipients),
        },
        "dateline": place + day,
        "title": document.title,
        "subject": document.subject,
        "mark": document.mark,
        "notes": list(document.notes),
        "sections": [_section(one, number, language, left) for number, one in enumerate(document.sections, 1)],
        "annexes": [
            _section(one, number, language, left)
            for number, one in enumerate((*document.annexes, definitions), 1)
        ],
    }  # fmt: skip


def _section(section: Section, number: int, language: Language, made: Iterator[InlineImage]) -> dict[str, object]:
    return {
        "number": _roman(number),
        "title": section.title,
        "paragraphs": list(section.paragraphs),
        "tables": [_table(table, section, language) for table in section.tables],
        "charts": [next(made) for _chart in section.charts],
    }


def _table(table: Table, section: Section, language: Language) -> dict[str, object]:
    numbers = [is_number(column) for column in table.columns]
    return {
        "title": table.title if table.title != section.title else "",
        "columns": [column.title for column in table.columns],
        "rows": [
            [
                {"text": text, "number": number, "fill": _FILLS[shade(table, value) or 0]}
                for text, number, value in zip(texts(table, row, language), numbers, row.values, strict=True)
            ]
            for row in table.rows
        ],
        "notes": list(table.notes),
        "empty": table.empty,
    }


def _set_widths(filled: Any, document: Document) -> None:
    """Columns as wide as the document wants them, whatever the template: tables are known by their headings."""
    wanted = {tuple(plain(column.title) for column in table.columns): table for table in document.tables}
    body = filled.element.body
    room = _room(filled)
    for element in body.iter(qn("w:tbl")):
        rows = element.findall(qn("w:tr"))
        table = wanted.get(
            tuple("".join(t.text or "" for t in cell.iter(qn("w:t"))) for cell in rows[0].iter(qn("w:tc")))
        )
        if table is None:
            continue
        whole = sum(column.width for column in table.columns)
        available = room[1] if element.getparent() is body and _after_break(element) else room[0]
        widths = [available * column.width // whole for column in table.columns]
        grid = element.find(qn("w:tblGrid"))
        for column, width in zip(grid.findall(qn("w:gridCol")), widths, strict=False):
            column.set(qn("w:w"), str(width))
        for row in rows:
            for cell, width in zip(row.iter(qn("w:tcW")), widths, strict=False):
                cell.set(qn("w:w"), str(width))
                cell.set(qn("w:type"), "dxa")


def _room(filled: Any) -> list[int]:
    """How wide the text of the first and of the last section is, in twentieths of a point."""
    return [
        int((section.page_width - section.left_margin - section.right_margin) // 635)
        for section in (filled.sections[0], filled.sections[-1])
    ]


def _after_break(element: Any) -> bool:
    """It stands in the last section."""
    return next(element.itersiblings(qn("w:p")), None) is None or not any(
        later.find(f".//{qn('w:sectPr')}") is not None for later in element.itersiblings(qn("w:p"))
    )


def _roman(number: int) -> str:
    said = ""
    for value, letters in _ROMAN:
        while number >= value:
            said, number = said + letters, number - value
    return said
