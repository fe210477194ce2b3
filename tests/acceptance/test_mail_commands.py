"""Reports by mail as an operator has them: the real program, a real Postgres, a real mail server over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from conftrack.storage.database import Database
from tests.mail_server import KEEP_AND_DROP, Authority, MailServer
from tests.service_process import Service, conftrack

MONTH = "2026-09"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MailServer]:
    authority = Authority(tmp_path)
    async with MailServer(authority.server(), security="starttls", login=("conftrack", "x9secret")) as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, dsn: str, server: MailServer) -> Path:
    (tmp_path / "pw").write_text("x9secret")
    path = tmp_path / "conftrack.toml"
    path.write_text(f"""
        [database]
        dsn = "{dsn}"
        [mail]
        host = "127.0.0.1"
        port = {server.port}
        username = "conftrack"
        password_file = "pw"
        ca_file = "ca.pem"
        sender = "Hội nghị trực tuyến <report@phutho.gov.vn>"
        [[report.mail]]
        name = "office"
        to = ["a@example.vn", "b@example.vn"]
        forms = ["json"]
        """)
    return path


async def told(config: Path, *arguments: str) -> CompletedProcess[str]:
    done = await asyncio.to_thread(conftrack, config, *arguments)
    assert "x9secret" not in done.stdout + done.stderr
    return done


async def test_an_operator_sees_who_would_get_it_sends_it_and_looks_what_became_of_it(
    config: Path, server: MailServer
) -> None:
    """A dry run sends nothing; sent twice it arrives once; what is not known is told and needs --again."""
    assert "No report was mailed." in (await told(config, "report", "mails")).stdout
    planned = await told(config, "report", "send", MONTH, "--dry-run")
    assert planned.stdout.splitlines() == [
        f"{MONTH} not closed  office: of everything, json in vi, to 2 of 2 recipients",
        "  to a@example.vn",
        "  to b@example.vn",
        "Nothing was sent (--dry-run).",
    ]
    assert server.delivered == []

    server.script = lambda command, address: KEEP_AND_DROP if command == "DATA" else None
    lost = await told(config, "report", "send", MONTH)
    assert lost.returncode == 1
    assert f"{MONTH} not closed  office  a@example.vn: nobody knows whether it arrived" in lost.stdout
    server.script = lambda command, address: None
    assert (await told(config, "report", "send", MONTH)).returncode == 1
    assert (await told(config, "report", "mails")).returncode == 1
    examined = (await told(config, "doctor")).stdout
    assert "nobody knows of 2 reports whether they arrived" in examined
    assert f"mail: 127.0.0.1:{server.port} answers (starttls, signed in)" in examined
    assert server.counts() == {"a@example.vn": 1, "b@example.vn": 1}
    assert "not to a@example.vn (nobody knows" in (await told(config, "report", "send", MONTH, "--dry-run")).stdout

    sent = await told(config, "report", "send", MONTH, "--to", "office", "--again")
    assert sent.returncode == 0
    assert f"{MONTH} not closed  office  b@example.vn: sent" in sent.stdout
    assert server.counts() == {"a@example.vn": 2, "b@example.vn": 2}
    assert (await told(config, "report", "mails", MONTH)).returncode == 0

    wrong = await told(config, "report", "send", MONTH, "--to", "ofice")
    assert wrong.returncode == 1
    assert "did you mean 'office'" in wrong.stderr


async def test_doctor_says_what_is_wrong_with_the_mail_server(config: Path, tmp_path: Path) -> None:
    """A wrong password is found before the day of the report."""
    (tmp_path / "pw").write_text("another")
    examined = await told(config, "doctor")

    assert "does not let us sign in (535): correct [mail] username and password" in " ".join(examined.stdout.split())
    assert examined.returncode == 1


async def test_the_service_prepares_and_mails_what_it_missed_and_not_twice(
    config: Path, server: MailServer, database: Database
) -> None:
    """It was down on the day; started, and started again, it mails last month's report once."""
    await database.pool.execute(
        "insert into conftrack.report_month "
        "select date_trunc('month', now() - interval '3 months'), now(), now(), false"
    )
    for _ in range(2):
        service = await asyncio.to_thread(Service, config, 0)
        try:
            for _ in range(200):
                if server.delivered and server.logins:
                    break
                await asyncio.sleep(0.1)
            await asyncio.sleep(1)
        finally:
            errors = await asyncio.to_thread(service.stop)
        assert "Traceback" not in errors
        assert "@example.vn" not in errors

    assert server.counts() in ({"a@example.vn": 1, "b@example.vn": 1}, {"a@example.vn": 2, "b@example.vn": 2})
    assert len({one.message["Subject"] for one in server.delivered}) == len(server.delivered)
