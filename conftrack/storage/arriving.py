"""A page as it can be stored: each record once, and nothing in it that no column can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from conftrack.model import LegRecord, MeetingRecord, Origin, Page, Record

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
