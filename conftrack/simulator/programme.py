"""What is on: a year of meetings behind the anchor, day by day, and a live programme without end in front of it.

Each day and each live slot has a generator of its own, seeded by the world's seed and the day or slot. So any of them
can be played again alone, and a demo that is started days later finds the same past.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

import msgspec

from conftrack.simulator.convene import Invitation, Trouble, convene, nobody
from conftrack.simulator.mishaps import Mishaps, works
from conftrack.simulator.people import typed_names
from conftrack.simulator.plan import MINUTE, SECOND, Meeting, micros
from conftrack.simulator.province import Endpoint, Kind, Province, Unit

# Which sites of a commune a department talks to; the others talk to its meeting room.
_AUDIENCE: dict[str, Kind] = {"PT-SGDDT": "school", "PT-SYT": "clinic", "PT-CAT": "police"}
# Monday to Friday; nobody meets much on Friday.
_WEEK = (1.3, 1.1, 0.9, 1.0, 0.7)


class _Books:
    """The province sorted by who meets with whom."""

    def __init__(self, province: Province) -> None:
        at: dict[str, list[Endpoint]] = {}
        for endpoint in province.endpoints:
            at.setdefault(endpoint.org, []).append(endpoint)
        self.departments: list[tuple[Unit, list[Endpoint]]] = []
        self.communes: list[tuple[Unit, list[Endpoint]]] = []
        for unit in province.units:
            if unit.code in at:
                known = self.departments if unit.kind == "department" else self.communes
                known.append((unit, at[unit.code]))
        lines = {(endpoint.area, endpoint.carrier) for endpoint in province.endpoints}
        self.lines = sorted(lines)

    def trouble(self, rng: Random) -> Trouble:
        return frozenset(rng.sample(self.lines, rng.choice((0, 1, 1, 2, 3))))


class Past:
    """The year before the anchor; nothing of it ends in the last half hour, so that it is finished and at rest."""

    def __init__(self, seed: int, province: Province, anchor: datetime, scale: float, timezone: ZoneInfo) -> None:
        self._seed, self._scale, self._zone = seed, scale, timezone
        self._books = _Books(province)
        self._last = micros(anchor) - 30 * MINUTE
        self._today = anchor.astimezone(timezone).date()

    def meetings(self) -> Iterator[Meeting]:
        """In the order of their days."""
        for back in range(365, -1, -1):
            for meeting in self._day(self._today - timedelta(days=back)):
                if meeting.end < self._last:
                    meeting.maintenance = works(Random(f"{self._seed}/works/{meeting.conferences[0].id}"), meeting)
                    yield meeting

    def _day(self, day: date) -> list[Meeting]:
        rng = Random(f"{self._seed}/day/{day.isoformat()}")
        midnight = micros(datetime.combine(day, time(), self._zone))
        diary = _Diary(rng, self._books, midnight, self._books.trouble(rng))

        def often(mean: float) -> range:
            return range(int(mean * self._scale + rng.random()))

        if day.weekday() < 5:
            weight = _WEEK[day.weekday()]
            for _ in often(0.2 * weight):
                diary.provincial()
            for _ in often(0.68 * weight):
                diary.departmental()
            for _ in often(0.95 * weight):
                diary.communal()
            for _ in often(0.65 * weight):
                diary.small()
            for _ in often(0.14):
                diary.training()
        for _ in often(0.02):
            diary.night()
        if day.day == calendar.monthrange(day.year, day.month)[1] and self._scale:
            diary.night()
        for number in often(0.9):
            diary.nobody(number)
        return diary.meetings


class _Diary:
    """One day: no room holds two meetings at once, and no endpoint sits in two."""

    def __init__(self, rng: Random, books: _Books, midnight: int, trouble: Trouble) -> None:
        self.rng, self.books, self.midnight, self.trouble = rng, books, midnight, trouble
        self.meetings: list[Meeting] = []
        self._rooms: dict[str, list[tuple[int, int]]] = {}
        self._sites: dict[str, list[tuple[int, int]]] = {}

    def provincial(self) -> None:
        """The province and all of its communes, 100 to 400 sites."""
        rng, books = self.rng, self.books
        sites = [hosts[1] for _, hosts in books.departments if rng.random() < 0.8]
        sites += [at[0] for _, at in books.communes if rng.random() < 0.97]
        more = [site for _, at in books.communes for site in at[1:] if site.is_room]
        sites += rng.sample(more, rng.choice((0, 30, 60, 110, 200)))
        chair = books.departments[rng.choice((0, 0, 1, 2))][1][0]
        name = rng.choice(("Hội nghị trực tuyến toàn tỉnh", "UBND tỉnh họp với các xã, phường",
                           "Hội nghị Ban Chấp hành mở rộng"))  # fmt: skip
        self._hold(name, (8, 8, 14), rng.uniform(110, 200), [chair, *sites], fill=0.3)

    def departmental(self) -> None:
        rng = self.rng
        unit, hosts = rng.choice(self.books.departments)
        kind = _AUDIENCE.get(unit.code, "room")
        sites = [next(site for site in at if site.kind == kind) for _, at in self._communes(rng.randint(24, 90))]
        self._hold(f"Giao ban {unit.name}", (8, 9, 14, 15), rng.uniform(50, 120), [hosts[1], *sites], fill=0.25)

    def communal(self) -> None:
        rng = self.rng
        unit, at = rng.choice(self.books.communes)
        others = [site for site in at[1:] if site.kind != "desktop"]
        sites = [at[0], *rng.sample(others, rng.randint(8, len(others)))]
        self._hold(f"UBND {unit.name}", (8, 10, 14, 19), rng.uniform(40, 110), sites, fill=0.33)

    def small(self) -> None:
        rng = self.rng
        unit, hosts = rng.choice(self.books.departments)
        sites = [hosts[1], *rng.sample(hosts[2:], 2), *(at[1] for _, at in self._communes(rng.randint(1, 7)))]
        guests = rng.sample(typed_names(), rng.choice((0, 0, 1, 3, 6)))
        hours = (7, 8, 10, 13, 15, 16)
        self._hold(f"Họp nhanh {unit.name}", hours, rng.uniform(12, 60), sites, guests=guests, fill=0.3)

    def training(self) -> None:
        """In the evening, most people from home and by browser."""
        rng = self.rng
        unit, hosts = rng.choice(self.books.departments)
        sites = [hosts[0], *(at[1] for _, at in self._communes(rng.randint(4, 15)))]
        guests = rng.sample(typed_names(), rng.randint(25, 120))
        self._hold(f"Tập huấn {unit.name}", (19,), rng.uniform(70, 110), sites, guests=guests, fill=0.25)

    def night(self) -> None:
        """The watch over floods and storms: across local midnight, and so sometimes across the end of a month."""
        rng = self.rng
        unit_at = self._communes(rng.randint(18, 55))
        sites = [self.books.departments[5][1][1], *(at[1] for _, at in unit_at)]
        self._hold("Trực ban phòng chống thiên tai", (22, 23), rng.uniform(125, 160), sites, fill=0.2)

    def nobody(self, number: int) -> None:
        rng = self.rng
        shape = rng.choice(("scanner", "dial test", "dial test", "api"))
        name = {"scanner": "Tiếp nhận cuộc gọi", "dial test": "Kiểm tra đường truyền", "api": "Phòng chờ"}[shape]
        site = rng.choice(self.books.communes)[1][1]
        at = self.midnight + int(rng.uniform(0, 1440) * MINUTE)
        room = self._room(name, at - MINUTE, at + 10 * MINUTE)
        self.meetings.append(nobody(rng, room, at, shape, site))  # type: ignore[arg-type]

    def _communes(self, number: int) -> list[tuple[Unit, list[Endpoint]]]:
        return self.rng.sample(self.books.communes, number)

    def _hold(self, name: str, hours: Sequence[int], minutes: float, sites: list[Endpoint], *, fill: float,
              guests: Sequence[str] = ()) -> None:  # fmt: skip
        rng = self.rng
        start = self.midnight + (rng.choice(hours) * 60 + rng.choice((0, 0, 0, 15, 30))) * MINUTE
        end = start + int(minutes * MINUTE)
        early = 12 * MINUTE
        span = start - early - MINUTE, end + MINUTE
        free = [site for site in sites if _free(self._sites.setdefault(site.code, []), span)]
        if len(free) < 3:
            return
        for site in free:
            self._sites[site.code].append(span)
        room = self._room(name, *span)
        plan = Invitation(room=room, start=start, end=end, sites=free, guests=guests, early=early, fill=fill,
                          host_ends=rng.random() < 0.6)  # fmt: skip
        self.meetings.append(convene(rng, plan, self.trouble))

    def _room(self, name: str, start: int, end: int) -> str:
        """A room that stands empty for a quarter of an hour before and after: nobody could say whether two
        meetings with less between them are one."""
        span = start - 15 * MINUTE, end + 15 * MINUTE
        for number in range(1, 1000):
            room = name if number == 1 else f"{name} {number}"
            if _free(self._rooms.setdefault(room, []), span):
                self._rooms[room].append(span)
                return room
        raise AssertionError(f"a thousand rooms called {name!r} are taken")


def _free(taken: list[tuple[int, int]], span: tuple[int, int]) -> bool:
    return all(end <= span[0] or start >= span[1] for start, end in taken)


class _Track(msgspec.Struct, frozen=True):
    """One line of the live programme; `always` never leaves a gap between two meetings."""

    number: int
    always: bool
    sites: tuple[int, int]
    guests: tuple[int, int]
    churn: float


_TRACKS = (
    _Track(0, True, (28, 60), (14, 30), 0.4), _Track(1, True, (20, 45), (8, 24), 0.4),
    _Track(2, True, (6, 16), (2, 8), 0.25), _Track(3, True, (4, 10), (2, 8), 0.25),
    _Track(4, False, (3, 8), (1, 6), 0.15), _Track(5, False, (3, 6), (0, 4), 0.15),
)  # fmt: skip
_SLOT = 40 * MINUTE


class Programme:
    """The live meetings from the anchor on, in slots: four tracks that always have one, two that often do.

    In each, things go wrong (see `mishaps`): in the first ones at once, so that a demo need not wait for it.
    A meeting of an `always` track outlasts its slot by a few minutes, so that the next one has begun before it ends;
    the tracks change over at different minutes.
    """

    def __init__(self, seed: int, province: Province, anchor: datetime) -> None:
        self._seed, self._anchor = seed, micros(anchor)
        self._books = _Books(province)
        self._next = [0] * len(_TRACKS)

    def until(self, at: datetime) -> Iterator[Meeting]:
        """The meetings of every slot that has begun by `at` and was not given before."""
        now = micros(at)
        while True:
            starts = [self._begin(track, self._next[track.number]) for track in _TRACKS]
            first = min(range(len(_TRACKS)), key=starts.__getitem__)
            if starts[first] > now:
                return
            yield from self._slot(_TRACKS[first], self._next[first])
            self._next[first] += 1

    def _begin(self, track: _Track, slot: int) -> int:
        # The first slots are of different lengths; that is what keeps the change-overs apart.
        if slot == 0:
            return self._anchor
        return self._anchor + 10 * (track.number % 4 + 1) * MINUTE + (slot - 1) * _SLOT

    def _slot(self, track: _Track, slot: int) -> list[Meeting]:
        rng = Random(f"{self._seed}/live/{track.number}/{slot}")
        begin, over = self._begin(track, slot), self._begin(track, slot + 1)
        if track.always:
            start = begin + int(rng.uniform(0.2, 4) * SECOND)
            end = over + int(rng.uniform(60, 240) * SECOND)
        else:
            length = over - begin
            start = begin + int(rng.uniform(0.01, 0.2) * length)
            end = start + max(10 * MINUTE, int(rng.uniform(0.4, 0.7) * length))
        # Tracks, and neighbouring slots of one track, draw on different units: no site is asked for twice at once.
        share = 2 * track.number + slot % 2
        unit, hosts = rng.choice(self._books.departments[share::12])
        rooms = [site for _, at in self._books.communes[share::12] for site in at if site.is_room]
        invited = rng.sample(rooms, rng.randint(*track.sites))
        shape = "Giao ban trực tuyến" if len(invited) > 18 else "Họp trực tuyến"
        names = typed_names()[share::12]
        plan = Invitation(
            room=f"{shape} {unit.name}", start=start, end=end, sites=[hosts[0], *invited],
            guests=rng.sample(names, rng.randint(*track.guests)), early=0, fill=0.3, churn=track.churn,
            host_ends=rng.random() < 0.5,
        )  # fmt: skip
        outage = 1.0 if track.number == slot == 0 else 0.3
        mishaps = Mishaps(Random(f"{self._seed}/mishaps/{track.number}/{slot}"), soon=slot == 0, outage=outage)
        return [convene(rng, plan, self._books.trouble(rng), mishaps), *mishaps.side_rooms]
