"""How the inventory's changes, doubts and queues look to an operator: lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from zoneinfo import ZoneInfo

from conftrack.inventory.changes import Change, Field
from conftrack.inventory.names import Likely
from conftrack.inventory.tables import hidden_character
from conftrack.storage.inventory import Effect, Figure, Unmatched

SHOWN = 20
"""Lines of one kind on a terminal; elsewhere all are shown."""

_WHAT = {"unit": "Units", "endpoint": "Endpoints", "alias": "Aliases", "invitation": "Invitations"}
_HOW = {
    "unit": {"new": "new", "changed": "changed", "gone": "ended"},
    "endpoint": {"new": "new", "changed": "changed", "gone": "out of service"},
    "alias": {"new": "new", "changed": "moved", "gone": "taken away"},
    "invitation": {"new": "new", "changed": "changed", "gone": "withdrawn"},
}
_LISTS = {"invited", "not invited any more", "excused"}
_SIGN = {"new": "+", "changed": "~", "gone": "-"}
_WORDS = {
    "endpoint_connections": "endpoint connections",
    "connections": "endpoint connections",
    "failed_connections": "failed connections",
    "meeting_seconds": "meeting hours",
    "leg_seconds": "leg hours",
    "peak_legs": "most legs at once",
}


def shown_changes(changes: Sequence[Change], *, at_most: int | None) -> Iterator[str]:
    """What would change, or has, by kind; no more than `at_most` lines of one kind and manner."""
    for what, of_kind in groupby(changes, key=lambda change: change.what):
        listed = list(of_kind)
        by_how = {how: [c for c in listed if c.how == how] for how in _SIGN}
        counts = ", ".join(f"{len(found):,} {_HOW[what][how]}" for how, found in by_how.items() if found)
        yield f"{_WHAT[what]}: {counts}"
        for found in by_how.values():
            yield from (f"  {line}" for line in map(_change, found[:at_most]))
            if at_most is not None and len(found) > at_most:
                yield f"  … and {len(found) - at_most:,} more (all are shown when the output goes to a file)"


def _change(change: Change) -> str:
    sign = _SIGN[change.how]
    if change.what == "alias":
        field = change.fields[0]
        owners = " → ".join(owner for owner in (field.before, field.after) if owner is not None)
        return f"{sign} {visible(change.key)}: {owners} {change.name}"
    fields = "; ".join(_field(field, change.how == "new") for field in change.fields if field.name != "name")
    renamed = [_field(f, False) for f in change.fields if f.name == "name" and f.before is not None]
    return f"{sign} {change.key} {change.name}: {'; '.join([*renamed, fields]).strip('; ')}".rstrip(": ")


def _field(field: Field, is_new: bool) -> str:
    word = field.name.replace("_", " ")
    if is_new or field.name in _LISTS:
        return f"{word} {field.after}"
    return f"{word} {field.before or 'nothing'} → {field.after or 'nothing'}"


def shown_notes(notes: Iterable[str]) -> Iterator[str]:
    yield from (f"Note: {visible(note)}" for note in notes)


def shown_callers(callers: int, legs: int) -> str:
    """What an import does to the past."""
    if not callers:
        return "No caller that was seen before finds another endpoint by it."
    return (
        f"{counted(callers, 'caller')} seen before {'finds' if callers == 1 else 'find'} another endpoint by it: "
        f"{counted(legs, 'leg')} of the past will count for it."
    )


def shown_queue(queue: Iterable[tuple[Unmatched, Sequence[Likely]]], total: int, timezone: ZoneInfo) -> Iterator[str]:
    """Callers without an endpoint, each with those it may be."""
    number = 0
    for number, (caller, likely) in enumerate(queue, start=1):
        yield f"{number}. {visible(caller.identity)}{' (a person)' if caller.personal else ''}"
        yield f"     {seen(caller)}, last on {local(caller, timezone)}, {example(caller, timezone)}"
        for one in likely:
            yield f"     {one.score:3}  {one.code}  {one.name}"
        if not likely:
            yield "       –  no endpoint is called like that"
    if not total:
        yield "Every caller has its endpoint."
        return
    more = f", of which {number:,} are shown (--limit 0 for all)" if number < total else ""
    yield f"{counted(total, 'caller')} without an endpoint{more}. To match one: conftrack inventory match CALLER CODE"


def seen(caller: Unmatched) -> str:
    """How often it was seen."""
    counts = (
        (caller.legs, "leg"), (caller.attempts, "attempt"), (caller.headcounts, "head count"),
        (caller.minutes, "sensor minute"),
    )  # fmt: skip
    return ", ".join(counted(count, word) for count, word in counts if count)


def local(caller: Unmatched, timezone: ZoneInfo) -> str:
    return f"{caller.last_seen_at.astimezone(timezone):%Y-%m-%d %H:%M}"


def example(caller: Unmatched, timezone: ZoneInfo) -> str:
    """A meeting it was in, or tried to reach."""
    if caller.room is None or caller.met_at is None:
        return "in no meeting"
    title = visible(caller.title or caller.room)
    return f"{'in' if caller.legs else 'on the way to'} “{title}” of {caller.met_at.astimezone(timezone):%Y-%m-%d}"


def shown_effect(effect: Effect, *, at_most: int | None) -> Iterator[str]:
    """The past before a change and after it."""
    if effect.callers == 0:
        yield "No caller that was seen before finds another endpoint by it: the past stays as it is."
        return
    yield f"{'':34}{'before':>14}{'after':>14}"
    for heading, figures in (("of the endpoints", effect.endpoints), ("of everything", effect.everything)):
        yield heading
        for figure in figures:
            yield f"  {_word(figure.name):32}{_number(figure, figure.before):>14}{_number(figure, figure.after):>14}"
    months = [list(found) for _, found in groupby(effect.months, key=lambda f: (f.month, f.org))]
    yield f"months that change: {len({found[0].month for found in months})}"
    for found in months[:at_most]:
        first = found[0]
        what = ", ".join(f"{_word(f.name)} {_number(f, f.before)} → {_number(f, f.after)}" for f in found)
        yield f"  {first.month or date.min:%Y-%m} {first.org or 'everything'}: {what}"
    if at_most is not None and len(months) > at_most:
        yield f"  … and {len(months) - at_most:,} more (all are shown when the output goes to a file)"


def visible(text: str) -> str:
    """A text from outside that cannot steer the terminal."""
    return "".join("�" if hidden_character(char) else char for char in text)


def _word(name: str) -> str:
    return _WORDS.get(name, name)


def _number(figure: Figure, value: float) -> str:
    return f"{value / 3600:,.1f}" if figure.name.endswith("_seconds") else f"{value:,.0f}"


def counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
