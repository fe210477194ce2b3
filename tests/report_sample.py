"""A report made by hand: figures that no form can mistake for one another, of a province with two levels of units."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec

from conftrack.report.model import (
    Absence,
    Addendum,
    Assumptions,
    Beginnings,
    Certificate,
    Change,
    Closed,
    Earlier,
    EndpointFigures,
    Figures,
    Held,
    Part,
    Report,
    Scope,
    Scoped,
    Unit,
)

MONTH = date(2026, 10, 1)
MADE_AT = datetime(2026, 11, 2, 1, 30, tzinfo=UTC)
UNITS = (
    Unit(code="T", name="UBND tỉnh Phú Thọ", level=0),
    Unit(code="SYT", name="Sở Y tế", parent="T", level=1),
    Unit(code="TTYT", name="Trung tâm Y tế Việt Trì", parent="SYT", level=2),
    Unit(code="SGD", name="Sở Giáo dục và Đào tạo", parent="T", level=1),
    Unit(code="XHB", name="Ủy ban nhân dân xã Hạ Hòa", parent="T", level=1),
)
SOURCES = ("pexip-main", "janus")


def figures(seed: int = 1) -> Figures:
    """All figures of a scope, each different from those of another seed."""
    n = 1000 * seed
    return Figures(
        meetings=n + 1,
        meetings_by_size=(Part(name="1", count=n - 9), Part(name="10", count=7), Part(name="100", count=3)),
        meetings_by_kind=(Part(name="planned", count=n - 4), Part(name="unplanned", count=5)),
        not_held=n + 2,
        legs=n + 303,
        endpoint_connections=n + 204,
        endpoints=n + 105,
        attendees=n + 906,
        attendees_by_provenance=(Part(name="reported", count=n + 900), Part(name="connections", count=6)),
        meeting_seconds=3600.0 * (n + 11),
        leg_seconds=3600.0 * (n + 12),
        person_seconds=3600.0 * (n + 13),
        expected=n + 20,
        attended=n // 2,
        brief=n // 10 + 1,
        absent=n // 10 + 2,
        excused=n // 10 + 3,
        unknown=n // 10 + 14,
        on_time=n // 4,
        late=n // 4 + 1,
        failed_connections=n + 31,
        incidents=n + 32,
        incidents_by_kind=(Part(name="dropped", count=n + 30), Part(name="absent", count=2)),
        incidents_by_cause=(Part(name="unreachable", count=n + 29), Part(name="quality", count=3)),
        incidents_by_owner=(Part(name="carrier", count=n + 28), Part(name="line", count=4)),
        incidents_closed=n,
        incident_seconds=754.0 * n,
        good_seconds=9_987_000.0,
        bad_seconds=13_000.0 * seed,
        peak_legs=n // 5 + 7,
        heat=tuple(
            Beginnings(weekday=day, hour=hour, meetings=(day * 7 + hour * 3) % 11 + day)
            for day in range(5)
            for hour in (7, 8, 9, 13, 14)
        ),
        people_spared=n + 700,
    )


def endpoint(number: int, unit: str = "TTYT", **values: object) -> EndpointFigures:
    """The endpoint of that number: every third was never used, every fourth failed."""
    used, failed = number % 3 != 0, number % 4 == 1
    made = EndpointFigures(
        code=f"DC{number:05}",
        name=f"Phòng họp số {number}, Nguyễn Tất Thành",
        unit=unit,
        seats=20,
        endpoint_connections=10_000 + number if used else 0,
        legs=20_000 + number if used else 0,
        attendees=30_000 + number if used else 0,
        person_seconds=3600.0 * (40_000 + number) if used else 0,
        expected=50 + number,
        attended=40 if used else 0,
        absent=number,
        absence_streak=number % 6,
        failed_connections=number % 5,
        incidents=2 if failed else 0,
        incidents_closed=2 if failed else 0,
        incident_seconds=3600.0 * number if failed else 0,
        good_seconds=600_000.0,
        bad_seconds=60.0 * number if failed else 0,
    )
    return msgspec.structs.replace(made, **values)


def report(endpoints: int = 14, **values: object) -> Report:
    """A month that is over and whole; `values` replace fields."""
    start = datetime(2026, 10, 5, 1, 0, tzinfo=UTC)
    scopes = [
        Scope(source=source, unit=unit) for source in (None, *SOURCES) for unit in (None, *(u.code for u in UNITS))
    ]
    scopes += [Scope(unit="SYT", alone=True)]
    scoped = tuple(Scoped(scope=scope, figures=figures(seed)) for seed, scope in enumerate(scopes, 1))
    leaves = ("TTYT", "SYT", "SGD", "XHB")
    made = Report(
        month=MONTH,
        since=MONTH,
        until=date(2026, 11, 1),
        timezone="Asia/Ho_Chi_Minh",
        tree="then",
        made_at=MADE_AT,
        is_open=False,
        units=UNITS,
        figures=scoped,
        endpoints=tuple(endpoint(number, leaves[number % 4]) for number in range(1, endpoints + 1)),
        absences=tuple(
            Absence(
                endpoint=f"DC{number:05}", source=SOURCES[number % 2], room=f"room-{number}",
                title=f"Giao ban tuần {number}", starts_at=start + timedelta(days=number % 20),
                presence="excused" if number % 2 else "absent", reason="Mất điện toàn xã" if number % 2 else None,
                unit=leaves[number % 4],
            )
            for number in range(1, min(endpoints, 12) + 1)
        ),
        meetings=tuple(
            Held(
                source=SOURCES[number % 2], room=f"room-{number}", title=f"Giao ban tuần {number}",
                started_at=start + timedelta(days=number), ended_at=start + timedelta(days=number, minutes=95),
                kind="planned", endpoints=60 + number, attendees=700 + number, expected=80 + number, attended=55,
            )
            for number in range(1, 9)
        ),
        certificates=(
            Certificate(
                source="pexip-main", polls=267_841, failed_polls=12, source_total=5012, stored_total=5011, windows=744,
                short_windows=1, rejected=3, unseen_seconds=840.0, read_until=None,
            ),
            Certificate(
                source="janus", polls=44_640, failed_polls=0, source_total=None, stored_total=None, windows=0,
                short_windows=0, rejected=0, unseen_seconds=0.0, read_until=None,
            ),
        ),
        month_before=Earlier(
            month=date(2026, 9, 1), figures=figures(51),
            units=tuple(Scoped(scope=Scope(unit=unit.code), figures=figures(52 + n)) for n, unit in enumerate(UNITS)),
        ),
        year_before=Earlier(month=date(2025, 10, 1), figures=None),
        assumptions=Assumptions(licence=500, travel_km=60.0, cost_per_km=2000.0),
    )  # fmt: skip
    return msgspec.structs.replace(made, **values)


def closed(addenda: int = 1, **values: object) -> Closed:
    """The same, closed, and corrected since."""
    signed = report(**values)  # type: ignore[arg-type]
    later = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
    return Closed(
        report=signed,
        closed_at=datetime(2026, 11, 3, 2, 15, tzinfo=UTC),
        closed_by="vanphong",
        digest="ab12" * 16,
        addenda=tuple(
            Addendum(
                number=number, made_at=later + timedelta(days=number), made_by="truc", report=signed,
                digest="cd34" * 16,
                changes=(
                    Change(of="* / *", figure="attendees", before=1906, after=1955),
                    Change(of="* / *", figure="incidents_by_cause.unreachable", before=None, after=77),
                    Change(of="* / SYT", figure="meeting_seconds", before=3600.0, after=7200.0),
                    Change(of="DC00003", figure="attendees", before=0, after=4321),
                ),
            )
            for number in range(1, addenda + 1)
        ),
    )  # fmt: skip
