"""A meeting: who was expected and who came, its connections drawn over time, its people; and who is missing now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from aiohttp import web

from conftrack.incidents.rollcall import STALE_AFTER, Answer, RollCall, call
from conftrack.inventory.names import name_order
from conftrack.state import State
from conftrack.storage.pages import LegRow, MeetingRow, PageReader
from conftrack.storage.rollcall import Convocation, Guest
from conftrack.web.access import Told
from conftrack.web.desk import ROWS, Desk, asked, chosen_page, numbered

WIDTH = 1000
"""Of the drawing of connections, in its own units."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One leg in the drawing, in units of WIDTH; an attempt has no width."""

    leg: LegRow
    x: float
    width: float


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """The legs of one endpoint, in the order in which they began."""

    endpoint: str | None
    #: None: a person, or a caller without a name.
    name: str | None
    personal: bool
    bars: tuple[Bar, ...]


class Absence(msgspec.Struct, frozen=True, kw_only=True):
    """Who is not in one meeting now, those of the highest level first."""

    meeting: Convocation
    absent: tuple[Answer, ...]
    #: Nobody can see now whether they are there.
    unknown: tuple[Answer, ...]
    excused: tuple[Answer, ...]


def add_meetings(app: web.Application, desk: Desk, reader: PageReader) -> None:
    async def show_meeting(request: web.Request) -> web.Response:
        now = desk.clock()
        meeting = await reader.meeting(numbered(request, "number"))
        if meeting is None:
            raise Told(404, "nothing")
        strips = drawn(meeting, await reader.legs([meeting.meeting_id]), now)
        page, pages = chosen_page(asked(request, "page"), len(strips))
        convocation = await reader.convocation(meeting.meeting_id)
        return desk.page(
            request, "meeting.html", at=now, meeting=meeting,
            seen=meeting.ended_at is not None or is_seen(desk.state, meeting.source, now),
            roll=_call(convocation, desk.state, now) if convocation is not None else None,
            invitation=convocation.invitation_id if convocation is not None else None,
            strips=strips[(page - 1) * ROWS : page * ROWS], found=len(strips), number=page, pages=pages, width=WIDTH,
            people=await reader.people(meeting.meeting_id), headcounts=await reader.headcounts(meeting.meeting_id),
            incidents=await reader.meeting_incidents(meeting.meeting_id),
        )  # fmt: skip

    async def lead_to_newest(request: web.Request) -> web.Response:
        wanted = asked(request, "source", "room")
        room = wanted.get("room", "").replace("\0", "")
        number = await reader.newest_meeting(wanted.get("source", "").replace("\0", ""), room)
        if number is None:
            raise Told(404, "nothing")
        raise web.HTTPSeeOther(f"/meetings/{number}")

    async def show_absent(request: web.Request) -> web.Response:
        now = desk.clock()
        asked(request)
        found = [_absence(convocation, desk.state, now) for convocation in await reader.running(now)]
        return desk.page(request, "absent.html", at=now, absences=[one for one in found if one is not None])

    app.router.add_get("/meetings/now", lead_to_newest)
    app.router.add_get("/meetings/{number}", show_meeting)
    app.router.add_get("/absent", show_absent)


def is_seen(state: State, source: str | None, now: datetime) -> bool:
    """Whether it is known what goes on at a source now; None: at all of them."""
    telling = [one for one in state.sources.values() if one.has_live and source in (None, one.name)]
    return bool(telling) and all(one.fresh(now) for one in telling)


def _call(convocation: Convocation, state: State, now: datetime) -> RollCall:
    """The roll-call, those of the highest level first, then by unit and name."""
    source = state.sources.get(convocation.source or "")
    roll = call(convocation, now, stale_after=source.stale_after() if source is not None else STALE_AFTER)
    return msgspec.structs.replace(roll, answers=tuple(sorted(roll.answers, key=lambda answer: _rank(answer.guest))))


def _rank(guest: Guest) -> tuple[bool, int, str, str]:
    return guest.level is None, guest.level or 0, name_order(guest.org_name or ""), name_order(guest.name)


def _absence(convocation: Convocation, state: State, now: datetime) -> Absence | None:
    """None where all are there."""
    answers = _call(convocation, state, now).answers
    missing = {
        kind: tuple(answer for answer in answers if answer.now == kind) for kind in ("absent", "unknown", "excused")
    }
    return Absence(meeting=convocation, **missing) if any(missing.values()) else None


def drawn(meeting: MeetingRow, legs: Sequence[LegRow], now: datetime) -> list[Strip]:
    """The connections of each endpoint over the time of the meeting, by name; persons last."""
    begin, end = meeting.started_at, meeting.ended_at or now
    # An attempt may lie before the first join, or after the last leave.
    moments = [at for leg in legs for at in (leg.joined_at, leg.left_at) if at is not None]
    begin, end = min([begin, *moments]), max([end, *moments])
    length = max((end - begin).total_seconds(), 1.0)

    def x(at: datetime) -> float:
        return round(WIDTH * (at - begin).total_seconds() / length, 2)

    strips: dict[str, list[LegRow]] = {}
    for leg in legs:
        strips.setdefault(leg.endpoint or leg.identity or f"leg {leg.leg_id}", []).append(leg)
    found = []
    for mine in strips.values():
        bars = []
        for leg in mine:
            since, until = leg.joined_at or leg.left_at, leg.left_at or end
            if since is not None:
                width = max(x(until) - x(since), 0) if leg.joined_at is not None else 0
                bars.append(Bar(leg=leg, x=x(since), width=width))
        first = mine[0]
        personal = first.endpoint is None and (first.identity or "").startswith("person:")
        name = None if personal else first.name or first.identity
        found.append(Strip(endpoint=first.endpoint, name=name, personal=personal, bars=tuple(bars)))
    return sorted(found, key=lambda strip: (strip.personal, strip.name is None, name_order(strip.name or "")))
