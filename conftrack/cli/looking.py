"""`doctor` and `demo`."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec
from rich.console import Console

from conftrack import doctor
from conftrack.cli.starting import now, read_config, run_to_end
from conftrack.config import Config
from conftrack.demo import Demo
from conftrack.errors import ConfigError
from conftrack.sources import kinds


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def doctor_command(path: Path | None, as_json: bool) -> None:
    """Looks at everything, and says what to do.

    Configuration, disk, database, clock, schema, every stream and source, metrics. Exit code 1 if something is bad,
    2 if it is the configuration.
    """
    try:
        config: Config | None = read_config(path)
        problem = None
    except ConfigError as error:
        config, problem = None, str(error)

    async def work() -> int:
        checks = await doctor.examine(config, problem, kinds(), clock=now)
        if as_json:
            click.echo(json.dumps([msgspec.to_builtins(check) for check in checks], ensure_ascii=False))
        else:
            doctor.show(checks, Console())
        return 2 if config is None else int(any(check.state == "bad" for check in checks))

    run_to_end(work())


@click.command("demo")
@click.option("--exit", "exit_after", is_flag=True, help="Stop after the summary; exit code 1 if a figure is wrong.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where its data lives [a folder of the user's].")
@click.option("--listen", default="127.0.0.1:8080", show_default=True, help="Where the pages are served.")
@click.option("--faults", is_flag=True, help="The simulated system fails in every way it knows.")
@click.option("--fresh", is_flag=True, help="Throw the demo's data away first.")
def demo_command(
    exit_after: bool, as_json: bool, data_dir: Path | None, listen: str, faults: bool, fresh: bool
) -> None:
    """A simulated province, collected for real.

    Embedded Postgres, a simulated Pexip over HTTP, the collector, the pages and the metrics: a year of history and a
    summary beside the simulated world's truth, then live meetings at localhost. The next start goes on from there.
    """
    demo = Demo(data_dir, listen=listen, faults=faults, fresh=fresh, clock=now)
    run_to_end(demo.run(exit_after=exit_after, as_json=as_json), until_stopped=not exit_after)
