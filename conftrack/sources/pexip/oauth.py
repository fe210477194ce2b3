"""OAuth 2.0 for the Management API: a client proves itself by a JWT it signs with its private key (ES256).

Shape of the exchange after pexip/pexshell, lib/src/mcu/auth/oauth2.rs.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta

import jwt
import msgspec

from conftrack.config import Secret
from conftrack.errors import SourceError
from conftrack.sources.base import Clock
from conftrack.sources.http import HttpClient

TOKEN_PATH = "/oauth/token/"  # noqa: S105 - an address
#: A token is replaced this long before it expires.
MARGIN = timedelta(minutes=5)
#: The node may leave out how long a token lives.
LIFETIME = timedelta(hours=1)


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = LIFETIME.total_seconds()


class ClientAssertion:
    """Bearer tokens for an OAuth client, fetched when first needed and renewed before they expire.

    `audience` is what the node knows itself as; None is the address of its token endpoint.
    """

    names = "client_id, private_key and token_audience"

    def __init__(self, client_id: str, private_key: Secret, audience: str | None, clock: Clock) -> None:
        self._client_id = client_id
        self._private_key = private_key
        self._audience = audience
        self._clock = clock
        self._lock = asyncio.Lock()
        self._header: str | None = None
        self._renew_at: datetime | None = None

    async def authorization(self, client: HttpClient) -> str:
        async with self._lock:  # requests under way together share one token
            if self._header is None or self._renew_at is None or self._clock() >= self._renew_at:
                asked_at = self._clock()
                form = {
                    "grant_type": "client_credentials",
                    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    "client_assertion": self._assertion(self._audience or client.url(TOKEN_PATH), asked_at),
                    "scope": "is_admin use_api",
                }
                token = (await client.exchange(TOKEN_PATH, form, _read_token)).value
                self._header = f"Bearer {token.access_token}"
                lifetime = timedelta(seconds=token.expires_in)
                self._renew_at = asked_at + max(lifetime - MARGIN, lifetime / 2)
            return self._header

    def forget(self, authorization: str) -> bool:
        if authorization == self._header:
            self._header = None
        return True

    def _assertion(self, audience: str, now: datetime) -> str:
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": audience,
            "iat": int(now.timestamp()),
            "exp": int((now + LIFETIME).timestamp()),
            "jti": secrets.token_hex(18),
        }
        try:
            return jwt.encode(claims, self._private_key.reveal(), algorithm="ES256")
        except (ValueError, TypeError, jwt.exceptions.InvalidKeyError):
            raise SourceError("private_key is not a P-256 private key in PEM", permanent=True) from None


def _read_token(body: bytes) -> _Token:
    return msgspec.json.decode(body, type=_Token, strict=False)
