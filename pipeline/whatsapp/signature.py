"""The signature of webhooks: HMAC-SHA256 over the raw bytes of the body, key = app secret (Meta, webhook endpoint).

Turn.io signs its v1 webhooks the same way under a header of its own, in base64 instead of hex (as its users' clients
verify it).

Never over parsed and re-written JSON: other bytes, another signature. Pure; the ingress calls it once per POST.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

HEADER: Final = "X-Hub-Signature-256"
TURN_HEADER: Final = "X-Turn-Hook-Signature"
_PREFIX: Final = "sha256="


def sign(raw: bytes, secret: bytes) -> str:
    """Value of the header for a body: `sha256=` and 64 lower-case hex digits."""
    return _PREFIX + hmac.new(secret, raw, hashlib.sha256).hexdigest()


def sign_as_turn(raw: bytes, secret: bytes) -> str:
    """Value of Turn.io's header for a body: the same digest in base64."""
    return base64.b64encode(hmac.digest(secret, raw, hashlib.sha256)).decode("ascii")


def verify_signature(raw: bytes, header: str | None, secrets: Sequence[bytes]) -> bool:
    """Whether one of the secrets signed these bytes.

    Takes the same time whichever secret fits, and whether one fits at all. Several secrets are live while one is
    being exchanged, or when several apps deliver to the same address. An empty secret never fits.

    Args:
        raw: The body exactly as received.
        header: Value of `X-Hub-Signature-256`, or of `X-Turn-Hook-Signature`; None if absent.
        secrets: App secrets that count.
    """
    given = (header or "").encode("utf-8", "replace")
    write = sign if given.startswith(_PREFIX.encode()) else sign_as_turn
    fits = False
    for secret in secrets:
        is_same = hmac.compare_digest(given, write(raw, secret).encode("ascii"))
        fits |= is_same and bool(secret)
    return fits
