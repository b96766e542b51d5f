"""Ways to take consent back: words, buttons, WhatsApp's own stop, and what is none of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.whatsapp.optout import OptOut, opt_out_of
from pipeline.whatsapp.stop_words import OWN

AT = "2026-11-21T22:26:40.000Z"
STOPS = {"stop": "en", "unsubscribe": "en", "afmelden": "nl", "прекратить": OWN}
STARTS = {"start": "en"}
PAYLOADS: dict[str, Any] = {
    "STOP_OFFERS": {"category": "marketing", "purpose": "offers"},
    "STOP_ALL": {},
    "STOP_UTILITY": SimpleNamespace(category="utility", purpose=None),
}


def found(body: dict[str, Any], kind: str = "message", **fields: Any) -> OptOut | None:
    """What an event with this body means."""
    return opt_out_of({"type": kind, "at": AT, "body": body, **fields}, stops=STOPS, payloads=PAYLOADS, starts=STARTS)


def text(said: Any) -> dict[str, Any]:
    """A text message."""
    return {"type": "text", "text": {"body": said}}


@pytest.mark.parametrize(
    ("said", "language"),
    [
        *((word, "en") for word in ("STOP", "stop", "  Stop\n", "stóp", "ＳＴＯＰ", "\u200fstop", "UNSUBSCRIBE")),
        *((word, "en") for word in ("Stop!", "«stop».", '"STOP"', "stop 🙏", "🛑 STOP", "stop\ufe0f")),
        ("Afmelden…", "nl"),
        ("Прекратить", None),
    ],
)
def test_stop_words(said: str, language: str | None) -> None:
    """A STOP word counts in any case, with blanks, diacritics, wide letters, invisible marks or punctuation around."""
    assert found(text(said)) == OptOut(("*",), ("*",), "keyword", "keyword", AT, language=language)


def test_start_words() -> None:
    """A START word resumes whatever a STOP word took, be it typed or tapped; inside a sentence it means nothing."""
    taken = OptOut(("*",), ("*",), "keyword", "keyword", AT, "resume", "en")
    assert found(text(" Start. ")) == taken
    tapped = {"type": "button", "button": {"payload": "START", "text": "Again"}}
    assert found(tapped) == OptOut(("*",), ("*",), "keyword", "button", AT, "resume", "en")
    assert found(text("start the order")) is None


@pytest.mark.parametrize("said", ["please stop", "stop it", "stopp", "", "s t o p", "stop " * 20, "!!!", None, 7])
def test_other_texts(said: Any) -> None:
    """Only the whole text counts, exactly."""
    assert found(text(said)) is None


def test_stop_words_revoke_what_the_policy_says() -> None:
    """The categories that a STOP word takes back come from the settings."""
    event = {"type": "message", "at": AT, "body": text("stop")}
    taken = opt_out_of(event, stops=STOPS, payloads={}, stop_revokes=["marketing", "utility"])
    assert taken == OptOut(("marketing", "utility"), ("*",), "keyword", "keyword", AT, language="en")


@pytest.mark.parametrize(
    ("payload", "categories", "purposes"),
    [
        ("STOP_OFFERS", ("marketing",), ("offers",)),
        ("STOP_ALL", ("*",), ("*",)),
        ("STOP_UTILITY", ("utility",), ("*",)),
    ],
)
def test_quick_reply_payloads(payload: str, categories: tuple[str, ...], purposes: tuple[str, ...]) -> None:
    """A payload of the settings takes back what is written for it, from template and reply buttons and lists."""
    taken = OptOut(categories, purposes, "button", "button", AT)
    assert found({"type": "button", "button": {"payload": payload, "text": "x"}}) == taken
    for reply in ("button_reply", "list_reply"):
        assert found({"type": "interactive", "interactive": {"type": reply, reply: {"id": payload}}}) == taken


def test_button_with_a_stop_word() -> None:
    """A button that says a STOP word, or has it as its payload, is one, also when the settings do not list it."""
    taken = OptOut(("*",), ("*",), "button", "button", AT, language="en")
    assert found({"type": "button", "button": {"payload": "P-1", "text": "Unsubscribe"}}) == taken
    assert found({"type": "button", "button": {"payload": "STOP", "text": "No more"}}) == taken
    assert found({"type": "button", "button": {"payload": "YES", "text": "Yes"}}) is None


def test_preferences() -> None:
    """WhatsApp's own stop takes back marketing; its resume is no grant, but the way back from such a stop."""
    taken = OptOut(("marketing",), ("*",), "preference", "preference", AT)
    assert found({}, kind="preference", status="stop") == taken
    returned = OptOut(("marketing",), ("*",), "preference", "preference", AT, "resume")
    assert found({}, kind="preference", status="resume") == returned
    assert found({}, kind="preference", status="paused") is None


def test_status_that_tells_of_a_stop() -> None:
    """A send that failed because the person had stopped marketing takes it back here, too."""
    taken = OptOut(("marketing",), ("*",), "preference", "status", AT)
    assert found({}, kind="status", status="failed", error_code=131050) == taken
    assert found({}, kind="status", status="failed", error_code=131049) is None


@pytest.mark.parametrize(
    "body", [{}, {"type": "text"}, {"type": "text", "text": "stop"}, {"type": "image", "image": {}}]
)
def test_other_bodies(body: dict[str, Any]) -> None:
    """A message without the expected parts is no opt-out."""
    assert found(body) is None


def test_other_events() -> None:
    """Events of other types are no opt-outs, whatever their body says."""
    assert found(text("stop"), kind="unknown") is None
    assert opt_out_of({"type": "message", "at": AT, "body": None}, stops=STOPS, payloads=PAYLOADS) is None
