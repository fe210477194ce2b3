"""Every metric: name, help, labels, and how its value follows from what is in memory.

A scrape asks nobody anything. What goes on now is written afresh for each scrape, so that a site which has left the
inventory leaves the metrics with it; what is not known is absent, never zero.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from conftrack.live import figures, live_meetings
from conftrack.metrics.incidents import IncidentMetrics
from conftrack.sources.base import Clock, Observer
from conftrack.state import Site, SourceState, State
from conftrack.storage.reader import SourceTotals

DURATION_BOUNDS = (300, 900, 1800, 3600, 5400, 7200, 10800, 14400, 28800)
"""Seconds: upper bounds (inclusive) of the buckets of `conftrack_meeting_duration_seconds`."""

OUTCOMES = ("inserted", "updated", "unchanged", "rejected")


class Metrics:
    """Renders `state` for Prometheus, and counts what sources are asked and what becomes of their records."""

    def __init__(self, state: State, *, clock: Clock, version: str) -> None:
        self._state = state
        self._clock = clock
        self._version = version
        self._reached: dict[str, _Reached] = {}
        self._incidents = IncidentMetrics(state)
        # Not registered: they are rendered by `collect`, without the `_created` series that would double their number.
        self._seconds = Histogram(
            "conftrack_source_request_duration_seconds",
            "How long the conference system took to answer one request, in seconds, failed requests too. A rising "
            "upper quantile is the first sign that a system is in trouble, or that it is asked too much.",
            ("source", "stream"), registry=None, buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )  # fmt: skip
        self._requests = Counter(
            "conftrack_source_requests",
            "Requests made to the conference system, by the HTTP status of the answer or, without one, by what "
            "happened instead (such as a time-out).",
            ("source", "stream", "status"), registry=None,
        )  # fmt: skip
        self._records = Counter(
            "conftrack_records",
            "Records read from the conference system, by what became of them: inserted and updated changed the "
            "database, unchanged were known already (normal: every reading overlaps the one before), rejected could "
            "not be understood and are kept for `conftrack rejected`.",
            ("source", "stream", "outcome"), registry=None,
        )  # fmt: skip
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def observer(self, source: str) -> Observer:
        """What the source tells of each request it makes."""

        def observe(*, stream: str, status: str, seconds: float) -> None:
            self._seconds.labels(source, stream).observe(seconds)
            self._requests.labels(source, stream, status).inc()

        return observe

    def count_records(
        self, source: str, stream: str, *, inserted: int, updated: int, unchanged: int, rejected: int
    ) -> None:
        for outcome, count in zip(OUTCOMES, (inserted, updated, unchanged, rejected), strict=True):
            self._records.labels(source, stream, outcome).inc(count)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Everything, in the format that suits the Accept header (Prometheus text or OpenMetrics): body and type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def collect(self) -> Iterator[Metric]:
        """For the registry: every family as it is at this moment."""
        yield from self._now()
        yield from self._endpoints()
        yield from self._incidents.collect(self._clock())
        yield from self._quality()
        yield from self._totals()
        yield from self._sources()
        for counted in (self._seconds, self._requests, self._records):
            for family in counted.collect():
                family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
                yield family
        build = GaugeMetricFamily(
            "conftrack_build_info", "Always 1; the version of conftrack that runs is the label.", labels=("version",)
        )
        build.add_metric((self._version,), 1)
        yield build

    def _fresh(self) -> list[SourceState]:
        now = self._clock()
        return [source for source in self._state.sources.values() if source.fresh(now)]

    def _now(self) -> Iterator[Metric]:
        absent = " Absent while the source cannot be seen: then it is not known."
        meetings = GaugeMetricFamily(
            "conftrack_meetings_live", "Meetings going on: rooms in which somebody is." + absent, labels=("source",)
        )
        legs = GaugeMetricFamily(
            "conftrack_legs_live",
            "Connections of endpoints and people that are up; recorders and streams are not counted." + absent,
            labels=("source",),
        )
        attendees = GaugeMetricFamily(
            "conftrack_attendees_live",
            "People in meetings, at the least: one for each endpoint in each meeting, however many sit there." + absent,
            labels=("source",),
        )
        for source in self._fresh():
            count = figures(live_meetings(self._state, source))
            labels = (source.name,)
            meetings.add_metric(labels, count.meetings)
            legs.add_metric(labels, count.legs)
            attendees.add_metric(labels, count.people)
        yield from (meetings, legs, attendees)

    def _endpoints(self) -> Iterator[Metric]:
        each = GaugeMetricFamily(
            "conftrack_endpoint_state",
            "1 for the state that an endpoint of the inventory is in: in_meeting, degraded (in one, with trouble), "
            "failed (not where it should be), maintenance, idle, or unknown while a source cannot be seen.",
            labels=("endpoint", "org", "state"),
        )
        counts = GaugeMetricFamily(
            "conftrack_endpoints",
            "Endpoints of the inventory in each state, by organisation unit. A zero is given only where the state of "
            "all the unit's endpoints is known.",
            labels=("org", "state"),
        )
        tally: Tally[tuple[str, str]] = Tally()
        for code, state in self._state.site_states(self._clock()).items():
            org = self._state.sites[code].org or ""
            each.add_metric((code, org, state), 1)
            tally[org, state] += 1
        for org in dict.fromkeys(org for org, _ in tally):
            unknown = tally[org, "unknown"]
            counts.add_metric((org, "unknown"), unknown)
            for state in ("in_meeting", "idle", "failed", "degraded", "maintenance"):
                if tally[org, state] or not unknown:
                    counts.add_metric((org, state), tally[org, state])
        yield from (each, counts)

    def _quality(self) -> Iterator[Metric]:
        labels = ("endpoint", "org", "direction")
        loss = GaugeMetricFamily(
            "conftrack_endpoint_packet_loss_ratio",
            "Share of packets lost, 0 to 1, worst of the endpoint's connections: rx from the endpoint to the "
            'conference system, tx to the endpoint. endpoint="" stands for all callers outside the inventory.',
            labels=labels,
        )
        jitter = GaugeMetricFamily(
            "conftrack_endpoint_jitter_seconds",
            "Variation of packet delay in seconds, worst of the endpoint's connections.", labels=labels,
        )  # fmt: skip
        bitrate = GaugeMetricFamily(
            "conftrack_endpoint_bitrate_bits_per_second",
            "Media in bits per second, all of the endpoint's connections together: rx from the endpoint, tx to it.",
            labels=labels,
        )
        endpoints: dict[tuple[str, str], _Quality] = {}
        for source in self._fresh():
            for leg in source.board.people():
                key = _labels(self._state.site(leg))
                if (quality := endpoints.get(key)) is None:
                    quality = endpoints[key] = _Quality()
                quality.rx_loss = _worst(quality.rx_loss, leg.rx_loss)
                quality.tx_loss = _worst(quality.tx_loss, leg.tx_loss)
                quality.jitter = _worst(quality.jitter, leg.jitter_seconds)
                quality.rx_bitrate = _sum(quality.rx_bitrate, leg.rx_bitrate)
                quality.tx_bitrate = _sum(quality.tx_bitrate, leg.tx_bitrate)
        for (endpoint, org), quality in endpoints.items():
            rx, tx = (endpoint, org, "rx"), (endpoint, org, "tx")
            for family, of, value in (
                (loss, rx, quality.rx_loss),
                (loss, tx, quality.tx_loss),
                (jitter, rx, quality.jitter),
                (bitrate, rx, quality.rx_bitrate),
                (bitrate, tx, quality.tx_bitrate),
            ):
                if value is not None:
                    family.add_metric(of, value)
        yield from (loss, jitter, bitrate)

    def _totals(self) -> Iterator[Metric]:
        """From the facts in the database, as the collector read them last: they go on after a restart."""
        meetings = CounterMetricFamily(
            "conftrack_meetings", "Meetings with people in them, since conftrack first saw the source.",
            labels=("source",),
        )  # fmt: skip
        legs = CounterMetricFamily(
            "conftrack_legs",
            "Connections of endpoints and people that were up. One that drops and dials again counts twice.",
            labels=("source",),
        )
        leg_seconds = CounterMetricFamily(
            "conftrack_leg_seconds", "Seconds that those connections lasted, added up.", labels=("source",)
        )
        attendees = CounterMetricFamily(
            "conftrack_attendees",
            "People in meetings, by the best head count of each endpoint in each meeting.", labels=("source",),
        )  # fmt: skip
        durations = HistogramMetricFamily(
            "conftrack_meeting_duration_seconds", "How long ended meetings took, in seconds.", labels=("source",)
        )
        bounds = (*map(floatToGoString, DURATION_BOUNDS), "+Inf")
        for source in self._state.sources.values():
            if source.totals is None:
                continue
            reached = self._reached.setdefault(source.name, _Reached())
            reached.rise(source.totals)
            labels = (source.name,)
            meetings.add_metric(labels, reached.meetings)
            legs.add_metric(labels, reached.legs)
            leg_seconds.add_metric(labels, reached.leg_seconds)
            attendees.add_metric(labels, reached.attendees)
            durations.add_metric(labels, list(zip(bounds, reached.durations, strict=True)), reached.duration_seconds)
        yield from (meetings, legs, leg_seconds, attendees, durations)

    def _sources(self) -> Iterator[Metric]:
        labels = ("source", "stream")
        up = GaugeMetricFamily(
            "conftrack_source_up",
            "1 if the last reading of the stream went well, else 0. Absent before the first.", labels=labels,
        )  # fmt: skip
        success = GaugeMetricFamily(
            "conftrack_source_last_success_timestamp_seconds",
            "When the stream was last read well, in seconds since 1970: time() minus this is how stale it is.",
            labels=labels,
        )
        cursor = GaugeMetricFamily(
            "conftrack_source_cursor_timestamp_seconds",
            "Up to when the stream's history has been read and stored, in seconds since 1970.", labels=labels,
        )  # fmt: skip
        missing = GaugeMetricFamily(
            "conftrack_source_missing_records",
            "How many records the source says it holds more than are stored here, in the newest window that was read.",
            labels=labels,
        )
        for source in self._state.sources.values():
            for name, stream in source.streams.items():
                of = (source.name, name)
                if stream.missing is not None:
                    missing.add_metric(of, stream.missing)
                for outcome in OUTCOMES:
                    self._records.labels(*of, outcome)  # from now on 0 at least
                if stream.up is not None:
                    up.add_metric(of, stream.up)
                if stream.last_success_at is not None:
                    success.add_metric(of, stream.last_success_at.timestamp())
                if stream.cursor_at is not None:
                    cursor.add_metric(of, stream.cursor_at.timestamp())
        yield from (up, success, cursor, missing)


@dataclass(slots=True)
class _Quality:
    rx_loss: float | None = None
    tx_loss: float | None = None
    jitter: float | None = None
    rx_bitrate: int | None = None
    tx_bitrate: int | None = None


@dataclass(slots=True)
class _Reached:
    """The highest that a source's totals stood at. Late corrections may lower a total; a counter that falls would be
    taken for a restart, and everything before it counted again."""

    meetings: int = 0
    legs: int = 0
    leg_seconds: float = 0.0
    attendees: int = 0
    #: Cumulative, as Prometheus has them.
    durations: Sequence[int] = (0,) * (len(DURATION_BOUNDS) + 1)
    duration_seconds: float = 0.0

    def rise(self, totals: SourceTotals) -> None:
        self.meetings = max(self.meetings, totals.meetings)
        self.legs = max(self.legs, totals.legs)
        self.leg_seconds = max(self.leg_seconds, totals.leg_seconds)
        self.attendees = max(self.attendees, totals.attendees)
        self.durations = tuple(map(max, self.durations, accumulate(totals.durations)))
        self.duration_seconds = max(self.duration_seconds, totals.duration_seconds)


def _labels(site: Site | None) -> tuple[str, str]:
    return (site.code, site.org or "") if site is not None else ("", "")


def _worst(so_far: float | None, value: float | None) -> float | None:
    return value if so_far is None else so_far if value is None else max(so_far, value)


def _sum(so_far: int | None, value: int | None) -> int | None:
    return value if so_far is None else so_far if value is None else so_far + value
