"""The answer to an opt-out: made by the gate when it merges one, and known again when it comes as a request.

Synchronous; runs in the gate's worker. It goes through `outbound-requests` like any message, so that it has its events,
its place in the limits and its one terminal event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.config import Settings
from pipeline.gate.item import Item, Out, traced
from pipeline.records.codec import encode
from pipeline.records.confirmation import ANSWERED, CATEGORY, VALID_MS, is_confirmation, request_id_of
from pipeline.records.consent import ConsentUpdate
from pipeline.records.consent_rule import MAX_SOURCE_CHARS, Merged, Standing
from pipeline.records.withdrawal import update_id_of

REQUESTS: Final = "outbound-requests"
REQUEST_SCHEMA: Final = "request/1"
DEFAULT: Final = "default"


class Confirmations:
    """Answers opt-outs, if the policy has a text for it."""

    def __init__(self, settings: Settings) -> None:
        self._texts = settings.policy.opt_out_confirmation
        self._business = {number: one.business for number, one in settings.numbers.items()}
        self._messages = [_message(text) for text in self._texts.values()]

    def answer(self, item: Item, update: ConsentUpdate, merged: Merged) -> list[Out]:
        """Make the request; nothing if the opt-out was no message of the person, is old, or said nothing new.

        An update that is merged again (its record is read twice after a crash) makes the same request again.
        """
        text = self._texts.get(update.language or DEFAULT) or self._texts.get(DEFAULT)
        source = self._heard(update, merged)
        if text is None or source is None or item.timestamp_ms - update.at >= VALID_MS:
            return []
        request = {
            "request_id": request_id_of(source),
            "from": update.number,
            "to": update.recipient,
            "category": CATEGORY,
            "message": _message(text),
            "expires_at": rfc3339(min(update.at, item.timestamp_ms) + VALID_MS),
        }
        return [Out(REQUESTS, update.recipient, encode(request), traced(REQUEST_SCHEMA, item), item.tp[1])]

    def lets_through(self, request: Mapping[str, Any], standing: Standing, now_ms: int) -> bool:
        """Whether a request is the answer to the very revoke that stands in its way, word for word.

        Args:
            request: As a plain object of the contract.
        """
        if standing.kind != "withdrawn" or not is_confirmation(standing.entry, request):
            return False
        assert standing.entry is not None  # noqa: S101  `is_confirmation` refuses None
        is_young = now_ms < parse_rfc3339_ms(standing.entry["at"]) + VALID_MS
        return is_young and request["not_before"] is None and request["message"] in self._messages

    def _heard(self, update: ConsentUpdate, merged: Merged) -> str | None:
        """The person's own message that took back what was not taken back already, if that is what the update tells of.

        Copies of it for other ids of the person bear other update ids: one of them is answered.
        """
        evidence = update.evidence
        if (
            update.action != "revoke"
            or merged.result != "applied"
            or evidence is None
            or evidence.source is None
            or evidence.method not in ANSWERED
            or evidence.actor != "user"
            or update.update_id != update_id_of(evidence.reference)
            or self._business.get(update.number or "") != update.business
        ):
            return None
        source = evidence.source[:MAX_SOURCE_CHARS]
        is_repeated = any(one["status"] == "revoked" and one["source"] != source for one in merged.before)
        return None if is_repeated else source


def _message(text: str) -> dict[str, Any]:
    return {"type": "text", "text": {"body": text}}
