"""`headcount`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import click

from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.config import Config
from conftrack.errors import ConftrackError
from conftrack.headcounts import sheet
from conftrack.headcounts.counting import Cards, Counting
from conftrack.headcounts.lists import Lists
from conftrack.inventory.asking import consent, operator
from conftrack.inventory.files import write_one
from conftrack.inventory.headings import Language, read_files
from conftrack.inventory.show import visible
from conftrack.storage.database import Database
from conftrack.web.counts import write_printed


@click.group()
def headcount() -> None:
    """How many people sit at each site: links for the sites to type it, and lists to import."""


_room = click.option("--room", help="The meeting that goes on in this room, or is next.")
_invitation = click.option("--invitation", metavar="UID", help="The invitation, as `expected list` shows it.")
_day = click.option(
    "--day", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY",
    help="On this day, by local time; of a standing invitation [today].",
)  # fmt: skip


@headcount.command("links")
@_room
@_invitation
@_day
@click.option(
    "--out", type=click.Path(path_type=Path), help="FILE.html to print, with QR codes, or a table: .csv or .xlsx."
)
@click.option("--lang", type=click.Choice(["vi", "en"]), default="vi", help="Of the sheet [vi].")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.pass_obj
def headcount_links(
    path: Path | None, room: str | None, invitation: str | None, day: datetime | None, out: Path | None,
    lang: Language, force: bool,
) -> None:  # fmt: skip
    """A link for each expected site of a meeting, over which it types its number of people.

    Without --out they are told a line each. They begin with `page_url` in [alerts]."""
    _need_one(room, invitation)
    config = read_config(path)
    if out is not None and out.suffix.casefold() not in (".html", ".csv", ".xlsx"):
        raise click.UsageError("--out must end in .html, .csv or .xlsx")

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database:
            counting = Counting(database.pool, config.timezone, config.alerts.page_url)
            cards = await _cards(counting, config, room, invitation, day.date() if day is not None else None)
        if out is None:
            for card in cards.cards:
                click.echo(f"{card.guest.code}  {visible(card.guest.name)}  {card.link}")
        elif out.suffix.casefold() == ".html":
            write_printed(out, cards, lang, config.timezone, now(), force=force)
        else:
            write_one(sheet.table(cards, config.timezone, lang), out, lang, force=force)
        if out is not None:
            until = cards.ends_at.astimezone(config.timezone)
            click.echo(f"{out}: {len(cards.cards):,} links, good until {until:%Y-%m-%d %H:%M}")
        return 0

    run_to_end(work())


@headcount.command("list")
@_room
@_invitation
@_day
@click.pass_obj
def headcount_list(path: Path | None, room: str | None, invitation: str | None, day: datetime | None) -> None:
    """The numbers that the expected sites of a meeting have typed."""
    _need_one(room, invitation)
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database:
            counting = Counting(database.pool, config.timezone, config.alerts.page_url)
            cards = await _cards(counting, config, room, invitation, day.date() if day is not None else None)
        typed = [card.guest for card in cards.cards if card.guest.people is not None]
        for guest in (card.guest for card in cards.cards):
            number = "–" if guest.people is None else f"{guest.people:,}"
            when = f"  {guest.at.astimezone(config.timezone):%Y-%m-%d %H:%M}" if guest.at is not None else ""
            click.echo(f"{number:>7}  {guest.code}  {visible(guest.name)}{when}")
        people = sum(guest.people or 0 for guest in typed)
        click.echo(f"{visible(cards.of.title or cards.of.room)}: {len(typed):,} of {len(cards.cards):,} have typed "
                   f"{people:,} people")  # fmt: skip
        return 0

    run_to_end(work())


@headcount.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.pass_obj
def headcount_import(path: Path | None, files: Sequence[Path], yes: bool) -> None:
    """Takes in lists of head counts, CSV or XLSX, all or nothing.

    Columns: room or title, time (a day or a moment), endpoint (its code), people, note. What would change is shown
    first; a meeting of a closed month is refused."""
    config = read_config(path)
    rows = read_files(files, ("headcounts",))

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database:
            lists = Lists(
                database.pool, config.timezone, clock=now, actor=operator(), say=click.echo, consent=consent(given=yes)
            )
            return int(not await lists.take(rows))

    run_to_end(work())


def _need_one(room: str | None, invitation: str | None) -> None:
    if (room is None) == (invitation is None):
        raise click.UsageError("give --room or --invitation")


async def _cards(counting: Counting, config: Config, room: str | None, name: str | None, day: date | None) -> Cards:
    found = await counting.called(room=room, name=name, day=day, now=now())
    if not found:
        what = f"to the room {room!r}" if room is not None else name
        raise ConftrackError(f"there is no invitation {what}{f' on {day}' if day is not None else ''}; "
                             "`conftrack expected list --day DAY` shows those of a day")  # fmt: skip
    if len(found) > 1:
        uids = ", ".join(visible(one.uid) for one in found)
        raise ConftrackError(f"several invitations may be meant: {uids}; name one with --invitation")
    return await counting.cards(found[0], day or now().astimezone(config.timezone).date())
