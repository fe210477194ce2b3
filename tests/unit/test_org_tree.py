"""The organisation tree through time."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from conftrack.report.tree import OrgTree
from conftrack.storage.inventory import Inventory, Site, Unit

REFORM = date(2025, 7, 1)
START = date(2025, 6, 20)
DAYS = [START + timedelta(days=n) for n in range(12)]
_day = st.sampled_from(DAYS)


def unit(code: str, parent: str | None = None, since: date | None = None, until: date | None = None, *to: str) -> Unit:
    return Unit(code=code, name=code, parent=parent, valid_from=since, valid_to=until, successors=tuple(sorted(to)))


def tree(*units: Unit, **orgs: str | None) -> OrgTree:
    return OrgTree(Inventory.of(units, [Site(code=code, name=code, org=org) for code, org in orgs.items()]))


@st.composite
def inventories(draw: st.DrawFn, *, sound: bool) -> Inventory:
    """Units that are merged, split, moved, reshaped and gone, and endpoints that move between them. `sound`: the unit 0
    is there on all days, and all others are below it in the end; else anything goes."""
    count = draw(st.integers(2, 7))
    codes = [str(number) for number in range(count)]
    units = [] if not sound else [unit("0")]
    for number in range(1 if sound else 0, count):
        turns = sorted(draw(st.sets(st.sampled_from(DAYS[1:]), max_size=3)))
        bounds = [draw(st.sampled_from([None, DAYS[0]])), *turns, None]
        for since, until in pairwise(bounds):
            if until is None or draw(st.booleans()):
                parent = draw(st.sampled_from(codes[:number]) if sound else st.none() | st.sampled_from(codes))
                successors = draw(st.sets(st.sampled_from(codes), max_size=2)) if until is not None else ()
                units.append(unit(codes[number], parent, since, until, *successors))
    orgs = st.sampled_from(sorted({one.code for one in units})) if sound else st.none() | st.sampled_from([*codes, "?"])
    sites = [
        Site(
            code=f"S{number}", name="S", org=draw(orgs),
            former=tuple((until, draw(orgs)) for until in sorted(draw(st.sets(_day, max_size=2)))),
        )
        for number in range(draw(st.integers(0, 4)))
    ]  # fmt: skip
    return Inventory.of(units, sites) if units else Inventory.of([unit("0")], sites)


def member(site: Site, day: date) -> str | None:
    return next((org for until, org in site.former if day < until), site.org)


def form(held: Inventory, code: str, day: date) -> Unit | None:
    found = (u for u in held.units if u.code == code and (u.valid_from or date.min) <= day < (u.valid_to or date.max))
    return next(found, None)


@given(inventories(sound=False), st.randoms(use_true_random=False))
def test_a_path_is_a_chain_of_units_that_are_there(held: Inventory, turn: random.Random) -> None:
    """Whatever the inventory says: on each day every path leads up the one tree of that day, and asking in another
    order gives the same."""
    org_tree = OrgTree(held)
    asked = [(site, day) for site in held.endpoints for day in DAYS]
    paths = {(site.code, day): org_tree.path(site.code, day) for site, day in asked}
    for site, day in asked:
        path = paths[site.code, day]
        above = {one.code: one.parent for one in org_tree.units(day, day + timedelta(days=1))}

        assert len(set(path)) == len(path)
        assert all(form(held, code, day) for code in path)
        assert [above[code] for code in path] == [*path[1:], None][: len(path)]
        belongs = member(site, day)
        if belongs is not None and form(held, belongs, day):
            assert path[0] == belongs
    turn.shuffle(asked)
    another = OrgTree(held)
    assert all(another.path(site.code, day) == paths[site.code, day] for site, day in asked)


@given(inventories(sound=True))
def test_no_endpoint_is_lost_and_none_counts_twice(held: Inventory) -> None:
    """Where there is one unit at the top, every endpoint is in it on each day, and what the units directly below a unit
    have, with its own, is what it has."""
    org_tree = OrgTree(held)
    for day in DAYS:
        paths = [org_tree.path(site.code, day) for site in held.endpoints]
        whole = Counter(code for path in paths for code in path)
        own = Counter(path[0] for path in paths)
        units = org_tree.units(day, day + timedelta(days=1))

        assert [path[-1] for path in paths] == ["0"] * len(paths)
        for one in units:
            assert whole[one.code] == own[one.code] + sum(
                whole[below.code] for below in units if below.parent == one.code
            )


@given(inventories(sound=True))
def test_the_unit_above_is_the_one_that_it_has_that_day(held: Inventory) -> None:
    """A parent that is there on the day is above, whatever it was before."""
    org_tree = OrgTree(held)
    for day in DAYS:
        for one in org_tree.units(day, day + timedelta(days=1)):
            had = form(held, one.code, day)
            assert had is not None
            if had.parent is not None and form(held, had.parent, day):
                assert one.parent == had.parent


def heirs(held: Inventory, one: Unit, day: date) -> set[str]:
    """Where the ways from a unit that has ended lead by that day, step by step."""
    if one.valid_to is None or one.valid_to > day:
        return {one.code}
    nexts = [form(held, code, one.valid_to) for code in one.successors or (one.code,)]
    return {code for heir in nexts if heir is not None for code in heirs(held, heir, day)}


@given(inventories(sound=True))
def test_who_came_of_a_unit_stands_for_it_and_who_it_came_of(held: Inventory) -> None:
    """One heir or one origin has the endpoints of a unit that is not there; of several, the nearest unit above all."""
    sites = [Site(code=code, name=code, org=code) for code in held.periods()]
    org_tree = OrgTree(Inventory.of(held.units, sites))
    for code, periods in held.periods().items():
        for day in DAYS:
            if form(held, code, day):
                continue
            ended = [one for one in periods if (one.valid_to or date.max) <= day]
            to_come = [one for one in periods if (one.valid_from or date.min) > day]
            found = heirs(held, ended[-1], day) if ended else set()
            if not found and to_come:
                first = to_come[0]
                found = {
                    one.code
                    for one in held.units
                    if form(held, one.code, day) == one and one.valid_to is not None
                    and any(_leads(held, heir, first) for heir in _next(held, one))
                }  # fmt: skip
            ways = [org_tree.path(one, day) for one in sorted(found)]
            if ways:
                shared = [one for one in ways[0] if all(one in way for way in ways)]
                assert org_tree.path(code, day) == tuple(shared)


def _next(held: Inventory, one: Unit) -> list[Unit]:
    if one.valid_to is None:
        return []
    return [heir for code in one.successors or (one.code,) if (heir := form(held, code, one.valid_to)) is not None]


def _leads(held: Inventory, one: Unit, to: Unit) -> bool:
    """No way is in circles: each step is later."""
    return one == to or any(_leads(held, heir, to) for heir in _next(held, one))


@given(inventories(sound=False), _day, _day)
def test_the_units_of_a_month_are_those_of_its_days(held: Inventory, since: date, until: date) -> None:
    """Each once, below the unit that it was below last, and with the days on which it began or ended within."""
    units = OrgTree(held).units(since, until)
    days = [day for day in DAYS if since <= day < until]

    assert sorted(one.code for one in units) == sorted(
        code for code in held.periods() if any(form(held, code, day) for day in days)
    )
    place = {one.code: number for number, one in enumerate(units)}
    for one in units:
        there = [day for day in days if form(held, one.code, day)]
        last = form(held, one.code, there[-1])
        assert last is not None
        assert one.name == last.name
        assert one.valid_from == (there[0] if there[0] > since else None)
        assert one.valid_to == (there[-1] + timedelta(days=1) if there[-1] != days[-1] else None)
        assert one.parent is None or place[one.parent] < place[one.code]
        assert one.level == (0 if one.parent is None else units[place[one.parent]].level + 1)


# -- the reform of 1 July 2025 in Phú Thọ (resolutions 1282/NQ-UBTVQH15 and 1676/NQ-UBTVQH15 on its communes)

NEW_YEAR = date(2025, 1, 1)
JUNE, JULY = date(2025, 6, 30), REFORM


def reform() -> Inventory:
    """Some of it: districts gone, communes merged, twice within the year; a commune that stays; three provinces one."""
    units = [
        unit("PT", None, None, REFORM, "PT"), unit("VP", None, None, REFORM, "PT"), unit("PT", None, REFORM),
        unit("doan-hung", "PT", None, REFORM), unit("tan-son", "PT", None, REFORM),
        unit("viet-tri", "PT", None, REFORM), unit("tam-dao", "VP", None, REFORM),
        unit("minh-tien", "doan-hung", None, NEW_YEAR, "yen-kien"),
        unit("yen-kien", "doan-hung", None, REFORM, "chan-mong"),
        unit("hung-long", "doan-hung", None, REFORM, "chan-mong"),
        unit("chan-mong", "doan-hung", None, REFORM, "chan-mong"), unit("chan-mong", "PT", REFORM),
        unit("thu-cuc", "tan-son", None, REFORM), unit("thu-cuc", "PT", REFORM),
        unit("thanh-dinh", "viet-tri", None, REFORM, "hy-cuong-moi"),
        unit("chu-hoa", "viet-tri", None, REFORM, "hy-cuong-moi"),
        unit("hy-cuong-moi", "PT", REFORM),
    ]  # fmt: skip
    sites = [
        Site(code="moved", name="Hội trường xã Hùng Long", org="chan-mong", former=((REFORM, "hung-long"),)),
        Site(code="stayed", name="Hội trường xã Thu Cúc", org="thu-cuc"),
        Site(code="left", name="Nhà văn hóa xã Minh Tiến", org="minh-tien"),
        Site(code="late", name="Hội trường xã Hy Cương", org="hy-cuong-moi"),
        Site(code="district", name="Phòng họp huyện Tam Đảo", org="tam-dao"),
    ]
    return Inventory.of(units, sites)


def test_each_day_has_the_tree_of_that_day() -> None:
    """Three levels until June 2025, two from July."""
    org_tree = OrgTree(reform())

    assert org_tree.path("moved", JUNE) == ("hung-long", "doan-hung", "PT")
    assert org_tree.path("moved", JULY) == ("chan-mong", "PT")
    assert org_tree.path("stayed", JUNE) == ("thu-cuc", "tan-son", "PT")
    assert org_tree.path("stayed", JULY) == ("thu-cuc", "PT")


def test_an_endpoint_left_in_a_merged_unit_goes_with_it() -> None:
    """Minh Tiến was merged into Yên Kiện, and half a year later that into Chân Mộng; nobody changed the inventory."""
    org_tree = OrgTree(reform())

    assert org_tree.path("left", NEW_YEAR - timedelta(days=1)) == ("minh-tien", "doan-hung", "PT")
    assert org_tree.path("left", JUNE) == ("yen-kien", "doan-hung", "PT")
    assert org_tree.path("left", JULY) == ("chan-mong", "PT")


def test_a_unit_before_its_founding_is_where_it_came_from() -> None:
    """An endpoint that the inventory only knows in the new Hy Cương was in one of two wards: in their city, that is."""
    assert OrgTree(reform()).path("late", JUNE) == ("viet-tri", "PT")


def test_a_unit_gone_without_successor_counts_for_the_one_above() -> None:
    """Tam Đảo was a district of Vĩnh Phúc, which is Phú Thọ now."""
    org_tree = OrgTree(reform())

    assert org_tree.path("district", JUNE) == ("tam-dao", "VP")
    assert org_tree.path("district", JULY) == ("PT",)


def test_a_split_unit_counts_for_the_one_above_its_successors() -> None:
    """Nobody can say which of them the site would have been in."""
    units = [
        unit("P"), unit("A", "P"), unit("B", "P"), unit("x", "A", None, REFORM, "y", "z"),
        unit("y", "A", REFORM), unit("z", "A", REFORM), unit("w", "A", None, REFORM, "y", "v"), unit("v", "B", REFORM),
    ]  # fmt: skip

    org_tree = tree(*units, within="x", across="w")

    assert org_tree.path("within", JULY) == ("A", "P")
    assert org_tree.path("across", JULY) == ("P",)


def test_a_month_in_which_units_change_lists_both() -> None:
    """Those that went, with their last day, those that came, with their first; those reshaped once, without a gap."""
    held = Inventory.of(
        [
            Unit(code="PT", name="Tỉnh Phú Thọ"),
            Unit(code="H", name="Huyện Đoan Hùng", parent="PT", valid_to=REFORM),
            Unit(code="9", name="Xã 9", parent="H", valid_to=REFORM, successors=("10",)),
            Unit(code="d", name="Xã Đại An", parent="H", valid_to=REFORM),
            Unit(code="d", name="Xã Đại An", parent="PT", valid_from=REFORM),
            Unit(code="10", name="Xã 10", parent="PT", valid_from=REFORM),
            Unit(code="c", name="Xã Chí Đám", parent="PT"),
        ],
        [],
    )

    units = OrgTree(held).units(date(2025, 6, 15), date(2025, 7, 15))

    assert [(one.code, one.level, one.valid_from, one.valid_to) for one in units] == [
        ("PT", 0, None, None),
        ("H", 1, None, REFORM),
        ("9", 2, None, REFORM),
        ("10", 1, REFORM, None),
        ("c", 1, None, None),
        ("d", 1, None, None),
    ]
    assert OrgTree(held).units(REFORM, REFORM) == ()


def test_the_unit_of_a_day_is_the_one_left_last() -> None:
    """The first day in another unit is the day of the move; before the first known unit there was none."""
    held = Inventory.of(
        [unit("a"), unit("b"), unit("c")],
        [Site(code="s", name="s", org="c", former=((DAYS[1], None), (DAYS[3], "a"), (DAYS[5], "b")))],
    )

    assert [OrgTree(held).path("s", day) for day in DAYS[:6]] == [(), ("a",), ("a",), ("b",), ("b",), ("c",)]
    assert OrgTree(held).path("nobody", DAYS[0]) == ()


def test_circles_end() -> None:
    """A unit below itself is cut above the first of its circle; one whose unit above became it stands at the top."""
    ring = tree(unit("a", "c"), unit("b", "a"), unit("c", "b"), s="b")
    assert ring.path("s", JULY) == ("b", "a")
    assert [one.code for one in ring.units(JUNE, JULY)] == ["a", "b", "c"]

    own_heir = tree(unit("d", "top", None, REFORM, "x"), unit("x", "d"), unit("top"), s="x")
    assert own_heir.path("s", JULY) == ("x", "top")


def test_a_month_of_a_province_is_asked_in_a_moment() -> None:
    """Each further question costs a look-up: a month of 3,000 endpoints, four times over, far below a minute."""
    count = 3_000
    units = [unit("P"), *(unit(f"h{n}", "P", None, REFORM) for n in range(13))]
    for n in range(500):
        units += [unit(f"x{n}", f"h{n % 13}", None, REFORM, f"n{n // 3}")]
    units += [unit(f"n{n}", "P", REFORM) for n in range(167)]
    org_tree = tree(*units, **{f"s{n}": f"x{n % 500}" for n in range(count)})
    days = [date(2025, 6, 15) + timedelta(days=n) for n in range(31)]

    began = time.process_time()
    for _ in range(4):
        for day in days:
            for n in range(count):
                org_tree.path(f"s{n}", day)
    assert time.process_time() - began < 10
