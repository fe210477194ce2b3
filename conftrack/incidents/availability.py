"""How available an endpoint was: the one place where that is computed.

    availability = (window − maintenance − unknown − in incident) / (window − maintenance − unknown), in service hours

The window is the part of a period that has been. What was planned, and what nobody could see, is neither good nor bad.
"""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

import msgspec

from conftrack.incidents.engine import Span
from conftrack.incidents.hours import in_service, without


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of service hours, each second counted in one of them only, maintenance before unknown before incident."""

    maintenance: float
    unknown: float
    in_incident: float
    good: float

    @property
    def share(self) -> float | None:
        """0-1; None when there was no time to judge."""
        judged = self.good + self.in_incident
        return self.good / judged if judged else None


def availability(
    period: Span,
    service_hours: str | None,
    timezone: ZoneInfo,
    *,
    maintenance: Iterable[Span] = (),
    unknown: Iterable[Span] = (),
    incidents: Iterable[Span] = (),
) -> Availability:
    """What a period came to. `service_hours`: local, as "07:00-17:30"; None: all day. Spans may overlap."""
    window = in_service(period, service_hours, timezone)
    left = without(window, maintenance)
    judged = without(left, unknown)
    good = without(judged, incidents)
    return Availability(
        maintenance=_seconds(window) - _seconds(left),
        unknown=_seconds(left) - _seconds(judged),
        in_incident=_seconds(judged) - _seconds(good),
        good=_seconds(good),
    )


def _seconds(spans: Iterable[Span]) -> float:
    return sum((until - since).total_seconds() for since, until in spans)
