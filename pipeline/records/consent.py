"""consent-update/1, consent/1 and consent-event/1: who allowed what, and how it came to be."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from pipeline.config import Category
from pipeline.records.codec import Record, TimeMs
from pipeline.records.request import Purpose, Recipient

Method = Literal[
    "checkbox", "phone_entry", "keyword", "button", "qr", "call", "paper", "double_opt_in", "other", "preference"
]  # fmt: skip
"""`preference`: WhatsApp's own stop and resume of marketing messages (Meta, user_preferences webhooks)."""
Action = Literal["grant", "revoke", "erase", "resume"]
METHODS: frozenset[str] = frozenset(get_args(Method))
RETURNING: frozenset[str | None] = frozenset({"keyword", "preference"})
"""Methods with a way back: a `resume` by one of them lifts what a revoke by the same one took, and nothing else."""
RefusalReason = Literal["evidence_missing", "not_active", "unknown_business", "at_in_future", "erased", "invalid"]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
MAX_NAMES = 100


class Evidence(Record):
    """How a person said yes or no."""

    method: Method | None = None
    source: ShortText | None = None
    text: Annotated[str, StringConstraints(max_length=4096)] | None = None
    reference: Annotated[str, StringConstraints(max_length=512)] | None = None
    actor: Literal["user", "business", "system"] | None = None


class ConsentUpdate(Record):
    """A grant, a revoke, the erasure of everything about a person, or a resume: the way back from a revoke by the same
    method, to what was granted before it.
    """

    update_id: str = Field(min_length=1, max_length=200)
    recipient: Recipient
    business: str = Field(min_length=1, max_length=128, description="`*` for revoke and erase only.")
    action: Action
    categories: list[Category | Literal["*"]] = Field(default_factory=list, max_length=MAX_NAMES)
    purposes: list[Purpose | Literal["*"]] = Field(default_factory=lambda: ["*"], max_length=MAX_NAMES, min_length=1)
    at: TimeMs
    expires_at: TimeMs | None = None
    evidence: Evidence | None = None
    number: str | None = Field(None, min_length=1, max_length=32, description="Number id that the person wrote to.")
    language: str | None = Field(None, max_length=16, description="Of the person's word, for the confirmation.")

    @model_validator(mode="after")
    def _scope(self) -> ConsentUpdate:
        if self.action == "grant" and ("*" in self.categories or self.business == "*"):
            raise ValueError("a grant names its categories and its business; * is for revoke only")
        if self.action != "erase" and not self.categories:
            raise ValueError('categories: at least one, or ["*"] to revoke all')
        if self.action == "resume" and (self.evidence is None or self.evidence.method not in RETURNING):
            raise ValueError(
                f"a resume has the evidence.method of what it lifts: {', '.join(sorted(map(str, RETURNING)))}"
            )
        return self


class ConsentEntry(Record):
    """What holds for one (business, category, purpose)."""

    business: str
    category: str
    purpose: str
    status: Literal["granted", "revoked", "resumed"]
    at: TimeMs
    expires_at: TimeMs | None = None
    update_id: str
    method: str | None = None
    source: str | None = None
    number: str | None = Field(None, description="Number id that the person wrote to; left out if there is none.")


class Consent(Record):
    """All that holds for one person; the value in the compacted `consent` topic."""

    recipient: str
    entries: list[ConsentEntry] = Field(default_factory=list)
    erased_at: TimeMs | None = None
    updated_at: TimeMs


class Origin(Record):
    """Where a record was read."""

    topic: str
    partition: int
    offset: int


class ConsentEvent(Record):
    """What became of one update: the history, the proof."""

    event_id: str
    update_id: str | None
    recipient: str | None
    business: str | None
    categories: list[str]
    purposes: list[str]
    action: str | None
    result: Literal["applied", "ignored_older", "refused"]
    reason: RefusalReason | None
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    evidence: dict[str, Any] | None
    origin: Origin
    at: TimeMs | None
    recorded_at: TimeMs
