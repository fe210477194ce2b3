"""Live operations: is every site that should be here, here, and what do we not see?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from dashboards.boards.board import board, board_of_endpoint, board_of_unit, heading, page
from dashboards.boards.panels import (
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    Column,
    Sql,
    figure,
    lines,
    promql,
    rows,
)
from dashboards.boards.words import CAUSES, KINDS, STATES

LATE = ((None, GREEN), (30, ORANGE), (90, RED))
"""Seconds since a live reading: at 90 an alert fires, and everything of the source is unknown."""

LOST = ((None, GREEN), (0.02, YELLOW), (0.05, RED))
"""Packet loss: poor from 5 %, good again below 2 %."""

CALL = (("Gọi ai: trang của conftrack", "Whom to call: conftrack's page"), page("endpoints", "Mã / Code"))


def made() -> Dashboard:
    return board(
        "conftrack-live",
        (
            "Mọi điểm cầu phải có mặt đã có mặt chưa, và nguồn nào đang không đọc được?",
            "Is every site that should be here, here, and which source cannot be seen?",
        ),
        [*_now(), *_troubled(), *_meetings(), *_course(), *_quality(), *_freshness()],
        since="now-3h",
        refresh="10s",
    )


def _now() -> list[Panel | RowPanel]:
    return [
        figure(
            ("Lần đọc trực tiếp gần nhất", "Last live reading"),
            (
                "Đã bao lâu kể từ lần đọc tốt gần nhất của từng nguồn. Từ 90 giây, mọi số của nguồn ấy là không rõ.",
                "How long since each source was last read well. From 90 s on everything of that source is unknown.",
            ),
            promql(
                'time() - max by (source) (conftrack_source_last_success_timestamp_seconds{stream="live"})',
                "{{source}}",
            ),
            unit="s", steps=LATE, decimals=0, width=4,
        ),
        figure(
            ("Nguồn không thấy", "Sources not seen"),
            (
                "Số nguồn mà lúc này không biết gì. Các số bên cạnh không gồm những nguồn này: số thực có thể cao hơn.",
                "Sources of which nothing is known now. The figures beside leave them out: the truth may be higher.",
            ),
            promql(
                """
                count(group by (source) (conftrack_source_up{stream="live"})
                  unless group by (source) (conftrack_meetings_live))
                or 0 * count(conftrack_source_up{stream="live"})
                """
            ),
            unit="locale", steps=((None, GREEN), (1, RED)), width=3,
        ),
        figure(
            ("Cuộc họp", "Meetings now"),
            ("Phòng họp đang có người, ở các nguồn thấy được.", "Rooms with somebody in them, at the sources seen."),
            promql("sum(max by (source) (conftrack_meetings_live))"), unit="locale", width=3, spark=True,
        ),
        figure(
            ("Điểm cầu đang họp", "Endpoints in meetings"),
            (
                "Điểm cầu của danh mục đang họp, kể cả đang có lỗi.",
                "Endpoints of the inventory that are in a meeting, with or without trouble.",
            ),
            promql('sum(max by (org, state) (conftrack_endpoints{state=~"in_meeting|degraded"}))'),
            unit="locale", width=4, spark=True,
        ),
        figure(
            ("Đại biểu, ít nhất", "People, at least"),
            (
                "Mỗi điểm cầu trong mỗi cuộc họp ít nhất một người; số người trong hội trường chỉ biết khi báo cáo.",
                "At least one at each endpoint in each meeting; how many sit in a hall is known once it is reported.",
            ),
            promql("sum(max by (source) (conftrack_attendees_live))"), unit="locale", width=4, spark=True,
        ),
        figure(
            ("Hỏng hoặc vắng", "Failed or absent"),
            (
                "Điểm cầu lẽ ra phải đang họp mà không. Khi không thấy nguồn, số này không có.",
                "Endpoints that should be in a meeting and are not. While sources are not seen there is no figure.",
            ),
            promql('sum(max by (org) (conftrack_endpoints{state="failed"}))'),
            unit="locale", steps=((None, GREEN), (1, RED)), width=3,
        ),
        figure(
            ("Mất hàng loạt", "Outages"),
            (
                "Đơn vị, nhà mạng hoặc khu vực có nhiều điểm cầu cùng hỏng: một nguyên nhân, đừng gọi từng nơi.",
                "Units, carriers or areas of which many endpoints fail at once: one cause, do not call one by one.",
            ),
            promql("count(conftrack_outage) or 0 * count(conftrack_source_up)"),
            unit="locale", steps=((None, GREEN), (1, RED)), width=3,
        ),
    ]  # fmt: skip


def _troubled() -> list[Panel | RowPanel]:
    return [
        heading(("Điểm cầu có sự cố", "Sites in trouble")),
        rows(
            ("Hỏng và vắng", "Failed and absent"),
            (
                "Mọi sự cố đang mở, cũ nhất trước. Số điện thoại không có ở đây: bấm vào mã để mở trang của conftrack.",
                "Every open incident, the oldest first. For telephone numbers the code opens conftrack's page.",
            ),
            Sql("""
                select
                  i.opened_at as "Từ lúc / Since",
                  coalesce(e.name, i.identity, u.name, i.carrier, i.area) as "Điểm cầu / Endpoint",
                  i.endpoint as "Mã / Code",
                  u.name as "Đơn vị / Unit",
                  i.org as "Mã đơn vị / Unit code",
                  i.kind as "Sự cố / Incident",
                  i.end_class as "Nguyên nhân / Cause",
                  i.end_reason as "Lời hệ thống / The system's words",
                  coalesce(m.title, m.room) as "Cuộc họp / Meeting",
                  i.carrier as "Nhà mạng / Carrier",
                  i.acknowledged_by as "Người nhận / Acknowledged by"
                from conftrack.incidents i
                left join conftrack.endpoints e on e.endpoint = i.endpoint
                left join conftrack.org_units u on u.code = i.org and u.valid_to is null
                left join conftrack.meetings m on m.meeting_id = i.meeting_id
                where i.closed_at is null
                order by i.kind = 'outage' desc, i.opened_at
                limit 500
                """),
            {
                "Sự cố / Incident": Column(words=KINDS),
                "Nguyên nhân / Cause": Column(words=CAUSES),
                "Mã / Code": Column(link=CALL),
                "Điểm cầu / Endpoint": Column(
                    link=(("Bảng của điểm cầu", "Its board"), board_of_endpoint("Mã đơn vị / Unit code", "Mã / Code"))
                ),
                "Đơn vị / Unit": Column(
                    link=(("Bảng của đơn vị", "Its board"), board_of_unit("Mã đơn vị / Unit code"))
                ),
                "Mã đơn vị / Unit code": Column(hidden=True),
            },
            none="không có sự cố nào đang mở / no incident is open",
            height=10,
        ),
    ]


def _meetings() -> list[Panel | RowPanel]:
    return [
        rows(
            ("Các cuộc họp đang diễn ra", "Meetings going on"),
            (
                "Tên, số điểm cầu và số được mời. Không có danh sách mời thì ô trống, không phải 0.",
                "Names, endpoints and how many were invited. Without a list of those invited the cell is empty, not 0.",
            ),
            Sql("""
                select
                  m.started_at as "Từ lúc / Since",
                  coalesce(m.title, m.room) as "Cuộc họp / Meeting",
                  m.meeting_id as "Số / Number",
                  m.source as "Nguồn / Source",
                  m.endpoint_count as "Điểm cầu / Endpoints",
                  m.attendees as "Đại biểu, ít nhất / People, at least",
                  nullif(x.expected, 0) as "Được mời / Expected",
                  case when x.expected > 0 then x.came end as "Đã vào / Have come",
                  case when x.expected > 0 then x.absent end as "Vắng mặt / Absent"
                from conftrack.meetings m
                cross join lateral (
                  select
                    count(*) as expected, count(x.joined_at) as came,
                    count(*) filter (where x.state = 'absent') as absent
                  from conftrack.expected_endpoints x
                  where x.meeting_id = m.meeting_id
                ) x
                where m.ended_at is null and m.started_at > now() - interval '3 days'
                order by m.started_at
                """),
            {
                "Số / Number": Column(
                    link=(("Điểm danh: trang của conftrack", "Roll-call: conftrack's page"),
                          page("meetings", "Số / Number")),
                    unit="none",
                ),
                "Vắng mặt / Absent": Column(steps=((None, "transparent"), (1, RED))),
            },
            none="không có cuộc họp nào / no meeting",
        )
    ]  # fmt: skip


def _course() -> list[Panel | RowPanel]:
    return [
        heading(("Diễn biến", "The course of it")),
        lines(
            ("Điểm cầu theo tình trạng", "Endpoints by state"),
            (
                "Điểm cầu của danh mục. Không rõ: nguồn không thấy được; không bao giờ tính là hỏng.",
                "Endpoints of the inventory. Unknown: the source cannot be seen; that is never counted as failed.",
            ),
            [
                promql(
                    f'sum(max by (org) (conftrack_endpoints{{state="{state}"}})) > 0'
                    if state == "unknown" else f'sum(max by (org) (conftrack_endpoints{{state="{state}"}}))',
                    STATES[state][0],
                )
                for state in ("in_meeting", "degraded", "failed", "maintenance", "unknown")
            ],
            unit="locale",
        ),
        lines(
            ("Cuộc họp và lượt kết nối", "Meetings and connections"),
            (
                "Theo từng nguồn. Chỗ đứt quãng là lúc không đọc được, không phải lúc không có ai.",
                "By source. A gap is when the source could not be read, not when nobody was there.",
            ),
            [
                promql("max by (source) (conftrack_legs_live)", "{{source}}: lượt kết nối / connections"),
                promql("max by (source) (conftrack_meetings_live)", "{{source}}: cuộc họp / meetings"),
            ],
            unit="locale",
        ),
        lines(
            ("Vào và rời họp", "Joins and leaves"),
            (
                "Lượt kết nối vào và rời trong từng năm phút, theo dữ liệu đã lưu.",
                "Connections that joined and left in each five minutes, as stored.",
            ),
            [
                Sql(
                    """
                    select
                      date_bin('5 minutes', event.at, '2000-01-01Z') as time,
                      count(*) filter (where event.change = 'in') as "Vào / Joins",
                      count(*) filter (where event.change = 'out') as "Rời / Leaves"
                    from conftrack.legs l
                    cross join lateral (values (l.joined_at, 'in'), (l.left_at, 'out')) event (at, change)
                    where l.counted and l.meeting_started_at between $__timeFrom()::timestamptz - interval '1 day'
                      and $__timeTo()::timestamptz and $__timeFilter(event.at)
                    group by 1
                    order by 1
                    """,
                    series=True,
                )
            ],
            unit="locale", bars=True,
        ),
        lines(
            ("Sự cố mới", "New incidents"),
            ("Sự cố mở thêm trong từng năm phút, theo loại.", "Incidents that opened in each five minutes, by kind."),
            [
                promql(f'sum(increase(conftrack_incidents_total{{kind="{kind}"}}[5m])) > 0', words)
                for kind, (words, _) in KINDS.items()
                if kind != "outage"
            ],
            unit="locale", bars=True, stacked=True, interval="5m",
        ),
    ]  # fmt: skip


def _quality() -> list[Panel | RowPanel]:
    return [
        heading(("Chất lượng", "Quality")),
        rows(
            ("Chất lượng theo khu vực", "Quality by area"),
            (
                "Các lượt kết nối đang mở, chiều xấu hơn của mỗi lượt, theo lần đọc gần nhất.",
                "Connections that are up, the worse direction of each, as last read.",
            ),
            Sql("""
                select
                  coalesce(e.area, 'không rõ / not known') as "Khu vực / Area",
                  count(*) as "Lượt kết nối / Connections",
                  count(greatest(l.rx_loss, l.tx_loss)) as "Có số đo / Measured",
                  percentile_cont(0.5) within group (order by greatest(l.rx_loss, l.tx_loss))
                    as "Mất gói, trung vị / Loss, median",
                  max(greatest(l.rx_loss, l.tx_loss)) as "Mất gói, xấu nhất / Loss, worst",
                  max(l.jitter_seconds) as "Biến thiên trễ, xấu nhất / Jitter, worst"
                from conftrack.legs l
                left join conftrack.endpoints e on e.endpoint = l.endpoint
                where l.left_at is null and l.counted
                group by 1
                order by 5 desc nulls last
                """),
            {
                "Mất gói, trung vị / Loss, median": Column(unit="percentunit", decimals=1, steps=LOST),
                "Mất gói, xấu nhất / Loss, worst": Column(unit="percentunit", decimals=1, steps=LOST),
                "Biến thiên trễ, xấu nhất / Jitter, worst": Column(unit="s", decimals=3),
            },
            width=12,
            none="không có lượt kết nối nào / nothing is up",
        ),
        lines(
            ("Mất gói", "Packet loss"),
            (
                "Trong các điểm cầu đang họp: điểm xấu nhất, và mức mà 95 % điểm cầu không vượt quá.",
                "Of the endpoints in meetings: the worst, and what 95 % of them stay below.",
            ),
            [
                promql("max by (direction) (conftrack_endpoint_packet_loss_ratio)", "{{direction}}: xấu nhất / worst"),
                promql(
                    "quantile by (direction) (0.95, conftrack_endpoint_packet_loss_ratio)", "{{direction}}: 95 %"
                ),
            ],
            unit="percentunit", steps=LOST,
        ),
    ]  # fmt: skip


def _freshness() -> list[Panel | RowPanel]:
    return [
        heading(("Độ mới của số liệu", "How current this is")),
        lines(
            ("Tuổi của từng luồng", "Age of every stream"),
            (
                "Thời gian từ lần đọc tốt gần nhất. Đường đi lên là luồng không đọc được.",
                "Time since the last good reading. A line that climbs is a stream that cannot be read.",
            ),
            [
                promql(
                    "time() - max by (source, stream) (conftrack_source_last_success_timestamp_seconds)",
                    "{{source}}: {{stream}}",
                )
            ],
            unit="s", width=12,
        ),
        rows(
            ("Các nguồn", "Sources"),
            (
                "Đã đọc đến đâu, lỗi gần nhất, và tổng số của nguồn có khớp với số đã lưu không.",
                "How far each was read, its last error, and whether its own total equals what is stored.",
            ),
            Sql("""
                select
                  s.source as "Nguồn / Source",
                  s.stream as "Luồng / Stream",
                  s.last_success_at as "Đọc tốt lúc / Last read well",
                  s.cursor_at as "Đọc đến / Read up to",
                  s.source_total - s.stored_total as "Thiếu / Missing",
                  case when s.last_failure_at > coalesce(s.last_success_at, '-infinity') then s.last_error end
                    as "Lỗi / Error"
                from conftrack.source_status s
                order by s.source, s.stream
                """),
            {"Thiếu / Missing": Column(steps=((None, "transparent"), (1, RED)))},
            width=12,
        ),
    ]  # fmt: skip
