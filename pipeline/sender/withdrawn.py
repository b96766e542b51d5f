"""People who took something back, as far as one reading of `consent-updates` has shown. Pure.

Kept in the order of their last word, oldest first, and small: the entries that decide, as text, about 350 bytes a
person in all. `MAX_PEOPLE` of them are below 200 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from pipeline.clock import parse_rfc3339_ms
from pipeline.errors import RecordError
from pipeline.records.codec import check, decode_object
from pipeline.records.consent import ConsentUpdate
from pipeline.records.consent_rule import Consent, merge, standing

MAX_PEOPLE: Final = 500_000
FORGET_PART: Final = 16
"""At the bound this part of all people is forgotten at once: those whose last word is the oldest."""


class Withdrawn:
    """What people took back.

    Attributes:
        forgotten_ms: Words of before this broker time may be missing, because there were too many.
    """

    def __init__(self, people_max: int = MAX_PEOPLE) -> None:
        self._people: dict[str, tuple[int, str]] = {}
        self._people_max = people_max
        self.forgotten_ms = 0

    def __len__(self) -> int:
        return len(self._people)

    def apply(self, value: bytes | None, timestamp_ms: int) -> None:
        """Take one update in; what breaks the contract is the gate's to report."""
        try:
            plain = decode_object(value)
            if plain.get("action") == "grant" and _is_stranger(plain.get("recipient"), self._people):
                return
            update = check(ConsentUpdate, plain)
        except RecordError:
            return
        there = self._people.get(update.recipient)
        if there is None and update.action == "grant":
            return
        known = _unpacked(update.recipient, there[1]) if there is not None else None
        merged = merge(known, update, timestamp_ms).consent
        if merged is None:
            return
        self._people.pop(update.recipient, None)
        if len(self._people) >= self._people_max:
            self._forget_oldest()
        self._people[update.recipient] = (max(timestamp_ms, there[0] if there is not None else 0), _packed(merged))

    def forbids(
        self, recipient: str, business: str, category: str, purpose: str | None, judged_s: int | None, now_ms: int
    ) -> bool:
        """Whether a revoke or erasure not older than a judgement's consent concerns such a message.

        Args:
            judged_s: When the consent was given that the message was judged on, s since 1970; None: it needed none.
        """
        there = self._people.get(recipient)
        if there is None:
            return False
        consent = _unpacked(recipient, there[1])
        erased = consent["erased_at"]
        if erased is not None and (judged_s is None or parse_rfc3339_ms(erased) // 1000 >= judged_s):
            return True
        now = standing(consent, business, category, purpose, now_ms)
        if now.kind != "withdrawn" or now.entry is None:
            return False
        return judged_s is None or parse_rfc3339_ms(now.entry["at"]) // 1000 >= judged_s

    def forget_older(self, before_ms: int) -> None:
        """Forget people whose last word was written before that broker time."""
        gone = []
        for recipient, (last_ms, _) in self._people.items():
            if last_ms >= before_ms:
                break
            gone.append(recipient)
        for recipient in gone:
            del self._people[recipient]

    def _forget_oldest(self) -> None:
        for recipient in list(self._people)[: max(1, self._people_max // FORGET_PART)]:
            last_ms, _ = self._people.pop(recipient)
            self.forgotten_ms = max(self.forgotten_ms, last_ms + 1)


def _is_stranger(recipient: Any, people: Mapping[str, Any]) -> bool:
    """Whether nobody of that name is known: most of a long topic. What is not in its normal form is looked at later."""
    return isinstance(recipient, str) and recipient.isdigit() and recipient not in people


_DECIDES: Final = ("business", "category", "purpose", "status", "at", "expires_at")


def _packed(consent: Consent) -> str:
    """What decides; which of two words said in the same millisecond, both yes or both no, counts does not."""
    entries = [[entry[name] for name in _DECIDES] for entry in consent["entries"]]
    # As text: the bytes that come out of the encoder keep the buffer they were written in, several times their size.
    return orjson.dumps([consent["erased_at"], entries]).decode()


def _unpacked(recipient: str, packed: str) -> Consent:
    erased_at, rows = orjson.loads(packed)
    unsaid: dict[str, Any] = {"update_id": "", "method": None, "source": None}
    entries = [{**dict(zip(_DECIDES, row, strict=True)), **unsaid} for row in rows]
    return {"recipient": recipient, "entries": entries, "erased_at": erased_at}
