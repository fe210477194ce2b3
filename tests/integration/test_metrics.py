"""The metrics say what is known, in the names the design promises, and never a zero that is not one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from conftrack.metrics import DURATION_BOUNDS, Metrics
from conftrack.model import LegRecord, MeetingRecord, Snapshot
from conftrack.state import OpenIncident, Site, SourceState, State, StreamState
from conftrack.storage.reader import IncidentTotals, SourceTotals
from tests.alerting import program

NOW = datetime(2026, 11, 24, 2, tzinfo=UTC)
SITES = ("PT-XA-A-01", "PT-XA-A-02", "PT-XA-B-01")

CONTRACT = {
    "conftrack_meetings_live": ("gauge", {"source"}),
    "conftrack_legs_live": ("gauge", {"source"}),
    "conftrack_attendees_live": ("gauge", {"source"}),
    "conftrack_endpoint_state": ("gauge", {"endpoint", "org", "state"}),
    "conftrack_endpoints": ("gauge", {"org", "state"}),
    "conftrack_endpoint_packet_loss_ratio": ("gauge", {"endpoint", "org", "direction"}),
    "conftrack_endpoint_jitter_seconds": ("gauge", {"endpoint", "org", "direction"}),
    "conftrack_endpoint_bitrate_bits_per_second": ("gauge", {"endpoint", "org", "direction"}),
    "conftrack_endpoint_incident": ("gauge", {"endpoint", "org", "kind", "end_class"}),
    "conftrack_incidents_total": ("counter", {"org", "kind", "end_class"}),
    "conftrack_incident_info": (
        "gauge",
        {"endpoint", "org", "kind", "name", "source", "meeting", "carrier", "area", "severity", "outage"},
    ),
    "conftrack_outage": ("gauge", {"scope", "name", "org", "carrier", "area", "source", "meeting"}),
    "conftrack_unknown_causes_total": ("counter", {"source"}),
    "conftrack_source_missing_records": ("gauge", {"source", "stream"}),
    "conftrack_meetings_total": ("counter", {"source"}),
    "conftrack_legs_total": ("counter", {"source"}),
    "conftrack_leg_seconds_total": ("counter", {"source"}),
    "conftrack_attendees_total": ("counter", {"source"}),
    "conftrack_meeting_duration_seconds": ("histogram", {"source"}),
    "conftrack_source_up": ("gauge", {"source", "stream"}),
    "conftrack_source_last_success_timestamp_seconds": ("gauge", {"source", "stream"}),
    "conftrack_source_cursor_timestamp_seconds": ("gauge", {"source", "stream"}),
    "conftrack_source_request_duration_seconds": ("histogram", {"source", "stream"}),
    "conftrack_source_requests_total": ("counter", {"source", "stream", "status"}),
    "conftrack_records_total": ("counter", {"source", "stream", "outcome"}),
    "conftrack_build_info": ("gauge", {"version"}),
}


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def leg(number: int, identity: str | None, room: str = "r1", **overrides: Any) -> LegRecord:
    given: dict[str, Any] = {"external_id": f"leg-{number}", "room": room, "identity": identity, "joined_at": NOW}
    return LegRecord(**given | overrides)


def source(legs: Iterable[LegRecord] = (), name: str = "pexip-main", *, seen: bool = True) -> SourceState:
    """A source whose last snapshot, of NOW, showed these legs; or one that was never seen."""
    made = SourceState(name=name, kind="pexip", live_interval=timedelta(seconds=10))
    if seen:
        legs = tuple(legs)
        meetings = (MeetingRecord(external_id=room, room=room) for room in {leg.room for leg in legs})
        made.board.observe(Snapshot(taken_at=NOW, meetings=tuple(meetings), legs=legs))
        made.streams["live"] = StreamState(up=True, last_success_at=NOW)
    return made


def totals(**overrides: Any) -> SourceTotals:
    durations = (1, 2, *(0,) * (len(DURATION_BOUNDS) - 2), 4)
    given: dict[str, Any] = {"meetings": 7, "legs": 90, "leg_seconds": 1e5, "attendees": 300, "durations": durations}
    return SourceTotals(**given | {"duration_seconds": 2e5} | overrides)


def incident(number: int, **overrides: Any) -> OpenIncident:
    given: dict[str, Any] = {
        "incident_id": number, "kind": "dropped", "source": "pexip-main", "endpoint": SITES[0], "identity": None,
        "org": SITES[0][:-3], "carrier": None, "area": None, "meeting_id": 7, "end_class": "dropped",
        "end_reason": None, "opened_at": NOW,
    }  # fmt: skip
    return OpenIncident(**given | overrides)


def state_of(*sources: SourceState) -> State:
    """With the three SITES in the inventory, each with the alias CODE@vc.example in lower case."""
    state = State(NOW)
    state.know_sites((Site(code=code, name=code, org=code[:-3]), (f"{code.lower()}@vc.example",)) for code in SITES)
    state.sources = {made.name: made for made in sources}
    return state


@pytest.fixture
def time() -> Time:
    return Time()


def scrape(metrics: Metrics) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """The samples of one scrape, by name and labels. Refuses a series that is there twice."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in read_text(metrics.expose("")[0].decode()):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in series, sample
            series[labels] = sample.value
    return found


def series(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def full(time: Time) -> Metrics:
    """Everything there is to say, in one source."""
    quality: dict[str, Any] = {"rx_loss": 0.01, "tx_loss": 0.02, "rx_bitrate": 1000, "tx_bitrate": 2000}
    quality["jitter_seconds"] = 0.003
    busy = source([leg(1, "pt-xa-a-01@vc.example", **quality), leg(2, "stranger@example.org", **quality)])
    busy.streams["participant"] = StreamState(up=False, last_success_at=NOW, cursor_at=NOW, missing=2)
    busy.totals = totals()
    state = state_of(busy)
    state.incidents = {1: incident(1, kind="outage", endpoint=None, carrier="VNPT"), 2: incident(2, parent_id=1)}
    state.incident_totals = IncidentTotals(
        incidents={("PT-XA-A", "dropped", "dropped"): 3}, unknown_causes={"pexip-main": 1}
    )
    metrics = Metrics(state, clock=time, version="1.2.3")
    metrics.observer("pexip-main")(stream="live", status="200", seconds=0.2)
    metrics.count_records("pexip-main", "live", inserted=1, updated=0, unchanged=5, rejected=0)
    return metrics


def test_names_types_and_labels_are_those_of_the_design(time: Time) -> None:
    """Dashboards and alerts that outsiders wrote against the design find every metric as promised, and no other."""
    found = {}
    for family in read_text(full(time).expose("")[0].decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        (labels,) = {frozenset(sample.labels.keys() - {"le"}) for sample in family.samples}
        found[name] = (family.type, set(labels))
        assert len(family.documentation) > 20, name

    assert {name: of for name, of in found.items() if not name.startswith("process_")} == CONTRACT


def test_an_incident_is_seen_while_it_goes_on(time: Time) -> None:
    """An alert finds which endpoint, why, in which meeting, and that nobody has looked at it for too long."""
    state = state_of(source())
    state.incidents = {1: incident(1), 2: incident(2, endpoint=None, org=None), 3: incident(3, endpoint=None, org=None)}
    metrics = Metrics(state, clock=time, version="1")

    found = scrape(metrics)
    of = {"endpoint": SITES[0], "org": SITES[0][:-3], "kind": "dropped"}
    assert found["conftrack_endpoint_incident"][series(**of, end_class="dropped")] == 1
    assert found["conftrack_endpoint_incident"][series(endpoint="", org="", kind="dropped", end_class="dropped")] == 1
    about = {**of, "name": SITES[0], "source": "pexip-main", "meeting": "7", "carrier": "", "area": "", "outage": ""}
    assert found["conftrack_incident_info"][series(**about, severity="warning")] == 1
    assert found["conftrack_endpoint_state"][series(endpoint=SITES[0], org=SITES[0][:-3], state="failed")] == 1

    time.now += timedelta(minutes=30)
    assert series(**about, severity="critical") in scrape(metrics)["conftrack_incident_info"]

    state.incidents = {1: incident(1, acknowledged_at=NOW)}
    assert series(**about, severity="warning") in scrape(metrics)["conftrack_incident_info"]

    state.incidents = {}
    assert "conftrack_endpoint_incident" not in scrape(metrics)


def test_an_outage_says_what_it_is_of_and_how_large(time: Time) -> None:
    """One alert for the carrier, with the number of endpoints, instead of one for each."""
    state = state_of(source())
    children = {number: incident(number, parent_id=1) for number in range(2, 8)}
    state.incidents = {1: incident(1, kind="outage", endpoint=None, org=None, carrier="VNPT"), **children}
    found = scrape(Metrics(state, clock=time, version="1"))

    (outage,) = found["conftrack_outage"].items()
    assert outage == (
        series(scope="carrier", name="VNPT", org="", carrier="VNPT", area="", source="pexip-main", meeting="7"),
        6,
    )
    assert {dict(labels)["kind"] for labels in found["conftrack_endpoint_incident"]} == {"dropped"}


def test_promtool_finds_nothing_that_is_not_meant(time: Time) -> None:
    """The exposition passes Prometheus's own linter, but for one unit."""
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=full(time).expose("")[0], capture_output=True, check=False
    )

    said = (checked.stdout + checked.stderr).decode().splitlines()
    # Bit/s is what every conference system says and every operator thinks in, so the design keeps it.
    assert said == ['conftrack_endpoint_bitrate_bits_per_second use base unit "bytes" instead of "bits"']


def test_openmetrics_is_spoken_to_who_asks_for_it(time: Time) -> None:
    """A Prometheus that asks for OpenMetrics gets it, valid, without series that count twice."""
    body, content_type = full(time).expose("application/openmetrics-text; version=1.0.0,text/plain;q=0.5")

    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = read_openmetrics(body.decode())  # type: ignore[no-untyped-call]
    names = {sample.name for family in families for sample in family.samples}
    assert "conftrack_meetings_total" in names
    assert not [name for name in names if name.endswith("_created")]


def test_a_source_that_cannot_be_seen_has_no_live_figures(time: Time) -> None:
    """After failed polls the live gauges are absent, not 0, while the counters stay what they were."""
    ill = source([leg(1, "pt-xa-a-01@vc.example", rx_loss=0.5)])
    ill.totals = totals()
    metrics = Metrics(state_of(ill), clock=time, version="1")
    before = scrape(metrics)
    ill.streams["live"].up = False
    time.now += ill.stale_after() + timedelta(seconds=1)
    after = scrape(metrics)

    live = {"conftrack_meetings_live", "conftrack_legs_live", "conftrack_attendees_live",
            "conftrack_endpoint_packet_loss_ratio"}  # fmt: skip
    assert live <= before.keys()
    assert not live & after.keys()
    assert after["conftrack_source_up"] == {series(source="pexip-main", stream="live"): 0}
    assert after["conftrack_meetings_total"] == before["conftrack_meetings_total"] == {series(source="pexip-main"): 7}


def test_one_failed_poll_changes_no_figure(time: Time) -> None:
    """Three meetings stay three while one poll in the middle fails, and after the next one."""
    legs = [leg(n, f"{code.lower()}@vc.example", room=f"r{n}") for n, code in enumerate(SITES)]
    busy = source(legs)
    busy.totals = totals(meetings=3)
    metrics = Metrics(state_of(busy), clock=time, version="1")
    seen = []
    for failed in (False, True, False):
        busy.streams["live"].up = not failed
        if not failed:
            busy.board.observe(Snapshot(taken_at=time.now, legs=tuple(legs)))
            busy.streams["live"].last_success_at = time.now
        said = scrape(metrics)
        seen.append((said["conftrack_meetings_live"], said["conftrack_meetings_total"]))
        time.now += timedelta(seconds=10)

    assert seen == [({series(source="pexip-main"): 3}, {series(source="pexip-main"): 3})] * 3


def test_a_fresh_and_empty_source_has_no_meetings(time: Time) -> None:
    """Zero is said when it is known: the source answers, and nobody meets."""
    said = scrape(Metrics(state_of(source()), clock=time, version="1"))

    assert said["conftrack_meetings_live"] == {series(source="pexip-main"): 0}
    assert said["conftrack_legs_live"] == {series(source="pexip-main"): 0}
    assert said["conftrack_endpoints"][series(org="PT-XA-A", state="in_meeting")] == 0


def test_nothing_is_said_before_the_first_reading(time: Time) -> None:
    """A source that was never read is neither up nor down, and has no figures."""
    said = scrape(Metrics(state_of(source(seen=False)), clock=time, version="1"))

    assert not [name for name in said if name.startswith(("conftrack_meetings", "conftrack_legs", "conftrack_source"))]


def test_live_figures_count_people_and_not_machines(time: Time) -> None:
    """A recorder counts nowhere; two devices of one site are two legs and one endpoint; ringing is not yet there."""
    busy = source([
        leg(1, "pt-xa-a-01@vc.example"),
        leg(2, "pt-xa-a-01@vc.example"),
        leg(3, "pt-xa-b-01@vc.example", joined_at=None),
        leg(4, "recorder@vc.example", room="r2", excluded="recorder"),
        leg(5, None),
        leg(6, None),
        leg(7, "guest", room="r3", personal=True),
    ])  # fmt: skip
    said = scrape(Metrics(state_of(busy), clock=time, version="1"))

    assert said["conftrack_meetings_live"] == {series(source="pexip-main"): 2}
    assert said["conftrack_legs_live"] == {series(source="pexip-main"): 5}
    assert said["conftrack_attendees_live"] == {series(source="pexip-main"): 4}


def test_an_endpoint_is_in_one_state_and_unknown_is_never_zero(time: Time) -> None:
    """While one of two sources is blind, who is not seen in a meeting is unknown, and no unit is said to have none."""
    seen = source([leg(1, "pt-xa-a-01@vc.example")])
    metrics = Metrics(state_of(seen, source(name="blind", seen=False)), clock=time, version="1")
    said = scrape(metrics)

    assert said["conftrack_endpoint_state"] == {
        series(endpoint="PT-XA-A-01", org="PT-XA-A", state="in_meeting"): 1,
        series(endpoint="PT-XA-A-02", org="PT-XA-A", state="unknown"): 1,
        series(endpoint="PT-XA-B-01", org="PT-XA-B", state="unknown"): 1,
    }
    assert said["conftrack_endpoints"] == {
        series(org="PT-XA-A", state="in_meeting"): 1,
        series(org="PT-XA-A", state="unknown"): 1,
        series(org="PT-XA-B", state="unknown"): 1,
    }


def test_a_site_that_left_the_inventory_leaves_the_metrics(time: Time) -> None:
    """The scrape after a site is removed has none of its series (prometheus/client_python#532)."""
    busy = source([leg(n, f"{code.lower()}@vc.example", rx_loss=0.1) for n, code in enumerate(SITES)])
    state = state_of(busy)
    metrics = Metrics(state, clock=time, version="1")
    assert b"PT-XA-A-02" in metrics.expose("")[0]

    state.know_sites((site, (f"{site.code.lower()}@vc.example",)) for site in state.sites.values()
                     if site.code != "PT-XA-A-02")  # fmt: skip

    assert b"PT-XA-A-02" not in metrics.expose("")[0]
    assert b"PT-XA-A-01" in metrics.expose("")[0]


def test_quality_is_the_worst_of_an_endpoint_and_no_name_of_a_caller(time: Time) -> None:
    """Several legs give the worst loss and the bitrate of all; strangers share one series; unsampled is absent."""
    busy = source([
        leg(1, "pt-xa-a-01@vc.example", rx_loss=0.01, tx_loss=0.0, rx_bitrate=1000),
        leg(2, "pt-xa-a-01@vc.example", rx_loss=0.07, jitter_seconds=0.02, rx_bitrate=500),
        leg(3, "stranger@example.org", rx_loss=0.2),
        leg(4, "other@example.org", rx_loss=0.3),
        leg(5, "pt-xa-b-01@vc.example"),
    ])  # fmt: skip
    said = scrape(Metrics(state_of(busy), clock=time, version="1"))

    rx = series(endpoint="PT-XA-A-01", org="PT-XA-A", direction="rx")
    tx = series(endpoint="PT-XA-A-01", org="PT-XA-A", direction="tx")
    strangers = series(endpoint="", org="", direction="rx")
    assert said["conftrack_endpoint_packet_loss_ratio"] == {rx: 0.07, tx: 0.0, strangers: 0.3}
    assert said["conftrack_endpoint_jitter_seconds"] == {rx: 0.02}
    assert said["conftrack_endpoint_bitrate_bits_per_second"] == {rx: 1500}


def test_counters_come_from_the_facts_and_never_fall(time: Time) -> None:
    """They go on where they stood after a restart, and a late correction does not look like a restart."""
    busy = source()
    state = state_of(busy)
    metrics = Metrics(state, clock=time, version="1")
    assert "conftrack_meetings_total" not in scrape(metrics)

    busy.totals = totals()
    first = scrape(metrics)
    busy.totals = totals(meetings=6, legs=91, durations=(1, 1, *(0,) * (len(DURATION_BOUNDS) - 2), 4))
    corrected = scrape(metrics)

    of = series(source="pexip-main")
    assert first["conftrack_leg_seconds_total"] == {of: 1e5}
    assert corrected["conftrack_meetings_total"] == {of: 7}
    assert corrected["conftrack_legs_total"] == {of: 91}
    bucket = "conftrack_meeting_duration_seconds_bucket"
    assert first[bucket][series(source="pexip-main", le="300.0")] == 1
    assert first[bucket][series(source="pexip-main", le="28800.0")] == 3
    assert first[bucket][series(source="pexip-main", le="+Inf")] == 7
    assert corrected[bucket] == first[bucket]


def test_requests_and_records_are_counted(time: Time) -> None:
    """The platform engineer sees how long a system takes, what it answers, and that nothing was rejected."""
    metrics = full(time)
    metrics.observer("pexip-main")(stream="live", status="timeout", seconds=30)
    said = scrape(metrics)

    assert said["conftrack_source_requests_total"] == {
        series(source="pexip-main", stream="live", status="200"): 1,
        series(source="pexip-main", stream="live", status="timeout"): 1,
    }
    assert said["conftrack_source_request_duration_seconds_sum"] == {series(source="pexip-main", stream="live"): 30.2}
    assert said["conftrack_records_total"][series(source="pexip-main", stream="live", outcome="unchanged")] == 5
    assert said["conftrack_records_total"][series(source="pexip-main", stream="participant", outcome="rejected")] == 0
    assert said["conftrack_source_cursor_timestamp_seconds"] == {
        series(source="pexip-main", stream="participant"): NOW.timestamp()
    }
    assert not [name for name in said if name.endswith("_created")]
