"""Writes every board to dashboards/grafana, a file each, named after its uid."""

from __future__ import annotations

from pathlib import Path

from dashboards.boards.every import rendered

for uid, text in rendered().items():
    (Path(__file__).parents[1] / "grafana" / f"{uid}.json").write_text(text, encoding="utf-8")
