"""A cycle of the incidents engine: what it costs follows what changed, not how many endpoints there are.

    python -m tests.benchmarks.incident_cycle [--rounds 3]

An inventory of 3,000 endpoints, then one of 30,000. Of either, 3,000 join 22 meetings within five minutes of polls
every 5 seconds; then 500 drop within one second, their causes are told, and they are known to have failed. A cycle is
what the collector does with one snapshot: store what changed, derive meetings, usage and incidents. Prints the seconds
of a cycle in which nothing changes, of the joining ones, and of the one that opens the 500 incidents; and the ratio of
the large inventory to the small one (wanted: near 1, at most 1.5).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg

from conftrack.board import Board
from conftrack.config import DatabaseConfig, Secret
from conftrack.incidents.keeper import Incidents
from conftrack.model import Endpoint, LegRecord, MeetingRecord, OrgUnit, Origin, Page, Snapshot
from conftrack.storage import inventory, migrate
from conftrack.storage.database import Database
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.store import Store
from tests.conftest import with_database

START = datetime(2026, 11, 24, 1, tzinfo=UTC)
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
POLL = timedelta(seconds=5)
JOINING, DROPPING, MEETINGS, POLLS = 3000, 500, 22, 60


def code(number: int) -> str:
    return f"PT-{number:05}"


def alias(number: int) -> str:
    return f"pt-{number:05}@vc.phutho.example"


class Cycles:
    """The collector's work on one source, without the source."""

    def __init__(self, database: Database, source_id: int) -> None:
        self._store = Store(database.pool, ZONE)
        self._incidents = Incidents(database.pool, ZONE)
        self._source_id = source_id
        self._board = Board()
        self.now = START

    async def see(self, legs: dict[int, LegRecord]) -> float:
        """One snapshot, `POLL` after the last; the seconds it took."""
        self.now += POLL
        rooms = {leg.room for leg in legs.values()}
        meetings = tuple(MeetingRecord(external_id=room, room=room, started_at=START) for room in rooms)
        began = time.perf_counter()
        changes = self._board.observe(Snapshot(taken_at=self.now, meetings=meetings, legs=tuple(legs.values())))
        await self._store.store(self._source_id, changes.page, now=self.now)
        await self._derive()
        return time.perf_counter() - began

    async def tell(self, ended: list[LegRecord]) -> float:
        """A page of history; the seconds it took."""
        page = Page(
            stream="participant", origin=Origin.HISTORY, observed_at=self.now, legs=tuple(ended), position=self.now
        )
        began = time.perf_counter()
        await self._store.store(self._source_id, page, now=self.now)
        await self._derive()
        return time.perf_counter() - began

    async def _derive(self) -> None:
        await self._store.refresh()
        await self._incidents.refresh()


async def run(dsn: str, endpoints: int) -> dict[str, float]:
    admin = await asyncpg.connect(dsn)
    await admin.execute("drop database if exists bench with (force)")
    await admin.execute("create database bench")
    await admin.close()
    bench = with_database(dsn, "bench")
    connection = await asyncpg.connect(bench)
    await migrate.migrate(connection)
    await connection.close()
    async with Database(DatabaseConfig(dsn=Secret(bench)), Path()) as database:
        units = [OrgUnit(code="PT", name="Phú Thọ")] + [
            OrgUnit(code=f"XA-{n}", name=f"Xã {n}", parent="PT", level=1) for n in range(endpoints // 20)
        ]
        sites = [
            Endpoint(code=code(n), name=code(n), org=f"XA-{n // 20}", carrier=("VNPT", "Viettel")[n % 2],
                     aliases=(alias(n),)) for n in range(endpoints)
        ]  # fmt: skip
        await inventory.put(database.pool, units, sites)
        cycles = Cycles(database, await Store(database.pool, ZONE).register("bench", "pexip"))
        legs: dict[int, LegRecord] = {}
        joining = []
        for poll in range(POLLS):
            for n in range(poll * JOINING // POLLS, (poll + 1) * JOINING // POLLS):
                room = f"room-{n % MEETINGS}"
                legs[n] = LegRecord(
                    external_id=f"leg-{n}", meeting=room, room=room, identity=alias(n), direction="out",
                    joined_at=cycles.now + timedelta(seconds=n % 5),
                )  # fmt: skip
            joining.append(await cycles.see(legs))
        idle = [await cycles.see(legs) for _ in range(10)]
        lost_at = cycles.now + timedelta(seconds=1)
        lost = [legs.pop(n) for n in range(DROPPING)]
        dropping = [await cycles.see(legs)]
        dropping.append(
            await cycles.tell(
                [
                    LegRecord(
                        external_id=leg.external_id, meeting=leg.meeting, room=leg.room, identity=leg.identity,
                        direction="out", joined_at=leg.joined_at, left_at=lost_at, end_class="dropped",
                    ) for leg in lost
                ]
            )
        )  # fmt: skip
        while cycles.now < lost_at + timedelta(seconds=20):
            opening = await cycles.see(legs)
        opened = await database.pool.fetchval(
            "select count(*) from conftrack.incidents where closed_at is null and kind = 'dropped'"
        )
        assert opened == DROPPING, opened
    return {
        "idle": statistics.median(idle),
        "50 joins, at first": statistics.median(joining[:10]),
        "50 joins, at last": statistics.median(joining[-10:]),
        "500 leaves": dropping[0],
        "500 causes": dropping[1],
        "500 incidents": opening,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder)) as dsn:
            sizes = (3_000, 30_000)
            rounds = [[asyncio.run(run(dsn, size)) for size in sizes] for _ in range(arguments.rounds)]
    print(f"{'a cycle with':20} {'3,000 endpoints':>16} {'30,000 endpoints':>17} {'ratio':>6}")
    for step in rounds[0][0]:
        small, large = (statistics.median(r[place][step] for r in rounds) for place in (0, 1))
        print(f"{step:20} {small * 1000:13.1f} ms {large * 1000:14.1f} ms {large / small:6.2f}")


if __name__ == "__main__":
    main()
