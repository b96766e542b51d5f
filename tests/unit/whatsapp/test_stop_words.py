"""STOP and START words: how texts are compared, and that the table of languages is sound."""

from __future__ import annotations

import pytest

from pipeline.config.settings import KEYWORD_LANGUAGES
from pipeline.whatsapp.stop_words import LANGUAGES, OWN, fold, starts, stops


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        (" ÄÖÜ ", "aou"), ("Straße", "strasse"), ("DÉSABONNER !", "desabonner"), ("¡Baja!", "baja"),
        ("İPTAL", "iptal"), ("ıptal", "iptal"), ("Opt-Out", "opt out"), ("opt \u2013  out", "opt out"),
        ("إِيقَاف", "ايقاف"), ("تـــوقف", "توقف"), ("عَצור", "عצור"), ("הָסֵר", "הסר"),
        ("रोको", "रोको"), ("रोको।", "रोको"), ("बन्द", "बन्द"), ("СТОП.", "стоп"), ("\u202bStop\u202c", "stop"),
        ("stop\ufe0f❗", "stop"), ("...", ""), ("", ""),
    ],
)  # fmt: skip
def test_fold(written: str, folded: str) -> None:
    """Folding takes case, accents, vowel points and what stands around a word, and leaves letters of any script."""
    assert fold(written) == folded


def test_folded_words_stay_as_they_are() -> None:
    """Folding a folded word changes nothing."""
    words = [word for language in LANGUAGES.values() for word in (*language.stop, *language.start)]
    assert [fold(fold(word)) for word in words] == [fold(word) for word in words]


def test_no_word_means_both() -> None:
    """No STOP word of any language is a START word of any."""
    assert not stops(LANGUAGES).keys() & starts(LANGUAGES).keys()


def test_every_language_can_be_chosen() -> None:
    """The settings know each language of the table, and each has words for both ways."""
    assert tuple(LANGUAGES) == KEYWORD_LANGUAGES
    assert all(words.stop and words.start for words in LANGUAGES.values())


def test_own_words_stand_beside_those_of_the_languages() -> None:
    """Words of the settings count, too; one that is nothing but punctuation does not."""
    found = stops(["de"], ["Schluss jetzt!", "Abmelden", "??", ""])
    assert (found["schluss jetzt"], found["abmelden"], found.get("")) == (OWN, "de", None)
    assert "baja" not in found
    assert starts([], ["Weiter"]) == {"weiter": OWN}
