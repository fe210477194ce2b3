"""What the codes of the model are called on pages and paper, in English: keys of the catalogue. No conftrack module."""

from __future__ import annotations

from collections.abc import Mapping

INCIDENT_KINDS: Mapping[str, str] = {
    "connect_failed": "could not connect",
    "dropped": "dropped out",
    "absent": "absent",
    "flapping": "comes and goes",
    "quality": "bad picture or sound",
    "unregistered": "not registered",
    "outage": "outage",
}
"""By IncidentKind."""

END_CLASSES: Mapping[str, str] = {
    "left": "hung up",
    "ended": "ended by the host",
    "moved": "moved on",
    "dropped": "connection lost",
    "no_answer": "no answer",
    "unreachable": "unreachable",
    "busy": "busy",
    "declined": "declined",
    "negotiation": "no agreement on codec or encryption",
    "capacity": "no capacity",
    "auth": "not let in",
    "noise": "noise",
    "unknown": "unknown cause",
}
"""By EndClass."""

PROVENANCES: Mapping[str, str] = {
    "reported": "reported by the site",
    "people_count": "counted by the camera",
    "imported": "imported",
    "connections": "one for each endpoint without a count",
}
"""By Provenance: where a head count comes from, best first."""


def messages() -> set[str]:
    """Every text of this module, as a catalogue must have it."""
    return {*INCIDENT_KINDS.values(), *END_CLASSES.values(), *PROVENANCES.values()}
