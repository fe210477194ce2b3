"""Head counts: the form that a site opens on a phone over its signed link, and the sheet that the links are printed on.

Nobody signs in for the form: whoever has the link may type, and nothing else. It needs no token against forged
requests (CSRF), because nothing that a browser sends by itself, no cookie and no password, lets anybody in: who can
make another's browser send the form has the link, and could send it himself. The link is all that is secret here; it
is in no log, and no other site is told of it (Referrer-Policy).
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from datetime import date, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from aiohttp import web
from markupsafe import Markup

from conftrack.headcounts.counting import MOST, Cards, Counting, LinkRefused, doubtful
from conftrack.headcounts.sheet import qr
from conftrack.inventory.files import refuse_existing
from conftrack.inventory.tables import write_whole
from conftrack.language import Language
from conftrack.storage.headcounts import Seat, Sitting
from conftrack.web import pages
from conftrack.web.access import VISITOR, Told, address_of, fields_of
from conftrack.web.desk import Desk, asked, compressed, numbered
from conftrack.web.pages import Pages
from conftrack.web.tries import Tries

LONGEST_NOTE = 200
"""Characters."""
TRIES, GUESSES, TRY_SPAN = 40, 30, 300
"""So many requests a link, and wrong links an address, in so many seconds. Who guesses shuts nobody else out: behind a
proxy a whole province has one address."""
LARGEST_FORM = 16 << 10

_STATUS = {"unknown": 404, "ended": 410, "closed": 403, "limited": 429}


def add_counts(app: web.Application, desk: Desk, counting: Counting) -> None:
    of_links, of_guesses = Tries(TRIES, TRY_SPAN), Tries(GUESSES, TRY_SPAN)

    async def sitting_of(request: web.Request) -> Sitting | web.Response:
        """What the link is for, or the answer that refuses it."""
        sitting = await counting.read(request.match_info["word"])
        tries, key = (of_guesses, address_of(request)) if sitting is None else (of_links, repr(sitting))
        if not tries.left(key):
            return refusal(request, "limited")
        await tries.take(key)
        return sitting or refusal(request, "unknown")

    def refusal(request: web.Request, why: str, seat: Seat | None = None, day: date | None = None) -> web.Response:
        response = desk.page(
            request, "count.html", at=desk.clock(), status=_STATUS[why], refused=why, seat=seat, day=day
        )  # fmt: skip
        if why == "limited":
            response.headers["Retry-After"] = "60"
        return response

    def form(
        request: web.Request, sitting: Sitting, seat: Seat, people: str, note: str, problem: str | None = None
    ) -> web.Response:
        return desk.page(
            request, "count.html", at=desk.clock(), status=422 if problem else 200, refused=None, seat=seat,
            day=sitting.day, people=people, note=note, problem=problem, longest=LONGEST_NOTE,
        )  # fmt: skip

    async def show_form(request: web.Request) -> web.Response:
        sitting = await sitting_of(request)
        if isinstance(sitting, web.Response):
            return sitting
        try:
            seat = await counting.look(sitting, desk.clock())
        except LinkRefused as error:
            return refusal(request, error.why, error.seat, sitting.day)
        return form(request, sitting, seat, "" if seat.people is None else str(seat.people), seat.note or "")

    async def take_form(request: web.Request) -> web.Response:
        sitting = await sitting_of(request)
        if isinstance(sitting, web.Response):
            return sitting
        people, note, sure = await _filled_in(request)
        now = desk.clock()
        try:
            seat = await counting.look(sitting, now)
            if not re.fullmatch(r"[0-9]{1,6}", people) or int(people) > MOST:
                return form(request, sitting, seat, people[:6], note[:LONGEST_NOTE], "number")
            if len(note) > LONGEST_NOTE:
                return form(request, sitting, seat, people, note[:LONGEST_NOTE], "note")
            if doubtful(int(people), seat.seats) and sure != people:
                return form(request, sitting, seat, people, note, "many")
            await counting.put(sitting, int(people), note or None, now)
        except LinkRefused as error:
            return refusal(request, error.why, error.seat, sitting.day)
        return web.Response(status=303, headers={"Location": str(request.rel_url)})  # to load again sends nothing again

    async def show_cards(request: web.Request) -> web.Response:
        if not request[VISITOR].may_act:  # a link lets whoever has it act
            raise Told(403, "role" if request[VISITOR].name is not None else "signed out")
        text = asked(request, "day").get("day")
        of = await counting.number(numbered(request, "number"))
        if of is None:
            raise Told(404, "nothing")
        day = desk.clock().astimezone(desk.timezone).date()
        if text is not None:
            try:
                day = date.fromisoformat(text)
            except ValueError:
                raise Told(422, "value", name="day", value=text, known=()) from None
        sheet = await counting.cards(of, day)
        language = pages.chosen(request, desk.languages)
        html = await asyncio.to_thread(printed, language, sheet, desk.clock())
        response = web.Response(text=html, content_type="text/html", headers={"Cache-Control": "no-store"})
        return compressed(request, response)

    app.router.add_get("/c/{word}", show_form)
    app.router.add_post("/c/{word}", take_form)
    app.router.add_get("/counts/{number}", show_cards)


def printed(language: Pages, sheet: Cards, at: datetime, *, style: str | None = None) -> str:
    """The sheet as HTML. With `style` it is a file by itself, else it takes its looks from the pages."""
    return language.render(
        "cards.html", sheet=sheet, at=at,
        qr=lambda link: Markup(qr(link)),  # noqa: S704  (drawn by segno, from an address)
        style=Markup(style) if style is not None else None,  # noqa: S704  (a file of the package)
    )  # fmt: skip


def write_printed(
    out: Path, sheet: Cards, language: Literal["vi", "en"], timezone: ZoneInfo, at: datetime, *, force: bool
) -> None:
    """Writes the sheet to a file that needs no other. What is there already is only written over with `force`."""
    refuse_existing([out], force)
    style = (Path(__file__).parent / "static" / "cards.css").read_text(encoding="utf-8")
    html = printed(Pages(Language(language, timezone), asset=str), sheet, at, style=style)
    write_whole(out, html.encode())


async def _filled_in(request: web.Request) -> tuple[str, str, str]:
    """Number, note and confirmation, without what cannot be seen."""
    if (request.content_length or 0) > LARGEST_FORM:
        raise Told(413, "form")
    fields = await fields_of(request)
    note = "".join(
        c if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co"} else " " for c in fields.get("note", "")
    )
    return fields.get("people", "").strip(), " ".join(note.split()), fields.get("sure", "")
