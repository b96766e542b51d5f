"""inbound-event/1 and service-window/1: what webhooks said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from pipeline.records.codec import Record, TimeMs

SCHEMA = "inbound-event/1"
KIND_HEADER = "wapipe-kind"
"""What an event is about, so that readers need not parse what they pass over: its type, but `failed` for a status that
says so. Without the header the value tells."""
FAILED = b"failed"


def kind_of(event: Mapping[str, Any]) -> bytes:
    """Value of `KIND_HEADER` for an event."""
    if event["type"] == "status" and event["status"] == "failed":
        return FAILED
    return str(event["type"]).encode()


class InboundEvent(Record):
    """One fact of one webhook; a redelivered webhook gives the same `event_id`."""

    event_id: str
    type: Literal["status", "message", "call", "preference", "template", "account", "quality", "error", "unknown"]
    at: TimeMs
    received_at: TimeMs
    number: str | None
    recipient: str | None
    user_id: str | None
    message_id: str | None
    status: str | None
    request_id: str | None
    attempt: int | None
    error_code: int | None
    errors: list[dict[str, Any]]
    pricing: dict[str, Any] | None
    profile: str
    body: dict[str, Any]


class Window(Record):
    """The customer service window of one number with one person."""

    opened_at: TimeMs
    until: TimeMs
    message_id: str | None = None


class ServiceWindow(Record):
    """All windows of one person, by number id."""

    recipient: str
    windows: dict[str, Window] = Field(default_factory=dict)
