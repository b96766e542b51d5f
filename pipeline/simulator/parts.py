"""Parts that settings and control requests are made of: closed models that name what is wrong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.simulator.limits import Limit

Profile = Literal["cloud", "360dialog", "v1"]
FaultKind = Literal["429", "503", "html503", "500", "400", "code", "reset", "lost", "hang", "empty", "slow"]
Status = Literal["sent", "delivered", "read", "failed"]
Category = Literal["marketing", "utility", "authentication"]

DAY_S = 86_400.0
CODE_MAX = 2**31 - 1
OUTCOMES_PER_ROW_MAX = 1_000

Seconds = Annotated[float, Field(ge=0, le=DAY_S)]
Millis = Annotated[float, Field(ge=0, le=DAY_S * 1000)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Code = Annotated[int, Field(ge=0, le=CODE_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Digits = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
TierName = Annotated[str, Field(pattern=r"^TIER_[A-Z0-9_]{1,20}$")]
UserId = Annotated[str, Field(pattern=r"^[A-Z]{2}\.[A-Za-z0-9.]{1,140}$")]


class Closed(BaseModel):
    """A model that knows all its keys and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class RateLimit(Closed):
    """A token bucket: `rate_per_s` (requests/s, > 0) and `burst` (requests, ≥ 1)."""

    rate_per_s: float = Field(gt=0, le=1_000_000)
    burst: int = Field(ge=1, le=1_000_000_000)

    def limit(self) -> Limit:
        """The same as the plain value that the bucket works with."""
        return Limit(self.rate_per_s, self.burst)


class WindowLimit(Closed):
    """So many `requests` in each window of `window_s` seconds, as Turn.io counts (60 in 60 s)."""

    requests: int = Field(default=60, ge=1, le=1_000_000)
    window_s: int = Field(default=60, ge=1, le=86_400)


class SpellSettings(Closed):
    """A time in which the API fails.

    Attributes:
        kind: `429 503 html503 500 400` are answered and not taken; `code`: the same with any code of Meta's;
            `reset`: RST, not taken; `lost`: taken, then RST; `hang`: silence to the end of the spell, not taken;
            `empty`: 200 without an id, not taken; `slow`: taken, answered `delay_s` later.
        in_s: Seconds from `since` to its begin.
        for_s: How long it lasts, seconds.
        since: What `in_s` counts from. None = the first message for a spell in the settings, now for one by control.
        probability: Share of the requests in the spell that it hits.
        sender: Only requests of this sender; None = all.
        account: Only requests of numbers of this account; None = all.
        everywhere: Whether it hits all endpoints, the login too, and not messages alone.
        code: Of `code`: 131057 = maintenance, 80007 = the account's limit, 4 = the app's, …
        delay_s: Of `slow`, seconds.
        retry_after: `Retry-After` of its answers: seconds, `auto` = what remains of the spell, None = no header.
        retry_after_as: Whether that header holds seconds or an HTTP date.
    """

    kind: FaultKind
    in_s: Seconds = 0
    for_s: float = Field(gt=0, le=DAY_S)
    since: Literal["first_message", "now"] | None = None
    probability: Ratio = 1
    sender: str | None = Field(default=None, max_length=256)
    account: str | None = Field(default=None, max_length=256)
    everywhere: bool = False
    code: Code | None = None
    delay_s: float | None = Field(default=None, gt=0, le=600)
    retry_after: Seconds | Literal["auto"] | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"

    @model_validator(mode="after")
    def _is_whole(self) -> SpellSettings:
        for kind, key, value in (("code", "code", self.code), ("slow", "delay_s", self.delay_s)):
            if (self.kind == kind) != (value is not None):
                raise ValueError(f"{key} goes with kind {kind} and only with it")
        return self


class ForcedError(Closed):
    """An error that messages to one recipient meet.

    Attributes:
        code: Meta's code.
        status: HTTP status of the answer; None = the usual one of that code.
        probability: Share of the messages that meet it.
        via: `answer` = refused at once; `webhook` = accepted, then a status `failed`; `both` = refused, and a status
            `failed` that is tied to it by the callback alone.
    """

    code: Code
    status: int | None = Field(default=None, ge=400, le=599)
    probability: Ratio = 1
    via: Literal["answer", "webhook", "both"] = "answer"


class Script(Closed):
    """What happens to one recipient's messages, one after the other; the last outcome stays.

    Attributes:
        recipient: Digits or user id; `*` stands for any run of characters and `?` for one.
        outcomes: `accept`, `answer:CODE`, `webhook:CODE`, `both:CODE`, `slow:SECONDS`, `lost`, `reset`, `empty`,
            `silence` (accepted, no status ever).
        statuses: Statuses of what is accepted; None = the usual ones.
    """

    recipient: str = Field(pattern=r"^[A-Za-z0-9.*?]{1,160}$")
    outcomes: tuple[
        Annotated[
            str,
            Field(pattern=r"^(accept|(answer|webhook|both):\d{1,9}|slow:\d{1,3}(\.\d+)?|lost|reset|empty|silence)$"),
        ],
        ...,
    ] = Field(default=("accept",), min_length=1, max_length=OUTCOMES_PER_ROW_MAX)
    statuses: tuple[Literal["sent", "delivered", "read"], ...] | None = Field(default=None, max_length=3)


class TemplateSettings(Closed):
    """A template as it was approved.

    Attributes:
        name: Its name.
        language: Its language, e.g. `en_US`.
        category: What it was approved as.
        body: Parameters of its body: their types in order; named ones as `type:name`.
        header: Type of the header's parameter; None = the header takes none.
        buttons: Index → sub type of the buttons that need a parameter.
        footer: Text below its body; None = it has none.
    """

    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$")
    language: str = Field(default="en_US", pattern=r"^[a-z]{2,3}(_[A-Za-z]{2,4})?$")
    category: Category = "utility"
    body: tuple[Annotated[str, Field(pattern=r"^(text|currency|date_time)(:[A-Za-z0-9_]{1,64})?$")], ...] = Field(
        default=(), max_length=256
    )
    header: Literal["text", "image", "video", "document", "location"] | None = None
    buttons: dict[Annotated[str, Field(pattern=r"^[0-9]$")], Literal["quick_reply", "url", "copy_code", "flow"]] = {}
    footer: str | None = Field(default=None, min_length=1, max_length=60)
