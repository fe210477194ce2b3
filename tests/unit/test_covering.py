"""What a mail with a report says, in Vietnamese and English, as text and as HTML."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from conftrack.report.covering import Edition, file_name, letter, standing
from conftrack.report.model import (
    Addendum,
    Assumptions,
    Certificate,
    Change,
    Closed,
    Earlier,
    Figures,
    Part,
    Report,
    Scope,
    Scoped,
    Unit,
)

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
AT = datetime(2026, 11, 3, 0, tzinfo=UTC)
WARD = Scope(unit="W1")
FIGURES = Figures(
    meetings=42, legs=3120, endpoint_connections=2980, endpoints=310, attendees=25110,
    attendees_by_provenance=(Part("reported", 15000), Part("imported", 5000), Part("connections", 5110)),
)  # fmt: skip


def report(figures: Figures = FIGURES, *certificates: Certificate, name: str = "Phường Việt Trì") -> Report:
    return Report(
        month=date(2026, 10, 1), since=date(2026, 9, 15), until=date(2026, 10, 15), timezone=ZONE.key, tree="then",
        made_at=AT, is_open=False, units=(Unit("W1", name),), figures=(Scoped(Scope(), figures), Scoped(WARD, figures)),
        endpoints=(), absences=(), meetings=(), certificates=certificates,
        month_before=Earlier(date(2026, 9, 1), None), year_before=Earlier(date(2025, 10, 1), None),
        assumptions=Assumptions(),
    )  # fmt: skip


def certificate(**said: Any) -> Certificate:
    known: dict[str, Any] = {
        "source": "pexip-main", "polls": 9, "failed_polls": 0, "source_total": 5, "stored_total": 5, "windows": 1,
        "short_windows": 0, "rejected": 0, "unseen_seconds": 0.0, "read_until": None,
    }  # fmt: skip
    return Certificate(**known | said)


def text(edition: Edition, lang: str, scope: Scope = WARD) -> str:
    return letter(edition, scope, [lang], ["a.pdf"], ZONE).text


def test_it_says_of_what_and_when_it_is_and_the_three_numbers_together() -> None:
    """Connections, endpoint connections and people are never taken for one another; days are those of the month."""
    said = letter(Edition(report()), WARD, ["vi"], ["Báo cáo.pdf", "b.xlsx"], ZONE)

    assert said.subject == "Báo cáo sử dụng hội nghị trực tuyến tháng 10/2026 – Phường Việt Trì (chưa chốt)"
    assert "Phường Việt Trì, từ ngày 15/09/2026 đến hết ngày 14/10/2026." in said.text
    assert (
        "- Lượt kết nối: 3.120\n- Lượt điểm cầu: 2.980, của 310 điểm cầu\n- Đại biểu: 25.110, trong đó 20.000"
        in said.text
    )
    assert "Đính kèm: Báo cáo.pdf, b.xlsx." in said.text
    assert (
        "Connections: 3,120\n- Endpoint connections: 2,980, of 310 endpoints\n- People: 25,110, of whom 20,000"
        in text(Edition(report()), "en")
    )


def test_people_that_nobody_counted_are_said_to_be_assumed() -> None:
    """One for each endpoint connection is not a head count."""
    assumed = replace(FIGURES, attendees=2980, attendees_by_provenance=(Part("connections", 2980),))

    assert "People: 2,980, one for each endpoint connection\n" in text(Edition(report(assumed)), "en")
    assert "Đại biểu: 2.980, tính mỗi lượt điểm cầu một người\n" in text(Edition(report(assumed)), "vi")


@pytest.mark.parametrize(("lang", "words"), [("vi", ("CHƯA CHỐT", "Đã chốt")), ("en", ("NOT CLOSED", "Closed at"))])
def test_it_says_whether_the_month_is_closed(lang: str, words: tuple[str, str]) -> None:
    """What may still change never passes for what was signed; who signed is not in a mail."""
    closed = Closed(report(), AT, "Nguyễn Văn A", "ab" * 32)
    open_, signed = text(Edition(report()), lang), text(standing(closed), lang)

    assert words[0] in open_
    assert words[1] not in open_
    assert words[1] in signed
    assert words[0] not in signed
    assert "ab" * 32 in signed
    assert "Nguyễn" not in signed


def test_an_addendum_brings_the_corrected_figures() -> None:
    """The number of changes, the new figures and their digest."""
    after = report(replace(FIGURES, meetings=43))
    changes = (Change("*", "meetings", 42, 43),)
    closed = Closed(report(), AT, "A", "ab" * 32, (Addendum(1, AT, "B", after, "cd" * 32, changes),))
    said = letter(standing(closed), WARD, ["vi"], ["a.pdf"], ZONE)

    assert said.subject.endswith("– Phường Việt Trì (bản đính chính 1)")
    assert "Bản đính chính số 1, lập lúc 07:00 03/11/2026: 1 số liệu thay đổi" in said.text
    assert "cd" * 32 in said.text
    assert "- Cuộc họp: 43\n" in said.text


def test_what_was_not_seen_is_said() -> None:
    """A source that was not read whole, each for itself; one that was is not mentioned."""
    gaps = [
        certificate(source="blind", unseen_seconds=61.0),
        certificate(source="behind", read_until=AT, short_windows=1),
        certificate(source="never", ever_read=False),
        certificate(source="whole"),
    ]
    said = text(Edition(report(FIGURES, *gaps)), "en")

    assert [line for line in said.splitlines() if line.startswith("Not complete")] == [
        "Not complete: source blind could not be seen for 2 minutes.",
        "Not complete: source behind was read up to 07:00, 3 November 2026; has more records than are stored.",
        "Not complete: source never has never been read.",
    ]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1))
@settings(deadline=None)  # the first letter reads the catalogue
def test_html_says_what_the_text_says_and_no_name_is_markup(name: str) -> None:
    """Line by line, in every language, whatever a unit is called."""
    said = letter(Edition(report(name=name)), WARD, ["vi", "en"], [f"{name}.pdf"], ZONE)
    shown = unescape(re.sub(r"<[^>]*>", "\n", said.html))

    assert re.sub(r"\s|- ", "", said.text) == re.sub(r"\s|- ", "", shown)


def test_a_unit_that_the_month_does_not_know_is_no_zero() -> None:
    """Nobody is sent an empty report because of a typing mistake."""
    with pytest.raises(KeyError):
        letter(Edition(report()), Scope(unit="W2"), ["vi"], [], ZONE)


def test_attachments_are_named_after_month_and_unit() -> None:
    assert (
        file_name(Edition(report()), WARD, "vi", "pdf") == "Báo cáo hội nghị trực tuyến 2026-10 – Phường Việt Trì.pdf"
    )
    assert file_name(Edition(report()), Scope(), "en", "xlsx") == "Video conferencing report 2026-10.xlsx"
