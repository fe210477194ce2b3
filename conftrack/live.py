"""What is going on now, counted. The pages and the metrics count here, so that they cannot disagree.

A live meeting is a room in which at least one leg of people is up; legs that are not people (recorders, backplane)
make no meeting and are in no figure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from conftrack.model import LegRecord
from conftrack.state import Site, SourceState, State


class Presence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One endpoint (or person) in one meeting, however many legs it has there: an endpoint connection."""

    #: The same for the same endpoint everywhere: a code of the inventory, else an alias, else a leg's own id.
    who: tuple[str, str]
    #: None: a caller that the inventory does not know.
    site: Site | None
    #: What the caller shows: an alias or, of a `personal` client, what somebody typed.
    identity: str | None
    personal: bool
    #: When the first of the legs joined.
    since: datetime
    legs: int


class LiveMeeting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    source: str
    room: str
    title: str | None
    since: datetime
    #: In the order of joining.
    present: tuple[Presence, ...]

    @property
    def legs(self) -> int:
        return sum(presence.legs for presence in self.present)


class Figures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    meetings: int
    legs: int
    #: Distinct endpoints, those in two meetings once.
    endpoints: int
    #: Those of them that the inventory does not know.
    unmatched: int
    #: At least one for each endpoint in each meeting: head counts are not part of the live view.
    people: int


def live_meetings(state: State, source: SourceState) -> list[LiveMeeting]:
    """The meetings that the source's board shows, the one with the most endpoints first.

    That is what goes on now only while the source is fresh; else it is what went on at the board's `seen_at`.
    """
    rooms: dict[str, dict[tuple[str, str], list[LegRecord]]] = {}
    sites: dict[tuple[str, str], Site | None] = {}
    for leg in source.board.people():
        site = state.site(leg)
        who = _who(source, leg, site)
        sites[who] = site
        rooms.setdefault(leg.room, {}).setdefault(who, []).append(leg)
    titles: dict[str, str] = {}
    starts: dict[str, datetime] = {}
    for record in source.board.meetings.values():
        if record.title is not None:
            titles.setdefault(record.room, record.title)
        if record.started_at is not None:
            starts[record.room] = min(record.started_at, starts.get(record.room, record.started_at))
    meetings = []
    for room, callers in rooms.items():
        present = sorted(
            (_presence(who, sites[who], legs) for who, legs in callers.items()), key=lambda p: (p.since, p.who)
        )
        meetings.append(
            LiveMeeting(
                source=source.name,
                room=room,
                title=titles.get(room),
                since=min(present[0].since, starts.get(room, present[0].since)),
                present=tuple(present),
            )
        )
    return largest_first(meetings)


def largest_first(meetings: Iterable[LiveMeeting]) -> list[LiveMeeting]:
    return sorted(meetings, key=lambda m: (-len(m.present), m.since, m.source, m.room))


def figures(meetings: Iterable[LiveMeeting]) -> Figures:
    """What the meetings, of one source or several, come to."""
    meetings = list(meetings)
    everyone = [presence for meeting in meetings for presence in meeting.present]
    return Figures(
        meetings=len(meetings),
        legs=sum(presence.legs for presence in everyone),
        endpoints=len({presence.who for presence in everyone}),
        unmatched=len({presence.who for presence in everyone if presence.site is None}),
        people=len(everyone),
    )


def _who(source: SourceState, leg: LegRecord, site: Site | None) -> tuple[str, str]:
    if site is not None:
        return "site", site.code
    if leg.identity is not None:
        return "alias", leg.identity
    return "leg", f"{source.name}/{leg.external_id}"


def _presence(who: tuple[str, str], site: Site | None, legs: list[LegRecord]) -> Presence:
    return Presence(
        who=who,
        site=site,
        identity=legs[0].identity,
        personal=legs[0].personal,
        since=min(leg.joined_at for leg in legs if leg.joined_at is not None),
        legs=len(legs),
    )
