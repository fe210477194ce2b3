"""`python -m conftrack.simulator`: the simulated Pexip in a process of its own, for benchmarks and for trying out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime

import click
import msgspec
from aiohttp import web

from conftrack.simulator import VIETNAM, Faults, World, accelerated, pexip_app

_USERNAME, _PASSWORD = "reporter", "nguoi-xem"


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a command line is where the real clock comes in


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, help="0 takes a free one.")
@click.option("--seed", default=2026, show_default=True)
@click.option("--anchor", help="Where the year of history ends and the live programme begins; ISO. Now by default.")
@click.option("--start", help="What the server's clock shows first; ISO, or now. The anchor by default.")
@click.option("--speed", default=1.0, show_default=True, help="How fast the server's clock runs.")
@click.option("--scale", default=1.0, show_default=True, help="How many meetings the year had, in times of 700.")
@click.option("--faults", default="none", show_default=True, help="all, none, or names with commas between.")
@click.option("--rate-limit", default=1000, show_default=True, help="Requests in 60 seconds.")
@click.option("--stop-with-stdin", is_flag=True, help="Stop when standard input ends, as it does with the parent.")
@click.option("--warm", is_flag=True, help="Encode the whole history before serving.")
def main(
    host: str, port: int, seed: int, anchor: str | None, start: str | None, speed: float, scale: float, faults: str,
    rate_limit: int, stop_with_stdin: bool, warm: bool,
) -> None:  # fmt: skip
    """Serve a simulated Pexip until SIGTERM; when it is ready, print one line of JSON with its URL and account."""
    begins = _time(anchor) if anchor else _now()
    clock = accelerated(_now, _time(start) if start else begins, speed)
    world = World(seed, anchor=begins, scale=scale)
    switches = _faults(faults)
    app = pexip_app(
        world, clock, faults=switches, username=_USERNAME, password=_PASSWORD, rate_limit=rate_limit, warm=warm
    )
    asyncio.run(_serve(app, host, port, begins, stop_with_stdin))


async def _serve(app: web.Application, host: str, port: int, anchor: datetime, stop_with_stdin: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if stop_with_stdin:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _read_stdin, stop)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    address = runner.addresses[0]
    ready = {
        "url": f"http://{address[0]}:{address[1]}",
        "anchor": anchor.isoformat(),
        "username": _USERNAME,
        "password": _PASSWORD,
    }
    print(json.dumps(ready), flush=True)
    await stop.wait()
    await runner.cleanup()


def _read_stdin(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


def _faults(text: str) -> Faults:
    if text in ("all", "none"):
        return Faults.all() if text == "all" else Faults()
    names = text.split(",")
    unknown = sorted(set(names) - {field.name for field in msgspec.structs.fields(Faults)})
    if unknown:
        raise click.BadParameter(f"no fault is called {', '.join(unknown)}", param_hint="--faults")
    return Faults.only(*names)


def _time(text: str) -> datetime:
    """Without a zone it is Viet Nam's time."""
    if text == "now":
        return _now()
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"not an ISO time: {text}") from error
    return at if at.tzinfo else at.replace(tzinfo=VIETNAM)


if __name__ == "__main__":
    main()
