"""What a roll-call is made of: who is expected at a meeting, and what was seen of each, from the test before it on."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from conftrack.model import EndClass, Record
from conftrack.storage.database import Connection
from conftrack.storage.queries import query

Span: TypeAlias = tuple[datetime, datetime]
"""A half-open period [since, until)."""
Level: TypeAlias = Literal["good", "fair", "poor", "unknown"]

LOOKS_BACK = timedelta(minutes=90)
"""How long before the start a test of the room is one of this meeting."""


class Connected(Record, frozen=True):
    """One connection of an endpoint, or one attempt (joined_at None)."""

    joined_at: datetime | None
    #: None while it is up.
    left_at: datetime | None
    end_class: EndClass | None = None
    end_reason: str | None = None
    direction: Literal["in", "out"] | None = None
    #: In the meeting itself; False: in another one of its room, before it.
    here: bool = True
    #: From when on its packet loss was at another level; good before the first.
    quality: tuple[tuple[datetime, Level], ...] = ()


class Guest(Record, frozen=True):
    """An endpoint that is expected, and whom to call there."""

    code: str
    name: str
    org: str | None = None
    org_name: str | None = None
    #: Of the unit: 0 at the top.
    level: int | None = None
    contact_name: str | None = None
    contact_phone: str | None = None
    excused_at: datetime | None = None
    excused_reason: str | None = None
    #: In order of time.
    connections: tuple[Connected, ...] = ()


class Convocation(Record, frozen=True):
    """A meeting with those who are expected at it, by level and code."""

    invitation_id: int
    uid: str
    #: The meetings that are held on it; empty: nobody has come yet.
    meeting_ids: tuple[int, ...]
    source: str | None
    room: str
    title: str | None
    #: As it was invited to; of a meeting on a standing invitation, when the first came.
    starts_at: datetime
    ends_at: datetime | None
    #: When the last one left; None while it goes on, and while nobody has come.
    ended_at: datetime | None
    #: Up to when the source was seen; None: it never was.
    seen_until: datetime | None
    #: The source has a history, which tells later who was there while it could not be seen.
    told_later: bool
    blind: tuple[Span, ...] = ()
    guests: tuple[Guest, ...] = ()


async def load(
    connection: Connection, *, invitation_id: int | None = None, meeting_id: int | None = None
) -> Convocation | None:
    """What is known of one invitation, or of the one that a meeting is held on. None where there is none, and for a
    standing invitation without a meeting."""
    row = await connection.fetchrow(query("find_convocation"), invitation_id, meeting_id)
    if row is None:
        return None
    values = dict(row)
    blind = tuple(zip(values.pop("sinces"), values.pop("untils"), strict=True))
    values["meeting_ids"] = tuple(values["meeting_ids"])
    starts_at = values["starts_at"]
    seen: defaultdict[str, list[Connected]] = defaultdict(list)
    legs = await connection.fetch(
        query("list_guest_leg"), row["invitation_id"], row["meeting_ids"], starts_at - LOOKS_BACK, starts_at
    )
    for leg in legs:
        of_leg = dict(leg)
        quality = tuple(zip(of_leg.pop("moments"), of_leg.pop("levels"), strict=True))
        seen[of_leg.pop("code")].append(Connected(**of_leg, quality=quality))
    guests = [
        Guest(**dict(guest), connections=tuple(seen[guest["code"]]))
        for guest in await connection.fetch(query("list_guest"), row["invitation_id"])
    ]
    return Convocation(**values, blind=blind, guests=tuple(guests))
