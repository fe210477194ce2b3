"""The report of a simulated month beside the world's own truth: two simulated systems that fail on the way, read over
HTTP into Postgres, the inventory and the lists of an office imported, and every figure as the plan has it.

`tests.report_world` makes the summer of 2025, with meetings across the midnights that end a month and across that of
the reform; `conftrack.simulator.of_month` counts what was planned, and knows neither SQL nor the product.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import NAMESPACE_OID, uuid5

import aiohttp
import stamina
from aiohttp import web

from conftrack.collector import Collector
from conftrack.config import ReportConfig, Secret, SourceConfig
from conftrack.incidents.keeper import Incidents
from conftrack.inventory.asking import consent
from conftrack.inventory.headings import read_files
from conftrack.inventory.work import Work
from conftrack.model import Headcount, Origin, Page
from conftrack.report.keeper import Reports
from conftrack.report.model import Certificate, EndpointFigures, Figures, Report, Scope, Tree
from conftrack.simulator import (
    VIOLATIONS,
    Conference,
    Faults,
    Leg,
    Meeting,
    MonthFigures,
    Part,
    TrueIncident,
    World,
    of_month,
    pexip_app,
)
from conftrack.simulator.plan import micros, moment
from conftrack.simulator.province import DOMAIN, phu_tho
from conftrack.sources import http
from conftrack.sources.base import normalise_alias
from conftrack.sources.pexip import PexipSource
from conftrack.state import SourceState
from conftrack.storage import maintenance
from conftrack.storage.database import Database
from conftrack.storage.maintenance import Planned
from conftrack.storage.store import Store
from tests.report_world import (
    ABOVE_IT,
    ANCHOR,
    FIRST,
    REFORM,
    ROOT,
    SOURCES,
    TOLD,
    ZONE,
    Organisation,
    Summer,
    invitations,
    local,
    summer,
)

MONTHS = (date(2025, 6, 1), date(2025, 7, 1))
TREES: tuple[Tree, ...] = ("then", "today")
FAULTS = Faults.all(client_timeout=1.5, retry_after=0, most=6, malformed=0.01)
OVERLAP = timedelta(minutes=20)

Span = tuple[datetime, datetime]


# -- collecting it


class Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@dataclass
class Office:
    """A database, two simulated systems to fill it from, and the papers of those who run them."""

    database: Database
    world: Summer
    folder: Path
    clock: Clock
    urls: dict[str, str] = field(default_factory=dict)
    collectors: dict[str, Collector] = field(default_factory=dict)
    #: By source, of readings of history.
    readings: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.organisation = Organisation(self.world)
        self.store = Store(self.database.pool, ZONE)

    async def read(self, at: datetime, sources: Sequence[str] = SOURCES) -> None:
        """A cycle of readings at a moment; what fails is tried again at once."""
        self.clock.at = at
        for source in sources:
            collector = self.collectors[source]
            for stream in collector.source.streams:
                for _ in range(20):
                    result = await collector.catch_up(stream)
                    self.readings[source] += 1
                    self.failed[source] += result.error is not None
                    if result.error is None:
                        break
                else:
                    raise AssertionError(result.error)
        await self.collectors[sources[0]].derive()

    async def watch(self, at: datetime) -> None:
        """A live poll and a reading of history at a moment, of each system, whatever comes of it."""
        self.clock.at = at
        for source, collector in self.collectors.items():
            results = [await collector.poll(), *[await collector.catch_up(name) for name in collector.source.streams]]
            self.readings[source] += len(results)
            self.failed[source] += sum(result.error is not None for result in results)
        await self.collectors[SOURCES[0]].derive()

    async def take_headcounts(self) -> None:
        """What the sites reported, what cameras saw, and what was typed from lists."""
        for source, url in self.urls.items():
            async with aiohttp.ClientSession(url) as session, session.get("/headcounts.csv") as answer:
                lines = list(csv.DictReader(io.StringIO(await answer.text())))
            counts = tuple(
                Headcount(
                    room=line["room"], at=datetime.fromisoformat(line["at"]), people=int(line["people"]),
                    endpoint=normalise_alias(line["endpoint"]) or "", provenance=line["provenance"],  # type: ignore[arg-type]
                )
                for line in lines
            )  # fmt: skip
            page = Page(stream="headcount", origin=Origin.PUSH, observed_at=self.clock.at, headcounts=counts)
            await self.store.store(self.collectors[source]._source_id, page, now=self.clock.at)

    async def take_papers(self) -> None:
        """The organisation with its past, who was invited, and what work was planned."""
        self.organisation.files["invitations"] = invitations(self.world)
        paths = self.organisation.write(self.folder)
        rows = read_files(paths, ("units", "endpoints", "moves", "aliases", "invitations"))
        work = Work(
            self.database.pool, ZONE, clock=self.clock, actor="văn thư", say=lambda _: None, consent=consent(given=True)
        )
        assert await work.import_rows(rows, replaces=False)
        async with self.database.pool.acquire() as connection, connection.transaction():
            for one in (work for meeting in self.world.meetings[None] for work in meeting.maintenance):
                since, until = moment(one.start), moment(one.end)
                planned = Planned(
                    scope="endpoint" if one.endpoint else "org", of=one.endpoint or one.org or "", starts_at=since,
                    ends_at=until, expires_at=until, author=one.author, reason=one.reason,
                )  # fmt: skip
                assert await maintenance.add(connection, planned, [(since, until)], self.clock.at) is not None
        await self.store.refresh()
        await Incidents(self.database.pool, ZONE).refresh()

    def reports(self) -> Reports:
        return Reports(self.database.pool, timezone=ZONE, clock=self.clock, config=ReportConfig(), sources=SOURCES)

    def truth(self, month: date, source: str | None, **part: Any) -> MonthFigures:
        """Of a unit on a tree; or of one `site`."""
        counted = self.organisation.only(part["site"]) if "site" in part else self.organisation.part(**part)
        return of_month(
            self.world.meetings[source], self.world.incidents[source], since=month,
            until=(month + timedelta(days=31)).replace(day=1), timezone=ZONE, part=counted,
        )  # fmt: skip


@asynccontextmanager
async def office(
    database: Database, folder: Path, world: Summer, *, faults: Faults = FAULTS, keeps: int = 10_000,
    down: Sequence[Span] = (),
) -> AsyncIterator[Office]:  # fmt: skip
    """With both systems up and nothing read. They keep so many conferences, and answer nothing in times of `down`."""
    opened = Office(database, world, folder, Clock(local(FIRST)))
    await opened.store.adopt_timezone()
    incidents = Incidents(database.pool, ZONE)
    apps = []
    async with AsyncExitStack() as stack:
        stack.enter_context(patch.object(http, "BURST", 10**6))
        stack.enter_context(stamina.set_testing(True, attempts=2, cap=True))
        for source in SOURCES:
            app = pexip_app(world.worlds[source], opened.clock, faults=faults, rate_limit=10**6, retention=keeps)
            app.middlewares.insert(0, _answering(opened.clock, down))
            apps.append(app)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            opened.urls[source] = f"http://127.0.0.1:{runner.addresses[0][1]}"
            config = SourceConfig(
                name=source, kind="pexip", url=opened.urls[source], username="reporter", password=Secret("nguoi-xem"),
                overlap=OVERLAP, timeout=timedelta(seconds=1.5), live_interval=timedelta(minutes=20),
            )  # fmt: skip
            pexip = PexipSource(config, clock=opened.clock, observe=lambda **_: None)
            opened.collectors[source] = Collector(
                config, await stack.enter_async_context(pexip), await opened.store.register(source, "pexip"),
                store=opened.store, incidents=incidents, clock=opened.clock,
                state=SourceState(name=source, kind="pexip", live_interval=config.live_interval),
            )  # fmt: skip
        yield opened
    assert [app[VIOLATIONS] for app in apps] == [[], []]


def _answering(clock: Clock, down: Sequence[Span]) -> Any:
    @web.middleware
    async def answer(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith("/api/") and any(since <= clock() < until for since, until in down):
            raise web.HTTPServiceUnavailable
        return await handler(request)

    return answer


def _readings() -> Iterator[datetime]:
    """Each week, in the middle of whatever crosses the midnight of a month's end, and after everything."""
    weeks = [local(FIRST) + timedelta(days=7 * n) for n in range(11)]
    return iter(sorted([*weeks, *(local(month, "00:10") for month in (*MONTHS, date(2025, 8, 1))), ANCHOR]))


# -- beside the truth


def wrong(truth: MonthFigures, said: Figures | EndpointFigures, *, whole: bool = False) -> Iterator[str]:
    """A line for each figure that is not the truth. What a record does not have, it need not say; when meetings begin
    is said of the whole only."""
    for name in MonthFigures.__struct_fields__:
        true = getattr(truth, name)
        if name == "meetings_by_hour":
            if not whole or not isinstance(said, Figures):
                continue
            ours: Any = {(one.weekday, one.hour): one.meetings for one in said.heat}
        elif not hasattr(said, name):
            continue
        else:
            ours = getattr(said, name)
        if isinstance(ours, tuple):
            ours = {part.name: part.count for part in ours if part.count}
        same = abs(ours - true) < 1e-3 if isinstance(true, float) else ours == true
        if not same:
            yield f"{name} is {ours}, in truth {true}"


def differences(opened: Office, month: date, tree: Tree, report: Report) -> Iterator[str]:
    """Everything in a report that is not as the world knows it."""
    units = {unit.code for unit in report.units}
    shared = {ROOT, ABOVE_IT, *(unit.parent for unit in report.units if unit.parent is not None)}
    for source in (None, *SOURCES):
        for unit in (None, *opened.organisation.units()):
            for alone in (False, True) if unit in shared else (False,):
                truth = opened.truth(month, source, unit=unit, tree=tree, alone=alone)
                there = unit is None or unit in units
                said = report.of(Scope(source=source, unit=unit, alone=alone)) if there else Figures()
                of = f"{month:%Y-%m} {tree} {source} {unit}{' alone' if alone else ''}"
                yield from (f"{of}: {line}" for line in wrong(truth, said, whole=unit is None))
                if said.incidents != said.incidents_closed:
                    yield f"{of}: {said.incidents - said.incidents_closed} incidents are open"
    for site in report.endpoints:
        truth = opened.truth(month, None, site=site.code)
        yield from (f"{month:%Y-%m} {tree} {site.code}: {line}" for line in wrong(truth, site))
        belongs = opened.organisation.way(site.code, report.until - timedelta(days=1), tree)
        if site.unit != belongs[0]:
            yield f"{month:%Y-%m} {tree} {site.code}: is of {site.unit}, in truth of {belongs[0]}"


def certificates(report: Report) -> dict[str, Certificate]:
    return {one.source: one for one in report.certificates}


async def test_every_figure_of_a_reformed_summer_is_the_truth_of_every_unit_on_both_trees(
    database: Database, tmp_path: Path
) -> None:
    """Of each system and of both, of the province and every unit that ever was in it, alone and with those below, and
    of every endpoint; though the systems fail in every way, and were read in the middle of the night."""
    async with office(database, tmp_path, summer(7)) as opened:
        for at in _readings():
            await opened.read(at)
        await opened.take_headcounts()
        await opened.take_papers()

        reports = {
            (month, tree): await opened.reports().month(month, tree=tree) for month in MONTHS for tree in TREES
        }  # fmt: skip
        told = [line for (month, tree), report in reports.items() for line in differences(opened, month, tree, report)]

        assert not told, f"{len(told)} figures:\n" + "\n".join(told[:40])
        for (month, _), report in reports.items():
            for source, one in certificates(report).items():
                assert one.source_total == one.stored_total
                assert (one.short_windows, one.unseen_seconds, one.read_until) == (0, 0, None)
                assert one.rejected > 0, f"{source} told nothing that could not be read in {month}"
        polls, failures = await database.pool.fetchrow("select sum(polls), sum(failures) from conftrack.run") or (0, 0)
        assert (polls, failures) == (opened.readings.total(), opened.failed.total())
        assert opened.failed.total() > 0


def test_the_summer_has_what_is_hard() -> None:
    """So that none of it is equal only because it is nothing: figures, midnights, trees and head counts."""
    world = summer(7)
    organisation = Organisation(world)
    for month in MONTHS:
        until = (month + timedelta(days=31)).replace(day=1)

        def truth(part: Part, incidents: Sequence[TrueIncident] = ()) -> MonthFigures:
            return of_month(
                world.meetings[None], incidents, since=month, until=until, timezone=ZONE, part=part  # noqa: B023
            )  # fmt: skip

        whole = truth(organisation.part(None, "then"), world.incidents[None])
        rare = {"brief"}
        assert [n for n in MonthFigures.__struct_fields__ if not getattr(whole, n) and n not in rare] == []
        assert whole.attendees_by_provenance.keys() == {"reported", "people_count", "imported", "connections"}
        assert whole.incidents_by_kind.keys() == set(TOLD)
        # Some midnight in it is crossed by a meeting, by calls before one, and by calls in vain.
        for midnight in (micros(local(month)), micros(local(until))):
            over = [m for m in world.meetings[None] if m.start < midnight < m.end]
            joins = [min((leg.joined or 0 for leg in m.legs() if leg.counts), default=None) for m in over]
            assert any(at is not None and at < midnight for at in joins)
            assert any(at is not None and at >= midnight for at in joins)
            assert None in joins
    told: Counter[tuple[str, ...]] = Counter()
    for meeting in world.meetings[None]:
        heads: defaultdict[str, set[str]] = defaultdict(set)
        for head in meeting.heads:
            heads[head.identity].add(head.provenance)
        told.update(tuple(sorted(kinds)) for kinds in heads.values())
    everything = ("imported", "people_count", "reported")
    assert {
        everything,
        ("imported", "people_count"),
        ("imported", "reported"),
        ("people_count", "reported"),
    } < told.keys()
    ways = [organisation.way(code, REFORM - timedelta(days=1), "then") for code in world.sites]
    assert {len(way) for way in ways} == {2, 3}
    assert len({way[0] for way in ways}) > 50


# -- a morning that nobody saw

DAY = date(2025, 7, 10)
GAP = local(DAY, "08:00"), local(DAY, "12:45")
LAST_LOOK = "07:50"


def _held(room: str, since: str, until: str, invited: Sequence[str], there: dict[str, str]) -> Meeting:
    """Who came at which time, and stayed to the end."""
    start, end = (micros(local(DAY, clock)) for clock in (since, until))
    legs = [
        Leg(
            id=str(uuid5(NAMESPACE_OID, f"{room} {code}")), call=f"{room} {code}", identity=f"{code.lower()}@{DOMAIN}",
            shown=f"{code.lower()}@{DOMAIN}", name=code, endpoint=code, placed=micros(local(DAY, at)),
            joined=micros(local(DAY, at)), left=end, end_class="ended", reason="Conference host ended the conference",
        )
        for code, at in there.items()
    ]  # fmt: skip
    record = Conference(id=str(uuid5(NAMESPACE_OID, room)), name=room, start=start, end=end, legs=legs)
    return Meeting(room=room, conferences=[record], heads=[], invited=tuple(invited), scheduled=(start, end))


def _morning() -> tuple[str, Summer, list[Meeting]]:
    """Five meetings of the sites of a commune: its code, what happened, and what of it could be known."""
    commune = [unit.code for unit in phu_tho().units if unit.kind in ("commune", "ward")][3]
    sites = [site.code for site in phu_tho().at(commune)][:5]
    early = {sites[0]: "07:30", sites[1]: "07:31", sites[2]: "07:30"}
    before = _held("trước", "06:00", "06:40", sites, dict.fromkeys(sites[:4], "06:00"))
    across = _held("qua", "07:30", "09:30", sites, early | {sites[3]: "08:40"})
    lost = _held("mất", "08:45", "09:15", sites, dict.fromkeys(sites[:2], "08:45"))
    kept = _held("còn", "11:30", "12:00", sites, dict.fromkeys(sites[:3], "11:30"))
    after = _held("sau", "14:00", "14:30", sites, dict.fromkeys(sites, "14:00"))
    happened = World.staged([before, across, lost, kept, after], anchor=ANCHOR)
    known = [before, _held("qua", "07:30", LAST_LOOK, sites, early), kept, after]
    return commune, Summer({SOURCES[0]: happened, SOURCES[1]: World.staged([], anchor=ANCHOR)}), known


async def test_what_a_system_forgot_while_nobody_could_see_it_is_unknown(database: Database, tmp_path: Path) -> None:
    """It did not answer for hours, and of what ended meanwhile it kept only the last conference. What was seen before
    is no less than it was; who may have come unseen is not absent, and what may have been held was not called off."""
    commune, world, known = _morning()
    month, name = MONTHS[1], SOURCES[0]
    async with office(database, tmp_path, world, faults=Faults(), keeps=1, down=[GAP]) as opened:
        await opened.take_papers()
        for minutes in range(0, 600, 20):
            await opened.watch(local(DAY, "05:30") + timedelta(minutes=minutes))
        readings, failed = opened.readings.copy(), opened.failed.copy()
        await opened.watch(ANCHOR)

        for tree in TREES:
            report = await opened.reports().month(month, tree=tree)
            for unit in (None, ROOT, commune):
                truth = of_month(
                    known, [], since=month, until=date(2025, 8, 1), timezone=ZONE,
                    part=opened.organisation.part(unit, tree),
                )  # fmt: skip
                said = report.of(Scope(source=name, unit=unit))
                judged = ("absent ", "incident")
                assert [line for line in wrong(truth, said) if not line.startswith(judged)] == []
                assert (truth.absent, said.absent, said.unknown) == (5, 1, 4)
                assert said.participation == 15 / 16
            assert {(one.room, one.presence) for one in report.absences} == {
                ("trước", "absent"), ("qua", "unknown"), ("còn", "unknown"),
            }  # fmt: skip
            assert all(site.unseen_seconds > 0 and site.availability is not None for site in report.endpoints)

        # Of the one that was lost nobody is called absent; of the one before and after, who was seen not to be there.
        rows = await database.pool.fetch("select endpoint, opened_at, closed_at from conftrack.incidents")
        assert all(row["closed_at"] <= local(DAY, LAST_LOOK) for row in rows), rows
        (certificate,) = (one for one in report.certificates if one.source == name)
        before_all = (local(DAY, "06:00") - local(month)).total_seconds()  # nobody looked before the first meeting
        missed = (local(DAY, "12:00") - local(DAY, LAST_LOOK)).total_seconds()
        assert certificate.unseen_seconds == before_all + missed
        assert (certificate.polls, certificate.failed_polls) == (readings[name], failed[name])
        assert failed[name] == 4 * 14
        # Of each record that it told of, there is one; of those that it forgot it tells no more.
        assert certificate.source_total == certificate.stored_total
        assert (certificate.short_windows, certificate.read_until) == (0, None)
        (other,) = (one for one in report.certificates if one.source != name)
        assert (other.unseen_seconds, other.failed_polls) == (before_all, failed[other.source])
