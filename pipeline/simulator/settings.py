"""Settings of the simulator: closed models, checked before anything starts. Read by the command, tests and the control.

`LiveSettings` may be changed while the simulator runs, `SimulatorSettings` adds what is fixed at the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.simulator.limits import Limit
from pipeline.simulator.parts import (
    DAY_S,
    Category,
    Closed,
    Digits,
    ForcedError,
    Name,
    Profile,
    RateLimit,
    Script,
    Seconds,
    SpellSettings,
    TemplateSettings,
    TierName,
    WindowLimit,
)
from pipeline.simulator.settings_webhooks import StatusSettings, WebhookSettings

# Meta: 80 messages/s per Cloud number; v1 client ≥ 2.25.3: 50/s, bursts to 150; 20/60 on each other endpoint.
DEFAULT_LIMITS: dict[Profile, Limit] = {
    "cloud": Limit(80, 80),
    "360dialog": Limit(80, 80),
    "v1": Limit(50, 150),
}
LEDGER_ROWS_MAX = 5_000_000
SPELLS_MAX = 1_000
SCRIPTS_MAX = 100_000
TEMPLATES_MAX = 10_000
LATENCY_MS_MAX = 60_000.0


class LimitSettings(Closed):
    """How much may come, and how more is refused.

    Attributes:
        rate_per_s: Limit of every messages endpoint, requests/s; None = the profile's own (cloud and 360dialog 80,
            v1 50).
        burst: The same for the burst (80, 80, 150).
        profiles: Limits by profile; they win over the two above.
        senders: Limits by sender; they win over all.
        other: Limit of each endpoint that is not messages.
        enforce: False = measure the envelope, refuse nothing for it.
        pair_limit: Whether a sender may write to one recipient only so often (error 131056; not on v1).
        pair_interval_s: Seconds per message to one recipient.
        pair_burst: Messages to one recipient that may come at once.
        accounts: Number → account, for what holds for whole accounts.
        account_limit: Limit of all numbers of an account together (error 80007; not on v1); None = there is none.
        app_limit: Limit of all numbers together (error 4; not on v1); None = there is none.
        v1_window: Turn.io's way to count on v1, besides the bucket: per number and kind of call, with headers.
        throttle_status: HTTP status of the Cloud API's limit errors.
        dialog_throttle: Whose answer a throttled 360dialog number hears: Meta's, or the gateway's own HTTP 400.
        retry_after: `Retry-After` when the bucket is empty: seconds, `auto` = until the next token, None = no header.
    """

    rate_per_s: float | None = Field(default=None, gt=0, le=1_000_000)
    burst: int | None = Field(default=None, ge=1, le=1_000_000_000)
    profiles: dict[Profile, RateLimit] = Field(default={})
    senders: dict[str, RateLimit] = Field(default={}, max_length=10_000)
    other: RateLimit = RateLimit(rate_per_s=20, burst=60)
    enforce: bool = True
    pair_limit: bool = False
    pair_interval_s: float = Field(default=6, gt=0, le=DAY_S)
    pair_burst: int = Field(default=45, ge=1, le=1_000_000)
    accounts: dict[str, Name] = Field(default={}, max_length=10_000)
    account_limit: RateLimit | None = None
    app_limit: RateLimit | None = None
    v1_window: WindowLimit | None = None
    throttle_status: Literal[400, 429] = 429
    dialog_throttle: Literal["cloud", "gateway"] = "cloud"
    retry_after: Seconds | Literal["auto"] | None = None

    def limit_of(self, profile: Profile, sender: str) -> Limit:
        """The limit of the messages endpoint for a sender of a profile."""
        given = self.senders.get(sender) or self.profiles.get(profile)
        if given is not None:
            return given.limit()
        default = DEFAULT_LIMITS[profile]
        return Limit(self.rate_per_s or default.rate_per_s, self.burst or default.burst)


class LiveSettings(LimitSettings, StatusSettings, WebhookSettings):
    """What may be changed while the simulator runs; limits, statuses and webhooks besides.

    Attributes:
        v1_status: HTTP status of an accepted message on v1.
        latency_ms: Wait before each answer, after the decision; the median if `latency_sigma` > 0.
        latency_sigma: Spread of a log-normal latency; 0 = fixed. Never above `LATENCY_MS_MAX`.
        tokens: Credentials that are right, besides those that a login gave; empty = any.
        logins: User → password of `POST /v1/users/login`; empty = any.
        number_of_token: Credential (or login user) → number, for profiles that name no number in the path: the sender
            is called by it, in the ledger and in webhooks.
        phones: Number → its own phone (digits): shown in webhooks, and not to be written to (131021).
        force: Recipient (digits) → the error that its messages meet.
        scripts: Recipients with a sequence of outcomes; the first that fits counts.
        tier: The messaging limit of a number that no `quality` event was told of.
        strict: Whether bodies are judged in every detail; False = only what the simulator needs of them.
        strict_media: Whether a media id must have been uploaded here.
        strict_templates: Whether a template must be one of `templates`.
        templates: Templates as they were approved; their parameters, category and state are judged.
        default_category: What a template counts as that is not among them.
        marketing_on_cloud: False = marketing templates are refused on `messages` (131063).
        windows: Whether a free-form message needs a message of that person within 24 h (131047, on v1 470), and how it
            is refused: `off`, `answer`, `webhook`. A v1 client always tells it by webhook.
        marketing_stops: How marketing after a stop is refused (131050): `off`, `answer`, `webhook`.
    """

    v1_status: Literal[200, 201] = 201
    latency_ms: float = Field(default=0, ge=0, le=LATENCY_MS_MAX)
    latency_sigma: float = Field(default=0, ge=0, le=3)
    tokens: frozenset[str] = Field(default=frozenset(), max_length=10_000, repr=False)
    logins: dict[str, str] = Field(default={}, max_length=10_000, repr=False)
    number_of_token: dict[str, str] = Field(default={}, max_length=10_000, repr=False)
    phones: dict[str, Digits] = Field(default={}, max_length=10_000)
    force: dict[str, ForcedError] = Field(default={}, max_length=100_000)
    scripts: tuple[Script, ...] = Field(default=(), max_length=SCRIPTS_MAX)
    tier: TierName = "TIER_2K"
    strict: bool = True
    strict_media: bool = False
    strict_templates: bool = False
    templates: tuple[TemplateSettings, ...] = Field(default=(), max_length=TEMPLATES_MAX)
    default_category: Category = "utility"
    marketing_on_cloud: bool = True
    windows: Literal["off", "answer", "webhook"] = "off"
    marketing_stops: Literal["off", "answer", "webhook"] = "answer"

    def account_of(self, number: str) -> str:
        """The account of a number."""
        return self.accounts.get(number, self.webhook_account)

    def phone_of(self, number: str) -> str:
        """The phone that a number shows; the number itself if none is set."""
        return self.phones.get(number, number)


class SimulatorSettings(LiveSettings):
    """All settings of `start_simulator`.

    Attributes:
        host: Address to listen on.
        port: Port; 0 = a free one, see `Simulator.port`.
        profile: The only shape of the API that is there; None = all three.
        seed: Start of every random choice: faults, latency, statuses, order of webhooks.
        clock_speed: How many times faster than real the long clock runs: lives of tokens, pauses of templates, windows
            and retries of webhooks follow it, limits and spells do not.
        template_pause_s: Length of a template's first and second pause, seconds of the long clock.
        spells: Faults that are scheduled from the beginning.
        ledger_rows: Requests that the ledger keeps; later ones are only counted.
        webhook_secret_file: File with the app secret that signs webhooks (`X-Hub-Signature-256`); None = unsigned.
        webhook_concurrency: POSTs under way at once.
        webhook_queue: Updates that wait at once; more are dropped and counted.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535)
    profile: Profile | None = None
    seed: int = 1
    clock_speed: float = Field(default=1, ge=1, le=1_000_000)
    template_pause_s: tuple[Seconds, Seconds] = (10_800, 21_600)
    spells: tuple[SpellSettings, ...] = Field(default=(), max_length=SPELLS_MAX)
    ledger_rows: int = Field(default=LEDGER_ROWS_MAX, ge=1, le=LEDGER_ROWS_MAX)
    webhook_secret_file: Path | None = None
    webhook_concurrency: int = Field(default=12, ge=1, le=256)
    webhook_queue: int = Field(default=200_000, ge=1, le=2_000_000)
