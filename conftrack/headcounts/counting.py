"""What a site types over its link: looked up, checked, and put in.

A link is of one endpoint at one meeting. Of a standing invitation it is of one local day: the number stands in the
meeting held on it that day in which the endpoint was longest, as it does where a dated invitation came to several. It
may be typed before the meeting, in it or after it, and changed until its month is closed or the link has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import asyncpg

from conftrack.errors import ConftrackError
from conftrack.headcounts.links import Links
from conftrack.model import Record
from conftrack.storage import headcounts
from conftrack.storage.headcounts import Called, Guest, Seat, Sitting

LASTS = timedelta(days=35)
"""How long after the end of its meeting a link is good: until the month after it has been reported."""
UNTOLD = timedelta(hours=4)
"""What a meeting lasts whose invitation tells no end."""
MANY_TIMES_SEATS = 10
MANY = 10_000
"""From how many people on a number is asked about: so many times the seats, or so many where they are not known."""
MOST = 999_999

Refusal = Literal["unknown", "ended", "closed"]


class LinkRefused(ConftrackError):
    """The link is not good. `seat` is what is known all the same of one that was, and is no more."""

    def __init__(self, why: Refusal, seat: Seat | None = None) -> None:
        super().__init__(f"the link is refused: {why}")
        self.why: Refusal = why
        self.seat = seat


class Card(Record, frozen=True):
    """A link for printing."""

    guest: Guest
    link: str


class Cards(Record, frozen=True):
    """The links of everybody who is expected at one meeting."""

    of: Called
    #: Of a standing invitation, the local day that they are for.
    day: date | None
    #: From then on the links are refused.
    ends_at: datetime
    cards: tuple[Card, ...]


class Counting:
    """`page_url`: where people reach the pages."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], timezone: ZoneInfo, page_url: str) -> None:
        self._pool = pool
        self._timezone = timezone
        self._page_url = page_url.rstrip("/")
        self._made: Links | None = None

    async def read(self, word: str) -> Sitting | None:
        """What a link's word is for; None where conftrack did not make it. Asks nothing of the database."""
        return (await self._links()).read(word)

    async def look(self, sitting: Sitting, now: datetime) -> Seat:
        """What a link is of. Raises LinkRefused."""
        return self._good(await headcounts.find(self._pool, sitting, self._timezone), sitting, now)

    async def put(self, sitting: Sitting, people: int, note: str | None, now: datetime) -> Seat:
        """Takes a number in; what it means for the meeting is derived at the next refresh. Raises LinkRefused, and then
        nothing has changed."""
        await self.look(sitting, now)
        async with self._pool.acquire() as connection, connection.transaction():
            seat = await headcounts.type_in(connection, sitting, people, note, now=now, timezone=self._timezone)
        return self._good(seat, sitting, now)

    async def cards(self, of: Called, day: date | None) -> Cards:
        """The links of an invitation's meeting; of a standing one's on a day."""
        day = day if of.starts_at is None else None
        links = await self._links()
        found = []
        for guest in await headcounts.guests(self._pool, of.invitation_id, day):
            word = links.word(Sitting(invitation_id=of.invitation_id, endpoint_id=guest.endpoint_id, day=day))
            found.append(Card(guest=guest, link=f"{self._page_url}/c/{word}"))
        return Cards(of=of, day=day, ends_at=self._ends_at(of, day), cards=tuple(found))

    async def called(
        self, *, room: str | None = None, name: str | None = None, day: date | None, now: datetime
    ) -> Sequence[Called]:
        """The invitations that somebody may mean who wants links: by their uid or number; or to a room, on a local day
        (dated ones, else the standing one), without one the next or present meeting's."""
        if name is not None:
            found = await headcounts.called(self._pool, uid=name)
            if not found and name.isascii() and name.isdigit() and len(name) < 19:
                found = await headcounts.called(self._pool, number=int(name))
            return found
        since = now if day is None else self._begin(day)
        until = None if day is None else self._begin(day + timedelta(days=1))
        found = await headcounts.called(self._pool, room=room, after=since, before=until)
        dated = [one for one in found if one.starts_at is not None]
        if dated:
            return dated if day is not None else dated[:1]
        return found

    async def number(self, invitation_id: int) -> Called | None:
        found = await headcounts.called(self._pool, number=invitation_id)
        return found[0] if found else None

    def _good(self, seat: Seat | None, sitting: Sitting, now: datetime) -> Seat:
        if seat is None:
            raise LinkRefused("unknown")
        if now >= self._ends_at(seat, sitting.day):
            raise LinkRefused("ended")
        if seat.closed:
            raise LinkRefused("closed", seat)
        return seat

    def _ends_at(self, of: Called | Seat, day: date | None) -> datetime:
        if of.starts_at is None:
            assert day is not None  # noqa: S101  (a standing invitation's link is of a day)
            return self._begin(day + timedelta(days=1)) + LASTS
        return (of.ends_at or of.starts_at + UNTOLD) + LASTS

    def _begin(self, day: date) -> datetime:
        return datetime.combine(day, time(), self._timezone)

    async def _links(self) -> Links:
        if self._made is None:
            self._made = Links(await headcounts.signing_key(self._pool))
        return self._made


def doubtful(people: int, seats: int | None) -> bool:
    """Whether so many people are more than anybody would believe at once."""
    return people > (seats * MANY_TIMES_SEATS if seats else MANY)
