"""A year of history from a management node into Postgres: conftrack against dlt.

    python -m tests.benchmarks.end_to_end [--records 250000] [--rounds 1] [--only conftrack]

One simulated Pexip, in a process of its own and with all its answers encoded beforehand, is read by both. conftrack
reads conferences, participants and backplanes, derives meetings and computes usage. dlt (`dlt_peer.py`) loads the
conferences and the participants into another database of the same server. Both ask for pages of 1,000 in order of end
time, both must end with as many rows as the node says it holds, and neither's import is counted.

dlt runs as it comes, which makes tables of their own of the lists inside the rows; the same but with the lists kept as
JSON, which spares it work; and so and tuned for two cores besides. It is installed into an environment of its own below
the user's cache directory.

The node's history stands still meanwhile, so that reading all of it again finds nothing new: "again". What conftrack
does instead in its next cycle, reading from its cursor on, is "next".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from aiolimiter import AsyncLimiter
from platformdirs import user_cache_path

from conftrack.collector import Collector
from conftrack.config import DatabaseConfig, Secret, SourceConfig
from conftrack.incidents.keeper import Incidents
from conftrack.sources.pexip import PexipSource
from conftrack.sources.pexip.history import PAGE
from conftrack.state import SourceState
from conftrack.storage.database import Database
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.store import Store
from tests.benchmarks import dlt_peer
from tests.conftest import with_database

DLT = "1.31.0"
#: Where the simulated year ends and the node's clock stands still: an evening, with everybody gone home.
ANCHOR = datetime(2026, 11, 24, 13, tzinfo=UTC)
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
PARTICIPANTS_PER_SCALE = 33_300

P = ParamSpec("P")
T = TypeVar("T")


class Pexip(msgspec.Struct, frozen=True):
    """A running simulator, as it announces itself."""

    url: str
    username: str
    password: str


class Rows(msgspec.Struct, frozen=True):
    conferences: int
    participants: int

    @property
    def total(self) -> int:
        return self.conferences + self.participants


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What collecting came to. Times in seconds, memory in MiB."""

    first: float
    again: float
    next: float
    #: Of the first reading: time on the processor, requests, and how long they were held back to spare the node.
    processor: float
    requests: int
    held_back: float
    #: The most memory that the process ever had, all three readings.
    peak: float
    rows: Rows


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A way to run dlt, see `dlt_peer.Task`; `wanted`: how many times as fast conftrack is to be."""

    tables: bool
    tuned: bool
    wanted: int | None = None


WAYS = {
    "as it comes": Way(tables=True, tuned=False, wanted=10),
    "lists as JSON": Way(tables=False, tuned=False),
    "tuned": Way(tables=False, tuned=True, wanted=5),
}


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What dlt came to, in seconds."""

    first: float
    again: float
    parts: str


# -- the node


@contextmanager
def simulated_pexip(scale: float) -> Iterator[Pexip]:
    """Serves until the block is left, or this process ends."""
    command = (
        sys.executable, "-m", "conftrack.simulator", "--scale", str(scale), "--anchor", ANCHOR.isoformat(),
        "--speed", "0", "--warm", "--rate-limit", "1000000000", "--stop-with-stdin",
    )  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield msgspec.json.decode(process.stdout.readline(), type=Pexip)


def held_by(pexip: Pexip) -> Rows:
    """What the node says that it holds."""
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, pexip.url, pexip.username, pexip.password)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))

    def total(name: str) -> int:
        with opener.open(f"{pexip.url}/api/admin/history/v1/{name}/?limit=1") as answer:
            return int(json.load(answer)["meta"]["total_count"])

    return Rows(total("conference"), total("participant"))


# -- conftrack


def in_own_process(function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """The function's result, from a fresh interpreter."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(function, *arguments, **keywords).result()


def collect(pexip: Pexip, dsn: str) -> Collected:
    """Everything the node holds into an empty database, then all of it again, then the cycle after that."""
    with patch("conftrack.sources.http.AsyncLimiter", TimedLimiter):
        return asyncio.run(_collect(pexip, dsn))


class TimedLimiter(AsyncLimiter):
    """Knows how long it has held requests back."""

    held = 0.0

    async def acquire(self, amount: float = 1) -> None:
        began = time.perf_counter()
        await super().acquire(amount)
        TimedLimiter.held += time.perf_counter() - began


async def _collect(pexip: Pexip, dsn: str) -> Collected:
    config = SourceConfig(
        name="node", kind="pexip", url=pexip.url, username=pexip.username, password=Secret(pexip.password)
    )
    now = ANCHOR + timedelta(minutes=1)
    requests = 0

    def observe(*, stream: str, status: str, seconds: float) -> None:
        nonlocal requests
        assert status == "200", f"{stream}: {status}"
        requests += 1

    seconds = []
    began, began_processor = time.perf_counter(), time.process_time()
    async with Database(DatabaseConfig(dsn=Secret(dsn)), Path()) as database:
        zone = ZoneInfo("Asia/Ho_Chi_Minh")
        store, incidents = Store(database.pool, zone), Incidents(database.pool, zone)
        await store.adopt_timezone()
        source_id = await store.register(config.name, config.kind)
        for reading in ("first", "again", "next"):
            async with PexipSource(config, clock=lambda: now, observe=observe) as source:
                state = SourceState(name=config.name, kind=config.kind, live_interval=config.live_interval)
                collector = Collector(
                    config, source, source_id, store=store, incidents=incidents, state=state, clock=lambda: now
                )
                for stream in source.streams:
                    if reading == "again":
                        result = await collector.backfill(stream, BEGINNING, now)
                    else:
                        result = await collector.catch_up(stream)
                    assert result.error is None, result.error
                    assert reading == "first" or result.outcome.changed == 0, result.outcome
                await collector.derive()
            seconds.append(time.perf_counter() - began)
            if reading == "first":
                processor, asked, held_back = time.process_time() - began_processor, requests, TimedLimiter.held
            began = time.perf_counter()
        counts = await database.pool.fetchrow(
            "select (select count(*) from conftrack.conference),"
            " (select count(*) from conftrack.leg where excluded is distinct from 'backplane')"
        )
    assert counts is not None
    return Collected(
        first=seconds[0], again=seconds[1], next=seconds[2], processor=processor, requests=asked, held_back=held_back,
        peak=_peak(), rows=Rows(*counts),
    )  # fmt: skip


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


# -- dlt


def dlt_python() -> Path:
    """An interpreter that has dlt, installed if need be."""
    place = user_cache_path("conftrack") / "benchmarks" / f"dlt-{DLT}"
    python, finished = place / "bin" / "python", place / "finished"
    if not finished.exists():
        shutil.rmtree(place, ignore_errors=True)
        print(f"installing dlt {DLT} into {place}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"dlt[postgres]=={DLT}"], check=True)
        finished.touch()
    return python


def load_by_dlt(pexip: Pexip, dsn: str, expected: Rows, way: Way) -> Loaded:
    """Everything the node holds into a database that was empty, and all of it again."""
    asyncio.run(replace_database(dsn, "peer"))
    # It wants a host and a password even for a socket, where neither is used.
    socket = parse_qs(urlsplit(dsn).query)["host"][0]
    with tempfile.TemporaryDirectory() as folder:
        task: dlt_peer.Task = {
            "url": pexip.url, "username": pexip.username, "password": pexip.password,
            "dsn": f"postgresql://postgres:none@localhost:5432/peer?host={socket}",
            "folder": folder, "tuned": way.tuned, "tables": way.tables, "readings": 2,
        }  # fmt: skip
        command = (dlt_python(), dlt_peer.__file__, json.dumps(task))
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
            try:
                output, _ = process.communicate()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its workers too
    assert process.returncode == 0, f"dlt ended with {process.returncode}"
    first, again = map(_load, output.splitlines())
    for load in (first, again):
        assert Rows(load["conferences"], load["participants"]) == expected, f"{load} instead of {expected}"
    return Loaded(first=_seconds(first), again=_seconds(again), parts=_parts(first))


def _load(line: bytes) -> dlt_peer.Load:
    load: dlt_peer.Load = json.loads(line)
    return load


def _seconds(load: dlt_peer.Load) -> float:
    return load["extract"] + load["normalize"] + load["load"]


def _parts(load: dlt_peer.Load) -> str:
    return f"extract {load['extract']:.1f}, normalize {load['normalize']:.1f}, load {load['load']:.1f}"


# -- the comparison


async def replace_database(dsn: str, name: str) -> str:
    """An empty database of that name on the server; its DSN."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'drop database if exists "{name}" with (force)')
    await connection.execute(f'create database "{name}"')
    await connection.close()
    return with_database(dsn, name)


@contextmanager
def postgres() -> Iterator[str]:
    """The DSN of a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user, who must get there
        with EmbeddedPostgres(Path(folder)) as dsn:
            yield dsn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=250_000, help="participants, roughly")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=["conftrack"], help="leave dlt out")
    arguments = parser.parse_args()
    assert PAGE == dlt_peer.PAGE
    peers: dict[str, list[Loaded]] = {} if arguments.only else {name: [] for name in WAYS}
    if peers:
        dlt_python()
    with postgres() as dsn, simulated_pexip(arguments.records / PARTICIPANTS_PER_SCALE) as pexip:
        expected = held_by(pexip)
        print(f"{expected.participants:,} participants and {expected.conferences:,} conferences", flush=True)
        ours: list[Collected] = []
        for _ in range(arguments.rounds):
            collected = in_own_process(collect, pexip, asyncio.run(replace_database(dsn, "ours")))
            assert collected.rows == expected, f"{collected.rows} instead of {expected}"
            show(collected)
            ours.append(collected)
            for name, loads in peers.items():
                loads.append(load_by_dlt(pexip, dsn, expected, WAYS[name]))
                print(f"  dlt {name}: {loads[-1].first:.1f} s, again {loads[-1].again:.1f} s", flush=True)
    first, again = (statistics.median(getattr(c, step) for c in ours) for step in ("first", "again"))
    line("conftrack", first, again, expected)
    for name, loads in peers.items():
        peer_first, peer_again = (statistics.median(getattr(x, step) for x in loads) for step in ("first", "again"))
        line(f"dlt {name}", peer_first, peer_again, expected)
        wanted = f" (wanted: at least {WAYS[name].wanted})" if WAYS[name].wanted else ""
        print(f"  {loads[0].parts}")
        print(f"  conftrack is {peer_first / first:.1f} times as fast{wanted}, "
              f"and {peer_again / again:.1f} times when all is read again")  # fmt: skip


def show(c: Collected) -> None:
    print(
        f"  conftrack: {c.first:.1f} s ({c.processor:.1f} s on the processor), again {c.again:.1f} s, "
        f"next {c.next:.2f} s; peak {c.peak:.0f} MiB; "
        f"{c.requests} requests, held back for {c.held_back:.1f} s to spare the node",
        flush=True,
    )


def line(name: str, first: float, again: float, rows: Rows) -> None:
    print(f"{name:16} first {first:7.1f} s  {rows.total / first:9,.0f} rows/s   again {again:7.1f} s")


if __name__ == "__main__":
    main()
