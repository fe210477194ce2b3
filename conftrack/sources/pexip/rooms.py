"""Whom a node's rooms dial by themselves: their Automatically Dialed Participants.

docs.pexip.com, "Automatically dialing out to a participant from a conference": each is called once, some seconds after
the first participant has joined, unless it is there already.
"""

from __future__ import annotations

from collections import defaultdict

from conftrack.errors import SourceError
from conftrack.model import Invited
from conftrack.sources.base import normalise_alias
from conftrack.sources.http import HttpClient, NotFound
from conftrack.sources.pexip.lists import readable, whole
from conftrack.sources.pexip.records import room_of
from conftrack.sources.pexip.wire import AutomaticParticipant, Reader, Room

#: Rows a page: a room comes with its aliases and much else.
PAGE = 500

_ROOMS: Reader[Room, Room] = Reader(Room, lambda row: row)
_DIALED: Reader[AutomaticParticipant, AutomaticParticipant] = Reader(AutomaticParticipant, lambda row: row)


async def invited(http: HttpClient) -> tuple[Invited, ...]:
    """The rooms that dial somebody, by name, without streaming services. Raises SourceError where the node does not
    tell all of it."""
    dialed, rooms = "configuration/automatic_participant", "configuration/conference"
    try:
        answer = await whole(http, dialed, _DIALED, stream="invited", limit=PAGE)
        people = [row for row in readable(http, dialed, answer.value).values() if not row.streaming and row.rooms]
        if not people:
            return ()
        named = (await whole(http, rooms, _ROOMS, stream="invited", limit=PAGE)).value.records
    except NotFound:
        raise SourceError(f"{http.host} has no list of them", permanent=True) from None
    addresses: defaultdict[str, set[str]] = defaultdict(set)
    for one in people:
        for number in one.rooms:
            if number not in named:
                raise SourceError(f"{http.host}: {dialed} {one.id} is of {rooms} {number}, which cannot be read")
            if (alias := normalise_alias(one.alias)) is not None:
                addresses[room_of(named[number].name)].add(alias)
    return tuple(Invited(room=room, addresses=frozenset(addresses[room])) for room in sorted(addresses))
