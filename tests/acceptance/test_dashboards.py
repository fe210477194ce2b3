"""Every query of every board, against a real Prometheus that scraped the demo and the demo's Postgres.

No Grafana runs here: variables and macros are filled in by `tests.boards`, as its data sources do.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from conftrack.storage.embedded import EmbeddedPostgres
from tests.alerting import free_port, program, prometheus
from tests.boards import BOARDS, Asked, Values, Window, asked, promql, sql
from tests.conftest import with_database

QUICK = 0.2
"""Seconds that a query may take with a year of data, and twice that with twenty."""

MAY_BE_EMPTY = {
    "Mất hàng loạt / Outages": "there is not always an outage",
    "Bảo trì / Maintenance": "there is not always planned work",
    "Bảo trì của điểm cầu / Maintenance of the endpoint": "nor of every endpoint",
    "Bảo trì hôm nay và sắp tới / Maintenance today and to come": "nor today",
    "Điểm cầu theo tình trạng / Endpoints by state [E]": "unknown is a line only while something is",
    "Sự cố mới / New incidents": "incidents do not open in all five minutes",
}
"""Queries that rightly have no rows in a demo that has just begun: by title, and reference where only one of them."""

QUERIES = [each for board in BOARDS for each in asked(board)]
SQL = [each for each in QUERIES if each.sql]
PROMQL = [each for each in QUERIES if each.expr]


def may_be_empty(each: Asked) -> bool:
    return each.title in MAY_BE_EMPTY or f"{each.title} [{each.ref}]" in MAY_BE_EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The demo, with a year behind it and its live meetings, scraped; and twenty years of it in another database."""

    dsn: str
    twenty_dsn: str
    prometheus: str
    now: datetime
    metrics: str

    def ask_prometheus(self, path: str, **parameters: str) -> Any:
        address = f"http://{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)["data"]

    @asynccontextmanager
    async def reader(self, dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """As Grafana: the role that sees the public views and nothing else."""
        async with _connected(dsn) as connection:
            await connection.execute("set role conftrack_reader; set default_transaction_read_only = on")
            yield connection

    async def values(self, board: str, dsn: str) -> dict[str, list[str]]:
        """Every variable of a board, resolved as when it opens: the first value, or all where all are meant."""
        values: dict[str, list[str]] = {}
        for variable in BOARDS[board]["templating"]["list"]:
            name, query = variable["name"], variable.get("query")
            if variable["type"] == "constant":
                values[name] = [query]
            elif variable["type"] == "datasource":
                values[name] = [variable["current"]["value"]]
            else:
                found = await self._options(variable["datasource"]["type"], query, values, dsn)
                values[name] = found if variable["multi"] else await self._chosen(name, found)
        return values

    async def _options(self, kind: str, query: str, values: Values, dsn: str) -> list[str]:
        if kind == "prometheus":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
            return list(self.ask_prometheus(f"label/{label}/values", **{"match[]": metric}))
        async with self.reader(dsn) as connection:
            rows = await connection.fetch(sql(query, values, Window(since=self.now, until=self.now)))
        return [row["__value"] for row in rows if row["__text"]]

    async def _chosen(self, name: str, found: list[str]) -> list[str]:
        """The first; but of the endpoints one that is worth looking at: in a meeting now, and often in trouble."""
        if name == "endpoint":
            there = re.findall(r'conftrack_endpoint_jitter_seconds\{[^}]*endpoint="([^"]+)"', self.metrics)
            async with self.reader(self.dsn) as connection:
                found = [
                    row["endpoint"]
                    for row in await connection.fetch(
                        "select endpoint from conftrack.incidents where endpoint = any($1) and endpoint = any($2) "
                        "and opened_at > $3 group by endpoint order by count(*) desc, endpoint",
                        found, there, self.now - timedelta(days=30),
                    )
                ]  # fmt: skip
        return found[:1]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    program("prometheus")
    folder = tmp_path_factory.mktemp("boards")
    demo = [sys.executable, "-m", "conftrack", "demo", "--data-dir", str(folder / "demo"), "--listen"]
    subprocess.run([*demo, "127.0.0.1:0", "--exit", "--json"], check=True, capture_output=True, timeout=300)
    with EmbeddedPostgres(folder / "demo") as dsn:
        asyncio.run(_make_twenty(dsn))
        port = free_port()
        process = subprocess.Popen([*demo, f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with prometheus(folder, f"127.0.0.1:{port}", "127.0.0.1:9") as address:
                metrics = _something_goes_wrong(f"http://127.0.0.1:{port}/metrics")
                time.sleep(12)  # two scrapes of that
                now = datetime.now(UTC)  # noqa: TID251 - the demo's time is the real one
                yield Stage(
                    dsn=dsn, twenty_dsn=with_database(dsn, "twenty"), prometheus=address, now=now, metrics=metrics
                )
        finally:
            process.terminate()
            process.wait(timeout=60)
    shutil.rmtree(folder)


def _something_goes_wrong(address: str) -> str:
    """Waits until an incident is open: from the demo's second minute on."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            text = str(urllib.request.urlopen(address, timeout=10).read().decode())
        except OSError:
            text = ""
        if "conftrack_endpoint_incident{" in text and "conftrack_endpoint_jitter_seconds{" in text:
            return text
        time.sleep(1)
    raise AssertionError("nothing went wrong within five minutes")


async def _make_twenty(dsn: str) -> None:
    """The demo's year nineteen times more, each 53 weeks before the other, in a database of its own."""
    async with _connected(dsn) as connection:
        await connection.execute("analyze")  # as autovacuum does within a minute
    async with _connected(with_database(dsn, "template1")) as connection:
        await connection.execute(f'create database twenty template "{urlsplit(dsn).path[1:]}"')
    async with _connected(with_database(dsn, "twenty")) as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        for table in (
            "conference", "meeting", "leg", "headcount", "invitation", "expected", "incident", "incident_day",
            "usage_day", "usage_month",
        ):  # fmt: skip
            rows = await connection.fetch(
                "select attname as name, format_type(atttypid, null) as type from pg_attribute "
                "where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
                f"conftrack.{table}",
            )
            columns = {row["name"]: _years_ago(table, row["name"], row["type"]) for row in rows}
            await connection.execute(
                f"insert into conftrack.{table} ({', '.join(columns)}) overriding system value "  # noqa: S608
                f"select {', '.join(columns.values())} from conftrack.{table}, generate_series(1, 19) years"
            )
        await connection.execute("analyze")


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def _years_ago(table: str, column: str, kind: str) -> str:
    if column in ("conference_id", "meeting_id", "leg_id", "invitation_id", "incident_id", "parent_id"):
        return f"{column} + years * 10000000"
    if column in ("uid", "external_id"):
        return f"{column} || '~' || years"
    if (table, column) == ("usage_month", "period"):
        return "(period - years * interval '13 months')::date"
    if kind in ("date", "timestamp with time zone"):
        return f"({column} - years * interval '371 days')::{kind}"
    return column


# -- variables


@pytest.mark.parametrize("board", BOARDS)
async def test_every_variable_resolves(board: str, stage: Stage) -> None:
    """The first boot shows a choice, and something is chosen."""
    values = await stage.values(board, stage.dsn)

    assert set(values) == {variable["name"] for variable in BOARDS[board]["templating"]["list"]}
    assert [name for name, chosen in values.items() if not chosen or not all(chosen)] == []


# -- Postgres


@pytest.mark.parametrize("each", SQL, ids=str)
async def test_every_query_of_the_views_is_full_quick_and_finds_legs_by_index(each: Asked, stage: Stage) -> None:
    """As the role that Grafana logs in as, with a year of data: rows, within a fifth of a second, without reading
    every leg there is. (In the night to a Monday nothing has happened for longer than a shift: then of a week.)"""
    seconds, rows, plan = await _ask(each, stage, stage.dsn)

    assert rows or may_be_empty(each) or await _of_a_week(each, stage)
    assert seconds < QUICK
    assert not re.search(r"Seq Scan on leg\b", plan), plan


@pytest.mark.parametrize("each", SQL, ids=str)
async def test_every_query_of_the_views_stays_quick_for_twenty_years(each: Asked, stage: Stage) -> None:
    """With twenty years of facts at most twice that; it reads what is asked for, not all there is."""
    seconds, _, plan = await _ask(each, stage, stage.twenty_dsn)

    assert seconds < 2 * QUICK, plan
    assert not re.search(r"Seq Scan on (leg|meeting|conference|incident|invitation)\b", plan), plan


async def _ask(each: Asked, stage: Stage, dsn: str) -> tuple[float, list[asyncpg.Record], str]:
    """The best of five times, because others use the machine too; the rows, and the plan."""
    assert each.sql
    text = sql(each.sql, await stage.values(each.board, dsn), Window.of(each.board, stage.now))
    async with stage.reader(dsn) as connection:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            rows = await connection.fetch(text)
            times.append(time.perf_counter() - began)
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain analyze {text}"))
    return min(times), rows, plan


async def _of_a_week(each: Asked, stage: Stage) -> list[asyncpg.Record]:
    assert each.sql
    window = Window(since=stage.now - timedelta(days=7), until=stage.now)
    async with stage.reader(stage.dsn) as connection:
        return await connection.fetch(sql(each.sql, await stage.values(each.board, stage.dsn), window))


# -- Prometheus


@pytest.mark.parametrize("each", PROMQL, ids=str)
async def test_every_expression_is_full(each: Asked, stage: Stage) -> None:
    """As a board asks when it opens; a value, and a known one."""
    assert each.expr
    window = Window.of(each.board, stage.now)
    steps = {"15s": 15, "1h": 3600, "10m": 600, "5m": 300, "1d": 86400}
    step = timedelta(seconds=steps[each.interval] if each.interval else 15)
    expr = promql(each.expr, await stage.values(each.board, stage.dsn), window, step)
    if each.instant:
        found = stage.ask_prometheus("query", query=expr, time=str(stage.now.timestamp()))
    else:
        since = max(window.since, stage.now - timedelta(hours=1))  # it was not scraped before
        found = stage.ask_prometheus(
            "query_range", query=expr, start=str(since.timestamp()), end=str(stage.now.timestamp()), step="15"
        )
    values = [
        value
        for series in found["result"]
        for _, value in ([series["value"]] if "value" in series else series["values"])
    ]

    assert values or may_be_empty(each)
    assert set(values) != {"NaN"}


@pytest.mark.parametrize("each", PROMQL, ids=str)
def test_every_metric_that_is_named_exists(each: Asked, stage: Stage) -> None:
    """conftrack exposes it, with the labels that the expression asks for."""
    families = {line.split()[2] for line in stage.metrics.splitlines() if line.startswith("# TYPE ")}
    assert each.expr
    named = set(re.findall(r"\b(?:conftrack|process)_\w+", each.expr))

    assert named
    assert {re.sub(r"_bucket$", "", name) for name in named} - families == set()


# -- what is not known


def _expression(board: str, english: str) -> str:
    (each,) = [e for e in PROMQL if e.board == board and e.title.endswith(f" / {english}")]
    window = Window(since=datetime(2026, 3, 2, tzinfo=UTC), until=datetime(2026, 3, 2, 0, 10, tzinfo=UTC))
    return promql(each.expr or "", {"endpoint": ["e1"], "source": ["a", "b"]}, window, timedelta(seconds=15))


def _evaluates(folder: Path, series: dict[str, str], expr: str, value: float | None) -> None:
    """Judged by Prometheus itself: what an expression comes to after ten minutes; None: to nothing."""
    told = {
        "evaluation_interval": "5s",
        "tests": [{
            "interval": "5s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [{
                "expr": expr,
                "eval_time": "10m",
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }],
        }],
    }  # fmt: skip
    (folder / "test.json").write_text(json.dumps(told))
    judged = subprocess.run(
        [program("promtool"), "test", "rules", folder / "test.json"], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_a_source_that_cannot_be_seen_is_said_and_is_no_zero(tmp_path: Path) -> None:
    """Its figures are absent, the number of sources not seen tells why; and with conftrack gone nothing is known."""
    up = {
        'conftrack_source_up{source="a", stream="live"}': "1x120",
        'conftrack_source_up{source="b", stream="live"}': "0x120",
        'conftrack_meetings_live{source="a"}': "3x120",
        'conftrack_meetings_live{source="b"}': "2x60 stale",
    }
    blind = {name: values for name, values in up.items() if 'source="b"' in name}
    not_seen, meetings = (
        _expression("conftrack-live", "Sources not seen"),
        _expression("conftrack-live", "Meetings now"),
    )

    for series, expr, value in (
        ({**up, 'conftrack_meetings_live{source="b"}': "2x120"}, not_seen, 0),
        (up, not_seen, 1),
        (up, meetings, 3),
        (blind, not_seen, 1),
        (blind, meetings, None),
        ({}, not_seen, None),
    ):
        _evaluates(tmp_path, series, expr, value)


def test_availability_leaves_out_maintenance_and_what_is_unknown(tmp_path: Path) -> None:
    """(window - maintenance - unknown - in incident) / (window - maintenance - unknown), and nothing when that is
    nothing."""

    def states(**until: str) -> dict[str, str]:
        return {f'conftrack_endpoint_state{{endpoint="e1", org="o", state="{state}"}}': v for state, v in until.items()}

    availability, known = _expression("conftrack-endpoint", "Availability"), _expression("conftrack-endpoint", "Known")
    mixed = states(idle="1x29", unknown="_x30 1x29", failed="_x60 1x9", maintenance="_x70 1x19", in_meeting="_x90 1x29")

    _evaluates(tmp_path, mixed, availability, 60 / 70)
    _evaluates(tmp_path, mixed, known, 90 / 120)
    _evaluates(tmp_path, states(failed="1x119"), availability, 0)
    _evaluates(tmp_path, states(unknown="1x119"), availability, None)
    _evaluates(tmp_path, states(unknown="1x119"), known, 0)
