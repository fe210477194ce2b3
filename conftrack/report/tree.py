"""The organisation tree through time: which unit an endpoint belonged to on a day, and which stood above it then. Pure.

Who asks for a day gets the tree of that day. "Restated to today's tree" is no other computation: it is the path of
today, for every meeting whenever it was, and the units of today. It changes as the tree does, so what is to stay as it
was signed follows the days. What it means for units that are no more:

- a unit that merged into another counts for that one, through however many mergers;
- a unit that was split counts for the nearest unit that is above all its successors, and for none of them: nobody can
  say which of them the site would have been in, unless the inventory says where the endpoint went;
- a unit that went without a successor, like a district, counts for the nearest one above it that is still there.

Looking back, a unit that was not yet there counts in the same way for those that it came from. The rollups of usage are
not the same as a restated report: they follow the inventory's own unit of an endpoint, even one that has ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

from msgspec.structs import replace

from conftrack.inventory.names import name_order
from conftrack.report import model
from conftrack.storage.inventory import Inventory, Unit


class OrgTree:
    """The tree of an inventory on any day. It never fails on what contradicts itself: a unit below itself has its
    circle cut, above the first code of it."""

    def __init__(self, inventory: Inventory) -> None:
        self._history = _History(inventory.periods())
        self._orgs = {site.code: site.org for site in inventory.endpoints}
        self._former = {site.code: site.former for site in inventory.endpoints if site.former}
        bounds = {bound for unit in inventory.units for bound in (unit.valid_from, unit.valid_to) if bound is not None}
        #: Between two of these days nothing changes.
        self._bounds = sorted(bounds)
        self._standing: dict[int, _Standing] = {}

    def path(self, endpoint: str, day: date) -> tuple[str, ...]:
        """The codes of the unit that the endpoint belonged to on that day, and of each above it then, the nearest
        first; () where that is none, or not known."""
        org = next((org for until, org in self._former.get(endpoint, ()) if day < until), self._orgs.get(endpoint))
        return self._on(day).path(org) if org is not None else ()

    def units(self, since: date, until: date) -> tuple[model.Unit, ...]:
        """Every unit that was there on a day of [since, until), as it was last in that time and below whom it stood
        then; each followed by those below it, by name."""
        found: dict[str, model.Unit] = {}
        for code, periods in self._history.periods.items():
            seen = [unit for unit in periods if max(since, _first(unit)) < min(until, _end(unit))]
            if seen:
                first, last = seen[0], seen[-1]
                last_day = min(until, _end(last)) - timedelta(days=1)
                found[code] = model.Unit(
                    code=code,
                    name=last.name,
                    parent=self._on(last_day).above[code],
                    valid_from=first.valid_from if _first(first) > since else None,
                    valid_to=last.valid_to if _end(last) < until else None,
                )
        return tuple(_in_order(found.values()))

    def _on(self, day: date) -> _Standing:
        number = bisect_right(self._bounds, day)
        if number not in self._standing:
            self._standing[number] = _Standing(self._history, day)
        return self._standing[number]


def _in_order(units: Iterable[model.Unit]) -> Iterator[model.Unit]:
    below: defaultdict[str | None, list[model.Unit]] = defaultdict(list)
    for unit in sorted(units, key=lambda unit: (name_order(unit.name), unit.code), reverse=True):
        below[unit.parent].append(unit)
    waiting = [(unit, 0) for unit in below[None]]
    while waiting:
        unit, level = waiting.pop()
        yield replace(unit, level=level)
        waiting += [(one, level + 1) for one in below[unit.code]]


class _History:
    """The periods of all units, and which came of which."""

    def __init__(self, periods: Mapping[str, Sequence[Unit]]) -> None:
        self.periods = {code: [unit for unit in units if _first(unit) < _end(unit)] for code, units in periods.items()}
        self._heirs: dict[Unit, list[Unit]] = {}
        self._origins: defaultdict[Unit, list[Unit]] = defaultdict(list)
        for unit in (unit for units in self.periods.values() for unit in units if unit.valid_to is not None):
            # A unit that goes on under its code, reshaped, need not say that it is its own successor.
            took_over = (self.at(code, _end(unit)) for code in unit.successors or (unit.code,))
            self._heirs[unit] = [heir for heir in took_over if heir is not None]
            for heir in self._heirs[unit]:
                self._origins[heir].append(unit)

    def at(self, code: str, day: date) -> Unit | None:
        """The form that a unit had on a day; None: it was not there."""
        return next((unit for unit in self.periods.get(code, ()) if _lasts(unit, day)), None)

    def stand_ins(self, code: str, day: date) -> Iterator[frozenset[str]]:
        """Who may stand for a unit on a day, the best answer first: itself; those that came of it, or that it came of;
        then the same for the unit above it, and so on up. No answer is empty."""
        passed: set[str] = set()
        above: str | None = code
        while above is not None and above not in passed:
            passed.add(above)
            unit = self.at(above, day)
            if unit is not None:
                yield frozenset({above})
                above = unit.parent
                continue
            before = [unit for unit in self.periods.get(above, ()) if _end(unit) <= day]
            after = [unit for unit in self.periods.get(above, ()) if _first(unit) > day]
            heirs = _followed(before[-1:], self._heirs, day, lambda unit: _end(unit) <= day)
            found = heirs or _followed(after[:1], self._origins, day, lambda unit: _end(unit) > day)
            if found:
                yield found
            above = next((unit.parent for unit in (*before[-1:], *after[:1])), None)


def _followed(
    units: Sequence[Unit], ways: Mapping[Unit, Sequence[Unit]], day: date, goes_on: Callable[[Unit], bool]
) -> frozenset[str]:
    """The codes of those that are there on the day, at the ends of these ways."""
    waiting, seen, found = list(units), set(units), set()
    while waiting:
        for unit in ways.get(waiting.pop(), ()):
            if _lasts(unit, day):
                found.add(unit.code)
            if unit not in seen and goes_on(unit):
                seen.add(unit)
                waiting.append(unit)
    return frozenset(found)


class _Standing:
    """The tree between two days on which something changes. `above` is of every unit that is there, with the one above
    it: both of that time, and without circles."""

    def __init__(self, history: _History, day: date) -> None:
        self._history = history
        self._day = day
        self._paths: dict[str, tuple[str, ...]] = {}
        self.above: dict[str, str | None] = {}
        loose: dict[str, str] = {}
        for code in sorted(history.periods):
            if (unit := history.at(code, day)) is not None:
                direct = unit.parent is not None and history.at(unit.parent, day) is not None
                self.above[code] = unit.parent if direct else None
                if unit.parent is not None and not direct:
                    loose[code] = unit.parent
        self._cut_circles()
        self._tie(loose)

    def path(self, code: str) -> tuple[str, ...]:
        """A unit, or who stands for it, and each above it."""
        if code not in self._paths:
            stands = next((self._common(found) for found in self._history.stand_ins(code, self._day)), None)
            self._paths[code] = tuple(self._up(stands))
        return self._paths[code]

    def _up(self, code: str | None) -> Iterator[str]:
        while code is not None:
            yield code
            code = self.above[code]

    def _common(self, codes: Iterable[str]) -> str | None:
        """The nearest unit that each of these is, or is below."""
        ways = [list(self._up(code)) for code in sorted(codes)]
        shared = set(ways[0]).intersection(*ways)
        return next((code for code in ways[0] if code in shared), None)

    def _cut_circles(self) -> None:
        done: set[str] = set()
        for code in self.above:  # in order of code, so that it is the same circle's first for everybody
            way: list[str] = []
            above: str | None = code
            while above is not None and above not in done:
                done.add(above)
                way.append(above)
                above = self.above[above]
            if above in way:
                self.above[min(way[way.index(above) :])] = None

    def _tie(self, loose: Mapping[str, str]) -> None:
        """Puts each unit whose own parent is not there (`loose`) below who stands for that one: only where the tree
        above those is known already, so that no circle comes of it."""
        answers = {code: self._history.stand_ins(parent, self._day) for code, parent in loose.items()}
        open_ = {code: found for code, given in answers.items() if (found := next(given, None)) is not None}
        while open_:
            ready = [
                code
                for code, found in open_.items()
                if not any(above in open_ for one in found for above in self._up(one))
            ]
            for code in ready:
                self.above[code] = self._common(open_.pop(code))
            if not ready:  # they wait for each other: one of them has to look further up
                code = min(open_)
                further = next(answers[code], None)
                if further is None:
                    del open_[code]
                else:
                    open_[code] = further


def _first(unit: Unit) -> date:
    return unit.valid_from or date.min


def _end(unit: Unit) -> date:
    return unit.valid_to or date.max


def _lasts(unit: Unit, day: date) -> bool:
    return _first(unit) <= day < _end(unit)
