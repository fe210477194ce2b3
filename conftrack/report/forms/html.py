"""HTML: the content of a report, within a page of conftrack or as a page by itself. Nothing runs or is fetched."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from conftrack.report.document import Document
from conftrack.report.forms.layout import drawn, is_number, language_of, shade, texts

STYLE = Path(__file__).parent / "report.css"
"""Dresses the content; the page by itself has it within."""

FOLDED = 30
"""Rows from which on a table is folded up on a screen."""


def content(document: Document) -> Markup:
    """Without a frame, and without script, style and colour of its own: as the pages' content security policy wants."""
    return Markup(_render(document, "content.html"))  # noqa: S704  # the templates escape


def page(document: Document) -> bytes:
    """A page by itself: for paper, for a mail, for a phone."""
    return _render(document, "page.html", style=Markup(STYLE.read_text("utf-8"))).encode()  # noqa: S704  # our own


def _render(document: Document, template: str, **values: object) -> str:
    language = language_of(document)
    return _templates().get_template(template).render(
        document=document, texts=partial(texts, language=language), drawn=partial(drawn, language=language),
        is_number=is_number, shade=shade, folded=FOLDED, number=language.number, _=language.text, **values,
    )  # fmt: skip


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("conftrack.report.forms", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
