"""What `POST /_simulator/control` and timed events understand: closed models; anything else is named in the answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.simulator.inbound import Inbound
from pipeline.simulator.parts import (
    Category,
    Closed,
    Code,
    Digits,
    ForcedError,
    Name,
    Seconds,
    SpellSettings,
    TierName,
    UserId,
)
from pipeline.simulator.settings import LiveSettings
from pipeline.simulator.templates import Quality, TemplateStatus

ADVANCE_S_MAX = 366 * 86_400


class TemplateEvent(Closed):
    """Something happens to a template, and a webhook tells it.

    Attributes:
        name: Its name.
        language: Its language.
        status: What it becomes. `PAUSED` goes on in the state machine: 3 h, then 6 h, then `DISABLED`.
        quality: Its new score.
        category: The category it is put into.
        number: Whose webhook URL hears of it; None = the one for all.
    """

    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$")
    language: str = Field(default="en_US", pattern=r"^[a-z]{2,3}(_[A-Za-z]{2,4})?$")
    status: TemplateStatus | None = None
    quality: Quality | None = None
    category: Category | None = None
    number: Name | None = None

    @model_validator(mode="after")
    def _says_something(self) -> TemplateEvent:
        if (self.status, self.quality, self.category) == (None, None, None):
            raise ValueError("one of status, quality and category is needed")
        return self


class NumberEvent(Closed):
    """`phone_number_quality_update`: something happens to a number.

    Attributes:
        number: Which one.
        event: What happens.
        quality: Its rating from now on, as `GET /{number}?fields=quality_rating` tells it; None = as before.
        tier: Its messaging limit.
    """

    number: Name
    event: Literal["ONBOARDING", "THROUGHPUT_UPGRADE", "UPGRADE", "DOWNGRADE", "FLAGGED", "UNFLAGGED"]
    quality: Literal["GREEN", "YELLOW", "RED", "UNKNOWN", "NA"] | None = None
    tier: TierName = "TIER_2K"


class Upgrade(Closed):
    """A throughput upgrade: maintenance (131057), then a higher limit and the webhook that tells it.

    Attributes:
        number: Which one.
        rate_per_s: Its limit afterwards.
        burst: Its burst afterwards; None = as much.
        for_s: How long the maintenance lasts, seconds; really up to a minute.
    """

    number: Name
    rate_per_s: float = Field(default=1000, gt=0, le=1_000_000)
    burst: int | None = Field(default=None, ge=1, le=1_000_000_000)
    for_s: float = Field(default=60, gt=0, le=3600)


class CapabilityEvent(Closed):
    """`business_capability_update`: the messaging limit of the business, -1 = unlimited, or a `TIER_` name."""

    limit: int | str = 2000
    number: Name | None = None


class AccountEvent(Closed):
    """`account_update`: `event` with what belongs to it, e.g. `ban_info`, `restriction_info`, `violation_info`."""

    event: str = Field(pattern=r"^[A-Z_]{1,64}$")
    info: dict[str, Any] = Field(default={}, max_length=20)
    number: Name | None = None


class FieldEvent(Closed):
    """Any other webhook field, e.g. `account_alerts`, `security`, `flows`; `value` as it goes out."""

    field: str = Field(pattern=r"^[a-z_]{1,64}$")
    value: dict[str, Any] = Field(max_length=100)
    number: Name | None = None


class Preference(Closed):
    """A person stops or resumes marketing messages in WhatsApp; after a stop marketing is refused (131050)."""

    sender: Digits = Field(alias="from")
    number: Name
    value: Literal["stop", "resume"] = "stop"
    user_id: UserId | None = None


class ErrorEvent(Closed):
    """An error that belongs to no message, told by webhook."""

    number: Name
    code: Code


class Act(Closed):
    """What may be done to a running simulator. Its parts are applied in this order, all or none.

    Attributes:
        reset: Forget ledger, buckets, counters, states of templates and waiting webhooks first; spells and events of
            the settings start over.
        settings: Settings to change; those that are not named stay.
        force: Recipient → forced error, or null to lift it; others stay.
        clear_spells: End all spells.
        expire_tokens: Let all tokens that logins gave run out.
        advance_s: Let the long clock jump ahead by so many seconds.
        spell: A spell to start, from now unless it says otherwise.
        upgrade: A throughput upgrade.
        template: Something happens to a template.
        number: Something happens to a number.
        capability: The messaging limit changes.
        account: Something happens to the account.
        field: Any other webhook.
        error: An error by webhook.
        preference: A person stops or resumes marketing.
        inbound: A message from a person.
    """

    reset: bool = False
    settings: LiveSettings = LiveSettings()
    force: dict[str, ForcedError | None] = Field(default={}, max_length=100_000)
    clear_spells: bool = False
    expire_tokens: bool = False
    advance_s: float = Field(default=0, ge=0, le=ADVANCE_S_MAX)
    spell: SpellSettings | None = None
    upgrade: Upgrade | None = None
    template: TemplateEvent | None = None
    number: NumberEvent | None = None
    capability: CapabilityEvent | None = None
    account: AccountEvent | None = None
    field: FieldEvent | None = None
    error: ErrorEvent | None = None
    preference: Preference | None = None
    inbound: Inbound | None = None


class Verification(Closed):
    """The handshake of a new webhook subscription: a GET to the webhook of `number` with `token`."""

    number: Name
    token: str = Field(min_length=1, max_length=1024, repr=False)


class ControlRequest(Act):
    """One control request: an act, and perhaps a handshake after it."""

    verify: Verification | None = None


class TimedEvent(Act):
    """An act of a scenario.

    Attributes:
        in_s: Seconds from `since` to it.
        since: What `in_s` counts from.
    """

    in_s: Seconds = 0
    since: Literal["first_message", "start"] = "first_message"


def changed(current: LiveSettings, act: Act) -> LiveSettings:
    """The settings in force after `act`."""
    named = {key: getattr(act.settings, key) for key in act.settings.model_fields_set}
    if not named and not act.force:
        return current
    forced = dict(named.get("force", current.force))
    for recipient, error in act.force.items():
        if error is None:
            forced.pop(recipient, None)
        else:
            forced[recipient] = error
    return current.model_copy(update={**named, "force": forced})


def problems(error: ValidationError) -> list[str]:
    """One sentence for each thing that is wrong: `key: reason`."""
    return [
        f"{'.'.join(str(part) for part in found['loc']) or 'body'}: {found['msg']}"
        for found in error.errors(include_url=False, include_input=False)
    ]
