"""Which statuses follow a message, when, and with what in them. Pure; randomness is seeded.

Rules: whatsapp-api.md §1.7 (v1), §2.2 (reactions), §2.14 (cloud), §2.16 (user ids).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from pipeline.simulator.parts import Profile
from pipeline.simulator.settings import LiveSettings

# From this API version on a status has no conversation (Meta, status webhooks).
NO_CONVERSATION_FROM = 24.0


class Sent(NamedTuple):
    """A message whose statuses are to be planned.

    Attributes:
        message_id: Whose status.
        recipient: Digits or user id.
        type: Message type.
        profile: Shape of the request.
        version: API version of the request; None = its path named none.
        callback: `biz_opaque_callback_data` to echo; "" = none was given.
        category: What pricing calls the message.
        failed_code: Code of the status `failed`; None = it does not fail.
        asked: Statuses that a script asks for; None = the usual ones.
    """

    message_id: str
    recipient: str
    type: str
    profile: Profile
    version: float | None = None
    callback: str = ""
    category: str = "utility"
    failed_code: int | None = None
    asked: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A status of a message that was taken.

    Attributes:
        message_id: Whose status.
        recipient: Digits; "" = nobody is told the phone number of this person.
        status: `sent`, `delivered`, `read` or `failed`.
        callback: `biz_opaque_callback_data` to echo; "" = none was given.
        category: What pricing calls the message.
        code: Error code of `failed`.
        user_id: User id of the person; None = they have none, or it is not told.
        is_priced: Whether it tells the price.
        has_conversation: Whether it names a conversation.
    """

    message_id: str
    recipient: str
    status: str
    callback: str = ""
    category: str = "utility"
    code: int | None = None
    user_id: str | None = None
    is_priced: bool = False
    has_conversation: bool = False


def plan(settings: LiveSettings, rng: Random, sent: Sent) -> list[tuple[StatusUpdate, float]]:
    """The statuses of a message with their delays after the answer, ms, in their natural order."""
    names = list(_names(settings, rng, sent))
    delays_ms = [settings.webhook_delays_ms.get(name, 0.0) for name in names]  # type: ignore[call-overload]
    if settings.reverse_ratio and rng.random() < settings.reverse_ratio:
        delays_ms.reverse()
    # Meta tells price and conversation on `sent` and once more on delivered or read.
    telling = {"sent", "delivered" if "delivered" in names else "read"}
    has_conversation = settings.conversation == "always" or (
        settings.conversation == "auto" and sent.version is not None and sent.version < NO_CONVERSATION_FROM
    )
    recipient, user_id = _person(settings, sent)
    return [
        (
            StatusUpdate(
                message_id=sent.message_id,
                recipient=recipient,
                status=name,
                callback=sent.callback,
                category=sent.category,
                code=sent.failed_code,
                user_id=user_id,
                is_priced=name in telling,
                has_conversation=has_conversation and name in telling,
            ),
            delay_ms,
        )
        for name, delay_ms in zip(names, delays_ms, strict=True)
    ]


def _names(settings: LiveSettings, rng: Random, sent: Sent) -> Iterable[str]:
    if sent.failed_code is not None:
        return [name for name in settings.webhook_delays_ms if name == "failed"]
    names: list[str] = [name for name in settings.webhook_delays_ms if name != "failed"]
    if sent.asked is not None:
        names = list(sent.asked)
    if settings.silence_ratio and rng.random() < settings.silence_ratio:
        return []
    if settings.skip_delivered_ratio and rng.random() < settings.skip_delivered_ratio and "read" in names:
        names = [name for name in names if name != "delivered"]
    if sent.type == "reaction":
        names = [name for name in names if name == "sent"]
    if sent.profile == "v1" and not settings.v1_sent_status:
        names = [name for name in names if name != "sent"]
    return names


def _person(settings: LiveSettings, sent: Sent) -> tuple[str, str | None]:
    """Phone and user id of the recipient, as far as webhooks tell them."""
    if sent.profile == "v1":
        return sent.recipient, None
    if "." in sent.recipient:
        return "", sent.recipient
    user_id = settings.user_ids.get(sent.recipient)
    if user_id is None:
        return sent.recipient, None
    if sent.failed_code is not None:
        # A failed status names the user id only if that was written to (whatsapp-api.md §2.16).
        return sent.recipient, None
    return "" if settings.hide_phones else sent.recipient, user_id
