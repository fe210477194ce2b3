"""Panels: in both languages, with a unit, a description, and a data source by variable.

Grafana's own `grafana-foundation-sdk` gives the shapes; it has no Postgres query and no annotation by query, so those
two are made here and in `board`. Nothing is drawn that is not known: a panel without data says so in words, and gaps
stay gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import dedent

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import barchart, common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models.dashboard import (
    DashboardFieldConfigSourceOverrides,
    DashboardLink,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColor,
    FieldColorModeId,
    FieldConfig,
    FieldConfigSource,
    GridPos,
    MatcherConfig,
    Panel,
    Threshold,
    ThresholdsConfig,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

Both = tuple[str, str]
"""A text in Vietnamese and in English."""

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${prometheus}")
POSTGRES = DataSourceRef(type_val="grafana-postgresql-datasource", uid="${postgres}")

UNKNOWN = "không rõ / not known"
"""What a panel says where there is no data: never zero."""

GREEN, YELLOW, ORANGE, RED, BLUE, GREY, PURPLE = "green", "yellow", "orange", "red", "blue", "#8e8e8e", "purple"


def both(text: Both) -> str:
    return f"{text[0]} / {text[1]}"


# -- queries


def promql(expr: str, legend: str = "", *, instant: bool = False) -> prometheus.Dataquery:
    """A Prometheus query; `legend` is a template over labels, such as {{source}}."""
    return prometheus.Dataquery(
        expr=plain(expr), legend_format=legend or None, instant=instant, range_val=not instant, datasource=PROMETHEUS,
        format_val=prometheus.PromQueryFormat.TIME_SERIES, editor_mode=prometheus.QueryEditorMode.CODE,
    )  # fmt: skip


@dataclass
class Sql(Dataquery):
    """A query of the public views; `series` gives a line for each column beside `time`, else a table."""

    sql: str
    series: bool = False
    ref_id: str = "A"

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": POSTGRES,
            "rawSql": plain(self.sql),
            "rawQuery": True,
            "editorMode": "code",
            "format": "time_series" if self.series else "table",
        }


def plain(query: str) -> str:
    return dedent(query).strip()


Query = prometheus.Dataquery | Sql


# -- panels


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How one column of a table is shown; `link` is (title, address)."""

    unit: str | None = None
    decimals: int | None = None
    link: tuple[Both, str] | None = None
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    steps: Sequence[tuple[float | None, str]] = ()
    width: int | None = None
    hidden: bool = False


def panel(
    kind: str, title: Both, about: Both, queries: Sequence[Query], *, unit: str, at: tuple[int, int], options: object,
    custom: object = None, steps: Sequence[tuple[float | None, str]] = ((None, GREEN),), decimals: int | None = None,
    words: Mapping[str, tuple[str, str]] | None = None, top: float | None = None, bottom: float | None = None,
    columns: Mapping[str, Column] | None = None, links: Sequence[DashboardLink] = (),
    color: FieldColorModeId = FieldColorModeId.THRESHOLDS, interval: str | None = None, none: str = UNKNOWN,
    transformations: Sequence[DataTransformerConfig] = (),
) -> Panel:  # fmt: skip
    """Any panel. `at` is its width and height in the grid of 24; `none` is what stands where no data is."""
    for name, query in zip("ABCDEFGH", queries, strict=False):
        query.ref_id = name
    return Panel(
        type_val=kind,
        title=both(title),
        description="\n\n".join(about),
        datasource=queries[0].datasource if isinstance(queries[0], prometheus.Dataquery) else POSTGRES,
        targets=list(queries),
        grid_pos=GridPos(w=at[0], h=at[1]),
        links=list(links) or None,
        interval=interval,
        options=options,
        transformations=list(transformations) or None,
        field_config=FieldConfigSource(
            defaults=FieldConfig(
                unit=unit, decimals=decimals, min_val=bottom, max_val=top, no_value=none, custom=custom,
                thresholds=_thresholds(steps), color=FieldColor(mode=color), mappings=_mappings(words or {}),
            ),
            overrides=[_override(name, column) for name, column in (columns or {}).items()],
        ),
    )  # fmt: skip


def figure(
    title: Both, about: Both, query: Query, *, unit: str = "locale", width: int = 4, spark: bool = False,
    steps: Sequence[tuple[float | None, str]] = ((None, BLUE),), decimals: int | None = None,
    words: Mapping[str, tuple[str, str]] | None = None, links: Sequence[DashboardLink] = (), named: bool = False,
    none: str = UNKNOWN, height: int = 4,
) -> Panel:  # fmt: skip
    """One number, large: the last that is known. `named` shows the name of the series instead of its value."""
    text = common.BigValueTextMode.NAME if named else common.BigValueTextMode.AUTO
    return panel(
        "stat", title, about, [query], unit=unit, at=(width, height), steps=steps, decimals=decimals, words=words,
        links=links, none=none,
        options=stat.Options(
            graph_mode=common.BigValueGraphMode.AREA if spark else common.BigValueGraphMode.NONE,
            color_mode=common.BigValueColorMode.VALUE, text_mode=text, justify_mode=common.BigValueJustifyMode.AUTO,
            reduce_options=common.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False),
            orientation=common.VizOrientation.AUTO,
        ),
    )  # fmt: skip


def lines(
    title: Both, about: Both, queries: Sequence[Query], *, unit: str, width: int = 12, height: int = 8,
    bars: bool = False, stacked: bool = False, top: float | None = None,
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),), links: Sequence[DashboardLink] = (),
    interval: str | None = None,
) -> Panel:  # fmt: skip
    """Figures over time. Where nothing was seen the line has a gap."""
    return panel(
        "timeseries", title, about, queries, unit=unit, at=(width, height), steps=steps, bottom=0, top=top, links=links,
        color=FieldColorModeId.PALETTE_CLASSIC, interval=interval,
        options=timeseries.Options(legend=_legend(), tooltip=_tooltip()),
        custom=common.GraphFieldConfig(
            draw_style=common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE,
            fill_opacity=60 if bars else 10, line_width=1, span_nulls=False,
            show_points=common.VisibilityMode.AUTO,
            stacking=common.StackingConfig(
                mode=common.StackingMode.NORMAL if stacked else common.StackingMode.NONE, group="A"
            ),
            thresholds_style=common.GraphThresholdsStyleConfig(
                mode=common.GraphThresholdsStyleMode.DASHED if len(steps) > 1 else common.GraphThresholdsStyleMode.OFF
            ),
        ),
    )  # fmt: skip


def states(title: Both, about: Both, query: Query, words: Mapping[str, tuple[str, str]], *, width: int = 24,
           height: int = 4) -> Panel:  # fmt: skip
    """What something was in, over time."""
    return panel(
        "state-timeline", title, about, [query], unit="locale", at=(width, height), words=words,
        options=statetimeline.Options(
            show_value=common.VisibilityMode.NEVER, merge_values=True, row_height=0.8, legend=_legend(),
            tooltip=_tooltip(),
        ),
        custom=statetimeline.FieldConfig(line_width=0, fill_opacity=75),
    )  # fmt: skip


def bars(title: Both, about: Both, query: Sql, *, by: str, width: int = 12, height: int = 8,
         stacked: bool = False, columns: Mapping[str, Column] | None = None) -> Panel:  # fmt: skip
    """Bars beside each other, one for each row; `by` is the column that names them."""
    return panel(
        "barchart", title, about, [query], unit="locale", at=(width, height), color=FieldColorModeId.PALETTE_CLASSIC,
        columns=columns, bottom=0,
        options=barchart.Options(
            x_field=by, orientation=common.VizOrientation.AUTO, legend=_legend(), tooltip=_tooltip(),
            stacking=common.StackingMode.NORMAL if stacked else common.StackingMode.NONE,
            show_value=common.VisibilityMode.AUTO, x_tick_label_spacing=100,
        ),
        custom=barchart.FieldConfig(fill_opacity=80, line_width=1),
    )  # fmt: skip


def rows(
    title: Both, about: Both, query: Query, columns: Mapping[str, Column] | None = None, *, unit: str = "locale",
    width: int = 24, height: int = 8, none: str = UNKNOWN, transformations: Sequence[DataTransformerConfig] = (),
) -> Panel:  # fmt: skip
    """A table; its columns are named in the query, in both languages."""
    return panel(
        "table", title, about, [query], unit=unit, at=(width, height), columns=columns, none=none,
        transformations=transformations,
        options=table.Options(show_header=True, cell_height=common.TableCellHeight.SM),
        custom=common.TableFieldOptions(align=common.FieldTextAlignment.AUTO, filterable=True, inspect=False),
    )  # fmt: skip


def _legend() -> common.VizLegendOptions:
    return common.VizLegendOptions(
        display_mode=common.LegendDisplayMode.LIST, placement=common.LegendPlacement.BOTTOM, show_legend=True, calcs=[]
    )


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions(mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING)


def _thresholds(steps: Sequence[tuple[float | None, str]]) -> ThresholdsConfig:
    return ThresholdsConfig(mode=ThresholdsMode.ABSOLUTE, steps=[Threshold(value=v, color=c) for v, c in steps])


def _mappings(words: Mapping[str, tuple[str, str]]) -> list[ValueMapping]:
    if not words:
        return []
    return [ValueMap(options={value: ValueMappingResult(text=t, color=c) for value, (t, c) in words.items()})]


def _override(name: str, column: Column) -> DashboardFieldConfigSourceOverrides:
    properties: dict[str, object] = {}
    if column.unit is not None:
        properties["unit"] = column.unit
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.width is not None:
        properties["custom.width"] = column.width
    if column.hidden:
        properties["custom.hidden"] = True
    if column.words:
        properties["mappings"] = _mappings(column.words)
    if column.steps:
        properties["thresholds"] = _thresholds(column.steps)
    if column.words or column.steps:
        properties["custom.cellOptions"] = {"type": "color-background" if column.steps else "color-text"}
    if column.link is not None:
        title, address = column.link
        properties["links"] = [{"title": both(title), "url": address, "targetBlank": address.startswith("${")}]
    return DashboardFieldConfigSourceOverrides(
        matcher=MatcherConfig(id_val="byName", options=name),
        properties=[DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()],
    )
