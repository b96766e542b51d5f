"""Secrets that were read are hidden in what others say, to the letter, whatever they look like."""

from __future__ import annotations

import json

import pytest

from pipeline import redaction
from pipeline.redaction import HIDDEN, SECRET_CHARS_MIN, hidden, remember


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with no secret, and forget those of the test."""
    monkeypatch.setattr(redaction, "_in_order", {})
    monkeypatch.setattr(redaction, "_known", ())


def test_what_was_remembered_is_hidden() -> None:
    """Every occurrence goes, and the text around it stays."""
    assert remember("not a secret by its looks") == "not a secret by its looks"
    assert hidden("<not a secret by its looks>, twice: not a secret by its looks") == f"<{HIDDEN}>, twice: {HIDDEN}"


@pytest.mark.parametrize("secret", ['with "quotes" and \\', "in Cyrillic: секрет", "tab\tand more"])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_secret_is_hidden_in_json_too(secret: str, is_ascii: bool) -> None:
    """A secret that JSON writes with escapes is found in that form."""
    remember(secret)
    assert hidden(json.dumps({"said": secret}, ensure_ascii=is_ascii)) == json.dumps({"said": HIDDEN})


def test_a_secret_that_begins_like_another_leaves_no_rest() -> None:
    """The longer one is hidden as a whole."""
    remember("the-old-secret")
    remember("the-old-secret-and-more")
    assert hidden("the-old-secret-and-more the-old-secret") == f"{HIDDEN} {HIDDEN}"


@pytest.mark.parametrize("word", ["webhook", "x" * (SECRET_CHARS_MIN - 1)])
def test_a_short_word_is_left_alone(word: str) -> None:
    """A secret so short would take innocent words along."""
    remember(word)
    assert hidden(f"{word} webhook") == f"{word} webhook"


def test_how_many_are_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that came and went are forgotten, the oldest first."""
    monkeypatch.setattr(redaction, "SECRETS_MAX", 2)
    for number in range(3):
        remember(f"secret-number-{number}")
    assert hidden("secret-number-0 secret-number-1 secret-number-2") == f"secret-number-0 {HIDDEN} {HIDDEN}"
