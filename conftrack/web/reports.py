"""The monthly reports: which months there are, each as a page, and each on paper."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import date
from typing import Protocol

from aiohttp import web

from conftrack.config import ReportConfig
from conftrack.report.contents import document
from conftrack.report.forms import FORMS, MEDIA_TYPES, Form, file_name, make
from conftrack.report.forms.html import content
from conftrack.report.forms.layout import FormError, for_screen
from conftrack.report.keeper import ReportError
from conftrack.report.model import Closed, Report, Scope, Tree
from conftrack.storage.reports import ClosedMonth
from conftrack.web import pages
from conftrack.web.access import Told
from conftrack.web.desk import Desk, asked, compressed

logger = logging.getLogger(__name__)

AT_ONCE = 2
"""Reports that are made at the same time; others wait, so that nobody's reading takes the machine from collecting."""

_TREES = ("then", "today")
_OFFERED: tuple[Form, ...] = ("pdf", "docx", "xlsx")
"""Beside each month in the list; the others are on its page."""
_PLAIN: frozenset[Form] = frozenset({"html", "json"})
"""Text, which is sent compressed; the others are compressed already."""


class Keeper(Protocol):
    """What keeps reports."""

    def last(self) -> date: ...
    async def months(self) -> list[date]: ...
    async def closed(self) -> list[ClosedMonth]: ...
    async def read(self, month: date, *, tree: Tree = "then") -> Closed | Report: ...


def add_reports(app: web.Application, desk: Desk, keeper: Keeper, letterhead: ReportConfig) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def list_months(request: web.Request) -> web.Response:
        asked(request)
        closed = {one.month: one for one in await keeper.closed()}
        months = sorted({*await keeper.months(), *closed}, reverse=True)
        return desk.page(
            request, "reports.html", at=desk.clock(), months=[(one, closed.get(one)) for one in months],
            last=keeper.last(), forms=_OFFERED,
        )  # fmt: skip

    async def show_report(request: web.Request) -> web.Response:
        wanted = asked(request, "unit", "source", "tree")
        language = pages.chosen(request, desk.languages).code
        async with turns:
            found = await _found(request, wanted)
            scope = _scope(wanted, found)
            told = await asyncio.to_thread(document, found, scope, language)
            body = await asyncio.to_thread(lambda: content(for_screen(told)))
        report = found.report if isinstance(found, Closed) else found
        return desk.page(
            request, "report.html", at=desk.clock(), wanted=wanted, forms=FORMS, report=report, content=body,
            title=told.title,
        )  # fmt: skip

    async def download(request: web.Request) -> web.Response:
        wanted = asked(request, "unit", "source", "tree")
        form = _form(request.match_info["form"])
        language = pages.chosen(request, desk.languages).code
        async with turns:
            found = await _found(request, wanted)
            scope = _scope(wanted, found)
            try:
                made = await make(form, found, scope=scope, language=language, letterhead=letterhead)
            except FormError as error:
                logger.warning("a report could not be made: %s", error, extra={"action": "report_form_failed"})
                others = [other for other in FORMS if other != form]
                raise Told(503, "form not made", form=form, others=others) from None
        name = file_name(form, found, scope)
        response = web.Response(
            body=made,
            headers={
                "Content-Type": f"{MEDIA_TYPES[form]}; charset=utf-8" if form == "html" else MEDIA_TYPES[form],
                "Content-Disposition": f'attachment; filename="{name}"',
                "Cache-Control": "no-store",
            },
        )
        return compressed(request, response) if form in _PLAIN else response

    async def _found(request: web.Request, wanted: Mapping[str, str]) -> Closed | Report:
        """What was signed, of a month that is closed; else the figures as they are now, as they are on today's tree."""
        tree = wanted.get("tree", "then")
        if tree not in _TREES:
            raise Told(422, "value", name="tree", value=tree, known=_TREES)
        month = _month(request.match_info["month"])
        try:
            if month is not None:
                return await keeper.read(month, tree="today" if tree == "today" else "then")
        except ReportError:
            pass
        months = await keeper.months()
        known = [f"{months[-1]:%Y-%m} – {months[0]:%Y-%m}"] if months else []
        raise Told(404, "value", name="month", value=request.match_info["month"], known=known)

    app.router.add_get("/reports", list_months)
    app.router.add_get("/reports/{month:[^/.]+}", show_report)
    app.router.add_get("/reports/{month:[^/.]+}.{form:[^/.]+}", download)


def _month(text: str) -> date | None:
    found = re.fullmatch(r"(20\d\d)-(0[1-9]|1[0-2])", text, re.ASCII)
    return date(int(found[1]), int(found[2]), 1) if found else None


def _form(text: str) -> Form:
    for form in FORMS:
        if form == text:
            return form
    raise Told(404, "value", name="form", value=text, known=FORMS)


def _scope(wanted: Mapping[str, str], found: Closed | Report) -> Scope:
    report = found.report if isinstance(found, Closed) else found
    sources = [one.source for one in report.certificates]
    if "source" in wanted and wanted["source"] not in sources:
        raise Told(422, "value", name="source", value=wanted["source"], known=sources)
    if "unit" in wanted and wanted["unit"] not in {unit.code for unit in report.units}:
        raise Told(422, "value", name="unit", value=wanted["unit"], known=())
    return Scope(source=wanted.get("source"), unit=wanted.get("unit"))
