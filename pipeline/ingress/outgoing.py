"""What one webhook becomes on Kafka: inbound events, opt-outs, states, verified numbers, a dead letter. No I/O.

Called once per authentic call, on the ingress' loop; the clock's reading comes in with the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pipeline.clock import rfc3339
from pipeline.config import Settings
from pipeline.ingress.names import NumberNames
from pipeline.ingress.states import States
from pipeline.metrics import Metrics
from pipeline.records.account import SCHEMA as ACCOUNT_SCHEMA
from pipeline.records.alias import id_of, links_header
from pipeline.records.codec import Headers, encode, headers_for
from pipeline.records.deadletter import dead_letter_headers
from pipeline.records.inbound import KIND_HEADER, kind_of
from pipeline.records.inbound import SCHEMA as INBOUND_SCHEMA
from pipeline.records.withdrawal import revoke
from pipeline.whatsapp.aliases import links_of
from pipeline.whatsapp.codes import code_row
from pipeline.whatsapp.news import news_of
from pipeline.whatsapp.optout import OptOut, opt_out_of
from pipeline.whatsapp.webhooks import WebhookError, parse_webhook

CONSENT_UPDATE_SCHEMA: Final = "consent-update/1"
# A broker takes records up to 1 MiB on topics that say nothing else; the rest is room for key, headers and framing.
MAX_EVENT_BYTES = 900_000
STATUS_LABELS: Final = frozenset({"sending", "sent", "delivered", "read", "played", "failed", "deleted", "warning"})
"""Statuses that WhatsApp publishes for both shapes; anything else counts as `other`."""


class Outgoing(NamedTuple):
    """One record to write; `topic` is the full name."""

    topic: str
    key: str | None
    value: bytes
    headers: Headers


@dataclass(slots=True)
class Webhook:
    """What one authentic call comes to.

    Attributes:
        records: To be on Kafka, all of them, before the call is answered.
        numbers: Configured numbers that it speaks for.
        statuses: Values of `status` of its status updates, as metric labels.
        undelivered: Codes of its `failed` ones, as metric labels.
        opt_outs: Ways of its opt-outs.
        orphans: Opt-outs for which no business or no person could be told.
        dead_code: Code of the dead letter among the records, None if there is none.
    """

    records: list[Outgoing] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)
    statuses: list[str] = field(default_factory=list)
    undelivered: list[str] = field(default_factory=list)
    opt_outs: list[str] = field(default_factory=list)
    orphans: int = 0
    dead_code: str | None = None

    def count(self, metrics: Metrics) -> None:
        """Count what is on Kafka now."""
        for status in self.statuses:
            metrics.statuses.labels(status).inc()
        for code in self.undelivered:
            metrics.undelivered.labels(code).inc()
        for way in self.opt_outs:
            metrics.opt_outs.labels(way).inc()
        if self.dead_code is not None:
            metrics.dead_letters.labels("ingress", self.dead_code).inc()


class Translator:
    """Turns bodies into records by the settings of this ingress.

    Args:
        states: What `account-state` says by now; None: nothing.
    """

    def __init__(self, settings: Settings, states: States | None = None) -> None:
        self._states = states if states is not None else States()
        self._names = NumberNames(settings)
        self._inbound = settings.topic("inbound-events")
        self._updates = settings.topic("consent-updates")
        self._account = settings.topic("account-state")
        self._dead = settings.topic("dead-letter")
        self._business = {number: one.business for number, one in settings.numbers.items()}
        owners = set(self._business.values())
        self._sole_business = owners.pop() if len(owners) == 1 else None
        self._keywords = frozenset(settings.policy.stop_keywords)
        self._payloads: Mapping[str, Any] = settings.policy.opt_out_payloads
        self._revokes = settings.policy.stop_revokes

    def webhook(self, raw: bytes, now_ms: int, number: str | None, *, only_own: bool) -> Webhook:
        """Translate a body; one that is no webhook becomes a dead letter, never an error.

        Args:
            raw: The body as received, authentic.
            now_ms: When it arrived, ms since 1970.
            number: Number id in the path, if any.
            only_own: The call may speak for `number` only, because it was not signed by the app.
        """
        try:
            events = parse_webhook(raw, received_at=rfc3339(now_ms), number=number)
            if only_own:
                _require_own(events, number)
        except WebhookError as exc:
            letter = self._dead_letter(raw, now_ms, number, "bad_webhook", exc.reason)
            return Webhook(records=[letter], dead_code="bad_webhook")
        result = Webhook(numbers=self._numbers(events, number))
        for event in events:
            self._add(result, event)
        if any(event["body"] is _LEFT_OUT for event in events):
            why = f"an event is larger than {MAX_EVENT_BYTES} bytes; it is on inbound-events without its body"
            result.records.append(self._dead_letter(raw, now_ms, number, "too_large", why))
            result.dead_code = "too_large"
        return result

    def verified(self, numbers: Iterable[str], now_ms: int) -> list[Outgoing]:
        """State records that say: the webhook of these numbers works."""
        headers = headers_for(ACCOUNT_SCHEMA)
        return [
            Outgoing(self._account, f"number:{number}/webhook", encode(_verified_state(number, now_ms)), headers)
            for number in numbers
        ]

    def _numbers(self, events: Sequence[Mapping[str, Any]], number: str | None) -> set[str]:
        named = {event["number"] for event in events} | {number}
        return {one for one in named if one in self._business}

    def _add(self, result: Webhook, event: dict[str, Any]) -> None:
        recipient = _recipient_of(event)
        if recipient is not None:
            event["recipient"] = recipient
        opt_out = opt_out_of(event, keywords=self._keywords, payloads=self._payloads, stop_revokes=self._revokes)
        if event["type"] == "status":
            result.statuses.append(event["status"] if event["status"] in STATUS_LABELS else "other")
            if event["status"] == "failed":
                result.undelivered.append(_code_label(event["error_code"]))
        if opt_out is not None:
            self._add_opt_out(result, event, opt_out, recipient)
        event["number"] = event["number"] or self._names.number_of(event)
        for key, state in self._states.renew(news_of(event)).items():
            result.records.append(Outgoing(self._account, key, encode(state), headers_for(ACCOUNT_SCHEMA)))
        links = links_of(event)
        named = [links_header(links)] if links else []
        headers = headers_for(INBOUND_SCHEMA, extra=[(KIND_HEADER, kind_of(event)), *named])
        result.records.append(Outgoing(self._inbound, _key_of(event), _bounded(event), headers))

    def _add_opt_out(self, result: Webhook, event: Mapping[str, Any], opt_out: OptOut, recipient: str | None) -> None:
        business = self._business.get(event["number"] or "", self._sole_business)
        if business is None or recipient is None:
            result.orphans += 1
            return
        update = revoke(
            f"in-{event['event_id']}",
            recipient,
            business,
            categories=opt_out.categories,
            purposes=opt_out.purposes,
            at=opt_out.at,
            method=opt_out.method,
            source=event["message_id"] or event["event_id"],
            reference=event["event_id"],
        )
        headers = headers_for(CONSENT_UPDATE_SCHEMA)
        result.records.append(Outgoing(self._updates, recipient, encode(update), headers))
        other = id_of(event["user_id"])
        if other is not None and other != recipient:
            # Nobody may know by now that the two are one person, and upstream may write to either.
            update |= {"update_id": f"{update['update_id']}-user", "recipient": other}
            result.records.append(Outgoing(self._updates, other, encode(update), headers))
        result.opt_outs.append(opt_out.way)

    def _dead_letter(self, raw: bytes, now_ms: int, number: str | None, code: str, message: str) -> Outgoing:
        headers = dead_letter_headers(
            topic="",
            partition=None,
            offset=None,
            stage="ingress",
            code=code,
            message=message,
            attempts=1,
            timestamp_ms=now_ms,
            original=None,
        )
        return Outgoing(self._dead, number, raw, headers)


_LEFT_OUT: Final[dict[str, Any]] = {"too_large": True}


def _bounded(event: dict[str, Any]) -> bytes:
    """The event's bytes; one that no broker would take goes without what is large in it."""
    value = encode(event)
    if len(value) <= MAX_EVENT_BYTES:
        return value
    event.update(body=_LEFT_OUT, errors=[], pricing=None)
    return encode(event)


def _require_own(events: Iterable[Mapping[str, Any]], number: str | None) -> None:
    if any(event["number"] != number for event in events):
        raise WebhookError("speaks for another number than the one in its path")


def _verified_state(number: str, now_ms: int) -> dict[str, Any]:
    return {
        "kind": "number", "id": number, "aspect": "webhook", "verified": True, "at": rfc3339(now_ms), "by": "ingress",
    }  # fmt: skip


def _recipient_of(event: Mapping[str, Any]) -> str | None:
    """The person as records are keyed; None for a group, or if nothing names the person."""
    return id_of(event["recipient"])


def _key_of(event: Mapping[str, Any]) -> str:
    """Person, else number, else the account (the id of the envelope's entry), else the event itself."""
    account = event["body"].get("id") if event["type"] not in {"status", "message"} else None
    candidates = (event["recipient"], event["number"], account, event["event_id"])
    return next(key for key in candidates if isinstance(key, str) and key)


def _code_label(code: int | None) -> str:
    if code is None:
        return "none"
    return str(code) if code_row(code) is not None else "other"
