"""Vietnamese and English: the catalogue of texts, and dates, times and numbers as each language writes them.

Pages and reports speak through this. Texts are written in English where they are used, and are keys of the catalogue.
"""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time, format_timedelta, get_day_names
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.units import format_unit

LOCALES = {"vi": Locale("vi"), "en": Locale("en", "GB")}
"""The languages there are; the first is for those who ask for none of them. English writes days before months."""

UNKNOWN = "—"
"""What stands for a figure that nobody knows, which is not zero."""


class Language:
    """One language, with times of one time zone. Raises KeyError for a language there is not."""

    def __init__(self, code: str, timezone: ZoneInfo) -> None:
        self.code = code
        self.timezone = timezone
        self._locale = LOCALES[code]
        self.name = self._locale.get_language_name(code) or code
        self.translations = _translations(code)
        symbols = self._locale.number_symbols["latn"]
        self._signs = str.maketrans({",": symbols["group"], ".": symbols["decimal"]})

    def text(self, english: str, **values: object) -> str:
        """A text, with what stands in it as %(name)s put in."""
        said = self.translations.gettext(english) if english else ""
        return said % values if values else said

    def number(self, value: float) -> str:
        if isinstance(value, int):  # a report has tens of thousands, for each of which babel takes 0.1 ms
            return self._signed(f"{value:,}")
        return format_decimal(value, locale=self._locale)

    def _signed(self, plain: str) -> str:
        """A number as Python writes it, with the signs of the language."""
        return plain.translate(self._signs)

    def ago(self, age: timedelta) -> str:
        return format_timedelta(-max(age, timedelta(seconds=1)), add_direction=True, threshold=2, locale=self._locale)

    def full_date(self, at: datetime) -> str:
        return format_date(at.astimezone(self.timezone), "full", locale=self._locale)

    def clock(self, at: datetime, today: datetime, pattern: str = "HH:mm:ss") -> str:
        """The time of day to the second; with its date when that is not the day of `today`."""
        local = at.astimezone(self.timezone)
        clock = format_time(local, pattern, locale=self._locale)
        if local.date() == today.astimezone(self.timezone).date():
            return clock
        return f"{clock} {format_date(local, 'short', locale=self._locale)}"

    def minute(self, at: datetime, today: datetime) -> str:
        return self.clock(at, today, "HH:mm")

    def moment(self, at: datetime) -> str:
        """A time with its date, to the minute: "09:30 24/11/2026"."""
        local = at.astimezone(self.timezone)
        return f"{format_time(local, 'HH:mm', locale=self._locale)} {self.plain_day(local.date())}"

    def day(self, at: datetime) -> str:
        return self.plain_day(at.astimezone(self.timezone).date())

    def month(self, day: date) -> str:
        return format_skeleton("yMMMM", datetime(day.year, day.month, day.day), locale=self._locale)  # noqa: DTZ001

    def monthly(self, day: date) -> str:
        """As short as a month can be said: "11/2026"."""
        return format_skeleton("yM", datetime(day.year, day.month, day.day), locale=self._locale)  # noqa: DTZ001

    def iso_day(self, at: datetime) -> str:
        """As an address has it."""
        return at.astimezone(self.timezone).date().isoformat()

    def plain_day(self, day: date) -> str:
        return format_date(day, "dd/MM/y", locale=self._locale)

    def weekday(self, number: int) -> str:
        """From 0, Monday."""
        return str(get_day_names("abbreviated", locale=self._locale)[number])

    def hours(self, seconds: float) -> str:
        return format_decimal(round(seconds / 3600), locale=self._locale)

    def exact_hours(self, seconds: float) -> str:
        return self._signed(f"{seconds / 3600:,.1f}")

    def change(self, share: float) -> str:
        """To a percent, with its sign; what rounds to nothing has none."""
        if not round(100 * share):
            return "0%"
        return format_percent(share, "+#,##0%;−#,##0%", locale=self._locale)

    def lasting(self, seconds: float) -> str:
        """How long something took, in its two largest units: "2 hr 5 min" and "40 sec"."""
        left = max(0, round(seconds))
        said: list[str] = []
        for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
            count, left = divmod(left, size)
            if count or (unit == "second" and not said):
                said.append(format_unit(count, unit, length="short", locale=self._locale))
            elif said:
                break
        return " ".join(said[:2])

    def percent(self, share: float) -> str:
        """Rounded down: what was not whole never looks whole."""
        return f"{self._signed(f'{100 * rounded_down(share):,.2f}'.rstrip('0').rstrip('.'))}%"

    def rate(self, bits: float) -> str:
        return f"{format_decimal(round(bits / 1000), locale=self._locale)} kbit/s"


def rounded_down(share: float) -> float:
    """A share to a hundredth of a percent. What is one already stays: 0.29 is 2899.9999999999995 ten-thousandths."""
    return math.floor(round(share * 10_000, 9)) / 10_000


@cache
def _translations(code: str) -> NullTranslations:
    """The catalogue as it is in the package: compiled when first asked for, so that there is nothing to do before."""
    path = Path(__file__).parent / "locale" / f"{code}.po"
    if not path.exists():  # what is written in the code is English
        return NullTranslations()
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return GNUTranslations(compiled)
