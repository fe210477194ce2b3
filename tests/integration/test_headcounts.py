"""Head counts that sites type: they count in the meeting of their invitation, whatever comes first, and end in time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import count as numbers
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftrack.headcounts.counting import LASTS, Counting, LinkRefused
from conftrack.incidents.keeper import Incidents
from conftrack.model import Endpoint, Origin, Page
from conftrack.storage import headcounts, inventory, invitations
from conftrack.storage.database import Database
from conftrack.storage.headcounts import Sitting
from conftrack.storage.inventory import Entry
from conftrack.storage.invitations import Invitation
from conftrack.storage.store import Store
from tests.worlds import NOW, ZONE, at, count, leg, meeting, page

SITES = [Endpoint(code=f"X{n}", name=f"Xã {n}", seats=40, aliases=(f"xa-{n}@vc.example",)) for n in range(1, 5)]
DAY = at(0).astimezone(ZONE).date()
EVER = datetime(1970, 1, 1, tzinfo=UTC)
Came: TypeAlias = dict[tuple[datetime, str], tuple[int, str]]

DATED = Invitation(
    uid="GM-1", room="hall", title="Giao ban", starts_at=at(0), ends_at=at(60), expected={s.code: None for s in SITES}
)
STANDING = Invitation(uid="hall@always", room="hall", expected={s.code: None for s in SITES})


class Town:
    """A database with a few sites, and what happens in it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = Store(database.pool, ZONE)
        self.incidents = Incidents(database.pool, ZONE)
        self.counting = Counting(database.pool, ZONE, "https://hop.example")
        self.clock = numbers()

    async def empty(self) -> None:
        await self.database.pool.execute(
            "truncate conftrack.invitation, conftrack.meeting, conftrack.conference, conftrack.leg, "
            "conftrack.headcount, conftrack.headcount_change, conftrack.dirty_conference, conftrack.dirty_incident, "
            "conftrack.dirty_day, conftrack.usage_day, conftrack.usage_month, conftrack.incident, conftrack.caller, "
            "conftrack.source "
            "restart identity cascade"
        )
        await inventory.put(self.database.pool, [], SITES)
        self.store = Store(self.database.pool, ZONE)

    async def tell(self, *pages: Page, source: str = "one") -> None:
        source_id = await self.store.register(source, "test")
        for one in pages:
            await self.store.store(source_id, one, now=NOW)

    async def invite(self, *changed: Invitation, without: tuple[str, ...] = (), now: datetime = EVER) -> None:
        """Adds or changes invitations, and withdraws those `without`."""
        before = (
            await invitations.load(self.database.pool, [i.uid for i in changed] + list(without), EVER)
        ).invitations
        after = {uid: one for uid, one in before.items() if uid not in without} | {i.uid: i for i in changed}
        entry = Entry(at=now, actor="lan", action="put", detail={})
        async with self.database.pool.acquire() as connection, connection.transaction():
            await invitations.change(connection, before, after, entry)

    async def sitting(self, code: str, uid: str = "GM-1", day: date | None = None) -> Sitting:
        """What the link is for that is printed for an endpoint."""
        [of] = await self.counting.called(name=uid, day=None, now=NOW)
        cards = await self.counting.cards(of, day or DAY)
        [link] = [card.link for card in cards.cards if card.guest.code == code]
        found = await self.counting.read(link.removeprefix("https://hop.example/c/"))
        assert found is not None
        return found

    async def types(
        self, code: str, people: int, uid: str = "GM-1", day: date | None = None, note: str | None = None,
        now: datetime | None = None,
    ) -> None:  # fmt: skip
        moment = now or at(30) + timedelta(seconds=next(self.clock))
        await self.counting.put(await self.sitting(code, uid, day), people, note, moment)

    async def derive(self) -> None:
        await self.store.refresh()
        await self.incidents.refresh()

    async def settled(self) -> Came:
        """Once nothing is left to derive: people and provenance by the start of a meeting and endpoint."""
        for _ in range(5):
            await self.derive()
        dirty = await self.database.pool.fetchval("select count(*) from conftrack.dirty_conference")
        assert dirty == 0
        rows = await self.database.pool.fetch(
            "select m.started_at, c.endpoint, c.attendees, c.provenance from conftrack.endpoint_connections c "
            "join conftrack.meetings m using (meeting_id)"
        )
        sums = await self.database.pool.fetchval("select sum(attendees) from conftrack.meetings")
        of_days = await self.database.pool.fetchval(
            "select sum(attendees) from conftrack.usage_daily where source is null and org is null"
        )
        assert sum(row["attendees"] for row in rows) == (sums or 0) == (of_days or 0)
        return {(row["started_at"], row["endpoint"]): (row["attendees"], row["provenance"]) for row in rows}


@pytest.fixture
async def town(database: Database) -> Town:
    made = Town(database)
    await made.store.adopt_timezone()
    await inventory.put(database.pool, [], SITES)
    return made


def site(number: int, name: str, since: float, until: float | None, conference: str) -> Page:
    return page(leg(name, since, until, identity=f"xa-{number}@vc.example", meeting=conference))


# -- whatever comes first

#: A rehearsal, and a meeting that broke in two: sites 1 and 3 are longer in its second part, 2 only in the first.
FACTS = [
    page(leg("f1", -2, None, identity="xa-1@vc.example", meeting="first"), origin=Origin.LIVE),
    page(meeting("test", -60, -5)), site(1, "t1", -60, -5, "test"),
    page(meeting("first", -2, 25)), site(1, "f1", -2, 25, "first"), site(2, "f2", 3, 25, "first"),
    page(meeting("second", 35, 75)), site(1, "s1", 36, 75, "second"), site(3, "s3", 35, 75, "second"),
    site(4, "s4", 35, 40, "second"),
    page(count(25, 50, endpoint="xa-1@vc.example", provenance="people_count"), origin=Origin.PUSH),
    page(count(6, 50, endpoint="xa-4@vc.example", provenance="people_count"), origin=Origin.PUSH),
]  # fmt: skip
TYPED = {"X1": 30, "X2": 12, "X3": 0}
STEPS: list[Page | str] = [*FACTS, *TYPED]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(order=st.permutations(range(len(STEPS))), derived=st.sets(st.integers(0, len(STEPS)), max_size=5))
@example(order=[*range(len(FACTS), len(STEPS)), *range(len(FACTS))], derived=set(range(len(STEPS))))
@example(order=list(range(len(STEPS))), derived=set(range(len(STEPS))))
async def test_numbers_and_facts_give_the_same_in_any_order(town: Town, order: list[int], derived: set[int]) -> None:
    """Typed before a meeting is known, while sites join, or after: once, in the part where the site was longest."""
    await town.empty()
    await town.invite(DATED)
    for place, number in enumerate(order):
        step = STEPS[number]
        if isinstance(step, str):
            await town.types(step, TYPED[step])
        else:
            await town.tell(step)
        if place in derived:
            await town.derive()

    assert await town.settled() == {
        (at(-60), "X1"): (1, "connections"),
        (at(-2), "X1"): (1, "connections"),
        (at(-2), "X2"): (12, "reported"),
        (at(35), "X1"): (30, "reported"),
        (at(35), "X3"): (0, "reported"),
        (at(35), "X4"): (6, "people_count"),
    }


async def test_a_number_moves_to_the_part_of_a_meeting_in_which_the_site_stays(town: Town) -> None:
    """When it turns out that it has left the first part, the other, of which nothing new is told, is summed again."""
    await town.invite(DATED)
    await town.tell(
        page(leg("f1", -2, None, identity="xa-1@vc.example", meeting="first"), origin=Origin.LIVE),
        page(meeting("first", -2, 25), meeting("second", 35, 75)), site(1, "s1", 36, 75, "second"),
    )  # fmt: skip
    await town.types("X1", 30)
    for _ in range(2):
        await town.derive()
    assert await town.database.pool.fetchval("select attendees from conftrack.meetings where ended_at is null") == 30
    await town.tell(site(1, "f1", -2, 25, "first"))

    assert await town.settled() == {(at(-2), "X1"): (1, "connections"), (at(36), "X1"): (30, "reported")}


@pytest.mark.parametrize("late", [-50, -5, 0, 30, 59])
async def test_a_meeting_may_begin_early_or_late(town: Town, late: float) -> None:
    """Whenever it is held on the invitation, the number typed for it counts, though it was typed after its end."""
    await town.invite(DATED)
    await town.types("X1", 17, now=at(300))
    await town.tell(page(meeting("m", late, late + 70)), site(1, "l", late, late + 70, "m"))

    assert await town.settled() == {(at(late), "X1"): (17, "reported")}


async def test_the_last_number_stands_and_each_is_in_the_log(town: Town) -> None:
    """With the one before it and when, and not with the note; to save the same again is no change."""
    await town.invite(DATED)
    await town.tell(page(meeting("m", 0, 60)), site(1, "l", 0, 60, "m"))
    for people, note in ((10, None), (10, "chị Lan báo"), (10, "chị Lan báo"), (0, None), (12, None)):
        await town.types("X1", people, note=note)
        await town.derive()
    rows = await town.database.pool.fetch("select * from conftrack.headcount_change order by change_id")

    assert await town.settled() == {(at(0), "X1"): (12, "reported")}
    assert [(row["before"], row["after"], row["uid"]) for row in rows] == [
        (None, 10, "GM-1"), (10, 0, "GM-1"), (0, 12, "GM-1"),
    ]  # fmt: skip
    assert "Lan" not in str([dict(row) for row in rows])
    assert "Lan" not in str(await town.database.pool.fetch("select detail from conftrack.audit"))


# -- standing invitations


async def test_a_standing_invitation_has_a_link_a_day(town: Town) -> None:
    """The number of one day's link counts on that day, by when its meeting began, and on no other."""
    await town.invite(STANDING)
    day = timedelta(days=1)
    await town.types("X1", 10, "hall@always", DAY)
    await town.types("X1", 20, "hall@always", DAY + day)
    await town.tell(
        page(meeting("a", 0, 60)), site(1, "a1", 0, 60, "a"),
        page(meeting("b", 15 * 60, 17 * 60)), site(1, "b1", 15 * 60 + 30, 17 * 60, "b"),  # 23:00 - 01:00 local
        page(meeting("c", 40 * 60, 41 * 60)), site(1, "c1", 40 * 60, 41 * 60, "c"),
    )  # fmt: skip

    # Of the two of the first day it is the one that the site was in longer.
    assert await town.settled() == {
        (at(0), "X1"): (1, "connections"),
        (at(15 * 60 + 30), "X1"): (10, "reported"),
        (at(40 * 60), "X1"): (1, "connections"),
    }
    await town.tell(page(meeting("d", 30 * 60, 31 * 60)), site(1, "d1", 30 * 60, 31 * 60, "d"))
    assert (await town.settled())[at(30 * 60), "X1"] == (20, "reported")


async def test_a_withdrawn_invitation_leaves_its_numbers_with_their_meetings(town: Town) -> None:
    """What was reported and counted stays so, whatever else is derived again."""
    await town.invite(STANDING)
    await town.tell(page(meeting("a", 0, 60)), site(1, "a1", 0, 60, "a"))
    await town.types("X1", 10, "hall@always", DAY)
    await town.types("X1", 11, "hall@always", DAY + timedelta(days=3))
    stands = {(at(0), "X1"): (10, "reported")}
    assert await town.settled() == stands
    await town.invite(without=("hall@always",))
    assert await town.settled() == stands
    async with town.database.pool.acquire() as connection:
        await connection.execute(
            "insert into conftrack.dirty_conference select conference_id from conftrack.conference"
        )
    assert await town.settled() == stands
    assert await town.database.pool.fetchval("select count(*) from conftrack.headcount") == 1


async def test_a_number_follows_a_meeting_that_is_put_off(town: Town) -> None:
    """The printed sheet of the first date stays good, and what was typed counts where the meeting was held."""
    await town.invite(DATED)
    link = await town.sitting("X1")
    await town.types("X1", 9, now=at(-100))
    await town.tell(page(meeting("other", 0, 60)), site(1, "o", 0, 60, "other"))
    assert await town.settled() == {(at(0), "X1"): (9, "reported")}

    later = timedelta(days=40)
    moved = Invitation(uid="GM-1", room="hall", title="Giao ban", starts_at=at(0) + later, expected=DATED.expected)
    await town.invite(moved)
    await town.tell(
        page(meeting("m", started=None, ended=None).__class__(
            external_id="m", room="hall", started_at=at(5) + later, ended_at=at(65) + later)),
        page(leg("l", identity="xa-1@vc.example", meeting="m", joined_at=at(5) + later, left_at=at(65) + later)),
    )  # fmt: skip

    assert await town.settled() == {(at(0), "X1"): (1, "connections"), (at(5) + later, "X1"): (9, "reported")}
    assert (await town.counting.look(link, at(60) + later)).people == 9


async def test_another_invitation_takes_the_meeting_and_not_the_number(town: Town) -> None:
    """A meeting is held on one invitation; the number typed for another waits for a meeting of its own."""
    await town.invite(DATED)
    await town.types("X1", 9)
    await town.tell(page(meeting("m", 0, 60)), site(1, "l", 0, 60, "m"))
    assert (await town.settled())[at(0), "X1"] == (9, "reported")
    nearer = Invitation(uid="GM-0", room="hall", source="one", starts_at=at(0), expected={"X1": None})
    await town.invite(nearer)

    assert (await town.settled())[at(0), "X1"] == (1, "connections")
    await town.invite(without=("GM-0",))
    assert (await town.settled())[at(0), "X1"] == (9, "reported")


# -- when it is over


async def close(town: Town, since: date, until: date) -> None:
    await town.database.pool.execute(
        "insert into conftrack.report (month, since, until, closed_at, closed_by, figures) "
        "values ($1, $2, $3, $4, 'lan', '')",
        since.replace(day=1), since, until, NOW,
    )  # fmt: skip


async def test_nothing_is_typed_into_a_closed_month(town: Town) -> None:
    """Refused, with what stands, and nothing is stored or logged; facts of it may still come in."""
    await town.invite(DATED)
    await town.types("X1", 10)
    await town.tell(page(meeting("m", 0, 60)), site(1, "l", 0, 60, "m"))
    await town.settled()
    await close(town, date(2026, 3, 1), date(2026, 4, 1))
    with pytest.raises(LinkRefused) as refused:
        await town.types("X1", 99)
    with pytest.raises(LinkRefused):
        await town.types("X2", 5)
    await town.tell(site(2, "late", 0, 60, "m"))

    assert (refused.value.why, refused.value.seat and refused.value.seat.people) == ("closed", 10)
    assert await town.settled() == {(at(0), "X1"): (10, "reported"), (at(0), "X2"): (1, "connections")}
    assert await town.database.pool.fetchval("select count(*) from conftrack.headcount_change") == 1


async def test_the_month_is_that_of_the_day_on_which_the_meeting_was_held(town: Town) -> None:
    """Of a meeting that began on the evening before the first: the closed month is the one before."""
    starts = datetime(2026, 3, 31, 17, 10, tzinfo=UTC)  # ten past midnight, on 1 April
    early = starts - timedelta(minutes=30)
    await town.invite(Invitation(uid="GM-1", room="hall", starts_at=starts, expected={"X1": None}))
    await close(town, date(2026, 3, 1), date(2026, 4, 1))
    await town.types("X1", 10, now=starts)
    await town.tell(
        page(leg("l", identity="xa-1@vc.example", joined_at=early, left_at=starts + timedelta(hours=1))),
    )
    await town.settled()

    with pytest.raises(LinkRefused, match="closed"):
        await town.types("X1", 11, now=starts)


async def test_a_link_ends_and_one_of_nobody_expected_is_unknown(town: Town) -> None:
    """To the second; who was taken off the list before typing has no link any more, who has typed keeps it."""
    await town.invite(DATED)
    first, second = await town.sitting("X1"), await town.sitting("X2")
    end = at(60) + LASTS
    await town.counting.put(first, 4, None, end - timedelta(seconds=1))
    with pytest.raises(LinkRefused, match="ended"):
        await town.counting.put(first, 5, None, end)
    await town.invite(Invitation(uid="GM-1", room="hall", starts_at=at(0), ends_at=at(60), expected={"X3": None}))

    assert (await town.counting.look(first, NOW)).people == 4
    with pytest.raises(LinkRefused, match="unknown"):
        await town.counting.look(second, NOW)


async def test_a_link_of_one_kind_of_invitation_is_not_good_for_the_other(town: Town) -> None:
    """A standing invitation that became one to a single meeting: the old links of days are unknown."""
    await town.invite(STANDING)
    link = await town.sitting("X1", "hall@always")
    assert link.day == DAY
    await town.invite(Invitation(uid="hall@always", room="hall", starts_at=at(0), expected={"X1": None}))
    with pytest.raises(LinkRefused, match="unknown"):
        await town.counting.look(link, NOW)


async def test_the_key_is_made_once_for_all_who_work_on_a_database(town: Town) -> None:
    """Two services, and one started anew, take each other's links; the key is not among what readers see."""
    keys = {await headcounts.signing_key(town.database.pool) for _ in range(3)}
    assert len(keys) == 1
    assert len(keys.pop()) == 32
