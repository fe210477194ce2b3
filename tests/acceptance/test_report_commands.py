"""`conftrack report` as an official's office uses it: the real program on a real Postgres."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from conftrack.model import Origin, Page
from conftrack.report.model import Report
from conftrack.storage.database import Database
from conftrack.storage.store import Store
from tests.province import leg
from tests.service_process import conftrack

HELD_AT = datetime(2026, 3, 10, 2, tzinfo=UTC)


async def _tell(store: Store, numbers: range) -> None:
    """So many sites were in one meeting for half an hour."""
    source = await store.register("pexip-main", "pexip")
    legs = tuple(
        msgspec.structs.replace(
            leg(number, 0, 1), joined_at=HELD_AT, left_at=HELD_AT + timedelta(minutes=30), end_class="left"
        )
        for number in numbers
    )
    now = datetime.now(UTC)  # noqa: TID251
    page = Page(stream="participant", origin=Origin.HISTORY, observed_at=now, legs=legs, position=now)
    await store.store(source, page, now=now)
    await store.refresh()


@pytest.fixture
async def config(tmp_path: Path, dsn: str, store: Store) -> Path:
    await _tell(store, range(3))
    path = tmp_path / "conftrack.toml"
    path.write_text(f'[database]\ndsn = "{dsn}"\n')
    return path


async def test_a_month_is_written_closed_and_amended(
    config: Path, tmp_path: Path, store: Store, database: Database
) -> None:
    """What was signed stays as it was; what came late stands beside it."""
    out = tmp_path / "out"
    written = conftrack(config, "report", "2026-03", "--format", "json,xlsx", "--lang", "vi,en", "--out", str(out))
    assert written.returncode == 0, written.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "conftrack-2026-03.en.xlsx", "conftrack-2026-03.json", "conftrack-2026-03.vi.xlsx"
    ]  # fmt: skip
    report = msgspec.json.decode((out / "conftrack-2026-03.json").read_bytes(), type=Report)
    assert (report.of().meetings, report.of().endpoint_connections) == (1, 3)

    unasked = conftrack(config, "report", "close", "2026-03")
    assert (unasked.returncode, "with --yes it is done" in unasked.stdout) == (1, True)
    closed = conftrack(config, "report", "close", "2026-03", "--yes")
    assert closed.returncode == 0, closed.stderr
    assert conftrack(config, "report", "close", "2026-03", "--yes").returncode == 1
    assert "Nothing changed" in conftrack(config, "report", "amend", "2026-03").stdout

    await _tell(store, range(5))
    tried = conftrack(config, "report", "amend", "2026-03", "--dry-run").stdout
    assert "endpoint_connections: 3 → 5" in tried
    assert conftrack(config, "report", "amend", "2026-03").stdout.startswith(tried)
    assert await database.pool.fetchval("select count(*) from conftrack.report_addendum") == 1
    assert conftrack(config, "report", "--format", "json", "2026-03", "--out", str(out)).returncode == 0
    assert _digest_as_the_readme_says(out / "conftrack-2026-03.json") in closed.stdout
    listed = conftrack(config, "report", "list").stdout
    assert "2026-03  closed" in listed
    assert "2026-04  not closed" in listed  # it is over


def _digest_as_the_readme_says(path: Path) -> str:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    command = re.search(r"`python3 -c '(import hashlib.*?)' < conftrack", readme, re.DOTALL)
    assert command is not None
    done = subprocess.run(
        [sys.executable, "-c", " ".join(command[1].split())], input=path.read_bytes(), capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def test_what_cannot_be_is_said(config: Path, tmp_path: Path) -> None:
    """A month that is no month, a form that is none, a unit that is none, a month that nobody knows or is not over."""
    assert "write it as 2026-10" in conftrack(config, "report", "2026-13").stderr
    assert "'odt' is none of" in conftrack(config, "report", "2026-03", "--format", "odt").stderr
    unknown = conftrack(config, "report", "2026-03", "--unit", "XYZ", "--out", str(tmp_path))
    assert (unknown.returncode, "knows no unit or source 'XYZ'" in unknown.stderr) == (1, True)
    unseen = conftrack(config, "report", "2001-01", "--out", str(tmp_path))
    assert (unseen.returncode, "nothing is known of 2001-01: the months known are 2026-03" in unseen.stderr) == (
        1,
        True,
    )
    assert list(tmp_path.glob("*2001*")) == []  # no sheet of zeros
    assert conftrack(config, "report", "close", "2099-01", "--yes").returncode == 1


def test_what_nobody_has_seen_is_not_closed(tmp_path: Path, dsn: str) -> None:
    """Not even --anyway signs zeros for a system that was never read."""
    config = tmp_path / "conftrack.toml"
    config.write_text(
        f'[database]\ndsn = "{dsn}"\n[[sources]]\nname = "away"\nkind = "pexip"\nurl = "http://127.0.0.1:9"\n'
        'username = "a"\npassword = "b"\n'
    )
    assert conftrack(config, "db", "migrate").returncode == 0
    done = conftrack(config, "report", "close", "2026-03", "--anyway", "--yes")
    assert (done.returncode, "no source has ever been read" in done.stderr) == (1, True)


def test_a_broken_template_is_said(config: Path, tmp_path: Path) -> None:
    """Which file, what is wrong with it, and what to do: no traceback, and exit code 1."""
    template = tmp_path / "letter.docx"
    template.write_text("not a document")
    config.write_text(f'{config.read_text()}[report]\ntemplate = "{template}"\n')

    tried = conftrack(config, "report", "2026-03", "--format", "docx", "--out", str(tmp_path))

    assert tried.returncode == 1
    assert f"the template {template} is no .docx that can be read" in tried.stderr
    assert "`conftrack report template FILE` writes" in tried.stderr
    assert "Traceback" not in tried.stderr


def test_the_template_is_written_once(config: Path, tmp_path: Path) -> None:
    """What somebody changed in it is not written over."""
    path = tmp_path / "report.docx"
    assert conftrack(config, "report", "template", str(path)).returncode == 0
    assert path.read_bytes().startswith(b"PK")
    assert conftrack(config, "report", "template", str(path)).returncode == 1


async def test_a_month_was_closed_on_a_local_day(config: Path, database: Database) -> None:
    """Half past six in the morning in Việt Nam is still the day before in UTC. What is closed is listed, whatever is
    known by now."""
    await database.pool.execute(
        """
        insert into conftrack.report (month, since, until, closed_at, closed_by, figures)
        values ('2026-01-01', '2026-01-01', '2026-02-01', '2026-02-02 23:30Z', 'an', '')
        """
    )
    assert "2026-01  closed 2026-02-03 by an" in conftrack(config, "report", "list").stdout


def test_a_month_that_is_closed_is_refused_before_anything_is_asked(config: Path) -> None:
    """Nobody is shown figures that cannot be signed any more."""
    assert conftrack(config, "report", "close", "2026-03", "--yes").returncode == 0
    again = conftrack(config, "report", "close", "2026-03")
    assert (again.returncode, again.stdout) == (1, "")
    assert "closed already" in again.stderr


async def test_who_closes_a_month_hears_of_meetings_that_are_not_over(config: Path, store: Store) -> None:
    """Their hours are not in the figures that are signed."""
    source = await store.register("pexip-main", "pexip")
    up = msgspec.structs.replace(leg(9, 0, 1), room="other", joined_at=HELD_AT, left_at=None, end_class=None)
    page = Page(stream="participant", origin=Origin.HISTORY, observed_at=HELD_AT, legs=(up,))
    await store.store(source, page, now=HELD_AT)
    await store.refresh()

    assert "Not over yet: 1 meeting." in conftrack(config, "report", "close", "2026-03", "--yes").stdout
