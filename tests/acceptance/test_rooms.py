"""From a room device to the head count of a meeting: the running service, a simulated device, a real database."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from aiohttp.test_utils import TestServer

from conftrack.config import Config, DatabaseConfig, Secret, SourceConfig, WebConfig
from conftrack.model import Endpoint
from conftrack.serving import serve
from conftrack.simulator.roomos import RoomDevice
from conftrack.sources.roomos import RoomOsOptions, RoomOsSource
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.store import Store
from tests.worlds import ZONE, leg, page, store_all


async def test_a_meeting_counts_the_people_that_its_rooms_see(database: Database, dsn: str, tmp_path: Path) -> None:
    """Polled, then pushed; when the device falls asleep and dies, the meeting keeps what was seen of it."""
    began = datetime.fromtimestamp(time.time(), UTC)
    now = began
    await inventory.put(database.pool, (), (Endpoint(code="XA-1", name="Xã 1", aliases=("xa-1@vc.example",)),))
    joined = leg(identity="xa-1@vc.example", joined_at=began - timedelta(minutes=10), left_at=None)
    await store_all(Store(database.pool, ZONE), [page(joined)], "bridge")

    store = Store(database.pool, ZONE)

    async def until_counted(people: int) -> None:
        async with asyncio.timeout(20):
            while await database.pool.fetchval("select attendees from conftrack.meetings") != people:
                await asyncio.sleep(0.05)
                await store.refresh()  # the service waits for it by a clock that runs ahead here

    device = RoomDevice(clock=lambda: now, username="reader", password="pw")
    await device.see(7)
    async with TestServer(device.app) as room:
        options = RoomOsOptions(devices={"XA-1": f"http://127.0.0.1:{room.port}"})
        source = SourceConfig(
            name="rooms", kind="roomos", username="reader", password=Secret("pw"), push_password=Secret("push"),
            history_interval=timedelta(hours=1), options=options,
        )  # fmt: skip
        config = Config(
            database=DatabaseConfig(dsn=Secret(dsn)), data_dir=tmp_path, web=WebConfig(port=0), sources=(source,)
        )
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def started(url: str) -> None:
            address.set_result(url)

        service = asyncio.create_task(
            serve(config, database, {"roomos": RoomOsSource}, clock=lambda: now, started=started)
        )
        try:
            await until_counted(7)

            pushing = msgspec.structs.replace(options, feedback_url=f"{await address}/push/rooms")
            told = RoomOsSource(
                msgspec.structs.replace(source, options=pushing), clock=lambda: now, observe=lambda **_: None
            )
            device.slots[4] = told.feedback_url("XA-1")
            now = began + timedelta(minutes=1)
            await device.see(9)
            await until_counted(9)

            now = began + timedelta(minutes=2)
            await device.see(9, standby=True)
            device.trouble = "broken"
        finally:
            service.cancel()
            with suppress(asyncio.CancelledError):
                await service
    await store.refresh()
    await until_counted(9)
    assert device.commands == []
