"""The live board: what is going on now, in memory.

Consecutive snapshots become joins, leaves, moves and quality. A snapshot says everything that goes on, so what is
missing from it is over, at its last sight. Only what changed is handed on to be stored; a poll that failed never
gets here and so changes nothing. No I/O, no clock: times come with the snapshots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from conftrack.model import (
    QUALITY,
    LegRecord,
    Level,
    MeetingRecord,
    Origin,
    Page,
    QualityChange,
    RegistrationChange,
    Snapshot,
)

POOR_LOSS, GOOD_LOSS = 0.05, 0.02
"""Packet loss, a ratio: from POOR_LOSS on it is poor, below GOOD_LOSS good, and between them neither."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened between two snapshots, for the page's ticker."""

    kind: Literal["joined", "left", "moved"]
    at: datetime
    leg: LegRecord


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot changed: events for people, and the page that makes the database agree."""

    events: tuple[Change, ...]
    page: Page


class Board:
    """One source's view of now. `seen_at` is the moment of its last snapshot; None before the first."""

    def __init__(self) -> None:
        self.seen_at: datetime | None = None
        #: When a snapshot last showed that a leg, or an attempt, had ended.
        self.left_at: datetime | None = None
        self.meetings: dict[str, MeetingRecord] = {}
        self.legs: dict[str, LegRecord] = {}
        #: The level of loss that each leg was last told to be at, where it is not good.
        self._levels: dict[str, Level] = {}
        #: The aliases that were last told to be registered.
        self._registered: frozenset[str] = frozenset()

    def restore(
        self,
        meetings: Iterable[MeetingRecord],
        legs: Iterable[LegRecord],
        levels: Mapping[str, Level],
        registered: Iterable[str],
        seen_at: datetime | None,
    ) -> None:
        """Takes up what was going on when the source was last seen, so that a restart closes what ended meanwhile."""
        self._levels = {key: level for key, level in levels.items() if level != "good"}
        self._registered = frozenset(registered)
        self.meetings = {m.external_id: m for m in meetings}
        self.legs = {leg.external_id: leg for leg in legs}
        self.seen_at = seen_at

    def observe(self, snapshot: Snapshot) -> Changes:
        """Takes in a snapshot. A snapshot older than the last one changes nothing, and it says nothing about who joined
        after it was taken."""
        at = snapshot.taken_at
        if self.seen_at is not None and at < self.seen_at:
            return Changes(events=(), page=_page(at, (), (), (), None, snapshot))
        ended_at = self.seen_at or at
        legs = {leg.external_id: leg for leg in snapshot.legs}
        meetings = {m.external_id: m for m in snapshot.meetings}
        events: list[Change] = []
        written: list[LegRecord] = []
        for key, leg in legs.items():
            before = self.legs.get(key)
            if before is None or _differs(before, leg):
                written.append(leg)
            if leg.joined_at is not None and leg.excluded is None:
                if before is None or before.joined_at is None or before.excluded is not None:
                    events.append(Change(kind="joined", at=leg.joined_at, leg=leg))
                elif before.room != leg.room:
                    events.append(Change(kind="moved", at=at, leg=leg))
            if before is not None:
                legs[key] = _with_known_quality(leg, before)
        for key, before in list(self.legs.items()):
            if key in legs:
                continue
            if before.joined_at is not None and before.joined_at > at:
                legs[key] = before
            else:
                gone = msgspec.structs.replace(before, left_at=max(ended_at, before.joined_at or ended_at))
                written.append(gone)
                if before.joined_at is not None and before.excluded is None:
                    events.append(Change(kind="left", at=gone.left_at or at, leg=gone))
        conferences = [m for key, m in meetings.items() if self.meetings.get(key) != m]
        conferences += [
            msgspec.structs.replace(m, ended_at=max(ended_at, m.started_at or ended_at))
            for key, m in self.meetings.items()
            if key not in meetings
        ]
        if any(leg.left_at is not None for leg in written):
            self.left_at = at
        self.legs, self.meetings, self.seen_at = legs, meetings, at
        return Changes(
            events=tuple(sorted(events, key=lambda e: e.at)),
            page=_page(
                at,
                tuple(conferences),
                tuple(written),
                self._changes_of_quality(at),
                self._changes_of_registration(snapshot.registered),
                snapshot,
            ),
        )

    def push(self, page: Page) -> tuple[Change, ...]:
        """Takes in pushed legs, between snapshots: who joined and who left, each told once."""
        events: list[Change] = []
        for leg in page.legs:
            before = self.legs.get(leg.external_id)
            if leg.left_at is not None:
                if before is not None:
                    del self.legs[leg.external_id]
                    if before.joined_at is not None and before.excluded is None:
                        ended = msgspec.structs.replace(
                            before, left_at=leg.left_at, end_class=leg.end_class, end_reason=leg.end_reason
                        )
                        events.append(Change(kind="left", at=leg.left_at, leg=ended))
            elif leg.joined_at is not None and before is None and not self._outdated(leg):
                self.legs[leg.external_id] = leg
                if leg.excluded is None:
                    events.append(Change(kind="joined", at=leg.joined_at, leg=leg))
        if page.restarted_at is not None:
            for key, leg in list(self.legs.items()):
                if leg.joined_at is not None and leg.joined_at < page.restarted_at:
                    del self.legs[key]
                    if leg.excluded is None:
                        lost = msgspec.structs.replace(leg, left_at=page.restarted_at, end_class="dropped")
                        events.append(Change(kind="left", at=page.restarted_at, leg=lost))
        return tuple(events)

    def people(self) -> list[LegRecord]:
        """The legs of people that are up now."""
        return [leg for leg in self.legs.values() if leg.joined_at is not None and leg.excluded is None]

    def _changes_of_quality(self, at: datetime) -> tuple[QualityChange, ...]:
        """The legs of people whose loss is at another level than before; what a snapshot does not say is as it was."""
        changes: list[QualityChange] = []
        levels: dict[str, Level] = {}
        for leg in self.people():
            before = self._levels.get(leg.external_id, "good")
            known = [loss for loss in (leg.rx_loss, leg.tx_loss) if loss is not None]
            now = _level(max(known)) if known else before
            if now != before:
                changes.append(QualityChange(external_id=leg.external_id, at=at, level=now))
            if now != "good":
                levels[leg.external_id] = now
        self._levels = levels
        return tuple(changes)

    def _changes_of_registration(self, now: frozenset[str] | None) -> tuple[RegistrationChange, ...] | None:
        if now is None:
            return None
        before, self._registered = self._registered, now
        return tuple(RegistrationChange(alias=alias, registered=alias in now) for alias in sorted(before ^ now))

    def _outdated(self, leg: LegRecord) -> bool:
        """A join that is pushed after a snapshot of a later moment did not show it: it is over already."""
        return self.seen_at is not None and leg.joined_at is not None and leg.joined_at < self.seen_at


_WRITTEN = tuple(name for name in LegRecord.__struct_fields__ if name not in QUALITY)


def _differs(before: LegRecord, leg: LegRecord) -> bool:
    """Whether the database must hear of it. Quality alone is not worth a write every few seconds: it goes to the
    metrics from memory, and to the database with the next real change."""
    return any(getattr(before, name) != getattr(leg, name) for name in _WRITTEN)


def _with_known_quality(leg: LegRecord, before: LegRecord) -> LegRecord:
    """Quality is sampled: what this snapshot does not say is what an earlier one said."""
    known = {
        name: value for name in QUALITY if getattr(leg, name) is None and (value := getattr(before, name)) is not None
    }
    return msgspec.structs.replace(leg, **known) if known else leg


def _level(loss: float) -> Level:
    return "poor" if loss >= POOR_LOSS else "good" if loss < GOOD_LOSS else "fair"


def _page(
    at: datetime,
    meetings: tuple[MeetingRecord, ...],
    legs: tuple[LegRecord, ...],
    quality: tuple[QualityChange, ...],
    registrations: tuple[RegistrationChange, ...] | None,
    snapshot: Snapshot,
) -> Page:
    return Page(
        stream="live",
        origin=Origin.LIVE,
        observed_at=at,
        meetings=meetings,
        legs=legs,
        rejected=snapshot.rejected,
        quality=quality,
        registrations=registrations,
        position=at,
    )
