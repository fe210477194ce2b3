"""What every command begins and ends with: the clock, the configuration, and a run that can be stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from conftrack.config import Config, load
from conftrack.errors import ConftrackError
from conftrack.sources import kinds

logger = logging.getLogger("conftrack")


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  (the one clock; everything below is handed it)


def read_config(path: Path | None) -> Config:
    config = load(path, os.environ, kinds())
    for warning in config.warnings:
        logger.warning(warning)
    return config


def run_to_end(work: Coroutine[Any, Any, int], *, until_stopped: bool = False) -> NoReturn:
    """Runs until it is done or told to stop (SIGINT, SIGTERM). To be stopped is how `until_stopped` ends; anything else
    was not done then, and failed: no script goes on as if it were."""

    async def guarded() -> int:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (asyncio.run made it)
        loop = asyncio.get_running_loop()
        stopping = False

        def stop() -> None:
            nonlocal stopping
            stopping = True
            task.cancel()

        for signal_number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signal_number, stop)
        try:
            return await work
        except asyncio.CancelledError:
            if not stopping:
                raise
            if until_stopped:
                return 0
            raise ConftrackError("stopped before it was done") from None

    raise SystemExit(asyncio.run(guarded()))
