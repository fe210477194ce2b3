"""`conftrack privacy` as an operator uses it: the real program on a real Postgres."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import asyncpg
import pytest

from conftrack.config import PrivacyConfig
from conftrack.storage.database import Database
from conftrack.storage.store import Store
from tests.service_process import conftrack
from tests.worlds import ZONE, leg, meeting, page, store_all

AN = "nguyễn văn an"


@pytest.fixture
async def config(tmp_path: Path, dsn: str, database: Database) -> Path:
    """A configuration that keeps names, and a meeting of two people in the database."""
    path = tmp_path / "conftrack.toml"
    path.write_text(f'[database]\ndsn = "{dsn}"\n[privacy]\nnames = "keep"\n')
    people = [
        leg(f"p{n}", identity=name, personal=True, meeting="m", left=left)
        for n, (name, left) in enumerate([(AN, 10), (AN, 60), ("=cmd()", 60)])
    ]
    pages = [page(meeting("m", title="Họp kín về đất"), *people)]
    await store_all(Store(database.pool, ZONE, PrivacyConfig(names="keep")), pages)
    return path


def configure(config: Path, was: str, becomes: str) -> None:
    config.write_text(config.read_text().replace(was, becomes))


async def audited(database: Database) -> list[tuple[str, object]]:
    rows = await database.pool.fetch("select action, detail::text from conftrack.audit order by audit_id")
    return [(row["action"], json.loads(row["detail"])) for row in rows]


async def test_names_that_are_kept_are_read_under_the_eyes_of_the_audit(config: Path, database: Database) -> None:
    """As CSV that no spreadsheet takes for a formula; and who keeps none is told so."""
    read = conftrack(config, "privacy", "names")
    rows = list(csv.DictReader(read.stdout.splitlines()))
    assert [row["name"] for row in rows] == ["'=cmd()", AN]
    assert rows[1]["last_seen_at"] == "2026-03-02T09:00:00+07:00"
    assert conftrack(config, "privacy", "names", "--since", "2026-03-03").stdout.count("\n") == 1
    assert await audited(database) == [
        ("names read", {"names": 2, "since": None}),
        ("names read", {"names": 0, "since": "2026-03-03T00:00:00+07:00"}),
    ]

    configure(config, '"keep"', '"pseudonym"')
    refused = conftrack(config, "privacy", "names")
    assert (refused.returncode, refused.stderr) == (1, 'conftrack: no names are kept: [privacy] names = "pseudonym"\n')


async def test_a_person_is_erased_after_it_was_shown_what_there_is(config: Path, database: Database) -> None:
    """Without a yes nothing happens; a second time there is nothing; the name is in no output."""
    asked = conftrack(config, "privacy", "erase", "--name", "Nguyễn  Văn AN")
    assert (asked.returncode, asked.stdout.splitlines()[0]) == (1, "2 legs in 1 meeting; the name is kept.")
    assert await audited(database) == []
    done = conftrack(config, "privacy", "erase", "--name", "Nguyễn  Văn AN", "--yes")
    assert (done.returncode, done.stdout.splitlines()[-1][:7]) == (0, "Erased.")
    again = conftrack(config, "privacy", "erase", "--name", "Nguyễn  Văn AN", "--yes")
    assert again.stdout == "There is nothing of this person here.\n"
    assert await audited(database) == [("person erased", {"legs": 2, "meetings": 1, "name": True, "rejected": 0})]
    assert AN not in (asked.stdout + asked.stderr + done.stdout + done.stderr).casefold()
    assert conftrack(config, "privacy", "erase").returncode == 2
    assert await database.pool.fetchval("select endpoints from conftrack.usage_monthly where source = 'one'") == 2


async def test_what_is_kept_is_shown_and_cleaned_on_demand(config: Path, dsn: str) -> None:
    """How much there is of what, and for how long; patterns that were added clean what is there, once."""
    shown = conftrack(config, "privacy", "show").stdout
    assert "90 days after they were last seen" in shown
    assert '\nnames = "keep"; 0 patterns of sensitive meetings\n' in shown

    configure(config, '"keep"', '"keep"\nsensitive = ["họp KÍN*"]')
    counts = "cleaned: 1 meeting record, 0 invitations, 0 rooms, 0 rejected records\n"
    assert conftrack(config, "privacy", "apply").stdout == counts
    assert conftrack(config, "privacy", "apply").stdout == counts.replace("1 meeting record", "0 meeting records")
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("select title from conftrack.meetings") is None
    assert await connection.fetchval("select count(*) from conftrack_names.people") == 0
    await connection.close()
