"""What differs between two inventories, thing by thing, for people to read and for the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Literal
from zoneinfo import ZoneInfo

from conftrack.inventory.checks import NAMED
from conftrack.inventory.moments import local
from conftrack.model import Record
from conftrack.storage.inventory import Inventory, Site, Unit
from conftrack.storage.invitations import Invitation

#: Personal data: that it changed is kept, what it was is not.
_OF_PEOPLE = frozenset({"contact_name", "contact_phone"})
_UNIT = ("name", "parent", "level", "valid_from", "valid_to", "successors")
_SITE = (
    "name", "org", "kind", "seats", "carrier", "area", "service_hours", "contact_name", "contact_phone", "retired_on",
    "former",
)  # fmt: skip
_CALLED = {"former": "units before"}


class Field(Record, frozen=True):
    name: str
    before: str | None
    after: str | None


class Change(Record, frozen=True):
    """One thing that becomes another: `key` is its code, the alias itself, or the invitation's uid."""

    what: Literal["unit", "endpoint", "alias", "invitation"]
    how: Literal["new", "changed", "gone"]
    key: str
    name: str
    fields: tuple[Field, ...]

    def recorded(self) -> dict[str, Any]:
        """What the audit keeps of it."""
        fields = {f.name: "changed" if f.name in _OF_PEOPLE else [f.before, f.after] for f in self.fields}
        return {"what": self.what, "how": self.how, "key": self.key, "fields": fields}


def changes(before: Inventory, after: Inventory) -> list[Change]:
    """Every difference: units, then endpoints, then aliases, each by code. "gone" is a unit or an endpoint that comes
    to its end, or an alias that is taken away."""
    return [*_units(before, after), *_endpoints(before, after), *_aliases(before, after)]


def _units(before: Inventory, after: Inventory) -> Iterator[Change]:
    old = before.periods()
    for code, units in after.periods().items():
        was = {unit.valid_from: unit for unit in old.get(code, ())}
        # No period goes away: one that is not there any more begins on another day now.
        shifted = [unit for first, unit in was.items() if first not in {unit.valid_from for unit in units}]
        for unit in units:
            had = was.get(unit.valid_from) or (shifted.pop() if shifted else None)
            if had != unit:
                ends = had is not None and had.valid_to is None and unit.valid_to is not None
                yield Change(
                    what="unit", how="new" if had is None else "gone" if ends else "changed", key=code, name=unit.name,
                    fields=tuple(_fields(_UNIT, had, unit)),
                )  # fmt: skip


def _endpoints(before: Inventory, after: Inventory) -> Iterator[Change]:
    old = {site.code: site for site in before.endpoints}
    for site in after.endpoints:
        had = old.get(site.code)
        fields = tuple(_fields(_SITE, had, site))
        if had is None or fields:
            ends = had is not None and had.retired_on is None and site.retired_on is not None
            how: Literal["new", "changed", "gone"] = "new" if had is None else "gone" if ends else "changed"
            yield Change(what="endpoint", how=how, key=site.code, name=site.name, fields=fields)


def _aliases(before: Inventory, after: Inventory) -> Iterator[Change]:
    old, new = ({a: e.code for e in one.endpoints for a in e.aliases} for one in (before, after))
    names = {site.code: site.name for site in after.endpoints}
    for alias in sorted(old.keys() | new.keys(), key=lambda alias: (new.get(alias) or old[alias], alias)):
        was, becomes = old.get(alias), new.get(alias)
        if was != becomes:
            yield Change(
                what="alias", how="new" if was is None else "gone" if becomes is None else "changed", key=alias,
                name=names.get(becomes or was or "", ""), fields=(Field(name="endpoint", before=was, after=becomes),),
            )  # fmt: skip


def invitation_changes(
    before: Mapping[str, Invitation], after: Mapping[str, Invitation], timezone: ZoneInfo
) -> list[Change]:
    """Every difference between invitations by uid: by room and time. "gone" is one that is withdrawn."""
    found: list[tuple[Any, Change]] = []
    for uid in before.keys() | after.keys():
        old, new = before.get(uid), after.get(uid)
        if old == new:
            continue
        one = new or old
        assert one is not None  # noqa: S101  (it is one of them)
        change = Change(
            what="invitation", how="new" if old is None else "gone" if new is None else "changed", key=uid,
            name=one.title or "", fields=tuple(_of_invitation(old, new, timezone)) if new is not None else (),
        )  # fmt: skip
        found.append(((one.room, one.starts_at.timestamp() if one.starts_at is not None else 0, uid), change))
    return [change for _, change in sorted(found, key=lambda each: each[0])]


def _of_invitation(old: Invitation | None, new: Invitation, timezone: ZoneInfo) -> Iterator[Field]:
    values = [
        {
            "room": one.room, "source": one.source, "title": one.title, "start": local(one.starts_at, timezone),
            "end": local(one.ends_at, timezone),
            "expected": f"{len(one.expected):,} endpoint{'s'[: len(one.expected) != 1]}",
        }
        if one is not None
        else {}
        for one in (old, new)
    ]  # fmt: skip
    yield from (Field(name=n, before=values[0].get(n), after=a) for n, a in values[1].items() if values[0].get(n) != a)
    had = old.expected if old is not None else {}
    for name, codes in (
        ("invited", sorted(new.expected.keys() - had.keys())),
        ("not invited any more", sorted(had.keys() - new.expected.keys())),
        ("excused", sorted(code for code, reason in new.expected.items() if reason and reason != had.get(code))),
    ):
        if codes:
            yield Field(name=name, before=None, after=_listed(codes))


def _listed(codes: Sequence[str]) -> str:
    more = f" and {len(codes) - NAMED:,} more" if len(codes) > NAMED else ""
    return ", ".join(codes[:NAMED]) + more


def _fields(names: tuple[str, ...], had: Unit | Site | None, now: Unit | Site) -> Iterator[Field]:
    for name in names:
        before, after = _plain(getattr(had, name, None)), _plain(getattr(now, name))
        if before != after:
            yield Field(name=_CALLED.get(name, name), before=before, after=after)


def _plain(value: object) -> str | None:
    if isinstance(value, tuple):
        return ", ".join(one if isinstance(one, str) else f"{one[1] or 'none'} until {one[0]}" for one in value) or None
    if isinstance(value, date):
        return value.isoformat()
    return None if value is None else str(value)
