"""What may be known of people and of sensitive meetings: the one gate that everything a source says goes through.

What does not get past it is in no table, on no page, in no metric and in no log. Nothing here asks or writes the
database; the key that it works with is the database's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Set
from fnmatch import translate
from functools import lru_cache
from typing import TypeVar

from msgspec.structs import replace

from conftrack.config import PrivacyConfig
from conftrack.model import Headcount, LegRecord, MeetingRecord, Page, Rejected, Snapshot
from conftrack.spelling import bare

Said = TypeVar("Said", Page, Snapshot)

_HUSHED_ROOM = re.compile(r"sensitive:[0-9a-f]{20}")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
REMOVED = b"removed, sha256 "
"""How the content of a rejected record begins that must not be kept."""


class Privacy:
    """The gate of one database: `key` is the one that its pseudonyms are made with.

    What has gone through it may go through again, and is the same.
    """

    def __init__(self, config: PrivacyConfig, key: bytes) -> None:
        self._drops = config.names == "drop"
        self.keeps_names = config.names == "keep"
        self._key = key
        #: For titles and rooms, which match as a whole; for records that nobody understood, a part of which may.
        self._whole = [re.compile(translate(bare(pattern))) for pattern in config.sensitive]
        self._within = [re.compile(translate(f"*{bare(pattern).strip('*')}*")) for pattern in config.sensitive]

    def sensitive(self, text: str | None) -> bool:
        """Whether a title or room is one of a sensitive meeting."""
        return text is not None and any(pattern.match(bare(text)) for pattern in self._whole)

    def pseudonym(self, name: str) -> str:
        """One stable word for the name of a person."""
        return pseudonym(name, self._key)

    def room(self, room: str) -> str:
        """The room as it is kept: of a sensitive one a word from which it cannot be found out, the same each time."""
        if _HUSHED_ROOM.fullmatch(room) or not self.sensitive(room):
            return room
        return "sensitive:" + hashlib.blake2b(room.encode(), key=self._key, person=b"room", digest_size=10).hexdigest()

    def hushes_room(self, room: str) -> bool:
        """Whether everything in this room is sensitive."""
        return _HUSHED_ROOM.fullmatch(room) is not None or self.sensitive(room)

    def asks(self, said: Page | Snapshot) -> set[str]:
        """The addresses in sensitive meetings: `admit` wants to be told which of them are of the inventory."""
        ids, rooms = self._sensitive_in(said)
        if not ids and not rooms:
            return set()
        return {
            leg.identity
            for leg in said.legs
            if leg.identity and not leg.personal and (leg.meeting in ids or leg.room in rooms)
        }

    def admit(self, said: Said, sites: Set[str] = frozenset()) -> Said:
        """What may be known of it.

        In a sensitive meeting everybody but the `sites`, and where names are dropped every person, is somebody without
        a name, each connection another one. A meeting is told to be sensitive by its own records in `said`; what only
        other pages tell, the store knows.
        """
        ids, rooms = self._sensitive_in(said)
        admitted = replace(
            said,
            meetings=tuple(self._meeting(meeting, hushed=meeting.external_id in ids) for meeting in said.meetings),
            legs=tuple(
                self._leg(leg, sites, hushed=hushed) if hushed or leg.personal else leg
                for leg in said.legs
                for hushed in (leg.meeting in ids or leg.room in rooms,)
            ),
            rejected=tuple(self._rejected(record) for record in said.rejected),
        )
        if isinstance(admitted, Page) and admitted.headcounts:
            return replace(admitted, headcounts=tuple(map(self._headcount, admitted.headcounts)))
        return admitted

    def unreadable(self, raw: bytes) -> bytes:
        """The content of a record that nobody understood, as it may be kept: not where names are dropped, for it may
        hold one, nor if there is anything sensitive in it."""
        if raw.startswith(REMOVED) or not (self._drops or (self._within and self._speaks_of_sensitive(raw))):
            return raw
        return removed(raw)

    def _sensitive_in(self, said: Page | Snapshot) -> tuple[set[str], set[str]]:
        """The ids of the sensitive meetings in it, and the rooms in which all is, always or now."""
        said_of = {meeting.room for meeting in said.meetings} | {leg.room for leg in said.legs}
        hushed = {room for room in said_of if self.hushes_room(room)}
        ids = {m.external_id for m in said.meetings if m.sensitive or self.sensitive(m.title) or m.room in hushed}
        if not ids or isinstance(said, Page):
            return ids, hushed
        rooms = {m.room for m in said.meetings if m.external_id in ids}  # at one time a room holds one meeting
        return ids | {m.external_id for m in said.meetings if m.room in rooms}, hushed | rooms

    def _meeting(self, meeting: MeetingRecord, *, hushed: bool) -> MeetingRecord:
        if not hushed:
            return meeting
        return replace(meeting, room=self.room(meeting.room), title=None, sensitive=True)

    def _leg(self, leg: LegRecord, sites: Set[str], *, hushed: bool) -> LegRecord:
        if leg.personal and leg.identity is not None:
            if leg.end_reason is not None:
                leg = replace(leg, end_reason=without(leg.end_reason, leg.identity))
            if self._drops:
                leg = replace(leg, identity=None)
        if not hushed:
            return leg
        room = self.room(leg.room)
        return replace(nameless(leg, sites), external_id=_moved(leg.external_id, leg.room, room), room=room)

    def _headcount(self, count: Headcount) -> Headcount:
        return replace(count, room=self.room(count.room), note=None) if self.hushes_room(count.room) else count

    def _rejected(self, record: Rejected) -> Rejected:
        raw = self.unreadable(record.raw)
        return replace(record, raw=raw, error="it did not decode") if raw != record.raw else record

    def _speaks_of_sensitive(self, raw: bytes) -> bool:
        text = bare(readable(raw))
        return any(pattern.match(text) for pattern in self._within)


@lru_cache(maxsize=65_536)
def pseudonym(name: str, key: bytes) -> str:
    """One stable word for a name that must not be stored; without the key it cannot be found out by guessing."""
    return "person:" + hashlib.blake2b(name.encode(), key=key, digest_size=10).hexdigest()


def removed(raw: bytes) -> bytes:
    """What stands for the content of a rejected record: it tells only whether it is the same one again."""
    return REMOVED + hashlib.sha256(raw).hexdigest().encode()


def readable(raw: bytes) -> str:
    """A vendor's record as text, letters that JSON spells as numbers written out."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), raw.decode("utf-8", "replace"))


def without(text: str, name: str) -> str:
    """The text with … for each time that the name stands in it, however it is capitalised and spaced."""
    if name.split()[:1] and name.split()[0] not in text.casefold():
        return text
    words = r"\s+".join(map(re.escape, name.split()))
    return re.sub(rf"(?<!\w){words}(?!\w)", "…", text, flags=re.IGNORECASE)


def _moved(external_id: str, room: str, kept: str) -> str:
    """The id of a leg, which with some systems begins with the room."""
    return kept + external_id.removeprefix(room) if external_id.startswith(f"{room}/") else external_id


def nameless(leg: LegRecord, sites: Set[str]) -> LegRecord:
    """The leg without who it was, unless that is one of the sites."""
    return leg if leg.identity in sites and not leg.personal else replace(leg, identity=None)
