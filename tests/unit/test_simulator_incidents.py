"""The true incidents of a world against what was counted by hand: if these are wrong, every table made from them is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conftrack.simulator import VIETNAM, Away, Conference, Leg, Maintenance, Meeting, TrueIncident, World
from conftrack.simulator.plan import micros
from conftrack.simulator.province import phu_tho

# 09:00 in Viet Nam.
NINE = datetime(2026, 11, 10, 2, 0, tzinfo=UTC)
END = NINE + timedelta(days=1)
SITES = [site for site in phu_tho().endpoints if site.is_room]
A, B = SITES[0].code, SITES[1].code


def _at(seconds: float) -> int:
    return micros(NINE + timedelta(seconds=seconds))


def _up(site: str, joined: float, left: float, end_class: Any = "left", **more: Any) -> Leg:
    """A connection; times in seconds from nine o'clock."""
    fields: dict[str, Any] = {
        "id": f"{site}/{joined}", "call": f"{site}/{joined}", "identity": site.lower(), "shown": site, "name": site,
        "endpoint": site, "placed": _at(joined), "joined": _at(joined), "left": _at(left), "end_class": end_class,
        "reason": "",
    }  # fmt: skip
    return Leg(**fields | more)


def _vain(site: str, placed: float, left: float, end_class: Any = "no_answer", direction: str = "out") -> Leg:
    leg = _up(site, placed, left, end_class, direction=direction)
    leg.joined = None
    return leg


CHAIR = _up("", 0, 3600, "ended", endpoint=None, identity="chủ tọa", personal=True)


def _told(*legs: Leg, invited: tuple[str, ...] = (), works: tuple[Maintenance, ...] = ()) -> list[tuple[Any, ...]]:
    """Kind, endpoint, opening and closing in seconds from nine, and cause, of a meeting of an hour with a chair."""
    everybody = [CHAIR, *legs]
    meeting = Meeting(
        room="giao ban", heads=[], invited=invited, scheduled=(_at(0), _at(3600)), maintenance=works,
        conferences=[
            Conference(
                id="1", name="giao ban", legs=everybody, start=min(leg.placed for leg in everybody),
                end=max(leg.left for leg in everybody),
            )
        ],
    )  # fmt: skip
    return [_line(incident) for incident in World.staged([meeting], anchor=END).incidents(END)]


def _line(incident: TrueIncident) -> tuple[Any, ...]:
    of = incident.endpoint or incident.scope
    opened, closed = ((at - NINE).total_seconds() for at in (incident.opened_at, incident.closed_at))
    return incident.kind, of, opened, closed, incident.end_class


def test_a_drop_lasts_from_the_loss_to_the_return_or_the_end() -> None:
    """Nineteen seconds are forgiven, twenty-one are not; who never comes back is lost to the end of the meeting."""
    assert _told(_up(A, 0, 100, "dropped"), _up(A, 119, 3600)) == []
    assert _told(_up(A, 0, 100, "dropped"), _up(A, 121, 3600)) == [("dropped", A, 100, 121, "dropped")]
    assert _told(_up(A, 0, 100, "dropped")) == [("dropped", A, 100, 3600, "dropped")]


@pytest.mark.parametrize("end_class", ["left", "ended", "moved", "unknown"])
def test_who_leaves_is_told_to_leave_or_is_transferred_has_not_failed(end_class: str) -> None:
    """Only what was lost is an incident."""
    assert _told(_up(A, 0, 100, end_class)) == []


def test_a_second_device_that_stays_keeps_the_endpoint_in_the_meeting() -> None:
    """One leg is lost, the other goes on."""
    assert _told(_up(A, 0, 100, "dropped"), _up(A, 50, 3600)) == []


def test_a_chain_of_calls_is_one_failure_with_its_first_cause() -> None:
    """From the first one's end to the join; refusals and calls from outside do not count, but are no success either."""
    chain = [_vain(A, 10, 30), _vain(A, 40, 50, "busy"), _vain(A, 60, 80, "unreachable"), _up(A, 100, 3600)]
    assert _told(*chain) == [("connect_failed", A, 30, 100, "no_answer")]
    assert _told(_vain(A, 10, 30, "busy"), _vain(A, 40, 60, "declined")) == []
    assert _told(_vain(A, 10, 30, "auth", "in"), _vain(A, 40, 60, "no_answer", "in"), _up(A, 100, 3600)) == []


def test_calls_that_fetch_a_lost_site_back_are_part_of_its_loss() -> None:
    """One episode, not two."""
    legs = [_up(A, 0, 100, "dropped"), _vain(A, 130, 160), _up(A, 200, 3600)]
    assert _told(*legs) == [("dropped", A, 100, 200, "dropped")]


def test_an_invited_site_is_absent_from_five_minutes_after_the_start() -> None:
    """Until it joins or the meeting ends; who left before the start has not come, who leaves after it has."""
    assert _told(invited=(A,)) == [("absent", A, 300, 3600, None)]
    assert _told(_up(A, 299, 3600), invited=(A,)) == []
    assert _told(_up(A, 420, 3600), invited=(A,)) == [("absent", A, 300, 420, None)]
    assert _told(_up(A, -500, -100), invited=(A,)) == [("absent", A, 300, 3600, None)]
    assert _told(_up(A, 0, 60), invited=(A,)) == []


def test_the_third_reconnect_within_ten_minutes_is_flapping() -> None:
    """Until ten minutes pass without one; two are not enough, and neither are three in an hour."""
    quick = [_up(A, 100 * n, 100 * n + 90, "dropped") for n in range(4)]
    assert _told(*quick, _up(A, 400, 3600)) == [("flapping", A, 300, 1000, None)]
    assert _told(*quick[:2], _up(A, 200, 3600)) == []
    assert _told(*[_up(A, 1000 * n, 1000 * n + 990, "left") for n in range(3)], _up(A, 3000, 3600)) == []


def test_loss_of_five_percent_for_a_minute_is_an_incident_from_its_beginning() -> None:
    """Either way in or out; 59 seconds are none, nor is less than five percent."""
    bad = {"rx_loss": 20, "tx_loss": 500}
    assert _told(_up(A, 0, 3600, lossy=(_at(600), _at(660)), **bad)) == [("quality", A, 600, 660, None)]
    assert _told(_up(A, 0, 3600, lossy=(_at(600), _at(659)), **bad)) == []
    assert _told(_up(A, 0, 3600, lossy=(_at(600), _at(900)), rx_loss=499)) == []


def test_nothing_is_an_incident_while_somebody_works_at_it() -> None:
    """Of an endpoint or of all of its unit; what outlasts the work is one from then on."""
    org = SITES[0].org
    by_site = Maintenance(endpoint=A, start=_at(50), end=_at(300), author="tổ", reason="thay máy")
    by_unit = Maintenance(org=org, start=_at(50), end=_at(300), author="tổ", reason="thay máy")
    back, late = _up(A, 250, 3600), _up(A, 400, 3600)
    for work in (by_site, by_unit):
        assert _told(_up(A, 0, 100, "dropped"), back, works=(work,)) == []
        assert _told(_up(A, 0, 100, "dropped"), late, works=(work,)) == [("dropped", A, 300, 400, "dropped")]
    elsewhere = next(site.code for site in SITES if site.org != org)
    assert len(_told(_up(elsewhere, 0, 100, "dropped"), works=(by_unit,))) == 1


def test_five_sites_and_half_of_a_carrier_within_a_minute_are_an_outage() -> None:
    """From the first loss to the last return; four are none, nor are five of eleven, nor five spread over minutes."""
    orgs: dict[str, str] = {}
    for site in SITES:
        if site.carrier == "VNPT":
            orgs.setdefault(f"{site.area}", site.code)
    codes = list(orgs.values())[:11]
    assert len(codes) == 11, "eleven areas, so that only the carrier is common to them"

    def lost(count: int, every: float = 10) -> list[Leg]:
        gone = [_up(code, 0, 100 + every * n, "dropped") for n, code in enumerate(codes[:count])]
        return [*gone, *(_up(code, 500 + n, 3600) for n, code in enumerate(codes[:count]))]

    def outages(*legs: Leg) -> list[tuple[Any, ...]]:
        return [line for line in _told(*legs) if line[0] == "outage"]

    stay = [_up(code, 0, 3600) for code in codes]
    assert outages(*lost(5)) == [("outage", ("carrier", "VNPT"), 100, 504, None)]
    assert outages(*lost(5), *stay[5:10]) == [("outage", ("carrier", "VNPT"), 100, 504, None)]
    assert outages(*lost(5), *stay[5:]) == []
    assert outages(*lost(4)) == []
    assert outages(*lost(5, every=16)) == []


def test_a_person_with_a_browser_is_no_endpoint() -> None:
    """Who is at home and loses the network is not anybody's incident."""
    assert _told(_up("x", 0, 100, "dropped", endpoint=None, personal=True)) == []


def test_who_is_not_registered_is_missing_in_service_hours_unless_it_is_in_a_meeting() -> None:
    """Only for as long as the site is to be there; not for a minute, and not while work at it is planned."""
    by_hours = {site.service_hours: site.code for site in SITES}
    a, b, c, d = by_hours["07:00-17:30"], by_hours["00:00-24:00"], by_hours["07:00-21:30"], by_hours["07:00-17:00"]
    legs = [CHAIR, _up(b, 600, 1200)]
    work = Maintenance(endpoint=c, start=_at(0), end=_at(600), author="", reason="")
    meeting = Meeting(
        room="giao ban", heads=[], maintenance=(work,),
        conferences=[Conference(id="1", name="giao ban", legs=legs, start=_at(0), end=_at(3600))],
    )  # fmt: skip
    away = [
        Away(endpoint=a, start=_at(0), end=_at(24 * 3600)), Away(endpoint=b, start=_at(0), end=_at(3600)),
        Away(endpoint=c, start=_at(30), end=_at(660)), Away(endpoint=d, start=_at(0), end=_at(60)),
    ]  # fmt: skip
    found = World.staged([meeting], anchor=END, away=away).incidents(END)

    assert [_line(incident)[1:4] for incident in found if incident.kind == "unregistered"] == [
        (a, 0, 30600), (b, 0, 600), (b, 1200, 3600), (a, 79200, 86400),
    ]  # fmt: skip


def test_within_minutes_a_demo_has_something_of_everything() -> None:
    """From the anchor on: every kind that the live system can show, an outage of a carrier, planned work, transfers."""
    anchor = datetime(2026, 11, 16, 9, 0, tzinfo=VIETNAM)
    world = World(anchor=anchor)
    found = world.incidents(anchor + timedelta(hours=1), since=anchor)
    soon = [incident for incident in found if incident.opened_at < anchor + timedelta(minutes=10)]
    later = world.incidents(anchor + timedelta(hours=8), since=anchor + timedelta(hours=2))

    kinds = {"absent", "connect_failed", "dropped", "flapping", "outage", "quality", "unregistered"}
    assert {incident.kind for incident in soon} == {incident.kind for incident in later} == kinds
    assert any(incident.scope and incident.scope[0] == "carrier" for incident in soon)
    works = world.maintenance(anchor + timedelta(minutes=1))
    assert any(work.start > micros(anchor) for work in works)
    moved = [leg for meeting in world.meetings(anchor) for leg in meeting.legs() if leg.end_class == "moved"]
    assert any(leg.placed > micros(anchor) for leg in moved)
