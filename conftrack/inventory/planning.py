"""What the inventory would be with the rows of some files in it, and what is wrong with that. Pure.

What a file does not speak of stays: a unit, endpoint or alias that no row names, and a field that has no column. An
empty cell empties its field.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from msgspec.structs import asdict, replace

from conftrack.inventory.checks import NAMED, Fault, Key, doubts, faults, hint
from conftrack.inventory.headings import Row, Rows
from conftrack.inventory.moves import moved, settled, since_when
from conftrack.inventory.tables import Place, Problem, WrongFiles
from conftrack.model import Record
from conftrack.sources.base import normalise_alias
from conftrack.storage.inventory import Inventory, Site, Unit, in_turn, own_alias


class Plan(Record, frozen=True):
    """From the inventory as it is to what it would be."""

    before: Inventory
    after: Inventory
    #: What the operator should know, though it is not wrong.
    notes: tuple[str, ...] = ()


def plan(stored: Inventory, rows: Rows, *, replaces: bool, today: date) -> Plan:
    """What the rows make of the stored inventory. With `replaces` they are everything of their kind: units that are not
    named end `today`, endpoints are retired, and endpoints in service lose the aliases that are not named.

    Raises WrongFiles with every problem, in the files and in what would come of them.
    """
    draft = _Draft(stored, rows.problems)
    draft.take_units([row for row in rows.rows if row.kind == "units"], replaces, today)
    draft.take_endpoints([row for row in rows.rows if row.kind == "endpoints"], replaces, today)
    draft.take_moves([row for row in rows.rows if row.kind == "moves"], replaces)
    draft.settle_moves(today)
    draft.take_aliases([row for row in rows.rows if row.kind == "aliases"], replaces)
    after = draft.inventory()
    known = set(faults(stored))
    draft.problems += [draft.placed(fault) for fault in faults(after) if fault not in known]
    if draft.problems:
        raise WrongFiles(draft.problems)
    return Plan(before=stored, after=after, notes=(*rows.notes, *draft.notes, *doubts(after, today)))


class _Draft:
    """An inventory while rows are put into it, and which row says what."""

    def __init__(self, stored: Inventory, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        self.notes: list[str] = []
        self._origin: dict[Key, Row] = {}
        self._units = {code: list(units) for code, units in stored.periods().items()}
        #: Units whose level no row gives and no stored one has in the same place: it follows from the tree.
        self._no_level: set[tuple[str, date | None]] = set()
        self._stored = {site.code: site for site in stored.endpoints}
        self._endpoints = dict(self._stored)
        #: Since when an endpoint is in its unit, where a file says so.
        self._since: dict[str, date] = {}
        self._owners = {alias: site.code for site in stored.endpoints for alias in site.aliases}

    # -- units

    def take_units(self, rows: list[Row], replaces: bool, today: date) -> None:
        by_code: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_code[row.values["code"]].append(row)
        for code, said in by_code.items():
            self._take_periods(code, self._without_copies(said, "valid_from"))
        if replaces and rows:
            for code in self._units.keys() - by_code.keys():
                last = self._units[code][-1]
                if last.valid_to is None or last.valid_to > today:
                    first = last.valid_from or date.min
                    self._units[code][-1] = replace(last, valid_to=max(today, first + timedelta(days=1)))

    def _without_copies(self, rows: list[Row], column: str) -> dict[Any, Row]:
        found: dict[Any, Row] = {}
        for row in sorted(rows, key=lambda row: row.place):
            value = row.values.get(column)
            if value in found:
                self._wrong(row, "code", f"{row.values['code']} stands on {_where(found[value], row)} already")
            found.setdefault(value, row)
        return found

    def _take_periods(self, code: str, rows: Mapping[date | None, Row]) -> None:
        """The rows of one unit find their periods by the first day; a row without that column means the newest. A day
        on which none begins is another first day of the one period that is left, when the unit is the same in name and
        place (it is known better now); else the unit is founded anew on that day, and an older one ends there."""
        free = {unit.valid_from: unit for unit in self._units.get(code, ())}
        old: dict[date | None, Unit] = {}
        for first, row in rows.items():
            meant = first if "valid_from" in row.values else max(free, key=_time, default=None)
            if meant in free:
                old[first] = free.pop(meant)
        rest = [first for first in rows if first not in old]
        if len(rest) == len(free) == 1:
            (unit,) = free.values()
            if _same(unit, rows[rest[0]]) or _time(rest[0]) < _time(unit.valid_from):
                old[rest[0]] = free.popitem()[1]
        named = [self._merged_unit(row, old.get(first)) for first, row in rows.items()]
        for unit, row in zip(named, rows.values(), strict=True):
            self._origin["unit", code, unit.valid_from] = row
        ended = {unit.valid_from: unit for unit in in_turn([*free.values(), *named])}
        self._units[code] = sorted((*(ended[first] for first in free), *named), key=lambda u: _time(u.valid_from))

    def _merged_unit(self, row: Row, old: Unit | None) -> Unit:
        values = _merged(row, old)
        if values.get("name") is None and "name" not in row.failed:
            self._wrong(row, "name", f"unit {values['code']} {'needs' if old else 'is new: it needs'} a name")
        level = values.pop("level", None)
        if level is None or (old is not None and "level" not in row.values and old.parent != values.get("parent")):
            self._no_level.add((values["code"], values.get("valid_from")))
        return Unit(**values | {"name": values.get("name") or "", "level": level or 0})

    # -- endpoints, their moves and aliases

    def take_endpoints(self, rows: list[Row], replaces: bool, today: date) -> None:
        named = set()
        for code, row in self._by_code(rows).items():
            old = self._endpoints.get(code)
            values = _merged(row, old)
            if (since := values.pop("unit_since", None)) is not None:
                self._since[code] = since
            if values.get("name") is None and "name" not in row.failed:
                self._wrong(row, "name", f"endpoint {code} {'needs' if old else 'is new: it needs'} a name")
            self._endpoints[code] = Site(**values | {"name": values.get("name") or "", "aliases": ()})
            self._origin["endpoint", code, None] = row
            named.add(code)
            if old is not None and old.retired_on is not None and "retired_on" not in row.values:
                self.notes.append(
                    f"{row.place}: endpoint {code} stays out of service; an empty cell in a column retired_on would "
                    "bring it back"
                )
        if replaces and rows:
            for code in self._endpoints.keys() - named:
                if self._endpoints[code].retired_on is None:
                    self._endpoints[code] = replace(self._endpoints[code], retired_on=today)

    def take_moves(self, rows: list[Row], replaces: bool) -> None:
        """The moves of an endpoint that a file names are all that it has."""
        named: defaultdict[str, dict[date, str | None]] = defaultdict(dict)
        for row in sorted(rows, key=lambda row: row.place):
            code, day = row.values["endpoint"], row.values["moved_on"]
            if code not in self._endpoints:
                self._wrong(row, "endpoint", f"there is no endpoint {code!r}{hint(code, self._endpoints.values())}")
            elif day in named[code]:
                first = _where(self._origin["move", code, day], row)
                self._wrong(row, "moved_on", f"that {code} moved on {day} stands on {first} already")
            else:
                named[code][day] = row.values.get("former_unit")
                self._origin["move", code, day] = row
        for code, site in self._endpoints.items():
            if code in named or (replaces and rows):
                self._endpoints[code] = replace(site, former=tuple(sorted(named[code].items())))

    def settle_moves(self, today: date) -> None:
        """Keeps what endpoints were in that have another unit now. Where the list of moves tells another past than the
        stored one, this move is in it."""
        idle: list[str] = []
        for code, site in self._endpoints.items():
            old = self._stored.get(code, replace(site, former=()))
            since, past = self._since.get(code), site.former
            if since is None and old.org != site.org and old.former == past:
                since = since_when(past, self._units.get(old.org or "", ()), today)
            if since is not None:
                past = moved(past, old.org, site.org, since)
                if not past and old.org == site.org:
                    idle.append(code)
            if past != old.former:
                self._endpoints[code] = replace(site, former=settled(past, site.org))
        if idle:
            named = f"{', '.join(idle[:NAMED])}{' and others' if len(idle) > NAMED else ''}"
            self.notes.append(
                f"unit_since says nothing of {named}: no unit before is known; a list of moves would tell it"
            )

    def _by_code(self, rows: list[Row]) -> dict[str, Row]:
        by_code: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_code[row.values["code"]].append(row)
        return {code: next(iter(self._without_copies(said, "code").values())) for code, said in by_code.items()}

    def take_aliases(self, rows: list[Row], replaces: bool) -> None:
        said: dict[str, Row] = {}
        for row in sorted(rows, key=lambda row: row.place):
            text = row.values["alias"]
            # One that is there already stands as it is, whatever the rules of spelling have become.
            alias = text if text in self._owners else normalise_alias(text)
            code = row.values["endpoint"]
            if alias is None:
                self._wrong(row, "alias", f"{text!r} is no address")
            elif code not in self._endpoints:
                self._wrong(row, "endpoint", f"there is no endpoint {code!r}{hint(code, self._endpoints.values())}")
            elif alias in said and said[alias].values["endpoint"] != code:
                other = said[alias]
                self._wrong(row, "alias", f"{alias} is given to {other.values['endpoint']} on {_where(other, row)}")
            else:
                said.setdefault(alias, row)
        if replaces and rows:
            in_service = {code for code, site in self._endpoints.items() if site.retired_on is None}
            self._owners = {alias: code for alias, code in self._owners.items() if code not in in_service}
        for alias, row in said.items():
            code = row.values["endpoint"]
            if alias == own_alias(code):
                self._owners.pop(alias, None)
            else:
                self._owners[alias] = code
                self._origin["alias", alias, None] = row

    # -- what comes of it

    def inventory(self) -> Inventory:
        aliases: defaultdict[str, list[str]] = defaultdict(list)
        for alias, code in self._owners.items():
            aliases[code].append(alias)
        sites = [replace(e, aliases=tuple(sorted(aliases[e.code]))) for e in self._endpoints.values()]
        return Inventory.of((self._levelled(u) for units in self._units.values() for u in units), sites)

    def _levelled(self, unit: Unit) -> Unit:
        if (unit.code, unit.valid_from) not in self._no_level:
            return unit
        level, above, seen = 0, unit.parent, {unit.code}
        while above in self._units and above not in seen:
            seen.add(above)
            parent = self._units[above][-1]
            level += 1
            if (parent.code, parent.valid_from) not in self._no_level:
                return replace(unit, level=level + parent.level)
            above = parent.parent
        return replace(unit, level=level)

    def placed(self, fault: Fault) -> Problem:
        """The fault on the first of its fields that a file gives."""
        for key, column in fault.fields:
            if key in self._origin:
                return Problem(place=self._origin[key].at(column), message=fault.message)
        return Problem(place=Place(file="not in the files"), message=fault.message)

    def _wrong(self, row: Row, column: str, message: str) -> None:
        self.problems.append(Problem(place=row.at(column), message=message))


def _merged(row: Row, old: Unit | Site | None) -> dict[str, Any]:
    values = asdict(old) if old is not None else {}
    return values | dict(row.values)


def _same(unit: Unit, row: Row) -> bool:
    return all(row.values.get(name, getattr(unit, name)) == getattr(unit, name) for name in ("name", "parent"))


def _time(first: date | None) -> date:
    return first or date.min


def _where(row: Row, seen_from: Row) -> str:
    same = row.place.file == seen_from.place.file and row.place.sheet == seen_from.place.sheet
    return f"line {row.place.line}" if same else str(row.place)
