"""Lists of a node that are small enough to be taken as they were at one moment."""

from __future__ import annotations

from typing import TypeVar

from conftrack.errors import SourceError
from conftrack.sources.http import Answer, HttpClient
from conftrack.sources.pexip.wire import Listing, Reader, Row

READINGS = 3

A = TypeVar("A", bound=Row)


async def whole(
    http: HttpClient, resource: str, reader: Reader[A, A], *, stream: str, limit: int, attempts: int = 2
) -> Answer[Listing[A]]:
    """A whole list, such as "status/participant", as it was at one moment, told by its totals: read again if it changed
    between two pages of `limit` rows. Raises SourceError rather than give a part of it.

    Each page is tried `attempts` times: the next reading is soon, and a late one is worth little.
    """
    family, _, name = resource.partition("/")

    async def page(offset: int) -> Answer[Listing[A]]:
        params = {"limit": str(limit), "offset": str(offset)}
        path = f"/api/admin/{family}/v1/{name}/"
        return await http.get(path, reader.listing, stream=stream, params=params, attempts=attempts)

    for _ in range(READINGS):
        first = await page(0)
        found, pages = first.value, 1
        while found.received < found.total:
            more = (await page(found.received)).value
            if more.total != found.total or not more.received:
                break
            found, pages = found.joined(more), pages + 1
        different = len(found.records) + len(found.rejected)
        if found.received >= found.total and (pages == 1 or different == found.total):
            return Answer(found, first.at)
    raise SourceError(f"{http.host}: {resource} changed every time it was read")


def readable(http: HttpClient, resource: str, listing: Listing[A]) -> dict[str, A]:
    """The rows of a list of which none may be missing, by id. Raises SourceError where one cannot be read."""
    if listing.rejected:
        error = listing.rejected[0].error
        raise SourceError(f"{http.host}: {resource} has a row that cannot be read: {error}")
    return listing.records
