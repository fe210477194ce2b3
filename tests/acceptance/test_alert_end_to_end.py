"""An endpoint drops, and a person is told: every program that this takes, as it is in a province."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.alerting import program
from tests.benchmarks.alert_latency import GRACE, measure, table


async def test_a_dropped_endpoint_is_told_within_a_minute_and_not_before_its_grace(dsn: str, tmp_path: Path) -> None:
    """From the simulated Pexip to the webhook, with a real Prometheus and a real Alertmanager. The benchmark
    `alert_latency` measures the same over many drops; here a crowded machine may be slow."""
    program("prometheus"), program("prometheus-alertmanager", "alertmanager")
    async with asyncio.timeout(89):
        drops = await measure(dsn, tmp_path, drops=2)
    print(table(drops))

    assert len(drops) == 2
    for drop in drops:
        assert GRACE <= drop.opened <= drop.scraped + 1 <= drop.told + 1
        assert drop.told < 45
