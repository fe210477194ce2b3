"""A simulated summer in which the province was reformed: two systems, the organisation before and after 1 July 2025,
and what became of every meeting, as the simulator planned it.

`summer` makes it. `Organisation` is the inventory as an office would write it, in files, and says for every endpoint
where it belonged, from how it was made up and not from those files. `part` asks the plan for any unit on either tree.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from random import Random
from zlib import crc32
from zoneinfo import ZoneInfo

from conftrack.model import EndClass
from conftrack.report.model import Tree
from conftrack.simulator import Heads, Leg, Meeting, Part, TrueIncident, World
from conftrack.simulator.convene import Invitation, Stage, convene, records
from conftrack.simulator.mishaps import Mishaps
from conftrack.simulator.plan import MINUTE, SECOND, micros, moment
from conftrack.simulator.province import Endpoint as Site
from conftrack.simulator.province import Unit

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
REFORM = date(2025, 7, 1)
ANCHOR = datetime(2025, 8, 5, 2, tzinfo=UTC)
FIRST = date(2025, 5, 25)
SOURCES = ("phu-tho", "hoa-binh")
#: What a history tells of without anybody watching; loss and registrations are seen live.
TOLD = ("absent", "connect_failed", "dropped", "flapping")
LARGEST = 80


def local(day: date, clock: str = "00:00") -> datetime:
    return datetime.combine(day, time.fromisoformat(clock), ZONE).astimezone(UTC)


# -- what happened


@dataclass
class Summer:
    """The worlds of both systems, and all of it together."""

    worlds: dict[str, World]

    @cached_property
    def meetings(self) -> dict[str | None, list[Meeting]]:
        """By system; None: of all."""
        found: dict[str | None, list[Meeting]] = {s: list(w.meetings(ANCHOR)) for s, w in self.worlds.items()}
        return found | {None: [meeting for of_one in found.values() for meeting in of_one]}

    @cached_property
    def incidents(self) -> dict[str | None, list[TrueIncident]]:
        """Work that is planned at an endpoint is so on both systems."""
        together = World.staged(self.meetings[None], anchor=ANCHOR)
        told = [one for one in together.incidents(ANCHOR) if one.kind in TOLD]
        rooms = {meeting.room: source for source in self.worlds for meeting in self.meetings[source]}
        return {None: told} | {s: [one for one in told if rooms[one.room] == s] for s in self.worlds}

    @cached_property
    def sites(self) -> dict[str, Site]:
        """The endpoints that have a part in it."""
        named = {code for m in self.meetings[None] for code in (*m.invited, *(leg.endpoint for leg in m.legs()))}
        province = next(iter(self.worlds.values())).province
        return {site.code: site for site in province.endpoints if site.code in named}


def summer(seed: int) -> Summer:
    """Meetings from the end of May to the beginning of August, those of a usual year and some more at midnights."""
    whole = World(seed, anchor=ANCHOR, scale=0.3)
    first = micros(local(FIRST))
    past = [
        meeting
        for meeting in whole.meetings(ANCHOR - timedelta(days=1))
        if meeting.start >= first and sum(1 for _ in meeting.legs()) <= LARGEST
    ]
    for meeting in past:  # a list that somebody typed later
        meeting.heads += _imported(Random(f"{seed} {meeting.conferences[0].id}"), meeting)
    at_midnights = _at_midnights(seed, whole)
    of: defaultdict[str, list[Meeting]] = defaultdict(list)
    for meeting in [*past, *at_midnights]:
        # A room and the one beside it are on one system.
        of[SOURCES[crc32(meeting.room.removesuffix(" - phòng nhóm").encode()) % 2]].append(meeting)
    return Summer({source: World.staged(of[source], anchor=ANCHOR) for source in SOURCES})


def _at_midnights(seed: int, whole: World) -> list[Meeting]:
    """Meetings that hang on a minute: before, across and after the midnights that end a month."""
    rooms = [site for site in whole.province.endpoints if site.kind in ("police", "clinic", "school")]
    found: list[Meeting] = []
    for day in (date(2025, 6, 1), REFORM, date(2025, 8, 1)):
        rng = Random(f"{seed} {day}")
        sites = rng.sample(rooms, 46)
        midnight = micros(local(day))

        def plan(name: str, start: float, minutes: float, sites: Sequence[Site], early: int = 5 * MINUTE) -> Invitation:
            at = midnight + int(start * MINUTE)  # noqa: B023
            return Invitation(
                room=f"{name} {day:%d-%m}", start=at, end=at + int(minutes * MINUTE), sites=sites,  # noqa: B023
                guests=("Lê Thị Hoa", "khách mời"), early=early, host_ends=day != REFORM,  # noqa: B023
            )  # fmt: skip

        # Everything that goes wrong, half of it before midnight.
        mishaps = Mishaps(Random(f"{seed} {day} mishaps"), soon=day == REFORM, outage=0)
        across = convene(rng, plan("Trực chỉ huy", -20, 45, sites[:24]), frozenset(), mishaps)
        # Called before midnight, there after it: its day is the new one, though its record begins on the old.
        called = convene(rng, plan("Giao ca", 0, 25, sites[24:32], early=1), frozenset())
        called.heads += _imported(rng, called)
        # Over before midnight.
        over = convene(rng, plan("Hội ý", -40, 25, sites[32:38]), frozenset())
        found += [across, *mishaps.side_rooms, called, over]
        found += [
            _in_vain(rng, plan("Đường dây nóng", -1 / 6, 30, sites[38:42]), invited=True),
            _in_vain(rng, plan("Kiểm tra đêm", -1 / 6, 30, sites[42:44]), invited=False),
        ]
    return found


def _in_vain(rng: Random, plan: Invitation, *, invited: bool) -> Meeting:
    """Calls to sites of which none ever comes, the first ten seconds before a midnight and over after it."""
    stage = Stage(rng, plan, frozenset())
    causes: tuple[EndClass, ...] = ("no_answer", "unreachable", "busy", "capacity")
    for number, site in enumerate(plan.sites):
        stage.leg(site, None, plan.start + (20 + number) * SECOND, causes[number], placed=plan.start, direction="out")
    return Meeting(
        room=plan.room, conferences=records(rng, plan.room, stage.legs), heads=[],
        invited=tuple(site.code for site in plan.sites) if invited else (),
        scheduled=(plan.start // MINUTE * MINUTE, plan.end // MINUTE * MINUTE) if invited else None,
    )  # fmt: skip


def _imported(rng: Random, meeting: Meeting) -> list[Heads]:
    """A number for some of the endpoints, whatever else is known of them."""
    legs: dict[str, Leg] = {}
    for leg in meeting.legs():
        if leg.counts and leg.endpoint is not None:
            legs.setdefault(leg.endpoint, leg)
    return [
        Heads(
            at=((leg.joined or 0) + leg.left) // 2 // SECOND * SECOND, identity=leg.identity, shown=leg.shown,
            people=rng.choice((0, 2, 9, 30)), provenance="imported",
        )
        for leg in legs.values()
        if rng.random() < 0.2 and leg.left - (leg.joined or 0) > MINUTE
    ]  # fmt: skip


# -- the organisation

Way = tuple[str, ...]
"""A unit and each above it."""

ROOT = "PT"
RESHAPED, ABOVE_IT = "PT-SNNMT", "PT-VPUB"
MIDDLE = date(2025, 6, 15)


@dataclass
class Organisation:
    """The province with its districts, as it was until the reform, and without, for some of its endpoints."""

    summer: Summer
    #: Rows of files, by the name of each.
    files: dict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    #: Where each endpoint belonged: in each of these until a day.
    ways: dict[str, list[tuple[date, Way]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        province = next(iter(self.summer.worlds.values())).province
        self._at: defaultdict[str, list[Site]] = defaultdict(list)
        for site in self.summer.sites.values():
            self._at[site.org].append(site)
        communes = [unit for unit in province.units if unit.kind in ("commune", "ward")]
        self._unit(ROOT, "Tỉnh Phú Thọ", None, date(1997, 1, 1))
        for unit in province.units:
            if unit.kind == "department":
                self._department(unit)
        for number in range(0, len(communes), 18):
            self._unit(f"H{number // 18}", f"Huyện {number // 18}", ROOT, None, until=REFORM)
        for number, unit in enumerate(communes):
            after = communes[(number + 1) % len(communes)]
            self._commune(number, unit, f"H{number // 18}", after)

    def way(self, code: str | None, day: date, tree: Tree) -> Way:
        """The unit of an endpoint on a day and all above it, on a tree."""
        ways = self.ways.get(code or "", [])
        return next((way for until, way in ways if tree == "then" and day < until), ways[-1][1] if ways else ())

    def part(self, unit: str | None, tree: Tree, *, alone: bool = False) -> Part:
        """What a unit counts with all below it, or alone; None: everything."""

        def counts(code: str | None, day: date) -> bool:
            way = self.way(code, day, tree)
            return unit is None or unit in (way[:1] if alone else way)

        return counts

    def only(self, site: str) -> Part:
        return lambda code, _: code == site

    def units(self) -> list[str]:
        return sorted({row["code"] for row in self.files["units"]})

    def write(self, folder: Path) -> list[Path]:
        """The files, to be imported."""
        paths = []
        for name, rows in self.files.items():
            paths.append(folder / f"{name}.csv")
            with paths[-1].open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        return paths

    # -- how it is made up

    def _unit(
        self, code: str, name: str, parent: str | None, since: date | None, until: date | None = None,
        successors: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self.files["units"].append(
            {
                "code": code, "name": name, "parent": parent or "", "valid_from": str(since or ""),
                "valid_to": str(until or ""), "successors": ", ".join(successors),
            }
        )  # fmt: skip

    def _site(self, site: Site, org: str, ways: list[tuple[date, Way]]) -> None:
        self.ways[site.code] = ways
        self.files["endpoints"].append(
            {"code": site.code, "name": site.name, "org": org, "seats": str(site.seats), "carrier": site.carrier,
             "area": site.area, "service_hours": site.service_hours}
        )  # fmt: skip
        self.files["aliases"] += [{"alias": alias, "endpoint": site.code} for alias in site.aliases]

    def _move(self, site: Site, former: str, day: date) -> None:
        self.files["moves"].append({"endpoint": site.code, "former_unit": former, "moved_on": str(day)})

    def _department(self, unit: Unit) -> None:
        since = date.fromisoformat(unit.valid_from)
        if unit.code == RESHAPED:  # it stood below an office until the reform, under the same code
            self._unit(unit.code, unit.name, ABOVE_IT, since, until=REFORM)
            since, ways = REFORM, [(REFORM, (RESHAPED, ABOVE_IT, ROOT)), (date.max, (RESHAPED, ROOT))]
        else:
            ways = [(date.max, (unit.code, ROOT))]
        self._unit(unit.code, unit.name, ROOT, since)
        for site in self._at[unit.code]:
            self._site(site, unit.code, ways)

    def _commune(self, number: int, unit: Unit, district: str, neighbour: Unit) -> None:
        """Each of today's communes came about in one of five ways."""
        self._unit(unit.code, unit.name, ROOT, REFORM)
        old = [f"{district}-X{number}{letter}" for letter in "AB"]
        now = (date.max, (unit.code, ROOT))
        if number % 5 == 0:  # a part of it went to its neighbour: whose the sites are that nobody moved, none can say
            self._unit(old[0], f"Xã cũ {number}", district, None, until=REFORM, successors=(unit.code, neighbour.code))
            for site in self._at[unit.code]:
                self._site(site, old[0], [(REFORM, (old[0], district, ROOT)), (date.max, (ROOT,))])
            return
        for letter, code in zip("AB", old, strict=True):
            self._unit(code, f"Xã cũ {number} {letter}", district, None, until=REFORM, successors=(unit.code,))
        for place, site in enumerate(self._at[unit.code]):
            was = old[place % 2]
            then = (REFORM, (was, district, ROOT))
            if number % 5 == 1:  # left in what is no more
                self._site(site, was, [then, now])
            elif number % 5 == 2:  # nobody says in which of the two it was
                self._site(site, unit.code, [(REFORM, (district, ROOT)), now])
            elif number % 5 == 3:  # moved as the commune began
                self._site(site, unit.code, [then, now])
                self._move(site, was, REFORM)
            else:  # and once before, in the middle of a month
                self._site(site, unit.code, [(MIDDLE, (old[1 - place % 2], district, ROOT)), then, now])
                self._move(site, old[1 - place % 2], MIDDLE)
                self._move(site, was, REFORM)


def invitations(summer: Summer) -> list[dict[str, str]]:
    """Who was invited, as a list to import."""
    return [
        {
            "meeting": meeting.conferences[0].id, "room": meeting.room, "source": source,
            "start": moment(meeting.scheduled[0]).astimezone(ZONE).strftime("%Y-%m-%d %H:%M"),
            "end": moment(meeting.scheduled[1]).astimezone(ZONE).strftime("%Y-%m-%d %H:%M"), "endpoint": code,
        }
        for source in summer.worlds
        for meeting in summer.meetings[source]
        if meeting.scheduled
        for code in meeting.invited
    ]  # fmt: skip
