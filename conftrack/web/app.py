"""The routes: which address answers what, and what every answer carries for safety. Never logs a body or a password."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import asyncpg
from aiohttp import web
from aiohttp_sse import sse_response

from conftrack.config import AlertsConfig, ReportConfig, WebConfig
from conftrack.errors import ConftrackError
from conftrack.headcounts.counting import Counting
from conftrack.report.forms.html import STYLE
from conftrack.sources.base import Clock, Push, PushRefused
from conftrack.state import State
from conftrack.storage.actions import Actions
from conftrack.storage.database import Unavailable, sentence_of
from conftrack.storage.pages import PageReader
from conftrack.storage.sessions import Sessions
from conftrack.storage.usage_page import UsageReader
from conftrack.web import pages
from conftrack.web.access import FORM, VISITOR, Access
from conftrack.web.counts import add_counts
from conftrack.web.desk import RETRY_AFTER, Desk, asked, compressed
from conftrack.web.endpoints import add_endpoints
from conftrack.web.feed import Feed
from conftrack.web.incidents import add_incidents
from conftrack.web.meetings import add_meetings
from conftrack.web.reports import Keeper, add_reports
from conftrack.web.usage import add_usage
from conftrack.web.view import view

logger = logging.getLogger(__name__)

MAX_BODY = 4 * 2**20
"""Bytes of one request."""

_SAFETY = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_STATIC = {
    "live.css": "text/css", "live.js": "text/javascript", "pages.css": "text/css", "copy.js": "text/javascript",
    "icon.svg": "image/svg+xml", "cards.css": "text/css", "report.css": "text/css",
}  # fmt: skip


class Exposition(Protocol):
    """What renders the metrics."""

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Body and content type for an Accept header."""
        ...


def application(
    state: State,
    metrics: Exposition,
    *,
    clock: Clock,
    timezone: ZoneInfo,
    ready: Callable[[], Awaitable[str | None]],
    pushes: Mapping[str, Callable[[Push], Awaitable[None]]],
    config: WebConfig | None = None,
    pool: asyncpg.Pool[asyncpg.Record] | None = None,
    page_url: str = AlertsConfig().page_url,
    reports: Keeper | None = None,
    letterhead: ReportConfig | None = None,
) -> web.Application:
    """Everything that conftrack serves.

    `ready` says why the service is not ready, or None. `pushes` takes in what the system behind a source posts to
    /push/SOURCE, and returns once it is stored. `config` says who may see the pages; without it, this machine. Without
    a database (`pool`) there is the live page alone, and nobody signs in. `page_url` is where people reach the pages:
    links that are printed begin with it. `reports` keeps the monthly reports, `letterhead` is what stands on them on
    paper.
    """
    folder = Path(__file__).parent / "static"
    static = {name: (STYLE if name == STYLE.name else folder / name).read_bytes() for name in _STATIC}
    hashes = {name: sha256(content).hexdigest()[:12] for name, content in static.items()}
    access = Access(config or WebConfig(), Sessions(pool) if pool is not None else None, clock)
    desk = Desk(
        state, access, clock=clock, timezone=timezone, has_records=pool is not None,
        asset=lambda name: f"/static/{hashes[name]}/{name}",
        version=sha256("".join(hashes.values()).encode()).hexdigest()[:12],
    )  # fmt: skip
    app = web.Application(client_max_size=MAX_BODY, middlewares=[desk.tell, access.guard])
    app.on_response_prepare.append(_add_safety)
    _add_checks(app, metrics, ready)
    _add_pushes(app, desk, pushes)
    _add_static(app, static, hashes)
    _add_login(app, desk)
    _add_live_page(app, desk)
    if pool is not None:
        reader = PageReader(pool)
        add_endpoints(app, desk, reader)
        add_meetings(app, desk, reader)
        add_incidents(app, desk, reader, Actions(pool))
        add_usage(app, desk, reader, UsageReader(pool))
        add_counts(app, desk, Counting(pool, timezone, page_url))
        if reports is not None:
            add_reports(app, desk, reports, letterhead or ReportConfig())
    return app


async def _add_safety(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_SAFETY)


def _add_checks(app: web.Application, metrics: Exposition, ready: Callable[[], Awaitable[str | None]]) -> None:
    async def show_metrics(request: web.Request) -> web.Response:
        body, content_type = metrics.expose(request.headers.get("Accept", ""))
        return compressed(request, web.Response(body=body, headers={"Content-Type": content_type}))

    async def show_health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def show_readiness(_: web.Request) -> web.Response:
        reason = await ready()
        return web.Response(text="ok\n") if reason is None else web.Response(status=503, text=f"{reason}\n")

    app.router.add_get("/metrics", show_metrics)
    app.router.add_get("/healthz", show_health)
    app.router.add_get("/readyz", show_readiness)


def _add_pushes(app: web.Application, desk: Desk, pushes: Mapping[str, Callable[[Push], Awaitable[None]]]) -> None:
    refused: set[str] = set()

    def receiver(request: web.Request) -> Callable[[Push], Awaitable[None]]:
        try:
            return pushes[request.match_info["source"]]
        except KeyError:
            raise web.HTTPNotFound(text="there is no such source that pushes\n") from None

    async def probe(request: web.Request) -> web.Response:
        """Some systems ask before they post."""
        receiver(request)
        return web.Response(text="ok\n")

    async def take(request: web.Request) -> web.Response:
        receive, source = receiver(request), request.match_info["source"]
        push = Push(headers=request.headers, body=await request.read(), received_at=desk.clock(), query=request.query)
        try:
            await receive(push)
        except PushRefused as reason:
            if source not in refused:  # told once, not at each of its posts
                logger.warning("refused what was pushed to %s: %s", source, reason, extra={"action": "push_refused"})
                refused.add(source)
            raise web.HTTPUnauthorized(
                text="wrong or no credentials\n", headers={"WWW-Authenticate": 'Basic realm="conftrack"'}
            ) from None
        except (ConftrackError, *Unavailable) as error:
            if isinstance(error, Unavailable):
                desk.state.lose_database(sentence_of(error), desk.clock())
            else:  # such as a source that is not collected because the database is away, which was told
                level = logging.WARNING if desk.state.database_lost_at is None else logging.DEBUG
                said = {"action": "push_failed"}
                logger.log(level, "could not take what was pushed to %s: %s", source, error, extra=said)
            raise web.HTTPServiceUnavailable(
                text="not stored; send it again later\n", headers={"Retry-After": RETRY_AFTER}
            ) from None
        refused.discard(source)
        return web.Response(text="stored\n")

    app.router.add_get("/push/{source}", probe)
    app.router.add_post("/push/{source}", take)


def _add_static(app: web.Application, static: Mapping[str, bytes], hashes: Mapping[str, str]) -> None:
    async def show_static(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if hashes.get(name) != request.match_info["hash"]:
            raise web.HTTPNotFound
        return web.Response(
            body=static[name],
            content_type=_STATIC[name],
            charset="utf-8",
            headers={"Cache-Control": "public, max-age=31536000, immutable"},
        )

    app.router.add_get("/static/{hash}/{name}", show_static)


def _add_login(app: web.Application, desk: Desk) -> None:
    def form(request: web.Request, way_on: str, *, refused: bool) -> web.Response:
        cookie, token = desk.access.offer(request)
        response = desk.page(
            request, "login.html", at=desk.clock(), status=403 if refused else 200, token=token, next=way_on,
            refused=refused,
        )  # fmt: skip
        desk.access.remember_offer(response, cookie)
        return response

    async def show_login(request: web.Request) -> web.Response:
        return form(request, asked(request, "next").get("next", "/"), refused=False)

    async def sign_in(request: web.Request) -> web.StreamResponse:
        way_on = await desk.access.sign_in(request)
        return way_on or form(request, request[FORM].get("next", "/"), refused=True)

    app.router.add_get("/login", show_login)
    app.router.add_post("/login", sign_in)
    app.router.add_post("/logout", desk.access.sign_out)


def _add_live_page(app: web.Application, desk: Desk) -> None:
    def parts(language: str) -> Mapping[str, str]:
        return desk.languages[language].parts(view(desk.state, desk.clock()))

    feed = Feed(desk.state, parts)

    async def show_page(request: web.Request) -> web.Response:
        language = pages.chosen(request, desk.languages).code
        return desk.page(request, "live.html", at=desk.clock(), parts=parts(language))

    async def push_events(request: web.Request) -> web.StreamResponse:
        language = pages.chosen(request, desk.languages)
        until = request[VISITOR].until
        async with sse_response(request, sep="\n", send_timeout=30) as stream:
            with suppress(ConnectionResetError, TimeoutError):  # nobody reads it any more
                await stream.send(desk.version, event="hello", retry=2000)
                async for changed in feed.watch(language.code):
                    if until is not None and desk.clock() >= until:
                        break
                    for part in changed:
                        await stream.send(part, event="part")
        return stream

    async def run_feed(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(feed.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def end_feed(_: web.Application) -> None:
        await feed.close()  # else open pages would hold the server up

    app.cleanup_ctx.append(run_feed)
    app.on_shutdown.append(end_feed)
    app.router.add_get("/", show_page)
    app.router.add_get("/events", push_events, allow_head=False)
