"""What this process must never show: the secrets that it has read, wherever they turn up again.

Whoever reads a secret remembers it here; whoever writes a text that others made (a log line, an API's answer, an error)
hides them in it. No pattern has to know what a token looks like. Any thread may call; a text costs a search per secret.
"""

from __future__ import annotations

import json
import threading
from typing import Final

HIDDEN: Final = "[secret]"
SECRET_CHARS_MIN: Final = 10
"""A shorter one is found in innocent words, and is no secret for long."""
SECRETS_MAX: Final = 10_000
"""More than tokens of all numbers, and those that took their places; the oldest is forgotten first."""

_lock = threading.Lock()
_in_order: dict[str, None] = {}
_known: tuple[str, ...] = ()


def remember(secret: str) -> str:
    """Know a secret from now on; returns it."""
    global _known  # noqa: PLW0603  replaced as a whole, so that readers need no lock
    if len(secret) < SECRET_CHARS_MIN or secret in _in_order:
        return secret
    with _lock:
        _in_order[secret] = None
        while len(_in_order) > SECRETS_MAX:
            del _in_order[next(iter(_in_order))]
        # as it stands in JSON, too; longer ones first: one may be the beginning of another
        in_json = {json.dumps(one, ensure_ascii=is_ascii)[1:-1] for one in _in_order for is_ascii in (True, False)}
        forms = {*_in_order, *in_json}
        _known = tuple(sorted(forms, key=len, reverse=True))
    return secret


def hidden(text: str) -> str:
    """The text without any secret that is known."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text
