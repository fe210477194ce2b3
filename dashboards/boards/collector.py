"""Collector: is conftrack itself healthy, complete and cheap?"""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from dashboards.boards.board import board, choice, heading
from dashboards.boards.panels import (
    GREEN,
    ORANGE,
    PROMETHEUS,
    RED,
    Column,
    Sql,
    figure,
    lines,
    promql,
    rows,
    states,
)

SOURCE = choice(
    "source", ("Nguồn", "Source"), "label_values(conftrack_source_up, source)",
    ("Các nguồn được xem.", "The sources that are shown."), source=PROMETHEUS, several=True,
)  # fmt: skip

OF = 'source=~"${source:regex}"'


def made() -> Dashboard:
    return board(
        "conftrack-collector",
        (
            "Bộ thu thập có khỏe không, có đọc đủ không, và tốn bao nhiêu?",
            "Is the collector itself healthy, does it read everything, and what does it cost?",
        ),
        [*_health(), *_requests(), *_records(), *_complete(), *_cost()],
        since="now-6h",
        refresh="30s",
        variables=(SOURCE,),
        annotations=(),
    )


def _health() -> list[Panel | RowPanel]:
    return [
        figure(
            ("Phiên bản", "Version"),
            ("Phiên bản conftrack đang chạy.", "The version of conftrack that runs."),
            promql("count by (version) (conftrack_build_info)", "{{version}}", instant=True),
            unit="locale", named=True, width=4,
        ),
        figure(
            ("Luồng hỏng", "Streams down"),
            ("Luồng mà lần đọc gần nhất bị lỗi.", "Streams whose last reading failed."),
            promql(f"sum(1 - max by (source, stream) (conftrack_source_up{{{OF}}}))"),
            unit="locale", steps=((None, GREEN), (1, RED)), width=4,
        ),
        figure(
            ("Chậm nhất, trực tiếp", "Worst lag, live"),
            ("Thời gian từ lần đọc trực tiếp tốt gần nhất.", "Time since the last good live reading."),
            promql(
                "max(time() - max by (source) "
                f'(conftrack_source_last_success_timestamp_seconds{{{OF}, stream="live"}}))'
            ),
            unit="s", decimals=0, steps=((None, GREEN), (30, ORANGE), (90, RED)), width=4,
        ),
        figure(
            ("Chậm nhất, lịch sử", "Worst lag, history"),
            (
                "Lịch sử đã đọc đến bao lâu trước đây; luồng chậm nhất.",
                "How long ago the history has been read up to; of the slowest stream.",
            ),
            promql(
                "max(time() - max by (source, stream) "
                f'(conftrack_source_cursor_timestamp_seconds{{{OF}, stream!="live"}}))'
            ),
            unit="s", decimals=0, steps=((None, GREEN), (900, ORANGE), (3600, RED)), width=4,
        ),
        figure(
            ("Bị từ chối", "Rejected"),
            (
                "Bản ghi không hiểu được, đang giữ nguyên: xem `conftrack rejected list`.",
                "Records that were not understood and are kept whole: see `conftrack rejected list`.",
            ),
            Sql('select sum(rejected) as "Bị từ chối / Rejected" from conftrack.source_status'),
            unit="locale", steps=((None, GREEN), (1, ORANGE)), width=4,
        ),
        figure(
            ("Thiếu", "Missing"),
            (
                "Số bản ghi mà nguồn nói là có nhiều hơn số đã lưu, trong khoảng mới nhất.",
                "How many records the sources say they hold more than are stored, in the newest window.",
            ),
            promql(f"sum(max by (source, stream) (conftrack_source_missing_records{{{OF}}}))"),
            unit="locale", steps=((None, GREEN), (1, RED)), width=4,
        ),
        states(
            ("Đọc được", "Readable"),
            (
                "Mỗi luồng một hàng: lần đọc gần nhất tốt hay hỏng. Chỗ trống: bộ thu thập không được thu thập số đo.",
                "A row for each stream: its last reading was good or failed. Empty: conftrack itself was not scraped.",
            ),
            promql(f"max by (source, stream) (conftrack_source_up{{{OF}}})", "{{source}}: {{stream}}"),
            {"1": ("tốt / good", GREEN), "0": ("hỏng / failed", RED)},
            height=6,
        ),
    ]  # fmt: skip


def _requests() -> list[Panel | RowPanel]:
    return [
        heading(("Yêu cầu tới hệ thống hội nghị", "Requests to the conference systems")),
        lines(
            ("Yêu cầu", "Requests"),
            ("Theo trạng thái trả lời.", "By the status of the answer."),
            [
                promql(
                    f"sum by (source, status) (rate(conftrack_source_requests_total{{{OF}}}[$__rate_interval]))",
                    "{{source}}: {{status}}",
                )
            ],
            unit="reqps", width=8, stacked=True, interval="15s",
        ),
        lines(
            ("Lỗi", "Errors"),
            (
                "Phần yêu cầu không được trả lời tốt (2xx, 3xx).",
                "The share of requests without a good answer (2xx, 3xx).",
            ),
            [
                promql(
                    f"""
                    (sum by (source)
                      (rate(conftrack_source_requests_total{{{OF}, status!~"2..|3.."}}[$__rate_interval]))
                      or 0 * sum by (source) (rate(conftrack_source_requests_total{{{OF}}}[$__rate_interval])))
                    / sum by (source) (rate(conftrack_source_requests_total{{{OF}}}[$__rate_interval]))
                    """,
                    "{{source}}",
                )
            ],
            unit="percentunit", width=8, top=1, steps=((None, GREEN), (0.05, RED)), interval="15s",
        ),
        lines(
            ("Thời gian trả lời", "Time to answer"),
            (
                "Trung vị và mức mà 95 % yêu cầu không vượt quá.",
                "The median, and what 95 % of the requests stay below.",
            ),
            [
                promql(
                    f"histogram_quantile({share}, sum by (source, le) "
                    f"(rate(conftrack_source_request_duration_seconds_bucket{{{OF}}}[$__rate_interval])))",
                    f"{{{{source}}}}: {name}",
                )
                for share, name in ((0.5, "trung vị / median"), (0.95, "95 %"))
            ],
            unit="s", width=8, interval="15s",
        ),
    ]  # fmt: skip


def _records() -> list[Panel | RowPanel]:
    return [
        heading(("Bản ghi", "Records")),
        lines(
            ("Bản ghi đã đọc", "Records read"),
            (
                "Không đổi là bình thường: mỗi lần đọc gối lên lần trước.",
                "Unchanged is normal: every reading overlaps the one before.",
            ),
            [
                promql(
                    f"sum by (outcome) (rate(conftrack_records_total{{{OF}}}[$__rate_interval]))", "{{outcome}}"
                )
            ],
            unit="cps", width=8, stacked=True, interval="15s",
        ),
        lines(
            ("Bị từ chối", "Rejected"),
            (
                "Bản ghi không hiểu được, trong từng mười phút: nhà cung cấp có thể đã đổi định dạng.",
                "Records that were not understood, in each ten minutes: the vendor may have changed its format.",
            ),
            [
                promql(
                    f'sum by (source, stream) (increase(conftrack_records_total{{{OF}, outcome="rejected"}}[10m]))',
                    "{{source}}: {{stream}}",
                )
            ],
            unit="locale", width=8, bars=True, interval="10m",
        ),
        lines(
            ("Nguyên nhân không rõ", "Unknown causes"),
            (
                "Lượt kết nối kết thúc bằng từ chưa biết, trong từng giờ: nếu tăng, nhà cung cấp đã thêm từ mới.",
                "Connections that ended in words nobody knows, in each hour: if they grow, the vendor added one.",
            ),
            [promql(f"sum by (source) (increase(conftrack_unknown_causes_total{{{OF}}}[1h]))", "{{source}}")],
            unit="locale", width=8, bars=True, interval="1h",
        ),
    ]  # fmt: skip


def _complete() -> list[Panel | RowPanel]:
    return [
        heading(("Độ đầy đủ", "Completeness")),
        rows(
            ("Từng luồng", "Every stream"),
            (
                "Đọc đến đâu, tổng của nguồn so với số đã lưu, lỗi gần nhất. Trống: nguồn không cho biết tổng.",
                "How far each was read, the source's total beside what is stored. Empty: it tells no total.",
            ),
            Sql("""
                select
                  source as "Nguồn / Source",
                  kind as "Loại / Kind",
                  stream as "Luồng / Stream",
                  cursor_at as "Đọc đến / Read up to",
                  last_success_at as "Đọc tốt lúc / Last read well",
                  complete_until as "Đối chiếu đến / Compared up to",
                  source_total as "Nguồn có / Source has",
                  stored_total as "Đã lưu / Stored",
                  source_total - stored_total as "Thiếu / Missing",
                  rejected as "Bị từ chối / Rejected",
                  last_failure_at as "Hỏng lúc / Last failed",
                  last_error as "Lỗi / Error"
                from conftrack.source_status
                order by source, stream
                """),
            {
                "Thiếu / Missing": Column(steps=((None, "transparent"), (1, RED))),
                "Bị từ chối / Rejected": Column(steps=((None, "transparent"), (1, ORANGE))),
            },
        ),
    ]


def _cost() -> list[Panel | RowPanel]:
    return [
        heading(("Chi phí", "Cost")),
        lines(
            ("Bộ nhớ", "Memory"),
            ("Bộ nhớ của tiến trình conftrack.", "Memory of the process of conftrack."),
            [promql('process_resident_memory_bytes and on (instance) conftrack_build_info', "{{instance}}")],
            unit="bytes", width=8,
        ),
        lines(
            ("Bộ xử lý", "Processor"),
            ("Phần của một nhân mà conftrack dùng.", "How much of one core conftrack uses."),
            [
                promql(
                    "rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) conftrack_build_info",
                    "{{instance}}",
                )
            ],
            unit="percentunit", width=8, interval="15s",
        ),
        rows(
            ("Cơ sở dữ liệu", "Database"),
            (
                "Theo thống kê của Postgres từ lúc khởi động lại gần nhất.",
                "From the statistics of Postgres, since they were last reset.",
            ),
            Sql("""
                select
                  pg_database_size(d.datid) as "Dung lượng / Size",
                  d.numbackends as "Kết nối / Sessions",
                  d.blks_hit::double precision / nullif(d.blks_hit + d.blks_read, 0)
                    as "Đọc từ bộ nhớ / Read from memory",
                  d.xact_rollback as "Giao dịch hủy / Rolled back",
                  d.deadlocks as "Khóa chết / Deadlocks"
                from pg_stat_database d
                where d.datname = current_database()
                """),
            {
                "Dung lượng / Size": Column(unit="bytes"),
                "Đọc từ bộ nhớ / Read from memory": Column(unit="percentunit", decimals=1),
            },
            width=8,
        ),
    ]  # fmt: skip
