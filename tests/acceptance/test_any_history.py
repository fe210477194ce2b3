"""However the same world is read, the same facts come of it.

A simulated Pexip goes on while processes read it: in any page size, order and overlap, with any faults on the way,
killed between any two of their steps and started again, one alone or two at once. After a last undisturbed catch-up
the public views say what one clean reading of the same world says, and that is the truth.

Every example is drawn from its seed: `pytest -k "seed17"` plays it again, CONFTRACK_SEEDS=100-199 others.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import msgspec
import pytest
from aiohttp import web

from conftrack.model import Endpoint, Headcount, OrgUnit
from conftrack.simulator import INJECTOR, VIOLATIONS, Faults, Meeting, Truth, World, pexip_app
from conftrack.simulator.plan import SECOND, micros, moment
from conftrack.storage.queries import query
from tests.acceptance.collecting import PASSWORD, SOURCE, USERNAME, Offset, Order, Papers, collect
from tests.acceptance.wire import Wire, through, to_http, to_postgres
from tests.conftest import _clone

WORLDS = (7, 4)
ANCHOR = datetime(2026, 11, 3, 2, tzinfo=UTC)
STREAMS = ("conference", "participant", "backplane")
VIEWS = ("meetings", "legs", "endpoint_connections", "attendance", "usage_daily", "usage_monthly", "incidents")
#: What a snapshot may say of a leg on which its history is silent.
QUALITY = ("rx_bitrate", "tx_bitrate", "rx_loss", "tx_loss", "jitter_seconds", "latency_seconds")
FAULTS = (
    "throttled", "broken", "truncated", "reset", "login_page",
    "late", "edited", "repeated", "malformed", "reordered",
)  # fmt: skip

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.acceptance.collecting"])


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one process does, or two that are started at once."""

    #: Seconds that pass in the world before it.
    after: int
    #: One group after the other; what is in a group is done at once.
    steps: tuple[tuple[str, ...], ...]
    #: After how many pieces of what it says it is killed; None: it comes to its end.
    killed_after: int | None = None
    #: After how many its connections to the database are cut.
    cut_after: int | None = None
    processes: int = 1
    #: Conferences that fall out of the system's history while it reads.
    evicted: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    seed: int
    page: int
    #: Pages in a window.
    span: int
    overlap: timedelta
    #: How far the collector's clock is ahead of the world's.
    ahead: timedelta
    #: Seconds that pass in the world with every request.
    tick: float
    faults: Faults
    runs: tuple[Run, ...]


def drawn(seed: int) -> Plan:
    """The plan of a seed."""
    rng = Random(f"plan {seed}")
    first = rng.choice(("killed", "killed", "evicted", "any"))
    page, span = rng.choice((3, 7, 13, 40, 1000)), rng.choice((1, 3, 20))
    if first == "evicted":  # pages of one window must move
        page, span = rng.choice((3, 7, 13)), rng.choice((3, 20))
    runs = [_run(rng, page, 1)] if first == "any" else [_first_reading(rng, page, first)]
    runs += [_run(rng, page, number) for number in range(2, rng.randint(3, 5))]
    faults = rng.sample(FAULTS, rng.choice((0, 3, 7, len(FAULTS)))) + rng.choice(([], [], [], ["hanging"]))
    return Plan(
        seed=seed, page=page, span=span, overlap=timedelta(minutes=rng.choice((15, 15, 20, 90))),
        ahead=timedelta(seconds=rng.choice((0, 0, -1800, -40, 3, 200, 7200))), tick=rng.choice((0.1, 2, 8)),
        faults=Faults.only(
            *faults, seed=seed, most=3, retry_after=0, client_timeout=1.0, skew_seconds=rng.choice((0, -150, 90)),
        ),
        runs=tuple(runs),
    )  # fmt: skip


def _first_reading(rng: Random, page: int, fate: str) -> Run:
    """The whole history and no more, killed somewhere in it; or read to its end while the system forgets the oldest.

    Not both: what was served but is not stored yet when a process is killed would be lost for good."""
    if fate == "evicted":  # which befalls what was served, conferences with all their participants
        return Run(after=0, steps=(("conference",), ("participant",), ("backplane",), ("participant",)), evicted=3)
    streams = [(stream,) for stream in rng.sample(STREAMS, 3)]
    return Run(after=0, steps=(*streams, *streams), killed_after=rng.randint(80, _pieces(page)))


def _run(rng: Random, page: int, number: int) -> Run:
    last = int(rng.uniform(0.05, 1.1) * _pieces(page) / number)
    end = rng.choice(("whole", "killed", "killed", "killed", "cut"))
    return Run(
        after=rng.choice((0, 20, 200, 600)),
        steps=_steps(rng),
        killed_after=last if end == "killed" else None,
        cut_after=last if end == "cut" else None,
        processes=rng.choice((1, 1, 2)),
    )


def _pieces(page: int) -> int:
    """About what a process says while it reads the history for the first time."""
    return 230 + 4200 // page


def _steps(rng: Random) -> tuple[tuple[str, ...], ...]:
    """Each stream once or twice, in any order, live polls all along, and whatever else may happen meanwhile."""
    steps = [*STREAMS, *rng.sample(STREAMS, 2), rng.choice(("wait 60", "wait 1200"))]
    steps += rng.sample(("headcounts", "inventory", "backfill"), rng.randint(0, 2))
    rng.shuffle(steps)
    groups = []
    while steps:
        size = rng.choice((1, 1, 2))
        groups.append(tuple(_whole(rng, step) for step in [*steps[:size], *rng.choice(((), ("live",)))]))
        del steps[:size]
        groups += rng.choice(([], [("live",)]))
    if rng.random() < 0.4:  # for half an hour only history is read
        where = rng.randint(0, len(groups))
        groups[where:where] = [("live",), ("wait 1800",), tuple(rng.sample(STREAMS, 3)), ("live",)]
    return tuple(groups)


def _whole(rng: Random, step: str) -> str:
    return f"{rng.choice(STREAMS)} {rng.randint(20, 400)}-{rng.randint(0, 20)}" if step == "backfill" else step


@lru_cache
def world(number: int) -> World:
    """A small world: a thin year, in it nights at the end of a month, and an hour and a half in which meetings end."""
    whole = World(number, anchor=ANCHOR, scale=0.015)
    past = [meeting for meeting in whole.meetings(ANCHOR - timedelta(days=1)) if _size(meeting) <= 30]
    after = micros(ANCHOR)
    now = [
        meeting
        for meeting in whole.meetings(ANCHOR + timedelta(minutes=45))
        if meeting.start >= after and _size(meeting) <= 30
    ]
    return World.staged([*past, *now], anchor=ANCHOR)


def _size(meeting: Meeting) -> int:
    return sum(1 for _ in meeting.legs())


def papers(number: int) -> Papers:
    meetings = world(number).meetings(ANCHOR)
    seen = {leg.endpoint for meeting in meetings for leg in meeting.legs()}
    province = world(number).province
    return Papers(
        headcounts=tuple(
            Headcount(room=m.room, at=moment(h.at), endpoint=h.identity, people=h.people, provenance=h.provenance,
                      note=h.note or None)
            for m in meetings for h in m.heads
        ),
        units=tuple(OrgUnit(code=u.code, name=u.name, parent=u.parent) for u in province.units),
        endpoints=tuple(
            Endpoint(code=e.code, name=e.name, org=e.org, aliases=e.aliases)
            for e in province.endpoints
            if e.code in seen
        ),
    )  # fmt: skip


Facts = dict[str, list[dict[str, Any]]]


class Scene:
    """A world that goes on, shown as a Pexip over HTTP, and the processes that read it into one database."""

    def __init__(self, number: int, plan: Plan, dsn: str, folder: Path) -> None:
        self.world = world(number)
        self.plan = plan
        self._dsn = dsn
        self._folder = folder
        self._names = itertools.count()
        self._offset: Offset = _processes.Value("q", 0, lock=False)
        self._tick = int(plan.tick * SECOND)
        self.pass_until(ANCHOR + timedelta(minutes=8))
        self.app = pexip_app(
            self.world, self.now, faults=plan.faults, username=USERNAME, password=PASSWORD, rate_limit=10**6
        )
        self.app.middlewares.insert(0, self._ticking)
        self._papers = folder / "papers"
        self._papers.write_bytes(msgspec.msgpack.encode(papers(number)))
        #: Who asked the system, request by request.
        self.asked: list[int] = []

    async def __aenter__(self) -> Scene:
        self._runner = web.AppRunner(self.app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    def now(self) -> datetime:
        return moment(self._offset.value + time.monotonic_ns() // 1000)

    def pass_until(self, at: datetime) -> None:
        self._offset.value = micros(at) - time.monotonic_ns() // 1000

    @web.middleware
    async def _ticking(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith("/api/"):
            self._offset.value += self._tick
        return await handler(request)

    async def play(self, run: Run) -> None:
        """Lets the processes of a run live and die."""
        self.app[INJECTOR].faults = msgspec.structs.replace(self.plan.faults, evicted=run.evicted)
        self.pass_until(self.now() + timedelta(seconds=run.after))
        said = itertools.count(1)
        async with AsyncExitStack() as lives:
            processes = [await lives.enter_async_context(self._living(run, said)) for _ in range(run.processes)]
            await asyncio.gather(*(asyncio.to_thread(process.join) for process in processes))
        for report in self._folder.glob("report*"):
            raise AssertionError(report.read_text())

    async def settle(self) -> None:
        """Lets all meetings end and come to rest, and reads once more, undisturbed."""
        self.app[INJECTOR].faults = Faults(skew_seconds=self.plan.faults.skew_seconds)
        self.pass_until(self.end + timedelta(minutes=20))
        await self.play(
            Run(after=0, steps=(*((stream,) for stream in STREAMS), ("live",), ("headcounts",), ("inventory",)))
        )

    @property
    def end(self) -> datetime:
        return moment(max(meeting.end for meeting in self.world.meetings(ANCHOR)))

    @asynccontextmanager
    async def _living(self, run: Run, said: Iterator[int]) -> AsyncIterator[ForkServerProcess]:
        name = next(self._names)

        def spoke(*, to_system: bool) -> None:
            if to_system:
                self.asked.append(name)
            piece = next(said)
            if piece == run.killed_after:
                process.kill()
            if piece == run.cut_after:
                to_database.cut()

        async with (
            Wire(partial(to_http, self._port), partial(spoke, to_system=True)) as to_system,
            Wire(partial(to_postgres, self._dsn), partial(spoke, to_system=False)) as to_database,
        ):
            order = Order(
                dsn=through(self._dsn, to_database.port), url=f"http://127.0.0.1:{to_system.port}",
                page=self.plan.page, span=self.plan.span, overlap=self.plan.overlap, ahead=self.plan.ahead,
                steps=run.steps, papers=self._papers, report=self._folder / f"report{name}",
            )  # fmt: skip
            process = _processes.Process(target=collect, args=(order, self._offset))
            await asyncio.to_thread(process.start)
            try:
                yield process
            finally:
                process.kill()
                process.join()


async def facts(dsn: str) -> Facts:
    """The public views without the numbers that only one database knows."""
    connection = await asyncpg.connect(dsn)
    try:
        meetings = {
            row["meeting_id"]: (row["room"], row["started_at"])
            for row in await connection.fetch("select meeting_id, room, started_at from conftrack.meetings")
        }
        found: Facts = {}
        for view in VIEWS:
            found[view] = [dict(row) for row in await connection.fetch(f"select * from conftrack.{view}")]  # noqa: S608
            for row in found[view]:
                for number in ("leg_id", "incident_id", "parent_id", "incidents"):
                    row.pop(number, None)
                if "meeting_id" in row:
                    row["meeting_id"] = meetings.get(row["meeting_id"])
        # Quality is seen by live polls alone: how much of it depends on when they were made.
        found["incidents"] = [row for row in found["incidents"] if row["kind"] != "quality"]
        return found
    finally:
        await connection.close()


def differences(there: Facts, wanted: Facts) -> str:
    """A line for each row that is missing or should not be."""
    silent = {(leg["external_id"], name) for leg in wanted["legs"] for name in QUALITY if leg[name] is None}
    for leg in there["legs"]:
        leg.update((name, None) for name in QUALITY if (leg["external_id"], name) in silent)
    lines = []
    for view in VIEWS:
        ours, theirs = (Counter(map(str, rows[view])) for rows in (there, wanted))
        lines += [f"{view} lacks {line}" for line in sorted((theirs - ours).elements())]
        lines += [f"{view} has   {line}" for line in sorted((ours - theirs).elements())]
    return "\n".join(lines)


async def _prepared(dsn: str) -> None:
    """Two databases give a person's name the same pseudonym only if they share the key."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("insert into conftrack.setting (name, value) values ('pseudonym_key', $1)", "5a" * 32)
    await connection.close()


@pytest.fixture(scope="module")
def clean_readings() -> dict[int, Facts]:
    """The facts of one clean reading of each world, as they are needed."""
    return {}


async def _clean_reading(number: int, server_dsn: str, template: str, folder: Path) -> Facts:
    plan = Plan(
        seed=0, page=1000, span=20, overlap=timedelta(minutes=15), ahead=timedelta(), tick=0, faults=Faults(), runs=()
    )
    async for dsn in _clone(server_dsn, template):
        await _prepared(dsn)
        async with Scene(number, plan, dsn, folder) as scene:
            await scene.settle()
            await _compare_with_truth(dsn, scene.world.truth(scene.end, inventory=True), scene.end)
        return await facts(dsn)
    raise AssertionError("unreachable")


async def _compare_with_truth(dsn: str, truth: Truth, end: datetime) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        total = dict((await connection.fetch(query("figures_until"), SOURCE, end))[0])
        months = {
            row["month"]: dict(row)
            for row in await connection.fetch(query("figures_by_month"), SOURCE, end.date() + timedelta(days=40))
        }
    finally:
        await connection.close()
    assert total == pytest.approx(msgspec.to_builtins(truth.total), abs=1e-3)
    for month, figures in truth.months.items():
        del months[month]["month"]
        assert months.pop(month) == pytest.approx(msgspec.to_builtins(figures), abs=1e-3), month
    assert not months


def _seeds() -> range:
    first, _, last = os.environ.get("CONFTRACK_SEEDS", "0-19").partition("-")
    return range(int(first), int(last or first) + 1)


@pytest.mark.parametrize("seed", _seeds(), ids=lambda seed: f"seed{seed}")
async def test_the_same_world_gives_the_same_facts_however_it_is_read(
    seed: int, dsn: str, server_dsn: str, template: str, clean_readings: dict[int, Facts], tmp_path: Path
) -> None:
    """Pages, order, overlap, faults, SIGKILLs, lost connections and a second collector change no fact in the end."""
    number = WORLDS[seed % len(WORLDS)]
    if number not in clean_readings:
        clean_readings[number] = await _clean_reading(number, server_dsn, template, tmp_path)
    plan = drawn(seed)
    await _prepared(dsn)

    async with Scene(number, plan, dsn, tmp_path) as scene:
        for run in plan.runs:
            scene.asked.clear()
            await scene.play(run)
            if run.killed_after is None and run.cut_after is None:  # a dying one may be in the middle of a request
                turns = [name for name, _ in itertools.groupby(scene.asked)]
                assert len(turns) == len(set(turns)), f"{plan}\ntwo collected at once"
        await scene.settle()

    wrong = differences(await facts(dsn), clean_readings[number])
    assert not wrong, f"{plan}\n{wrong}"
    assert scene.app[VIOLATIONS] == []
