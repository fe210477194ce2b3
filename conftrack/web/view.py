"""What the live page says at one moment, before it is put into words: no HTML, no language, no I/O.

What goes on now comes from fresh sources only. Of the others it says when they were last seen, and what was going on
then, apart and marked as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import blake2s
from typing import Literal

import msgspec

from conftrack.inventory.names import name_order
from conftrack.live import Figures, LiveMeeting, figures, largest_first, live_meetings
from conftrack.model import EndClass
from conftrack.state import Site, SourceState, State

# A page is pushed to every screen as often as something changes: long lists are cut, and say how much is left out.
MEETINGS_LISTED = 30
ENDPOINTS_LISTED = 100
"""Of one meeting."""
ALL_ENDPOINTS_LISTED = 1000
"""Of all meetings of a list, the largest first."""
EVENTS_LISTED = 30


class SourceView(msgspec.Struct, frozen=True, kw_only=True):
    """How current one source is. `stale`: it was seen before; `unseen`: not since this collector started, nor is there
    anything from before; `elsewhere`: another collector reads it."""

    name: str
    condition: Literal["live", "stale", "unseen", "elsewhere"]
    seen_at: datetime | None
    age: timedelta | None
    error: str | None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is shown. `name` is the site's name, else the alias; None for a person and for a caller without a name."""

    name: str | None
    org: str | None = None
    personal: bool = False


class ListedMeeting(msgspec.Struct, frozen=True, kw_only=True):
    #: Names the meeting in the page, as long as it lasts.
    key: str
    meeting: LiveMeeting
    #: By name, persons left out.
    endpoints: tuple[Caller, ...]
    #: Endpoints that are not listed.
    more: int
    persons: int


class MeetingList(msgspec.Struct, frozen=True, kw_only=True):
    listed: tuple[ListedMeeting, ...]
    #: Meetings that are not listed.
    more: int


class PastList(msgspec.Struct, frozen=True, kw_only=True):
    """What went on at a source when it was last seen."""

    source: str
    seen_at: datetime
    meetings: MeetingList


class Event(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    kind: Literal["joined", "left", "moved"]
    caller: Caller
    title: str
    end_class: EndClass | None


class StreamView(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    stream: str
    up: bool | None
    last_success_at: datetime | None
    cursor_at: datetime | None
    error: str | None


class View(msgspec.Struct, frozen=True, kw_only=True):
    now: datetime
    sources: tuple[SourceView, ...]
    #: None while no source is fresh.
    figures: Figures | None
    #: Sources that are not part of `figures`.
    missing: tuple[str, ...]
    #: Endpoints of the inventory by state; empty without an inventory.
    states: dict[str, int]
    live: MeetingList
    past: tuple[PastList, ...]
    #: Newest first.
    events: tuple[Event, ...]
    streams: tuple[StreamView, ...]
    #: When the database last took a write.
    stored_at: datetime | None
    #: Since when it is known not to answer; None while it does.
    database_lost_at: datetime | None


def view(state: State, now: datetime) -> View:
    telling = [source for source in state.sources.values() if source.has_live]
    fresh = [source for source in telling if source.fresh(now)]
    others = [source for source in telling if not source.fresh(now)]
    meetings = [meeting for source in fresh for meeting in live_meetings(state, source)]
    return View(
        now=now,
        sources=tuple(_source(source, now) for source in telling),
        figures=figures(meetings) if fresh else None,
        missing=tuple(source.name for source in others),
        states=dict(Counter(state.site_states(now).values())),
        live=_meetings(largest_first(meetings)),
        past=tuple(
            PastList(source=source.name, seen_at=source.board.seen_at, meetings=_meetings(before))
            for source in others
            if source.board.seen_at is not None and (before := live_meetings(state, source))
        ),
        events=tuple(_events(state)),
        streams=tuple(
            StreamView(
                source=source.name,
                stream=name,
                up=stream.up,
                last_success_at=stream.last_success_at,
                cursor_at=stream.cursor_at,
                error=stream.last_error,
            )
            for source in state.sources.values()
            for name, stream in source.streams.items()
        ),
        stored_at=state.stored_at,
        database_lost_at=state.database_lost_at,
    )


def _source(source: SourceState, now: datetime) -> SourceView:
    live = source.streams.get("live")
    seen_at = live.last_success_at if live is not None else None
    seen_at = seen_at or source.board.seen_at
    condition: Literal["live", "stale", "unseen", "elsewhere"]
    if source.fresh(now):
        condition = "live"
    elif source.held_elsewhere:
        condition = "elsewhere"
    else:
        condition = "stale" if seen_at is not None else "unseen"
    return SourceView(
        name=source.name,
        condition=condition,
        seen_at=seen_at,
        age=None if seen_at is None else now - seen_at,
        error=live.last_error if live is not None else None,
    )


def _meetings(meetings: list[LiveMeeting]) -> MeetingList:
    left = ALL_ENDPOINTS_LISTED
    listed = []
    for meeting in meetings[:MEETINGS_LISTED]:
        callers = [_caller(p.site, p.identity, p.personal) for p in meeting.present]
        endpoints = sorted((c for c in callers if not c.personal), key=lambda c: name_order(c.name or ""))
        shown = endpoints[: min(ENDPOINTS_LISTED, left)]
        left -= len(shown)
        listed.append(
            ListedMeeting(
                key=f"m{blake2s(f'{meeting.source}/{meeting.room}'.encode(), digest_size=6).hexdigest()}",
                meeting=meeting,
                endpoints=tuple(shown),
                more=len(endpoints) - len(shown),
                persons=len(callers) - len(endpoints),
            )
        )
    return MeetingList(listed=tuple(listed), more=len(meetings) - len(listed))


def _events(state: State) -> Iterable[Event]:
    """The newest first, by when they happened: one that was noticed late stands where it belongs."""
    titles = {
        (source.name, record.room): record.title
        for source in state.sources.values()
        for record in source.board.meetings.values()
        if record.title is not None
    }
    oldest_first = sorted(state.events, key=lambda event: event[1].at)
    for source, change in reversed(oldest_first[-EVENTS_LISTED:]):
        leg = change.leg
        yield Event(
            at=change.at,
            kind=change.kind,
            caller=_caller(state.site(leg), leg.identity, leg.personal),
            title=titles.get((source, leg.room), leg.room),
            end_class=leg.end_class,
        )


def _caller(site: Site | None, identity: str | None, personal: bool) -> Caller:
    if site is not None:
        return Caller(name=site.name, org=site.org_name)
    return Caller(name=None if personal else identity, personal=personal)
