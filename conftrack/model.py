"""The records that every part speaks: plain, frozen, vendor-free. No I/O, no other conftrack module.

Units everywhere: times are aware UTC datetimes, rates bit/s, losses a ratio 0-1, durations seconds.
`None` means "not known"; it never means zero.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import IntEnum
from typing import Literal

import msgspec

EndClass = Literal[
    "left", "ended", "moved", "dropped",
    "no_answer", "unreachable", "busy", "declined", "negotiation", "capacity", "auth", "noise", "unknown",
]  # fmt: skip
"""How a leg ended, one vocabulary for every system (the vendor's own words stay beside it)."""

FAILED: frozenset[str] = frozenset({"no_answer", "unreachable", "negotiation", "capacity"})
"""The end classes that `failed_connections` counts; `busy`, `declined` and `auth` are refusals, shown beside it."""

IncidentKind = Literal["connect_failed", "dropped", "absent", "flapping", "quality", "unregistered", "outage"]
"""What goes wrong with an endpoint; an outage is of many at once: an org unit, a carrier or an area."""

Owner = Literal["power", "line", "carrier", "device", "user", "platform"]
"""Whose fault a failure is: the site's power or its own line, the carrier's, the device, the user, the platform."""

Excluded = Literal["api", "streaming", "recorder", "ivr", "backplane", "noise", "shadow"]
"""Why a leg is not people: it is kept and flagged, never counted."""

Provenance = Literal["reported", "people_count", "imported", "connections"]
"""Where a head count comes from, best first."""


class Origin(IntEnum):
    """Which way a fact reached us. The higher one wins, field by field, whatever the order of arrival."""

    LIVE = 1
    PUSH = 2
    HISTORY = 3


def is_possible(time: datetime) -> bool:
    """Whether anything that a system tells of can have been then. Clocks that were never set say 1970, and fillers such
    as 0001 or 9999 stand for no time: one such record would make a meeting of ages, and the rollups of every day in it.
    """
    return 2000 <= time.year < 2100


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all records: compared by value, never changed, free of reference cycles."""


class MeetingRecord(Record, frozen=True):
    """One conference as its system lists it. Records of one room that overlap in time are one meeting."""

    external_id: str
    #: What joins the records of one meeting: the system's correlator, else the conference's base name.
    room: str
    title: str | None = None
    started_at: datetime | None = None
    #: None while it goes on.
    ended_at: datetime | None = None
    #: Neither its title nor who was there may be kept, only counts: its system says so, or `[privacy] sensitive`.
    sensitive: bool = False
    #: `external_id` of the legs that it names as its own, which may not name it themselves.
    legs: tuple[str, ...] = ()


class LegRecord(Record, frozen=True):
    """One connection of one endpoint (or person) to one meeting, or one attempt at it."""

    #: The system's own leg id.
    external_id: str
    room: str
    #: `external_id` of the MeetingRecord it belongs to; None where the system has not said (yet).
    meeting: str | None = None
    #: The caller's normalised alias (see `conftrack.sources.base.normalise_alias`).
    identity: str | None = None
    #: The caller is a personal client, and `identity` a name that a person typed, not an address.
    personal: bool = False
    protocol: str | None = None
    direction: Literal["in", "out"] | None = None
    #: None: never connected (an attempt), or still being connected while `left_at` is None too.
    joined_at: datetime | None = None
    #: When the leg, or the attempt, ended; None while it is up.
    left_at: datetime | None = None
    end_class: EndClass | None = None
    #: The vendor's own text, whole.
    end_reason: str | None = None
    excluded: Excluded | None = None
    rx_bitrate: int | None = None
    tx_bitrate: int | None = None
    rx_loss: float | None = None
    tx_loss: float | None = None
    jitter_seconds: float | None = None
    latency_seconds: float | None = None


QUALITY = ("rx_bitrate", "tx_bitrate", "rx_loss", "tx_loss", "jitter_seconds", "latency_seconds")
"""What is measured of a leg while it is up, and is another number at each look."""


class Headcount(Record, frozen=True):
    """People present at one endpoint at one moment of a meeting."""

    room: str
    #: Any moment within the meeting.
    at: datetime
    #: The endpoint: its code, or an alias of it.
    endpoint: str
    people: int
    provenance: Provenance
    note: str | None = None


class Reading(Record, frozen=True):
    """How many people the sensor of a room saw at one moment. Where it could not tell there is no reading."""

    #: The endpoint that the sensor is in: its code, or an alias of it.
    device: str
    at: datetime
    people: int


class OrgUnit(Record, frozen=True):
    """A node of the organisation tree."""

    code: str
    name: str
    parent: str | None = None
    #: 0 at the top.
    level: int = 0
    valid_from: date | None = None


class Endpoint(Record, frozen=True):
    """A site that joins meetings."""

    code: str
    name: str
    org: str | None = None
    kind: str | None = None
    seats: int | None = None
    carrier: str | None = None
    area: str | None = None
    #: Local hours in which it should be registered, e.g. "07:00-17:30".
    service_hours: str | None = None
    contact_name: str | None = None
    contact_phone: str | None = None
    #: Normalised; its code is one by itself.
    aliases: tuple[str, ...] = ()


Level = Literal["good", "fair", "poor", "unknown"]
"""Of a leg's packet loss, the worse of its directions."""


class QualityChange(Record, frozen=True):
    """From when on a leg's loss was at another level."""

    external_id: str
    at: datetime
    level: Level


class RegistrationChange(Record, frozen=True):
    """A normalised alias that is registered now, or is no more."""

    alias: str
    registered: bool


class Rejected(Record, frozen=True):
    """A vendor record that did not decode: kept whole."""

    raw: bytes
    error: str
    #: The record's own id where it could still be read.
    external_id: str | None = None


class Page(Record, frozen=True):
    """What one read of a source gave. Reading a page twice changes nothing."""

    stream: str
    origin: Origin
    #: When the source said it: its own clock where it tells, else ours.
    observed_at: datetime
    meetings: tuple[MeetingRecord, ...] = ()
    legs: tuple[LegRecord, ...] = ()
    headcounts: tuple[Headcount, ...] = ()
    readings: tuple[Reading, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    #: The system restarted: its legs that joined before this moment and are still open here are over.
    restarted_at: datetime | None = None
    #: Everything of this stream up to here has been read once this page is stored; of a live page, the moment it shows.
    position: datetime | None = None
    #: Live only: legs whose loss is at another level now.
    quality: tuple[QualityChange, ...] = ()
    #: Live only: who is registered now, and who no longer, since they were last told; None: they were not told.
    registrations: tuple[RegistrationChange, ...] | None = None
    #: Live only: since this moment, until `observed_at`, the source could not be seen.
    blind_since: datetime | None = None
    #: History only: set on the last page of a window.
    window: Window | None = None
    #: History only: with what the system's history begins now, where that is after the time it was read up to before.
    begins_at: datetime | None = None


class Window(Record, frozen=True):
    """One finished reading of [since, until) of a history stream, and what the source says it holds."""

    since: datetime
    until: datetime
    #: The source's own count of its records in the window; None where it cannot tell.
    source_total: int | None


class Invited(Record, frozen=True):
    """Who belongs to a room, at every meeting of it, as its system tells: normalised addresses."""

    room: str
    addresses: frozenset[str]


class Snapshot(Record, frozen=True):
    """Everything that is going on at one moment: a leg or meeting that is not in it is over."""

    taken_at: datetime
    meetings: tuple[MeetingRecord, ...] = ()
    legs: tuple[LegRecord, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    #: The normalised aliases that are registered; None: the system does not tell, or was not asked this time.
    registered: frozenset[str] | None = None
