"""`inventory`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.inventory.asking import consent
from conftrack.inventory.files import write_example
from conftrack.inventory.headings import Language, read_files
from conftrack.inventory.matching import Match, matches
from conftrack.inventory.work import working


@click.group()
def inventory() -> None:
    """Org units, endpoints and their aliases, who is invited where, and the callers that they name."""


_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
_out = click.option(
    "--out", type=click.Path(path_type=Path), default=".", help="A folder for CSV files, or X.xlsx [.]."
)
_lang = click.option(
    "--lang", type=click.Choice(["vi", "en"]), default="en", help="Headings and Excel's delimiter [en]."
)
_force = click.option("--force", is_flag=True, help="Write over files that are there.")
_yes = click.option("--yes", is_flag=True, help="Do it without asking.")


@inventory.command("import")
@click.argument("files", nargs=-1, required=True, type=_EXISTING)
@click.option("--replace", is_flag=True, help="The files are everything: what of their kind is not in them ends.")
@_yes
@click.pass_obj
def inventory_import(path: Path | None, files: Sequence[Path], replace: bool, yes: bool) -> None:
    """Takes in what CSV, XLSX and iCalendar (.ics) files say, all or nothing.

    Units, endpoints, their moves, aliases and invitations are known by their headings. What would change is shown
    first."""
    config = read_config(path)
    rows = read_files(files, ("units", "endpoints", "moves", "aliases", "invitations"))

    async def work() -> int:
        async with working(config, clock=now, asked=consent(given=yes)) as opened:
            return int(not await opened.import_rows(rows, replaces=replace))

    run_to_end(work())


@inventory.command("export")
@_out
@_lang
@_force
@click.pass_obj
def inventory_export(path: Path | None, out: Path, lang: Language, force: bool) -> None:
    """Writes the inventory to files, which import to no change.

    Invitations are among it while their meeting is not over."""
    config = read_config(path)

    async def work() -> int:
        async with working(config, clock=now) as opened:
            await opened.export(out, lang, force=force)
        return 0

    run_to_end(work())


@inventory.command("template")
@_out
@_lang
@_force
def inventory_template(out: Path, lang: Language, force: bool) -> None:
    """Writes example files to fill in.

    They hold a made-up district before and after the reform of 2025, and who is invited to its meetings."""
    for written in write_example(out, lang, now().date(), force=force):
        click.echo(written)


@inventory.command("unmatched")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="At most so many; 0: all.")
@click.option("--persons", is_flag=True, help="Clients that show a person's name, too.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write a list to fill in for `match --from`: .csv or .xlsx."
)
@_force
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def inventory_unmatched(
    path: Path | None, limit: int, persons: bool, out: Path | None, force: bool, as_json: bool
) -> None:
    """Lists callers without an endpoint, the most seen first.

    Each comes with the endpoints that are called like it."""
    config = read_config(path)

    async def work() -> int:
        async with working(config, clock=now) as opened:
            if out is not None:
                await opened.write_unmatched(out, persons=persons, limit=limit or None, force=force)
            else:
                await opened.list_unmatched(persons=persons, limit=limit or None, as_json=as_json)
        return 0

    run_to_end(work())


@inventory.command("match")
@click.argument("caller", required=False)
@click.argument("code", required=False)
@click.option("--from", "file", type=_EXISTING, help="A list of callers and codes.")
@_yes
@click.pass_obj
def inventory_match(path: Path | None, caller: str | None, code: str | None, file: Path | None, yes: bool) -> None:
    """Says which endpoint a caller is.

    Shows what becomes of the past; --yes, or a yes when asked, does it."""
    config = read_config(path)
    if file is not None and caller is None:
        found = matches(read_files([file], ("matches",)))
    elif caller is not None and code is not None and file is None:
        found = [Match(caller=caller, code=code)]
    else:
        raise click.UsageError("give CALLER and CODE, or --from FILE")

    async def work() -> int:
        asked = consent(given=yes)
        async with working(config, clock=now, asked=asked) as opened:
            return int(not await opened.match(found) and asked is not None)

    run_to_end(work())
