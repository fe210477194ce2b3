"""Why a call ended, in Pexip's words, as one of conftrack's end classes.

The order of decision: was it ever connected, who called whom, then the cause. Never the cause alone: the same "Call
disconnected" ends a good call and an attempt that nobody answered.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from conftrack.model import EndClass

Direction = Literal["in", "out"] | None


class Cause(NamedTuple):
    """What a part of the reason means."""

    #: A message code, or words to be found in the reason in any case.
    words: str
    #: For a leg that was connected.
    leg: EndClass
    #: For an attempt that never was.
    attempt: EndClass


# Where a line comes from:
#   D  docs.pexip.com, "Disconnection reasons" (its list is not exhaustive: the far end may give its own words)
#   R  calls recorded on real nodes
#   E  docs.pexip.com, event sinks, and what their receivers report
#   L  words of the administrator log that its readers report
#   S  the reason phrases of SIP (RFC 3261, section 21) and Q.850, which far ends pass on
#   H  the release reasons of H.225 (ITU-T H.323, ReleaseCompleteReason), which far ends pass on as one word
CODES: tuple[Cause, ...] = (
    Cause("#pex120", "ended", "ended"),  # D: ended by a host with a DTMF command
    Cause("#pex121", "ended", "ended"),  # D: terminated by a host
    Cause("#pex122", "ended", "ended"),  # D: terminated by an administrator
    Cause("#pex123", "ended", "ended"),  # D: this participant disconnected by an administrator
    Cause("#pex124", "ended", "ended"),  # D: this participant disconnected by another one
    Cause("#pex125", "ended", "ended"),  # D: terminated by another participant
    Cause("#pex126", "auth", "auth"),  # D: no host came, or none let the participant in
)

#: The first line whose words are in the reason decides: the special stand before the general.
WORDS: tuple[Cause, ...] = (
    Cause("ended the conference", "ended", "ended"),  # D, as #pex120
    Cause("conference terminated", "ended", "ended"),  # D, as #pex121, 122, 125
    Cause("disconnected by an administrator", "ended", "ended"),  # D, as #pex123
    Cause("disconnected by another participant", "ended", "ended"),  # D, as #pex124
    Cause("waiting for conference host", "auth", "auth"),  # D, as #pex126
    Cause("waiting for host", "auth", "auth"),  # E
    Cause("locked conference", "auth", "auth"),  # D, as #pex126
    Cause("conference locked", "auth", "auth"),  # L
    Cause("token refresh", "dropped", "no_answer"),  # E: the browser lost its network
    Cause("conference ended", "ended", "ended"),  # E, L
    Cause("owner initiated", "ended", "ended"),  # E
    Cause("duration exceeded", "ended", "ended"),  # L
    Cause("removed", "ended", "ended"),  # L: "Removed from conference"
    Cause("transfer", "moved", "moved"),  # docs.pexip.com, "Viewing participant status": participants are transferred
    Cause("moved", "moved", "moved"),  # S: 301, 302
    Cause("calldeflection", "moved", "moved"),  # H: facilityCallDeflection
    Cause("pin entry", "auth", "auth"),  # E, L
    Cause("wrong pin", "auth", "auth"),  # L
    Cause("invalid pin", "auth", "auth"),  # L
    Cause("incorrect pin", "auth", "auth"),  # L
    Cause("authentication", "auth", "auth"),  # L; S: 407
    Cause("unauthorized", "dropped", "auth"),  # S: 401
    Cause("forbidden", "dropped", "auth"),  # S: 403
    Cause("nopermission", "dropped", "auth"),  # H
    Cause("licen", "dropped", "capacity"),  # L: "License unavailable", "License limit reached", also spelt with c
    Cause("conference full", "dropped", "capacity"),  # E
    Cause("conference is full", "dropped", "capacity"),  # E
    Cause("participant limit", "dropped", "capacity"),  # L
    Cause("no_capacity", "dropped", "capacity"),  # L
    Cause("capacity", "dropped", "capacity"),  # L
    Cause("resource", "dropped", "capacity"),  # L; S: Q.850 cause 47
    Cause("available media node", "dropped", "capacity"),  # L
    Cause("bandwidth", "dropped", "capacity"),  # L
    Cause("backend error", "dropped", "capacity"),  # L: the platform, not the room
    Cause("service unavailable", "dropped", "capacity"),  # S: 503
    Cause("busy", "dropped", "busy"),  # S: 486, 600
    Cause("encrypt", "dropped", "negotiation"),  # L: "Encrypted media not negotiated"
    Cause("securitydenied", "dropped", "negotiation"),  # H
    Cause("invalidrevision", "dropped", "negotiation"),  # H
    Cause("not acceptable", "dropped", "negotiation"),  # S: 488, 606
    Cause("negotiat", "dropped", "negotiation"),  # L
    Cause("codec", "dropped", "negotiation"),  # L
    Cause("incompatible", "dropped", "negotiation"),  # S: Q.850 cause 88
    Cause("unsupported media", "dropped", "negotiation"),  # S: 415
    Cause("ice fail", "dropped", "negotiation"),  # L: no path for media was agreed
    Cause("media error", "dropped", "negotiation"),  # E
    Cause("no answer", "dropped", "no_answer"),  # S: Q.850 cause 19
    Cause("not answered", "dropped", "no_answer"),  # S
    Cause("no response", "dropped", "no_answer"),  # S: Q.850 cause 18
    Cause("temporarily unavailable", "dropped", "no_answer"),  # S: 480
    Cause("request terminated", "dropped", "no_answer"),  # S: 487, the dialling was given up
    Cause("timed out", "dropped", "no_answer"),  # L: "Call timed out", "Connection timed out"
    Cause("timeout", "dropped", "no_answer"),  # E; S: 408
    Cause("timer expired", "dropped", "no_answer"),  # E
    Cause("connection refused", "dropped", "unreachable"),  # L
    Cause("declin", "dropped", "declined"),  # S: 603
    Cause("reject", "dropped", "declined"),  # L: "Call rejected"
    Cause("not found", "dropped", "unreachable"),  # S: 404
    Cause("unreachable", "dropped", "unreachable"),  # S
    Cause("no route", "dropped", "unreachable"),  # S: Q.850 causes 2 and 3
    Cause("does not exist", "dropped", "unreachable"),  # S: 604
    Cause("not registered", "dropped", "unreachable"),  # S: Q.850 cause 20
    Cause("notregistered", "dropped", "unreachable"),  # H: calledPartyNotRegistered, callerNotRegistered
    Cause("badformataddress", "dropped", "unreachable"),  # H
    Cause("unregistered", "dropped", "unreachable"),  # S
    Cause("dns", "dropped", "unreachable"),  # L
    Cause("network error", "dropped", "unreachable"),  # E
    Cause("connection lost", "dropped", "unreachable"),  # L
    Cause("connection reset", "dropped", "unreachable"),  # L
    Cause("call failed", "dropped", "unreachable"),  # R, L: all that Pexip says when a dial-out fails
    Cause("call disconnected", "left", "no_answer"),  # R: a plain hang-up; of an attempt: given up before an answer
    Cause("participant disconnected", "left", "no_answer"),  # L
    Cause("user initiated", "left", "declined"),  # E, L
    Cause("call clearing", "left", "no_answer"),  # S: Q.850 cause 16, "normal call clearing"
    Cause("normal clearing", "left", "no_answer"),  # S: Q.850 cause 16
)


def _each(codes: str, leg: EndClass, attempt: EndClass) -> dict[int, tuple[EndClass, EndClass]]:
    return {int(code): (leg, attempt) for code in codes.split()}


#: SIP status codes (RFC 3261, section 21): class of a leg, class of an attempt.
SIP: dict[int, tuple[EndClass, EndClass]] = {
    **_each("200", "left", "no_answer"),
    **_each("301 302 305", "moved", "moved"),
    **_each("401 403 407", "dropped", "auth"),
    **_each("404 410 481 482 483 484 485 500 502 504 604", "dropped", "unreachable"),
    **_each("408 480 487", "dropped", "no_answer"),
    **_each("486 600", "dropped", "busy"),
    **_each("603", "dropped", "declined"),
    **_each("415 488 493 494 501 505 580 606", "dropped", "negotiation"),
    **_each("503", "dropped", "capacity"),
}

#: Q.850 cause values (ITU-T Q.850, table 1), as "cause=…" or a SIP Reason header gives them.
Q850: dict[int, tuple[EndClass, EndClass]] = {
    **_each("16 31", "left", "no_answer"),
    **_each("17", "dropped", "busy"),
    **_each("18 19 102", "dropped", "no_answer"),
    **_each("21", "dropped", "declined"),
    **_each("1 2 3 20 22 26 27 28 38 41 111 127", "dropped", "unreachable"),
    **_each("34 42 47", "dropped", "capacity"),
    **_each("29 58 65 70 79 88", "dropped", "negotiation"),
    **_each("55 57", "dropped", "auth"),
}

_SIP_CODE = re.compile(r"(?:^|\(|\bsip(?:/2\.0)?[ :=/]*|\b(?:code|status|response)\D{0,3})([2-6]\d\d)(?=$|[ ):,;.])")
_Q850_CODE = re.compile(r"(?:\bq\.?850\D{0,10}|\bcause ?[:=] ?)(\d{1,3})\b")

#: What an incoming call that never reached a meeting may be besides noise: somebody who was meant to get in.
_INCOMING: frozenset[EndClass] = frozenset({"auth", "capacity", "negotiation"})


@lru_cache(maxsize=4096)
def end_class(reason: str | None, connected: bool, direction: Direction) -> EndClass:
    """How a call that is over ended, from the node's `disconnect_reason`.

    A connected leg without a reason has left. An incoming call that never connected is noise (scanners, wrong
    numbers) unless it says that a caller was kept out. Words that nobody has met before are "unknown".
    """
    meaning = _meaning((reason or "").casefold())
    if connected:
        return meaning[0] if meaning else "unknown" if reason else "left"
    attempt = meaning[1] if meaning else "unknown"
    if direction == "in" and attempt not in _INCOMING:
        return "noise"
    return attempt


def _meaning(text: str) -> tuple[EndClass, EndClass] | None:
    for cause in CODES:
        if cause.words in text:
            return cause.leg, cause.attempt
    if (found := _Q850_CODE.search(text)) and int(found[1]) in Q850:
        return Q850[int(found[1])]
    if (found := _SIP_CODE.search(text)) and int(found[1]) in SIP:
        return SIP[int(found[1])]
    for cause in WORDS:
        if cause.words in text:
            return cause.leg, cause.attempt
    return None
