"""`alerts`."""

from __future__ import annotations

from pathlib import Path

import click

from conftrack.alerts import Lang, render
from conftrack.cli.starting import read_config
from conftrack.errors import ConftrackError


@click.group()
def alerts() -> None:
    """What Prometheus alerts of."""


@alerts.command("render")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default="-")
@click.option("--lang", type=click.Choice(["vi", "en"]), default="vi", show_default=True, help="Of the alert texts.")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if the file is not what would be written.")
@click.pass_obj
def alerts_render(path: Path | None, file: Path, lang: Lang, check: bool) -> None:
    """Writes the alerting rules to FILE, from the thresholds of [alerts]; to the standard output without one."""
    config = read_config(path)
    text = render(config.alerts, config.timezone, lang)
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    try:
        if not check:
            file.write_text(text, encoding="utf-8")
        elif file.read_text(encoding="utf-8") != text:
            raise ConftrackError(f"{file} is not what the configuration makes of it: run `conftrack alerts render`")
    except OSError as error:
        raise ConftrackError(f"{file}: {error.strerror}") from error
