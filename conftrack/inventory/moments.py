"""Days and moments as files have them: how they are read, and how they are written. Moments are in local time."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from conftrack.inventory.tables import Value

_FORMS = ("%Y-%m-%d", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y")


def day(value: Value) -> date | None:
    if isinstance(value, datetime):
        raise ValueError(f"holds a time of day, {value:%Y-%m-%d %H:%M}, where a day is meant")
    if value is None or isinstance(value, date):
        return value
    for form in _FORMS:
        try:
            return datetime.strptime(str(value), form).date()  # noqa: DTZ007  (a day, no moment)
        except ValueError:
            continue
    raise ValueError(f"{str(value)!r} is not a day like 2025-07-01 or 01/07/2025")


_HOUR = re.compile(r"(\d{1,2})(?:[:hg](\d{2})?)(?::(\d{2}))?")


def clock(text: str) -> time | None:
    found = _HOUR.fullmatch(text)
    hour, minute, second = (int(part or 0) for part in found.groups()) if found else (24, 0, 0)
    return time(hour, minute, second) if hour < 24 and minute < 60 and second < 60 else None


def moment(value: Value) -> datetime | None:
    """Without a zone it is local time; one of the hour that comes twice a year may have its offset with it."""
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, date):
        raise ValueError(f"{value} has no time of day: write it like 2025-07-01 08:00")
    text = str(value)
    words = text.casefold().replace("ngày", " ").replace(",", " ").split()
    if len(words) == 2:
        for first, second in (words, words[::-1]):
            with contextlib.suppress(ValueError):
                if (at := clock(second)) is not None and (on := day(first)) is not None:
                    return datetime.combine(on, at)
    with contextlib.suppress(ValueError):
        if re.match(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d", text):
            return datetime.fromisoformat(text)
    raise ValueError(f"{text!r} is not a day with a time like 2025-07-01 08:00 or 01/07/2025 8h00")


def end(value: Value) -> datetime | time | None:
    """An hour alone is of the day on which the meeting starts."""
    return (clock(value.casefold()) if isinstance(value, str) else None) or moment(value)


def aware(value: datetime | None, timezone: ZoneInfo) -> datetime | None:
    """A moment of local time, unless it has its own zone. Raises ValueError for one that the clocks skip."""
    if value is None or value.tzinfo is not None:
        return value if value is None else value.astimezone(UTC)
    moment = value.replace(tzinfo=timezone).astimezone(UTC)
    if moment.astimezone(timezone).replace(tzinfo=None) != value:
        raise ValueError(f"{value:%Y-%m-%d %H:%M} is no time in {timezone.key}: clocks are put forward over it")
    return moment


def local(moment: datetime | None, timezone: ZoneInfo) -> str | None:
    """As a file has it: local time, with its offset only where that time comes twice."""
    if moment is None:
        return None
    there = moment.astimezone(timezone)
    text = there.isoformat(" ", "seconds" if there.second else "minutes")
    twice = there.replace(fold=0).astimezone(UTC) != there.replace(fold=1).astimezone(UTC)
    return text if twice else text[: -len("+07:00")]
