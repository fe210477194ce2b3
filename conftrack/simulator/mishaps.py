"""What goes wrong in a meeting on purpose, so that a demo has something of everything and a test can count it.

Chance alone (see `convene`) loses connections now and then. `Mishaps` adds to it, from a generator of its own, so that
nothing else of the world changes with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from conftrack.model import EndClass
from conftrack.simulator.convene import Invitation, Stage, records
from conftrack.simulator.plan import MINUTE, SECOND, Leg, Maintenance, Meeting
from conftrack.simulator.province import Endpoint

_LARGE = 16
"""So many sites make a large meeting, in which a carrier may fail."""
_WORKS = ("Thay bộ lưu điện phòng họp", "Nâng cấp phần mềm thiết bị đầu cuối", "Bảo trì đường truyền", "Lắp camera mới")
_CREW = "Tổ kỹ thuật trực"


class Mishaps:
    """The script of one meeting. `soon`: all that it has room for, in its first minutes; else some, at any time.
    `outage`: the chance that a carrier fails, if it is a large one."""

    def __init__(self, rng: Random, *, soon: bool = False, outage: float = 0.3) -> None:
        self._rng, self._soon, self._outage = rng, soon, outage
        self.maintenance: list[Maintenance] = []
        #: Rooms into which sites were transferred for a while.
        self.side_rooms: list[Meeting] = []
        self._stage: Stage
        self._plan: Invitation
        self._left: list[Endpoint] = []
        self._played: set[str] = set()
        self._seated: set[str] = set()

    def play(self, stage: Stage) -> frozenset[str]:
        rng = self._rng
        self._stage, self._plan = stage, stage.plan
        self._left = list(stage.plan.sites[1:])
        rng.shuffle(self._left)
        large = len(self._left) >= _LARGE
        if large and rng.random() < self._outage:
            self._carrier_fails()
        acts: list[Callable[[], None]] = [
            self._never_connects, self._flaps, self._is_repaired, self._loses_packets, self._drops, self._no_show,
            self._connects_at_last, self._is_transferred, self._blinks, self._stays_away, self._connects_at_last,
            self._no_show, self._late, self._types_a_wrong_pin, self._loses_packets, self._hangs_up,
        ]  # fmt: skip
        if not self._soon:
            acts = rng.sample(acts, rng.randint(5, 10) if large else rng.randint(1, 2))
        for act in acts[: len(self._left) // 2]:
            act()
        return frozenset(self._played)

    # -- sites that do not get in

    def _never_connects(self) -> None:
        """Called again and again, in vain; of course it is absent too."""
        site, at = self._take(), self._arrival()
        for _ in range(self._rng.randint(3, 5)):
            at = self._calls(site, at, self._failure(), 1) + self._span(20, 90)
            if at > self._plan.end - 2 * MINUTE:
                return

    def _connects_at_last(self) -> None:
        site = self._take()
        self._stay(site, self._calls(site, self._arrival(), self._failure(), self._rng.randint(1, 4)), "out")

    def _no_show(self) -> None:
        self._take()

    def _late(self) -> None:
        self._stay(self._take(), self._plan.start + self._span(330, 540), "in")

    def _types_a_wrong_pin(self) -> None:
        site, at = self._take(), self._arrival()
        for _ in range(2):
            over = at + self._span(8, 25)
            self._stage.leg(site, None, over, "auth", placed=at, direction="in")
            at = over + self._span(5, 20)
        self._stay(site, at, "in")

    # -- sites that are lost

    def _drops(self) -> None:
        """And is back after a while."""
        site, cut = self._take(), self._moment()
        self._up(site, self._arrival(), cut, "dropped")
        self._stay(site, cut + self._span(40, 180), "in")

    def _blinks(self) -> None:
        """And is back at once: nobody should be told."""
        site, cut = self._take(), self._moment()
        self._up(site, self._arrival(), cut, "dropped")
        self._stay(site, cut + self._span(4, 16), "in")

    def _stays_away(self) -> None:
        self._up(self._take(), self._arrival(), self._moment(), "dropped")

    def _hangs_up(self) -> None:
        self._up(self._take(), self._arrival(), self._moment(), "left")

    def _flaps(self) -> None:
        site, at = self._take(), self._arrival()
        for _ in range(self._rng.randint(4, 6)):
            cut = at + self._span(35, 70)
            self._up(site, at, cut, "dropped")
            at = cut + (self._span(5, 16) if self._rng.random() < 0.7 else self._span(25, 40))
        self._stay(site, at, "in")

    def _carrier_fails(self) -> None:
        """All sites on the lines of one carrier, within a minute; most are back some minutes later."""
        on = Counter(site.carrier for site in self._left)
        able = sorted(carrier for carrier, sites in on.items() if sites >= 5)
        if not able:
            return
        carrier = self._rng.choice(able)
        cut = max(self._moment(), self._plan.start + 90 * SECOND)
        back = cut + self._span(100, 240)
        for site in [site for site in self._left if site.carrier == carrier]:
            self._take(site)
            self._up(site, self._arrival(), cut + self._span(0, 45), "dropped")
            chance = self._rng.random()
            at = back + self._span(0, 90)
            if chance < 0.3:
                at = self._calls(site, at - MINUTE // 2, "unreachable", 1)
            if chance < 0.85:
                self._stay(site, at, "out" if chance < 0.3 else "in")

    def _is_repaired(self) -> None:
        """Somebody works at it, as was said before: down, and back before the work is over."""
        site, cut = self._take(), self._moment()
        start, end = cut - self._span(20, 60), cut + self._span(240, 480)
        back = end - self._span(20, 60)
        self._up(site, self._arrival(), cut, "dropped")
        if not self._stay(site, back, "in"):
            end = max(end, self._plan.end + 5 * MINUTE)
        whole = self._rng.random() < 0.3
        work = Maintenance(
            endpoint=None if whole else site.code, org=site.org if whole else None, start=start // MINUTE * MINUTE,
            end=end, author=_CREW, reason=self._rng.choice(_WORKS),
        )  # fmt: skip
        self.maintenance.append(work)

    # -- and those that are only somewhere else

    def _is_transferred(self) -> None:
        """Two sites go to a room of their own for a while and come back."""
        rng, plan = self._rng, self._plan
        sites = [self._take() for _ in range(min(2, len(self._left)))]
        away = self._moment()
        back = away + self._span(120, 300)
        room = f"{plan.room} - phòng nhóm"
        side = Stage(rng, Invitation(room=room, start=away, end=back, sites=sites, early=0), frozenset())
        for site in sites:
            self._up(site, self._arrival(), away, "moved")
            side.leg(site, away + self._span(1, 3), back, "moved", direction="in")
            self._stay(site, back + self._span(1, 3), "in")
        self.side_rooms.append(Meeting(room=room, conferences=records(rng, room, side.legs), heads=[]))

    def _loses_packets(self) -> None:
        """For some minutes, and then all is well again."""
        site, since = self._take(), self._moment()
        leg = self._up(site, self._arrival(), self._plan.end - self._span(5, 60), "left")
        leg.lossy = since, min(since + self._span(120, 360), leg.left - 90 * SECOND)
        leg.rx_loss, leg.tx_loss = int(self._rng.uniform(700, 1400)), int(self._rng.uniform(100, 700))

    # -- what they are made of

    def _take(self, site: Endpoint | None = None) -> Endpoint:
        site = site or self._left[-1]
        self._left.remove(site)
        self._played.add(site.code)
        return site

    def _span(self, low: float, high: float) -> int:
        return int(self._rng.uniform(low, high) * SECOND)

    def _arrival(self) -> int:
        return self._plan.start + self._span(1, 20)

    def _moment(self) -> int:
        """When it happens: sites have arrived, and there is time left to come back."""
        start, end = self._plan.start, self._plan.end
        if self._soon:
            return start + self._span(90, 200)
        return start + max(2 * MINUTE, int((end - start) * self._rng.uniform(0.1, 0.55)))

    def _failure(self) -> EndClass:
        causes: tuple[EndClass, ...] = ("no_answer", "no_answer", "unreachable", "negotiation")
        return self._rng.choice(causes)

    def _calls(self, site: Endpoint, at: int, why: EndClass, tries: int) -> int:
        """Calls in vain; returns when the next one may come."""
        for _ in range(tries):
            over = at + self._span(6, 35)
            self._stage.leg(site, None, over, why, placed=at, direction="out")
            at = over + self._span(12, 40)
        return at

    def _up(self, site: Endpoint, joined: int, left: int, end_class: EndClass) -> Leg:
        leg = self._stage.leg(site, joined, left, end_class, direction="out" if self._rng.random() < 0.6 else "in")
        if site.code not in self._seated:  # who reports how many sit there does so once
            self._seated.add(site.code)
            self._stage.seat(site, leg)
        return leg

    def _stay(self, site: Endpoint, at: int, direction: str) -> bool:
        """From `at` until it leaves; not at all if the meeting is as good as over."""
        if at > self._plan.end - MINUTE:
            return False
        left, end_class = self._stage.departure(at)
        self._stage.leg(site, at, left, end_class, direction=direction)
        return True


def works(rng: Random, meeting: Meeting) -> tuple[Maintenance, ...]:
    """Now and then a site that was lost had been shut down on purpose: the work that had been planned for it."""
    lost = [leg for leg in meeting.legs() if leg.end_class == "dropped" and leg.endpoint and not leg.copy]
    if not lost or rng.random() > 0.15:
        return ()
    leg = rng.choice(lost)
    back = [
        other.joined for other in meeting.legs() if other.endpoint == leg.endpoint and (other.joined or 0) > leg.left
    ]
    end = min((at for at in back if at is not None), default=meeting.end) + int(rng.uniform(1, 5) * MINUTE)
    start = (leg.left - int(rng.uniform(1, 10) * MINUTE)) // MINUTE * MINUTE
    return (Maintenance(endpoint=leg.endpoint, start=start, end=end, author=_CREW, reason=rng.choice(_WORKS)),)
