"""What one webhook becomes on Kafka: inbound events, opt-outs, states, verified numbers, a dead letter. No I/O.

Called once per authentic call, on the ingress' loop; the clock's reading comes in with the call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pipeline.clock import rfc3339
from pipeline.config import Settings
from pipeline.ingress.access import Voice
from pipeline.ingress.names import NumberNames
from pipeline.ingress.recent import Recent
from pipeline.ingress.states import States
from pipeline.metrics import Metrics
from pipeline.records.account import SCHEMA as ACCOUNT_SCHEMA
from pipeline.records.alias import id_of, links_header
from pipeline.records.codec import Headers, encode, headers_for
from pipeline.records.deadletter import dead_letter_headers
from pipeline.records.inbound import KIND_HEADER, kind_of
from pipeline.records.inbound import SCHEMA as INBOUND_SCHEMA
from pipeline.records.withdrawal import revoke, update_id_of
from pipeline.tracing import OFF, Span, SpanKind, Status, StatusCode, Tracing, traceparent_of
from pipeline.whatsapp import stop_words
from pipeline.whatsapp.aliases import links_of
from pipeline.whatsapp.callback import trace_in
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
        returns: Ways of what takes an opt-out back.
        orphans: Opt-outs for which no business or no person could be told.
        dead_code: Code of the dead letter among the records, None if there is none.
        event_ids: Of the events among the records.
        spans: Of its statuses, in the traces of their messages; they end when Kafka has all records.
        repeats: Events that were left out, as they were stored a moment ago.
    """

    records: list[Outgoing] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)
    statuses: list[str] = field(default_factory=list)
    undelivered: list[str] = field(default_factory=list)
    opt_outs: list[str] = field(default_factory=list)
    returns: list[str] = field(default_factory=list)
    orphans: int = 0
    dead_code: str | None = None
    event_ids: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    repeats: int = 0

    def count(self, metrics: Metrics) -> None:
        """Count what is on Kafka now."""
        for status in self.statuses:
            metrics.statuses.labels(status).inc()
        for code in self.undelivered:
            metrics.undelivered.labels(code).inc()
        for way in self.opt_outs:
            metrics.opt_outs.labels(way).inc()
        if self.repeats:
            metrics.webhook_repeats.inc(self.repeats)
        for way in self.returns:
            metrics.returns.labels(way).inc()
        if self.dead_code is not None:
            metrics.dead_letters.labels("ingress", self.dead_code).inc()


class Translator:
    """Turns bodies into records by the settings of this ingress.

    Args:
        states: What `account-state` says by now; None: nothing.
        tracing: Follows statuses of messages whose callback data names their trace.
    """

    def __init__(self, settings: Settings, states: States | None = None, tracing: Tracing = OFF) -> None:
        self._tracing = tracing
        self._states = states if states is not None else States()
        self._names = NumberNames(settings)
        self._recent = Recent(settings.ingress.dedupe_s)
        self._inbound = settings.topic("inbound-events")
        self._updates = settings.topic("consent-updates")
        self._account = settings.topic("account-state")
        self._dead = settings.topic("dead-letter")
        self._business = {number: one.business for number, one in settings.numbers.items()}
        self._known = frozenset(settings.numbers) | {one.account for one in settings.numbers.values() if one.account}
        owners = set(self._business.values())
        self._sole_business = owners.pop() if len(owners) == 1 else None
        policy = settings.policy
        self._stops = stop_words.stops(policy.keyword_languages, policy.stop_keywords)
        self._starts = stop_words.starts(policy.keyword_languages, policy.start_keywords)
        self._payloads: Mapping[str, Any] = policy.opt_out_payloads
        self._revokes = policy.stop_revokes

    def webhook(self, raw: bytes, now_ms: int, number: str | None, voice: Voice) -> Webhook:
        """Translate a body; one that is no webhook becomes a dead letter, never an error.

        Args:
            raw: The body as received, authentic.
            now_ms: When it arrived, ms since 1970.
            number: Number id in the path, if any.
            voice: Whom the call may speak for.
        """
        try:
            events = parse_webhook(raw, received_at=rfc3339(now_ms), number=number)
            _require_own(events, voice, self._known)
        except WebhookError as exc:
            letter = self._dead_letter(raw, now_ms, number, "bad_webhook", exc.reason)
            return Webhook(records=[letter], dead_code="bad_webhook")
        result = Webhook(numbers=self._numbers(events, number))
        now_s = now_ms / 1000
        for event in events:
            if self._recent.knows(event["event_id"], now_s):
                result.repeats += 1
                continue
            result.event_ids.append(event["event_id"])
            self._add(result, event, now_ms)
        if any(event["body"] is _LEFT_OUT for event in events):
            why = f"an event is larger than {MAX_EVENT_BYTES} bytes; it is on inbound-events without its body"
            result.records.append(self._dead_letter(raw, now_ms, number, "too_large", why))
            result.dead_code = "too_large"
        return result

    def stored(self, webhook: Webhook, now_ms: int) -> None:
        """Know that Kafka has all records of a webhook."""
        self._recent.stored(webhook.event_ids, now_ms / 1000)
        for span in webhook.spans:
            span.end()

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

    def _add(self, result: Webhook, event: dict[str, Any], now_ms: int) -> None:
        recipient = _recipient_of(event)
        if recipient is not None:
            event["recipient"] = recipient
        opt_out = opt_out_of(
            event, stops=self._stops, payloads=self._payloads, starts=self._starts, stop_revokes=self._revokes
        )
        trace = None
        if event["type"] == "status":
            trace = self._trace(result, event, now_ms)
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
        headers = headers_for(INBOUND_SCHEMA, trace, [(KIND_HEADER, kind_of(event)), *named])
        result.records.append(Outgoing(self._inbound, _key_of(event), _bounded(event), headers))

    def _trace(self, result: Webhook, event: Mapping[str, Any], now_ms: int) -> bytes | None:
        """Trace context of a status: that of its message's request to the API, or of a span of its own below that."""
        trace = trace_in(event["body"].get("biz_opaque_callback_data"))
        if trace is None or not self._tracing.is_on:
            return trace
        said = event["status"] if event["status"] in STATUS_LABELS else "other"
        attributes = {
            "wapipe.number": event["number"],
            "wapipe.request_id": event["request_id"],
            "wapipe.attempt": event["attempt"],
            "wapipe.status": said,
            "wapipe.error_code": event["error_code"],
        }
        span = self._tracing.begin(f"webhook {said}", SpanKind.CONSUMER, trace, now_ms, attributes)
        if said == "failed":
            span.set_status(Status(StatusCode.ERROR, said))
        result.spans.append(span)
        return traceparent_of(span)

    def _add_opt_out(self, result: Webhook, event: Mapping[str, Any], opt_out: OptOut, recipient: str | None) -> None:
        business = self._business.get(event["number"] or "", self._sole_business)
        if business is None or recipient is None:
            result.orphans += 1
            return
        update = revoke(
            update_id_of(event["event_id"]),
            recipient,
            business,
            categories=opt_out.categories,
            purposes=opt_out.purposes,
            at=opt_out.at,
            method=opt_out.method,
            source=event["message_id"] or event["event_id"],
            reference=event["event_id"],
            action=opt_out.action,
            number=event["number"] if event["type"] == "message" else None,
            language=opt_out.language,
        )
        headers = headers_for(CONSENT_UPDATE_SCHEMA)
        result.records.append(Outgoing(self._updates, recipient, encode(update), headers))
        other = id_of(event["user_id"])
        if other is not None and other != recipient:
            # Nobody may know by now that the two are one person, and upstream may write to either.
            update |= {"update_id": f"{update['update_id']}-user", "recipient": other}
            result.records.append(Outgoing(self._updates, other, encode(update), headers))
        (result.opt_outs if opt_out.action == "revoke" else result.returns).append(opt_out.way)

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


def _require_own(events: Iterable[Mapping[str, Any]], voice: Voice, known: Collection[str]) -> None:
    if not all(voice.may_tell(event["number"], _account_of(event), known) for event in events):
        raise WebhookError("speaks for a number or account that its signature or path is not for")


def _account_of(event: Mapping[str, Any]) -> str | None:
    """The account that an event of the Cloud envelope came for: the id of its entry."""
    account = event["body"].get("id") if event["type"] not in {"status", "message"} else None
    return account if isinstance(account, str) else None


def _verified_state(number: str, now_ms: int) -> dict[str, Any]:
    return {
        "kind": "number", "id": number, "aspect": "webhook", "verified": True, "at": rfc3339(now_ms), "by": "ingress",
    }  # fmt: skip


def _recipient_of(event: Mapping[str, Any]) -> str | None:
    """The person as records are keyed; None for a group, or if nothing names the person."""
    return id_of(event["recipient"])


def _key_of(event: Mapping[str, Any]) -> str:
    """Person, else number, else the account (the id of the envelope's entry), else the event itself."""
    candidates = (event["recipient"], event["number"], _account_of(event), event["event_id"])
    return next(key for key in candidates if isinstance(key, str) and key)


def _code_label(code: int | None) -> str:
    if code is None:
        return "none"
    return str(code) if code_row(code) is not None else "other"
