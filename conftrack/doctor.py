"""`conftrack doctor`: looks at everything a working conftrack needs, and says what to do about what is wrong."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Literal

import aiohttp
import asyncpg
import msgspec
from rich.console import Console

from conftrack.config import Config, MailConfig, SourceConfig
from conftrack.errors import ConftrackError, MailError, SourceError
from conftrack.mail import Mailer
from conftrack.sources.base import Clock, Source
from conftrack.storage import migrate
from conftrack.storage.database import Database
from conftrack.storage.mails import Mails
from conftrack.storage.reader import Reader

DISK_WANTED = 2 << 30
LATELY = timedelta(days=40)
"""How long a mail that failed is worth a look: until there is a newer report."""
CLOCK_TOLERANCE = timedelta(seconds=30)
_SIGNS = {"good": "[green]ok[/]  ", "warn": "[yellow]look[/]", "bad": "[red]BAD[/] "}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `remedy` says what to do, where something is to be done."""

    name: str
    state: Literal["good", "warn", "bad"]
    found: str
    remedy: str | None = None


async def examine(
    config: Config | None, problem: str | None, kinds: Mapping[str, type[Source]], *, clock: Clock
) -> list[Check]:
    """Everything, in the order in which one thing needs the other. Changes nothing."""
    if config is None:
        return [Check(name="configuration", state="bad", found=problem or "", remedy="correct it, then come back")]
    checks = [_configuration(config)]
    checks.append(await asyncio.to_thread(_disk, config))
    checks += await _database(config, clock)
    checks += await asyncio.gather(*(_source(source, kinds, clock) for source in config.sources))
    if config.mail.host is not None:
        checks.append(await _mail(config.mail))
    checks.append(await _pages(config))
    return checks


def show(checks: list[Check], console: Console) -> None:
    for check in checks:
        console.print(f"{_SIGNS[check.state]} {check.name}: ", end="")
        console.print(check.found, markup=False, highlight=False, soft_wrap=True)
        if check.remedy is not None:
            console.print(f"      → {check.remedy}", markup=False, highlight=False, soft_wrap=True)


def _configuration(config: Config) -> Check:
    names = ", ".join(source.name for source in config.sources)
    if not config.sources:
        return Check(
            name="configuration", state="warn", found="valid, but without a source",
            remedy="add a [[sources]] table; README, Add your system",
        )  # fmt: skip
    if not config.web.local and not config.web.users:
        return Check(
            name="configuration", state="warn", found="others reach the pages, and nobody may sign in: they answer 403",
            remedy="conftrack user hash prints the lines for a user; README, Who sees the pages",
        )  # fmt: skip
    if config.warnings:
        return Check(name="configuration", state="warn", found="; ".join(config.warnings))
    return Check(name="configuration", state="good", found=f"valid; sources: {names}; days in {config.timezone.key}")


def _disk(config: Config) -> Check:
    folder = config.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / (1 << 30):.1f} GiB free at {folder}"
    if free < DISK_WANTED:
        return Check(name="disk", state="warn", found=found, remedy="make room: a year of a province needs about 1 GiB")
    return Check(name="disk", state="good", found=found)


async def _database(config: Config, clock: Clock) -> list[Check]:
    try:
        async with Database(config.database, config.data_dir, check=False) as database:
            session = await database.connect()
            try:
                return [check async for check in _schema(database, session, clock)]
            finally:
                await session.close()
    except ConftrackError as error:
        return [Check(name="database", state="bad", found=str(error), remedy="start it, or correct [database] dsn")]


async def _schema(
    database: Database, session: asyncpg.Connection[asyncpg.Record], clock: Clock
) -> AsyncIterator[Check]:
    server = session.get_server_version()
    kind = "embedded" if database.embedded else "configured"
    yield Check(name="database", state="good", found=f"Postgres {server.major}.{server.micro}, {kind}")
    drift = abs(await session.fetchval("select clock_timestamp()") - clock())
    yield Check(
        name="clock",
        state="good" if drift < CLOCK_TOLERANCE else "warn",
        found=f"{drift.total_seconds():.1f} s from the database's",
        remedy=None if drift < CLOCK_TOLERANCE else "let both machines take their time from the same NTP server",
    )
    try:
        ready = await migrate.check(session)
    except ConftrackError as error:
        yield Check(name="schema", state="bad", found=str(error), remedy="conftrack db migrate")
        return
    if not ready:
        yield Check(name="schema", state="good", found="empty; the first run makes it")
        return
    yield Check(name="schema", state="good", found="current")
    reader = await session.fetchval("select exists (select from pg_roles where rolname = 'conftrack_reader')")
    yield Check(
        name="reader", state="good" if reader else "warn",
        found="the role conftrack_reader is there" if reader else "there is no role conftrack_reader",
        remedy=None if reader else "as an administrator: create role conftrack_reader; then conftrack db migrate",
    )  # fmt: skip
    for stream in await Reader(database.pool).status():
        if stream.stream is None:
            continue
        short = (stream.source_total or 0) - (stream.stored_total or 0) if stream.stored_total is not None else 0
        found = f"{stream.source} {stream.stream}: "
        if stream.last_error is not None:
            yield Check(name="stream", state="warn", found=f"{found}last attempt failed: {stream.last_error}")
        elif short > 0:
            yield Check(
                name="stream", state="warn", found=f"{found}{short} records of the last window are not stored",
                remedy="conftrack rejected list; or conftrack backfill over the period",
            )  # fmt: skip
        elif stream.rejected:
            yield Check(
                name="stream", state="warn", found=f"{found}{stream.rejected} rejected records",
                remedy="conftrack rejected list shows them",
            )  # fmt: skip
        else:
            read = f"read to {stream.cursor_at:%Y-%m-%d %H:%M}Z" if stream.cursor_at else "current"
            yield Check(name="stream", state="good", found=found + read)
    async for check in _mails(database, clock):
        yield check


async def _source(config: SourceConfig, kinds: Mapping[str, type[Source]], clock: Clock) -> Check:
    name = f"source {config.name}"
    try:
        async with kinds[config.kind](config, clock=clock, observe=lambda **_: None) as source:
            return Check(name=name, state="good", found=await source.check())
    except SourceError as error:
        remedy = "correct its [[sources]] table" if error.permanent else "look whether it is up and reachable from here"
        return Check(name=name, state="bad", found=str(error), remedy=remedy)


async def _mail(config: MailConfig) -> Check:
    try:
        return Check(name="mail", state="good", found=await Mailer(config).check())
    except MailError as error:
        remedy = "correct [mail]" if error.permanent else "look whether it is up and reachable from here"
        return Check(name="mail", state="bad", found=str(error), remedy=remedy)


async def _mails(database: Database, clock: Clock) -> AsyncIterator[Check]:
    """Reports that lately did not go out, or that nobody knows of whether they did."""
    since = clock() - LATELY
    states = Counter(one.state for one in await Mails(database.pool).sent() if one.changed_at >= since)
    remedy = "conftrack report mails names them; README, Reports by mail"
    if unsure := states["unsure"]:
        found = f"nobody knows of {unsure:,} reports whether they arrived"
        yield Check(name="mails", state="warn", found=found, remedy=remedy)
    if missing := states["refused"] + states["waiting"]:
        yield Check(name="mails", state="warn", found=f"{missing:,} reports were not delivered yet", remedy=remedy)


async def _pages(config: Config) -> Check:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.web.host, config.web.host)  # noqa: S104  (compared)
    address = f"http://[{host}]:{config.web.port}" if ":" in host else f"http://{host}:{config.web.port}"
    try:
        async with _session() as session, session.get(f"{address}/metrics") as answer:
            series = sum(1 for line in (await answer.text()).splitlines() if line and not line.startswith("#"))
            return Check(name="metrics", state="good", found=f"{address}/metrics gives {series:,} series")
    except (aiohttp.ClientError, TimeoutError):
        return Check(
            name="metrics", state="warn", found=f"nothing answers at {address}", remedy="start it: conftrack run"
        )


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5), raise_for_status=True) as session:
        yield session
