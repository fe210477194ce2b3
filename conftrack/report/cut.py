"""Cuts a report to what a reader is shown, so that no form of it can hold anything of others."""

from __future__ import annotations

import msgspec

from conftrack.model import Record
from conftrack.report.model import Addendum, Closed, Earlier, Report, Scope


def cut(report: Report, scope: Scope) -> Report:
    """What a report has of one source, or of a unit with those below it; of Scope() it is the report itself.

    Meetings are left out for a unit, which are not of it alone. So are endpoints for a source: their figures are of
    all sources. Raises KeyError for a unit or source that the report does not know.
    """
    report.of(scope)
    codes = _codes(report, scope.unit)
    return msgspec.structs.replace(
        report,
        units=tuple(unit for unit in report.units if scope.unit is None or unit.code in codes),
        figures=tuple(
            one
            for one in report.figures
            if (scope.unit is None or one.scope.unit in codes) and scope.source in (None, one.scope.source)
        ),
        endpoints=tuple(report.within(scope.unit)) if scope.source is None else (),
        absences=tuple(
            absence
            for absence in report.absences
            if (scope.unit is None or absence.unit in codes) and scope.source in (None, absence.source)
        ),
        meetings=tuple(held for held in report.meetings if scope.unit is None and scope.source in (None, held.source)),
        certificates=tuple(one for one in report.certificates if scope.source in (None, one.source)),
        month_before=_earlier(report.month_before, scope, codes),
        year_before=_earlier(report.year_before, scope, codes),
    )


def cut_closed(closed: Closed, scope: Scope) -> Closed:
    """The same of a closed month and of its addenda; digests stay those of the whole."""
    return msgspec.structs.replace(
        closed,
        report=cut(closed.report, scope),
        addenda=tuple(_addendum(closed.report, addendum, scope) for addendum in closed.addenda),
    )


def _addendum(signed: Report, addendum: Addendum, scope: Scope) -> Addendum:
    report = cut(addendum.report, scope)
    named = {endpoint.code for one in (cut(signed, scope), report) for endpoint in one.endpoints}
    scopes = {scope_name(one.scope) for one in (*cut(signed, scope).figures, *report.figures)}
    sources = {one.source for one in report.certificates} if scope.unit is None else set()
    return msgspec.structs.replace(
        addendum,
        report=report,
        changes=tuple(
            change
            for change in addendum.changes
            if scope == Scope() or change.of in scopes or change.of.partition(" / ")[0] in named | sources
        ),
    )


def scope_name(scope: Scope) -> str:
    """A scope as changes name it."""
    return " / ".join((scope.source or "*", scope.unit or "*", *(("alone",) if scope.alone else ())))


def row_name(row: Record) -> str:
    """An absence, a meeting or a certificate as changes name it."""
    fields = msgspec.to_builtins(row)
    names = ("endpoint", "source", "room", "starts_at", "started_at")
    return " / ".join(str(fields[name]) for name in names if fields.get(name) is not None)


def _earlier(before: Earlier, scope: Scope, codes: set[str]) -> Earlier:
    """`figures` becomes those of the scope: None too where they were not kept."""
    kept = {one.scope: one.figures for one in before.units}
    return Earlier(
        month=before.month,
        figures=before.figures if scope == Scope() else kept.get(scope),
        units=tuple(one for one in before.units if scope.unit is None or one.scope.unit in codes),
    )


def _codes(report: Report, unit: str | None) -> set[str]:
    """Of a unit and of all below it."""
    codes = {unit} if unit is not None else set()
    for one in report.units:  # in the order of the tree
        if one.parent in codes:
            codes.add(one.code)
    return codes
