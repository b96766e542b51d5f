"""account-state/1 and the small compacted records: aliases, suppressions; and audit-event/1.

One key per aspect and writer, so that nobody overwrites another's: `number:ID/webhook`, `lane:ID#SHARD/mark`, …
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

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


class PreflightState(Record):
    """`number:ID/preflight`: what the sender's own look at the number came to; null: the API did not tell."""

    kind: Literal["number"]
    id: str
    aspect: Literal["preflight"]
    token: Literal["accepted", "refused", "unknown"]
    quality: str | None
    tier: str | None
    throughput: str | None
    detail: str | None
    at: TimeMs
    by: str


class OverrideState(Record):
    """`number:ID/override`: checks that an operator lifted until then; none: taken back."""

    kind: Literal["number"]
    id: str
    aspect: Literal["override"]
    checks: list[str]
    reason: str | None
    until: TimeMs
    at: TimeMs
    by: str


class MarkState(Record):
    """`lane:ID#SHARD/mark`: from where the next owner has to read the ledger, of this partition."""

    kind: Literal["lane"]
    id: str
    aspect: Literal["mark"]
    needed: int
    generation: int
    last_attempt_ms: int | None
    partition: int | None = None
    at: TimeMs
    by: str


class QualityState(Record):
    """`number:ID/quality`: WhatsApp flagged the number for low quality, or took that back."""

    kind: Literal["number"]
    id: str
    aspect: Literal["quality"]
    event: str
    flagged: bool
    at: TimeMs
    by: str


class LimitsState(Record):
    """`number:ID/limits`: how much the number may send; each part with the time of the webhook that told it."""

    kind: Literal["number"]
    id: str
    aspect: Literal["limits"]
    throughput: Literal["STANDARD", "HIGH"]
    throughput_at: TimeMs | None
    tier: str | None
    tier_at: TimeMs | None
    at: TimeMs
    by: str


class CapabilityState(Record):
    """`account:ID/capability`: the messaging tier as told for the whole account."""

    kind: Literal["account"]
    id: str
    aspect: Literal["capability"]
    tier: str | None
    at: TimeMs
    by: str


class Restriction(Record):
    """One thing that an account may not do, until then (null: no end was named)."""

    type: str
    until: TimeMs | None


class RestrictionState(Record):
    """`account:ID/restriction`: what the account may not do now."""

    kind: Literal["account"]
    id: str
    aspect: Literal["restriction"]
    restrictions: list[Restriction]
    at: TimeMs
    by: str


class BanState(Record):
    """`account:ID/ban`: the account is disabled, will be, or is back; `date` as WhatsApp writes it."""

    kind: Literal["account"]
    id: str
    aspect: Literal["ban"]
    state: str
    date: str | None
    at: TimeMs
    by: str


class AlertState(Record):
    """`account:ID/alert/TYPE`: an alert about the account, `status` NONE when it is over."""

    kind: Literal["account"]
    id: str
    aspect: Literal["alert"]
    type: str
    severity: str | None
    status: str | None
    at: TimeMs
    by: str


class ReviewState(Record):
    """`account:ID/review`: what the review of the account came to."""

    kind: Literal["account"]
    id: str
    aspect: Literal["review"]
    decision: str
    at: TimeMs
    by: str


class TemplateState(Record):
    """`template:ACCOUNT/NAME/LANG`: what webhooks told of a template; each part with the time of its webhook.

    `until` ends a pause; `next_category` is announced for `next_category_at`; `components_at`: its texts changed.
    """

    kind: Literal["template"]
    id: str
    aspect: Literal["template"]
    status: str | None
    reason: str | None
    until: TimeMs | None
    status_at: TimeMs | None
    category: str | None
    next_category: str | None
    next_category_at: TimeMs | None
    category_at: TimeMs | None
    quality: str | None
    quality_at: TimeMs | None
    components_at: TimeMs | None = None
    at: TimeMs
    by: str


class TemplateDefinition(Record):
    """`template:ACCOUNT/NAME/LANG/definition`: what a `templates sync` saw of a template; readers join the two.

    `at` is when the API was asked; `changed_at` since when it reads like this. `status` DELETED: it is gone.
    """

    kind: Literal["template"]
    id: str
    aspect: Literal["definition"]
    status: str
    reason: str | None
    category: str | None
    quality: str | None
    parameter_format: str | None
    components: list[dict[str, Any]] | None
    changed_at: TimeMs
    at: TimeMs
    by: str


class TemplatesState(Record):
    """`account:ID/templates`: the last complete `templates sync`; written after all that it saw."""

    kind: Literal["account"]
    id: str
    aspect: Literal["templates"]
    templates: int
    at: TimeMs
    by: str


class CampaignState(Record):
    """`campaign:ID`: what an operator lets happen to the messages of a campaign; without a record it runs."""

    kind: Literal["campaign"]
    id: str
    aspect: Literal["campaign"]
    state: Literal["running", "paused", "cancelled"]
    reason: str | None
    at: TimeMs
    by: str


class PauseState(Record):
    """`number:ID/pause`: an operator holds what this number sends; `priorities` null: all of it."""

    kind: Literal["number"]
    id: str
    aspect: Literal["pause"]
    paused: bool
    priorities: list[Literal["urgent", "normal", "bulk"]] | None
    reason: str | None
    at: TimeMs
    by: str


class Alias(Record):
    """An id of a person who has several: where it leads, and which lead to it."""

    alias: str
    recipient: str = Field(description="Whose id it is; itself if others lead to it.")
    kind: str = Field(description="user_id (another name), number (given up for another), or self.")
    at: TimeMs
    ids: list[str] = Field(default_factory=list, description="Ids that lead to it.")


class Suppression(Record):
    """A recipient that gets nothing."""

    recipient: str
    reason: str
    until: TimeMs | None
    at: TimeMs


class TierRecipient(Record):
    """A person that counts against the messaging tiers of these portfolios, since then."""

    recipient: str
    portfolios: dict[str, TimeMs]


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
