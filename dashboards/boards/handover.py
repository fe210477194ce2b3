"""Shift hand-over: what is open, what is planned, and what is still to come today?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from dashboards.boards.board import board, board_of_endpoint, heading, page
from dashboards.boards.live import CALL, LATE
from dashboards.boards.panels import GREEN, ORANGE, RED, Column, Sql, bars, figure, promql, rows
from dashboards.boards.words import CAUSES, KINDS


def made() -> Dashboard:
    return board(
        "conftrack-handover",
        (
            "Ca sau cần biết gì: sự cố đang mở, bảo trì, các cuộc họp hôm nay và ai được mời?",
            "What must the next shift know: open incidents, planned work, today's meetings and who is expected?",
        ),
        [*_figures(), *_open(), *_today(), *_planned(), *_closed()],
        since="now/d",
        until="now/d",
        refresh="1m",
    )


def _figures() -> list[Panel | RowPanel]:
    return [
        figure(
            ("Lần đọc trực tiếp gần nhất", "Last live reading"),
            (
                "Nếu đã cũ, mọi thứ bên dưới là của lúc đó, không phải bây giờ.",
                "If it is old, everything below is of that moment, not of now.",
            ),
            promql(
                'time() - max by (source) (conftrack_source_last_success_timestamp_seconds{stream="live"})',
                "{{source}}", instant=True,
            ),
            unit="s", steps=LATE, decimals=0, width=6,
        ),
        figure(
            ("Sự cố đang mở", "Open incidents"),
            ("Của điểm cầu; mất hàng loạt không đếm thêm.", "Of endpoints; outages are not counted beside them."),
            Sql("""
                select count(*) as "Đang mở / Open"
                from conftrack.incidents
                where closed_at is null and kind <> 'outage'
                """),
            unit="locale", steps=((None, GREEN), (1, ORANGE), (10, RED)), width=6,
        ),
        figure(
            ("Chưa ai nhận", "Acknowledged by nobody"),
            ("Sự cố đang mở mà chưa ai nhận xử lý.", "Open incidents that nobody has acknowledged."),
            Sql("""
                select count(*) as "Chưa nhận / Not acknowledged"
                from conftrack.incidents
                where closed_at is null and kind <> 'outage' and acknowledged_at is null
                """),
            unit="locale", steps=((None, GREEN), (1, RED)), width=6,
        ),
        figure(
            ("Cuộc họp còn lại hôm nay", "Meetings still to come today"),
            (
                "Cuộc họp có danh sách mời, bắt đầu sau lúc này trong thời gian đã chọn.",
                "Meetings with a list of those invited that start after now, within the chosen time.",
            ),
            Sql("""
                select count(distinct invitation_id) as "Còn lại / To come"
                from conftrack.expected_endpoints
                where $__timeFilter(starts_at) and starts_at > now()
                """),
            unit="locale", width=6,
        ),
    ]  # fmt: skip


def _open() -> list[Panel | RowPanel]:
    return [
        rows(
            ("Sự cố đang mở", "Open incidents"),
            (
                "Chưa ai nhận trước, cũ nhất trước. Ghi chú và số điện thoại ở trang của conftrack.",
                "Those nobody acknowledged first, then the oldest. Notes and telephone numbers: on conftrack's page.",
            ),
            Sql("""
                select
                  i.opened_at as "Từ lúc / Since",
                  coalesce(e.name, i.identity, u.name, i.carrier, i.area) as "Điểm cầu / Endpoint",
                  i.endpoint as "Mã / Code",
                  i.org as "Mã đơn vị / Unit code",
                  u.name as "Đơn vị / Unit",
                  i.kind as "Sự cố / Incident",
                  i.end_class as "Nguyên nhân / Cause",
                  coalesce(m.title, m.room) as "Cuộc họp / Meeting",
                  i.acknowledged_by as "Người nhận / Acknowledged by",
                  i.acknowledged_at as "Nhận lúc / At"
                from conftrack.incidents i
                left join conftrack.endpoints e on e.endpoint = i.endpoint
                left join conftrack.org_units u on u.code = i.org and u.valid_to is null
                left join conftrack.meetings m on m.meeting_id = i.meeting_id
                where i.closed_at is null
                order by i.acknowledged_at is not null, i.opened_at
                limit 500
                """),
            {
                "Điểm cầu / Endpoint": Column(
                    link=(("Bảng của điểm cầu", "Its board"), board_of_endpoint("Mã đơn vị / Unit code", "Mã / Code"))
                ),
                "Mã / Code": Column(link=CALL),
                "Mã đơn vị / Unit code": Column(hidden=True),
                "Sự cố / Incident": Column(words=KINDS),
                "Nguyên nhân / Cause": Column(words=CAUSES),
            },
            none="không có sự cố nào đang mở / no incident is open",
        ),
    ]


def _today() -> list[Panel | RowPanel]:
    return [
        heading(("Hôm nay", "Today")),
        rows(
            ("Các cuộc họp hôm nay", "Today's meetings"),
            (
                "Cuộc họp có danh sách mời, theo giờ bắt đầu. Chưa rõ: chưa đến giờ, hoặc không ai thấy được.",
                "Meetings with a list of those invited, by their start. Not known: still to come, or nobody could see.",
            ),
            Sql("""
                with expected as materialized (
                  select invitation_id, starts_at, ends_at, title, room, meeting_id, state
                  from conftrack.expected_endpoints
                  where $__timeFilter(starts_at)
                )
                select
                  x.starts_at as "Bắt đầu / Start",
                  min(x.ends_at) as "Kết thúc / End",
                  min(coalesce(x.title, x.room)) as "Cuộc họp / Meeting",
                  min(x.meeting_id) as "Số / Number",
                  count(*) as "Được mời / Expected",
                  count(*) filter (where x.state = 'on_time') as "Đúng giờ / On time",
                  count(*) filter (where x.state = 'late') as "Vào muộn / Late",
                  count(*) filter (where x.state = 'absent') as "Vắng mặt / Absent",
                  count(*) filter (where x.state = 'excused') as "Vắng có lý do / Excused",
                  count(*) filter (where x.state is null) as "Chưa rõ / Not known"
                from expected x
                group by x.invitation_id, x.starts_at
                order by x.starts_at
                """),
            {
                "Số / Number": Column(
                    unit="none",
                    link=(("Điểm danh: trang của conftrack", "Roll-call: conftrack's page"),
                          page("meetings", "Số / Number")),
                ),
                "Vắng mặt / Absent": Column(steps=((None, "transparent"), (1, RED))),
            },
            none="không có cuộc họp nào có danh sách mời / no meeting with a list of those invited",
        ),
        rows(
            ("Các cuộc họp đã bắt đầu", "Meetings that have started"),
            (
                "Mọi cuộc họp bắt đầu trong thời gian đã chọn, kể cả không có danh sách mời.",
                "Every meeting that started in the chosen time, with or without a list of those invited.",
            ),
            Sql("""
                select
                  started_at as "Bắt đầu / Started",
                  ended_at as "Kết thúc / Ended",
                  coalesce(title, room) as "Cuộc họp / Meeting",
                  endpoint_count as "Điểm cầu / Endpoints",
                  attendees as "Đại biểu / Attendees"
                from conftrack.meetings
                where $__timeFilter(started_at)
                order by started_at desc
                limit 200
                """),
            none="chưa có cuộc họp nào / no meeting yet",
        ),
    ]  # fmt: skip


def _planned() -> list[Panel | RowPanel]:
    return [
        heading(("Bảo trì", "Maintenance")),
        rows(
            ("Bảo trì hôm nay và sắp tới", "Maintenance today and to come"),
            (
                "Đang và sắp diễn ra, kể cả loại lặp lại chưa hết hạn. Giờ là của lần đầu; quy tắc lặp ở cột bên.",
                "Going on or to come, repeated ones until they expire. The hours are of the first; the rule is beside.",
            ),
            Sql("""
                select
                  w.starts_at as "Từ / From",
                  w.ends_at as "Đến / To",
                  coalesce(e.name, u.name, w.endpoint, w.org, w.source, w.carrier, w.area) as "Nơi / Where",
                  w.reason as "Lý do / Reason",
                  w.author as "Người lập / By",
                  w.repeats as "Lặp lại / Repeats",
                  w.expires_at as "Hết hạn / Expires"
                from conftrack.maintenance_windows w
                left join conftrack.endpoints e on e.endpoint = w.endpoint
                left join conftrack.org_units u on u.code = w.org and u.valid_to is null
                where w.cancelled_at is null and w.expires_at > $__timeFrom()::timestamptz
                order by w.starts_at
                limit 200
                """),
            none="không có bảo trì / no maintenance",
        ),
    ]


def _closed() -> list[Panel | RowPanel]:
    return [
        heading(("Trong ca", "In the shift")),
        rows(
            ("Đã đóng", "Closed"),
            (
                "Sự cố đã đóng trong thời gian đã chọn (mở trong vòng một ngày trước đó), mới nhất trước.",
                "Incidents that closed in the chosen time (opened at most a day before it), the newest first.",
            ),
            Sql("""
                select
                  i.closed_at as "Đóng lúc / Closed",
                  i.duration_seconds as "Kéo dài / Lasted",
                  coalesce(e.name, i.identity, i.org, i.carrier, i.area) as "Điểm cầu / Endpoint",
                  i.kind as "Sự cố / Incident",
                  i.end_class as "Nguyên nhân / Cause",
                  i.owner as "Do / Whose"
                from conftrack.incidents i
                left join conftrack.endpoints e on e.endpoint = i.endpoint
                where i.opened_at between $__timeFrom()::timestamptz - interval '1 day' and $__timeTo()::timestamptz
                  and $__timeFilter(i.closed_at)
                order by i.closed_at desc
                limit 200
                """),
            {
                "Kéo dài / Lasted": Column(unit="s", decimals=0),
                "Sự cố / Incident": Column(words=KINDS),
                "Nguyên nhân / Cause": Column(words=CAUSES),
            },
            width=16,
            none="chưa có / none yet",
        ),
        bars(
            ("Theo loại", "By kind"),
            ("Sự cố mở trong thời gian đã chọn.", "Incidents that opened in the chosen time."),
            Sql("""
                select
                  case kind
                    when 'connect_failed' then 'Không kết nối được / Could not connect'
                    when 'dropped' then 'Rớt khỏi cuộc họp / Dropped out'
                    when 'absent' then 'Vắng mặt / Absent'
                    when 'flapping' then 'Chập chờn / Comes and goes'
                    when 'quality' then 'Hình hoặc tiếng kém / Bad picture or sound'
                    when 'unregistered' then 'Chưa đăng ký / Not registered'
                    else 'Mất hàng loạt / Outage'
                  end as "Loại / Kind",
                  count(*) as "Sự cố / Incidents"
                from conftrack.incidents
                where $__timeFilter(opened_at)
                group by 1
                order by 2 desc
                """),
            by="Loại / Kind",
            width=8,
        ),
    ]
