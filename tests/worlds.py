"""Records and pages to test with: one of each with sensible values, and a small world that has something of everything.

    python -m tests.worlds DSN

stores that world from where the database's cursors are, a line a page: for tests that kill it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from conftrack.config import DatabaseConfig, Secret
from conftrack.model import Headcount, LegRecord, MeetingRecord, Origin, Page, Rejected, Window
from conftrack.storage.database import Database
from conftrack.storage.store import Outcome, Store
from tests.facts import Facts

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
#: Eight o'clock on a Monday in Ho Chi Minh City; times of records are minutes from here.
START = datetime(2026, 3, 2, 1, tzinfo=UTC)
NOW = START + timedelta(days=1)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def leg(external_id: str = "leg-1", joined: float | None = 0, left: float | None = 60, **said: Any) -> LegRecord:
    """An hour in the room "hall", from the start; `joined` and `left` in minutes."""
    known: dict[str, Any] = {"room": "hall", "joined_at": _moment(joined), "left_at": _moment(left)}
    return LegRecord(external_id=external_id, **known | said)


def meeting(
    external_id: str = "meeting-1", started: float | None = 0, ended: float | None = 60, **said: Any
) -> MeetingRecord:
    known: dict[str, Any] = {"room": "hall", "started_at": _moment(started), "ended_at": _moment(ended)}
    return MeetingRecord(external_id=external_id, **known | said)


def count(people: int, minutes: float = 30, **said: Any) -> Headcount:
    known: dict[str, Any] = {"room": "hall", "at": at(minutes), "endpoint": "site-1", "provenance": "reported"}
    return Headcount(people=people, **known | said)


def page(
    *records: LegRecord | MeetingRecord | Headcount | Rejected,
    origin: Origin = Origin.HISTORY,
    seen: float = 0,
    **said: Any,
) -> Page:
    """A page of these records, observed at minute `seen`."""
    known: dict[str, Any] = {
        "stream": origin.name.lower(),
        "meetings": tuple(r for r in records if isinstance(r, MeetingRecord)),
        "legs": tuple(r for r in records if isinstance(r, LegRecord)),
        "headcounts": tuple(r for r in records if isinstance(r, Headcount)),
        "rejected": tuple(r for r in records if isinstance(r, Rejected)),
    }
    return Page(origin=origin, observed_at=at(seen), **known | said)


def _moment(minutes: float | None) -> datetime | None:
    return None if minutes is None else at(minutes)


def small_world() -> list[Page]:
    """Two meetings, one of two nodes, seen live, pushed and read from two history streams that move their cursors."""
    up = [leg(f"leg-{n}", n, None, identity=f"xa-{n}@vc.example", meeting="hall-a") for n in range(4)]
    known = [
        leg(f"leg-{n}", n, 55 + n, identity=f"xa-{n}@vc.example", meeting="hall-a", end_class="left", rx_loss=n / 100)
        for n in range(4)
    ]
    copy = leg("leg-copy", 2, 55, identity="xa-1@vc.example", meeting="hall-b", end_class="left")
    late = [
        leg("leg-5", 960, 1000, room="night", meeting="night-a", identity="xa-1@vc.example", end_class="dropped"),
        leg("leg-6", 965, 1020, room="night", meeting="night-a", identity="lê văn tám", personal=True),
        leg("leg-7", None, 961, room="night", meeting="night-a", identity="xa-9@vc.example", end_class="unreachable"),
        leg("leg-8", 970, 1020, room="night", meeting="night-a", excluded="recorder"),
        leg("leg-9", 1100, 1110, room="lobby", identity="xa-2@vc.example"),
    ]
    bad = Rejected(raw=b'{"id": "leg-9", "start": "\xff"}', error="not a time", external_id="leg-9")
    counted = [count(people, endpoint="xa-0@vc.example") for people in (12, 15)]
    window = Window(since=at(0), until=at(1120), source_total=10)
    return [
        page(meeting("hall-a", ended=None), *up, origin=Origin.LIVE, seen=5),
        page(leg("leg-3", 3, 58, end_class="left"), origin=Origin.PUSH, seen=58),
        page(meeting("hall-a"), meeting("hall-b"), stream="conference", position=at(60)),
        page(*known[:2], copy, bad, stream="participant", position=at(56)),
        page(*known[2:], stream="participant", position=at(60)),
        page(*counted, origin=Origin.PUSH, stream="web"),
        page(meeting("night-a", 955, 1025, room="night"), stream="conference", position=at(1025)),
        page(*late, stream="participant", position=at(1110), window=window),
    ]


async def store_all(store: Store, pages: Sequence[Page], source: str = "one") -> Outcome:
    """Stores pages and derives what follows from them."""
    outcome = Outcome()
    source_id = await store.register(source, "test")
    for one in pages:
        outcome += await store.store(source_id, one, now=NOW)
    await store.refresh()
    return outcome


def facts_of(pages: Sequence[Page], source: str = "one") -> Facts:
    facts = Facts(ZONE)
    for one in pages:
        facts.tell(source, one)
    return facts


async def _main(dsn: str) -> None:
    async with Database(DatabaseConfig(dsn=Secret(dsn)), Path()) as database:
        store = Store(database.pool, ZONE)
        source = await store.register("one", "test")
        reached = {stream: await store.cursor(source, stream) for stream in ("conference", "participant")}
        for one in small_world():
            before = reached.get(one.stream)
            if before is None or one.position is None or one.position > before:
                await store.store(source, one, now=NOW)
                await store.refresh()
                print(one.stream, flush=True)
        await store.refresh()
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
