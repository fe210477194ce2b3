"""A page as it can be stored: each record once, and nothing in it that cannot be or that no column can hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from conftrack.model import (
    QUALITY,
    Headcount,
    LegRecord,
    MeetingRecord,
    Origin,
    Page,
    Reading,
    Record,
    Rejected,
    Snapshot,
    is_possible,
)

Said = TypeVar("Said", Page, Snapshot)
One = TypeVar("One", LegRecord, MeetingRecord)
Clean = TypeVar("Clean", bound=Record)


def once(records: Sequence[One], origin: Origin) -> dict[str, One]:
    """Each id once, as if its records had come in one page after the other."""
    found: dict[str, One] = {}
    for record in records:
        earlier = found.get(record.external_id)
        found[record.external_id] = record if earlier is None else _together(earlier, record, origin)
    return found


def _together(earlier: One, later: One, origin: Origin) -> One:
    """The later record, with what only the earlier one knows; of two pushed ends the first stands (see merge_leg)."""
    known = {name: value for name, value in msgspec.structs.asdict(earlier).items() if value is not None}
    kept = {name: value for name, value in known.items() if getattr(later, name) is None and name != "excluded"}
    if isinstance(earlier, LegRecord) and isinstance(later, LegRecord):
        if "identity" in kept:
            kept["personal"] = earlier.personal
        if origin is Origin.PUSH and earlier.left_at and later.left_at and later.left_at > earlier.left_at:
            kept |= {name: known[name] for name in ("left_at", "end_class", "end_reason") if name in known}
    return msgspec.structs.replace(later, **kept)


def possible(said: Said) -> Said:
    """What a source said without the records of times that cannot be. They are kept as rejected ones, as the source
    understood them."""
    wrong: list[Record] = []
    changes: dict[str, object] = {}
    for name in ("meetings", "legs", "headcounts", "readings"):
        records = getattr(said, name, ())
        if here := [record for record in records if not _can_be(record)]:
            wrong += here
            changes[name] = tuple(record for record in records if record not in here)
    if not wrong:
        return said
    return msgspec.structs.replace(said, rejected=(*said.rejected, *map(_rejected, wrong)), **changes)


def _can_be(record: LegRecord | MeetingRecord | Headcount | Reading) -> bool:
    first: datetime | None
    last: datetime | None
    match record:
        case LegRecord():
            first, last = record.joined_at, record.left_at
        case MeetingRecord():
            first, last = record.started_at, record.ended_at
        case _:
            first = last = record.at
    return (first is None or is_possible(first)) and (last is None or is_possible(last))


def _rejected(record: Record) -> Rejected:
    """The record, whole but for what is measured: it is the same one at the next look."""
    said = {name: value for name, value in msgspec.structs.asdict(record).items() if name not in QUALITY}
    return Rejected(
        raw=msgspec.json.encode(said), error="Holds a time that cannot be", external_id=said.get("external_id")
    )


def storable(page: Page) -> Page:
    """The page without what no column can hold, which would else keep its stream from ever being read any further."""
    return msgspec.structs.replace(
        page,
        meetings=tuple(map(_cleaned, page.meetings)),
        legs=tuple(map(_cleaned, page.legs)),
        headcounts=tuple(map(_cleaned, page.headcounts)),
        rejected=tuple(map(_cleaned, page.rejected)),
    )


def _cleaned(record: Clean) -> Clean:
    """The record without NULs in its texts, and without rates beyond 31 bits (a vendor's way to say "unknown")."""
    changes: dict[str, object] = {}
    for name, value in msgspec.structs.asdict(record).items():
        if isinstance(value, str) and "\0" in value:
            changes[name] = value.replace("\0", "\ufffd")
        elif name in ("rx_bitrate", "tx_bitrate") and value is not None and not 0 <= value < 2**31:
            changes[name] = None
    return msgspec.structs.replace(record, **changes)
