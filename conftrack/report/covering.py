"""What a mail with a report says: which report it is, whether it is closed, its first figures, and what is missing.

The text of each language is a template of its own; the HTML part is made of the text, so both always say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from conftrack.mail import one_line
from conftrack.model import Record
from conftrack.report.model import Closed, Report, Scope

_TITLES = {
    "vi": "Báo cáo sử dụng hội nghị trực tuyến tháng {month:%m/%Y}",
    "en": "Video conferencing report of {month:%m/%Y}",
}
_WHOLE = {"vi": "toàn bộ hệ thống", "en": "the whole system"}
_OPEN = {"vi": "chưa chốt", "en": "not closed"}
_ADDENDUM = {"vi": "bản đính chính {number}", "en": "addendum {number}"}
_FILES = {"vi": "Báo cáo hội nghị trực tuyến {month:%Y-%m}", "en": "Video conferencing report {month:%Y-%m}"}


class Letter(Record, frozen=True):
    subject: str
    text: str
    html: str


class Edition(Record, frozen=True):
    """A month as it stands: its figures, and what was signed if it is closed."""

    report: Report
    closed: Closed | None = None

    @property
    def number(self) -> int:
        """0: not closed; 1: closed; 1 + n: with addendum n."""
        return 0 if self.closed is None else 1 + len(self.closed.addenda)

    @property
    def stated(self) -> Report | Closed:
        return self.closed or self.report


def standing(closed: Closed) -> Edition:
    """A closed month with its figures as they were corrected last."""
    return Edition(closed.addenda[-1].report if closed.addenda else closed.report, closed)


def file_name(edition: Edition, scope: Scope, language: str, form: str) -> str:
    """What an attachment is called."""
    name = _FILES[language].format(month=edition.report.month)
    return f"{name} – {_unit(edition.report, scope.unit)}.{form}" if scope.unit else f"{name}.{form}"


def letter(
    edition: Edition, scope: Scope, languages: Sequence[str], attached: Sequence[str], timezone: ZoneInfo
) -> Letter:
    """The mail of a report, in these languages one after the other. Raises KeyError for a unit it does not know."""
    texts = {lang: _text(edition, scope, lang, attached, timezone) for lang in languages}
    letters = [{"lang": lang, "blocks": list(_blocks(text))} for lang, text in texts.items()]
    html = _environment(languages[0]).get_template("mail.html").render(lang=languages[0], letters=letters)
    return Letter(
        " / ".join(_subject(edition, scope, lang) for lang in languages), "\n\n".join(texts.values()), html
    )  # fmt: skip


def _subject(edition: Edition, scope: Scope, lang: str) -> str:
    subject = _TITLES[lang].format(month=edition.report.month)
    if scope.unit is not None:
        subject += f" – {_unit(edition.report, scope.unit)}"
    if edition.closed is None:
        subject += f" ({_OPEN[lang]})"
    elif edition.closed.addenda:
        subject += f" ({_ADDENDUM[lang].format(number=edition.number - 1)})"
    return one_line(subject)


def _text(edition: Edition, scope: Scope, lang: str, attached: Sequence[str], timezone: ZoneInfo) -> str:
    report, closed = edition.report, edition.closed
    figures = report.of(scope)
    day = partial(_day, locale=lang)
    moment = partial(_moment, locale=lang, timezone=timezone)
    addendum = closed.addenda[-1] if closed and closed.addenda else None
    of = _WHOLE[lang] if scope.unit is None else one_line(_unit(report, scope.unit))
    text = _environment(lang).get_template(f"{lang}.txt").render(
        subject=_subject(edition, scope, lang),
        of=of[:1].upper() + of[1:],
        since=day(report.since),
        last=day(report.until - timedelta(days=1)),
        edition=edition.number,
        made_at=moment(report.made_at),
        closed_at=closed and moment(closed.closed_at),
        digest=closed and closed.digest,
        addendum=addendum
        and {
            "number": addendum.number, "at": moment(addendum.made_at), "changes": len(addendum.changes),
            "digest": addendum.digest,
        },
        figures=figures,
        counted=sum(part.count for part in figures.attendees_by_provenance if part.name != "connections"),
        unseen=[
            {
                "source": one.source,
                "ever_read": one.ever_read,
                "read_until": one.read_until and moment(one.read_until),
                "minutes": -int(-one.unseen_seconds // 60),
                "short": one.short_windows > 0,
            }
            for one in report.certificates
            if not one.ever_read or one.read_until is not None or one.unseen_seconds or one.short_windows
        ],
        attached=attached,
    )  # fmt: skip
    return text.strip() + "\n"


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """What the text is made of: its title, then paragraphs and lists."""
    lines = text.splitlines()
    yield "title", lines[:1]
    for kind, found in groupby(
        lines[1:], key=lambda line: "gap" if not line else "list" if line.startswith("- ") else "lines"
    ):
        if kind != "gap":
            yield kind, [line.removeprefix("- ") for line in found]


def _unit(report: Report, code: str) -> str:
    for unit in report.units:
        if unit.code == code:
            return unit.name
    raise KeyError(code)


def _environment(lang: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("conftrack.report", "letters"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Any] = {"number": partial(format_decimal, locale=lang)}
    environment.filters.update(filters)
    return environment


def _day(day: date, *, locale: str) -> str:
    return format_date(day, "dd/MM/yyyy" if locale == "vi" else "d MMMM yyyy", locale=locale)


def _moment(at: datetime, *, locale: str, timezone: ZoneInfo) -> str:
    pattern = "HH:mm dd/MM/yyyy" if locale == "vi" else "HH:mm, d MMMM yyyy"
    return format_datetime(at.astimezone(timezone), pattern, locale=locale)
