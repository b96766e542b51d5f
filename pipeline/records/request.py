"""request/1: what upstream systems write to `outbound-requests` and `outbound-requests-urgent`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from pipeline.config import Category
from pipeline.records.codec import Record, TimeMs

Priority = Literal["urgent", "normal", "bulk"]
PRIORITIES: tuple[Priority, ...] = ("urgent", "normal", "bulk")
DEFAULT_PRIORITY: dict[str, Priority] = {
    "authentication": "urgent", "utility": "normal", "service": "normal", "marketing": "bulk",
}  # fmt: skip
MAX_AHEAD_MS = 7 * 86_400_000
MAX_METADATA_KEYS = 50
MAX_METADATA_CHARS = 500
MAX_RECIPIENT_CHARS = 131

_SEPARATORS = re.compile(r"[\s\-().\u00a0]")
_PHONE = re.compile(r"[0-9]{5,20}", re.ASCII)
_USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}", re.ASCII)


def normal_recipient(value: Any) -> str:
    """Bring a phone number to digits without `+`; a business-scoped user id (`US.…`) stays as it is.

    Raises:
        ValueError: neither of the two.
    """
    if isinstance(value, str) and len(value) <= MAX_RECIPIENT_CHARS:
        if _USER_ID.fullmatch(value):
            return value
        digits = _SEPARATORS.sub("", value).removeprefix("+")
        if _PHONE.fullmatch(digits):
            return digits
    raise ValueError("must be a phone number in international form (5 to 20 digits) or a user id like US.123")


RECIPIENT_PATTERN = r"^([A-Z]{2}\.[A-Za-z0-9.]{1,128}|[\s().-]*\+?[\s().-]*[0-9]([\s().-]*[0-9]){4,19}[\s().-]*)$"
Recipient = Annotated[
    str,
    BeforeValidator(normal_recipient),
    WithJsonSchema({"type": "string", "maxLength": MAX_RECIPIENT_CHARS, "pattern": RECIPIENT_PATTERN}),
]
Purpose = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]
MetadataText = Annotated[str, StringConstraints(max_length=MAX_METADATA_CHARS)]


class Request(Record):
    """One message to one person."""

    request_id: str = Field(min_length=1, max_length=128, description="Idempotency key, unique per `from`.")
    from_: str = Field(alias="from", min_length=1, max_length=32, description="A configured number id.")
    to: Recipient = Field(description="Recipient: a phone number or a business-scoped user id.")
    category: Category = Field(description="Meta's class of message.")
    purpose: Purpose | None = Field(None, description="The business's own kind of message.")
    priority: Priority | None = Field(None, description="Default by category.")
    campaign: str | None = Field(None, min_length=1, max_length=64, description="Groups messages.")
    message: dict[str, Any] = Field(description="The WhatsApp body of that type.")
    not_before: TimeMs | None = Field(None, description="Not sent earlier.")
    expires_at: TimeMs | None = Field(None, description="Not sent later; default by category.")
    metadata: dict[MetadataText, MetadataText] = Field(
        default_factory=dict, max_length=MAX_METADATA_KEYS, description="Copied to every event."
    )

    @property
    def effective_priority(self) -> Priority:
        """The priority asked for, else the category's."""
        return self.priority or DEFAULT_PRIORITY[self.category]


def too_far_ahead(request: Request, now_ms: int) -> list[str]:
    """Problems with dates more than 7 days ahead, as `path: reason`."""
    return [
        f"{name}: more than 7 days ahead"
        for name, moment in (("not_before", request.not_before), ("expires_at", request.expires_at))
        if moment is not None and moment > now_ms + MAX_AHEAD_MS
    ]
