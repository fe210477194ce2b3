"""Makes the document of a report: what is told, in which order, in plain words. Every form lays out this one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from zoneinfo import ZoneInfo

from conftrack.language import UNKNOWN, Language
from conftrack.report.corrections import Corrections
from conftrack.report.cut import cut, cut_closed
from conftrack.report.document import Chart, Column, Document, Kind, Row, Section, Table, Value
from conftrack.report.lists import Lists
from conftrack.report.model import Certificate, Closed, Report, Scope
from conftrack.report.names import DEFINITIONS
from conftrack.report.tables import Tables, definition_of, name_of

CHARTED = 12
"""Bars of a chart at most, the longest."""


def document(report: Report | Closed, scope: Scope, language: str) -> Document:
    """The document of a month, or of what one unit or one source had of it. Raises KeyError for a unit or source that
    the report does not know."""
    return _Contents(report, scope, language).document()


class _Contents:
    def __init__(self, report: Report | Closed, scope: Scope, language: str) -> None:
        self.closed = cut_closed(report, scope) if isinstance(report, Closed) else None
        self.report = self.closed.report if self.closed else cut(report, scope)  # type: ignore[arg-type]
        self.scope = scope
        self.language = Language(language, ZoneInfo(self.report.timezone))
        self._ = self.language.text
        self.tables = Tables(self.report, scope, self.language)
        self.corrections = Corrections(self.closed, scope, self.language)
        self.lists = Lists(self.report, self.language)

    def document(self) -> Document:
        _, report = self._, self.report
        sections = tuple(
            chain(
                [self._use(), self._meetings()], self._units(), [self._participation(), self._incidents()],
                self._endpoints(), self._licence(), self._savings(), self.corrections.section(), [self._completeness()],
            )
        )  # fmt: skip
        annexes = tuple(self._annexes())
        title = _("Use of the video conference system, %(month)s", month=self.language.month(report.month))
        if report.is_open:
            title = _("%(title)s (provisional: the month is open)", title=title)
        elif self.closed is None:
            title = _("%(title)s (provisional: not closed)", title=title)
        return Document(
            language=self.language.code,
            timezone=self.report.timezone,
            title=title,
            subject=self._subject(),
            mark=self._mark(),
            provisional=self.closed is None,
            notes=tuple(self._notes()),
            sections=sections,
            annexes=annexes,
            definitions=self._definitions((*sections, *annexes)),
            month=report.month,
            made_at=report.made_at,
        )

    # -- what it is

    def _subject(self) -> str:
        _, report = self._, self.report
        whose = _("All units")
        if self.scope.unit is not None:
            name = next(unit.name for unit in report.units if unit.code == self.scope.unit)
            whose = _("%(unit)s and all units below it", unit=name)
        if self.scope.source is not None:
            whose = _("%(whose)s, source %(source)s", whose=whose, source=self.scope.source)
        return _(
            "%(whose)s; from %(since)s to %(last)s", whose=whose, since=self.language.plain_day(report.since),
            last=self.language.plain_day(report.until - timedelta(days=1)),
        )  # fmt: skip

    def _mark(self) -> str:
        _, closed = self._, self.closed
        if closed is None:
            if self.report.is_open:
                return _(
                    "PROVISIONAL: the month is open; as of %(time)s", time=self.language.moment(self.report.made_at)
                )
            return _("PROVISIONAL: not closed; as of %(time)s", time=self.language.moment(self.report.made_at))
        mark = _(
            "Figures closed at %(time)s; SHA-256 %(digest)s…", time=self.language.moment(closed.closed_at),
            digest=closed.digest[:16],
        )  # fmt: skip
        if closed.addenda:
            mark = _("%(mark)s; corrected by %(count)s addenda", mark=mark, count=len(closed.addenda))
        return mark

    def _notes(self) -> Iterator[str]:
        _, report, closed = self._, self.report, self.closed
        if closed is not None:
            yield _(
                "Figures closed at %(time)s by %(by)s. SHA-256 of the figures: %(digest)s",
                time=self.language.moment(closed.closed_at), by=closed.closed_by, digest=closed.digest,
            )  # fmt: skip
            for addendum in closed.addenda:
                yield _(
                    "Addendum %(number)s of %(time)s corrects %(count)s figures: see Addenda. The figures here are "
                    "those that were signed.",
                    number=addendum.number, time=self.language.moment(addendum.made_at), count=len(addendum.changes),
                )  # fmt: skip
        elif report.is_open:
            yield _(
                "The month is not over: these are the figures up to %(time)s. They can still change, and are not set "
                "against other months.",
                time=self.language.moment(report.made_at),
            )
        else:
            yield _(
                "The month is over and not closed: these are the figures as of %(time)s. They can still change.",
                time=self.language.moment(report.made_at),
            )
        if report.tree == "today":
            yield _("Units are those of today, for what was before them too.")
        for one in report.certificates:
            if not one.ever_read:
                yield _("Without %(source)s, which has never been read.", source=one.source)
        yield _("%(sign)s means not known, which is not zero.", sign=UNKNOWN)

    # -- sections

    def _use(self) -> Section:
        _, tables = self._, self.tables
        figures = ["legs", "endpoint_connections", "endpoints", "attendees"]
        took_place = ["meetings", "not_held", "meeting_seconds", "leg_seconds", "person_seconds", "peak_legs"]
        return Section(
            title=_("How the system was used"),
            tables=(
                tables.compared("took_part", _("Who took part"), figures, explained=True),
                tables.provenance(),
                tables.compared("took_place", _("What took place"), took_place),
            ),
        )

    def _meetings(self) -> Section:
        tables = self.tables
        found = [tables.sizes(), tables.kinds()]
        if self.scope.unit is None:
            found.append(tables.heat())
        return Section(
            title=self._("Meetings"),
            tables=tuple(found),
            charts=(
                Chart(title=found[0].title, table="sizes", column="meetings_by_size", lying=True),
                Chart(title=found[1].title, table="kinds", column="meetings_by_kind", lying=True),
            ),
        )

    def _units(self) -> Iterator[Section]:
        _, tables = self._, self.tables
        found: list[Table] = []
        charts: list[Chart] = []
        if self.scope.source is None and len(self.report.certificates) > 1:
            found.append(tables.sources())
        if self.report.units:
            use, quality = tables.units_use(), tables.units_quality()
            if use.rows:
                found += [use, quality]
                charts += [
                    Chart(title=name_of(name, self.language), table="units_use", column=name, lying=True, most=CHARTED)
                    for name in ("endpoint_connections", "attendees")
                ]
        if found:
            yield Section(title=_("By source and unit"), tables=tuple(found), charts=tuple(charts))

    def _participation(self) -> Section:
        _, lists = self._, self.lists
        figures = ["expected", "attended", "participation", "on_time", "late", "on_time_rate", "brief", "absent",
                   "excused", "unknown"]  # fmt: skip
        return Section(
            title=_("Participation"),
            tables=(
                self.tables.compared("participation", _("Who was expected, and who came"), figures),
                lists.reasons(),
                *((lists.streaks(),) if self.scope.source is None else ()),
            ),
        )

    def _incidents(self) -> Section:
        figures = ["failed_connections", "incidents", "incident_seconds", "mean_repair", "availability"]
        tables = self.tables.incidents()
        return Section(
            title=self._("Incidents and availability"),
            tables=(self.tables.compared("reliability", self._("How reliable it was"), figures), *tables),
            charts=tuple(
                Chart(title=table.title, table=table.key, column=table.columns[1].key, lying=True, most=CHARTED)
                for table in tables
                if table.rows
            ),
        )

    def _endpoints(self) -> Iterator[Section]:
        _, lists = self._, self.lists
        if self.scope.source is not None:
            yield Section(
                title=_("Endpoints"),
                paragraphs=(_("Endpoints are counted over all sources: see the report of all of them."),),
            )
            return
        never = sum(not one.endpoint_connections for one in self.report.endpoints)
        yield Section(
            title=_("Endpoints"),
            paragraphs=(
                _(
                    "Of %(all)s endpoints of the inventory, %(never)s were never used in the month.",
                    all=self.language.number(len(self.report.endpoints)), never=self.language.number(never),
                ),
            ) if self.report.endpoints else (),
            tables=(lists.worst(), lists.best()),
        )  # fmt: skip

    def _licence(self) -> Iterator[Section]:
        _, licence, figures = self._, self.report.assumptions.licence, self.tables.figures
        if licence is None or self.scope != Scope():
            return
        peak = figures.peak_legs if figures is not None else None
        rows: list[tuple[str, str, Value, Kind]] = [
            ("peak_legs", name_of("peak_legs", self.language), peak, "count"),
            ("", _("Connections at once that the licence allows"), licence, "count"),
            ("utilisation", name_of("utilisation", self.language), None if peak is None else peak / licence, "share"),
        ]
        yield Section(title=_("Peak and licence"), tables=(self._list("licence", _("Use of the licence"), rows),))

    def _savings(self) -> Iterator[Section]:
        _, assumed, figures = self._, self.report.assumptions, self.tables.figures
        if assumed.travel_km is None:
            return
        spared = figures.people_spared if figures is not None else None
        travelled = None if spared is None else spared * assumed.travel_km
        rows: list[tuple[str, str, Value, Kind]] = [
            ("", name_of("people_spared", self.language), spared, "count"),
            ("", _("Assumed: kilometres of one person to one meeting, both ways"), assumed.travel_km, "amount"),
            ("savings", _("Kilometres not travelled"), travelled, "amount"),
        ]
        if assumed.cost_per_km is not None:
            cost = None if travelled is None else travelled * assumed.cost_per_km
            rows += [
                ("", _("Assumed: cost of one person and kilometre, đồng"), assumed.cost_per_km, "amount"),
                ("savings", _("Travel cost saved, đồng"), cost, "amount"),
            ]
        yield Section(
            title=name_of("savings", self.language),
            paragraphs=(
                _("This is an estimate: nobody measured the distance and the cost, they are assumed as printed."),
                definition_of("savings", self.language),
            ),
            tables=(self._list("savings", name_of("savings", self.language), rows),),
        )

    def _completeness(self) -> Section:
        _, language = self._, self.language
        people = self.tables.provenance()
        of_people = "; ".join(
            f"{row.values[0]}: {language.number(row.values[1])}"
            for row in people.rows
            if isinstance(row.values[1], int)
        )
        return Section(
            title=_("Certificate of completeness"),
            paragraphs=(
                *(self._certified(one) for one in self.report.certificates),
                *((_("Where the number of people comes from: %(parts)s.", parts=of_people),) if of_people else ()),
            ),
            tables=(
                Table(
                    key="completeness",
                    title=_("How complete the reading was"),
                    columns=(
                        Column(key="source", title=_("Source"), width=4),
                        Column(key="polls", title=_("Readings"), kind="count", width=3),
                        Column(key="failed_polls", title=_("Failed readings"), kind="count", width=3),
                        Column(key="source_total", title=_("Records by the source"), kind="count", width=3),
                        Column(key="stored_total", title=_("Records stored"), kind="count", width=3),
                        Column(key="short_windows", title=_("Windows short of records"), kind="count", width=3),
                        Column(key="rejected", title=_("Records not understood"), kind="count", width=3),
                        Column(key="unseen_seconds", title=_("Time not seen"), kind="lasting", width=3),
                        Column(key="read_until", title=_("Read up to"), kind="moment", width=3),
                    ),
                    rows=tuple(
                        Row(
                            values=(
                                one.source, one.polls, one.failed_polls, one.source_total, one.stored_total,
                                one.short_windows, one.rejected, one.unseen_seconds if one.ever_read else None,
                                one.read_until or (_("the whole month") if one.ever_read else None),
                            )
                        )
                        for one in self.report.certificates
                    ),
                    empty=_("No source is configured"),
                ),
            ),
        )  # fmt: skip

    def _certified(self, one: Certificate) -> str:
        _, language = self._, self.language
        if not one.ever_read:
            return _(
                "%(source)s has never been read: what went on there is in none of these figures.", source=one.source
            )
        said = [
            _(
                "%(source)s was read %(polls)s times, %(failed)s of them in vain.", source=one.source,
                polls=language.number(one.polls), failed=language.number(one.failed_polls),
            ) if one.polls
            else _("%(source)s was not read during the month: its records were fetched later.", source=one.source)
        ]  # fmt: skip
        if one.source_total is not None and one.stored_total is not None:
            said.append(
                _(
                    "In the checked windows it had %(theirs)s records, of which %(ours)s are stored.",
                    theirs=language.number(one.source_total), ours=language.number(one.stored_total),
                )
            )  # fmt: skip
        elif one.windows:
            said.append(_("It does not tell how many records it has."))
        else:
            said.append(_("Its number of records of this month was not compared with what is stored."))
        if one.unseen_seconds:
            said.append(_("It could not be seen for %(time)s.", time=language.lasting(one.unseen_seconds)))
        else:
            said.append(_("There was no time in which it could not be seen."))
        if one.rejected:
            said.append(_("%(count)s records were not understood.", count=language.number(one.rejected)))
        if one.read_until is not None:
            said.append(_("It has been read up to %(time)s only.", time=language.moment(one.read_until)))
        return " ".join(said)

    def _annexes(self) -> Iterator[Section]:
        lists, known = self.lists, self.scope.source is None
        tables = [lists.absences()]
        if self.scope.unit is None:
            tables.append(lists.meetings())
        if known and self.report.endpoints:
            tables[:0] = [lists.never_used(), lists.endpoints()]
        if len({unit.level for unit in self.report.units}) > 1:
            tables.insert(0, self.tables.every_unit())
        tables += self.corrections.details()
        return (Section(title=table.title, tables=(table,)) for table in tables)

    # -- what all share

    def _list(self, key: str, title: str, rows: list[tuple[str, str, Value, Kind]]) -> Table:
        return Table(
            key=key,
            title=title,
            columns=(
                Column(key="name", title=self._("Figure"), width=5),
                Column(key="value", title=self._("Value"), kind="figure", width=2),
            ),
            rows=tuple(Row(values=(name, value), key=figure, kind=kind) for figure, name, value, kind in rows),
        )

    def _definitions(self, sections: tuple[Section, ...]) -> Table:
        """Of every figure that stands in the document, in the order of the definitions."""
        _ = self._
        tables = [table for section in sections for table in section.tables]
        used = {column.key for table in tables for column in table.columns}
        used |= {row.key for table in tables for row in table.rows}
        return Table(
            key="definitions",
            title=_("What these figures count"),
            columns=(
                Column(key="figure", title=_("Figure"), width=2),
                Column(key="definition", title=_("What it counts"), width=5),
            ),
            rows=tuple(
                Row(values=(_(name), _(definition))) for key, (name, definition) in DEFINITIONS.items() if key in used
            ),
        )
