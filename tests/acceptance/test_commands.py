"""The commands as an operator uses them: the real program, a simulated Pexip over HTTP, a real Postgres."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.service_process import Service, conftrack

ANCHOR = "2026-11-02T01:00:00+00:00"


class Simulated(msgspec.Struct):
    url: str
    username: str
    password: str
    anchor: str


@contextmanager
def simulator(*arguments: str) -> Iterator[Simulated]:
    process = subprocess.Popen(
        [sys.executable, "-m", "conftrack.simulator", "--anchor", ANCHOR, "--scale", "0.05", "--stop-with-stdin",
         *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield msgspec.json.decode(process.stdout.readline(), type=Simulated)
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def pexip() -> Iterator[Simulated]:
    with simulator() as simulated:
        yield simulated


@pytest.fixture
def config(tmp_path: Path, dsn: str, pexip: Simulated) -> Path:
    path = tmp_path / "conftrack.toml"
    path.write_text(
        f"""
[database]
dsn = "{dsn}"
[web]
listen = "127.0.0.1:0"
[[sources]]
name = "pexip-main"
kind = "pexip"
url = "{pexip.url}"
username = "{pexip.username}"
password = "{pexip.password}"
live_interval = "1s"
history_interval = "2s"
"""
    )
    return path


def truth(pexip: Simulated) -> dict[str, Any]:
    with urllib.request.urlopen(f"{pexip.url}/truth.json?until={ANCHOR.replace('+', '%2B')}", timeout=30) as answer:
        read: dict[str, Any] = json.load(answer)
    return read


async def test_collect_gives_the_true_figures_and_again_changes_nothing(
    config: Path, dsn: str, pexip: Simulated
) -> None:
    """`collect --json` reads the whole history and one snapshot; every month is the truth; again changes nothing."""
    first = json.loads(conftrack(config, "collect", "--json").stdout)
    again = json.loads(conftrack(config, "collect", "--source", "pexip-main", "--json").stdout)

    assert [r["error"] for r in first] == [None] * 4
    assert {r["stream"] for r in first} == {"conference", "participant", "backplane", "live"}
    assert sum(r["inserted"] for r in first) > 500
    read_again = [r for r in again if r["stream"] != "live"]
    (live,) = [r for r in first if r["stream"] == "live"]
    assert sum(r["updated"] for r in read_again) <= live["inserted"], "only what went on has changed, by its end"
    assert sum(r["inserted"] for r in read_again) < 20, "only what has ended in between is new"
    session = await asyncpg.connect(dsn)
    rows = await session.fetch(
        "select month, meetings, endpoints, endpoint_connections, legs, meeting_seconds, leg_seconds, peak_legs,"
        " failed_connections from conftrack.usage_monthly where source is null and org is null"
    )
    await session.close()
    true = truth(pexip)["months"]
    assert {str(row["month"]) for row in rows} >= true.keys()
    for row in rows:
        if str(row["month"]) < ANCHOR[:8]:  # the month that the live programme is in goes on
            expected = true[str(row["month"])]
            assert {k: row[k] for k in row.keys() if k != "month"} == {  # noqa: SIM118
                k: pytest.approx(v) for k, v in expected.items() if k != "attendees"
            }


async def test_the_certificate_says_that_nothing_is_missing(config: Path, dsn: str) -> None:
    """After a collect the source's own totals stand beside ours, and are equal."""
    conftrack(config, "collect", "--json")

    session = await asyncpg.connect(dsn)
    rows = await session.fetch(
        "select stream, source_total, stored_total, cursor_at, last_error from conftrack.source_status"
        " where stream in ('conference', 'participant')"
    )
    await session.close()
    assert len(rows) == 2
    for row in rows:
        assert row["source_total"] == row["stored_total"]
        assert row["cursor_at"] is not None
        assert row["last_error"] is None


def test_backfill_reads_a_period_and_leaves_the_cursor(config: Path) -> None:
    """A backfill of one month alone stores that month; the whole catch-up after it still reads everything."""
    done = conftrack(config, "backfill", "--from", "2026-09-01", "--to", "2026-09-30", "--json")
    read = json.loads(done.stdout)
    after = json.loads(conftrack(config, "collect", "--json").stdout)

    assert done.returncode == 0, done.stderr
    legs = next(r["inserted"] for r in read if r["stream"] == "participant")
    assert legs > 0
    assert next(r["inserted"] for r in after if r["stream"] == "participant") > legs


def test_malformed_records_are_listed_whole(config: Path, tmp_path: Path) -> None:
    """Of a system that serves junk rows, `rejected list --json` shows each whole, and `retry` keeps what stays junk."""
    with simulator("--faults", "malformed") as junk:
        changed = tmp_path / "junk.toml"
        lines = config.read_text().splitlines()
        changed.write_text("\n".join(f'url = "{junk.url}"' if line.startswith("url") else line for line in lines))
        collected = json.loads(conftrack(changed, "collect", "--json").stdout)
        listed = [json.loads(line) for line in conftrack(changed, "rejected", "list", "--json").stdout.splitlines()]
        retried = conftrack(changed, "rejected", "retry")

    assert sum(r["rejected"] for r in collected) == len(listed) > 0
    assert all(r["error"] for r in listed)
    assert any(r["raw"].startswith("{") for r in listed)
    assert f"0 read now, {len(listed)} still not readable" in retried.stdout


def test_doctor_finds_all_well_and_says_what_is_not(config: Path, tmp_path: Path) -> None:
    """A healthy set-up is all ok or a hint; a wrong password is told with its remedy, exit code 1, and no secret."""
    well = conftrack(config, "doctor", "--json")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(config.read_text().replace('password = "', 'password = "not-'))
    ill = conftrack(wrong, "doctor")

    states = {check["name"]: check["state"] for check in json.loads(well.stdout)}
    assert well.returncode == 0, well.stdout
    assert states["database"] == states["schema"] == states["source pexip-main"] == "good"
    assert ill.returncode == 1
    assert "password" in ill.stdout
    assert "not-" not in ill.stdout + ill.stderr


def test_a_wrong_password_is_told_whole_by_collect_and_doctor(config: Path, tmp_path: Path) -> None:
    """The summary says which streams failed, the log why, in words that a terminal's markup takes nothing from; also
    where the locale knows no Vietnamese."""
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(config.read_text().replace('password = "', 'password = "not-'))
    latin = {"PYTHONIOENCODING": "latin-1"}

    collected, looked = conftrack(wrong, "collect"), conftrack(wrong, "doctor", environ=latin)

    assert (collected.returncode, looked.returncode) == (1, 1)
    assert [line.split()[-1] for line in collected.stdout.splitlines()[1:]] == ["failed"] * 4
    assert "pexip-main" in collected.stdout
    assert "check username and password in [[sources]] pexip-main" in collected.stderr
    assert "check username and password in [[sources]] pexip-main" in looked.stdout
    assert "Traceback" not in collected.stderr + looked.stderr


def test_what_was_stopped_was_not_done(config: Path, tmp_path: Path) -> None:
    """A script must not go on after a `backfill` that somebody stopped: exit code 1, and it says so."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = tmp_path / "silent.toml"
        port = mute.getsockname()[1]
        silent.write_text(re.sub('url = ".*"', f'url = "http://127.0.0.1:{port}"', config.read_text()))
        process = subprocess.Popen(
            [sys.executable, "-m", "conftrack", "--config", str(silent), "backfill", "--from", "2026-09-01", "--to",
             "2026-09-30"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        mute.settimeout(60)
        asked, _ = mute.accept()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        asked.close()

    assert process.returncode == 1
    assert errors.splitlines()[-1] == "conftrack: stopped before it was done"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["collect", "--source", "pexip-mian"], "pexip-mian"),
        (["backfill", "--from", "2026-13-01", "--to", "2026-09-30"], "2026-13-01"),
        (["backfill", "--from", "2026-10-01", "--to", "2026-09-30"], "--from is after --to"),
        (["colect"], "No such command"),
    ],
)
def test_bad_usage_is_told_in_a_sentence(config: Path, arguments: list[str], said: str) -> None:
    """Wrong names, days and commands end with code 2 and say what was wrong, without a traceback."""
    done = conftrack(config, *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_key_and_a_dead_database_are_told(config: Path, tmp_path: Path) -> None:
    """A misspelt key names the nearest one and its line (code 2); a database that is away is a sentence (code 1)."""
    misspelt = tmp_path / "misspelt.toml"
    misspelt.write_text(config.read_text().replace("live_interval", "live_intervall"))
    away = tmp_path / "away.toml"
    away.write_text('[database]\ndsn = "postgresql://nobody@127.0.0.1:1/none"\n')

    first, second, third = conftrack(misspelt, "run"), conftrack(away, "db", "status"), conftrack(misspelt, "doctor")

    assert (first.returncode, second.returncode, third.returncode) == (2, 1, 2)
    assert "misspelt.toml:12" in third.stdout
    assert "live_interval" in first.stderr
    assert "misspelt.toml:12" in first.stderr
    assert "database" in second.stderr
    assert "Traceback" not in first.stderr + second.stderr


def test_where_nothing_can_be_written_is_told(tmp_path: Path, empty_dsn: str) -> None:
    """A full disk, and a folder that cannot be one: a sentence with the place, code 1."""
    empty = tmp_path / "empty.toml"
    empty.write_text(f'[database]\ndsn = "{empty_dsn}"\n')
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            [sys.executable, "-m", "conftrack", "--config", str(empty), "db", "dsn"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    drawn = conftrack(empty, "alerts", "render", str(empty / "rules.yml"))

    assert (told.returncode, told.stderr) == (1, "conftrack: No space left on device\n")
    assert (drawn.returncode, "Traceback" in drawn.stderr, str(empty) in drawn.stderr) == (1, False, True)


async def test_a_full_disk_of_the_database_is_told(config: Path, dsn: str) -> None:
    """What Postgres cannot write is a sentence, code 1, and a `collect` once there is room reads everything."""
    session = await asyncpg.connect(dsn)
    await session.execute("""
        create function full_disk() returns trigger language plpgsql as $$
        begin
          raise 'could not extend file "base/5/16565": No space left on device' using errcode = 'disk_full';
        end $$;
        create trigger full_disk before insert on conftrack.leg for each row execute function full_disk();
    """)
    full = conftrack(config, "collect", "--json")
    await session.execute("drop trigger full_disk on conftrack.leg")
    await session.close()
    after = json.loads(conftrack(config, "collect", "--json").stdout)

    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].endswith(
        'the database failed: could not extend file "base/5/16565": No space left on device'
    )
    assert "Traceback" not in full.stderr
    assert sum(r["inserted"] for r in after) > 500


async def test_a_statement_that_is_wrong_is_not_taken_for_a_failing_database(config: Path, dsn: str) -> None:
    """A bug is told with its traceback, for who has to mend it."""
    session = await asyncpg.connect(dsn)
    await session.execute("alter table conftrack.run rename column polls to readings")
    await session.close()
    done = conftrack(config, "collect")

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UndefinedColumnError" in done.stderr


def test_db_status_and_migrate(tmp_path: Path, empty_dsn: str) -> None:
    """`db status` is 1 on an empty database and 0 after `db migrate`, which says what it applied, once."""
    empty = tmp_path / "empty.toml"
    empty.write_text(f'[database]\ndsn = "{empty_dsn}"\n')

    before, first = conftrack(empty, "db", "status"), conftrack(empty, "db", "migrate")
    after, again = conftrack(empty, "db", "status"), conftrack(empty, "db", "migrate")

    assert (before.returncode, after.returncode) == (1, 0)
    assert "applied 0001" in first.stdout
    assert "nothing to do" in again.stdout
    assert conftrack(empty, "db", "dsn").stdout.strip() == empty_dsn


async def test_run_refuses_a_newer_schema(config: Path, dsn: str) -> None:
    """A database that a later conftrack migrated is refused with a sentence that says so."""
    session = await asyncpg.connect(dsn)
    await session.execute("insert into conftrack.migration (version, name, checksum) values (9999, 'x', 'x')")
    await session.close()

    done = conftrack(config, "run")

    assert done.returncode == 1
    assert "newer than this conftrack" in done.stderr


# -- the service


def live_meetings(text: str) -> bool:
    return any(line.startswith("conftrack_meetings_live{") for line in text.splitlines())


def test_run_collects_serves_and_stops_cleanly(config: Path, unused_tcp_port: int) -> None:
    """`run` shows live meetings, is ready, refreshes its totals, and ends within seconds of SIGTERM."""
    service = Service(config, unused_tcp_port)
    try:
        text = service.until(lambda text: live_meetings(text) and "conftrack_meetings_total{" in text)
        assert service.get("/healthz").strip() == "ok"
        service.get("/readyz")
        service.until(lambda text: 'conftrack_source_up{source="pexip-main",stream="participant"} 1.0' in text)
        assert "nguoi-xem" not in text
    finally:
        began = time.monotonic()
        errors = service.stop()

    assert service.process.returncode == 0, errors
    assert time.monotonic() - began < 20
    assert "Traceback" not in errors


def test_a_second_collector_waits_and_takes_over_within_seconds(
    config: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    """Two on one database: only one collects; when it is killed the other has the source within seconds."""
    first = Service(config, unused_tcp_port_factory())
    second = None
    try:
        first.until(live_meetings)
        second = Service(config, unused_tcp_port_factory())
        second.until(lambda _: True, "/healthz")
        time.sleep(3)
        assert not live_meetings(second.get("/metrics")), "it must not poll what the first one holds"
        refused = conftrack(config, "collect")
        assert refused.returncode == 1
        assert "another conftrack" in refused.stderr

        first.process.kill()
        second.until(live_meetings, seconds=20)
    finally:
        first.kill()
        if second is not None:
            second.stop()
