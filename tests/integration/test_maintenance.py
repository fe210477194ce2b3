"""Maintenance: its windows by the local clock, what it covers, and what is judged again because of it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from conftrack.maintenance import WrongMaintenance, check, spans, windows
from conftrack.model import Endpoint, OrgUnit
from conftrack.storage import inventory
from conftrack.storage import maintenance as stored
from conftrack.storage.database import Database
from conftrack.storage.maintenance import Maintenance, Planned, Scope
from conftrack.storage.store import Store
from tests.worlds import NOW, ZONE, at, leg, page, store_all

BERLIN = ZoneInfo("Europe/Berlin")
LONG_AGO, FOREVER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def plan(since: datetime, until: datetime, **said: Any) -> Planned:
    known: dict[str, Any] = {
        "scope": "endpoint",
        "of": "A",
        "expires_at": until,
        "author": "lan",
        "reason": "thay nguồn",
    }
    return Planned(**known | {"starts_at": since, "ends_at": until} | said)


def kept(planned: Planned, **said: Any) -> Maintenance:
    return Maintenance(**asdict(planned) | {"maintenance_id": 1} | said)


def local(day: date, hour: int, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(hour), zone).astimezone(UTC)


# -- when


@given(
    first=st.dates(date(2026, 1, 1), date(2026, 12, 31)),
    hours=st.tuples(st.integers(4, 22), st.integers(1, 30)),
    weeks=st.integers(1, 40),
    zone=st.sampled_from([ZONE, BERLIN]),
    looked=st.tuples(st.integers(-10, 300), st.integers(1, 60)),
)
def test_weekly_work_is_at_the_same_local_hours_every_week(
    first: date, hours: tuple[int, int], weeks: int, zone: ZoneInfo, looked: tuple[int, int]
) -> None:
    """Whatever daylight saving does between; of a period those windows that have a part in it, whole, and none after
    the expiry."""
    begins, length = hours
    ends = divmod(begins + length, 24)
    days = [first + timedelta(weeks=week) for week in range(weeks)]
    wanted = [(local(d, begins, zone), local(d + timedelta(days=ends[0]), ends[1], zone)) for d in days]
    repeats = f"FREQ=WEEKLY;BYDAY={WEEKDAYS[first.weekday()]}"
    planned = plan(*wanted[0], repeats=repeats, expires_at=wanted[-1][1])
    since, until = (local(first + timedelta(days=day), 12, zone) for day in (looked[0], sum(looked)))

    assert check(planned, zone) == repeats
    assert list(spans(planned, zone)) == wanted
    found = windows([kept(planned)], since, until, zone)
    assert [(w.since, w.until) for w in found] == [(a, b) for a, b in wanted if a < until and b > since]


@given(cancelled=st.integers(-100, 5000))
def test_what_is_cancelled_ends_then(cancelled: int) -> None:
    """A window that was over stays, an open one ends, later ones are none."""
    planned = plan(at(0), at(120), repeats="FREQ=DAILY", expires_at=at(3 * 1440))
    row = kept(planned, cancelled_at=at(cancelled))

    found = [(w.since, w.until) for w in windows([row], LONG_AGO, FOREVER, ZONE)]
    whole = [(at(day * 1440), at(day * 1440 + 120)) for day in range(3)]
    assert found == [(since, min(until, at(cancelled))) for since, until in whole if since < at(cancelled)]


def test_once_is_one_window() -> None:
    """Without a rule it does not come again, and the last window ends with the expiry."""
    planned = plan(at(0), at(120))
    assert list(spans(planned, ZONE)) == [(at(0), at(120))]
    daily = replace(planned, repeats="FREQ=DAILY", expires_at=at(1440 + 30))
    assert list(spans(daily, ZONE)) == [(at(0), at(120)), (at(1440), at(1440 + 30))]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"repeats": "every sunday"}, "is no rule of repetition"),
        ({"repeats": "FREQ=HOURLY"}, "DAILY, WEEKLY, MONTHLY or YEARLY"),
        ({"repeats": "FREQ=WEEKLY;UNTIL=20270101"}, "--until"),
        ({"repeats": "FREQ=DAILY;BYHOUR=3"}, "BYHOUR"),
        ({"repeats": "FREQ=WEEKLY;BYDAY=XX"}, "is no rule of repetition"),
        ({"repeats": "FREQ=WEEKLY;BYDAY=SU"}, "first is 2026-03-08"),
        ({"repeats": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "no day is ever"),
        ({"repeats": "FREQ=DAILY", "expires_at": FOREVER}, "more than 2,000 windows"),
        ({"ends_at": at(0)}, "--to must be after --from"),
        ({"expires_at": at(60)}, "--until must not be before"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(said: dict[str, Any], message: str) -> None:
    """With what is wrong with it, and how it is said; at worst in a moment."""
    planned = plan(at(0), at(120), **{"expires_at": at(100 * 1440)} | said)

    with pytest.raises(WrongMaintenance, match=message):
        check(planned, ZONE)


def test_a_rule_may_be_written_as_calendars_do() -> None:
    """In small letters, with its name before it."""
    planned = plan(at(0), at(120), repeats="rrule:freq=monthly;byday=1mo", expires_at=at(100 * 1440))

    assert check(planned, ZONE) == "FREQ=MONTHLY;BYDAY=1MO"


# -- what


@pytest.fixture
async def furnished(database: Database, store: Store) -> Database:
    """Three sites below one unit, a source "one" with two meetings, and an invitation to one to come."""
    units = [OrgUnit(code="T", name="Tỉnh"), OrgUnit(code="X", name="Xã", parent="T", level=1)]
    sites = [
        Endpoint(code="A", name="a", org="X", carrier="VNPT", area="Bắc"),
        Endpoint(code="B", name="b", org="X", carrier="Viettel", area="Bắc"),
        Endpoint(code="C", name="c", org="T", carrier="VNPT"),
        Endpoint(code="D", name="d"),
    ]
    await inventory.put(database.pool, units, sites)
    await store_all(store, [page(leg("1"), leg("2", 500, 560))])
    await database.pool.execute(
        "insert into conftrack.invitation (uid, room, starts_at, origin, known_at) "
        "values ('u', 'hall', $1, 'file', $1)",
        at(5000),
    )
    await database.pool.execute("delete from conftrack.dirty_incident")
    return database


async def marks(database: Database) -> set[str]:
    rows = await database.pool.fetch(
        "with taken as (delete from conftrack.dirty_incident returning *) "
        "select coalesce(m.started_at, i.starts_at) as at from taken t "
        "left join conftrack.meeting m on m.meeting_id = t.meeting_id "
        "left join conftrack.invitation i on i.invitation_id = t.invitation_id"
    )
    return {f"{(row['at'] - at(0)).total_seconds() / 60:.0f}" for row in rows}


@pytest.mark.parametrize(
    ("scope", "of", "codes"),
    [
        ("endpoint", "D", {"D"}),
        ("org", "X", {"A", "B"}),
        ("org", "T", {"A", "B", "C"}),
        ("carrier", "VNPT", {"A", "C"}),
        ("area", "Bắc", {"A", "B"}),
        ("source", "one", set()),
    ],
)
async def test_a_scope_is_the_endpoints_that_it_means(
    scope: Scope, of: str, codes: set[str], furnished: Database
) -> None:
    """By their numbers, a unit with all below it; what is of a source covers all on it, also who is in no inventory."""
    planned = plan(at(0), at(60), scope=scope, of=of)
    async with furnished.pool.acquire() as connection:
        assert of in await stored.names(connection, scope)
        number = await stored.add(connection, planned, [], NOW)
        (row,) = await stored.load(connection, at(0), at(1))
        ids = {r["code"]: r["endpoint_id"] for r in await connection.fetch("select * from conftrack.endpoint")}
        source = await connection.fetchval("select source_id from conftrack.source")

    assert row == kept(planned, maintenance_id=number, endpoints=row.endpoints, source_id=row.source_id)
    assert set(row.endpoints.values()) == codes
    assert all(ids[code] == endpoint_id for endpoint_id, code in row.endpoints.items())
    (window,) = windows([row], at(0), at(1), ZONE)
    covered = {code for code, i in ids.items() if window.covers(endpoint_id=i, source_id=source)}
    assert covered == (codes if scope != "source" else set(ids))
    assert window.covers(endpoint_id=None, source_id=source) is (scope == "source")


async def test_only_what_may_have_a_window_in_the_period_is_loaded(furnished: Database) -> None:
    """From the first start to the expiry, or until it was cancelled."""
    async with furnished.pool.acquire() as connection:
        number = await stored.add(connection, plan(at(0), at(60), expires_at=at(600)), [], NOW)
        assert number is not None

        async def found(since: float, until: float) -> bool:
            return bool(await stored.load(connection, at(since), at(until)))

        assert [await found(-9, 0), await found(-9, 1), await found(599, 700), await found(600, 700)] == [
            False, True, True, False,
        ]  # fmt: skip
        assert await stored.cancel(connection, number, [], "minh", at(100))
        assert [await found(99, 700), await found(100, 700)] == [True, False]


async def test_adding_and_cancelling_has_what_is_in_the_windows_judged_again_and_is_audited(
    furnished: Database,
) -> None:
    """Meetings and invitations that overlap a window, no others; a second cancelling is none."""
    async with furnished.pool.acquire() as connection:
        number = await stored.add(connection, plan(at(60), at(70)), [(at(60), at(70))], NOW)
        assert number is not None
        assert await marks(furnished) == set()  # it ended when the work began
        await stored.add(connection, plan(at(0), at(1)), [(at(59), at(70)), (at(5000), at(5060))], NOW)
        assert await marks(furnished) == {"0", "5000"}
        assert await stored.cancel(connection, number, [(at(510), at(520))], "minh", NOW)
        assert await marks(furnished) == {"500"}
        assert not await stored.cancel(connection, number, [(at(510), at(520))], "minh", NOW)
        assert not await stored.cancel(connection, 999, [], "minh", NOW)
        assert await stored.add(connection, plan(at(0), at(1), of="Z"), [], NOW) is None

    assert await marks(furnished) == set()
    rows = await furnished.pool.fetch("select actor, action, detail from conftrack.audit order by audit_id")
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("lan", "maintenance add"), ("lan", "maintenance add"), ("minh", "maintenance cancel"),
    ]  # fmt: skip
    assert json.loads(rows[0]["detail"])["reason"] == "thay nguồn"
