"""What a failure means in plain words: nothing left out, nothing said twice, and true of the end it explains."""

from __future__ import annotations

from typing import get_args

import pytest

from conftrack.incidents.causes import END_CLASSES, KINDS, OWNERS, explain, messages
from conftrack.model import EndClass, IncidentKind, Owner


def test_every_kind_and_every_end_has_words_of_its_own() -> None:
    """Whatever the engine opens can be explained, and no two failures read alike."""
    assert set(KINDS) == set(get_args(IncidentKind))
    assert set(END_CLASSES) == set(get_args(EndClass))
    assert set(OWNERS) == set(get_args(Owner))
    assert len(messages()) == len(OWNERS) + 2 * (len(KINDS) + len(END_CLASSES))


@pytest.mark.parametrize("kind", get_args(IncidentKind))
@pytest.mark.parametrize("end_class", [None, *get_args(EndClass)])
def test_the_end_explains_what_it_opened_and_the_kind_the_rest(kind: IncidentKind, end_class: EndClass | None) -> None:
    """An attempt or a drop is explained by its cause; an absent site is not explained by how an old leg ended."""
    by_end = end_class is not None and kind in ("connect_failed", "dropped")

    assert explain(kind, end_class) is (END_CLASSES[end_class] if by_end and end_class else KINDS[kind])


def test_the_texts_go_through_a_catalogue_unharmed() -> None:
    """A percent sign would be read as a placeholder by the pages' gettext."""
    assert not [text for text in messages() if "%" in text]
