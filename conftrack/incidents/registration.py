"""When an endpoint was not registered though it should have been, as a pure function of the facts.

A conference system lists only who is registered. So an endpoint is expected to be from the first time that it was, on
any source: then it is missing while it is registered on none. As in `engine`, nothing is judged after `seen_until`, and
the same facts give the same episodes, whenever and however often they are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from conftrack.incidents.engine import UNREGISTERED_GRACE, Episode, Span, Verdict
from conftrack.incidents.hours import in_service, without

AHEAD = timedelta(days=2)
"""How far ahead it is looked for the moment at which an endpoint must be looked at again: its hours come every day."""

Open = tuple[datetime, datetime | None]
"""A half-open period; None: it goes on."""


class Registrations(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One endpoint of the inventory, and what is known of its registrations."""

    #: As in `engine.Case`.
    key: int
    #: When it was registered, by any of its aliases on any source.
    registered: tuple[Open, ...]
    #: Up to when the lists of all these sources were read.
    seen_until: datetime
    #: Local hours, as "07:00-17:30"; None: all day.
    service_hours: str | None = None
    #: From when on it is out of service.
    retired_at: datetime | None = None
    #: When a leg of it was up, anywhere: who is in a meeting is not missing.
    up: tuple[Open, ...] = ()
    maintenance: tuple[Span, ...] = ()
    #: When one of the sources could not be seen.
    blind: tuple[Span, ...] = ()


def unregistered(of: Registrations, timezone: ZoneInfo) -> Verdict:
    """Its episodes: one for each span of service hours, from the moment it was missing to that at which it was not, or
    was not to be there. What is not known opens none, and closes none that is open."""
    seen = of.seen_until
    limit = seen + AHEAD if of.retired_at is None else min(seen + AHEAD, of.retired_at)
    episodes: list[Episode] = []
    for since, until in _missing(of, limit, timezone):
        since = _known_from(of, since)
        settled = since + UNREGISTERED_GRACE
        if until <= settled:
            continue
        if settled > seen:
            return Verdict(episodes=tuple(episodes), parts={}, due_at=settled)
        closed = until if until <= seen else None
        episodes.append(Episode(kind="unregistered", key=of.key, opened_at=since, closed_at=closed))
        if closed is None:
            return Verdict(episodes=tuple(episodes), parts={}, due_at=until)
    gone = bool(of.registered) and all(until is not None for _, until in of.registered)
    return Verdict(episodes=tuple(episodes), parts={}, due_at=limit if gone and limit > seen else None)


def gone_since(registered: Iterable[Open], at: datetime) -> datetime:
    """When the endpoint was last registered before a moment; that moment itself, if it was then, or never before."""
    before = [until for since, until in registered if since <= at]
    return at if not before or any(u is None or u > at for u in before) else max(u for u in before if u is not None)


def _missing(of: Registrations, limit: datetime, timezone: ZoneInfo) -> Iterator[Span]:
    """When it should have been registered and was not, up to a moment."""
    there = sorted((since, limit if until is None else until) for since, until in of.registered)
    if there and there[0][0] < limit:
        hours = in_service((there[0][0], limit), of.service_hours, timezone)
        up = ((since, limit if until is None else until) for since, until in of.up)
        yield from without(hours, [*there, *of.maintenance, *up])


def _known_from(of: Registrations, at: datetime) -> datetime:
    """When it was first known to be missing for a whole grace: what nobody saw of it is no failure."""
    for since, until in sorted(of.blind):
        if since < at + UNREGISTERED_GRACE and until > at:
            at = until
    return at
