"""What several tables ask of a value beyond its type: a ValueError ends the sentence "`key` must be …"."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path


def plain_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", name):
        raise ValueError("1 to 64 lower-case letters, digits, - or _")


def readable_file(path: Path) -> None:
    if not os.access(path, os.R_OK) or not path.is_file():
        raise ValueError("a file that can be read")


def certificates(path: Path) -> None:
    readable_file(path)
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ValueError("a file of certificates in PEM") from None
