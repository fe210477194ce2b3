"""What conftrack brings into a Grafana: the dashboards and data sources of `dashboards/grafana`.

The files are those that the compose stack provisions; the configuration only says where its two databases are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from conftrack import resources
from conftrack.config import GrafanaConfig
from conftrack.errors import ConftrackError

PREFIX = "conftrack-"
"""How the uid of everything that is conftrack's begins."""

FOLDER = "conftrack"
"""The uid of the folder; its title is configured."""

PROMETHEUS, POSTGRES = "conftrack-prometheus", "conftrack-postgres"

Json = dict[str, Any]


def shipped() -> Path:
    """The folder of the dashboards, with `provisioning` in it."""
    return resources.folder("dashboards") / "grafana"


def dashboards(folder: Path, page_url: str) -> list[Json]:
    """The dashboards of a folder, by uid, without what a Grafana adds of its own (id, version).

    Their links to conftrack's pages lead to `page_url`.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConftrackError(f"{path}: cannot be read as JSON: {error}") from error
        if not isinstance(read, dict) or read.get("uid") != path.stem or not path.stem.startswith(PREFIX):
            raise ConftrackError(f"{path}: must hold a dashboard whose uid is the file's name and starts with {PREFIX}")
        for variable in read.get("templating", {}).get("list", []):
            if variable.get("name") == "conftrack_url":
                address = page_url.rstrip("/")
                variable |= {"query": address, "current": {"text": address, "value": address}}
        found.append({key: value for key, value in read.items() if key not in ("id", "version")})
    return found


def data_sources(folder: Path, config: GrafanaConfig) -> list[Json]:
    """Both data sources, as a provisioning file has them, at the configured addresses. No secret is in them."""
    listed: list[Json] = yaml.safe_load((folder / "provisioning/datasources/conftrack.yml").read_text("utf-8"))[
        "datasources"
    ]
    by_uid = {one["uid"]: one for one in listed}
    by_uid[PROMETHEUS]["url"] = config.prometheus_url
    parts = urlsplit(config.postgres_url)
    by_uid[POSTGRES]["url"] = parts.netloc
    by_uid[POSTGRES]["jsonData"] |= {
        "database": unquote(parts.path.removeprefix("/")),
        "sslmode": parse_qs(parts.query).get("sslmode", ["require"])[0],
    }
    return listed
