"""People who took something back, as far as one reading of `consent-updates` has shown. Pure.

Kept in the order of their last word, oldest first, and small: the entries that decide, as text, about 400 bytes a
person in all. `MAX_PEOPLE` of them are below 250 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from pipeline.clock import parse_rfc3339_ms
from pipeline.errors import RecordError
from pipeline.records.alias import read_person
from pipeline.records.canonical import canonical
from pipeline.records.codec import check, decode_object
from pipeline.records.confirmation import is_confirmation
from pipeline.records.consent import ConsentUpdate
from pipeline.records.consent_rule import Consent, merge, standing
from pipeline.records.ready import ReadyMessage
from pipeline.sender.aliases import joined

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

    def apply(self, value: bytes | None, timestamp_ms: int, headers: Any = None) -> None:
        """Take one update in; what breaks the contract is the gate's to report.

        Args:
            timestamp_ms: Broker time of the record.
            headers: Those of the record: a gate may have said there whose alias the recipient is.
        """
        named = read_person(headers)
        try:
            plain = decode_object(value)
            if plain.get("action") == "grant" and named is None and _is_stranger(plain.get("recipient"), self._people):
                return
            update = check(ConsentUpdate, plain)
        except RecordError:
            return
        person = named[0] if named is not None else canonical(update.recipient)
        there = self._people.get(person)
        if there is None and update.action == "grant":
            return
        known = _unpacked(person, there[1]) if there is not None else None
        merged = merge(known, update, timestamp_ms).consent
        if merged is None:
            return
        self._people.pop(person, None)
        if len(self._people) >= self._people_max:
            self._forget_oldest()
        self._people[person] = (max(timestamp_ms, there[0] if there is not None else 0), _packed(merged))

    def forbids(self, message: ReadyMessage, now_ms: int, ids: tuple[str, ...] = ()) -> bool:
        """Whether a revoke or erasure not older than the consent that the message was judged on concerns it.

        Args:
            ids: Every id of the person; empty: those that the message names.
        """
        found: dict[str, Mapping[str, Any]] = {
            person: _unpacked(person, there[1])
            for person in ids or (message.recipient, *message.aliases)
            if (there := self._people.get(person)) is not None
        }
        if not found:
            return False
        if len(found) > 1:
            found = joined(found, message.recipient)
        return any(_forbids(consent, message, now_ms) for consent in found.values())

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


def _forbids(consent: Mapping[str, Any], message: ReadyMessage, now_ms: int) -> bool:
    basis = message.record["consent"]
    judged_s = parse_rfc3339_ms(basis["at"]) // 1000 if basis else None
    erased = consent["erased_at"]
    if erased is not None and (judged_s is None or parse_rfc3339_ms(erased) // 1000 >= judged_s):
        return True
    request = message.record["request"]
    now = standing(consent, message.record["business"], message.category, request.get("purpose"), now_ms)
    if now.kind != "withdrawn" or now.entry is None:
        return False
    if is_confirmation(now.entry, request):
        return False  # the answer to this very opt-out
    return judged_s is None or parse_rfc3339_ms(now.entry["at"]) // 1000 >= judged_s


def _is_stranger(recipient: Any, people: Mapping[str, Any]) -> bool:
    """Whether nobody of that name is known: most of a long topic. What is not in its normal form is looked at later."""
    return isinstance(recipient, str) and recipient.isdigit() and canonical(recipient) not in people


_DECIDES: Final = ("business", "category", "purpose", "status", "at", "expires_at", "method", "source", "number")


def _packed(consent: Consent) -> str:
    """What decides; which of two words said in the same millisecond, both yes or both no, counts does not."""
    entries = [[entry.get(name) for name in _DECIDES] for entry in consent["entries"]]
    # As text: the bytes that come out of the encoder keep the buffer they were written in, several times their size.
    return orjson.dumps([consent["erased_at"], entries]).decode()


def _unpacked(recipient: str, packed: str) -> Consent:
    erased_at, rows = orjson.loads(packed)
    entries = [{**dict(zip(_DECIDES, row, strict=True)), "update_id": ""} for row in rows]
    return {"recipient": recipient, "entries": entries, "erased_at": erased_at}
