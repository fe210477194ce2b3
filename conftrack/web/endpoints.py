"""The endpoints: a table of all of them, and a page of each with what happened to it and how available it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import get_args

import msgspec
from aiohttp import web

from conftrack.incidents.availability import Availability, availability
from conftrack.incidents.engine import Span
from conftrack.inventory.names import fold, name_order, plain
from conftrack.maintenance import windows
from conftrack.state import AWAY, Site, SiteState
from conftrack.storage.pages import IncidentRow, LegRow, PageReader, SiteMeeting, UnitRow
from conftrack.web.access import Told
from conftrack.web.desk import ROWS, Desk, asked, chosen_month, chosen_page, months_later

MONTHS = 6
"""Months of availability on the page of an endpoint."""

#: What needs somebody comes first.
_URGENCY: tuple[SiteState, ...] = ("failed", "degraded", "unknown", "maintenance", "in_meeting", "idle")


class ListedSite(msgspec.Struct, frozen=True, kw_only=True):
    site: Site
    state: SiteState
    #: None: not known.
    since: datetime | None


class ListedUnit(msgspec.Struct, frozen=True, kw_only=True):
    unit: UnitRow
    #: Units above it.
    depth: int


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One meeting of an endpoint, with its legs and incidents in it; or (meeting None) an incident outside of any."""

    at: datetime
    meeting: SiteMeeting | None
    legs: tuple[LegRow, ...] = ()
    incidents: tuple[IncidentRow, ...] = ()


class Month(msgspec.Struct, frozen=True, kw_only=True):
    first: date
    available: Availability


def add_endpoints(app: web.Application, desk: Desk, reader: PageReader) -> None:
    async def show_endpoints(request: web.Request) -> web.Response:
        now = desk.clock()
        wanted = asked(request, "q", "unit", "state", "page")
        units = in_order(await reader.units())
        states = desk.state.site_states(now)
        sites = _filtered(desk.state.sites.values(), states, wanted, units)
        page, pages = chosen_page(wanted, len(sites))
        shown = sites[(page - 1) * ROWS : page * ROWS]
        since = _Since(desk, await reader.last_left([site.code for site in shown]), now)
        return desk.page(
            request, "endpoints.html", at=now, wanted=wanted, units=units, states=_URGENCY,
            counts=Counter(states.values()), found=len(sites), number=page, pages=pages,
            rows=[since.listed(site, states[site.code]) for site in shown],
        )  # fmt: skip

    async def show_endpoint(request: web.Request) -> web.Response:
        now = desk.clock()
        code = request.match_info["code"]
        site = await reader.site(code) if "\0" not in code else None
        if site is None:
            raise Told(404, "nothing")
        first = chosen_month(asked(request, "month").get("month"), now.astimezone(desk.timezone).date())
        until = months_later(first, 1)
        meetings = await reader.site_meetings(site.code, first, until)
        legs = await reader.legs([meeting.meeting_id for meeting in meetings], site.code)
        oldest = months_later(first, 1 - MONTHS)
        incidents = await reader.site_incidents(site.code, desk.begin(oldest), desk.begin(until))
        known = desk.state.sites.get(site.code)
        since = _Since(desk, await reader.last_left([site.code]), now)
        return desk.page(
            request, "endpoint.html", at=now, site=site, month=first, before=months_later(first, -1),
            after=until if desk.begin(until) <= now else None,
            listed=since.listed(known, desk.state.site_states(now)[site.code]) if known else None,
            days=_timeline(meetings, legs, incidents, desk.begin(first)),
            months=await _months(site.code, site.service_hours, oldest, incidents, now),
        )  # fmt: skip

    async def _months(
        code: str, hours: str | None, oldest: date, incidents: Sequence[IncidentRow], now: datetime
    ) -> list[Month]:
        unseen = await reader.unseen([source.name for source in desk.state.sources.values()])
        begun = await reader.first_meeting()
        unknown: list[Span] = [(gap.since, gap.until or now) for gap in unseen]
        unknown.append((desk.begin(oldest), begun or now))  # nobody looked before
        since = desk.begin(oldest)
        planned: list[Span] = [
            (window.since, window.until)
            for window in windows(await reader.maintenance(since, now), since, now, desk.timezone)
            if code in window.of.endpoints.values()
        ]
        failing: list[Span] = [(row.opened_at, row.closed_at or now) for row in incidents]
        return [
            Month(
                first=month,
                available=availability(
                    (desk.begin(month), min(now, desk.begin(months_later(month, 1)))), hours, desk.timezone,
                    maintenance=planned, unknown=unknown, incidents=failing,
                ),
            )
            for month in (months_later(oldest, number) for number in reversed(range(MONTHS)))
        ]  # fmt: skip

    app.router.add_get("/endpoints", show_endpoints)
    app.router.add_get("/endpoints/{code}", show_endpoint)


# -- the table


def in_order(units: Iterable[UnitRow]) -> list[ListedUnit]:
    """The units as a tree: each followed by those below it, by name."""
    below: dict[str | None, list[UnitRow]] = {}
    rows = list(units)
    codes = {unit.code for unit in rows}
    for unit in rows:
        below.setdefault(unit.parent if unit.parent in codes else None, []).append(unit)

    def walk(parent: str | None, depth: int) -> Iterable[ListedUnit]:
        for unit in sorted(below.get(parent, ()), key=lambda unit: name_order(unit.name)):
            yield ListedUnit(unit=unit, depth=depth)
            yield from walk(unit.code, depth + 1)

    return list(walk(None, 0))


def _filtered(
    sites: Iterable[Site], states: Mapping[str, SiteState], wanted: Mapping[str, str], units: Sequence[ListedUnit]
) -> list[Site]:
    """Those that are asked for, what needs somebody first. Raises Told for a filter of an unknown value."""
    found = list(sites)
    if state := wanted.get("state"):
        if state not in get_args(SiteState):
            raise Told(422, "value", name="state", value=state, known=_URGENCY)
        found = [site for site in found if states[site.code] == state]
    if unit := wanted.get("unit"):
        orgs = with_below(unit, units)
        if not orgs:
            raise Told(422, "value", name="unit", value=unit, known=())
        found = [site for site in found if site.org in orgs]
    if search := wanted.get("q"):
        found = [site for site in found if _is_like(site, search)]
    return sorted(found, key=lambda site: (_URGENCY.index(states[site.code]), name_order(site.name), site.code))


def with_below(code: str, units: Sequence[ListedUnit]) -> set[str]:
    """A unit and all below it: those that follow it in the tree, until one that is not deeper."""
    found: set[str] = set()
    depth: int | None = None
    for listed in units:
        if depth is not None and listed.depth <= depth:
            break
        if listed.unit.code == code:
            depth = listed.depth
        if depth is not None:
            found.add(listed.unit.code)
    return found


def _is_like(site: Site, search: str) -> bool:
    """Every word is somewhere in its name, code or unit, as it is written or as it is usually shortened."""
    whole = " ".join(filter(None, (site.name, site.code, site.org_name)))
    for written in (fold, plain):
        words, text = written(search).split(), written(whole)
        if words and all(word in text for word in words):
            return True
    return False


class _Since:
    """Since when each endpoint has been in its state, as far as memory knows; `left`: when it last left a meeting."""

    def __init__(self, desk: Desk, left: Mapping[str, datetime], now: datetime) -> None:
        self._left = left
        self._joined: dict[str, datetime] = {}
        self._away: dict[str, datetime] = {}
        self._troubled: dict[str, datetime] = {}
        telling = [source for source in desk.state.sources.values() if source.has_live]
        for source in telling:
            for leg in source.board.people() if source.fresh(now) else ():
                if leg.joined_at is not None and (site := desk.state.site(leg)) is not None:
                    _keep_first(self._joined, site.code, leg.joined_at)
        for incident in desk.state.incidents.values():
            if incident.endpoint is not None:
                _keep_first(self._troubled, incident.endpoint, incident.opened_at)
                if incident.kind in AWAY:
                    _keep_first(self._away, incident.endpoint, incident.opened_at)
        seen = [source.board.seen_at for source in telling if not source.fresh(now)]
        self._blind = min((at for at in seen if at is not None), default=None) if None not in seen else None

    def listed(self, site: Site, state: SiteState) -> ListedSite:
        known = {"failed": self._away, "degraded": self._troubled, "in_meeting": self._joined, "idle": self._left}
        since = self._blind if state == "unknown" else known.get(state, {}).get(site.code)
        return ListedSite(site=site, state=state, since=since)


def _keep_first(moments: dict[str, datetime], code: str, at: datetime) -> None:
    moments[code] = min(at, moments.get(code, at))


# -- the page of one


def _timeline(
    meetings: Sequence[SiteMeeting], legs: Iterable[LegRow], incidents: Sequence[IncidentRow], since: datetime
) -> list[Day]:
    """The newest first: meetings with what belongs to them, and the incidents that belong to none of these."""
    of: dict[int, list[LegRow]] = {}
    for leg in legs:
        of.setdefault(leg.meeting_id, []).append(leg)
    here = {meeting.meeting_id for meeting in meetings}
    days = [
        Day(
            at=meeting.started_at,
            meeting=meeting,
            legs=tuple(of.get(meeting.meeting_id, ())),
            incidents=tuple(row for row in incidents if row.meeting_id == meeting.meeting_id),
        )
        for meeting in meetings
    ]
    days += [
        Day(at=row.opened_at, meeting=None, incidents=(row,))
        for row in incidents
        if row.meeting_id not in here and (row.closed_at is None or row.closed_at > since)
    ]
    return sorted(days, key=lambda day: day.at, reverse=True)
