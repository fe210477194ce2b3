"""Incidents kept in Postgres: derived from the facts by the engine, stored so that each keeps its number and its notes.

`refresh` takes what is marked as changed, or as due because time has passed, and makes what is stored equal to what the
engine says. A crash at any point leaves the marks, and the next refresh does it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from conftrack.incidents.engine import (
    Case,
    Episode,
    Gathering,
    Invited,
    Leg,
    Scope,
    Span,
    Verdict,
    crowded,
    judge,
)
from conftrack.incidents.registration import AHEAD, Registrations, gone_since, unregistered
from conftrack.maintenance import Window, windows
from conftrack.state import OpenIncident
from conftrack.storage import maintenance
from conftrack.storage.deriving import count_incidents
from conftrack.storage.queries import query

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Unit: TypeAlias = tuple[int | None, int | None, int | None]
"""A meeting's number, that of an invitation to one, or that of an endpoint which was not registered."""

BATCH = 500
"""Meetings, invitations, and endpoints, judged in one transaction."""
RECENT = timedelta(days=35)
"""How old an episode of not being registered may be that is still judged again: all that are told in this month."""
EVER = timedelta(days=36_500)
FAR = datetime(9000, 1, 1, tzinfo=UTC)
SAME = timedelta(minutes=2)
"""A correction moves the beginning of an incident by no more than this, or the two overlap."""

_COLUMNS = (
    "source_id", "endpoint_id", "caller_id", "meeting_id", "invitation_id", "kind", "end_class", "end_reason",
    "opened_at", "closed_at", "day", "org_unit_id", "carrier", "area", "parent_id",
)  # fmt: skip


class Row(msgspec.Struct, kw_only=True):
    """A row of the table `incident`, as it should be. `parent`: the outage that it is part of."""

    source_id: int | None
    meeting_id: int | None
    invitation_id: int | None
    day: date
    episode: Episode
    parent: Row | None = None
    incident_id: int | None = None

    def values(self, orgs: Mapping[str, int]) -> tuple[object, ...]:
        e = self.episode
        scope, name = e.scope or (None, "")
        endpoint, caller = (-e.key, None) if e.key is not None and e.key < 0 else (None, e.key)
        return (
            self.source_id, endpoint, caller, self.meeting_id, self.invitation_id, e.kind, e.end_class, e.end_reason,
            e.opened_at, e.closed_at, self.day, orgs.get(name) if scope == "org" else None,
            name if scope == "carrier" else None, name if scope == "area" else None,
            self.parent.incident_id if self.parent is not None else None,
        )  # fmt: skip


class Incidents:
    """`timezone` cuts the days that incidents of a meeting nobody came to belong to."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], timezone: ZoneInfo) -> None:
        self._pool = pool
        self._timezone = timezone

    async def refresh(self) -> int:
        """Judges whatever is marked and due; how many incidents were added, changed or dropped. Cost follows the marks,
        and within a meeting the endpoints of which something may be wrong."""
        changed = 0
        while True:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(query("lock_incidents"))
                marks = await connection.fetch(query("take_dirty_incident"), BATCH)
                if not marks:
                    return changed
                meetings = [row["meeting_id"] for row in marks if row["meeting_id"] is not None]
                invitations = {row["invitation_id"] for row in marks if row["invitation_id"] is not None}
                endpoints = {row["endpoint_id"] for row in marks if row["endpoint_id"] is not None}
                changed += await _Judging(connection, self._timezone).judge(meetings, invitations, endpoints)

    async def open(self) -> list[OpenIncident]:
        return [OpenIncident(**row) for row in await self._pool.fetch(query("list_open_incident"))]

    async def in_maintenance(self, now: datetime) -> frozenset[str]:
        """The codes of the endpoints that planned work is done on now."""
        moment = now + timedelta(microseconds=1)
        async with self._pool.acquire() as connection:
            planned = windows(await maintenance.load(connection, now, moment), now, moment, self._timezone)
        return frozenset(code for window in planned for code in window.of.endpoints.values())

    async def next_due(self, source: str) -> datetime | None:
        """When a look at the source will decide something that only time can; None: nothing waits."""
        return await self._pool.fetchval(query("next_due"), source)  # type: ignore[no-any-return]


class _Planned:
    """Maintenance windows, by what they cover."""

    def __init__(self, found: Iterable[Window]) -> None:
        self._of_endpoint: dict[int, list[Span]] = defaultdict(list)
        self._of_source: dict[int | None, list[Span]] = defaultdict(list)
        for window in found:
            span = (window.since, window.until)
            for endpoint_id in window.of.endpoints:
                self._of_endpoint[endpoint_id].append(span)
            if window.of.source_id is not None:
                self._of_source[window.of.source_id].append(span)

    def of(self, key: int, source_id: int | None) -> tuple[Span, ...]:
        """Those of an endpoint, as in `Case`, on a source."""
        return (*self._of_endpoint.get(-key, ()), *self._of_source.get(source_id, ()))


class _Judging:
    """One batch, in one transaction."""

    def __init__(self, connection: Connection, timezone: ZoneInfo) -> None:
        self._connection = connection
        self._timezone = timezone
        self._waits: list[tuple[Unit, datetime]] = []

    async def judge(self, meetings: Sequence[int], invitations: set[int], endpoints: set[int]) -> int:
        convoked = await self._connection.fetch(query("convoke"), meetings)
        dated = sorted(invitations | {row["invitation_id"] for row in convoked})
        missed = await self._connection.fetch(query("list_missed_member"), meetings)
        sites = sorted(endpoints | {row["endpoint_id"] for row in missed})
        since, found = await self._of_registrations(sites)
        rows = [*await self._of_meetings(meetings), *await self._of_invitations(dated), *found]
        changed = await self._store(
            rows, await self._connection.fetch(query("list_stored_incident"), meetings, dated, sites, since)
        )
        await self._connection.execute(query("drop_wait"), dated, sites)
        if self._waits:
            units, moments = zip(*self._waits, strict=True)
            await self._connection.execute(query("wait_for"), *map(list, zip(*units, strict=True)), list(moments))
        return changed

    # -- from the facts to what should stand

    async def _of_meetings(self, ids: Sequence[int]) -> list[Row]:
        found = await self._connection.fetch(query("list_gathering"), ids)
        if not found:
            return []
        cases = await self._cases(found)
        blind = await self._blind(found, "started_at")
        seen = {row["meeting_id"]: row for row in found if row["seen_until"] is not None}
        gatherings = {unit: _gathering(row, blind) for unit, row in seen.items()}
        verdicts = {unit: judge(gatherings[unit], cases[unit].values()) for unit in seen}
        members = await self._members([unit for unit in seen if crowded(verdicts[unit].episodes)], cases)
        for unit, scopes in members.items():
            verdicts[unit] = judge(gatherings[unit], cases[unit].values(), scopes)
        return [each for unit, row in seen.items() for each in self._rows(row, verdicts[unit], unit, None)]

    async def _of_invitations(self, ids: Sequence[int]) -> list[Row]:
        if not ids:
            return []
        found = await self._connection.fetch(query("list_dated_invitation"), ids, self._timezone.key)
        if not found:
            return []
        blind = await self._blind(found, "starts_at")
        planned = await self._planned(min(row["starts_at"] for row in found), max(row["until"] for row in found))
        sources = {row["invitation_id"]: row["source_id"] for row in found}
        late: dict[int, list[Case]] = defaultdict(list)
        for row in await self._connection.fetch(query("list_dated_expected"), ids):
            invited = Invited(start=row["starts_at"], excused_at=row["excused_at"])
            legs = (Leg(joined_at=row["joined_at"], left_at=None),) if row["joined_at"] is not None else ()
            unit = row["invitation_id"]
            work = planned.of(row["key"], sources[unit])
            late[unit].append(Case(key=row["key"], legs=legs, invited=invited, maintenance=work))
        rows: list[Row] = []
        for row in found:
            wait_for = (None, row["invitation_id"], None)
            if row["seen_until"] is None:
                self._waits.append((wait_for, row["starts_at"]))
                continue
            gathering = _gathering(row, blind)
            if row["meeting_id"] is None:  # nobody has come
                if row["seen_until"] >= row["until"]:
                    gathering = msgspec.structs.replace(gathering, ended_at=row["until"])
                else:
                    self._waits.append((wait_for, row["until"]))
            rows += self._rows(
                row, judge(gathering, late[row["invitation_id"]]), row["meeting_id"], row["invitation_id"]
            )
        return rows

    async def _of_registrations(self, ids: Sequence[int]) -> tuple[datetime | None, list[Row]]:
        """What these endpoints were not registered in, as far as it is told anew: what went on since a moment."""
        if not ids:
            return None, []
        found = await self._connection.fetch(query("list_registered"), ids, RECENT)
        if not found:
            return None, []
        recent: datetime = found[0]["recent"]
        known = {
            row["endpoint_id"]: _since_gone(zip(row["sources"], row["begins"], row["ends"], strict=True), recent)
            for row in found
        }
        begin = min(since for since, _ in known.values())
        up: dict[int, list[tuple[datetime, datetime | None]]] = defaultdict(list)
        for row in await self._connection.fetch(query("list_up"), ids, begin):
            up[row["endpoint_id"]].append((row["joined_at"], row["left_at"]))
        planned = await self._planned(begin, max(row["seen_until"] for row in found) + AHEAD)
        blind: dict[int, list[Span]] = defaultdict(list)
        for row in await self._connection.fetch(query("list_blindness"), begin):
            blind[row["source_id"]].append((row["since"], row["until"]))
        rows: list[Row] = []
        for row in found:
            endpoint_id, retired_on = row["endpoint_id"], row["retired_on"]
            _, registered = known[endpoint_id]
            spans = tuple((since, until) for _, since, until in registered)
            of = Registrations(
                key=-endpoint_id, registered=spans, seen_until=row["seen_until"], service_hours=row["service_hours"],
                retired_at=datetime.combine(retired_on, time(), self._timezone) if retired_on is not None else None,
                up=tuple(up[endpoint_id]),
                maintenance=tuple(s for source in set(row["sources"]) for s in planned.of(-endpoint_id, source)),
                blind=tuple(span for source in set(row["sources"]) for span in blind[source]),
            )  # fmt: skip
            verdict = unregistered(of, self._timezone)
            if verdict.due_at is not None:
                self._waits.append(((None, None, endpoint_id), verdict.due_at))
            last = {since: source for source, since, _ in registered}
            rows += [
                Row(
                    source_id=last[max(since for since in last if since <= episode.opened_at)], meeting_id=None,
                    invitation_id=None, day=episode.opened_at.astimezone(self._timezone).date(), episode=episode,
                )
                for episode in verdict.episodes
                if episode.closed_at is None or episode.closed_at > recent
            ]  # fmt: skip
        return recent, rows

    def _rows(self, row: asyncpg.Record, verdict: Verdict, meeting: int | None, invitation: int | None) -> list[Row]:
        if verdict.due_at is not None:
            unit = (meeting if invitation is None else None, invitation, None)
            self._waits.append((unit, verdict.due_at))
        rows = [
            Row(
                source_id=row["source_id"],
                meeting_id=meeting,
                invitation_id=invitation,
                day=row["day"],
                episode=episode,
            )
            for episode in verdict.episodes
        ]
        for outage, parts in verdict.parts.items():
            for place in parts:
                rows[place].parent = rows[outage]
        return rows

    async def _cases(self, found: Sequence[asyncpg.Record]) -> dict[int, dict[int, Case]]:
        meetings = [row["meeting_id"] for row in found]
        sources = {row["meeting_id"]: row["source_id"] for row in found}
        planned = await self._planned(
            min(row["started_at"] for row in found), max(row["ended_at"] or row["seen_until"] or FAR for row in found)
        )
        legs: dict[tuple[int, int], list[Leg]] = defaultdict(list)
        for row in await self._connection.fetch(query("list_suspect_leg"), meetings):
            changes = tuple(zip(row["moments"] or (), row["levels"] or (), strict=True))
            legs[row["meeting_id"], row["key"]].append(
                Leg(
                    joined_at=row["joined_at"], left_at=row["left_at"], end_class=row["end_class"],
                    end_reason=row["end_reason"], direction=row["direction"], here=row["here"], quality=changes,
                )
            )  # fmt: skip
        invited: dict[tuple[int, int], Invited] = {}
        for row in await self._connection.fetch(query("list_standing_expected"), meetings):
            invited[row["meeting_id"], row["key"]] = Invited(start=row["started_at"], excused_at=row["excused_at"])
        cases: dict[int, dict[int, Case]] = defaultdict(dict)
        for unit, key in {**legs, **invited}:
            of = (unit, key)
            work = planned.of(key, sources[unit])
            cases[unit][key] = Case(key=key, legs=tuple(legs.get(of, ())), invited=invited.get(of), maintenance=work)
        return cases

    async def _planned(self, since: datetime, until: datetime) -> _Planned:
        return _Planned(windows(await maintenance.load(self._connection, since, until), since, until, self._timezone))

    async def _members(
        self, meetings: Sequence[int], cases: dict[int, dict[int, Case]]
    ) -> dict[int, dict[Scope, list[Span]]]:
        """Who else was in these meetings, by unit, area and carrier; the cases learn what they belong to."""
        found: dict[int, dict[Scope, list[Span]]] = {unit: defaultdict(list) for unit in meetings}
        if not meetings:
            return found
        for row in await self._connection.fetch(query("list_member"), meetings):
            scopes: list[Scope] = [("org", org) for org in dict.fromkeys((row["org"], *row["orgs"])) if org is not None]
            scopes += [("area", row["area"])] if row["area"] is not None else []
            scopes += [("carrier", row["carrier"])] if row["carrier"] is not None else []
            unit, key = row["meeting_id"], row["key"]
            for scope in scopes:
                found[unit][scope].append((row["since"], row["until"] or row["since"] + EVER))
            if key in cases[unit]:
                cases[unit][key] = msgspec.structs.replace(cases[unit][key], scopes=tuple(scopes))
        return found

    async def _blind(self, rows: Iterable[asyncpg.Record], start: str) -> dict[int | None, list[Span]]:
        """By source when it was blind; under None for all of them."""
        rows = list(rows)
        found: dict[int | None, list[Span]] = defaultdict(list)
        if not rows:
            return found
        since = min(row[start] for row in rows)
        for row in await self._connection.fetch(query("list_blindness"), since):
            found[row["source_id"]].append((row["since"], row["until"]))
            found[None].append((row["since"], row["until"]))
        return found

    # -- from what should stand to what stands

    async def _store(self, rows: list[Row], stored: Sequence[asyncpg.Record]) -> int:
        codes = {row.episode.scope[1] for row in rows if row.episode.scope is not None}
        orgs = {
            row["code"]: row["org_unit_id"] for row in await self._connection.fetch(query("number_org"), list(codes))
        }
        before = {row["incident_id"]: row for row in stored}
        _recognise(rows, stored, orgs)
        changed = 0
        days: set[date] = set()
        new: list[tuple[object, ...]] = []
        for row in sorted(rows, key=lambda row: row.parent is not None):  # what others are part of comes first
            old = before.pop(row.incident_id, None) if row.incident_id is not None else None
            if old is None and row.episode.kind == "outage":
                row.incident_id = await self._connection.fetchval(query("add_incident"), *row.values(orgs))
            elif old is None:
                new.append(row.values(orgs))
            elif old["withdrawn_at"] is not None or tuple(old[name] for name in _COLUMNS) != row.values(orgs):
                await self._connection.execute(query("change_incident"), row.incident_id, *row.values(orgs))
                days.add(old["day"])
            else:
                continue
            changed += 1
            days.add(row.day)
        if new:
            await self._connection.copy_records_to_table(
                "incident", schema_name="conftrack", records=new, columns=_COLUMNS
            )
        gone = [row for row in before.values() if row["withdrawn_at"] is None]
        if gone:
            await self._connection.execute(
                query("drop_incident"), [row["incident_id"] for row in gone],
                [row["incident_id"] for row in gone if row["written_about"]], max(row["opened_at"] for row in gone),
            )  # fmt: skip
        days |= {row["day"] for row in gone}
        if days:
            await count_incidents(self._connection, list(days))
        return changed + len(gone)


def _since_gone(
    registered: Iterable[tuple[int, datetime, datetime | None]], recent: datetime
) -> tuple[datetime, list[tuple[int, datetime, datetime | None]]]:
    """When an endpoint was last registered by a moment (see `gone_since`), and of its registrations, each with the
    source, what comes of them from then on: what went before is not told anew, however much it was."""
    registered = list(registered)
    begin = gone_since(((since, until) for _, since, until in registered), recent)
    return begin, [
        (source, max(since, begin), until) for source, since, until in registered if until is None or until >= begin
    ]


def _recognise(rows: Iterable[Row], stored: Iterable[asyncpg.Record], orgs: Mapping[str, int]) -> None:
    """Gives each row the number of the stored incident that it is, so that what was written about it stays with it: one
    of the same kind and endpoint that it overlaps, or that began at about the same time; the nearest first."""
    known: dict[tuple[object, ...], list[asyncpg.Record]] = defaultdict(list)
    for old in stored:
        known[old["kind"], old["key"], old["org_unit_id"], old["carrier"], old["area"]].append(old)
    pairs: list[tuple[timedelta, int, int, Row]] = []
    for place, row in enumerate(rows):
        values = dict(zip(_COLUMNS, row.values(orgs), strict=True))
        episode = row.episode
        for old in known.get((episode.kind, episode.key, values["org_unit_id"], values["carrier"], values["area"]), ()):
            apart = abs(old["opened_at"] - episode.opened_at)
            if apart <= SAME or _overlap(episode, old):
                pairs.append((apart, old["incident_id"], place, row))
    taken: set[int] = set()
    for _, incident_id, _, row in sorted(pairs, key=lambda pair: pair[:3]):
        if row.incident_id is None and incident_id not in taken:
            row.incident_id = incident_id
            taken.add(incident_id)


def _overlap(episode: Episode, old: asyncpg.Record) -> bool:
    return (old["closed_at"] is None or episode.opened_at < old["closed_at"]) and (
        episode.closed_at is None or old["opened_at"] < episode.closed_at
    )


def _gathering(row: asyncpg.Record, blind: Mapping[int | None, Sequence[Span]]) -> Gathering:
    return Gathering(
        ended_at=row["ended_at"], seen_until=row["seen_until"], told_later=row["told_later"],
        blind=tuple(sorted(blind.get(row["source_id"], ()))),
    )  # fmt: skip
