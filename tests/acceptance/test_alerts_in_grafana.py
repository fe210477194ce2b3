"""The rules for a Grafana that evaluates alerts itself: the same as those of Prometheus, judged by Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftrack.alerts import Lang, grafana_groups
from conftrack.config import AlertsConfig, Config
from conftrack.incidents.causes import END_CLASSES
from conftrack.language import Language
from tests.acceptance.test_alert_rules import TIMELINES, alerts, languages, promtool
from tests.alerting import RULES

SHIPPED = {rule["alert"]: rule for rule in alerts(RULES.read_text(encoding="utf-8"))}


def rules(lang: Lang = "vi", config: AlertsConfig = AlertsConfig()) -> list[dict[str, Any]]:  # noqa: B008 - frozen
    made = grafana_groups(config, Config().timezone, lang, data_source="conftrack-prometheus")
    return [rule for group in made for rule in group["rules"]]


def as_prometheus(rule: dict[str, Any]) -> dict[str, Any]:
    """What is asked, for how long it must be so, and what is said. A value is the same by its other name."""
    annotations = {name: text.replace("$values.query.Value", "$value") for name, text in rule["annotations"].items()}
    asked = rule["data"][0]["model"]["expr"]
    return {"alert": rule["title"], "expr": asked, **{key: rule[key] for key in ("for", "labels")}} | {
        "annotations": annotations
    }


def rule_file(folder: Path, lang: Lang = "vi") -> Path:
    """Grafana's rules for Prometheus, each looked at as often as the original: what is compared is not how often."""
    made = {rule["title"]: as_prometheus(rule) for rule in rules(lang)}
    shipped = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    groups = [
        {
            "name": group["name"],
            "interval": group["interval"],
            "rules": [made[rule["alert"]] for rule in group["rules"] if "alert" in rule],
        }
        for group in shipped
    ]
    file = folder / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": groups}, allow_unicode=True), encoding="utf-8")
    return file


@pytest.mark.parametrize("timeline", ["incidents.yml", "sources.yml"])
def test_they_fire_and_end_with_those_of_prometheus(tmp_path: Path, timeline: str) -> None:
    """At the same moments of every timeline, with the same labels and texts; only a cause is not looked up."""
    told = yaml.safe_load((TIMELINES / timeline).read_text(encoding="utf-8"))
    texts, unreachable = Language("vi", Config().timezone), END_CLASSES["unreachable"]
    cause = f"{texts.text(unreachable.text)} {texts.text(unreachable.check)} "
    told["rule_files"] = [str(rule_file(tmp_path))]
    for expected in (
        alert for test in told["tests"] for rule in test.get("alert_rule_test", ()) for alert in rule["exp_alerts"]
    ):
        said = expected.get("exp_annotations", {})
        if "description" in said:
            said["description"] = said["description"].replace(cause, "")
    file = tmp_path / timeline
    file.write_text(yaml.safe_dump(told, allow_unicode=True), encoding="utf-8")

    promtool("test", "rules", file)


@languages
def test_texts_are_templates_that_prometheus_understands(tmp_path: Path, lang: Lang) -> None:
    """In either language, expressions and templates are well-formed."""
    promtool("check", "rules", rule_file(tmp_path, lang))


def test_none_is_lost_and_none_is_added() -> None:
    """Every alert is there, with its severity and every text and link."""
    made = {rule["title"]: rule for rule in rules()}

    assert made.keys() == SHIPPED.keys()
    for name, rule in made.items():
        assert rule["labels"] == SHIPPED[name]["labels"]
        assert rule["annotations"].keys() == SHIPPED[name]["annotations"].keys()
        for link in ("runbook_url", "dashboard_url"):
            assert rule["annotations"][link] == SHIPPED[name]["annotations"][link]


@languages
def test_texts_use_only_what_grafana_has(lang: Lang) -> None:
    """Its templates know no `query`, its `$value` is a text about all steps, and a label that is missing is not printed
    as `[no value]`."""
    for rule in rules(lang):
        for text in rule["annotations"].values():
            assert "query (" not in text
            assert not re.search(r"\$value\b", text)
            assert "{{ $labels." not in text


def test_nothing_is_asked_of_recorded_series() -> None:
    """They are only where the rule file is."""
    assert not any(re.search(r"\w:\w", rule["data"][0]["model"]["expr"]) for rule in rules())


def test_whatever_the_query_gives_fires() -> None:
    """As with Prometheus: zero too, which a threshold would let pass, such as a source that is not up."""
    for rule in rules():
        query, fires = rule["data"]
        assert query["model"]["instant"] is True
        assert rule["condition"] == fires["refId"]
        assert fires["model"]["expression"] == "is_number($query) || is_nan($query) || is_inf($query)"


def test_what_missing_data_means() -> None:
    """No rows are no alert, and a series that goes ends its alert, as with Prometheus. While Prometheus cannot be asked
    nothing begins or ends, but that conftrack is not seen is told, and the sign of life stays away."""
    made = {rule["title"]: rule for rule in rules()}

    assert {(rule["noDataState"], rule["missingSeriesEvalsToResolve"]) for rule in made.values()} == {("OK", 1)}
    assert {name: rule["execErrState"] for name, rule in made.items() if rule["execErrState"] != "KeepLast"} == {
        "ConftrackDown": "Alerting",
        "ConftrackWatchdog": "OK",
    }
