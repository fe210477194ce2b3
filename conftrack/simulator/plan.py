"""What happened, as the world itself knows it: meetings, their conference records, legs and head counts.

Times are whole microseconds since 1970 UTC: exact, small, and sorted fast. Everything the vendor's face shows and
everything the truth counts is read from these records, each in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from conftrack.model import EndClass, Excluded, Provenance

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

SECOND = 1_000_000
MINUTE = 60 * SECOND


def micros(at: datetime) -> int:
    """An aware time as microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def moment(at: int) -> datetime:
    """Microseconds since 1970 as an aware UTC time."""
    return _EPOCH + timedelta(microseconds=at)


class Leg(msgspec.Struct, kw_only=True, gc=False):
    """One participant row: a connection, an attempt at one, or a leg that is not people."""

    id: str
    #: One for the caller's connection; a copy of a leg in another conference record has the same.
    call: str
    #: This row repeats a leg of another record of the same meeting, within the leg's own interval.
    copy: bool = False
    #: Normalised: the alias that the leg shows, or the name that a person typed.
    identity: str
    #: The same as the system spells it on this leg: with a scheme, a port, capitals.
    shown: str
    name: str
    #: Code of the endpoint that called or was called; None for personal clients and strangers.
    endpoint: str | None = None
    personal: bool = False
    protocol: str = "SIP"
    direction: str = "in"
    role: str = "guest"
    service_type: str = "conference"
    vendor: str = ""
    #: When the call was placed; before `joined`, it is being connected.
    placed: int
    #: None: never connected.
    joined: int | None
    left: int
    end_class: EndClass
    reason: str
    excluded: Excluded | None = None
    #: Packet loss in 1/100 of a percent, jitter in ms, rate of the main video in kbit/s.
    rx_loss: int = 0
    tx_loss: int = 0
    jitter: int = 0
    rate: int = 0
    #: When its loss is what the fields above say; None: in the middle third of its time.
    lossy: tuple[int, int] | None = None

    def loss_at(self, at: int) -> tuple[int, int]:
        """Loss in and out at one moment: trouble on a line comes and goes, and there is little of it outside."""
        since, until = self.trouble()
        if since <= at < until:
            return self.rx_loss, self.tx_loss
        return _calm(self.rx_loss), _calm(self.tx_loss)

    def trouble(self) -> tuple[int, int]:
        """From when to when its loss is at its worst."""
        if self.lossy or self.joined is None:
            return self.lossy or (self.left, self.left)
        third = (self.left - self.joined) // 3
        return self.joined + third, self.left - third

    @property
    def counts(self) -> bool:
        """Whether this is a connection of people, told once."""
        return self.joined is not None and self.excluded is None and not self.copy


def _calm(loss: int) -> int:
    return loss if loss < 100 else loss // 12


class Conference(msgspec.Struct, kw_only=True, gc=False):
    """One conference record as a node of the cluster keeps it; starts and ends with its legs."""

    id: str
    name: str
    service_type: str = "conference"
    tag: str = ""
    start: int
    end: int
    node: int = 0
    legs: list[Leg]


class Heads(msgspec.Struct, kw_only=True, gc=False):
    """People counted at one endpoint of a meeting; `endpoint` is the alias as its leg shows it."""

    at: int
    identity: str
    shown: str
    people: int
    provenance: Provenance
    note: str = ""


class Maintenance(msgspec.Struct, kw_only=True, gc=False, frozen=True):
    """Planned work on one endpoint, or on a unit and all that is its; codes, times in microseconds."""

    endpoint: str | None = None
    org: str | None = None
    start: int
    end: int
    author: str
    reason: str


class Meeting(msgspec.Struct, kw_only=True, gc=False):
    """The records of one room that overlap in time. Without people it is no meeting, but its rows exist."""

    room: str
    conferences: list[Conference]
    heads: list[Heads]
    #: Codes of the endpoints that were invited.
    invited: tuple[str, ...] = ()
    #: The start and end that the invitation named; None where nobody was invited.
    scheduled: tuple[int, int] | None = None
    #: Planned work that falls into it, known beforehand.
    maintenance: tuple[Maintenance, ...] = ()

    @property
    def start(self) -> int:
        return min(conference.start for conference in self.conferences)

    @property
    def end(self) -> int:
        """When the last leg of any kind ended."""
        return max(conference.end for conference in self.conferences)

    def legs(self) -> Iterator[Leg]:
        for conference in self.conferences:
            yield from conference.legs
