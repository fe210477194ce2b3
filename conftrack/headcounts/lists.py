"""Lists of head counts: which meeting and endpoint each line means, what would change by them, and putting them in.

A line names its meeting by room or title, and by a day or a moment; that may be the time of the invitation, up to an
hour before the first came. All lines go in, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import asyncpg
from msgspec.structs import replace

from conftrack.errors import ConftrackError
from conftrack.inventory.asking import Consent, agreed
from conftrack.inventory.checks import hint
from conftrack.inventory.headings import Row, Rows
from conftrack.inventory.moments import aware
from conftrack.inventory.show import counted, visible
from conftrack.inventory.tables import Problem, WrongFiles
from conftrack.sources.base import Clock
from conftrack.storage import headcounts, inventory
from conftrack.storage.headcounts import Held, Imported
from conftrack.storage.inventory import Entry
from conftrack.storage.store import Store

LATE = timedelta(hours=1)
"""How long after the time in a list its meeting may have begun."""

Before = Mapping[tuple[int, str], tuple[int, str | None]]
"""Number and note that were imported before, by meeting and endpoint."""


class Lists:
    """Takes lists into one database. `say` tells the operator a line; `consent` None: nobody can be asked, and then
    nothing is changed."""

    def __init__(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        timezone: ZoneInfo,
        *,
        clock: Clock,
        actor: str,
        say: Callable[[str], None],
        consent: Consent | None,
    ) -> None:
        self._pool = pool
        self._timezone = timezone
        self._clock = clock
        self._actor = actor
        self._say = say
        self._consent = consent

    async def take(self, rows: Rows) -> bool:
        """Puts in what the lists say; False where it was not agreed to. Raises WrongFiles with every problem."""
        wanted, before = await self._plan(rows)
        changed = [
            one for one in wanted if before.get((one.meeting.meeting_id, one.endpoint)) != (one.people, one.note)
        ]
        for one in changed:
            self._say(self._line(one, before.get((one.meeting.meeting_id, one.endpoint))))
        if not changed:
            self._say("Nothing to do: these head counts are stored already.")
            return True
        new = sum((one.meeting.meeting_id, one.endpoint) not in before for one in changed)
        self._say(
            f"Head counts: {new:,} new, {len(changed) - new:,} changed, {len(wanted) - len(changed):,} as they were."
        )
        if not await agreed(self._consent, "Do it?", self._say):
            return False
        names = sorted({row.place.file for row in rows.rows})
        detail = {"files": names, "new": new, "changed": len(changed) - new}
        async with self._pool.acquire() as connection, connection.transaction():
            await headcounts.hold(connection)
            if await self._plan(rows) != (wanted, before):  # a month may be closed by now
                raise ConftrackError("something changed meanwhile: nothing was put in, try again")
            entry = Entry(at=self._clock(), actor=self._actor, action="headcount import", detail=detail)
            await headcounts.put_imported(connection, changed, entry)
        store = Store(self._pool, self._timezone)
        await store.adopt_timezone()
        derived = await store.refresh()
        self._say(f"Done: {counted(derived.meetings, 'meeting')} and {counted(derived.days, 'day')} derived again.")
        return True

    async def _plan(self, rows: Rows) -> tuple[list[Imported], Before]:
        problems = list(rows.problems)
        lines = sorted((row for row in rows.rows if not row.failed), key=lambda row: row.place)
        spans = dict(self._spans(lines, problems))
        asked = list(spans)
        found: dict[int, list[Held]] = {}
        for one in await headcounts.meetings(self._pool, [spans[index] for index in asked]):
            found.setdefault(asked[one.place - 1], []).append(one)
        sites = {site.code: site for site in (await inventory.load(self._pool)).endpoints}
        wanted: dict[tuple[int, str], tuple[Row, Imported]] = {}
        for index, row in enumerate(lines):
            code = row.values["endpoint"]
            if code not in sites:
                message = f"there is no endpoint {code!r}{hint(code, sites.values())}"
                problems.append(self._wrong(row, "endpoint", message))
                continue
            meeting = self._meeting(row, spans[index], found.get(index, []), problems) if index in spans else None
            if meeting is None:
                continue
            people, note = row.values["people"], row.values.get("note")
            count = Imported(meeting=replace(meeting, place=0), endpoint=code, people=people, note=note)
            other, _ = wanted.setdefault((meeting.meeting_id, code), (row, count))
            if other is not row:
                problems.append(self._wrong(row, "endpoint", f"{code} has a number for this meeting at {other.place}"))
        if problems:
            raise WrongFiles(problems)
        counts = [count for _, count in wanted.values()]
        return counts, await headcounts.imported(self._pool, sorted({one.meeting.meeting_id for one in counts}))

    def _spans(
        self, lines: Sequence[Row], problems: list[Problem]
    ) -> Iterator[tuple[int, tuple[str, datetime, datetime]]]:
        """What each line asks for: a name, and a time in which its meeting went on."""
        for index, row in enumerate(lines):
            name, when = row.values.get("room") or row.values.get("title"), row.values["time"]
            if name is None:
                problems.append(self._wrong(row, "room", "names no meeting: give its room or its title"))
                continue
            try:
                if isinstance(when, datetime):
                    since = aware(when, self._timezone)
                    assert since is not None  # noqa: S101  (it is of a moment)
                    yield index, (name, since, since + LATE)
                else:
                    yield index, (name, self._begin(when), self._begin(when + timedelta(days=1)))
            except ValueError as error:
                problems.append(self._wrong(row, "time", str(error)))

    def _meeting(
        self, row: Row, span: tuple[str, datetime, datetime], found: Sequence[Held], problems: list[Problem]
    ) -> Held | None:
        """The one meeting that a line means."""
        name, since, _ = span
        column = "room" if row.values.get("room") is not None else "title"
        if isinstance(row.values["time"], datetime):
            on = [one for one in found if one.started_at <= since]
            found = on or found
        else:
            found = [one for one in found if one.day == row.values["time"]]
        if not found:
            when = "at this time" if isinstance(row.values["time"], datetime) else "on this day"
            problems.append(self._wrong(row, column, f"no meeting {name!r} was held {when}"))
            return None
        if len(found) > 1:
            starts = sorted(f"{one.started_at.astimezone(self._timezone):%H:%M} on {one.source}" for one in found)
            message = f"may be any of {len(found)} meetings, begun {', '.join(starts)}: give another time"
            problems.append(self._wrong(row, "time", message))
            return None
        if found[0].closed:
            message = "the month of this meeting is closed: its head counts stay as they were signed"
            problems.append(self._wrong(row, "time", message))
            return None
        return found[0]

    def _line(self, one: Imported, before: tuple[int, str | None] | None) -> str:
        start = one.meeting.started_at.astimezone(self._timezone)
        what = f"{one.endpoint} {visible(one.meeting.title or one.meeting.room)} {start:%Y-%m-%d %H:%M}"
        if before is None:
            return f"+ {what}: {one.people:,}"
        return f"~ {what}: {before[0]:,} → {one.people:,}" if before[0] != one.people else f"~ {what}: another note"

    def _begin(self, day: date) -> datetime:
        return datetime.combine(day, time(), self._timezone).astimezone(UTC)

    @staticmethod
    def _wrong(row: Row, column: str, message: str) -> Problem:
        return Problem(place=row.at(column), message=message)
