"""Prometheus and Alertmanager as an operator runs them, with the shipped rules, routes and inhibitions, on loopback.

Only addresses are changed, and every receiver of Alertmanager becomes a webhook of the test.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

SHIPPED = Path(__file__).resolve().parents[1] / "dashboards" / "prometheus"
RULES = SHIPPED / "rules" / "conftrack.yml"


def program(*names: str) -> str:
    """The path of a program, by any of its names; without it the test is skipped, though not in CI."""
    for name in names:
        if found := shutil.which(name):
            return found
    missing = f"{names[0]} is not installed (apt-get install prometheus prometheus-alertmanager)"
    assert os.environ.get("CI") != "true", missing
    pytest.skip(missing)


def free_port() -> int:
    """For programs that cannot say which port they took."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One notification of Alertmanager."""

    at: datetime
    receiver: str
    status: str
    alerts: list[dict[str, Any]]

    def firing(self) -> list[str]:
        """Names of the alerts that it says are firing."""
        return sorted(alert["labels"]["alertname"] for alert in self.alerts if alert["status"] == "firing")


class Webhook:
    """Where all receivers of an Alertmanager send to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def served(cls) -> AsyncIterator[Webhook]:
        webhook = cls()
        app = web.Application()
        app.router.add_post("/{receiver}", webhook._take)
        async with TestServer(app, host="127.0.0.1") as server:
            webhook.url = f"http://127.0.0.1:{server.port}"
            yield webhook

    async def _take(self, request: web.Request) -> web.Response:
        told = await request.json()
        self.messages.append(
            Message(
                at=datetime.now(UTC),  # noqa: TID251 - when it came is what is measured
                receiver=request.match_info["receiver"], status=told["status"], alerts=told["alerts"],
            )
        )  # fmt: skip
        return web.Response()

    async def until(self, wanted: Callable[[Message], bool], seconds: float) -> Message:
        """The first message that is wanted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in self.messages:
                if wanted(message):
                    return message
            await asyncio.sleep(0.02)
        raise AssertionError(f"not within {seconds} s; came: {[(m.receiver, m.firing()) for m in self.messages]}")


def adapted_alertmanager(webhook: str) -> dict[str, Any]:
    """The shipped configuration of Alertmanager with its receivers replaced."""
    config: dict[str, Any] = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text(encoding="utf-8"))
    config["global"] = {}
    config["receivers"] = [
        {"name": receiver["name"], "webhook_configs": [{"url": f"{webhook}/{receiver['name'].replace(' ', '-')}"}]}
        for receiver in config["receivers"]
    ]
    return config


def adapted_prometheus(target: str, alertmanager: str) -> dict[str, Any]:
    """The shipped configuration of Prometheus, with the shipped rules, in another place."""
    config: dict[str, Any] = yaml.safe_load((SHIPPED / "prometheus.yml").read_text(encoding="utf-8"))
    config["rule_files"] = [str(SHIPPED / file) for file in config["rule_files"]]
    (config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"],) = ([alertmanager],)
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    return config


@contextmanager
def alertmanager(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """A running one; gives its address, HOST:PORT."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "alertmanager.json").write_text(json.dumps(config))
    command = [
        program("prometheus-alertmanager", "alertmanager"), f"--config.file={folder / 'alertmanager.json'}",
        f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={address}", "--cluster.listen-address=",
    ]  # fmt: skip
    with _running(command, folder / "alertmanager.log"):
        yield address


@contextmanager
def prometheus(folder: Path, target: str, alertmanager: str) -> Iterator[str]:
    """A running one that scrapes `target`; gives its address, HOST:PORT."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "prometheus.json").write_text(json.dumps(adapted_prometheus(target, alertmanager)))
    command = [
        program("prometheus"), f"--config.file={folder / 'prometheus.json'}",
        f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address={address}",
    ]  # fmt: skip
    with _running(command, folder / "prometheus.log"):
        yield address


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


async def ready(client: aiohttp.ClientSession, address: str, seconds: float = 30) -> None:
    """Returns once a program of Prometheus's family says that it is ready."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            async with client.get(f"http://{address}/-/ready") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(f"{address} was not ready within {seconds} s")
