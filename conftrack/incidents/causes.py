"""What a failure means in plain words, what to look at first, and whose it most likely is.

Texts are English and are keys of the catalogue of `conftrack/locale`; they hold no placeholders. The vendors' own
words stand beside the end class wherever it is shown; how they map to one is each source's table.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from conftrack.model import EndClass, IncidentKind, Owner


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    #: What happened, for somebody who has never seen the system.
    text: str
    #: The first thing to check.
    check: str
    #: Whose fault it most likely is.
    owner: Owner


KINDS: Mapping[IncidentKind, Explanation] = {
    "connect_failed": Explanation(
        text="The system called the site and no connection came about.",
        check="Ring the site: is the device on, and is it on the network?",
        owner="line",
    ),
    "dropped": Explanation(
        text="The site was in the meeting, was cut off and has not come back.",
        check="Ring the site: is there power, and does anything else on its network still work?",
        owner="line",
    ),
    "absent": Explanation(
        text="The site is expected, and the meeting goes on without it.",
        check="Ring the contact of the site: is somebody in the room, and do they know of the meeting?",
        owner="user",
    ),
    "flapping": Explanation(
        text="The site keeps losing the connection and coming back.",
        check="Look at the site's cabling, switch and Wi-Fi; ask the carrier whether the line is unstable.",
        owner="line",
    ),
    "quality": Explanation(
        text="So many packets are lost that picture and sound break up.",
        check="See whether something else fills the line; lower the call's rate; then have the carrier measure it.",
        owner="line",
    ),
    "unregistered": Explanation(
        text="The device has not signed in to the system, so it cannot be called.",
        check="See whether the device is on, and whether its registration address and password are right.",
        owner="device",
    ),
    "outage": Explanation(
        text="Many sites of one unit, carrier or area failed within a minute: they share one cause.",
        check="Call the carrier first, not the sites; see whether all of them are on the same line or power supply.",
        owner="carrier",
    ),
}
"""For each kind; for those kinds that have no end class, or whose leg did not tell one."""

END_CLASSES: Mapping[EndClass, Explanation] = {
    "left": Explanation(
        text="The site hung up.",
        check="Nothing to repair; ask the site whether it meant to leave.",
        owner="user",
    ),
    "ended": Explanation(
        text="The host or an operator ended the connection.",
        check="Nothing to repair; ask the host whether the site was to leave.",
        owner="user",
    ),
    "moved": Explanation(
        text="The site was transferred and goes on in another connection.",
        check="See in which room it is now.",
        owner="user",
    ),
    "dropped": Explanation(
        text="The connection was up and broke off: the site lost its power or its line, or its device stopped.",
        check="Ring the site: is there power? Then ping its address and look for other sites on the same line.",
        owner="line",
    ),
    "no_answer": Explanation(
        text="The device was called and nobody answered.",
        check="Ask the site to switch the device on and to take the call, or set it to answer by itself.",
        owner="user",
    ),
    "unreachable": Explanation(
        text="The device could not be found: its address is wrong, it is switched off, or there is no way to it.",
        check="Compare the address that was called with the inventory; see whether the device is on, and ping it.",
        owner="line",
    ),
    "busy": Explanation(
        text="The device is in another call.",
        check="Ask the site to end the other call; see whether a second meeting has it.",
        owner="user",
    ),
    "declined": Explanation(
        text="Somebody at the site, or a setting of the device, refused the call.",
        check="Ask the site to accept the call; see whether the device is set to do not disturb.",
        owner="user",
    ),
    "negotiation": Explanation(
        text="Both ends could not agree on encryption, on a codec or on a way for the media.",
        check="Compare the encryption setting of the device with the meeting's; update it; look at the firewall.",
        owner="device",
    ),
    "capacity": Explanation(
        text="The conference system had no licence or no resources left for this call.",
        check="Look at licences and load of the conference nodes; the site can do nothing about it.",
        owner="platform",
    ),
    "auth": Explanation(
        text="The caller was not let in: a wrong PIN, no host to admit it, or no permission.",
        check="Give the site the PIN of the meeting and see whether a host is there.",
        owner="user",
    ),
    "noise": Explanation(
        text="A stranger's call that never reached a meeting.",
        check="Nothing at a site; if there are many, block the address at the firewall.",
        owner="platform",
    ),
    "unknown": Explanation(
        text="The conference system gave a reason that conftrack does not know yet.",
        check="Read the system's own words beside this, and report them so that they can be added.",
        owner="platform",
    ),
}

OWNERS: Mapping[Owner, str] = {
    "power": "The site's power",
    "line": "The site's own line",
    "carrier": "The carrier",
    "device": "The device",
    "user": "The people at the site",
    "platform": "The conference system",
}
"""What each owner is called."""


def explain(kind: IncidentKind, end_class: EndClass | None) -> Explanation:
    """What an incident means: by how its leg ended where a leg's end opened it, else by its kind."""
    if kind in ("connect_failed", "dropped") and end_class is not None:
        return END_CLASSES[end_class]
    return KINDS[kind]


def messages() -> set[str]:
    """Every text of this module, as a catalogue must have it."""
    told = [*KINDS.values(), *END_CLASSES.values()]
    return {*OWNERS.values()} | {text for e in told for text in (e.text, e.check)}
