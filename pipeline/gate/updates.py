"""Consent updates: merged into `consent`, told on `consent-events`. Synchronous; runs in the gate's worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog

from pipeline.clock import parse_rfc3339_ms, rfc3339, steady_s
from pipeline.config import Settings
from pipeline.errors import ContractError, DecodeError
from pipeline.gate.confirmation import Confirmations
from pipeline.gate.erased import CONSENT, is_spent
from pipeline.gate.inbound import SUPPRESSIONS, WINDOW_SCHEMA, WINDOWS
from pipeline.gate.item import DeadLetters, Item, Misplaced, Out, traced
from pipeline.gate.people import Found, People
from pipeline.gate.view import View
from pipeline.gate.windows import wrote_since
from pipeline.logs import Repeats
from pipeline.metrics import Metrics
from pipeline.records.codec import check, decode_object, encode, require_schema, stable_id
from pipeline.records.consent import METHODS, ConsentUpdate
from pipeline.records.consent_rule import Merged, merge
from pipeline.records.request import normal_recipient
from pipeline.streams.topics import retention_ms
from pipeline.whatsapp.suppression import SCHEMA as SUPPRESSION_SCHEMA

log = structlog.get_logger(__name__)

CONSENT_SCHEMA: Final = "consent/1"
CONSENT_EVENTS: Final = "consent-events"
CONSENT_EVENT_SCHEMA: Final = "consent-event/1"
MAX_ECHO_CHARS: Final = 200
MAX_ECHO_NAMES: Final = 20
_INVALID: Final = Merged(None, False, "refused", "invalid", [], [])


class UpdateJudge:
    """Merges updates.

    Args:
        consents: The `consent` table.
        windows: The `service-windows` table.
        suppressions: The `suppressions` table.
        people: Knows who is who.
    """

    def __init__(
        self, settings: Settings, consents: View, windows: View, suppressions: View, people: People, metrics: Metrics
    ) -> None:
        self._windows = windows
        self._suppressions = suppressions
        self._businesses = frozenset(number.business for number in settings.numbers.values())
        self._text = settings.policy.require_evidence_text
        self._consents = consents
        self._confirmations = Confirmations(settings)
        self._people = people
        self._metrics = metrics
        self._repeats = Repeats()
        self._misplaced = Misplaced(metrics)
        self._dead_letters = DeadLetters(metrics)
        self._retention_ms = retention_ms(settings, "consent-updates") or 0

    def apply(self, item: Item) -> list[Out]:
        """Merge one update and tell what came of it; of one that is merged again, only a change is written."""
        if item.topic == CONSENT:
            return self._end_marker(item)
        raw: dict[str, Any] = {}
        try:
            require_schema(item.headers, "consent-update")
            raw = decode_object(item.value)
            update = check(ConsentUpdate, raw)
        except DecodeError as exc:
            return self._dead(item, exc.code, str(exc))
        except ContractError as exc:
            told = identity_of(raw) if exc.code == "contract" else None
            if told is None:
                return self._dead(item, exc.code, str(exc))
            return [_event_out(item, told, _INVALID)] if item.kind == "update" else []
        found = self._people.find(update.recipient, item.tp[1], item.headers)
        if found.place == "misrouted":
            return self._dead(item, "misrouted", f"re-routed once, still not on partition {found.home}")
        if found.place == "elsewhere" and item.kind == "update":
            if found.person == update.recipient:
                self._misplaced.told(item, found.home)
            return [_rerouted(item, found, self._people.partitions)]
        if found.place == "elsewhere":
            return []
        if found.person != update.recipient:
            update = update.model_copy(update={"recipient": found.person})
        return self._merge(item, raw, update)

    def _merge(self, item: Item, raw: Mapping[str, Any], update: ConsentUpdate) -> list[Out]:
        partition, key = item.tp[1], update.recipient.encode()
        merged = merge(
            self._consents.get(partition, key),
            update,
            item.timestamp_ms,
            businesses=self._businesses,
            needs_text=self._text == "reject",
        )
        outs: list[Out] = []
        if merged.changed and merged.consent is not None:
            stored = self._consents.put(partition, key, merged.consent)
            outs.append(Out(CONSENT, key, encode(merged.consent), traced(CONSENT_SCHEMA, item), partition, stored))
        if update.action == "erase" and merged.result == "applied":
            outs += self._forget(item, update, min(update.at, item.timestamp_ms))
        if item.kind == "update":
            self._count(update, merged)
            self._warn(update, merged)
            outs.append(_event_out(item, _told(update), merged))
            if merged.result != "refused":
                outs += self._people.spread(item, raw, update, update.recipient)
            outs += self._confirmations.answer(item, update, merged)
        elif merged.changed:
            log.warning("consent_repaired", partition=partition, offset=item.offset, update_id=update.update_id)
        return outs

    def _end_marker(self, item: Item) -> list[Out]:
        """The marker of an erase of long ago goes, unless something came since the sweep saw it."""
        partition, key = item.tp[1], item.key or b""
        if not is_spent(self._consents.get(partition, key), item.timestamp_ms, self._retention_ms):
            return []
        stored = self._consents.put(partition, key, None)
        return [Out(CONSENT, key, None, traced(CONSENT_SCHEMA, item), partition, stored)]

    def _forget(self, item: Item, update: ConsentUpdate, at_ms: int) -> list[Out]:
        """Tombstones for what else is stored of an erased person, unless it is newer than the erase."""
        partition, key = item.tp[1], update.recipient.encode()
        outs: list[Out] = []
        windows, suppression = self._windows.get(partition, key), self._suppressions.get(partition, key)
        if windows is not None and not wrote_since(windows, at_ms + 1):
            stored = self._windows.put(partition, key, None)
            outs.append(Out(WINDOWS, key, None, traced(WINDOW_SCHEMA, item), partition, stored))
        if suppression is not None and parse_rfc3339_ms(suppression["at"]) <= at_ms:
            stored = self._suppressions.put(partition, key, None)
            outs.append(Out(SUPPRESSIONS, key, None, traced(SUPPRESSION_SCHEMA, item), partition, stored))
        return outs

    def _count(self, update: ConsentUpdate, merged: Merged) -> None:
        if update.action == "revoke" and merged.changed:
            taken = {entry["method"] for entry in merged.before if entry["status"] == "granted"}
            for method in taken:
                self._metrics.consent_opt_outs.labels(method if method in METHODS else "unknown").inc()

    def _warn(self, update: ConsentUpdate, merged: Merged) -> None:
        if self._text != "warn" or update.action != "grant" or merged.result != "applied":
            return
        if update.evidence is None or not update.evidence.text:
            held_back = self._repeats.pass_now("text", steady_s())
            if held_back is not None:
                log.warning("grant_without_text", update_id=update.update_id, suppressed=held_back)

    def _dead(self, item: Item, code: str, message: str) -> list[Out]:
        if item.kind != "update":
            return []
        return [self._dead_letters.of(item, code, message)]


def identity_of(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """What can be told of an update that breaks the contract; None if its person or id cannot be read."""
    try:
        recipient = normal_recipient(raw.get("recipient"))
    except ValueError:
        return None
    update_id = _text_of(raw.get("update_id"))
    if not update_id:
        return None
    return {
        "update_id": update_id,
        "recipient": recipient,
        "business": _text_of(raw.get("business")),
        "categories": _names_of(raw.get("categories")),
        "purposes": _names_of(raw.get("purposes")),
        "action": _text_of(raw.get("action")),
        "evidence": None,
        "at": None,
    }


def _text_of(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= MAX_ECHO_CHARS else None


def _names_of(value: Any) -> list[str]:
    names = value[:MAX_ECHO_NAMES] if isinstance(value, list) else []
    return [name for name in names if isinstance(name, str) and len(name) <= MAX_ECHO_CHARS]


def _told(update: ConsentUpdate) -> dict[str, Any]:
    return {
        "update_id": update.update_id,
        "recipient": update.recipient,
        "business": update.business,
        "categories": update.categories,
        "purposes": update.purposes,
        "action": update.action,
        "evidence": update.evidence.model_dump() if update.evidence is not None else None,
        "at": rfc3339(update.at),
    }


def consent_event(item: Item, told: Mapping[str, Any], merged: Merged) -> dict[str, Any]:
    """Build the consent-event of an update; its id is a function of the update's place alone."""
    return {
        "event_id": stable_id("consent", item.topic, item.tp[1], item.offset),
        **told,
        "result": merged.result,
        "reason": merged.reason,
        "before": merged.before,
        "after": merged.after,
        "origin": {"topic": item.topic, "partition": item.tp[1], "offset": item.offset},
        "recorded_at": rfc3339(item.timestamp_ms),
    }


def _event_out(item: Item, told: Mapping[str, Any], merged: Merged) -> Out:
    event = consent_event(item, told, merged)
    return Out(CONSENT_EVENTS, told["recipient"], encode(event), traced(CONSENT_EVENT_SCHEMA, item))


def _rerouted(item: Item, found: Found, partitions: int) -> Out:
    return Out(item.topic, found.person, item.value, found.headers(item.headers or (), partitions), found.home)
