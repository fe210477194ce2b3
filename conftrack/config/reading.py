"""Reads the tables of one TOML file, and what the environment says of them, into the fields of msgspec structs.

Knows types, places and problems; which tables and keys there are is `conftrack.config`'s to say. Every problem is
kept, with the file and line where it stands, until `finish` raises all of them at once.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from math import inf
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from conftrack.errors import ConfigError

_NOT_OURS = re.compile(
    r"CONFTRACK_(CONFIG|TEST_.*"
    # What Kubernetes sets in every pod beside a Service that is called conftrack.
    r"|SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_\d+_.*)"
)


class Secret:
    """A text that must not be seen: its repr, str and format hide it. `reveal()` gives it to whoever sends it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


Where = tuple[str | int, ...]
"""The way to a table or key of the file: ("sources", 0, "url")."""


class Field(NamedTuple):
    """A field of a struct, as it may be given."""

    name: str
    type: Any
    #: Each raises a ValueError that ends the sentence "`key` must be …".
    checks: tuple[Callable[[Any], object], ...]
    required: bool

    @property
    def keys(self) -> tuple[str, ...]:
        """What it is called in the file. A secret may stand in a file of its own."""
        return (self.name, f"{self.name}_file") if self.type is Secret else (self.name,)


def fields(struct: type[msgspec.Struct], *but: str) -> dict[str, Field]:
    """The fields of a table that becomes a `struct`, without those in `but`."""
    found = {}
    for field in msgspec.structs.fields(struct):
        choices = get_args(field.type) if get_origin(field.type) in (Union, UnionType) else (field.type,)
        declared, *others = [choice for choice in choices if choice is not NoneType]
        base, *notes = get_args(declared) if get_origin(declared) is Annotated else (declared,)
        kind = field.type if others else base if base in _READERS else declared
        checks = tuple(note for note in notes if callable(note))
        found[field.name] = Field(field.name, kind, checks, field.required)
    return {name: field for name, field in found.items() if name not in but}


class Given(NamedTuple):
    """A value as somebody wrote it."""

    value: Any
    #: "conftrack.toml:14" or "environment variable CONFTRACK_…".
    place: str
    #: The line of the file; what the environment says comes after all of them.
    line: float


class Reading:
    """One reading of a file (None: of the environment alone)."""

    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        self._path = path
        self._folder = (path.parent if path else Path()).resolve()
        self._document, self._lines = _parse(path) if path else ({}, {})
        #: By the name that counts. Compose files pass on as empty what is not set.
        self._environ = {
            re.sub("_+", "_", name): Given(value, f"environment variable {name}", inf)
            for name, value in sorted(environ.items())
            if name.startswith("CONFTRACK_") and value and not _NOT_OURS.fullmatch(name)
        }
        #: The keys of each table read, the tables that each name of the environment belongs to, and how those names
        #: start that belong to a table whose keys are not all known.
        self._known: dict[Where, list[str]] = {}
        self._names: dict[str, list[Where]] = {}
        self._open: list[str] = []
        self._lists: list[Where] = []
        self._problems: list[tuple[float, str]] = []

    def count(self, *where: str) -> int:
        """How many tables `[[name]]` there are; ("web", "users") for `[[web.users]]`."""
        self._lists.append(where)
        tables = self._content(where[:-1]).get(where[-1], [])
        if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
            return len(tables)
        self.problem(where, f"must be written as [[{'.'.join(where)}]], one table for each")
        return 0

    def given(self, *where: str | int) -> Given | None:
        """The value of a key as it is written, before it is judged."""
        table, key = where[:-1], str(where[-1])
        by_environment = self._environ.get(self._prefix(table) + key.upper())
        if by_environment and key != "name":  # by its name the environment tells a table from others
            return by_environment
        content = self._content(table)
        return Given(content[key], *self._place(where)) if key in content else None

    def table(self, where: Where, wanted: Mapping[str, Field], *tables: str, complete: bool = True) -> dict[str, Any]:
        """The values that a table gives to the `wanted` fields; what cannot be used is kept as a problem instead.

        `tables` are tables in it that are read on their own. `complete` False: it has keys that nobody knows here, so
        none is judged to be unknown.
        """
        known = self._known[where] = [key for field in wanted.values() for key in field.keys]
        for key in known:
            if key != "name":
                self._names.setdefault(self._prefix(where) + key.upper(), []).append(where)
        known += tables
        if not complete:
            self._open.append(self._prefix(where))
        if len(where) == 1 and not isinstance(self._document.get(str(where[0]), {}), dict):
            self.problem(where, f"must be a table, [{where[0]}]")
        values = {}
        for field in wanted.values():
            given = {key: found for key in field.keys if (found := self.given(*where, key))}
            overriding = {key: found for key, found in given.items() if found.line == inf}
            match list((overriding or given).items()):
                case [(key, found)]:
                    try:
                        values[field.name] = self._value(field, found, in_file=key != field.name)
                    except ValueError as exc:
                        self.problem((*where, key), f"must be {exc}")
                case [(key, _), (other, _)]:
                    self.problem((*where, other), f"and `{key}` say the same thing: keep one of them")
                case _ if field.required:
                    place, line = self._place(where)
                    self._problems.append((line, f"missing key `{field.name}`{self._title(where)} ({place})"))
        return values

    def problem(self, where: Where, says: str) -> None:
        """Keeps what is wrong with a key or table: a sentence that starts with its name and place."""
        given = self.given(*where)
        place, line = (given.place, given.line) if given else self._place(where)
        self._problems.append((line, f"`{where[-1]}`{self._title(where[:-1])} ({place}) {says}"))

    def place(self, *where: str | int) -> str:
        """Where a key is given, or the table that it is missing from."""
        given = self.given(*where)
        return given.place if given else self._place(where)[0]

    def finish(self) -> None:
        """Raises a ConfigError when there was any problem, a line for each, in the order of the file."""
        for where in self._known:
            for key in self._content(where):
                if key not in self._known[where] and self._prefix(where) not in self._open:
                    self._unknown_key(where, key)
        for name, given in self._environ.items():
            titles = sorted({self._title(table) for table in self._names.get(name, [])})
            if len(titles) > 1:
                self._problems.append((inf, f"{given.place} is a key{' and'.join(titles)}: rename one of them"))
            elif not titles and not name.startswith(tuple(self._open)):
                self._problems.append((inf, f"unknown {given.place}; {self._nearest_variable(name)}"))
        if self._problems:
            lines = [" ".join(sentence.splitlines()) for _, sentence in sorted(set(self._problems))]
            raise ConfigError("\n".join(lines))

    def _unknown_key(self, where: Where, key: str) -> None:
        place, line = self._place((*where, key))
        homes = [table for table, known in self._known.items() if key in known and not where[:-1] == table[:-1] != ()]
        if homes:
            hint = f"it belongs{self._title(homes[0]) or ' above the first table'}"
        else:
            hint = f"did you mean `{get_close_matches(key, self._known[where], 1, 0)[0]}`?"
        self._problems.append((line, f"unknown key `{key}`{self._title(where)} ({place}); {hint}"))

    def _nearest_variable(self, name: str) -> str:
        for table in self._lists:
            prefix = self._prefix(table)
            if name.startswith(prefix) and not any(known.startswith(prefix) for known in self._names):
                return (
                    f"the environment can change a table [[{'.'.join(map(str, table))}]] of the file, and there is none"
                )
        return f"did you mean {get_close_matches(name, self._names, 1, 0)[0]}?"

    def _value(self, field: Field, given: Given, *, in_file: bool) -> Any:
        if in_file:
            value: Any = _secret_in(self._folder / _text(given.value))
        elif field.type in _READERS:
            value = _READERS[field.type](given.value)
        else:
            value = _convert(given.value, field.type, from_text=given.line == inf)
        if isinstance(value, Path):
            value = self._folder / value
        for check in field.checks:
            try:
                check(value)
            except ValueError as exc:
                raise ValueError(f"{exc}, not {_show(given.value)}" if field.type is not Secret else str(exc)) from None
        return value

    def _content(self, where: Where) -> dict[str, Any]:
        content: Any = self._document
        for step in where:
            content = content.get(step, {}) if isinstance(content, dict) else content[step]
        return content if isinstance(content, dict) else {}

    def _place(self, where: Where) -> tuple[str, int]:
        while where and where not in self._lines:
            where = where[:-1]
        line = self._lines.get(where, 1)
        return f"{self._path}:{line}", line

    def _prefix(self, where: Where) -> str:
        """What the names of a table's keys start with in the environment."""
        parts = [self._content(where).get("name", "") if isinstance(step, int) else step for step in where]
        return re.sub("[^A-Z0-9]+", "_", "_".join(["CONFTRACK", *map(str, parts), ""]).upper())

    def _title(self, where: Where) -> str:
        """A table in a sentence: ` in [[sources]] "pexip-main"`; nothing for the top of the file."""
        if not where or not isinstance(where[-1], int):
            return f" in [{'.'.join(map(str, where))}]" if where else ""
        name, table = self._content(where).get("name"), ".".join(map(str, where[:-1]))
        return f" in [[{table}]] " + (_show(name) if isinstance(name, str) else f"number {where[-1] + 1}")


def _parse(path: Path) -> tuple[dict[str, Any], dict[Where, int]]:
    """What the file holds, and the line of each of its tables and keys."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text), _lines(text)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {exc.start + 1})") from None
    except tomllib.TOMLDecodeError as exc:
        found = re.search(r"line (\d+)", str(exc))
        line = found[1] if found else len(text.splitlines())
        raise ConfigError(f"{path}:{line}: is not TOML: {exc}") from None


def _lines(text: str) -> dict[Where, int]:
    """The line on which each table and key of a valid TOML text starts. A statement ends where it can be parsed."""
    lines: dict[Where, int] = {}
    last: dict[Where, int] = {}
    table: Where = ()

    def note(where: Where, content: Any) -> None:
        lines.setdefault(where, start)
        for key, value in content.items() if isinstance(content, dict) else ():
            note((*where, key), value)

    statement, start = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            content: Any = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = ()
            while content:
                [(key, content)] = content.items()
                table = (*table, key)
                if isinstance(content, list):  # [[…]]: one table more
                    last[table] = last.get(table, -1) + 1
                    content = {}
                if table in last:
                    table = (*table, last[table])
        note(table, content)
        statement, start = "", number + 1
    return lines


def _show(value: Any) -> str:
    if isinstance(value, str):  # an address may hold a password before its @, and after its ?
        value = re.sub(r"^.*@", "…@", re.sub(r"\?.*", "?…", value, flags=re.DOTALL), flags=re.DOTALL)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"a text in quotes, not {_show(value)}")
    return value


def _secret(value: Any) -> Secret:
    if not isinstance(value, str) or not value:
        raise ValueError("a text in quotes, and not an empty one")  # never shown, whatever it is
    return Secret(value)


def _secret_in(path: Path) -> Secret:
    try:
        text = path.read_text(encoding="utf-8-sig").removesuffix("\n").removesuffix("\r")
    except OSError as exc:
        raise ValueError(f"a file that can be read, not {_show(str(path))}: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise ValueError(f"a file of UTF-8 text, not {_show(str(path))}") from None
    if not text:
        raise ValueError(f"a file that holds the secret, not {_show(str(path))}, which is empty")
    return Secret(text)


def _path(value: Any) -> Path:
    return Path(os.path.expanduser(_text(value)))


def _timezone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(_text(value))
    except (KeyError, ValueError, OSError):
        nearest = get_close_matches(str(value), sorted(available_timezones()), 1, 0)[0]
        raise ValueError(f"a time zone such as {_show(nearest)}, not {_show(value)}") from None


_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?")
_UNITS = ("days", "hours", "minutes", "seconds", "milliseconds")
_LONGEST = timedelta(days=36525)  # a century: beyond that a moment may fall out of the calendar


def _duration(value: Any) -> timedelta:
    try:
        if isinstance(value, str) and (found := _DURATION.fullmatch(value)) and value:
            span = timedelta(**{unit: float(n) for unit, n in zip(_UNITS, found.groups(), strict=True) if n})
        else:
            span = timedelta(seconds=-1 if isinstance(value, bool) else float(value))
    except (TypeError, ValueError, OverflowError):
        span = timedelta(seconds=-1)
    if span < timedelta():
        raise ValueError(f'a duration such as "10s", "5m", "1h30m", "250ms" or a number of seconds, not {_show(value)}')
    if span > _LONGEST:
        raise ValueError(f"a duration of at most 100 years, not {_show(value)}")
    return span


_READERS: dict[Any, Callable[[Any], Any]] = {
    Secret: _secret,
    Path: _path,
    ZoneInfo: _timezone,
    timedelta: _duration,
}
"""The types that a configuration spells in its own way; all others are msgspec's to read."""

_WORDS = {"`str`": "a text in quotes", "`bool`": "true or false", "`int`": "a whole number", "`float`": "a number"}


def _convert(value: Any, kind: Any, *, from_text: bool) -> Any:
    """A value of any other type; `from_text` when it comes from where there is nothing but text."""
    declared = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if from_text and get_origin(declared) in (list, tuple, set, frozenset):
        value = [part.strip() for part in value.split(",")]
    try:
        return msgspec.convert(value, kind, strict=not from_text)
    except msgspec.ValidationError as exc:
        accepted, _, found = str(exc).removeprefix("Expected ").partition(", got")
        for word, plain in _WORDS.items():
            accepted = accepted.replace(word, plain)
        if get_origin(kind) is Literal:
            accepted = f"one of {', '.join(map(_show, get_args(kind)))}"
        elif "$[" in found:
            accepted = f"a list, each item {accepted}"
        raise ValueError(f"{accepted}, not {_show(value)}") from None
