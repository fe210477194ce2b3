"""The service with its pages: what `conftrack run` and the demo both start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from aiohttp import web

from conftrack import __version__
from conftrack.config import Config
from conftrack.errors import ConfigError
from conftrack.metrics import Metrics
from conftrack.report.keeper import Reports
from conftrack.service import Service
from conftrack.sources.base import Clock, Source
from conftrack.state import State
from conftrack.storage.database import Database
from conftrack.web import application

logger = logging.getLogger(__name__)


async def serve(
    config: Config,
    database: Database,
    kinds: Mapping[str, type[Source]],
    *,
    clock: Clock,
    started: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Collects and serves until cancelled; `started` is told the address once the pages answer."""
    state = State(clock())
    metrics = Metrics(state, clock=clock, version=__version__)
    service = Service(config, database, kinds, state=state, metrics=metrics, clock=clock)
    pushes = {name: partial(service.receive, name) for name in service.push_sources}
    reports = Reports(
        database.pool, timezone=config.timezone, clock=clock, config=config.report,
        privacy=config.privacy, sources=[source.name for source in config.sources],
    )  # fmt: skip
    pages = application(
        state, metrics, clock=clock, timezone=config.timezone, ready=service.ready, pushes=pushes, config=config.web,
        pool=database.pool, page_url=config.alerts.page_url, reports=reports, letterhead=config.report,
    )  # fmt: skip
    if not config.web.local and not config.web.users:
        logger.warning(
            "the pages need users, because others than this machine reach them: until there is one they answer 403, "
            "while /metrics works. `conftrack user hash` prints the lines for the configuration",
            extra={"action": "no_users"},
        )
    runner = web.AppRunner(pages, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.web.host, config.web.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {config.web.host}:{config.web.port}: {error.strerror}; "
                              "set [web] listen to another address") from error  # fmt: skip
        async with asyncio.TaskGroup() as group:
            group.create_task(service.run())
            if started is not None:
                await started(f"http://{_address(runner)}")
    finally:
        await runner.cleanup()


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)  # noqa: S104  (compared, not bound)
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
