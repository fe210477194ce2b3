"""Availability: the share of judged service hours that were good, held to a measure that counts minutes one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from conftrack.incidents.availability import availability

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
MONDAY = datetime(2026, 3, 1, 17, tzinfo=UTC)  # midnight in Viet Nam
MINUTES = 2 * 24 * 60

minutes = st.integers(0, MINUTES)
spans = st.lists(st.tuples(minutes, minutes), max_size=6)


def at(minute: int) -> datetime:
    return MONDAY + timedelta(minutes=minute)


def moments(pairs: list[tuple[int, int]]) -> list[tuple[datetime, datetime]]:
    return [(at(a), at(b)) for a, b in pairs]


@given(period=st.tuples(minutes, minutes), hours=st.sampled_from([None, "07:00-17:30", "00:00-24:00", "22:15-24:00"]),
       maintenance=spans, unknown=spans, incidents=spans)  # fmt: skip
def test_every_minute_is_one_thing(
    period: tuple[int, int],
    hours: str | None,
    maintenance: list[tuple[int, int]],
    unknown: list[tuple[int, int]],
    incidents: list[tuple[int, int]],
) -> None:
    """Maintenance goes before unknown, unknown before an incident; overlapping spans and their order do not matter."""
    opens, closes = (0, 1440) if hours is None else (int(h[:2]) * 60 + int(h[3:]) for h in hours.split("-"))
    counted = dict.fromkeys(("maintenance", "unknown", "in_incident", "good"), 0)
    for minute in range(*period):
        if opens <= minute % 1440 < closes:
            kinds = (("maintenance", maintenance), ("unknown", unknown), ("in_incident", incidents))
            kind = next((name for name, pairs in kinds if any(a <= minute < b for a, b in pairs)), "good")
            counted[kind] += 60

    found = availability(
        (at(period[0]), at(period[1])), hours, ZONE, maintenance=moments(maintenance), unknown=moments(unknown),
        incidents=moments(incidents),
    )  # fmt: skip
    assert {name: getattr(found, name) for name in counted} == counted
    judged = counted["good"] + counted["in_incident"]
    assert found.share == (counted["good"] / judged if judged else None)


def test_nothing_to_judge_is_not_zero() -> None:
    """A month that nobody saw has no availability: neither 0 % nor 100 %."""
    found = availability((at(0), at(1440)), None, ZONE, unknown=[(at(0), at(1440))])

    assert found.share is None
    assert found.unknown == 86400
