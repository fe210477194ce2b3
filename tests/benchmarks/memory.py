"""The most memory that collecting takes: a province's year, and one of seven and a half times as many meetings.

    python -m tests.benchmarks.memory [--scale 1.0] [--times 7.5]

Each is collected, read again and collected once more in a process of its own (see `end_to_end.py`), and what is
printed is that process's peak of resident memory (VmHWM), without Postgres and without the simulated node. It should
not depend on how much there is to read.
"""

from __future__ import annotations

import argparse
import asyncio

from tests.benchmarks.end_to_end import Collected, collect, in_own_process, postgres, replace_database, simulated_pexip


def collected(dsn: str, scale: float) -> Collected:
    with simulated_pexip(scale) as pexip:
        result = in_own_process(collect, pexip, asyncio.run(replace_database(dsn, "memory")))
    print(
        f"{result.rows.participants:9,} participants: peak {result.peak:6.1f} MiB, in {result.first:.1f} s", flush=True
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="the smaller year, in times of about 700 meetings")
    parser.add_argument("--times", type=float, default=7.5, help="how much larger the other one is")
    arguments = parser.parse_args()
    with postgres() as dsn:
        small = collected(dsn, arguments.scale)
        large = collected(dsn, arguments.scale * arguments.times)
    print(f"the peak is {max(small.peak, large.peak):.0f} MiB (wanted: below 200)")
    print(f"{large.rows.participants / small.rows.participants:.1f} times the participants take "
          f"{large.peak / small.peak:.2f} times the memory (wanted: at most 1.15)")  # fmt: skip


if __name__ == "__main__":
    main()
