"""The alerts as a rule file of Prometheus."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from conftrack.alerts.rules import Alert, Lang, groups
from conftrack.config import AlertsConfig


def render(config: AlertsConfig, timezone: ZoneInfo, lang: Lang) -> str:
    """A rule file of Prometheus, the same for the same arguments. Alert texts are in one language."""
    made = [
        {
            "name": group.name,
            "interval": _span(group.every),
            "rules": [
                *({"record": name, "expr": expr} for name, expr in group.recorded.items()),
                *(_rule(alert, config, lang) for alert in group.alerts),
            ],
        }
        for group in groups(config, timezone)
    ]
    head = "# Made by `conftrack alerts render` from the thresholds of [alerts] in conftrack.toml: change those.\n"
    return head + yaml.dump({"groups": made}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _rule(alert: Alert, config: AlertsConfig, lang: Lang) -> dict[str, Any]:
    return {
        "alert": alert.alertname,
        "expr": alert.when,
        **({"for": _span(alert.lasting)} if alert.lasting else {}),
        "labels": {"severity": alert.severity},
        "annotations": alert.annotations(config, lang),
    }


def _span(span: timedelta) -> str:
    """As Prometheus writes it: 90s, 2m."""
    milliseconds = span // timedelta(milliseconds=1)
    units = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
    return next(f"{milliseconds // size}{unit}" for unit, size in units if milliseconds % size == 0)


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines stay so."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
