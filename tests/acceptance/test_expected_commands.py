"""`conftrack expected` and `conftrack maintenance` as an operator uses them: the real program on a real Postgres."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service_process import conftrack


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> Path:
    """A configuration, and the example inventory in its database."""
    path = tmp_path / "conftrack.toml"
    path.write_text(f'[database]\ndsn = "{dsn}"\n')
    files = conftrack(path, "inventory", "template", "--out", str(tmp_path / "files")).stdout.split()
    done = conftrack(path, "inventory", "import", *files, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def test_an_operator_sees_who_is_expected_calls_the_roll_and_excuses(config: Path, tmp_path: Path) -> None:
    """From a list that was imported; nobody is called absent whom no source could see."""
    path = tmp_path / "hom-nay.csv"
    path.write_text("meeting,room,title,start,endpoint\nGM-9,hop,Họp tỉnh,2026-03-02 08:00,org:VD\n")
    assert conftrack(config, "inventory", "import", str(path), "--yes").returncode == 0

    listed = conftrack(config, "expected", "list", "--day", "2026-03-02")
    assert listed.stdout == "08:00  GM-9  Họp tỉnh: 2 expected\n"
    excused = conftrack(config, "expected", "excuse", "GM-9", "VD-SNV-01", "--reason", "mất điện")
    assert excused.stdout == "VD-SNV-01 is excused.\n"
    roll = conftrack(config, "expected", "call", "GM-9").stdout.splitlines()
    assert roll[0] == "Họp tỉnh, 2026-03-02 08:00: 1 excused, 1 unknown"
    assert roll[1].startswith("  VD-SNV-01 Phòng họp Sở Nội vụ: excused, mất điện (T-60 excused")
    assert roll[2].startswith("  VD-X01-01 Hội trường UBND xã Tân Hòa: unknown (T-60 unknown")

    wrong = conftrack(config, "expected", "excuse", "GM-9", "VD-X02-01", "--reason", "x")
    assert (wrong.returncode, wrong.stderr) == (
        1, "conftrack: endpoint VD-X02-01 is not expected there: nothing was changed\n"
    )  # fmt: skip
    assert conftrack(config, "expected", "excuse", "GM-9", "VD-SNV-01").returncode == 2
    assert "there is no invitation GM-8" in conftrack(config, "expected", "call", "GM-8").stderr


def test_maintenance_is_planned_listed_and_cancelled(config: Path) -> None:
    """A dry run shows the windows and whom they cover and changes nothing; a name that is not there is told with the
    nearest one, a rule that means nothing is bad usage."""
    first = ["--org", "VD", "--from", "2027-01-03 22:00", "--to", "2027-01-04 02:00"]
    weekly = [*first, "--repeats", "FREQ=WEEKLY;BYDAY=SU", "--until", "2027-01-20 00:00", "--author", "lan"]
    weekly += ["--reason", "nâng cấp đường truyền"]

    tried = conftrack(config, "maintenance", "add", *weekly, "--dry-run")
    assert tried.stdout.splitlines() == [
        "2027-01-03 22:00 – 2027-01-04 02:00",
        "2027-01-10 22:00 – 2027-01-11 02:00",
        "2027-01-17 22:00 – 2027-01-18 02:00",
        "3 windows in all; covers 3 endpoints (VD-SNV-01, VD-X01-01, VD-X02-01).",
        "Nothing was changed (--dry-run).",
    ]
    assert (
        conftrack(config, "maintenance", "list", "--days", "3660").stdout == "No maintenance in the next 3,660 days.\n"
    )

    added = conftrack(config, "maintenance", "add", *weekly).stdout.splitlines()[-1]
    number = added.removeprefix("Planned as number ").rstrip(".")
    listed = conftrack(config, "maintenance", "list", "--days", "3660").stdout.splitlines()
    assert len(listed) == 3
    assert listed[0].startswith(
        f"{number}. 2027-01-03 22:00 – 2027-01-04 02:00 org VD: nâng cấp đường truyền (lan, FREQ=WEEKLY;BYDAY=SU until"
    )
    assert conftrack(config, "maintenance", "cancel", number).returncode == 0
    assert conftrack(config, "maintenance", "cancel", number).returncode == 1
    assert conftrack(config, "maintenance", "list", "--days", "3660").stdout.startswith("No maintenance")

    once = ["--from", "2027-01-03 22:00", "--to", "2027-01-04 02:00", "--reason", "x"]
    wrong = conftrack(config, "maintenance", "add", "--carrier", "Viettle", *once)
    assert (wrong.returncode, wrong.stderr) == (
        1, "conftrack: there is no endpoint of the carrier 'Viettle'; did you mean 'Viettel'?\n"
    )  # fmt: skip
    assert conftrack(config, "maintenance", "add", "--org", "VD", *once, "--repeats", "FREQ=DAILY").returncode == 2
    rule = ["--org", "VD", *once, "--repeats", "often", "--until", "2027-02-01 00:00"]
    assert conftrack(config, "maintenance", "add", *rule).returncode == 2
