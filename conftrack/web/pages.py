"""Puts the pages into words: templates, in the language that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from conftrack import words
from conftrack.charts import bars
from conftrack.incidents.causes import OWNERS, explain
from conftrack.language import LOCALES, Language
from conftrack.report.names import DEFINITIONS
from conftrack.web.view import View

PARTS = ("freshness", "figures", "meetings", "events", "health")
"""The parts of the live page that are renewed, each for itself, in its order: a template and an element id."""

COOKIE = "conftrack_lang"


class Pages:
    """The pages in one language."""

    def __init__(self, language: Language, asset: Callable[[str], str]) -> None:
        self.language = language
        self.code = language.code
        self.name = language.name
        self._templates = Environment(
            loader=PackageLoader("conftrack.web", "templates"),
            extensions=["jinja2.ext.i18n"],
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.policies["ext.i18n.trimmed"] = True
        self._templates.install_gettext_translations(  # type: ignore[attr-defined]  # the extension adds it
            language.translations, newstyle=True
        )
        self._templates.globals.update(
            asset=asset, bars=partial(bars, number=language.number), explain=explain, owner_names=OWNERS,
            kind_names=words.INCIDENT_KINDS, end_class_names=words.END_CLASSES, provenance_names=words.PROVENANCES,
            definitions=DEFINITIONS,
        )  # fmt: skip
        self._templates.filters.update(
            number=language.number, ago=language.ago, date=language.full_date, clock=language.clock,
            minute=language.minute, day=language.day, month=language.month, lasting=language.lasting,
            percent=language.percent, rate=language.rate, monthly=language.monthly, plain_day=language.plain_day,
            weekday=language.weekday, hours=language.hours, change=language.change,
            moment=language.moment, iso_day=language.iso_day,
        )  # fmt: skip

    def render(self, template: str, **values: object) -> str:
        return self._templates.get_template(template).render(lang=self.code, **values)

    def parts(self, view: View) -> dict[str, Markup]:
        """Each part by its name: one HTML element, whose id is the name."""
        return {
            name: Markup(self._templates.get_template(f"{name}.html").render(view=view, at=view.now).strip())  # noqa: S704
            for name in PARTS
        }


def languages(timezone: ZoneInfo, asset: Callable[[str], str]) -> dict[str, Pages]:
    return {code: Pages(Language(code, timezone), asset) for code in LOCALES}


def chosen(request: web.Request, languages: Mapping[str, Pages]) -> Pages:
    """Those of the language that the address asks for, else the one chosen before, else the browser's, else the
    first."""
    for code in (request.query.get("lang"), request.cookies.get(COOKIE), *_accepted(request)):
        if code is not None and code in languages:
            return languages[code]
    return next(iter(languages.values()))


def _accepted(request: web.Request) -> list[str]:
    """The languages of the Accept-Language header, best first, without their countries."""
    ranked = []
    for entry in request.headers.get("Accept-Language", "").split(","):
        tag, _, quality = entry.partition(";q=")
        try:
            ranked.append((-float(quality or 1), tag.strip().split("-")[0].lower()))
        except ValueError:
            continue
    return [code for rank, code in sorted(ranked, key=lambda r: r[0]) if rank]
