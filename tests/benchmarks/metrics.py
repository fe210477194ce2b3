"""Rendering /metrics for 3,000 endpoints that are all in a meeting, against prometheus-client's own rendering.

    python -m tests.benchmarks.metrics [--endpoints 3000] [--rounds 7]

The floor is `generate_latest` over families that stand ready with the same samples: what the text itself costs.
Prints the best time of each and the ratio, wanted at most 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from conftrack.metrics import DURATION_BOUNDS, Metrics
from conftrack.model import LegRecord, MeetingRecord, Snapshot
from conftrack.state import Site, SourceState, State, StreamState
from conftrack.storage.reader import SourceTotals

NOW = datetime(2026, 11, 24, 2, tzinfo=UTC)
SITES_PER_UNIT = 20
SITES_PER_MEETING = 40


def province(endpoints: int) -> State:
    """Every endpoint in a meeting, and the quality of every connection known."""
    state = State(NOW)
    state.know_sites(
        (
            Site(
                code=f"PT-XA-{n // SITES_PER_UNIT:03d}-{n % SITES_PER_UNIT:02d}",
                name=f"Nhà văn hóa thôn {n}",
                org=f"PT-XA-{n // SITES_PER_UNIT:03d}",
            ),
            (f"site-{n}@vc.phutho.example",),
        )
        for n in range(endpoints)
    )
    source = SourceState(name="pexip-main", kind="pexip", live_interval=timedelta(seconds=10))
    source.streams = {
        name: StreamState(up=True, last_success_at=NOW, cursor_at=NOW) for name in ("live", "participant")
    }
    source.totals = SourceTotals(
        meetings=500, legs=250_000, leg_seconds=1e9, attendees=250_000, duration_seconds=3.2e6,
        durations=(50,) * (len(DURATION_BOUNDS) + 1),
    )  # fmt: skip
    source.board.observe(
        Snapshot(
            taken_at=NOW,
            meetings=tuple(
                MeetingRecord(external_id=f"m{n}", room=f"room-{n}", title=f"Giao ban {n}", started_at=NOW)
                for n in range(endpoints // SITES_PER_MEETING)
            ),
            legs=tuple(
                LegRecord(
                    external_id=f"p{n}", room=f"room-{n // SITES_PER_MEETING}",
                    identity=f"site-{n}@vc.phutho.example", joined_at=NOW, rx_loss=n / 1e5, tx_loss=n / 2e5,
                    jitter_seconds=n / 1e6, rx_bitrate=1_900_000 + n, tx_bitrate=1_950_000 + n,
                )
                for n in range(endpoints)
            ),
        )
    )  # fmt: skip
    state.sources[source.name] = source
    return state


class Ready:
    """Families that were made before."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    metrics = Metrics(province(arguments.endpoints), clock=lambda: NOW, version="0.0.0")
    families = list(metrics.registry.collect())
    ready = CollectorRegistry()
    ready.register(Ready(families))

    # By turns, so that whatever else the machine does falls on both.
    times = [
        (seconds(lambda: generate_latest(ready)), seconds(lambda: metrics.expose(""))) for _ in range(arguments.rounds)
    ]
    floor, ours = (min(column) for column in zip(*times, strict=True))

    print(f"{arguments.endpoints} endpoints in meetings: {sum(len(f.samples) for f in families)} samples, "
          f"{len(metrics.expose('')[0]) / 1e6:.1f} MB")  # fmt: skip
    print(f"prometheus-client alone  {floor * 1000:7.1f} ms")
    print(f"conftrack                {ours * 1000:7.1f} ms   ratio {ours / floor:.2f} (wanted: at most 2)")


if __name__ == "__main__":
    main()
