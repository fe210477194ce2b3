"""While the database is away: what the pages and the pushes answer, what is logged, and that it ends by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from conftrack.config import Config, DatabaseConfig, Secret, WebConfig
from conftrack.errors import SourceError
from conftrack.metrics import Metrics
from conftrack.serving import serve
from conftrack.sources.base import Push
from conftrack.storage.database import Database, Unavailable, sentence_of
from conftrack.storage.embedded import EmbeddedPostgres
from conftrack.storage.sessions import IDLE
from conftrack.web import application
from tests.integration.test_embedded import postmaster
from tests.integration.test_web_login import FAR, sign_in, status, token_of, visiting
from tests.province import USERS, ZONE, Province, a_morning, some_incidents

PAGES = (
    "/incidents", "/absent", "/endpoints", "/endpoints/PT-01", "/meetings/1", "/usage", "/reports", "/reports/2026-11",
    "/reports/2026-11.html", "/counts/1",
)  # fmt: skip


class Server:
    """A Postgres of the test's own, known to conftrack by its DSN alone: nobody but the test brings it back."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._postgres = EmbeddedPostgres(data_dir)

    def start(self) -> str:
        return self._postgres.start()

    def kill(self) -> None:
        os.kill(postmaster(self._data_dir), signal.SIGKILL)

    def stop(self) -> None:
        self._postgres.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "postgres")
    yield made
    made.stop()


@pytest.fixture
async def mortal(server: Server, tmp_path: Path) -> AsyncIterator[Database]:
    dsn = await asyncio.to_thread(server.start)
    async with Database(DatabaseConfig(dsn=Secret(dsn)), tmp_path) as opened:
        yield opened


@pytest.fixture
async def province(database: Database) -> Province:
    return await a_morning(database)


def said(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html[html.index("<main") :])))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of the database, all of it without a traceback."""
    records = [r for r in caplog.records if r.levelno >= logging.INFO and r.name != "aiohttp.access"]
    assert [r.getMessage() for r in records if r.exc_info] == []
    return [r.getMessage() for r in records if "database" in r.getMessage()]


@contextmanager
def unreachable(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.clear()
    with caplog.at_level(logging.INFO):
        yield


async def test_pages_say_that_the_database_is_away_and_come_back(
    mortal: Database, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """503 with a sentence, in both languages, and one line of log; what goes on now is shown all the same, to whoever
    was signed in before. Once the database is back, so is everything."""
    province = await a_morning(mortal)
    await some_incidents(province)
    async with province.served(FAR) as url, visiting(url) as client, visiting(url) as stranger:
        assert (await sign_in(client))[0] == 303
        token = await token_of(client)
        before = [await status(client, path) for path in PAGES]
        async with client.get("/events") as events:
            with unreachable(caplog):
                server.kill()
                for path in PAGES:
                    async with client.get(path) as page, client.get(path, headers={"Accept-Language": "vi"}) as trang:
                        assert (path, page.status, page.headers["Retry-After"]) == (path, 503, "10")
                        assert "The database does not answer now. Try again" in said(await page.text())
                        assert "Cơ sở dữ liệu hiện không trả lời. Hãy thử lại" in said(await trang.text())
                async with client.post("/incidents/1/acknowledge", data={"token": token}) as acted:
                    assert acted.status == 503
                async with client.post("/logout", data={"token": token}) as acted:
                    assert "may not be stored" in said(await acted.text())
                assert (await sign_in(stranger))[0] == 503
                assert await status(client, "/healthz") == 200

                async with client.get("/") as live:
                    assert live.status == 200
                    assert "The database has not answered since 09:32:14" in said(await live.text())
                async with asyncio.timeout(10):
                    while b"has not answered since" not in await events.content.readline():
                        pass
            assert len(told(caplog)) == 1
        await asyncio.to_thread(server.start)

        assert [await status(client, path) for path in PAGES] == before
        assert set(before) == {200}


async def test_a_session_is_trusted_without_the_database_no_longer_than_with_it(province: Province) -> None:
    """The live page alone, for who was let in before, and not for longer than a session may rest."""
    async with province.served(FAR) as url, visiting(url) as client, visiting(url) as stranger:
        await sign_in(client)
        assert await status(client, "/") == 200
        stranger.cookie_jar.update_cookies({"conftrack_session": "x.y"}, URL(url))
        await province.database.pool.close()

        assert await status(client, "/") == 200
        assert await status(client, "/incidents") == 503
        assert await status(stranger, "/") == 503
        province.now += IDLE + timedelta(seconds=1)
        assert await status(client, "/") == 503


async def test_this_machine_sees_the_live_page_whatever_its_cookie(province: Province) -> None:
    """Who needs not sign in needs no session either."""
    async with province.served() as url, visiting(url, Cookie="conftrack_session=x.y") as client:
        await province.database.pool.close()
        assert (await status(client, "/"), await status(client, "/absent")) == (200, 503)


async def test_a_statement_that_is_wrong_is_no_absence(province: Province, caplog: pytest.LogCaptureFixture) -> None:
    """500, and the traceback in the log."""
    await province.database.pool.execute("alter view conftrack.incidents rename column opened_at to began_at")
    async with province.served() as url, visiting(url) as client:
        assert await status(client, "/incidents") == 500
    assert [r.name for r in caplog.records if r.exc_info] == ["aiohttp.server"]
    assert province.state.database_lost_at is None


async def test_who_hangs_up_is_not_the_database(
    province: Province, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that a visitor drops while sending is an OSError as well."""
    await some_incidents(province)
    with unreachable(caplog):
        async with _running(province.database, tmp_path) as client:
            async with client.get("/healthz") as answer:
                where = answer.url
            _, writer = await asyncio.open_connection(where.host, where.port)
            writer.write(
                b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname="
            )
            await writer.drain()
            await asyncio.sleep(0.3)
            writer.transport.abort()
            async with asyncio.timeout(10):
                while "Connection lost" not in caplog.text:
                    await status(client, "/healthz")
    assert not [r for r in caplog.records if "database" in r.getMessage()]


async def test_what_is_pushed_meanwhile_is_to_be_sent_again(
    database: Database, dsn: str, server_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """503 while the database refuses sessions, one line of log; 500 for a bug; 200 once it is back."""
    statement = "select 1"

    async def receive(push: Push) -> None:
        if not push.body:  # its source was given up with its lease
            raise SourceError("source janus-xa is not collected here now")
        await database.pool.execute(statement)

    name = urlsplit(dsn).path[1:]
    province = await a_morning(database)
    app = application(
        province.state, Metrics(province.state, clock=lambda: province.now, version="1"), clock=lambda: province.now,
        timezone=ZONE, ready=_ready, pushes={"janus-xa": receive},
    )  # fmt: skip
    elsewhere = await asyncpg.connect(server_dsn)
    async with TestServer(app) as served, aiohttp.ClientSession(str(served.make_url(""))) as client:

        async def push(body: bytes = b"[]") -> tuple[int, str | None]:
            async with client.post("/push/janus-xa", data=body) as answer:
                return answer.status, answer.headers.get("Retry-After")

        with unreachable(caplog):
            await elsewhere.execute(f'alter database "{name}" allow_connections false')
            await elsewhere.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
            assert [await push(body) for body in (b"[]", b"[]", b"")] == [(503, "10")] * 3
            assert len(told(caplog)) == 1
            assert "could not take" not in caplog.text
        await elsewhere.execute(f'alter database "{name}" allow_connections true')
        assert await push() == (200, None)
        statement = "select no_such_column from conftrack.leg"
        assert await push() == (500, None)
    await elsewhere.close()


async def test_the_service_tells_once_that_the_database_is_away_and_once_that_it_is_back(
    mortal: Database, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However many of its tasks and visitors meet it."""
    await some_incidents(await a_morning(mortal))
    with unreachable(caplog):
        async with _running(mortal, tmp_path) as client:
            server.kill()
            assert [await status(client, "/incidents") for _ in range(3)] == [503] * 3
            assert await status(client, "/readyz") == 503
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(30):
                while "the database answers again" not in caplog.text:
                    await status(client, "/readyz")
            assert [await status(client, path) for path in ("/incidents", "/readyz")] == [200, 200]
            async with client.get("/") as live:
                assert "has not answered" not in await live.text()
        first, *others = told(caplog)
        assert first.startswith(("the database does not answer", "the database failed"))
        assert others == ["the database answers again"]


async def test_the_service_waits_for_a_database_that_goes_away_before_it_has_begun(
    mortal: Database, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A restart of the machine, where both start at once, needs nobody."""
    await some_incidents(await a_morning(mortal))
    server.kill()

    async def bring_back() -> None:
        async with asyncio.timeout(30):
            while not told(caplog):  # noqa: ASYNC110  (what is waited for is seen from outside only)
                await asyncio.sleep(0.05)
        await asyncio.to_thread(server.start)

    with unreachable(caplog):
        bringing = asyncio.create_task(bring_back())
        async with _running(mortal, tmp_path) as client:
            assert await status(client, "/readyz") == 200
        await bringing


@asynccontextmanager
async def _running(database: Database, data_dir: Path) -> AsyncIterator[aiohttp.ClientSession]:
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def tell(url: str) -> None:
        started.set_result(url)

    config = Config(data_dir=data_dir, web=WebConfig(port=0, users=USERS))
    task = asyncio.create_task(serve(config, database, {}, clock=lambda: datetime.now(UTC), started=tell))  # noqa: TID251
    try:
        async with visiting(await asyncio.wait_for(started, 10)) as client, asyncio.timeout(60):
            text = ""
            while "conftrack_incidents_total{" not in text:  # its cycles run
                async with client.get("/metrics") as metrics:
                    text = await metrics.text()
            yield client
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _ready() -> str | None:
    return None


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("selct 1", ()), ("select no_such_column", ()), ("select * from no_such_table", ()), ("select 1/0", ()),
        ("select $1::integer", ("one",)), ("select $1::integer", (2**40,)),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_statement_is_never_unavailable(
    database: Database, statement: str, values: tuple[object, ...]
) -> None:
    """Nothing that waits for the database may wait for that."""
    with pytest.raises(asyncpg.PostgresError) as wrong:
        await database.pool.fetch(statement, *values)
    assert not isinstance(wrong.value, Unavailable)


async def test_a_closed_pool_is_unavailable_and_a_lost_visitor_is_not(database: Database) -> None:
    """The one is asyncpg's InterfaceError, the other an OSError."""
    await database.pool.close()
    with pytest.raises(Unavailable) as closed:
        await database.pool.fetchval("select 1")

    assert sentence_of(closed.value) == "the database failed: pool is closed"
    assert not isinstance(ConnectionResetError("Cannot write to closing transport"), Unavailable)
