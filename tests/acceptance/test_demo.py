"""The demo as a newcomer meets it: the real command, the embedded Postgres, the simulated system over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

FIGURES = {
    "meetings", "endpoints", "endpoint_connections", "legs", "attendees", "meeting_seconds", "leg_seconds", "peak_legs",
    "failed_connections", "incidents",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "conftrack", "demo", "--data-dir", str(folder), "--listen", "127.0.0.1:0", *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr + done.stdout
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_every_figure_of_the_year_equals_the_truth_and_a_second_start_reuses_its_data(folder: Path) -> None:
    """`demo --exit --json` gives a year whose figures are the world's, month by month; again, it writes nothing new."""
    first = summary(demo(folder, "--exit", "--json"))
    again = summary(demo(folder, "--exit", "--json"))

    assert (first["equal"], again["equal"]) == (True, True)
    assert first["year"].keys() == FIGURES
    assert first["year"]["meetings"]["ours"] >= 500
    assert first["year"]["endpoints"]["ours"] >= 3000
    assert first["year"]["attendees"]["ours"] >= 250_000
    assert first["months"] == 12
    assert again["year"] == first["year"]
    assert again["records"]["inserted"] < first["records"]["inserted"] / 20


def test_every_figure_equals_the_truth_while_the_system_fails_in_every_way(folder: Path) -> None:
    """Throttling, errors, hangs, torn bodies, late, edited, repeated, evicted and malformed rows change no figure."""
    shown = summary(demo(folder, "--exit", "--json", "--faults"))

    assert shown["equal"]
    assert shown["wrong"] == []
    assert shown["records"]["rejected"] > 0, "malformed rows were met, and kept"


def test_a_wrong_figure_makes_it_fail(folder: Path) -> None:
    """Facts that were tampered with are told, by the table and by exit code 1."""
    summary(demo(folder, "--exit", "--json"))
    dsn = subprocess.run(
        [sys.executable, "-c", (
            "import asyncio, asyncpg, sys; from pathlib import Path\n"
            "from conftrack.storage.embedded import EmbeddedPostgres\n"
            "async def spoil(dsn):\n"
            "    session = await asyncpg.connect(dsn)\n"
            "    await session.execute('update conftrack.meeting set attendees = attendees + 1 where meeting_id ="
            " (select min(meeting_id) from conftrack.meeting where started_at is not null)')\n"
            "    await session.close()\n"
            "with EmbeddedPostgres(Path(sys.argv[1])) as dsn: asyncio.run(spoil(dsn))"
        ), str(folder)], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert dsn.returncode == 0, dsn.stderr

    done = demo(folder, "--exit", "--json")

    assert done.returncode == 1, done.stderr
    assert [w["name"] for w in json.loads(done.stdout)["wrong"]] == ["attendees"]


def test_live_meetings_go_on_after_the_summary(folder: Path) -> None:
    """Without --exit the pages answer, last month's report among them, meetings are live, and SIGTERM ends it cleanly,
    simulator and server too."""
    process = subprocess.Popen(
        [sys.executable, "-m", "conftrack", "demo", "--data-dir", str(folder), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = report = ""
        for line in process.stdout:
            if line.startswith("Report:"):
                report = line.split()[1]
            if line.startswith("Metrics:"):
                url = line.split()[1]
                break
        assert "Tỉnh Phú Thọ" in urllib.request.urlopen(report, timeout=30).read().decode()
        for _ in range(100):
            body = urllib.request.urlopen(url, timeout=10).read().decode()
            if 'conftrack_meetings_live{source="phu-tho"}' in body:
                break
            signal.sigtimedwait([], 0.2)
        live = next(x for x in body.splitlines() if x.startswith('conftrack_meetings_live{source="phu-tho"}'))
        assert float(live.split()[-1]) >= 1
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and _runs_in(pid, folder)]


def _runs_in(pid: str, folder: Path) -> bool:
    try:
        return str(folder).encode() in Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return False
