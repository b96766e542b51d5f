"""Requests: from the bytes of a record to what the gate writes about it.

Two steps. `prepare` reads, checks the schema, and re-routes what stands on a foreign partition; `judge` decides.
Between the two a request may wait for its place or for fresher knowledge. Both are synchronous and do no I/O but
reading the tables through `View`; they run in the gate's worker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pipeline.clock import rfc3339
from pipeline.config import NumberSettings, Settings
from pipeline.errors import ContractError, DecodeError
from pipeline.gate.admission import Admit, Defer, Facts, Reject, decide, needs_window
from pipeline.gate.campaigns import campaign_word
from pipeline.gate.confirmation import Confirmations
from pipeline.gate.holds import Holds
from pipeline.gate.item import STAGE, DeadLetters, Item, Misplaced, Out, traced
from pipeline.gate.people import Found, People
from pipeline.gate.routing import delayed_topic
from pipeline.gate.state import AccountFacts
from pipeline.gate.suppressed import lapsed
from pipeline.gate.telling import Teller
from pipeline.gate.templates import Templates
from pipeline.gate.view import View
from pipeline.gate.windows import open_until
from pipeline.metrics import Metrics
from pipeline.records import outbound, ready
from pipeline.records.codec import check, decode_object, encode, require_schema
from pipeline.records.consent_rule import Standing, standing
from pipeline.records.request import MAX_METADATA_KEYS, Request, normal_recipient
from pipeline.records.returning import SOURCE_HEADER, Returning, read_returning, returning_headers
from pipeline.streams.partition import lane_of

UPDATES: Final = "consent-updates"
INBOUND: Final = "inbound-events"
MAX_ECHO_CHARS: Final = 128
"""A bad request is told of with its ids, up to this length each; longer ones count as unreadable."""
MAX_DIGITS: Final = 40
_NEEDS: Final = {
    "no_consent": UPDATES, "consent_withdrawn": UPDATES, "window_closed": INBOUND, "template_required": INBOUND,
    "suppressed": INBOUND,
}  # fmt: skip
"""Topic that may hold something newer that lets a refused request go after all, by reason."""
_NO_NUMBER: Final = Standing("none", None)


class Prepared(NamedTuple):
    """A request that can be judged.

    Attributes:
        plain: Its fields as a plain object, normalised, as the ready record carries them.
        person: The id that everything about the person is keyed by.
    """

    item: Item
    request: Request
    plain: dict[str, Any]
    returning: Returning
    source: dict[str, Any]
    person: str


class Wait(NamedTuple):
    """It cannot be refused yet: a topic has to be read to its end first."""

    topic: str


class RequestJudge:
    """Judges requests.

    Args:
        consents: The `consent` table.
        windows: The `service-windows` table.
        suppressions: The `suppressions` table.
        account: What `account-state` says.
        people: Knows who is who.
        holds: What quality and tiers hold back.
    """

    def __init__(
        self,
        settings: Settings,
        consents: View,
        windows: View,
        suppressions: View,
        account: AccountFacts,
        people: People,
        metrics: Metrics,
        holds: Holds,
    ) -> None:
        self._numbers: Mapping[str, NumberSettings] = settings.numbers
        self._ttl_s = settings.policy.ttl_s
        self._consents = consents
        self._windows = windows
        self._suppressions = suppressions
        self._account = account
        self._confirmations = Confirmations(settings)
        self._templates = Templates(settings, account.templates, metrics)
        self._people = people
        self._metrics = metrics
        self._holds = holds
        self._misplaced = Misplaced(metrics)
        self._dead_letters = DeadLetters(metrics)
        self._teller = Teller()

    def prepare(self, item: Item) -> Prepared | list[Out]:
        """Read a request; what cannot be judged is answered at once."""
        self._metrics.requests_consumed.inc()
        raw: dict[str, Any] = {}
        try:
            require_schema(item.headers, "request")
            raw = decode_object(item.value)
            request = check(Request, raw)
            returning = read_returning(item.headers)
        except DecodeError as exc:
            return [self._dead_letters.of(item, exc.code, str(exc))]
        except ContractError as exc:
            readable = identity_of(raw) if exc.code == "contract" else None
            if readable is None:
                return [self._dead_letters.of(item, exc.code, str(exc))]
            return [self._end(item, readable, item.source, Reject("rejected", "invalid", str(exc)), item.timestamp_ms)]
        found = self._people.find(request.to, item.tp[1], item.headers)
        if found.place == "misrouted":
            return [self._dead_letters.of(item, "misrouted", f"re-routed once, still not on partition {found.home}")]
        source = returning.source or item.source
        if found.place == "elsewhere":
            if found.person == request.to:
                self._misplaced.told(item, found.home)
            return [_rerouted(item, found, source, self._people.partitions)]
        return Prepared(item, request, _plain(request, raw), returning, source, found.person)

    def judge(
        self, prepared: Prepared, now_ms: int, is_settled: Callable[[str], bool], heard_ms: int | None
    ) -> list[Out] | Wait:
        """Decide about a request.

        Args:
            is_settled: Whether nothing newer than the request can be missing from a topic.
            heard_ms: Broker time up to which consent updates of its partition are merged; None: not known yet, and
                nothing is admitted. The sender reads on from there.
        """
        item, request, plain, returning, source, person = prepared
        number = self._numbers.get(request.from_)
        key, partition = person.encode(), item.tp[1]
        is_windowed = needs_window(request) or self._holds.needs_window(request.from_)
        window_ms = open_until(self._windows.get(partition, key), request.from_) if is_windowed else None
        allowed = (
            standing(self._consents.get(partition, key), number.business, request.category, request.purpose, now_ms)
            if number is not None
            else _NO_NUMBER
        )
        suppression = self._suppressions.get(partition, key)
        facts = Facts(
            now_ms,
            source["timestamp_ms"],
            number.profile if number is not None else None,
            self._ttl_s[request.category],
            window_ms,
            allowed,
            suppression,
            hold=self._holds.hold_of(request, person, partition, window_ms, now_ms),
            is_confirmation=self._confirmations.lets_through(plain, allowed, now_ms),
            campaign=campaign_word(self._account.get(f"campaign:{request.campaign}")) if request.campaign else None,
            template=self._templates.facts(request),
        )
        decision = decide(request, facts)
        if isinstance(decision, Reject):
            topic = _NEEDS.get(decision.reason)
            if topic is not None and not is_settled(topic):
                return Wait(topic)
            if returning.unknown:
                # An attempt of it may have gone out: it may not end as if it never had.
                return self._lost_track(prepared, decision, now_ms)
            return [self._end(item, plain, source, decision, now_ms, replay=returning.replay)]
        assert number is not None  # noqa: S101  `decide` refuses what has no number
        if heard_ms is None:
            return Wait(UPDATES)
        noted = self._holds.decided(item, request, person, window_ms, decision, now_ms)
        if suppression is not None:
            noted += lapsed(item, person, self._suppressions)
        if isinstance(decision, Defer):
            return [*self._defer(prepared, decision, number, now_ms, heard_ms), *noted]
        return [*self._admit(prepared, decision, number, now_ms, heard_ms), *noted]

    def _admit(self, prepared: Prepared, admit: Admit, number: NumberSettings, now_ms: int, heard_ms: int) -> list[Out]:
        item, request, plain, returning, source, person = prepared
        self._metrics.admitted.labels(admit.priority).inc()
        event = outbound.outbound_event(
            "queued", plain, source, at_ms=now_ms, stage=STAGE, business=number.business, consent=admit.consent,
            attempt=returning.attempt or None,
        )  # fmt: skip
        lane = lane_of(request.from_, person, number.partitions or [0])
        aliases = self._people.ids_of(item.tp[1], person)
        record = _ready(prepared, admit, number.business, lane.key, now_ms, heard_ms, aliases)
        return [
            Out(f"ready-{admit.priority}", lane.key, encode(record), traced(ready.SCHEMA, item), lane.partition),
            self._teller.event(item, request.to, event),
        ]

    def _defer(self, prepared: Prepared, defer: Defer, number: NumberSettings, now_ms: int, heard_ms: int) -> list[Out]:
        item, request, plain, returning, source, person = prepared
        topic = delayed_topic(defer.due_ms - now_ms)
        self._metrics.deferred.labels(topic, defer.reason).inc()
        event = outbound.outbound_event(
            "deferred", plain, source, at_ms=now_ms, stage=STAGE, business=number.business, reason=defer.reason,
            due_at_ms=defer.due_ms, consent=defer.admit.consent, attempt=returning.attempt or None,
        )  # fmt: skip
        lane = lane_of(request.from_, person, number.partitions or [0])
        aliases = self._people.ids_of(item.tp[1], person)
        record = _ready(prepared, defer.admit, number.business, lane.key, now_ms, heard_ms, aliases, defer)
        return [
            Out(topic, lane.key, encode(record), traced(ready.SCHEMA, item), lane.partition),
            self._teller.event(item, request.to, event),
        ]

    def _end(
        self, item: Item, plain: Mapping[str, Any], source: Mapping[str, Any], reject: Reject, now_ms: int, *,
        replay: bool = False,
    ) -> Out:  # fmt: skip
        self._metrics.rejected.labels(reject.reason).inc()
        number = self._numbers.get(plain["from"])
        event = outbound.outbound_event(
            reject.kind, plain, source, at_ms=now_ms, stage=STAGE, reason=reject.reason, detail=reject.detail,
            business=number.business if number is not None else None, consent=reject.consent, replay=replay,
        )  # fmt: skip
        return self._teller.event(item, plain["to"], event)

    def _lost_track(self, prepared: Prepared, reject: Reject, now_ms: int) -> list[Out]:
        """Its end, and its bytes where an operator finds messages of unknown outcome, as the sender keeps its own."""
        self._metrics.rejected.labels(reject.reason).inc()
        number = self._numbers.get(prepared.request.from_)
        detail = f"not tried again: {reject.reason}"
        event = outbound.outbound_event(
            "failed", prepared.plain, prepared.source, at_ms=now_ms, stage=STAGE, reason="outcome_unknown",
            detail=detail, attempt=prepared.returning.attempt or None,
            business=number.business if number is not None else None, consent=reject.consent,
            replay=prepared.returning.replay,
        )  # fmt: skip
        letter = self._dead_letters.of(prepared.item, "outcome_unknown", detail, prepared.returning.attempt)
        return [letter, self._teller.event(prepared.item, prepared.request.to, event)]


def identity_of(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """What can be told of a request that breaks the contract; None if its ids cannot be read."""
    known: dict[str, Any] = {}
    for name in ("request_id", "from", "to"):
        value = raw.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)[:MAX_DIGITS]
        if not isinstance(value, str) or not 0 < len(value) <= MAX_ECHO_CHARS:
            return None
        known[name] = value
    with contextlib.suppress(ValueError):  # else told as it was written: the detail says what is wrong with it
        known["to"] = normal_recipient(known["to"])
    for name in ("category", "purpose", "priority", "campaign"):
        value = raw.get(name)
        known[name] = value if isinstance(value, str) and len(value) <= MAX_ECHO_CHARS else None
    metadata = raw.get("metadata")
    if isinstance(metadata, dict) and len(metadata) <= MAX_METADATA_KEYS:
        known["metadata"] = {
            name: value for name, value in metadata.items() if isinstance(value, str) and len(value) <= MAX_ECHO_CHARS
        }
    return known


def _plain(request: Request, raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "request_id": request.request_id,
        "from": request.from_,
        "to": request.to,
        "category": request.category,
        "purpose": request.purpose,
        "priority": request.effective_priority,
        "campaign": request.campaign,
        "message": raw["message"],
        "not_before": rfc3339(request.not_before) if request.not_before is not None else None,
        "expires_at": rfc3339(request.expires_at) if request.expires_at is not None else None,
        "metadata": request.metadata,
    }


def _ready(
    prepared: Prepared, admit: Admit, business: str, lane: str, now_ms: int, heard_ms: int, aliases: list[str],
    defer: Defer | None = None,
) -> dict[str, Any]:  # fmt: skip
    returning = prepared.returning
    return ready.ready_record(
        prepared.plain,
        prepared.source,
        business=business,
        lane=lane,
        priority=admit.priority,
        judged_ms=now_ms,
        expires_ms=admit.expires_ms,
        valid_until_ms=admit.valid_until_ms,
        valid_cause=admit.valid_cause,
        consent=admit.consent,
        attempt=returning.attempt,
        spent=returning.spent,
        unknown=returning.unknown,
        replay=returning.replay,
        due_ms=defer.due_ms if defer is not None else None,
        reason=defer.reason if defer is not None else None,
        via_gate=defer.via_gate if defer is not None else False,
        person=prepared.person,
        aliases=aliases,
        heard_ms=heard_ms,
    )


def _rerouted(item: Item, found: Found, source: Mapping[str, Any], partitions: int) -> Out:
    """The same bytes on the person's own partition, with where they came from first."""
    kept = [(name, value) for name, value in item.headers or () if name != SOURCE_HEADER]
    first = next(iter(returning_headers(source)))
    return Out(item.topic, found.person, item.value, found.headers([*kept, first], partitions), found.home)
