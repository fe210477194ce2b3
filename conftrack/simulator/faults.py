"""What can go wrong between a conference system and its collector, switched on one by one.

Every fault is seeded and bounded: the same request is spoilt at most twice in a row, each kind at most `most` times,
and whatever a row hides or shows wrongly is put right within ten minutes of its end. So a collector that retries,
reads an overlap again and takes the last word always arrives at the truth.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Literal

import msgspec

from conftrack.simulator.plan import SECOND
from conftrack.simulator.rows import chance

Wire = Literal["throttled", "broken", "hanging", "truncated", "reset", "login_page"]

_WIRE: tuple[Wire, ...] = ("throttled", "broken", "hanging", "truncated", "reset", "login_page")


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Which faults happen, and how often; nothing by default. Rates are chances between 0 and 1."""

    seed: int = 1
    #: Per request: 429 with Retry-After.
    throttled: float = 0.0
    #: Per request: 500, 502 or 503.
    broken: float = 0.0
    #: Per request: no answer for longer than the client waits.
    hanging: float = 0.0
    #: Per request: the connection ends in the middle of the body.
    truncated: float = 0.0
    #: Per request: connection reset before any answer.
    reset: float = 0.0
    #: Per request: status 200 and the HTML of a login page.
    login_page: float = 0.0
    #: Per history row: it shows up only seconds or minutes after its end.
    late: float = 0.0
    #: Per history row: at first it shows an earlier version of itself, shorter and without quality.
    edited: float = 0.0
    #: Per page of history: one of its rows is there twice (the page then has one row more than its limit).
    repeated: float = 0.0
    #: Per history row: a row beside it that cannot be read; it counts in `total_count`.
    malformed: float = 0.0
    #: Per page of history: rows of equal end time come in another order than last time.
    reordered: float = 0.0
    #: How many of the oldest conferences fall out of the history while it is being read, with their participants
    #: and only after the client has these: the offsets of what is left shift.
    evicted: int = 0
    #: The server's clock, and with it everything it shows, is ahead of (or behind) the world's by this much.
    skew_seconds: float = 0.0
    #: What the client is believed to wait for an answer.
    client_timeout: float = 30.0
    #: What a 429 asks the client to wait.
    retry_after: int = 1
    #: Bound on each of the faults that happen per request or page.
    most: int = 25

    @classmethod
    def all(cls, **changes: Any) -> Faults:
        """Every fault at a rate at which a catch-up of a year meets each of them."""
        usual: dict[str, Any] = {
            "throttled": 0.04, "broken": 0.05, "hanging": 0.02, "truncated": 0.04, "reset": 0.04, "login_page": 0.03,
            "late": 0.1, "edited": 0.1, "repeated": 0.25, "malformed": 0.002, "reordered": 0.5, "evicted": 3,
            "skew_seconds": -150.0,
        }  # fmt: skip
        return cls(**usual | changes)

    @classmethod
    def only(cls, *names: str, **changes: Any) -> Faults:
        """Some faults, each at the rate that `all` gives it."""
        every = cls.all()
        return cls(**{name: getattr(every, name) for name in names} | changes)


class Injector:
    """Decides, from the seed and from what happened so far, what goes wrong now; counts each fault that did."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        #: How often each fault really reached a client, by the name of its switch.
        self.counts: Counter[str] = Counter()
        self._rng = Random(f"faults {faults.seed}")
        self._streaks: Counter[str] = Counter()

    def wire(self, request: str) -> Wire | None:
        """What spoils this request, if anything."""
        roll = self._rng.random()
        for fault in _WIRE:
            roll -= getattr(self.faults, fault)
            if roll < 0:
                # One hang costs the client its whole time-out.
                bound = min(2, self.faults.most) if fault == "hanging" else self.faults.most
                if self._streaks[request] < 2 and self.counts[fault] < bound:
                    self._streaks[request] += 1
                    self.counts[fault] += 1
                    return fault
                break
        self._streaks.pop(request, None)
        return None

    def delay(self, row: str) -> int:
        """Microseconds from the end of a row to when it shows up."""
        return self._lag("late", self.faults.late, row)

    def is_early(self, row: str, age: int) -> bool:
        """Whether a row of this age still shows its first version."""
        return age < self._lag("edited", self.faults.edited, row)

    def _lag(self, fault: str, rate: float, row: str) -> int:
        if not rate or chance(f"{self.faults.seed} {fault}", row) >= rate:
            return 0
        return int((5 + 535 * chance(f"{self.faults.seed} {fault} by", row)) * SECOND)

    def junk(self, row: str) -> Any | None:
        """A row that no reader can make sense of, to stand beside this one."""
        if not self.faults.malformed or chance(f"{self.faults.seed} malformed", row) >= self.faults.malformed:
            return None
        key = f"ffffffff{row[8:]}"
        wreck: dict[str, Any] = {"id": key, "conference": None, "duration": "lâu", "display_name": 7}
        return (
            wreck | {"conference_name": "x", "name": "x", "start_time": 17, "end_time": "2026-13-45T99:00:00"},
            wreck | {"id": None, "conference_name": ["x"], "name": {}, "end_time": "yesterday"},
            {"display_name": "a row without an id", "end_time": "0000-00-00"},
            f"truncated row {key}",
        )[int(row[:2], 16) % 4]

    def repeats(self) -> bool:
        return self._happens("repeated")

    def reorders(self) -> Random | None:
        """A generator to shuffle rows of equal end time with; None: leave them in order."""
        return self._rng if self._happens("reordered", count=False) else None

    def _happens(self, fault: str, *, count: bool = True) -> bool:
        if self.counts[fault] >= self.faults.most or self._rng.random() >= getattr(self.faults, fault):
            return False
        self.counts[fault] += count
        return True
