"""The difference between two JSON documents, as an operator reads it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conftrack.grafana.differences import differences

LEAVES = st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", "b"])
KEYS = st.sampled_from(["id", "title", "x"])
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner | st.none(), max_size=3),
    max_leaves=8,
)


def without_nulls(value: Any) -> Any:
    match value:
        case dict():
            return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
        case list():
            return [without_nulls(inner) for inner in value]
    return value


@given(before=DOCUMENTS, after=DOCUMENTS)
def test_there_are_lines_exactly_when_something_differs(before: Any, after: Any) -> None:
    """Nothing is missed, true for 1 neither; and what is the same, but for keys that are null, makes no line."""
    same = json.dumps(without_nulls(before), sort_keys=True) == json.dumps(without_nulls(after), sort_keys=True)

    assert (list(differences(before, after)) == []) is same


@given(document=DOCUMENTS)
def test_a_document_does_not_differ_from_what_comes_back_of_it(document: Any) -> None:
    """A server that orders keys anew and writes 1.0 as 1 has changed nothing."""

    def floated(value: Any) -> Any:
        match value:
            case dict():
                return {key: floated(inner) for key, inner in reversed(value.items())}
            case list():
                return [floated(inner) for inner in value]
            case int() if not isinstance(value, bool):
                return float(value)
        return value

    assert list(differences(floated(document), document)) == []


def test_panels_are_compared_with_themselves_and_called_by_their_title() -> None:
    """A panel that moves or comes in between does not make all behind it look changed."""
    before = {"panels": [{"id": 1, "title": "A", "w": 1}, {"id": 2, "title": "B", "w": 1}]}
    after = {"panels": [{"id": 3, "title": "C"}, {"id": 2, "title": "B", "w": 2}, {"id": 1, "title": "A", "w": 1}]}

    assert list(differences(before, after)) == [
        "panels: another order",
        'panels["B"].w: 1 → 2',
        'panels["C"]: "C" is new',
    ]


def test_long_values_are_cut() -> None:
    """A query of a page does not fill the terminal."""
    (line,) = differences({"sql": "x" * 1000}, {"sql": "y"})

    assert line == f'sql: "{"x" * 58}… → "y"'
