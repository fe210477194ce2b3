"""Sources: one module per conference system. Found by the entry-point group `conftrack.sources`, so that a
package outside this one can add its own."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from conftrack.sources.base import Source

GROUP = "conftrack.sources"


def kinds() -> dict[str, type[Source]]:
    """Every installed kind of source by the name the configuration uses."""
    return {point.name: cast("type[Source]", point.load()) for point in entry_points(group=GROUP)}
