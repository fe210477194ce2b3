"""XLSX: a sheet a table, of typed cells that can be added up; charts that the spreadsheet draws itself.

Every text is written as text: no name and no title becomes a formula, a link or a number.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date, datetime
from io import BytesIO
from typing import Any

import xlsxwriter

from conftrack.language import UNKNOWN, Language
from conftrack.report.document import Column, Document, Kind, Table, Value, bars, plain, shown
from conftrack.report.forms.layout import is_number, language_of

_FORMATS: dict[Kind, str] = {
    "text": "@",
    "count": "#,##0",
    "amount": "#,##0.##",
    "hours": "#,##0.0",
    "lasting": "[h]:mm:ss",
    "share": "0.00%",
    "change": "+0%;-0%;0%",
    "day": "dd/mm/yyyy",
    "moment": "dd/mm/yyyy hh:mm",
}
_WIDEST = 60
_COVER = 76
"""Width of the first sheet: what a page takes."""
_LINE = 15
"""Height of a line, in points."""
_NUMBER_WIDTH = 13
_NAME = 28
"""Letters of the name of a sheet: 31 are possible, and a number may come behind."""
_CHART_ROWS = 16
"""Rows of a sheet that a chart covers."""


def workbook(document: Document) -> bytes:
    made = BytesIO()
    book = xlsxwriter.Workbook(
        made,
        {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False},
    )
    book.set_properties({"title": plain(document.title), "created": document.made_at.replace(tzinfo=None)})
    _Book(book, document).write()
    book.close()
    return made.getvalue()


class _Book:
    def __init__(self, book: Any, document: Document) -> None:
        self._book = book
        self._document = document
        self._language = language_of(document)
        self._names: Counter[str] = Counter()
        self._formats: dict[tuple[str, bool, bool, bool], Any] = {}
        heading = {"bold": True, "text_wrap": True, "valign": "bottom", "bottom": 2, "bg_color": "#E8EEF6"}
        self._heading = book.add_format(heading)
        self._number_heading = book.add_format(heading | {"align": "right"})
        self._title = book.add_format({"bold": True, "font_size": 15, "text_wrap": True})
        colour = "#7A4B00" if document.provisional else "#000000"
        self._mark = book.add_format({"bold": True, "font_color": colour, "text_wrap": True, "valign": "top"})
        self._strong = book.add_format({"bold": True})
        self._wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self._empty = book.add_format({"italic": True, "font_color": "#555555"})
        self._note = book.add_format({"italic": True, "font_color": "#555555", "text_wrap": True, "valign": "top"})

    def write(self) -> None:
        self._write_cover()
        for table in self._document.tables:
            self._write_table(table)
        self._write_charts()

    def _write_cover(self) -> None:
        document = self._document
        sheet = self._sheet(self._language.text("Report"))
        sheet.set_column(0, 0, _COVER)
        sheet.hide_gridlines(2)
        sheet.fit_to_pages(1, 0)
        lines = [(document.title, self._title), (document.subject, None), (document.mark, self._mark)]
        lines += [(note, self._wrapped) for note in document.notes]
        for section in document.sections:
            if section.paragraphs:
                lines += [("", None), (section.title, self._strong)]
                lines += [(paragraph, self._wrapped) for paragraph in section.paragraphs]
        for row, (line, form) in enumerate(lines):
            if form is self._title:
                sheet.set_row(row, 1.4 * _LINE * (1 + len(line) // 60))
            elif (
                form is self._wrapped or form is self._mark
            ):  # no program but Excel makes room for a second line itself
                sheet.set_row(row, _LINE * (1 + len(line) // _COVER))
            sheet.write_string(row, 0, plain(line), form)

    def _write_table(self, table: Table) -> None:
        sheet = self._sheet(table.title)
        sheet.freeze_panes(1, 1)
        sheet.repeat_rows(0)
        widths = [self._width(table, place, column) for place, column in enumerate(table.columns)]
        for place, (column, width) in enumerate(zip(table.columns, widths, strict=True)):
            sheet.set_column(place, place, width)
            heading = self._number_heading if is_number(column) else self._heading
            sheet.write_string(0, place, plain(column.title), heading)
        wrapped = [width >= _WIDEST for width in widths]
        for number, row in enumerate(table.rows, 1):
            if any(wrapped):
                longest = max(len(str(value)) for value, wraps in zip(row.values, wrapped, strict=True) if wraps)
                if longest > _WIDEST:
                    sheet.set_row(number, _LINE * (1 + longest // _WIDEST))
            for place, (column, value) in enumerate(zip(table.columns, row.values, strict=True)):
                self._write(
                    sheet, number, place, value, table.kind(row, column), bold=row.total, wrapped=wrapped[place]
                )
        data = sum(not row.total for row in table.rows)
        last = len(table.columns) - 1
        if data:
            sheet.autofilter(0, 0, data, last)
        else:
            sheet.write_string(1, 0, plain(table.empty), self._empty)
        if table.shaded and data:
            scale = {"type": "2_color_scale", "min_color": "#FFFFFF", "max_color": "#0B57A4"}
            sheet.conditional_format(1, 1, data, last, scale)
        for number, note in enumerate(table.notes, max(len(table.rows), 1) + 2):
            width = sum(widths)
            sheet.set_row(number, _LINE * (1 + len(note) // width))
            sheet.merge_range(number, 0, number, last, "", self._note)
            sheet.write_string(number, 0, plain(note), self._note)
        if len(table.columns) > 6:
            sheet.set_landscape()
        sheet.fit_to_pages(1, 0)

    def _write_charts(self) -> None:
        """Each chart beside the labels and values that it draws."""
        drawn = [(section, chart) for section in self._document.sections for chart in section.charts]
        if not drawn:
            return
        sheet = self._sheet(self._language.text("Charts"))
        sheet.set_column(0, 0, 34)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        row = 0
        for section, chart in drawn:
            labels, values = bars(section, chart)
            sheet.write_string(row, 0, plain(chart.title), self._heading)
            sheet.write_string(row, 1, "", self._heading)
            for place, (label, value) in enumerate(zip(labels, values, strict=True), row + 1):
                self._write(sheet, place, 0, label, "text")
                self._write(sheet, place, 1, value, "amount")
            last = row + len(labels)
            picture = self._book.add_chart({"type": "bar" if chart.lying else "column"})
            picture.add_series(
                {
                    "name": plain(chart.title),
                    "categories": [sheet.get_name(), row + 1, 0, last, 0],
                    "values": [sheet.get_name(), row + 1, 1, last, 1],
                    "fill": {"color": "#0B57A4"},
                    "gap": 60,
                    "data_labels": {"value": True, "num_format": "#,##0"},
                }
            )
            picture.set_title({"name": plain(chart.title), "name_font": {"size": 11}, "overlay": False})
            picture.set_legend({"none": True})
            if chart.lying:  # every bar is named, and says its value itself
                picture.set_y_axis({"reverse": True, "interval_unit": 1})
                picture.set_x_axis({"visible": False, "major_gridlines": {"visible": False}})
            sheet.insert_chart(row, 3, picture, {"x_scale": 1.2})
            row = max(last, row + _CHART_ROWS) + 2

    def _write(
        self, sheet: Any, row: int, place: int, value: Value, kind: Kind, *, bold: bool = False, wrapped: bool = False
    ) -> None:  # fmt: skip
        if isinstance(value, str):
            text = plain(value)
            quoted = text[:1] in ("=", "+", "-", "@")
            sheet.write_string(row, place, text, self._format("text", bold=bold, quoted=quoted, wrapped=wrapped))
        elif value is None:
            sheet.write_string(row, place, UNKNOWN, self._format("unknown", bold=bold))
        elif isinstance(value, datetime):
            local = value.astimezone(self._language.timezone).replace(tzinfo=None)
            sheet.write_datetime(row, place, local, self._format(kind, bold=bold))
        elif isinstance(value, date):
            sheet.write_datetime(row, place, value, self._format("day", bold=bold))
        else:
            scale = {"hours": 3600, "lasting": 86400}.get(kind, 1)
            sheet.write_number(row, place, value / scale if scale > 1 else value, self._format(kind, bold=bold))

    def _format(self, kind: str, *, bold: bool = False, quoted: bool = False, wrapped: bool = False) -> Any:
        key = (kind, bold, quoted, wrapped)
        if key not in self._formats:
            properties: dict[str, object] = {"valign": "top"}
            if bold:
                properties |= {"bold": True, "top": 1}
            if quoted:  # stays text when somebody edits the cell
                properties["quote_prefix"] = True
            if wrapped:
                properties["text_wrap"] = True
            if kind == "unknown":
                properties["align"] = "right"
            elif kind == "text":
                properties["num_format"] = "@"
            else:
                properties["num_format"] = _FORMATS[kind]  # type: ignore[index]
            self._formats[key] = self._book.add_format(properties)
        return self._formats[key]

    def _sheet(self, title: str) -> Any:
        """A sheet whose name is as near to the title as names of sheets can be, and no other's."""
        name = re.sub(r"[\[\]:*?/\\']", " ", plain(title)).strip() or "-"
        if len(name) > _NAME:
            words = name[:_NAME].rpartition(" ")[0] or name[: _NAME - 1]
            name = f"{words.rstrip()}…"
        self._names[name.casefold()] += 1
        count = self._names[name.casefold()]
        sheet = self._book.add_worksheet(f"{name} {count}" if count > 1 else name)
        sheet.set_paper(9)
        sheet.set_header(f"&L&9{_escaped(self._document.title)}")
        sheet.set_footer(f"&L&8{_escaped(self._document.mark)}&R&8&P/&N")
        if self._document.provisional:
            sheet.set_tab_color("#D9822B")
        return sheet

    def _width(self, table: Table, place: int, column: Column) -> int:
        if is_number(column):
            return _NUMBER_WIDTH
        longest = max((len(_said(row.values[place], column, self._language)) for row in table.rows), default=0)
        return min(max(longest, len(column.title), 8) + 2, _WIDEST)


def _said(value: Value, column: Column, language: Language) -> str:
    return (
        value
        if isinstance(value, str)
        else "dd/mm/yyyy hh:mm"
        if column.kind == "moment"
        else shown(value, column.kind, language)
    )


def _escaped(text: str) -> str:
    return plain(text).replace("&", "&&")[:200]
