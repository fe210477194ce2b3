"""Signed links: a short word that says which endpoint's number it is for, and that only conftrack can have made.

The signature is 144 bits of BLAKE2b under the key of the database: too many to guess, few enough for a small QR code
(version 5 for a usual address; a JSON web token of the same would need version 9). When a link ends follows from its
meeting, so it is not in it: a meeting that is put off keeps its printed sheet.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from hashlib import blake2b

from itsdangerous import BadSignature, Signer

from conftrack.storage.headcounts import Sitting

LONGEST = 100
"""Characters of a link's word; no real one has as many."""


class Links:
    """Makes and reads the words. Pure; `key` is the database's (`conftrack.storage.headcounts.signing_key`)."""

    def __init__(self, key: bytes) -> None:
        self._signer = Signer(
            key, salt="conftrack headcount", key_derivation="hmac", digest_method=partial(blake2b, digest_size=18)
        )

    def word(self, sitting: Sitting) -> str:
        """Always the same for the same endpoint at the same meeting. Safe in an address as it is."""
        numbers = [sitting.invitation_id, sitting.endpoint_id]
        if sitting.day is not None:
            numbers.append(sitting.day.toordinal())
        return self._signer.sign(".".join(f"{number:x}" for number in numbers)).decode()

    def read(self, word: str) -> Sitting | None:
        """What the word is for; None if it was not made here, or one character of it is another."""
        if len(word) > LONGEST or not word.isascii():
            return None
        try:
            said = self._signer.unsign(word)
        except BadSignature:
            return None
        if self._signer.sign(said) != word.encode():  # base64 can write one signature in several ways
            return None
        invitation, endpoint, *day = (int(number, 16) for number in said.decode().split("."))
        return Sitting(
            invitation_id=invitation, endpoint_id=endpoint, day=date.fromordinal(day[0]) if day else None
        )  # fmt: skip
