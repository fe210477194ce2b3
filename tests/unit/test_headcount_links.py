"""Signed links: each is good for what it was made for, and nothing else is good at all."""

from __future__ import annotations

from datetime import date

import segno
from hypothesis import given
from hypothesis import strategies as st

from conftrack.headcounts.counting import MANY, doubtful
from conftrack.headcounts.links import Links
from conftrack.storage.headcounts import Sitting

KEY = bytes(range(32))
SITTINGS = st.builds(
    Sitting,
    invitation_id=st.integers(1, 2**63 - 1),
    endpoint_id=st.integers(1, 2**31 - 1),
    day=st.none() | st.dates(date(2020, 1, 1), date(2100, 1, 1)),
)


@given(SITTINGS)
def test_a_link_says_what_it_is_for(sitting: Sitting) -> None:
    """It comes back as it went in, and the same link is printed again for the same."""
    word = Links(KEY).word(sitting)

    assert Links(KEY).read(word) == sitting
    assert Links(KEY).word(sitting) == word


@given(SITTINGS, st.data())
def test_with_any_character_changed_a_link_is_refused(sitting: Sitting, data: st.DataObject) -> None:
    """Also where base64 would read the same bytes; and with a character more, or less."""
    word = Links(KEY).word(sitting)
    place = data.draw(st.integers(0, len(word) - 1))
    other = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda c: c != word[place]))

    assert Links(KEY).read(word[:place] + other + word[place + 1 :]) is None
    assert Links(KEY).read(word[:place] + other + word[place:]) is None
    assert Links(KEY).read(word[:place] + word[place + 1 :]) is None


@given(SITTINGS, SITTINGS)
def test_the_signature_of_one_link_is_good_for_no_other(one: Sitting, other: Sitting) -> None:
    """Neither for another meeting, nor for another endpoint."""
    said, _, _ = Links(KEY).word(one).rpartition(".")
    _, _, signature = Links(KEY).word(other).rpartition(".")

    assert (Links(KEY).read(f"{said}.{signature}") is None) is (one != other)


@given(SITTINGS, st.binary(min_size=32, max_size=32).filter(lambda key: key != KEY))
def test_a_link_of_another_database_is_refused(sitting: Sitting, key: bytes) -> None:
    """Whoever knows how links are made, and not the key, makes none."""
    assert Links(KEY).read(Links(key).word(sitting)) is None


@given(st.text(max_size=150))
def test_whatever_is_typed_as_a_link_is_refused(word: str) -> None:
    """And nothing breaks."""
    assert Links(KEY).read(word) is None


def test_the_code_of_a_link_is_small_enough_to_print() -> None:
    """Version 5, 37 modules a side, for the links of many years; a phone reads it from a card of 34 mm."""
    sitting = Sitting(invitation_id=900_000, endpoint_id=90_000, day=date(2026, 11, 25))
    link = f"https://hoinghi.phutho.gov.vn/c/{Links(KEY).word(sitting)}"

    assert int(segno.make(link, error="m", micro=False, boost_error=False).version) <= 5


def test_what_is_doubtful_follows_the_seats() -> None:
    """More than ten times the seats, or than ten thousand where there are none known; a count of zero never is."""
    assert not doubtful(400, 40)
    assert doubtful(401, 40)
    assert not doubtful(MANY, None)
    assert doubtful(MANY + 1, None)
    assert not doubtful(0, 40)
