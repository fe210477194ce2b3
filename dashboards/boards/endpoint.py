"""Endpoint: how well does this one site work?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from dashboards.boards.board import ORG, annotation, board, choice, heading, page
from dashboards.boards.live import LOST
from dashboards.boards.panels import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    Column,
    Sql,
    bars,
    both,
    figure,
    lines,
    promql,
    rows,
    states,
)
from dashboards.boards.words import CAUSES, KINDS, PRESENCE, STATES

ENDPOINT = choice(
    "endpoint", ("Điểm cầu", "Endpoint"),
    """
    with recursive below as (
      select ${org:sqlstring} as code
      union
      select u.code from conftrack.org_units u join below b on u.parent = b.code
    )
    select name || ' (' || endpoint || ')' as __text, endpoint as __value
    from conftrack.endpoints
    where org in (select code from below)
    order by name
    """,
    ("Một điểm cầu của đơn vị.", "One endpoint of the unit."),
)  # fmt: skip

TROUBLE = annotation(
    ("Sự cố của điểm cầu", "Incidents of the endpoint"), RED,
    """
    select
      opened_at as time,
      coalesce(closed_at, $__timeTo()::timestamptz) as timeend,
      concat_ws(' · ', 'Sự cố / Incident: ' || kind, end_class, end_reason) as text,
      kind as tags
    from conftrack.incidents
    where endpoint = ${endpoint:sqlstring}
      and opened_at between $__timeFrom()::timestamptz - interval '1 day' and $__timeTo()::timestamptz
    """,
)  # fmt: skip

PLANNED = annotation(
    ("Bảo trì của điểm cầu", "Maintenance of the endpoint"), BLUE,
    """
    with recursive above as (
      select e.org as code from conftrack.endpoints e where e.endpoint = ${endpoint:sqlstring}
      union
      select u.parent from conftrack.org_units u join above a on u.code = a.code where u.parent is not null
    )
    select
      w.starts_at as time,
      least(w.ends_at, coalesce(w.cancelled_at, w.ends_at)) as timeend,
      concat_ws(' · ', 'Bảo trì / Maintenance', w.reason,
        'lặp lại đến / again until ' || case when w.repeats is not null then to_char(w.expires_at, 'DD/MM/YYYY') end
      ) as text,
      'maintenance' as tags
    from conftrack.maintenance_windows w
    join conftrack.endpoints e on e.endpoint = ${endpoint:sqlstring}
    where w.ends_at >= $__timeFrom()::timestamptz and w.starts_at <= $__timeTo()::timestamptz
      and (w.cancelled_at is null or w.cancelled_at > w.starts_at)
      and (w.endpoint = e.endpoint or w.carrier = e.carrier or w.area = e.area or w.org in (select code from above))
    """,
)  # fmt: skip

STATE = "\nor ".join(
    f'{number} * max(conftrack_endpoint_state{{endpoint="$endpoint", state="{state}"}})'
    for number, state in enumerate(STATES)
)
"""The state as a number, because only values are shown in words and colours; it is in one state at a time."""

STATE_WORDS = {str(number): STATES[state] for number, state in enumerate(STATES)}


def made() -> Dashboard:
    return board(
        "conftrack-endpoint",
        (
            "Điểm cầu này hoạt động tốt đến đâu, hỏng khi nào, và vì sao?",
            "How well does this one site work, when did it fail, and why?",
        ),
        [*_itself(), *_now(), *_quality(), *_history()],
        since="now-30d",
        refresh="1m",
        variables=(ORG, ENDPOINT),
        annotations=(TROUBLE, PLANNED),
    )


def _itself() -> list[Panel | RowPanel]:
    return [
        rows(
            ("Điểm cầu", "The endpoint"),
            (
                "Theo danh mục. Số điện thoại ở trang của conftrack: bấm vào mã.",
                "From the inventory. The telephone number is on conftrack's page: the code leads there.",
            ),
            Sql("""
                select
                  e.name as "Tên / Name",
                  e.endpoint as "Mã / Code",
                  u.name as "Đơn vị / Unit",
                  e.kind as "Loại / Kind",
                  e.seats as "Chỗ ngồi / Seats",
                  e.carrier as "Nhà mạng / Carrier",
                  e.area as "Khu vực / Area",
                  e.service_hours as "Giờ trực / Service hours"
                from conftrack.endpoints e
                left join conftrack.org_units u on u.code = e.org and u.valid_to is null
                where e.endpoint = ${endpoint:sqlstring}
                """),
            {
                "Mã / Code": Column(link=(("Trang của conftrack", "conftrack's page"), page("endpoints", "Mã / Code"))),
            },
            height=4,
        ),
    ]


def _now() -> list[Panel | RowPanel]:
    return [
        figure(
            ("Bây giờ", "Now"),
            (
                "Tình trạng lúc này. Không rõ: một nguồn không thấy được.",
                "The state it is in. Unknown: a source cannot be seen.",
            ),
            promql(STATE, both(("tình trạng", "state")), instant=True), unit="locale", words=STATE_WORDS, width=6,
        ),
        figure(
            ("Sẵn sàng", "Availability"),
            (
                "Phần thời gian không có sự cố trong thời gian đã chọn, không tính lúc bảo trì và lúc không rõ. "
                "Theo số đo, nên không lùi xa hơn thời gian Prometheus lưu.",
                "The share of the chosen time without an incident; maintenance and what is unknown are left out. Of "
                "samples, so it reaches no further back than Prometheus keeps them.",
            ),
            promql(
                """
                (sum(count_over_time(
                    conftrack_endpoint_state{endpoint="$endpoint", state=~"in_meeting|idle"}[$__range]
                  ))
                  or 0 * sum(count_over_time(conftrack_endpoint_state{endpoint="$endpoint"}[$__range])))
                / sum(count_over_time(
                    conftrack_endpoint_state{endpoint="$endpoint", state!~"unknown|maintenance"}[$__range]
                  ))
                """,
                instant=True,
            ),
            unit="percentunit", decimals=2, steps=((None, RED), (0.98, ORANGE), (0.995, GREEN)), width=4,
        ),
        figure(
            ("Đã biết", "Known"),
            (
                "Phần số đo trong thời gian đã chọn mà tình trạng được biết: sẵn sàng chỉ nói về phần này.",
                "The share of the samples of which the state is known: availability speaks of these only.",
            ),
            promql(
                """
                (sum(count_over_time(conftrack_endpoint_state{endpoint="$endpoint", state!="unknown"}[$__range]))
                  or 0 * sum(count_over_time(conftrack_endpoint_state{endpoint="$endpoint"}[$__range])))
                / sum(count_over_time(conftrack_endpoint_state{endpoint="$endpoint"}[$__range]))
                """,
                instant=True,
            ),
            unit="percentunit", decimals=1, steps=((None, RED), (0.9, ORANGE), (0.99, GREEN)), width=4,
        ),
        figure(
            ("Sự cố", "Incidents"),
            ("Sự cố đã mở trong thời gian đã chọn.", "Incidents that opened in the chosen time."),
            Sql("""
                select count(*) as "Sự cố / Incidents"
                from conftrack.incidents
                where endpoint = ${endpoint:sqlstring} and $__timeFilter(opened_at)
                """),
            unit="locale", steps=((None, GREEN), (1, ORANGE)), width=5,
        ),
        figure(
            ("Họp", "In meetings"),
            (
                "Thời gian kết nối đã xong trong thời gian đã chọn.",
                "Time of connections that have ended, in the chosen time.",
            ),
            Sql("""
                select sum(duration_seconds) as "Thời gian / Time"
                from conftrack.legs
                where endpoint = ${endpoint:sqlstring} and counted and $__timeFilter(joined_at)
                """),
            unit="s", decimals=1, width=5,
        ),
        states(
            ("Tình trạng theo thời gian", "State over time"),
            (
                "Tình trạng ở từng lúc. Chỗ trống: conftrack không được thu thập số đo.",
                "The state at each moment. Empty: conftrack was not scraped.",
            ),
            promql(STATE, both(("tình trạng", "state"))),
            STATE_WORDS,
            height=5,
        ),
    ]  # fmt: skip


def _quality() -> list[Panel | RowPanel]:
    both_ways = (
        "rx: từ điểm cầu đến hệ thống; tx: từ hệ thống đến điểm cầu. Không họp thì không có số.",
        "rx: from the endpoint to the system; tx: to the endpoint. Outside meetings there is no figure.",
    )

    def measured(title: tuple[str, str], metric: str, unit: str, steps: tuple[tuple[float | None, str], ...]) -> Panel:
        query = promql(f'max by (direction) ({metric}{{endpoint="$endpoint"}})', "{{direction}}")
        return lines(title, both_ways, [query], unit=unit, width=8, steps=steps)

    return [
        heading(("Chất lượng", "Quality")),
        measured(("Mất gói", "Packet loss"), "conftrack_endpoint_packet_loss_ratio", "percentunit", LOST),
        measured(
            ("Biến thiên trễ", "Jitter"), "conftrack_endpoint_jitter_seconds", "s",
            ((None, GREEN), (0.03, YELLOW), (0.05, RED)),
        ),
        measured(
            ("Băng thông", "Bitrate"), "conftrack_endpoint_bitrate_bits_per_second", "bps", ((None, GREEN),)
        ),
    ]  # fmt: skip


def _history() -> list[Panel | RowPanel]:
    return [
        heading(("Lịch sử", "History")),
        rows(
            ("Sự cố", "Incidents"),
            (
                "Sự cố trong thời gian đã chọn, mới nhất trước. Chưa có lúc đóng: đang diễn ra.",
                "Incidents of the chosen time, the newest first. Not closed: it goes on.",
            ),
            Sql("""
                select
                  i.opened_at as "Từ lúc / Since",
                  i.closed_at as "Đến lúc / Until",
                  i.duration_seconds as "Kéo dài / Lasted",
                  i.kind as "Sự cố / Incident",
                  i.end_class as "Nguyên nhân / Cause",
                  i.end_reason as "Lời hệ thống / The system's words",
                  i.owner as "Do / Whose",
                  coalesce(m.title, m.room) as "Cuộc họp / Meeting"
                from conftrack.incidents i
                left join conftrack.meetings m on m.meeting_id = i.meeting_id
                where i.endpoint = ${endpoint:sqlstring} and $__timeFilter(i.opened_at)
                order by i.opened_at desc
                limit 500
                """),
            {
                "Kéo dài / Lasted": Column(unit="s", decimals=0),
                "Sự cố / Incident": Column(words=KINDS),
                "Nguyên nhân / Cause": Column(words=CAUSES),
            },
            none="không có sự cố nào / no incident",
        ),
        rows(
            ("Các cuộc họp", "Meetings"),
            (
                "Các cuộc họp đã dự trong thời gian đã chọn: vào, rời và số lượt kết nối.",
                "Meetings it was in, in the chosen time: when it joined and left, and in how many connections.",
            ),
            Sql("""
                with leg as (
                  select
                    meeting_id, min(joined_at) as joined_at, max(left_at) as left_at,
                    count(*) as legs, sum(duration_seconds) as seconds, bool_or(left_at is null) as here
                  from conftrack.legs
                  where endpoint = ${endpoint:sqlstring} and counted and $__timeFilter(joined_at)
                  group by meeting_id
                )
                select
                  l.joined_at as "Vào / Joined",
                  case when not l.here then l.left_at end as "Rời / Left",
                  coalesce(m.title, m.room) as "Cuộc họp / Meeting",
                  l.meeting_id as "Số / Number",
                  l.legs as "Lượt kết nối / Connections",
                  l.seconds as "Thời gian / Time"
                from leg l
                join conftrack.meetings m on m.meeting_id = l.meeting_id
                order by l.joined_at desc
                limit 500
                """),
            {
                "Thời gian / Time": Column(unit="s", decimals=0),
                "Số / Number": Column(
                    unit="none", link=(("Trang của conftrack", "conftrack's page"), page("meetings", "Số / Number"))
                ),
            },
            width=14,
            none="không họp / was in no meeting",
        ),
        rows(
            ("Được mời", "Invited to"),
            (
                "Các cuộc họp được mời trong thời gian đã chọn. Trống: chưa đến giờ, hoặc không ai thấy được.",
                "Meetings it was invited to, in the chosen time. Empty: still to come, or nobody could see.",
            ),
            Sql("""
                select
                  starts_at as "Bắt đầu / Start",
                  coalesce(title, room) as "Cuộc họp / Meeting",
                  state as "Có mặt / Presence",
                  extract(epoch from joined_at - starts_at)::double precision as "So với giờ họp / Against the start"
                from conftrack.expected_endpoints
                where endpoint = ${endpoint:sqlstring} and $__timeFilter(starts_at)
                order by starts_at desc
                limit 500
                """),
            {
                "Có mặt / Presence": Column(words=PRESENCE),
                "So với giờ họp / Against the start": Column(unit="s", decimals=0),
            },
            width=10,
            none="không được mời / not invited",
        ),
        bars(
            ("Sự cố trong mười hai tháng", "Incidents in twelve months"),
            (
                "Theo tháng và loại, bất kể thời gian đã chọn. Tháng không có cột là tháng không có sự cố.",
                "By month and kind, whatever time is chosen. A month without a bar had no incident.",
            ),
            Sql("""
                select
                  to_char(month, 'MM/YYYY') as "Tháng / Month",
                  count(*) filter (where i.kind = 'absent') as "Vắng mặt / Absent",
                  count(*) filter (where i.kind = 'connect_failed') as "Không kết nối được / Could not connect",
                  count(*) filter (where i.kind = 'dropped') as "Rớt khỏi cuộc họp / Dropped out",
                  count(*) filter (where i.kind in ('flapping', 'quality', 'unregistered')) as "Khác / Other"
                from conftrack.time_zone z
                cross join lateral generate_series(
                  date_trunc('month', now() at time zone z.name) - interval '11 months',
                  date_trunc('month', now() at time zone z.name), interval '1 month'
                ) month
                left join conftrack.incidents i
                  on i.endpoint = ${endpoint:sqlstring} and i.opened_at >= now() - interval '12 months'
                  and i.opened_at >= month at time zone z.name
                  and i.opened_at < (month + interval '1 month') at time zone z.name
                group by month
                order by month
                """),
            by="Tháng / Month",
            width=24,
            stacked=True,
        ),
    ]
