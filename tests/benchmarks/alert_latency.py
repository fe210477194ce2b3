"""From the moment an endpoint drops to the moment a person's webhook is told, with everything that lies between.

    python -m tests.benchmarks.alert_latency [--drops 20]

A simulated Pexip loses endpoints of one meeting, one after the other, at moments that fall anywhere between two polls.
`conftrack run`, in a process of its own, asks it every 5 s; a real Prometheus scrapes conftrack every 5 s, evaluates
the shipped rules every 2 s and tells a real Alertmanager, which has the shipped routes, and a webhook to send to. The
inventory is the whole simulated province, 3,000 endpoints.

20 s of it are the grace: who is back by then was not gone. conftrack does not wait for its next poll but looks when the
grace ends, so a system that pushes would save little; how much, is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import aiohttp
import asyncpg
import msgspec
from aiohttp.test_utils import TestServer

from conftrack.config import DatabaseConfig, Secret
from conftrack.model import Endpoint, OrgUnit
from conftrack.simulator import VIETNAM, Conference, Leg, Meeting, World, pexip_app
from conftrack.simulator.plan import micros
from conftrack.simulator.province import Endpoint as Site
from conftrack.simulator.province import Province
from conftrack.sources.base import normalise_alias
from conftrack.storage import inventory, migrate
from conftrack.storage.database import Database
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.store import Store
from tests.alerting import Webhook, adapted_alertmanager, alertmanager, free_port, prometheus, ready
from tests.service_process import Service

GRACE = 20.0
READY_WITHIN = 25.0
"""Seconds from the start of conftrack to the first drop."""
SPACING = 6.7
"""Seconds between two drops: no multiple of any interval."""
TOLD_WITHIN = 60.0


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint's drop, and how many seconds after it each station knew of it."""

    endpoint: str
    #: The leg's end is in the database: the poll came, and was stored.
    polled: float
    #: The incident is in the database.
    opened: float
    #: /metrics shows it.
    shown: float
    #: Prometheus scraped it.
    scraped: float
    #: The rule fired.
    fired: float
    #: The webhook had it: Alertmanager was told, waited for its group, and sent.
    told: float


STATIONS = tuple(field.name for field in msgspec.structs.fields(Drop) if field.name != "endpoint")


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - programs with the real clock are measured


def stage(province: Province, dropped: Sequence[datetime], now: datetime) -> tuple[World, list[str]]:
    """A meeting of all units that went on for ten minutes and goes on for an hour, and of which these drop; their
    codes, in order. They are spread over the province, so that they are no outage of anything."""
    sites = list({site.org: site for site in reversed(province.endpoints) if site.is_room}.values())
    apart = len(sites) // len(dropped)
    assert apart > 3, "the province has not so many units"
    dropping = dict(zip((site.code for site in sites[::apart]), dropped, strict=False))
    begun, ends = now - timedelta(minutes=10), now + timedelta(hours=1)
    legs = [_leg(site, begun, dropping.get(site.code, ends)) for site in sites]
    conference = Conference(id="c" * 32, name="Giao ban", start=micros(begun), end=micros(ends), legs=legs)
    world = World.staged([Meeting(room="Giao ban", conferences=[conference], heads=[])], anchor=now)
    return world, list(dropping)


def _leg(site: Site, joined: datetime, left: datetime) -> Leg:
    alias = site.aliases[0]
    return Leg(
        id=str(uuid5(NAMESPACE_OID, site.code)), call=str(uuid5(NAMESPACE_OID, f"call {site.code}")),
        identity=alias, shown=alias, name=site.name, endpoint=site.code, vendor=site.vendor,
        placed=micros(joined), joined=micros(joined), left=micros(left),
        end_class="dropped", reason="Connection timed out",
    )  # fmt: skip


async def take_inventory(dsn: str, folder: Path, province: Province) -> None:
    units = [
        OrgUnit(code=u.code, name=u.name, parent=u.parent, level=1 if u.parent else 0,
                valid_from=date.fromisoformat(u.valid_from))
        for u in province.units
    ]  # fmt: skip
    endpoints = [
        Endpoint(
            code=e.code, name=e.name, org=e.org, kind=e.kind, seats=e.seats, carrier=e.carrier, area=e.area,
            aliases=tuple(alias for a in e.aliases if (alias := normalise_alias(a))),
        )
        for e in province.endpoints
    ]  # fmt: skip
    async with Database(DatabaseConfig(dsn=Secret(dsn)), folder) as database:
        await Store(database.pool, VIETNAM).adopt_timezone()
        await inventory.put(database.pool, units, endpoints)


async def measure(dsn: str, folder: Path, drops: int) -> list[Drop]:
    """Drops so many endpoints, and follows each until the webhook has it. `dsn`: a migrated, empty database."""
    province = World.staged([], anchor=_now()).province
    await take_inventory(dsn, folder, province)
    port = free_port()
    async with Webhook.served() as webhook, aiohttp.ClientSession() as client:
        with (
            alertmanager(folder, adapted_alertmanager(webhook.url)) as desk,
            prometheus(folder, f"127.0.0.1:{port}", desk) as series,
        ):
            await asyncio.gather(ready(client, desk), ready(client, series))
            first = _now() + timedelta(seconds=READY_WITHIN)
            moments = [first + timedelta(seconds=SPACING * number) for number in range(drops)]
            world, codes = stage(province, moments, _now())
            async with TestServer(pexip_app(world, _now), host="127.0.0.1") as pexip:
                service = Service(_config(folder, dsn, f"http://127.0.0.1:{pexip.port}"), port)
                try:
                    await _chain_ready(client, series)
                    assert _now() < first, f"it took more than {READY_WITHIN} s until everything was up"
                    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=4)
                    async with pool, asyncio.TaskGroup() as following:
                        follow = _Following(client, pool, service.url, series, webhook)
                        tasks = [
                            following.create_task(follow.drop(code, at))
                            for code, at in zip(codes, moments, strict=True)
                        ]
                finally:
                    await asyncio.to_thread(service.stop)
    return [task.result() for task in tasks]


def _config(folder: Path, dsn: str, pexip: str) -> Path:
    path = folder / "conftrack.toml"
    path.write_text(
        f'[database]\ndsn = "{dsn}"\n[[sources]]\nname = "phu-tho"\nkind = "pexip"\nurl = "{pexip}"\n'
        'username = "reporter"\npassword = "nguoi-xem"\nlive_interval = "5s"\n'
    )
    return path


async def _chain_ready(client: aiohttp.ClientSession, series: str) -> None:
    """Returns once the source has been read, and Prometheus has seen that, and knows whom to tell."""

    async def scraped() -> bool:
        return bool(await _query(client, series, 'conftrack_meetings_live{source="phu-tho"} == 1'))

    async def tells() -> bool:
        async with client.get(f"http://{series}/api/v1/alertmanagers") as answer:
            return bool((await answer.json())["data"]["activeAlertmanagers"])

    for wanted in (scraped, tells):
        await _until(wanted, READY_WITHIN, every=0.2)


class _Following:
    def __init__(
        self,
        client: aiohttp.ClientSession,
        pool: asyncpg.Pool[asyncpg.Record],
        conftrack: str,
        series: str,
        webhook: Webhook,
    ) -> None:
        self._client, self._pool, self._conftrack = client, pool, conftrack
        self._series, self._webhook = series, webhook

    async def drop(self, endpoint: str, at: datetime) -> Drop:
        await asyncio.sleep((at - _now()).total_seconds())
        info = f'conftrack_incident_info{{endpoint="{endpoint}",kind="dropped"}}'

        async def polled() -> bool:
            row = await self._pool.fetchval(
                "select count(*) from conftrack.legs where endpoint = $1 and left_at is not null", endpoint
            )
            return bool(row)

        async def opened() -> bool:
            row = await self._pool.fetchval("select count(*) from conftrack.incidents where endpoint = $1", endpoint)
            return bool(row)

        async def shown() -> bool:
            async with self._client.get(f"{self._conftrack}/metrics") as answer:
                text = await answer.text()
            return re.search(rf'^conftrack_incident_info{{.*endpoint="{endpoint}"', text, re.MULTILINE) is not None

        known = [await _until(station, TOLD_WITHIN, every=0.1) for station in (polled, opened, shown)]
        message = await self._webhook.until(
            lambda m: any(a["labels"].get("endpoint") == endpoint for a in m.alerts), TOLD_WITHIN
        )
        (alert,) = [a for a in message.alerts if a["labels"].get("endpoint") == endpoint]
        assert alert["labels"]["alertname"] == "ConftrackEndpointDropped", alert["labels"]
        (sampled,) = await _query(self._client, self._series, f"{info}[2m]")
        scraped = datetime.fromtimestamp(float(sampled["values"][0][0]), UTC)
        fired = datetime.fromisoformat(alert["startsAt"])
        stations = [(moment - at).total_seconds() for moment in (*known, scraped, fired, message.at)]
        return Drop(endpoint=endpoint, **dict(zip(STATIONS, stations, strict=True)))


async def _until(wanted: Callable[[], Awaitable[bool]], seconds: float, *, every: float) -> datetime:
    """When it was so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if await wanted():
                return _now()
        except aiohttp.ClientError:
            pass  # not up yet
        await asyncio.sleep(every)
    raise AssertionError(f"{wanted.__name__}: not within {seconds} s")


async def _query(client: aiohttp.ClientSession, series: str, expression: str) -> list[dict[str, Any]]:
    async with client.get(f"http://{series}/api/v1/query", params={"query": expression}) as answer:
        result: list[dict[str, Any]] = (await answer.json())["data"]["result"]
    return result


def table(drops: Sequence[Drop]) -> str:
    """Each drop, then median and worst; seconds since the drop."""
    rows = [("endpoint", *STATIONS)]
    rows += [(drop.endpoint, *(f"{getattr(drop, name):.1f}" for name in STATIONS)) for drop in drops]
    for name, of in (("median", statistics.median), ("worst", max)):
        rows.append((name, *(f"{of([getattr(drop, station) for drop in drops]):.1f}" for station in STATIONS)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join((row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))))
        for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--drops", type=int, default=20)
    drops = parser.parse_args().drops
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres") as dsn:
            asyncio.run(_migrate(dsn))
            measured = asyncio.run(measure(dsn, folder, drops))
    print(table(measured))
    steps = [
        ("the poll that misses it", "polled", None),
        ("the rest of the grace, and the incident", "opened", "polled"),
        ("into /metrics", "shown", "opened"),
        ("scrape", "scraped", "shown"),
        ("rule", "fired", "scraped"),
        ("group wait, and sending", "told", "fired"),
    ]
    print()
    for text, to, since in steps:
        spans = [getattr(drop, to) - (getattr(drop, since) if since else 0.0) for drop in measured]
        print(f"{text:40} median {statistics.median(spans):5.1f} s   worst {max(spans):5.1f} s")
    late = statistics.median(drop.opened for drop in measured) - GRACE
    print(f"\nA push would open the incident when the grace ends: {max(late, 0.0):.1f} s sooner in the median.")


async def _migrate(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await migrate.migrate(connection)
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
