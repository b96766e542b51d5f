"""May this number send at all? Webhook verified, templates synced, token accepted; and what an operator lifted of it.

The rules are look-ups in what is known already: `account-state`, and what the looks of this process (`looks.py`) came
to. Touched only on the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import structlog

from pipeline.config import Settings
from pipeline.operations.overrides import override_key, override_of
from pipeline.sender.access import Access
from pipeline.sender.account import AccountState
from pipeline.whatsapp.profiles import Endpoint

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 2.0
"""How long a number waits for its first look: an API that does not answer by then is met by a message instead."""


@dataclass(slots=True)
class _Look:
    waits_until_s: float
    refused: Endpoint | None = None


class Preflight:
    """What has to be in order before a number sends.

    Args:
        account: What stands on `account-state`.
        access: The tokens: a refusal holds only as long as the token that was refused.
    """

    def __init__(self, settings: Settings, account: AccountState, access: Access) -> None:
        self._policy, self._numbers = settings.policy, settings.numbers
        self._account, self._access = account, access
        self._looks: dict[str, _Look] = {}
        self._said: dict[str, tuple[Any, ...] | None] = {}

    # -- what the looks came to --------------------------------------------------------------------------------------
    def looking(self, number: str, now_s: float) -> None:
        """A look at a number begins: it is waited for, unless the token was found right by an earlier one."""
        known = self._account.get(f"number:{number}/preflight")
        was_accepted = number not in self._looks and known is not None and known.get("token") == "accepted"
        self._looks[number] = _Look(now_s if was_accepted else now_s + PATIENCE_S)

    def passed(self, number: str) -> None:
        """The API took the token, or has nothing to say about it."""
        self._looks[number] = _Look(float("-inf"))

    def refused(self, number: str, endpoint: Endpoint) -> None:
        """The API refuses the token of this endpoint."""
        self._looks[number] = _Look(float("-inf"), endpoint)

    # -- rules -------------------------------------------------------------------------------------------------------
    def stop(self, number: str, now_s: float, now_ms: int) -> str | None:
        """The first reason why a number may not send, in the words of the metric `number_stopped`; None: it may.

        Args:
            now_s: The steady clock.
            now_ms: This host's date.
        """
        lifted = self._lifted(number, now_ms)
        if self._policy.require_webhook and "webhook" not in lifted and not self._account.webhook_verified(number):
            return "webhook"
        if self._policy.require_templates and "templates" not in lifted and not self._has_templates(number):
            return "preflight"
        if self.is_refused(number, now_ms):
            return "token"
        look = self._looks.get(number)
        return "preflight" if look is not None and now_s < look.waits_until_s and "limits" not in lifted else None

    def is_refused(self, number: str, now_ms: int) -> bool:
        """Whether the API refused the token that holds now."""
        look = self._looks.get(number)
        if look is None or look.refused is None or self._access.newest(number, look.refused) is not look.refused:
            return False
        return "limits" not in self._lifted(number, now_ms)

    def _has_templates(self, number: str) -> bool:
        return self._account.get(f"account:{self._numbers[number].account}/templates") is not None

    def _lifted(self, number: str, now_ms: int) -> list[str] | tuple[()]:
        value = self._account.get(override_key(number))
        return override_of(value, now_ms) if value is not None else ()

    def tell_override(self, number: str, now_ms: int) -> None:
        """Log what an operator lifted: when this process learns of it, when it changes, and when it ends."""
        value = self._account.get(override_key(number)) or {}
        lifted = override_of(value, now_ms)
        said = (*lifted, value["until"], value.get("reason")) if lifted else None
        if said == self._said.get(number):
            return
        self._said[number] = said
        if said is None:
            log.warning("preflight_override_ended", number=number)
        else:
            log.warning(
                "preflight_override", number=number, checks=lifted, until=value["until"], reason=value.get("reason"),
                by=value.get("by"),
            )  # fmt: skip
