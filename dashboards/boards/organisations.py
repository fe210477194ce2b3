"""Organisations: who takes part, who is late, where does it fail? From the province down to one endpoint."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from dashboards.boards.board import BELOW, ORG, UNITS, board, board_of_endpoint, board_of_unit, heading
from dashboards.boards.panels import GREEN, ORANGE, RED, YELLOW, Column, Sql, figure, lines, promql, rows
from dashboards.boards.words import STATES

DAYS = """
d.day between ($__timeFrom()::timestamptz at time zone (select name from conftrack.time_zone))::date
  and ($__timeTo()::timestamptz at time zone (select name from conftrack.time_zone))::date
"""
"""The local days of the chosen time, of usage_daily d; found by index, because the zone is known beforehand."""

PUNCTUAL = ((None, RED), (0.6, ORANGE), (0.8, YELLOW), (0.9, GREEN))
"""Share of those who came that came on time."""

MOST_FAILED = ((None, GREEN), (0.03, YELLOW), (0.1, RED))
"""Share of attempts and connections that failed."""


def made() -> Dashboard:
    return board(
        "conftrack-organisations",
        (
            "Đơn vị nào tham gia, đơn vị nào muộn, ở đâu hay hỏng? Bấm vào một đơn vị để xem bên dưới nó.",
            "Who takes part, who is late, where does it fail? A unit's name leads below it.",
        ),
        [*_figures(), *_below(), *_endpoints(), *_course()],
        since="now-30d",
        variables=(ORG, UNITS),
    )


def _total(title: tuple[str, str], about: tuple[str, str], column: str) -> Panel:
    query = Sql(f"""
        select sum({column}) as "{title[0]} / {title[1]}"
        from conftrack.usage_daily d
        where d.org = ${{org:sqlstring}} and d.source is null and {DAYS.strip()}
        """)
    return figure(title, about, query, width=4)


def _figures() -> list[Panel | RowPanel]:
    return [
        _total(
            ("Cuộc họp", "Meetings"),
            ("Cuộc họp có điểm cầu của đơn vị, theo ngày bắt đầu.", "Meetings with an endpoint of the unit, by day."),
            "d.meetings",
        ),
        _total(
            ("Lượt điểm cầu", "Endpoint connections"),
            (
                "Một điểm cầu trong một cuộc họp là một lượt, dù vào lại mấy lần.",
                "One endpoint in one meeting is one, however often it rejoins.",
            ),
            "d.endpoint_connections",
        ),
        _total(
            ("Đại biểu", "Attendees"),
            ("Theo số báo cáo tốt nhất của từng điểm cầu.", "By the best head count of each endpoint."),
            "d.attendees",
        ),
        _total(
            ("Kết nối hỏng", "Failed connections"),
            (
                "Lần gọi không thành vì hỏng; bận, từ chối, sai mã không tính.",
                "Attempts that failed; busy, declined and refused ones are not counted.",
            ),
            "d.failed_connections",
        ),
        _total(
            ("Sự cố", "Incidents"),
            ("Sự cố của các điểm cầu, theo ngày.", "Incidents of its endpoints, by day."),
            "d.incidents",
        ),
        figure(
            ("Đúng giờ", "On time"),
            (
                "Trong số điểm cầu được mời đã vào họp: phần vào đúng giờ. Vắng mặt không tính ở đây.",
                "Of the endpoints invited that came: the share that came on time. The absent are not in it.",
            ),
            Sql(BELOW + """
                , expected as materialized (
                  select state
                  from conftrack.expected_endpoints
                  where org in (select code from below) and $__timeFilter(starts_at)
                )
                select
                  count(*) filter (where state = 'on_time')::double precision
                    / nullif(count(*) filter (where state in ('on_time', 'late')), 0) as "Đúng giờ / On time"
                from expected
                """),
            unit="percentunit", decimals=1, steps=PUNCTUAL, width=4,
        ),
    ]  # fmt: skip


def _below() -> list[Panel | RowPanel]:
    return [
        heading(("Các đơn vị trực thuộc", "Units below")),
        rows(
            ("Tham gia và sự cố", "Participation and failures"),
            (
                "Mỗi đơn vị trực thuộc cùng mọi đơn vị bên dưới nó. Bấm vào tên để đi xuống.",
                "Each unit below with everything below it. Its name leads down.",
            ),
            Sql(f"""
                select
                  u.name as "Đơn vị / Unit",
                  u.code as "Mã / Code",
                  sum(d.meetings) as "Cuộc họp / Meetings",
                  sum(d.endpoint_connections) as "Lượt điểm cầu / Endpoint connections",
                  sum(d.attendees) as "Đại biểu / Attendees",
                  sum(d.leg_seconds) / 3600 as "Giờ kết nối / Connection hours",
                  sum(d.failed_connections) as "Kết nối hỏng / Failed connections",
                  sum(d.failed_connections) / nullif(sum(d.failed_connections) + sum(d.legs), 0)
                    as "Tỷ lệ hỏng / Failed share",
                  sum(d.incidents) as "Sự cố / Incidents"
                from (
                  select distinct on (code) code, name, parent from conftrack.org_units order by code, valid_from desc
                ) u
                join conftrack.usage_daily d on d.org = u.code and d.source is null
                where u.parent = ${{org:sqlstring}} and {DAYS.strip()}
                group by u.name, u.code
                order by 4 desc nulls last, u.name
                """),
            {
                "Đơn vị / Unit": Column(link=(("Xem đơn vị này", "This unit"), board_of_unit("Mã / Code"))),
                "Giờ kết nối / Connection hours": Column(decimals=1),
                "Tỷ lệ hỏng / Failed share": Column(unit="percentunit", decimals=1, steps=MOST_FAILED),
            },
            height=10,
            none="không có đơn vị trực thuộc nào đã họp / no unit below was in a meeting",
        ),
        rows(
            ("Đúng giờ, muộn, vắng", "On time, late, absent"),
            (
                "Điểm cầu được mời, theo đơn vị của nó. Chưa rõ: chưa đến giờ, hoặc lúc ấy không thấy được nguồn.",
                "Endpoints that were invited, by their own unit. Not known: still to come, or nobody could see.",
            ),
            Sql(
                BELOW
                + """
                , expected as materialized (
                  select org, starts_at, joined_at, state
                  from conftrack.expected_endpoints
                  where org in (select code from below) and $__timeFilter(starts_at)
                )
                select
                  u.name as "Đơn vị / Unit",
                  x.org as "Mã / Code",
                  count(*) as "Được mời / Expected",
                  count(*) filter (where x.state = 'on_time') as "Đúng giờ / On time",
                  count(*) filter (where x.state = 'late') as "Vào muộn / Late",
                  count(*) filter (where x.state = 'absent') as "Vắng mặt / Absent",
                  count(*) filter (where x.state = 'excused') as "Vắng có lý do / Excused",
                  count(*) filter (where x.state is null) as "Chưa rõ / Not known",
                  count(*) filter (where x.state = 'on_time')::double precision
                    / nullif(count(*) filter (where x.state in ('on_time', 'late')), 0)
                    as "Tỷ lệ đúng giờ / On-time share",
                  percentile_cont(0.5) within group (order by extract(epoch from x.joined_at - x.starts_at))
                    filter (where x.state = 'late') as "Muộn, trung vị / Late by, median"
                from expected x
                left join conftrack.org_units u on u.code = x.org and u.valid_to is null
                group by u.name, x.org
                order by 9, u.name
                """
            ),
            {
                "Đơn vị / Unit": Column(link=(("Xem đơn vị này", "This unit"), board_of_unit("Mã / Code"))),
                "Tỷ lệ đúng giờ / On-time share": Column(unit="percentunit", decimals=1, steps=PUNCTUAL),
                "Muộn, trung vị / Late by, median": Column(unit="s", decimals=0),
            },
            height=10,
            none="không có ai được mời / nobody was invited",
        ),
    ]


def _endpoints() -> list[Panel | RowPanel]:
    return [
        heading(("Các điểm cầu", "Endpoints")),
        rows(
            ("Điểm cầu của đơn vị và bên dưới", "Endpoints of the unit and below"),
            (
                "Nhiều sự cố nhất trước, tối đa 500. Bấm vào tên để xem điểm cầu.",
                "Those with the most incidents first, at most 500. The name leads to the endpoint.",
            ),
            Sql(
                BELOW
                + """
                , leg as (
                  select
                    endpoint, count(distinct meeting_id) as meetings, count(*) as legs,
                    sum(duration_seconds) / 3600 as hours, max(joined_at) as last_joined_at
                  from conftrack.legs
                  where org in (select code from below) and counted and $__timeFilter(meeting_started_at)
                  group by endpoint
                ),
                incident as (
                  select endpoint, count(*) as incidents
                  from conftrack.incidents
                  where org in (select code from below) and endpoint is not null and $__timeFilter(opened_at)
                  group by endpoint
                )
                select
                  e.name as "Điểm cầu / Endpoint",
                  e.endpoint as "Mã / Code",
                  e.org as "Mã đơn vị / Unit code",
                  l.meetings as "Cuộc họp / Meetings",
                  l.legs as "Lượt kết nối / Connections",
                  l.hours as "Giờ kết nối / Connection hours",
                  coalesce(i.incidents, 0) as "Sự cố / Incidents",
                  l.last_joined_at as "Họp gần nhất / Last joined"
                from conftrack.endpoints e
                left join leg l on l.endpoint = e.endpoint
                left join incident i on i.endpoint = e.endpoint
                where e.org in (select code from below) and (l.endpoint is not null or i.endpoint is not null)
                order by 7 desc, 4 desc nulls last, e.name
                limit 500
                """
            ),
            {
                "Điểm cầu / Endpoint": Column(
                    link=(("Bảng của điểm cầu", "Its board"), board_of_endpoint("Mã đơn vị / Unit code", "Mã / Code"))
                ),
                "Mã đơn vị / Unit code": Column(hidden=True),
                "Giờ kết nối / Connection hours": Column(decimals=1),
                "Sự cố / Incidents": Column(steps=((None, "transparent"), (1, YELLOW), (5, RED))),
            },
            height=10,
            none="không điểm cầu nào đã họp / no endpoint was in a meeting",
        ),
    ]


def _course() -> list[Panel | RowPanel]:
    return [
        heading(("Diễn biến", "The course of it")),
        lines(
            ("Lượt điểm cầu mỗi ngày", "Endpoint connections a day"),
            (
                "Theo ngày địa phương bắt đầu cuộc họp; cột chia theo kết nối được và hỏng.",
                "By the local day the meeting started; connections, and attempts that failed.",
            ),
            [
                Sql(
                    f"""
                    select
                      d.day::timestamp at time zone z.name as time,
                      sum(d.endpoint_connections) as "Lượt điểm cầu / Endpoint connections",
                      sum(d.failed_connections) as "Kết nối hỏng / Failed connections",
                      sum(d.incidents) as "Sự cố / Incidents"
                    from conftrack.usage_daily d
                    cross join conftrack.time_zone z
                    where d.org = ${{org:sqlstring}} and d.source is null and {DAYS.strip()}
                    group by 1
                    order by 1
                    """,
                    series=True,
                )
            ],
            unit="locale", bars=True, interval="1d",
        ),
        lines(
            ("Điểm cầu của đơn vị bây giờ", "Endpoints of the unit now"),
            (
                "Điểm cầu của đơn vị và mọi đơn vị bên dưới. Không rõ: nguồn không thấy được.",
                "Endpoints of the unit and all below it. Unknown: the source cannot be seen.",
            ),
            [
                promql(
                    f'sum(max by (org) (conftrack_endpoints{{org=~"${{units:regex}}", state="{state}"}}))',
                    STATES[state][0],
                )
                for state in ("in_meeting", "degraded", "failed", "maintenance", "unknown")
            ],
            unit="locale",
        ),
    ]  # fmt: skip
