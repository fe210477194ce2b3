"""What the codes and the parts of a report are called, in English: keys of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

MEETING_KINDS: Mapping[str, str] = {
    "planned": "planned",
    "standing": "standing",
    "unplanned": "unplanned",
}
"""By MeetingKind."""

PRESENCES: Mapping[str, str] = {
    "attended": "attended",
    "brief": "came briefly",
    "absent": "absent without an excuse",
    "excused": "absent with an excuse",
    "unknown": "not known",
}
"""By Presence."""

OTHER_FIGURES: Mapping[str, str] = {
    "attendees_by_provenance": "People by where the number comes from",
    "incidents_by_kind": "Incidents by kind",
    "incidents_closed": "Incidents that ended",
    "people_spared": "People who did not have to travel",
    "good_seconds": "Service hours without an incident",
    "bad_seconds": "Service hours with an incident",
    "maintenance_seconds": "Service hours in maintenance",
    "unseen_seconds": "Hours not seen",
    "presence_seconds": "Hours present",
    "name": "Endpoint",
    "unit": "Unit",
    "seats": "Seats",
    "title": "Meeting",
    "ended_at": "Ended",
    "kind": "Kind",
    "presence": "What became of it",
    "reason": "Reason",
    "polls": "Readings",
    "failed_polls": "Failed readings",
    "source_total": "Records by the source",
    "stored_total": "Records stored",
    "windows": "Windows checked",
    "short_windows": "Windows short of records",
    "rejected": "Records not understood",
    "read_until": "Read up to",
    "ever_read": "Has been read",
}
"""What stands in a report beside the figures of DEFINITIONS: those are made of it."""


def messages() -> set[str]:
    """Every text of this module, as a catalogue must have it."""
    return {*MEETING_KINDS.values(), *PRESENCES.values(), *OTHER_FIGURES.values()}
