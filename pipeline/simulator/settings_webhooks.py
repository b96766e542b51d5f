"""Settings of what the simulator sends by itself: statuses and webhooks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.simulator.parts import Closed, Digits, Millis, Ratio, Status, UserId

# Meta: payloads up to 3 MB.
BODY_BYTES_MAX = 3 * 1024 * 1024
Url = Annotated[str, Field(pattern=r"^https?://")]


class StatusSettings(Closed):
    """Which statuses follow a message, and what is in them.

    Attributes:
        webhook_delays_ms: Status → delay after the answer; a status that is missing is not sent.
        webhook_disorder_ms: Up to so much is added to each delay, at random.
        webhook_duplicate_ratio: Share of the webhooks that are sent twice.
        skip_delivered_ratio: Share of the messages that are read without a status `delivered`.
        silence_ratio: Share of the messages that no status follows.
        reverse_ratio: Share of the messages whose statuses come the other way round.
        v1_sent_status: Whether a v1 client tells `sent`; a real one does not before it is told to.
        conversation: Whether `sent` and one of delivered and read carry a `conversation`: `auto` = where the path names
            an API version up to v23.
        user_ids: Recipient (digits) → user id of a person with a username.
        hide_phones: Whether webhooks about a person with a user id leave the phone number out.
    """

    webhook_delays_ms: dict[Status, Millis] = Field(default={"sent": 50, "delivered": 300, "read": 1000, "failed": 300})
    webhook_disorder_ms: Millis = 0
    webhook_duplicate_ratio: Ratio = 0
    skip_delivered_ratio: Ratio = 0
    silence_ratio: Ratio = 0
    reverse_ratio: Ratio = 0
    v1_sent_status: bool = True
    conversation: Literal["auto", "always", "never"] = "auto"
    user_ids: dict[Digits, UserId] = Field(default={}, max_length=100_000)
    hide_phones: bool = True


class WebhookSettings(Closed):
    """Where webhooks go and how.

    Attributes:
        webhook_url: Where webhooks go, `{number}` in it is replaced by the sender; None = none are sent.
        webhook_urls: The same by sender; wins.
        webhook_shape: `auto` = as the sender's profile, else that shape for all.
        webhook_account: WABA id in the cloud envelope, of numbers that `accounts` does not name.
        webhook_batch: Updates in one POST at most (Meta: up to 1,000); only what is due at the same time is joined.
        webhook_gather_ms: How long an update waits for others of its number, so that batches fill.
        webhook_pad_bytes: Every POST body is filled up to so many bytes (Meta: up to 3 MB).
        webhook_signature: `right`; `wrong` = of other bytes; `none` = no header, whatever the secret file says.
        webhook_tries: Attempts per POST until a 200.
        webhook_timeout_s: Deadline of one attempt.
        webhook_retry_s: Pause after the first failure, seconds of the long clock (see `clock_speed`).
        webhook_retry_s_max: Longest pause; a v1 client has 3 and 900.
        webhook_retry_growth: `exponential`, `linear`, or `auto`: linear for v1, as its client does.
    """

    webhook_url: Url | None = None
    webhook_urls: dict[str, Url] = Field(default={}, max_length=10_000)
    webhook_shape: Literal["auto", "cloud", "v1"] = "auto"
    webhook_account: str = "300000000000001"
    webhook_batch: int = Field(default=50, ge=1, le=1000)
    webhook_gather_ms: Millis = 0
    webhook_pad_bytes: int = Field(default=0, ge=0, le=BODY_BYTES_MAX)
    webhook_signature: Literal["right", "wrong", "none"] = "right"
    webhook_tries: int = Field(default=10, ge=1, le=1000)
    webhook_timeout_s: float = Field(default=5, gt=0, le=300)
    webhook_retry_s: float = Field(default=0.1, gt=0, le=86_400)
    webhook_retry_s_max: float = Field(default=5, gt=0, le=604_800)
    webhook_retry_growth: Literal["auto", "exponential", "linear"] = "auto"

    def webhook_url_of(self, number: str) -> str | None:
        """Where the webhooks of a number go; None = nowhere."""
        url = self.webhook_urls.get(number, self.webhook_url)
        return None if url is None else url.replace("{number}", number)
