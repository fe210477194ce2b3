"""Passwords: how one becomes the hash in the configuration, and how one is tried. None is ever kept or logged."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError

from conftrack.config import WebUser
from conftrack.web.tries import Tries

SHORTEST = 10
LONGEST = 1000
"""Characters of a password."""
TRIES, TRIES_OF_ADDRESS, TRY_SPAN = 10, 30, 300
"""So many tries a user name, and an address, in so many seconds; then they come back one by one."""
_AT_ONCE = 2
"""Passwords hashed at a time: each takes 64 MiB and a core."""


def hash_password(password: str) -> str:
    """An argon2id hash, as `password_hash` in [[web.users]] has it."""
    return PasswordHasher().hash(password)


class Limited(Exception):
    """Too many passwords were tried."""


class Passwords:
    """Tries passwords. Whether a user exists shows neither in the answer nor in its time."""

    def __init__(self, users: Sequence[WebUser]) -> None:
        self._users = {user.name: user for user in users}
        self._hasher = PasswordHasher()
        #: What an unknown user's password is tried against: as costly as a known one's.
        self._nobody = (
            PasswordHasher.from_parameters(extract_parameters(users[0].password_hash.reveal())).hash(
                secrets.token_urlsafe()
            )
            if users
            else ""
        )
        self._by_name, self._by_address = Tries(TRIES, TRY_SPAN), Tries(TRIES_OF_ADDRESS, TRY_SPAN)
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def check(self, name: str, password: str, address: str) -> WebUser | None:
        """The user, if it is the password. Raises Limited, before anything is looked at."""
        if not (self._by_address.left(address) and self._by_name.left(name)):
            raise Limited
        await self._by_address.take(address)
        await self._by_name.take(name)
        user = self._users.get(name)
        digest = user.password_hash.reveal() if user is not None else self._nobody
        async with self._at_once:
            fits = await asyncio.to_thread(self._fits, digest, password[:LONGEST])
        return user if fits else None

    def _fits(self, digest: str, password: str) -> bool:
        try:
            return self._hasher.verify(digest, password)
        except (Argon2Error, InvalidHashError):
            return False
