"""What the forms for people share: the texts of a table, what is set to the right, and what is shaded how darkly."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
from markupsafe import Markup

from conftrack import charts
from conftrack.errors import ConftrackError
from conftrack.language import Language
from conftrack.report.document import Chart, Column, Document, Kind, Row, Section, Table, Value, bars, shown

SHADES = 6
"""From 1, the lightest; 0 is none."""

_NUMBERS: frozenset[Kind] = frozenset({"count", "amount", "hours", "lasting", "share", "change", "figure"})

PRINTED_CELLS = 41_000
"""Of all annexes together, on paper: some 140 pages, and what typesetting them may take of memory."""
SHOWN_CELLS = 8_000
"""Of all annexes together, on a page of the service: what a phone opens at once."""


class FormError(ConftrackError):
    """A report could not be put on paper."""


def language_of(document: Document) -> Language:
    return Language(document.language, ZoneInfo(document.timezone))


def texts(table: Table, row: Row, language: Language) -> list[str]:
    return [
        shown(value, table.kind(row, column), language) for column, value in zip(table.columns, row.values, strict=True)
    ]


def is_number(column: Column) -> bool:
    """It is set to the right."""
    return column.kind in _NUMBERS


def shade(table: Table, value: Value) -> int | None:
    """Of a cell of a table that is shaded; None: of a label, or of a table that is not."""
    if not table.shaded or not isinstance(value, int):
        return None
    return -(-value * SHADES // max(table.most, 1))


def drawn(section: Section, chart: Chart, language: Language) -> Markup:
    labels, values = bars(section, chart)
    return charts.bars(chart.title, labels, values, number=language.number, lying=chart.lying)


def for_paper(document: Document) -> Document:
    """Without the columns that are details, and without the rows of annexes that are too many for paper: a note says
    how many there are, and that the spreadsheet has them."""

    def printed(section: Section) -> Section:
        return msgspec.structs.replace(section, tables=tuple(_narrowed(table) for table in section.tables))

    narrow = msgspec.structs.replace(
        document, sections=tuple(map(printed, document.sections)), annexes=tuple(map(printed, document.annexes))
    )
    return _with_annexes_of(narrow, PRINTED_CELLS)


def for_screen(document: Document) -> Document:
    """Without the rows of annexes that are too many for a phone: a note says so."""
    return _with_annexes_of(document, SHOWN_CELLS)


def _with_annexes_of(document: Document, cells: int) -> Document:
    """Its annexes cut to so many cells together. Each is given the same, and what the short ones leave goes to the
    long ones: so that a long list of endpoints does not push the meetings out."""
    language, left = language_of(document), cells
    tables = sorted((table for section in document.annexes for table in section.tables), key=_cells)
    cut: dict[str, Table] = {}
    for number, table in enumerate(tables):
        rows = table.rows[: max(1, left // (len(tables) - number) // len(table.columns))]
        left -= len(rows) * len(table.columns)
        note = language.text(
            "The first %(listed)s of %(all)s; the spreadsheet has them all.",
            listed=language.number(len(rows)), all=language.number(len(table.rows)),
        )  # fmt: skip
        notes = table.notes if len(rows) == len(table.rows) else (note, *table.notes)
        cut[table.key] = msgspec.structs.replace(
            table, rows=rows, notes=notes, left_out=len(table.rows) - len(rows)
        )  # fmt: skip
    return msgspec.structs.replace(
        document,
        annexes=tuple(
            msgspec.structs.replace(section, tables=tuple(cut[table.key] for table in section.tables))
            for section in document.annexes
        ),
    )


def _cells(table: Table) -> int:
    return len(table.rows) * len(table.columns)


def _narrowed(table: Table) -> Table:
    kept = [place for place, column in enumerate(table.columns) if not column.detail]
    return msgspec.structs.replace(
        table,
        columns=tuple(table.columns[place] for place in kept),
        rows=tuple(
            msgspec.structs.replace(row, values=tuple(row.values[place] for place in kept)) for row in table.rows
        ),
    )
