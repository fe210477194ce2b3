"""`conftrack inventory` as an operator uses it: the real program, files on disk, a real Postgres, a real terminal."""

from __future__ import annotations

import csv
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import asyncpg
import pytest

from conftrack.storage.database import Database
from conftrack.storage.store import Store
from tests.service_process import conftrack
from tests.worlds import leg, page, store_all


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> Path:
    path = tmp_path / "conftrack.toml"
    path.write_text(f'[database]\ndsn = "{dsn}"\n')
    return path


@pytest.fixture
async def called(database: Database, store: Store) -> None:
    """Two halls of the example's province have called, from addresses that the example does not know."""
    calls = [leg(str(n), n * 100, n * 100 + 60, identity="ubnd.xatanhoa@cau.example") for n in range(3)]
    await store_all(store, [page(*calls, leg("9", identity="sonoivu-2"), leg("8", identity="đỗ thị c", personal=True))])


async def ask(dsn: str, sql: str) -> list[tuple[object, ...]]:
    session = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await session.fetch(sql)]
    finally:
        await session.close()


def example(config: Path, folder: Path) -> list[str]:
    """The template, imported; returns its files."""
    conftrack(config, "inventory", "template", "--out", str(folder))
    paths = sorted(str(path) for path in folder.iterdir())
    done = conftrack(config, "inventory", "import", *paths, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    return paths


@pytest.mark.parametrize("out", ["folder", "book.xlsx"])
@pytest.mark.parametrize("language", ["vi", "en"])
async def test_the_template_imports_and_the_export_of_it_changes_nothing(
    out: str, language: str, config: Path, dsn: str, tmp_path: Path
) -> None:
    """In either language, as CSV files or as one workbook; a file that is there is not written over unasked."""
    where = ["--out", str(tmp_path / out), "--lang", language]
    written = conftrack(config, "inventory", "template", *where).stdout.split()
    assert len(written) == (1 if out.endswith(".xlsx") else 5)
    assert conftrack(config, "inventory", "import", *written, "--yes").returncode == 0
    assert await ask(dsn, "select count(*) from conftrack.endpoints where retired_on is null") == [(2,)]
    assert await ask(dsn, "select count(*) from conftrack.expected_endpoints") == [(4,)]
    assert await ask(dsn, "select valid_to from conftrack.endpoint_former") == [(date(2025, 7, 1),)]

    refused = conftrack(config, "inventory", "export", *where)
    exported = conftrack(config, "inventory", "export", *where, "--force").stdout.split()
    again = conftrack(config, "inventory", "import", *exported, "--replace")

    assert refused.returncode == 1
    assert "there already" in refused.stderr
    assert (again.returncode, again.stdout.strip()) == (0, "Nothing to do: the inventory is as the files say.")


async def test_without_a_terminal_and_without_yes_the_difference_is_shown_and_nothing_done(
    config: Path, dsn: str, tmp_path: Path
) -> None:
    """Exit code 1, and a sentence that says so; with --yes the same is done."""
    path = tmp_path / "don-vi.csv"
    path.write_text("Mã đơn vị;Tên đơn vị;Đơn vị cấp trên\r\nT;Tỉnh;\r\nX;Xã;T\r\n", encoding="utf-8-sig")

    shown = conftrack(config, "inventory", "import", str(path))
    assert shown.returncode == 1
    assert "+ X Xã: parent T; level 1" in shown.stdout
    assert "no terminal to ask on; with --yes" in shown.stdout
    assert await ask(dsn, "select count(*) from conftrack.org_units") == [(0,)]

    assert conftrack(config, "inventory", "import", str(path), "--yes").returncode == 0
    assert await ask(dsn, "select code, level from conftrack.org_units order by code") == [("T", 0), ("X", 1)]


def test_all_mistakes_go_to_stderr_with_file_line_and_column(config: Path, tmp_path: Path) -> None:
    """One sentence a mistake, over all files, no traceback; a file that is not there is bad usage."""
    units, sites = tmp_path / "units.csv", tmp_path / "sites.csv"
    units.write_text("code,name,parent\nT,Tỉnh,\nX,Xã,Y\n")
    sites.write_text("code,name,org,seats\nA,a,T,lots\n")

    done = conftrack(config, "inventory", "import", str(units), str(sites), "--yes")
    away = conftrack(config, "inventory", "import", str(tmp_path / "away.csv"))

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "conftrack: nothing was changed: 2 problems",
        f"  {sites}, line 2, column \"seats\": 'lots' is not a whole number from 0 to 100,000",
        f"  {units}, line 3, column \"parent\": unit X: there is no unit 'Y'",
    ]
    assert away.returncode == 2


def on_a_terminal(config: Path, answer: str | None, *arguments: str) -> tuple[int, str]:
    """Runs a command on a terminal of its own and answers its question, or interrupts it; its exit code and what was on
    the screen."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "conftrack", "--config", str(config), *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    screen, answered, deadline = b"", False, time.monotonic() + 60
    try:
        while time.monotonic() < deadline and (read := _read(ours)) is not None:
            screen += read
            if b"[y/N]" in screen and not answered:
                answered = True
                if answer is None:
                    process.send_signal(signal.SIGINT)
                else:
                    os.write(ours, answer.encode())
        return process.wait(timeout=10), screen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read(terminal: int) -> bytes | None:
    """What came, if only nothing yet; None once the other end is gone."""
    if not select.select([terminal], [], [], 0.2)[0]:
        return b""
    try:
        return os.read(terminal, 4096) or None
    except OSError:
        return None


@pytest.mark.parametrize(("answer", "code", "units"), [("y\n", 0, 60), ("có\n", 0, 60), ("\n", 1, 0), (None, 1, 0)])
async def test_on_a_terminal_it_asks(
    answer: str | None, code: int, units: int, config: Path, dsn: str, tmp_path: Path
) -> None:
    """A yes in either language does it; anything else, or Ctrl-C, does not. A long list is cut, and says so."""
    path = tmp_path / "units.csv"
    path.write_text("code,name,parent\n" + "".join(f"X{n},Xã {n},\n" for n in range(60)))

    ended, screen = on_a_terminal(config, answer, "inventory", "import", str(path))

    assert ended == code, screen
    assert "Units: 60 new" in screen
    assert "… and 40 more" in screen
    assert "Traceback" not in screen
    assert await ask(dsn, "select count(*) from conftrack.org_units") == [(units,)]


async def test_from_the_queue_to_the_match(called: None, config: Path, dsn: str, tmp_path: Path) -> None:
    """`unmatched` proposes, a person fills in codes, `match --from` shows the past before and after and makes it so."""
    example(config, tmp_path / "files")
    shown = conftrack(config, "inventory", "unmatched").stdout
    assert shown.index("ubnd.xatanhoa@cau.example") < shown.index("VD-X01-01") < shown.index("sonoivu-2")
    assert "3 legs, last on 2026-03-02 11:20, in “hall” of 2026-03-02" in shown
    assert "2 callers without an endpoint." in shown
    assert "person:" not in shown
    assert "(a person)" in conftrack(config, "inventory", "unmatched", "--persons").stdout

    lines = conftrack(config, "inventory", "unmatched", "--json").stdout.splitlines()
    assert [json.loads(line)["likely"][0]["code"] for line in lines] == ["VD-X01-01", "VD-SNV-01"]
    queue = tmp_path / "queue.csv"
    conftrack(config, "inventory", "unmatched", "--out", str(queue))
    with queue.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.reader(opened))
    assert [row[1] for row in rows[1:]] == ["", ""], "nothing is guessed"
    rows[1][1] = "VD-X01-01"
    with queue.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened, delimiter=";").writerows(rows)

    preview = conftrack(config, "inventory", "match", "--from", str(queue))
    assert preview.returncode == 0
    assert "ubnd.xatanhoa@cau.example → VD-X01-01 Hội trường UBND xã Tân Hòa" in preview.stdout
    assert "2026-03 VD-X01: meetings 0 → 3, endpoints 0 → 1" in preview.stdout
    assert await ask(dsn, "select count(*) from conftrack.legs where endpoint = 'VD-X01-01'") == [(0,)]

    done = conftrack(config, "inventory", "match", "--from", str(queue), "--yes")
    assert done.returncode == 0, done.stderr
    assert "Done: 1 caller with another endpoint; 3 meetings and 1 day derived again." in done.stdout
    assert await ask(
        dsn, "select meetings, endpoints, legs from conftrack.usage_monthly where org = 'VD-X01' and source is null"
    ) == [(3, 1, 3)]
    ((actor,),) = await ask(dsn, "select actor from conftrack.audit where action = 'inventory match'")
    assert "@" in str(actor)


def test_a_caller_that_has_an_owner_is_not_matched_away(called: None, config: Path, tmp_path: Path) -> None:
    """Exit code 1, with whose it is and what to do; half a command is bad usage."""
    example(config, tmp_path / "files")
    conftrack(config, "inventory", "match", "sonoivu-2", "VD-SNV-01", "--yes")

    done = conftrack(config, "inventory", "match", "sonoivu-2", "VD-X01-01", "--yes")

    assert done.returncode == 1
    assert "sonoivu-2 is an alias of VD-SNV-01 (Phòng họp Sở Nội vụ)" in done.stderr
    assert conftrack(config, "inventory", "match", "sonoivu-2").returncode == 2


async def test_a_caller_cannot_steer_the_terminal(database: Database, store: Store, config: Path) -> None:
    """What a stranger calls himself is shown as text, without its control characters."""
    await store_all(store, [page(leg(identity="\x1b]0;x\x07[bold]evil"))])

    shown = conftrack(config, "inventory", "unmatched").stdout

    assert "1. �]0;x�[bold]evil" in shown
    assert "\x1b" not in shown
