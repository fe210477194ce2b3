"""Charts as SVG elements of a page, drawn by pygal: no script, no style, no colour of their own.

The content security policy of the pages allows neither inline scripts nor inline styles, and colours follow the screen,
light or dark, or paper: so what pygal adds of these is taken out, and a style sheet dresses the classes that it leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pygal
from markupsafe import Markup
from pygal.etree import etree
from pygal.style import Style

# pygal hooks itself into every later import, for map plug-ins that nobody has here, in a way that Python warns of.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]

WIDTH = 340
"""Of every chart, in its own units: about what a phone has, so that its text is as large there as the page's."""
HEIGHT = 190
FONT_SIZE = 12
BAR = 24
"""Height of a bar that lies, with what is between it and the next."""
LABEL = 26
"""Letters of a label beside one; of a longer one the rest is left out."""
VALUE = 46
"""Room for the value that is written behind one."""

PAPER_FONT = "Libertinus Serif"
_PAPER = (
    ".background{fill:none} text{fill:#333} .axis.y text{text-anchor:end} .axis.x text{text-anchor:middle} "
    ".line{fill:none;stroke:#ccc} .axis.x .line{stroke:none} .rect{fill:#0b57a4}"
)
_STYLE = Style(label_font_size=FONT_SIZE, major_label_font_size=FONT_SIZE, value_font_size=FONT_SIZE)


def bars(
    name: str,
    labels: Sequence[str],
    values: Sequence[float | None],
    *,
    number: Callable[[float], str],
    marked: Sequence[str] = (),
    partial: Collection[str] = (),
    lying: bool = False,
) -> Markup:
    """A bar for each value, none where it is not known (None). Each says its label and value when pointed at.

    `name` is what a screen reader says. Of the labels those `marked` are written out, or all. What is known of those in
    `partial` is not the whole, and is drawn so. `lying`: the bars lie, the first on top, beside labels that may be
    long, each with its value behind it and no axis.
    """
    if lying:
        labels, values = list(reversed(labels)), list(reversed(values))
    draw = pygal.HorizontalBar if lying else pygal.Bar
    chart = draw(
        width=WIDTH, height=BAR * len(labels) + 12 if lying else HEIGHT, style=_STYLE, css=(), js=(),
        no_prefix=True, classes=("chart",), show_legend=False, margin=6, margin_right=VALUE if lying else 18, spacing=4,
        min_scale=2, max_scale=5, order_min=0, include_x_axis=True, truncate_label=-1, value_formatter=number,
        print_values=lying, print_values_position="top", show_x_labels=not lying, disable_xml_declaration=True,
    )  # fmt: skip
    if lying:
        chart.y_labels = [0, max((value for value in values if value), default=1)]
    chart.x_labels = [_short(label) for label in labels] if lying else list(labels)
    if marked:
        chart.x_labels_major, chart.show_minor_x_labels = list(marked), False
    points: list[dict[str, object]] = [{"value": value} for value in values]
    for point, label in zip(points, labels, strict=True):
        if label in partial:
            point["node"] = {"class": "rect partial"}
    chart.add(name, points)
    told = [label for label, value in zip(labels, values, strict=True) if value is not None]
    chart.add_xml_filter(lambda root: _plain(root, name, told))
    return Markup(chart.render(is_unicode=True))  # noqa: S704  # the tree has escaped every text in it


def on_paper(chart: Markup) -> str:
    """A chart as a picture by itself, which no style sheet dresses: black on white, bars in one colour."""
    return (
        str(chart)
        .replace("<svg", f'<svg font-family="{PAPER_FONT}" font-size="{FONT_SIZE}"', 1)
        .replace(">", f"><style>{_PAPER}</style>", 1)
    )


def _short(label: str) -> str:
    return label if len(label) <= LABEL else label[: LABEL - 1].rstrip() + "…"


def _plain(root: Any, name: str, labels: Sequence[str]) -> Any:
    """Takes out what the page may not have, and says in SVG's own way what pygal keeps for its script: of each bar its
    whole label and its value. The tree is of lxml where that is installed, else of the standard library: pygal
    chooses."""
    root.attrib.pop("id", None)
    root.set("role", "img")
    root.set("aria-label", name)
    for parent in list(root.iter()):
        parent.attrib.pop("style", None)
        for child in list(parent):
            is_comment = not isinstance(child.tag, str)
            if is_comment or _tag(child) in ("defs", "title") or "tooltip-overlay" in child.get("class", ""):
                parent.remove(child)
    for value in [node for node in root.iter() if node.get("class") == "value"]:
        value.set("text-anchor", "start")
    for bar, label in zip([node for node in root.iter() if node.get("class") == "bar"], labels, strict=True):
        told = [node for node in bar if _tag(node) == "desc"]
        said = {node.get("class"): node.text for node in told}
        for node in told:
            bar.remove(node)
        etree.SubElement(bar, "title").text = f"{label}: {said['value']}"
    return root


def _tag(node: Any) -> str:
    return str(node.tag.rpartition("}")[2])
