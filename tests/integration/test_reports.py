"""The monthly report beside a second computation of it, which knows no SQL and shares nothing with the first.

`tests.report_oracle` works every figure out anew from the facts, in the plainest Python. Times lie on a coarse grid
around midnights: of month ends, of the 15th, and of the day on which the organisation was reformed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftrack.config import PrivacyConfig, ReportConfig
from conftrack.incidents.keeper import Incidents
from conftrack.model import (
    EndClass,
    Headcount,
    IncidentKind,
    LegRecord,
    MeetingRecord,
    Origin,
    Owner,
    Page,
    Provenance,
    Rejected,
)
from conftrack.report.keeper import ReportError, Reports
from conftrack.report.model import Addendum, Earlier, Figures, Report, Scope, Tree
from conftrack.storage import inventory, invitations, maintenance
from conftrack.storage.database import Database
from conftrack.storage.inventory import Entry, Inventory, Site, Unit
from conftrack.storage.invitations import Invitation
from conftrack.storage.keeping import Keeping
from conftrack.storage.maintenance import Planned
from conftrack.storage.maintenance import Scope as Part
from conftrack.storage.store import Outcome, Store
from tests import report_oracle, views
from tests.facts import Facts, Span

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
REFORM = date(2025, 7, 1)
SOURCES = ("one", "two")
TREES: tuple[Tree, ...] = ("then", "today")


def local(day: date, clock: str = "00:00") -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), ZONE).astimezone(UTC)


#: Meetings begin at one of these or soon after: before a midnight that ends a month, or on a plain day.
ANCHORS = tuple(
    local(date(2025, month, day), clock)
    for month, day, clock in (
        (5, 31, "23:40"), (6, 14, "23:30"), (6, 20, "08:00"), (6, 30, "23:30"), (7, 1, "09:00"), (7, 10, "14:00"),
        (7, 14, "23:50"), (7, 31, "23:00"),
    )
)  # fmt: skip
#: When the report is made: months later, in the middle of a month after the reform, and before it.
MADE = (local(date(2025, 8, 20), "09:00"), local(date(2025, 7, 20), "12:30"), local(date(2025, 6, 25), "18:00"))

#: Calendar months, and from the 15th to the 14th.
MONTHS = [(date(2025, month, 1), first_day) for month, first_day in ((6, 1), (7, 1), (6, 15), (7, 15), (8, 15))]


def days(month: date, first_day: int) -> tuple[date, date]:
    """The local days [since, until) of a month, which is named after that in which it ends."""
    after = (month + timedelta(days=31)).replace(day=1)
    before = month - timedelta(days=1)
    return (month, after) if first_day == 1 else (before.replace(day=first_day), month.replace(day=first_day))


UNITS = (
    Unit(code="P", name="Tỉnh"),
    # Districts went without a successor.
    Unit(code="D1", name="Huyện Một", parent="P", level=1, valid_to=REFORM),
    Unit(code="D2", name="Huyện Hai", parent="P", level=1, valid_to=REFORM),
    # Two communes merged, one was split, and one moved.
    Unit(code="C1", name="Xã Một", parent="D1", level=2, valid_to=REFORM, successors=("N1",)),
    Unit(code="C2", name="Xã Hai", parent="D1", level=2, valid_to=REFORM, successors=("N1",)),
    Unit(code="C3", name="Xã Ba", parent="D2", level=2, valid_to=REFORM, successors=("N2", "N3")),
    Unit(code="N1", name="Xã Mới Một", parent="P", level=1, valid_from=REFORM),
    Unit(code="N2", name="Xã Mới Hai", parent="P", level=1, valid_from=REFORM),
    Unit(code="N3", name="Xã Mới Ba", parent="P", level=1, valid_from=REFORM),
    Unit(code="S", name="Phòng", parent="D1", level=2, valid_to=REFORM),
    Unit(code="S", name="Sở", parent="P", level=1, valid_from=REFORM),
    # One stands below a unit that has endpoints of its own.
    Unit(code="V", name="Thôn", parent="C1", level=3, valid_to=REFORM),
    Unit(code="V", name="Thôn", parent="N1", level=2, valid_from=REFORM),
)
SITES = (
    Site(code="E1", name="Một", org="N1", seats=80, aliases=("e1@vc", "0211")),
    Site(code="E2", name="Hai", org="N1", service_hours="07:00-17:30"),
    Site(code="E3", name="Ba", org="N2", service_hours="22:00-06:00", carrier="VNPT"),
    Site(code="E4", name="Bốn", org="N3", carrier="VNPT"),
    Site(code="E5", name="Năm", org="S", area="Đông"),
    Site(code="E6", name="Sáu", org="P"),
    Site(code="E7", name="Bảy", org="V", service_hours="00:00-24:00"),
    # Retired in the middle of a month; of no unit; and left in the units of before the reform.
    Site(code="E8", name="Tám", org="P", retired_on=date(2025, 7, 8)),
    Site(code="E9", name="Chín"),
    Site(code="E10", name="Mười", org="C2"),
    Site(code="E11", name="Mười một", org="C3"),
)
#: Where the inventory says it was before: the first day in another unit, and the unit.
FORMER = {"E1": ((REFORM, "C1"),), "E2": ((REFORM, "C2"),), "E3": ((date(2025, 6, 15), "S"), (REFORM, "C3"))}
CODES = [site.code for site in SITES]
CALLERS = ["e1", "e1@vc", "0211", "e2", "e3", "e7", "e10", "stranger@x", *map(str.casefold, CODES)]


@dataclass(frozen=True)
class Failure:
    """An incident that is written straight into the table."""

    source: str
    endpoint: str
    kind: IncidentKind
    end_class: EndClass | None
    owner: Owner | None
    opened_at: datetime
    closed_at: datetime | None
    withdrawn: bool


@dataclass(frozen=True)
class World:
    """What is told, and what people say beside it."""

    month: date
    first_day: int
    now: datetime
    pages: tuple[tuple[str, Page], ...]
    invited: tuple[Invitation, ...]
    invited_at: datetime
    blind: tuple[tuple[str, Span], ...]
    planned: tuple[Planned, ...]
    failures: tuple[Failure, ...]
    former: bool


@st.composite
def worlds(draw: st.DrawFn) -> World:
    month, first_day = draw(st.sampled_from(MONTHS))
    since, until = days(month, first_day)
    now = draw(st.sampled_from([made for made in MADE if made > local(since) + timedelta(days=1)]))

    def moments(anchors: Sequence[datetime]) -> st.SearchStrategy[datetime]:
        minutes = st.sampled_from([0, 0, 10, 20, 30, 31, 60])
        return st.builds(lambda at, later: at + timedelta(minutes=later), st.sampled_from(anchors), minutes)

    past = [anchor for anchor in ANCHORS if anchor < now - timedelta(days=1)]
    begins = moments(past + 3 * [anchor for anchor in past if local(since) <= anchor < local(until)])
    pages: list[tuple[str, Page]] = []
    starts = [draw(begins) for _ in range(draw(st.sampled_from([2, 3, 4])))]
    for number, start in enumerate(starts):
        pages += _meeting(draw, f"m{number}", start)
    near = st.sampled_from(starts) | begins  # of a meeting, mostly
    blind = [
        (draw(st.sampled_from(["one", "two", "two"])), (since, since + timedelta(minutes=draw(BLIND))))
        for since in draw(st.lists(near, max_size=2, unique=True))
    ]
    return World(
        month=month,
        first_day=first_day,
        now=now,
        pages=tuple(draw(st.permutations(pages))),
        invited=tuple(
            _invitation(draw, f"i{n}", near.map(lambda at: at + timedelta(minutes=5)) | near | moments(ANCHORS))
            for n in range(draw(st.sampled_from([1, 2, 2, 3])))
        ),
        invited_at=draw(st.sampled_from([local(date(2025, 1, 1)), local(REFORM)])),
        blind=tuple(blind),
        planned=tuple(_planned(draw, near) for _ in range(draw(st.integers(0, 2)))),
        failures=tuple(_failure(draw, near) for _ in range(draw(st.integers(0, 3)))),
        former=draw(st.booleans()),
    )


ROOMS = st.sampled_from(["hall", "hall", "hall", "board"])
LATE = st.sampled_from([0, 0, 0, -5, 3, 6, 30])
STAYS = st.sampled_from([0, 1, 4, 5, 6, 30, 60, 60, 100, 1500])
BLIND = st.sampled_from([1, 4, 20, 600])
GAPS = st.sampled_from([0, 3, 5, 6, 20])
ENDS: st.SearchStrategy[EndClass] = st.sampled_from(
    ["no_answer", "unreachable", "negotiation", "capacity", "busy", "declined", "auth", "noise"]
)
COUNTED: st.SearchStrategy[Provenance] = st.sampled_from(["reported", "people_count", "imported"])


#: A site by one of its addresses, mostly; a stranger; a person; and a caller that shows nothing.
WHO = st.sampled_from(
    [
        *[LegRecord(external_id="", room="", identity=alias) for alias in CALLERS],
        LegRecord(external_id="", room="", identity="Lê Văn Tám", personal=True),
        LegRecord(external_id="", room=""),
    ]
)


def _meeting(draw: st.DrawFn, name: str, begin: datetime) -> list[tuple[str, Page]]:
    """One or two records of a room, with what connected to them."""
    source, room = draw(st.sampled_from(SOURCES)), draw(ROOMS)
    nodes = [f"{name}-{node}" for node in range(draw(st.sampled_from([1, 1, 2])))]
    legs: list[LegRecord] = []

    def leg(since: datetime | None, until: datetime | None, who: LegRecord, end: EndClass | None = None) -> None:
        legs.append(
            msgspec.structs.replace(
                who, external_id=f"{name}-{len(legs)}", room=room, meeting=draw(st.sampled_from(nodes)),
                joined_at=since, left_at=until, end_class=end,
            )
        )  # fmt: skip

    for _ in range(draw(st.sampled_from([1, 2, 4, 6]))):
        who = draw(WHO)
        since = begin + timedelta(minutes=draw(LATE))
        until = since + timedelta(minutes=draw(STAYS))
        fate = draw(
            st.sampled_from(["up"] * 6 + ["redial", "redial", "copy", "recorder", "attempt", "dropped", "open"])
        )
        if fate == "attempt":
            leg(None, until, who, draw(ENDS))
        elif fate == "recorder":
            leg(since, until, msgspec.structs.replace(who, excluded="recorder"))
        elif fate == "open":
            leg(since, None, who)
        else:
            leg(since, until, who, "dropped" if fate == "dropped" else "left")
        if fate == "redial":
            again = until + timedelta(minutes=draw(GAPS))
            leg(again, again + timedelta(minutes=draw(STAYS)), who, "left")
        if fate == "copy":
            leg(since + timedelta(seconds=5), until, who, "left")
    last = max((one.left_at for one in legs if one.left_at is not None), default=begin + timedelta(minutes=10))
    listed = [
        MeetingRecord(external_id=node, room=room, title=draw(st.sampled_from([None, "Giao ban"])), started_at=begin,
                      ended_at=last)
        for node in nodes
    ]  # fmt: skip
    counts = [
        Headcount(
            room=room, at=begin + timedelta(minutes=draw(st.sampled_from([0, 5, 40]))),
            endpoint=draw(st.sampled_from(CALLERS)),
            people=draw(st.sampled_from([0, 1, 7, 40])), provenance=draw(COUNTED),
        )
        for _ in range(draw(st.sampled_from([0, 2, 4])))
    ]  # fmt: skip
    # "one" tells a history; "two" only what it pushes while it goes on.
    stream, origin = ("history", Origin.HISTORY) if source == "one" else ("push", Origin.PUSH)
    pages = [Page(stream=stream, origin=origin, observed_at=last, meetings=tuple(listed))]
    pages += [Page(stream=stream, origin=origin, observed_at=last, legs=(one,)) for one in legs]
    if counts:
        pages.append(Page(stream="headcount", origin=Origin.PUSH, observed_at=last, headcounts=tuple(counts)))
    return [(source, page) for page in pages]


GUESTS = (["E1", "E2", "E3"], ["E1", "E7", "E10"], ["E2", "E5", "E9", "E11"], ["E1"], CODES)


def _invitation(draw: st.DrawFn, uid: str, begins: st.SearchStrategy[datetime]) -> Invitation:
    start = draw(st.none() | begins | begins | begins)
    lasts = draw(st.sampled_from([None, 20, 60, 120]))
    excuses = st.sampled_from([None, None, "mất điện"])
    return Invitation(
        uid=uid, room=draw(ROOMS), source=draw(st.sampled_from([None, "one", "two"])),
        title=draw(st.sampled_from([None, "Họp tỉnh"])), starts_at=start,
        ends_at=start + timedelta(minutes=lasts) if start is not None and lasts is not None else None,
        expected={code: draw(excuses) for code in draw(st.sampled_from(GUESTS))},
    )  # fmt: skip


def _planned(draw: st.DrawFn, begins: st.SearchStrategy[datetime]) -> Planned:
    scopes: list[tuple[Part, str]] = [
        ("endpoint", "E1"), ("org", "N1"), ("org", "S"), ("carrier", "VNPT"), ("area", "Đông"),
    ]  # fmt: skip
    scope, of = draw(st.sampled_from(scopes))
    since = draw(begins)
    until = since + timedelta(minutes=draw(st.sampled_from([30, 600, 3000])))
    return Planned(
        scope=scope, of=of, starts_at=since, ends_at=until, expires_at=until, author="trực", reason="thay thiết bị"
    )


def _failure(draw: st.DrawFn, begins: st.SearchStrategy[datetime]) -> Failure:
    kinds: list[tuple[IncidentKind, EndClass | None]] = [
        ("dropped", "dropped"), ("connect_failed", "unreachable"), ("connect_failed", "capacity"), ("quality", None),
        ("flapping", "dropped"), ("absent", None), ("unregistered", None),
    ]  # fmt: skip
    kind, end_class = draw(st.sampled_from(kinds))
    opened = draw(begins)
    lasted = draw(st.sampled_from([0, 10, 90, 3000, *([None] if kind == "unregistered" else [])]))
    return Failure(
        source=draw(st.sampled_from(SOURCES)), endpoint=draw(st.sampled_from(CODES)), kind=kind, end_class=end_class,
        owner=draw(st.sampled_from([None, None, "power", "carrier"])), opened_at=opened,
        closed_at=opened + timedelta(minutes=lasted) if lasted is not None else None,
        withdrawn=draw(st.sampled_from([False, False, False, True])),
    )  # fmt: skip


# -- the same world in the database, and as the oracle knows it


async def told(world: World, database: Database) -> report_oracle.Known:
    """Stores a world and derives everything; what the oracle is given is what was told, and the table of incidents."""
    pool = database.pool
    await views.empty(pool)
    store, facts = Store(pool, ZONE), Facts(ZONE)
    past = FORMER if world.former else {}
    sites = [msgspec.structs.replace(site, former=past.get(site.code, ())) for site in SITES]
    await inventory.apply(pool, Inventory(), Inventory.of(UNITS, sites))
    facts.inventory.put([unit for unit in UNITS if unit.valid_to is None], ())
    facts.inventory.put((), SITES)
    ids = {source: await store.register(source, "test") for source in SOURCES}
    for source, page in world.pages:
        facts.tell(source, page)
        await store.store(ids[source], page, now=world.now)
    read = Page(stream="history", origin=Origin.HISTORY, observed_at=world.now, position=world.now)
    await store.store(ids["one"], read, now=world.now)
    for source, (since, until) in world.blind:
        gap = Page(stream="live", origin=Origin.LIVE, observed_at=until, position=until, blind_since=since)
        await store.store(ids[source], gap, now=world.now)
    for source in SOURCES:
        seen = Page(stream="live", origin=Origin.LIVE, observed_at=world.now, position=world.now)
        await store.store(ids[source], seen, now=world.now)
    async with pool.acquire() as connection, connection.transaction():
        entry = Entry(at=world.invited_at, actor="văn thư", action="invite", detail={})
        await invitations.change(connection, {}, {one.uid: one for one in world.invited}, entry)
        for one in world.planned:
            await maintenance.add(connection, one, [(one.starts_at, one.ends_at)], world.now)
    await store.refresh()
    await Incidents(pool, ZONE).refresh()
    for failure in world.failures:
        await _write(pool, failure)
    covered = {
        ("endpoint", "E1"): ["E1"], ("org", "N1"): ["E1", "E2", "E7"], ("org", "S"): ["E5"],
        ("carrier", "VNPT"): ["E3", "E4"], ("area", "Đông"): ["E5"],
    }  # fmt: skip
    work: defaultdict[str, list[Span]] = defaultdict(list)
    for one in world.planned:
        for code in covered[one.scope, one.of]:
            work[code].append((one.starts_at, one.ends_at))
    return report_oracle.Known(
        facts=facts, now=world.now, units=UNITS, sites=SITES, former=past,
        invitations=sorted(world.invited, key=lambda one: one.uid), invited_at=world.invited_at,
        incidents=await _incidents(pool), maintenance=work, sources=SOURCES,
        unseen={"two": [gap for source, gap in world.blind if source == "two"]},
    )  # fmt: skip


async def _write(pool: asyncpg.Pool[asyncpg.Record], one: Failure) -> None:
    await pool.execute(
        """
        insert into conftrack.incident
          (source_id, endpoint_id, kind, end_class, owner, opened_at, closed_at, day, withdrawn_at)
        select s.source_id, e.endpoint_id, $3, $4, $5, $6, $7, $8,
          case when $9 then $6::timestamptz + interval '1 hour' end
        from conftrack.source s, conftrack.endpoint e where s.name = $1 and e.code = $2
        """,
        one.source, one.endpoint, one.kind, one.end_class, one.owner, one.opened_at, one.closed_at,
        one.opened_at.astimezone(ZONE).date(), one.withdrawn,
    )  # fmt: skip


async def _incidents(pool: asyncpg.Pool[asyncpg.Record]) -> list[report_oracle.Incident]:
    rows = await pool.fetch(
        """
        select s.name as source, e.code as endpoint, i.kind, i.end_class, i.owner, i.opened_at, i.closed_at, i.day,
          i.withdrawn_at is not null as withdrawn
        from conftrack.incident i
        left join conftrack.source s on s.source_id = i.source_id
        left join conftrack.caller k on k.caller_id = i.caller_id
        left join conftrack.endpoint e on e.endpoint_id = coalesce(i.endpoint_id, k.endpoint_id)
        """
    )
    return [report_oracle.Incident(**dict(row)) for row in rows]


def reports(database: Database, now: datetime, *, first_day: int = 1, sources: Sequence[str] = SOURCES) -> Reports:
    config = ReportConfig(first_day=first_day)
    return Reports(database.pool, timezone=ZONE, clock=lambda: now, config=config, sources=sources)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(world=worlds())
async def test_every_figure_of_a_month_is_what_the_definitions_say(world: World, database: Database) -> None:
    """Whatever was told in whatever order: of every scope, endpoint, absence and meeting, on the tree of each day and
    on today's, in calendar months and from the 15th, each figure is as defined."""
    known = await told(world, database)
    asked = reports(database, world.now, first_day=world.first_day)
    for tree in TREES:
        report = await asked.month(world.month, tree=tree)
        month = report_oracle.Month(known, days(world.month, world.first_day), tree)

        wrong = report_oracle.differences(report_oracle.of_report(report), month.told())
        wrong += _compared(known, report.month_before, world.first_day, tree)
        assert not wrong, "\n".join([f"{world.month:%Y-%m} from the {world.first_day}, {tree}:", *wrong])
        if world.first_day == 1 and tree == "today" and world.now >= local(REFORM):  # the rollups follow the inventory
            assert await _unlike_usage(database.pool, report, with_incidents=not world.failures) == []


def _compared(known: report_oracle.Known, before: Earlier, first_day: int, tree: Tree) -> list[str]:
    """What is wrong with the month that a month is compared with: it is not known whole if nothing was seen before."""
    since, until = days(before.month, first_day)
    first = min((m.day(ZONE) for m in known.facts.joined()[0] if m.name is not None), default=None)
    if first is None or first > since or known.begin(until) > known.now:
        return [] if before.figures is None else [f"{before.month:%Y-%m} is not known whole"]
    wanted = report_oracle.Month(known, (since, until), tree).told()
    scopes = {key: row for key, row in wanted.items() if key[0] == "scope" and key[1] is None and not key[3]}
    there: report_oracle.Told = {("scope", None, one.scope.unit, False): _plain(one.figures) for one in before.units}
    there["scope", None, None, False] = _plain(before.figures)
    return [f"{before.month:%Y-%m} {line}" for line in report_oracle.differences(there, scopes)]


def _plain(figures: Figures | None) -> report_oracle.Row:
    assert figures is not None
    return report_oracle.plain(figures)


#: Where the rollups follow the inventory and a report does not: endpoints that were left in units that are no more.
ELSEWHERE = {"C2", "C3", "D1", "D2", "N1"}


async def _unlike_usage(
    pool: asyncpg.Pool[asyncpg.Record], report: Report, *, with_incidents: bool
) -> list[tuple[Scope, str]]:
    """What the rollup of the month says otherwise than the report."""
    found = []
    rows = await pool.fetch("select * from conftrack.usage_monthly where month = $1", report.month)
    for row in rows:
        figures = dict(row)
        scope = Scope(source=figures.pop("source"), unit=figures.pop("org"))
        if row["org"] not in ELSEWHERE:
            said = report.of(scope)
            names = figures.keys() - ({"month"} if with_incidents else {"month", "incidents"})
            found += [(scope, name) for name in names if getattr(said, name) != pytest.approx(figures[name])]
    told = {(row["source"], row["org"]) for row in rows}
    found += [
        (s.scope, "legs")
        for s in report.figures
        if s.figures.legs
        and not s.scope.alone
        and (s.scope.source, s.scope.unit) not in told
        and s.scope.unit not in ELSEWHERE
    ]
    return found


# -- one month, by hand


def hour(day: int, clock: str) -> datetime:
    return local(date(2025, 6, day), clock)


def stay(name: str, who: str, since: datetime, minutes: float, room: str = "hall") -> LegRecord:
    return LegRecord(
        external_id=name, room=room, meeting=f"{room}-{since:%d}", identity=who, joined_at=since,
        left_at=since + timedelta(minutes=minutes), end_class="left",
    )  # fmt: skip


def page(*legs: LegRecord, stream: str = "history", origin: Origin = Origin.HISTORY) -> Page:
    return Page(stream=stream, origin=origin, observed_at=MADE[0], legs=legs)


JUNE = date(2025, 6, 1)
MORNING = hour(20, "08:00")
INVITED = Invitation(
    uid="i0", room="hall", title="Giao ban", starts_at=MORNING, ends_at=MORNING + timedelta(hours=1),
    expected={"E1": None, "E2": None, "E5": "mất điện"},
)  # fmt: skip
PLAIN = World(
    month=JUNE, first_day=1, now=MADE[0], invited=(INVITED,), invited_at=local(date(2025, 1, 1)), blind=(), planned=(),
    failures=(), former=True,
    pages=((
        "one",
        page(stay("l0", "e1", MORNING, 60), stay("l1", "e6", MORNING, 50), stay("l2", "e6", hour(2, "09:00"), 5)),
    ),),
)  # fmt: skip


async def test_a_closed_month_stands_and_late_facts_become_an_addendum(database: Database) -> None:
    """What comes late changes nothing that was signed; an addendum says exactly which figures differ, and once."""
    known = await told(PLAIN, database)
    asked = reports(database, PLAIN.now)
    closed = await asked.close(JUNE, "an")
    before = report_oracle.Month(known, days(JUNE, 1), "then").told()

    late = page(stay("late", "e2", MORNING + timedelta(minutes=2), 40))
    known.facts.tell("one", late)
    store = Store(database.pool, ZONE)
    await store.store(await store.register("one", "test"), late, now=PLAIN.now)
    await store.refresh()
    await Incidents(database.pool, ZONE).refresh()
    known.incidents = await _incidents(database.pool)

    standing = await asked.standing(JUNE)
    assert standing == closed, "nothing was signed again"
    addendum = await asked.amend(JUNE, "vy")
    assert addendum is not None
    after = report_oracle.Month(known, days(JUNE, 1), "then").told()
    assert _changes(addendum) == _difference(before, after)
    assert _changes(addendum)["E2", "late"] == (0, 1)
    assert report_oracle.differences(report_oracle.of_report(addendum.report), after) == []
    assert await asked.amend(JUNE, "vy") is None
    standing = await asked.standing(JUNE)
    assert standing is not None
    assert (standing.report, standing.digest) == (closed.report, closed.digest)
    assert [(one.number, one.made_by) for one in standing.addenda] == [(1, "vy")]


def _changes(addendum: Addendum) -> dict[tuple[str, str], tuple[object, object]]:
    """Of scopes and endpoints; nothing is zero."""
    listed = ("one / hall", "E2 / one", "E5 / one")
    return {
        (c.of, c.figure): (c.before or 0, c.after or 0) for c in addendum.changes if not c.of.startswith(listed)
    }  # fmt: skip


def _difference(before: report_oracle.Told, after: report_oracle.Told) -> dict[tuple[str, str], tuple[object, object]]:
    found = {}
    for name in before.keys() | after.keys():
        if name[0] in ("scope", "endpoint"):
            of = str(name[1])
            if name[0] == "scope":
                of = " / ".join([str(name[1] or "*"), str(name[2] or "*"), *(["alone"] if name[3] else [])])
            was, becomes = (_flat(rows.get(name, {})) for rows in (before, after))
            for figure in was.keys() | becomes.keys():
                pair = was.get(figure) or 0, becomes.get(figure) or 0
                if pair[0] != pair[1]:
                    found[of, figure] = pair
    return found


def _flat(row: report_oracle.Row) -> report_oracle.Row:
    flat: report_oracle.Row = {}
    for name, value in row.items():
        flat |= {f"{name}.{part}": n for part, n in value.items()} if isinstance(value, dict) else {name: value}
    return flat


async def test_what_was_closed_has_the_digest_of_its_bytes_and_cannot_be_changed(database: Database) -> None:
    """Whoever holds the database can prove what was signed, and cannot change it by the ordinary ways."""
    await told(PLAIN, database)
    asked = reports(database, PLAIN.now)
    closed = await asked.close(JUNE, "an")
    store = Store(database.pool, ZONE)
    late = page(stay("late", "e2", MORNING, 40))
    await store.store(await store.register("one", "test"), late, now=PLAIN.now)
    await store.refresh()
    addendum = await asked.amend(JUNE, "vy")
    assert addendum is not None

    signed = await database.pool.fetchval("select figures from conftrack.report")
    added = await database.pool.fetchrow("select figures, corrects from conftrack.report_addendum")
    assert added is not None
    assert sha256(signed).hexdigest() == closed.digest
    assert (sha256(added["figures"]).hexdigest(), added["corrects"].hex()) == (addendum.digest, closed.digest)
    for table in ("report", "report_addendum"):
        for change in ("update {} set figures = '{{}}'", "delete from {}", "truncate {} cascade"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await database.pool.execute(change.format(f"conftrack.{table}"))
    with pytest.raises(ReportError):
        await asked.close(JUNE, "an")


@pytest.mark.parametrize(("source", "stream"), [("one", "history"), ("two", "push")])
async def test_what_nobody_could_see_is_unknown_and_neither_absent_nor_zero(
    source: str, stream: str, database: Database
) -> None:
    """Half an hour of a meeting was not seen: unless a history told later, who did not come then is unknown, the
    certificate says the minutes, and no figure of availability counts them."""
    gap = hour(20, "08:20"), hour(20, "08:50")
    world = replace(PLAIN, pages=((source, PLAIN.pages[0][1]),), blind=((source, gap),))
    if stream == "push":
        pushed = msgspec.structs.replace(PLAIN.pages[0][1], stream="push", origin=Origin.PUSH)
        world = replace(world, pages=((source, pushed),))
    await told(world, database)

    report = await reports(database, world.now).month(JUNE)

    figures, hidden = report.of(), stream == "push"
    certificate = next(one for one in report.certificates if one.source == source)
    assert (figures.attended, figures.excused) == (1, 1)
    assert (figures.unknown, figures.absent) == ((1, 0) if hidden else (0, 1))
    assert figures.participation == pytest.approx(1 / 2 if hidden else 1 / 3)
    looked = hour(2, "09:00") - local(JUNE)
    assert certificate.unseen_seconds == looked.total_seconds() + (1800 if hidden else 0)
    site = next(one for one in report.endpoints if one.code == "E4")
    assert site.unseen_seconds == looked.total_seconds() + (1800 if hidden else 0)
    assert site.unseen_seconds + site.good_seconds == timedelta(days=30).total_seconds()
    assert site.availability == 1


async def test_what_is_configured_later_corrects_nothing_that_was_signed(database: Database) -> None:
    """Another first day of the month, another licence: a correction is of the days and the assumptions that were
    signed."""
    await told(PLAIN, database)
    closed = await reports(database, PLAIN.now).close(JUNE, "an")
    later = Reports(
        database.pool, timezone=ZONE, clock=lambda: PLAIN.now, sources=SOURCES,
        config=ReportConfig(first_day=15, licence=40, travel_km=20),
    )  # fmt: skip
    assert await later.pending(JUNE) == []

    store = Store(database.pool, ZONE)
    late = page(stay("late", "e2", MORNING + timedelta(minutes=2), 40))
    await store.store(await store.register("one", "test"), late, now=PLAIN.now)
    await store.refresh()
    addendum = await later.amend(JUNE, "vy")
    assert addendum is not None
    signed, corrected = closed.report, addendum.report
    assert (corrected.since, corrected.until, corrected.assumptions) == (
        signed.since, signed.until, signed.assumptions
    )  # fmt: skip
    assert corrected.of().endpoint_connections == signed.of().endpoint_connections + 1


async def test_a_source_that_was_taken_away_hides_nothing_of_the_months_after(database: Database) -> None:
    """From then on nobody expects to see it: availability stays known, meetings nobody came to are told, the month can
    be closed, and the certificate is of what is read still. Months in which it was read keep theirs."""
    start = local(date(2025, 9, 10), "08:00")
    nobody = Invitation(
        uid="i1", room="vắng", title=None, starts_at=start, ends_at=start + timedelta(hours=1), expected={"E1": None}
    )
    await told(replace(PLAIN, invited=(nobody,)), database)
    now = local(date(2025, 10, 10))
    store = Store(database.pool, ZONE)
    seen = Page(stream="live", origin=Origin.LIVE, observed_at=now, position=now)
    await store.store(await store.register("two", "test"), seen, now=now)
    asked = reports(database, now, sources=["two"])

    closed = await asked.close(date(2025, 9, 1), "an")
    assert [one.source for one in closed.report.certificates] == ["two"]
    site = next(one for one in closed.report.endpoints if one.code == "E4")
    assert (site.unseen_seconds, site.availability) == (0, 1)
    assert closed.report.of().not_held == 1
    august = await asked.month(date(2025, 8, 1))
    assert [(one.source, one.read_until) for one in august.certificates] == [("one", PLAIN.now), ("two", None)]


async def test_what_went_by_its_age_is_no_correction(database: Database) -> None:
    """How often a source was asked, and what was not understood, is not kept for ever; what was signed of it stands."""
    await told(PLAIN, database)
    store = Store(database.pool, ZONE)
    source = await store.register("one", "test")
    await store.record_poll(source, "history", Outcome(), now=MORNING)
    bad = tuple(Rejected(raw=f"{n}".encode(), error="?", external_id=f"bad-{n}") for n in range(3))
    await store.store(source, msgspec.structs.replace(page(), rejected=bad), now=MORNING)
    closed = await reports(database, PLAIN.now).close(JUNE, "an")
    first = closed.report.certificates[0]
    assert (first.polls, first.rejected) == (1, 3)

    later = MORNING + timedelta(days=4000)
    await Keeping(database.pool, ZONE, PrivacyConfig()).tidy(later)
    assert await reports(database, later).pending(JUNE) == []


async def test_what_is_frozen_is_what_was_shown(database: Database) -> None:
    """What comes in while somebody reads the figures and says yes is not in them: it is a correction."""
    await told(PLAIN, database)
    asked = reports(database, PLAIN.now)
    shown = await asked.closable(JUNE)
    store = Store(database.pool, ZONE)
    late = page(stay("late", "e2", MORNING + timedelta(minutes=2), 40))
    await store.store(await store.register("one", "test"), late, now=PLAIN.now)
    await store.refresh()

    assert (await asked.freeze(shown, "an")).report == shown
    assert await asked.pending(JUNE)
    with pytest.raises(ReportError, match="closed already"):
        await asked.freeze(shown, "vy")


async def test_nothing_is_certified_of_the_time_before_anything_is_known(database: Database) -> None:
    """A month from before the first meeting is not seen, none of it: no planned meeting is told to have failed, and
    nobody signs its zeros."""
    start = local(date(2025, 5, 12), "08:00")
    early = Invitation(
        uid="i1", room="hall", title=None, starts_at=start, ends_at=start + timedelta(hours=1), expected={"E1": None}
    )
    await told(replace(PLAIN, invited=(early,)), database)
    asked = reports(database, PLAIN.now)

    may = await asked.month(date(2025, 5, 1))
    assert [one.unseen_seconds for one in may.certificates] == [timedelta(days=31).total_seconds()] * 2
    assert may.of().not_held == 0
    with pytest.raises(ReportError, match=r"nothing is known of 2025-05: .* was on 2025-06-02"):
        await asked.close(date(2025, 5, 1), "an", anyway=True)


async def test_an_incident_that_nobody_ends_counts_against_every_month(database: Database) -> None:
    """A site that was lost from a meeting which goes on for ever is not available months later either."""
    lost = Failure(
        source="one", endpoint="E4", kind="dropped", end_class="dropped", owner=None, opened_at=hour(3, "10:00"),
        closed_at=None, withdrawn=False,
    )  # fmt: skip
    now = local(date(2025, 11, 1))
    await told(replace(PLAIN, now=now, failures=(lost,)), database)

    report = await reports(database, now).month(date(2025, 9, 1))

    assert {one.code for one in report.endpoints if one.bad_seconds} == {"E4"}
    site = next(one for one in report.endpoints if one.code == "E4")
    assert (site.bad_seconds, site.good_seconds) == (timedelta(days=30).total_seconds(), 0)
    assert report.of().incidents == 0


async def test_a_month_has_the_hours_that_it_has(database: Database) -> None:
    """Where clocks are put back, October has one more."""
    zone = ZoneInfo("Europe/Berlin")
    now = datetime(2025, 11, 3, tzinfo=UTC)
    asked = Reports(database.pool, timezone=zone, clock=lambda: now, config=ReportConfig(), sources=["never"])
    (one,) = (await asked.month(date(2025, 10, 1))).certificates
    assert one.unseen_seconds == (31 * 24 + 1) * 3600


async def test_a_correction_does_not_repeat_a_title_that_became_sensitive(database: Database) -> None:
    """What was signed stays as it was; what is added to it is figures."""
    await told(PLAIN, database)
    asked = reports(database, PLAIN.now)
    closed = await asked.close(JUNE, "an")
    assert "Giao ban" in {held.title for held in closed.report.meetings}
    secret = PrivacyConfig(sensitive=("giao ban",))
    await Keeping(database.pool, ZONE, secret).adopt(PLAIN.now)
    late = page(stay("late", "e2", MORNING + timedelta(minutes=2), 40))
    store = Store(database.pool, ZONE, secret)
    await store.store(await store.register("one", "test"), late, now=PLAIN.now)
    await store.refresh()

    addendum = await asked.amend(JUNE, "vy")
    assert addendum is not None
    assert "Giao ban" not in msgspec.json.encode((addendum.changes, addendum.report)).decode()
