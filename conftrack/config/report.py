"""`[report]`, the monthly summary, and `[[report.mail]]`, who is sent it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from conftrack.config.checks import plain_name, readable_file
from conftrack.config.mail import MAILBOX
from conftrack.config.reading import Reading, fields


def _clock(text: str) -> None:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError('a time of day such as "07:00"')


def _addresses(addresses: tuple[str, ...]) -> None:
    if not addresses or not all(re.fullmatch(MAILBOX, address) for address in addresses):
        raise ValueError('a list of addresses such as ["office@example.vn"]')
    if len({address.lower() for address in addresses}) < len(addresses):
        raise ValueError("a list that names each address once")


def _some(values: tuple[str, ...]) -> None:
    if not values or len(set(values)) < len(values):
        raise ValueError("a list of at least one, each once")


class MailingList(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[report.mail]]` table: who gets the report of what."""

    #: Kept for ever, since what was sent is stored under it.
    name: Annotated[str, plain_name]
    to: Annotated[tuple[str, ...], _addresses]
    #: The code of a unit, which stands for all below it too. None: everything.
    unit: str | None = None
    languages: Annotated[tuple[Literal["vi", "en"], ...], _some] = ("vi",)
    #: What is attached, in each of the languages.
    forms: Annotated[tuple[Literal["pdf", "docx", "xlsx", "html", "json"], ...], _some] = ("pdf", "docx", "xlsx")


class ReportConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[report]`: the monthly summary."""

    #: The day on which a month begins: 15 is from the 15th to the 14th, and named after the month in which it ends.
    first_day: Annotated[int, msgspec.Meta(ge=1, le=28)] = 1
    #: Connections at once that the licence allows. None: there is no such figure, as for the next two.
    licence: Annotated[int, msgspec.Meta(ge=1)] | None = None
    #: How far one person would have travelled to one meeting, both ways; what a person and kilometre costs, in đồng.
    travel_km: Annotated[float, msgspec.Meta(gt=0)] | None = None
    cost_per_km: Annotated[float, msgspec.Meta(gt=0)] | None = None
    #: The letterhead: who is above those who issue the report, and they themselves.
    authority: str = ""
    issuer: str = ""
    place: str = ""
    #: Of the document, behind the blank for its number: "/BC-STTTT".
    number: str = "/BC"
    signer_title: str = ""
    signer_name: str = ""
    #: Who gets a copy (nơi nhận), a line each.
    recipients: tuple[str, ...] = ()
    #: A .docx to fill instead of the one that comes with conftrack.
    template: Annotated[Path, readable_file] | None = None
    #: Last month's report is prepared on this day of the month, at this local time.
    prepare_on: Annotated[int, msgspec.Meta(ge=1, le=28)] = 3
    prepare_at: Annotated[str, _clock] = "07:00"
    #: Whether that closes the month too, or leaves it to somebody.
    close: Literal["by hand", "when prepared"] = "by hand"
    #: Who is sent it then.
    mail: tuple[MailingList, ...] = ()


def read_report(reading: Reading) -> ReportConfig:
    """The table, with its lists; those with a problem, which is kept, are left out."""
    values = reading.table(("report",), fields(ReportConfig, "mail"), "mail")
    found = []
    for number in range(reading.count("report", "mail")):
        one = reading.table(("report", "mail", number), fields(MailingList))
        if "to" in one and reading.given("mail", "host") is None:
            reading.problem(("report", "mail", number, "to"), "needs the `host` of a mail server in [mail]")
        if {"name", "to"} <= one.keys():
            found.append(MailingList(**one))
    return ReportConfig(**values, mail=tuple(found))
