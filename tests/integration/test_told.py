"""Who belongs to a room, as its system tells: expected from then on, until it tells others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, date, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from conftrack.config import Config, DatabaseConfig, PrivacyConfig, Secret, SourceConfig, WebConfig
from conftrack.errors import SourceError
from conftrack.headcounts.counting import Counting, LinkRefused
from conftrack.incidents.rollcall import call
from conftrack.model import Endpoint, Invited
from conftrack.serving import serve
from conftrack.simulator import World
from conftrack.simulator.pexip import pexip_app
from conftrack.simulator.province import phu_tho
from conftrack.sources import kinds
from conftrack.storage import inventory, invitations, rollcall
from conftrack.storage.database import Database
from conftrack.storage.inventory import Entry
from conftrack.storage.invitations import Invitation
from conftrack.storage.queries import query
from conftrack.storage.store import Store
from tests.integration.test_incidents import SITES, Desk, System
from tests.worlds import ZONE, at

HALL = ("XA-01", "XA-02", "XA-03")
ABSENT = "endpoint", "opened_at", "closed_at"


class Telling(System):
    """One that tells who belongs to the room "hall", unless it is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: Sequence[str] = HALL
        self.room = "hall"
        self.refused: str | None = None

    async def invited(self) -> tuple[Invited, ...]:
        if self.refused is not None:
            raise SourceError(self.refused, permanent=True)
        addresses = frozenset(f"{site.lower()}@vc.example" for site in self.sites)
        return (Invited(room=self.room, addresses=addresses),) if addresses else ()


class Office(Desk):
    """The desk on a system that tells who is invited."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.system: Telling = Telling()

    async def ask(self, minute: float) -> None:
        self.system.minute = minute
        await self.collector.invite()
        await self.collector.derive()

    async def begin(self, since: float, *sites: str) -> None:
        self.system.minute = self.system.begun = since
        self.system.meeting = f"meeting {since}"
        for site in ("XA-12", *sites):
            self.join(f"{site} {since}", site)
        await self.look(since)

    async def hold(self, since: float, until: float, *sites: str) -> None:
        """A meeting of a chair and these sites, seen from its first minute to its last."""
        await self.begin(since, *sites)
        for minute in (since + 5, since + 6):
            await self.look(minute)
        self.system.minute = until
        for name in list(self.system.up):
            self.part(name)
        await self.look(until)
        await self.look(until + 1)

    async def absent(self) -> list[tuple[Any, ...]]:
        await self.database.pool.execute(
            "insert into conftrack.dirty_incident (meeting_id) select meeting_id from conftrack.meeting"
        )
        await self.incidents.refresh()  # whatever is judged again is judged alike
        return [row[:3] for row in await self.rows(*ABSENT, "kind") if row[3] == "absent"]

    async def stands(self) -> dict[str, list[str]]:
        found = await invitations.load(self.database.pool, (), at(self.system.minute))
        return {uid: list(one.expected) for uid, one in sorted(found.invitations.items())}

    async def changes(self) -> list[tuple[str, Any]]:
        rows = await self.database.pool.fetch(
            "select actor, detail from conftrack.audit where action = 'invited' order by audit_id"
        )
        return [(row["actor"], json.loads(row["detail"])["changes"]) for row in rows]

    async def written(self) -> list[Any]:
        """The very rows: any write to one shows."""
        tables = ("invitation", "expected", "audit", "dirty_incident", "incident")
        return [
            await self.database.pool.fetch(f"select xmin::text, t.* from conftrack.{table} t order by 1, 2")  # noqa: S608
            for table in tables
        ]


@pytest.fixture
async def office(database: Database) -> Office:
    """The system has told at minute -60 that three sites belong to the hall."""
    made = Office(database)
    await made.open()
    await made.know(*SITES)
    await made.ask(-60)
    return made


async def test_who_belongs_to_a_room_and_does_not_come_is_absent_from_its_meeting(office: Office) -> None:
    """Five minutes after it began; the roll is called as for any other invitation. Who was not told may stay away, and
    an address that no endpoint has is nobody."""
    assert await office.stands() == {"source:one/hall@2026-03-02T00:00:00Z": [*HALL]}
    assert await office.changes() == [
        ("source one", [{
            "meeting": "source:one/hall@2026-03-02T00:00:00Z", "room": "hall", "invited": [*HALL],
            "not invited any more": [],
        }])
    ]  # fmt: skip
    await office.hold(0, 60, "XA-01")

    assert await office.absent() == [("XA-02", 5, 60), ("XA-03", 5, 60)]
    async with office.database.pool.acquire() as connection:
        number = await connection.fetchval("select meeting_id from conftrack.meeting where started_at is not null")
        meeting = await rollcall.load(connection, meeting_id=number)
        assert meeting is not None
        roll = call(meeting, at(61))
        (held,) = await invitations.gatherings(connection, at(0), at(61))
    assert [(answer.guest.code, answer.marks[-1]) for answer in roll.answers] == [
        ("XA-01", "present"), ("XA-02", "absent"), ("XA-03", "absent")
    ]  # fmt: skip
    assert (held.expected, held.come) == (3, 1)


async def test_nobody_is_absent_where_nobody_meets(office: Office) -> None:
    await office.look(0)
    await office.look(120)

    assert await office.rows("kind") == []


async def test_an_address_that_no_endpoint_in_service_has_invites_nobody(office: Office) -> None:
    """Addresses are matched exactly, however they are spelled; names never. A room of strangers has no invitation."""
    await office.database.pool.execute(
        "update conftrack.endpoint set retired_on = $1 where code = 'XA-02'", at(-60).date()
    )
    office.system.sites = ("XA-01", "XA-02", "XA-99", "la")
    await office.ask(-50)
    assert await office.stands() == {"source:one/hall@2026-03-02T00:10:00Z": ["XA-01"]}

    office.system.sites = ("XA-99",)
    await office.ask(-40)
    assert await office.stands() == {}


async def test_nothing_is_written_while_it_tells_the_same(office: Office) -> None:
    await office.hold(0, 60, *HALL)
    before = await office.written()
    for minute in (70, 80):
        await office.ask(minute)

    assert await office.written() == before


async def test_others_are_expected_from_when_they_are_told_and_the_past_stays(office: Office) -> None:
    """Of a meeting that goes on meanwhile is expected who was told when it began; an excuse is taken over."""
    number = await office.database.pool.fetchval(query("number_invitation"), next(iter(await office.stands())))
    async with office.database.pool.acquire() as connection:
        await invitations.excuse(connection, number, "XA-03", "mất điện", "lan", at(-30))
    await office.hold(0, 60, "XA-01")
    assert await office.absent() == [("XA-02", 5, 60)]

    office.system.sites = ("XA-01", "XA-03", "XA-04")
    await office.ask(100)
    assert await office.stands() == {"source:one/hall@2026-03-02T02:40:00Z": ["XA-01", "XA-03", "XA-04"]}
    assert (await office.changes())[-1][1][0]["invited"] == ["XA-04"]
    assert (await office.changes())[-1][1][0]["not invited any more"] == ["XA-02"]
    await office.hold(120, 180, "XA-01")
    assert await office.absent() == [("XA-02", 5, 60), ("XA-04", 125, 180)]
    assert await office.database.pool.fetchval(
        "select count(*) from conftrack.expected where excused_by = 'lan' and excused_reason = 'mất điện'"
    ) == 2  # fmt: skip

    await office.begin(200, "XA-01")
    office.system.sites = ("XA-05",)
    await office.ask(202)
    await office.look(206)
    assert (await office.absent())[2:] == [("XA-04", 205, None)]


async def test_a_room_that_nobody_belongs_to_any_more_invites_nobody(office: Office) -> None:
    """What was held on its invitation stays as it was judged; one that no meeting was held on leaves nothing."""
    await office.hold(0, 60, "XA-01", "XA-02")
    office.system.sites = ()
    await office.ask(100)
    await office.hold(120, 180, "XA-01")

    assert await office.stands() == {}
    assert await office.absent() == [("XA-03", 5, 60)]
    office.system.sites = HALL
    await office.ask(200)
    office.system.sites = ()
    await office.ask(210)
    assert await office.database.pool.fetchval("select count(*) from conftrack.invitation") == 1
    assert len(await office.changes()) == 4


async def test_what_is_not_told_changes_nothing_and_is_logged_once(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """The account may not read it, say; the source's own readings go on."""
    caplog.set_level("INFO")
    before = await office.written()
    office.system.refused = "pexip refused reporter (HTTP 403)"
    for minute in (-50, -40, -30):
        await office.ask(minute)
    assert await office.written() == before
    assert office.state.streams == {}
    office.system.refused = None
    await office.ask(-20)

    assert await office.written() == before
    assert [record.getMessage() for record in caplog.records if "invited" in record.getMessage()] == [
        "one does not tell who is invited to its rooms: pexip refused reporter (HTTP 403)",
        "one tells again who is invited to its rooms",
    ]


async def list_hall(office: Office, uid: str, minute: float, **said: Any) -> None:
    """What an operator's list or calendar does."""
    one = Invitation(uid=uid, room="hall", expected={"XA-05": None}, **said)
    entry = Entry(at=at(minute), actor="lan", action="inventory import", detail={"changes": []})
    async with office.database.pool.acquire() as connection, connection.transaction():
        await invitations.change(connection, {}, {uid: one}, entry)


async def test_a_list_of_an_operator_wins(office: Office) -> None:
    """Whatever the source tells of the room, and on whichever system the list means it to be."""

    await office.hold(0, 60, *HALL)
    await list_hall(office, "hall@always", 70)
    office.system.sites = ("XA-01", "XA-02")
    await office.ask(80)
    await office.hold(120, 180)
    await list_hall(office, "GM-9", 190, starts_at=at(240), ends_at=at(300), origin="calendar")
    await office.hold(240, 300)

    assert await office.absent() == [("XA-05", 125, 180), ("XA-05", 245, 300)]


async def test_links_for_head_counts_are_of_who_is_invited_on_the_day(office: Office) -> None:
    """One that was printed for a later day than the list lasted is refused: its number would count nowhere. A room with
    a list of an operator has links by that alone."""
    counting = Counting(office.database.pool, ZONE, "https://conftrack.example")
    today, tomorrow = date(2026, 3, 2), date(2026, 3, 3)

    async def links(day: date) -> list[str]:
        (of,) = await counting.called(room="hall", day=day, now=at(office.system.minute))
        return [card.link.rpartition("/")[2] for card in (await counting.cards(of, day)).cards]

    printed = {day: (await links(day))[0] for day in (today, tomorrow)}
    await office.hold(0, 60, *HALL)
    office.system.sites = ("XA-01", "XA-05")
    await office.ask(100)
    for day, refused in ((today, False), (tomorrow, True)):
        sitting = await counting.read(printed[day])
        assert sitting is not None
        with pytest.raises(LinkRefused) if refused else nullcontext():
            await counting.look(sitting, at(100))
    assert len(await links(tomorrow)) == 2

    await list_hall(office, "hall@always", 110)
    assert len(await links(tomorrow)) == 1


async def test_a_sensitive_room_is_not_named(office: Office) -> None:
    """Neither in the invitation nor in the record of the change."""
    office.system.room, office.system.sites = "phòng kín", ("XA-01",)
    secret = PrivacyConfig(sensitive=("phòng kín",))
    office.collector._store = Store(office.database.pool, ZONE, secret)
    await office.ask(-50)

    rows = await office.database.pool.fetch("select uid, room from conftrack.invitation where sensitive")
    assert [row["room"].startswith("sensitive:") for row in rows] == [True]
    assert "phòng" not in str(rows) + str(await office.changes())


async def test_an_endpoint_that_is_known_later_is_expected_from_then_on(office: Office) -> None:
    """The next asking finds it by its alias."""
    office.system.sites = ("XA-01", "XB-01")
    await office.ask(-50)
    await inventory.put(office.database.pool, [], [Endpoint(code="XB-01", name="XB-01", aliases=("xb-01@vc.example",))])
    await office.ask(-40)

    assert [*(await office.stands()).values()] == [["XA-01", "XB-01"]]


async def test_the_service_asks_a_pexip_as_soon_as_it_starts(database: Database, dsn: str) -> None:
    """Through the vendor's own lists."""
    site = next(site for site in phu_tho().endpoints if site.is_room)
    address = next(alias for alias in site.aliases if "@" in alias)
    await inventory.put(database.pool, [], [Endpoint(code=site.code, name=site.name, aliases=(address,))])
    world = World.staged([], anchor=_now())
    world.standing = {"Giao ban tuần": (f"SIP:{address.upper()}:5061", "la@vc.example")}
    async with TestServer(pexip_app(world, _now)) as server:
        source = SourceConfig(
            name="pexip-main", kind="pexip", url=str(server.make_url("/")), username="reporter",
            password=Secret("nguoi-xem"),
        )  # fmt: skip
        config = Config(database=DatabaseConfig(dsn=Secret(dsn)), web=WebConfig(port=0), sources=(source,))
        service = asyncio.create_task(serve(config, database, kinds(), clock=_now))
        async with asyncio.timeout(30):
            while not (found := await database.pool.fetch("select room, endpoint from conftrack.expected_endpoints")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)

    assert [tuple(row) for row in found] == [("Giao ban tuần", site.code)]


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  (the service runs by the real clock)
