"""What the figures, the codes and the parts of a report are called, in English: keys of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

DEFINITIONS: Mapping[str, tuple[str, str]] = {
    "meetings": (
        "Meetings",
        "Meetings that somebody came to, from the first join to the last leave. Each belongs to the day and month it "
        "began in. Of a unit: those it was in.",
    ),
    "meetings_by_size": ("Meetings by size", "By how many endpoints were in the meeting, of whatever unit."),
    "meetings_by_kind": (
        "Meetings by kind",
        "Planned: somebody was invited at a time. Standing: the room has a standing list. Unplanned: nobody was "
        "invited.",
    ),
    "not_held": ("Meetings not held", "Planned meetings that nobody came to. They are in no other figure."),
    "legs": (
        "Connections",
        "Lines that were up. An endpoint that drops and dials again makes two; recorders, streams and attempts make "
        "none.",
    ),
    "endpoint_connections": (
        "Endpoint connections",
        "One endpoint in one meeting, however many connections it made.",
    ),
    "endpoints": (
        "Endpoints",
        "Different endpoints that were in a meeting, each once in the month, however often it came.",
    ),
    "attendees": (
        "People",
        "The people at the endpoints, once for each meeting: the site’s own count, else the camera’s, else an import, "
        "else one for each endpoint connection.",
    ),
    "meeting_seconds": ("Meeting hours", "How long the meetings lasted, added up. Of a unit: the meetings it was in."),
    "leg_seconds": ("Connection hours", "How long the connections were up, added up."),
    "person_seconds": (
        "Person hours",
        "The people at each endpoint times how long the endpoint was in the meeting, gaps up to 5 minutes bridged.",
    ),
    "expected": ("Expected", "Endpoints invited to meetings that were held, each once a meeting."),
    "attended": (
        "Attended",
        "Expected endpoints that were present for 5 minutes or a tenth of the meeting, whichever is less.",
    ),
    "participation": (
        "Participation rate",
        "Attended, of those expected whose coming could be seen. Excused ones stay in the whole.",
    ),
    "on_time": ("On time", "Expected endpoints that were there at the start of a planned meeting."),
    "on_time_rate": ("On-time rate", "On time, of the expected endpoints that came to planned meetings."),
    "late": ("Late", "Expected endpoints that came to a planned meeting after its start."),
    "brief": ("Came briefly", "Expected endpoints that came, for less than counts as attending."),
    "absent": ("Absent", "Expected endpoints that did not come, without an excuse."),
    "excused": ("Excused", "Expected endpoints that did not come and gave a reason."),
    "unknown": ("Not known", "Expected endpoints of which nobody could see whether they came."),
    "failed_connections": (
        "Failed connections",
        "Attempts that never connected: no answer, unreachable, no agreement on codec, or no capacity. Busy, declined "
        "and refused are not among them.",
    ),
    "incidents": (
        "Incidents",
        "Episodes of an endpoint failing, also of not being there 5 minutes after the start of a meeting it was "
        "expected at, even if it came later. Those of an outage each by itself, the outage not besides.",
    ),
    "incidents_by_cause": ("Incidents by cause", "By how the connection ended, where one did; else by what was seen."),
    "incidents_by_owner": (
        "Incidents by owner",
        "Whose fault: as an operator confirmed, else as the cause suggests.",
    ),
    "incident_seconds": ("Incident hours", "How long incidents that ended lasted, added up."),
    "mean_repair": ("Mean time to repair", "Incident hours, of the incidents that ended."),
    "availability": (
        "Availability",
        "The time without an incident, of the time in service hours that was neither maintenance nor unknown.",
    ),
    "peak_legs": ("Most connections at once", "The most that were up at the same moment."),
    "utilisation": ("Use of the licence", "Most connections at once, of those the licence allows."),
    "heat": ("When meetings begin", "Meetings by the hour and weekday they began in, local time."),
    "savings": (
        "Travel saved",
        "People at all endpoints of each meeting but its largest, times the distance and the cost that are assumed.",
    ),
    "absence_streak": (
        "Absences in a row",
        "The most meetings in a row that an endpoint was expected at and absent from.",
    ),
}
"""What every figure is called and what it counts, in English: the one place. Catalogues translate both."""

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
    told = {text for texts in DEFINITIONS.values() for text in texts}
    return told | {*MEETING_KINDS.values(), *PRESENCES.values(), *OTHER_FIGURES.values()}
