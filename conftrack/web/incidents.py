"""The incidents: what goes wrong now and what went wrong, and what operators say about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TypeAlias, get_args

import msgspec
from aiohttp import web

from conftrack.model import Owner
from conftrack.state import IGNORED_AFTER
from conftrack.storage.actions import Actions
from conftrack.storage.pages import IncidentRow, PageReader
from conftrack.web.access import FORM, VISITOR, Handler, Told, way_on
from conftrack.web.desk import ROWS, Desk, asked, chosen_page, numbered

OPEN_LISTED = 500
"""Open incidents on the page, outages with all their parts as one; the newest."""
PARTS_LISTED = 200
"""Incidents listed in one outage."""
LONGEST = 2000
"""Characters of a note."""

Act: TypeAlias = Callable[[web.Request, int, str, datetime], Awaitable[bool]]
"""Does something to an incident, for a person at a moment; false: there was nothing to do."""

OWNERS: tuple[Owner, ...] = get_args(Owner)


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    row: IncidentRow
    #: Somebody must see to it: an outage, or nobody has acknowledged it for long.
    critical: bool
    #: Of an outage.
    parts: tuple[IncidentRow, ...] = ()
    #: Parts that are not listed.
    more: int = 0


def add_incidents(app: web.Application, desk: Desk, reader: PageReader, actions: Actions) -> None:
    async def show_incidents(request: web.Request) -> web.Response:
        now = desk.clock()
        wanted = asked(request, "page")
        going_on = await reader.open_incidents()
        open_ids = {number for number, _ in going_on}
        tops = [number for number, parent in going_on if parent not in open_ids]
        total = await reader.count_closed_incidents()
        page, pages = chosen_page(wanted, total)
        closed = await reader.closed_incidents(ROWS, ROWS * (page - 1))
        return desk.page(
            request, "incidents.html", at=now, owners=OWNERS, number=page, pages=pages,
            open=await _listed(tops[:OPEN_LISTED], now), more=len(tops) - len(tops[:OPEN_LISTED]),
            closed=await _listed(closed, now), total=total,
        )  # fmt: skip

    async def _listed(ids: list[int], now: datetime) -> list[Listed]:
        rows = await reader.incidents(ids)
        outages = [row.incident_id for row in rows if row.kind == "outage"]
        parts: dict[int, list[IncidentRow]] = {}
        for part in await reader.incidents(await reader.incidents_within(outages)) if outages else ():
            if part.parent_id is not None:
                parts.setdefault(part.parent_id, []).append(part)
        return [_with_parts(row, parts.get(row.incident_id, ()), now) for row in rows]

    def acting(act: Act) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            number, by = numbered(request, "number"), request[VISITOR].name
            assert by is not None  # noqa: S101  (the guard lets nobody else act)
            if not await act(request, number, by, desk.clock()):
                raise Told(409, "nothing to do")
            raise web.HTTPSeeOther(way_on(request[FORM].get("next", "")))

        return handle

    async def acknowledge(request: web.Request, number: int, by: str, at: datetime) -> bool:
        return await actions.acknowledge(number, by=by, at=at)

    async def note(request: web.Request, number: int, by: str, at: datetime) -> bool:
        return await actions.add_note(number, _text(request, "text"), by=by, at=at)

    async def excuse(request: web.Request, number: int, by: str, at: datetime) -> bool:
        return await actions.excuse(number, _text(request, "reason"), by=by, at=at)

    async def own(request: web.Request, number: int, by: str, at: datetime) -> bool:
        given = request[FORM].get("owner", "")
        owner = next((owner for owner in OWNERS if owner == given), None)
        if given and owner is None:
            raise Told(422, "value", name="owner", value=given, known=OWNERS)
        return await actions.set_owner(number, owner, by=by, at=at)

    app.router.add_get("/incidents", show_incidents)
    for name, act in (("acknowledge", acknowledge), ("note", note), ("excuse", excuse), ("owner", own)):
        app.router.add_post(f"/incidents/{{number}}/{name}", acting(act))


def _with_parts(row: IncidentRow, parts: Iterable[IncidentRow], now: datetime) -> Listed:
    ignored = row.acknowledged_at is None and now - row.opened_at >= IGNORED_AFTER
    parts = tuple(parts)
    return Listed(
        row=row,
        critical=row.closed_at is None and (row.kind == "outage" or ignored),
        parts=parts[:PARTS_LISTED],
        more=len(parts) - len(parts[:PARTS_LISTED]),
    )


def _text(request: web.Request, field: str) -> str:
    text = request[FORM].get(field, "").strip()
    if not text or len(text) > LONGEST or "\0" in text:
        raise Told(422, "text", longest=LONGEST)
    return text
