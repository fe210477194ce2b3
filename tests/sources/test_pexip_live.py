"""The Pexip source: what goes on now, how well, and who is registered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from conftrack.errors import SourceError
from tests.pexip_node import (
    opened,
)
from tests.sources.conformance import (
    NOW,
    Handler,
    silence,
    status,
)


async def test_a_snapshot_holds_all_that_is_going_on() -> None:
    """Meetings, connected and connecting legs, with the meeting that a leg names."""
    async with opened() as (source, _):
        snapshot = await source.live()
        legs = {leg.external_id[:8]: leg for leg in snapshot.legs}

        assert snapshot.taken_at == NOW
        (meeting,) = snapshot.meetings
        assert (meeting.room, meeting.ended_at) == ("hop-khan", None)
        assert meeting.started_at == datetime(2026, 3, 2, 11, 30, 0, 250000, tzinfo=UTC)
        up = legs["55555551"]
        assert up.joined_at == datetime(2026, 3, 2, 11, 31, 2, 500000, tzinfo=UTC)
        assert (up.left_at, up.end_class, up.meeting) == (None, None, meeting.external_id)
        assert up.identity == "xa-a@vc.tinh.example"
        ringing = legs["55555552"]
        assert (ringing.joined_at, ringing.left_at, ringing.excluded) == (None, None, None)
        assert ringing.identity == "xa-b@vc.tinh.example"
        assert legs["55555553"].identity == "xa-d@vc.tinh.example"
        assert [legs[n].excluded for n in ("55555554", "55555555")] == ["api", "streaming"]


async def test_a_live_leg_tells_how_well_it_is_now() -> None:
    """Quality is that of the streams that are up, by the node's latest window; of the other legs it is not known."""
    async with opened() as (source, _):
        legs = {leg.external_id[:8]: leg for leg in (await source.live()).legs}

        assert legs["55555551"].rx_bitrate == 1_564_000
        assert legs["55555551"].rx_loss == pytest.approx(0.06)
        assert legs["55555551"].tx_loss == 0
        assert legs["55555551"].jitter_seconds == 0.0125
        assert legs["55555552"].rx_loss is None
        assert legs["55555555"].rx_bitrate is None


async def test_quality_takes_turns_and_stays_with_legs_in_trouble() -> None:
    """Twenty legs a snapshot are asked: every leg in its turn, and those in trouble every time."""
    async with opened() as (source, node):
        leg = node.rows["status/participant"][0]
        node.rows["status/participant"] = [leg | {"id": f"leg-{n:03}"} for n in range(50)]
        node.rows["status/participant"][7]["call_quality"] = "4_terrible"
        node.streams = [{"type": "video", "rx_packets_lost": 0, "rx_packets_received": 100}]
        asked = []
        for _ in range(3):
            node.requests.clear()
            snapshot = await source.live()
            asked.append({path.split("/")[6] for path in node.asked("media_stream")})
            assert {leg.external_id for leg in snapshot.legs if leg.rx_loss is not None} == asked[-1]

        assert [len(ids) for ids in asked] == [20, 20, 20]
        assert all("leg-007" in ids for ids in asked)
        assert len(asked[0] | asked[1] | asked[2]) == 50


async def test_a_snapshot_survives_quality_that_cannot_be_had() -> None:
    """A leg that has just gone, or a node too busy to say, leaves quality unknown and the snapshot whole."""
    async with opened(live_interval=timedelta(seconds=0.4)) as (source, node):
        for fault in (status(404), status(500), silence):
            node.streams_fault = fault
            snapshot = await source.live()

            assert len(snapshot.legs) == 5
            assert [leg.rx_loss for leg in snapshot.legs] == [None] * 5


async def test_a_crowd_on_more_pages_is_read_as_one_moment() -> None:
    """If somebody comes or goes between two pages of the same list, it is read again."""
    async with opened() as (source, node):
        leg = node.rows["status/participant"][0]
        rows = node.rows["status/participant"] = [leg | {"id": f"leg-{n}"} for n in range(250)]
        node.largest_page = 100

        def leave(name: str, offset: int) -> None:
            if name == "status/participant" and offset == 100 and len(rows) == 250:
                del rows[0]

        node.before = leave
        snapshot = await source.live()

        assert {leg.external_id for leg in snapshot.legs} == {f"leg-{n}" for n in range(1, 250)}


async def test_no_half_snapshot_is_given() -> None:
    """If a list changes under every reading, there is no snapshot: an absent leg would count as gone."""
    async with opened() as (source, node):
        leg = node.rows["status/participant"][0]
        rows = node.rows["status/participant"] = [leg | {"id": f"leg-{n}"} for n in range(250)]
        node.largest_page = 100
        node.before = lambda name, offset: rows.remove(rows[-1])
        with pytest.raises(SourceError, match="changed every time") as failure:
            await source.live()

        assert not failure.value.permanent


async def test_an_unreadable_live_leg_spoils_only_itself() -> None:
    """One odd row does not blind the operator."""
    async with opened() as (source, node):
        node.rows["status/participant"][0]["connect_time"] = "soon"
        snapshot = await source.live()

        assert len(snapshot.legs) == 4
        (rejected,) = snapshot.rejected
        assert rejected.external_id == "55555551-aaaa-4bbb-8ccc-000000000005"


async def test_a_snapshot_tells_who_is_registered() -> None:
    """Every alias in its one spelling, whatever protocol it is registered by."""
    async with opened() as (source, _):
        assert (await source.live()).registered == frozenset({"xa-a@vc.tinh.example", "xa-b", "2103000002"})


async def test_who_is_registered_is_asked_at_its_own_pace() -> None:
    """Every thirty seconds at most: between two lists nothing is said, rather than the last one again."""
    async with opened() as (source, node):
        told = []
        for second in (0, 10, 20, 29, 30, 45):
            node.now = NOW + timedelta(seconds=second)
            told.append((await source.live()).registered is not None)

        assert told == [True, False, False, False, True, False]


@pytest.mark.parametrize("fault", [status(403), status(404), status(503), silence])
async def test_a_node_that_does_not_tell_who_is_registered_is_read_all_the_same(
    fault: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    """A version or an account without the list, or a busy node, costs no snapshot; it is logged once, and so is the
    recovery."""
    caplog.set_level("INFO")
    async with opened(live_interval=timedelta(seconds=0.4)) as (source, node):
        for second in (0, 700, 1400):
            node.now, node.registrations_fault = NOW + timedelta(seconds=second), fault
            snapshot = await source.live()

            assert snapshot.registered is None
            assert len(snapshot.legs) == 5
        node.now, node.registrations_fault = NOW + timedelta(seconds=2100), None
        assert (await source.live()).registered is not None
        said = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "INFO")]

    assert len([text for text in said if "who is registered is not known" in text]) == 1
    assert len([text for text in said if "tells again who is registered" in text]) == 1


async def test_a_node_that_may_not_tell_is_not_asked_over_and_over() -> None:
    """Ten minutes pass before an account that was refused is tried again."""
    async with opened() as (source, node):
        node.registrations_fault = status(403)
        for minute in (0, 1, 9, 10):
            node.now = NOW + timedelta(minutes=minute)
            await source.live()

        assert len(node.asked("registration_alias")) == 2


async def test_a_list_that_cannot_be_read_whole_says_nothing_about_who_is_not_in_it() -> None:
    """An alias that cannot be read might be that of any site: none is called missing because of it."""
    async with opened() as (source, node):
        del node.rows["status/registration_alias"][0]["alias"]

        assert (await source.live()).registered is None


async def test_many_registrations_are_read_to_the_last_page() -> None:
    """A province has more of them than a page holds."""
    async with opened() as (source, node):
        node.rows["status/registration_alias"] = [{"id": n, "alias": f"xa-{n}@vc.example"} for n in range(250)]
        node.largest_page = 100

        registered = (await source.live()).registered
        assert registered is not None
        assert len(registered) == 250
