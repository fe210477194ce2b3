"""A report as a document: titled sections of typed tables and charts, in one language. Every form is a layout of it.

Values keep their types, so that a spreadsheet can add them up; `Document.shown` writes one for people. None is what
nobody knows, and is shown as such, never as zero.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Literal, TypeAlias

from conftrack.language import UNKNOWN, Language
from conftrack.model import Record

_NO_LETTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")

Value: TypeAlias = str | int | float | date | datetime | None

Kind: TypeAlias = Literal["text", "count", "amount", "hours", "lasting", "share", "change", "day", "moment", "figure"]
"""What the values of a column are. hours, lasting: seconds, shown as hours, or as "2 hr 5 min". share: 0-1. change: a
share with a sign. figure: what the row says."""


class Column(Record, frozen=True):
    #: Of a figure, its name in DEFINITIONS.
    key: str
    title: str
    kind: Kind = "text"
    #: How wide it is, in parts of a whole that its table adds up.
    width: int = 1
    #: Left out on paper, which is not wide enough for all.
    detail: bool = False


class Row(Record, frozen=True):
    values: tuple[Value, ...]
    #: Of a row that is one figure: its name in DEFINITIONS, and the kind of the values in columns of kind "figure".
    key: str = ""
    kind: Kind = "count"
    #: Adds up, or stands for, the others.
    total: bool = False


class Table(Record, frozen=True):
    #: Names it within its document: a sheet, an address within a page.
    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    #: What has to be known to read it.
    notes: tuple[str, ...] = ()
    #: The larger a count, the darker its cell.
    shaded: bool = False
    #: Said where there are no rows.
    empty: str = ""
    #: How many more rows there are, which do not stand in this form.
    left_out: int = 0

    def kind(self, row: Row, column: Column) -> Kind:
        return row.kind if column.kind == "figure" else column.kind

    @property
    def most(self) -> int:
        """The largest count in it."""
        return max((value for row in self.rows for value in row.values if isinstance(value, int)), default=0)


class Chart(Record, frozen=True):
    """Bars of one column of a table of the same section, labelled by its first column; totals have none."""

    title: str
    table: str
    column: str
    #: For long labels.
    lying: bool = False
    #: Of more rows, the longest bars only.
    most: int | None = None


class Section(Record, frozen=True):
    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()

    def table(self, key: str) -> Table:
        return next(table for table in self.tables if table.key == key)


class Document(Record, frozen=True):
    language: str
    #: Of the times in it.
    timezone: str
    #: What it is, its month and whether it stands: "Monthly report … (provisional)".
    title: str
    #: Of what, in one line under the title.
    subject: str
    #: On every page: that it is open, or when it was closed and the digest of its figures.
    mark: str
    #: It can still change: the month is open, or not closed.
    provisional: bool
    #: Before everything else.
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    #: Long tables, after the signature.
    annexes: tuple[Section, ...]
    definitions: Table
    month: date
    made_at: datetime

    @property
    def tables(self) -> list[Table]:
        """All, in their order."""
        return [
            *(table for section in (*self.sections, *self.annexes) for table in section.tables),
            self.definitions,
        ]


def shown(value: Value, kind: Kind, language: Language) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return UNKNOWN if value is None else ""
    if isinstance(value, datetime):
        return language.moment(value)
    if isinstance(value, date):
        return language.plain_day(value)
    if isinstance(value, str):
        return plain(value)
    written = {
        "hours": language.exact_hours,
        "lasting": language.lasting,
        "share": language.percent,
        "change": language.change,
    }.get(kind, language.number)
    return written(value)


def plain(text: str) -> str:
    """A text without what is no letter: XML cannot hold it, and no page should."""
    return _NO_LETTER.sub(" ", text)


def bars(section: Section, chart: Chart) -> tuple[list[str], list[float | None]]:
    """The labels and values of a chart; hours are hours."""
    table = section.table(chart.table)
    place = next(number for number, column in enumerate(table.columns) if column.key == chart.column)
    seconds = table.columns[place].kind in ("hours", "lasting")
    found: list[tuple[str, float | None]] = []
    for row in table.rows:
        value = row.values[place]
        if not row.total:
            number = float(value) if isinstance(value, int | float) else None
            found.append((str(row.values[0]), number / 3600 if seconds and number is not None else number))
    if chart.most is not None and len(found) > chart.most:
        found = sorted(found, key=lambda bar: -(bar[1] or 0))[: chart.most]
    return [label for label, _value in found], [value for _label, value in found]
