"""The alerts as rules that Grafana evaluates itself, in the words of its API for provisioning.

https://grafana.com/docs/grafana/v12.4/developer-resources/api-reference/http-api/alerting_provisioning/
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from conftrack.alerts.rules import Alert, Lang, groups, written_out
from conftrack.config import AlertsConfig

Json = dict[str, Any]

_BEAT = 10
"""Seconds: Grafana evaluates in multiples of it only."""

_ASKED, _FIRES = "query", "fires"
"""The two steps of a rule. With Prometheus an alert is whatever the query gives, zero and NaN too."""

_UNITS = (
    ("y", timedelta(days=365)), ("w", timedelta(weeks=1)), ("d", timedelta(days=1)), ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)), ("s", timedelta(seconds=1)), ("ms", timedelta(milliseconds=1)),
)  # fmt: skip


def grafana_groups(config: AlertsConfig, timezone: ZoneInfo, lang: Lang, *, data_source: str) -> list[Json]:
    """`title`, `interval` in seconds and `rules` of each group, without a folder, the same for the same arguments.

    Each rule fires for the label sets for which that of Prometheus does, and says the same, except that it looks
    nothing up: Grafana's templates cannot. They are asked of the data source with the uid `data_source`.
    """
    return [
        {
            "title": group.name,
            "interval": -(-int(group.every.total_seconds()) // _BEAT) * _BEAT,
            "rules": [_rule(alert, config, lang, data_source) for alert in group.alerts],
        }
        for group in groups(config, timezone)
    ]


def _rule(alert: Alert, config: AlertsConfig, lang: Lang, data_source: str) -> Json:
    annotations = alert.annotations(config, lang)
    if lookup := alert.looked_up.get(lang):
        annotations["description"] = annotations["description"].replace(lookup, "")
    return {
        "uid": f"conftrack-{alert.name.lower()}",
        "title": alert.alertname,
        "condition": _FIRES,
        "data": [
            _step(_ASKED, data_source, expr=written_out(alert.when), instant=True, range=False),
            _step(
                _FIRES,
                "__expr__",
                type="math",
                expression=f"is_number(${_ASKED}) || is_nan(${_ASKED}) || is_inf(${_ASKED})",
            ),
        ],
        "for": _duration(alert.lasting),
        "keep_firing_for": "0s",
        # No rows is what Prometheus takes for "all is well"; what must not be missing is asked for with absent().
        "noDataState": "OK",
        "execErrState": alert.unasked,
        # Like Prometheus, which ends an alert with the first evaluation that does not give it.
        "missingSeriesEvalsToResolve": 1,
        "isPaused": False,
        "labels": {"severity": alert.severity},
        "annotations": {name: _translated(text) for name, text in annotations.items()},
    }


def _step(name: str, data_source: str, **model: object) -> Json:
    return {
        "refId": name,
        "queryType": "",
        # An instant query asks for the end of it.
        "relativeTimeRange": {"from": 600 if data_source != "__expr__" else 0, "to": 0},
        "datasourceUid": data_source,
        "model": {"refId": name, **model},
    }


def _translated(template: str) -> str:
    """Of Prometheus's templates into those of Grafana, whose $value is a text about all steps, and which prints a label
    that there is not as `[no value]`."""
    text = re.sub(r"{{ \$labels\.(\w+) }}", r"{{ with $labels.\1 }}{{ . }}{{ end }}", template)
    return re.sub(r"\$value\b", f"$values.{_ASKED}.Value", text)


def _duration(span: timedelta) -> str:
    """As Grafana writes it when asked: 1m30s, 0s."""
    parts = []
    for unit, size in _UNITS:
        if unit in "yw" and span % size:
            continue
        count, span = divmod(span, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"
