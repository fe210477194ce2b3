"""Reports by mail with everything real but the time and the forms: `python -m tests.mailing DSN PORT FOLDER` does what
is due on the day of the test, for tests that kill it."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from conftrack.config import Config, DatabaseConfig, MailConfig, MailingList, ReportConfig, Secret
from conftrack.report.keeper import Reports
from conftrack.report.mailing import Mailing
from conftrack.report.model import Closed, Report, Scope
from conftrack.storage.database import Database

MARCH = date(2026, 3, 1)
#: Seven o'clock of 3 April in Ho Chi Minh City: the report of March is prepared.
DUE = datetime(2026, 4, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)
OFFICE = MailingList(name="office", to=("a@example.vn", "b@example.vn"), forms=("pdf",))
WARD = MailingList(name="ward", to=("c@example.vn",), unit="W1", languages=("vi", "en"), forms=("pdf", "xlsx"))


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, at: datetime = DUE) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


async def make(form: str, report: Report | Closed, scope: Scope, language: str) -> bytes:
    """A stand-in for a form: says what it is of."""
    kind = "closed" if isinstance(report, Closed) else "open"
    return f"{form} {kind} {scope.unit} {language}".encode()


def config(port: int, *lists: MailingList, **report: str) -> Config:
    return Config(
        mail=MailConfig(host="127.0.0.1", port=port, security="none", sender="Báo cáo <report@phutho.gov.vn>"),
        report=ReportConfig(mail=lists or (OFFICE,), **report),  # type: ignore[arg-type]
    )


def mailing(database: Database, config: Config, clock: Clock, sources: tuple[str, ...] = ()) -> Mailing:
    return Mailing(
        database, reports(database, config, clock, sources), make, config=config, clock=clock, wait=0.01
    )  # fmt: skip


def reports(database: Database, config: Config, clock: Clock, sources: tuple[str, ...] = ()) -> Reports:
    return Reports(
        database.pool, timezone=config.timezone, clock=clock, config=config.report, sources=sources
    )  # fmt: skip


async def _main(dsn: str, port: str, folder: str) -> None:
    async with Database(DatabaseConfig(dsn=Secret(dsn)), Path(folder)) as database:
        await mailing(database, config(int(port)), Clock()).work()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
