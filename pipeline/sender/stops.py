"""What operators hold by `account-state`: campaigns that are paused or cancelled, numbers that are paused. Pure.

Asked for every message by the pump and by the last checks: a look-up each, and none while nothing is held.
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.records.ready import ReadyMessage
from pipeline.throttle.priority import PRIORITIES

HELD: Final = "held_campaign"
CANCELLED: Final = "campaign_cancelled"
OPERATOR: Final = "operator"
_WORDS: Final = {"paused": HELD, "cancelled": CANCELLED}
_NONE: Final[frozenset[str]] = frozenset()


class Stops:
    """The newest word about each campaign and number.

    Attributes:
        changes: Grows with every change of a campaign.
        resumed_ms: Broker time of the newest word by which a campaign goes on, or ends.
    """

    def __init__(self) -> None:
        self._campaigns: dict[str, str | None] = {}
        self._numbers: dict[str, frozenset[str]] = {}
        self.changes = 0
        self.resumed_ms = 0

    def put(self, key: str, value: dict[str, Any] | None, timestamp_ms: int) -> None:
        """Take a record of `account-state` in; None: its key is gone.

        Raises:
            KeyError: a field is missing.
        """
        kind, _, name = key.partition(":")
        if kind == "campaign":
            self._put_campaign(name, value, timestamp_ms)
        elif kind == "number" and name.endswith("/pause"):
            number = name.removesuffix("/pause")
            if value is None or not value["paused"]:
                self._numbers.pop(number, None)
            else:
                self._numbers[number] = frozenset(PRIORITIES if value["priorities"] is None else value["priorities"])

    def _put_campaign(self, name: str, value: dict[str, Any] | None, timestamp_ms: int) -> None:
        word = _WORDS.get(value["state"]) if value is not None else None
        if self._campaigns.get(name) != word:
            self.changes += 1
            if word != HELD:
                self.resumed_ms = max(self.resumed_ms, timestamp_ms)
        self._campaigns[name] = word

    def of(self, message: ReadyMessage) -> str | None:
        """`held_campaign`, `campaign_cancelled`, or None: the message's campaign runs, or it has none."""
        campaigns = self._campaigns
        return campaigns.get(message.record["request"].get("campaign")) if campaigns else None

    def was_held(self, message: ReadyMessage) -> bool:
        """Whether its campaign was paused once: messages of it may stand on a delayed topic, unread."""
        return bool(self._campaigns) and message.record["request"].get("campaign") in self._campaigns

    def paused(self, number: str) -> frozenset[str]:
        """Priorities that an operator holds for a number."""
        return self._numbers.get(number, _NONE) if self._numbers else _NONE

    def is_still(self, number: str) -> bool:
        """Whether an operator holds all that a number sends."""
        return len(self.paused(number)) == len(PRIORITIES)

    def open_of(self, number: str, waiting: tuple[bool, bool, bool]) -> tuple[bool, bool, bool]:
        """Which of the priorities that wait may be chosen from."""
        held = self.paused(number)
        if not held:
            return waiting
        urgent, normal, bulk = (waits and name not in held for waits, name in zip(waiting, PRIORITIES, strict=True))
        return urgent, normal, bulk

    def forbids(self, number: str, message: ReadyMessage) -> str | None:
        """Why a message may not be written now: its campaign, or the number's pause; None: it may."""
        return self.of(message) or (OPERATOR if message.priority in self.paused(number) else None)


def as_it_stands(message: ReadyMessage, stops: Stops) -> ReadyMessage:
    """A message that was put off for its paused campaign goes at once, and not by the gate, if the campaign goes on."""
    if message.via_gate and message.record["reason"] == HELD and stops.of(message) is None:
        return message._replace(via_gate=False, due_ms=None)
    return message
