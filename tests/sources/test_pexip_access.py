"""The Pexip source as a client: passwords, tokens, what it refuses and what `conftrack doctor` shows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import ClassVar

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftrack.config import Secret, SourceConfig
from conftrack.errors import SourceError
from conftrack.sources.base import Observer, Push, PushRefused
from conftrack.sources.pexip import PexipOptions, PexipSource
from tests.pexip_node import (
    PASSWORD,
    Node,
    Row,
    make_source,
    opened,
)
from tests.sources import test_pexip
from tests.sources.conformance import (
    NOW,
    FakeSystem,
    Observations,
    read,
    status,
)


class OAuthNode(Node):
    """A node that takes only bearer tokens, and gives them to a client with the right key."""

    def __init__(self) -> None:
        super().__init__()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.audience = ""
        self.tokens: list[str] = []
        self.valid: set[str] = set()
        self.claims: list[Row] = []
        self.lifetime: int | None = 3600

    @property
    def pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    async def _route(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/oauth/token/" and request.method == "POST":
            return await self._token(request)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.valid:
            return web.json_response({}, status=401)
        return await self.respond(request)

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        assert form["grant_type"] == "client_credentials"
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        try:
            claims = jwt.decode(
                str(form["client_assertion"]),
                self.key.public_key(),
                algorithms=["ES256"],
                audience=self.audience or f"{self.url}/oauth/token/",
                options={"verify_exp": False, "verify_iat": False, "require": ["iss", "sub", "exp", "iat", "jti"]},
            )
        except jwt.InvalidTokenError:
            return web.json_response({"error": "invalid_client: invalid_claim"}, status=401)
        assert claims["iss"] == claims["sub"] == "conftrack-client"
        self.claims.append(claims)
        token = f"bí-mật-{len(self.tokens)}".encode().hex()
        self.tokens.append(token)
        self.valid.add(token)
        answer: Row = {"access_token": token, "token_type": "Bearer"}
        return web.json_response(answer | ({"expires_in": self.lifetime} if self.lifetime else {}))

    def options(self, audience: str | None = None) -> PexipOptions:
        return PexipOptions(client_id="conftrack-client", private_key=Secret(self.pem), token_audience=audience)


class TestConformanceWithOAuth(test_pexip.TestConformance):
    """Pexip as an OAuth client: all the same, with a token."""

    secrets: ClassVar[tuple[str, ...]] = (PASSWORD, "BEGIN PRIVATE KEY", "b\\xc3\\xad-m", "bí-mật-0".encode().hex())
    other_requests: ClassVar[tuple[tuple[str, str], ...]] = (("POST", "/oauth/token/"),)

    def system(self) -> OAuthNode:
        return OAuthNode()

    def source(self, system: FakeSystem, observe: Observer) -> PexipSource:
        assert isinstance(system, OAuthNode)
        return make_source(system, observe, system.options(), username=None, password=None)

    async def test_a_failing_server_is_asked_again(self) -> None:
        """The token endpoint may be ill for a moment, too."""
        observe = Observations()
        async with self.opened(observe) as (source, system):
            system.next(status(503))
            await read(source, "participant")
            assert observe.seen[:2] == [("token", "503"), ("token", "200")]


async def test_a_token_serves_until_it_is_about_to_expire() -> None:
    """Requests share one token, even those that begin together."""
    async with OAuthNode() as node, make_source(node, options=node.options()) as source:
        await asyncio.gather(source.live(), read(source, "participant"), source.check())

        assert len(node.tokens) == 1
        assert node.claims[0]["exp"] > node.claims[0]["iat"] == int(NOW.timestamp())


async def test_a_token_near_its_end_is_replaced() -> None:
    """A token that says no lifetime lives an hour; it is replaced before the node refuses it."""
    for lifetime, after, tokens in ((None, 50, 1), (None, 56, 2), (7200, 100, 1), (60, 1, 2)):
        times = [NOW]
        async with OAuthNode() as node:
            node.lifetime = lifetime
            config = SourceConfig(name="p", kind="pexip", url=node.url, options=node.options())
            async with PexipSource(config, clock=partial(max, times), observe=Observations()) as source:
                await source.check()
                times.append(NOW + timedelta(minutes=after))
                await source.check()
                assert len(node.tokens) == tokens


async def test_a_revoked_token_is_replaced_once() -> None:
    """A node that restarted knows no old tokens; that costs one request, not the reading."""
    async with OAuthNode() as node, make_source(node, options=node.options()) as source:
        await source.check()
        node.valid.clear()

        assert "answers" in await source.check()
        assert len(node.tokens) == 2


async def test_the_audience_can_be_what_the_node_calls_itself() -> None:
    """Some nodes want their internal name in the assertion; the refusal names the option."""
    async with OAuthNode() as node:
        node.audience = "pexmgr.noibo.tinh.example"
        async with make_source(node, options=node.options()) as source:
            with pytest.raises(SourceError, match="token_audience") as refused:
                await source.check()
            assert refused.value.permanent
        async with make_source(node, options=node.options(node.audience)) as source:
            assert "answers" in await source.check()


async def test_a_key_that_is_none_is_said_so() -> None:
    """A wrong file as private_key is a sentence, not a traceback, and does not show the file."""
    async with OAuthNode() as node:
        options = PexipOptions(client_id="conftrack-client", private_key=Secret("-----BEGIN nonsense"))
        async with make_source(node, options=options) as source:
            with pytest.raises(SourceError, match="private_key") as refused:
                await source.check()

    assert refused.value.permanent
    assert "nonsense" not in str(refused.value)


def test_half_a_client_is_no_client() -> None:
    """An OAuth client needs both its id and its key."""
    with pytest.raises(ValueError, match="go together"):
        PexipOptions(client_id="conftrack-client")


async def test_events_are_refused() -> None:
    """A node that is set up to push here gets no false thanks."""
    async with opened() as (source, _):
        with pytest.raises(PushRefused):
            source.receive(Push(headers={}, body=b"{}", received_at=NOW))


async def test_check_counts_the_history() -> None:
    """`conftrack doctor` shows how much there is to read."""
    async with opened() as (source, node):
        history = f"Pexip Infinity at {node.url[7:]} answers; history holds 3 conferences"
        dial = "2 rooms dial their sites"
        assert await source.check() == f"{history}; 3 aliases are registered; {dial}"

        node.missing.add("status/registration_alias")
        unknown = f"who is registered is not known: {node.url[7:]} has no list of them"
        assert await source.check() == f"{history}; {unknown}; {dial}"
