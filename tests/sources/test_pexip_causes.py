"""Why calls end, as Pexip says it."""

from __future__ import annotations

from typing import Any

import pytest

from conftrack.model import EndClass
from conftrack.sources.pexip.causes import CODES, WORDS, end_class


@pytest.mark.parametrize(
    ("reason", "connected", "direction", "expected"),
    [
        ("Call disconnected", True, "out", "left"),
        ("Call disconnected", False, "out", "no_answer"),
        ("Call failed", False, "out", "unreachable"),
        ("Call failed", True, "out", "dropped"),
        ("Call failed", False, "in", "noise"),
        ("", True, "in", "left"),
        (None, True, "out", "left"),
        ("", False, "out", "unknown"),
        ("", False, "in", "noise"),
        ("Conference terminated by an administrator #pex122", True, "in", "ended"),
        ("Hội nghị kết thúc #PEX121", True, "in", "ended"),
        ("Timeout waiting for conference host to join or permit access #pex126", False, "in", "auth"),
        ("Timeout waiting for conference host to join", True, "in", "auth"),
        ("Timer expired awaiting token refresh", True, "in", "dropped"),
        ("Connection timed out", True, "out", "dropped"),
        ("Connection timed out", False, "out", "no_answer"),
        ("No answer", False, "out", "no_answer"),
        ("Call rejected", False, "out", "declined"),
        ("Call failed: 486 Busy Here", False, "out", "busy"),
        ("486 Busy Here", False, "out", "busy"),
        ("Call failed (603)", False, "out", "declined"),
        ("SIP 404", False, "out", "unreachable"),
        ("SIP/2.0 408 Request Timeout", False, "out", "no_answer"),
        ("480 Temporarily Unavailable", False, "out", "no_answer"),
        ("488 Not Acceptable Here", False, "out", "negotiation"),
        ("503", False, "out", "capacity"),
        ("Q.850;cause=17", False, "out", "busy"),
        ("Q.850;cause=29", False, "out", "negotiation"),
        ("Q.850;cause=127", False, "out", "unreachable"),
        ("calledPartyNotRegistered", False, "out", "unreachable"),
        ("unreachableDestination", False, "out", "unreachable"),
        ("gatekeeperResources", False, "out", "capacity"),
        ("destinationRejection", False, "out", "declined"),
        ("noPermission", False, "out", "auth"),
        ("securityDenied", False, "out", "negotiation"),
        ("Q.850 ;cause=16 ;text=\"Terminated\"", True, "out", "left"),
        ("Q.850 ;cause=16 ;text=\"Terminated\"", False, "out", "no_answer"),
        ("Call to sip:404@vc.example ended oddly", True, "out", "unknown"),
        ("PIN entry failed", False, "in", "auth"),
        ("License unavailable", False, "in", "capacity"),
        ("Encrypted media not negotiated", False, "in", "negotiation"),
        ("ICE failure", True, "in", "dropped"),
        ("Participant transferred", True, "in", "moved"),
        ("Removed from conference", True, "in", "ended"),
        ("Something Pexip has never said", True, "in", "unknown"),
        ("Something Pexip has never said", False, "out", "unknown"),
        ("Something Pexip has never said", False, "in", "noise"),
        ("Something Pexip has never said", False, None, "unknown"),
    ],
)  # fmt: skip
def test_a_call_ends_as_its_life_and_cause_say(
    reason: str | None, connected: bool, direction: Any, expected: EndClass
) -> None:
    """Connected or not, who called, then the words: never the words alone."""
    assert end_class(reason, connected, direction) == expected


def test_every_cause_can_be_reached() -> None:
    """A line that an earlier one always hides is a mistake in the table."""
    for cause in (*CODES, *WORDS):
        assert (end_class(cause.words, True, "out"), end_class(cause.words, False, "out")) == (cause.leg, cause.attempt)
