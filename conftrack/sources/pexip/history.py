"""Reading a history table that forgets its oldest rows while it is being read.

The table is read by the rows' end in windows [since, until), each small enough to be proven whole: all its pages give
the same total, and as many different rows come as that total says. A window that fails is read again, smaller, down to
one page, which one request reads at one moment. Rows may therefore come twice; none is missed.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Any, TypeVar

from conftrack.errors import SourceError
from conftrack.model import LegRecord, MeetingRecord, Origin, Page, Window
from conftrack.sources.http import Answer
from conftrack.sources.pexip.wire import Listing

Facts = Listing[MeetingRecord] | Listing[LegRecord]
Fetch = Callable[[datetime, datetime, int, int], Coroutine[Any, Any, Answer[Facts]]]
"""Rows that ended in [lower, upper), ordered by that, from an offset on, at most so many."""

#: Rows a page; the node's own clients ask for 500 to 5,000.
PAGE = 1000
#: Rows a window: what is held of one until it is proven whole is their ids.
SPAN = 20 * PAGE
#: Pages asked for while the caller is still busy with one.
AHEAD = 4
#: Readings of one window before the table is given up as never holding still.
READINGS = 6
#: Pages in a row without a row that is new before the table is taken for one that does not hold still.
BARREN = 3
_TICK = timedelta(microseconds=1)

T = TypeVar("T")


class _Moved(Exception):
    """The table changed under the reader, or cannot be what it says."""


class History:
    """One stream over one period.

    `ordered` False: the node does not order by end, so that nothing is known to be complete before the last page.
    """

    def __init__(self, stream: str, fetch: Fetch, *, ordered: bool = True) -> None:
        self._stream = stream
        self._fetch = fetch
        self._ordered = ordered

    async def pages(self, since: datetime, until: datetime) -> AsyncGenerator[Page, None]:
        """Every row that ended in [since, until), in windows that follow on each other."""
        lower = since
        while lower < until:
            span = SPAN if self._ordered else None
            for reading in range(1, READINGS + 1):
                try:
                    reads = self._window(lower, until, span, long=lower > since, last=reading == READINGS)
                    async with aclosing(reads) as window:
                        async for page in window:
                            yield page
                            if page.window is not None:
                                lower = page.window.until
                    break
                except _Moved:
                    span = span and max(span // 4, PAGE)
            else:
                raise SourceError(f"history/{self._stream} changed every time it was read")

    async def _window(
        self, lower: datetime, until: datetime, span: int | None, *, long: bool, last: bool
    ) -> AsyncGenerator[Page, None]:
        """The window that begins at `lower`. `long`: there is likely more than one. `last`: a row the node keeps
        listing twice is let pass."""
        first = None if long and span else await self._fetch(lower, until, 0, PAGE)
        upper = until
        if span is not None and (first is None or first.value.total > span):
            upper = await self._cut(lower, until, span)
            first = None
        if first is None:
            first = await self._fetch(lower, upper, 0, PAGE)
        # A node may give shorter pages than it is asked for; a longer one has a row twice.
        total, step = first.value.total, min(first.value.received, PAGE)
        if step == 0 and total:
            raise _Moved
        seen: set[str] = set()
        unnamed: Counter[bytes] = Counter()
        offset = barren = 0
        rest = (self._fetch(lower, upper, at, PAGE) for at in range(step, total, step or 1))
        async with aclosing(_ahead(first, rest)) as answers:
            async for answer in answers:
                listing = answer.value
                if listing.total != total:
                    raise _Moved
                known = len(seen) + len(unnamed)
                seen.update(listing.records)
                seen.update(bad.external_id for bad in listing.rejected if bad.external_id is not None)
                unnamed.update(sha256(bad.raw).digest() for bad in listing.rejected if bad.external_id is None)
                barren = barren + 1 if len(seen) + len(unnamed) == known else 0
                offset += step
                whole = offset >= total
                if barren == BARREN or (whole and len(seen) + unnamed.total() != total and not last):
                    raise _Moved
                yield self._page(answer, upper, Window(since=lower, until=upper, source_total=total) if whole else None)

    async def _cut(self, lower: datetime, until: datetime, rows: int) -> datetime:
        """An end for a window of about `rows` rows: rows that ended at that very moment all come after it."""
        answer = await self._fetch(lower, until, rows, 10)
        ends = [end for end in map(_end, answer.value.records.values()) if end is not None]
        if not ends:  # fewer rows by now, or none of them can be read
            return until
        # The same end in `rows` rows and more: they are one window, however many.
        return min(max(min(ends), lower + _TICK), until)

    def _page(self, answer: Answer[Facts], upper: datetime, window: Window | None) -> Page:
        listing = answer.value
        position: datetime | None = upper
        if window is None:
            ends = [end for end in map(_end, listing.records.values()) if end is not None]
            position = min(max(ends), upper) if ends and self._ordered else None
        return Page(
            stream=self._stream,
            origin=Origin.HISTORY,
            observed_at=answer.at,
            meetings=tuple(r for r in listing.records.values() if isinstance(r, MeetingRecord)),
            legs=tuple(r for r in listing.records.values() if isinstance(r, LegRecord)),
            rejected=listing.rejected,
            position=position,
            window=window,
        )


async def _ahead(first: T, rest: Iterable[Coroutine[Any, Any, T]]) -> AsyncGenerator[T, None]:
    """The results in order, some of them fetched while the caller is busy; closing it cancels what is under way."""
    coroutines = iter(rest)
    tasks: deque[asyncio.Task[T]] = deque()
    try:
        tasks.extend(map(asyncio.create_task, islice(coroutines, AHEAD)))
        yield first
        while tasks:
            result = await tasks[0]
            tasks.popleft()
            tasks.extend(map(asyncio.create_task, islice(coroutines, 1)))
            yield result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end(record: MeetingRecord | LegRecord) -> datetime | None:
    return record.left_at if isinstance(record, LegRecord) else record.ended_at
