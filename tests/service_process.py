"""`conftrack` as an operator runs it, in a process of its own: commands that end, and the service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from prometheus_client.parser import text_string_to_metric_families


def conftrack(
    config: Path, *arguments: str, environ: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "conftrack", "--config", str(config), *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False, env=os.environ | environ,
    )  # fmt: skip


def series(metrics: str, name: str, **labels: str) -> float | None:
    """The value of one series in what /metrics gave; None while it is absent."""
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


class Service:
    """A `conftrack run` in a process of its own."""

    def __init__(self, config: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        environ = os.environ | {"CONFTRACK_WEB_LISTEN": f"127.0.0.1:{port}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conftrack", "--config", str(config), "run"],
            stderr=subprocess.PIPE, text=True, env=environ,
        )  # fmt: skip

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def until(self, wanted: Callable[[str], bool], path: str = "/metrics", seconds: float = 40) -> str:
        """What a page says once it says what is wanted."""
        deadline = time.monotonic() + seconds
        text = ""
        while time.monotonic() < deadline:
            try:
                text = self.get(path)
                if wanted(text):
                    return text
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s; last: {text[-2000:]}")

    def stop(self) -> str:
        """Ends it as systemd would; gives what it wrote to stderr."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def kill(self) -> str:
        """Ends it as a power failure would."""
        self.process.kill()
        return self._ended()

    def _ended(self) -> str:
        _, errors = self.process.communicate(timeout=60)
        return errors
