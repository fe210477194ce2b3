"""Lists as the Pexip management API serves them: filters, order, pages and the envelope (a Tastypie application).

Knows nothing of conferences: a `Resource` says what can be asked of its rows, and a `Query` is what was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from conftrack.simulator.plan import micros

MAX_LIMIT = 5000

T = TypeVar("T")

Value = str | int | float | bool | None


class BadQuery(Exception):
    """What Tastypie answers 400 to."""


class Field(msgspec.Struct, Generic[T], frozen=True):
    """How to read one filterable field of a row; times as microseconds."""

    read: Callable[[T], Value]
    kind: str = "string"


class Query(msgspec.Struct, frozen=True, kw_only=True):
    limit: int
    offset: int
    #: Field, with a minus in front for descending; None: as the rows come.
    order: str | None
    #: (field, operator, operand)
    filters: tuple[tuple[str, str, Any], ...]
    params: tuple[tuple[str, str], ...]

    def window(self, field: str) -> tuple[int | None, int | None] | None:
        """The half-open interval that the filters ask of one field; None when they ask for anything else."""
        low = high = None
        for name, operator, operand in self.filters:
            if name != field:
                return None
            if operator in ("gte", "gt"):
                low = max(low or 0, operand + (operator == "gt"))
            elif operator in ("lt", "lte"):
                bound = operand + (operator == "lte")
                high = bound if high is None else min(high, bound)
            else:
                return None
        return low, high


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "exact": lambda value, operand: value == operand,
    "gte": lambda value, operand: value >= operand,
    "gt": lambda value, operand: value > operand,
    "lte": lambda value, operand: value <= operand,
    "lt": lambda value, operand: value < operand,
    "in": lambda value, operand: value in operand,
    "contains": lambda value, operand: operand in value,
    "icontains": lambda value, operand: operand.casefold() in value.casefold(),
    "startswith": lambda value, operand: value.startswith(operand),
}


def parse(params: Sequence[tuple[str, str]], fields: Mapping[str, Field[Any]], order: str | None = None) -> Query:
    """What a query string asks; `order` where it does not say.

    Raises BadQuery for what the server does not know: a typing error must not look like an empty list.
    """
    limit, offset, filters = 20, 0, []
    for name, text in params:
        if name == "format":
            continue
        if name in ("limit", "offset"):
            if not text.isdecimal():
                raise BadQuery(f"Invalid {name} '{text}' provided. Please provide a positive integer.")
            limit, offset = (int(text), offset) if name == "limit" else (limit, int(text))
        elif name == "order_by":
            if text.removeprefix("-") not in fields:
                raise BadQuery(f"No matching '{text.removeprefix('-')}' field for ordering on.")
            order = text
        else:
            filters.append(_filter(name, text, fields))
    limit = min(limit or MAX_LIMIT, MAX_LIMIT)
    return Query(limit=limit, offset=offset, order=order, filters=tuple(filters), params=tuple(params))


def _filter(name: str, text: str, fields: Mapping[str, Field[Any]]) -> tuple[str, str, Any]:
    field, _, operator = name.partition("__")
    operator = operator or "exact"
    if field not in fields or operator not in _OPERATORS:
        raise BadQuery(f"The '{name}' field does not allow filtering.")
    kind = fields[field].kind
    if operator == "in":
        return field, operator, frozenset(_operand(part, kind) for part in text.split(","))
    if operator in ("contains", "icontains", "startswith") and kind != "string":
        raise BadQuery(f"'{operator}' is not an allowed filter on the '{field}' field.")
    return field, operator, _operand(text, kind)


def _operand(text: str, kind: str) -> Value:
    try:
        if kind == "datetime":
            at = datetime.fromisoformat(text)
            return micros(at if at.tzinfo else at.replace(tzinfo=UTC))
        if kind == "integer":
            return int(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text.casefold()]
    except (ValueError, KeyError) as error:
        raise BadQuery(f"Invalid resource lookup data provided (mismatched type): '{text}'.") from error
    return text


def select(rows: Sequence[T], query: Query, fields: Mapping[str, Field[T]]) -> Sequence[T]:
    """The rows that pass the filters, in the order that was asked for. A null passes no filter."""
    for name, operator, operand in query.filters:
        read, passes = fields[name].read, _OPERATORS[operator]
        rows = [row for row in rows if (value := read(row)) is not None and passes(value, operand)]
    if query.order is None:
        return rows
    read = fields[query.order.removeprefix("-")].read
    return sorted(rows, key=lambda row: _sortable(read(row)), reverse=query.order.startswith("-"))


def _sortable(value: Value) -> tuple[bool, Any]:
    return value is not None, value


def envelope(path: str, query: Query, total: int, objects: Sequence[Any]) -> bytes:
    """One page; `next` and `previous` are relative addresses, as the API gives them."""

    def link(offset: int) -> str:
        kept = [(name, value) for name, value in query.params if name not in ("limit", "offset")]
        return f"{path}?{urlencode([*kept, ('limit', str(query.limit)), ('offset', str(offset))])}"

    after, before = query.offset + query.limit, query.offset - query.limit
    meta = {
        "limit": query.limit,
        "next": link(after) if after < total else None,
        "offset": query.offset,
        "previous": link(max(before, 0)) if query.offset else None,
        "total_count": total,
    }
    return msgspec.json.encode({"meta": meta, "objects": objects})


def schema(fields: Mapping[str, Field[Any]], sample: Mapping[str, Any]) -> bytes:
    """What the resource says of itself at `schema/`."""
    kinds = {str: "string", int: "integer", float: "float", bool: "boolean", list: "related", type(None): "string"}
    return msgspec.json.encode(
        {
            "allowed_detail_http_methods": ["get"],
            "allowed_list_http_methods": ["get"],
            "default_format": "application/json",
            "default_limit": 20,
            "fields": {
                name: {
                    "blank": False,
                    "default": "No default provided.",
                    "help_text": "",
                    "nullable": name in ("start_time", "connect_time", "conference", "end_time"),
                    "readonly": True,
                    "type": fields[name].kind if name in fields else kinds.get(type(value), "string"),
                    "unique": name == "id",
                }
                for name, value in sample.items()
            },
            "filtering": dict.fromkeys(fields, 1),
            "ordering": list(fields),
        }
    )
