"""The events of messages in time order and in words, and what a message waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.records.reasons import REASONS, TERMINAL
from pipeline.whatsapp.codes import code_row

Origin = Literal["request", "outbound", "inbound", "letter", "audit"]
Event = Mapping[str, Any]
Style = Literal["good", "bad", "wait", "plain"]

_ORIGIN_RANK: dict[Origin, int] = {"request": 0, "outbound": 1, "inbound": 2, "letter": 3, "audit": 4}
_STYLES: dict[str, Style] = {
    "accepted": "good", "sent": "good", "delivered": "good", "read": "good",
    "rejected": "bad", "failed": "bad", "expired": "bad", "cancelled": "bad", "undelivered": "bad",
    "deferred": "wait", "duplicate": "wait", "dead-letter": "bad", "replay": "wait",
}  # fmt: skip
_STATUS_RANK = {"sent": 0, "delivered": 1, "read": 2, "failed": 3}


@dataclass(frozen=True, slots=True)
class Step:
    """One point of a timeline.

    Attributes:
        at_ms: When it happened; for a webhook: when it came in.
        origin: Which topic it comes from.
        event: The record's value.
        place: `topic[partition]@offset` of the record.
    """

    at_ms: int
    origin: Origin
    event: Event
    place: str = ""

    @property
    def kind(self) -> str:
        """One word for what happened: an event type, a delivery status, `request`, or an inbound type."""
        if self.origin == "request":
            return "request"
        if self.origin == "inbound" and self.event.get("type") == "status":
            return str(self.event.get("status"))
        return str(self.event.get("type"))

    @property
    def style(self) -> Style:
        """How its word is coloured."""
        return _STYLES.get(self.kind, "plain")

    @property
    def is_terminal(self) -> bool:
        """Whether it ends its request: nothing more comes of it by itself."""
        if self.origin in ("letter", "audit"):
            return self.kind != "replay"
        return self.origin == "outbound" and self.event.get("type") in TERMINAL

    @property
    def request(self) -> tuple[str | None, str | None]:
        """Number and request id that it belongs to; None where unknown."""
        number = self.event.get("from") if self.origin == "request" else self.event.get("number")
        return number, self.event.get("request_id")


def step_of(origin: Origin, event: Event, broker_ms: int, place: str = "") -> Step:
    """A step from a record; the broker's time stands in for a time that is missing or unreadable.

    WhatsApp's own times are whole seconds: a failure would stand before the answer of that second. So what a webhook
    told is placed by when it came.
    """
    name = {"request": None, "outbound": "at", "inbound": "received_at", "letter": None, "audit": "at"}[origin]
    if event.get("type") == "undelivered":
        name = None
    try:
        at_ms = parse_rfc3339_ms(str(event.get(name))) if name else broker_ms
    except ValueError:
        at_ms = broker_ms
    return Step(at_ms, origin, event, place)


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Steps in time order, each event once: a re-written event and a redelivered webhook have the same id."""
    seen: set[str] = set()
    once = []
    for step in steps:
        event_id = step.event.get("event_id")
        if isinstance(event_id, str):
            if event_id in seen:
                continue
            seen.add(event_id)
        once.append(step)
    return sorted(once, key=lambda step: (step.at_ms, _ORIGIN_RANK[step.origin], _STATUS_RANK.get(step.kind, 0)))


def describe(step: Step) -> str:
    """What happened, in words for a person; never the text of a message."""
    if step.origin == "request":
        return f"written to {step.place}"
    if step.origin == "inbound":
        return _describe_inbound(step.event)
    if step.origin == "letter":
        event = step.event
        return (
            f"{event['code']}, by the {event['stage']}: {event['message']}; wapipe dead-letters show {event['letter']}"
        )
    if step.origin == "audit":
        return f"{step.event['letter']} by {step.event['actor']}: {step.event['reason']}"
    return _describe_outbound(step.event)


def _describe_outbound(event: Event) -> str:
    kind, reason = event.get("type"), event.get("reason")
    parts: list[str] = []
    if reason is not None:
        known = REASONS.get(str(reason))
        parts.append(f"{reason}: {known.meaning}" if known else str(reason))
    if event.get("detail"):
        parts.append(str(event["detail"]))
    if kind == "queued":
        parts.append(f"admitted, priority {event.get('priority')}")
    if kind == "accepted":
        parts.append(f"the API took it as {event.get('message_id')}")
    if event.get("due_at"):
        parts.append(f"due {event['due_at']}")
    if event.get("attempt"):
        parts.append(f"attempt {event['attempt']}")
    if kind == "undelivered" and event.get("message_id"):
        parts.append(str(event["message_id"]))
    if event.get("http_status") is not None:
        parts.append(f"HTTP {event['http_status']}")
    parts.extend(_code(event))
    names = (("queue_ms", "queue {} ms"), ("api_ms", "API {} ms"))
    parts.extend(form.format(event[name]) for name, form in names if event.get(name) is not None)
    return ", ".join(parts)


def _code(event: Event) -> list[str]:
    """An error code with what it means, if the event has one."""
    code = event.get("error_code")
    if code is None:
        return []
    row = code_row(code) if isinstance(code, int) else None
    return [f"code {code} ({row.meaning})" if row is not None else f"code {code}"]


def _describe_inbound(event: Event) -> str:
    if event.get("type") == "status":
        parts = [f"webhook, happened {event.get('at')}"]
    else:
        parts = ["written by the person" if event.get("type") == "message" else "webhook"]
    parts.extend(_code(event))
    errors = event.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    if first.get("title"):
        parts.append(str(first["title"]))
    return ", ".join(parts)


def unfinished(steps: Sequence[Step]) -> list[Step]:
    """The last step that says something about progress, of each request that has no terminal event."""
    last: dict[tuple[str | None, str | None], Step] = {}
    for step in steps:
        if step.origin == "inbound" or step.kind in {"duplicate", "undelivered"}:
            continue
        known = last.get(step.request)
        if known is None or not known.is_terminal or step.kind == "replay":
            last[step.request] = step
    return [step for step in last.values() if not step.is_terminal]


def campaign_sentence(last: Step, states: Mapping[str, Event]) -> str | None:
    """Why a request's campaign holds it; None: it has none, or that runs."""
    name = last.event.get("campaign")
    state = states.get(f"campaign:{name}")
    if name is None or state is None or state.get("state") not in ("paused", "cancelled"):
        return None
    what = f"campaign {name} is {state['state']} since {state.get('at')} by {state.get('by')} ({state.get('reason')})"
    if state["state"] == "cancelled":
        return f"{last.request[1]}: its {what}; it ends when a gate or sender comes to it"
    return f"{last.request[1]}: its {what}; remedy: wapipe campaigns resume {name}"


def waits_for(last: Step, stops: Sequence[str], now_ms: int) -> str:
    """What a request waits for, as one sentence.

    Args:
        last: Its last step.
        stops: Why its number stands still, as `stops_of` says.
        now_ms: This host's time.
    """
    number, request_id = last.request
    since_s = max(0, now_ms - last.at_ms) / 1000
    if last.origin in ("request", "audit"):
        again = "was replayed and " if last.origin == "audit" else ""
        return f"{request_id} {again}waits for a gate to judge it, for {since_s:.0f} s; is `wapipe gate` running?"
    where = f"{request_id} waits in number {number}'s lane, priority {last.event.get('priority')}"
    if last.kind == "deferred":
        reason = last.event.get("reason")
        known = REASONS.get(str(reason))
        where = f"{request_id} is tried again at {last.event.get('due_at')} ({known.meaning if known else reason})"
    if stops:
        return f"{where}; the number stands still: {'; '.join(stops)}"
    if last.kind == "deferred":
        return where
    return f"{where}, for {since_s:.0f} s: its turn within the rate limit; is `wapipe sender` running?"


def stops_of(number: str, states: Mapping[str, Event], *, require_webhook: bool, now_ms: int) -> list[str]:
    """Why a number sends nothing now, by `account-state`; each begins with the word that metrics use.

    Args:
        states: Newest value by key; deleted ones left out.
    """
    stops = []
    for key, state in states.items():
        if key.startswith(f"number:{number}/halt/") and state.get("halted"):
            until = state.get("until")
            if until is None or _ms_or(until, now_ms + 1) > now_ms:
                stops.append(f"{state.get('reason')}: the API said so{f', next try {until}' if until else ''}")
    pause = states.get(f"number:{number}/pause")
    if pause is not None and pause.get("paused"):
        what = ", ".join(pause.get("priorities") or ("everything",))
        stops.append(f"operator: {what} paused since {pause.get('at')} by {pause.get('by')} ({pause.get('reason')})")
    webhook = states.get(f"number:{number}/webhook")
    if require_webhook and not (webhook and webhook.get("verified")):
        stops.append(f"webhook: not verified yet; remedy: wapipe webhooks check {number}")
    return stops


def _ms_or(text: object, default: int) -> int:
    try:
        return parse_rfc3339_ms(str(text))
    except ValueError:
        return default


def as_json(step: Step) -> dict[str, Any]:
    """A step for machines: its moment, where it comes from, and the record as it is."""
    return {
        "at": rfc3339(step.at_ms),
        "origin": step.origin,
        "what": step.kind,
        "place": step.place,
        "event": step.event,
    }
