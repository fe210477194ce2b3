"""Dashboards and data sources as files, for those who import them by hand or provision Grafana themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from conftrack.config import GrafanaConfig
from conftrack.errors import ConftrackError
from conftrack.grafana.content import Json, dashboards, data_sources

_HEAD = "# Made by `conftrack grafana export`.\n"


def export(shipped: Path, out: Path, config: GrafanaConfig, page_url: str, *, force: bool) -> list[Path]:
    """Writes what `shipped` holds to the folder `out`, and gives the files:

    - `import/`: dashboards for Grafana's page Import, which asks there for the data sources (`__inputs`);
    - `dashboards/` and `provisioning/`: the same for a Grafana that reads files, with the configured addresses. The
      password is not in them: Grafana takes it from its environment, as READER_PASSWORD.

    Links to conftrack's pages lead to `page_url`.
    What is there already is only written over with `force`.
    """
    boards, sources = dashboards(shipped, page_url), data_sources(shipped, config)
    provider = yaml.safe_load((shipped / "provisioning/dashboards/conftrack.yml").read_text("utf-8"))
    for one in provider["providers"]:
        one["folder"] = config.folder
    files = {
        out / "provisioning/datasources/conftrack.yml": _yaml({"apiVersion": 1, "datasources": sources}),
        out / "provisioning/dashboards/conftrack.yml": _yaml(provider),
    }
    for board in boards:
        files[out / f"dashboards/{board['uid']}.json"] = _json(board)
        files[out / f"import/{board['uid']}.json"] = _json(_importable(board, sources))
    if there := [str(path) for path in files if path.exists() and not force]:
        raise ConftrackError(f"{', '.join(there)}: there already; choose another folder, or write over with --force")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConftrackError(f"{path}: {error.strerror}") from error
    return list(files)


def _importable(board: Json, sources: list[Json]) -> Json:
    """A dashboard in which every data source is one that the import asks for."""
    asked = {one["uid"]: f"DS_{one['uid'].upper().replace('-', '_')}" for one in sources}
    used = set()

    def replaced(value: Any) -> Any:
        match value:
            case dict():
                return {key: replaced(inner) for key, inner in value.items()}
            case list():
                return [replaced(inner) for inner in value]
            case str() if value in asked:
                used.add(value)
                return f"${{{asked[value]}}}"
        return value

    rewritten = replaced(board)
    inputs = [
        {"name": asked[one["uid"]], "label": one["name"], "type": "datasource", "pluginId": one["type"]}
        for one in sources
        if one["uid"] in used
    ]
    return {"__inputs": inputs, **rewritten}


def _json(board: Json) -> str:
    return json.dumps(board, ensure_ascii=False, indent=2) + "\n"


def _yaml(content: Json) -> str:
    return _HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
