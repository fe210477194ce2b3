"""A simulated month in which everything goes wrong that can, collected for real, and its incidents beside the truth.

`month` makes it, `collected` reads it (over HTTP, into Postgres, the world's clock stepped from poll to poll), and
`compared` holds the view `incidents` against what the world knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from functools import partial
from random import Random
from statistics import median
from unittest.mock import patch

import aiohttp
import asyncpg
import msgspec
import stamina
from aiohttp import web

from conftrack.collector import Collector
from conftrack.config import Secret, SourceConfig
from conftrack.demo.papers import take_invitations, take_maintenance
from conftrack.incidents.keeper import Incidents
from conftrack.model import EndClass, Endpoint, IncidentKind, OrgUnit
from conftrack.simulator import VIETNAM, Away, Meeting, TrueIncident, World, pexip_app
from conftrack.simulator.convene import Invitation, convene
from conftrack.simulator.mishaps import Mishaps
from conftrack.simulator.people import typed_names
from conftrack.simulator.plan import MINUTE, SECOND, micros, moment
from conftrack.simulator.province import Endpoint as Site
from conftrack.simulator.province import phu_tho
from conftrack.sources import http
from conftrack.sources.pexip import PexipSource
from conftrack.state import SourceState
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.store import Store

FIRST = date(2026, 10, 1)
SOURCE = "phu-tho"
STREAMS = ("conference", "participant")
HISTORY_EVERY = timedelta(seconds=30)
NEAR = timedelta(minutes=2)
"""An incident that is found begins no further than this from the true one; how far it was is told."""

LATE = timedelta(seconds=15)
"""An alarm is of something if it is shown no later than this after that is over."""

Span = tuple[datetime, datetime]


def month(seed: int, meetings: int, minutes: float = 25, *, works: bool = True) -> World:
    """October 2026 with so many meetings on its working days, small and large ones, each with its mishaps, and with
    sites that stop being registered meanwhile. Without `works` nobody says that work is planned, and what goes down for
    it has failed."""
    province = phu_tho()
    rng = Random(f"month {seed}")
    rooms = [site for site in province.endpoints if site.is_room]
    lines = sorted({(site.area, site.carrier) for site in rooms})
    days = [day for n in range(31) if (day := FIRST + timedelta(days=n)).weekday() < 5]
    held: list[Meeting] = []
    away: list[Away] = []
    for number in range(meetings):
        day = days[number * len(days) // meetings]
        start = micros(datetime(day.year, day.month, day.day, 8 + number % 3, tzinfo=VIETNAM))
        count = (8, 45, 16, 30)[number % 4]
        plan = Invitation(
            room=f"Giao ban {number + 1}", start=start, end=start + int(minutes * rng.uniform(0.8, 1.2) * MINUTE),
            sites=rng.sample(rooms, count), guests=rng.sample(typed_names(), 5), early=5 * MINUTE, churn=0.1,
            host_ends=number % 3 != 0,
        )  # fmt: skip
        mishaps = Mishaps(Random(f"month {seed} {number}"), soon=number % 2 == 1, outage=number % 2)
        meeting = convene(rng, plan, frozenset(rng.sample(lines, 2)), mishaps)
        meeting.maintenance = meeting.maintenance if works else ()
        held += [meeting, *mishaps.side_rooms]
        away += _away(Random(f"month {seed} {number} away"), meeting, rooms)
    return World.staged(held, away=away, anchor=moment(micros(datetime(2026, 11, 1, tzinfo=VIETNAM))))


def _away(rng: Random, meeting: Meeting, rooms: Sequence[Site]) -> list[Away]:
    """Three sites that have nothing to do with a meeting, for some minutes of it; one of them is back at once."""
    idle = [site for site in rooms if site.code not in meeting.invited]
    start = meeting.start + int(rng.uniform(30, 120) * SECOND)
    lengths = (int(rng.uniform(20, 28) * SECOND), *(int(rng.uniform(150, 400) * SECOND) for _ in range(2)))
    return [
        Away(endpoint=site.code, start=start, end=start + length)
        for site, length in zip(rng.sample(idle, 3), lengths, strict=True)
    ]


class Watching(msgspec.Struct, frozen=True, kw_only=True):
    """How the month is watched."""

    #: Between two polls of what is going on; None: only history is read, once a meeting is over.
    every: timedelta | None
    #: In which meetings, by number, the collector is started anew in the middle, and in which the source is dead for
    #: three minutes.
    restarted: frozenset[int] = frozenset()
    dead: frozenset[int] = frozenset()


class _Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as it was first shown while it was open."""

    kind: IncidentKind
    meeting_id: int | None
    of: tuple[str, ...]
    opened_at: datetime
    shown_at: datetime


class Watched(msgspec.Struct, kw_only=True):
    #: When the source was dead.
    dead: list[Span]
    #: Whatever was shown to somebody at any time, whatever became of it later.
    alarms: dict[int, Alarm]


async def collected(world: World, database: Database, watching: Watching) -> Watched:
    """Reads the whole month."""
    alarms: dict[int, Alarm] = {}
    clock = _Clock(datetime(2026, 9, 30, 12, tzinfo=UTC))
    dead: list[Span] = []
    meetings = [meeting for meeting in world.meetings(clock.at) if meeting.invited]

    @web.middleware
    async def dying(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if any(since <= clock.at < until for since, until in dead):
            raise web.HTTPServiceUnavailable
        return await handler(request)

    app = pexip_app(world, clock, rate_limit=10**6)
    app.middlewares.insert(0, dying)
    async with AsyncExitStack() as stack:
        stack.enter_context(patch.object(http, "BURST", 10**6))
        stack.enter_context(stamina.set_testing(True, attempts=2, cap=True))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        reading = await _Reading.begun(world, database, url, clock)
        for number, meeting in enumerate(meetings):
            begin, end = moment(meeting.start), moment(meeting.end)
            clock.at = begin - timedelta(minutes=2)
            middle = begin + (end - begin) / 2
            if number in watching.dead:
                dead.append((middle, middle + timedelta(minutes=3)))
            async with AsyncExitStack() as life:
                collector = await life.enter_async_context(reading.collecting())
                await reading.plans()
                while watching.every is not None and clock.at < end + timedelta(minutes=1):
                    if number in watching.restarted and clock.at - watching.every < middle <= clock.at:
                        await life.aclose()
                        collector = await life.enter_async_context(reading.collecting())
                    result = await collector.poll()
                    await collector.derive()
                    late = int(clock.at.timestamp()) % HISTORY_EVERY.total_seconds() < watching.every.total_seconds()
                    if late or any(change.kind != "joined" for change in result.events):
                        await _history(collector)
                    await reading.look(alarms)
                    clock.at += watching.every
                clock.at = end + timedelta(minutes=12)
                await _history(collector)
                if watching.every is not None:
                    await collector.poll()
                    await collector.derive()
    return Watched(dead=dead, alarms=alarms)


class _Reading:
    def __init__(self, database: Database, url: str, clock: _Clock) -> None:
        self._pool, self._url, self._clock = database.pool, url, clock
        self._store = Store(database.pool, VIETNAM)
        self._incidents = Incidents(database.pool, VIETNAM)
        self._source_id = 0

    @classmethod
    async def begun(cls, world: World, database: Database, url: str, clock: _Clock) -> _Reading:
        self = cls(database, url, clock)
        await self._store.adopt_timezone()
        self._source_id = await self._store.register(SOURCE, "pexip")
        units = [OrgUnit(code=u.code, name=u.name, parent=u.parent) for u in world.province.units]
        endpoints = [
            Endpoint(code=e.code, name=e.name, org=e.org, carrier=e.carrier, area=e.area, aliases=e.aliases)
            for e in world.province.endpoints
        ]
        await inventory.put(database.pool, units, endpoints)
        return self

    def collecting(self) -> _Life:
        """A collector that knows nothing but what the database tells it."""
        return _Life(self._store, self._incidents, self._source_id, self._url, self._clock)

    async def look(self, alarms: dict[int, Alarm]) -> None:
        """Notes what is open now."""
        for i in await self._incidents.open():
            scopes = (("carrier", i.carrier), ("area", i.area), ("org", i.org))
            scope = next(((name, value) for name, value in scopes if value is not None), ("", ""))
            of = scope if i.kind == "outage" else ("endpoint", i.endpoint or "")
            alarm = Alarm(
                kind=i.kind, meeting_id=i.meeting_id, of=of, opened_at=i.opened_at, shown_at=self._clock.at
            )  # fmt: skip
            alarms.setdefault(i.incident_id, alarm)

    async def plans(self) -> None:
        async with aiohttp.ClientSession(self._url, raise_for_status=True) as session:
            async with session.get("/invitations.csv") as answer:
                await take_invitations(self._pool, await answer.text(), SOURCE)
            async with session.get("/maintenance.json") as answer:
                await take_maintenance(self._pool, await answer.json(), self._clock.at)


async def _history(collector: Collector) -> None:
    for stream in STREAMS:
        await collector.catch_up(stream)
    await collector.derive()


class _Life:
    def __init__(self, store: Store, incidents: Incidents, source_id: int, url: str, clock: _Clock) -> None:
        self._store, self._incidents, self._source_id, self._clock = store, incidents, source_id, clock
        self._config = SourceConfig(
            name=SOURCE, kind="pexip", url=url, username="reporter", password=Secret("nguoi-xem"),
            live_interval=timedelta(seconds=5),
        )  # fmt: skip
        self._source = PexipSource(self._config, clock=clock, observe=lambda **_: None)

    async def __aenter__(self) -> Collector:
        source = await self._source.__aenter__()
        state = SourceState(name=SOURCE, kind="pexip", live_interval=self._config.live_interval)
        return Collector(
            self._config, source, self._source_id, store=self._store, incidents=self._incidents, state=state,
            clock=self._clock,
        )  # fmt: skip

    async def __aexit__(self, *exc: object) -> None:
        await self._source.__aexit__(None, None, None)


# -- beside the truth


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the view `incidents`."""

    kind: IncidentKind
    room: str
    endpoint: str | None
    org: str | None
    carrier: str | None
    area: str | None
    end_class: EndClass | None
    opened_at: datetime
    closed_at: datetime | None

    @property
    def of(self) -> tuple[str, ...]:
        """What failed: an endpoint, or the scope of an outage."""
        if self.kind != "outage":
            return ("endpoint", self.endpoint or "")
        scopes = (("carrier", self.carrier), ("area", self.area), ("org", self.org))
        return next((name, value) for name, value in scopes if value is not None)


class Line(msgspec.Struct, kw_only=True):
    """One kind and cause: how many there were, how many of them were found once, how many were missed, and how many
    that never were; and of those found the worst error of their beginning and of their duration, in seconds."""

    true: int = 0
    found: int = 0
    missed: int = 0
    false: int = 0
    off: float = 0.0
    duration_off: float = 0.0


class Comparison(msgspec.Struct, kw_only=True):
    lines: dict[tuple[IncidentKind, EndClass | None], Line]
    missed: list[TrueIncident]
    false: list[Found]
    #: What could not be seen as it was, because the source was dead or is not asked about it.
    unseen: int
    #: What was shown while nothing of the kind went on.
    false_alarms: list[Alarm]
    #: For each kind, how long after its beginning it was shown, in seconds: the median and the longest.
    delays: dict[IncidentKind, tuple[float, float]]

    def table(self) -> str:
        rows = [f"{'kind':16}{'cause':14}  true  found missed  false  begin off length off"]
        for (kind, cause), x in sorted(self.lines.items(), key=lambda item: (item[0][0], item[0][1] or "")):
            counts = f"{x.true:6}{x.found:7}{x.missed:7}{x.false:7}"
            rows.append(f"{kind:16}{cause or '-':14}{counts}{x.off:10.1f}s{x.duration_off:9.1f}s")
        rows += [
            f"{kind:16}shown after {half:.0f} s, at most {most:.0f} s" for kind, (half, most) in self.delays.items()
        ]
        return "\n".join([*rows, f"not to be seen: {self.unseen}, false alarms: {len(self.false_alarms)}"])


async def compared(world: World, database: Database, watched: Watched, *, live: bool = True) -> Comparison:
    """Every true incident with the nearest found one of its kind, place and cause; what is left over is missed, or
    false. Loss, and who is registered, is seen by live polls only, and not while the source is dead."""
    rows = await database.pool.fetch(
        """
        select i.kind, coalesce(m.room, '') as room, i.endpoint, i.org, i.carrier, i.area, i.end_class,
          i.opened_at, i.closed_at
        from conftrack.incidents i left join conftrack.meetings m on m.meeting_id = i.meeting_id
        """
    )
    until = moment(max(meeting.end for meeting in world.meetings(world.anchor)))
    left: dict[tuple[object, ...], list[Found]] = defaultdict(list)
    for found in (_found(row) for row in rows):
        left[found.kind, found.room, found.of].append(found)
    rooms = {row["meeting_id"]: row["room"] for row in await database.pool.fetch("select * from conftrack.meetings")}
    truth = world.incidents(until)
    unseen = partial(_unseen, dead=watched.dead, live=live)
    false_alarms, delays = _shown([(true, unseen(true)) for true in truth], watched.alarms.values(), rooms)
    result = Comparison(
        lines=defaultdict(Line), missed=[], false=[], unseen=0, false_alarms=false_alarms, delays=delays
    )  # fmt: skip
    for true in truth:
        if unseen(true):
            result.unseen += 1
            place = true.kind, true.room, _of(true)
            left[place] = [found for found in left[place] if not _of_its_time(true, found.opened_at)]
            continue
        line = result.lines[true.kind, true.end_class]
        line.true += 1
        near = _nearest(left, true)
        if near is None or near.closed_at is None or (true.end_class and near.end_class != true.end_class):
            line.missed += 1
            result.missed.append(true)
            continue
        left[near.kind, near.room, near.of].remove(near)
        line.found += 1
        line.off = max(line.off, abs((near.opened_at - true.opened_at).total_seconds()))
        line.duration_off = max(line.duration_off, _length_off(true, near.closed_at - near.opened_at))
    for found in (found for rest in left.values() for found in rest):
        cause = found.end_class if found.kind in ("dropped", "connect_failed") else None
        result.lines[found.kind, cause].false += 1
        result.false.append(found)
    return result


def _found(row: asyncpg.Record) -> Found:
    return Found(**dict(row))


def _shown(
    truth: Sequence[tuple[TrueIncident, bool]], alarms: Iterable[Alarm], rooms: Mapping[int | None, str]
) -> tuple[list[Alarm], dict[IncidentKind, tuple[float, float]]]:
    """The alarms that nothing stood behind, and how late the others were; `truth` with whether it could not be seen."""
    true_of: dict[tuple[object, ...], list[tuple[TrueIncident, bool]]] = defaultdict(list)
    for true, hidden in truth:
        true_of[true.kind, true.room, _of(true)].append((true, hidden))
    false: list[Alarm] = []
    delays: dict[IncidentKind, list[float]] = defaultdict(list)
    for alarm in alarms:
        meant = [
            (alarm.opened_at - true.opened_at, true.opened_at, hidden)
            for true, hidden in true_of[alarm.kind, rooms.get(alarm.meeting_id, ""), alarm.of]
            if _of_its_time(true, alarm.opened_at) and alarm.shown_at <= true.closed_at + LATE
        ]
        if not meant:
            false.append(alarm)
            continue
        _, began, hidden = min(meant)
        if not hidden:
            delays[alarm.kind].append((alarm.shown_at - began).total_seconds())
    return false, {kind: (median(of_kind), max(of_kind)) for kind, of_kind in sorted(delays.items())}


def _of_its_time(true: TrueIncident, opened_at: datetime) -> bool:
    """Whether what opened then may be a part of it: of what was hidden, only the rest is seen."""
    return true.opened_at - LATE <= opened_at < true.closed_at


def _of(true: TrueIncident) -> tuple[str, ...]:
    return true.scope if true.scope is not None else ("endpoint", true.endpoint or "")


def _nearest(left: dict[tuple[object, ...], list[Found]], true: TrueIncident) -> Found | None:
    near = [
        found
        for found in left.get((true.kind, true.room, _of(true)), ())
        if abs(found.opened_at - true.opened_at) <= NEAR
    ]
    return min(near, key=lambda found: abs(found.opened_at - true.opened_at), default=None)


def _length_off(true: TrueIncident, length: timedelta) -> float:
    """In seconds. Loss that was over a minute before the leg was is over at that moment, or with the leg: which of the
    two may hang on a single poll, so either counts as right."""
    off = abs((true.closed_at - true.opened_at - length).total_seconds())
    return min(off, abs(off - MINUTE / SECOND)) if true.kind == "quality" else off


def _unseen(true: TrueIncident, dead: Iterable[Span], live: bool) -> bool:
    """That loss is over is known once it has been good for a minute."""
    known = true.closed_at + timedelta(minutes=1)
    return true.kind in ("quality", "unregistered") and (
        not live or any(true.opened_at < until and known > since for since, until in dead)
    )
