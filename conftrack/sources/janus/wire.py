"""What Janus says, as it says it: answers of the Admin API and events of its event handlers. Only what is read.

Sources: Janus documentation, pages "Admin/Monitor API", "VideoRoom plugin" and "Event handlers".
"""

from __future__ import annotations

from typing import Annotated

import msgspec

PLUGIN = "janus.plugin.videoroom"

#: Rooms and participants are numbers, or strings where the plugin is configured with `string_ids`.
Id = int | str

# Error codes of the core, then of the plugin. They come with HTTP status 200.
UNAUTHORIZED, NO_SESSION, NO_HANDLE, NO_PLUGIN = 403, 458, 459, 460
NO_ROOM, WRONG_ADMIN_KEY = 426, 433

# The types of events that are read.
SESSION, PLUGIN_EVENT, CORE = 1, 64, 256


class Reason(msgspec.Struct):
    code: int
    reason: str = ""


class HandleInfo(msgspec.Struct):
    #: Absent while the handle is being given up.
    plugin: str | None = None
    plugin_specific: msgspec.Raw = msgspec.Raw(b"{}")


class Answer(msgspec.Struct):
    janus: str
    error: Reason | None = None
    #: To `message_plugin`: the plugin's own answer.
    response: msgspec.Raw = msgspec.Raw(b"{}")
    sessions: list[int] = []
    handles: list[int] = []
    info: HandleInfo = msgspec.field(default_factory=HandleInfo)
    #: Of a `server_info`.
    version_string: str = ""
    server_name: str = msgspec.field(default="", name="server-name")
    event_handlers: bool = False


class Room(msgspec.Struct):
    room: Id
    num_participants: int


class VideoRoomAnswer(msgspec.Struct):
    error_code: int | None = None
    error: str = ""
    rooms: list[Room] = msgspec.field(default_factory=list, name="list")
    participants: list[msgspec.Raw] = []


class Participant(msgspec.Struct):
    id: Id
    display: str | None = None
    #: A placeholder to subscribe to: nobody.
    dummy: bool = False
    #: The feed of somebody in another Janus.
    remote: bool = False


class Role(msgspec.Struct):
    """What a handle is in the plugin: `type` is absent until it joins, `room` once it has left."""

    type: str | None = None
    room: Id | None = None
    id: Id | None = None
    display: str | None = None


class Event(msgspec.Struct):
    type: int
    #: Microseconds since 1970.
    timestamp: Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000_000)]
    session_id: int | None = None
    handle_id: int | None = None
    event: msgspec.Raw = msgspec.Raw(b"{}")


class SessionEvent(msgspec.Struct):
    name: str = ""


class CoreEvent(msgspec.Struct):
    #: "started", "shutdown", or (since 1.2) every few seconds "update" under the same subtype as "started".
    status: str = ""


class PluginEvent(msgspec.Struct):
    plugin: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class VideoRoomEvent(msgspec.Struct):
    event: str = ""


class RoomEvent(msgspec.Struct):
    room: Id


class ParticipantEvent(msgspec.Struct):
    room: Id
    id: Id
    display: str | None = None
