"""Plays acts in a real Janus, keeps when everything really happened, and holds stored facts against it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import asyncpg

from tests.janus_server import Client, JanusServer

#: What the moment of an event and the moments around what caused it may differ by.
TOLERANCE = timedelta(seconds=0.2)


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


class Role(NamedTuple):
    #: What the client shows; None: nothing.
    display: str | None
    #: What is stored of it; "person" for a pseudonym.
    identity: str | None
    #: The participant id that the client chooses, if it does.
    id: int | None = None


CAST = {
    "xa-a": Role("sip:Xa-A@vc.tinh.example:5061;transport=tls", "xa-a@vc.tinh.example", id=12),
    "xa-b": Role("xa-b@vc.tinh.example", "xa-b@vc.tinh.example"),
    "phone": Role("tel:+84 210 384 6647", "+842103846647"),
    "an": Role("Nguyễn Văn An", "person"),
    "kim": Role("Trần Thị Kim", "person"),
    "nobody": Role(None, None),
}


class Act(NamedTuple):
    """`close` gives up the handle, `hang up` the session; to `die` is to fall silent."""

    verb: Literal["open", "join", "leave", "close", "hang up", "kick", "die", "destroy", "crash", "restart"]
    room: int = 0
    who: str = ""


class Span(NamedTuple):
    """Not before, not after."""

    first: datetime
    last: datetime


@dataclass(slots=True, kw_only=True)
class Stay:
    """One client in one room, from joining to whatever ended it."""

    who: str
    room: int
    client: Client
    participant: int
    joined: Span
    #: When whoever polls saw it there for the first and the last time; None: not yet, and while it is there.
    first_seen: Span | None = None
    last_seen: Span | None = None
    #: When events tell that it ended: at once, but for a crash, of which only the restart tells; None: they do not.
    left: Span | None = None
    end_class: str | None = None

    @property
    def leg(self) -> str:
        """As the source names it."""
        return f"{self.room}/{self.participant}/{self.client.handle}"

    @property
    def last_seen_before_told(self) -> bool:
        """Whether polls know better than events when it ended."""
        return self.last_seen is not None and (self.left is None or self.left.first > self.last_seen.last)


class Stage:
    """Where acts are played. After each scene everyone who watches has to look, and then `looked` is to be called."""

    def __init__(self, janus: JanusServer) -> None:
        self._janus = janus
        self._acted_at = now()
        self.stays: list[Stay] = []

    @property
    def there(self) -> list[Stay]:
        return [stay for stay in self.stays if stay.last_seen is None]

    async def play(self, *scene: Act) -> None:
        seen_since = self._acted_at
        for act in scene:
            leaving = [stay for stay in self.there if act.room in (0, stay.room) and act.who in ("", stay.who)]
            began = now()
            end_class = await self._play(act, leaving)
            span = Span(began, now())
            if end_class is not None:
                for stay in leaving:
                    stay.last_seen, stay.end_class = Span(seen_since, span.last), end_class
                    stay.left = span if act.verb != "crash" else None
            elif act.verb == "restart":
                for stay in self.stays:
                    stay.left = stay.left or span
        self._acted_at = now()

    def looked(self) -> None:
        for stay in self.stays:
            stay.first_seen = stay.first_seen or Span(stay.joined.first, now())

    async def _play(self, act: Act, leaving: list[Stay]) -> str | None:
        """Gives the class of end that those who leave by it have; None when nobody does."""
        match act.verb:
            case "open":
                await self._janus.create_room(act.room)
            case "join":
                await self._join(act.room, act.who)
            case "restart":
                await self._janus.start()
            case "destroy":
                await self._janus.destroy_room(act.room)
                return "ended"
            case "crash":
                await self._janus.kill()
                return "dropped"
            case _:
                (stay,) = leaving
                return await self._end(act.verb, stay)
        return None

    async def _join(self, room: int, who: str) -> None:
        began, role = now(), CAST[who]
        client = await self._janus.client()
        participant = await client.join(room, role.display, id=role.id)
        joined = Span(began, now())
        self.stays.append(Stay(who=who, room=room, client=client, participant=participant, joined=joined))

    async def _end(self, verb: str, stay: Stay) -> str:
        match verb:
            case "leave":
                await stay.client.leave()
            case "close":
                await stay.client.detach()
            case "hang up":
                await stay.client.hang_up()
            case "kick":
                await self._janus.kick(stay.room, stay.participant)
                return "ended"
            case "die":
                await stay.client.die()
                while stay.participant in await self._janus.participants(stay.room):  # noqa: ASYNC110  (nobody tells)
                    await asyncio.sleep(0.05)
                return "dropped"
        return "left"


# -- what was stored


Rows = list[dict[str, Any]]


class Facts(NamedTuple):
    """The public views, whole."""

    legs: Rows
    meetings: Rows
    endpoint_connections: Rows

    @classmethod
    async def of(cls, dsn: str) -> Facts:
        session = await asyncpg.connect(dsn)
        try:
            read = (
                await session.fetch("select * from conftrack.legs order by leg_id"),
                await session.fetch("select * from conftrack.meetings order by room"),
                await session.fetch(
                    "select * from conftrack.endpoint_connections order by meeting_id, joined_at, identity"
                ),
            )
        finally:
            await session.close()
        return cls(*([dict(row) for row in rows] for rows in read))


def differences(stays: Iterable[Stay], facts: Facts, *, heard: bool, polled: bool) -> list[str]:
    """A line for everything in the facts that was not played, or was played and is not in them, as far as one who
    heard the events, or polled, can know."""
    stays = list(stays)
    rows = {row["external_id"]: row for row in facts.legs}
    found = [f"nobody was {leg}" for leg in rows.keys() - {stay.leg for stay in stays}]
    found += [f"{stay.who} was {stay.leg}, who is missing" for stay in stays if stay.leg not in rows]
    stays = [stay for stay in stays if stay.leg in rows]
    for stay in stays:
        row = rows[stay.leg]
        by_poll = polled and (not heard or stay.last_seen_before_told)
        wrong = [
            *_outside("joined", stay.joined if heard else stay.first_seen, row["joined_at"]),
            *_outside("left", stay.last_seen if by_poll else stay.left, row["left_at"]),
        ]
        if row["end_class"] != (stay.end_class if heard and stay.left else None):
            wrong.append(f"ended as {row['end_class']}, not {stay.end_class}")
        if not row["counted"] or (row["protocol"], row["direction"]) != ("webrtc", "in"):
            wrong.append(f"is stored as {row}")
        found += [f"{stay.who} in {stay.room} {what}" for what in wrong]
    return found + _misnamed(stays, rows) + _badly_met(stays, facts)


def _outside(what: str, span: Span | None, moment: datetime | None) -> list[str]:
    if span is None or moment is None:
        return [] if span is None and moment is None else [f"{what} at {moment}, not in {span}"]
    if span.first - TOLERANCE <= moment <= span.last + TOLERANCE:
        return []
    return [f"{what} at {moment:%T.%f}, not within {span.first:%T.%f} and {span.last:%T.%f}"]


def _misnamed(stays: list[Stay], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Addresses as they are, and for each person one pseudonym, the same in every leg."""
    names: defaultdict[str, set[str | None]] = defaultdict(set)
    for stay in stays:
        names[stay.who].add(rows[stay.leg]["identity"])
    found = []
    for who, stored in names.items():
        (name, *others) = stored
        wanted = CAST[who].identity
        alike = (name or "").startswith("person:") if wanted == "person" else name == wanted
        if others or not alike:
            found.append(f"{who} is called {stored}")
    if len({frozenset(stored) for stored in names.values()}) < len(names):
        found.append(f"some share a name: {dict(names)}")
    return found


def _badly_met(stays: list[Stay], facts: Facts) -> list[str]:
    """The meetings are the rooms, with everybody in them once, however often they came."""
    found = []
    legs_of = {room: [stay for stay in stays if stay.room == room] for room in {stay.room for stay in stays}}
    if (rooms := [row["room"] for row in facts.meetings]) != sorted(map(str, legs_of)):
        return [f"the meetings were in {rooms}"]
    for meeting, (_, legs) in zip(facts.meetings, sorted(legs_of.items()), strict=True):
        mine = [row for row in facts.legs if row["meeting_id"] == meeting["meeting_id"]]
        met = [row for row in facts.endpoint_connections if row["meeting_id"] == meeting["meeting_id"]]
        everybody = len({stay.who for stay in legs})
        ended_at = max((row["left_at"] for row in mine), default=None) if all(row["left_at"] for row in mine) else None
        wanted = (len(legs), everybody, everybody, min(row["joined_at"] for row in mine), ended_at)
        stored = ("leg_count", "endpoint_count", "attendees", "started_at", "ended_at")
        if (there := tuple(meeting[name] for name in stored)) != wanted:
            found.append(f"the meeting in {meeting['room']} had {dict(zip(stored, there, strict=True))}, not {wanted}")
        if sorted(row["legs"] for row in met) != sorted(Counter(stay.who for stay in legs).values()):
            found.append(f"in {meeting['room']} there were {met}")
    return found
