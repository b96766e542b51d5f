"""The one message that an opt-out of everything lets through: the answer that it was heard.

Pure; gate and sender ask the same question. Whether a request is that answer is decided by the revoke that stands in
its way, never by what the request says of itself: its id follows from that revoke, its number is the one that the
person wrote to. Whoever copies the id sends the same message again, which the sender knows by its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.records.codec import stable_id
from pipeline.records.consent_rule import MAX_SOURCE_CHARS

CATEGORY: Final = "service"
VALID_MS: Final = 600_000
"""An answer later than this would puzzle. It ends within the sender's memory for ids: there is never a second one."""
ANSWERED: Final = frozenset({"keyword", "button"})
"""Methods of a person's own message to a number, which opens the window that the answer goes through."""


def request_id_of(source: str) -> str:
    """Id of the answer to an opt-out: the same however often, and by whatever id of the person, it is merged.

    Args:
        source: As in the evidence: id of the message by which the person opted out.
    """
    return f"opt-out-{stable_id(source[:MAX_SOURCE_CHARS])}"


def is_confirmation(revoke: Mapping[str, Any] | None, request: Mapping[str, Any]) -> bool:
    """Whether a request is the answer to this consent entry.

    Args:
        revoke: The entry that stands in its way, as on `consent`.
        request: `request_id`, `from` and `category` are looked at.
    """
    if revoke is None or revoke["status"] != "revoked" or revoke["method"] not in ANSWERED:
        return False
    number, source = revoke.get("number"), revoke["source"]
    return (
        number is not None
        and source is not None
        and request.get("category") == CATEGORY
        and request.get("from") == number
        and request.get("request_id") == request_id_of(source)
    )
