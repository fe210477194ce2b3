"""The tables of a report that list endpoints, absences and meetings, in the words of one language. No layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from conftrack.language import Language
from conftrack.report.document import Column, Row, Table
from conftrack.report.model import Absence, EndpointFigures, Report
from conftrack.report.names import MEETING_KINDS, PRESENCES
from conftrack.report.tables import figure_columns, name_of, value_of

RANKED = 10
"""Endpoints in the list of the worst, and of the best."""
STREAK = 2
"""Absences in a row from which on they are listed."""
STREAKS_LISTED = 20


class Lists:
    """`report` is cut to what the reader is shown."""

    def __init__(self, report: Report, language: Language) -> None:
        self.report = report
        self._language = language
        self._ = language.text
        self._units = {unit.code: unit.name for unit in report.units}

    def worst(self) -> Table:
        failing = [one for one in self.report.endpoints if one.incidents or one.failed_connections]
        failing.sort(
            key=lambda one: (
                one.availability if one.availability is not None else 1.0, -one.incident_seconds, -one.incidents,
                -one.failed_connections, one.code,
            )
        )  # fmt: skip
        return self._ranking(
            "worst", self._("The ten endpoints with the most trouble"), failing,
            self._("By availability, the lowest first; then by incident hours, incidents and failed connections."),
            self._("No endpoint had an incident or a failed connection."),
        )  # fmt: skip

    def best(self) -> Table:
        used = [one for one in self.report.endpoints if one.endpoint_connections and one.availability is not None]
        used.sort(
            key=lambda one: (-(one.availability or 0), one.incidents, one.failed_connections,
                             -one.endpoint_connections, one.code)
        )  # fmt: skip
        return self._ranking(
            "best", self._("The ten most reliable endpoints"), used,
            self._("Of those that were used: by availability, then by fewest incidents and failed connections, then "
                   "by most endpoint connections."),
            self._("Of no endpoint that was used is the availability known."),
        )  # fmt: skip

    def _ranking(self, key: str, title: str, ranked: list[EndpointFigures], note: str, empty: str) -> Table:
        figures = [
            "availability",
            "incidents",
            "incident_seconds",
            "mean_repair",
            "failed_connections",
            "endpoint_connections",
        ]
        return Table(
            key=key,
            title=title,
            columns=(
                *self._site_columns(),
                *figure_columns(figures, self._language, ["incident_seconds", "endpoint_connections"]),
            ),
            rows=self._rows(ranked[:RANKED], figures),
            notes=(note,),
            empty=empty,
        )

    def endpoints(self) -> Table:
        figures = ["endpoint_connections", "attendees", "person_seconds", "expected", "attended", "participation",
                   "absent", "absence_streak", "failed_connections", "incidents", "incident_seconds", "mean_repair",
                   "availability"]  # fmt: skip
        details = ["person_seconds", "expected", "attended", "absent", "absence_streak", "incident_seconds",
                   "mean_repair"]  # fmt: skip
        return Table(
            key="endpoints",
            title=self._("Every endpoint"),
            columns=(*self._site_columns(), *figure_columns(figures, self._language, details)),
            rows=self._rows(self.report.endpoints, figures),
            empty=self._("There is no inventory of endpoints."),
        )

    def never_used(self) -> Table:
        figures = ["expected", "absent", "excused"]
        return Table(
            key="never_used",
            title=self._("Endpoints that were never used"),
            columns=(*self._site_columns(), *figure_columns(figures, self._language, figures)),
            rows=self._rows([one for one in self.report.endpoints if not one.endpoint_connections], figures),
            empty=self._("Every endpoint was used."),
        )

    def reasons(self) -> Table:
        counted = Counter(a.reason or "" for a in self.report.absences if a.presence == "excused")
        return Table(
            key="reasons",
            title=self._("Reasons of absence"),
            columns=(
                Column(key="reason", title=self._("Reason"), width=5),
                Column(key="excused", title=name_of("excused", self._language), kind="count", width=2),
            ),
            rows=tuple(
                Row(values=(reason or self._("no reason given"), count))
                for reason, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
            ),
            empty=self._("Nobody was excused."),
        )

    def streaks(self) -> Table:
        figures = ["absence_streak", "expected", "absent", "excused", "participation"]
        often = [one for one in self.report.endpoints if one.absence_streak >= STREAK]
        often.sort(key=lambda one: (-one.absence_streak, -one.absent, one.code))
        return Table(
            key="streaks",
            title=self._("Endpoints absent several times in a row"),
            columns=(*self._site_columns(), *figure_columns(figures, self._language, ["expected", "excused"])),
            rows=self._rows(often[:STREAKS_LISTED], figures),
            notes=(self._("The first %(listed)s of %(all)s.", listed=STREAKS_LISTED, all=len(often)),)
            if len(often) > STREAKS_LISTED else (),
            empty=self._("No endpoint was absent twice in a row."),
        )  # fmt: skip

    def absences(self) -> Table:
        _ = self._
        sites = {one.code: one for one in self.report.endpoints}
        rows = []
        for one in self.report.absences:
            site = sites.get(one.endpoint)
            rows.append(
                Row(
                    values=(
                        one.starts_at, one.title or one.room, one.endpoint, site.name if site else None,
                        self._unit(one), _(PRESENCES[one.presence]), one.reason or "",
                    )
                )
            )  # fmt: skip
        return Table(
            key="absences",
            title=_("Every absence"),
            columns=(
                Column(key="starts_at", title=_("Begins"), kind="moment", width=5),
                Column(key="meeting", title=_("Meeting"), width=8),
                *self._site_columns(),
                Column(key="presence", title=_("What became of it"), width=5),
                Column(key="reason", title=_("Reason"), width=6),
            ),
            rows=tuple(rows),
            empty=_("Nobody was absent."),
        )

    def meetings(self) -> Table:
        _ = self._
        return Table(
            key="meetings",
            title=_("Every meeting"),
            columns=(
                Column(key="started_at", title=_("Began"), kind="moment", width=5),
                Column(key="ended_at", title=_("Ended"), kind="moment", width=5),
                Column(key="meeting", title=_("Meeting"), width=12),
                Column(key="source", title=_("Source"), width=4),
                Column(key="kind", title=_("Kind"), width=4),
                *figure_columns(["endpoints", "attendees", "expected", "attended"], self._language),
            ),
            rows=tuple(
                Row(
                    values=(
                        one.started_at, one.ended_at, one.title or one.room, one.source, _(MEETING_KINDS[one.kind]),
                        one.endpoints, one.attendees, one.expected, one.attended,
                    )
                )
                for one in self.report.meetings
            ),
            empty=_("There was no meeting."),
        )  # fmt: skip

    def _site_columns(self) -> tuple[Column, ...]:
        return (
            Column(key="code", title=self._("Code"), width=5),
            Column(key="endpoint", title=self._("Endpoint"), width=8),
            Column(key="unit", title=self._("Unit"), width=8),
        )

    def _rows(self, sites: Iterable[EndpointFigures], figures: Sequence[str]) -> tuple[Row, ...]:
        """What stands under `_site_columns` and the columns of these figures."""
        return tuple(
            Row(values=(one.code, one.name, self._unit(one), *(value_of(one, name) for name in figures)))
            for one in sites
        )

    def _unit(self, of: EndpointFigures | Absence) -> str | None:
        return self._units.get(of.unit, of.unit) if of.unit is not None else None
