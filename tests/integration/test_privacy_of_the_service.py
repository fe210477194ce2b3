"""The whole service with people in it: what they are called is nowhere, whichever way it came in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

import aiohttp
import msgspec
import pytest

from conftrack import alerts
from conftrack.config import Config, DatabaseConfig, PrivacyConfig, Secret, SourceConfig, WebConfig
from conftrack.model import Endpoint, LegRecord, MeetingRecord, Origin, Page, Rejected, Snapshot
from conftrack.serving import serve
from conftrack.sources.base import Clock, Observer, Push
from conftrack.storage import inventory
from conftrack.storage.database import Database
from tests.integration.test_privacy import text_of

BEGAN = datetime.now(UTC) - timedelta(minutes=30)  # noqa: TID251  (the service runs by the real clock)
#: A part that any spelling of it has, and that nothing else has.
NAME, MARK = "Võ Thị Zyxwvuq", "zyxwvuq"
TITLE, ROOM, SECRETS = "Giao ban Qwxzkj", "Phòng Jkvbzx", ("qwxzkj", "jkvbzx")


class Stage:
    """A system that tells of people by every way there is: in a meeting, in one of a sensitive title, in one in a
    sensitive room."""

    Options: ClassVar[type[msgspec.Struct] | None] = None
    streams: ClassVar[tuple[str, ...]] = ("history",)
    has_live: ClassVar[bool] = True
    has_push: ClassVar[bool] = True
    polls = 0

    def __init__(self, config: SourceConfig, *, clock: Clock, observe: Observer) -> None:
        self._clock = clock

    async def __aenter__(self) -> Stage:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def live(self) -> Snapshot:
        self.polls += 1
        up = [self._person("live"), self._person("gone")][: 2 - (self.polls > 2)]
        return Snapshot(taken_at=self._clock(), meetings=self._meetings("live"), legs=(*self._legs("live"), *up))

    async def history(
        self, stream: str, since: datetime | None, until: datetime | None = None
    ) -> AsyncGenerator[Page, None]:
        bad = Rejected(
            raw=b'{"display_name": "' + NAME.encode() + b'"}', error=f"not a name: {NAME}", external_id="bad"
        )
        legs = self._legs("past", ended=True)
        now = self._clock()
        yield Page(
            stream="history", origin=Origin.HISTORY, observed_at=now, position=now, legs=legs,
            meetings=self._meetings("past", ended=True), rejected=(bad,),
        )  # fmt: skip

    def receive(self, push: Push) -> Page:
        return Page(stream="push", origin=Origin.PUSH, observed_at=self._clock(), legs=self._legs("pushed"))

    def decode(self, stream: str, raw: bytes, at: datetime) -> Page:
        raise NotImplementedError

    async def check(self) -> str:
        return "a stage"

    def _person(self, key: str, **said: Any) -> LegRecord:
        known: dict[str, Any] = {
            "room": f"open-{key}",
            "meeting": f"open-{key}",
            "joined_at": BEGAN,
            "identity": NAME.casefold(),
        }
        return LegRecord(external_id=f"{key}-p", personal=True, **known | said)

    def _legs(self, key: str, *, ended: bool = False) -> tuple[LegRecord, ...]:
        end: dict[str, Any] = {"left_at": BEGAN + timedelta(minutes=9)} if ended else {}
        why = {"end_reason": f"{NAME} was removed"} if ended else {}
        rooms = (f"open-{key}", "open"), (f"titled-{key}", "titled"), (ROOM, "hidden")
        return tuple(
            leg
            for room, meeting in rooms
            for leg in (
                self._person(f"{key}-{meeting}", room=room, meeting=f"{meeting}-{key}", **end, **why),
                LegRecord(
                    external_id=f"{key}-{meeting}-site", room=room, meeting=f"{meeting}-{key}", joined_at=BEGAN,
                    identity="xa-1@vc.example", **end,
                ),
            )
        )  # fmt: skip

    def _meetings(self, key: str, *, ended: bool = False) -> tuple[MeetingRecord, ...]:
        until = BEGAN + timedelta(minutes=9) if ended else None
        told = ("open", f"open-{key}", "Họp"), ("titled", f"titled-{key}", TITLE), ("hidden", ROOM, ROOM)
        return tuple(
            MeetingRecord(external_id=f"{name}-{key}", room=room, title=title, started_at=BEGAN, ended_at=until)
            for name, room, title in told
        )


@pytest.mark.parametrize("names", ["drop", "pseudonym", "keep"])
async def test_what_people_are_called_is_nowhere_but_where_it_is_asked_to_be_kept(
    names: Literal["drop", "pseudonym", "keep"], dsn: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Live, history and push; tables of all schemas, /metrics, pages, logs, alerts. Of a sensitive meeting not even its
    title is anywhere, and its sites are counted."""
    caplog.set_level(logging.DEBUG)
    await inventory.put(database.pool, (), [Endpoint(code="XA-1", name="Xã Một", aliases=("xa-1@vc.example",))])
    source = SourceConfig(
        name="stage", kind="stage", url="http://127.0.0.1", live_interval=timedelta(seconds=0.2),
        history_interval=timedelta(seconds=0.5),
    )  # fmt: skip
    config = Config(
        database=DatabaseConfig(dsn=Secret(dsn)), web=WebConfig(port=0), sources=(source,),
        privacy=PrivacyConfig(names=names, sensitive=("*QWXZKJ*", "phong jkvbzx")),
    )  # fmt: skip
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def tell(url: str) -> None:
        started.set_result(url)

    def clock() -> datetime:
        return datetime.now(UTC)  # noqa: TID251  (the service runs by the real clock)

    task = asyncio.create_task(serve(config, database, {"stage": Stage}, clock=clock, started=tell))
    shown: dict[str, str] = {}
    try:
        url = await asyncio.wait_for(started, 30)
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{url}/push/stage", data=b"{}") as answer:
                assert answer.status < 300
            async with asyncio.timeout(30):
                while await database.pool.fetchval("select count(*) from conftrack.meetings where leg_count >= 2") < 7:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                while "conftrack_legs_live" not in shown.get("/metrics", ""):
                    async with client.get(f"{url}/metrics") as answer:
                        shown["/metrics"] = await answer.text()
            meetings = await database.pool.fetch("select meeting_id, room, title, leg_count from conftrack.meetings")
            for path in ("/", "/usage", "/incidents", "/absent", "/endpoints", "/endpoints/XA-1", "/health",
                         *(f"/meetings/{row['meeting_id']}" for row in meetings)):  # fmt: skip
                async with client.get(f"{url}{path}?lang=en") as answer:
                    shown[path] = await answer.text()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    shown["logs"] = caplog.text
    shown["alerts"] = alerts.render(config.alerts, config.timezone, "en")
    everything = {**shown, "database": await text_of(database)}
    kept = await database.pool.fetch("select name from conftrack_names.people")
    if names != "drop":  # a record that was not understood is kept whole, for so many days
        everything["database"] = everything["database"].replace(f'{{"display_name": "{NAME}"}}', "")
        assert everything["database"].count(f"not a name: {NAME}") == 1
        everything["database"] = everything["database"].replace(f"not a name: {NAME}", "")
    if names == "keep":
        assert [row["name"] for row in kept] == [NAME.casefold()]
        everything["database"] = everything["database"].replace(NAME.casefold(), "", 1)
    else:
        assert kept == []

    told = [where for where, text in everything.items() for word in (MARK, *SECRETS) if word in text.casefold()]
    assert told == []
    assert 'conftrack_legs_live{source="stage"}' in shown["/metrics"]
    assert await database.pool.fetchval("select value from conftrack.setting where name = 'tidied_on'") is not None
    hidden = [row for row in meetings if row["title"] is None and not row["room"].startswith("open")]
    assert {row["room"].partition(":")[0] for row in hidden} >= {"titled-live", "titled-past", "sensitive"}
    assert all(row["leg_count"] >= 2 for row in hidden)
