"""Inbound events: a message or call opens the service window, a status `failed` becomes an `undelivered` event.

Synchronous; runs in the gate's worker. Three of four inbound events are other statuses: the ingress says so in a
header, and they are passed over unparsed.
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.errors import ContractError, DecodeError
from pipeline.gate.item import DeadLetters, Item, Out, traced
from pipeline.gate.people import Found, People
from pipeline.gate.undelivered import Failure, failure_of, opt_in_method
from pipeline.gate.view import View
from pipeline.gate.windows import open_window, wrote_since
from pipeline.metrics import Metrics
from pipeline.records import outbound
from pipeline.records.alias import LINK_HEADER, read_link
from pipeline.records.codec import decode_object, encode, header_of, require_schema
from pipeline.records.inbound import FAILED, KIND_HEADER
from pipeline.records.request import normal_recipient
from pipeline.whatsapp.suppression import SCHEMA as SUPPRESSION_SCHEMA
from pipeline.whatsapp.suppression import is_lifted_by, replaces

EVENTS: Final = "outbound-events"
WINDOWS: Final = "service-windows"
WINDOW_SCHEMA: Final = "service-window/1"
SUPPRESSIONS: Final = "suppressions"
MAX_INBOUND_BYTES: Final = 4 * 1024 * 1024
MAX_ID_CHARS: Final = 200
MAX_TIME_CHARS: Final = 40
_WANTED: Final = frozenset({None, b"message", b"call", FAILED})


class InboundJudge:
    """Keeps the service windows, tells of what was not delivered, writes and lifts suppressions.

    Args:
        windows: The `service-windows` table.
        suppressions: The `suppressions` table.
        people: Knows who is who.
        consents: The `consent` table.
    """

    def __init__(
        self, settings: Settings, windows: View, suppressions: View, people: People, metrics: Metrics, consents: View
    ) -> None:
        self._business = {number: one.business for number, one in settings.numbers.items()}
        self._unreachable_s = settings.policy.unreachable_s
        self._people = people
        self._consents = consents
        self._windows = windows
        self._suppressions = suppressions
        self._metrics = metrics
        self._dead_letters = DeadLetters(metrics)

    def apply(self, item: Item) -> list[Out]:
        """Say what an inbound event leads to; most lead to nothing."""
        try:
            require_schema(item.headers, "inbound-event")
            if header_of(item.headers, LINK_HEADER) is not None:
                return self._linked(item)
            learned = self._people.learned(item)
            if header_of(item.headers, KIND_HEADER) not in _WANTED:
                return learned
            event = decode_object(item.value, MAX_INBOUND_BYTES)
            if event.get("type") == "status" and event.get("status") == "failed":
                return self._failed(item, failure_of(event))
            if not (_is_call(event) or (event.get("type") == "message" and not _is_notice(event))):
                return learned
            number, recipient, said_ms = _message(event)
        except (DecodeError, ContractError) as exc:
            return self._dead(item, exc.code, str(exc))
        if number not in self._business:
            return learned
        found = self._people.find(recipient, item.tp[1], item.headers)
        if found.place != "here":
            return self._elsewhere(item, found)
        return [
            *learned,
            *self._open(item, event, number, found.person, said_ms),
            *self._lift(item, found.person, min(said_ms, item.timestamp_ms)),
        ]

    def _linked(self, item: Item) -> list[Out]:
        """A gate told that two ids are one person."""
        link = read_link(item.headers)
        outs = self._people.linked(item, link) if link is not None else None
        return outs if outs is not None else self._dead(item, "contract", f"header {LINK_HEADER}: no link of this key")

    def _elsewhere(self, item: Item, found: Found) -> list[Out]:
        if found.place == "misrouted":
            return self._dead(item, "misrouted", f"re-routed once, still not on partition {found.home}")
        headers = found.headers(item.headers or (), self._people.partitions)
        return [Out(item.topic, found.person, item.value, headers, found.home)]

    def _open(self, item: Item, event: dict[str, Any], number: str, recipient: str, said_ms: int) -> list[Out]:
        partition, key = item.tp[1], recipient.encode()
        message_id = event.get("message_id")
        record = open_window(
            self._windows.get(partition, key),
            recipient,
            number,
            said_ms,
            item.timestamp_ms,
            message_id if isinstance(message_id, str) and len(message_id) <= MAX_ID_CHARS else None,
        )
        if record is None:
            return []
        stored = self._windows.put(partition, key, record)
        return [Out(WINDOWS, key, encode(record), traced(WINDOW_SCHEMA, item), partition, stored)]

    # -- what was not delivered --------------------------------------------------------------------------------------
    def _failed(self, item: Item, failure: Failure) -> list[Out]:
        business = self._business.get(failure.number)
        if business is None:
            return []
        told = encode(failure.told(business))
        if failure.recipient is not None:
            found = self._people.find(failure.recipient, item.tp[1], item.headers)
            if found.place != "here":
                return self._elsewhere(item, found)
            failure = failure._replace(recipient=found.person)
        person = (failure.recipient or "").encode()
        consent = self._consents.get(item.tp[1], person) if person else None
        self._metrics.consent_undelivered.labels(opt_in_method(consent, business)).inc()
        event = Out(EVENTS, failure.recipient or item.key, told, traced(outbound.SCHEMA, item))
        return [event, *self._suppress(item, failure)]

    def _suppress(self, item: Item, failure: Failure) -> list[Out]:
        record = failure.suppression(item.timestamp_ms, self._unreachable_s)
        if record is None:
            return []
        partition, key = item.tp[1], record["recipient"].encode()
        # Webhooks come out of order: who wrote after the failure can be reached, unless it is for good.
        if record["until"] is not None and wrote_since(self._windows.get(partition, key), failure.at_ms):
            return []
        if not replaces(record, self._suppressions.get(partition, key), item.timestamp_ms):
            return []
        stored = self._suppressions.put(partition, key, record)
        return [Out(SUPPRESSIONS, key, encode(record), traced(SUPPRESSION_SCHEMA, item), partition, stored)]

    def _lift(self, item: Item, recipient: str, said_ms: int) -> list[Out]:
        """A person who writes can be reached: a soft suppression of before ends, by a tombstone."""
        partition, key = item.tp[1], recipient.encode()
        if not is_lifted_by(self._suppressions.get(partition, key), said_ms):
            return []
        stored = self._suppressions.put(partition, key, None)
        return [Out(SUPPRESSIONS, key, None, traced(SUPPRESSION_SCHEMA, item), partition, stored)]

    def _dead(self, item: Item, code: str, message: str) -> list[Out]:
        return [self._dead_letters.of(item, code, message)]


def _is_call(event: dict[str, Any]) -> bool:
    """Whether the person calls: the beginning of a call, taken or not, opens the window; its end does not."""
    return event.get("type") == "call" and event.get("status") == "connect" and event.get("recipient") is not None


def _is_notice(event: dict[str, Any]) -> bool:
    """Whether WhatsApp tells of the person (a new number, a new identity) instead of the person writing."""
    body = event.get("body")
    return isinstance(body, dict) and body.get("type") == "system"


def _message(event: dict[str, Any]) -> tuple[str, str, int]:
    """Number, person and time of a message or call event."""
    number, at = event.get("number"), event.get("at")
    if not isinstance(number, str) or not isinstance(at, str) or len(at) > MAX_TIME_CHARS:
        raise ContractError(["message event: number and at are needed"])
    try:
        return number, normal_recipient(event.get("recipient")), parse_rfc3339_ms(at)
    except (ValueError, OverflowError) as exc:
        raise ContractError([f"message event: {exc}"]) from exc
