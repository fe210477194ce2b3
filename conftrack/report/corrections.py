"""What became known after a month was closed, beside what was signed: the tables of its addenda."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from conftrack import words
from conftrack.incidents.causes import OWNERS
from conftrack.language import Language
from conftrack.report.cut import row_name, scope_name
from conftrack.report.document import Column, Row, Section, Table, Value
from conftrack.report.model import Addendum, Change, Closed, Scope
from conftrack.report.names import DEFINITIONS, MEETING_KINDS, PRESENCES
from conftrack.report.tables import hour_name, kind_of, name_of, size_names

_PARTS: Mapping[str, Mapping[str, str]] = {
    "incidents_by_kind": words.INCIDENT_KINDS,
    "incidents_by_cause": {**words.INCIDENT_KINDS, **words.END_CLASSES},
    "incidents_by_owner": OWNERS,  # type: ignore[dict-item]
    "attendees_by_provenance": words.PROVENANCES,
    "meetings_by_kind": MEETING_KINDS,
}
"""What the parts of figures are called."""
_CODES: Mapping[str, Mapping[str, str]] = {"kind": MEETING_KINDS, "presence": PRESENCES}
"""What the values of figures are called that are no numbers."""
NAMING = frozenset({"code", "endpoint", "source", "room", "started_at", "starts_at"})
"""What says of what a change is: it changes only where the whole row is new, or gone, and then its other figures say
so."""


class Corrections:
    """`closed` is cut to `scope`; None: the month is not closed, and there is nothing to correct."""

    def __init__(self, closed: Closed | None, scope: Scope, language: Language) -> None:
        self._closed = closed
        self._addenda = closed.addenda if closed is not None else ()
        self._own = scope_name(scope)
        self._language = language
        self._ = language.text

    def section(self) -> Iterator[Section]:
        """Of the figures that the document is of; none where nothing was corrected."""
        _ = self._
        if not self._addenda:
            return
        yield Section(
            title=_("Addenda"),
            paragraphs=(
                _("What became known after the figures were signed. They were not replaced; corrections stand here."),
            ),
            tables=tuple(
                self._table(one, f"addendum_{one.number}", self._title(one), self._changes(one, own=True), own=True)
                for one in self._addenda
            ),
        )

    def details(self) -> list[Table]:
        """Of everything else: units, endpoints, meetings."""
        return [
            self._table(one, f"details_{one.number}", self._("%(title)s: details", title=self._title(one)), changes)
            for one in self._addenda
            if (changes := self._changes(one, own=False))
        ]

    def _changes(self, addendum: Addendum, *, own: bool) -> list[Change]:
        return [
            change for change in addendum.changes if (change.of == self._own) is own and change.figure not in NAMING
        ]  # fmt: skip

    def _title(self, addendum: Addendum) -> str:
        return self._(
            "Addendum %(number)s of %(time)s, by %(by)s", number=addendum.number,
            time=self._language.moment(addendum.made_at), by=addendum.made_by,
        )  # fmt: skip

    def _table(self, addendum: Addendum, key: str, title: str, changes: list[Change], *, own: bool = False) -> Table:
        """`own`: of the figures of the whole, so that nobody has to be told of what each is."""
        _ = self._
        names = {} if own else self._names(addendum)
        whose = () if own else (Column(key="of", title=_("Of"), width=4),)
        rows = []
        for change in changes:
            figure, _dot, part = change.figure.partition(".")
            said = name_of(figure, self._language)
            missing = 0 if part else None  # a part that is missing is of none
            rows.append(
                Row(
                    values=(
                        *(names.get(change.of, change.of) for _column in whose),
                        f"{said}: {self._part(figure, part)}" if part else said,
                        *(
                            missing if value is None else self._value(figure, value, addendum)
                            for value in (change.before, change.after)
                        ),
                    ),
                    key=figure if figure in DEFINITIONS else "",
                    kind=kind_of(figure),
                )
            )
        return Table(
            key=key,
            title=title,
            columns=(
                *whose,
                Column(key="figure", title=_("Figure"), width=5),
                Column(key="before", title=_("Before"), kind="figure", width=3),
                Column(key="after", title=_("After"), kind="figure", width=3),
            ),
            rows=tuple(rows),
            notes=(_("SHA-256 of the corrected figures: %(digest)s", digest=addendum.digest),),
            empty=_("The figures of the whole did not change: see the details at the end."),
        )

    def _part(self, figure: str, part: str) -> str:
        """What a part of a figure is called."""
        if figure == "heat":
            weekday, _dot, hour = part.partition(".")
            return f"{self._language.weekday(int(weekday))} {hour_name(int(hour))}"
        if figure == "meetings_by_size":
            return size_names(self._language).get(part, part)
        return self._(_PARTS.get(figure, {}).get(part, part))

    def _value(self, figure: str, value: str | float, addendum: Addendum) -> Value:
        """As the tables of the report have it."""
        if not isinstance(value, str):
            return self._("yes") if value is True else self._("no") if value is False else value
        if kind_of(figure) == "moment":
            return datetime.fromisoformat(value)
        if figure == "unit":
            return self._units(addendum).get(value, value)
        return self._(_CODES[figure][value]) if value in _CODES.get(figure, ()) else value

    def _names(self, addendum: Addendum) -> dict[str, str]:
        """What the scopes, endpoints, meetings and absences that changes name are called."""
        _, names = self._, {}
        signed = self._closed.report if self._closed is not None else addendum.report
        units = self._units(addendum)
        for one in (*addendum.report.figures, *signed.figures):
            scope = one.scope
            said = units.get(scope.unit, scope.unit) if scope.unit is not None else _("All units")
            if scope.alone:
                said = _("%(unit)s, without those below", unit=said)
            names[scope_name(scope)] = f"{said} ({scope.source})" if scope.source is not None else said
        sites = {
            site.code: f"{site.code} {site.name}" for site in (*addendum.report.endpoints, *signed.endpoints)
        }  # fmt: skip
        for held in (*addendum.report.meetings, *signed.meetings):
            names[row_name(held)] = f"{held.title or held.room}, {self._language.moment(held.started_at)}"
        for away in (*addendum.report.absences, *signed.absences):
            at = self._language.moment(away.starts_at)
            names[row_name(away)] = f"{sites.get(away.endpoint, away.endpoint)}: {away.title or away.room}, {at}"
        return names | sites

    def _units(self, addendum: Addendum) -> dict[str, str]:
        signed = self._closed.report if self._closed is not None else addendum.report
        return {unit.code: unit.name for unit in (*addendum.report.units, *signed.units)}
