"""How often somebody may try something: counted by a key, such as an address or a name."""

from __future__ import annotations

import secrets
from hashlib import blake2s

from aiolimiter import AsyncLimiter

_BUCKETS = 4096


class Tries:
    """So many tries by a key in so many seconds; then they come back one by one. Keys share a fixed number of buckets,
    in a way that nobody can foresee, so that made-up keys fill no memory and cannot be told from real ones."""

    def __init__(self, count: int, span: float) -> None:
        self._count = count
        self._span = span
        self._salt = secrets.token_bytes(16)
        self._buckets: dict[bytes, AsyncLimiter] = {}

    def left(self, key: str) -> bool:
        return self._bucket(key).has_capacity()

    async def take(self, key: str) -> None:
        """Waits for one to come back where none is left; ask `left` first."""
        await self._bucket(key).acquire()

    def _bucket(self, key: str) -> AsyncLimiter:
        digest = blake2s(key.encode(errors="surrogatepass"), key=self._salt, digest_size=4).digest()
        number = (int.from_bytes(digest, "big") % _BUCKETS).to_bytes(2, "big")
        return self._buckets.setdefault(number, AsyncLimiter(self._count, self._span))
