"""The metrics of incidents: which are open and what they are about, and how many there were."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from conftrack.state import OpenIncident, State


class IncidentMetrics:
    """Renders the incidents of `state`."""

    def __init__(self, state: State) -> None:
        self._state = state
        # The highest that the totals stood at: a late correction may take an incident back, and a counter that falls
        # would be taken for a restart.
        self._reached: dict[tuple[str, str, str], int] = {}
        self._unknown_reached: dict[str, int] = {}

    def collect(self, now: datetime) -> Iterator[Metric]:
        """Every family, as it is at this moment."""
        each = GaugeMetricFamily(
            "conftrack_endpoint_incident",
            '1 while an incident of the endpoint goes on; endpoint="" stands for all callers outside the inventory. '
            "While its source cannot be seen none opens or closes.",
            labels=("endpoint", "org", "kind", "end_class"),
        )
        info = GaugeMetricFamily(
            "conftrack_incident_info",
            "1 while an incident of the endpoint goes on: what it is about, for alerts. meeting is its number on the "
            'pages; severity: critical once it was not acknowledged for half an hour; outage="1": it is part of one.',
            labels=(
                "endpoint", "org", "kind", "name", "source", "meeting", "carrier", "area", "severity", "outage",
            ),
        )  # fmt: skip
        outages = GaugeMetricFamily(
            "conftrack_outage",
            "How many endpoints of one unit, carrier or area are failing at once in one meeting, while they are.",
            labels=("scope", "name", "org", "carrier", "area", "source", "meeting"),
        )
        incidents = self._state.incidents.values()
        parts = Tally(incident.parent_id for incident in incidents if incident.parent_id is not None)
        for incident in incidents:
            source, meeting = incident.source or "", str(incident.meeting_id or "")
            org, carrier, area = incident.org or "", incident.carrier or "", incident.area or ""
            if incident.kind == "outage":
                scope = "carrier" if carrier else "area" if area else "org"
                labels = (scope, org or carrier or area, org, carrier, area, source, meeting)
                outages.add_metric(labels, parts[incident.incident_id])
        open_ones = [incident for incident in incidents if incident.kind != "outage"]
        for of in dict.fromkeys((i.endpoint or "", i.org or "", i.kind, i.end_class or "") for i in open_ones):
            each.add_metric(of, 1)
        said: dict[tuple[str, ...], OpenIncident] = {}
        for incident in open_ones:  # several of a caller outside the inventory, or in two meetings: the oldest
            said.setdefault((incident.endpoint or "", incident.kind), incident)
        for incident in said.values():
            site = self._state.sites.get(incident.endpoint or "")
            info.add_metric(
                (
                    incident.endpoint or "", incident.org or "", incident.kind, site.name if site is not None else "",
                    incident.source or "", str(incident.meeting_id or ""), incident.carrier or "", incident.area or "",
                    incident.severity(now), "1" if incident.parent_id is not None else "",
                ),
                1,
            )  # fmt: skip
        total = CounterMetricFamily(
            "conftrack_incidents", "Incidents of endpoints, since conftrack first saw them.",
            labels=("org", "kind", "end_class"),
        )  # fmt: skip
        unknown = CounterMetricFamily(
            "conftrack_unknown_causes",
            "Connections that ended with words that conftrack does not know. A growing number says that the conference "
            "system has learnt new ones.",
            labels=("source",),
        )
        if (totals := self._state.incident_totals) is not None:
            for key, count in totals.incidents.items():
                self._reached[key] = max(count, self._reached.get(key, 0))
            for source, count in totals.unknown_causes.items():
                self._unknown_reached[source] = max(count, self._unknown_reached.get(source, 0))
        for key, count in self._reached.items():
            total.add_metric(key, count)
        for source, count in self._unknown_reached.items():
            unknown.add_metric((source,), count)
        yield from (each, info, outages, total, unknown)
