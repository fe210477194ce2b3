"""Reports of months: as the facts are now, and as they were signed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from msgspec.structs import replace

from conftrack.config import PrivacyConfig, ReportConfig
from conftrack.errors import ConftrackError
from conftrack.model import Record
from conftrack.report.cut import row_name, scope_name
from conftrack.report.figures import Frame, compare, earlier, summarise
from conftrack.report.model import Addendum, Assumptions, Change, Closed, Earlier, Report, Tree
from conftrack.report.tree import OrgTree
from conftrack.sources.base import Clock
from conftrack.storage import inventory, reports
from conftrack.storage.database import Connection
from conftrack.storage.reports import ClosedMonth
from conftrack.storage.store import USUAL

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


class ReportError(ConftrackError):
    """There is no such report, or it cannot be closed."""


class Reports:
    """`sources` are the names of those that are configured; times are by `clock`."""

    def __init__(
        self,
        pool: Pool,
        *,
        timezone: ZoneInfo,
        clock: Clock,
        config: ReportConfig,
        sources: Collection[str],
        privacy: PrivacyConfig = USUAL,
    ) -> None:
        self._pool = pool
        self._timezone = timezone
        self._clock = clock
        self._config = config
        self._privacy = privacy
        self._sources = frozenset(sources)

    def period(self, month: date) -> tuple[date, date]:
        """The local days [since, until) of the month that is named by its first day."""
        day = self._config.first_day
        if day == 1:
            return month, _later(month, 1)
        return _later(month, -1).replace(day=day), month.replace(day=day)

    def last(self) -> date:
        """The month that was over last."""
        today = self._clock().astimezone(self._timezone).date()
        month = _later(today.replace(day=1), 1)
        while self.period(month)[1] > today:
            month = _later(month, -1)
        return month

    async def month(self, month: date, *, tree: Tree = "then") -> Report:
        """The figures as the facts are now. Raises ReportError for a month that has not begun."""
        assumptions = Assumptions(
            licence=self._config.licence, travel_km=self._config.travel_km, cost_per_km=self._config.cost_per_km
        )
        return await self._taken(month, self.period(month), assumptions, tree)

    async def _taken(self, month: date, period: tuple[date, date], assumptions: Assumptions, tree: Tree) -> Report:
        made_at = self._clock()
        since, until = period
        if made_at.astimezone(self._timezone).date() < since:
            raise ReportError(f"{month:%Y-%m} has not begun: it begins on {since}")
        org = OrgTree(await inventory.load(self._pool))
        async with self._pool.acquire() as connection:
            today = made_at.astimezone(self._timezone).date()

            def frame(of: date, begins: date, ends: date) -> Frame:
                restated = tree == "today"
                return Frame(
                    month=of, tree=tree, timezone=self._timezone, made_at=made_at, sources=self._sources,
                    units=org.units(today, _next(today)) if restated else org.units(begins, ends),
                    path=(lambda endpoint, _: org.path(endpoint, today)) if restated else org.path,
                    assumptions=assumptions,
                )  # fmt: skip

            async def before(other: date) -> Earlier:
                closed = await self._standing(connection, other) if tree == "then" else None
                if closed is not None:
                    return earlier(other, closed.figures)
                begins, ends = self.period(other)
                facts = await reports.load(connection, begins, ends, self._timezone, self._sources)
                return await asyncio.to_thread(compare, facts, frame(other, begins, ends))

            facts = await reports.load(connection, since, until, self._timezone, self._sources)
            last_month, last_year = await before(_later(month, -1)), await before(_later(month, -12))
            # In a thread: it counts for a second or two, and meanwhile the service goes on.
            return await asyncio.to_thread(summarise, facts, frame(month, since, until), last_month, last_year)

    async def read(self, month: date, *, tree: Tree = "then") -> Closed | Report:
        """What was signed, of a month that is closed; else, and on today's tree, the figures as the facts are now.

        Raises ReportError for a month of which nothing is known."""
        closed = await self.standing(month)
        if closed is not None and tree == "then":
            return closed
        if closed is None and month not in (months := await self.months()):
            known = (
                f"the months known are {months[-1]:%Y-%m} to {months[0]:%Y-%m}" if months else "run conftrack collect"
            )
            raise ReportError(f"nothing is known of {month:%Y-%m}: {known}")
        return await self.month(month, tree=tree)

    async def standing(self, month: date) -> Closed | None:
        """A closed month as it was signed, with its addenda; None: it is not closed."""
        async with self._pool.acquire() as connection:
            found = await reports.find(connection, month)
        if found is None:
            return None
        signed, later = found
        report = before = _read(signed.figures)
        addenda = []
        for number, one in enumerate(later, 1):
            after = _read(one.figures)
            addenda.append(
                Addendum(
                    number=number, made_at=one.at, made_by=one.by, report=after, digest=one.digest,
                    changes=tuple(differences(before, after)),
                )
            )  # fmt: skip
            before = after
        return Closed(
            report=report, closed_at=signed.at, closed_by=signed.by, digest=signed.digest, addenda=tuple(addenda)
        )

    async def closed(self) -> list[ClosedMonth]:
        """The newest first."""
        async with self._pool.acquire() as connection:
            return await reports.closed(connection)

    async def months(self) -> list[date]:
        """Every month of which something is known, up to this one; the newest first."""
        async with self._pool.acquire() as connection:
            first = await reports.first_day(connection)
        last = _later(self.last(), 1)
        found = []
        while first is not None and self.period(last)[1] > first:
            found.append(last)
            last = _later(last, -1)
        return found

    async def close(self, month: date, by: str, *, anyway: bool = False) -> Closed:
        """Freezes the figures as they are now. Raises ReportError as `closable` does."""
        return await self.freeze(await self.closable(month, anyway=anyway), by)

    async def closable(self, month: date, *, anyway: bool = False) -> Report:
        """The figures as they would be frozen. Raises ReportError if the month is not over, or closed already, or from
        before anything is known, and unless `anyway` if a source that is configured has not been read up to its end."""
        report = await self.month(month)
        if report.is_open:
            raise ReportError(f"{month:%Y-%m} is not over: it can be closed from {report.until} on")
        if await self.standing(month) is not None:
            raise _closed_already(month)
        async with self._pool.acquire() as connection:
            first = await reports.first_day(connection)
        if first is not None and first >= report.until:
            raise ReportError(f"nothing is known of {month:%Y-%m}: the first meeting that is known was on {first}")
        behind = [
            one.source
            for one in report.certificates
            if one.source in self._sources and (not one.ever_read or one.read_until is not None)
        ]
        if behind and not anyway:
            raise ReportError(
                f"{', '.join(behind)} has not been read up to the end of {month:%Y-%m}: run conftrack collect first, "
                "or close it --anyway, which the certificate of the report will say"
            )
        if report.certificates and not any(one.ever_read for one in report.certificates):
            raise ReportError(f"nothing is known of {month:%Y-%m}: no source has ever been read, run conftrack collect")
        return report

    async def freeze(self, report: Report, by: str) -> Closed:
        """Closes a month with these figures, which `closable` gave. Raises ReportError if it is closed already."""
        month = report.month
        async with self._pool.acquire() as connection:
            kept = await reports.keep(
                connection, month, report.since, report.until, report.made_at, by, written(report)
            )
        if not kept:
            raise _closed_already(month)
        closed = await self.standing(month)
        assert closed is not None  # noqa: S101  (nothing takes one away)
        return closed

    async def amend(self, month: date, by: str) -> Addendum | None:
        """Adds what changed since the month was closed or amended last; None: nothing did. Raises ReportError if it is
        not closed."""
        report, digest, changes = await self._changes(month)
        if not changes:
            return None
        async with self._pool.acquire() as connection:
            number = await reports.add(connection, month, report.made_at, by, written(report), digest)
        if number is None:  # another was quicker
            return await self.amend(month, by)
        closed = await self.standing(month)
        return closed.addenda[number - 1] if closed is not None else None

    async def pending(self, month: date) -> list[Change]:
        """What `amend` would add. Raises ReportError if the month is not closed."""
        _, _, changes = await self._changes(month)
        return changes

    async def _changes(self, month: date) -> tuple[Report, str, list[Change]]:
        """The figures as the facts are now, the digest of those that stand, and where they differ. Days and assumptions
        are those that were signed, whatever is configured by now."""
        closed = await self.standing(month)
        if closed is None:
            raise ReportError(f"{month:%Y-%m} is not closed")
        last = closed.addenda[-1] if closed.addenda else closed
        signed = closed.report
        report = await self._taken(month, (signed.since, signed.until), signed.assumptions, signed.tree)
        report = self._with_aged(report, last.report)
        return report, last.digest, list(differences(last.report, report))

    def _with_aged(self, report: Report, before: Report) -> Report:
        """The report with what certificates counted before the rows of it went by their age: that is no correction."""
        age = report.made_at - datetime.combine(report.since, time(), self._timezone)
        names: tuple[str, ...] = ("polls", "failed_polls") if age > self._privacy.keep_runs_for else ()
        names += ("rejected",) if age > self._privacy.keep_rejected_for else ()
        known = {one.source: one for one in before.certificates}
        return replace(
            report,
            certificates=tuple(
                replace(one, **{name: max(getattr(one, name), getattr(known[one.source], name)) for name in names})
                if one.source in known else one
                for one in report.certificates
            ),
        )  # fmt: skip

    async def _standing(self, connection: Connection, month: date) -> Report | None:
        """What stands of a closed month: its last addendum, else what was signed."""
        found = await reports.find(connection, month)
        if found is None:
            return None
        signed, addenda = found
        return _read(addenda[-1].figures if addenda else signed.figures)


def _closed_already(month: date) -> ReportError:
    return ReportError(f"{month:%Y-%m} is closed already: later facts go into an addendum (report amend)")


def written(report: Report) -> bytes:
    """A report as it is frozen: JSON whose bytes depend on nothing but the figures."""
    return msgspec.json.encode(report, order="sorted")


def _read(figures: bytes) -> Report:
    return msgspec.json.decode(figures, type=Report)


def differences(before: Report, after: Report) -> Iterator[Change]:
    """The figures that differ, of scopes, endpoints, absences, meetings and certificates. When they were taken, and
    what they are compared with, are none of them; nor are titles, which one that became sensitive must not repeat."""
    yield from _compared(_named_scopes(before), _named_scopes(after))
    yield from _compared(
        {one.code: _flat(one) for one in before.endpoints}, {one.code: _flat(one) for one in after.endpoints}
    )
    for name in ("absences", "meetings", "certificates"):
        rows = [
            {row_name(row): _flat(row) for row in getattr(report, name)} for report in (before, after)
        ]  # fmt: skip
        yield from _compared(*rows)


def _named_scopes(report: Report) -> dict[str, dict[str, Any]]:
    return {scope_name(one.scope): _flat(one.figures) for one in report.figures}


def _flat(row: Record) -> dict[str, Any]:
    """Each figure by its name; parts of a figure by the name of both."""
    flat: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(row).items():
        if name == "title":
            continue
        if isinstance(value, list | tuple):
            for part in value:
                *labels, count = part.values()
                flat[".".join([name, *map(str, labels)])] = count
        else:
            flat[name] = value
    return flat


def _compared(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
    for of in sorted({*before, *after}):
        old, new = before.get(of, {}), after.get(of, {})
        for figure in sorted({*old, *new}):
            # What is missing of parts and scopes is nothing; a row that is missing has no figures.
            if old.get(figure) != new.get(figure) and (old.get(figure) or new.get(figure)):
                yield Change(of=of, figure=figure, before=old.get(figure), after=new.get(figure))


def _later(month: date, months: int) -> date:
    number = month.year * 12 + month.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def _next(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)
