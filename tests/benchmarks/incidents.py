"""Precision and recall of incidents over a simulated month in which everything goes wrong that can.

    python -m tests.benchmarks.incidents [--meetings 22] [--minutes 25] [--seed 1] [--every 5 10 0]

Prints a table for each way of watching: polls every so many seconds (0: none, history alone), a collector that is
started anew in one meeting and a source that is dead for three minutes in another. Times in it are the world's.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import asyncpg

from conftrack.config import DatabaseConfig, Secret
from conftrack.storage import migrate
from conftrack.storage.database import Database
from conftrack.storage.embedded import EmbeddedPostgres
from tests.conftest import with_database
from tests.incident_month import Watching, collected, compared, month


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meetings", type=int, default=22)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, nargs="+", default=[5, 10, 0])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as dsn:
        for number, seconds in enumerate(arguments.every):
            asyncio.run(report(dsn, f"month{number}", Path(folder), seconds, arguments))


async def report(dsn: str, name: str, folder: Path, seconds: float, arguments: argparse.Namespace) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'create database "{name}"')
    await connection.close()
    dsn = with_database(dsn, name)
    connection = await asyncpg.connect(dsn)
    await migrate.migrate(connection)
    await connection.close()
    world = month(arguments.seed, arguments.meetings, arguments.minutes)
    watching = Watching(
        every=timedelta(seconds=seconds) if seconds else None, restarted=frozenset({1}), dead=frozenset({3})
    )  # fmt: skip
    began = time.monotonic()
    async with Database(DatabaseConfig(dsn=Secret(dsn)), folder) as database:
        watched = await collected(world, database, watching)
        comparison = await compared(world, database, watched, live=watching.every is not None)
    print(f"\n{f'polled every {seconds:g} s' if seconds else 'history alone'}, in {time.monotonic() - began:.0f} s")
    print(comparison.table())
    for wrong in (*comparison.missed, *comparison.false, *comparison.false_alarms):
        print(f"  {wrong}")


if __name__ == "__main__":
    main()
