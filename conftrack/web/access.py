"""Who may see the pages and who may act: signing in, sessions, and the token that every form must bring back.

Only this machine reads without signing in. Acting always needs a user of the configuration. What programs ask (metrics,
checks, pushes) is not behind the login, nor is what a signed link is for.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

import msgspec
from aiohttp import web

from conftrack.config import Role, WebConfig, WebUser, is_loopback
from conftrack.sources.base import Clock
from conftrack.storage.database import Unavailable
from conftrack.storage.sessions import IDLE, LASTS, Session, Sessions
from conftrack.web.passwords import Limited, Passwords

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FROM_MEMORY = frozenset({"/", "/events"})
"""Routes that ask the database nothing: they go on while it is away, for who was let in before."""
_OPEN = frozenset(
    {"/metrics", "/healthz", "/readyz", "/push/{source}", "/static/{hash}/{name}", "/login", "/c/{word}"}
)  # routes, as the router knows them
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_ACTING: frozenset[Role] = frozenset({"operator", "admin"})


class Told(Exception):
    """Ends a request with a page that says why. `reason` is a word of the template message.html."""

    def __init__(self, status: int, reason: str, **values: object) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.values = values


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `name` None: somebody on this machine, who has not signed in."""

    name: str | None = None
    role: Role = "viewer"
    #: What each form of theirs must bring back.
    form_token: str = ""
    #: When they must sign in again.
    until: datetime | None = None

    @property
    def may_act(self) -> bool:
        return self.name is not None and self.role in _ACTING


VISITOR = web.RequestKey("visitor", Visitor)
FORM = web.RequestKey("form", dict[str, str])


class Access:
    """Lets requests through, or not. `sessions` None: nobody can sign in."""

    def __init__(self, config: WebConfig, sessions: Sessions | None, clock: Clock) -> None:
        self._local = config.local
        self._https = config.https
        self._users = {user.name: user for user in config.users} if sessions is not None else {}
        self._sessions = sessions
        self._passwords = Passwords(config.users)
        self._clock = clock
        self._limited: set[str] = set()
        #: Sessions that are in use, and when they were last found.
        self._found: dict[bytes, tuple[Session, datetime]] = {}
        prefix = "__Host-" if config.https else ""
        self._session_cookie, self._login_cookie = f"{prefix}conftrack_session", f"{prefix}conftrack_login"

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers for the handler when it may not."""
        resource = request.match_info.route.resource
        if resource is not None and resource.canonical in _OPEN:
            return await handler(request)
        visitor = await self._visitor(request)
        if visitor is None:
            if not self._users:
                raise Told(403, "no users")
            if request.method in ("GET", "HEAD"):
                raise web.HTTPSeeOther(f"/login?next={quote(request.raw_path, safe='')}")
            raise Told(403, "signed out")
        request[VISITOR] = visitor
        if request.method not in ("GET", "HEAD"):
            if visitor.name is None:
                raise Told(403, "signed out" if self._users else "no users")
            await _read_form(request, visitor.form_token)
            if not visitor.may_act and request.path != "/logout":
                raise Told(403, "role")
        return await handler(request)

    # -- signing in and out

    @property
    def can_sign_in(self) -> bool:
        return bool(self._users)

    def offer(self, request: web.Request) -> tuple[str, str]:
        """A cookie for the form that signs in, and the token that the form must bring back."""
        cookie = request.cookies.get(self._login_cookie) or secrets.token_urlsafe(32)
        return cookie, _form_token(cookie)

    def remember_offer(self, response: web.StreamResponse, cookie: str) -> None:
        self._set(response, self._login_cookie, cookie, "Strict")

    async def sign_in(self, request: web.Request) -> web.StreamResponse | None:
        """Takes the filled in form: the way on, or None if name or password is wrong. Raises Told."""
        if self._sessions is None or not self._users:
            raise Told(403, "no users")
        cookie = request.cookies.get(self._login_cookie)
        form = await _read_form(request, _form_token(cookie) if cookie else "")
        name, address, now = form.get("name", "").strip(), address_of(request), self._clock()
        # What was typed may be a password in the wrong field: only a name that exists is kept.
        known = name if name in self._users else "unknown"
        try:
            user = await self._passwords.check(name, form.get("password", ""), address)
        except Limited:
            if address not in self._limited:  # told once, not at each of a flood
                self._limited = {*self._limited, address} if len(self._limited) < 1000 else {address}
                logger.warning("too many passwords were tried from %s", address, extra={"action": "sign_in_limited"})
                await self._sessions.refused(known, "sign in limited", address, now=now)
            raise Told(429, "limited") from None
        self._limited.discard(address)
        if user is None:
            await self._sessions.refused(known, "sign in refused", address, now=now)
            return None
        await self._end(request, now)
        token = _bound(secrets.token_urlsafe(32), user)
        await self._sessions.open(_digest(token), user.name, address, now=now)
        self._found = {digest: (one, at) for digest, (one, at) in self._found.items() if now - at < IDLE}
        response = web.Response(status=303, headers={"Location": way_on(form.get("next", ""))})
        self._set(response, self._session_cookie, token, "Lax", max_age=int(LASTS.total_seconds()))
        response.del_cookie(self._login_cookie, path="/", secure=self._https, httponly=True, samesite="Strict")
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        await self._end(request, self._clock())
        response = web.Response(status=303, headers={"Location": "/"})
        response.del_cookie(self._session_cookie, path="/", secure=self._https, httponly=True, samesite="Lax")
        return response

    async def _end(self, request: web.Request, now: datetime) -> None:
        token = request.cookies.get(self._session_cookie)
        if token and self._sessions is not None:
            self._found.pop(_digest(token), None)
            await self._sessions.close(_digest(token), address_of(request), now=now)

    # -- who asks

    async def _visitor(self, request: web.Request) -> Visitor | None:
        token = request.cookies.get(self._session_cookie)
        if token and self._sessions is not None:
            session = await self._session(request, self._sessions, _digest(token))
            user = self._users.get(session.username) if session is not None else None
            if session is not None and user is not None and _is_bound(token, user):
                return Visitor(name=user.name, role=user.role, form_token=_form_token(token), until=session.expires_at)
        return Visitor() if self._local and _from_here(request) else None

    async def _session(self, request: web.Request, sessions: Sessions, digest: bytes) -> Session | None:
        """While the database is away, of the sessions that it knew before."""
        now = self._clock()
        try:
            session = await sessions.find(digest, now=now)
        except Unavailable:
            if request.path not in FROM_MEMORY:
                raise
            session, at = self._found.get(digest, (None, now))
            if session is not None and now - at < IDLE and now < session.expires_at:
                return session
            if self._local and _from_here(request):
                return None
            raise
        if session is None:
            self._found.pop(digest, None)
        else:
            self._found[digest] = session, now
        return session

    def _set(
        self, response: web.StreamResponse, name: str, value: str, same_site: str, *, max_age: int | None = None
    ) -> None:
        # Lax, not Strict, for the session: the links in alerts must open for whoever is signed in.
        response.set_cookie(
            name, value, max_age=max_age, path="/", secure=self._https, httponly=True, samesite=same_site
        )


def way_on(asked: str) -> str:
    """Where to go after signing in: an address of these pages, whatever was asked for."""
    parts = urlsplit(asked) if asked.isascii() and asked.isprintable() else None
    inside = parts is not None and not parts.scheme and not parts.netloc and parts.path.startswith("/")
    return asked if inside and not asked.startswith("//") and "\\" not in asked else "/"


async def fields_of(request: web.Request) -> dict[str, str]:
    """What is in a form, each field once. Raises Told when it is none, or cannot be read."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise Told(415, "form")
    try:
        posted = await request.post()
    except (LookupError, ValueError):  # a charset that there is not, or bytes that are none of it
        raise Told(400, "form") from None
    return {name: value for name, value in posted.items() if isinstance(value, str)}


async def _read_form(request: web.Request, token: str) -> dict[str, str]:
    """What was filled in, each field once. Raises Told when it is not a form that was handed out to this visitor."""
    form = await fields_of(request)
    if not token or not hmac.compare_digest(form.get("token", "").encode(), token.encode()):
        raise Told(403, "form")
    request[FORM] = form
    return form


def _from_here(request: web.Request) -> bool:
    """Not through a proxy, and not by a name of somebody else's that leads here."""
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(host) and not any(name in request.headers for name in _FORWARDED)


def address_of(request: web.Request) -> str:
    """Who is there, for counting: of IPv6 the network, since one machine has as many addresses as it likes."""
    try:
        address = ip_address(request.remote or "")
    except ValueError:
        return "unknown"
    return str(address) if address.version == 4 else f"{address.exploded[:19]}::/64"


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()


def _form_token(cookie: str) -> str:
    return hmac.new(cookie.encode(errors="surrogatepass"), b"conftrack form", sha256).hexdigest()


def _bound(secret: str, user: WebUser) -> str:
    """Ties a cookie to a password: another password ends the sessions of the old one."""
    return f"{secret}.{hmac.new(user.password_hash.reveal().encode(), secret.encode(), sha256).hexdigest()}"


def _is_bound(token: str, user: WebUser) -> bool:
    return hmac.compare_digest(token.encode(), _bound(token.partition(".")[0], user).encode())
