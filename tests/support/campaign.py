"""What a test asks of the pipeline: people, requests and consent updates as plain objects. Pure; nothing here is sent.

Every request carries its own id as the first text of its message, so that the simulator's ledger, whose rows show that
text on every profile, can be joined with what was asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

BUSINESS: Final = "acme"
ENTRANCE: Final = "outbound-requests"
EXPRESS: Final = "outbound-requests-urgent"
CATEGORIES: Final = ("utility", "marketing", "authentication")

Request = dict[str, Any]


def people(count: int, start: int = 0) -> list[str]:
    """Recipients, digits, all different; another `start` gives others."""
    return [f"1555{1_000_000 + start + i}" for i in range(count)]


def message(text: str) -> dict[str, Any]:
    """A template message whose first text parameter is `text`."""
    body = {"type": "body", "parameters": [{"type": "text", "text": text}]}
    template = {"name": "order_shipped", "language": {"code": "en_US"}, "components": [body]}
    return {"type": "template", "template": template}


def request(request_id: str, number: str, to: str, *, category: str = "utility", **fields: Any) -> Request:
    """A request/1 whose message carries its id; `fields` are added or win."""
    return {
        "request_id": request_id, "from": number, "to": to, "category": category, "message": message(request_id),
        **fields,
    }  # fmt: skip


class Ids:
    """Request ids that no other request of this run has: `NAME-0000001`, …"""

    def __init__(self, name: str = "r") -> None:
        self._name, self._count = name, itertools.count(1)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return f"{self._name}-{next(self._count):07d}"


def campaign(count: int, numbers: Sequence[str], recipients: Sequence[str], ids: Ids, **fields: Any) -> list[Request]:
    """Requests over all recipients in turn, again and again; each round of a person goes to the next number."""
    turns = len(recipients)
    return [
        request(next(ids), numbers[(i + i // turns) % len(numbers)], recipients[i % turns], **fields)
        for i in range(count)
    ]


def grant(recipient: str, update_id: str, categories: Sequence[str] = CATEGORIES, **fields: Any) -> dict[str, Any]:
    """A consent-update/1: an active grant with evidence, a minute old; `fields` are added or win."""
    at = datetime.now(UTC) - timedelta(minutes=1)
    return {
        "update_id": update_id,
        "recipient": recipient,
        "business": BUSINESS,
        "action": "grant",
        "categories": list(categories),
        "purposes": ["*"],
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "evidence": {
            "method": "checkbox", "actor": "user", "source": "https://shop.example/checkout",
            "text": "Send me messages on WhatsApp", "reference": update_id,
        },
        **fields,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the judge knows it, in the order in which it was produced.

    Attributes:
        chain: What its order is promised within: (number, recipient, priority, entrance).
        is_allowed: Whether it may be sent at all; False for people without consent.
    """

    request_id: str
    chain: tuple[str, str, str, str]
    is_allowed: bool = True


# Contract §2: the default priority of each category. Not imported from the product: the judge keeps its own copy.
_PRIORITY: Final = {"authentication": "urgent", "utility": "normal", "service": "normal", "marketing": "bulk"}


def asked(given: Request, entrance: str = ENTRANCE, *, is_allowed: bool = True) -> Asked:
    """A request for the judge."""
    priority = given.get("priority") or _PRIORITY[given["category"]]
    return Asked(given["request_id"], (given["from"], given["to"], priority, entrance), is_allowed)
