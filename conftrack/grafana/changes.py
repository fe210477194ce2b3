"""A change of a Grafana: how it is shown before it is made, and how another's change meanwhile is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Literal
from zoneinfo import ZoneInfo

from conftrack.errors import ConftrackError, GrafanaError
from conftrack.inventory.show import visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    sign: Literal["+", "~", "-"]
    #: 'dashboard conftrack-live "Live operations"'
    what: str
    #: What differs, a line each.
    lines: Sequence[str] = ()
    #: Makes it. Blocks. Raises when Grafana has changed the same thing since the plan was made.
    make: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    #: In the order in which they can be made.
    changes: Sequence[Change]
    #: What sync made once and this version does not bring; nothing of it is among the changes.
    left: Sequence[str]


def guarded(what: str, make: Callable[[], None]) -> Callable[[], None]:
    """A refusal because of another's change, of what does not tell whose it was."""

    def make_guarded() -> None:
        try:
            make()
        except GrafanaError as error:
            if error.status not in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT):
                raise
            raise changed_meanwhile(what, "Grafana does not say by whom", error) from error

    return make_guarded


def changed_meanwhile(what: str, by: str, error: GrafanaError | None = None) -> ConftrackError:
    says = f" ({error})" if error else ""
    return ConftrackError(
        f"{what} was changed while this was running ({by}), and left as it is{says}. "
        "Run this again: the difference shows what was done to it"
    )


def local(moment: str, timezone: ZoneInfo) -> str:
    """A moment as Grafana gives it (ISO 8601), for a person."""
    try:
        return f"{datetime.fromisoformat(moment).astimezone(timezone):%Y-%m-%d %H:%M}"
    except ValueError:
        return visible(moment) or "an unknown time"
