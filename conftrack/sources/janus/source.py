"""One Janus as a source: `live` asks its Admin API, `receive` takes what its sample event handler posts.

A VideoRoom may stand for years, so a room is no meeting: there are no meeting records, legs alone make the meetings.
A leg is one join, named `room/participant/handle`. Rooms keep their number over a restart and clients may choose
their participant id, so neither says which join it was; but a handle joins at most once, and Janus draws its number
at random. So whoever joins again under the same id has a second leg, and a restarted collector knows each leg again.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, TypeVar

import aiohttp
import msgspec

from conftrack.config import Secret, SourceConfig
from conftrack.errors import SourceError
from conftrack.model import LegRecord, Origin, Page, Rejected, Snapshot
from conftrack.sources.base import Clock, Observer, Push, PushRefused, is_address, normalise_alias, possible
from conftrack.sources.janus import wire
from conftrack.sources.janus.admin import AdminApi, Refused
from conftrack.sources.janus.roster import SERVER, End, Join, Key, Roster, Scope

T = TypeVar("T")

#: Sessions looked into before asking whether that was enough.
_AT_A_TIME = 64
#: How long what is over is remembered, for events that come late.
_REMEMBERED = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Handles that need no second look: with the join that each is, or None for one that watches or has left.
_Handles = dict[int, Key | None]


class JanusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a source of kind "janus" takes besides the common keys."""

    #: `admin_secret` of janus.jcfg.
    admin_secret: Secret | None = None
    #: `admin_key` of janus.plugin.videoroom.jcfg. Without it Janus does not list private rooms: who is in one is then
    #: known from events, and from a look at everybody when the source starts.
    admin_key: Secret | None = None


class JanusSource:
    """One Janus server. `url` is the base of its Admin API, such as https://janus.example:7889/admin.

    Polling alone knows a join from when it was first seen and an end by absence; only events tell when it was and
    whether somebody left or was lost.
    """

    Options: ClassVar[type[msgspec.Struct] | None] = JanusOptions

    streams: ClassVar[tuple[str, ...]] = ()
    has_live: ClassVar[bool] = True
    has_push: ClassVar[bool] = True

    def __init__(self, config: SourceConfig, *, clock: Clock, observe: Observer) -> None:
        options = config.options if isinstance(config.options, JanusOptions) else JanusOptions()
        self._config = config
        self._api = AdminApi(
            config,
            secret=options.admin_secret,
            admin_key=options.admin_key,
            clock=clock,
            observe=observe,
        )
        self._roster = Roster()
        #: By session.
        self._handles: dict[int, _Handles] = {}
        self._looked_at_everybody = False
        #: Feeds from other servers, since when.
        self._remote: dict[Key, datetime] = {}

    async def __aenter__(self) -> JanusSource:
        await self._api.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._api.__aexit__(*exc)

    # Polled

    async def live(self) -> Snapshot:
        """Every participant of every room, whether or not they publish. The feed of another Janus is excluded as
        backplane: its participant is counted there."""
        before = self._roster.open()
        rooms = {room.room: room.num_participants for room in (await self._api.videoroom("list")).rooms}
        taken_at = self._api.now()
        if not self._looked_at_everybody:
            await self._identify(None, taken_at)
            self._looked_at_everybody = True
        # Also rooms that are not listed, or where somebody joined in the meantime.
        asked = {room for room, number in rooms.items() if number} | {key.room for key in self._roster.open()}
        people: dict[Key, wire.Participant] = {}
        rejected: list[Rejected] = []
        for found, unread in await _together(self._participants(room) for room in asked):
            people |= found
            rejected += unread
        remote = {key for key, who in people.items() if who.remote}
        if unknown := people.keys() - remote - self._roster.open().keys() - before.keys():
            await self._identify(unknown, taken_at)
        self._roster.looked(taken_at, [join for key, join in before.items() if key not in people])
        self._roster.forget(taken_at - _REMEMBERED)
        self._remote = {key: self._remote.get(key, taken_at) for key in remote}

        present = self._roster.open()
        legs = [
            _leg(_name(present[key]), key.room, people[key].display, joined_at=present[key].since)
            for key in people.keys() - remote
            if key in present  # else it left while we asked
        ]
        legs += [
            _leg(f"{key.room}/{key.participant}", key.room, people[key].display, joined_at=since, excluded="backplane")
            for key, since in self._remote.items()
        ]
        return Snapshot(taken_at=taken_at, legs=tuple(legs), rejected=tuple(rejected))

    async def _participants(self, room: wire.Id) -> tuple[dict[Key, wire.Participant], list[Rejected]]:
        people: dict[Key, wire.Participant] = {}
        rejected: list[Rejected] = []
        try:
            answer = await self._api.videoroom("listparticipants", room=room)
        except Refused as refused:
            if refused.code == wire.NO_ROOM:  # destroyed since it was listed
                return people, rejected
            raise
        for raw in answer.participants:
            try:
                who = msgspec.json.decode(raw, type=wire.Participant)
            except msgspec.DecodeError as error:
                rejected.append(Rejected(raw=bytes(raw), error=str(error)))
            else:
                if not who.dummy:
                    people[Key(room, who.id)] = who
        return people, rejected

    async def _identify(self, wanted: set[Key] | None, at: datetime) -> None:
        """Finds the handles behind participants that no event told of (None: behind all), those of new sessions
        first. A participant that no handle stands behind is just leaving."""
        known = self._handles
        sessions = (await self._api.ask({"janus": "list_sessions"})).sessions
        self._handles = {session: known.get(session, {}) for session in sessions}
        ahead = iter(sorted(sessions, key=known.__contains__))
        while some := list(islice(ahead, _AT_A_TIME)):
            await _together(self._look_into(session, self._handles[session], wanted, at) for session in some)
            if wanted is not None and wanted <= self._roster.open().keys():
                return

    async def _look_into(self, session: int, handles: _Handles, wanted: set[Key] | None, at: datetime) -> None:
        answer = await self._api.ask_if_there({"janus": "list_handles"}, f"/{session}")
        there = answer.handles if answer else []
        for handle in handles.keys() - set(there):
            del handles[handle]
        for handle in there:
            key = handles.get(handle)
            if handle in handles and (key is None or wanted is None or key not in wanted):
                continue
            answer = await self._api.ask_if_there({"janus": "handle_info", "plugin_only": True}, f"/{session}/{handle}")
            if answer is None or answer.info.plugin is None:
                continue
            if answer.info.plugin != wire.PLUGIN:
                handles[handle] = None
                continue
            role = self._api.read(answer.info.plugin_specific, wire.Role)
            if role.type == "publisher" and role.room is not None and role.id is not None:
                key = handles[handle] = Key(role.room, role.id)
                self._roster.seen(
                    Join(key=key, handle=handle, session=session, display=role.display, since=at, told=False)
                )
            elif role.type in ("publisher", "subscriber"):
                handles[handle] = None

    async def history(
        self, stream: str, since: datetime | None, until: datetime | None = None
    ) -> AsyncGenerator[Page, None]:
        """Always SourceError: Janus forgets a participant who leaves."""
        raise SourceError(f"[[sources]] {self._config.name}: Janus has no history", permanent=True)
        yield  # what makes it a generator

    async def check(self) -> str:
        """Who answered, that it lets us ask for its rooms, and whether it sends events at all."""
        info = await self._api.ask({"janus": "info"}, stream="check")  # needs no secret
        rooms = (await self._api.videoroom("list", stream="check")).rooms
        if not info.event_handlers:
            events = "it sends no events: ends are seen late, and without a cause"
        elif self._config.push_password is None:
            events = "it sends events, which are refused here: push_password is not set"
        else:
            events = "it sends events; the stream `events` tells whether they come here"
        return (
            f"{self._api.host} is Janus {info.version_string} ({info.server_name}); VideoRooms: {len(rooms)}; {events}"
        )

    # Pushed

    def receive(self, push: Push) -> Page:
        """The joins and ends in one post of the event handler."""
        self._authenticate(push)
        return self._page(push.body, push.received_at)

    def _authenticate(self, push: Push) -> None:
        """Raises PushRefused unless the configured password is presented, and the user name if there is one."""
        if self._config.push_password is None:
            raise PushRefused(f"push_password of [[sources]] {self._config.name} is not set")
        try:
            given = aiohttp.BasicAuth.decode(push.headers.get("Authorization", ""), encoding="utf-8")
        except ValueError:
            raise PushRefused("no user name and password (HTTP Basic)") from None
        username = given.login if self._config.push_username is None else self._config.push_username
        right = hmac.compare_digest(given.password.encode(), self._config.push_password.reveal().encode())
        if not hmac.compare_digest(given.login.encode(), username.encode()) or not right:
            raise PushRefused("wrong user name or password")

    def decode(self, stream: str, raw: bytes, at: datetime) -> Page:
        """A pushed event again. What a snapshot could not read is of a moment that has passed: it stays rejected."""
        if stream == "events":
            return self._page(raw, at)
        rejected = Rejected(raw=raw, error="a participant as Janus listed it then; it cannot be asked about now")
        return Page(stream=stream, origin=Origin.LIVE, observed_at=at, rejected=(rejected,))

    def _page(self, body: bytes, at: datetime) -> Page:
        rejected: list[Rejected] = []
        touched: set[Scope] = set()
        restarts: list[datetime] = []
        for raw in _events(body):
            try:
                self._take(msgspec.json.decode(raw, type=wire.Event), touched, restarts)
            except msgspec.DecodeError as error:
                rejected.append(Rejected(raw=bytes(raw), error=str(error)))
        return Page(
            stream="events",
            origin=Origin.PUSH,
            observed_at=at,
            legs=tuple(leg for join in self._roster.within(touched) if (leg := self._pushed(join))),
            rejected=tuple(rejected),
            restarted_at=max(restarts, default=None),
        )

    def _take(self, event: wire.Event, touched: set[Scope], restarts: list[datetime]) -> None:
        """Takes in one event, and notes whose legs it may have changed. Raises DecodeError."""
        at = possible(_EPOCH + timedelta(microseconds=event.timestamp))

        def ended(scope: Scope, end: End) -> None:
            self._roster.ended(scope, end)
            touched.add(scope)

        if event.type == wire.SESSION and event.session_id is not None:
            if _read(event.event, wire.SessionEvent).name == "timeout":
                ended(("session", event.session_id), End(at, "dropped", "timeout"))
        elif event.type == wire.CORE:
            status = _read(event.event, wire.CoreEvent).status
            if status == "shutdown":
                ended(SERVER, End(at, "ended", "shutdown"))
            elif status == "started":
                self._roster.restarted(at)
                touched.add(SERVER)
                restarts.append(at)
        elif event.type == wire.PLUGIN_EVENT:
            said = _read(event.event, wire.PluginEvent)
            name = _read(said.data, wire.VideoRoomEvent).event if said.plugin == wire.PLUGIN else None
            if name == "joined":
                who = _read(said.data, wire.ParticipantEvent)
                if event.handle_id is None or event.session_id is None:
                    raise msgspec.ValidationError("a participant joined without session_id or handle_id")
                key = Key(who.room, who.id)
                self._roster.told(
                    Join(
                        key=key,
                        handle=event.handle_id,
                        session=event.session_id,
                        display=who.display,
                        since=at,
                        told=True,
                    )
                )
                touched.add(key)
            elif name == "leaving" or name == "kicked":
                who = _read(said.data, wire.ParticipantEvent)
                ended(Key(who.room, who.id), End(at, "left" if name == "leaving" else "ended", name))
            elif name == "destroyed":
                ended(("room", _read(said.data, wire.RoomEvent).room), End(at, "ended", name))

    def _pushed(self, join: Join) -> LegRecord | None:
        """All that events told of a join, earlier ones too; None if they told nothing."""
        end = self._roster.end_of(join)
        if end is None and not join.told:
            return None
        return _leg(
            _name(join),
            join.key.room,
            join.display,
            joined_at=join.since if join.told else None,
            left_at=end.at if end else None,
            end_class=end.end_class if end else None,
            end_reason=end.reason if end else None,
        )


def _name(join: Join) -> str:
    return f"{join.key.room}/{join.key.participant}/{join.handle}"


def _leg(external_id: str, room: wire.Id, display: str | None, **facts: Any) -> LegRecord:
    identity = normalise_alias(display) if display else None
    return LegRecord(
        external_id=external_id,
        room=str(room),
        identity=identity,
        personal=identity is None or not is_address(identity),
        protocol="webrtc",
        direction="in",
        **facts,
    )


def _events(body: bytes) -> list[msgspec.Raw]:
    """The events of a post: an array, or one alone where the handler does not group them."""
    try:
        return msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return [msgspec.Raw(body)]


def _read(raw: msgspec.Raw, what: type[T]) -> T:
    return msgspec.json.decode(raw, type=what)


async def _together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All of them at once; the first SourceError ends them all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
