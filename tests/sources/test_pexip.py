"""The Pexip source against a small Management Node of our own: what the history says, however it comes."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from aiohttp import web

from conftrack.config import Secret, SourceConfig
from conftrack.errors import SourceError
from conftrack.model import LegRecord, Origin
from conftrack.simulator import Faults, World, pexip_app
from conftrack.sources.base import Observer
from conftrack.sources.pexip import PexipSource
from conftrack.sources.pexip.records import room_of
from tests.pexip_node import (
    BASIC,
    PASSWORD,
    Node,
    Row,
    leg_of,
    load,
    make_source,
    many,
    opened,
    participant,
)
from tests.sources.conformance import (
    NOW,
    FakeSystem,
    Observations,
    SourceConformance,
    facts,
    read,
    status,
    until,
)


class TestConformance(SourceConformance):
    """Pexip with user name and password."""

    secrets: ClassVar[tuple[str, ...]] = (PASSWORD, BASIC)

    def system(self) -> Node:
        return Node()

    def source(self, system: FakeSystem, observe: Observer) -> PexipSource:
        return make_source(system, observe)

    def spoil(self, system: FakeSystem) -> str:
        assert isinstance(system, Node)
        row = system.rows["history/participant"][1]
        row["remote_alias"] = {"not": "a text"}
        return str(row["id"])


# History


async def test_a_connected_leg_is_read_whole() -> None:
    """Every figure of the documented sample arrives, in conftrack's units."""
    async with opened() as (source, _):
        *_, page = await read(source, "participant")

        expected = LegRecord(
            external_id="22222222-aaaa-4bbb-8ccc-000000000002",
            room="giao-ban-tuan",
            meeting="11111111-aaaa-4bbb-8ccc-000000000001",
            identity="xa-a@vc.tinh.example",
            protocol="SIP",
            direction="out",
            joined_at=datetime(2026, 3, 2, 8, 10, 43, 712941, tzinfo=UTC),
            left_at=datetime(2026, 3, 2, 10, 10, 43, 557000, tzinfo=UTC),
            end_class="left",
            end_reason="Call disconnected",
            rx_bitrate=540_000,
            tx_bitrate=1_513_000,
            rx_loss=300 / 40_000,
            tx_loss=0.0,
        )
        assert expected in page.legs
        assert page.origin is Origin.HISTORY
        assert page.observed_at == NOW


async def test_a_leg_that_left_early_has_no_meeting_yet() -> None:
    """Until the conference ends its link is null, and null it stays: a guess could be wrong."""
    async with opened() as (source, _):
        legs = {leg.external_id[:8]: leg for page in await read(source, "participant") for leg in page.legs}

        assert legs["22222223"].meeting is None
        assert legs["22222223"].room == "giao-ban-tuan"
        assert legs["22222223"].end_class == "ended"
        assert legs["22222223"].rx_loss is None


async def test_a_failed_dial_is_an_attempt_and_counts() -> None:
    """A call that never connected has no join, its own cause, and is not excluded for having had no media."""
    async with opened() as (source, _):
        legs = {leg.external_id[:8]: leg for page in await read(source, "participant") for leg in page.legs}

        attempt = legs["22222224"]
        assert (attempt.joined_at, attempt.end_class, attempt.excluded) == (None, "unreachable", None)
        assert attempt.left_at == datetime(2026, 3, 2, 8, 0, 41, 557000, tzinfo=UTC)


async def test_gateway_records_share_the_room_of_their_base_name() -> None:
    """`<base>:<hex>` records are found together again, whoever reads them: meeting and leg alike."""
    async with opened() as (source, _):
        rooms = {m.external_id[:8]: m.room for page in await read(source, "conference") for m in page.meetings}
        legs = {leg.external_id[:8]: leg for page in await read(source, "participant") for leg in page.legs}

        assert rooms["11111112"] == legs["22222225"].room == "Teams CVI tỉnh"
        assert legs["22222225"].personal
        assert legs["22222225"].identity == "nguyễn văn an"
        assert legs["22222226"].excluded == "api"


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("Teams CVI:6766e801b2f94d0c9a51", "Teams CVI"),
        ("gw:8583f400-7886-48c9-874b-5fefc2ac097e", "gw"),
        ("gw:1a2b3c4d", "gw"),
        ("Họp: khẩn:6766e801b2f94d0c", "Họp: khẩn"),
        ("Giao ban 08:30", "Giao ban 08:30"),
        ("Giao ban:20260302", "Giao ban:20260302"),
        ("UBND tỉnh: họp dân", "UBND tỉnh: họp dân"),
        ("a:facade", "a:facade"),
        ("Ho\u0323p:1a2b3c4d", "Họp"),
        ("", ""),
    ],
)
def test_only_an_instance_number_is_cut_off_a_name(name: str, room: str) -> None:
    """A room may have a colon, a time or a date in its name; how its accents are encoded is no other room."""
    assert room_of(name) == room


async def test_backplanes_are_kept_and_never_people() -> None:
    """The media between two nodes is a leg that is flagged."""
    async with opened() as (source, _):
        ((leg,),) = [page.legs for page in await read(source, "backplane")]

        assert (leg.excluded, leg.room) == ("backplane", "giao-ban-tuan")


async def test_a_node_without_backplane_history_has_nothing_to_say() -> None:
    """A stream that the node's schema does not know is not asked for, and is no failure."""
    async with opened() as (source, node):
        node.missing.add("history/backplane")

        assert await read(source, "backplane") == []
        assert await read(source, "backplane") == []
        assert not [path for path in node.asked("backplane") if "schema" not in path]


async def test_a_node_without_schemas_is_read_as_documented() -> None:
    """Old software that does not describe itself is read all the same."""
    async with opened() as (source, node):
        node.schema = None
        node.missing.add("history/backplane")

        assert len(facts(await read(source, "participant"))) == 5
        assert await read(source, "backplane") == []


async def test_a_schema_that_fails_for_a_moment_hides_nothing() -> None:
    """Self-description is a help, not a condition; it is asked for again."""
    async with opened() as (source, node):
        node.next(status(500), status(500))

        assert len(facts(await read(source, "participant"))) == 5
        assert len(facts(await read(source, "participant"))) == 5
        assert len(node.asked("conference/schema")) == 3
        assert await read(source, "participant")
        assert len(node.asked("conference/schema")) == 3


async def test_a_list_that_cannot_be_ordered_promises_nothing_early() -> None:
    """Without order nothing is known to be complete before the last page."""
    async with opened() as (source, node):
        node.schema = {"ordering": ["name"], "filtering": {"end_time": 1}}
        node.rows["history/participant"] = many(1500)
        pages = await read(source, "participant")

        assert not [path for path in node.asked("participant/?") if "order_by" in path]
        assert pages[-1].window is not None
        assert [page.position for page in pages] == [None, pages[-1].window.until]
        assert len(facts(pages)) == 1500


async def test_now_is_the_nodes_own_clock() -> None:
    """A window ends at the time of the node, so that a clock of ours that is fast skips nothing."""
    async with opened() as (source, node):
        node.now = NOW - timedelta(hours=3)
        (page,) = await read(source, "participant")

        assert page.window is not None
        assert node.now <= page.window.until < node.now + timedelta(seconds=10)
        assert page.observed_at == node.now
        assert {leg.external_id[:8] for leg in page.legs} == {"22222224"}


async def test_a_node_in_the_far_future_is_not_believed() -> None:
    """A node whose clock is wrong by years must not carry the cursor with it."""
    async with opened() as (source, node):
        node.now = NOW + timedelta(days=3650)
        (page,) = await read(source, "participant")

        assert page.window is not None
        assert page.window.until <= NOW + timedelta(hours=1)
        assert page.observed_at <= NOW + timedelta(hours=1)


async def test_many_pages_come_in_order_each_with_its_position() -> None:
    """Pages are fetched ahead but delivered as they stand in the table."""
    async with opened() as (source, node):
        node.rows["history/participant"] = many(5321)
        pages = await read(source, "participant")

        assert [len(page.legs) for page in pages] == [1000, 1000, 1000, 1000, 1000, 321]
        assert [leg.external_id for page in pages for leg in page.legs] == [f"leg-{n}" for n in range(5321)]
        positions = [page.position for page in pages]
        assert positions == sorted(p for p in positions if p is not None)
        assert positions[0] == pages[0].legs[-1].left_at
        assert [page.window is not None for page in pages] == [False] * 5 + [True]
        assert pages[-1].window is not None
        assert pages[-1].window.source_total == 5321


async def test_a_node_that_gives_shorter_pages_is_read_whole() -> None:
    """A node may give less than is asked for."""
    async with opened() as (source, node):
        node.largest_page = 300
        node.rows["history/participant"] = many(1000)

        assert len(facts(await read(source, "participant"))) == 1000


async def test_a_year_is_read_in_windows_that_meet() -> None:
    """A long period is cut into windows; each follows on the last and counts what it holds."""
    async with opened() as (source, node):
        node.rows["history/participant"] = many(50_000)
        windows = []
        ids = []
        async with aclosing(source.history("participant", None)) as pages:
            async for page in pages:
                ids += [leg.external_id for leg in page.legs]
                if page.window:
                    windows.append((page.window, len(ids)))

        assert ids == [f"leg-{n}" for n in range(50_000)]
        assert len(windows) == 3
        assert sum(window.source_total or 0 for window, _ in windows) == 50_000
        assert [window.since for window, _ in windows[1:]] == [window.until for window, _ in windows[:-1]]


async def test_rows_that_end_together_are_not_parted() -> None:
    """A thousand legs cut off in one microsecond, where windows and pages are cut too, all arrive."""
    async with opened() as (source, node):
        rows = many(45_000)
        for row in rows[18_500:41_800]:
            row["end_time"] = "2026-03-02T09:00:18.500000"
        node.rows["history/participant"] = rows
        pages = await read(source, "participant")

        assert {record.external_id for record in facts(pages)} == {f"leg-{n}" for n in range(45_000)}
        windows = [page.window for page in pages if page.window]
        assert sum(window.source_total or 0 for window in windows) == 45_000


async def test_eviction_between_two_pages_loses_nothing() -> None:
    """The table forgets its oldest rows while it is read: everything still there is read all the same."""
    async with opened() as (source, node):
        rows = node.rows["history/participant"] = many(4500)

        def evict(name: str, offset: int) -> None:
            if name == "history/participant" and offset == 2000 and len(rows) == 4500:
                del rows[:700]

        node.before = evict
        pages = await read(source, "participant")

        assert {record.external_id for record in facts(pages)} >= {f"leg-{n}" for n in range(700, 4500)}
        assert [page.window.source_total for page in pages if page.window] == [3800]
        early = [page.position for page in pages if page.window is None]
        assert all(position is not None for position in early)


async def test_no_position_passes_a_row_that_eviction_hid() -> None:
    """Were the collector to die at any page, what it had not read yet is after the position it kept."""
    async with opened() as (source, node):
        rows = node.rows["history/participant"] = many(6000)
        kept: set[str] = set()

        def evict(name: str, offset: int) -> None:
            if name == "history/participant" and offset >= 2000 and len(rows) > 5000:
                del rows[:100]

        node.before = evict
        async with aclosing(source.history("participant", None)) as pages:
            async for page in pages:
                kept |= {leg.external_id for leg in page.legs}
                assert page.position is not None
                passed = {row["id"] for row in rows if datetime.fromisoformat(f"{row['end_time']}Z") < page.position}
                assert passed <= kept


async def test_rows_that_change_places_between_two_pages_are_both_read() -> None:
    """Rows of one end have no order of their own: one may come twice, and the other must not be missed for it."""
    async with opened() as (source, node):
        rows = node.rows["history/participant"] = many(2500)
        rows[1000]["end_time"] = rows[999]["end_time"]
        swapped: list[str] = []

        def swap(name: str, offset: int) -> None:
            if name == "history/participant" and offset == 1000 and not swapped:
                rows[999], rows[1000] = rows[1000], rows[999]
                swapped.append(name)

        node.before = swap
        pages = await read(source, "participant")

        assert swapped
        assert {record.external_id for record in facts(pages)} == {f"leg-{n}" for n in range(2500)}


async def test_a_table_that_never_holds_still_is_a_passing_failure() -> None:
    """Rather no certificate than a wrong one."""
    async with opened() as (source, node):
        rows = node.rows["history/participant"] = many(3000)

        def grow(name: str, offset: int) -> None:
            if name == "history/participant":
                rows.append(participant(0, id=f"late-{len(rows)}"))

        node.before = grow
        with pytest.raises(SourceError, match="changed every time") as failure:
            await read(source, "participant")

        assert not failure.value.permanent


@pytest.mark.parametrize("named", [True, False])
async def test_a_table_that_is_the_same_page_for_ever_comes_to_an_end(named: bool) -> None:
    """A node that claims more rows than it has and starts over, whatever is asked for, is not read without end."""
    page = [row if named else {"end_time": row["end_time"]} for row in many(1000)]

    async def start_over(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/participant/"):
            return await node.respond(request)
        rows = page[: int(request.query["limit"])]
        return web.json_response({"meta": {"total_count": 10**9}, "objects": rows})

    async with opened() as (source, node):
        node.always = start_over
        with pytest.raises(SourceError, match="changed every time") as failure:
            async with asyncio.timeout(20):
                await read(source, "participant")

        assert not failure.value.permanent
        assert len(node.asked("/participant/?")) < 100


async def test_a_row_listed_twice_is_one_row() -> None:
    """The last of two copies on a page counts; the node's own total is told as it is."""
    async with opened() as (source, node):
        first, second = participant(1, disconnect_reason="old"), participant(1, disconnect_reason="Call disconnected")
        node.rows["history/participant"] = [first, second, participant(2)]
        pages = await read(source, "participant")

        last = {record.external_id: record for record in facts(pages)}
        assert set(last) == {"leg-1", "leg-2"}
        assert pages[-1].legs[0].end_reason == "Call disconnected"
        assert pages[-1].window is not None
        assert pages[-1].window.source_total == 3


async def test_pages_are_fetched_while_the_caller_is_busy() -> None:
    """The next pages are on their way while one is being stored, and not all of them."""
    async with opened() as (source, node):
        node.rows["history/participant"] = many(9500)
        async with aclosing(source.history("participant", None)) as pages:
            await anext(pages)
            await until(lambda: len(node.asked("offset=")) >= 5)
            await asyncio.sleep(0.05)

            assert len(node.asked("offset=")) == 5


async def test_a_truncated_page_is_read_again() -> None:
    """Half a page is no page."""
    async with opened() as (source, node):
        await read(source, "participant")
        node.next(status(200, '{"meta": {"total_count": 5}, "objects": [{"id": "22'))

        assert len(facts(await read(source, "participant"))) == 5


async def test_a_simulated_year_is_read_whole_through_every_fault() -> None:
    """Throttling, resets, truncation, login pages, junk and repeats: still every leg arrives, and as it was."""
    world = World(7, anchor=NOW, scale=0.15)
    faults = Faults.all(client_timeout=3.0, skew_seconds=0.0, evicted=0, late=0.0, edited=0.0)
    app = pexip_app(world, lambda: NOW, faults=faults, username="reporter", password=PASSWORD)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        config = SourceConfig(
            name="p", kind="pexip", url=f"http://{host}:{port}", username="reporter", password=Secret(PASSWORD),
            timeout=timedelta(seconds=3),
        )  # fmt: skip
        async with PexipSource(config, clock=lambda: NOW, observe=Observations()) as source:
            legs = {leg.external_id: leg for page in await read(source, "participant") for leg in page.legs}
    finally:
        await runner.cleanup()

    happened = {
        leg.id: (leg.identity, leg.end_class, leg.excluded, leg.joined is not None, meeting.room)
        for meeting in world.meetings(NOW)
        for conference in meeting.conferences
        for leg in conference.legs
        if leg.left < NOW.timestamp() * 1_000_000
    }
    assert len(happened) > 3000
    assert happened == {
        leg_id: (leg.identity, leg.end_class, leg.excluded, leg.joined_at is not None, leg.room)
        for leg_id, leg in legs.items()
    }


# What rows are made of


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"media_streams": None}, {"rx_loss": None, "rx_bitrate": None}),
        ({"media_streams": "[]"}, {"rx_loss": None}),
        ({"media_streams": ["/api/admin/history/v1/media_stream/36/"]}, {"rx_loss": None}),
        ({"media_streams": [None, 7, {"stream_type": "video", "rx_bitrate": 100}]}, {"rx_bitrate": 100_000}),
        (
            {"media_streams": [{"rx_bitrate": "29", "rx_packets_lost": "5", "rx_packets_received": "95"}]},
            {"rx_bitrate": 29_000, "rx_loss": 0.05},
        ),
        (
            {"media_streams": [{"rx_resolution": "None", "rx_bitrate": "None", "rx_packet_loss": 2.5}]},
            {"rx_bitrate": None, "rx_loss": 0.025},
        ),
        (
            {"media_streams": [{"rx_packets_lost": 0, "rx_packets_received": 0, "rx_packet_loss": 0.0}]},
            {"rx_loss": None},
        ),
        (
            {"media_streams": [{"tx_packet_loss": 2.0}, {"tx_packets_lost": 4, "tx_packets_sent": 100}]},
            {"tx_loss": 0.03},
        ),
        (
            {
                "media_streams": [
                    {"stream_type": "video", "tx_bitrate": 100, "tx_packets_sent": 100},
                    {"stream_type": "video", "tx_bitrate": 2000, "tx_packets_sent": 900},
                    {"stream_type": "audio", "tx_bitrate": 64, "tx_packets_sent": 500},
                ]
            },
            {"tx_bitrate": 1_874_000},
        ),
        ({"start_time": "2026-03-02T07:00:00"}, {"joined_at": datetime(2026, 3, 2, 7, tzinfo=UTC)}),
        ({"start_time": "2026-03-02T14:00:00+07:00"}, {"joined_at": datetime(2026, 3, 2, 7, tzinfo=UTC)}),
        ({"start_time": "2026-03-02T07:00:00.5Z"}, {"joined_at": datetime(2026, 3, 2, 7, 0, 0, 500000, tzinfo=UTC)}),
        ({"duration": "7200", "remote_port": "5061", "proxy_node": "None", "new_field": {"a": [1]}}, {}),
        ({"conference": {"id": "c-1", "name": "x"}}, {"meeting": "c-1"}),
        ({"conference": ""}, {"meeting": None}),
        ({"remote_alias": "", "remote_address": "10.20.0.7"}, {"identity": "10.20.0.7"}),
        ({"remote_alias": None, "remote_address": None}, {"identity": None}),
        ({"protocol": "WebRTC", "remote_alias": "an@tinh.example"}, {"personal": False}),
        ({"protocol": "MSSIP", "remote_alias": "Trần Bình"}, {"personal": True}),
        ({"protocol": "SIP", "remote_alias": "phong-hop"}, {"personal": False}),
        (
            {"call_direction": None, "protocol": None, "disconnect_reason": None},
            {"direction": None, "end_class": "left"},
        ),
        ({"protocol": "RTMP"}, {"excluded": "streaming"}),
        ({"is_streaming": True}, {"excluded": "streaming"}),
        ({"service_type": "two_stage_dialing"}, {"excluded": "ivr"}),
        ({"service_type": "waiting_room"}, {"excluded": "ivr"}),
        ({"service_type": "test_call"}, {"excluded": "ivr"}),
        ({"service_type": "connecting"}, {"excluded": "ivr"}),
        ({"service_type": "lecture"}, {"excluded": None}),
        ({"service_type": None}, {"excluded": None}),
        ({"protocol": "Backplane"}, {"excluded": "backplane"}),
        ({"has_media": False}, {"excluded": "shadow"}),
        ({"has_media": None}, {"excluded": None}),
        ({"has_media": False, "start_time": None, "service_type": "connecting"}, {"excluded": None}),
        (
            {"has_media": False, "start_time": None, "call_direction": "in", "disconnect_reason": ""},
            {"end_class": "noise", "excluded": "noise"},
        ),
    ],
)
async def test_oddities_are_read_for_what_they_say(fields: Row, expected: Row) -> None:
    """What versions and far ends do differently costs no leg, and unknown is never zero."""
    leg = await leg_of(participant(1) | fields)

    for name, value in expected.items():
        assert getattr(leg, name) == (pytest.approx(value) if isinstance(value, float) else value), name


@pytest.mark.parametrize("name", [name for name in load("history_participant")[0] if name not in ("id", "end_time")])
async def test_any_field_may_be_missing(name: str) -> None:
    """A version that does not know a field, or has null in it, loses only what the field would say."""
    row = participant(1)

    assert (await leg_of(row | {name: None})).external_id == "leg-1"
    del row[name]
    assert (await leg_of(row)).external_id == "leg-1"


@pytest.mark.parametrize(
    ("row", "external_id", "error"),
    [
        (participant(1) | {"end_time": None}, "leg-1", "end_time"),
        (participant(1) | {"end_time": "gestern"}, "leg-1", "end_time"),
        (participant(1) | {"id": None}, None, "id"),
        (participant(1) | {"id": ""}, None, "id"),
        (participant(1) | {"id": 17}, None, "id"),
        ({"end_time": "2026-03-02T09:00:00"}, None, "id"),
        (participant(1) | {"start_time": "2026-03-02T11:00:00"}, "leg-1", "before it starts"),
        (participant(1) | {"start_time": "1970-01-01T00:00:03"}, "leg-1", "the year 1970"),
        (participant(1) | {"start_time": "0001-01-01T00:00:00+07:00"}, "leg-1", "the year 1"),
        (participant(1) | {"end_time": "9999-12-31T23:59:59.999999"}, "leg-1", "the year 9999"),
        (participant(1) | {"display_name": "\ud83d"}, "leg-1", ""),
        (participant(1) | {"remote_alias": "a\x00b"}, "leg-1", "NUL"),
        (["not", "a", "row"], None, "object"),
        (None, None, "object"),
    ],
)
async def test_a_bad_row_is_kept_and_its_neighbours_live(row: Any, external_id: str | None, error: str) -> None:
    """One row that cannot be, whatever is wrong with it, is rejected whole; the page goes on."""
    async with opened() as (source, node):
        body = {"meta": {"total_count": 3}, "objects": [participant(0), row, participant(2)]}
        await read(source, "conference")
        node.next(status(200, json.dumps(body)))
        (page,) = await read(source, "participant")

        assert [leg.external_id for leg in page.legs] == ["leg-0", "leg-2"]
        (rejected,) = page.rejected
        assert json.loads(rejected.raw) == row
        assert rejected.external_id == external_id
        assert error in rejected.error
        assert page.window is not None
        assert page.window.source_total == 3
        assert source.decode("participant", rejected.raw, NOW).rejected == (rejected,)


async def test_a_row_is_decoded_again_as_on_its_page() -> None:
    """`conftrack rejected retry` makes the same facts of a row as its page would have."""
    async with opened() as (source, node):
        for stream in source.streams:
            pages = await read(source, stream)
            again = [source.decode(stream, json.dumps(row).encode(), NOW) for row in node.rows[f"history/{stream}"]]
            assert sorted(facts(again), key=repr) == sorted(facts(pages), key=repr)
        assert source.decode("live", b"{}", NOW).rejected
