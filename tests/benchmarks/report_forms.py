"""A report with 3,254 endpoints on paper and as a spreadsheet: seconds and memory, against the bare library.

    python -m tests.benchmarks.report_forms [--endpoints 3254] [--rounds 5]

The report has the units of the whole province, two sources, and a month of meetings and absences; the forms are made as
the product makes them, each in a fresh process. Of a PDF, which the product typesets in a child, the peak is the
child's; of a spreadsheet it is that of the process that makes it, the report in it.

The floors, in processes of their own too: typst with nothing but one plain table, in its default style, of the same
cells as all tables of the PDF; and xlsxwriter in its mode that keeps least (constant_memory), writing the same cells to
the same sheets without formats. Prints the best time of each and the highest peak, wanted for PDF within 5 s and
500 MiB, for XLSX within 2 s and 200 MiB. The processor's time tells more where others use the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from io import BytesIO

import msgspec
import xlsxwriter

from conftrack.config import ReportConfig
from conftrack.language import Language
from conftrack.report.contents import document
from conftrack.report.document import Document, Table, Value
from conftrack.report.forms import Form, make
from conftrack.report.forms.layout import for_paper, language_of, texts
from conftrack.report.model import Absence, Held, Report, Scope, Scoped, Unit
from conftrack.simulator.province import phu_tho
from tests import report_sample
from tests.benchmarks.end_to_end import in_own_process

_BARE = '''
import sys, typst
cells = sys.stdin.buffer.read().decode()
page = b"""
  #set page(paper: "a4", flipped: true)
  #set text(size: 8pt)
  #for one in json(bytes(sys.inputs.cells)) { table(columns: one.columns, ..one.cells) }
"""
compiler = typst.Compiler(ignore_system_fonts=True, sys_inputs={"cells": cells})
sys.stdout.buffer.write(compiler.compile(page, format="pdf", pdf_tags=False))
'''


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What making one came to: seconds, of the clock and on the processor, and MiB."""

    seconds: float
    processor: float
    peak: float
    size: float


def report(endpoints: int) -> Report:
    """A month of the province. Every endpoint has figures; 700 were absent, and 60 meetings were held."""
    province = phu_tho()
    units = tuple(
        Unit(code=one.code, name=one.name, parent=one.parent, level=0 if one.parent is None else 1)
        for one in province.units
    )
    sample = report_sample.report(endpoints)
    scopes = [
        Scope(source=source, unit=unit)
        for source in (None, *report_sample.SOURCES)
        for unit in (None, *(one.code for one in units))
    ]
    return msgspec.structs.replace(
        sample,
        units=units,
        figures=tuple(
            Scoped(scope=scope, figures=report_sample.figures(1 + number % 60)) for number, scope in enumerate(scopes)
        ),
        endpoints=tuple(
            report_sample.endpoint(number, units[number % len(units)].code) for number in range(1, endpoints + 1)
        ),
        absences=tuple(
            Absence(
                endpoint=f"DC{number:05}", source=report_sample.SOURCES[number % 2], room=f"room-{number % 60}",
                title=f"Giao ban tuần {number % 60}", starts_at=report_sample.MADE_AT - timedelta(hours=number),
                presence="excused" if number % 2 else "absent", reason="Mất điện toàn xã" if number % 2 else None,
            ) for number in range(1, 701)
        ),
        meetings=tuple(
            Held(
                source=report_sample.SOURCES[number % 2], room=f"room-{number}", title=f"Giao ban tuần {number}",
                started_at=report_sample.MADE_AT - timedelta(hours=12 * number + 2),
                ended_at=report_sample.MADE_AT - timedelta(hours=12 * number), kind="planned", endpoints=60 + number,
                attendees=700 + number, expected=80 + number, attended=55,
            ) for number in range(60)
        ),
    )  # fmt: skip


def told(endpoints: int) -> Document:
    return document(report(endpoints), Scope(), "vi")


# -- each in a process of its own


def ours(form: Form, endpoints: int) -> Made:
    made = report(endpoints)
    letterhead = ReportConfig()
    return _measured(lambda: asyncio.run(make(form, made, scope=Scope(), language="vi", letterhead=letterhead)), form)


def bare_pdf(endpoints: int) -> Made:
    """One plain table after the other, of the cells of the PDF."""
    paper = for_paper(told(endpoints))
    language = language_of(paper)
    tables = [
        {"columns": len(table.columns), "cells": _cells(table, language)}
        for table in paper.tables
        if table.rows
    ]  # fmt: skip
    cells = json.dumps(tables).encode()
    command = (sys.executable, "-I", "-c", _BARE)
    return _measured(lambda: subprocess.run(command, input=cells, stdout=subprocess.PIPE, check=True).stdout, "pdf")


def _cells(table: Table, language: Language) -> list[str]:
    return [column.title for column in table.columns] + [
        text for row in table.rows for text in texts(table, row, language)
    ]


def bare_xlsx(endpoints: int) -> Made:
    """The cells of the spreadsheet, and nothing else."""
    sheets: list[list[Sequence[Value]]] = [
        [[column.title for column in table.columns], *(row.values for row in table.rows)]
        for table in told(endpoints).tables
    ]
    return _measured(lambda: _written(sheets), "xlsx")


def _written(sheets: list[list[Sequence[Value]]]) -> bytes:
    made = BytesIO()
    book = xlsxwriter.Workbook(made, {"constant_memory": True})
    for rows in sheets:
        sheet = book.add_worksheet()
        for number, values in enumerate(rows):
            for place, value in enumerate(values):
                if isinstance(value, int | float):
                    sheet.write_number(number, place, value)
                else:
                    sheet.write_string(number, place, str(value))
    book.close()
    return made.getvalue()


def _measured(work: Callable[[], bytes], form: Form) -> Made:
    whose = resource.RUSAGE_CHILDREN if form == "pdf" else resource.RUSAGE_SELF
    began, began_processor = time.perf_counter(), _processor()
    made = work()
    seconds, processor = time.perf_counter() - began, _processor() - began_processor
    return Made(
        seconds=seconds, processor=processor, peak=resource.getrusage(whose).ru_maxrss / 1024, size=len(made) / 1e6
    )


def _processor() -> float:
    used = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


# -- beside each other


def show(name: str, made: list[Made]) -> float:
    best = min(one.seconds for one in made)
    print(f"{name:20} {best:6.2f} s ({min(one.processor for one in made):.2f} s on the processor)   "
          f"peak {max(one.peak for one in made):4.0f} MiB   {made[0].size:.1f} MB", flush=True)  # fmt: skip
    return best


def _count(shown: Document) -> int:
    return sum(len(table.rows) * len(table.columns) for table in shown.tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=3254)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    endpoints = arguments.endpoints
    shown = told(endpoints)
    printed = for_paper(shown)
    listed = next(len(table.rows) for table in printed.tables if table.key == "endpoints")
    print(f"{len(shown.tables)} tables; on paper {_count(printed):,} cells, {listed:,} of {endpoints:,} endpoints in "
          f"them; in the spreadsheet {_count(shown):,} cells")  # fmt: skip
    # By turns, so that whatever else the machine does falls on all.
    rounds = [
        (
            in_own_process(bare_pdf, endpoints), in_own_process(ours, "pdf", endpoints),
            in_own_process(bare_xlsx, endpoints), in_own_process(ours, "xlsx", endpoints),
        ) for _ in range(arguments.rounds)
    ]  # fmt: skip
    plain_pdf, pdf, plain_xlsx, xlsx = (list(column) for column in zip(*rounds, strict=True))
    floor, best = show("typst alone", plain_pdf), show("PDF", pdf)
    print(f"    ratio {best / floor:.2f}   (wanted: at most 5 s and 500 MiB)")
    floor, best = show("xlsxwriter alone", plain_xlsx), show("XLSX", xlsx)
    print(f"    ratio {best / floor:.2f}   (wanted: at most 2 s and 200 MiB)")


if __name__ == "__main__":
    main()
