"""The alerting rules: made from thresholds, judged by Prometheus itself along timelines, each with a runbook."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from conftrack.alerts import Lang, render
from conftrack.config import AlertsConfig
from conftrack.metrics import Metrics
from conftrack.state import State
from tests.alerting import RULES, SHIPPED, program
from tests.service_process import conftrack

TIMELINES = Path(__file__).parent / "data" / "alerts"
VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")

languages = pytest.mark.parametrize("lang", ["vi", "en"])


def alerts(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule]


def rule(config: AlertsConfig, name: str, timezone: ZoneInfo = VIETNAM) -> dict[str, Any]:
    (found,) = [rule for rule in alerts(render(config, timezone, "vi")) if rule["alert"] == name]
    return found


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shipped_rules_are_those_of_the_default_thresholds() -> None:
    """Who changes a threshold or a text changes the file with it."""
    assert RULES.read_text(encoding="utf-8") == render(AlertsConfig(), VIETNAM, "vi")


@languages
def test_prometheus_accepts_the_rules(tmp_path: Path, lang: Lang) -> None:
    """In either language, expressions and templates are well-formed."""
    file = tmp_path / "rules.yml"
    file.write_text(render(AlertsConfig(), VIETNAM, lang), encoding="utf-8")

    promtool("check", "rules", file)


@pytest.mark.parametrize("timeline", ["incidents.yml", "sources.yml"])
def test_alerts_fire_and_end_as_the_timelines_say(timeline: str) -> None:
    """Quiet just before, firing at, quiet after; a blind source or a restarted conftrack ends and repeats nothing."""
    promtool("test", "rules", TIMELINES / timeline)


def test_rules_ask_for_metrics_that_there_are() -> None:
    """A metric that is renamed does not leave an alert behind that can never fire."""
    now = datetime(2026, 11, 24, tzinfo=UTC)
    families = Metrics(State(now), clock=lambda: now, version="1").collect()
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}

    assert set(re.findall(r"\bconftrack_\w+", RULES.read_text(encoding="utf-8"))) <= names


def test_every_alert_has_a_timeline() -> None:
    """No rule is shipped that was never seen firing."""
    text = "".join(file.read_text(encoding="utf-8") for file in TIMELINES.iterdir())
    seen = set(re.findall(r'labels: \'{alertname="(\w+)"', text))

    assert {rule["alert"] for rule in alerts(RULES.read_text(encoding="utf-8"))} == seen


@languages
def test_every_alert_says_what_to_do(lang: Lang) -> None:
    """Severity, what it is, and where to look: no link without a page, no text without words."""
    for rule in alerts(render(AlertsConfig(page_url="https://c.example/"), VIETNAM, lang)):
        said = rule["annotations"]
        assert re.fullmatch(r"Conftrack([A-Z][a-z]+)+", rule["alert"])
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert len(said["summary"]) > 10
        assert len(said["description"]) > len(said["summary"]) / 2
        assert said["page_url"].startswith("https://c.example/")
        assert not said["page_url"].startswith("https://c.example//")
        assert said["dashboard_url"].endswith("/d/conftrack-live")


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """The link of an alert leads to a section of its own, in Vietnamese and in English."""
    text = (SHIPPED.parent / "runbooks.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    links = {rule["annotations"]["runbook_url"] for rule in alerts(RULES.read_text(encoding="utf-8"))}

    assert links == {f"dashboards/runbooks.md#{name.lower()}" for name in sections}
    for name, section in sections.items():
        vietnamese, _, english = section.partition("\n**In English.**")
        assert len(vietnamese) > 200, name
        assert len(english) > 200, name


def test_thresholds_are_the_users_to_change() -> None:
    """What [alerts] says is what the rules ask."""
    config = AlertsConfig(
        connect_failed_for=timedelta(seconds=90),
        live_stale_after=timedelta(minutes=5),
        unknown_causes=3,
        runbook_url="https://wiki.example/runbooks",
    )

    assert rule(config, "ConftrackEndpointConnectFailed")["for"] == "90s"
    assert '{stream="live"}) > 300 ' in rule(config, "ConftrackSourceStale")["expr"]
    assert rule(config, "ConftrackCausesUnknown")["expr"].endswith(">= 3")
    assert rule(config, "ConftrackDown")["annotations"]["runbook_url"] == "https://wiki.example/runbooks#conftrackdown"
    assert "for" not in rule(AlertsConfig(source_down_for=timedelta()), "ConftrackSourceDown")


@pytest.mark.parametrize(
    ("zone", "hours", "expected"),
    [
        ("Asia/Ho_Chi_Minh", "07:00-17:30", ("25200", "25200", "63000")),
        ("America/New_York", "08:30-18:00", ("-18000", "30600", "64800")),
        ("Australia/Sydney", "00:00-23:59", ("36000", "0", "86340")),
        ("UTC", "07:00-17:30", ("0", "25200", "63000")),
    ],
)
def test_business_hours_are_local(zone: str, hours: str, expected: tuple[str, str, str]) -> None:
    """A rule file knows only UTC: the zone's offset, without summer time, stands in it."""
    expr = rule(AlertsConfig(business_hours=hours), "ConftrackCursorStill", ZoneInfo(zone))["expr"]

    assert re.findall(r"vector\(\(time\(\) \+ (-?\d+)\) % 86400\) >= (\d+) < (\d+)", expr) == [expected]


def test_the_command_writes_checks_and_prints(tmp_path: Path) -> None:
    """`conftrack alerts render` makes the file from the configuration, and `--check` tells when it is out of date."""
    config, rules = tmp_path / "conftrack.toml", tmp_path / "rules.yml"
    config.write_text('[alerts]\nsource_down_for = "7m"\n')

    assert conftrack(config, "alerts", "render", str(rules), "--lang", "en").returncode == 0
    assert "for: 7m" in rules.read_text(encoding="utf-8")
    assert conftrack(config, "alerts", "render", "--lang", "en").stdout == rules.read_text(encoding="utf-8")
    assert conftrack(config, "alerts", "render", "--check", str(rules), "--lang", "en").returncode == 0
    config.write_text('[alerts]\nsource_down_for = "8m"\n')
    outdated = conftrack(config, "alerts", "render", "--check", str(rules), "--lang", "en")
    assert outdated.returncode == 1
    assert "is not what the configuration makes of it" in outdated.stderr
    assert "for: 7m" in rules.read_text(encoding="utf-8")


@pytest.mark.parametrize("hours", ["7-17", "17:30-07:00", "07:00-24:00", "07:00"])
def test_hours_that_are_none_are_refused(tmp_path: Path, hours: str) -> None:
    """A mistake is told with its key and line, before any rule is written."""
    config = tmp_path / "conftrack.toml"
    config.write_text(f'[alerts]\nbusiness_hours = "{hours}"\n')
    refused = conftrack(config, "alerts", "render")

    assert refused.returncode == 2
    assert "`business_hours` in [alerts]" in refused.stderr
    assert 'such as "07:00-17:30"' in refused.stderr
