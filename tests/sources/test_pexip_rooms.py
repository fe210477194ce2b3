"""The Pexip source: whom its rooms dial by themselves."""

from __future__ import annotations

import pytest

from conftrack.errors import SourceError
from conftrack.model import Invited
from conftrack.sources import kinds
from conftrack.sources.base import Inviting
from tests.pexip_node import Node, opened
from tests.sources.conformance import Handler, silence, status

DIALED, ROOMS = "configuration/automatic_participant", "configuration/conference"


def invited(room: str, *addresses: str) -> Invited:
    return Invited(room=room, addresses=frozenset(f"{address}@vc.tinh.example" for address in addresses))


async def test_rooms_tell_whom_they_dial() -> None:
    """By the name that their meetings have; without streaming services, and without those that no room dials."""
    async with opened() as (source, node):
        assert await source.invited() == (invited("giao-ban-tuan", "xa-a", "xa-b"), invited("hop-khan", "xa-a"))
        assert {method for method, _ in node.requests} == {"GET"}


def test_only_a_pexip_tells() -> None:
    """Other sources need not know of it."""
    assert [name for name, kind in kinds().items() if issubclass(kind, Inviting)] == ["pexip"]


async def test_one_room_may_come_without_a_list() -> None:
    """Some versions name the one room of a participant as a text."""
    async with opened() as (source, node):
        node.rows[DIALED] = [node.rows[DIALED][1] | {"conference": "/api/admin/configuration/v1/conference/3/"}]

        assert await source.invited() == (invited("hop-khan", "xa-b"),)


async def test_many_are_read_to_the_last_page() -> None:
    """Neither list ends with its first page."""
    async with opened() as (source, node):
        row, room = node.rows[DIALED][0], node.rows[ROOMS][0]
        address = "/api/admin/configuration/v1/conference/{}/"
        node.rows[ROOMS] = [room | {"id": n, "name": f"room-{n}"} for n in range(250)]
        node.rows[DIALED] = [
            row | {"id": n, "alias": f"xa-{n}@vc.tinh.example", "conference": [address.format(n)]} for n in range(250)
        ]
        node.largest_page = 100

        assert sorted(await source.invited(), key=str) == sorted(
            (invited(f"room-{n}", f"xa-{n}") for n in range(250)), key=str
        )
        assert len(node.asked("v1/automatic_participant")) == len(node.asked("v1/conference")) == 3


async def test_rooms_are_not_asked_for_where_they_dial_nobody() -> None:
    async with opened() as (source, node):
        node.rows[DIALED] = [row for row in node.rows[DIALED] if row["streaming"]]

        assert await source.invited() == ()
        assert node.asked("v1/conference") == []


async def _refused(node: Node, source: Inviting) -> str:
    with pytest.raises(SourceError) as refused:
        await source.invited()
    return str(refused.value).replace(node.url.removeprefix("http://"), "pexip")


async def test_nothing_is_told_where_a_row_cannot_be_read() -> None:
    """It may be of any site and of any room."""
    async with opened() as (source, node):
        del node.rows[DIALED][0]["alias"]
        assert await _refused(node, source) == (
            f"pexip: {DIALED} has a row that cannot be read: Object missing required field `alias`"
        )

    async with opened() as (source, node):
        node.rows[ROOMS][1]["name"] = 7
        assert await _refused(node, source) == f"pexip: {DIALED} 1 is of {ROOMS} 6, which cannot be read"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(403), "that the account may read the API"),
        (status(404), "pexip has no list of them"),
        (status(503), "answered /api/admin/configuration/v1/automatic_participant/ with HTTP 503"),
        (silence, "did not answer"),
    ],
)
async def test_a_node_that_does_not_tell_says_why_and_everything_else_is_read(fault: Handler, words: str) -> None:
    """To the operator by `conftrack doctor`, which finds the source itself well."""
    async with opened() as (source, node):
        node.configuration_fault = fault
        assert words in await _refused(node, source)
        assert "; 3 aliases are registered; whom its rooms dial is not known: " in await source.check()
        assert len((await source.live()).legs) == 5
