"""The boards as files: made by their program, and by our own rules whole, bilingual, and fit for any Grafana."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.boards.every import rendered
from tests.boards import BOARDS, FILES, FOLDER, asked, panels

every_board = pytest.mark.parametrize("board", BOARDS)

NOT_IN_THE_SCHEMA = {"targets", "options", "custom", "target"}
"""Parts that Grafana's schema of a dashboard leaves to plugins."""


def bilingual(text: str, between: str) -> bool:
    """Vietnamese first, English second."""
    parts = text.split(between)
    return len(parts) == 2 and all(part.strip() for part in parts) and parts[1].isascii()


def strings(tree: Any) -> list[str]:
    """Every text in a tree."""
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in strings(value)]
    if isinstance(tree, list):
        return [text for value in tree for text in strings(value)]
    return [tree] if isinstance(tree, str) else []


def test_the_files_are_what_the_program_makes() -> None:
    """Nobody edits a board by hand; `python -m dashboards.boards` makes them again."""
    assert {file.stem: file.read_text(encoding="utf-8") for file in FILES} == rendered()


def test_there_is_a_board_for_every_question() -> None:
    """The six that are promised."""
    assert set(BOARDS) == {
        "conftrack-live", "conftrack-endpoint", "conftrack-organisations", "conftrack-usage", "conftrack-handover",
        "conftrack-collector",
    }  # fmt: skip


@every_board
def test_a_board_fits_the_schema_of_grafana(board: str) -> None:
    """Read by Grafana's own classes and written again it is the same: no field is misspelt, misplaced or lost."""

    def told(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {k: told(v) for k, v in tree.items() if k not in NOT_IN_THE_SCHEMA}
        if isinstance(tree, list):
            return [told(value) for value in tree]
        return told(tree.to_json()) if hasattr(tree, "to_json") else tree

    assert told(Dashboard.from_json(BOARDS[board])) == told(BOARDS[board])


@every_board
def test_a_board_is_provisioned_under_its_own_name(board: str) -> None:
    """uid = file name, so that links and alerts find it; files are edited, not boards."""
    made = BOARDS[board]
    assert made["uid"] == board
    assert made.get("id") is None
    assert made["editable"] is False
    assert made["schemaVersion"] >= 39  # Grafana 11
    assert made["tags"] == ["conftrack"]


@every_board
def test_titles_and_texts_are_in_both_languages(board: str) -> None:
    """Titles beside each other, descriptions one below the other, columns of tables and legends too."""
    made = BOARDS[board]
    named = [made, *made["panels"], *made["links"], *({"title": a["name"]} for a in made["annotations"]["list"])]
    assert [x["title"] for x in named if not bilingual(x["title"], " / ")] == []
    assert [p["title"] for p in (made, *panels(board)) if not bilingual(p["description"], "\n\n")] == []
    assert [v["name"] for v in made["templating"]["list"] if not bilingual(v["description"], "\n\n")] == []
    columns = [name for each in asked(board) for name in re.findall(r' as\s+"([^"]+)"', each.sql or "")]
    assert [name for name in columns if not bilingual(name, " / ") and not re.fullmatch(r"\d\d h", name)] == []


@every_board
def test_every_panel_says_its_unit_and_what_stands_where_nothing_is_known(board: str) -> None:
    """Never a bare number, and never a zero that nobody counted."""
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert "noValue" in defaults, panel["title"]
        assert defaults["noValue"] != "0", panel["title"]
        if panel["type"] == "timeseries":
            assert defaults["custom"]["spanNulls"] is False, panel["title"]


@every_board
def test_counts_are_whole_numbers(board: str) -> None:
    """36,559 people, as the report has it: Grafana's unit "short" would show 36.6 K."""
    for panel in panels(board):
        units = {p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"}
        assert "short" not in units | {panel["fieldConfig"]["defaults"]["unit"]}, panel["title"]


@every_board
def test_data_sources_are_chosen_by_variable(board: str) -> None:
    """A Grafana with other data sources needs no edit; the default is what is provisioned."""
    provisioned = yaml.safe_load((FOLDER / "provisioning/datasources/conftrack.yml").read_text())["datasources"]
    types = {source["uid"]: source["type"] for source in provisioned}
    variables = {v["name"]: v for v in BOARDS[board]["templating"]["list"] if v["type"] == "datasource"}
    assert {v["current"]["value"]: v["query"] for v in variables.values()}.items() <= types.items()

    made = BOARDS[board]
    uses = [p["datasource"] for p in panels(board)]
    uses += [t["datasource"] for p in panels(board) for t in p["targets"]]
    uses += [v["datasource"] for v in made["templating"]["list"] if v["type"] == "query"]
    uses += [a["datasource"] for a in made["annotations"]["list"]]
    uses += [a["target"]["datasource"] for a in made["annotations"]["list"]]
    for used in uses:
        name = re.fullmatch(r"\$\{(\w+)\}", used["uid"])
        assert name, used
        assert variables[name[1]]["query"] == used["type"]
    assert [p["title"] for p in panels(board) if any(t["datasource"] != p["datasource"] for t in p["targets"])] == []


@every_board
def test_no_name_of_a_place_or_system_is_written_in(board: str) -> None:
    """The demo's province is nowhere in the boards, and no address but the default of conftrack's own."""
    told = strings(BOARDS[board])
    assert [text for text in told if re.search(r"phu-tho|Phú Thọ|\bPT-", text)] == []
    addresses = {address for text in told for address in re.findall(r"https?://[^\s\"']+", text)}
    assert addresses <= {"http://localhost:8080"}


@every_board
def test_every_link_leads_somewhere(board: str) -> None:
    """To a board that there is, with variables that it has and columns that the panel has; or to conftrack's pages."""
    made = BOARDS[board]
    links = [(link["url"], "") for link in made["links"]]
    for panel in panels(board):
        text = " ".join(target.get("rawSql", "") for target in panel["targets"])
        for override in panel["fieldConfig"]["overrides"]:
            assert f'"{override["matcher"]["options"]}"' in text, (panel["title"], override["matcher"]["options"])
            for each in override["properties"]:
                if each["id"] == "links":
                    links += [(link["url"], text) for link in each["value"]]
    for address, text in links:
        if board_link := re.match(r"/d/([\w-]+)", address):
            assert board_link[1] in BOARDS, address
            has = {v["name"] for v in BOARDS[board_link[1]]["templating"]["list"]}
            assert set(re.findall(r"var-(\w+)=", address)) <= has, address
        else:
            assert re.match(r"\$\{conftrack_url\}/((endpoints|meetings)/|$)", address), address
        for column in re.findall(r'__data\.fields\["([^"]+)"\]', address):
            assert f'as "{column}"' in text, (address, column)
    others = {link["url"].removeprefix("/d/") for link in made["links"] if link["url"].startswith("/d/")}
    assert others == set(BOARDS) - {board}


@every_board
def test_panels_lie_beside_each_other(board: str) -> None:
    """Each has a number of its own; none overlaps another or the edge; none is a library panel."""
    every = BOARDS[board]["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert [panel["title"] for panel in every if "libraryPanel" in panel] == []
    places = [panel["gridPos"] for panel in every]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


@every_board
def test_variables_are_used_and_known(board: str) -> None:
    """Each variable that a query or link names is there, and none is there for nothing."""
    made = BOARDS[board]
    known = {v["name"] for v in made["templating"]["list"]}
    told = "\n".join(strings({**made, "templating": [v.get("query") for v in made["templating"]["list"]]}))
    used = {a or b for a, b in re.findall(r"\$\{(\w+)[^}]*\}|\$(\w+)", told) if not (a or b).startswith("__")}
    assert used == known


@every_board
def test_time_series_carry_what_happened(board: str) -> None:
    """Incidents and maintenance mark the time-series of what goes on; the collector and whole months have none."""
    marks = {str(a["target"]["rawSql"]) for a in BOARDS[board]["annotations"]["list"]}
    if board in ("conftrack-usage", "conftrack-collector"):
        assert marks == set()
    else:
        assert any("conftrack.incidents" in text for text in marks)
        assert any("conftrack.maintenance_windows" in text for text in marks)
