"""Does a template tell people how to opt out, in a way that this pipeline hears? Pure.

Clear instructions and an easy opt-out belong into every kind of marketing message (360dialog, "Before sending a
message"; WhatsApp Business policy). A way out is a text that names a STOP word, a quick reply that sends one or that is
mapped by `policy.opt_out_payloads`, or another button that names one (a link to unsubscribe).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.whatsapp.stop_words import fold


class WaysOut:
    """What counts as a way out.

    Args:
        keywords: STOP words, in any form.
        payloads: Quick-reply payloads that opt out.
    """

    def __init__(self, keywords: Iterable[str], payloads: Collection[str]) -> None:
        self._words = frozenset(filter(None, map(fold, keywords)))
        self._payloads = frozenset(payloads)
        # Scripts without blanks between words have no borders to ask for.
        parts = [rf"(?<!\w){re.escape(word)}(?!\w)" if word.isascii() else re.escape(word) for word in self._words]
        self._naming = re.compile("|".join(parts)) if parts else None

    def offers(self, components: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a template does, whatever a message puts into it.

        Args:
            components: As the API lists them; any JSON is safe.
        """
        for component in components:
            kind = str(component.get("type")).upper()
            if kind in ("BODY", "FOOTER") and self.names(component.get("text")):
                return True
            if any(self._is_way_out(button) for button in buttons_of(component)):
                return True
        return any(self.offers(card) for card in cards_of(components))

    def is_sent(self, components: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a message makes one of its quick replies a way out, by its payload.

        Args:
            components: `template.components` of a message that has passed `check_message`.
        """
        parts = [
            *components,
            *(part for one in components for card in one.get("cards", ()) for part in card["components"]),
        ]
        return any(
            value.get("payload") in self._payloads or self.is_word(value.get("payload"))
            for part in parts
            if part["type"] == "button" and part["sub_type"] == "quick_reply"
            for value in part["parameters"]
        )

    def names(self, text: Any) -> bool:
        """Whether a text names a STOP word."""
        return isinstance(text, str) and self._naming is not None and self._naming.search(fold(text)) is not None

    def is_word(self, text: Any) -> bool:
        """Whether a text is a STOP word and nothing else."""
        return isinstance(text, str) and fold(text) in self._words

    def hears(self, reply: Any) -> bool:
        """Whether a quick reply of this text opts out: it comes back, unless a message sets a payload."""
        return self.is_word(reply) or reply in self._payloads

    def _is_way_out(self, button: Mapping[str, Any]) -> bool:
        text = button.get("text")
        if str(button.get("type")).upper() == "QUICK_REPLY":
            return isinstance(text, str) and self.hears(text)
        return self.names(text)


def buttons_of(component: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The buttons of a listed component; none if it is of another kind."""
    rows = component.get("buttons") if str(component.get("type")).upper() == "BUTTONS" else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def cards_of(components: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The components of each card of a listed carousel."""
    for component in components:
        cards = component.get("cards")
        for card in cards if isinstance(cards, list) else ():
            parts = card.get("components") if isinstance(card, Mapping) else None
            if isinstance(parts, list):
                yield [part for part in parts if isinstance(part, Mapping)]
