"""The tables of a report that hold figures of scopes, in the words of one language. No layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from conftrack import words
from conftrack.incidents.causes import OWNERS
from conftrack.language import Language, rounded_down
from conftrack.report.document import Column, Kind, Row, Table, Value
from conftrack.report.model import (
    PROVENANCES,
    SIZES,
    EndpointFigures,
    Figures,
    Part,
    Report,
    Scope,
)
from conftrack.report.names import DEFINITIONS, MEETING_KINDS, OTHER_FIGURES

_SHARES = ("participation", "on_time_rate", "availability", "utilisation")


def kind_of(figure: str) -> Kind:
    """What a figure is, by its name."""
    if figure in _SHARES:
        return "share"
    if figure == "mean_repair":
        return "lasting"
    if figure in ("ended_at", "read_until"):
        return "moment"
    return "hours" if figure.endswith("_seconds") else "count"


def name_of(figure: str, language: Language) -> str:
    return language.text(DEFINITIONS[figure][0] if figure in DEFINITIONS else OTHER_FIGURES.get(figure, figure))


def definition_of(figure: str, language: Language) -> str:
    return language.text(DEFINITIONS[figure][1])


def size_names(language: Language) -> dict[str, str]:
    """Of the sizes of meetings, by the least endpoints of each."""
    _ = language.text
    return {
        str(low): _("fewer than %(high)s endpoints", high=high) if low == 1
        else _("%(low)s to %(high)s endpoints", low=low, high=high - 1) if high else _("%(low)s or more", low=low)
        for low, high in zip((1, *SIZES), (*SIZES, 0), strict=True)
    }  # fmt: skip


def hour_name(hour: int) -> str:
    return f"{hour:02}–{hour + 1:02}"


def value_of(figures: Figures | EndpointFigures | None, figure: str) -> Value:
    """None where it is not known."""
    value = getattr(figures, figure) if figures is not None else None
    return rounded_down(value) if value is not None and figure in _SHARES else value


def figure_columns(figures: Sequence[str], language: Language, details: Sequence[str] = ()) -> list[Column]:
    return [
        Column(key=name, title=name_of(name, language), kind=kind_of(name), width=3, detail=name in details)
        for name in figures
    ]


class Tables:
    """`report` is cut to `scope`. A source that was never read has no figures: they are not known."""

    def __init__(self, report: Report, scope: Scope, language: Language) -> None:
        self.report = report
        self.scope = scope
        self.figures = self._known(scope)
        self._language = language
        self._ = language.text

    # -- figures of the month

    def compared(self, key: str, title: str, figures: Sequence[str], *, explained: bool = False) -> Table:
        """A figure a row, beside the month and the year before. There is no change of a month that is still open."""
        _ = self._
        before, year = self.report.month_before, self.report.year_before
        rows = []
        for name in figures:
            value = value_of(self.figures, name)
            cells: list[Value] = [name_of(name, self._language), value]
            for old in (value_of(before.figures, name), value_of(year.figures, name)):
                cells += [old, None if self.report.is_open else _change(value, old, kind_of(name))]
            rows.append(Row(values=tuple(cells), key=name, kind=kind_of(name)))
        return Table(
            key=key,
            title=title,
            columns=(
                Column(key="figure", title=_("Figure"), width=5),
                Column(key="value", title=self._language.monthly(self.report.month), kind="figure", width=3),
                Column(key="month_before", title=self._language.monthly(before.month), kind="figure", width=3),
                Column(key="month_change", title=_("Change"), kind="change", width=2),
                Column(key="year_before", title=self._language.monthly(year.month), kind="figure", width=3),
                Column(key="year_change", title=_("Change"), kind="change", width=2),
            ),
            rows=tuple(rows),
            notes=tuple(
                f"{name_of(name, self._language)}: {definition_of(name, self._language)}"
                for name in figures
                if explained
            ),
        )

    def provenance(self) -> Table:
        return self._parts(
            "provenance", self._("Where the number of people comes from"), "attendees",
            self.figures.attendees_by_provenance if self.figures else (), words.PROVENANCES, PROVENANCES,
        )  # fmt: skip

    def sizes(self) -> Table:
        _, names = self._, size_names(self._language)
        parts = self.figures.meetings_by_size if self.figures else ()
        return self._parts("sizes", _("Meetings by size"), "meetings_by_size", parts, names, list(names), say=str)

    def kinds(self) -> Table:
        parts = self.figures.meetings_by_kind if self.figures else ()
        return self._parts(
            "kinds", self._("Meetings by kind"), "meetings_by_kind", parts, MEETING_KINDS, list(MEETING_KINDS)
        )

    def heat(self) -> Table:
        """Hours from the first to the last in which a meeting began; weekdays beside each other."""
        _ = self._
        counts = {(one.hour, one.weekday): one.meetings for one in (self.figures.heat if self.figures else ())}
        hours = [hour for hour, _day in counts]
        return Table(
            key="heat",
            title=name_of("heat", self._language),
            columns=(
                Column(key="hour", title=_("Hour"), width=2),
                *(Column(key=f"day_{day}", title=self._language.weekday(day), kind="count") for day in range(7)),
            ),
            rows=tuple(
                Row(values=(hour_name(hour), *(counts.get((hour, day), 0) for day in range(7))), key="heat")
                for hour in (range(min(hours), max(hours) + 1) if hours else ())
            ),
            notes=(definition_of("heat", self._language),),
            shaded=True,
            empty=_("No meeting began in this month."),
        )

    def incidents(self) -> list[Table]:
        figures, _ = self.figures, self._
        causes: dict[str, str] = {**words.INCIDENT_KINDS, **words.END_CLASSES}
        return [
            self._parts("incidents_by_kind", _("Incidents by kind"), "incidents",
                        figures.incidents_by_kind if figures else (), words.INCIDENT_KINDS),
            self._parts("incidents_by_cause", _("Incidents by cause"), "incidents_by_cause",
                        figures.incidents_by_cause if figures else (), causes),
            self._parts("incidents_by_owner", _("Incidents by owner"), "incidents_by_owner",
                        figures.incidents_by_owner if figures else (), OWNERS),
        ]  # fmt: skip

    # -- sources and units

    def sources(self) -> Table:
        figures = [
            "meetings",
            "legs",
            "endpoint_connections",
            "endpoints",
            "attendees",
            "failed_connections",
            "incidents",
        ]
        names = [one.source for one in self.report.certificates]
        return self._scopes(
            "sources", self._("By source"), self._("Source"), figures,
            [(name, Scope(source=name, unit=self.scope.unit)) for name in names],
        )  # fmt: skip

    def units_use(self) -> Table:
        figures = ["meetings", "endpoint_connections", "endpoints", "attendees", "meeting_seconds", "person_seconds"]
        return self._units("units_use", self._("Use by unit"), figures)

    def units_quality(self) -> Table:
        figures = [
            "participation",
            "on_time_rate",
            "absent",
            "excused",
            "failed_connections",
            "incidents",
            "availability",
        ]
        return self._units("units_quality", self._("Participation and reliability by unit"), figures)

    def every_unit(self) -> Table:
        """The whole tree: of each unit with all below it."""
        figures = ["meetings", "endpoint_connections", "endpoints", "attendees", "participation", "on_time_rate",
                   "absent", "failed_connections", "incidents", "availability"]  # fmt: skip
        low = min((unit.level for unit in self.report.units), default=0)
        scopes = []
        for unit in self.report.units:
            name = "\u2003" * (unit.level - low) + unit.name
            scopes.append((name, Scope(source=self.scope.source, unit=unit.code)))
            alone = Scope(source=self.scope.source, unit=unit.code, alone=True)
            if any(one.scope == alone for one in self.report.figures):
                scopes.append((self._("%(unit)s, without those below", unit=name), alone))
        return self._scopes("every_unit", self._("Every unit"), self._("Unit"), figures, scopes)

    def _units(self, key: str, title: str, figures: list[str]) -> Table:
        report, source = self.report, self.scope.source
        below = list(report.below(self.scope.unit))
        top = self.scope.unit
        if top is None and len(below) == 1 and any(report.below(below[0].code)):
            top = below[0].code
            below = list(report.below(top))
        scopes = [(unit.name, Scope(source=source, unit=unit.code)) for unit in below]
        alone = Scope(source=source, unit=top, alone=True)
        if top is not None and any(one.scope == alone for one in report.figures):
            name = next(unit.name for unit in report.units if unit.code == top)
            scopes.append((self._("%(unit)s, without those below", unit=name), alone))
        return self._scopes(key, title, self._("Unit"), figures, scopes)

    def _scopes(
        self, key: str, title: str, what: str, figures: Sequence[str], scopes: Iterable[tuple[str, Scope]]
    ) -> Table:
        _ = self._
        rows = [self._row(name, self._known(scope), figures) for name, scope in scopes]
        whole = self._row(_("Together"), self.figures, figures)
        return Table(
            key=key,
            title=title,
            columns=(Column(key="name", title=what, width=6), *figure_columns(figures, self._language)),
            rows=(*rows, Row(values=whole.values, total=True)) if rows else (),
            notes=(
                _("The last row counts each meeting and endpoint once, and what belongs to none of the others."),
            ) if rows else (),
            empty=_("There are none below."),
        )  # fmt: skip

    # -- what they are made of

    def _parts(
        self, key: str, title: str, figure: str, parts: Sequence[Part], names: Mapping[Any, str],
        order: Sequence[str] = (), *, say: Callable[[str], str] | None = None,
    ) -> Table:  # fmt: skip
        """Parts of a figure and their shares; in an order, or the largest first."""
        _ = self._
        known: dict[str, str] = dict(names)
        say = say or partial(_)
        counts = {part.name: part.count for part in parts}
        if order:
            listed = [(name, counts.pop(name, 0)) for name in order]
            listed += sorted(counts.items())
        else:
            listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        whole = sum(count for _name, count in listed)
        return Table(
            key=key,
            title=title,
            columns=(
                Column(key="name", title=_("Kind"), width=5),
                Column(key=figure, title=_("Number"), kind="count", width=2),
                Column(key="share", title=_("Share"), kind="share", width=2),
            ),
            rows=tuple(
                Row(
                    values=(say(known[name]) if name in known else name, count if self.figures else None,
                            rounded_down(count / whole) if whole else None),
                    key=figure,
                )
                for name, count in listed
            ),
            notes=(definition_of(figure, self._language),),
            empty=_("There were none.") if self.figures else _("Not known."),
        )  # fmt: skip

    def _known(self, scope: Scope) -> Figures | None:
        sources = [one for one in self.report.certificates if scope.source in (None, one.source)]
        return self.report.of(scope) if not sources or any(one.ever_read for one in sources) else None

    def _row(self, name: str, figures: Figures | None, columns: Sequence[str]) -> Row:
        return Row(values=(name, *(value_of(figures, column) for column in columns)))


def _change(value: Value, old: Value, kind: Kind) -> float | None:
    """How much more a figure is than before; None: one of the two is not known, nothing, or a share."""
    if kind == "share" or not isinstance(value, int | float) or not isinstance(old, int | float) or not old:
        return None
    return value / old - 1
