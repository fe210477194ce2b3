"""The links laid out: QR codes for a printed sheet, and a table for those who send them by mail."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import segno

from conftrack.headcounts.counting import Cards
from conftrack.inventory.headings import Language
from conftrack.inventory.moments import local
from conftrack.inventory.tables import Sheet

_HEADINGS: dict[Language, tuple[str, ...]] = {
    "vi": ("Mã điểm cầu", "Tên điểm cầu", "Đơn vị", "Cuộc họp", "Phòng họp", "Thời gian", "Liên kết", "Hết hạn"),
    "en": ("Endpoint", "Name", "Unit", "Meeting", "Room", "Time", "Link", "Good until"),
}


def qr(link: str) -> str:
    """A QR code as an SVG element: level M, which still reads with an eighth of it creased or stained. To try which of
    the eight masks looks best would take longer than all the rest, and every reader reads any."""
    return segno.make(link, error="m", mask=3, micro=False, boost_error=False).svg_inline(border=4, omitsize=True)


def table(sheet: Cards, timezone: ZoneInfo, language: Language) -> Sheet:
    """A line for each endpoint. What is written of it cannot be taken for a formula (`conftrack.inventory.tables`)."""
    time = str(sheet.day) if sheet.day is not None else local(sheet.of.starts_at, timezone)
    until = local(sheet.ends_at.replace(microsecond=0), timezone)
    return Sheet(
        name="so-dai-bieu" if language == "vi" else "headcounts",
        headings=_HEADINGS[language],
        lines=tuple(
            (
                card.guest.code,
                card.guest.name,
                card.guest.org_name,
                sheet.of.title,
                sheet.of.room,
                time,
                card.link,
                until,
            )
            for card in sheet.cards
        ),
    )
