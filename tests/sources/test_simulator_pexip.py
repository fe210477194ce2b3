"""The simulated Pexip over real sockets: the vendor's rules, and each fault at least once."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftrack.simulator import INJECTOR, VIETNAM, VIOLATIONS, Faults, Injector, OAuthClient, World, pexip_app
from conftrack.simulator.plan import micros

ANCHOR = datetime(2026, 11, 16, 9, 0, tzinfo=VIETNAM)
HISTORY, STATUS = "/api/admin/history/v1", "/api/admin/status/v1"
ACCOUNT = {"Authorization": aiohttp.encode_basic_auth("reporter", "nguoi-xem")}

Rows = list[dict[str, Any]]


class _Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class _Client:
    """A client of the management API that does nothing about faults by itself."""

    def __init__(self, url: str, session: aiohttp.ClientSession, app: web.Application, clock: _Clock) -> None:
        self.url, self.session, self.app, self.clock = url, session, app, clock

    async def stranger(self, path: str, **headers: str) -> int:
        """The status that somebody without the account gets."""
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.get(path, headers=headers) as response,
        ):
            return response.status

    async def get(self, path: str, **params: Any) -> Any:
        async with self.session.get(path, params={k: str(v) for k, v in params.items()}) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def status(self, path: str, **params: Any) -> int:
        async with self.session.get(path, params={k: str(v) for k, v in params.items()}) as response:
            return response.status

    async def all(self, path: str, **params: Any) -> Rows:
        """Follows `next` to the end."""
        found: Rows = []
        page = await self.get(path, **params)
        while True:
            found += page["objects"]
            if page["meta"]["next"] is None:
                return found
            page = await self.get(page["meta"]["next"])


@asynccontextmanager
async def _served(world: World, at: datetime = ANCHOR, **options: Any) -> AsyncIterator[_Client]:
    clock = _Clock(at)
    app = pexip_app(world, clock, **options)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(server.make_url("/"), headers=ACCOUNT) as session,
    ):
        yield _Client(str(server.make_url("/")), session, app, clock)


@pytest.fixture(scope="module")
def world() -> World:
    """A fortnight's worth of meetings spread over the year."""
    return World(7, anchor=ANCHOR, scale=0.1)


def _ids(rows: Rows) -> list[str]:
    return [row["id"] for row in rows]


async def test_pages_walk_every_row_once_in_the_order_of_their_ends(world: World) -> None:
    """By `next`, in 20 rows if nothing is said; `next` is relative; the total is the number of rows."""
    everything = {leg.id for m in world.meetings(ANCHOR) for leg in m.legs() if leg.left <= micros(ANCHOR)}
    async with _served(world) as client:
        first = await client.get(f"{HISTORY}/participant/")
        walked = await client.all(f"{HISTORY}/participant/", limit=500, order_by="end_time")

    assert (first["meta"]["limit"], len(first["objects"])) == (20, 20)
    assert first["meta"]["next"].startswith(f"{HISTORY}/participant/?")
    assert first["meta"]["total_count"] == len(walked) == len(everything)
    assert set(_ids(walked)) == everything
    assert [row["end_time"] for row in walked] == sorted(row["end_time"] for row in walked)


async def test_the_last_page_has_no_next_even_when_it_is_full(world: World) -> None:
    """A pager that follows `next` makes no request for nothing."""
    async with _served(world) as client:
        total = (await client.get(f"{HISTORY}/conference/", limit=1))["meta"]["total_count"]
        page = await client.get(f"{HISTORY}/conference/", limit=total // 2, offset=total - total // 2)

    assert len(page["objects"]) == total // 2
    assert page["meta"]["next"] is None
    assert page["meta"]["previous"].startswith(f"{HISTORY}/conference/?")


async def test_what_the_rows_say_adds_up_to_the_truth(world: World) -> None:
    """An independent reading of the vendor's rows: connected people legs, copies by call once, and failures."""
    async with _served(world) as client:
        rows = await client.all(f"{HISTORY}/participant/", limit=5000)
    people = {
        row["call_uuid"]: _seconds(row)
        for row in sorted(rows, key=_seconds)
        if row["start_time"]
        and row["protocol"] not in ("API", "RTMP")
        and row["service_type"] == "conference"
        and row["has_media"]
    }
    refused = ("486", "busy", "rejected", "Decline")
    failed = [
        row
        for row in rows
        if row["start_time"] is None
        and row["call_direction"] == "out"
        and not any(word in row["disconnect_reason"] for word in refused)
    ]
    truth = world.truth(ANCHOR).total

    assert len(people) == truth.legs
    assert sum(people.values()) == pytest.approx(truth.leg_seconds)
    assert len(failed) == truth.failed_connections
    assert len(rows) > truth.legs + truth.failed_connections


def _seconds(row: dict[str, Any]) -> float:
    if row["start_time"] is None:
        return 0.0
    return (datetime.fromisoformat(row["end_time"]) - datetime.fromisoformat(row["start_time"])).total_seconds()


async def test_times_are_naive_utc_and_lose_a_fraction_of_zero(world: World) -> None:
    """As Pexip writes them."""
    async with _served(world) as client:
        rows = await client.all(f"{HISTORY}/participant/", limit=5000)
    starts = [row["start_time"] for row in rows if row["start_time"]]

    assert all(len(at) in (19, 26) and "+" not in at and not at.endswith("Z") for at in starts)
    assert {len(at) for at in starts} == {19, 26}


async def test_media_streams_come_as_a_list_as_text_or_not_at_all(world: World) -> None:
    """A reader must look at the type; the streams themselves are also at the row's own address."""
    async with _served(world) as client:
        rows = await client.all(f"{HISTORY}/participant/", limit=5000)
        with_text = next(r for r in rows if isinstance(r.get("media_streams"), str) and r["duration"] > 60)
        streams = (await client.get(with_text["media_streams"]))["objects"]
        whole = await client.get(with_text["resource_uri"])

    assert {type(row.get("media_streams")) for row in rows} == {list, str, type(None)}
    assert {row["proxy_node"] for row in rows} == {"None", None, ""}
    assert {stream["stream_type"] for stream in streams} >= {"audio"}
    assert whole["media_streams"] == streams


async def test_an_end_time_window_includes_its_start_and_excludes_its_end(world: World) -> None:
    """`__gte` and `__lt`, the pair that a collector reads by; and both orders."""
    async with _served(world) as client:
        rows = await client.all(f"{HISTORY}/conference/", limit=500)
        low, high = rows[3]["end_time"], rows[8]["end_time"]
        window = {"end_time__gte": low, "end_time__lt": high}
        there = await client.all(f"{HISTORY}/conference/", limit=2, order_by="end_time", **window)
        back = await client.all(f"{HISTORY}/conference/", limit=2, order_by="-end_time", **window)

    assert _ids(there) == _ids(rows[3:8])
    assert _ids(back) == _ids(rows[3:8])[::-1]


async def test_other_filters_choose_rows_and_unknown_ones_are_refused(world: World) -> None:
    """A misspelt filter is a 400, never an empty or a full list. A null start passes no filter on the start."""
    path = f"{HISTORY}/participant/"
    async with _served(world) as client:
        rows = await client.all(path, limit=5000)
        out = await client.all(path, limit=5000, call_direction="out", protocol__in="SIP,H323")
        named = await client.all(path, limit=5000, display_name__icontains="NHÀ VĂN HÓA", order_by="-duration")
        since = await client.all(path, limit=5000, start_time__gte="2020-01-01T00:00:00")
        short = await client.all(path, limit=5000, duration__gt=60, duration__lt=90)

        assert await client.status(path, end_time__after="2026-01-01") == 400
        assert await client.status(path, ended__gte="2026-01-01") == 400
        assert await client.status(path, end_time__gte="yesterday") == 400
        assert await client.status(path, limit=-1) == 400
        assert await client.status(path, order_by="ended") == 400
        assert await client.status(path, limit=0) == 200

    wanted = [r for r in rows if r["call_direction"] == "out" and r["protocol"] in ("SIP", "H323")]
    assert sorted(_ids(out)) == sorted(_ids(wanted))
    assert {row["id"] for row in named} == {row["id"] for row in rows if "Nhà văn hóa" in row["display_name"]}
    assert [row["duration"] for row in named] == sorted((row["duration"] for row in named), reverse=True)
    assert {row["duration"] for row in short} == {row["duration"] for row in rows} & set(range(61, 90))
    assert all(row["start_time"] for row in since)
    assert len(since) == sum(row["start_time"] is not None for row in rows)


async def test_the_link_to_a_running_conference_is_null_until_it_ends(world: World) -> None:
    """A leg that left is in history at once, by name; the link is filled in when its conference is history too."""
    now = ANCHOR + timedelta(minutes=3)
    window = {"end_time__gte": "2026-11-16T02:00:00", "limit": 5000}
    async with _served(world, now) as client:
        left = await client.all(f"{HISTORY}/participant/", **window)
        running = {row["name"] for row in await client.all(f"{STATUS}/conference/")}
        finished = await client.all(f"{HISTORY}/conference/", **window)
        client.clock.at = now + timedelta(hours=2)
        later = {row["id"]: row for row in await client.all(f"{HISTORY}/participant/", **window)}

    assert left
    assert all(row["conference"] is None and row["conference_name"] in running for row in left)
    assert finished == []
    assert all(later[row["id"]]["conference"] for row in left)


async def test_a_conference_moves_from_status_to_history_with_its_last_participant(world: World) -> None:
    """Nothing is in both, and for a few seconds it may be in neither."""
    meeting = next(m for m in world.meetings(ANCHOR) if m.start > micros(ANCHOR))
    conference = meeting.conferences[0]
    end = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=conference.end)
    seen = []
    async with _served(world) as client:
        for second in (-1, 0, 4):
            client.clock.at = end + timedelta(seconds=second)
            live = _ids(await client.all(f"{STATUS}/conference/", limit=500))
            over = _ids(await client.all(f"{HISTORY}/conference/", limit=5000))
            seen.append((conference.id in live, conference.id in over))

    assert seen[0] == (True, False)
    assert seen[1][0] is False
    assert seen[2] == (False, True)


async def test_a_leg_is_in_status_until_it_leaves_and_in_history_from_then_on(world: World) -> None:
    """At no moment in both, and at no moment in neither."""
    now = ANCHOR + timedelta(minutes=15)
    window = {"end_time__gte": "2026-11-16T02:00:00", "limit": 5000}
    async with _served(world, now) as client:
        live = _ids(await client.all(f"{STATUS}/participant/", limit=5000))
        over = _ids(await client.all(f"{HISTORY}/participant/", **window))
    begun = {
        leg.id
        for meeting in world.meetings(now)
        if meeting.start >= micros(ANCHOR)
        for leg in meeting.legs()
        if leg.placed <= micros(now)
    }

    assert not set(live) & set(over)
    assert set(live) | set(over) == begun
    assert live
    assert over


async def test_live_legs_climb_from_connecting_to_conference(world: World) -> None:
    """Before it is up a leg has no connect time; its conference is a name; its alias is on the caller's side."""
    seen: dict[str, list[tuple[str, bool]]] = {}
    async with _served(world) as client:
        for second in range(0, 240, 2):
            client.clock.at = ANCHOR + timedelta(seconds=second)
            page = await client.get(f"{STATUS}/participant/", limit=5000)
            for row in page["objects"]:
                alias = row["source_alias" if row["call_direction"] == "in" else "destination_alias"]
                assert alias == row["participant_alias"]
                seen.setdefault(row["id"], []).append((row["service_type"], row["connect_time"] is not None))
        up = next(row for row in page["objects"] if row["has_media"])
        streams = await client.get(f"{up['resource_uri']}media_stream/")

    assert any(("connecting", False) in steps and ("conference", True) in steps for steps in seen.values())
    assert any(("ivr", False) in steps for steps in seen.values())
    assert not any(("conference", False) in steps for steps in seen.values())
    assert {"rx_jitter", "rx_packet_loss", "type"} <= set(streams["objects"][0])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("conference_shard", {"node", "conference"}),
        ("registration_alias", {"alias", "protocol"}),
        ("worker_vm", {"media_load", "sync_status"}),
        ("licensing", {"port_count", "port_total"}),
    ],
)
async def test_the_other_status_lists_answer(world: World, name: str, fields: set[str]) -> None:
    """Each with an envelope and its own schema."""
    async with _served(world, ANCHOR + timedelta(minutes=5)) as client:
        page = await client.get(f"{STATUS}/{name}/", limit=5000)
        described = await client.get(f"{STATUS}/{name}/schema/", format="json")

    assert page["meta"]["total_count"] == len(page["objects"]) > 0
    assert fields <= set(page["objects"][0])
    assert fields <= set(described["fields"])


async def test_every_room_is_registered_but_for_the_few_that_go_away(world: World) -> None:
    """By its SIP address; in the first half hour some are not for minutes, and then are again."""
    rooms = {alias for site in world.province.endpoints if site.is_room for alias in site.aliases if "@" in alias}
    aliases = {site.code: next(a for a in site.aliases if "@" in a) for site in world.province.endpoints}
    gone = world.away(ANCHOR + timedelta(minutes=29))
    async with _served(world) as client:
        for minute in (0, 5, 10, 15, 20, 29):
            client.clock.at = ANCHOR + timedelta(minutes=minute)
            now = micros(client.clock.at)
            missing = {aliases[site.endpoint] for site in gone if site.start <= now < site.end}
            shown = {row["alias"] for row in await client.all(f"{STATUS}/registration_alias/", limit=5000)}
            assert shown == rooms - missing

    assert len(gone) == 4
    assert not missing


async def test_rooms_with_standing_lists_tell_whom_they_dial(world: World) -> None:
    """A row an alias with all of its rooms, page by page as every list; streaming services among them."""
    standing = World.staged([], anchor=ANCHOR)
    standing.standing = {"Giao ban tuần": ("a@vc.example", "b@vc.example"), "Giao ban quý": ("b@vc.example",)}
    configuration = "/api/admin/configuration/v1"
    async with _served(standing) as client:
        rooms = await client.all(f"{configuration}/conference/", limit=1)
        dialed = await client.all(f"{configuration}/automatic_participant/", limit=2)
        named = {room["resource_uri"]: room["name"] for room in rooms}

    assert {row["alias"]: [named[room] for room in row["conference"]] for row in dialed if not row["streaming"]} == {
        "a@vc.example": ["Giao ban tuần"], "b@vc.example": ["Giao ban tuần", "Giao ban quý"]
    }  # fmt: skip
    assert [len(row["conference"]) for row in dialed if row["streaming"]] == [2]
    async with _served(world) as client:
        assert await client.all(f"{configuration}/automatic_participant/") == []


async def test_backplanes_link_the_records_of_one_meeting(world: World) -> None:
    """One for each further record."""
    meetings = [m for m in world.meetings(ANCHOR) if m.end <= micros(ANCHOR)]
    async with _served(world) as client:
        rows = await client.all(f"{HISTORY}/backplane/", limit=500)
        recent = await client.all(f"{HISTORY}/backplane/", end_time__gte="2026-06-01T00:00:00.000000")

    assert len(rows) == sum(len(meeting.conferences) - 1 for meeting in meetings) > 0
    assert 0 < len(recent) < len(rows)


async def test_history_keeps_the_newest_conferences_only(world: World) -> None:
    """First in, first out, with all of their participants."""
    async with _served(world, retention=12) as client:
        conferences = await client.all(f"{HISTORY}/conference/", limit=500)
        participants = await client.all(f"{HISTORY}/participant/", limit=5000)

    assert len(conferences) == 12
    assert {row["conference"] for row in participants} <= {row["resource_uri"] for row in conferences}
    assert len(participants) == sum(row["participant_count"] for row in conferences)


async def test_only_reading_is_allowed_and_an_attempt_to_write_is_remembered(world: World) -> None:
    """DELETE on a list would empty it on the real system."""
    async with _served(world) as client:
        async with client.session.delete(f"{HISTORY}/conference/") as response:
            assert response.status == 405
            assert response.headers["Allow"] == "GET"
        async with client.session.post(f"{STATUS}/conference/", json={}) as response:
            assert response.status == 405
        assert client.app[VIOLATIONS] == [f"DELETE {HISTORY}/conference/", f"POST {STATUS}/conference/"]


async def test_the_trailing_slash_and_the_password_are_required(world: World) -> None:
    """404 without the one, 401 without the other."""
    async with _served(world) as client:
        assert await client.status(f"{HISTORY}/conference") == 404
        assert await client.stranger(f"{HISTORY}/conference/") == 401
        assert await client.stranger(f"{HISTORY}/conference/", Authorization="Basic !") == 401
        assert await client.stranger(f"{HISTORY}/conference/", Authorization="Bearer x") == 401


async def test_more_than_the_allowed_requests_a_minute_are_throttled(world: World) -> None:
    """429 with Retry-After."""
    async with _served(world, rate_limit=3) as client:
        answers = [await client.status(f"{STATUS}/licensing/") for _ in range(4)]
        async with client.session.get(f"{STATUS}/licensing/") as response:
            assert int(response.headers["Retry-After"]) > 0

    assert answers == [200, 200, 200, 429]


def _key() -> tuple[ec.EllipticCurvePrivateKey, str]:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public.decode()


async def test_a_signed_assertion_buys_a_token_that_ends(world: World) -> None:
    """For the right key, audience and client only; `expires_in` may be missing, and the token still ends."""
    private, public = _key()
    client_of = OAuthClient(client_id="conftrack", public_key=public, expires_in=None)
    audience = "https://manager.phutho.example/oauth/token/"

    async def ask(client: _Client, key: ec.EllipticCurvePrivateKey = private, **changes: Any) -> tuple[int, Any]:
        claims = {"iss": "conftrack", "sub": "conftrack", "aud": audience, "exp": 2_000_000_000} | changes
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode(claims, key, algorithm="ES256"),
        }
        async with client.session.post("/oauth/token/", data=form) as response:
            return response.status, await response.json()

    async with _served(world, oauth=client_of) as client:
        assert (await ask(client, key=_key()[0]))[0] == 401
        assert (await ask(client, aud="https://elsewhere.example/oauth/token/"))[0] == 401
        assert (await ask(client, iss="somebody", sub="somebody"))[0] == 401
        status, answer = await ask(client)
        assert status == 200
        assert "expires_in" not in answer
        bearer = f"Bearer {answer['access_token']}"
        assert await client.stranger(f"{STATUS}/licensing/", Authorization=bearer) == 200
        client.clock.at += timedelta(hours=1)
        assert await client.stranger(f"{STATUS}/licensing/", Authorization=bearer) == 401


async def test_who_was_invited_is_known_an_hour_ahead(world: World) -> None:
    """By room, scheduled time and endpoint code; what is on soon is in it, what is on tomorrow is not."""
    codes = {endpoint.code for endpoint in world.province.endpoints}
    async with (
        _served(world) as client,
        client.session.get("/invitations.csv", params={"from": "2026-11-16T02:00:00Z"}) as response,
    ):
        lines = list(csv.DictReader((await response.text()).splitlines()))

    assert len({line["room"] for line in lines}) > 6
    assert len({line["uid"] for line in lines}) == len({(line["room"], line["start"]) for line in lines})
    assert {line["endpoint"] for line in lines} <= codes
    assert min(line["start"] for line in lines) < "2026-11-16T02:01"
    assert "2026-11-16T02:45" < max(line["start"] for line in lines) < "2026-11-16T03:00:01"
    assert all(line["start"] < line["end"] for line in lines)


async def test_planned_work_and_what_failed_are_told_as_the_world_knows_them(world: World) -> None:
    """Work of the next hour is known before it begins; incidents are those of meetings that are over."""
    async with _served(world) as client:
        async with client.session.get("/maintenance.json", params={"from": "2026-11-16T02:00:00Z"}) as response:
            works = await response.json()
        async with client.session.get("/incidents.json", params={"since": "2026-11-01T00:00:00Z"}) as response:
            told = await response.json()

    assert any(work["start"] > "2026-11-16T02:01" for work in works)
    assert all((work["endpoint"] is None) != (work["org"] is None) and work["start"] < work["end"] for work in works)
    assert len(told) == len(world.incidents(ANCHOR, since=datetime(2026, 11, 1, tzinfo=UTC))) > 10


async def test_head_counts_and_inventory_are_there_for_who_is_on_the_machine(world: World) -> None:
    """Without a password: people by room and alias, never from the future; every endpoint with its aliases."""
    now = ANCHOR + timedelta(minutes=20)
    async with _served(world, now) as client:
        async with client.session.get("/headcounts.csv", params={"from": "2026-11-16T02:00:00Z"}) as response:
            lines = list(csv.reader((await response.text()).splitlines()))
        inventory = await client.get("/inventory.json")
        truth = await client.get("/truth.json", inventory="1")

    assert lines[0] == ["room", "at", "endpoint", "people", "provenance", "note"]
    assert len(lines) > 5
    assert all("2026-11-16T02:00:00Z" <= line[1] <= "2026-11-16T02:20:00Z" for line in lines[1:])
    assert len(inventory["endpoints"]) > 3000
    assert inventory["endpoints"][0]["aliases"]
    assert truth["total"]["legs"] == world.truth(now, inventory=True).total.legs


# Faults


async def _spoilt(client: _Client, path: str, times: int = 60, **params: Any) -> list[str]:
    """What a client with a second's patience meets."""
    met = []
    for _ in range(times):
        try:
            async with client.session.get(path, params=params, timeout=aiohttp.ClientTimeout(total=1)) as response:
                body = await response.text()
                kind = "html" if response.content_type == "text/html" else "json"
                met.append(f"{response.status} {kind}" if response.status == 200 else str(response.status))
                assert kind == "html" or response.status != 200 or json.loads(body)
        except TimeoutError:
            met.append("time-out")
        except aiohttp.ClientPayloadError:
            met.append("cut short")
        except aiohttp.ClientError:
            met.append("reset")
    return met


@pytest.mark.parametrize(
    ("fault", "met"),
    [
        ("throttled", {"429"}),
        ("broken", {"500", "502", "503"}),
        ("truncated", {"cut short"}),
        ("reset", {"reset"}),
        ("login_page", {"200 html"}),
    ],
)
async def test_a_fault_on_the_wire_happens_and_never_three_times_in_a_row(
    world: World, fault: str, met: set[str]
) -> None:
    """Each one reaches the client, is counted, and lets the third attempt through."""
    async with _served(world, faults=Faults.only(fault, **{fault: 0.9, "most": 20})) as client:
        answers = await _spoilt(client, f"{STATUS}/worker_vm/")
        counted = client.app[INJECTOR].counts[fault]

    assert set(answers) == met | {"200 json"}
    # aiohttp repeats a GET by itself, once, when the connection is reset.
    assert counted == sum(answer != "200 json" for answer in answers) * (2 if fault == "reset" else 1) == 20
    assert not any("200 json" not in three for three in zip(answers, answers[1:], answers[2:], strict=False))


async def test_a_hanging_answer_outlasts_the_client(world: World) -> None:
    """At most twice: it costs the client its whole patience."""
    async with _served(world, faults=Faults(hanging=1.0, client_timeout=1.0)) as client:
        answers = await _spoilt(client, f"{STATUS}/worker_vm/", times=4)

    assert answers == ["time-out", "time-out", "200 json", "200 json"]


async def test_late_rows_appear_within_ten_minutes(world: World) -> None:
    """Some rows are not there yet when others that ended later are; ten minutes after the end all are."""
    now = ANCHOR + timedelta(minutes=70)
    window = {"end_time__lt": "2026-11-16T03:10:00", "end_time__gte": "2026-11-16T02:00:00", "limit": 5000}
    async with _served(world, now, faults=Faults.only("late")) as client:
        early = _ids(await client.all(f"{HISTORY}/participant/", **window))
        assert client.app[INJECTOR].counts["late"] > 0
        client.clock.at = now + timedelta(minutes=10)
        complete = _ids(await client.all(f"{HISTORY}/participant/", **window))

    missing = [complete.index(row) for row in set(complete) - set(early)]
    assert missing
    assert min(missing) < len(early) - 1
    assert set(early) < set(complete)


def test_whatever_is_late_or_edited_is_right_within_ten_minutes() -> None:
    """For any row, so that an overlap of a quarter of an hour is enough; and about one row in ten is meant."""
    injector = Injector(Faults.only("late", "edited"))
    delays = [injector.delay(f"row {number}") for number in range(5000)]

    assert 60_000_000 < max(delays) < 600_000_000
    assert 350 < sum(delay > 0 for delay in delays) < 650
    assert not any(injector.is_early(f"row {number}", 600_000_000) for number in range(5000))
    assert any(injector.is_early(f"row {number}", 60_000_000) for number in range(5000))


async def test_edited_rows_show_an_earlier_version_first(world: World) -> None:
    """Shorter and without quality; ten minutes after the end they are final."""
    now = ANCHOR + timedelta(minutes=70)
    window = {"end_time__lt": "2026-11-16T03:10:00", "end_time__gte": "2026-11-16T02:00:00", "limit": 5000}
    async with _served(world, now, faults=Faults.only("edited")) as client:
        early = {row["id"]: row for row in await client.all(f"{HISTORY}/participant/", **window)}
        client.clock.at = now + timedelta(minutes=10)
        final = {row["id"]: row for row in await client.all(f"{HISTORY}/participant/", **window)}

    changed = [key for key in early if early[key]["duration"] != final[key]["duration"]]
    assert changed
    assert early.keys() == final.keys()
    assert all(early[key]["duration"] < final[key]["duration"] for key in changed)
    assert {early[key]["call_quality"] for key in changed} == {"0_unknown"}


async def test_rows_of_a_page_are_repeated(world: World) -> None:
    """The page is longer than its limit; the total and the offsets are not affected."""
    async with _served(world, faults=Faults(repeated=1.0)) as client:
        page = await client.get(f"{HISTORY}/participant/", limit=50)
        rows = await client.all(f"{HISTORY}/participant/", limit=500)

    assert len(page["objects"]) == 51
    assert len(set(_ids(page["objects"]))) == 50
    assert len(set(_ids(rows))) == page["meta"]["total_count"] < len(rows)


async def test_malformed_rows_stand_beside_the_real_ones(world: World) -> None:
    """They count in the total, none of them can be read, and no real row is missing."""
    async with _served(world) as client:
        real = set(_ids(await client.all(f"{HISTORY}/participant/", limit=5000)))
    async with _served(world, faults=Faults(malformed=0.02)) as client:
        page = await client.get(f"{HISTORY}/participant/", limit=5000)
        counted = client.app[INJECTOR].counts["malformed"]
    good = [row for row in page["objects"] if isinstance(row, dict) and row.get("id") in real]
    junk = [row for row in page["objects"] if not isinstance(row, dict) or row.get("id") not in real]

    assert set(_ids(good)) == real
    assert len(junk) == counted == page["meta"]["total_count"] - len(real) > 5
    assert any(isinstance(row, str) for row in junk)
    assert any(isinstance(row, dict) and "id" not in row for row in junk)


async def test_the_oldest_conferences_fall_out_while_pages_are_read(world: World) -> None:
    """Only what was served already; the offsets shift under a pager that counts rows."""
    async with _served(world) as client:
        everything = _ids(await client.all(f"{HISTORY}/participant/", limit=5000))
    async with _served(world, faults=Faults(evicted=3)) as client:
        await client.all(f"{HISTORY}/conference/", limit=500)
        naive = _ids(await client.all(f"{HISTORY}/participant/", limit=20))
        counted = client.app[INJECTOR].counts["evicted"]
        left = _ids(await client.all(f"{HISTORY}/participant/", limit=5000))

    gone = set(everything) - set(left)
    assert counted > 0
    assert gone
    assert gone <= set(naive)
    assert set(naive) < set(everything)


async def test_rows_of_equal_end_come_in_another_order(world: World) -> None:
    """And only those."""
    async with _served(world, faults=Faults(reordered=1.0)) as client:
        one = await client.get(f"{HISTORY}/participant/", limit=5000)
        other = await client.get(f"{HISTORY}/participant/", limit=5000)
        counted = client.app[INJECTOR].counts["reordered"]

    assert counted == 2
    assert _ids(one["objects"]) != _ids(other["objects"])
    assert [row["end_time"] for row in one["objects"]] == [row["end_time"] for row in other["objects"]]


async def test_the_servers_clock_is_wrong(world: World) -> None:
    """Its Date header and all that it shows go by its own time."""
    async with (
        _served(world, faults=Faults(skew_seconds=300)) as client,
        client.session.get(f"{STATUS}/conference/") as response,
    ):
        date = parsedate_to_datetime(response.headers["Date"])
        rows = (await response.json())["objects"]

    assert date - ANCHOR == timedelta(minutes=5)
    assert rows


async def test_a_patient_reader_gets_everything_through_all_faults(world: World) -> None:
    """One that retries, reads by end time with an overlap and takes the last word: it ends at the truth."""
    often = {"throttled": 0.1, "broken": 0.1, "reset": 0.1, "login_page": 0.1, "truncated": 0.1, "malformed": 0.02}
    faults = Faults.all(client_timeout=0.4, retry_after=0, **often)
    kept: dict[str, dict[str, Any]] = {}
    async with _served(world, ANCHOR + timedelta(minutes=30), faults=faults) as client:
        for _ in range(3):
            await _read_all(client, "conference", {})
            await _read_all(client, "participant", kept)
            client.clock.at += timedelta(minutes=30)
        counts = client.app[INJECTOR].counts
        until = client.clock.at - timedelta(minutes=45)
    ended = {leg.id for m in world.meetings(until) for leg in m.legs() if leg.left <= micros(until)}

    assert ended <= kept.keys()
    assert not any(row["start_time"] == 17 for row in kept.values())
    wanted = {"throttled", "broken", "truncated", "reset", "login_page", "late", "edited", "repeated", "malformed",
              "reordered", "evicted"}  # fmt: skip
    assert {name for name in wanted if not counts[name]} == set()


async def _read_all(client: _Client, stream: str, kept: dict[str, dict[str, Any]]) -> None:
    low = "2020-01-01T00:00:00"
    while True:
        page = await _insist(client, stream, {"limit": 450, "order_by": "end_time", "end_time__gte": low})
        good = [row for row in page["objects"] if isinstance(row, dict) and _readable(row)]
        kept |= {row["id"]: row for row in good}
        if page["meta"]["next"] is None:
            return
        low = max(row["end_time"] for row in good)


def _readable(row: dict[str, Any]) -> bool:
    try:
        return bool(datetime.fromisoformat(row["end_time"]) and row["id"] and row["resource_uri"])
    except (ValueError, KeyError):
        return False


async def _insist(client: _Client, stream: str, params: dict[str, Any]) -> Any:
    for _ in range(4):
        try:
            timeout = aiohttp.ClientTimeout(total=0.4)
            path = f"{HISTORY}/{stream}/"
            async with client.session.get(path, params=params, timeout=timeout) as response:
                if response.status == 200:
                    return await response.json()
        except (aiohttp.ClientError, TimeoutError):
            continue
    raise AssertionError("four times in a row")


async def test_it_runs_in_a_process_of_its_own() -> None:
    """One line of JSON says where; SIGTERM ends it at once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "conftrack.simulator", "--anchor", "2026-11-16T09:00", "--scale", "0.05",
        "--speed", "600", "--faults", "repeated,malformed", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        account = {"Authorization": aiohttp.encode_basic_auth(ready["username"], ready["password"])}
        async with aiohttp.ClientSession(ready["url"], headers=account) as session:
            async with session.get(f"{STATUS}/worker_vm/") as response:
                assert response.status == 200
            async with session.get("/simulator.json") as response:
                assert (await response.json())["violations"] == []
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_it_ends_with_the_process_that_started_it() -> None:
    """With --stop-with-stdin, the end of standard input is the end: no simulator is left behind by a killed demo."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "conftrack.simulator", "--scale", "0.01", "--start", "now", "--stop-with-stdin",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 30)
        process.stdin.close()

        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
