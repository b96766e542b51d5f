"""Which number of ours a webhook is about that names it by what people dial. Touched on the ingress' loop only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.logs import Repeats

log = structlog.get_logger(__name__)


class NumberNames:
    """Number ids by display phone number.

    A webhook about quality or limits carries no number id (Meta, phone_number_quality_update). The settings tell:
    `numbers.ID.display_phone_number`, or the account, if it has one number here only.
    """

    def __init__(self, settings: Settings) -> None:
        self._by_display: dict[str, str] = {}
        self._by_account: dict[str, list[str]] = {}
        for number, one in settings.numbers.items():
            if one.display_phone_number is not None:
                self._by_display[one.display_phone_number] = number
            if one.account:
                self._by_account.setdefault(one.account, []).append(number)
        self._repeats = Repeats()

    def number_of(self, event: Mapping[str, Any]) -> str | None:
        """The number that an account event names by its display phone number; None if it names none, or a stranger."""
        body = event["body"]
        value = body.get("value")
        shown = value.get("display_phone_number") if isinstance(value, Mapping) else None
        if event["type"] not in ("quality", "account") or not isinstance(shown, str):
            return None
        digits = "".join(char for char in shown if char in "0123456789")
        account = body.get("id")
        known = self._by_display.get(digits)
        if known is not None:
            return known
        here = self._by_account.get(account, []) if isinstance(account, str) else []
        if len(here) == 1 and here[0] not in self._by_display.values():
            return here[0]
        self._warn(account if here else None)
        return None

    def _warn(self, account: str | None) -> None:
        """Numbers of accounts that are not in the settings are nobody's business here."""
        if account is None:
            return
        held_back = self._repeats.pass_now("unknown", steady_s())
        if held_back is not None:
            log.warning(
                "number_not_recognised", account=account, suppressed=held_back,
                remedy="set numbers.<number id>.display_phone_number",
            )  # fmt: skip
