"""The Pexip source: which questions are asked of a Management Node, and when.

Only GET is ever sent, and one POST to the token endpoint where OAuth is set up. Facts about the API are from
docs.pexip.com, "Management history API", "Management status API" and "Management configuration API".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

import msgspec

from conftrack.config import Secret, SourceConfig
from conftrack.errors import SourceError
from conftrack.model import Invited, LegRecord, MeetingRecord, Origin, Page, Rejected, Snapshot
from conftrack.sources.base import Clock, Observer, Push, PushRefused
from conftrack.sources.http import Answer, Auth, HttpClient, NotFound, PasswordAuth
from conftrack.sources.pexip import rooms
from conftrack.sources.pexip.history import Facts, History
from conftrack.sources.pexip.live import Live
from conftrack.sources.pexip.oauth import ClientAssertion
from conftrack.sources.pexip.records import backplane, leg, meeting
from conftrack.sources.pexip.wire import Backplane, Conference, LooseParticipant, Participant, Reader, Schema

HISTORY = "/api/admin/history/v1/"
#: Before there was video conferencing.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
#: The stream whose rows are counted.
PEOPLE = "participant"
#: Rows to find the oldest among that can be read.
OLDEST = 10

_READERS: Mapping[str, Reader[Any, MeetingRecord] | Reader[Any, LegRecord]] = {
    "conference": Reader(Conference, meeting),
    "participant": Reader(Participant, leg, loose=LooseParticipant),
    "backplane": Reader(Backplane, backplane),
}
_SCHEMA = msgspec.json.Decoder(Schema)


class PexipOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a `[[sources]]` table of kind "pexip" may say besides the common keys."""

    #: An OAuth client of the node, instead of username and password.
    client_id: str | None = None
    #: Its private key, PEM.
    private_key: Secret | None = None
    #: What the node calls itself in tokens, where that is not the address of its token endpoint: some versions want
    #: the internal host name of the Management Node.
    token_audience: str | None = None

    def __post_init__(self) -> None:
        if (self.client_id is None) != (self.private_key is None):
            raise ValueError("client_id and private_key go together")


class PexipSource:
    """One Management Node. `url` is its address, such as https://manager.example.

    It is read with the name and password of an account that may read the API, or as an OAuth client.
    """

    Options: ClassVar[type[msgspec.Struct] | None] = PexipOptions
    streams: ClassVar[tuple[str, ...]] = tuple(_READERS)
    has_live: ClassVar[bool] = True
    has_push: ClassVar[bool] = False

    def __init__(self, config: SourceConfig, *, clock: Clock, observe: Observer) -> None:
        options = config.options if isinstance(config.options, PexipOptions) else PexipOptions()
        auth: Auth = PasswordAuth(config)
        if options.client_id is not None and options.private_key is not None:
            auth = ClientAssertion(options.client_id, options.private_key, options.token_audience, clock)
        self._http = HttpClient(config, clock=clock, observe=observe, auth=auth)
        self._overlap = config.overlap
        self._live = Live(self._http, config.live_interval / 2)
        #: None in it: the node knows no such resource. None itself: not learned yet.
        self._schemas: Mapping[str, Schema | None] | None = None

    async def __aenter__(self) -> PexipSource:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.__aexit__(*exc)

    async def live(self) -> Snapshot:
        """Every conference and leg there is now, the quality of some of the legs, and at times who is registered."""
        return await self._live.snapshot()

    async def invited(self) -> tuple[Invited, ...]:
        """Whom its rooms dial by themselves, but for streaming services."""
        return await rooms.invited(self._http)

    async def history(
        self, stream: str, since: datetime | None, until: datetime | None = None
    ) -> AsyncGenerator[Page, None]:
        """What ended in [since, until), oldest first; nothing at all from a node that keeps no such history.

        Without `until` the first page says with what the history begins, if nothing is left of the time that was read
        before: a node forgets its oldest conferences.
        """
        schemas = await self._learn()
        schema = schemas.get(stream)
        if schema is None and any(schemas.values()):
            return
        ordered = schema is None or not schema.ordering or "end_time" in schema.ordering
        reading = History(stream, partial(self._fetch, stream, ordered), ordered=ordered)
        known = since + self._overlap if since is not None and until is None and ordered else None
        try:
            async with aclosing(reading.pages(since or BEGINNING, until or self._http.now())) as pages:
                async for page in pages:
                    if known is not None and stream == PEOPLE and not any(_ended(leg, known) for leg in page.legs):
                        begins_at = await self._begins_at(known)
                        yield msgspec.structs.replace(page, begins_at=begins_at)
                    else:
                        yield page
                    known = None
        except NotFound:
            if stream != "backplane":  # which not every version keeps
                raise

    def receive(self, push: Push) -> Page:
        """Events are not read: a node's history says the same, once, and whole."""
        raise PushRefused("Pexip's event sinks are not read")

    def decode(self, stream: str, raw: bytes, at: datetime) -> Page:
        """One row of a history stream again. What was live once is over: it stays rejected."""
        reader = _READERS.get(stream)
        result = reader.one(raw) if reader else Rejected(raw=raw, error="Only rows of history are decoded again")
        return Page(
            stream=stream,
            origin=Origin.HISTORY,
            observed_at=at,
            meetings=(result,) if isinstance(result, MeetingRecord) else (),
            legs=(result,) if isinstance(result, LegRecord) else (),
            rejected=(result,) if isinstance(result, Rejected) else (),
        )

    async def check(self) -> str:
        """Reads one line of the conference history, who is registered, and whom rooms dial."""
        listing: Callable[[bytes], Facts] = _READERS["conference"].listing
        answer = await self._http.get(
            f"{HISTORY}conference/",
            listing,
            stream="check",
            params={"limit": "1"},
            attempts=2,
        )
        said = f"Pexip Infinity at {self._http.host} answers; history holds {answer.value.total} conferences"
        try:
            said += f"; {len(await self._live.registrations())} aliases are registered"
        except SourceError as error:
            said += f"; who is registered is not known: {error}"
        try:
            return f"{said}; {len(await self.invited())} rooms dial their sites"
        except SourceError as error:
            return f"{said}; whom its rooms dial is not known: {error}"

    async def _fetch(
        self, stream: str, ordered: bool, lower: datetime, upper: datetime, offset: int, limit: int
    ) -> Answer[Facts]:
        params = {
            "end_time__gte": _param(lower),
            "end_time__lt": _param(upper),
            "limit": str(limit),
            "offset": str(offset),
        }
        if ordered:
            params["order_by"] = "end_time"
        listing: Callable[[bytes], Facts] = _READERS[stream].listing
        return await self._http.get(f"{HISTORY}{stream}/", listing, stream=stream, params=params)

    async def _begins_at(self, known: datetime) -> datetime | None:
        """When the oldest leg of the history ended, if that is after a time; of an empty one now. A row that cannot be
        read tells nothing."""
        answer = await self._fetch(PEOPLE, True, BEGINNING, self._http.now(), 0, OLDEST)
        ends = [leg.left_at for leg in answer.value.records.values() if isinstance(leg, LegRecord) and leg.left_at]
        oldest = min(ends) if ends else None if answer.value.total else answer.at
        return oldest if oldest is not None and oldest > known else None

    async def _learn(self) -> Mapping[str, Schema | None]:
        """What the node says of its own history; without an answer, what is documented holds until the next time."""
        if self._schemas is None:
            found: dict[str, Schema | None] = {}
            for stream in self.streams:
                try:
                    answer = await self._http.get(
                        f"{HISTORY}{stream}/schema/",
                        _SCHEMA.decode,
                        stream="schema",
                        params={"format": "json"},
                        attempts=2,
                    )
                except NotFound:
                    found[stream] = None
                except SourceError as error:
                    if error.permanent:
                        raise
                    return {}
                else:
                    found[stream] = answer.value
            self._schemas = found
        return self._schemas


def _ended(leg: LegRecord, by: datetime) -> bool:
    return leg.left_at is not None and leg.left_at <= by


def _param(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
