"""One meeting, played out: who is called, comes late, drops, redials, never answers, and who is no person at all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Literal, Protocol

import msgspec

from conftrack.model import EndClass, Excluded
from conftrack.simulator.people import BROWSER_LOST, failure, reason
from conftrack.simulator.plan import MINUTE, SECOND, Conference, Heads, Leg, Maintenance, Meeting
from conftrack.simulator.province import DOMAIN, Endpoint

Trouble = frozenset[tuple[str, str]]
"""The (area, carrier) pairs whose lines are bad on this day."""


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """What was planned; times in microseconds."""

    room: str
    start: int
    end: int
    #: The first one is in the chair.
    sites: Sequence[Endpoint]
    #: Names of the people who join with a browser.
    guests: Sequence[str] = ()
    #: Sites come up to this long before the start, and nobody earlier.
    early: int = 12 * MINUTE
    #: How full the rooms are, 0-1.
    fill: float = 0.5
    #: Chance that a site goes away in between and comes back.
    churn: float = 0.03
    #: Whether the host ends the meeting for all; else each hangs up.
    host_ends: bool = True


class Script(Protocol):
    """What befalls some of the sites, instead of what chance would bring."""

    @property
    def maintenance(self) -> Sequence[Maintenance]:
        """Planned work among it."""

    def play(self, stage: Stage) -> frozenset[str]:
        """Puts the legs of those sites on the stage and returns their codes."""


def convene(rng: Random, plan: Invitation, trouble: Trouble, script: Script | None = None) -> Meeting:
    """The meeting that came of an invitation, the same for the same generator state."""
    stage = Stage(rng, plan, trouble)
    stage.chair(plan.sites[0])
    played = script.play(stage) if script else frozenset()
    for site in plan.sites[1:]:
        if site.code not in played:
            stage.site(site)
    for guest in plan.guests:
        stage.guest(guest)
    stage.others()
    return Meeting(
        room=plan.room,
        conferences=records(rng, plan.room, stage.legs),
        heads=stage.heads(),
        invited=tuple(site.code for site in plan.sites),
        scheduled=(plan.start, plan.end),
        maintenance=tuple(script.maintenance) if script else (),
    )


def nobody(rng: Random, room: str, at: int, shape: Literal["scanner", "dial test", "api"], site: Endpoint) -> Meeting:
    """A conference record in which there never was anybody: a scanner in the IVR, a dial test that failed, an API
    session that found an empty room."""
    stage = Stage(rng, Invitation(room=room, start=at, end=at + 5 * MINUTE, sites=(site,)), frozenset())
    if shape == "scanner":
        for number in range(1 + int(rng.random() * 3)):
            stage.scanner(at + number * 2 * SECOND)
    elif shape == "dial test":
        stage.in_vain(site, at, tries=1 + int(rng.random() * 2))
    else:
        stage.machine("api", at, at + int(rng.uniform(20, 90) * SECOND))
    return Meeting(room=room, conferences=records(rng, room, stage.legs, service_type="two_stage_dialing"
                   if shape == "scanner" else "conference"), heads=[])  # fmt: skip


class Stage:
    """One meeting while it is made up: every method adds legs to it."""

    def __init__(self, rng: Random, plan: Invitation, trouble: Trouble) -> None:
        self.rng, self.plan, self.trouble = rng, plan, trouble
        self.legs: list[Leg] = []
        self._rooms: list[tuple[Endpoint, Leg]] = []
        # A host who ends the meeting cuts everybody off in the same instant, or node by node.
        self._cut = 0 if rng.random() < 0.5 else 2 * SECOND
        self._outage: tuple[str, int] | None = None
        if len(plan.sites) >= 8 and rng.random() < 0.1:
            area = rng.choice(plan.sites).area
            self._outage = area, int(rng.uniform(plan.start, plan.end))

    # Who comes

    def chair(self, site: Endpoint) -> None:
        """The chair is there first and to the end: it holds the meeting together."""
        joined = self.plan.start - int(self.rng.random() * self.plan.early) + int(self.rng.random() * 4 * SECOND)
        self.seat(site, self.leg(site, joined, self.plan.end, "ended" if self.plan.host_ends else "left",
                                   role="chair", direction="in"))  # fmt: skip

    def site(self, site: Endpoint) -> None:
        rng = self.rng
        if rng.random() < 0.04:
            return
        out = rng.random() < 0.6
        at = self._arrival()
        if out and rng.random() < (0.12 if self._troubled(site) else 0.05):
            at = self.in_vain(site, at, tries=1 + int(rng.random() * 3))
            if rng.random() < 0.3:
                return
        left, end_class = self.departure(at)
        self._stay(site, at, left, end_class, "out" if out else "in")
        if rng.random() < 0.02 and site.is_room:
            second = at + int(rng.uniform(60, 900) * SECOND)
            if second + 2 * MINUTE < left:
                self.leg(site, second, left - int(rng.uniform(5, 50) * SECOND), "left", direction="in")

    def guest(self, name: str) -> None:
        rng = self.rng
        at = self._arrival()
        if rng.random() < 0.04:
            self._person(name, at, None, at + int(rng.uniform(8, 40) * SECOND), "auth")
            at += int(rng.uniform(45, 120) * SECOND)
        left, end_class = self.departure(at)
        if rng.random() < 0.12 + self.plan.churn and left - at > 4 * MINUTE:
            lost = at + int((left - at) * rng.uniform(0.2, 0.8))
            self._person(name, at, at, lost, "dropped" if rng.random() < 0.5 else "left")
            at = lost + int(rng.uniform(10, 240) * SECOND)
        if at + 20 * SECOND < left:
            self._person(name, at, at, left, end_class)

    def others(self) -> None:
        """What a bridge lists beside people."""
        rng, plan = self.rng, self.plan
        if rng.random() < 0.3:
            self.machine("api", plan.start + 2 * SECOND, plan.end - SECOND)
        if len(plan.sites) >= 15 and rng.random() < 0.3:
            self.machine("streaming", plan.start + 40 * SECOND, plan.end - SECOND)
        if rng.random() < 0.25:
            at = int(rng.uniform(plan.start, plan.end - 2 * MINUTE))
            self.machine("ivr", at, at + int(rng.uniform(10, 60) * SECOND))
        if plan.guests and rng.random() < 0.4:
            self.machine("shadow", plan.start + MINUTE, plan.end - 30 * SECOND, name=plan.guests[0])
        if rng.random() < 0.05:
            self.scanner(int(rng.uniform(plan.start, plan.end - MINUTE)))

    def heads(self) -> list[Heads]:
        """Most rooms report how many sat in them; some have a camera that counts, a few both, some neither."""
        rng, found = self.rng, []
        for site, leg in self._rooms:
            chance = rng.random()
            if chance > 0.88 or leg.joined is None:
                continue
            people = max(1, min(site.seats, round(site.seats * self.plan.fill * rng.uniform(0.5, 1.4))))
            at = int(rng.uniform(leg.joined, leg.left)) // SECOND * SECOND + SECOND
            if not leg.joined <= at <= leg.left:
                continue
            head = Heads(at=at, identity=leg.identity, shown=leg.shown, people=people, provenance="reported")
            if chance > 0.74:
                found.extend(self._camera(leg, people))
            if chance < 0.8:
                head.note = "có 2 khách mời, báo cáo qua điện thoại" if chance < 0.02 else ""
                found.append(head)
        return found

    # How it goes

    def in_vain(self, site: Endpoint, at: int, *, tries: int) -> int:
        """Calls that do not connect; returns when the next one may."""
        rng = self.rng
        for _ in range(tries):
            why = failure(rng)
            over = at + int(rng.uniform(4, 45) * SECOND)
            self.leg(site, None, over, why, placed=at, direction="out")
            at = over + int(rng.uniform(15, 60) * SECOND)
        return at

    def scanner(self, at: int) -> None:
        rng = self.rng
        number = f"{int(rng.random() * 9000) + 1000}"
        address = f"203.0.113.{int(rng.random() * 250) + 1}"
        self._add(
            identity=f"{number}@{address}", shown=f"sip:{number}@{address}", name=number, direction="in",
            service_type="ivr", vendor="friendly-scanner", placed=at, joined=None, left=at + SECOND,
            end_class="noise", reason=reason(rng, "noise"), excluded="noise",
        )  # fmt: skip

    def machine(self, kind: Excluded, joined: int, left: int, name: str | None = None) -> None:
        """A leg that is not people."""
        protocol, alias, shown, service = {
            "api": ("API", "conference-control", "conference control", "conference"),
            "streaming": ("RTMP", f"rtmp://stream.{DOMAIN}/live", "Phát trực tiếp", "conference"),
            "ivr": ("SIP", f"khach@{DOMAIN}", "Khách", "ivr"),
            "shadow": ("WebRTC", name or "màn hình", name or "màn hình", "conference"),
        }[kind]
        if left > joined:
            self._add(
                identity=alias.casefold(), shown=alias, name=shown, protocol=protocol, direction="in",
                service_type=service, placed=joined, joined=joined, left=left, end_class="left",
                reason="Call disconnected", excluded=kind, rate=1500 if kind == "streaming" else 0,
            )  # fmt: skip

    def _arrival(self) -> int:
        rng, plan = self.rng, self.plan
        chance = rng.random()
        if chance < 0.12:
            return plan.start + int((plan.end - plan.start) * rng.uniform(0.05, 0.4))
        if chance < 0.3 or not plan.early:
            return plan.start + int(rng.uniform(2, 150) * SECOND)
        return plan.start - int(rng.random() * plan.early * 0.95)

    def departure(self, joined: int) -> tuple[int, EndClass]:
        rng, plan = self.rng, self.plan
        if rng.random() < 0.1:
            early = joined + int((plan.end - joined) * rng.uniform(0.3, 0.9))
            return early, ("left" if rng.random() < 0.97 else "unknown")
        if plan.host_ends:
            return plan.end - int(rng.random() * self._cut), "ended"
        return plan.end - int(rng.random() * 90 * SECOND), "left"

    def _stay(self, site: Endpoint, at: int, left: int, end_class: EndClass, direction: str) -> None:
        """One or more legs from `at` to `left`."""
        rng = self.rng
        chance = (0.3 if self._troubled(site) else 0.04) + self.plan.churn
        flaps = rng.random() < 0.006
        for number in range(6):
            if flaps and left - at > 10 * MINUTE:
                stop: int = at + int(rng.uniform(40, 120) * SECOND)
                why: EndClass | None = "dropped"
                back = stop + int(rng.uniform(6, 30) * SECOND)
            else:
                stop, why, back = self._interruption(site, at, left, chance)
            leg = self.leg(site, at, stop, why or end_class, direction=direction)
            if number == 0:
                self.seat(site, leg)
            if why is None or back + 3 * MINUTE > left:
                return
            at, direction = back, "in" if rng.random() < 0.5 else direction
            if direction == "out" and rng.random() < 0.1:
                at = self.in_vain(site, at, tries=1)

    def _interruption(self, site: Endpoint, at: int, left: int, chance: float) -> tuple[int, EndClass | None, int]:
        """Where the leg is cut, why, and when the site is back; (left, None, left) when it is not."""
        rng = self.rng
        if self._outage and site.area == self._outage[0]:
            cut = self._outage[1] + int(rng.random() * 40 * SECOND)
            if at + 30 * SECOND < cut < left - 5 * MINUTE:
                return cut, "dropped", cut + int(rng.uniform(90, 300) * SECOND)
        if left - at < 4 * MINUTE or rng.random() > chance:
            return left, None, left
        cut = at + int((left - at) * rng.uniform(0.1, 0.8))
        kind = rng.random()
        if kind < 0.08:
            return cut, "moved", cut + int(rng.uniform(0.5, 2.5) * SECOND)
        if kind < 0.5 + 0.4 * self._troubled(site):
            return cut, "dropped", cut + int(rng.uniform(6, 200) * SECOND)
        return cut, "left", cut + int(rng.uniform(60, 600) * SECOND)

    def _camera(self, leg: Leg, peak: int) -> list[Heads]:
        span = leg.left - (leg.joined or leg.left)
        joined = leg.left - span
        samples = [max(1, peak - 3), peak, max(1, peak - 1)]
        return [
            Heads(at=(joined + span * (index + 1) // 4) // SECOND * SECOND, identity=leg.identity, shown=leg.shown,
                  people=people, provenance="people_count")
            for index, people in enumerate(samples)
            if span > 5 * MINUTE
        ]  # fmt: skip

    # Rows

    def _troubled(self, site: Endpoint) -> bool:
        return (site.area, site.carrier) in self.trouble

    def seat(self, site: Endpoint, leg: Leg) -> None:
        if site.is_room:
            self._rooms.append((site, leg))

    def leg(self, site: Endpoint, joined: int | None, left: int, end_class: EndClass, *, direction: str,
             placed: int | None = None, role: str = "guest") -> Leg:  # fmt: skip
        rng = self.rng
        alias = site.aliases[0] if rng.random() < 0.93 else site.aliases[1]
        if rng.random() < 0.01 and site.is_room:
            alias = site.aliases[3]
        bad = self._troubled(site) or rng.random() < 0.015
        if placed is None:
            placed = (joined or left) - int(rng.uniform(1, 9) * SECOND)
            # A microsecond part of zero is written without a fraction; now and then it happens.
            if joined is not None and rng.random() < 0.02:
                joined = -(-joined // SECOND) * SECOND
        return self._add(
            identity=alias, shown=_spelling(alias, int(rng.random() * 20)), name=site.name, endpoint=site.code,
            protocol="SIP" if "@" in alias else "H323", direction=direction, role=role, vendor=site.vendor,
            placed=placed, joined=joined, left=left, end_class=end_class, reason=reason(rng, end_class),
            rx_loss=int(rng.uniform(250, 1200) if bad else rng.random() ** 3 * 90),
            tx_loss=int(rng.uniform(100, 700) if bad else rng.random() ** 3 * 60),
            jitter=int(rng.uniform(30, 120) if bad else rng.uniform(1, 14)),
            rate=int(rng.uniform(300, 800) if bad else rng.uniform(900, 2300)),
        )  # fmt: skip

    def _person(self, name: str, placed: int, joined: int | None, left: int, end_class: EndClass) -> Leg:
        rng = self.rng
        return self._add(
            identity=" ".join(name.split()).casefold(), shown=name, name=name, personal=True, protocol="WebRTC",
            direction="in", vendor="Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0",
            service_type="conference" if joined is not None else "connecting",
            placed=placed - 3 * SECOND if joined is not None else placed, joined=joined, left=left,
            end_class=end_class, reason=BROWSER_LOST if end_class == "dropped" else reason(rng, end_class),
            rx_loss=int(rng.random() ** 4 * 400), tx_loss=int(rng.random() ** 4 * 300),
            jitter=int(rng.uniform(2, 40)), rate=int(rng.uniform(300, 1300)),
        )  # fmt: skip

    def _add(self, **fields: object) -> Leg:
        both = self.rng.getrandbits(256)
        leg = Leg(id=_uuid(both >> 128), call=_uuid(both & (1 << 128) - 1), **fields)  # type: ignore[arg-type]
        if self.plan.early == 0:
            leg.placed = max(leg.placed, self.plan.start)
        self.legs.append(leg)
        return leg


def records(rng: Random, room: str, legs: list[Leg], service_type: str = "conference") -> list[Conference]:
    """The conference records that the nodes of the cluster keep of one meeting: each has its own participants,
    and sometimes a node repeats a leg that another one holds."""
    shares: list[list[Leg]] = [legs]
    if len(legs) >= 6 and rng.random() < (0.5 if len(legs) >= 100 else 0.14):
        others = 1 if rng.random() < 0.7 else 2
        shares = [[legs[0]], *([] for _ in range(others))]
        kind = rng.random()
        # A site's devices call the same node, so that two legs of it in two records are always one, told twice.
        nodes = {legs[0].endpoint or legs[0].identity: 0}
        for leg in legs[1:]:
            where = int(rng.random() * (others + 1)) if kind < 0.7 else 0
            shares[nodes.setdefault(leg.endpoint or leg.identity, where)].append(leg)
        if kind > 0.4:
            for leg in shares[0]:
                if leg.counts and rng.random() < 0.25 and leg.joined is not None and leg.left - leg.joined > MINUTE:
                    shares[1].append(_copy(rng, leg, leg.joined))
    first, *rest = (
        _record(rng, room if node == 0 else f"{room}:{rng.getrandbits(48):012x}", service_type, node, share)
        for node, share in enumerate(shares)
        if share
    )
    for record in rest:
        if record.start >= first.end or record.end <= first.start:
            raise AssertionError("the records of one meeting overlap: the chair is in the first one throughout")
    return [first, *rest]


def _record(rng: Random, name: str, service_type: str, node: int, legs: list[Leg]) -> Conference:
    start, end = min(leg.placed for leg in legs), max(leg.left for leg in legs)
    return Conference(
        id=_uuid(rng.getrandbits(128)), name=name, service_type=service_type, start=start, end=end, node=node, legs=legs
    )  # fmt: skip


def _copy(rng: Random, leg: Leg, joined: int) -> Leg:
    """The same call as another node saw it: a little later in, a little earlier out, never longer than the leg."""
    twin = msgspec.structs.replace(leg, id=_uuid(rng.getrandbits(128)), copy=True)
    twin.joined = joined + int(rng.random() * 0.9 * SECOND)
    twin.left = leg.left - int(rng.random() * 0.9 * SECOND)
    return twin


def _uuid(bits: int) -> str:
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


@lru_cache(maxsize=32_768)
def _spelling(alias: str, way: int) -> str:
    """One of the ways in which an alias is written; all of them normalise to the alias."""
    if "@" in alias:
        return {0: f"sip:{alias}", 1: f"sip:{alias}", 2: f"sip:{alias}:5061;transport=tls", 3: alias.upper(),
                4: f"SIP:{alias.upper()}", 5: f"sips:{alias}"}.get(way, alias)  # fmt: skip
    if alias[0].isdigit():
        return {0: f"h323:{alias}", 1: f"h323:{alias}:1720" if "." in alias else alias}.get(way, alias)
    return {0: f"h323:{alias}", 1: f"h323:{alias.upper()}"}.get(way, alias.upper())
