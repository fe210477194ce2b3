"""What the Management API sends, as far as conftrack reads it, and how one unreadable row spoils only itself.

Field names after docs.pexip.com, "Management history API", "Management status API" and "Management configuration API",
and the resources' own schemas.
Everything but the id of a row may be missing or null. Fields that are not read are not declared: they cannot do harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, cast

import msgspec

from conftrack.model import Rejected


class Row(msgspec.Struct, gc=False):
    id: Annotated[str, msgspec.Meta(min_length=1)]


class Linked(msgspec.Struct, gc=False):
    """A related resource that comes nested instead of as its address."""

    id: str | None = None


class Stream(msgspec.Struct, gc=False):
    """One media stream; rx is what the node received from the endpoint, tx what it sent. Rates in kbit/s."""

    stream_type: str | None = None
    rx_bitrate: float | None = None
    rx_packet_loss: float | None = None  # percent
    rx_packets_lost: float | None = None
    rx_packets_received: float | None = None
    tx_bitrate: float | None = None
    tx_packet_loss: float | None = None  # percent
    tx_packets_lost: float | None = None
    tx_packets_sent: float | None = None


class Conference(Row, kw_only=True):
    """history/conference"""

    end_time: datetime
    name: str | None = None
    start_time: datetime | None = None
    #: Their addresses; whatever else it is is not read.
    participants: object = None


class Participant(Row, kw_only=True):
    """history/participant"""

    end_time: datetime
    #: None: the call never connected.
    start_time: datetime | None = None
    #: None while the conference goes on.
    conference: str | Linked | None = None
    conference_name: str | None = None
    call_direction: str | None = None
    protocol: str | None = None
    service_type: str | None = None
    remote_alias: str | None = None
    remote_address: str | None = None
    disconnect_reason: str | None = None
    has_media: bool | None = None
    is_streaming: bool | None = None
    #: In line, or as addresses, or as text, by software version.
    media_streams: list[Stream | str | None] | str | None = None


class LooseParticipant(Participant, kw_only=True):
    """The same with whatever stands for its streams, where that is not what it should be: no reason to lose a leg."""

    media_streams: Any = None

    def __post_init__(self) -> None:
        streams = self.media_streams
        self.media_streams = [_loose_stream(stream) for stream in streams] if isinstance(streams, list) else None


class Backplane(Row, kw_only=True):
    """history/backplane: media between two nodes of one distributed conference"""

    end_time: datetime
    start_time: datetime | None = None
    conference: str | Linked | None = None
    conference_name: str | None = None
    protocol: str | None = None
    disconnect_reason: str | None = None


class LiveConference(Row, kw_only=True):
    """status/conference"""

    name: str | None = None
    start_time: datetime | None = None


class LiveParticipant(Row, kw_only=True):
    """status/participant"""

    #: The conference's name, not its address.
    conference: str | None = None
    #: None while it is being connected.
    connect_time: datetime | None = None
    call_direction: str | None = None
    call_quality: str | None = None
    protocol: str | None = None
    service_type: str | None = None
    participant_alias: str | None = None
    source_alias: str | None = None
    destination_alias: str | None = None
    remote_address: str | None = None
    has_media: bool | None = None
    is_streaming: bool | None = None


class LiveStream(msgspec.Struct, gc=False):
    """status/participant/<id>/media_stream"""

    type: str | None = None
    #: Set once the stream is over.
    end_time: str | None = None
    rx_bitrate: float | None = None
    rx_packet_loss: float | None = None
    rx_packets_lost: float | None = None
    rx_packets_received: float | None = None
    tx_bitrate: float | None = None
    tx_packet_loss: float | None = None
    tx_packets_lost: float | None = None
    tx_packets_sent: float | None = None
    rx_windowed_packet_loss: float | None = None  # percent, of late
    tx_windowed_packet_loss: float | None = None
    rx_jitter: float | None = None  # ms
    tx_jitter: float | None = None


class Numbered(Row, kw_only=True):
    """One whose id is a number"""

    id: Any = None

    def __post_init__(self) -> None:
        self.id = str(self.id)


class RegistrationAlias(Numbered, kw_only=True):
    """status/registration_alias: one that is registered now, by SIP, H.323 or the node's own protocol; its number is
    new at each registration"""

    alias: str


class Room(Numbered, kw_only=True):
    """configuration/conference: a Virtual Meeting Room or Auditorium"""

    name: str


class AutomaticParticipant(Numbered, kw_only=True):
    """configuration/automatic_participant: whom rooms dial by themselves"""

    alias: str
    #: The addresses of the rooms, such as /api/admin/configuration/v1/conference/6/
    conference: list[str] | str | None = None
    streaming: bool | None = None

    @property
    def rooms(self) -> list[str]:
        """The ids of the rooms."""
        addresses = [self.conference] if isinstance(self.conference, str) else self.conference or []
        return [address.rstrip("/").rpartition("/")[2] for address in addresses]


class Schema(msgspec.Struct):
    """<resource>/schema/: which fields the list may be ordered by"""

    ordering: list[str] = []


class _Meta(msgspec.Struct):
    total_count: int


_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _loose_stream(stream: object) -> Stream | None:
    """A stream whose numbers may be text, and absent ones the text "None"."""
    if not isinstance(stream, dict):
        return None
    given = {key: value for key, value in stream.items() if value != "None"}
    try:
        return msgspec.convert(given, Stream, strict=False)
    except msgspec.ValidationError:
        return None


W = TypeVar("W")
A = TypeVar("A", bound=Row)
R = TypeVar("R")


class Envelope(msgspec.Struct, Generic[W]):
    """The list envelope of every resource."""

    meta: _Meta
    objects: list[W]


class Listing(msgspec.Struct, Generic[R]):
    """One page of a list, read."""

    #: Rows that match the request in the whole list, by the node's own count.
    total: int
    #: Rows on this page as they came.
    received: int
    #: Facts by row id; of a row that came twice the last.
    records: dict[str, R]
    rejected: tuple[Rejected, ...] = ()

    def joined(self, page: Listing[R]) -> Listing[R]:
        """This and the page after it."""
        received, rejected = self.received + page.received, self.rejected + page.rejected
        return Listing(self.total, received, self.records | page.records, rejected)


class Reader(Generic[A, R]):
    """Reads the rows of one resource: wire row in, fact out.

    `record` may raise `msgspec.ValidationError` for a row that decodes but cannot be true. `loose` is a wider shape
    of the row, tried on one that has not the usual shape.
    """

    def __init__(self, row: type[A], record: Callable[[A], R], *, loose: type[A] | None = None) -> None:
        self._record = record
        self._row: msgspec.json.Decoder[A] = msgspec.json.Decoder(loose or row)
        envelope = cast(Any, Envelope)[row]
        self._envelope: msgspec.json.Decoder[Envelope[A]] = msgspec.json.Decoder(envelope)

    def listing(self, body: bytes) -> Listing[R]:
        """A page. Raises `msgspec.DecodeError` if it is none; a bad row is only ever rejected."""
        # A NUL, which no database text may hold, is looked for row by row. Backwards, since the rare `\` stands first:
        # that way the search is several times as fast.
        if body.rfind(rb"\u0000") < 0:
            try:
                page = self._envelope.decode(body)
                records = {row.id: self._record(row) for row in page.objects}
                return Listing(page.meta.total_count, len(page.objects), records)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
        return self._row_by_row(body)

    def one(self, raw: bytes) -> R | Rejected:
        """One row on its own."""
        result = self._read(raw)
        return result if isinstance(result, Rejected) else result[1]

    def _read(self, raw: bytes) -> tuple[str, R] | Rejected:
        try:
            if _NUL.search(raw):
                raise msgspec.ValidationError("Holds a NUL character, which no text may")
            row = self._row.decode(raw)
            return row.id, self._record(row)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Rejected(raw=raw, error=str(error), external_id=_id(raw))

    def _row_by_row(self, body: bytes) -> Listing[R]:
        total, raws = _rows(body)
        results = [self._read(raw) for raw in raws]
        return Listing(
            total,
            len(raws),
            dict(result for result in results if not isinstance(result, Rejected)),
            tuple(result for result in results if isinstance(result, Rejected)),
        )


def _rows(body: bytes) -> tuple[int, list[bytes]]:
    """The rows of a page, each as its own JSON text."""
    try:
        page = msgspec.json.decode(body, type=Envelope[msgspec.Raw])
        return page.meta.total_count, [bytes(raw) for raw in page.objects]
    except (msgspec.DecodeError, UnicodeDecodeError):
        # A text that is none (half a surrogate pair, broken UTF-8) makes msgspec give up the whole page. The slower
        # json module can still tell the rows apart, if they are all there.
        try:
            loose = msgspec.convert(json.loads(body.decode("utf-8", "surrogateescape")), Envelope[Any])
        except ValueError:  # a msgspec.ValidationError is one
            raise msgspec.DecodeError("Not a page of a list") from None
        return loose.meta.total_count, [json.dumps(row).encode() for row in loose.objects]


def _id(raw: bytes) -> str | None:
    """The id of a row that cannot be read, if at least that can."""
    try:
        found = json.loads(raw)["id"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) and found.isprintable() and found else None
