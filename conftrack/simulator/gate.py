"""The door of the simulated management node: who may ask, how often, and what goes wrong on the way.

Read only: anything but GET (and the POST for a token) is answered 405 and remembered, since a collector must never
send it; a DELETE on a list would empty it on the real system.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address

import jwt
import msgspec
from aiohttp import web

from conftrack.simulator.faults import Injector, Wire
from conftrack.simulator.plan import SECOND, micros, moment
from conftrack.simulator.world import Clock

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOKEN_PATH = "/oauth/token/"  # noqa: S105 - an address

_LOGIN = "<!DOCTYPE html><html><head><title>Log in | Pexip Infinity</title></head><body><form></form></body></html>"


class OAuthClient(msgspec.Struct, frozen=True, kw_only=True):
    """A client that may ask for tokens: it proves itself by a JWT signed with the private half of its key."""

    client_id: str
    #: PEM of an EC P-256 public key.
    public_key: str
    #: The management node's own name; the audience of the JWT must be its token address.
    fqdn: str = "manager.phutho.example"
    #: None: the answer does not say, as some versions do; tokens still end after an hour.
    expires_in: int | None = 3600


class Gate:
    """The middlewares of the node, outermost first: `dated`, `guarded`."""

    def __init__(
        self, clock: Clock, injector: Injector, *, username: str, password: str, oauth: OAuthClient | None, rate: int
    ) -> None:
        self._clock, self._injector = clock, injector
        self._basic = f"{username}:{password}".encode()
        self._oauth, self._rate = oauth, rate
        self._tokens: dict[str, datetime] = {}
        self._asked: deque[float] = deque()
        self._stopping = asyncio.Event()
        #: Method and path of every request that was not a read.
        self.violations: list[str] = []

    def now(self) -> int:
        """The server's own idea of the time, in microseconds."""
        return micros(self._clock()) + int(self._injector.faults.skew_seconds * SECOND)

    async def close(self, _: web.Application) -> None:
        """Lets go of the requests that hang."""
        self._stopping.set()

    @web.middleware
    async def dated(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every answer tells the server's time."""
        date = format_datetime(moment(self.now()).replace(microsecond=0), usegmt=True)
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            refusal.headers["Date"] = date
            raise
        if not response.prepared:
            response.headers["Date"] = date
        return response

    @web.middleware
    async def guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "GET" and (request.method, request.path) != ("POST", TOKEN_PATH):
            self.violations.append(f"{request.method} {request.path}")
            return web.Response(status=405, headers={"Allow": "GET"})
        if not request.path.startswith(("/api/", "/oauth/")) and _is_loopback(request.remote):
            return await handler(request)
        fault = self._injector.wire(request.path_qs)
        if fault and fault != "truncated":
            return await self._spoil(request, fault)
        if not self._within_rate():
            return web.Response(status=429, headers={"Retry-After": "10"}, text="Too Many Requests")
        if request.path != TOKEN_PATH and not self._authorised(request.headers.get("Authorization", "")):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="Pexip"'})
        response = await handler(request)
        if fault == "truncated" and isinstance(response, web.Response) and isinstance(response.body, bytes):
            return await self._cut_short(request, response.body)
        return response

    async def _spoil(self, request: web.Request, fault: Wire) -> web.StreamResponse:
        if fault == "throttled":
            return web.Response(status=429, headers={"Retry-After": str(self._injector.faults.retry_after)})
        if fault == "login_page":
            return web.Response(text=_LOGIN, content_type="text/html")
        if fault == "broken":
            return web.Response(status=(500, 502, 503)[self._injector.counts["broken"] % 3], text="Server Error")
        if fault == "hanging":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._injector.faults.client_timeout * 1.5)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    async def _cut_short(self, request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "application/json"
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    def _within_rate(self) -> bool:
        now = asyncio.get_running_loop().time()
        while self._asked and self._asked[0] <= now - 60:
            self._asked.popleft()
        if len(self._asked) >= self._rate:
            return False
        self._asked.append(now)
        return True

    def _authorised(self, header: str) -> bool:
        kind, _, proof = header.partition(" ")
        if kind == "Basic":
            try:
                return hmac.compare_digest(base64.b64decode(proof), self._basic)
            except ValueError:
                return False
        return kind == "Bearer" and proof in self._tokens and self._clock() < self._tokens[proof]

    async def token(self, request: web.Request) -> web.Response:
        """OAuth2 client credentials with a signed assertion (Pexip: "Using OAuth2 with the management API")."""
        form = await request.post()
        if self._oauth is None:
            raise web.HTTPNotFound
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        try:
            claims = jwt.decode(
                str(form.get("client_assertion", "")),
                self._oauth.public_key,
                algorithms=["ES256"],
                audience=f"https://{self._oauth.fqdn}{TOKEN_PATH}",
                # Its times are those of the client's clock; how far that is from ours is not what is tested here.
                options={"require": ["exp", "iss", "sub"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return web.json_response({"error": "invalid_client"}, status=401)
        if not claims["iss"] == claims["sub"] == self._oauth.client_id:
            return web.json_response({"error": "invalid_client"}, status=401)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = self._clock() + timedelta(seconds=self._oauth.expires_in or 3600)
        answer: dict[str, str | int] = {"access_token": token, "token_type": "Bearer", "scope": "is_admin use_api"}
        if self._oauth.expires_in is not None:
            answer["expires_in"] = self._oauth.expires_in
        return web.json_response(answer)


def _is_loopback(remote: str | None) -> bool:
    return remote is not None and ip_address(remote).is_loopback
