"""Storing 250,000 legs, meetings and usage derived, against a bare COPY of the same rows into the same table.

    python -m tests.benchmarks.ingest [--legs 250000] [--page 5000] [--rounds 3]

The floor is asyncpg's COPY into an empty clone of `leg` with all its indexes, on the same server: what Postgres
itself needs to take the rows in. Prints one line a step and the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg

from conftrack.config import DatabaseConfig, Secret
from conftrack.model import LegRecord, MeetingRecord, Origin, Page
from conftrack.storage import migrate
from conftrack.storage.database import Database
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.store import Outcome, Store

START = datetime(2026, 1, 5, 1, tzinfo=UTC)
LEGS_PER_MEETING = 40


def pages(legs: int, size: int) -> Iterator[Page]:
    """A year's meetings as a source would give them: conferences, then their legs, oldest first."""
    generator = random.Random(7)
    meetings = legs // LEGS_PER_MEETING
    conferences, records = [], []
    for m in range(meetings):  # spread over 250 working days, from eight o'clock on
        day, place = divmod(m, meetings // 250 + 1)
        start = START + timedelta(days=day * 7 // 5, minutes=20 * (place % 24), seconds=place)
        end = start + timedelta(minutes=90)
        meeting = f"c0000000-aaaa-4bbb-8ccc-{m:012d}"
        conferences.append(MeetingRecord(external_id=meeting, room=f"room-{m % 300}", started_at=start, ended_at=end))
        for i in range(LEGS_PER_MEETING):
            joined = start + timedelta(seconds=generator.randrange(600))
            records.append(
                LegRecord(
                    external_id=f"p0000000-aaaa-4bbb-8ccc-{m * LEGS_PER_MEETING + i:012d}",
                    meeting=meeting, room=f"room-{m % 300}",
                    identity=f"xa-{generator.randrange(3000):04d}@vc.phutho.example", protocol="SIP", direction="out",
                    joined_at=joined, left_at=joined + timedelta(seconds=generator.randrange(60, 4600)),
                    end_class="left", end_reason="Call disconnected", rx_bitrate=1_920_000, tx_bitrate=1_920_000,
                    rx_loss=generator.random() / 50, tx_loss=generator.random() / 50,
                )
            )  # fmt: skip
    observed = START + timedelta(days=400)
    for at in range(0, len(conferences), size):
        listed = tuple(conferences[at : at + size])
        yield Page(
            stream="conference", origin=Origin.HISTORY, observed_at=observed, position=listed[-1].ended_at,
            meetings=listed,
        )  # fmt: skip
    for at in range(0, len(records), size):
        legs_of_page = tuple(records[at : at + size])
        yield Page(
            stream="participant", origin=Origin.HISTORY, observed_at=observed, position=legs_of_page[-1].left_at,
            legs=legs_of_page,
        )  # fmt: skip


async def store_all(store: Store, source: int, pages: list[Page], now: datetime) -> Outcome:
    """As the collector does it: a page is prepared while the one before it is committed."""
    outcome = Outcome()
    committing: asyncio.Task[Outcome] | None = None
    for page in pages:
        prepared = await store.prepare(source, page)
        if committing is not None:
            outcome += await committing
        committing = asyncio.create_task(store.commit(prepared, now=now))
    return outcome + await committing if committing else outcome


async def run(dsn: str, legs: int, size: int) -> dict[str, float]:
    admin = await asyncpg.connect(dsn)
    await admin.execute("drop database if exists bench with (force)")
    await admin.execute("create database bench")
    await admin.close()
    bench = dsn.replace("/postgres?", "/bench?")
    connection = await asyncpg.connect(bench)
    await migrate.migrate(connection)
    ready = list(pages(legs, size))
    seconds: dict[str, float] = {}
    now = START + timedelta(days=400)
    async with Database(DatabaseConfig(dsn=Secret(bench)), Path()) as database:
        store = Store(database.pool, ZoneInfo("Asia/Ho_Chi_Minh"))
        source = await store.register("bench", "pexip")
        for step in ("first", "again"):
            began = time.perf_counter()
            outcome = await store_all(store, source, ready, now)
            seconds[f"{step}: pages"] = time.perf_counter() - began
            await store.refresh()
            seconds[step] = time.perf_counter() - began
            expected = 0 if step == "again" else legs + legs // LEGS_PER_MEETING
            assert outcome.changed == expected, outcome
    rows = await connection.fetch("select * from conftrack.leg order by leg_id")
    await connection.execute("create table floor (like conftrack.leg including all)")
    columns = [name for name in rows[0].keys() if name != "leg_id"]  # noqa: SIM118  (a Record iterates its values)
    tuples = [tuple(row[name] for name in columns) for row in rows]
    began = time.perf_counter()
    for at in range(0, legs, size):
        await connection.copy_records_to_table("floor", records=tuples[at : at + size], columns=columns)
    seconds["floor"] = time.perf_counter() - began
    await connection.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--legs", type=int, default=250_000)
    parser.add_argument("--page", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dsn", help="a server to use instead of the embedded one; its database `bench` is replaced")
    arguments = parser.parse_args()
    if arguments.dsn:
        report(arguments.dsn, arguments)
    else:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            with EmbeddedPostgres(Path(folder)) as dsn:
                report(dsn, arguments)


def report(dsn: str, arguments: argparse.Namespace) -> None:
    rounds = [asyncio.run(run(dsn, arguments.legs, arguments.page)) for _ in range(arguments.rounds)]
    median = {step: statistics.median(r[step] for r in rounds) for step in rounds[0]}
    for step, seconds in median.items():
        print(f"{step:14} {seconds:7.2f} s  {arguments.legs / seconds:9,.0f} legs/s")
    print(f"first load runs at {median['floor'] / median['first']:.2f} of COPY's rate (wanted: at least 0.50)")
    print(f"reading it again takes {median['again'] / median['first']:.2f} of the first time (wanted: below 1)")


if __name__ == "__main__":
    main()
