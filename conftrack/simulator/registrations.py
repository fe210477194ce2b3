"""Who is registered with the node: every site with a codec and a SIP address, always, but for those that go away.

From the anchor on a few do in each half hour, within their service hours, for some minutes; from a generator of its
own, so that nothing else of the world changes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time
from random import Random
from zoneinfo import ZoneInfo

import msgspec

from conftrack.simulator.plan import MINUTE, SECOND, moment
from conftrack.simulator.province import Endpoint, Province

SLOT = 30 * MINUTE
_DAY = 24 * 60 * MINUTE


class Away(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A site that is not registered for a while; code, times in microseconds."""

    endpoint: str
    start: int
    end: int


def sip_alias(endpoint: Endpoint) -> str | None:
    """The address that a site registers with; None: it does not."""
    return next((alias for alias in endpoint.aliases if endpoint.is_room and "@" in alias), None)


def half_hour(number: int, seed: int, province: Province, begin: int, timezone: ZoneInfo) -> list[Away]:
    """Those of one half hour from the anchor on."""
    rng = Random(f"{seed}/registrations/{number}")
    serving = [site for site in province.endpoints if sip_alias(site) and _serves(site, begin, begin + SLOT, timezone)]
    starts = [(site, begin + int(rng.uniform(60, 600) * SECOND)) for site in rng.sample(serving, 4)]
    return [Away(endpoint=site.code, start=at, end=at + int(rng.uniform(180, 900) * SECOND)) for site, at in starts]


def served(endpoint: Endpoint, start: int, end: int, timezone: ZoneInfo) -> Iterator[tuple[int, int]]:
    """What of a period is in the site's service hours."""
    opens, closes = (_minutes(clock) for clock in endpoint.service_hours.split("-"))
    if closes - opens == 24 * 60:
        yield start, end
        return
    midnight = _midnight(start, timezone)
    while midnight < end:
        first, last = max(start, midnight + opens * MINUTE), min(end, midnight + closes * MINUTE)
        if first < last:
            yield first, last
        midnight += _DAY  # there is no summer time in this province


def _serves(endpoint: Endpoint, start: int, end: int, timezone: ZoneInfo) -> bool:
    return list(served(endpoint, start, end, timezone)) == [(start, end)]


def _midnight(at: int, timezone: ZoneInfo) -> int:
    local = moment(at).astimezone(timezone)
    midnight = datetime.combine(local.date(), time(), timezone)
    return at - int((local - midnight).total_seconds() * SECOND)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)
