"""What is kept of people: tiers, sensitive meetings, ageing, erasing; and that no figure changes by any of it."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from conftrack.config import PrivacyConfig
from conftrack.incidents.keeper import Incidents
from conftrack.inventory.headings import read_files
from conftrack.inventory.work import Work
from conftrack.model import Endpoint, Headcount, LegRecord, Origin, Rejected
from conftrack.privacy import Privacy
from conftrack.storage import headcounts, inventory, keeping
from conftrack.storage.database import Database
from conftrack.storage.headcounts import Sitting
from conftrack.storage.keeping import Hushed, Keeping
from conftrack.storage.store import Outcome, Store
from tests import views
from tests.worlds import NOW, ZONE, at, count, leg, meeting, page, small_world, store_all

KEEP = PrivacyConfig(names="keep")
DROP = PrivacyConfig(names="drop")
SECRET = PrivacyConfig(sensitive=("*tuyệt mật*", "phòng kín"))
AN = "nguyễn văn an"
SLOW = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def person(
    external_id: str = "p", name: str = AN, joined: float | None = 0, left: float | None = 60, **said: Any
) -> LegRecord:
    return leg(external_id, joined, left, identity=name, personal=True, **said)


async def text_of(database: Database) -> str:
    """Everything that is in the database, whatever table of whatever schema it is in, as text."""
    tables = await database.pool.fetch(
        "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
    )
    rows = [
        row["row"]
        for table in tables
        for row in await database.pool.fetch(f"select t::text as row from {table['name']} t")  # noqa: S608
    ]
    raw = await database.pool.fetch("select convert_from(raw, 'UTF8') as raw from conftrack.rejected")
    return "\n".join([*rows, *(row["raw"] for row in raw)])


async def figures(database: Database, source: str | None = None) -> dict[str, list[tuple[object, ...]]]:
    """Every figure, without what only tells who it was."""
    columns = {
        "usage_daily": "day, org, meetings, endpoints, endpoint_connections, legs, attendees, meeting_seconds, "
        "leg_seconds, peak_legs, failed_connections, incidents",
        "usage_monthly": "month, org, meetings, endpoints, endpoint_connections, legs, attendees, meeting_seconds, "
        "leg_seconds, peak_legs, failed_connections, incidents",
        "meetings": "external_id, started_at, ended_at, endpoint_count, leg_count, attendees, day",
        "endpoint_connections": "endpoint, joined_at, left_at, presence_seconds, legs, attended, attendees",
        "incidents": "kind, endpoint, opened_at, closed_at",
    }
    return {
        view: sorted(
            map(
                tuple,
                await database.pool.fetch(
                    f"select {said} from conftrack.{view} where $1::text is null or source = $1",  # noqa: S608
                    source,
                ),
            ),
            key=str,
        )
        for view, said in columns.items()
    }


async def names(database: Database) -> list[str]:
    return [row["name"] for row in await database.pool.fetch("select name from conftrack_names.people order by name")]


def without_distinct(held: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """Without how many there were of different ones over a day or month: nobody can tell any more."""
    return {
        view: [(*row[:3], *row[4:]) if view.startswith("usage") else row for row in rows] for view, rows in held.items()
    }


# -- tiers


def _told(drawn: tuple[int, str, int, int, str, str | None, Origin]) -> tuple[LegRecord, Origin]:
    number, name, joined, lasts, room, record, origin = drawn
    told = person(f"leg-{number}", name, joined, joined + lasts, room=room, meeting=record and f"{room}-{record}")
    return told, origin


LEGS = st.lists(
    st.tuples(
        st.integers(0, 9), st.sampled_from(["an", "bình", "chi"]), st.integers(0, 60), st.integers(0, 40),
        st.sampled_from(["hall", "night"]), st.sampled_from([None, "a", "b"]), st.sampled_from(list(Origin)),
    ).map(_told),
    min_size=1, max_size=12,
)  # fmt: skip


@SLOW
@given(legs=LEGS)
async def test_no_figure_depends_on_whether_names_are_kept(
    legs: list[tuple[LegRecord, Origin]], database: Database
) -> None:
    """Whatever was said in whatever order: "keep" is as "pseudonym", and "drop" as a system that shows no names."""
    await views.empty(database.pool)
    pages = [page(one, origin=origin, seen=120 + n) for n, (one, origin) in enumerate(legs)]
    nameless = [replace(one, legs=tuple(replace(said, identity=None) for said in one.legs)) for one in pages]
    await store_all(Store(database.pool, ZONE), pages, "pseudonym")
    await store_all(Store(database.pool, ZONE, KEEP), pages, "keep")
    await store_all(Store(database.pool, ZONE, DROP), pages, "drop")
    await store_all(Store(database.pool, ZONE), nameless, "nameless")

    assert await figures(database, "keep") == await figures(database, "pseudonym")
    assert await figures(database, "drop") == await figures(database, "nameless")


async def test_dropped_names_count_every_connection_as_a_person(database: Database) -> None:
    """Who comes back is another one, since nobody can tell; sites are as ever."""
    said = [
        person("a", left=10),
        person("b", joined=12),
        leg("c", left=10, identity="xa-1@vc"),
        leg("d", 12, identity="xa-1@vc"),
    ]
    await store_all(Store(database.pool, ZONE, DROP), [page(*said)])

    assert await database.pool.fetchval("select endpoint_count from conftrack.meetings") == 3
    assert "person:" not in await text_of(database)


async def test_a_dropped_name_is_not_even_in_what_was_not_understood(database: Database) -> None:
    """The record is counted and told, once, but its content is gone."""
    store = Store(database.pool, ZONE, DROP)
    bad = Rejected(raw=f'{{"display_name": "{AN}"}}'.encode(), error=f"not a name: {AN}", external_id="x")
    assert (await store_all(store, [page(bad)])).rejected == 1
    assert (await store_all(store, [page(bad)])).rejected == 0
    assert AN not in await text_of(database)


async def test_kept_names_are_apart_and_only_their_own_role_reads_them(database: Database) -> None:
    """The role of the dashboards cannot see them, and the role of the names sees nothing else."""
    await store_all(Store(database.pool, ZONE, KEEP), [page(person(), person("q", "bình", 5, 50))])
    assert await names(database) == ["bình", AN]
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local role conftrack_names_reader")
        rows = await connection.fetch(
            "select name, first_seen_at, last_seen_at from conftrack_names.people order by name"
        )
        assert [tuple(row) for row in rows] == [("bình", at(5), at(50)), (AN, at(0), at(60))]
    for role, asked in (
        ("conftrack_reader", "conftrack_names.people"), ("conftrack_reader", "conftrack_names.person"),
        ("conftrack_names_reader", "conftrack_names.person"), ("conftrack_names_reader", "conftrack.legs"),
    ):  # fmt: skip
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"set local role {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"select * from {asked}")  # noqa: S608


async def test_a_name_from_long_ago_is_not_taken_in(database: Database) -> None:
    """A year that is read afterwards leaves no names that would be gone by now."""
    store = Store(database.pool, ZONE, KEEP)
    source = await store.register("one", "test")
    await store.store(source, page(person()), now=at(60) + timedelta(days=91))
    assert await names(database) == []


async def test_another_tier_takes_kept_names_away_and_says_so(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """At the next start: a warning and a line of the audit with their number; figures stay."""
    await store_all(Store(database.pool, ZONE, KEEP), small_world())
    before = await figures(database)
    await Keeping(database.pool, ZONE, PrivacyConfig()).adopt(NOW)
    await Keeping(database.pool, ZONE, PrivacyConfig()).adopt(NOW)

    assert await names(database) == []
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "names = 'pseudonym': the names of 1 people that were kept are removed"
    ]
    rows = await database.pool.fetch("select action, detail::text from conftrack.audit")
    assert [tuple(row) for row in rows] == [("names removed", '{"names": 1}')]
    assert await figures(database) == before


async def test_the_vendors_words_lose_the_name(database: Database, store: Store) -> None:
    """However it is capitalised and spaced in the reason for an end; other words stay."""
    said = person(end_reason="Nguyễn  Văn AN was removed by the host")
    await store_all(store, [page(said), page(person("q", "an", end_reason="Host ended, an hour late: andante"))])
    assert (
        await database.pool.fetchval("select end_reason from conftrack.legs where external_id = 'p'")
        == "… was removed by the host"
    )
    assert (
        await database.pool.fetchval("select end_reason from conftrack.legs where external_id = 'q'")
        == "Host ended, … hour late: andante"
    )


# -- ageing


async def test_what_is_older_than_is_kept_goes_once_a_day_in_small_steps(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Names not seen for long, rejected records, audit, hours of polling; no facts, and it is told as counts."""
    monkeypatch.setattr(keeping, "BATCH", 2)
    caplog.set_level(logging.INFO)
    store = Store(database.pool, ZONE, KEEP)
    source = await store.register("one", "test")
    people = [person(f"p{n}", f"người {n}", n, n + 10) for n in range(5)]
    later = NOW + timedelta(days=60)
    bad = [Rejected(raw=f"{n}".encode(), error="?", external_id=f"bad-{n}") for n in range(3)]
    await store.store(source, page(*people, *bad), now=NOW)
    await store.record_poll(source, "history", Outcome(), now=NOW)
    await store.store(source, page(person("late", "người 0", 86_000, 86_010)), now=later)
    await store.refresh()
    before = await figures(database)
    ours = Keeping(database.pool, ZONE, replace(KEEP, keep_runs_for=timedelta(days=62)))

    assert await ours.tidy(at(60)) == {"names": 0, "rejected": 0, "audit": 0, "runs": 0, "readings": 0}
    assert await ours.tidy(at(90)) is None, "once a day"
    assert await ours.tidy(NOW + timedelta(days=95)) == {
        "names": 4,
        "rejected": 3,
        "audit": 0,
        "runs": 1,
        "readings": 0,
    }
    assert await names(database) == ["người 0"]
    assert await figures(database) == before
    assert caplog.messages == ["deleted what is older than is kept: 4 of names, 3 of rejected, 1 of runs"]
    assert await ours.tidy(NOW + timedelta(days=4000)) == {
        "names": 1,
        "rejected": 0,
        "audit": 1,
        "runs": 0,
        "readings": 0,
    }


async def test_two_services_tidy_once(database: Database) -> None:
    """Whoever is second on a day, or at the same time, leaves it."""
    ours = [Keeping(database.pool, ZONE, KEEP) for _ in range(4)]
    done = await asyncio.gather(*(one.tidy(NOW) for one in ours))
    assert sum(one is not None for one in done) == 1


# -- erasing


@pytest.fixture
async def erased(database: Database) -> Store:
    """A world in which An was, and has been erased from; the store has run all the time."""
    store = Store(database.pool, ZONE, KEEP)
    bad = Rejected(raw=f'{{"name": "Nguy\\u1ec5n V\\u0103n An", "x": "{AN}"}}'.encode(), error="?", external_id="bad")
    await store_all(store, [*small_world(), page(person("p1", left=10), person("p2", joined=20), bad)])
    before = await figures(database)
    ours = Keeping(database.pool, ZONE, KEEP)
    trace = await ours.trace(name=AN)
    assert trace is not None
    assert (trace.legs, trace.meetings, trace.named, len(trace.rejected)) == (2, 1, True, 1)
    await ours.erase(trace, by="lan@trung-tam", now=NOW)
    assert await figures(database) == before
    return store


async def test_who_was_erased_is_nowhere(erased: Store, database: Database) -> None:
    """Neither name nor pseudonym is anywhere, and the audit says what was done without either."""
    key = await database.pool.fetchval("select value from conftrack.setting where name = 'pseudonym_key'")
    everything = await text_of(database)
    assert AN not in everything
    assert "u1ec5n" not in everything
    assert Privacy(KEEP, bytes.fromhex(key)).pseudonym(AN) not in everything
    rows = await database.pool.fetch("select actor, action, detail::text from conftrack.audit")
    assert [tuple(row) for row in rows] == [
        ("lan@trung-tam", "person erased", '{"legs": 2, "name": true, "meetings": 1, "rejected": 1}')
    ]
    assert await Keeping(database.pool, ZONE, KEEP).trace(name=AN) is None


async def test_what_is_read_again_does_not_bring_back_who_was_erased(erased: Store, database: Database) -> None:
    """The overlap and a backfill tell the same legs again: they stay nobody's, and figures stay."""
    before = await figures(database)
    identities = await database.pool.fetch("select external_id, identity from conftrack.legs order by external_id")
    await store_all(erased, [page(person("p1", left=10), person("p2", joined=20, left=61))])

    assert await names(database) == ["lê văn tám"]
    assert (
        await database.pool.fetch("select external_id, identity from conftrack.legs order by external_id") == identities
    )
    assert (await figures(database))["usage_daily"] != before["usage_daily"], "p2 stayed a minute longer"
    assert AN not in await text_of(database)


async def test_who_comes_back_after_being_erased_is_somebody_else(erased: Store, database: Database) -> None:
    """A store that knew the person before does not take it for the one that was erased."""
    await store_all(erased, [page(person("p3", joined=30, left=40))])
    rows = await database.pool.fetch("select external_id, identity from conftrack.legs where external_id like 'p_'")
    identities = {row["external_id"]: row["identity"] for row in rows}
    assert identities["p1"] == identities["p2"] != identities["p3"]


async def test_a_pseudonym_is_enough_to_erase_and_an_endpoint_stays_matched(database: Database, store: Store) -> None:
    """A person who was made an endpoint's alias is that endpoint still, under a word that leads to nobody."""
    await store_all(store, [page(person())])
    identity = await database.pool.fetchval("select identity from conftrack.legs")
    await inventory.put(database.pool, (), [Endpoint(code="XA-1", name="Xã Một", aliases=(identity,))])
    await store.refresh()
    ours = Keeping(database.pool, ZONE, PrivacyConfig())
    trace = await ours.trace(identity=identity)
    assert trace is not None
    await ours.erase(trace, by="lan", now=NOW)

    assert identity not in await text_of(database)
    assert await database.pool.fetchval("select endpoint from conftrack.legs") == "XA-1"
    assert await ours.trace(identity=identity) is None


# -- sensitive meetings

TITLED = meeting("m", title="Họp TUYỆT  MẬT: quốc phòng")
GUESTS = (
    person("p", meeting="m"), leg("guest", identity="an.nv@so.example", meeting="m"),
    leg("site", identity="xa-1@vc.example", meeting="m"),
)  # fmt: skip
IN_ROOM = [replace(one, room="Phong KIN", external_id=f"Phong KIN/{one.external_id}", meeting=None) for one in GUESTS]
SITE = Endpoint(code="XA-1", name="Xã Một", aliases=("xa-1@vc.example",))
TOLD = ("quốc phòng", "TUYỆT", AN, "an.nv@so.example", "Phong KIN")


@pytest.mark.parametrize("origin", list(Origin))
@pytest.mark.parametrize("first", ["records", "legs", "together"])
async def test_of_a_sensitive_meeting_only_counts_and_sites_are_kept(
    origin: Origin, first: str, database: Database
) -> None:
    """Whichever is told first; diacritics and capitals do not matter, a sensitive room is a word without meaning."""
    await inventory.put(database.pool, (), [SITE])
    store = Store(database.pool, ZONE, replace(SECRET, names="keep"))
    pages = {
        "records": [page(TITLED, origin=origin, seen=61), page(*GUESTS, *IN_ROOM, origin=origin, seen=62)],
        "legs": [page(*GUESTS, *IN_ROOM, origin=origin, seen=61), page(TITLED, origin=origin, seen=62)],
        "together": [page(TITLED, *GUESTS, *IN_ROOM, origin=origin, seen=61)],
    }[first]
    await store_all(store, pages)
    await store_all(store, pages)

    everything = await text_of(database)
    assert [word for word in TOLD if word in everything and word not in ("an.nv@so.example", AN)] == []
    assert await names(database) == []
    rows = await database.pool.fetch(
        "select room, title, endpoint_count, attendees from conftrack.meetings order by room"
    )
    assert [tuple(row)[1:] for row in rows] == [(None, 3, 3), (None, 3, 3)]
    assert [row["room"][:10] for row in rows] == ["hall", "sensitive:"]
    legs = await database.pool.fetch("select endpoint, identity from conftrack.legs where identity is not null")
    assert [tuple(row) for row in legs] == [("XA-1", "xa-1@vc.example")] * 2


async def test_a_pattern_that_comes_later_cleans_what_is_there_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """At the next start: titles, rooms, people, notes and rejected records go; meetings stay what they were."""
    caplog.set_level(logging.INFO)
    await inventory.put(database.pool, (), [SITE])
    noted = Headcount(
        room="Phong KIN", at=at(5), endpoint="XA-1", people=9, provenance="reported", note="anh An ngồi bàn 1"
    )
    bad = Rejected(raw='{"name": "Họp tuyệt mật"}'.encode(), error="?", external_id="bad")
    other = page(
        meeting("open", 100, 160, title="Giao ban"), leg("o", 100, 160, identity="xa-1@vc.example", meeting="open"), bad
    )
    await store_all(Store(database.pool, ZONE, KEEP), [page(TITLED, *GUESTS, *IN_ROOM), page(noted), other])
    before = without_distinct(await figures(database))
    ours = Keeping(database.pool, ZONE, replace(SECRET, names="keep"))
    await ours.adopt(NOW)

    assert len([message for message in caplog.messages if message.startswith("cleaned of what is sensitive")]) == 1
    everything = await text_of(database)
    assert [
        word for word in (*TOLD, "bàn 1", "tuyệt") if word in everything and word not in ("an.nv@so.example", AN)
    ] == []
    assert await names(database) == []
    assert without_distinct(await figures(database)) == before
    titles = await database.pool.fetch("select title from conftrack.meetings where title is not null")
    assert [row["title"] for row in titles] == ["Giao ban"]
    assert await database.pool.fetchval("select count(*) from conftrack.legs where identity is not null") == 3

    stands = await text_of(database)
    await ours.adopt(NOW)
    assert await ours.apply(NOW, by="lan") == Hushed()
    again = await Store(database.pool, ZONE, SECRET).store(1, page(TITLED, *GUESTS, *IN_ROOM), now=NOW)
    assert (again.inserted, again.updated) == (0, 0), "what is read again is known"
    assert await text_of(database) == stands


async def test_what_was_sensitive_stays_so_without_the_pattern(database: Database) -> None:
    """A pattern that is taken back by mistake gives nothing away of what is read again."""
    await store_all(Store(database.pool, ZONE, SECRET), [page(TITLED, *GUESTS)])
    await store_all(
        Store(database.pool, ZONE), [page(TITLED, *GUESTS), page(TITLED, *GUESTS, origin=Origin.LIVE, seen=70)]
    )

    assert await database.pool.fetchval("select title from conftrack.meetings") is None
    assert await database.pool.fetchval("select count(*) from conftrack.legs where identity is not null") == 0


async def test_every_record_of_a_sensitive_meeting_is_sensitive(database: Database) -> None:
    """One node of a cluster tells the title, another one does not: they are one meeting."""
    other = meeting("n", title="Phòng họp số 1")
    await store_all(Store(database.pool, ZONE, SECRET), [page(other, person("q", meeting="n")), page(TITLED, *GUESTS)])

    assert "số 1" not in await text_of(database)
    assert await database.pool.fetchval("select count(*) from conftrack.legs where identity is not null") == 0


LIST = """meeting,room,title,start,end,endpoint
,Phong KIN,Họp,2026-03-02 08:00,2026-03-02 09:00,XA-1
CV-7,hall,Tuyệt mật: Quốc Phòng,2026-03-02 08:00,2026-03-02 09:00,XA-1
CV-8,foyer,Giao ban,2026-03-02 08:00,2026-03-02 09:00,XA-1
"""
CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//EN
BEGIN:VEVENT
UID:event-1
DTSTAMP:20260301T000000Z
DTSTART:20260302T010000Z
DTEND:20260302T020000Z
SUMMARY:Họp tuyệt mật QUỐC PHÒNG
LOCATION:hall
ATTENDEE:mailto:xa-1@vc.example
END:VEVENT
END:VCALENDAR
"""


async def take(database: Database, tmp_path: Path, privacy: PrivacyConfig, name: str, text: str) -> list[str]:
    """What the import of one file tells."""

    async def consent(_: str) -> bool:
        return True

    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    told: list[str] = []
    work = Work(
        database.pool, ZONE, clock=lambda: at(-600), actor="lan", say=told.append, consent=consent, privacy=privacy
    )
    await work.import_rows(read_files([path], ("invitations",)), replaces=False)
    return told


@pytest.mark.parametrize(("name", "text", "held"), [("l.csv", LIST, 2), ("c.ics", CALENDAR.replace("\n", "\r\n"), 1)])
async def test_invitations_to_sensitive_meetings_keep_neither_title_nor_people(
    name: str, text: str, held: int, database: Database, tmp_path: Path
) -> None:
    """Of lists and calendars, before and after the meeting came; the sites are still expected, and found. Read again,
    nothing changes; and the meeting is sensitive though its own title is not."""
    await inventory.put(database.pool, (), [SITE])
    store = Store(database.pool, ZONE, SECRET)
    legs = [replace(one, external_id=f"{room}/{one.external_id}", meeting=None, room=room)
            for room in ("hall", "Phong KIN") for one in GUESTS]  # fmt: skip
    early = page(meeting("m", title="Phòng họp số 1"), *legs[:2])
    await store_all(store, [early])
    await take(database, tmp_path, SECRET, name, text)
    assert await database.pool.fetchval("select title from conftrack.meetings where external_id = 'm'") is None
    await store_all(store, [early, page(*legs)])
    assert (await take(database, tmp_path, SECRET, name, text))[-1].startswith("Nothing to do")

    everything = (await text_of(database)).casefold()
    assert [word for word in ("quốc phòng", "phong kin", "số 1") if word in everything] == []
    await Incidents(database.pool, ZONE).refresh()
    rows = await database.pool.fetch(
        "select endpoint, meeting_id is not null as held, title from conftrack.expected_endpoints order by title"
    )
    sensitive = [row for row in rows if row["title"] is None]
    assert [tuple(row) for row in sensitive] == [("XA-1", True, None)] * held
    assert await database.pool.fetchval("select count(*) from conftrack.legs where identity is not null") == 2


async def test_invitations_are_cleaned_when_the_pattern_comes_later(database: Database, tmp_path: Path) -> None:
    """Titles, rooms, and the audit of their import; the list may be read again and is the same."""
    await inventory.put(database.pool, (), [SITE])
    await take(database, tmp_path, PrivacyConfig(), "l.csv", LIST)
    await Keeping(database.pool, ZONE, SECRET).adopt(NOW)

    everything = (await text_of(database)).casefold()
    assert [word for word in ("quốc phòng", "phong kin") if word in everything] == []
    assert "giao ban" in everything
    assert (await take(database, tmp_path, SECRET, "l.csv", LIST))[-1].startswith("Nothing to do")


async def test_notes_of_sites_on_sensitive_meetings_are_not_kept(database: Database, tmp_path: Path) -> None:
    """Typed over a link before anybody meets, or before the pattern came: the number stays, the note may hold names."""
    await inventory.put(database.pool, (), [SITE])
    await take(database, tmp_path, PrivacyConfig(), "l.csv", LIST)
    site = await database.pool.fetchval("select endpoint_id from conftrack.endpoint")

    async def type_notes(people: int) -> None:
        for number in await database.pool.fetch("select invitation_id from conftrack.invitation"):
            sitting = Sitting(invitation_id=number[0], endpoint_id=site)
            async with database.pool.acquire() as connection, connection.transaction():
                await headcounts.type_in(connection, sitting, people, AN, now=NOW, timezone=ZONE)

    async def notes() -> list[tuple[str | None, int, str | None]]:
        rows = await database.pool.fetch(
            "select title, people, note from conftrack.headcount join conftrack.invitation using (invitation_id)"
            " order by title, uid"
        )
        return [tuple(row) for row in rows]

    await type_notes(5)
    await Keeping(database.pool, ZONE, SECRET).adopt(NOW)
    assert await notes() == [("Giao ban", 5, AN), (None, 5, None), (None, 5, None)]
    await type_notes(6)
    assert await notes() == [("Giao ban", 6, AN), (None, 6, None), (None, 6, None)]
    assert "phong kin" not in (await text_of(database)).casefold(), "the log of what was typed tells of a room"


async def test_a_meeting_that_its_system_marks_is_sensitive(database: Database, store: Store) -> None:
    """Without any pattern, and for good: a later record that does not say so changes nothing."""
    marked = meeting("m", title="Họp quân sự", sensitive=True)
    await store_all(store, [page(marked, *GUESTS), page(replace(marked, sensitive=False), *GUESTS)])

    assert "quân sự" not in await text_of(database)
    assert await database.pool.fetchval("select count(*) from conftrack.legs where identity is not null") == 0


def test_what_went_through_the_gate_goes_through_it_again() -> None:
    """Admitted once or twice is the same, for every pattern, also one that takes everything."""
    for config in (SECRET, DROP, PrivacyConfig(sensitive=("*",), names="drop")):
        gate = Privacy(config, b"key")
        once = gate.admit(
            page(
                TITLED, *GUESTS, *IN_ROOM, count(3, room="phòng kín"), Rejected(raw=b"tuy\\u1ec7t m\\u1eadt", error="?")
            )
        )
        assert gate.admit(once) == once


@pytest.mark.parametrize(
    ("pattern", "text", "hit"),
    [
        ("*tuyệt mật*", "HOP TUYET MAT ve dat dai", True), ("*Tuyet Mat*", "họp tuyệt mật", True),
        ("*mật*", "Mặt trận Tổ quốc", True), ("mật*", "họp mật", False), ("[[]mật]*", "[MẬT] số 3", True),
        ("đảng ủy ?", "Dang uy 7", True), ("đảng ủy ?", "Đảng ủy 12", False),
    ],
)  # fmt: skip
def test_patterns_are_those_of_a_shell_without_diacritics(pattern: str, text: str, hit: bool) -> None:
    """The whole title or room must be as the pattern says."""
    assert Privacy(PrivacyConfig(sensitive=(pattern,)), b"key").sensitive(text) is hit
