"""What the pages have in common: how a request is read, strictly, and how a page is answered, in its language."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from aiohttp import web

from conftrack.sources.base import Clock
from conftrack.state import State
from conftrack.storage.database import Unavailable, sentence_of
from conftrack.web import pages
from conftrack.web.access import VISITOR, Access, Handler, Told, Visitor

RETRY_AFTER = "10"
"""Seconds in which to ask again, after the database did not answer."""
ROWS = 100
"""Rows of a long table on one page."""


class Desk:
    """`asset` gives the address of a static file; `version` changes with any of them."""

    def __init__(
        self,
        state: State,
        access: Access,
        *,
        clock: Clock,
        timezone: ZoneInfo,
        asset: Callable[[str], str],
        version: str,
        has_records: bool,
    ) -> None:
        self.state = state
        self.access = access
        self.clock = clock
        self.timezone = timezone
        self.version = version
        self.languages = pages.languages(timezone, asset)
        self._has_records = has_records

    def page(
        self, request: web.Request, template: str, *, at: datetime, status: int = 200, **values: object
    ) -> web.Response:
        """A page of this moment, `at`."""
        language = pages.chosen(request, self.languages)
        response = web.Response(
            text=language.render(
                template,
                at=at,
                version=self.version,
                visitor=request.get(VISITOR, Visitor()),
                can_sign_in=self.access.can_sign_in,
                has_records=self._has_records,
                blind=[s.name for s in self.state.sources.values() if s.has_live and not s.fresh(at)],
                path=request.path,
                languages={
                    code: (str(request.rel_url.update_query(lang=code)), other.name)
                    for code, other in self.languages.items()
                },
                **values,
            ),
            status=status,
            content_type="text/html",
            headers={"Cache-Control": "no-store"},
        )
        if request.query.get("lang") == language.code:
            response.set_cookie(pages.COOKIE, language.code, max_age=365 * 86400, httponly=True, samesite="Lax")
        return compressed(request, response)

    def begin(self, day: date) -> datetime:
        """When this local day begins."""
        return datetime.combine(day, time(), self.timezone).astimezone(UTC)

    @web.middleware
    async def tell(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A middleware: what ends a request early, and a database that is away, become a page that says why."""
        try:
            return await handler(request)
        except Told as told:
            response = self._message(request, told)
            if told.status == 429:
                response.headers["Retry-After"] = "60"
            return response
        except Unavailable as error:
            self.state.lose_database(sentence_of(error), self.clock())
            response = self._message(request, Told(503, "away", acting=request.method not in ("GET", "HEAD")))
            response.headers["Retry-After"] = RETRY_AFTER
            return response

    def _message(self, request: web.Request, told: Told) -> web.Response:
        return self.page(
            request, "message.html", at=self.clock(), status=told.status, reason=told.reason, values=told.values
        )


def compressed(request: web.Request, response: web.Response) -> web.Response:
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    response.headers["Vary"] = "Accept, Accept-Encoding, Accept-Language, Cookie"
    return response


def asked(request: web.Request, *known: str) -> dict[str, str]:
    """What the address asks for, without what it leaves empty. A filter that does not exist is refused, not ignored."""
    for name in request.query:
        if name not in (*known, "lang"):
            raise Told(422, "filter", name=name, known=known)
        if len(request.query.getall(name)) > 1:
            raise Told(422, "twice", name=name)
    return {name: value for name in known if (value := request.query.get(name, "").strip())}


def chosen_page(asked: dict[str, str], rows: int) -> tuple[int, int]:
    """The number of the page that is asked for, from 1, and how many there are."""
    there = max(1, -(-rows // ROWS))
    text = asked.get("page", "1")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= there):
        raise Told(422, "value", name="page", value=text, known=(f"1–{there}",))
    return int(text), there


def numbered(request: web.Request, name: str) -> int:
    """A number in the path; 404 for what cannot be one."""
    text = request.match_info[name]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Told(404, "nothing")
    return int(text)


def chosen_month(text: str | None, today: date) -> date:
    """The first day of the month that is asked for, as 2026-11; this one if none is."""
    this = today.replace(day=1)
    if text is None:
        return this
    found = re.fullmatch(r"(20\d\d)-(0[1-9]|1[0-2])", text, re.ASCII)
    first = date(int(found[1]), int(found[2]), 1) if found else None
    if first is None or first > this:
        raise Told(422, "value", name="month", value=text, known=(f"2000-01 – {this:%Y-%m}",))
    return first


def months_later(first: date, months: int) -> date:
    number = first.year * 12 + first.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)
