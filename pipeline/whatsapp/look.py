"""A look at a sending number: does the API take its token, and what does it say of the number?

Each profile has an endpoint that costs nobody a message: cloud the number itself with its `throughput` (Meta,
throughput), `quality_rating` and `whatsapp_business_manager_messaging_limit` (Meta, messaging limits); 360dialog
`health_status` (360dialog, messaging health status); v1 `health` (On-Premises API, health). Only an explicit refusal of
the token is bad news: an API without such an endpoint has said nothing. Pure; any bytes are safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

from pipeline.whatsapp.answer import Kind, Outcome, classify
from pipeline.whatsapp.detail import clean
from pipeline.whatsapp.error_body import parse_body
from pipeline.whatsapp.profiles import Endpoint

Token = Literal["accepted", "refused", "unknown"]
FIELDS: Final = ("quality_rating", "throughput", "whatsapp_business_manager_messaging_limit")
WORD_CHARS_MAX: Final = 64
CODE_NO_FIELD: Final = 100
"""A Graph version that does not know a field refuses the whole request, after it has looked at the token."""
_AGAIN_SOON: Final = frozenset({Kind.THROTTLED, Kind.OVERLOADED, Kind.TRANSIENT, Kind.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look came to.

    Attributes:
        token: What the API thinks of the token; `unknown`: it did not say.
        is_final: Whether asking again soon would bring nothing new.
        asks_less: Whether the API may answer when it is asked for fewer fields.
        quality: Rating of the number, e.g. `GREEN`; None: not told.
        tier: Messaging limit of its portfolio, e.g. `TIER_2K`; None: not told.
        throughput: `STANDARD`, `HIGH`, …; None: not told.
        detail: One line for people, without secrets.
        outcome: Of a refusal, for `Access.judged`; None otherwise.
    """

    token: Token
    is_final: bool = True
    asks_less: bool = False
    quality: str | None = None
    tier: str | None = None
    throughput: str | None = None
    detail: str | None = None
    outcome: Outcome | None = None


def look_at(profile: str, base_url: str, number: str, endpoint: Endpoint, *, fields: tuple[str, ...]) -> Endpoint:
    """Where a number is looked at, by GET, with the credentials that its messages go with.

    Args:
        endpoint: Where its messages are posted.
        fields: Of `FIELDS`; other profiles than cloud have none to choose.
    """
    headers = {name: value for name, value in endpoint.headers.items() if name != "Content-Type"}
    if profile == "cloud":
        return Endpoint(f"{base_url}/{quote(number, safe='')}?fields={','.join(fields)}", headers)
    return Endpoint(f"{base_url}/{'health_status' if profile == '360dialog' else 'v1/health'}", headers)


def read_look(status: int, headers: Mapping[str, str], body: bytes, now_unix_s: float) -> Seen:
    """Read the answer.

    Args:
        status: HTTP status, as received.
        headers: Of the answer; names in any case.
        body: As received.
        now_unix_s: Reading of the host's clock.
    """
    document = parse_body(body)
    if 200 <= status <= 299:
        if document is None or "error" in document or "errors" in document:
            return Seen("unknown", detail=f"HTTP {status} without an answer that can be read")
        return _told(document)
    outcome = classify(status, headers, body, now_unix_s)
    if outcome.kind is Kind.UNAUTHORISED:
        return Seen("refused", detail=outcome.detail, outcome=outcome)
    if outcome.error_code == CODE_NO_FIELD:
        return Seen("accepted", asks_less=True, detail=outcome.detail)
    return Seen("unknown", is_final=outcome.kind not in _AGAIN_SOON, detail=outcome.detail)


def unanswered(cause: BaseException) -> Seen:
    """What it means that no answer came."""
    return Seen("unknown", is_final=False, detail=clean(f"no answer: {type(cause).__name__} {cause}"))


def _told(document: dict[str, Any]) -> Seen:
    throughput, limit = document.get("throughput"), document.get(FIELDS[2])
    return Seen(
        "accepted",
        quality=_word(document.get("quality_rating")),
        tier=_word(limit),
        throughput=_word(throughput.get("level") if isinstance(throughput, dict) else throughput),
        detail=_health(document),
    )


def _health(document: dict[str, Any]) -> str | None:
    """What 360dialog and v1 say instead: whether the number can send, whether the client is connected."""
    of_360dialog, of_v1 = document.get("health_status"), document.get("health")
    if isinstance(of_360dialog, dict):
        word = _word(of_360dialog.get("can_send_message"))
        return f"can_send_message: {word}" if word else None
    if isinstance(of_v1, dict):
        nodes = [node for node in (of_v1, *of_v1.values()) if isinstance(node, dict)]
        words = {_word(node.get("gateway_status")) for node in nodes} - {None}
        return f"gateway: {', '.join(sorted(map(str, words)))}" if words else None
    return None


def _word(value: Any) -> str | None:
    return clean(value[:WORD_CHARS_MAX]) if isinstance(value, str) and value else None
