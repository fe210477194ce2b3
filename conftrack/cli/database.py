"""`db` and `rejected`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from conftrack.cli.collecting import chosen, collecting
from conftrack.cli.starting import read_config, run_to_end
from conftrack.storage import migrate as migrations
from conftrack.storage.database import Database
from conftrack.storage.store import Store


@click.group()
def db() -> None:
    """The schema of the database."""


@db.command("migrate")
@click.pass_obj
def db_migrate(path: Path | None) -> None:
    """Brings the schema to what this version works with."""
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir, check=False) as database:
            session = await database.connect()
            try:
                applied = await migrations.migrate(session)
            finally:
                await session.close()
        for migration in applied:
            click.echo(f"applied {migration.version:04d} {migration.name}")
        if not applied:
            click.echo("nothing to do: the schema is current")
        return 0

    run_to_end(work())


@db.command("status")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def db_status(path: Path | None, as_json: bool) -> None:
    """Which migrations are applied and which are pending; exit code 1 unless the schema is current."""
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir, check=False) as database:
            session = await database.connect()
            try:
                status = await migrations.status(session)
                server = session.get_server_version()
            finally:
                await session.close()
        if as_json:
            shown = {
                "postgres": f"{server.major}.{server.micro}",
                "applied": status.applied,
                "pending": [m.version for m in status.pending],
                "changed": status.changed,
                "unknown": status.unknown,
            }
            click.echo(json.dumps(shown))
        else:
            click.echo(f"Postgres {server.major}.{server.micro}, {'embedded' if database.embedded else 'configured'}")
            for version in status.applied:
                note = " CHANGED since" if version in status.changed else ""
                note = " of a NEWER conftrack" if version in status.unknown else note
                click.echo(f"{version:04d} applied{note}")
            for migration in status.pending:
                click.echo(f"{migration.version:04d} pending: {migration.name}")
        return int(bool(status.pending or status.changed or status.unknown))

    run_to_end(work())


@db.command("dsn")
@click.pass_obj
def db_dsn(path: Path | None) -> None:
    """Prints the address of the database, for psql and BI tools (it may hold a password)."""
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir, check=False) as database:
            click.echo(database.dsn)
            if database.embedded:
                click.echo("the embedded server stops with its last conftrack: keep one running", err=True)
        return 0

    run_to_end(work())


# -- rejected records


@click.group()
def rejected() -> None:
    """Records that did not decode; they are kept whole."""


@rejected.command("list")
@click.option("--source", "name", help="Only this source.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the whole record.")
@click.pass_obj
def rejected_list(path: Path | None, name: str | None, as_json: bool) -> None:
    """Lists the records that did not decode, oldest first."""
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database:
            records = await Store(database.pool, config.timezone).list_rejected(name)
        if as_json:
            for record in records:
                shown = msgspec.to_builtins(record) | {"raw": record.raw.decode("utf-8", "replace")}
                click.echo(json.dumps(shown, ensure_ascii=False))
            return 0
        table = Table("id", "source", "stream", "record", "first seen", "error", title=None)
        for record in records:
            table.add_row(
                str(record.rejected_id), record.source, record.stream, record.external_id or "?",
                record.first_seen_at.astimezone(config.timezone).strftime("%Y-%m-%d %H:%M"), record.error,
            )  # fmt: skip
        Console(markup=False).print(table if records else "nothing was rejected")
        return 0

    run_to_end(work())


@rejected.command("retry")
@click.option("--source", "names", multiple=True, help="Only this source (may be given several times).")
@click.pass_obj
def rejected_retry(path: Path | None, names: Sequence[str]) -> None:
    """Reads the rejected records again, as this version understands them."""
    config = read_config(path)

    async def work() -> int:
        async with Database(config.database, config.data_dir) as database:
            store = Store(database.pool, config.timezone, config.privacy)
            settled = kept = 0
            for source in chosen(config, names):
                async with collecting(config, source, database) as collector:
                    for record in await store.list_rejected(source.name):
                        if await collector.retry(record):
                            settled += 1
                        else:
                            kept += 1
            await store.refresh()
        click.echo(f"{settled} read now, {kept} still not readable")
        return 0

    run_to_end(work())
