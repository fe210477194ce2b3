"""What is wrong with an inventory, and what is doubtful. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import TypeAlias

from rapidfuzz import fuzz, process

from conftrack.inventory.names import fold
from conftrack.model import Endpoint, OrgUnit, Record
from conftrack.storage.inventory import Inventory, Site, Unit, own_alias

Key: TypeAlias = tuple[str, str, date | None]
"""What something is about: "unit", its code and first day; "endpoint" and its code; "move", an endpoint's code
and the day; "alias" and it."""

NAMED = 5
"""How many things a sentence names before it only counts."""


class Fault(Record, frozen=True, kw_only=False):
    """Something wrong, and the fields that bring it about, the likeliest first."""

    message: str
    fields: tuple[tuple[Key, str], ...]


# -- what is wrong


def faults(inventory: Inventory) -> Iterator[Fault]:
    """Everything that contradicts itself or points at nothing."""
    periods = inventory.periods()
    yield from _same_codes([unit.code for unit in inventory.units], "unit")
    for units in periods.values():
        for earlier, later in pairwise(units):
            if earlier.valid_to is None or earlier.valid_to > (later.valid_from or date.min):
                message = (
                    f"unit {later.code} begins on {_said(later.valid_from)}, while the one from "
                    f"{_said(earlier.valid_from)} {_until(earlier)}: end that one first"
                )
                yield Fault(message, ((_key(later), "valid_from"), (_key(earlier), "valid_to")))
    for unit in inventory.units:
        if unit.valid_to is not None and unit.valid_to <= (unit.valid_from or date.min):
            message = f"unit {unit.code} ends on {unit.valid_to}, not after it begins on {_said(unit.valid_from)}"
            yield Fault(message, ((_key(unit), "valid_to"), (_key(unit), "valid_from")))
        yield from _faults_of_parent(unit, periods)
        yield from _faults_of_successors(unit, periods)
    yield from _circles(periods)
    yield from _same_codes([site.code for site in inventory.endpoints], "endpoint")
    codes = {own_alias(site.code): site.code for site in inventory.endpoints}
    for site in inventory.endpoints:
        here: Key = ("endpoint", site.code, None)
        if site.org is not None and site.org not in periods:
            message = f"endpoint {site.code}: there is no unit {site.org!r}{hint(site.org, inventory.units)}"
            yield Fault(message, ((here, "org"),))
        for day, org in site.former:
            if org is not None and org not in periods:
                message = f"endpoint {site.code} until {day}: there is no unit {org!r}{hint(org, inventory.units)}"
                yield Fault(message, ((("move", site.code, day), "former_unit"),))
        for alias in site.aliases:
            if (owner := codes.get(alias, site.code)) != site.code:
                message = f"{alias} is the code of endpoint {owner}, so it cannot be an alias of {site.code}"
                yield Fault(message, ((("alias", alias, None), "alias"), (("endpoint", owner, None), "code")))


def _same_codes(codes: Iterable[str], what: str) -> Iterator[Fault]:
    """Codes that differ only in capitals would be told apart by nobody."""
    spelled: dict[str, str] = {}
    for code in sorted(set(codes)):
        other = spelled.setdefault(code.casefold(), code)
        if other != code:
            message = f"{what} {code} is {other} in other capitals: write it in one way"
            yield Fault(message, (((what, code, None), "code"), ((what, other, None), "code")))


def _faults_of_parent(unit: Unit, periods: Mapping[str, Sequence[Unit]]) -> Iterator[Fault]:
    here = (_key(unit), "parent")
    if unit.parent is None:
        return
    if unit.parent not in periods:
        yield Fault(f"unit {unit.code}: there is no unit {unit.parent!r}{hint(unit.parent, _all(periods))}", (here,))
        return
    last_day = unit.valid_to - timedelta(days=1) if unit.valid_to is not None else date.max
    parent = periods[unit.parent][-1]
    if parent.valid_to is not None and not any(_lasts(one, last_day) for one in periods[unit.parent]):
        message = (
            f"unit {unit.code} goes on after {parent.code} above it ended on {parent.valid_to}: "
            "give it another parent, or an end"
        )
        yield Fault(message, (here, (_key(parent), "valid_to")))


def _circles(periods: Mapping[str, Sequence[Unit]]) -> Iterator[Fault]:
    """Each circle of units once, from its first code."""
    for code in periods:
        way = [code]
        while (above := periods[way[-1]][-1].parent) is not None and above in periods and above not in way:
            way.append(above)
        if above == code == min(way):
            at = tuple((_key(periods[one][-1]), "parent") for one in way)
            yield Fault(f"unit {code} is below itself: {' → '.join([*way, code])}", at)


def _faults_of_successors(unit: Unit, periods: Mapping[str, Sequence[Unit]]) -> Iterator[Fault]:
    here, end = (_key(unit), "successors"), (_key(unit), "valid_to")
    if unit.successors and unit.valid_to is None:
        yield Fault(
            f"unit {unit.code} has successors but no end (valid_to): the day on which they took over", (here, end)
        )
        return
    for code in unit.successors:
        if code not in periods:
            yield Fault(f"unit {unit.code}: there is no unit {code!r}{hint(code, _all(periods))}", (here,))
        elif unit.valid_to is not None and not any(_lasts(one, unit.valid_to) for one in periods[code]):
            first = periods[code][-1].valid_from
            message = f"unit {unit.code} ends on {unit.valid_to}, a day on which its successor {code} is not there"
            if first is not None and first > unit.valid_to:
                message += f"; {code} begins on {first}, and valid_to is the first day without {unit.code}"
            yield Fault(message, (here, end, (_key(periods[code][-1]), "valid_from")))


def _all(periods: Mapping[str, Sequence[Unit]]) -> list[Unit]:
    return [unit for units in periods.values() for unit in units]


def _key(unit: Unit) -> Key:
    return "unit", unit.code, unit.valid_from


def _lasts(unit: Unit, day: date) -> bool:
    return (unit.valid_from or date.min) <= day and (unit.valid_to is None or day < unit.valid_to)


def _until(unit: Unit) -> str:
    return "goes on" if unit.valid_to is None else f"lasts until {unit.valid_to}"


def _said(day: date | None) -> str:
    return "the beginning" if day is None else day.isoformat()


def hint(code: str, known: Iterable[OrgUnit | Endpoint]) -> str:
    """The code that may be meant, where one is called or spelled nearly so; else nothing."""
    names = {one.code: one.name for one in known}
    for other, name in names.items():
        if fold(name) == fold(code) or fold(other) == fold(code):
            return f"; write the code of {name!r}: {other}"
    near = process.extractOne(code, list(names), scorer=fuzz.ratio, score_cutoff=80)
    return f"; did you mean {near[0]} ({names[near[0]]})?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The name that may be meant, where one is spelled nearly so; else nothing."""
    names = {one: fold(one) for one in known}
    near = process.extractOne(fold(name), names, scorer=fuzz.ratio, score_cutoff=70)
    return f"; did you mean {near[2]!r}?" if near else ""


# -- what is doubtful


def doubts(inventory: Inventory, today: date) -> Iterator[str]:
    """What an operator may have overlooked."""
    in_service = [site for site in inventory.endpoints if site.retired_on is None or site.retired_on > today]
    ended = {
        code: units[-1]
        for code, units in inventory.periods().items()
        if (end := units[-1].valid_to) is not None and end <= today
    }
    left: defaultdict[str, list[Site]] = defaultdict(list)
    for site in in_service:
        if site.org in ended:
            left[ended[site.org].code].append(site)
    for code, sites in left.items():
        heirs = ", ".join(ended[code].successors)
        yield (
            f"{_counted(sites)} in {code} ({ended[code].name}), which ended on {ended[code].valid_to}"
            + (f"; its successors: {heirs}" if heirs else "")
        )
    for field in ("carrier", "area", "kind"):
        spelled: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for site in in_service:
            if (value := getattr(site, field)) is not None:
                spelled[fold(value)][value] += 1
        for counts in spelled.values():
            if len(counts) > 1:
                ways = " and ".join(f"{value!r} ({count:,}×)" for value, count in counts.most_common())
                yield f"the {field} is written {ways}: one and the same?"


def _counted(sites: Sequence[Site]) -> str:
    named = ", ".join(site.code for site in sites[:NAMED])
    more = f" and {len(sites) - NAMED:,} more" if len(sites) > NAMED else ""
    return f"{len(sites):,} endpoint{'s are' if len(sites) > 1 else ' is'} still in service ({named}{more})"
