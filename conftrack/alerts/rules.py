"""The one list of alerts, made from the thresholds of `[alerts]`: what Prometheus or Grafana is given is made of it.

Every rule is an `Alert` below: when it fires, how bad that is, and what it says, in Vietnamese and in English, in the
template language of Prometheus. What an incident is, is not decided here but by the incidents engine, whose metrics
most of these rules repeat.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from conftrack.config import AlertsConfig
from conftrack.incidents.causes import END_CLASSES, KINDS
from conftrack.language import Language
from conftrack.model import FAILED, IncidentKind

Lang = Literal["vi", "en"]

_EVERY = timedelta(seconds=2)
"""How often incidents are looked at. Alerts of them are few and cheap, and each second here is one of an operator's."""
_REMEMBERED = "5m"
"""How long an incident is taken to go on while no conftrack can tell: it restarts, or another one takes over."""

_UNREGISTERED_FOR = timedelta(minutes=5)
"""How long a device may take to register by itself, as after a restart or a loss of power."""

_WHO = "endpoint, org, name, source, meeting, carrier, area"
_SOURCES_KNOWN = "(count by (source) (conftrack_source_up) or count(conftrack_source_up))"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    #: Its first word, Conftrack, is added.
    name: str
    #: It may name the series of `RECORDED`.
    when: str
    #: How long that must be so.
    lasting: timedelta = timedelta()
    severity: Literal["critical", "warning", "info"]
    #: What Grafana makes of it while Prometheus cannot be asked: no alert begins or ends. (Prometheus asks itself.)
    unasked: Literal["KeepLast", "Alerting", "OK"] = "KeepLast"
    #: Path of the page of conftrack that shows it.
    page: str = ""
    summary: dict[Lang, str]
    description: dict[Lang, str]
    #: What of the description is looked up by a query.
    looked_up: dict[Lang, str] = {}

    @property
    def alertname(self) -> str:
        return f"Conftrack{self.name}"

    def annotations(self, config: AlertsConfig, lang: Lang) -> dict[str, str]:
        return {
            "summary": self.summary[lang],
            "description": self.description[lang],
            "runbook_url": f"{config.runbook_url}#{self.alertname.lower()}",
            "dashboard_url": f"{config.grafana_url.rstrip('/')}/d/conftrack-live",
            "page_url": f"{config.page_url.rstrip('/')}/{self.page}",
        }


class Group(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    #: How often its alerts are looked at.
    every: timedelta
    #: By name, what is recorded for the alerts before they are looked at.
    recorded: dict[str, str] = {}
    alerts: Sequence[Alert]


def groups(config: AlertsConfig, timezone: ZoneInfo) -> Sequence[Group]:
    """All alerts, the same for the same arguments; business hours are those of `timezone`, in which there is no summer
    time here."""
    return (
        Group(
            name="conftrack incidents",
            every=_EVERY,
            recorded={name: _going_on(*what) for name, what in RECORDED.items()},
            # In this order Alertmanager hears of what silences others before it hears of these; and when all of it
            # is over at once, it can say so.
            alerts=[*_blindness(config), *_incidents(config, timezone)],
        ),
        Group(name="conftrack", every=timedelta(seconds=15), alerts=_upkeep(config, timezone)),
    )


def written_out(when: str) -> str:
    """The same condition without recorded series. What they are asked for, the metrics they are made of have too."""

    def going_on(found: re.Match[str]) -> str:
        metric, labels = RECORDED[found["name"]]
        return f"({_going_on(metric, labels, found['matchers'] or '')})"

    return re.sub(r"(?P<name>conftrack:\w+:open)(?P<matchers>{[^}]*})?", going_on, when)


# -- incidents

_MEETING = "{{ with $labels.meeting }}meetings/{{ . }}{{ else }}incidents{{ end }}"
_SITE = "{{ $labels.name }} ({{ $labels.endpoint }})"
_WHERE: dict[Lang, str] = {
    "vi": "Đơn vị {{ $labels.org }}{{ with $labels.carrier }}, nhà mạng {{ . }}{{ end }}"
    "{{ with $labels.area }}, khu vực {{ . }}{{ end }}{{ with $labels.source }}, nguồn {{ . }}{{ end }}.",
    "en": "Unit {{ $labels.org }}{{ with $labels.carrier }}, carrier {{ . }}{{ end }}"
    "{{ with $labels.area }}, area {{ . }}{{ end }}{{ with $labels.source }}, source {{ . }}{{ end }}.",
}


RECORDED = {
    "conftrack:outages:open": ("conftrack_outage", "scope, name, org, carrier, area, source, meeting"),
    "conftrack:incidents:open": ("conftrack_incident_info", f"{_WHO}, kind, severity"),
}
"""Series that Prometheus records: of which metric, and which of its labels they keep."""


def _going_on(metric: str, labels: str, matchers: str = "") -> str:
    """What is going on, and goes on while no conftrack can tell: a restart neither ends an alert nor repeats it.

    A source whose state was read is told about; source="" stands for incidents of no source, told with any.
    """
    return (
        f"max by ({labels}) ({metric}{matchers})\n"
        f"or (max by ({labels}) (last_over_time({metric}{matchers}[{_REMEMBERED}]))\n"
        f"    unless on (source) {_SOURCES_KNOWN})"
    )


def _is_open(matchers: str) -> str:
    """Incidents of endpoints of the inventory; callers outside it are strangers to whoever would be woken."""
    return f'max by ({_WHO}) (conftrack:incidents:open{{{matchers},endpoint!=""}})'


def _cause(texts: Language) -> str:
    """Why no connection came about, and what to check then, where that is known. It is looked up for the text only: as
    a label it would make another alert of one whose cause is learnt."""
    known = [(name, END_CLASSES[name]) for name in END_CLASSES if name in FAILED]
    said = "{{ else ".join(
        f'if eq . "{name}" }}}}{texts.text(cause.text)} {texts.text(cause.check)} ' for name, cause in known
    )
    return (
        '{{ with query (printf `conftrack_endpoint_incident{endpoint=%q,kind="connect_failed"}` $labels.endpoint) }}'
        '{{ with . | first | label "end_class" }}{{ ' + said + "{{ end }}{{ end }}{{ end }}"
    )


def _incidents(config: AlertsConfig, timezone: ZoneInfo) -> list[Alert]:
    texts: dict[Lang, Language] = {"vi": Language("vi", timezone), "en": Language("en", timezone)}
    failed = {lang: _cause(in_it) for lang, in_it in texts.items()}

    def described(kind: IncidentKind, vi: str, en: str) -> dict[Lang, str]:
        """What happened, the first thing to check, and where."""
        check = KINDS[kind].check
        said: dict[Lang, str] = {"vi": vi, "en": en}
        return {lang: f"{said[lang]} {texts[lang].text(check)} {_WHERE[lang]}" for lang in said}

    return [
        Alert(
            name="Outage",
            when="conftrack:outages:open > 0",
            severity="critical",
            page=_MEETING,
            summary={
                "vi": "{{ $value }} điểm cầu của {{ $labels.name }} cùng mất kết nối",
                "en": "{{ $value }} endpoints of {{ $labels.name }} failed together",
            },
            description={
                "vi": "Ít nhất một nửa số điểm cầu của {{ if eq $labels.scope `org` }}đơn vị"
                "{{ else if eq $labels.scope `carrier` }}nhà mạng{{ else }}khu vực{{ end }} {{ $labels.name }} "
                "trong cùng cuộc họp hỏng trong vòng 60 giây: hãy tìm một nguyên nhân chung, đừng gọi từng điểm.",
                "en": "At least half of the endpoints of the {{ if eq $labels.scope `org` }}unit"
                "{{ else }}{{ $labels.scope }}{{ end }} {{ $labels.name }} in one meeting failed within 60 seconds: "
                "look for one cause, do not call each site.",
            },
        ),
        Alert(
            name="EndpointDropped",
            when=_is_open('kind="dropped"'),
            severity="warning",
            page=_MEETING,
            summary={"vi": f"{_SITE} rớt khỏi cuộc họp", "en": f"{_SITE} dropped out of its meeting"},
            description=described(
                "dropped",
                "Mất kết nối giữa chừng và quá 20 giây chưa trở lại.",
                "It was connected, was lost, and is not back after 20 seconds.",
            ),
        ),
        Alert(
            name="EndpointConnectFailed",
            when=_is_open('kind="connect_failed"'),
            lasting=config.connect_failed_for,
            severity="warning",
            page=_MEETING,
            summary={"vi": f"{_SITE} không vào được cuộc họp", "en": f"{_SITE} cannot get into its meeting"},
            description={
                "vi": f"Đã gọi mà chưa lần nào kết nối được. {failed['vi']}{_WHERE['vi']}",
                "en": f"It was tried, and no connection came about. {failed['en']}{_WHERE['en']}",
            },
            looked_up=failed,
        ),
        Alert(
            name="EndpointAbsent",
            when=_is_open('kind="absent"'),
            severity="warning",
            page=_MEETING,
            summary={"vi": f"{_SITE} được mời nhưng chưa vào họp", "en": f"{_SITE} was invited and is not there"},
            description=described(
                "absent",
                "Đã quá giờ họp 5 phút mà điểm cầu chưa vào và chưa báo vắng.",
                "Five minutes after the start it has not joined, and nobody excused it.",
            ),
        ),
        Alert(
            name="EndpointFlapping",
            when=_is_open('kind="flapping"'),
            severity="warning",
            page=_MEETING,
            summary={"vi": f"{_SITE} liên tục rớt rồi vào lại", "en": f"{_SITE} keeps dropping and coming back"},
            description=described(
                "flapping",
                "Vào lại từ 3 lần trở lên trong 10 phút.",
                "It reconnected 3 times or more in 10 minutes.",
            ),
        ),
        Alert(
            name="EndpointPoorQuality",
            when=_is_open('kind="quality"'),
            severity="warning",
            page=_MEETING,
            summary={"vi": f"{_SITE} hình tiếng kém", "en": f"{_SITE} has poor picture and sound"},
            description=described(
                "quality",
                "Mất gói từ 5 % trở lên, kéo dài ít nhất 60 giây.",
                "5 % or more of its packets were lost for 60 seconds or longer.",
            ),
        ),
        Alert(
            name="EndpointUnregistered",
            when=_is_open('kind="unregistered"'),
            lasting=_UNREGISTERED_FOR,
            severity="warning",
            page="endpoints/{{ $labels.endpoint }}",
            summary={"vi": f"{_SITE} mất đăng ký với hệ thống", "en": f"{_SITE} is not registered"},
            description=described(
                "unregistered",
                "Trong giờ trực mà thiết bị chưa đăng ký với hệ thống, nên không gọi tới được.",
                "It is in service hours, and the device has not signed in, so it cannot be called.",
            ),
        ),
        Alert(
            name="IncidentIgnored",
            when=_is_open('severity="critical",kind!="outage"'),
            severity="critical",
            page="incidents",
            summary={
                "vi": f"Sự cố của {_SITE} đã 30 phút chưa ai nhận",
                "en": f"Nobody has taken the incident of {_SITE} for 30 minutes",
            },
            description={
                "vi": f"Sự cố vẫn đang diễn ra: hãy bấm nhận sự cố ở trang bên dưới, rồi xử lý. {_WHERE['vi']}",
                "en": f"It goes on: acknowledge it on the page below, then see to it. {_WHERE['en']}",
            },
        ),
    ]


# -- what conftrack cannot see, and what it has not got

_STREAM = "{{ $labels.source }} ({{ $labels.stream }})"
_AGE = "time() - max by (source, stream) (conftrack_source_{}_timestamp_seconds{})"


def _blindness(config: AlertsConfig) -> list[Alert]:
    stale = " or\n".join(
        f"{_AGE.format('last_success', matchers)} > {_seconds(after)}"
        for matchers, after in (
            ('{stream="live"}', config.live_stale_after),
            ('{stream!="live"}', config.history_stale_after),
        )
    )
    return [
        Alert(
            name="Down",
            when="absent(conftrack_source_up)",
            lasting=config.conftrack_down_for,
            severity="critical",
            unasked="Alerting",  # what cannot be asked cannot say that conftrack works
            summary={"vi": "conftrack không hoạt động", "en": "conftrack does not work"},
            description={
                "vi": "Prometheus không thấy conftrack nào đã đọc được một nguồn. "
                "Không có cảnh báo nào về điểm cầu cho đến khi nó trở lại.",
                "en": "Prometheus sees no conftrack that has read a source. "
                "There are no alerts of endpoints until it is back.",
            },
        ),
        Alert(
            name="SourceDown",
            when="max by (source, stream) (conftrack_source_up) == 0",
            lasting=config.source_down_for,
            severity="critical",
            summary={"vi": f"Không đọc được nguồn {_STREAM}", "en": f"Source {_STREAM} cannot be read"},
            description={
                "vi": "Mọi lần đọc đều hỏng: `conftrack doctor` nói vì sao. "
                "Tình trạng các điểm cầu của nguồn này là không rõ, không phải là hỏng.",
                "en": "Every reading fails: `conftrack doctor` says why. "
                "The state of its endpoints is unknown, which does not mean that they fail.",
            },
        ),
        Alert(
            name="SourceStale",
            when=stale,
            severity="warning",
            summary={
                "vi": f"Số liệu của nguồn {_STREAM} đã cũ {{{{ $value | humanizeDuration }}}}",
                "en": f"What is known of source {_STREAM} is {{{{ $value | humanizeDuration }}}} old",
            },
            description={
                "vi": "Lần đọc tốt gần nhất đã lâu. Tình trạng các điểm cầu của nguồn này là không rõ.",
                "en": "The last good reading was long ago. The state of its endpoints is unknown.",
            },
        ),
    ]


def _upkeep(config: AlertsConfig, timezone: ZoneInfo) -> list[Alert]:
    opens, closes = config.working_seconds
    local = f"(time() + {_offset(timezone)})"
    still = (
        f"{_AGE.format('cursor', '')} > {_seconds(config.cursor_still_after)}\n"
        f"and on () (day_of_week(vector{local}) > 0 < 6)\n"
        f"and on () (vector({local} % 86400) >= {opens} < {closes})"
    )
    return [
        Alert(
            name="CursorStill",
            when=still,
            lasting=timedelta(minutes=5),
            severity="warning",
            summary={
                "vi": f"Lịch sử của nguồn {_STREAM} dừng lại từ {{{{ $value | humanizeDuration }}}} trước",
                "en": f"The history of source {_STREAM} has stood still for {{{{ $value | humanizeDuration }}}}",
            },
            description={
                "vi": "Đang giờ làm việc mà vị trí đã đọc không tiến lên: thống kê sẽ thiếu cho đến khi đọc tiếp được.",
                "en": "In business hours its position does not move: figures are incomplete until it does.",
            },
        ),
        Alert(
            name="RecordsRejected",
            when='sum by (source, stream) (increase(conftrack_records_total{outcome="rejected"}[1h]))'
            f" >= {config.rejected_records}",
            severity="warning",
            summary={
                "vi": f"Nguồn {_STREAM} có bản ghi không hiểu được",
                "en": f"Source {_STREAM} sent records that could not be understood",
            },
            description={
                "vi": "Khoảng {{ $value | humanize }} bản ghi trong một giờ. Chúng được giữ nguyên: "
                "xem bằng `conftrack rejected list`.",
                "en": "About {{ $value | humanize }} records in an hour. They are kept whole: "
                "see `conftrack rejected list`.",
            },
        ),
        Alert(
            name="CausesUnknown",
            when=f"max by (source) (increase(conftrack_unknown_causes_total[1d])) >= {config.unknown_causes}",
            severity="info",
            summary={
                "vi": "Nguồn {{ $labels.source }} dùng lý do kết thúc mà conftrack chưa biết",
                "en": "Source {{ $labels.source }} ends connections for reasons that conftrack does not know",
            },
            description={
                "vi": "Khoảng {{ $value | humanize }} lượt kết nối trong một ngày: có lẽ nhà cung cấp đã thêm từ mới.",
                "en": "About {{ $value | humanize }} connections in a day: the vendor may have added a word.",
            },
        ),
        Alert(
            name="HistoryIncomplete",
            when="max by (source, stream) (conftrack_source_missing_records) > 0",
            lasting=config.missing_records_for,
            severity="warning",
            summary={
                "vi": f"Thiếu {{{{ $value }}}} bản ghi của nguồn {_STREAM}",
                "en": f"{{{{ $value }}}} records of source {_STREAM} are missing",
            },
            description={
                "vi": "Nguồn báo nhiều bản ghi hơn số đã lưu trong khoảng vừa đọc.",
                "en": "The source counts more records than are stored of the period that was read last.",
            },
        ),
        Alert(
            name="Watchdog",
            when="vector(1)",
            severity="info",
            unasked="OK",  # it stays away when alerting is broken: that is its use
            summary={"vi": "Hệ thống cảnh báo đang hoạt động", "en": "Alerting works"},
            description={
                "vi": "Luôn luôn gửi. Khi nơi nhận không thấy nó nữa thì Prometheus hoặc Alertmanager đã hỏng.",
                "en": "Always sent. When its receiver misses it, Prometheus or Alertmanager is broken.",
            },
        ),
    ]


def _offset(timezone: ZoneInfo) -> int:
    """Seconds that local time is ahead of UTC, without summer time: a rule file cannot know of that."""
    offsets = (timezone.utcoffset(datetime(2026, month, 1)) for month in (1, 7))  # noqa: DTZ001 - local times
    return min(int(offset.total_seconds()) for offset in offsets if offset is not None)


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.15g}"
