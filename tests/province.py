"""A morning in a small province, for the pages: a meeting going on, one of the day before, guests, incidents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp.test_utils import TestServer
from argon2 import PasswordHasher

from conftrack.config import ReportConfig, Role, Secret, WebConfig, WebUser
from conftrack.incidents.keeper import Incidents
from conftrack.metrics import Metrics
from conftrack.model import (
    Endpoint,
    Headcount,
    LegRecord,
    MeetingRecord,
    OrgUnit,
    Origin,
    Page,
    Snapshot,
)
from conftrack.report.keeper import Reports
from conftrack.state import Site, SourceState, State, StreamState
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.reader import Reader
from conftrack.storage.store import Store
from conftrack.web import application
from conftrack.web.reports import Keeper

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
NOW = datetime(2026, 11, 24, 2, 32, 14, tzinfo=UTC)  # Tuesday, 09:32:14 in Viet Nam
START = NOW.replace(minute=0, second=0)
PASSWORD = "một hai ba bốn"
#: What nobody may get past a page as anything but text.
NASTY = "\"><script>alert('x')</script>"
COMMUNES = ("Tân An", "Lý Nhân", "Hoà Bình", "Đồng Lương", "Sơn Dương", "Vĩnh Tường", "Tam Đảo", "Thanh Sơn")


@cache
def hashed(password: str) -> str:
    """As cheap as argon2id can be: these tests sign in often."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


def user(name: str = "lan", role: Role = "operator", password: str = PASSWORD) -> WebUser:
    return WebUser(name=name, role=role, password_hash=Secret(hashed(password)))


USERS = (user(), user("vy", "viewer"), user("an", "admin"))


@dataclass
class Province:
    database: Database
    store: Store
    state: State
    #: The number of each meeting by its title.
    meetings: dict[str, int]
    now: datetime = NOW

    @asynccontextmanager
    async def served(
        self, config: WebConfig | None = None, port: int | None = None, reports: Keeper | None = None,
        letterhead: ReportConfig | None = None,
    ) -> AsyncIterator[str]:  # fmt: skip
        """The address of its pages."""

        async def ready() -> str | None:
            return None

        app = application(
            self.state, Metrics(self.state, clock=lambda: self.now, version="1"), clock=lambda: self.now,
            timezone=ZONE, ready=ready, pushes={}, config=config or WebConfig(users=USERS), pool=self.database.pool,
            reports=reports or Reports(
                self.database.pool, timezone=ZONE, clock=lambda: self.now, config=ReportConfig(), sources=["pexip-main"]
            ), letterhead=letterhead,
        )  # fmt: skip
        async with TestServer(app, port=port) as server:
            yield str(server.make_url("")).rstrip("/")

    async def incident(self, kind: str, endpoint: str | None, minutes: float, **given: Any) -> int:
        """An incident that opened so many minutes ago, written as the engine would."""
        columns = {
            "kind": kind,
            "opened_at": self.now - timedelta(minutes=minutes),
            "day": self.now.date(),
            "source_id": 1,
        }
        columns |= {"meeting_id": self.meetings["Giao ban"]} | given
        if endpoint is not None:
            columns["endpoint_id"] = await self.database.pool.fetchval(
                "select endpoint_id from conftrack.endpoint where code = $1", endpoint
            )
        names = ", ".join(columns)
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        number: int = await self.database.pool.fetchval(
            f"insert into conftrack.incident ({names}) values ({places}) returning incident_id",  # noqa: S608
            *columns.values(),
        )
        self.state.incidents = {one.incident_id: one for one in await Incidents(self.database.pool, ZONE).open()}
        return number

    async def audit(self) -> list[tuple[str, str]]:
        """Who did what, in order."""
        rows = await self.database.pool.fetch("select actor, action from conftrack.audit order by audit_id")
        return [(row["actor"], row["action"]) for row in rows if row["action"] != "put"]


def code(number: int) -> str:
    return f"PT-{number:02d}"


def alias(number: int) -> str:
    return f"xa-{number}@vc.example"


def leg(number: int, joined: float | None = 0, left: float | None = None, **said: Any) -> LegRecord:
    """Site `number` in the meeting that goes on; times in minutes from its start."""
    known: dict[str, Any] = {
        "external_id": f"leg-{number}", "room": "giao-ban", "meeting": "m-1", "identity": alias(number),
        "protocol": "sip",
        "joined_at": None if joined is None else START + timedelta(minutes=joined),
        "left_at": None if left is None else START + timedelta(minutes=left),
        "rx_loss": 0.004 * number, "tx_loss": 0.0, "rx_bitrate": 1_920_000, "tx_bitrate": 1_900_000,
    }  # fmt: skip
    return LegRecord(**known | said)


def inventory_of(communes: int) -> tuple[list[OrgUnit], list[Endpoint]]:
    units = [OrgUnit(code="PT", name="Tỉnh Phú Thọ")]
    sites = [
        Endpoint(
            code=code(0), name="Hội trường UBND tỉnh", org="PT", seats=200, carrier="VNPT", area="Việt Trì",
            service_hours="07:00-17:30", contact_name="Nguyễn Văn A", contact_phone="0210 384 6001",
            aliases=(alias(0),),
        )
    ]  # fmt: skip
    for number in range(1, communes + 1):
        commune = COMMUNES[(number - 1) % len(COMMUNES)] + ("" if number <= len(COMMUNES) else f" {number}")
        units.append(OrgUnit(code=f"X{number}", name=f"Xã {commune}", parent="PT", level=1))
        sites.append(
            Endpoint(
                code=code(number), name=f"Phòng họp UBND xã {commune}", org=f"X{number}", seats=40,
                carrier="VNPT" if number % 3 else "Viettel", area="Miền núi" if number % 2 else "Đồng bằng",
                service_hours="07:00-17:30", contact_name=f"Trần Thị {number}", contact_phone=f"0912 000 {number:03d}",
                aliases=(alias(number),),
            )
        )  # fmt: skip
    return units, sites


async def a_morning(database: Database, *, communes: int = 8) -> Province:
    """Sites 0-4 are in the meeting, 5 was lost, 6 failed to connect, 7 is absent, 8 excused."""
    store = Store(database.pool, ZONE)
    await store.adopt_timezone()
    units, sites = inventory_of(communes)
    await inventory.put(database.pool, units, sites)
    source = await store.register("pexip-main", "pexip")
    up = [leg(number, number - 3) for number in range(5)]
    up.append(leg(20, 4, identity="Nguyễn Thị Lan", personal=True))
    up.append(leg(21, 5, identity=NASTY))
    others = [
        leg(5, 1, 14, end_class="dropped", end_reason="Media stream timed out"),
        leg(2, -2, 8, external_id="leg-2a", end_class="dropped", end_reason="Call disconnected"),
        leg(6, None, 2, end_class="no_answer", end_reason="Call failed: no answer"),
    ]
    day = timedelta(days=1)
    before = [
        leg(number, external_id=f"old-{number}", meeting="m-0", room="tong-ket", joined_at=START - day,
            left_at=START - day + timedelta(minutes=90 - number), end_class="left")
        for number in range(8)
    ]  # fmt: skip
    seen = NOW - timedelta(seconds=3)
    await store.store(
        source,
        Page(
            stream="participant", origin=Origin.HISTORY, observed_at=seen, position=seen,
            meetings=(MeetingRecord(external_id="m-0", room="tong-ket", title=f"Tổng kết {NASTY}",
                                    started_at=START - day, ended_at=START - day + timedelta(minutes=90)),),
            legs=(*before, *others),
            headcounts=tuple(Headcount(room="tong-ket", at=START - day + timedelta(minutes=30), endpoint=alias(number),
                                       people=10 + number, provenance="reported", note=NASTY) for number in range(3)),
        ), now=NOW,
    )  # fmt: skip
    meeting = MeetingRecord(external_id="m-1", room="giao-ban", title="Giao ban", started_at=START)
    state = State(NOW)
    live = SourceState(name="pexip-main", kind="pexip", live_interval=timedelta(seconds=10))
    state.sources["pexip-main"] = live
    changes = live.board.observe(Snapshot(taken_at=seen, meetings=(meeting,), legs=tuple(up)))
    live.streams["live"] = StreamState(up=True, last_success_at=seen)
    await store.store(source, changes.page, now=NOW)
    await store.refresh()
    await _invite(database, range(communes + 1), excused=8)
    rows = await Reader(database.pool).sites()
    state.know_sites(
        (Site(code=r.code, name=r.name, org=r.org, org_name=r.org_name, carrier=r.carrier, area=r.area), r.aliases)
        for r in rows
    )
    found = await database.pool.fetch("select meeting_id, title from conftrack.meetings")
    titles = {("Giao ban" if row["title"] == "Giao ban" else "Tổng kết"): row["meeting_id"] for row in found}
    return Province(database=database, store=store, state=state, meetings=titles)


async def _invite(database: Database, numbers: range, *, excused: int) -> None:
    invitation = await database.pool.fetchval(
        "insert into conftrack.invitation (uid, source_id, room, title, starts_at, ends_at, origin, known_at) "
        "values ('giao-ban-1', 1, 'giao-ban', 'Giao ban', $1, $2, 'file', $1) returning invitation_id",
        START, START + timedelta(hours=2),
    )  # fmt: skip
    await database.pool.execute(
        "insert into conftrack.expected (invitation_id, endpoint_id) "
        "select $1, endpoint_id from conftrack.endpoint where code = any($2)",
        invitation, [code(number) for number in numbers],
    )  # fmt: skip
    await database.pool.execute(
        "update conftrack.expected set excused_at = $1, excused_by = 'lan', excused_reason = 'mưa lũ' "
        "where endpoint_id = (select endpoint_id from conftrack.endpoint where code = $2)",
        NOW, code(excused),
    )  # fmt: skip
    await database.pool.execute("update conftrack.meeting set invitation_id = $1 where room = 'giao-ban'", invitation)


async def some_incidents(province: Province) -> Mapping[str, int]:
    """One of every kind of interest; the number of each by what it is."""
    pool = province.database.pool
    invitation = await pool.fetchval("select invitation_id from conftrack.invitation")
    outage = await province.incident("outage", None, 18, carrier="Viettel")
    return {
        "outage": outage,
        "part": await province.incident(
            "dropped", code(6), 18, parent_id=outage, end_class="dropped", end_reason="Media stream timed out"
        ),
        "dropped": await province.incident(
            "dropped", code(5), 18.2, end_class="dropped", end_reason="Media stream timed out"
        ),
        "absent": await province.incident("absent", code(7), 32, invitation_id=invitation),
        "quality": await province.incident("quality", code(4), 6),
        "over": await province.incident(
            "dropped", code(2), 24, end_class="dropped", end_reason=NASTY, closed_at=NOW - timedelta(minutes=20)
        ),
        "old": await province.incident(
            "connect_failed", code(3), 60 * 25, end_class="no_answer", meeting_id=province.meetings["Tổng kết"],
            closed_at=NOW - timedelta(hours=24, minutes=40),
        ),
    }  # fmt: skip
