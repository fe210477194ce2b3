"""A small Management Node of our own, whose answers follow Pexip's API documentation, and a source that reads it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from conftrack.config import Secret, SourceConfig
from conftrack.model import LegRecord
from conftrack.sources.base import Observer
from conftrack.sources.pexip import PexipOptions, PexipSource
from tests.sources.conformance import (
    NOW,
    FakeSystem,
    Handler,
    Observations,
)

DATA = Path(__file__).parent / "sources" / "data" / "pexip"
PASSWORD = "mật-khẩu-rất-dài"
BASIC = "cmVwb3J0ZXI6beG6rXQta2jhuql1LXLhuqV0LWTDoGk="
HISTORY, STATUS = "/api/admin/history/v1/", "/api/admin/status/v1/"

Row = dict[str, Any]


class Node(FakeSystem):
    """A Management Node: lists that filter by end_time, order by it, and page."""

    def __init__(self) -> None:
        super().__init__(self._route)
        self.rows: dict[str, list[Row]] = {
            f"{family}/{resource}": load(f"{family}_{resource}")
            for family, resource in (
                ("history", "conference"),
                ("history", "participant"),
                ("history", "backplane"),
                ("status", "conference"),
                ("status", "participant"),
                ("status", "registration_alias"),
                ("configuration", "conference"),
                ("configuration", "automatic_participant"),
            )
        }
        self.streams: list[Row] = load("status_media_stream")
        self.streams_fault: Handler | None = None
        self.registrations_fault: Handler | None = None
        self.configuration_fault: Handler | None = None
        self.schema: Row | None = load("schema")
        self.missing: set[str] = set()
        self.largest_page = 10_000
        #: Called before each list is answered, with its name and offset.
        self.before: Callable[[str, int], None] = lambda name, offset: None

    async def _route(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Basic {BASIC}":
            return web.json_response({"error": "unauthorized"}, status=401)
        return await self.respond(request)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        found = re.fullmatch(
            r"/api/admin/(history|status|configuration)/v1/(\w+)/(?:([\w-]+)/)?(media_stream/)?", request.path
        )
        name = f"{found[1]}/{found[2]}" if found else ""
        if not found or name not in self.rows or name in self.missing:
            return web.Response(status=404, text="<h1>Not found</h1>", content_type="text/html")
        if found[3] == "schema":
            return web.json_response(self.schema) if self.schema else web.Response(status=404)
        if found[4] and self.streams_fault:
            return await self.streams_fault(request)
        if found[4]:
            return web.json_response({"meta": {"total_count": len(self.streams)}, "objects": self.streams})
        if found[2] == "registration_alias" and self.registrations_fault:
            return await self.registrations_fault(request)
        if found[1] == "configuration" and self.configuration_fault:
            return await self.configuration_fault(request)
        query = request.query
        limit, offset = int(query.get("limit", "20")), int(query.get("offset", "0"))
        self.before(name, offset)
        rows = self.rows[name]
        if "end_time__gte" in query:
            lower, upper = query["end_time__gte"], query["end_time__lt"]
            rows = [row for row in rows if padded(lower) <= padded(row["end_time"]) < padded(upper)]
        if query.get("order_by") == "end_time":
            rows = sorted(rows, key=lambda row: padded(row["end_time"]))
        page = rows[offset : offset + min(limit, self.largest_page)]
        meta = {"limit": limit, "offset": offset, "next": None, "previous": None, "total_count": len(rows)}
        return web.json_response({"meta": meta, "objects": page})

    def asked(self, part: str) -> list[str]:
        return [path for _, path in self.requests if part in path]


def load(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def padded(time: Any) -> str:
    """A time of the API as a text that sorts; its fraction is left out when it is zero."""
    text = str(time)
    return text if "." in text else f"{text}.000000"


def participant(number: int, **fields: Any) -> Row:
    """A leg like the documented one, ending `number` seconds after nine o'clock."""
    end = datetime(2026, 3, 2, 9) + timedelta(seconds=number)  # noqa: DTZ001 - as the API writes it
    row: Row = copy.deepcopy(load("history_participant")[0]) | {"id": f"leg-{number}", "end_time": end.isoformat()}
    return row | {"media_streams": []} | fields


def many(count: int) -> list[Row]:
    row = {"id": "", "end_time": "", "start_time": "2026-03-02T08:00:00", "conference_name": "giao-ban-tuan"}
    start = datetime(2026, 3, 2, 9)  # noqa: DTZ001
    return [row | {"id": f"leg-{n}", "end_time": (start + timedelta(milliseconds=n)).isoformat()} for n in range(count)]


def make_source(
    node: FakeSystem, observe: Observer | None = None, options: PexipOptions | None = None, **config: Any
) -> PexipSource:
    settings: dict[str, Any] = {
        "name": "pexip-main",
        "kind": "pexip",
        "url": node.url,
        "username": "reporter",
        "password": Secret(PASSWORD),
        "timeout": timedelta(seconds=0.4),
        "options": options,
    } | config
    return PexipSource(SourceConfig(**settings), clock=lambda: NOW, observe=observe or Observations())


@asynccontextmanager
async def opened(**config: Any) -> AsyncIterator[tuple[PexipSource, Node]]:
    async with Node() as node, make_source(node, **config) as source:
        yield source, node


async def leg_of(row: Row) -> LegRecord:
    """The one leg that a history row becomes."""
    page = PexipSource(
        SourceConfig(name="p", kind="pexip", url="http://127.0.0.1"), clock=lambda: NOW, observe=Observations()
    ).decode("participant", json.dumps(row).encode(), NOW)
    assert page.rejected == ()
    (leg,) = page.legs
    return leg
