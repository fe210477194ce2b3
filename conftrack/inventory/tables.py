"""Tables in files, CSV or XLSX, read and written cell by cell. What the cells mean is not known here.

What is read may come from any spreadsheet program in Viet Nam: UTF-8 with or without a byte order mark, semicolons,
commas or tabs, any line ends, a title above the headings. What a formula would come to is never worked out, and nothing
that is written can be taken for one.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree.ElementTree import ParseError

import openpyxl
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from conftrack.errors import ConftrackError
from conftrack.model import Record

Value: TypeAlias = str | int | float | date | None
"""A day may have a time of day with it (a datetime without a zone)."""

LARGEST_FILE = 32 << 20
LARGEST_WORKBOOK = 512 << 20
"""Bytes in a file, and in a workbook once it is unpacked: beyond that it is no inventory."""
MOST_LINES = 200_000
LONGEST = 2000
"""Bytes in a cell: what names and addresses never need, and an index could not hold."""

_DELIMITERS = ";,\t"
_SEPARATOR_LINE = re.compile(r"^sep=(.)\r?\n?$")
#: What a spreadsheet takes for a formula, and the same behind apostrophes (which is how it is made harmless).
_RISKY = re.compile(r"'*[=+\-@\t\r]")
_MADE_HARMLESS = re.compile(r"'+[=+\-@\t\r]")


class Place(Record, frozen=True, order=True):
    """Where something stands: in a file, on a sheet of it, on a line, in a column (by its heading)."""

    file: str
    sheet: str = ""
    line: int = 0
    column: str = ""

    def __str__(self) -> str:
        words = [self.file]
        if self.sheet:
            words.append(f'sheet "{self.sheet}"')
        if self.line:
            words.append(f"line {self.line}")
        if self.column:
            words.append(f'column "{self.column}"')
        return ", ".join(words)


class Problem(Record, frozen=True, order=True):
    """What is wrong, and where."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class WrongFiles(ConftrackError):
    """The files cannot be taken as they are. Nothing was changed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"nothing was changed: {len(self.problems)} problem{'s'[: len(self.problems) > 1]}{lines}")


class Cell(Record, frozen=True):
    """One cell. `problem` says why it has no value that could be used."""

    value: Value = None
    problem: str | None = None

    @property
    def empty(self) -> bool:
        return self.value is None and self.problem is None


class Line(Record, frozen=True):
    number: int
    cells: tuple[Cell, ...]


class Table(Record, frozen=True):
    """One CSV file, or one sheet of a workbook, without its empty lines."""

    place: Place
    lines: tuple[Line, ...]


# -- reading


def read(path: Path) -> list[Table]:
    """The tables of a file: what kind it is shows in its content. Raises WrongFiles."""
    place = Place(file=str(path))
    try:
        content = path.read_bytes() if path.stat().st_size <= LARGEST_FILE else None
    except OSError as error:
        raise WrongFiles([Problem(place=place, message=f"cannot be read: {error.strerror}")]) from error
    if content is None:
        message = f"has more than {LARGEST_FILE >> 20} MiB: that is no inventory"
        raise WrongFiles([Problem(place=place, message=message)])
    if content.startswith(b"PK\x03\x04"):
        return list(_workbook(place, content))
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        message = "is an old Excel file, or has a password: save it as .xlsx, without one"
        raise WrongFiles([Problem(place=place, message=message)])
    return [_csv(place, content)]


def _csv(place: Place, content: bytes) -> Table:
    text = _decode(place, content)
    lines = text.splitlines(keepends=True)
    skipped = 0
    if lines and (said := _SEPARATOR_LINE.match(lines[0])):
        delimiter, skipped = said[1], 1
    else:
        delimiter = _delimiter(lines)
    reader = csv.reader(io.StringIO("".join(lines[skipped:]), newline=""), delimiter=delimiter, strict=True)
    found: list[Line] = []
    number = skipped + 1
    try:
        for record in reader:
            cells = tuple(_text_cell(text) for text in record)
            if not all(cell.empty for cell in cells):
                found.append(Line(number=number, cells=cells))
            number = skipped + reader.line_num + 1
    except csv.Error as error:
        where = Place(file=place.file, line=skipped + reader.line_num)
        raise WrongFiles([Problem(place=where, message=f"is not CSV: {error}")]) from error
    return Table(place=place, lines=_counted(place, found))


def _decode(place: Place, content: bytes) -> str:
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        where = Place(file=place.file, line=content.count(b"\n", 0, error.start) + 1)
        message = 'is not UTF-8: in Excel, save it as "CSV UTF-8", or as .xlsx'
        raise WrongFiles([Problem(place=where, message=message)]) from error


def _delimiter(lines: Iterable[str]) -> str:
    """The sign that stands most often, outside quotes, on the first line that has any."""
    for line in lines:
        bare = re.sub(r'"[^"]*"', "", line)
        counts = {sign: bare.count(sign) for sign in _DELIMITERS}
        if any(counts.values()):
            return max(counts, key=lambda sign: counts[sign])
    return ","


def _text_cell(text: str) -> Cell:
    if _MADE_HARMLESS.match(text):
        text = text[1:]
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    if hidden := hidden_character(text):
        return Cell(problem=f"holds the invisible character {hidden}: type the cell again")
    if len(text.encode()) > LONGEST:
        return Cell(problem=f"holds more than {LONGEST:,} bytes")
    return Cell(value=text or None)


def hidden_character(text: str) -> str | None:
    """The first character that cannot be seen (control, format), by its Unicode name: it would tell apart what looks
    the same."""
    return next((f"U+{ord(char):04X}" for char in text if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co"}), None)


def _counted(place: Place, lines: list[Line]) -> tuple[Line, ...]:
    if len(lines) > MOST_LINES:
        message = f"has more than {MOST_LINES:,} lines: that is no inventory"
        raise WrongFiles([Problem(place=place, message=message)])
    return tuple(lines)


def _workbook(place: Place, content: bytes) -> Iterator[Table]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(part.file_size for part in packed.infolist()) > LARGEST_WORKBOOK:
                raise WrongFiles([Problem(place=place, message="is too large once unpacked: that is no inventory")])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about decoration it cannot keep; nothing of it is read
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
            for sheet in book.worksheets:
                if sheet.sheet_state == "visible":
                    yield _sheet(Place(file=place.file, sheet=sheet.title), sheet)
    except (zipfile.BadZipFile, InvalidFileException, ParseError, KeyError, ValueError, TypeError) as error:
        raise WrongFiles([Problem(place=place, message="is not a workbook that Excel would open")]) from error


def _sheet(place: Place, sheet: Any) -> Table:
    sheet.reset_dimensions()  # what the file says of its size may be wrong
    found: list[Line] = []
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = tuple(_workbook_cell(cell) for cell in row)
        if not all(cell.empty for cell in cells):
            found.append(Line(number=number, cells=cells))
            if len(found) > MOST_LINES:
                break
    return Table(place=place, lines=_counted(place, found))


def _workbook_cell(cell: Any) -> Cell:
    value = cell.value
    if value is None:
        return Cell()
    if cell.data_type == "f":
        return Cell(problem="holds a formula: replace it by its value (copy, then paste values only)")
    if cell.data_type == "e":
        return Cell(problem=f"holds Excel's error {value}")
    if isinstance(value, bool) or not isinstance(value, str | int | float | datetime | date):
        return Cell(problem=f"holds {value}, which is neither text nor a number nor a day")
    if isinstance(value, str):
        return _text_cell(value)
    if isinstance(value, datetime):
        # Excel counts in fractions of a day, which come out beside the second.
        value = (value + timedelta(seconds=0.5)).replace(microsecond=0)
        return Cell(value=value.date() if value.time() == time() else value)
    if isinstance(value, int) and re.fullmatch(r"0{2,}", cell.number_format or ""):
        return Cell(value=str(value).zfill(len(cell.number_format)))  # shown with leading zeros, so they are meant
    return Cell(value=value)


# -- writing


class Sheet(Record, frozen=True):
    """A table to be written: the name of its file or sheet, its headings, and its lines of text, numbers and days."""

    name: str
    headings: tuple[str, ...]
    lines: tuple[tuple[Value, ...], ...]


def write_csv(path: Path, sheet: Sheet, *, delimiter: str) -> None:
    """As Excel opens it by a double click: UTF-8 with a byte order mark, CRLF."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(sheet.headings)
    writer.writerows([harmless(_plain(value)) for value in line] for line in sheet.lines)
    write_whole(path, text.getvalue().encode("utf-8-sig"))


def write_workbook(path: Path, sheets: Iterable[Sheet]) -> None:
    """One workbook; every column is text or days, so that Excel drops no leading zero of what is typed in later."""
    book = openpyxl.Workbook(write_only=True)
    for sheet in sheets:
        page = book.create_sheet(sheet.name)
        page.freeze_panes = "A2"
        for index, heading in enumerate(sheet.headings):
            widest = max((len(str(line[index] or "")) for line in sheet.lines), default=0)
            dimension = page.column_dimensions[get_column_letter(index + 1)]
            dimension.width = min(max(len(heading), widest, 8) + 2, 60)
            dimension.number_format = "@"
        page.append([_written(page, heading, bold=True) for heading in sheet.headings])
        for line in sheet.lines:
            page.append([_written(page, value) for value in line])
    packed = io.BytesIO()
    book.save(packed)
    write_whole(path, packed.getvalue())


def _written(page: Any, value: Value, *, bold: bool = False) -> Any:
    shown: Any = harmless(value) if isinstance(value, str) else value
    cell = WriteOnlyCell(page, value=shown)
    if isinstance(value, str):
        cell.data_type = "s"  # text, whatever it begins with
        cell.number_format = "@"
    elif isinstance(value, date):
        cell.number_format = "dd/mm/yyyy"
    if bold:
        cell.font = Font(bold=True)
    return cell


def _plain(value: Value) -> str:
    return value.isoformat() if isinstance(value, date) else "" if value is None else str(value)


def harmless(text: str) -> str:
    """The text as no spreadsheet takes it for a formula."""
    return f"'{text}" if _RISKY.match(text) else text


def write_whole(path: Path, content: bytes) -> None:
    """The whole file or nothing of it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise ConftrackError(f"{path} cannot be written: {error.strerror}") from error
