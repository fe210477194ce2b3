"""PDF, typeset in a process of its own; and pictures of charts for forms that cannot hold SVG."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from conftrack import charts
from conftrack.language import Language
from conftrack.report.document import Document, Row, Section, Table
from conftrack.report.forms.layout import FormError, drawn, for_paper, is_number, language_of, shade, texts

PATIENCE = 120.0
"""Seconds for one document; the child is ended after that."""

UPRIGHT, FLAT = 75, 145
"""Capital letters that a line of a table takes, on the pages of the sections and of the annexes."""

_BREAK = "\u200b"
_CHILD = Path(__file__).parent / "typesetting.py"
_THRIFT = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""For the child's allocator, where it is glibc's: of many small pieces on several threads it keeps much aside else."""


_ANNEX_WIDTH, _ANNEX_SIZE, _CELL_MARGIN = 773.0, 8.0, 6.0
"""Points, as report.typ sets annexes: across a page, of the letters, and left and right of a text in its cell."""


async def typeset(document: Document) -> bytes:
    """Raises FormError if the child failed."""
    return await _child({"report": await asyncio.to_thread(_told, document)})


async def pictures(drawings: Sequence[tuple[str, str]]) -> list[bytes]:
    """A PNG of each title and SVG. Raises FormError if the child failed."""
    asked = [{"title": title, "drawing": drawing} for title, drawing in drawings]
    made = msgspec.json.decode(await _child({"drawings": asked}), type=list[str]) if asked else []
    return [bytes.fromhex(picture) for picture in made]


def _told(document: Document) -> str:
    return msgspec.json.encode(_data(document)).decode()


async def _child(asked: dict[str, Any]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(_CHILD), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=os.environ | _THRIFT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            made, said = await process.communicate(msgspec.json.encode(asked))
    except TimeoutError:
        raise FormError(f"typesetting took more than {PATIENCE:.0f} seconds") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["killed"]
        raise FormError(f"typesetting failed: {last[0]}")
    return made


def _data(document: Document) -> dict[str, Any]:
    language = language_of(document)
    document = for_paper(document)
    return {
        "language": document.language,
        "title": document.title,
        "subject": document.subject,
        "author": "conftrack",
        "mark": document.mark,
        "provisional": document.provisional,
        "notes": document.notes,
        "sections": [_section(section, language, UPRIGHT) for section in document.sections],
        "annexes": [_section(section, language, FLAT) for section in document.annexes],
        "definitions": _section(
            Section(title=document.definitions.title, tables=(document.definitions,)), language, UPRIGHT
        ),
    }  # fmt: skip


def _section(section: Section, language: Language, letters: int) -> dict[str, Any]:
    return {
        "title": section.title,
        "paragraphs": section.paragraphs,
        "tables": [_table(table, language, letters) for table in section.tables],
        "charts": [
            {"title": chart.title, "picture": charts.on_paper(drawn(section, chart, language))}
            for chart in section.charts
        ],
    }


def _table(table: Table, language: Language, letters: int) -> dict[str, Any]:
    whole = sum(column.width for column in table.columns)
    fitting = [max(4, letters * column.width // whole - 1) for column in table.columns]
    room = [(column.width / whole * _ANNEX_WIDTH - _CELL_MARGIN) / _ANNEX_SIZE for column in table.columns]

    def written(row: Row) -> list[str]:
        return [_breakable(text, most) for text, most in zip(texts(table, row, language), fitting, strict=True)]

    rows = [written(row) for row in table.rows if not row.total]
    return {
        "title": table.title,
        "columns": [
            {"title": column.title, "width": column.width, "number": is_number(column)} for column in table.columns
        ],
        "rows": rows,
        # Of thousands of rows it takes typst a third of the time, and of the memory, to find out how high they are.
        "lines": [all(_width(said) <= ems for said, ems in zip(row, room, strict=True)) for row in rows]
        if letters == FLAT else None,
        "total": next((written(row) for row in table.rows if row.total), None),
        "shades": [[shade(table, value) for value in row.values] for row in table.rows] if table.shaded else None,
        "notes": table.notes,
        "empty": table.empty,
    }  # fmt: skip


def _width(text: str) -> float:
    """What a text takes at most, in ems of Libertinus Serif; for ever, if it has signs that others are set in."""
    return sum(map(_widest, text))


def _widest(sign: str) -> float:
    if sign in _NARROW:
        return 0.36
    if sign.isdecimal() and sign.isascii():
        return 0.47
    if not sign.isprintable() or not (sign < "\u0180" or sign in "ƠơƯư–…" or "\u1ea0" <= sign <= "\u1ef9"):
        return inf
    if sign in _WIDE or not sign.isalpha():
        return 0.92
    return 0.74 if sign.isupper() else 0.56


_NARROW = frozenset(" .,:;/()[]'!-")
_WIDE = frozenset("mwMWŴŵÆæŒœ")


def _breakable(text: str, letters: int) -> str:
    """Words that are longer than their column is wide may be broken, after a hyphen first: what does not fit would
    stand on its neighbour."""

    def broken(word: re.Match[str]) -> str:
        if len(word[0]) <= letters:
            return word[0]
        parts = re.split("(?<=-)", word[0])
        return _BREAK.join(part[at : at + letters] for part in parts for at in range(0, len(part), letters))

    return re.sub(r"\S+", broken, text)
