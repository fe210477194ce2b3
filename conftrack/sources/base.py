"""What a source is: the one interface between a conference system and the collector.

A source has up to three capabilities and says which in `capabilities`; the collector drives whatever is there.
Nothing here, and no source, knows the database.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import ClassVar, Protocol, runtime_checkable

import msgspec

from conftrack.config import SourceConfig
from conftrack.model import Invited, Page, Snapshot, is_possible

Clock = Callable[[], datetime]
"""The time now, aware, UTC."""


class Observer(Protocol):
    """Told of every request a source makes, for the metrics."""

    def __call__(self, *, stream: str, status: str, seconds: float) -> None: ...


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request that a conference system sent us, already read whole."""

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    #: What stood behind the `?` of its address.
    query: Mapping[str, str] = {}


class Source(Protocol):
    """One configured conference system.

    Opened with `async with source:` and closed on leaving, by the task that opened it. Every method raises
    `SourceError` when the system cannot be read; never a half answer.
    """

    #: The options this kind adds to the common ones of `SourceConfig`: a msgspec Struct, or None. A kind of many
    #: devices lists their addresses there, and says `has_url = False`: its sources have no `url`.
    Options: ClassVar[type[msgspec.Struct] | None]
    #: History streams in the order they are read, e.g. ("conference", "participant"); () without history. A sensor,
    #: which knows neither meetings nor a past, is read in the same way: a page of what it sees now.
    streams: ClassVar[tuple[str, ...]]
    #: Whether `live` and `receive` work.
    has_live: ClassVar[bool]
    has_push: ClassVar[bool]

    def __init__(self, config: SourceConfig, *, clock: Clock, observe: Observer) -> None: ...

    async def __aenter__(self) -> Source: ...
    async def __aexit__(self, *exc: object) -> None: ...

    async def live(self) -> Snapshot:
        """What is going on now. All of it, or SourceError."""
        ...

    def history(self, stream: str, since: datetime | None, until: datetime | None = None) -> AsyncGenerator[Page, None]:
        """Pages of what ended in [since, until), oldest first; `since` None is the beginning, `until` None is now
        by the source's own clock. The last page of each window carries its `Window`; an empty window is one empty
        page. Reads ahead a little while the caller stores a page; `aclose` stops it at once."""
        ...

    def receive(self, push: Push) -> Page:
        """The facts in a pushed request. Raises `PushRefused` when its credentials are wrong."""
        ...

    def decode(self, stream: str, raw: bytes, at: datetime) -> Page:
        """One record again, as `Rejected.raw` kept it: for `conftrack rejected retry`. May hold a Rejected."""
        ...

    async def check(self) -> str:
        """For `conftrack doctor`: asks the system who it is; one line that says what answered."""
        ...


@runtime_checkable
class Inviting(Protocol):
    """What a source may do besides: its system knows who belongs to which room."""

    async def invited(self) -> Sequence[Invited]:
        """Every room that somebody belongs to, each once. All of it, or SourceError. Asked seldom: it is what an
        administrator has set up."""
        ...


class PushRefused(Exception):
    """The pushed request does not prove that it comes from the conference system."""


def possible(time: datetime) -> datetime:
    """The time. Raises `msgspec.ValidationError` for one at which nothing can have been: its record is to be rejected,
    in the system's own words. (Where a source does not ask, the record is rejected as the source understood it.)"""
    if not is_possible(time):
        raise msgspec.ValidationError(f"Holds a time of the year {time.year}")
    return time


_SCHEME = re.compile(r"^(?:sips?|h323|tel|im|callto):(?://)?")
_PORT = re.compile(r"^(?P<host>\[[^\]]+\]|[^:@]*(?:@[^:]*)?):\d{1,5}$")


@lru_cache(maxsize=65_536)
def normalise_alias(alias: str) -> str | None:
    r"""One spelling for one address: scheme, parameters, port, trailing dot, blanks, case and the encoding of accents
    do not matter.

    >>> normalise_alias("SIP:Xa-A@VC.Tinh.Example:5061;transport=tls")
    'xa-a@vc.tinh.example'
    >>> normalise_alias("Ho\u0323p") == normalise_alias("H\u1ecdp")
    True
    >>> normalise_alias("tel:+84 210 384 6647")
    '+842103846647'
    """
    text = unicodedata.normalize("NFC", " ".join(alias.split()).casefold())
    scheme = _SCHEME.match(text)
    if scheme:
        text = text[scheme.end() :]
    if text.startswith("<") and text.endswith(">"):
        return normalise_alias(text[1:-1])
    if scheme or "@" in text:
        text = text.split(";", 1)[0].split("?", 1)[0]
    if port := _PORT.match(text):
        text = port["host"]
    text = text.rstrip(". ")
    if re.fullmatch(r"\+?[\d ().-]*\d[\d ().-]*", text) and not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", text):
        text = re.sub(r"[ ().-]", "", text)
    return text or None


def is_address(identity: str) -> bool:
    """Whether an alias is an address a machine dials (URI, number, IP), rather than a name that somebody typed."""
    return "@" in identity or re.fullmatch(r"\+?\d+|\d{1,3}(\.\d{1,3}){3}|[0-9a-f:]*:[0-9a-f:]+", identity) is not None
