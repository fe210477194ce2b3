"""Periods, cut to the hours in which an endpoint is to be at work, and less what does not count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from conftrack.incidents.engine import Span


def in_service(period: Span, hours: str | None, timezone: ZoneInfo) -> list[Span]:
    """What of a period lies in service hours: local, every day, as "07:00-17:30", or over midnight as "22:00-06:00";
    None: all day. In order of time, and apart."""
    since, until = period
    if since >= until:
        return []
    if hours is None:
        return [period]
    opens, closes = (_minutes(part) for part in hours.split("-"))
    if closes <= opens:
        closes += 24 * 60
    day, last = since.astimezone(timezone).date() - timedelta(days=1), until.astimezone(timezone).date()
    spans: list[Span] = []
    while day <= last:
        midnight = datetime.combine(day, time())
        begin, end = (
            (midnight + timedelta(minutes=m)).replace(tzinfo=timezone).astimezone(UTC) for m in (opens, closes)
        )
        begin, end = max(begin, since), min(end, until)
        if begin < end:
            if spans and spans[-1][1] >= begin:  # open round the clock
                spans[-1] = spans[-1][0], end
            else:
                spans.append((begin, end))
        day += timedelta(days=1)
    return spans


def without(spans: Sequence[Span], taken: Iterable[Span]) -> list[Span]:
    """What is left of spans (in order, apart) without what is taken away, which may overlap and be in any order."""
    cuts = sorted(cut for cut in taken if cut[0] < cut[1])
    left: list[Span] = []
    for since, until in spans:
        edges = [since]
        for begin, end in cuts:
            if end > edges[-1] and begin < until:
                edges += [max(begin, edges[-1]), min(end, until)]
        edges.append(until)
        left += [(a, b) for a, b in list(pairwise(edges))[::2] if a < b]
    return left


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)
