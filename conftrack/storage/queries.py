"""The SQL files as named queries: `-- name: WORD` starts one, comments say what its `$n` are."""

from __future__ import annotations

import re
from functools import cache

from conftrack import resources

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


@cache
def _all() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted((resources.folder("sql") / "queries").glob("*.sql")):
        parts = _NAME.split(path.read_text(encoding="utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"query {name} stands twice, the second time in {path.name}")
            found[name] = text.strip()
    return found


def query(name: str) -> str:
    """The text of one named query. KeyError for a name that is not there."""
    return _all()[name]


def names() -> frozenset[str]:
    return frozenset(_all())
