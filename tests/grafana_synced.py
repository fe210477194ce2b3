"""`conftrack grafana sync` of two small dashboards, as an operator sees it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftrack.alerts import Lang
from conftrack.cli.grafana import sync
from conftrack.config import AlertsConfig, Config, GrafanaConfig, Secret
from conftrack.errors import ConftrackError
from conftrack.grafana.content import shipped
from conftrack.inventory.asking import Consent, consent
from tests.grafana_server import FakeGrafana

Json = dict[str, Any]

PASSWORD = "pw-of-the-reader"

LIVE: Json = {
    "id": None,
    "uid": "conftrack-live",
    "title": "Trực tuyến / Live",
    "tags": ["conftrack", "live"],
    "schemaVersion": 39,
    "version": 7,
    "panels": [
        {
            "id": 1,
            "title": "Meetings now",
            "type": "stat",
            "datasource": {"type": "prometheus", "uid": "conftrack-prometheus"},
            "targets": [{"refId": "A", "expr": "sum(conftrack_meetings_live)"}],
        },
        {"id": 2, "title": "Sites", "type": "table", "datasource": {"uid": "${postgres}"}},
    ],
}
USAGE: Json = {
    "uid": "conftrack-usage",
    "title": "Sử dụng / Usage",
    "tags": ["conftrack"],
    "schemaVersion": 39,
    "panels": [],
}


def write_boards(content: Path, *boards: Json) -> None:
    for old in content.glob("*.json"):
        old.unlink()
    for board in boards:
        (content / f"{board['uid']}.json").write_text(json.dumps(board), encoding="utf-8")


def lay_out(folder: Path) -> Path:
    """Two dashboards, and the data sources that are shipped."""
    folder.mkdir()
    shutil.copytree(shipped() / "provisioning", folder / "provisioning")
    write_boards(folder, LIVE, USAGE)
    return folder


class Synced:
    """`sync` as an operator sees it."""

    def __init__(self, grafana: FakeGrafana, content: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.grafana, self.content, self._capsys = grafana, content, capsys
        self.config = GrafanaConfig(
            url=grafana.url,
            token=Secret("glsa_admin"),
            prometheus_url="http://prometheus.example:9090",
            postgres_url="postgresql://db.example:5432/conftrack",
            postgres_password=Secret(PASSWORD),
        )
        self.alerts = AlertsConfig()

    async def run(
        self,
        *,
        alert_rules: bool | None = None,
        lang: Lang = "vi",
        prune: bool = False,
        dry_run: bool = False,
        asked: Consent | None = consent(given=True),  # noqa: B008
    ) -> tuple[int, str]:
        """Exit code and all that it wrote. Its requests are in `grafana.writes`, of this run alone."""
        self.grafana.writes.clear()
        self._capsys.readouterr()
        try:
            code = await sync(
                Config(grafana=self.config, alerts=self.alerts),
                self.content,
                alert_rules=alert_rules,
                lang=lang,
                prune=prune,
                dry_run=dry_run,
                asked=asked,
            )
        finally:
            written = self._capsys.readouterr()
            self.output = written.out + written.err
        return code, self.output

    async def refused(self, *, alert_rules: bool | None = None, prune: bool = False) -> str:
        with pytest.raises(ConftrackError) as caught:
            await self.run(alert_rules=alert_rules, prune=prune)
        return str(caught.value)
