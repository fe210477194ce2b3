"""What the columns of an inventory file are called, in Vietnamese and in English, and how their cells are read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from conftrack.inventory import calendars, moments
from conftrack.inventory.calendars import Calendar
from conftrack.inventory.names import fold
from conftrack.inventory.tables import Cell, Line, Place, Problem, Table, Value, WrongFiles, read
from conftrack.model import Record

Kind = Literal["units", "endpoints", "moves", "aliases", "invitations", "headcounts", "matches"]
Language = Literal["vi", "en"]

LINES_BEFORE_HEADINGS = 20
"""How far down the headings may stand, below a title."""


class Row(Record, frozen=True):
    """What one line says of one thing: a value for each column that is there, None where its cell is empty."""

    kind: Kind
    place: Place
    values: Mapping[str, Any]
    #: The headings, as the file has them, by the name of the column.
    headings: Mapping[str, str]
    #: The columns whose cell could not be read; they have no value.
    failed: frozenset[str] = frozenset()

    def at(self, column: str) -> Place:
        """The cell, under the heading that the file has; one that it lacks goes by the column's own name."""
        place = self.place
        return Place(file=place.file, sheet=place.sheet, line=place.line, column=self.headings.get(column, column))


class Rows(Record, frozen=True):
    """All that the files say. With `problems` it cannot be used, but further ones can be looked for in it."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()
    #: What was passed over, for the operator to know.
    notes: tuple[str, ...] = ()
    calendars: tuple[Calendar, ...] = ()


class Column(Record, frozen=True):
    #: In English; a field of the record that it fills.
    name: str
    vi: str
    #: Raises ValueError, with what is wrong as a sentence that goes on after the cell's place.
    read: Callable[[Value], Any]
    also: tuple[str, ...] = ()
    required: bool = False


# -- how cells are read


def _text(value: Value) -> str | None:
    if isinstance(value, date):
        raise ValueError(f"is a day to Excel ({value:%d/%m/%Y}): make the column text, then type it again")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)


def _phone(value: Value) -> str | None:
    if isinstance(value, int | float):
        raise ValueError(f"{value} is a number to Excel, which drops the leading 0: make the column text")
    return _text(value)


def _whole(most: int) -> Callable[[Value], int | None]:
    def read(value: Value) -> int | None:
        if value is None:
            return None
        text = _text(value) or ""
        if not re.fullmatch(r"\d{1,9}", text) or int(text) > most:
            raise ValueError(f"{text!r} is not a whole number from 0 to {most:,}")
        return int(text)

    return read


_HOURS = re.compile(r"(\d{1,2})(?:[:hg.](\d{2})?)?\s*[-–—]\s*(\d{1,2})(?:[:hg.](\d{2})?)?")


def _hours(value: Value) -> str | None:
    if value is None:
        return None
    text = str(value)
    if found := _HOURS.fullmatch(text.casefold()):
        from_hour, from_minute, to_hour, to_minute = (int(part or 0) for part in found.groups())
        since, until = from_hour * 60 + from_minute, to_hour * 60 + to_minute
        if since < until <= 24 * 60 and from_minute < 60 and to_minute < 60:
            return f"{from_hour:02d}:{from_minute:02d}-{to_hour:02d}:{to_minute:02d}"
    raise ValueError(f"{text!r} is not a span of hours like 07:00-17:30")


def _when(value: Value) -> date | None:
    """A moment, or a day (a moment is one, too)."""
    try:
        return moments.day(value)
    except ValueError:
        return moments.moment(value)


def _code(value: Value) -> str | None:
    text = _text(value)
    if text is not None and re.search(r"[,;]", text):
        raise ValueError(f"{text!r} is no code: it must not hold a comma or a semicolon")
    return text


def _selected(value: Value) -> tuple[str, ...]:
    """Codes, and selectors such as `area:NAME`, in which a comma may be part of the name."""
    parts = [part.strip() for part in re.split(r"[;\n]", _text(value) or "")]
    return tuple(
        word.strip() for part in parts for word in ([part] if ":" in part else part.split(",")) if word.strip()
    )


def _codes(value: Value) -> tuple[str, ...]:
    return tuple(sorted({code for part in re.split(r"[,;]", _text(value) or "") if (code := part.strip())}))


# -- the columns

_COLUMNS: dict[Kind, tuple[Column, ...]] = {
    "units": (
        Column(name="code", vi="Mã đơn vị", also=("mã", "unit", "org", "unit code"), read=_code, required=True),
        Column(name="name", vi="Tên đơn vị", also=("tên", "unit name", "org name"), read=_text),
        Column(name="parent", vi="Đơn vị cấp trên", also=("mã đơn vị cấp trên", "trực thuộc"), read=_code),
        Column(name="level", vi="Cấp", read=_whole(99)),
        Column(name="valid_from", vi="Hiệu lực từ", also=("từ ngày", "ngày thành lập", "from"), read=moments.day),
        Column(name="valid_to", vi="Hết hiệu lực từ", read=moments.day),
        Column(name="successors", vi="Đơn vị kế thừa", also=("kế thừa", "sáp nhập vào", "successor"), read=_codes),
    ),
    "endpoints": (
        Column(name="code", vi="Mã điểm cầu", also=("mã", "endpoint"), read=_code, required=True),
        Column(name="name", vi="Tên điểm cầu", also=("tên", "điểm cầu", "endpoint name"), read=_text),
        Column(name="org", vi="Mã đơn vị", also=("đơn vị", "unit", "unit code", "org unit"), read=_code),
        Column(name="kind", vi="Loại", also=("loại điểm cầu", "type"), read=_text),
        Column(name="seats", vi="Số chỗ", also=("số chỗ ngồi", "số ghế", "sức chứa", "capacity"), read=_whole(100_000)),
        Column(name="carrier", vi="Nhà mạng", also=("đường truyền",), read=_text),
        Column(name="area", vi="Khu vực", also=("cụm",), read=_text),
        Column(name="service_hours", vi="Giờ trực", also=("giờ hoạt động", "giờ phục vụ"), read=_hours),
        Column(name="contact_name", vi="Người liên hệ", also=("đầu mối", "cán bộ kỹ thuật", "contact"), read=_text),
        Column(name="contact_phone", vi="Điện thoại", also=("số điện thoại", "sđt", "phone"), read=_phone),
        Column(name="retired_on", vi="Ngừng sử dụng từ", also=("ngày ngừng sử dụng", "retired"), read=moments.day),
        # No field of an endpoint: it says since when the unit holds, and is kept as a move.
        Column(name="unit_since", vi="Thuộc đơn vị từ", also=("đơn vị từ ngày", "org since"), read=moments.day),
    ),
    "moves": (
        Column(name="endpoint", vi="Mã điểm cầu", also=("mã", "code", "điểm cầu"), read=_code, required=True),
        # Empty: it was in none.
        Column(name="former_unit", vi="Đơn vị trước đó", also=("đơn vị cũ", "mã đơn vị cũ", "former org"), read=_code),
        Column(name="moved_on", vi="Ngày chuyển đơn vị", also=("ngày chuyển",), read=moments.day, required=True),
    ),
    "aliases": (
        Column(name="alias", vi="Địa chỉ gọi", also=("địa chỉ", "bí danh", "address"), read=_text, required=True),
        Column(name="endpoint", vi="Mã điểm cầu", also=("mã", "code", "điểm cầu"), read=_code, required=True),
    ),
    "invitations": (
        Column(name="meeting", vi="Mã cuộc họp", also=("uid", "meeting id", "mã họp"), read=_text),
        Column(name="room", vi="Phòng họp", also=("phòng", "phòng họp trực tuyến"), read=_text, required=True),
        Column(name="title", vi="Tên cuộc họp", also=("cuộc họp", "nội dung", "subject"), read=_text),
        Column(name="source", vi="Nguồn", also=("hệ thống",), read=_text),
        Column(name="start", vi="Bắt đầu", also=("thời gian", "thời gian bắt đầu", "starts at"), read=moments.moment),
        Column(name="end", vi="Kết thúc", also=("thời gian kết thúc", "ends at"), read=moments.end),
        Column(
            name="endpoint", vi="Thành phần mời", read=_selected, required=True,
            also=("thành phần", "mã điểm cầu", "điểm cầu", "invited", "expected", "endpoints"),
        ),
        Column(name="excused", vi="Lý do vắng", also=("lý do vắng mặt", "lý do", "reason"), read=_text),
    ),
    "headcounts": (
        Column(name="room", vi="Phòng họp", also=("phòng", "phòng họp trực tuyến"), read=_text),
        Column(name="title", vi="Tên cuộc họp", also=("cuộc họp", "meeting", "nội dung", "subject"), read=_text),
        Column(name="time", vi="Thời gian", also=("ngày", "ngày họp", "bắt đầu", "date", "start"), read=_when,
               required=True),
        Column(name="endpoint", vi="Mã điểm cầu", also=("mã", "điểm cầu", "code"), read=_code, required=True),
        Column(name="people", vi="Số người", also=("số đại biểu", "đại biểu", "attendees"), read=_whole(999_999),
               required=True),
        Column(name="note", vi="Ghi chú", also=("notes", "remarks"), read=_text),
    ),
    "matches": (
        Column(name="caller", vi="Người gọi", also=("địa chỉ gọi", "alias"), read=_text, required=True),
        # Empty: not decided yet.
        Column(name="code", vi="Mã điểm cầu", also=("mã", "endpoint", "điểm cầu"), read=_code),
    ),
}  # fmt: skip

#: Columns that people keep for themselves, and those that the queue of unmatched callers adds for them to read.
_PASSED_OVER = frozenset(
    fold(name)
    for name in ("STT", "TT", "No", "No.", "#", "Ghi chú", "Note", "Notes", "Remarks", "Seen", "Last seen", "Example",
                 "Likely 1", "Likely 2", "Likely 3")
)  # fmt: skip

_NAMES: dict[Kind, dict[str, Column]] = {
    kind: {fold(name): column for column in columns for name in (column.name, column.vi, *column.also)}
    for kind, columns in _COLUMNS.items()
}


def columns(kind: Kind) -> tuple[str, ...]:
    return tuple(column.name for column in _COLUMNS[kind])


def headings(kind: Kind, language: Language) -> tuple[str, ...]:
    """What a file of this kind is headed by."""
    return tuple(column.vi if language == "vi" else column.name for column in _COLUMNS[kind])


# -- files


def read_files(paths: Iterable[Path], kinds: Sequence[Kind]) -> Rows:
    """Every row of these kinds in the files, in no particular order, and their calendars, which are invitations.

    Raises WrongFiles when a file, or a table in it, cannot be made out; cells that cannot be read are `problems`.
    """
    rows: list[Row] = []
    notes: list[str] = []
    unclear: list[Problem] = []
    problems: list[Problem] = []
    opened: list[Calendar] = []
    for path in sorted(set(paths)):
        try:
            if "invitations" in kinds and path.suffix.casefold() == ".ics":
                opened.append(calendars.read(path))
                continue
            tables = read(path)
        except WrongFiles as error:
            unclear += error.problems
            continue
        known = 0
        for table in tables:
            found = _find_headings(table, kinds)
            if isinstance(found, Problem):
                unclear.append(found)
            elif found is not None:
                kind, head = found
                placed = _columns_of(table, kind, head, unclear)
                rows += _rows(table, kind, head, placed, problems)
            elif table.lines and len(tables) > 1:
                notes.append(f"{table.place}: passed over, no line of it has known headings")
            known += found is not None
        if not known:
            unclear.append(Problem(place=Place(file=str(path)), message=_unknown(kinds)))
    if unclear:
        raise WrongFiles([*unclear, *problems])
    return Rows(rows=tuple(rows), problems=tuple(problems), notes=tuple(notes), calendars=tuple(opened))


def _unknown(kinds: Iterable[Kind]) -> str:
    wanted = "; ".join(f"{kind}: {', '.join(columns(kind))}" for kind in kinds)
    return f"no line has the headings that are needed ({wanted}); `conftrack inventory template` writes examples"


def _find_headings(table: Table, kinds: Sequence[Kind]) -> tuple[Kind, Line] | Problem | None:
    """What kind of table it is, and the line with its headings; what is nearly one is a problem."""
    nearly: Problem | None = None
    for line in table.lines[:LINES_BEFORE_HEADINGS]:
        names = [fold(str(cell.value)) for cell in line.cells if cell.value is not None]
        # The more headings a kind knows, the likelier it is that kind; required ones must be there.
        score = {kind: len({known[name].name for name in names if name in known}) for kind, known in _NAMES.items()}
        complete = [kind for kind in _COLUMNS if _has_required(kind, names)]
        if complete:
            most = max(score[kind] for kind in complete)
            likely = [kind for kind in complete if score[kind] == most]
            return _decided(table, line, likely, kinds)
        if nearly is None and max(score.values()) >= 2:
            kind = max(kinds, key=lambda kind: score[kind])
            lacking = [c.name for c in _COLUMNS[kind] if c.required and not _has(c, names)]
            message = f"these look like the headings of {kind}, but {' and '.join(lacking)} is missing"
            nearly = Problem(place=_on(table.place, line), message=message)
    return nearly


def _decided(table: Table, line: Line, likely: list[Kind], kinds: Sequence[Kind]) -> tuple[Kind, Line] | Problem:
    wanted = [kind for kind in likely if kind in kinds]
    if len(wanted) == 1:
        return wanted[0], line
    if wanted:
        message = f"these may be {' or '.join(wanted)}: add a column that only one of them has, as the template does"
    elif "headcounts" in likely:
        message = "this is a list of head counts: use `conftrack headcount import`"
    elif "matches" in likely:
        message = "this is a list of callers: use `conftrack inventory match --from`"
    else:
        message = f"this is a list of {likely[0]}: use `conftrack inventory import`"
    return Problem(place=_on(table.place, line), message=message)


def _has_required(kind: Kind, names: list[str]) -> bool:
    return all(_has(column, names) for column in _COLUMNS[kind] if column.required)


def _has(column: Column, names: Iterable[str]) -> bool:
    return any(fold(name) in names for name in (column.name, column.vi, *column.also))


def _on(place: Place, line: Line, column: str = "") -> Place:
    return Place(file=place.file, sheet=place.sheet, line=line.number, column=column)


def _rows(
    table: Table, kind: Kind, head: Line, placed: Mapping[int, tuple[Column, str]], problems: list[Problem]
) -> Iterator[Row]:
    labels = {column.name: label for column, label in placed.values()}
    required = {column.name for column in _COLUMNS[kind] if column.required}
    for line in table.lines:
        if line.number <= head.number:
            continue
        values: dict[str, Any] = {}
        failed: set[str] = set()
        cells = [cell or Cell() for cell, _ in zip_longest(line.cells, head.cells)]
        for index, cell in enumerate(cells):
            if index in placed:
                column, label = placed[index]
                try:
                    values[column.name] = _value(column, cell)
                except ValueError as error:
                    failed.add(column.name)
                    problems.append(Problem(place=_on(table.place, line, label), message=str(error)))
            elif not cell.empty and (index >= len(head.cells) or head.cells[index].empty):
                message = f"{cell.value or 'what'!r} stands under no heading"
                problems.append(Problem(place=_on(table.place, line, f"No. {index + 1}"), message=message))
        if not failed & required:
            place = _on(table.place, line)
            yield Row(kind=kind, place=place, values=values, headings=labels, failed=frozenset(failed))


def _value(column: Column, cell: Cell) -> Any:
    if cell.problem is not None:
        raise ValueError(cell.problem)
    value = column.read(cell.value)
    if value in (None, ()) and column.required:
        raise ValueError("must not be empty")
    return value


def _columns_of(table: Table, kind: Kind, head: Line, problems: list[Problem]) -> dict[int, tuple[Column, str]]:
    """The known columns by their number, each with its heading as the file has it."""
    placed: dict[int, tuple[Column, str]] = {}
    for index, cell in enumerate(head.cells):
        if cell.value is None:
            continue
        label = str(cell.value)
        column = _NAMES[kind].get(fold(label))
        if column is None:
            if fold(label) not in _PASSED_OVER:
                near = difflib.get_close_matches(fold(label), _NAMES[kind], n=1)
                hint = f"; did you mean {_NAMES[kind][near[0]].vi!r} ({_NAMES[kind][near[0]].name})?" if near else ""
                message = f"no column of {kind} is called so{hint or ': ' + ', '.join(columns(kind))}"
                problems.append(Problem(place=_on(table.place, head, label), message=message))
        elif column in (known for known, _ in placed.values()):
            problems.append(Problem(place=_on(table.place, head, label), message=f"a second column {column.name}"))
        else:
            placed[index] = column, label
    return placed
