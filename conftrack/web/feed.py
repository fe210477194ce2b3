"""Tells every open page what has changed, at most once a second, and rendered once for all who read one language."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta

from conftrack.state import State

PACE = 1.0
"""Seconds between two pushes, at least."""
HEARTBEAT = timedelta(seconds=2)
"""Between two pushes, at most: the page counts on it."""


class Feed:
    """`render` gives the parts of the page in a language, as they are now."""

    def __init__(self, state: State, render: Callable[[str], Mapping[str, str]]) -> None:
        self._state = state
        self._render = render
        self._turn = 0
        self._rendered: dict[str, Mapping[str, str]] = {}
        self._next = asyncio.Condition()
        self._closed = False

    async def run(self) -> None:
        async for _ in self._state.changes(HEARTBEAT):
            self._rendered = {}
            await self._tell()
            await asyncio.sleep(PACE)

    async def close(self) -> None:
        """Ends every `watch`."""
        self._closed = True
        await self._tell()

    async def watch(self, language: str) -> AsyncIterator[list[str]]:
        """All parts of the page first, then at each turn those that have changed. A slow reader misses turns, never
        a part."""
        sent: Mapping[str, str] = {}
        turn = -1
        while True:
            async with self._next:
                while self._turn == turn and not self._closed:
                    await self._next.wait()
                turn = self._turn
            if self._closed:
                return
            if language not in self._rendered:
                self._rendered[language] = self._render(language)
            parts = self._rendered[language]
            yield [html for name, html in parts.items() if sent.get(name) != html]
            sent = parts

    async def _tell(self) -> None:
        async with self._next:
            self._turn += 1
            self._next.notify_all()
