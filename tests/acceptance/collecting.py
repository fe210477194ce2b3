"""A process that collects from one Pexip, step by step as it is told, until it is done or killed."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
import stamina

from conftrack.collector import Collector
from conftrack.config import DatabaseConfig, Secret, SourceConfig
from conftrack.errors import DatabaseError
from conftrack.incidents.keeper import Incidents
from conftrack.model import Endpoint, Headcount, OrgUnit, Origin, Page
from conftrack.simulator.plan import SECOND, moment
from conftrack.sources import http
from conftrack.sources.base import Clock
from conftrack.sources.pexip import PexipSource, history
from conftrack.state import SourceState
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.leases import Leases
from conftrack.storage.store import Store

SOURCE = "phu-tho"
USERNAME, PASSWORD = "reporter", "nguoi-xem"
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
#: What a database that goes away may raise. A statement that it refuses is a bug, and ends the process.
_AWAY = (DatabaseError, OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Offset(Protocol):
    """How far the world's clock is ahead of `time.monotonic`, in microseconds; shared by all processes."""

    value: int


class Papers(msgspec.Struct, frozen=True):
    """What no conference system knows."""

    headcounts: tuple[Headcount, ...]
    units: tuple[OrgUnit, ...]
    endpoints: tuple[Endpoint, ...]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    dsn: str
    url: str
    page: int
    #: Pages in a window.
    span: int
    overlap: timedelta
    #: How far our clock is ahead of the world's.
    ahead: timedelta
    #: One group after the other; what is in a group is done at once.
    steps: tuple[tuple[str, ...], ...]
    #: A file of `Papers`.
    papers: Path
    #: Where to write down what went wrong.
    report: Path


def now(offset: Offset) -> datetime:
    """The world's time."""
    return moment(offset.value + time.monotonic_ns() // 1000)


def collect(order: Order, offset: Offset) -> None:
    """The whole life of the process."""
    history.PAGE, history.SPAN = order.page, order.span * order.page
    http.BURST = 100_000  # the simulated node is patient
    stamina.set_testing(True, attempts=5, cap=True)  # as many attempts as ever, without the waiting
    try:
        asyncio.run(_collect(order, offset))
    except BaseException:
        order.report.write_text(traceback.format_exc())
        raise


async def _collect(order: Order, offset: Offset) -> None:
    groups = list(order.steps)
    papers = msgspec.msgpack.decode(order.papers.read_bytes(), type=Papers)
    failures = 0
    while groups:
        try:
            async with Database(DatabaseConfig(dsn=Secret(order.dsn)), order.papers.parent) as database:
                await _Collecting(order, papers, offset, database).work(groups)
        except* _AWAY:  # as the service does: the next step, as soon as the database is back
            failures += 1
            if failures > 5:
                raise


class _Collecting:
    def __init__(self, order: Order, papers: Papers, offset: Offset, database: Database) -> None:
        self._order = order
        self._database = database
        self._store = Store(database.pool, ZONE)
        self._incidents = Incidents(database.pool, ZONE)
        self._offset = offset
        self._clock: Clock = lambda: now(offset) + order.ahead
        self._papers = papers

    async def work(self, groups: list[tuple[str, ...]]) -> None:
        """Takes group after group off the list, while it holds the source's lease."""
        config = SourceConfig(
            name=SOURCE, kind="pexip", url=self._order.url, username=USERNAME, password=Secret(PASSWORD),
            overlap=self._order.overlap, timeout=timedelta(seconds=1),
        )  # fmt: skip
        await self._store.adopt_timezone()
        source_id = await self._store.register(config.name, config.kind)
        state = SourceState(name=config.name, kind=config.kind, live_interval=config.live_interval)
        async with (
            Leases(self._database) as leases,
            PexipSource(config, clock=self._clock, observe=lambda **_: None) as source,
        ):
            while not await leases.acquire(source_id):  # noqa: ASYNC110  (as the service does)
                await asyncio.sleep(0.05)
            collector = Collector(
                config, source, source_id, store=self._store, incidents=self._incidents, state=state, clock=self._clock
            )
            working = asyncio.create_task(self._take(groups, collector, source_id))
            lost = asyncio.create_task(leases.until_lost(source_id))
            await asyncio.wait({working, lost}, return_when=asyncio.FIRST_COMPLETED)
            lost.cancel()
            if not working.done():  # as the service does
                working.cancel()
            await asyncio.gather(working, return_exceptions=lost.done() and not lost.cancelled())

    async def _take(self, groups: list[tuple[str, ...]], collector: Collector, source_id: int) -> None:
        while groups:
            steps = groups.pop(0)
            async with asyncio.TaskGroup() as group:
                for step in steps:
                    group.create_task(self._step(step, collector, source_id))

    async def _step(self, step: str, collector: Collector, source_id: int) -> None:
        name, _, detail = step.partition(" ")
        others: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "live": collector.poll,
            "headcounts": lambda: self._take_headcounts(source_id),
            "inventory": lambda: inventory.put(self._database.pool, self._papers.units, self._papers.endpoints),
        }
        if name in others:
            await others[name]()
        elif name == "wait":
            self._offset.value += int(detail) * SECOND
        elif detail:  # a backfill of the days before now, from so many to so many
            first, last = map(float, detail.split("-"))
            since, until = (self._clock() - timedelta(days=days) for days in (first, last))
            await collector.backfill(name, since, until)
        else:
            await collector.catch_up(name)
        await collector.derive()

    async def _take_headcounts(self, source_id: int) -> None:
        at = self._clock()
        counts = tuple(count for count in self._papers.headcounts if count.at <= at)
        page = Page(stream="headcount", origin=Origin.PUSH, observed_at=at, headcounts=counts)
        await self._store.store(source_id, page, now=at)
