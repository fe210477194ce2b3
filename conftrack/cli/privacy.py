"""`privacy`."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, time
from pathlib import Path

import click

from conftrack.cli.collecting import Day
from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.config import Config, PrivacyConfig
from conftrack.errors import ConftrackError
from conftrack.inventory.asking import agreed, consent, operator
from conftrack.inventory.show import counted
from conftrack.inventory.tables import harmless
from conftrack.sources.base import normalise_alias
from conftrack.storage.database import Database
from conftrack.storage.keeping import Keeping, Trace


@click.group()
def privacy() -> None:
    """What is kept of people, for how long, and how it is erased."""


@asynccontextmanager
async def _keeping(config: Config) -> AsyncIterator[Keeping]:
    async with Database(config.database, config.data_dir) as database:
        yield Keeping(database.pool, config.timezone, config.privacy)


@privacy.command("show")
@click.pass_obj
def privacy_show(path: Path | None) -> None:
    """What is kept of people, for how long, and how much of it there is."""
    config = read_config(path)

    async def work() -> int:
        async with _keeping(config) as keeping:
            held = await keeping.holdings()
        told = _told(config.privacy)
        for one in held:
            what, kept = told[one.what]
            since = f", since {one.since.astimezone(config.timezone):%Y-%m-%d}" if one.since is not None else ""
            click.echo(f"{one.rows:>11,}  {what}{since}: {kept}")
        click.echo(f'names = "{config.privacy.names}"; {counted(len(config.privacy.sensitive), "pattern")} of sensitive'
                   " meetings")  # fmt: skip
        return 0

    run_to_end(work())


def _told(config: PrivacyConfig) -> dict[str, tuple[str, str]]:
    def days(config_key: str) -> str:
        return f"{getattr(config, config_key).days} days"

    return {
        "names": ("names of people", f"kept {days('keep_names_for')} after they were last seen"),
        "people": ("people under a pseudonym", "kept with their legs"),
        "erased": ("people who were erased", "nobody knows who they were"),
        "sensitive": ("records of sensitive meetings", "without title and people"),
        "rejected": ("records that were not understood", f"kept whole {days('keep_rejected_for')}"),
        "audit": ("who changed what", f"kept {days('keep_audit_for')}"),
        "runs": ("hours of polling", f"kept {days('keep_runs_for')}"),
        "readings": ("minutes that room sensors counted", f"those outside meetings kept {days('keep_readings_for')}"),
        "sessions": ("sessions of the pages", "kept until they are over"),
    }


@privacy.command("names")
@click.option("--since", type=Day(), help="Only who was seen on or after this local day.")
@click.pass_obj
def privacy_names(path: Path | None, since: date | None) -> None:
    """Writes the names that are kept as CSV. That you asked is in the audit."""
    config = read_config(path)
    if config.privacy.names != "keep":
        raise ConftrackError(f'no names are kept: [privacy] names = "{config.privacy.names}"')
    first = datetime.combine(since, time(), config.timezone) if since is not None else None

    async def work() -> int:
        async with _keeping(config) as keeping:
            people = await keeping.people(first, by=operator(), now=now())
        written = csv.writer(sys.stdout)
        written.writerow(["identity", "name", "first_seen_at", "last_seen_at"])
        for one in people:
            moments = (m.astimezone(config.timezone).isoformat() for m in (one.first_seen_at, one.last_seen_at))
            written.writerow([one.identity, harmless(one.name), *moments])
        return 0

    run_to_end(work())


@privacy.command("erase")
@click.option("--name", help="The name, as the person types it; capitals do not matter.")
@click.option("--pseudonym", "identity", help="Or what stands for it, such as person:0f3c….")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.pass_obj
def privacy_erase(path: Path | None, name: str | None, identity: str | None, yes: bool) -> None:
    """Forgets one person, for good; no figure changes.

    Shows first what there is. What was done is in the audit, without the name."""
    config = read_config(path)
    if (name is None) == (identity is None):
        raise click.UsageError("give --name or --pseudonym")
    sought = normalise_alias(name) if name is not None else None
    if name is not None and sought is None:
        raise click.UsageError("--name is empty")

    async def work() -> int:
        async with _keeping(config) as keeping:
            trace = await keeping.trace(name=sought, identity=identity)
            if trace is None:
                click.echo("There is nothing of this person here.")
                return 0
            click.echo(_found(trace))
            if not await agreed(consent(given=yes), "Erase this person for good?", done="erased"):
                return 1
            await keeping.erase(trace, by=operator(), now=now())
            click.echo("Erased. The connections still count, as those of somebody whom nobody can name.")
        return 0

    run_to_end(work())


def _found(trace: Trace) -> str:
    name = "the name is kept" if trace.named else "no name is kept"
    rejected = f"; {counted(len(trace.rejected), 'rejected record')} with the name" if trace.rejected else ""
    return f"{counted(trace.legs, 'leg')} in {counted(trace.meetings, 'meeting')}; {name}{rejected}."


@privacy.command("apply")
@click.pass_obj
def privacy_apply(path: Path | None) -> None:
    """Cleans what is stored of everything that is sensitive by the patterns of now.

    `conftrack run` does so by itself when it starts with other patterns than before."""
    config = read_config(path)

    async def work() -> int:
        async with _keeping(config) as keeping:
            done = await keeping.apply(now(), by=operator())
        counts = (done.conferences, "meeting record"), (done.invitations, "invitation"), (done.rooms, "room")
        click.echo(f"cleaned: {', '.join(counted(*one) for one in counts)},"
                   f" {counted(done.rejected, 'rejected record')}")  # fmt: skip
        return 0

    run_to_end(work())
