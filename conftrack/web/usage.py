"""Usage by month: what was counted, beside the month and the year before, when and by whom, and what went wrong.

A month that nobody could see is unknown, not empty: there are no figures of it. One that was seen in part has figures,
but nothing is compared with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta

import msgspec
from aiohttp import web

from conftrack.model import Provenance
from conftrack.storage.pages import PageReader, UnitRow, Unseen
from conftrack.storage.usage_page import Start, UnitUsage, Usage, UsageReader
from conftrack.web.access import Told
from conftrack.web.desk import Desk, asked, chosen_month, months_later
from conftrack.web.endpoints import ListedUnit, in_order, with_below

MONTHS = 13
"""Months in a chart: the year before is the first of them."""
RANKED = 15
"""Units that are named; the others are one row."""
SHADES = 6
"""Of the heat map."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A month or a day. `usage` None: not known."""

    first: date
    usage: Usage | None
    #: It was seen from its beginning to its end.
    whole: bool

    def value(self, figure: str) -> float | None:
        return None if self.usage is None else getattr(self.usage, figure)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the time: from the day of the first meeting up to a moment, but for gaps."""

    since: date | None
    until: datetime
    #: Times in which a source could not be seen, and no history told later.
    gaps: tuple[Unseen, ...]
    #: Sources of which nothing was ever read.
    never: tuple[str, ...]


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """The units below one by their endpoint connections. All rows add up to the month."""

    top: tuple[tuple[UnitRow, UnitUsage], ...]
    #: How many units are not named, and what they had together.
    others: int
    rest: UnitUsage
    #: What belongs to none of the units: endpoints of the unit itself, and callers outside the inventory.
    outside: UnitUsage


class Heat(msgspec.Struct, frozen=True, kw_only=True):
    """Meetings by the hour and weekday (0 is Monday) they began in, local time."""

    hours: tuple[int, ...]
    counts: Mapping[tuple[int, int], int]

    def shade(self, count: int) -> int:
        """From 1 to SHADES, the most; 0 for none."""
        return -(-count * SHADES // max(self.counts.values(), default=1))


def add_usage(app: web.Application, desk: Desk, pages: PageReader, reader: UsageReader) -> None:
    async def show_usage(request: web.Request) -> web.Response:
        now = desk.clock()
        today = now.astimezone(desk.timezone).date()
        wanted = asked(request, "month", "source", "unit")
        month = chosen_month(wanted.get("month"), today)
        after = months_later(month, 1)
        units = in_order(await pages.units())
        unit, orgs = _chosen_unit(wanted, units)
        sources = sorted({*desk.state.sources, *await reader.sources()})
        source = wanted.get("source")
        if source is not None and source not in sources:
            raise Told(422, "value", name="source", value=source, known=sources)

        seen = await _seen(source, now)
        months = await _months(source, unit, month, seen)
        this = months[-1]
        starts: list[Start] = []
        people: Counter[Provenance] = Counter()
        if this.usage is not None:
            starts = await reader.starts(source, month, after)
            parts = await reader.parts([start.meeting_id for start in starts], orgs)
            for part in parts:
                people[part.provenance] += part.people
            if orgs is not None:
                theirs = {part.meeting_id for part in parts}
                starts = [start for start in starts if start.meeting_id in theirs]
        below = _below(unit, units)
        return desk.page(
            request, "usage.html", at=now, wanted=wanted, units=units, sources=sources, months=months, this=this,
            unit=next((listed.unit for listed in units if listed.unit.code == unit), None),
            seen=seen, is_open=desk.begin(after) > now, values=_values, choices=_choices(seen.since, month, today),
            before=months_later(month, -1), after=after if after <= today else None,
            days=await _days(source, unit, month, seen, today), people=people, heat=heat(starts, desk),
            ranking=ranked(below, await reader.units(source, [one.code for one in below], month), this.usage)
            if below and this.usage is not None else None,
            kinds=await reader.kinds(source, orgs, month, after) if this.usage is not None else None,
            unseen=_unseen(seen.gaps, desk.begin(month), min(now, desk.begin(after))),
        )  # fmt: skip

    async def _seen(source: str | None, now: datetime) -> Seen:
        names = [source] if source is not None else list(desk.state.sources)
        gaps = await pages.unseen(names)
        reached = {gap.source: gap.since for gap in gaps if gap.until is None}
        return Seen(
            since=await reader.first_day(source),
            until=min([now, *reached.values()]),
            gaps=tuple(gap for gap in gaps if gap.until is not None),
            never=tuple(name for name in names if name not in reached),
        )

    async def _months(source: str | None, unit: str | None, last: date, seen: Seen) -> list[Period]:
        firsts = [months_later(last, -back) for back in reversed(range(MONTHS))]
        rows = await reader.months(source, unit, firsts[0], last)
        return [_period(first, months_later(first, 1), rows, seen) for first in firsts]

    async def _days(source: str | None, unit: str | None, month: date, seen: Seen, today: date) -> list[Period]:
        after = months_later(month, 1)
        rows = await reader.days(source, unit, month, after)
        days = [month + timedelta(days=number) for number in range((after - month).days)]
        return [_period(day, day + timedelta(days=1), rows, seen) for day in days]

    def _period(first: date, after: date, rows: Mapping[date, Usage], seen: Seen) -> Period:
        known = seen.since is not None and seen.since < after and desk.begin(first) <= seen.until
        return Period(
            first=first,
            usage=rows.get(first, Usage()) if known else None,
            whole=seen.since is not None and seen.since <= first and desk.begin(after) <= seen.until,
        )

    app.router.add_get("/usage", show_usage)


def _values(periods: Sequence[Period], figure: str) -> list[float | None]:
    return [period.value(figure) for period in periods]


def _chosen_unit(wanted: Mapping[str, str], units: Sequence[ListedUnit]) -> tuple[str | None, set[str] | None]:
    """The code that is asked for, and the codes of it and all below it; None, None for everything."""
    unit = wanted.get("unit")
    if unit is None:
        return None, None
    orgs = with_below(unit, units)
    if not orgs:
        raise Told(422, "value", name="unit", value=unit, known=())
    return unit, orgs


def _choices(since: date | None, month: date, today: date) -> list[date]:
    """The months to choose from, the newest first."""
    oldest = min(month, since.replace(day=1) if since is not None else month)
    this = today.replace(day=1)
    count = (this.year - oldest.year) * 12 + this.month - oldest.month + 1
    return [months_later(this, -back) for back in range(count)]


def _unseen(gaps: Sequence[Unseen], since: datetime, until: datetime) -> dict[str, timedelta]:
    """For how long each source could not be seen between two moments."""
    lost: dict[str, timedelta] = {}
    for gap in gaps:
        length = min(gap.until or until, until) - max(gap.since, since)
        if length > timedelta():
            lost[gap.source] = lost.get(gap.source, timedelta()) + length
    return lost


def _below(unit: str | None, units: Sequence[ListedUnit]) -> list[UnitRow]:
    """The units next below one; of everything: the uppermost, or if that is a single one, those below it."""
    if unit is not None:
        return [listed.unit for listed in units if listed.unit.parent == unit]
    top = [listed.unit for listed in units if listed.depth == 0]
    return [listed.unit for listed in units if listed.depth == 1] if len(top) == 1 else top


def ranked(units: Collection[UnitRow], rows: Collection[UnitUsage], total: Usage) -> Ranking:
    by_code = {unit.code: unit for unit in units}
    order = sorted(rows, key=lambda row: (-row.endpoint_connections, -row.attendees, row.org))
    top = [row for row in order if row.endpoint_connections > 0][:RANKED]
    rest = order[len(top) :]
    return Ranking(
        top=tuple((by_code[row.org], row) for row in top),
        others=len(units) - len(top),
        rest=_together(rest),
        outside=UnitUsage(
            org="",
            endpoint_connections=total.endpoint_connections - _together(rows).endpoint_connections,
            attendees=total.attendees - _together(rows).attendees,
        ),
    )


def _together(rows: Collection[UnitUsage]) -> UnitUsage:
    return UnitUsage(
        org="",
        endpoint_connections=sum(row.endpoint_connections for row in rows),
        attendees=sum(row.attendees for row in rows),
    )


def heat(starts: Sequence[Start], desk: Desk) -> Heat:
    local = [start.started_at.astimezone(desk.timezone) for start in starts]
    hours = [at.hour for at in local]
    return Heat(
        hours=tuple(range(min(hours), max(hours) + 1)) if hours else (),
        counts=Counter((at.hour, at.weekday()) for at in local),
    )
