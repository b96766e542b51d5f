"""The one sentence that an operator reads about a failure: short, one line, and never a token.

Any text is safe. Every detail that leaves this room goes through `clean`: an API may say back what it was sent. Secrets
that this process has read are known to the letter, others by what they look like.
"""

from __future__ import annotations

import re
from typing import Final

from pipeline.redaction import hidden

DETAIL_CHARS_MAX: Final = 500
# Enough for any error text, and a bound on what the patterns below have to read.
_READ_CHARS_MAX: Final = 4_000
_HIDDEN: Final = "[hidden]"

_TAGS: Final = re.compile(r"<(?:script|style)\b[^>]*>[^<]*|<[^<>]*>", re.IGNORECASE)
_BLANKS: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_LABELLED: Final = re.compile(
    r"\b(bearer|basic|d360-api-key|api[-_ ]?key|access[-_ ]?token|token|password|secret|authorization)"
    r"(\s*[:=]?\s*[\"']?)(?=[^\s\"']*[0-9])[^\s\"',;]{8,}",
    re.IGNORECASE,
)
# Access tokens of Meta begin with EAA, JSON web tokens with eyJ; other keys are long runs without a blank.
_TOKENS: Final = re.compile(r"\b(?:EAA[A-Za-z0-9]{8,}|eyJ[A-Za-z0-9_.\-]{8,})")
_LONG_RUNS: Final = re.compile(r"(?<![A-Za-z0-9_.\-])(?!wamid\.)[A-Za-z0-9_+/=\-]{40,}")


def clean(text: str) -> str | None:
    """One line without mark-up or secrets, at most `DETAIL_CHARS_MAX` characters; None if nothing is left.

    Message ids (`wamid.…`) stay, other runs of 40 and more characters are taken for keys.
    """
    line = _BLANKS.sub(" ", _TAGS.sub(" ", text[:_READ_CHARS_MAX])).strip()
    line = hidden(line)
    line = _LABELLED.sub(rf"\1\2{_HIDDEN}", line)
    line = _LONG_RUNS.sub(_HIDDEN, _TOKENS.sub(_HIDDEN, line))
    line = line.encode("utf-8", "replace").decode("utf-8")
    return line[:DETAIL_CHARS_MAX] or None


def clean_bytes(body: bytes) -> str | None:
    """Like `clean`, for a body that is not JSON: an HTML page of a proxy, a plain sentence, rubbish."""
    return clean(body[:_READ_CHARS_MAX].decode("utf-8", "replace"))
