"""What the Management API says, as conftrack's records.

Times without a zone are UTC (docs.pexip.com, "Management history API": all date and time fields are UTC).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from conftrack.model import Excluded, LegRecord, MeetingRecord
from conftrack.sources.base import is_address, normalise_alias, possible
from conftrack.sources.pexip.causes import Direction, end_class
from conftrack.sources.pexip.quality import Quality, ended_quality
from conftrack.sources.pexip.wire import (
    Backplane,
    Conference,
    Linked,
    LiveConference,
    LiveParticipant,
    Participant,
    Stream,
)

#: Protocols of a person's own client, which names itself by what its user typed.
_PERSONAL = frozenset({"webrtc", "mssip", "teams", "gms"})
#: Services that a leg of people may be in. Others talk to a caller, or hold one: reception, waiting, test call.
_MEETINGS = frozenset({"conference", "lecture", "gateway", ""})
_DIRECTIONS: dict[str | None, Direction] = {"in": "in", "out": "out"}
#: What a distributed or gateway call adds to its name: `:` and a random number in hex, or a UUID. Short ones need a
#: letter and a digit, and one of digits alone may not look like a date: "Giao ban:20260302" keeps it.
_INSTANCE = re.compile(
    r"\s*:\s*(?:[0-9a-f]{16,}|(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{4,15}|(?!20\d\d[01]\d[0-3]\d)\d{9,15}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
    re.IGNORECASE,
)


def meeting(row: Conference) -> MeetingRecord:
    started_at, ended_at = _period(row.start_time, row.end_time)
    name = row.name or ""
    named = row.participants if isinstance(row.participants, list) else []
    ids = (_linked(one) for one in named if isinstance(one, str) and "\0" not in one)
    return MeetingRecord(
        external_id=row.id, room=room_of(name), title=room_of(name) or None, started_at=started_at, ended_at=ended_at,
        legs=tuple(leg for leg in ids if leg is not None),
    )  # fmt: skip


def leg(row: Participant) -> LegRecord:
    joined_at, left_at = _period(row.start_time, row.end_time)
    connected = joined_at is not None
    direction = _DIRECTIONS.get(row.call_direction)
    reason = row.disconnect_reason or None
    ended = end_class(reason, connected, direction)
    excluded = _excluded(row.protocol, row.service_type, row.is_streaming, row.has_media, connected)
    identity = _identity(row.remote_alias, row.remote_address)
    streams = row.media_streams
    quality = _NO_QUALITY
    if isinstance(streams, list) and streams:
        quality = ended_quality([stream for stream in streams if isinstance(stream, Stream)])
    return LegRecord(
        external_id=row.id,
        room=room_of(row.conference_name or ""),
        meeting=_linked(row.conference),
        identity=identity,
        personal=_personal(row.protocol, identity),
        protocol=row.protocol or None,
        direction=direction,
        joined_at=joined_at,
        left_at=left_at,
        end_class=ended,
        end_reason=reason,
        excluded="noise" if excluded is None and ended == "noise" else excluded,
        rx_bitrate=quality.rx_bitrate,
        tx_bitrate=quality.tx_bitrate,
        rx_loss=quality.rx_loss,
        tx_loss=quality.tx_loss,
    )


def backplane(row: Backplane) -> LegRecord:
    joined_at, left_at = _period(row.start_time, row.end_time)
    reason = row.disconnect_reason or None
    return LegRecord(
        external_id=row.id,
        room=room_of(row.conference_name or ""),
        meeting=_linked(row.conference),
        protocol=row.protocol or None,
        joined_at=joined_at,
        left_at=left_at,
        end_class=end_class(reason, joined_at is not None, None),
        end_reason=reason,
        excluded="backplane",
    )


def live_meeting(row: LiveConference) -> MeetingRecord:
    name = row.name or ""
    return MeetingRecord(
        external_id=row.id,
        room=room_of(name),
        title=room_of(name) or None,
        started_at=None if row.start_time is None else _utc(row.start_time),
    )


def live_leg(row: LiveParticipant, meetings: Mapping[str, str]) -> LegRecord:
    """`meetings` are the ids of the live conferences by name: all that the row says of its conference."""
    joined_at = None if row.connect_time is None else _utc(row.connect_time)
    direction = _DIRECTIONS.get(row.call_direction)
    # The node names both ends of the call; which of them is ours depends on who called.
    far_end = row.destination_alias if direction == "out" else row.source_alias
    identity = _identity(row.participant_alias or far_end, row.remote_address)
    return LegRecord(
        external_id=row.id,
        room=room_of(row.conference or ""),
        meeting=meetings.get(row.conference or ""),
        identity=identity,
        personal=_personal(row.protocol, identity),
        protocol=row.protocol or None,
        direction=direction,
        joined_at=joined_at,
        excluded=_excluded(row.protocol, row.service_type, row.is_streaming, row.has_media, joined_at is not None),
    )


@lru_cache(maxsize=8192)
def room_of(name: str) -> str:
    """The name that all records of one conference share: without the instance a distributed call adds, and with its
    accents encoded in one way, as the inventory has them."""
    name = unicodedata.normalize("NFC", name)
    return _INSTANCE.sub("", name) or name


_NO_QUALITY = Quality()


def _utc(time: datetime) -> datetime:
    possible(time)  # before it is moved to UTC, which has no time before the year 1
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _period(start: datetime | None, end: datetime) -> tuple[datetime | None, datetime]:
    ended_at = _utc(end)
    if start is None:
        return None, ended_at
    started_at = _utc(start)
    if started_at > ended_at:
        raise msgspec.ValidationError("Ends before it starts - at `$.end_time`")
    return started_at, ended_at


def _linked(conference: str | Linked | None) -> str | None:
    """The id in `/api/admin/history/v1/conference/<id>/`, or of a participant in the same way."""
    if isinstance(conference, str):
        return conference.rstrip("/").rpartition("/")[2] or None
    return conference.id if conference is not None else None


def _identity(alias: str | None, address: str | None) -> str | None:
    return (normalise_alias(alias) if alias else None) or (normalise_alias(address) if address else None)


def _personal(protocol: str | None, identity: str | None) -> bool:
    return (
        protocol is not None and protocol.casefold() in _PERSONAL and identity is not None and not is_address(identity)
    )


@lru_cache(maxsize=1024)
def _excluded(
    protocol: str | None, service_type: str | None, is_streaming: bool | None, has_media: bool | None, connected: bool
) -> Excluded | None:
    """Why a leg is not people.

    Where an attempt got to in the system, and that it had no media, says nothing: it was nowhere yet.
    """
    protocol, service_type = (protocol or "").casefold(), (service_type or "").casefold()
    if protocol == "api":
        return "api"
    if is_streaming or protocol == "rtmp":
        return "streaming"
    if "backplane" in protocol or "backplane" in service_type:
        return "backplane"
    if not connected:
        return None
    if service_type not in _MEETINGS:
        return "ivr"
    return "shadow" if has_media is False else None
