"""The shipped boards as Grafana reads them, and what it makes of their queries: variables and macros filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "dashboards" / "grafana"
FILES = sorted(FOLDER.glob("*.json"))
BOARDS: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES}

Values = Mapping[str, Sequence[str]]
"""What the variables of a board are set to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query of one panel or annotation."""

    board: str
    title: str
    ref: str
    sql: str | None = None
    expr: str | None = None
    instant: bool = False
    interval: str | None = None

    def __str__(self) -> str:
        return f"{self.board}: {self.title} [{self.ref}]"


def panels(board: str) -> Iterator[dict[str, Any]]:
    """Every panel of a board that is not a heading."""
    yield from (panel for panel in BOARDS[board]["panels"] if panel["type"] != "row")


def asked(board: str) -> Iterator[Asked]:
    """Every query of a board, of its panels and of its annotations."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Asked(
                board=board, title=panel["title"], ref=target["refId"], sql=target.get("rawSql"),
                expr=target.get("expr"), instant=bool(target.get("instant")), interval=panel.get("interval"),
            )  # fmt: skip
    for marks in BOARDS[board]["annotations"]["list"]:
        yield Asked(board=board, title=marks["name"], ref=marks["target"]["refId"], sql=marks["target"]["rawSql"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time that is chosen in Grafana."""

    since: datetime
    until: datetime

    @classmethod
    def of(cls, board: str, now: datetime) -> Window:
        """The one that a board opens with, in Viet Nam."""
        chosen = BOARDS[board]["time"]
        if (chosen["from"], chosen["to"]) == ("now/d", "now/d"):
            local = now + timedelta(hours=7)
            since = local.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=7)
            return cls(since=since, until=since + timedelta(days=1))
        number, unit = re.fullmatch(r"now-(\d+)([hdy])", chosen["from"]).groups()  # type: ignore[union-attr]
        hours = {"h": 1, "d": 24, "y": 24 * 365}[unit]
        return cls(since=now - timedelta(hours=int(number) * hours), until=now)


_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
_MACRO = re.compile(r"\$__(timeFilter|timeFrom|timeTo)\(([^)]*)\)")


def sql(text: str, values: Values, window: Window) -> str:
    """A query as Grafana's Postgres data source sends it: variables first, then macros."""

    def macro(found: re.Match[str]) -> str:
        since, until = _literal(window.since), _literal(window.until)
        name, column = found.groups()
        return {"timeFilter": f"{column} BETWEEN {since} AND {until}", "timeFrom": since, "timeTo": until}[name]

    return _complete(_MACRO.sub(macro, _variables(text, values)))


def promql(text: str, values: Values, window: Window, step: timedelta) -> str:
    """An expression as Grafana's Prometheus data source sends it."""
    span = int((window.until - window.since).total_seconds())
    rate = max(4 * 5, int(step.total_seconds()) + 5)  # the scrape interval is 5 s
    known = {"__range": [f"{span}s"], "__rate_interval": [f"{rate}s"], "__interval": [f"{int(step.total_seconds())}s"]}
    return _complete(_variables(text, {**values, **known}))


def _variables(text: str, values: Values) -> str:
    def filled(found: re.Match[str]) -> str:
        braced, form, plain = found.groups()
        name = braced or plain
        if name not in values:
            return found[0]
        several = values[name]
        if form == "sqlstring":
            return ",".join("'" + value.replace("'", "''") + "'" for value in several)
        if form == "regex":
            escaped = [re.sub(r"([\\^$.|?*+()\[\]{}/])", r"\\\1", value) for value in several]
            return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
        assert form is None, found[0]
        assert len(several) == 1, found[0]
        return several[0]

    return _VARIABLE.sub(filled, text)


def _literal(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}'"


def _complete(text: str) -> str:
    assert "$" not in text, f"not filled in: {text}"
    return text
