"""Lists of head counts: what a line means, what is wrong with it, and that all of them go in or none."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import openpyxl
import pytest

from conftrack.headcounts.lists import Lists
from conftrack.inventory.headings import read_files
from conftrack.inventory.tables import WrongFiles
from conftrack.model import Endpoint
from conftrack.storage import inventory
from conftrack.storage.database import Database
from conftrack.storage.store import Store
from tests.worlds import NOW, ZONE, count, leg, meeting, page, store_all

SITES = [Endpoint(code=f"X{n}", name=f"Xã {n}", aliases=(f"xa-{n}@vc.example",)) for n in range(1, 4)]
HEAD = "Phòng họp;Thời gian;Mã điểm cầu;Số người;Ghi chú\n"


class Clerk:
    """Who has lists to import; the meetings are at 8:00, 10:00 and, on the day after, 8:00 in another room."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.told: list[str] = []
        self.agrees = True

    def file(self, text: str, name: str = "so.csv") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    async def takes(self, *files: Path) -> bool:
        async def consent(_: str) -> bool:
            return self.agrees

        self.told.clear()
        lists = Lists(
            self.database.pool, ZONE, clock=lambda: NOW, actor="lan", say=self.told.append, consent=consent
        )  # fmt: skip
        return await lists.take(read_files(files, ("headcounts",)))

    async def refused(self, text: str) -> list[str]:
        before = await self.stands()
        with pytest.raises(WrongFiles) as caught:
            await self.takes(self.file(text))
        assert await self.stands() == before
        return [str(problem).replace(f"{self.folder}/", "") for problem in caught.value.problems]

    async def stands(self) -> dict[tuple[str, str], tuple[int, str]]:
        """People and provenance by the last letter of a meeting's title, and endpoint."""
        rows = await self.database.pool.fetch(
            "select m.title, c.endpoint, c.attendees, c.provenance from conftrack.endpoint_connections c "
            "join conftrack.meetings m using (meeting_id)"
        )
        return {(row["title"][-1], row["endpoint"]): (row["attendees"], row["provenance"]) for row in rows}


@pytest.fixture
async def clerk(database: Database, tmp_path: Path) -> Clerk:
    await inventory.put(database.pool, [], SITES)
    times = {"a": (0, 60, "hall"), "b": (120, 180, "hall"), "c": (24 * 60, 25 * 60, "other")}
    pages = [
        page(
            meeting(name, since, until, room=room, title=f"Họp {name}"),
            *(leg(f"{name}{n}", since, until, room=room, identity=f"xa-{n}@vc.example", meeting=name) for n in (1, 2)),
        )
        for name, (since, until, room) in times.items()
    ]
    store = Store(database.pool, ZONE)
    await store.adopt_timezone()
    await store_all(store, [*pages, page(count(50, 30, endpoint="xa-2@vc.example"))])
    return Clerk(database, tmp_path)


async def test_a_list_is_taken_once_and_corrected_by_the_next(clerk: Clerk) -> None:
    """By room or title, a day or a moment, from any of the forms; what is reported outranks it; twice is once."""
    first = clerk.file(
        HEAD + "hall;02/03/2026 8h00;X1;20;giấy\nhall;2026-03-02 09:30;X1;0;\nhall;02/03/2026 08:00;X2;9;\n"
    )
    book = openpyxl.Workbook()
    lines = book.create_sheet("số đại biểu")
    lines.append(["title", "date", "endpoint", "people"])
    lines.append(["Họp c", date(2026, 3, 3), "X2", 12])
    book.save(clerk.folder / "so.xlsx")
    assert await clerk.takes(first, clerk.folder / "so.xlsx")

    assert "+ X1 Họp a 2026-03-02 08:00: 20" in clerk.told
    assert "Head counts: 4 new, 0 changed, 0 as they were." in clerk.told
    assert await clerk.stands() == {
        ("a", "X1"): (20, "imported"), ("a", "X2"): (50, "reported"), ("b", "X1"): (0, "imported"),
        ("b", "X2"): (1, "connections"), ("c", "X1"): (1, "connections"), ("c", "X2"): (12, "imported"),
    }  # fmt: skip
    assert await clerk.takes(first)
    assert clerk.told == ["Nothing to do: these head counts are stored already."]
    assert await clerk.takes(clerk.file(HEAD + "hall;02/03/2026 8h00;X1;21;giấy\n"))
    assert clerk.told[:2] == ["~ X1 Họp a 2026-03-02 08:00: 20 → 21", "Head counts: 0 new, 1 changed, 0 as they were."]
    assert (await clerk.stands())["a", "X1"] == (21, "imported")
    details = await clerk.database.pool.fetch("select detail from conftrack.audit where action = 'headcount import'")
    assert len(details) == 2
    assert "giấy" not in str(details)


async def test_every_problem_is_told_at_its_place_and_nothing_is_put_in(clerk: Clerk) -> None:
    """By file, line and column, all at once; the good lines do not go in either."""
    problems = await clerk.refused(
        HEAD
        + "hall;02/03/2026 8h00;X1;20;\n"
        + "hal;02/03/2026 8h00;X1;20;\n"
        + "hall;02/03/2026;X1;20;\n"
        + "hall;02/03/2026 8h00;X9;20;\n"
        + "hall;02/03/2026 8h00;X1;hai;\n"
        + "hall;02/03/2026 8h15;X1;30;\n"
        + ";02/03/2026 8h00;X2;30;\n"
        + "hall;hôm qua;X2;30;\n"
        + "hall;02/03/2026 6h00;X2;30;\n"
        + "hall;04/03/2026;X2;;\n"
    )

    assert problems == [
        """so.csv, line 3, column "Phòng họp": no meeting 'hal' was held at this time""",
        'so.csv, line 4, column "Thời gian": may be any of 2 meetings, begun 08:00 on one, 10:00 on one: '
        "give another time",
        """so.csv, line 5, column "Mã điểm cầu": there is no endpoint 'X9'""",
        """so.csv, line 6, column "Số người": 'hai' is not a whole number from 0 to 999,999""",
        'so.csv, line 7, column "Mã điểm cầu": X1 has a number for this meeting at so.csv, line 2',
        'so.csv, line 8, column "Phòng họp": names no meeting: give its room or its title',
        """so.csv, line 9, column "Thời gian": 'hôm qua' is not a day with a time """
        "like 2025-07-01 08:00 or 01/07/2025 8h00",
        """so.csv, line 10, column "Phòng họp": no meeting 'hall' was held at this time""",
        'so.csv, line 11, column "Số người": must not be empty',
    ]


async def test_a_closed_month_takes_no_list(clerk: Clerk) -> None:
    """Refused as a whole with the line; a number that is there already is no reason to let it pass."""
    await clerk.takes(clerk.file(HEAD + "hall;02/03/2026 8h00;X1;20;\n"))
    await clerk.database.pool.execute(
        "insert into conftrack.report (month, since, until, closed_at, closed_by, figures) "
        "values ('2026-03-01', '2026-02-15', '2026-03-03', now(), 'lan', '')"
    )
    for people in (20, 21):
        assert await clerk.refused(HEAD + f"hall;02/03/2026 8h00;X1;{people};\nother;03/03/2026;X1;5;\n") == [
            'so.csv, line 2, column "Thời gian": the month of this meeting is closed: '
            "its head counts stay as they were signed"
        ]
    assert await clerk.takes(clerk.file(HEAD + "other;03/03/2026;X1;5;\n"))


async def test_nothing_is_put_in_without_a_yes(clerk: Clerk) -> None:
    """What would change is shown, and stays undone."""
    clerk.agrees = False
    assert not await clerk.takes(clerk.file(HEAD + "hall;02/03/2026 8h00;X1;20;\n"))

    assert clerk.told[-1] == "Nothing was changed."
    assert (await clerk.stands())["a", "X1"] == (1, "connections")
