"""Incidents as operators meet them: a system that is polled, fails, comes back and tells its history later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from conftrack.collector import Collector
from conftrack.config import SourceConfig
from conftrack.errors import SourceError
from conftrack.incidents import keeper
from conftrack.incidents.keeper import Incidents
from conftrack.model import Endpoint, LegRecord, OrgUnit, Snapshot, Window
from conftrack.state import SourceState
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.queries import query
from conftrack.storage.store import Store
from tests.worlds import ZONE, at, leg, meeting, page

SECOND = 1 / 60
SITES = tuple(f"XA-{n:02}" for n in range(1, 13))


class System:
    """A conference system by what it shows: `up` goes on in the room "hall", `history` tells what has ended, and
    `registered` who is registered with it (None: that it does not tell)."""

    streams: Sequence[str] = ("participant",)
    has_live = True

    def __init__(self) -> None:
        self.minute = 0.0
        #: Which meeting goes on, and since when.
        self.meeting, self.begun = "meeting-1", 0.0
        self.up: dict[str, LegRecord] = {}
        self.history_of: list[LegRecord] = []
        self.registered: set[str] | None = None
        self.ill = False

    async def live(self) -> Snapshot:
        if self.ill:
            raise SourceError("the system answers 502")
        meetings = (meeting(self.meeting, self.begun, None),) if self.up else ()
        registered = frozenset(self.registered) if self.registered is not None else None
        legs = tuple(self.up.values())
        return Snapshot(taken_at=at(self.minute), meetings=meetings, legs=legs, registered=registered)

    async def history(self, stream: str, since: datetime | None, until: datetime | None) -> Any:
        ended = [one for one in self.history_of if since is None or (one.left_at or since) >= since]
        yield page(
            *ended, stream=stream, seen=self.minute, position=at(self.minute),
            window=Window(since=since or at(-1), until=at(self.minute), source_total=len(ended)),
        )  # fmt: skip


class Desk:
    """The collector on one such system, and what the operator sees."""

    def __init__(self, database: Database) -> None:
        self.system = System()
        self.database = database
        self.store = Store(database.pool, ZONE)
        self.incidents = Incidents(database.pool, ZONE)
        self.collector: Collector
        self.state: SourceState

    async def open(self) -> Desk:
        """Takes up the work, as a collector that has just been started."""
        config = SourceConfig(name="one", kind="test", url="http://127.0.0.1:1", live_interval=timedelta(seconds=10))
        source_id = await self.store.register("one", "test")
        self.state = SourceState(name="one", kind="test", live_interval=config.live_interval)
        self.collector = Collector(
            config, self.system, source_id, store=self.store, incidents=self.incidents, state=self.state,  # type: ignore[arg-type]
            clock=lambda: at(self.system.minute),
        )  # fmt: skip
        return self

    async def know(self, *sites: str, **said: Any) -> None:
        units = [OrgUnit(code="PT", name="Tỉnh Phú Thọ"), OrgUnit(code="XA", name="Xã Tân An", parent="PT", level=1)]
        endpoints = [Endpoint(code=s, name=s, org="XA", aliases=(f"{s.lower()}@vc.example",), **said) for s in sites]
        await inventory.put(self.database.pool, units, endpoints)

    def join(self, name: str, site: str = "XA-01", **said: Any) -> None:
        self.system.up[name] = leg(
            name, self.system.minute, None, meeting=self.system.meeting, identity=f"{site.lower()}@vc.example", **said
        )

    def part(self, name: str, end_class: str | None = "left", *, told: bool = True) -> None:
        """The leg ends now; the history tells with which end, unless it is not `told` yet."""
        one = self.system.up.pop(name)
        if told:
            self.tell(one, end_class)

    def tell(self, one: LegRecord, end_class: str | None, left: float | None = None) -> None:
        minutes = self.system.minute if left is None else left
        ended = leg(
            one.external_id, None, minutes, meeting=one.meeting, identity=one.identity, end_class=end_class,
            end_reason=f"the system's word for {end_class}",
        )  # fmt: skip
        self.system.history_of.append(LegRecord(**{**_fields(ended), "joined_at": one.joined_at}))

    async def look(self, minute: float, *, history: bool = True) -> None:
        self.system.minute = minute
        await self.collector.poll()
        if history:
            await self.collector.catch_up("participant")
        await self.collector.derive()

    async def watch(self, since: float, until: float) -> None:
        """Looks every ten seconds."""
        for tick in range(round((until - since) * 6) + 1):
            await self.look(since + tick / 6)

    async def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        rows = await self.database.pool.fetch(
            f"select {', '.join(columns)} from conftrack.incidents order by opened_at, kind, endpoint"  # noqa: S608
        )
        return [tuple(_shown(value) for value in row) for row in rows]


def _fields(one: LegRecord) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _shown(value: Any) -> Any:
    return round((value - at(0)).total_seconds() / 60, 3) if isinstance(value, datetime) else value


@pytest.fixture
async def desk(database: Database) -> Desk:
    made = await Desk(database).open()
    await made.know(*SITES)
    return made


async def _begun(desk: Desk, *sites: str) -> None:
    """A meeting in which these sites and a chair are."""
    desk.join("chair", "XA-12")
    for site in sites:
        desk.join(f"leg {site}", site)
    await desk.look(0)


async def test_a_lost_site_is_known_with_its_cause_and_comes_back(desk: Desk) -> None:
    """Opened as soon as the grace was seen to pass, from the moment of the loss; closed by the rejoin."""
    await _begun(desk, "XA-01")
    await desk.look(10)
    desk.system.minute = 10.1
    desk.part("leg XA-01", "dropped")
    await desk.watch(10.2, 10.4)
    assert await desk.rows("endpoint") == []
    await desk.look(10.1 + 20 * SECOND)
    assert await desk.rows("endpoint", "org", "kind", "end_class", "end_reason", "opened_at", "closed_at") == [
        ("XA-01", "XA", "dropped", "dropped", "the system's word for dropped", 10.1, None)
    ]

    desk.system.minute = 12
    desk.join("again", "XA-01")
    await desk.look(12.1)
    assert await desk.rows("kind", "opened_at", "closed_at") == [("dropped", 10.1, 12.0)]


async def test_a_cause_that_comes_late_opens_the_incident_then(desk: Desk) -> None:
    """While nobody knows why a site went it is no failure; once the history tells, it was one from the beginning."""
    await _begun(desk, "XA-01")
    one = desk.system.up["leg XA-01"]
    desk.part("leg XA-01", told=False)
    await desk.watch(1, 3)
    assert await desk.rows("endpoint") == []
    desk.tell(one, "dropped", left=0.9)
    await desk.look(4)
    assert await desk.rows("endpoint", "opened_at", "closed_at") == [("XA-01", 0.9, None)]


async def test_a_failed_poll_opens_and_closes_nothing(desk: Desk) -> None:
    """3,000 sites do not fail because our view of them does (B1, B22); what was open stays open."""
    await _begun(desk, *SITES[:6])
    desk.part("leg XA-01", "dropped")
    await desk.watch(1, 2)
    before = await desk.rows("endpoint", "kind", "opened_at", "closed_at")
    assert [row[0] for row in before] == ["XA-01"]

    desk.system.ill = True
    desk.system.up.clear()
    await desk.watch(3, 20)
    assert await desk.rows("endpoint", "kind", "opened_at", "closed_at") == before


async def test_meetings_are_counted_once_over_a_failed_poll(desk: Desk) -> None:
    """A poll that fails in the middle of a meeting makes it no second meeting, and its incident no second one (B2)."""
    await _begun(desk, "XA-01")
    desk.part("leg XA-01", "dropped")
    await desk.watch(1, 2)
    desk.system.ill = True
    await desk.look(3)
    desk.system.ill = False
    await desk.watch(4, 5)
    assert await desk.database.pool.fetchval("select count(*) from conftrack.meetings") == 1
    assert len(await desk.rows("endpoint")) == 1


async def test_a_restarted_collector_reopens_nothing(desk: Desk) -> None:
    """The incident keeps its number, and with it what was written about it, over a restart."""
    await _begun(desk, "XA-01")
    desk.part("leg XA-01", "dropped")
    await desk.watch(1, 2)
    before = await desk.rows("incident_id", "opened_at", "closed_at")
    assert len(before) == 1
    system, desk.system = desk.system, System()
    desk.system.up, desk.system.history_of, desk.system.minute = system.up, system.history_of, 2.2
    await desk.open()
    await desk.watch(2.3, 3)
    assert await desk.rows("incident_id", "opened_at", "closed_at") == before


async def test_a_gap_in_our_sight_is_kept_as_one(desk: Desk) -> None:
    """What happened while nobody looked is unknown: the time is kept, from the last good look to the next."""
    await _begun(desk, "XA-01")
    await desk.look(1)
    desk.system.ill = True
    await desk.look(2)
    desk.system.ill = False
    await desk.look(5)
    await desk.look(5.1)
    blind = await desk.database.pool.fetch("select since, until from conftrack.blindness order by since")
    assert [(_shown(row["since"]), _shown(row["until"])) for row in blind] == [(0, 1), (1, 5)]


async def test_an_incident_is_corrected_not_doubled(desk: Desk) -> None:
    """History moves the moment and the cause of what live saw: the same incident, with its notes (B20)."""
    await _begun(desk, "XA-01")
    one = desk.system.up["leg XA-01"]
    desk.system.minute = 1
    desk.part("leg XA-01", "dropped")
    await desk.watch(1.1, 2)
    (first,) = await desk.rows("incident_id", "opened_at")
    await _note(desk, first[0])
    desk.system.history_of.clear()
    desk.tell(one, "dropped", left=0.95)
    await desk.look(2.1)
    assert await desk.rows("incident_id", "opened_at") == [(first[0], 0.95)]


async def test_what_never_was_goes_and_what_was_said_of_it_stays(desk: Desk) -> None:
    """History says that the site hung up: no incident is left, but the operator's note is not lost."""
    await _begun(desk, "XA-01", "XA-02")
    gone = [desk.system.up["leg XA-01"], desk.system.up["leg XA-02"]]
    desk.part("leg XA-01", "dropped")
    desk.part("leg XA-02", "dropped")
    await desk.watch(1, 2)
    (first, _) = await desk.rows("incident_id")
    await _note(desk, first[0])

    desk.system.history_of.clear()
    for one in gone:
        desk.tell(one, "left", left=0)
    await desk.look(2.1)
    assert await desk.rows("incident_id") == []
    kept = await desk.database.pool.fetch("select incident_id from conftrack.incident where withdrawn_at is not null")
    assert [tuple(row) for row in kept] == [first]
    assert await desk.database.pool.fetchval("select count(*) from conftrack.incident_note") == 1


async def test_a_leave_that_is_told_after_the_rejoin_is_no_failure(desk: Desk) -> None:
    """Events come out of order: who is back within the grace was not gone, whatever is heard first (B17)."""
    await _begun(desk, "XA-01")
    first = desk.system.up["leg XA-01"]
    desk.system.minute = 1
    desk.join("again", "XA-01")
    del desk.system.up["leg XA-01"]
    await desk.watch(1.1, 2)
    desk.tell(first, "dropped", left=0.8)
    await desk.watch(2.1, 3)
    assert await desk.rows("endpoint") == []


async def test_flaps_are_told_apart_from_a_long_outage(desk: Desk) -> None:
    """Seconds away often, and minutes away once, are different things: how often and how long are both there (B7)."""
    await _begun(desk, "XA-01", "XA-02")
    for n in range(3):
        desk.system.minute = 1 + n
        desk.part("leg XA-01", "dropped")
        desk.system.minute += 5 * SECOND
        desk.join("leg XA-01", "XA-01")
        name = f"leg XA-01 {n}"
        desk.system.up["leg XA-01"] = LegRecord(**{**_fields(desk.system.up.pop("leg XA-01")), "external_id": name})
        await desk.look(1.2 + n)
    desk.part("leg XA-02", "dropped")
    await desk.watch(5, 6)
    assert await desk.rows("endpoint", "kind") == [("XA-01", "flapping"), ("XA-02", "dropped")]


async def test_many_lost_at_once_are_one_outage_with_its_parts(desk: Desk) -> None:
    """One line on the board for the carrier, with the sites under it."""
    await desk.know(*SITES[:6], carrier="VNPT", area="Hòa Bình")
    await desk.know("XA-12", carrier="Viettel")
    await _begun(desk, *SITES[:6])
    desk.system.minute = 1
    for site in SITES[:6]:
        desk.part(f"leg {site}", "dropped")
    await desk.watch(1.1, 2)
    rows = await desk.rows("kind", "endpoint", "org", "incident_id", "parent_id", "closed_at")
    (outage,) = [row for row in rows if row[0] == "outage"]
    assert outage[1:3] == (None, "XA")
    assert {row[1]: row[4] for row in rows if row[0] == "dropped"} == dict.fromkeys(SITES[:6], outage[3])
    assert await desk.database.pool.fetchval(
        "select incidents from conftrack.usage_daily where org is null and source is null"
    ) == 6  # fmt: skip

    desk.system.minute = 2
    for site in SITES[:6]:
        desk.join(f"again {site}", site)
    await desk.look(3)
    assert {row[0] for row in await desk.rows("closed_at")} == {2}


async def test_a_caller_outside_the_inventory_fails_too_and_gets_its_name_later(desk: Desk) -> None:
    """Without an inventory a failing room is known by its alias; matched to an endpoint, it is that one's incident."""
    await _begun(desk)
    desk.join("guest", "PHONG-HOP-9")
    await desk.look(1)
    desk.part("guest", "dropped")
    await desk.watch(1.1, 2)
    (before,) = await desk.rows("incident_id", "endpoint", "identity")
    assert before[1:] == (None, "phong-hop-9@vc.example")

    await desk.know("PHONG-HOP-9")
    await desk.store.refresh()
    await desk.incidents.refresh()
    assert await desk.rows("incident_id", "endpoint", "identity") == [(before[0], "PHONG-HOP-9", None)]
    assert await desk.database.pool.fetchval(
        "select incidents from conftrack.usage_monthly where org = 'XA' and source is null"
    ) == 1  # fmt: skip


async def test_a_person_who_drops_is_no_failing_site(desk: Desk) -> None:
    await _begun(desk)
    desk.system.up["p"] = leg("p", 0, None, meeting="meeting-1", identity="Lê Văn Tám", personal=True)
    await desk.look(1)
    gone = desk.system.up.pop("p")
    desk.system.history_of.append(LegRecord(**{**_fields(gone), "left_at": at(1), "end_class": "dropped"}))
    await desk.watch(1.1, 3)
    assert await desk.rows("kind") == []


async def test_loss_that_stays_is_seen_live_and_survives_a_restart(desk: Desk) -> None:
    await _begun(desk)
    desk.join("leg XA-01", "XA-01", rx_loss=0.01)
    await desk.watch(1, 2)
    desk.join("leg XA-01", "XA-01", rx_loss=0.08)
    desk.system.up["leg XA-01"] = LegRecord(**{**_fields(desk.system.up["leg XA-01"]), "joined_at": at(0)})
    await desk.watch(3, 3.5)
    assert await desk.rows("kind") == []
    await desk.open()
    await desk.watch(3.6, 5)
    assert await desk.rows("endpoint", "kind", "opened_at", "closed_at") == [("XA-01", "quality", 3, None)]
    desk.system.up["leg XA-01"] = LegRecord(**{**_fields(desk.system.up["leg XA-01"]), "rx_loss": 0.0})
    await desk.watch(6, 7.5)
    assert await desk.rows("kind", "opened_at", "closed_at") == [("quality", 3, 6)]


async def test_who_is_expected_and_does_not_come_is_absent(desk: Desk) -> None:
    """From five minutes after the start, until the site joins or is excused."""
    await _invite(desk, "XA-01", "XA-02", "XA-03")
    await _begun(desk, "XA-03")
    await desk.watch(14, 14.9)
    assert await desk.rows("endpoint") == []
    await desk.look(15)
    assert await desk.rows("endpoint", "kind", "opened_at", "closed_at") == [
        ("XA-01", "absent", 15, None), ("XA-02", "absent", 15, None),
    ]  # fmt: skip
    desk.system.minute = 17
    desk.join("late", "XA-01")
    await desk.look(17)
    await desk.database.pool.execute(
        "update conftrack.expected set excused_at = $1, excused_by = 'trực', excused_reason = 'mất điện' "
        "where endpoint_id = (select endpoint_id from conftrack.endpoint where code = 'XA-02')", at(18),
    )  # fmt: skip
    await desk.database.pool.execute(
        "insert into conftrack.dirty_incident (invitation_id) select invitation_id from conftrack.invitation"
    )
    await desk.look(19)
    assert await desk.rows("endpoint", "closed_at") == [("XA-01", 17), ("XA-02", 18)]


async def test_an_invitation_to_which_nobody_came_is_many_absences(desk: Desk) -> None:
    """A meeting that never began is no meeting, but those invited were not there, until its end."""
    await desk.look(0)
    await _invite(desk, "XA-01", ends=30)
    await desk.watch(14, 15.2)
    assert await desk.rows("endpoint", "meeting_id", "opened_at", "closed_at") == [("XA-01", None, 15, None)]
    await desk.look(40)
    assert await desk.rows("endpoint", "opened_at", "closed_at") == [("XA-01", 15, 30)]


async def test_what_waits_does_not_pile_up_while_a_meeting_goes_on(desk: Desk) -> None:
    """However often a meeting is judged before its time has come, what it waits for is marked once."""
    await _invite(desk, "XA-01", "XA-02", ends=60)
    await _begun(desk, "XA-03")
    marked = []
    for minute in (11, 12, 13, 14):
        desk.system.minute = minute
        desk.join(f"guest {minute}", "XA-04")
        await desk.look(minute)
        marked.append(await desk.database.pool.fetchval("select count(*) from conftrack.dirty_incident"))
    assert marked == [marked[0]] * 4
    await desk.look(15)
    assert await desk.rows("endpoint", "opened_at") == [("XA-01", 15), ("XA-02", 15)]


async def test_incidents_that_are_as_they_were_are_not_counted_into_new_rows(desk: Desk) -> None:
    """While a day's meetings go on its figures are computed at every look: what is the same number stays as it is."""
    await _begun(desk, "XA-01", "XA-02")
    desk.system.minute = 2
    desk.part("leg XA-01", "dropped")
    await desk.watch(2.1, 2.6)
    counts = "select xmin, * from conftrack.incident_day order by source_id, org_unit_id"
    before = await desk.database.pool.fetch(counts)
    desk.system.minute = 3
    desk.join("guest", "XA-04")
    await desk.look(3)

    assert [row["incidents"] for row in before] == [1] * len(before) != []
    assert await desk.database.pool.fetch(counts) == before


async def test_a_rehearsal_is_not_the_meeting(desk: Desk) -> None:
    """Who was at the test session an hour before and not at the meeting is absent from the meeting."""
    await _invite(desk, "XA-01", starts=60)
    await _begun(desk, "XA-01")
    await desk.look(5)
    for name in list(desk.system.up):
        desk.part(name)
    await desk.look(6)
    desk.system.minute = 58
    desk.join("chair again", "XA-12")
    await desk.look(58.5)
    await desk.watch(64.5, 65.2)
    assert await desk.rows("endpoint", "opened_at", "closed_at") == [("XA-01", 65, None)]


async def test_planned_work_is_no_incident_and_the_board_says_so(desk: Desk) -> None:
    """Who takes a site down on purpose wakes nobody; what is down when the window ends is an incident from then on."""
    await _begun(desk, "XA-01", "XA-02")
    await desk.database.pool.execute(
        "insert into conftrack.maintenance "
        "(endpoint_id, starts_at, ends_at, expires_at, author, reason, created_at) "
        "select endpoint_id, $1, $2, $2, 'trực', 'thay thiết bị', $1 from conftrack.endpoint where code = 'XA-01'",
        at(1), at(5),
    )  # fmt: skip
    desk.system.minute = 2
    desk.part("leg XA-01", "dropped")
    await desk.watch(2.1, 4.9)
    assert await desk.rows("endpoint") == []
    assert await desk.incidents.in_maintenance(at(2)) == {"XA-01"}
    assert await desk.incidents.in_maintenance(at(5)) == frozenset()
    await desk.look(5)
    assert await desk.rows("endpoint", "opened_at") == [("XA-01", 5)]


async def test_all_or_nothing_wherever_it_is_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever statement of a judgement fails, the next one comes to the same end."""
    await desk.know(*SITES[:6], carrier="VNPT")
    await _begun(desk, *SITES[:6])
    for site in SITES[:6]:
        desk.part(f"leg {site}", "dropped")
    await desk.look(1, history=False)
    await desk.store.store(
        await desk.store.register("one", "test"),
        page(*desk.system.history_of, stream="participant"), now=at(2),
    )  # fmt: skip
    await desk.store.refresh()
    statements = 0
    known = query
    for cut in range(40):
        statements = 0

        def cutting(name: str, cut: int = cut) -> str:
            nonlocal statements
            statements += 1
            return "select 1/0" if statements == cut + 1 else known(name)

        monkeypatch.setattr(keeper, "query", cutting)
        try:
            await desk.incidents.refresh()
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            continue
        break
    monkeypatch.setattr(keeper, "query", known)
    assert cut > 8
    rows = await desk.rows("kind", "endpoint")
    assert sorted(rows, key=str) == sorted([("outage", None), *(("dropped", s) for s in SITES[:6])], key=str)


async def _note(desk: Desk, incident_id: int) -> None:
    await desk.database.pool.execute(
        "insert into conftrack.incident_note (incident_id, at, author, text) values ($1, $2, 'trực', 'đã gọi')",
        incident_id, at(2),
    )  # fmt: skip


async def _invite(desk: Desk, *sites: str, starts: float = 10, ends: float | None = None) -> None:
    invitation = await desk.database.pool.fetchval(
        "insert into conftrack.invitation (uid, room, starts_at, ends_at, origin, known_at) "
        "values ('m', 'hall', $1, $2, 'file', $1) "
        "returning invitation_id", at(starts), at(ends) if ends is not None else None,
    )  # fmt: skip
    await desk.database.pool.execute(
        "insert into conftrack.expected (invitation_id, endpoint_id) "
        "select $1, endpoint_id from conftrack.endpoint where code = any($2::text[])", invitation, list(sites),
    )  # fmt: skip
    await desk.database.pool.execute("insert into conftrack.dirty_incident (invitation_id) values ($1)", invitation)
