"""Calendars in files (iCalendar, RFC 5545): the meetings in them, one by one. Who is meant is not known here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events

from conftrack.inventory.tables import LARGEST_FILE, LONGEST, Place, Problem, WrongFiles, hidden_character
from conftrack.model import Record

ROOM_PROPERTY = "X-CONFTRACK-ROOM"
MOST_MEETINGS = 10_000
"""Meetings to come of one file: beyond that it is no calendar of meetings."""


class Calendar(Record, frozen=True):
    """A calendar as it was read; `lines` says where each event begins, by its UID."""

    place: Place
    parsed: icalendar.Calendar
    lines: dict[str, int]
    #: The UIDs of events that come more than once.
    series: frozenset[str]

    def at(self, uid: str, column: str = "") -> Place:
        return Place(file=self.place.file, line=self.lines.get(uid, 0), column=column)


class Event(Record, frozen=True):
    """One meeting of a calendar."""

    #: Its own: that of the event, and of one in a series, with the moment that it was first meant for.
    uid: str
    #: That of the event.
    event: str
    title: str | None
    starts_at: datetime
    ends_at: datetime | None
    #: What the room may be called, the likeliest first; `named`: the first is the room, for sure.
    rooms: tuple[str, ...]
    named: bool
    #: The addresses of those invited.
    attendees: tuple[str, ...]
    cancelled: bool


def read(path: Path) -> Calendar:
    """Raises WrongFiles for what is no calendar, and for events without a UID or start, or with a broken line."""
    place = Place(file=str(path))
    try:
        content = path.read_bytes() if path.stat().st_size <= LARGEST_FILE else None
        if content is None:
            raise WrongFiles([Problem(place=place, message=f"has more than {LARGEST_FILE >> 20} MiB")])
        text = content.decode("utf-8-sig")
        parsed = icalendar.Calendar.from_ical(text)
    except OSError as error:
        raise WrongFiles([Problem(place=place, message=f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:  # what is no UTF-8 is one, too
        raise WrongFiles([Problem(place=place, message=f"is no iCalendar file: {error}")]) from error
    if not isinstance(parsed, icalendar.Calendar):
        raise WrongFiles([Problem(place=place, message="is no iCalendar file")])
    begins = [n for n, line in enumerate(text.splitlines(), start=1) if line.strip().upper() == "BEGIN:VEVENT"]
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    series: set[str] = set()
    for event, line in zip(parsed.walk("VEVENT"), begins, strict=False):
        problems += (
            Problem(place=Place(file=place.file, line=line, column=str(name or "")), message=str(message))
            for name, message in event.errors
        )
        for name in ("UID", "DTSTART"):
            if name not in event:
                problems.append(
                    Problem(place=Place(file=place.file, line=line, column=name), message=f"this event has no {name}")
                )
        uid = _said(event, "UID")
        lines.setdefault(uid, line)
        if "RRULE" in event or "RDATE" in event:
            series.add(uid)
    if problems:
        raise WrongFiles(problems)
    return Calendar(place=place, parsed=parsed, lines=lines, series=frozenset(series))


def meetings(
    calendar: Calendar, since: datetime, until: datetime, timezone: ZoneInfo, notes: list[str]
) -> Iterator[Event]:
    """The meetings that end after `since` and begin before `until`. Times without a zone are local ones. What lasts
    whole days is no meeting, and noted. Raises WrongFiles."""
    try:
        found = recurring_ical_events.of(calendar.parsed).after(since)
        for count, one in enumerate(found):
            starts_at = _start(one, timezone)
            if starts_at is not None and starts_at >= until:
                return
            if count >= MOST_MEETINGS:
                message = f"has more than {MOST_MEETINGS:,} meetings until {until:%Y-%m-%d}"
                raise WrongFiles([Problem(place=calendar.place, message=message)])
            uid = _said(one, "UID")
            if starts_at is None:
                note = f"{calendar.at(uid)}: “{_said(one, 'SUMMARY')}” lasts whole days, passed over"
                if note not in notes:
                    notes.append(note)
                continue
            yield _event(one, uid, starts_at, calendar, timezone)
    except ValueError as error:
        raise WrongFiles([Problem(place=calendar.place, message=f"cannot be followed: {error}")]) from error


def _event(one: Any, uid: str, starts_at: datetime, calendar: Calendar, timezone: ZoneInfo) -> Event:
    ends_at = _moment(one["DTEND"].dt, timezone) if "DTEND" in one else None
    meant = _moment(one["RECURRENCE-ID"].dt, timezone) if "RECURRENCE-ID" in one else None
    attendees = one.get("ATTENDEE", [])
    attendees = attendees if isinstance(attendees, list) else [attendees]
    rooms = [_said(one, ROOM_PROPERTY), _said(one, "LOCATION")]
    for attendee in attendees:
        if str(attendee.params.get("CUTYPE", "")).upper() in ("ROOM", "RESOURCE"):
            rooms += [
                _clean(str(attendee.params.get("CN", ""))),
                _address(attendee),
                _address(attendee).partition("@")[0],
            ]
    in_series = uid in calendar.series and meant is not None
    return Event(
        uid=f"{uid}/{meant:%Y%m%dT%H%M%SZ}" if in_series else uid,
        event=uid,
        title=_said(one, "SUMMARY") or None,
        starts_at=starts_at,
        ends_at=ends_at if ends_at is not None and ends_at > starts_at else None,
        rooms=tuple(dict.fromkeys(room for room in rooms if room)),
        named=bool(rooms[0]),
        attendees=tuple(dict.fromkeys(_address(attendee) for attendee in attendees)),
        cancelled=_said(one, "STATUS").upper() == "CANCELLED",
    )


def _start(one: Any, timezone: ZoneInfo) -> datetime | None:
    return _moment(one["DTSTART"].dt, timezone)


def _moment(value: Any, timezone: ZoneInfo) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo is not None else value.replace(tzinfo=timezone)).astimezone(UTC)


def _said(one: Any, name: str) -> str:
    return _clean(str(one.get(name, "")))


def _clean(text: str) -> str:
    """On one line, without what cannot be seen."""
    plain = unicodedata.normalize("NFC", " ".join(text.split()))
    plain = "".join(char for char in plain if not hidden_character(char))
    return plain.encode()[:LONGEST].decode(errors="ignore")


def _address(attendee: Any) -> str:
    text = _clean(str(attendee))
    return text[len("mailto:") :] if text.casefold().startswith("mailto:") else text


def horizon(now: datetime, timezone: ZoneInfo) -> tuple[datetime, datetime]:
    """From the beginning of today, by local time, for a year: what is read of a calendar."""
    today = now.astimezone(timezone).replace(hour=0, minute=0, second=0, microsecond=0)
    return today, today + timedelta(days=366)
