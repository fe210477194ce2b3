"""`grafana`.

What speaks with Grafana is imported by the commands themselves: its HTTP library is slow to load, and no other command
needs it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conftrack.alerts import Lang, grafana_groups
from conftrack.cli.starting import read_config, run_to_end
from conftrack.config import Config
from conftrack.errors import GrafanaError
from conftrack.inventory.asking import Consent, agreed, consent
from conftrack.inventory.show import counted, visible

if TYPE_CHECKING:
    from conftrack.grafana import Change, GrafanaClient

SHOWN = 12
"""Lines of one change that are shown."""


@click.group()
def grafana() -> None:
    """Dashboards, where they read from, and alert rules."""


@grafana.command("sync")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--prune", is_flag=True, help="Delete what sync brought once and does not bring any more.")
@click.option(
    "--alert-rules/--no-alert-rules",
    default=None,
    help="Bring the alert rules too, for a Grafana whose Prometheus does not have them; or none of them any more. "
    "Without either, they are let be.",
)
@click.option("--lang", type=click.Choice(["vi", "en"]), default="vi", show_default=True, help="Of the alert texts.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.pass_obj
def grafana_sync(
    path: Path | None, dry_run: bool, prune: bool, alert_rules: bool | None, lang: Lang, yes: bool
) -> None:
    """Brings folder, data sources and dashboards into the Grafana of [grafana], and alert rules if they are asked for.

    What would change is shown first. What sync did not make is not touched. Run again, it changes nothing."""
    from conftrack.grafana.content import shipped

    config, asked = read_config(path), consent(given=yes)
    run_to_end(sync(config, shipped(), alert_rules=alert_rules, lang=lang, prune=prune, dry_run=dry_run, asked=asked))


@grafana.command("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.pass_obj
def grafana_export(path: Path | None, folder: Path, force: bool) -> None:
    """Writes dashboards, data sources and provisioning files to FOLDER.

    Those in FOLDER/import are for Grafana's page Import, the others for a Grafana that reads files."""
    from conftrack.grafana import export
    from conftrack.grafana.content import shipped

    config = read_config(path)
    for written in export(shipped(), folder, config.grafana, config.alerts.page_url, force=force):
        click.echo(written)


async def sync(
    config: Config,
    content: Path,
    *,
    alert_rules: bool | None = None,
    lang: Lang = "vi",
    prune: bool,
    dry_run: bool,
    asked: Consent | None,
) -> int:
    """The exit code: 1 when something was to be changed and was not, or when a data source does not work.

    Alert rules are brought if `alert_rules`, are among what is not brought any more if it is False, else let be."""
    from conftrack.grafana import GrafanaClient, dashboards, data_sources, plan
    from conftrack.grafana.content import PROMETHEUS

    client = GrafanaClient(config.grafana)
    try:
        version = await asyncio.to_thread(client.version)
        boards, sources = dashboards(content, config.alerts.page_url), data_sources(content, config.grafana)
        rules = grafana_groups(config.alerts, config.timezone, lang, data_source=PROMETHEUS) if alert_rules else []
        planned = await asyncio.to_thread(
            plan, client, config.grafana, boards, sources, config.timezone,
            rule_groups=None if alert_rules is None else rules, prune=prune,
        )  # fmt: skip
        click.echo(f"Grafana {version} at {client.url}".replace("  ", " "))
        for change in planned.changes:
            _show(change)
        for left in planned.left:
            click.echo(f"Left: {left}, which this version does not bring; --prune deletes it")
        names = {rule["title"] for group in rules for rule in group["rules"]}
        warned = await _told_twice(client, PROMETHEUS, names)
        if not planned.changes:
            click.echo("Nothing to do: Grafana has everything as it should be.")
        elif dry_run:
            click.echo(f"Nothing was changed (--dry-run): {counted(len(planned.changes), 'change')} to make.")
            return 0
        elif not await agreed(asked, f"Make {counted(len(planned.changes), 'change')}?"):
            return 1
        for change in planned.changes:  # one by one, so that a stop comes between two of them
            await asyncio.to_thread(change.make)
            click.echo(f"Done: {change.sign} {change.what}")
        if planned.changes and not warned:  # the data source may be one of them
            await _told_twice(client, PROMETHEUS, names)
        working = [await _works(client, source["uid"]) for source in sources] if not dry_run else []
        return int(not all(working))
    finally:
        client.close()


def _show(change: Change) -> None:
    click.echo(f"{change.sign} {change.what}")
    for line in change.lines[:SHOWN]:
        click.echo(f"    {visible(line)}")
    if len(change.lines) > SHOWN:
        click.echo(f"    … and {len(change.lines) - SHOWN:,} more")


async def _told_twice(client: GrafanaClient, uid: str, names: set[str]) -> bool:
    """Warns if the Prometheus of a data source evaluates the same alerts. One that cannot be asked says nothing."""
    if not names:
        return False
    try:
        twice = names & await asyncio.to_thread(client.prometheus_rules, uid)
    except GrafanaError:
        return False
    if twice:
        click.echo(
            f"Prometheus behind data source {uid} already evaluates {counted(len(twice), 'rule')} of these: everybody "
            "would be told twice. Take the rule file out of Prometheus, or run with --no-alert-rules --prune.",
            err=True,
        )
    return bool(twice)


async def _works(client: GrafanaClient, uid: str) -> bool:
    try:
        await asyncio.to_thread(client.test_data_source, uid)
    except GrafanaError as error:
        click.echo(f"Grafana has data source {uid}, but cannot read from it: {error}", err=True)
        return False
    return True
