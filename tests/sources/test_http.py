"""The HTTP client of all sources, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from conftrack.config import Secret, SourceConfig
from conftrack.errors import SourceError
from conftrack.sources.http import BURST, LONGEST_WAIT, REFILL_SECONDS, HttpClient, NotFound, PasswordAuth
from tests.sources.conformance import (
    NOW,
    FakeSystem,
    Handler,
    Observations,
    reset,
    silence,
    status,
    truncated,
    until,
)

PASSWORD = "không-ai-được-biết"


async def hello(request: web.Request) -> web.StreamResponse:
    return web.json_response({"hello": request.path_qs})


def decode(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])


def make_client(
    url: str,
    observe: Observations | None = None,
    clock: Callable[[], datetime] = lambda: NOW,
    max_body: int = 1_000_000,
    **config: Any,
) -> HttpClient:
    settings: dict[str, Any] = {
        "name": "cau-tinh",
        "kind": "pexip",
        "url": url,
        "username": "reporter",
        "password": Secret(PASSWORD),
        "timeout": timedelta(seconds=0.3),
    }
    made = SourceConfig(**settings | config)
    return HttpClient(made, clock=clock, observe=observe or Observations(), auth=PasswordAuth(made), max_body=max_body)


@asynccontextmanager
async def served(handler: Handler = hello, **options: Any) -> AsyncIterator[tuple[HttpClient, FakeSystem]]:
    async with FakeSystem(handler) as system, make_client(system.url, **options) as client:
        yield client, system


async def test_an_answer_carries_the_servers_time() -> None:
    """What was answered is known by the server's clock, and so is the time since."""
    async with served() as (client, system):
        assert client.now() == NOW
        system.now = NOW - timedelta(minutes=7)
        answer = await client.get("/a/", decode, stream="x", params={"b": "2026-03-02T01:00:00.5"})

        assert answer.value == {"hello": "/a/?b=2026-03-02T01:00:00.5"}
        assert answer.at == system.now
        assert system.now <= client.now() < system.now + timedelta(seconds=5)


async def test_a_server_without_a_clock_has_ours() -> None:
    """No Date header is no failure."""
    async with served() as (client, system):
        system.now = None

        assert (await client.get("/", decode, stream="x")).at == NOW
        assert client.now() == NOW


@pytest.mark.parametrize("code", [301, 302, 307, 400, 401, 403, 404, 405, 410])
async def test_what_cannot_get_better_is_not_asked_again(code: int) -> None:
    """A refusal is permanent, is asked once, and names the source to look at."""
    observe = Observations()
    async with served(status(code, Location="https://elsewhere.example/login?next=/"), observe=observe) as (client, _):
        with pytest.raises(SourceError) as refused:
            await client.get("/a/", decode, stream="x")

    assert refused.value.permanent
    assert observe.seen == [("x", str(code))]
    assert isinstance(refused.value, NotFound) == (code == 404)
    if code in (401, 403):
        assert "username and password in [[sources]] cau-tinh" in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (status(429), "429"),
        (status(408), "408"),
        (status(500), "500"),
        (status(502), "502"),
        (status(503), "503"),
        (truncated, "error"),
        (silence, "timeout"),
        (status(200, "<!doctype html>"), "invalid"),
        (status(200, "  <html>"), "invalid"),
        (status(200, '{"a": 1'), "invalid"),
        (status(200, ""), "invalid"),
        (status(200, "[]"), "invalid"),
    ],
)
async def test_what_may_get_better_is_asked_again(fault: Handler, seen: str) -> None:
    """A passing fault costs an attempt, which is reported, and nothing else."""
    observe = Observations()
    async with served(observe=observe) as (client, system):
        system.next(fault)
        await client.get("/", decode, stream="x")

    assert observe.seen == [("x", seen), ("x", "200")]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(503), "HTTP 503"),
        (truncated, "broke off"),
        (reset, "broke off"),
        (silence, "within 0.3 s"),
        (status(200, "<html>"), "web page instead of JSON"),
        (status(200, "{"), "JSON that cannot be read"),
    ],
)
async def test_what_does_not_get_better_is_said(fault: Handler, words: str) -> None:
    """In the end the source fails, for the time being, and says in words why."""
    observe = Observations()
    async with served(fault, observe=observe) as (client, system):
        with pytest.raises(SourceError, match=words) as failure:
            await client.get("/a/", decode, stream="x", attempts=2)

        assert not failure.value.permanent
        assert system.url.removeprefix("http://") in str(failure.value)
        assert len(observe.seen) == 2


async def test_a_server_that_is_not_there_is_a_passing_failure() -> None:
    """A node that restarts refuses connections."""
    async with FakeSystem(hello) as system:
        url = system.url
    observe = Observations()
    async with make_client(url, observe) as client:
        with pytest.raises(SourceError, match="cannot be reached") as failure:
            await client.get("/", decode, stream="x", attempts=2)

    assert not failure.value.permanent
    assert observe.statuses == ["error", "error"]


@pytest.mark.parametrize("by_date", [False, True])
async def test_a_wait_that_is_asked_for_is_kept(by_date: bool) -> None:
    """Retry-After is honoured as a number of seconds and as a date, which is read by the server's own clock."""
    async with served() as (client, system):
        system.now = NOW + timedelta(minutes=10)
        wait = format_datetime(system.now + timedelta(seconds=1), usegmt=True) if by_date else "1"
        system.next(status(429, Retry_After=wait))
        begun = asyncio.get_running_loop().time()
        await client.get("/", decode, stream="x")

        assert 1 <= asyncio.get_running_loop().time() - begun < 2


async def test_a_long_wait_is_left_to_the_caller() -> None:
    """Nobody sits in a request for ten minutes: who asked is told when to come back."""
    async with served(status(503, Retry_After="600")) as (client, system):
        with pytest.raises(SourceError) as failure:
            await client.get("/", decode, stream="x")

        assert failure.value.retry_after == 600 > LONGEST_WAIT
        assert len(system.requests) == 1


async def test_a_redirect_is_not_followed() -> None:
    """Credentials go to the address that was configured and nowhere else."""
    async with FakeSystem(hello) as elsewhere:
        address = f"{elsewhere.url}/a/?session=s3cr3t"
        async with served(status(302, Location=address)) as (client, _):
            with pytest.raises(SourceError, match=r"127\.0\.0\.1") as refused:
                await client.get("/a/", decode, stream="x")

        assert "s3cr3t" not in str(refused.value)
        assert elsewhere.requests == []


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_body_without_end_is_not_swallowed(compressed: bool) -> None:
    """A body larger than any page can be is given up, however small it was on the wire."""

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if compressed:
            response.enable_compression()
        await response.prepare(request)
        for _ in range(64):
            await response.write(b" " * 65_536)
        return response

    observe = Observations()
    async with served(flood, observe=observe) as (client, _):
        with pytest.raises(SourceError, match="more than 1000000 bytes") as refused:
            await client.get("/", decode, stream="x")

    assert refused.value.permanent
    assert observe.statuses == ["invalid"]


async def test_five_requests_at_once_and_no_more() -> None:
    """However much is asked for, the node has five requests to answer at a time."""
    gate = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.json_response({})

    async with served(wait, timeout=timedelta(seconds=5)) as (client, system):
        asked = [asyncio.create_task(client.get("/", decode, stream="x")) for _ in range(12)]
        await until(lambda: system.under_way == 5)
        await asyncio.sleep(0.05)
        assert system.under_way == 5
        gate.set()
        await asyncio.gather(*asked)

        assert system.most_under_way == 5


def test_the_rate_stays_below_what_the_node_allows() -> None:
    """A full bucket and its refill make fewer requests in any minute than the 1,000 that Pexip allows."""
    assert BURST + 60 * BURST / REFILL_SECONDS < 1000


async def test_a_cancelled_request_is_no_fault_of_the_system() -> None:
    """Shutting down reports nothing and leaves no connection."""
    observe = Observations()
    async with FakeSystem(silence) as system:
        async with make_client(system.url, observe, timeout=timedelta(seconds=5)) as client:
            asking = asyncio.create_task(client.get("/", decode, stream="x"))
            await until(lambda: system.under_way == 1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        await system.until_closed()

    assert observe.seen == []


async def test_credentials_are_not_seen(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the password nor what is made of it shows in errors or logs, not even one put into the address."""
    caplog.set_level(logging.DEBUG)
    texts = []
    async with FakeSystem(hello) as system:
        url = system.url.replace("http://", "http://ai:t0p-secret@") + "/?token=t0p-secret"
        async with make_client(url) as client:
            for fault in (status(401), status(500), truncated, reset, silence, status(200, "<"), status(302)):
                system.always = fault
                with pytest.raises(SourceError) as failure:
                    await client.get("/a/", decode, stream="x", attempts=2)
                texts += [str(failure.value), repr(failure.value), repr(failure.value.__cause__)]
            texts += [repr(client), client.host, client.url("/a/")]
        texts += [caplog.text, *(repr(record.__dict__) for record in caplog.records)]
        header = system.headers[0]["Authorization"].removeprefix("Basic ")

    assert not [text for text in texts for secret in (PASSWORD, "t0p-secret", header) if secret in text]


async def test_an_address_with_a_path_keeps_it() -> None:
    """A node behind a proxy that gives it a folder is asked in that folder."""
    async with FakeSystem(hello) as system, make_client(f"{system.url}/pexip/") as client:
        answer = await client.get("/api/x/", decode, stream="x")

        assert answer.value == {"hello": "/pexip/api/x/"}


# TLS


@asynccontextmanager
async def tls_server(certificate: Path) -> AsyncIterator[tuple[str, list[str]]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({})

    server = web.Server(answer)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}", asked
    finally:
        listener.close()
        await server.shutdown(0.1)


async def test_an_untrusted_certificate_is_refused(certificate: Path) -> None:
    """No password is sent to a server that cannot prove who it is; the operator is told of ca_file."""
    async with tls_server(certificate) as (url, asked), make_client(url) as client:
        with pytest.raises(SourceError, match=r"self-signed certificate.*ca_file in .*cau-tinh") as refused:
            await client.get("/", decode, stream="x")

    assert refused.value.permanent
    assert asked == []


async def test_an_authority_of_ones_own_is_trusted(certificate: Path) -> None:
    """`ca_file` makes a node with a private certificate readable."""
    async with tls_server(certificate) as (url, asked), make_client(url, ca_file=certificate) as client:
        assert (await client.get("/a/", decode, stream="x")).value == {}
        assert asked == ["/a/"]


async def test_a_ca_file_that_is_none_is_said_so(tmp_path: Path) -> None:
    """A wrong file is a sentence that names the key."""
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(SourceError, match=r"ca_file of \[\[sources\]\] cau-tinh"):
            await make_client("https://127.0.0.1", ca_file=tmp_path / name).__aenter__()
