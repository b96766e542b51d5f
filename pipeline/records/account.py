"""account-state/1 and the small compacted records: aliases, suppressions; and audit-event/1.

One key per aspect and writer, so that nobody overwrites another's: `number:ID/webhook`, `lane:ID#SHARD/mark`, …
"""

from __future__ import annotations

from typing import Any, Literal

from pipeline.records.codec import Record, TimeMs

SCHEMA = "account-state/1"


class WebhookState(Record):
    """`number:ID/webhook`: an authentic webhook call was seen for this number."""

    kind: Literal["number"]
    id: str
    aspect: Literal["webhook"]
    verified: bool
    at: TimeMs
    by: str


class HaltState(Record):
    """`number:ID/halt/SHARD`: the API refused; sister lanes obey until `until`.

    `scope` says who: `number` (null: the same, or the host if overloaded), `account`, or `host`.
    """

    kind: Literal["number"]
    id: str
    aspect: Literal["halt"]
    shard: int
    reason: Literal["throttled", "overloaded", "token", "preflight"] | None
    scope: Literal["number", "account", "host"] | None = None
    account: str | None = None
    base_url: str | None
    halted: bool
    until: TimeMs | None
    at: TimeMs
    by: str


class MarketingState(Record):
    """`number:ID/marketing/SHARD`: the API takes no marketing from this number until then (131048, 471)."""

    kind: Literal["number"]
    id: str
    aspect: Literal["marketing"]
    shard: int
    until: TimeMs
    error_code: int | None
    at: TimeMs
    by: str


class MarkState(Record):
    """`lane:ID#SHARD/mark`: from where the next owner has to read the ledger."""

    kind: Literal["lane"]
    id: str
    aspect: Literal["mark"]
    needed: int
    generation: int
    last_attempt_ms: int | None
    at: TimeMs
    by: str


class Alias(Record):
    """Another id of the same person."""

    alias: str
    recipient: str
    kind: str
    at: TimeMs


class Suppression(Record):
    """A recipient that gets nothing."""

    recipient: str
    reason: str
    until: TimeMs | None
    at: TimeMs


class AuditEvent(Record):
    """Who did what, and why."""

    event_id: str
    at: TimeMs
    actor: str
    via: Literal["cli", "console"]
    action: str
    target: str
    reason: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
