"""Reports by mail when conftrack dies, and when the mail server does what it likes: never two of one mail."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftrack.report.mailing import RETRY
from conftrack.storage.database import Database
from conftrack.storage.mails import Mails
from tests.mail_server import DROP, KEEP_AND_DROP, MailServer
from tests.mailing import DUE, Clock, config, mailing


class Died(BaseException):
    """conftrack is no more."""


class Mortal:
    """The rows of mails, until the process dies at one of the calls: before it, or after it was committed."""

    def __init__(self, mails: Mails, dies: tuple[int, bool] | None) -> None:
        self._mails, self._dies, self._calls = mails, dies, 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*values: Any, **named: Any) -> Any:
            self._calls += 1
            if self._dies == (self._calls, False):
                raise Died
            answer = await getattr(self._mails, name)(*values, **named)
            if self._dies == (self._calls, True):
                raise Died
            return answer

        return call


lives = st.one_of(st.none(), st.tuples(st.integers(1, 16), st.booleans()))
"""Whether and where a process dies: at its n-th call, before or after that was committed."""
answers = st.sampled_from([None, None, None, "450 later", "550 never", DROP, KEEP_AND_DROP])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    processes=st.lists(lives, min_size=1, max_size=5),
    taking=st.lists(answers, max_size=8),
    keeping=st.lists(answers, max_size=4),
)
async def test_however_often_it_dies_nobody_is_sent_a_mail_twice(
    processes: list[tuple[int, bool] | None],
    taking: list[str | None],
    keeping: list[str | None],
    database: Database,
) -> None:
    """Any number of processes, each dying anywhere, on a server that answers anything; then one that lives, on a good
    server. Who was sent it has it once, who was refused not at all, and who is unsure once or not at all."""
    await database.pool.execute("truncate conftrack.report_mail, conftrack.report_month")
    clock = Clock(DUE - RETRY)
    async with MailServer() as server:
        await mailing(database, config(server.port), clock).work()
        clock.at = DUE
        addresses, messages = iter(taking), iter(keeping)
        server.script = lambda command, address: next(messages if command == "DATA" else addresses, None)
        for dies in processes:
            conftrack = mailing(database, config(server.port), clock)
            conftrack._mails = Mortal(conftrack._mails, dies)  # type: ignore[assignment]
            with suppress(Died):
                await conftrack.work()
        server.script = lambda command, address: None
        await mailing(database, config(server.port), clock).work()

        counts = server.counts()
        found = {one.address: one.state for one in await Mails(database.pool).sent()}
    assert set(found) == {"a@example.vn", "b@example.vn"}
    for address, state in found.items():
        allowed = {"sent": {1}, "refused": {0}, "unsure": {0, 1}}[state]
        assert counts.get(address, 0) in allowed


@pytest.mark.parametrize("point", ["connected", "MAIL", "RCPT", "DATA, before it is kept", "DATA, kept", "answered"])
async def test_a_killed_process_is_followed_by_one_that_sends_no_second_mail(
    point: str, dsn: str, database: Database, tmp_path: Path
) -> None:
    """SIGKILL at each step of the conversation. What had not been handed over goes out then, what had is unsure."""
    clock = Clock(DUE - RETRY)
    async with MailServer() as server:
        await mailing(database, config(server.port), clock).work()
        children: list[asyncio.subprocess.Process] = []
        killed = asyncio.Event()

        def kill() -> None:
            if not killed.is_set():
                children[0].kill()
                killed.set()

        def script(command: str, address: str) -> str | None:
            if killed.is_set():
                return None
            if point == command or (point == "connected" and command == "MAIL"):
                kill()
            if command == "DATA" and point.startswith(("DATA", "answered")):
                if point == "answered":
                    asyncio.get_running_loop().call_soon(kill)  # the answer is written before
                    return None
                kill()
                return KEEP_AND_DROP if point == "DATA, kept" else DROP
            return None

        server.script = script
        for _ in range(2):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.mailing", dsn, str(server.port), str(tmp_path),
                cwd=Path(__file__).parents[2], stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            children.append(child)
            await child.wait()

        assert killed.is_set()
        assert children[1].returncode == 0
        states = {one.state for one in await Mails(database.pool).sent()}
        arrived = {"a@example.vn": 1, "b@example.vn": 1}
        if point.startswith("DATA"):
            assert states == {"unsure"}
            assert server.counts() == (arrived if point == "DATA, kept" else {})
        elif point == "answered":
            assert states <= {"unsure", "sent"}
            assert server.counts() == arrived
        else:
            assert states == {"sent"}
            assert server.counts() == arrived
