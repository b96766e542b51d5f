"""Settings of the simulator: closed models, checked before anything starts. Read by the command, tests and the control.

`LiveSettings` may be changed while the simulator runs, `SimulatorSettings` adds what is fixed at the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.simulator.limits import Limit

Profile = Literal["cloud", "360dialog", "v1"]
FaultKind = Literal["429", "503", "html503", "500", "400", "reset", "lost", "hang", "empty"]
Status = Literal["sent", "delivered", "read", "failed"]

# Meta: 80 messages/s per Cloud number; v1 client ≥ 2.25.3: 50/s, bursts to 150; 20/60 on each other endpoint.
DEFAULT_LIMITS: dict[Profile, Limit] = {
    "cloud": Limit(80, 80),
    "360dialog": Limit(80, 80),
    "v1": Limit(50, 150),
}
LEDGER_ROWS_MAX = 5_000_000
SPELLS_MAX = 1_000
LATENCY_MS_MAX = 60_000.0
DAY_S = 86_400.0

Seconds = Annotated[float, Field(ge=0, le=DAY_S)]
Millis = Annotated[float, Field(ge=0, le=DAY_S * 1000)]
Ratio = Annotated[float, Field(ge=0, le=1)]


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


class SpellSettings(Closed):
    """A time in which the messages endpoint fails.

    Attributes:
        kind: `429 503 html503 500 400` are answered and not taken; `reset`: RST, not taken; `lost`: taken, then RST;
            `hang`: silence to the end of the spell, not taken; `empty`: 200 without an id, not taken.
        in_s: Seconds from `since` to its begin.
        for_s: How long it lasts, seconds.
        since: What `in_s` counts from. None = the first message for a spell in the settings, now for one by control.
        probability: Share of the requests in the spell that it hits.
        sender: Only requests of this sender; None = all.
        retry_after: `Retry-After` of its answers: seconds, `auto` = what remains of the spell, None = no header.
        retry_after_as: Whether that header holds seconds or an HTTP date.
    """

    kind: FaultKind
    in_s: Seconds = 0
    for_s: float = Field(gt=0, le=DAY_S)
    since: Literal["first_message", "now"] | None = None
    probability: Ratio = 1
    sender: str | None = Field(default=None, max_length=256)
    retry_after: Seconds | Literal["auto"] | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"


class ForcedError(Closed):
    """An error that messages to one recipient meet.

    Attributes:
        code: Meta's code.
        status: HTTP status of the answer; None = the usual one of that code.
        probability: Share of the messages that meet it.
        via: `answer` = refused at once; `webhook` = accepted, then a status `failed`.
    """

    code: int = Field(ge=0, le=2**31 - 1)
    status: int | None = Field(default=None, ge=400, le=599)
    probability: Ratio = 1
    via: Literal["answer", "webhook"] = "answer"


class LiveSettings(Closed):
    """What may be changed while the simulator runs.

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
        throttle_status: HTTP status of the Cloud API's limit errors.
        retry_after: `Retry-After` when the bucket is empty: seconds, `auto` = until the next token, None = no header.
        v1_status: HTTP status of an accepted message on v1.
        latency_ms: Wait before each answer, after the decision; the median if `latency_sigma` > 0.
        latency_sigma: Spread of a log-normal latency; 0 = fixed. Never above `LATENCY_MS_MAX`.
        tokens: Credentials that are right, besides those that a login gave; empty = any.
        logins: User → password of `POST /v1/users/login`; empty = any.
        number_of_token: Credential (or login user) → number, for profiles that name no number in the path: the sender
            is called by it, in the ledger and in webhooks.
        force: Recipient (digits) → the error that its messages meet.
        webhook_url: Where webhooks go, `{number}` in it is replaced by the sender; None = none are sent.
        webhook_urls: The same by sender; wins.
        webhook_shape: `auto` = as the sender's profile, else that shape for all.
        webhook_account: WABA id in the cloud envelope.
        webhook_delays_ms: Status → delay after the answer; a status that is missing is not sent.
        webhook_disorder_ms: Up to so much is added to each delay, at random.
        webhook_duplicate_ratio: Share of the webhooks that are sent twice.
        webhook_batch: Updates in one POST at most (Meta: up to 1,000); only what is due at the same time is joined.
        webhook_tries: Attempts per POST until a 200.
        webhook_timeout_s: Deadline of one attempt.
    """

    rate_per_s: float | None = Field(default=None, gt=0, le=1_000_000)
    burst: int | None = Field(default=None, ge=1, le=1_000_000_000)
    profiles: dict[Profile, RateLimit] = {}
    senders: dict[str, RateLimit] = Field(default={}, max_length=10_000)
    other: RateLimit = RateLimit(rate_per_s=20, burst=60)
    enforce: bool = True
    pair_limit: bool = False
    pair_interval_s: float = Field(default=6, gt=0, le=DAY_S)
    pair_burst: int = Field(default=45, ge=1, le=1_000_000)
    throttle_status: Literal[400, 429] = 429
    retry_after: Seconds | Literal["auto"] | None = None
    v1_status: Literal[200, 201] = 201
    latency_ms: float = Field(default=0, ge=0, le=LATENCY_MS_MAX)
    latency_sigma: float = Field(default=0, ge=0, le=3)
    tokens: frozenset[str] = Field(default=frozenset(), max_length=10_000, repr=False)
    logins: dict[str, str] = Field(default={}, max_length=10_000, repr=False)
    number_of_token: dict[str, str] = Field(default={}, max_length=10_000, repr=False)
    force: dict[str, ForcedError] = Field(default={}, max_length=100_000)
    webhook_url: str | None = Field(default=None, pattern=r"^https?://")
    webhook_urls: dict[str, Annotated[str, Field(pattern=r"^https?://")]] = Field(default={}, max_length=10_000)
    webhook_shape: Literal["auto", "cloud", "v1"] = "auto"
    webhook_account: str = "300000000000001"
    webhook_delays_ms: dict[Status, Millis] = {"sent": 50, "delivered": 300, "read": 1000, "failed": 300}
    webhook_disorder_ms: Millis = 0
    webhook_duplicate_ratio: Ratio = 0
    webhook_batch: int = Field(default=50, ge=1, le=1000)
    webhook_tries: int = Field(default=10, ge=1, le=1000)
    webhook_timeout_s: float = Field(default=5, gt=0, le=300)

    def limit_of(self, profile: Profile, sender: str) -> Limit:
        """The limit of the messages endpoint for a sender of a profile."""
        given = self.senders.get(sender) or self.profiles.get(profile)
        if given is not None:
            return given.limit()
        default = DEFAULT_LIMITS[profile]
        return Limit(self.rate_per_s or default.rate_per_s, self.burst or default.burst)

    def webhook_url_of(self, number: str) -> str | None:
        """Where the webhooks of a number go; None = nowhere."""
        url = self.webhook_urls.get(number, self.webhook_url)
        return None if url is None else url.replace("{number}", number)


class SimulatorSettings(LiveSettings):
    """All settings of `start_simulator`.

    Attributes:
        host: Address to listen on.
        port: Port; 0 = a free one, see `Simulator.port`.
        seed: Start of every random choice: faults, latency, order of webhooks.
        spells: Faults that are scheduled from the beginning.
        ledger_rows: Requests that the ledger keeps; later ones are only counted.
        webhook_secret_file: File with the app secret that signs webhooks (`X-Hub-Signature-256`); None = unsigned.
        webhook_concurrency: POSTs under way at once.
        webhook_queue: Updates that wait at once; more are dropped and counted.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65_535)
    seed: int = 1
    spells: tuple[SpellSettings, ...] = Field(default=(), max_length=SPELLS_MAX)
    ledger_rows: int = Field(default=LEDGER_ROWS_MAX, ge=1, le=LEDGER_ROWS_MAX)
    webhook_secret_file: Path | None = None
    webhook_concurrency: int = Field(default=12, ge=1, le=256)
    webhook_queue: int = Field(default=200_000, ge=1, le=2_000_000)
