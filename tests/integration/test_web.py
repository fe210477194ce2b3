"""The HTTP side: checks, metrics, what systems push, and what every answer carries."""

from __future__ import annotations

import asyncio
import logging
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import conftrack
from conftrack import words
from conftrack.errors import SourceError
from conftrack.incidents import causes
from conftrack.metrics import Metrics
from conftrack.report import names
from conftrack.sources.base import Push, PushRefused
from conftrack.state import State
from conftrack.web import application

NOW = datetime(2026, 11, 24, 2, 32, 14, tzinfo=UTC)
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "text": None}
"""What marks a text for the catalogue, in templates and in code."""
SECRET = "s3cret-of-the-bridge"

Receive = Callable[[Push], Awaitable[None]]


async def ready() -> str | None:
    return None


@asynccontextmanager
async def served(
    pushes: Mapping[str, Receive] | None = None, ready: Callable[[], Awaitable[str | None]] = ready
) -> AsyncIterator[aiohttp.ClientSession]:
    state = State(NOW)
    app = application(
        state,
        Metrics(state, clock=lambda: NOW, version="1.2.3"),
        clock=lambda: NOW,
        timezone=ZoneInfo("Asia/Ho_Chi_Minh"),
        ready=ready,
        pushes=pushes or {},
    )
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(str(server.make_url("")), auto_decompress=False) as client,
    ):
        yield client


async def test_health_is_told_from_readiness() -> None:
    """A service that waits for its database is alive, and says why it is not ready."""
    reason: str | None = "the database does not answer"

    async def readiness() -> str | None:
        return reason

    async with served(ready=readiness) as client:
        async with client.get("/healthz") as healthy, client.get("/readyz") as waiting:
            assert (healthy.status, waiting.status) == (200, 503)
            assert (await waiting.text()).strip() == reason
        reason = None
        async with client.get("/readyz") as answer:
            assert answer.status == 200


async def test_metrics_come_in_the_format_and_encoding_that_are_asked_for() -> None:
    """A browser gets the classic text, Prometheus OpenMetrics, and gzip only who accepts it."""
    async with served() as client:
        async with client.get("/metrics", headers={"Accept-Encoding": "identity"}) as plain:
            assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert b'conftrack_build_info{version="1.2.3"} 1.0' in await plain.read()
        asked = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
        async with client.get("/metrics", headers=asked) as modern:
            assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            assert modern.headers["Content-Encoding"] == "gzip"
            assert (await modern.read())[:2] == b"\x1f\x8b"


async def test_a_push_is_handed_on_whole_and_answered_after_it_is_stored() -> None:
    """The system hears 200 only when its facts are safe; headers are found whatever their case."""
    taken: asyncio.Queue[Push] = asyncio.Queue()
    stored = asyncio.Event()

    async def receive(push: Push) -> None:
        await taken.put(push)
        await stored.wait()

    async with served({"janus-xa": receive}) as client:
        answer = asyncio.create_task(
            client.post("/push/janus-xa?key=%C3%A1", data=b'[{"type": 1}]', headers={"X-Sender": "a"})
        )
        push = await asyncio.wait_for(taken.get(), 5)
        assert not answer.done()
        stored.set()
        async with await answer as response:
            assert response.status == 200

    assert (push.body, push.headers["x-sender"], push.received_at) == (b'[{"type": 1}]', "a", NOW)
    assert dict(push.query) == {"key": "á"}


async def test_a_push_without_the_password_is_refused_and_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    """401 asks for HTTP Basic; neither the body nor what was presented gets into the log."""
    caplog.set_level(logging.DEBUG)

    async def receive(push: Push) -> None:
        raise PushRefused("wrong user name or password")

    async with served({"janus-xa": receive}) as client:
        credentials = b64encode(f"janus:{SECRET}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        for _ in range(2):
            async with client.post("/push/janus-xa", data=b"body-of-a-meeting", headers=headers) as refused:
                assert refused.status == 401
                assert refused.headers["WWW-Authenticate"].startswith("Basic ")
                assert SECRET not in await refused.text()

    assert SECRET not in caplog.text
    assert credentials not in caplog.text
    assert "body-of-a-meeting" not in caplog.text
    assert caplog.text.count("wrong user name or password") == 1


async def test_a_push_that_could_not_be_stored_is_to_be_sent_again() -> None:
    """503, so that the system keeps its events; a source that does not push is 404."""

    async def receive(push: Push) -> None:
        raise SourceError("source janus-xa is not collected here now")

    async with served({"janus-xa": receive}) as client:
        async with client.post("/push/janus-xa", data=b"[]") as failed:
            assert (failed.status, failed.headers["Retry-After"]) == (503, "10")
        async with client.post("/push/nobody", data=b"[]") as unknown:
            assert unknown.status == 404
        async with client.get("/push/janus-xa") as probe, client.get("/push/nobody") as unknown:
            assert (probe.status, unknown.status) == (200, 404)


async def test_a_push_has_a_size() -> None:
    """4 MiB are taken whole, a byte more is refused before anybody looks at it."""
    sizes: list[int] = []

    async def receive(push: Push) -> None:
        sizes.append(len(push.body))

    async with served({"janus-xa": receive}) as client:
        async with client.post("/push/janus-xa", data=BytesIO(b"x" * 2**22)) as whole:
            assert whole.status == 200
        async with client.post("/push/janus-xa", data=BytesIO(b"x" * (2**22 + 1))) as too_large:
            assert too_large.status == 413

    assert sizes == [2**22]


@pytest.mark.parametrize("path", ["/", "/metrics", "/events", "/nowhere", "/static/0/live.js"])
async def test_every_answer_is_safe_to_show(path: str) -> None:
    """No foreign script, no frame, no guessing of types; errors and streams are no exception."""
    async with served() as client, client.get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"


async def test_static_files_are_kept_for_ever_under_their_hash() -> None:
    """The page's own links may be cached without asking; an address with another hash is none."""
    async with served() as client:
        async with client.get("/", headers={"Accept-Encoding": "identity"}) as page:
            links = re.findall(r'(?:href|src)="(/static/[^"]+)"', await page.text())
        assert {Path(link).suffix for link in links} == {".css", ".js", ".svg"}
        for link in links:
            async with client.get(link) as file:
                assert file.status == 200
                assert "immutable" in file.headers["Cache-Control"]
            async with client.get(re.sub(r"/static/\w+/", "/static/000000000000/", link)) as other:
                assert other.status == 404


@pytest.mark.parametrize(
    ("address", "headers", "language"),
    [
        ("/", {}, "vi"),
        ("/", {"Accept-Language": "en-GB,en;q=0.9,vi;q=0.8"}, "en"),
        ("/", {"Accept-Language": "de,vi;q=0.4,en;q=0.2"}, "vi"),
        ("/", {"Accept-Language": "de", "Cookie": "conftrack_lang=en"}, "en"),
        ("/?lang=vi", {"Accept-Language": "en", "Cookie": "conftrack_lang=en"}, "vi"),
        ("/?lang=xx", {"Accept-Language": "en;q=bad"}, "vi"),
    ],
)
async def test_the_language_is_the_one_asked_for(address: str, headers: dict[str, str], language: str) -> None:
    """The address decides, then the choice made before, then the browser; else it is Vietnamese."""
    async with served() as client, client.get(address, headers=headers | {"Accept-Encoding": "identity"}) as page:
        assert f'<html lang="{language}"' in await page.text()


async def test_a_chosen_language_is_remembered() -> None:
    """Who once chose English gets English from then on."""
    async with served() as client, client.get("/?lang=en") as page:
        assert page.cookies["conftrack_lang"].value == "en"
        assert page.cookies["conftrack_lang"]["httponly"]


def test_the_vietnamese_page_has_no_english_left() -> None:
    """Every sentence of pages and reports is translated, and no translation is of one that is gone."""
    package = Path(conftrack.__file__).parent
    with (package / "locale" / "vi.po").open("rb") as file:
        translated = {
            message.id if isinstance(message.id, str) else message.id[0]
            for message in read_po(file)
            if message.id and all(message.string if isinstance(message.string, tuple) else [message.string])
        }
    written = causes.messages() | words.messages() | names.messages()
    templates = [("jinja2.ext:babel_extract", path) for path in package.rglob("templates/*.html")]
    for method, path in [*templates, *(("python", path) for path in (package / "report").rglob("*.py"))]:
        with path.open("rb") as file:
            for _, message, *_ in extract(method, file, keywords=KEYWORDS, options={"trimmed": "true"}):
                written.add(message if isinstance(message, str) else message[0])

    assert len(written) > 40
    assert written == translated
