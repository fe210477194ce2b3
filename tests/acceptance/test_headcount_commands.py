"""`conftrack headcount` as an operator uses it: the real program on a real Postgres."""

from __future__ import annotations

import csv
from html import unescape
from pathlib import Path

import openpyxl
import pytest

from tests.service_process import conftrack

NASTY = '=HYPERLINK("http://x.example";"Xã")'


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> Path:
    """A configuration, two endpoints, one of which is called as a formula, and who is invited."""
    path = tmp_path / "conftrack.toml"
    path.write_text(f'[database]\ndsn = "{dsn}"\n[alerts]\npage_url = "https://hop.example/"\n')
    sites, invited = tmp_path / "sites.csv", tmp_path / "invited.csv"
    with sites.open("w", newline="") as file:
        csv.writer(file).writerows([["code", "name", "seats"], ["X1", NASTY, 40], ["X2", "Xã Hai", 30]])
    invited.write_text(
        "meeting,room,title,start,end,endpoint\n"
        "GM-1,hop,@SUM(1),2099-03-02 08:00,2099-03-02 11:00,X1;X2\n"
        "GM-2,hop,Họp chiều,2099-03-02 14:00,2099-03-02 16:00,X2\n"
        "TT,truc,Giao ban,,,X1\n"
    )
    done = conftrack(path, "inventory", "import", str(sites), str(invited), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def test_links_are_told_printed_and_written(config: Path, tmp_path: Path) -> None:
    """The same links each time; in a table nothing can be taken for a formula; the sheet needs no other file."""
    told = conftrack(config, "headcount", "links", "--room", "hop").stdout.splitlines()
    assert [line.split()[0] for line in told] == ["X1", "X2"]
    links = [line.split()[-1] for line in told]
    assert all(link.startswith("https://hop.example/c/") for link in links)

    table, book, sheet = (tmp_path / f"so.{kind}" for kind in ("csv", "xlsx", "html"))
    for out in (table, book, sheet):
        done = conftrack(config, "headcount", "links", "--invitation", "GM-1", "--out", str(out))
        assert done.stdout == f"{out}: 2 links, good until 2099-04-06 11:00\n"
    lines = list(csv.reader(table.read_text(encoding="utf-8-sig").splitlines(), delimiter=";"))
    assert [line[6] for line in lines[1:]] == links
    assert lines[1][1] == f"'{NASTY}"
    assert lines[1][3] == "'@SUM(1)"
    cells = [cell for row in openpyxl.load_workbook(book).worksheets[0].iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} <= {"s", "n"}
    assert not [cell for cell in cells if str(cell.value)[:1] in "=+-@"]
    html = sheet.read_text()
    assert html.count("<svg") == 2
    assert "<style>" in html
    assert "<link" not in html
    assert NASTY in unescape(html)
    assert all(link in html for link in links)

    again = conftrack(config, "headcount", "links", "--room", "hop", "--out", str(sheet))
    assert (again.returncode, "--force" in again.stderr) == (1, True)


def test_which_meeting_is_meant_is_said(config: Path) -> None:
    """Several on a day are named, a standing invitation is of a day, and what is not there is told."""
    several = conftrack(config, "headcount", "links", "--room", "hop", "--day", "2099-03-02")
    assert several.stderr == ("conftrack: several invitations may be meant: GM-1, GM-2; name one with --invitation\n")
    one, other = (
        conftrack(config, "headcount", "links", "--room", "truc", "--day", f"2099-03-0{day}").stdout for day in (2, 3)
    )
    assert one != other
    assert conftrack(config, "headcount", "links", "--room", "hopp").returncode == 1
    assert conftrack(config, "headcount", "links").returncode == 2
    assert conftrack(config, "headcount", "list", "--invitation", "GM-1").stdout.splitlines()[-1] == (
        "@SUM(1): 0 of 2 have typed 0 people"
    )


def test_a_list_of_other_things_is_told_where_it_belongs(config: Path, tmp_path: Path) -> None:
    """Head counts among the inventory, and an inventory among head counts."""
    counts = tmp_path / "so.csv"
    counts.write_text("room,time,endpoint,people\nhop,2099-03-02,X1,3\n")
    wrong = conftrack(config, "inventory", "import", str(counts), "--yes")
    assert "this is a list of head counts: use `conftrack headcount import`" in wrong.stderr
    held = conftrack(config, "headcount", "import", str(counts), "--yes")
    assert (held.returncode, "no meeting 'hop' was held on this day" in held.stderr) == (1, True)
