"""Which endpoint a caller may be, by what it is called. It only proposes: a person decides.

Diacritics, capitals, old and new spelling (Hoà, Hòa; Lý, Lí), blanks and the usual abbreviations do not matter: "UBND
xa Tan An", "ubnd.xatanan@vc.example" and "Ủy ban nhân dân xã Tân An" are alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from rapidfuzz import fuzz, process

from conftrack.model import Endpoint, OrgUnit, Record
from conftrack.spelling import bare

ALIKE = 60
"""Scores (0-100) below this are no likeness."""
PROPOSED = 3
"""How many endpoints are proposed for a caller."""
LOOKED_AT = 200

#: What is usually shortened, and how. Two that share a short form cannot be told apart by a reader either.
_SHORT = {
    "uy ban nhan dan": "ubnd", "uy ban": "ub", "hoi dong nhan dan": "hdnd", "mat tran to quoc": "mttq",
    "tinh uy": "tu", "thanh uy": "tu", "huyen uy": "hu", "dang uy": "du", "van phong": "vp", "trung tam": "tt",
    "hoi truong": "ht", "phong hop": "ph", "nha van hoa": "nvh", "to dan pho": "tdp", "tieu hoc": "th",
    "trung hoc co so": "thcs", "trung hoc pho thong": "thpt", "mam non": "mn", "tram y te": "tyt", "cong an": "ca",
    "thanh pho": "tp", "thi xa": "tx", "thi tran": "tt",
}  # fmt: skip
_LONG = re.compile(r"\b(" + "|".join(sorted(_SHORT, key=len, reverse=True)).replace(" ", " ?") + r")\b")
_SHORT_RUN = {long.replace(" ", ""): short for long, short in _SHORT.items()}
#: Single letters, as in "X. Tân An", stand for the kind of place.
_LETTERS = {"x": "xa", "p": "phuong", "h": "huyen", "q": "quan", "t": "tinh"}
#: Words that say nothing of who it is.
_EMPTY = frozenset({"diem", "cau", "vc", "sip", "h323"})
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_NUMBER_ALONE = re.compile(r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])")
#: One letter for one sound: Lý and Lí, Kỳ and Kì, Quý and Quí.
_Y_AS_I = re.compile(r"(?<=[bcdghklmnrstvx])y\b|(?<=qu)y\b")


class Likely(Record, frozen=True):
    """An endpoint that a caller may be. `score`: 100 for the same name, 0 for nothing in common."""

    code: str
    name: str
    score: int


@lru_cache(maxsize=65_536)
def fold(text: str) -> str:
    """Lower-case words of plain letters and digits.

    >>> fold("Xã Đồng-Lương_(Hoà)")
    'xa dong luong hoa'
    """
    return _NOT_WORD.sub(" ", bare(text)).strip()


@lru_cache(maxsize=65_536)
def plain(text: str) -> str:
    """The words of a name as everybody would write them.

    >>> plain("Hội trường Ủy ban nhân dân X. Lý Nhân 2")
    'ht ubnd xa li nhan 2'
    """
    words = _NUMBER_ALONE.sub(" ", fold(text).replace("h323", " "))
    words = _LONG.sub(lambda found: _SHORT_RUN[found[1].replace(" ", "")], words)
    words = " ".join(_LETTERS.get(word, word) for word in words.split() if word not in _EMPTY)
    return _Y_AS_I.sub("i", words)


def name_order(name: str) -> str:
    """Sorts Vietnamese names as a reader looks for them: Đ beside D, accents after the letters, 9 before 10."""
    letters = unicodedata.normalize("NFD", name.casefold().replace("đ", "d"))
    return re.sub(r"\d+", lambda number: number[0].zfill(9), letters)


class Finder:
    """Finds the endpoints of an inventory that a caller may be."""

    def __init__(self, units: Iterable[OrgUnit], endpoints: Iterable[Endpoint]) -> None:
        orgs = {unit.code: unit.name for unit in units}
        #: Everything that each endpoint is called: its name with its unit's, its code, its addresses.
        self._names: list[str] = []
        self._endpoints: list[Endpoint] = []
        #: Who gives only the name of the unit means one of these.
        self._of_unit: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            org = orgs.get(endpoint.org or "", "")
            name = endpoint.name if fold(org) in fold(endpoint.name) else f"{endpoint.name} {org}"
            for words in {plain(text) for text in (name, endpoint.code, *map(_local, endpoint.aliases))}:
                self._names.append(words)
                self._endpoints.append(endpoint)
            for run in {_run(plain(org)), _run(plain(org).partition(" ")[2])} - {""}:
                self._of_unit.setdefault(run, []).append(endpoint)
        self._runs = [_run(words) for words in self._names]

    def likely(self, identity: str) -> list[Likely]:
        """The endpoints most like it, best first; of equal ones the largest room first."""
        words = plain(_local(identity))
        run = _run(words)
        if not re.search(r"[a-z]{3}", run):
            return []
        found: dict[str, Endpoint] = {}
        scores: dict[str, int] = {}

        def judge(endpoint: Endpoint, score: float) -> None:
            if score >= ALIKE:
                found[endpoint.code] = endpoint
                scores[endpoint.code] = max(scores.get(endpoint.code, 0), round(score))

        # The quick looks find all that could score; `_score` then judges those few.
        by_words = process.extract(words, self._names, scorer=fuzz.token_set_ratio, score_cutoff=ALIKE, limit=LOOKED_AT)
        by_run = process.extract(run, self._runs, scorer=fuzz.partial_ratio, score_cutoff=ALIKE, limit=LOOKED_AT)
        for index in {index for _, _, index in (*by_words, *by_run)}:
            judge(self._endpoints[index], _score(words, self._names[index]))
        for unit, score, _ in process.extract(run, list(self._of_unit), scorer=fuzz.ratio, score_cutoff=85):
            for endpoint in self._of_unit[unit]:
                judge(endpoint, score)
        ranked = sorted(found.values(), key=lambda e: (-scores[e.code], -(e.seats or 0), len(e.name), e.code))
        return [Likely(code=e.code, name=e.name, score=scores[e.code]) for e in ranked[:PROPOSED]]


def _local(alias: str) -> str:
    """The part of an address that names somebody; all of what is no address."""
    return alias.partition("@")[0]


def _run(words: str) -> str:
    """Written as in an address, which has no blanks."""
    return words.replace(" ", "")


def _score(caller: str, name: str) -> float:
    """How alike two plain names are: by their words, or run together, whichever says more. Few letters run together say
    little, and another number makes it another room."""
    by_words = 0.5 * fuzz.token_set_ratio(caller, name) + 0.3 * fuzz.partial_ratio(caller, name)
    by_words += 0.2 * fuzz.ratio(caller, name)
    caller_run, run = _run(caller), _run(name)
    part = fuzz.partial_ratio(caller_run, run) if len(caller_run) <= len(run) else fuzz.ratio(caller_run, run)
    by_run = (0.75 * part + 0.25 * fuzz.ratio(caller_run, run)) * min(1, len(caller_run) / 6)
    score = max(by_words, by_run)
    return score if set(re.findall(r"\d+", caller)) <= set(re.findall(r"\d+", name)) else 0.8 * score
