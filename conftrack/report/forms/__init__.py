"""The forms of a report: HTML, PDF, DOCX, XLSX and JSON, each a layout of the same document."""

from __future__ import annotations

import asyncio
from typing import Literal, TypeAlias, get_args

import msgspec

from conftrack.config import ReportConfig
from conftrack.report.contents import document
from conftrack.report.cut import cut, cut_closed
from conftrack.report.forms.docx import filled
from conftrack.report.forms.html import page
from conftrack.report.forms.pdf import typeset
from conftrack.report.forms.xlsx import workbook
from conftrack.report.model import Closed, Report, Scope

Form: TypeAlias = Literal["html", "pdf", "docx", "xlsx", "json"]
FORMS: tuple[Form, ...] = get_args(Form)
MEDIA_TYPES: dict[Form, str] = {
    "html": "text/html",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
}


async def make(form: Form, report: Report | Closed, *, scope: Scope, language: str, letterhead: ReportConfig) -> bytes:
    """A report of a scope on paper, without holding up what else goes on. `language` does not matter to JSON.

    Raises KeyError for a unit or source that the report does not know, and FormError where a form cannot be made: the
    user's template is broken, say.
    """
    if form == "json":
        return await asyncio.to_thread(_figures, report, scope)
    told = await asyncio.to_thread(document, report, scope, language)
    if form == "pdf":
        return await typeset(told)
    if form == "docx":
        return await filled(told, letterhead)
    return await asyncio.to_thread(page if form == "html" else workbook, told)


def file_name(form: Form, report: Report | Closed, scope: Scope) -> str:
    """Such as conftrack-2026-10-SYT.pdf: of letters that any system takes."""
    month = (report.report if isinstance(report, Closed) else report).month
    parts = [part for part in (scope.source, scope.unit) if part is not None]
    safe = ["".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in part) for part in parts]
    return "-".join(["conftrack", f"{month:%Y-%m}", *safe]) + f".{form}"


def _figures(report: Report | Closed, scope: Scope) -> bytes:
    shown = cut_closed(report, scope) if isinstance(report, Closed) else cut(report, scope)
    return msgspec.json.format(msgspec.json.encode(shown, order="sorted"), indent=1)
