"""A Pexip Infinity management node that never was: the world's conferences behind the vendor's HTTP API.

Speaks what Pexip's pages "Management history API", "Management status API", "Management configuration API" and "Using
the management API" say, and what users have met besides. Beside the vendor's API it has small faces of its own, for
what no bridge knows: head counts, who was invited, planned work, the inventory, the truth, and how the simulation
stands.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from typing import Any

import msgspec
from aiohttp import web

from conftrack.simulator import rows
from conftrack.simulator.bridge import RETENTION, Bridge, Shelf
from conftrack.simulator.faults import Faults, Injector
from conftrack.simulator.gate import TOKEN_PATH, Gate, Handler, OAuthClient
from conftrack.simulator.plan import MINUTE, Conference, Leg, micros, moment
from conftrack.simulator.province import DOMAIN
from conftrack.simulator.registrations import sip_alias
from conftrack.simulator.tastypie import BadQuery, Field, envelope, parse, schema, select
from conftrack.simulator.world import Clock, World

INJECTOR: web.AppKey[Injector] = web.AppKey("injector", Injector)
_AHEAD = 60 * MINUTE
"""How long before it begins a meeting is known to those who plan it."""
VIOLATIONS: web.AppKey[list[str]] = web.AppKey("violations", list)


def pexip_app(
    world: World,
    clock: Clock,
    *,
    faults: Faults | None = None,
    username: str = "reporter",
    password: str = "nguoi-xem",  # noqa: S107 - the simulator guards nothing
    oauth: OAuthClient | None = None,
    rate_limit: int = 1000,
    retention: int = RETENTION,
    warm: bool = False,
) -> web.Application:
    """The application, ready to be served. `rate_limit` is requests in 60 real seconds; `warm` encodes the whole
    history beforehand, which costs memory and makes the server far faster than any reader."""
    injector = Injector(faults or Faults())
    gate = Gate(clock, injector, username=username, password=password, oauth=oauth, rate=rate_limit)
    bridge = Bridge(world, injector, retention)
    if warm:
        bridge.warm(gate.now())
    return _Node(world, gate, bridge, injector).app()


class _Node:
    def __init__(self, world: World, gate: Gate, bridge: Bridge, injector: Injector) -> None:
        self._world, self._gate, self._bridge, self._injector = world, gate, bridge, injector
        self._now = gate.now

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._gate.dated, self._gate.guarded, _refusing])
        app[INJECTOR], app[VIOLATIONS] = self._injector, self._gate.violations
        app.on_shutdown.append(self._gate.close)
        for shelf, name in ((self._bridge.conferences, "conference"), (self._bridge.participants, "participant")):
            self._add(app, f"{rows.HISTORY}/{name}/", self._history(shelf))
            self._add(app, f"{rows.HISTORY}/{name}/schema/", self._history_schema(shelf, name))
        self._add(app, f"{rows.HISTORY}/participant/{{id}}/", self._one_participant)
        self._add(app, f"{rows.HISTORY}/participant/{{id}}/media_stream/", self._streams_of_ended)
        self._list(app, f"{rows.HISTORY}/media_stream/", self._media_streams)
        self._list(app, f"{rows.HISTORY}/backplane/", self._bridge.backplanes)
        status: dict[str, Callable[[int], list[rows.Row]]] = {
            "conference": lambda now: [rows.live_conference(c) for c in self._bridge.running(now)],
            "conference_shard": lambda now: [rows.conference_shard(c) for c in self._bridge.running(now)],
            "participant": lambda now: [rows.live_participant(leg, c, now) for leg, c in self._bridge.live(now)],
            "registration_alias": self._registrations,
            "worker_vm": lambda now: [rows.worker_vm(n, self._load(n, now), now) for n in range(len(rows.NODES))],
            "licensing": lambda now: [rows.licensing(sum(1 for _ in self._bridge.live(now)))],
        }
        for name, make in status.items():
            self._list(app, f"{rows.STATUS}/{name}/", make)
        self._add(app, f"{rows.STATUS}/participant/{{id}}/media_stream/", self._streams_of_live)
        self._list(app, f"{rows.CONFIGURATION}/conference/", lambda _: rows.configured(self._world.standing))
        self._list(app, f"{rows.CONFIGURATION}/automatic_participant/", lambda _: rows.dialed(self._world.standing))
        app.router.add_post(TOKEN_PATH, self._gate.token)
        for path, face in (
            ("/headcounts.csv", self._headcounts), ("/invitations.csv", self._invitations),
            ("/inventory.json", self._inventory), ("/maintenance.json", self._maintenance),
            ("/truth.json", self._truth), ("/incidents.json", self._incidents), ("/simulator.json", self._self),
        ):  # fmt: skip
            self._add(app, path, face)
        return app

    def _add(self, app: web.Application, path: str, handler: Handler) -> None:
        app.router.add_get(path, handler, allow_head=False)

    # The vendor's lists

    def _history(self, shelf: Shelf) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            query = parse(_params(request), shelf.fields, "end_time")
            total, objects = self._bridge.page(shelf, query, self._now())
            return _json(envelope(request.path, query, total, objects))

        return answer

    def _list(self, app: web.Application, path: str, make: Callable[[int], list[rows.Row]]) -> None:
        """A list that is small enough to be made anew for each request."""

        async def answer(request: web.Request) -> web.Response:
            made = make(self._now())
            fields = _fields_of(made[0]) if made else _ANY_FIELD
            query = parse(_params(request), fields)
            found = select(made, query, fields)
            page = found[query.offset : query.offset + query.limit]
            return _json(envelope(request.path, query, len(found), page))

        async def describe(request: web.Request) -> web.Response:
            made = make(self._now())
            return _json(schema(_fields_of(made[0]) if made else {}, made[0] if made else {}))

        self._add(app, path, answer)
        self._add(app, f"{path}schema/", describe)

    def _history_schema(self, shelf: Shelf, name: str) -> Handler:
        async def answer(_: web.Request) -> web.Response:
            return _json(schema(shelf.fields, _SAMPLES[name]))

        return answer

    async def _one_participant(self, request: web.Request) -> web.Response:
        now = self._now()
        entry = self._bridge.participant(request.match_info["id"], now)
        if entry is None or entry.leg is None:
            raise web.HTTPNotFound
        linked = self._bridge.linked(entry.conference, now)
        return _json(msgspec.json.encode(rows.participant(entry.leg, entry.conference, linked=linked, whole=True)))

    async def _streams_of_ended(self, request: web.Request) -> web.Response:
        entry = self._bridge.participant(request.match_info["id"], self._now())
        if entry is None or entry.leg is None:
            raise web.HTTPNotFound
        return self._plain(request, rows.history_streams(entry.leg, rows.NODES[entry.conference.node]))

    async def _streams_of_live(self, request: web.Request) -> web.Response:
        now = self._now()
        for leg, conference in self._bridge.live(now):
            if leg.id == request.match_info["id"]:
                up = leg.joined is not None and leg.joined <= now
                return self._plain(request, rows.live_streams(leg, rows.NODES[conference.node], now) if up else [])
        raise web.HTTPNotFound

    def _plain(self, request: web.Request, made: list[rows.Row]) -> web.Response:
        query = parse(_params(request), _ANY_FIELD)
        return _json(envelope(request.path, query, len(made), made[query.offset : query.offset + query.limit]))

    def _media_streams(self, now: int) -> list[rows.Row]:
        """Streams of the legs that ended in the last hour; older ones are asked for by participant."""
        self._bridge.advance(now)
        shelf = self._bridge.participants
        recent = shelf.entries[shelf.before(now - 60 * MINUTE) : shelf.before(now + 1)]
        return [stream for entry in recent if entry.leg for stream in rows.history_streams(entry.leg)]

    def _registrations(self, now: int) -> list[rows.Row]:
        """Who is registered now."""
        gone = {away.endpoint for away in self._world.away(moment(now)) if away.start <= now < away.end}
        return [
            rows.registration(endpoint, number, alias, now - 25 * MINUTE)
            for number, endpoint in enumerate(self._world.province.endpoints, 1)
            if (alias := sip_alias(endpoint)) is not None and endpoint.code not in gone
        ]

    def _load(self, node: int, now: int) -> int:
        return sum(conference.node == node for _, conference in self._bridge.live(now))

    # What no bridge knows

    async def _headcounts(self, request: web.Request) -> web.Response:
        """People in the rooms as the sites reported them, from `from` to `to`, none of them from the future."""
        now = self._now()
        low = _asked_time(request, "from", 0)
        high = min(_asked_time(request, "to", now + 1), now + 1)
        found = sorted(
            (head.at, meeting.room, head.shown, head.people, head.provenance, head.note)
            for meeting in self._world.meetings(moment(now))
            for head in meeting.heads
            if low <= head.at < high
        )
        made = ((room, _utc(at), *rest) for at, room, *rest in found)
        return _csv(("room", "at", "endpoint", "people", "provenance", "note"), made)

    async def _invitations(self, request: web.Request) -> web.Response:
        """Who was invited to what begins from `from` to `to`, a line an endpoint; known up to an hour ahead."""
        ahead = self._now() + _AHEAD
        low, high = _asked_time(request, "from", 0), min(_asked_time(request, "to", ahead), ahead)
        made = (
            (f"{meeting.conferences[0].id}@{DOMAIN}", meeting.room, meeting.room, *map(_utc, meeting.scheduled), code)
            for meeting in self._world.meetings(moment(ahead))
            if meeting.scheduled and low <= meeting.scheduled[0] < high
            for code in meeting.invited
        )
        return _csv(("uid", "room", "title", "start", "end", "endpoint"), made)

    async def _maintenance(self, request: web.Request) -> web.Response:
        """Planned work that ends at or after `from`; known up to an hour ahead."""
        low = _asked_time(request, "from", 0)
        works = self._world.maintenance(moment(self._now() + _AHEAD))
        made = [
            {"endpoint": work.endpoint, "org": work.org, "start": _utc(work.start), "end": _utc(work.end),
             "author": work.author, "reason": work.reason}
            for work in works
            if work.end >= low
        ]  # fmt: skip
        return _json(msgspec.json.encode(made))

    async def _inventory(self, _: web.Request) -> web.Response:
        return _json(msgspec.json.encode(self._world.province))

    async def _truth(self, request: web.Request) -> web.Response:
        """`World.truth` over HTTP: `until` (now by default), `since`, `inventory=1`."""
        since = request.query.get("since")
        truth = self._world.truth(
            moment(_asked_time(request, "until", self._now())),
            since=moment(_asked_time(request, "since", 0)) if since else None,
            inventory=request.query.get("inventory") == "1",
        )
        return _json(msgspec.json.encode(truth))

    async def _incidents(self, request: web.Request) -> web.Response:
        """`World.incidents` over HTTP: `until` (now by default), `since`."""
        found = self._world.incidents(
            moment(_asked_time(request, "until", self._now())), since=moment(_asked_time(request, "since", 0))
        )
        return _json(msgspec.json.encode(found))

    async def _self(self, _: web.Request) -> web.Response:
        now = moment(self._now())
        state = {"now": now, "anchor": self._world.anchor.astimezone(UTC), "faults": self._injector.counts,
                 "violations": self._gate.violations}  # fmt: skip
        return _json(msgspec.json.encode(state))


@web.middleware
async def _refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadQuery as refused:
        return web.json_response({"error": str(refused)}, status=400)


def _fields_of(row: Mapping[str, Any]) -> dict[str, Field[rows.Row]]:
    """Every plain field of a row can be filtered by."""
    kinds = {bool: "boolean", int: "integer"}
    return {
        name: Field(partial(_time, name), "datetime")
        if name.endswith("_time")
        else Field(itemgetter(name), kinds.get(type(value), "string"))
        for name, value in row.items()
        if not isinstance(value, list | dict)
    }


def _time(name: str, row: rows.Row) -> int | None:
    return None if row[name] is None else micros(datetime.fromisoformat(row[name]).replace(tzinfo=UTC))


# An empty list has no row to tell its fields by.
_ANY_FIELD: dict[str, Field[rows.Row]] = {
    name: Field(itemgetter(name)) for name in ("id", "conference", "name", "protocol", "service_type", "alias")
} | {name: Field(partial(_time, name), "datetime") for name in ("start_time", "end_time", "connect_time")}


def _sample() -> dict[str, rows.Row]:
    leg = Leg(
        id="0" * 32, call="", identity="", shown="", name="", placed=0, joined=0, left=0, end_class="left", reason=""
    )
    conference = Conference(id="0" * 32, name="", start=0, end=0, legs=[leg])
    return {
        "conference": rows.conference(conference),
        "participant": rows.participant(leg, conference, linked=True, whole=True),
    }


_SAMPLES = _sample()


def _params(request: web.Request) -> Sequence[tuple[str, str]]:
    return list(request.query.items())


def _asked_time(request: web.Request, name: str, otherwise: int) -> int:
    text = request.query.get(name)
    if not text:
        return otherwise
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"{name} is not a time: {text}") from error
    return micros(at if at.tzinfo else at.replace(tzinfo=UTC))


def _utc(at: int) -> str:
    return f"{rows.text_time(at)}Z"


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> web.Response:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(lines)
    return web.Response(text=text.getvalue(), content_type="text/csv", charset="utf-8")


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
