"""What differs between two JSON documents, in lines that a person can read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_SHOWN = 60
_NOTHING = object()


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """A line for each value that differs: its path, what is there, what will be. Null and missing are the same.

    Of two lists whose items all have an id, such as panels, those with the same id are compared, wherever they are.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        dot = "." if path else ""
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), f"{path}{dot}{key}")
    elif isinstance(before, list) and isinstance(after, list):
        old, new = _by_id(before), _by_id(after)
        if old is None or new is None:
            old, new = dict(enumerate(before)), dict(enumerate(after))
        elif [key for key in old if key in new] != [key for key in new if key in old]:
            yield f"{path}: another order"
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key, _NOTHING), new.get(key, _NOTHING), f"{path}[{_name(key, old, new)}]")
    elif before in (_NOTHING, None):
        if after not in (_NOTHING, None):
            yield f"{path}: {_show(after)} is new"
    elif after in (_NOTHING, None):
        yield f"{path}: {_show(before)} goes"
    elif before != after or isinstance(before, bool) != isinstance(after, bool):  # to Python true is 1
        yield f"{path}: {_show(before)} → {_show(after)}"


def _by_id(items: list[Any]) -> dict[Any, Any] | None:
    ids = [item.get("id") if isinstance(item, dict) else None for item in items]
    if any(not isinstance(one, int | str) for one in ids) or len(set(ids)) < len(ids):
        return None
    return dict(zip(ids, items, strict=True))


def _name(key: Any, *lists: dict[Any, Any]) -> str:
    """A panel is known by its title."""
    for items in lists:
        if isinstance(item := items.get(key), dict) and isinstance(title := item.get("title") or item.get("name"), str):
            return _show(title)
    return str(key)


def _show(value: Any) -> str:
    if isinstance(value, dict) and isinstance(title := value.get("title") or value.get("name"), str):
        value = title
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
