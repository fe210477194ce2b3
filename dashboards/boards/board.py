"""Boards: their variables, annotations, links and layout. What is on each is in the module named after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.models.dashboard import (
    AnnotationContainer,
    AnnotationQuery,
    AnnotationTarget,
    Dashboard,
    DashboardDashboardTemplating,
    DashboardDashboardTime,
    DashboardLink,
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    Panel,
    RowPanel,
    TimePickerConfig,
    VariableHide,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
    VariableType,
)

from dashboards.boards.panels import BLUE, POSTGRES, PROMETHEUS, RED, Both, Sql, both, plain

BOARDS: Mapping[str, Both] = {
    "conftrack-live": ("Trực tiếp", "Live operations"),
    "conftrack-handover": ("Giao ca", "Shift hand-over"),
    "conftrack-organisations": ("Đơn vị", "Organisations"),
    "conftrack-endpoint": ("Điểm cầu", "Endpoint"),
    "conftrack-usage": ("Sử dụng hằng tháng", "Monthly usage"),
    "conftrack-collector": ("Bộ thu thập", "Collector"),
}
"""Every board by its uid, the general before the specific."""


# -- where links lead


def board_of_endpoint(org: str, endpoint: str) -> str:
    """The board of the endpoint that a row is about; its columns of codes are named."""
    return (
        f'/d/conftrack-endpoint?${{__url_time_range}}&var-org=${{__data.fields["{org}"]:percentencode}}'
        f'&var-endpoint=${{__data.fields["{endpoint}"]:percentencode}}'
    )


def board_of_unit(org: str) -> str:
    return f'/d/conftrack-organisations?${{__url_time_range}}&var-org=${{__data.fields["{org}"]:percentencode}}'


def page(path: str, column: str) -> str:
    """One of conftrack's own pages; `column` holds what its address ends with."""
    return f'${{conftrack_url}}/{path}/${{__data.fields["{column}"]:percentencode}}'


def link(title: Both, address: str) -> DashboardLink:
    return DashboardLink(
        title=both(title), type_val=DashboardLinkType.LINK, url=address, icon="external link",
        target_blank=address.startswith("${"),
    )  # fmt: skip


# -- variables


def choice(name: str, label: Both, query: str, about: Both, *, source: DataSourceRef = POSTGRES,
           several: bool = False, hidden: bool = False) -> VariableModel:  # fmt: skip
    """One value (or `several`, by default all) out of those that a query gives; of SQL its columns __text, __value."""
    return VariableModel(
        type_val=VariableType.QUERY, name=name, label=both(label), description="\n\n".join(about), datasource=source,
        query=plain(query), refresh=VariableRefresh.ON_TIME_RANGE_CHANGED, sort=VariableSort.DISABLED, multi=several,
        include_all=several, allow_custom_value=False,
        hide=VariableHide.HIDE_VARIABLE if hidden else VariableHide.DONT_HIDE,
        current=VariableOption(text=["All"], value=["$__all"]) if several else None,
    )  # fmt: skip


ORG = choice(
    "org", ("Đơn vị", "Unit"),
    """
    select name || ' (' || code || ')' as __text, code as __value
    from (select distinct on (code) code, name, level from conftrack.org_units order by code, valid_from desc) unit
    order by level, name
    """,
    ("Đơn vị và mọi đơn vị bên dưới.", "The unit and all below it."),
)  # fmt: skip

BELOW = """
with recursive below as (
  select ${org:sqlstring} as code
  union
  select u.code from conftrack.org_units u join below b on u.parent = b.code
)
"""
"""Begins a query with the codes of the chosen unit and all below it."""

UNITS = choice(
    "units", ("Các đơn vị", "Units"), BELOW + "select code as __text, code as __value from below",
    ("Mã của đơn vị và mọi đơn vị bên dưới.", "The codes of the unit and all below it."), several=True, hidden=True,
)  # fmt: skip

PROMETHEUS_SOURCE, POSTGRES_SOURCE = (
    VariableModel(
        type_val=VariableType.DATASOURCE, name=name, label=label, query=source.type_val,
        hide=VariableHide.DONT_HIDE, allow_custom_value=False,
        current=VariableOption(text=f"conftrack ({label})", value=f"conftrack-{name}"),
        description=f"Nguồn dữ liệu {label}.\n\nThe data source {label}.",
    )
    for name, label, source in (("prometheus", "Prometheus", PROMETHEUS), ("postgres", "Postgres", POSTGRES))
)  # fmt: skip

CONFTRACK = VariableModel(
    type_val=VariableType.CONSTANT, name="conftrack_url", query="http://localhost:8080",
    hide=VariableHide.HIDE_VARIABLE, current=VariableOption(text="http://localhost:8080", value="http://localhost:8080"),
    label="conftrack", description="Địa chỉ các trang của conftrack.\n\nWhere conftrack's own pages are.",
)  # fmt: skip


# -- annotations


class SqlAnnotation(AnnotationTarget):
    """What marks the time-series panels: rows with time, timeend, text and tags."""

    def __init__(self, sql: str) -> None:
        super().__init__()
        self._query = Sql(sql, ref_id="Anno")

    def to_json(self) -> dict[str, object]:
        return self._query.to_json()


def annotation(title: Both, color: str, sql: str) -> AnnotationQuery:
    return AnnotationQuery(
        name=both(title), datasource=POSTGRES, enable=True, icon_color=color, target=SqlAnnotation(sql)
    )


OUTAGES = annotation(
    ("Mất hàng loạt", "Outages"), RED,
    """
    select
      i.opened_at as time,
      coalesce(i.closed_at, $__timeTo()::timestamptz) as timeend,
      concat_ws(': ', 'Mất hàng loạt / Outage', coalesce(u.name, i.org, i.carrier, i.area)) as text,
      'outage' as tags
    from conftrack.incidents i
    left join conftrack.org_units u on u.code = i.org and u.valid_to is null
    where i.kind = 'outage'
      and i.opened_at between $__timeFrom()::timestamptz - interval '1 day' and $__timeTo()::timestamptz
    """,
)  # fmt: skip

MAINTENANCE = annotation(
    ("Bảo trì", "Maintenance"), BLUE,
    """
    select
      w.starts_at as time,
      least(w.ends_at, coalesce(w.cancelled_at, w.ends_at)) as timeend,
      concat_ws(' · ',
        'Bảo trì / Maintenance: ' || coalesce(w.endpoint, w.org, w.source, w.carrier, w.area), w.reason,
        'lặp lại đến / again until ' || case when w.repeats is not null then to_char(w.expires_at, 'DD/MM/YYYY') end
      ) as text,
      'maintenance' as tags
    from conftrack.maintenance_windows w
    where w.ends_at >= $__timeFrom()::timestamptz and w.starts_at <= $__timeTo()::timestamptz
      and (w.cancelled_at is null or w.cancelled_at > w.starts_at)
    """,
)  # fmt: skip


# -- the board


def heading(title: Both) -> RowPanel:
    """Begins a new part of a board."""
    return RowPanel(title=both(title))


def board(
    uid: str, about: Both, panels: Sequence[Panel | RowPanel], *, since: str, until: str = "now",
    refresh: str | None = None, variables: Sequence[VariableModel] = (),
    annotations: Sequence[AnnotationQuery] = (OUTAGES, MAINTENANCE), timeless: bool = False,
) -> Dashboard:  # fmt: skip
    """A whole board, read from left to right; `timeless` hides the choice of the time, where a variable has it."""
    charted = any(isinstance(each, Panel) and each.datasource == PROMETHEUS for each in panels)
    sources = [PROMETHEUS_SOURCE, POSTGRES_SOURCE] if charted else [POSTGRES_SOURCE]
    to_others = [link(title, f"/d/{other}") for other, title in BOARDS.items() if other != uid]
    return Dashboard(
        uid=uid, title=both(BOARDS[uid]), description="\n\n".join(about), tags=["conftrack"], editable=False,
        timezone="browser", time=DashboardDashboardTime(from_val=since, to=until), refresh=refresh,
        timepicker=TimePickerConfig(hidden=timeless),
        templating=DashboardDashboardTemplating(list_val=[*sources, CONFTRACK, *variables]),
        annotations=AnnotationContainer(list_val=list(annotations)),
        links=[*to_others, link(("Trang của conftrack", "conftrack's own pages"), "${conftrack_url}/")],
        panels=_placed(panels),
    )  # fmt: skip


def _placed(panels: Sequence[Panel | RowPanel]) -> list[Panel | RowPanel]:
    x = y = tallest = 0
    for number, each in enumerate(panels, start=1):
        each.id_val = number
        shape = each.grid_pos
        width, height = (shape.w, shape.h) if shape is not None else (24, 1)  # a heading has none
        if x + width > 24:
            x, y, tallest = 0, y + tallest, 0
        each.grid_pos = GridPos(x=x, y=y, w=width, h=height)
        x, tallest = x + width, max(tallest, height)
    return list(panels)
