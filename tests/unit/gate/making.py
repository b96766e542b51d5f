"""Values for tests of the gate: settings, requests, updates, items, judges over tables in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.gate.holds import Holds
from pipeline.gate.inbound import InboundJudge
from pipeline.gate.item import Item, Kind, Out
from pipeline.gate.people import People
from pipeline.gate.requests import Prepared, RequestJudge, Wait
from pipeline.gate.state import AccountFacts
from pipeline.gate.tiers import Tiers
from pipeline.gate.updates import UpdateJudge
from pipeline.gate.view import View
from pipeline.gate.windows import is_windows
from pipeline.gate.worker import Judges
from pipeline.metrics import Metrics
from pipeline.records.alias import is_alias
from pipeline.records.codec import check
from pipeline.records.consent import ConsentUpdate
from pipeline.records.consent_rule import is_consent
from pipeline.streams.partition import partition_of
from pipeline.whatsapp.suppression import is_suppression

PARTITIONS = 12
NUMBER, OTHER = "200000000000001", "200000000000002"
ADA = "15550109999"
NOW_MS = parse_rfc3339_ms("2026-11-22T10:00:00.000Z")
TOPICS: dict[Kind, str] = {
    "urgent": "outbound-requests-urgent", "normal": "outbound-requests", "update": "consent-updates",
    "remerge": "consent-updates", "inbound": "inbound-events",
}  # fmt: skip


def settings(**sections: Any) -> Settings:
    """Settings with two numbers: a cloud one on two lanes and a v1 one; an empty registry of templates passes."""
    number = {"base_url": "https://api.invalid", "token_env": "TOKEN"}
    values: dict[str, Any] = {
        "kafka": {"topic_prefix": "t-"},
        "numbers": {
            NUMBER: {**number, "business": "acme", "profile": "cloud", "partitions": [4, 5]},
            OTHER: {**number, "business": "zeta", "profile": "v1", "partitions": [6]},
        },
        **sections,
    }
    values["policy"] = {"require_templates": False, **values.get("policy", {})}
    return Settings(**values)


def template() -> dict[str, Any]:
    """A template message."""
    return {"type": "template", "template": {"name": "order_shipped", "language": {"code": "en_US"}}}


def text() -> dict[str, Any]:
    """A free-form message."""
    return {"type": "text", "text": {"body": "hello"}}


def request(**fields: Any) -> dict[str, Any]:
    """A request that is good but for consent; a field given as `...` is left out."""
    whole = {
        "request_id": "r-1", "from": NUMBER, "to": ADA, "category": "utility", "purpose": "order-updates",
        "message": template(), "metadata": {"shop": "berlin"}, **fields,
    }  # fmt: skip
    return {name: value for name, value in whole.items() if value is not ...}


def update(**fields: Any) -> dict[str, Any]:
    """A grant of utility messages; a field given as `...` is left out."""
    whole = {
        "update_id": "u-1", "recipient": ADA, "business": "acme", "action": "grant", "categories": ["utility"],
        "purposes": ["*"], "at": "2026-11-20T08:00:00.000Z",
        "evidence": {"method": "checkbox", "actor": "user", "source": "https://shop.example", "text": "yes"}, **fields,
    }  # fmt: skip
    return {name: value for name, value in whole.items() if value is not ...}


def checked(**fields: Any) -> ConsentUpdate:
    """The same as a checked record."""
    return check(ConsentUpdate, update(**fields))


def message_event(**fields: Any) -> dict[str, Any]:
    """A person's message, as the ingress writes it."""
    return {
        "event_id": "e-1", "type": "message", "at": "2026-11-22T09:59:00.000Z", "number": NUMBER, "recipient": ADA,
        "message_id": "wamid.in", **fields,
    }  # fmt: skip


def item(
    kind: Kind,
    value: Any,
    *,
    partition: int | None = None,
    offset: int = 0,
    headers: Any = (),
    key: bytes | None = ADA.encode(),
    timestamp_ms: int = NOW_MS,
    read_at_s: float = 0.0,
) -> Item:
    """A record as an agent brings it; on Ada's partition unless said otherwise."""
    raw = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    home = partition_of(ADA, PARTITIONS) if partition is None else partition
    tp = ("t-" + TOPICS[kind], home)
    return Item(kind, TOPICS[kind], tp, offset, timestamp_ms, key, raw, headers, read_at_s)


class Tables:
    """The tables in memory and the judges over them."""

    def __init__(self, **sections: Any) -> None:
        self.settings = settings(**sections)
        self.stored: dict[str, dict[tuple[int, bytes], bytes]] = {
            "consent": {}, "service-windows": {}, "suppressions": {}, "recipient-aliases": {},
        }  # fmt: skip
        self.applied = dict.fromkeys(self.stored, -1)
        self.metrics = Metrics()
        self.account = AccountFacts()
        self.consents = self._view("consent", is_consent)
        self.windows = self._view("service-windows", is_windows)
        self.suppressions = self._view("suppressions", is_suppression)
        self.aliases = self._view("recipient-aliases", is_alias)
        self.people = People(PARTITIONS, self.aliases, self.consents)
        self.tiers = Tiers(self.settings, PARTITIONS, self.account, self.metrics)
        self.requests = RequestJudge(
            self.settings, self.consents, self.windows, self.suppressions, self.account, self.people, self.metrics,
            Holds(self.settings, self.account, self.tiers),
        )  # fmt: skip
        self.updates = UpdateJudge(
            self.settings, self.consents, self.windows, self.suppressions, self.people, self.metrics
        )
        self.inbound = InboundJudge(
            self.settings, self.windows, self.suppressions, self.people, self.metrics, self.consents
        )
        tables = (self.consents, self.windows, self.suppressions, self.aliases)
        self.judges = Judges(self.requests, self.updates, self.inbound, self.consents, tables)

    def _view(self, name: str, is_sound: Callable[[Mapping[str, Any]], bool]) -> View:
        stored = self.stored[name]
        return View(lambda p, k: stored.get((p, k)), lambda _p: self.applied[name], is_sound)

    def grant(self, **fields: Any) -> None:
        """Let a consent update be merged."""
        self.updates.apply(item("update", update(**fields)))

    def judge(self, value: Any, *, settled: bool = True, now_ms: int = NOW_MS, **fields: Any) -> list[Out] | Wait:
        """Judge a request as the worker does."""
        prepared = self.requests.prepare(item("normal", value, **fields))
        return (
            self.requests.judge(prepared, now_ms, lambda _topic: settled, now_ms)
            if isinstance(prepared, Prepared)
            else prepared
        )

    def outcome(self, value: Any, **fields: Any) -> dict[str, Any]:
        """The event that a request ends in or is queued with."""
        outs = self.judge(value, **fields)
        assert not isinstance(outs, Wait)
        return body(next(out for out in outs if out.topic == "outbound-events"))


def body(out: Out) -> dict[str, Any]:
    """The value of a record as an object."""
    assert out.value is not None
    value: dict[str, Any] = orjson.loads(out.value)
    return value
