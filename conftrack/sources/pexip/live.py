"""What is going on now: the status resources, who is registered, and the quality of a sample of the legs."""

from __future__ import annotations

import asyncio
import logging
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from conftrack.errors import SourceError
from conftrack.model import LegRecord, Snapshot
from conftrack.sources.base import normalise_alias
from conftrack.sources.http import HttpClient, NotFound
from conftrack.sources.pexip.lists import readable, whole
from conftrack.sources.pexip.quality import Quality, live_quality
from conftrack.sources.pexip.records import live_leg, live_meeting
from conftrack.sources.pexip.wire import (
    Envelope,
    LiveConference,
    LiveParticipant,
    LiveStream,
    Reader,
    RegistrationAlias,
)

logger = logging.getLogger(__name__)

STATUS = "/api/admin/status/v1/"
#: Rows a page: more than a busy node carries, so that one request sees one moment. The node's clients ask for as many.
PAGE = 5000
#: Legs whose streams are asked for in one snapshot, one request each, of which so many go to legs in no known trouble.
SAMPLE, ROUNDS = 20, 5
#: Who is registered is asked no more often than this, and not for a while where the node will not tell.
REGISTRATIONS_EVERY, REGISTRATIONS_REFUSED = timedelta(seconds=30), timedelta(minutes=10)
#: A leg in trouble is asked every time, until it has been well for this long.
WATCH = timedelta(minutes=2)
#: Trouble: what `call_quality` says from 3 % loss on (docs.pexip.com, "Media statistics and perceived call quality"),
#: or this loss in a sample.
POOR, WATCHED_LOSS = frozenset({"3_bad", "4_terrible"}), 0.02

_CONFERENCES: Reader[LiveConference, LiveConference] = Reader(LiveConference, lambda row: row)
_PARTICIPANTS: Reader[LiveParticipant, LiveParticipant] = Reader(LiveParticipant, lambda row: row)
_REGISTRATIONS: Reader[RegistrationAlias, RegistrationAlias] = Reader(RegistrationAlias, lambda row: row)
_STREAMS: msgspec.json.Decoder[Envelope[LiveStream]] = msgspec.json.Decoder(Envelope[LiveStream])
_PLAIN_ID = re.compile(r"[\w.-]+")


class Live:
    """Takes snapshots of one node.

    The streams of a leg cost one request a leg, so a snapshot holds the quality of a few: first those in trouble,
    then the others in turn. None on a leg means that it was not asked about. `patience` bounds the time this takes.
    """

    def __init__(self, http: HttpClient, patience: timedelta) -> None:
        self._http = http
        self._patience = patience
        #: Legs in trouble, and until when they are watched.
        self._watched: dict[str, datetime] = {}
        self._troubled = _Rotation()
        self._others = _Rotation()
        #: When who is registered may be asked next; None: at once.
        self._registrations_at: datetime | None = None
        self._registrations_told = True

    async def snapshot(self) -> Snapshot:
        """Every conference and every leg there is. Raises SourceError rather than give a part of them."""
        participants = await whole(self._http, "status/participant", _PARTICIPANTS, stream="live", limit=PAGE)
        conferences = await whole(self._http, "status/conference", _CONFERENCES, stream="live", limit=PAGE)
        rows = participants.value.records
        meetings = {row.name: row.id for row in conferences.value.records.values() if row.name}
        legs = {row.id: live_leg(row, meetings) for row in rows.values()}
        sample, registered = await asyncio.gather(
            self._sample(rows, legs, participants.at), self._registered(participants.at)
        )
        for leg_id, quality in sample.items():
            legs[leg_id] = msgspec.structs.replace(legs[leg_id], **quality._asdict())
        return Snapshot(
            taken_at=participants.at,
            meetings=tuple(map(live_meeting, conferences.value.records.values())),
            legs=tuple(legs.values()),
            rejected=conferences.value.rejected + participants.value.rejected,
            registered=registered,
        )

    async def registrations(self) -> frozenset[str]:
        """The aliases that are registered. Raises SourceError where the node does not tell all of them: not every
        version, and not every account's permissions, have this list."""
        name = "status/registration_alias"
        try:
            answer = await whole(self._http, name, _REGISTRATIONS, stream="registration", limit=PAGE, attempts=1)
        except NotFound:
            raise SourceError(f"{self._http.host} has no list of them", permanent=True) from None
        aliases = (normalise_alias(row.alias) for row in readable(self._http, name, answer.value).values())
        return frozenset(alias for alias in aliases if alias is not None)

    async def _registered(self, now: datetime) -> frozenset[str] | None:
        """The same when it is time to ask; None where it is not, or was not told: that costs no snapshot."""
        if self._registrations_at is not None and now < self._registrations_at:
            return None
        self._registrations_at = now + REGISTRATIONS_EVERY
        said = {"action": "registrations"}
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                registered = await self.registrations()
        except (SourceError, TimeoutError) as error:
            if isinstance(error, SourceError) and error.permanent:
                self._registrations_at = now + REGISTRATIONS_REFUSED
            level = logging.WARNING if self._registrations_told else logging.DEBUG
            why = str(error) or "it takes too long to say"
            logger.log(level, "%s: who is registered is not known: %s", self._http.host, why, extra=said)
            self._registrations_told = False
            return None
        if not self._registrations_told:
            logger.info("%s tells again who is registered", self._http.host, extra=said)
        self._registrations_told = True
        return registered

    async def _sample(
        self, rows: Mapping[str, LiveParticipant], legs: Mapping[str, LegRecord], now: datetime
    ) -> dict[str, Quality]:
        up = {
            leg.external_id
            for leg in legs.values()
            if leg.joined_at and not leg.excluded and _PLAIN_ID.fullmatch(leg.external_id)
        }
        self._watched = {leg_id: until for leg_id, until in self._watched.items() if leg_id in up and until > now}
        self._watched |= {leg_id: now + WATCH for leg_id in up if rows[leg_id].call_quality in POOR}
        chosen = self._troubled.take(self._watched, SAMPLE - ROUNDS)
        chosen += self._others.take(up.difference(self._watched), SAMPLE - len(chosen))
        found: dict[str, Quality] = {}
        try:
            async with asyncio.timeout(self._patience.total_seconds()), asyncio.TaskGroup() as group:
                for leg_id in chosen:
                    group.create_task(self._ask(leg_id, found))
        except TimeoutError:
            pass  # what has not been answered yet is not known now
        for leg_id, quality in found.items():
            if max(quality.rx_loss or 0, quality.tx_loss or 0) >= WATCHED_LOSS:
                self._watched[leg_id] = now + WATCH
        return found

    async def _ask(self, leg_id: str, found: dict[str, Quality]) -> None:
        path = f"{STATUS}participant/{leg_id}/media_stream/"
        try:
            answer = await self._http.get(path, _STREAMS.decode, stream="quality", params={"limit": "100"}, attempts=1)
        except SourceError:  # it has left, or the node is busy: not known now
            return
        found[leg_id] = live_quality([stream for stream in answer.value.objects if not stream.end_time])


class _Rotation:
    """Takes turns, whoever comes and goes in between."""

    def __init__(self) -> None:
        self._last = ""

    def take(self, names: Iterable[str], count: int) -> list[str]:
        """The next `count` of the names in their order, after those taken last."""
        ordered = sorted(names)
        turn = bisect_right(ordered, self._last)
        taken = (ordered[turn:] + ordered[:turn])[:count]
        if taken:
            self._last = taken[-1]
        return taken
