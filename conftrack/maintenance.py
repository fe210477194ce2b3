"""When planned work is: the windows of maintenance, one by one. No I/O.

Work that repeats keeps its local hours: each window begins and ends at the same time of day, whatever daylight saving
makes of the day between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from dateutil import rrule

from conftrack.errors import ConftrackError
from conftrack.model import Record
from conftrack.storage.maintenance import Maintenance, Planned

MOST_WINDOWS = 2000
"""Windows of one maintenance; daily work for five years is fewer."""


class WrongMaintenance(ConftrackError):
    """The maintenance cannot be planned like that."""

    exit_code = 2


class Window(Record, frozen=True):
    """One window [since, until) of one maintenance."""

    since: datetime
    until: datetime
    of: Maintenance

    def covers(self, *, endpoint_id: int | None, source_id: int | None) -> bool:
        """Whether an endpoint (None: a caller outside the inventory) on a source (None: whichever) is covered."""
        if self.of.scope == "source":
            return source_id is not None and source_id == self.of.source_id
        return endpoint_id in self.of.endpoints


def windows(rows: Iterable[Maintenance], since: datetime, until: datetime, timezone: ZoneInfo) -> list[Window]:
    """Every window that has a part in [since, until), whole, in order of time. One that was cancelled while it was open
    ends then; later ones are none."""
    found: list[Window] = []
    for row in rows:
        last = row.expires_at if row.cancelled_at is None else min(row.expires_at, row.cancelled_at)
        for begins, ends in spans(row, timezone, since=since, until=until):
            end = min(ends, last)
            if begins < end and begins < until and since < end:
                found.append(Window(since=begins, until=end, of=row))
    return sorted(found, key=lambda window: (window.since, window.until, window.of.maintenance_id))


def spans(
    planned: Planned, timezone: ZoneInfo, *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[tuple[datetime, datetime]]:
    """When it is planned for, in order of time: all of it until it expires, or what overlaps [since, until)."""
    first = planned.starts_at.astimezone(timezone).replace(tzinfo=None)
    length = planned.ends_at.astimezone(timezone).replace(tzinfo=None) - first
    for begin in _local(planned, first, timezone, (since, until), length):
        # From local time at both ends, so that the hours on the wall stay.
        begins = begin.replace(tzinfo=timezone).astimezone(UTC)
        ends = min((begin + length).replace(tzinfo=timezone).astimezone(UTC), planned.expires_at)
        if begins >= ends:
            continue
        if (since is None or ends > since) and (until is None or begins < until):
            yield begins, ends


def _local(
    planned: Planned,
    first: datetime,
    timezone: ZoneInfo,
    within: tuple[datetime | None, datetime | None],
    length: timedelta,
) -> Iterable[datetime]:
    if planned.repeats is None:
        return [first]
    since, until = within
    margin = timedelta(days=1)  # for what the zone's offset may differ by
    last = planned.expires_at if until is None else min(planned.expires_at, until)
    start = first if since is None else max(first, since.astimezone(timezone).replace(tzinfo=None) - length - margin)
    rule = _rule(planned.repeats, first)
    return rule.between(start, last.astimezone(timezone).replace(tzinfo=None) + margin, inc=True)


def _rule(repeats: str, first: datetime) -> rrule.rrule:
    found = rrule.rrulestr(repeats, dtstart=first)
    if not isinstance(found, rrule.rrule):
        raise ValueError("more than one rule")
    return found


def check(planned: Planned, timezone: ZoneInfo) -> str | None:
    """The rule by which it repeats, in its usual form. Raises WrongMaintenance with what is wrong with the plan."""
    if planned.ends_at <= planned.starts_at:
        raise WrongMaintenance("--to must be after --from")
    if planned.expires_at < planned.ends_at:
        raise WrongMaintenance("--until must not be before the end of the first window")
    if planned.repeats is None:
        return None
    repeats = planned.repeats.strip().upper().removeprefix("RRULE:")
    example = "write an iCalendar rule such as FREQ=WEEKLY;BYDAY=SU"
    if not re.fullmatch(r"[A-Z]+=[A-Z0-9,+-]+(;[A-Z]+=[A-Z0-9,+-]+)*", repeats):
        raise WrongMaintenance(f"{planned.repeats!r} is no rule of repetition: {example}")
    parts = dict(part.split("=", 1) for part in repeats.split(";"))
    if "UNTIL" in parts:
        raise WrongMaintenance("say with --until when it ends, not in the rule")
    if parts.get("FREQ") not in {"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}:
        raise WrongMaintenance(f"a rule repeats DAILY, WEEKLY, MONTHLY or YEARLY: {example}")
    if named := {"BYHOUR", "BYMINUTE", "BYSECOND"} & parts.keys():
        raise WrongMaintenance(f"{' and '.join(sorted(named))}: the hours are those of --from and --to")
    first = planned.starts_at.astimezone(timezone).replace(tzinfo=None)
    try:
        rule = _rule(repeats, first)
    except (ValueError, TypeError, KeyError) as error:
        raise WrongMaintenance(f"{planned.repeats!r} is no rule of repetition ({error}): {example}") from None
    last = planned.expires_at.astimezone(timezone).replace(tzinfo=None)
    begins = next(iter(rule), None)
    if begins is None:
        raise WrongMaintenance(f"no day is ever as {repeats} says")
    if begins != first:
        raise WrongMaintenance(f"--from is not a day of the rule, whose first is {begins:%Y-%m-%d}: begin then")
    for count, begin in enumerate(rule):
        if begin >= last:
            break
        if count >= MOST_WINDOWS:
            raise WrongMaintenance(f"these are more than {MOST_WINDOWS:,} windows: give an earlier --until")
    return repeats
