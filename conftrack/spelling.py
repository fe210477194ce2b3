"""Text as people compare it: diacritics and capitals do not matter."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=65_536)
def bare(text: str) -> str:
    """Lower-case letters without their marks, one blank for many; punctuation stays.

    >>> bare("Họp  MẬT: Đồng-Lương")
    'hop mat: dong-luong'
    """
    split = unicodedata.normalize("NFKD", text.casefold().replace("đ", "d"))
    return " ".join("".join(char for char in split if not unicodedata.combining(char)).split())
