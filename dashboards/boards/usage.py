"""Monthly usage: how much was the system used in a month, by whom, and how does it compare?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from dashboards.boards.board import board, board_of_unit, choice, heading
from dashboards.boards.panels import BLUE, GREEN, ORANGE, RED, Both, Column, Sql, bars, figure, rows

MONTH = choice(
    "month", ("Tháng", "Month"),
    """
    select to_char(month, 'MM/YYYY') as __text, month::text as __value
    from (select distinct month from conftrack.usage_monthly where org is null) known
    order by month desc
    """,
    ("Tháng địa phương; mới nhất trước.", "A local month; the newest first."),
)  # fmt: skip

SOURCE = choice(
    "source", ("Nguồn", "Source"),
    """
    select 'Tất cả / All' as __text, '*' as __value, 0 as place
    union all
    select distinct source, source, 1 from conftrack.source_status
    order by place, __text
    """,
    ("Một hệ thống hội nghị, hoặc tất cả.", "One conference system, or all."),
)  # fmt: skip

OF_SOURCE = "source is not distinct from nullif(${source:sqlstring}, '*')"
OF_MONTH = "day >= ${month:sqlstring}::date and day < ${month:sqlstring}::date + interval '1 month'"

FIGURES: tuple[tuple[str, Both, int, Both], ...] = (
    ("meetings", ("Cuộc họp", "Meetings"), 0,
     ("Cuộc họp bắt đầu trong tháng mà có người dự.", "Meetings that started in the month and people came to.")),
    ("endpoint_connections", ("Lượt điểm cầu", "Endpoint connections"), 0,
     ("Một điểm cầu trong một cuộc họp là một lượt.", "One endpoint in one meeting is one.")),
    ("endpoints", ("Điểm cầu khác nhau", "Distinct endpoints"), 0,
     ("Đếm cho cả tháng, không cộng từ các ngày.", "Counted for the month, not added up from its days.")),
    ("attendees", ("Đại biểu", "Attendees"), 0,
     ("Theo số báo cáo tốt nhất của từng điểm cầu.", "By the best head count of each endpoint.")),
    ("meeting_seconds / 3600", ("Giờ họp", "Meeting hours"), 1,
     ("Thời lượng các cuộc họp cộng lại.", "The meetings' durations, added up.")),
    ("leg_seconds / 3600", ("Giờ kết nối", "Connection hours"), 1,
     ("Thời gian các lượt kết nối cộng lại.", "The time of all connections, added up.")),
    ("peak_legs", ("Đồng thời cao nhất", "Peak at once"), 0,
     ("Số lượt kết nối nhiều nhất cùng lúc trong tháng.", "The most connections at one moment of the month.")),
    ("failed_connections", ("Kết nối hỏng", "Failed connections"), 0,
     ("Lần gọi không thành vì hỏng.", "Attempts that failed.")),
)  # fmt: skip


def made() -> Dashboard:
    return board(
        "conftrack-usage",
        (
            "Trong tháng, hệ thống được dùng bao nhiêu, bởi ai, so với các tháng trước ra sao?",
            "How much was the system used in the month, by whom, and how does it compare?",
        ),
        [*_month(), *_compared(), *_when(), *_ranking()],
        since="now-1y",
        variables=(MONTH, SOURCE),
        annotations=(),
        timeless=True,
    )


def _month() -> list[Panel | RowPanel]:
    return [
        figure(
            title, about,
            Sql(f"""
                select {column} as "{title[0]} / {title[1]}"
                from conftrack.usage_monthly
                where month = ${{month:sqlstring}}::date and org is null and {OF_SOURCE}
                """),
            width=3, decimals=decimals,
        )
        for column, title, decimals, about in FIGURES
    ]  # fmt: skip


def _compared() -> list[Panel | RowPanel]:
    values = ",\n".join(
        f"                  ('{vi} / {en}', {place}, ({column})::double precision)"
        for place, (column, (vi, en), _decimals, _about) in enumerate(FIGURES)
    )
    titles = {"meetings": 0, "endpoint_connections": 1, "attendees": 3, "leg_seconds / 3600": 5}
    return [
        heading(("So với các tháng trước", "Month over month")),
        rows(
            ("Tháng này và tháng trước", "This month and the one before"),
            (
                "Tháng chưa hết thì chưa so được: xem dòng đầu tiên.",
                "A month that is not over does not compare yet: see the first row.",
            ),
            Sql(f"""
                with month as (
                  select month, figure.*
                  from conftrack.usage_monthly
                  cross join lateral (values
{values}
                  ) figure (name, place, value)
                  where org is null and {OF_SOURCE}
                    and month in (${{month:sqlstring}}::date, (${{month:sqlstring}}::date - interval '1 month')::date)
                  union all
                  select date_trunc('month', day)::date, 'Đến hết ngày / Up to day', -1, extract(day from max(day))
                  from conftrack.usage_daily
                  where org is null and source is null and day < ${{month:sqlstring}}::date + interval '1 month'
                    and day >= ${{month:sqlstring}}::date - interval '1 month'
                  group by 1
                )
                select
                  m.name as "Số liệu / Figure",
                  m.value as "Tháng này / This month",
                  p.value as "Tháng trước / Month before",
                  case when m.place >= 0 then (m.value - p.value) / nullif(p.value, 0) end as "Thay đổi / Change"
                from month m
                left join month p on p.place = m.place and p.month < m.month
                where m.month = ${{month:sqlstring}}::date
                order by m.place
                """),
            {
                "Tháng này / This month": Column(decimals=1),
                "Tháng trước / Month before": Column(decimals=1),
                "Thay đổi / Change": Column(unit="percentunit", decimals=1),
            },
            width=12, height=9,
        ),
        *(
            bars(
                FIGURES[place][1],
                (FIGURES[place][3][0] + " Mười ba tháng.", FIGURES[place][3][1] + " Thirteen months."),
                Sql(f"""
                    select
                      to_char(month, 'MM/YYYY') as "Tháng / Month",
                      {column} as "{FIGURES[place][1][0]} / {FIGURES[place][1][1]}"
                    from conftrack.usage_monthly
                    where org is null and {OF_SOURCE}
                      and month between ${{month:sqlstring}}::date - interval '12 months' and ${{month:sqlstring}}::date
                    order by month
                    """),
                by="Tháng / Month", height=9,
            )
            for column, place in titles.items()
        ),
        bars(
            ("Kết nối hỏng và sự cố", "Failed connections and incidents"),
            (
                "Kết nối hỏng của nguồn đã chọn, và sự cố của các điểm cầu. Mười ba tháng.",
                "Failed connections of the chosen source, and incidents of endpoints. Thirteen months.",
            ),
            Sql(f"""
                select
                  to_char(month, 'MM/YYYY') as "Tháng / Month",
                  failed_connections as "Kết nối hỏng / Failed connections",
                  incidents as "Sự cố / Incidents"
                from conftrack.usage_monthly
                where org is null and {OF_SOURCE}
                  and month between ${{month:sqlstring}}::date - interval '12 months' and ${{month:sqlstring}}::date
                order by month
                """),
            by="Tháng / Month", height=9,
        ),
    ]  # fmt: skip


def _when() -> list[Panel | RowPanel]:
    hours = ",\n".join(
        f'                  nullif(count(*) filter (where h.hour = {hour}), 0) as "{hour:02d} h"' for hour in range(24)
    )
    warm = ((None, "transparent"), (1, GREEN), (4, BLUE), (8, ORANGE), (15, RED))
    return [
        heading(("Khi nào", "When")),
        rows(
            ("Giờ trong ngày và ngày trong tuần", "Hour of the day and day of the week"),
            (
                "Số cuộc họp đang diễn ra trong từng giờ địa phương, cả tháng cộng lại. Trống: không có.",
                "Meetings that went on in each local hour, added up over the month. Empty: none.",
            ),
            Sql(f"""
                select
                  d.name as "Ngày / Day",
{hours}
                from (values
                  (1, 'Thứ hai / Monday'), (2, 'Thứ ba / Tuesday'), (3, 'Thứ tư / Wednesday'),
                  (4, 'Thứ năm / Thursday'),
                  (5, 'Thứ sáu / Friday'), (6, 'Thứ bảy / Saturday'), (7, 'Chủ nhật / Sunday')
                ) d (weekday, name)
                left join conftrack.meeting_hours h
                  on h.weekday = d.weekday and {OF_MONTH.replace("day ", "h.day ")}
                  and (${{source:sqlstring}} = '*' or h.source = ${{source:sqlstring}})
                group by d.weekday, d.name
                order by d.weekday
                """),
            {f"{hour:02d} h": Column(steps=warm, width=56) for hour in range(24)} | {"Ngày / Day": Column(width=180)},
            height=9,
            none="",
        ),
    ]  # fmt: skip


def _ranking() -> list[Panel | RowPanel]:
    return [
        heading(("Ai dùng", "Who used it")),
        rows(
            ("Xếp hạng đơn vị", "Ranking of units"),
            (
                "Năm mươi đơn vị nhiều lượt điểm cầu nhất trong tháng, mỗi đơn vị cùng mọi đơn vị bên dưới.",
                "The fifty units with the most endpoint connections of the month, each with everything below it.",
            ),
            Sql(f"""
                select
                  rank() over (order by m.endpoint_connections desc) as "Hạng / Rank",
                  u.name as "Đơn vị / Unit",
                  m.org as "Mã / Code",
                  m.meetings as "Cuộc họp / Meetings",
                  m.endpoints as "Điểm cầu / Endpoints",
                  m.endpoint_connections as "Lượt điểm cầu / Endpoint connections",
                  m.attendees as "Đại biểu / Attendees",
                  m.leg_seconds / 3600 as "Giờ kết nối / Connection hours",
                  m.failed_connections as "Kết nối hỏng / Failed connections"
                from conftrack.usage_monthly m
                left join (
                  select distinct on (code) code, name from conftrack.org_units order by code, valid_from desc
                ) u on u.code = m.org
                where m.month = ${{month:sqlstring}}::date and m.org is not null and m.{OF_SOURCE}
                order by 1, u.name
                limit 50
                """),
            {
                "Đơn vị / Unit": Column(link=(("Bảng của đơn vị", "Its board"), board_of_unit("Mã / Code"))),
                "Giờ kết nối / Connection hours": Column(decimals=1),
            },
            width=14, height=12,
        ),
        rows(
            ("Các cuộc họp lớn nhất", "The largest meetings"),
            (
                "Hai mươi cuộc họp nhiều điểm cầu nhất trong tháng.",
                "The twenty meetings of the month with the most endpoints.",
            ),
            Sql(f"""
                select
                  coalesce(title, room) as "Cuộc họp / Meeting",
                  started_at as "Bắt đầu / Started",
                  duration_seconds as "Kéo dài / Lasted",
                  endpoint_count as "Điểm cầu / Endpoints",
                  attendees as "Đại biểu / Attendees"
                from conftrack.meetings
                where {OF_MONTH} and (${{source:sqlstring}} = '*' or source = ${{source:sqlstring}})
                order by endpoint_count desc, started_at
                limit 20
                """),
            {"Kéo dài / Lasted": Column(unit="s", decimals=0)},
            width=10, height=12,
        ),
        rows(
            ("Sự cố theo nhà mạng", "Incidents by carrier"),
            (
                "Sự cố của các điểm cầu trong tháng: bao nhiêu lần, và tất cả kéo dài bao lâu; lâu nhất trước. "
                "Vắng mặt không tính. Mất nhiều giờ vì một lần và chập chờn nhiều lần là hai việc khác nhau.",
                "Incidents of endpoints in the month: how many, and how long they lasted together; the longest first. "
                "Absence is left out. One that lasted hours and many that lasted seconds are different things.",
            ),
            Sql(f"""
                select
                  coalesce(carrier, 'không ghi / not said') as "Nhà mạng / Carrier",
                  count(*) as "Sự cố / Incidents",
                  sum(duration_seconds) / 3600 as "Giờ sự cố / Incident hours",
                  count(distinct endpoint) as "Điểm cầu gặp sự cố / Endpoints with one",
                  count(parent_id) as "Thuộc đợt mất hàng loạt / In an outage",
                  count(*) filter (where owner = 'carrier') as "Do nhà mạng, đã xác nhận / By the carrier, confirmed"
                from conftrack.incidents
                where {OF_MONTH} and kind not in ('outage', 'absent') and endpoint is not null
                  and (${{source:sqlstring}} = '*' or source = ${{source:sqlstring}})
                group by carrier
                order by 3 desc nulls last, 2 desc
                """),
            {"Giờ sự cố / Incident hours": Column(decimals=1)},
            none="không có sự cố / no incidents",
        ),
    ]  # fmt: skip
