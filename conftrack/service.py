"""The running collector: leases, intervals and shutdown. Wiring only; what a cycle does is the collector's.

Each source is tended by a task of its own: it waits for the source's lease, opens the source, lets the scheduler drive
it, and starts over when the lease is lost. One source failing never stops another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from conftrack.board import Board
from conftrack.collector import Collector, Result
from conftrack.config import Config, SourceConfig
from conftrack.errors import ConftrackError, SourceError
from conftrack.incidents.keeper import Incidents
from conftrack.metrics import DURATION_BOUNDS, Metrics
from conftrack.report.mailing import mailing
from conftrack.sources.base import Clock, Inviting, Push, Source
from conftrack.state import Site, SourceState, State, StreamState
from conftrack.storage.database import Database, Unavailable, sentence_of
from conftrack.storage.keeping import Keeping
from conftrack.storage.leases import Leases
from conftrack.storage.reader import Reader
from conftrack.storage.store import Store

logger = logging.getLogger(__name__)

LEASE_INTERVAL = 2.0
"""Seconds between two looks at a lease: how soon a dead collector's sources are taken over."""
TOTALS_INTERVAL = timedelta(seconds=5)
SITES_INTERVAL = timedelta(minutes=1)
"""How soon an inventory that was imported is seen."""
INVITED_INTERVAL = timedelta(minutes=10)
"""How soon it is seen that an administrator has put others into a room."""
TIDY_INTERVAL = timedelta(hours=1)
"""How often it is looked whether today's tidying is done: one that was missed is made up for."""
REPORT_INTERVAL = timedelta(minutes=1)
"""How soon a report is prepared once its moment has come."""
PUSH_REFRESH = timedelta(milliseconds=500)
PUSH_PATIENCE = 5.0
"""Seconds a push waits for its source to be opened: systems exist that forget what was answered with an error."""
REPORTS = "(reports)"
"""The job that prepares and mails them: no source can be called so."""
SOON = timedelta(seconds=1)
"""How soon a reading may follow on another."""
CAUSES_WITHIN = timedelta(minutes=1)
"""How long after a leg ended its system may take to tell why."""
GRACE = 20.0
"""Seconds a cycle that is under way may take to end when the service stops."""


class Service:
    """Collects from every configured source until `run` is cancelled."""

    def __init__(
        self,
        config: Config,
        database: Database,
        kinds: Mapping[str, type[Source]],
        *,
        state: State,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._config = config
        self._kinds = kinds
        self._state = state
        self._metrics = metrics
        self._clock = clock
        self._store = Store(database.pool, config.timezone, config.privacy)
        self._keeping = Keeping(database.pool, config.timezone, config.privacy)
        self._reader = Reader(database.pool)
        self._incidents = Incidents(database.pool, config.timezone)
        self._mailing = mailing(database, config, clock=clock)
        self._leases = Leases(database)
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._collectors: dict[str, Collector] = {}
        self._opened = asyncio.Condition()
        self._running: set[asyncio.Task[None]] = set()
        self._totals_due = True
        for source in config.sources:
            kind = kinds[source.kind]
            streams = (*(("live",) if kind.has_live else ()), *kind.streams)
            state.sources[source.name] = SourceState(
                name=source.name, kind=source.kind, live_interval=source.live_interval, has_live=kind.has_live,
                streams={stream: StreamState() for stream in streams},
            )  # fmt: skip

    async def run(self) -> None:
        """Runs until cancelled; then lets the cycles under way end, and gives the leases up."""
        while not await self._begin():  # noqa: ASYNC110  (nothing tells that the database is back)
            await asyncio.sleep(LEASE_INTERVAL)
        self._scheduler.start()
        self._scheduler.add_job(
            self._guarded, "interval", seconds=TOTALS_INTERVAL.total_seconds(), id="totals", args=[self._read_totals],
            next_run_time=self._clock(), max_instances=1, coalesce=True,
        )  # fmt: skip
        self._scheduler.add_job(
            self._guarded, "interval", seconds=SITES_INTERVAL.total_seconds(), id="sites", args=[self.read_sites],
            max_instances=1, coalesce=True,
        )  # fmt: skip
        self._scheduler.add_job(
            self._guarded, "interval", seconds=TIDY_INTERVAL.total_seconds(), id="tidy", args=[self._tidy],
            next_run_time=self._clock(), max_instances=1, coalesce=True, misfire_grace_time=None,
        )  # fmt: skip
        self._scheduler.add_job(
            self._guarded, "interval", seconds=REPORT_INTERVAL.total_seconds(), id=REPORTS, args=[self._mail_reports],
            next_run_time=self._clock(), max_instances=1, coalesce=True, misfire_grace_time=None,
        )  # fmt: skip
        try:
            async with self._leases, asyncio.TaskGroup() as tending:
                for source in self._config.sources:
                    tending.create_task(self._tend(source), name=f"tend {source.name}")
                await asyncio.Event().wait()
        finally:
            await self._rest(REPORTS)
            self._scheduler.shutdown(wait=False)

    async def _begin(self) -> bool:
        """Takes up where the database stands; False while it does not answer."""
        try:
            await self._store.adopt_timezone()
            await self._keeping.adopt(self._clock())
            await self._store.refresh()
            await self.read_sites()
            await self._judge()
        except Unavailable as error:
            self._state.lose_database(sentence_of(error), self._clock())
            return False
        return True

    async def receive(self, name: str, push: Push) -> None:
        """Takes in what the system behind source `name` pushed. Returns once it is stored; waits for a source that is
        about to be opened.

        Raises PushRefused, and SourceError when another collector holds the source.
        """
        if not self._state.sources[name].held_elsewhere:
            with suppress(TimeoutError):
                async with asyncio.timeout(PUSH_PATIENCE), self._opened:
                    await self._opened.wait_for(lambda: name in self._collectors)
        collector = self._collectors.get(name)
        if collector is None:
            raise SourceError(f"source {name} is not collected here now")
        await self._take(await collector.receive(push))
        if self._scheduler.get_job("refresh") is None:
            self._scheduler.add_job(self._guarded, "date", run_date=self._clock() + PUSH_REFRESH, id="refresh",
                                    args=[self._refresh])  # fmt: skip

    @property
    def push_sources(self) -> frozenset[str]:
        """The sources that may push."""
        return frozenset(c.name for c in self._config.sources if self._kinds[c.kind].has_push)

    async def ready(self) -> str | None:
        """Why the service is not ready; None when it is: the database answers."""
        try:
            await asyncio.wait_for(self._reader.status(), timeout=5)
        except (OSError, *Unavailable):  # OSError: as for leases
            return "the database does not answer"
        return None

    async def read_sites(self) -> None:
        """Takes the inventory into memory."""
        rows = await self._reader.sites()
        self._state.know_sites(
            (
                Site(
                    code=row.code, name=row.name, org=row.org, org_name=row.org_name, carrier=row.carrier, area=row.area
                ),
                row.aliases,
            )
            for row in rows
        )

    # -- one source

    async def _tend(self, config: SourceConfig) -> None:
        state = self._state.sources[config.name]
        while True:
            try:
                source_id = await self._store.register(config.name, config.kind)
                if not await self._leases.acquire(source_id):
                    state.held_elsewhere = True
                    await asyncio.sleep(LEASE_INTERVAL)
                    continue
                state.held_elsewhere = False
                logger.info("collecting from %s", config.name, extra={"action": "lease", "source": config.name})
                await self._collect(config, source_id, state)
            except Exception as error:
                if isinstance(error, ConftrackError) and not isinstance(error, Unavailable):
                    logger.error("%s: %s", config.name, error, extra={"action": "open", "source": config.name})
                else:
                    self._survive(error)
                await asyncio.sleep(LEASE_INTERVAL)

    async def _collect(self, config: SourceConfig, source_id: int, state: SourceState) -> None:
        """Works on the source for as long as its lease is ours."""
        observe = self._metrics.observer(config.name)
        state.board = Board()
        async with self._kinds[config.kind](config, clock=self._clock, observe=observe) as source:
            collector = Collector(
                config, source, source_id, store=self._store, incidents=self._incidents, state=state, clock=self._clock
            )
            self._collectors[config.name] = collector
            try:
                async with self._opened:
                    self._opened.notify_all()
                if source.has_live:
                    self._drive(collector, "live", config.live_interval, collector.poll)
                if source.streams:
                    catch_ups = [partial(collector.catch_up, stream) for stream in source.streams]
                    self._drive(collector, "history", config.history_interval, *catch_ups)
                if isinstance(source, Inviting):
                    self._invite(collector)
                await self._leases.until_lost(source_id)
                logger.warning("lost the lease of %s", config.name, extra={"action": "lease", "source": config.name})
            finally:
                del self._collectors[config.name]
                await self._rest(config.name)
                await self._leases.release(source_id)

    def _drive(
        self, collector: Collector, what: str, every: timedelta, *readings: Callable[[], Awaitable[Result]]
    ) -> None:
        name = collector.config.name

        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  (a job is a task)
            task.set_name(f"{name} {what}")
            for reading in readings:
                await self._take(await reading())
            await collector.derive()
            await self._judge()
            self._look_again(name, await self._incidents.next_due(name))

        self._scheduler.add_job(
            self._guarded, "interval", seconds=every.total_seconds(), id=f"{name} {what}", args=[work],
            next_run_time=self._clock(), max_instances=1, coalesce=True, misfire_grace_time=None,
        )  # fmt: skip

    def _invite(self, collector: Collector) -> None:
        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  (a job is a task)
            task.set_name(job)
            await collector.invite()

        job = f"{collector.config.name} invited"
        self._scheduler.add_job(
            self._guarded, "interval", seconds=INVITED_INTERVAL.total_seconds(), id=job, args=[work],
            next_run_time=self._clock(), max_instances=1, coalesce=True, misfire_grace_time=None,
        )  # fmt: skip

    async def _rest(self, name: str) -> None:
        """Stops driving the source, or the reports, and waits for what is under way: a page, or a mail, that was begun
        is finished."""
        jobs = (name, *(f"{name} {what}" for what in ("live", "history", "invited")))
        for job in jobs:
            if self._scheduler.get_job(job) is not None:
                self._scheduler.remove_job(job)
        mine = {task for task in self._running if task.get_name() in jobs}
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine, timeout=GRACE)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """The one place that survives everything a cycle may raise: it is told, and the next cycle comes."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a job is a task)
        self._running.add(task)
        try:
            await work()
        except asyncio.CancelledError:
            pass  # _rest stopped it, and what it had begun is finished; to the scheduler it is a job that ended
        except Exception as error:
            self._survive(error)
        finally:
            self._running.discard(task)

    def _survive(self, error: Exception) -> None:
        """Tells what ended a cycle."""
        if isinstance(error, Unavailable):
            self._state.lose_database(sentence_of(error), self._clock())
        else:
            logger.error("a cycle failed in a way it should not", exc_info=error, extra={"action": "bug"})

    def _look_again(self, name: str, due_at: datetime | None) -> None:
        """Brings the next readings forward: that of what goes on now to the moment at which something is due that only
        time decides, and that of history while causes of legs that have just ended may be missing."""
        source = self._state.sources[name]
        now = self._clock()
        live, history = self._scheduler.get_job(f"{name} live"), self._scheduler.get_job(f"{name} history")
        if live is not None and due_at is not None and source.board.seen_at is not None:
            # It is due by the source's clock, which is known from its last answer.
            at = now + max(due_at - source.board.seen_at, SOON)
            if at < live.next_run_time:
                live.modify(next_run_time=at)
        seen_at, left_at = source.board.seen_at, source.board.left_at
        causes_missing = seen_at is not None and left_at is not None and seen_at - left_at < CAUSES_WITHIN
        if history is not None and causes_missing and now + SOON < history.next_run_time:
            history.modify(next_run_time=now + SOON)

    # -- what every cycle ends with

    async def _take(self, result: Result) -> None:
        outcome = result.outcome
        self._metrics.count_records(
            result.source, result.stream, inserted=outcome.inserted, updated=outcome.updated,
            unchanged=outcome.unchanged, rejected=outcome.rejected,
        )  # fmt: skip
        self._state.events.extend((result.source, event) for event in result.events)
        if result.error is None:
            self._state.stored_at = self._clock()
        self._totals_due = self._totals_due or outcome.changed > 0
        await self._state.tell()

    async def _judge(self) -> None:
        """Derives the incidents again of whatever has changed outside a reading, and takes those that are open into
        memory."""
        if await self._incidents.refresh():
            self._totals_due = True
        self._state.in_maintenance = await self._incidents.in_maintenance(self._clock())
        self._state.incidents = {incident.incident_id: incident for incident in await self._incidents.open()}
        await self._state.tell()

    async def _mail_reports(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a job is a task)
        task.set_name(REPORTS)
        await self._mailing.work()

    async def _refresh(self) -> None:
        await self._store.refresh()
        self._totals_due = True
        await self._judge()

    async def _tidy(self) -> None:
        await self._keeping.tidy(self._clock())

    async def _read_totals(self) -> None:
        """The counters' totals, at most every few seconds and only after something changed. It is tried for as long as
        the database does not answer, and so tells that it does again."""
        lost = self._state.database_lost_at is not None
        if self._totals_due or lost:
            self._totals_due = False
            for name, totals in (await self._reader.totals(DURATION_BOUNDS)).items():
                if name in self._state.sources:
                    self._state.sources[name].totals = totals
            self._state.incident_totals = await self._reader.incident_totals()
            for row in await self._reader.status():
                source = self._state.sources.get(row.source)
                if source is not None and row.stream in source.streams and row.source_total is not None:
                    source.streams[row.stream].missing = max(0, row.source_total - (row.stored_total or 0))
            if lost:
                self._state.find_database()
