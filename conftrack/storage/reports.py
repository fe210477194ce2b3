"""The facts that a month's report is made of, and the reports that were closed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import asyncpg

from conftrack.model import EndClass, IncidentKind, Owner, Provenance, Record
from conftrack.storage import maintenance
from conftrack.storage.database import Connection
from conftrack.storage.maintenance import Maintenance
from conftrack.storage.queries import query


class MeetingFact(Record, frozen=True):
    meeting_id: int
    source: str
    room: str
    title: str | None
    #: The local day it belongs to.
    day: date
    started_at: datetime
    ended_at: datetime | None
    invitation_id: int | None
    #: None: it was not invited to at a time.
    scheduled_start: datetime | None


class PresenceFact(Record, frozen=True):
    """One endpoint in one meeting; `presence_seconds` and `attended` are None while it goes on."""

    meeting_id: int
    #: One number per endpoint, of the inventory or not.
    endpoint_key: int
    #: Its code; None: a caller outside the inventory.
    endpoint: str | None
    presence_seconds: float | None
    legs: int
    leg_seconds: float
    attended: bool | None
    attendees: int
    provenance: Provenance


class LegFact(Record, frozen=True):
    """A connection of people that was up."""

    meeting_id: int
    endpoint: str | None
    joined_at: datetime
    left_at: datetime | None


class FailureFact(Record, frozen=True):
    """The attempts of one endpoint that failed on one day."""

    day: date
    source: str
    endpoint: str | None
    attempts: int


class IncidentFact(Record, frozen=True):
    #: The local day it belongs to.
    day: date
    source: str | None
    endpoint: str | None
    kind: IncidentKind
    end_class: EndClass | None
    #: As an operator said.
    owner: Owner | None
    opened_at: datetime
    closed_at: datetime | None


class InvitationFact(Record, frozen=True):
    """Who was invited to one meeting."""

    invitation_id: int
    #: The meetings that were held on it, the first one first; none: nobody came.
    meeting_ids: tuple[int, ...]
    day: date
    source: str | None
    room: str
    title: str | None
    #: None: a standing invitation.
    starts_at: datetime | None
    #: Four hours after the start, where it names none.
    ends_at: datetime | None
    #: Codes, each with the reason it was excused for, or None.
    expected: tuple[tuple[str, str | None], ...]


class EndpointFact(Record, frozen=True):
    code: str
    name: str
    org: str | None
    seats: int | None
    service_hours: str | None
    retired_on: date | None


class SourceFact(Record, frozen=True):
    """How a source was read: see the query `certify_source`."""

    source: str
    polls: int
    failed_polls: int
    source_total: int | None
    stored_total: int | None
    windows: int
    short_windows: int
    rejected: int
    seen_until: datetime | None


class UnseenFact(Record, frozen=True):
    """A source could not be seen in [since, until), and no history told later; `until` None: nor since."""

    source: str
    since: datetime
    until: datetime | None
    #: When somebody looked last before: what was going on then, and is not known to have gone on, ends there.
    last_seen: datetime


class Facts(Record, frozen=True):
    """What is known of the local days [since, until)."""

    since: date
    until: date
    #: The same as moments.
    begins_at: datetime
    ends_at: datetime
    #: When the first meeting that is known began; None: none is.
    first_meeting: datetime | None
    meetings: tuple[MeetingFact, ...]
    presences: tuple[PresenceFact, ...]
    legs: tuple[LegFact, ...]
    failures: tuple[FailureFact, ...]
    #: Those of these days, and others that reach into them.
    incidents: tuple[IncidentFact, ...]
    invitations: tuple[InvitationFact, ...]
    endpoints: tuple[EndpointFact, ...]
    sources: tuple[SourceFact, ...]
    #: As far as they reach into these days, or into a meeting or invitation of them.
    unseen: tuple[UnseenFact, ...]
    maintenance: tuple[Maintenance, ...]


class Snapshot(Record, frozen=True):
    """Figures as they were kept."""

    figures: bytes
    #: SHA-256 of them, in hexadecimal.
    digest: str
    at: datetime
    by: str


class ClosedMonth(Record, frozen=True):
    month: date
    since: date
    until: date
    closed_at: datetime
    closed_by: str
    digest: str
    #: How many.
    addenda: int


async def load(
    connection: Connection, since: date, until: date, timezone: ZoneInfo, configured: Collection[str]
) -> Facts:
    """Everything of the local days [since, until), as of one moment. That a source is not seen any more which is not
    `configured` any more hides nothing."""
    # In UTC: between two moments of one zone Python counts the hours on the wall.
    begins_at, ends_at = (datetime.combine(day, time(), timezone).astimezone(UTC) for day in (since, until))
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        meetings = [MeetingFact(**row) for row in await connection.fetch(query("list_report_meeting"), since, until)]
        ids = [meeting.meeting_id for meeting in meetings]
        sources = [SourceFact(**row) for row in await connection.fetch(query("certify_source"), begins_at, ends_at)]
        invitations = [
            _invitation(row)
            for row in await connection.fetch(query("list_report_invitation"), since, until, timezone.key)
        ]
        # A meeting and an invitation of these days may end after them; one that goes on, nobody knows when.
        ends = [ends_at, *(one.ended_at for one in meetings), *(one.ends_at for one in invitations if one.ends_at)]
        last = None if None in ends else max(end for end in ends if end is not None)
        return Facts(
            since=since, until=until, begins_at=begins_at, ends_at=ends_at,
            first_meeting=await connection.fetchval(query("find_first_meeting")),
            meetings=tuple(meetings),
            presences=tuple(
                [PresenceFact(**row) for row in await connection.fetch(query("list_report_presence"), ids)]
            ),
            legs=tuple([LegFact(**row) for row in await connection.fetch(query("list_report_leg"), ids)]),
            failures=tuple(
                [FailureFact(**row) for row in await connection.fetch(query("count_report_failure"), since, until)]
            ),
            incidents=tuple(
                [
                    IncidentFact(**row)
                    for row in await connection.fetch(query("list_report_incident"), since, until, begins_at, ends_at)
                ]
            ),
            invitations=tuple(invitations),
            endpoints=tuple([EndpointFact(**row) for row in await connection.fetch(query("list_report_endpoint"))]),
            sources=tuple(sources),
            unseen=tuple(
                [
                    UnseenFact(**row)
                    for row in await connection.fetch(query("list_report_unseen"), begins_at, last)
                    if row["until"] is not None or row["source"] in configured
                ]
            ),
            maintenance=tuple(await maintenance.load(connection, begins_at, ends_at)),
        )  # fmt: skip


def _invitation(row: asyncpg.Record) -> InvitationFact:
    values = dict(row)
    meeting_ids, expected = values.pop("meeting_ids"), values.pop("expected")
    return InvitationFact(**values, meeting_ids=tuple(meeting_ids), expected=tuple(map(tuple, expected)))


async def first_day(connection: Connection) -> date | None:
    """The day of the first meeting that is known."""
    return await connection.fetchval(query("find_first_day"), None)  # type: ignore[no-any-return]


async def find(connection: Connection, month: date) -> tuple[Snapshot, list[Snapshot]] | None:
    """A closed month as it was signed, and its addenda, the oldest first. None: it is not closed."""
    row = await connection.fetchrow(query("find_report"), month)
    if row is None:
        return None
    addenda = await connection.fetch(query("list_addendum"), month)
    signed = Snapshot(figures=row["figures"], digest=row["digest"], at=row["closed_at"], by=row["closed_by"])
    return signed, [
        Snapshot(figures=one["figures"], digest=one["digest"], at=one["made_at"], by=one["made_by"]) for one in addenda
    ]


async def closed(connection: Connection) -> list[ClosedMonth]:
    """The months that are closed, the newest first."""
    return [ClosedMonth(**row) for row in await connection.fetch(query("list_report"))]


async def keep(
    connection: Connection, month: date, since: date, until: date, at: datetime, by: str, figures: bytes
) -> bool:
    """Closes a month. False where it is closed already."""
    return await connection.fetchval(query("keep_report"), month, since, until, at, by, figures) is not None


async def add(connection: Connection, month: date, at: datetime, by: str, figures: bytes, corrects: str) -> int | None:
    """An addendum beside the figures whose digest is `corrects`; its number, or None where others stand by now."""
    try:
        number: int | None = await connection.fetchval(query("keep_addendum"), month, at, by, figures, corrects)
    except asyncpg.ForeignKeyViolationError:
        return None
    return number
