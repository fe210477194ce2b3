"""Inventories and queues of callers as files: what is read back from them is the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from conftrack.errors import ConftrackError
from conftrack.inventory import show
from conftrack.inventory.headings import Language, columns, headings
from conftrack.inventory.moments import local
from conftrack.inventory.names import Likely
from conftrack.inventory.tables import Sheet, Value, write_csv, write_workbook
from conftrack.storage.inventory import Inventory, Site, Unit, Unmatched
from conftrack.storage.invitations import Invitation

_DELIMITERS: dict[Language, str] = {"vi": ";", "en": ","}
"""What Excel takes for the end of a cell, by the language of the machine."""

_SHEETS: dict[Language, tuple[str, str, str, str]] = {
    "vi": ("don-vi", "diem-cau", "chuyen-don-vi", "dia-chi-goi"),
    "en": ("units", "endpoints", "moves", "aliases"),
}
_INVITATIONS: dict[Language, str] = {"vi": "thanh-phan-moi", "en": "invitations"}


def write(
    inventory: Inventory, out: Path, language: Language, *, force: bool, invitations: Sheet | None = None
) -> list[Path]:
    """Writes the whole inventory: one workbook where `out` ends in .xlsx, else a CSV file a kind in the folder `out`.
    What is there already is only written over with `force`."""
    listed = [*sheets(inventory, language), *([invitations] if invitations is not None else [])]
    if out.suffix.casefold() == ".xlsx":
        refuse_existing([out], force)
        write_workbook(out, listed)
        return [out]
    files = {out / f"{sheet.name}.csv": sheet for sheet in listed}
    refuse_existing(files, force)
    for path, sheet in files.items():
        write_csv(path, sheet, delimiter=_DELIMITERS[language])
    return list(files)


def write_example(out: Path, language: Language, today: date, *, force: bool) -> list[Path]:
    """Writes a small inventory to learn from, with invitations to meetings of the Monday after `today`."""
    monday = today + timedelta(days=7 - today.weekday())
    lines: tuple[tuple[Value, ...], ...] = (
        (None, "giao-ban-tinh", "Giao ban trực tuyến toàn tỉnh", None, None, None, "org:VD", None),
        ("GM-01", "hop-tinh", "Họp trực tuyến với các xã", None, f"{monday} 08:00", "11:30", "area:Huyện Một cũ", None),
        ("GM-01", "hop-tinh", None, None, None, None, "VD-SNV-01", "Đi công tác, có văn bản báo vắng"),
    )
    called = Sheet(name=_INVITATIONS[language], headings=headings("invitations", language), lines=lines)
    return write(_example(), out, language, force=force, invitations=called)


def invitations(listed: Iterable[Invitation], timezone: ZoneInfo, language: Language) -> Sheet:
    """A line for each endpoint that is expected."""
    ordered = sorted(listed, key=lambda one: (one.starts_at is not None, local(one.starts_at, timezone) or "", one.uid))
    lines = tuple(
        (
            one.uid,
            one.room,
            one.title,
            one.source,
            local(one.starts_at, timezone),
            local(one.ends_at, timezone),
            code,
            why,
        )
        for one in ordered
        for code, why in one.expected.items()
    )
    return Sheet(name=_INVITATIONS[language], headings=headings("invitations", language), lines=lines)


def write_one(sheet: Sheet, out: Path, language: Language, *, force: bool) -> None:
    """Writes one sheet: as a workbook where `out` ends in .xlsx, else as CSV."""
    refuse_existing([out], force)
    if out.suffix.casefold() == ".xlsx":
        write_workbook(out, [sheet])
    else:
        write_csv(out, sheet, delimiter=_DELIMITERS[language])


def refuse_existing(paths: Iterable[Path], force: bool) -> None:
    """Raises ConftrackError where a file is there already that is not to be written over."""
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        verb = "is" if len(there) == 1 else "are"
        raise ConftrackError(
            f"{', '.join(there)} {verb} there already: choose another --out, or write over with --force"
        )


def sheets(inventory: Inventory, language: Language) -> list[Sheet]:
    """The whole inventory. An endpoint's code, which is an alias by itself, is not among the aliases; and `unit_since`
    is left empty, because who then gives an endpoint another unit does not mean that day."""
    units, endpoints, moves, aliases = _SHEETS[language]
    owners = sorted((site.code, alias) for site in inventory.endpoints for alias in site.aliases)
    return [
        Sheet(name=units, headings=headings("units", language), lines=_lines(inventory.units, columns("units"))),
        Sheet(
            name=endpoints,
            headings=headings("endpoints", language),
            lines=_lines(inventory.endpoints, columns("endpoints")),
        ),
        Sheet(
            name=moves,
            headings=headings("moves", language),
            lines=tuple((site.code, unit, day) for site in inventory.endpoints for day, unit in site.former),
        ),
        Sheet(
            name=aliases,
            headings=headings("aliases", language),
            lines=tuple((alias, code) for code, alias in owners),
        ),
    ]


def _lines(things: Iterable[Unit | Site], names: Sequence[str]) -> tuple[tuple[Value, ...], ...]:
    return tuple(tuple(_value(getattr(thing, name, None)) for name in names) for thing in things)


def _value(value: Value | tuple[str, ...]) -> Value:
    return "; ".join(value) if isinstance(value, tuple) else value


def queue(callers: Iterable[tuple[Unmatched, Sequence[Likely]]], timezone: ZoneInfo) -> Sheet:
    """The callers without an endpoint, with an empty cell each for the code of theirs."""
    lines = []
    for caller, likely in callers:
        guesses = [f"{one.code} {one.name} ({one.score})" for one in likely]
        guesses += [""] * (3 - len(guesses))
        about = (show.seen(caller), show.local(caller, timezone), show.example(caller, timezone))
        lines.append((caller.identity, None, *about, *guesses))
    names = ("caller", "code", "seen", "last_seen", "example", "likely_1", "likely_2", "likely_3")
    return Sheet(name="unmatched", headings=names, lines=tuple(lines))


def _example() -> Inventory:
    """A made-up district before and after the reform of 1 July 2025: communes were merged, the district went."""
    reform = date(2025, 7, 1)
    return Inventory.of(
        [
            Unit(code="VD", name="Tỉnh Ví Dụ", valid_from=date(1997, 1, 1)),
            Unit(code="VD-SNV", name="Sở Nội vụ", parent="VD", level=1, valid_from=date(2025, 3, 1)),
            Unit(code="VD-H1", name="Huyện Một", parent="VD", level=1, valid_to=reform),
            Unit(
                code="VD-X01", name="Xã Tân An", parent="VD-H1", level=2, valid_to=reform, successors=("VD-X01",)
            ),
            Unit(code="VD-X02", name="Xã Hòa Bình", parent="VD-H1", level=2, valid_to=reform, successors=("VD-X01",)),
            Unit(code="VD-X01", name="Xã Tân Hòa", parent="VD", level=1, valid_from=reform),
        ],
        [
            Site(
                code="VD-SNV-01", name="Phòng họp Sở Nội vụ", org="VD-SNV", kind="room", seats=30, carrier="TSLCD",
                area="Trung tâm", service_hours="07:00-17:30", contact_name="Nguyễn Văn A",
                contact_phone="0210 000 001", aliases=("so-noi-vu@vc.example", "210300001", "10.0.1.11"),
            ),
            Site(
                code="VD-X01-01", name="Hội trường UBND xã Tân Hòa", org="VD-X01", kind="hall", seats=120,
                carrier="Viettel", area="Huyện Một cũ", service_hours="07:00-17:30", contact_name="Trần Thị B",
                contact_phone="0210 000 002", aliases=("xa-tan-hoa@vc.example", "10.0.2.11"),
            ),
            Site(
                code="VD-X02-01", name="Hội trường UBND xã Hòa Bình (cũ)", org="VD-X01", kind="hall", seats=80,
                carrier="VNPT", area="Huyện Một cũ", retired_on=reform, aliases=("xa-hoa-binh@vc.example",),
                former=((reform, "VD-X02"),),
            ),
        ],
    )  # fmt: skip
