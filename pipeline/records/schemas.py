"""What the contract looks like to others: JSON Schema 2020-12 per record, an AsyncAPI 3 document, examples.

All of it is made from the models and the table of reasons; `schemas/` holds the result and a test compares the two.
`export` and `drift` read and write files; the rest is pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from pipeline.records import deadletter, examples
from pipeline.records.account import (
    AlertState,
    Alias,
    AuditEvent,
    BanState,
    CampaignState,
    CapabilityState,
    HaltState,
    LimitsState,
    MarketingState,
    MarkState,
    OverrideState,
    PauseState,
    PreflightState,
    QualityState,
    RestrictionState,
    ReviewState,
    Suppression,
    TemplateDefinition,
    TemplatesState,
    TemplateState,
    TierRecipient,
    WebhookState,
)
from pipeline.records.consent import Consent, ConsentEvent, ConsentUpdate
from pipeline.records.inbound import InboundEvent, ServiceWindow
from pipeline.records.lanes import LanesState
from pipeline.records.layout import LayoutState
from pipeline.records.ledger import LedgerRecord
from pipeline.records.outbound import OutboundEvent
from pipeline.records.ready import Ready
from pipeline.records.reasons import REASONS, TERMINAL, TYPES, reasons_of
from pipeline.records.request import Request

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENT = "asyncapi.json"
MAJOR = 1

AccountState = Annotated[
    WebhookState
    | HaltState
    | MarketingState
    | MarkState
    | PreflightState
    | OverrideState
    | QualityState
    | LimitsState
    | CapabilityState
    | RestrictionState
    | BanState
    | AlertState
    | ReviewState
    | TemplateState
    | CampaignState
    | PauseState
    | TemplateDefinition
    | TemplatesState
    | LayoutState
    | LanesState,
    Field(discriminator="aspect"),
]
MODELS: dict[str, TypeAdapter[Any]] = {
    "request": TypeAdapter(Request),
    "consent-update": TypeAdapter(ConsentUpdate),
    "consent": TypeAdapter(Consent),
    "consent-event": TypeAdapter(ConsentEvent),
    "outbound-event": TypeAdapter(OutboundEvent),
    "inbound-event": TypeAdapter(InboundEvent),
    "service-window": TypeAdapter(ServiceWindow),
    "alias": TypeAdapter(Alias),
    "suppression": TypeAdapter(Suppression),
    "tier-recipient": TypeAdapter(TierRecipient),
    "ready": TypeAdapter(Ready),
    "ledger": TypeAdapter(LedgerRecord),
    "account-state": TypeAdapter(AccountState),
    "audit-event": TypeAdapter(AuditEvent),
}
"""Record, as its `schema` header names it → what validates it."""

Action = Literal["receive", "send"]


class Channel(NamedTuple):
    """One topic as a reader of the contract sees it.

    Attributes:
        record: Name of the record on it; `dead-letter` has bytes of any kind.
        key: What the key is.
        actions: What the pipeline does with it.
    """

    record: str
    key: str
    actions: tuple[Action, ...]


_RECIPIENT = "recipient: digits of the phone number without +, or the business-scoped user id"
_LANE = "lane: <number id>#<shard>"
_BOTH: tuple[Action, ...] = ("receive", "send")
CHANNELS: dict[str, Channel] = {
    "outbound-requests": Channel("request", _RECIPIENT, _BOTH),
    "outbound-requests-urgent": Channel("request", _RECIPIENT, _BOTH),
    "consent-updates": Channel("consent-update", _RECIPIENT, _BOTH),
    "consent": Channel("consent", _RECIPIENT, _BOTH),
    "consent-events": Channel("consent-event", _RECIPIENT, ("send",)),
    "recipient-aliases": Channel("alias", "alias", _BOTH),
    "service-windows": Channel("service-window", _RECIPIENT, _BOTH),
    "suppressions": Channel("suppression", _RECIPIENT, _BOTH),
    "tier-recipients": Channel("tier-recipient", _RECIPIENT, _BOTH),
    "inbound-events": Channel("inbound-event", "recipient; of account events the number id", _BOTH),
    "outbound-events": Channel("outbound-event", _RECIPIENT, ("send",)),
    "dead-letter": Channel("dead-letter", "the key of the source record", ("send",)),
    "ready-urgent": Channel("ready", _LANE, _BOTH),
    "ready-normal": Channel("ready", _LANE, _BOTH),
    "ready-bulk": Channel("ready", _LANE, _BOTH),
    "delayed-retry": Channel("ready", _LANE, _BOTH),
    "delayed-retry-1m": Channel("ready", _LANE, _BOTH),
    "delayed-retry-10m": Channel("ready", _LANE, _BOTH),
    "delayed-retry-1h": Channel("ready", _LANE, _BOTH),
    "send-ledger": Channel("ledger", _LANE, _BOTH),
    "account-state": Channel("account-state", "one key per aspect and writer, e.g. number:ID/webhook", _BOTH),
    "audit-events": Channel("audit-event", "actor", ("send",)),
}
"""Every topic by its name without the prefix."""


class _Untitled(GenerateJsonSchema):
    """JSON Schema without a title per field, which would only repeat the field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  the signature is pydantic's
        return False


def file_name(record: str) -> str:
    """Name of a record's schema file."""
    return f"{record}-{MAJOR}.json"


def schema_of(record: str) -> dict[str, Any]:
    """JSON Schema of a record, by its name, e.g. `request`."""
    schema = MODELS[record].json_schema(by_alias=True, schema_generator=_Untitled)
    schema.pop("discriminator", None)  # a word of OpenAPI
    if record == "outbound-event":
        schema = _with_reasons(schema)
    elif record == "consent-update":
        schema = {**schema, "allOf": _CONSENT_UPDATE_RULES}
    return {"$schema": DIALECT, "$id": f"urn:wapipe:{record}:{MAJOR}", "title": record, **_without_title(schema)}


def _without_title(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "title"}


def _with_reasons(schema: dict[str, Any]) -> dict[str, Any]:
    """Tell which reasons each type of an outbound-event carries, and which types are an end."""
    rules = []
    for kind in TYPES:
        reasons: list[str | None] = [*reasons_of(kind)]
        then: dict[str, Any] = {"terminal": {"const": kind in TERMINAL}, "reason": {"enum": reasons or [None]}}
        if kind != "undelivered":
            then |= {"request_id": {"type": "string"}, "source": {"type": "object"}}
        rules.append({"if": {"properties": {"type": {"const": kind}}}, "then": {"properties": then}})
    properties = {**schema["properties"], "reason": {"enum": [*REASONS, None]}}
    return {**schema, "properties": properties, "allOf": rules}


_CONSENT_UPDATE_RULES: list[dict[str, Any]] = [
    {
        "if": {"properties": {"action": {"const": "grant"}}},
        "then": {
            "properties": {"business": {"not": {"const": "*"}}, "categories": {"not": {"contains": {"const": "*"}}}}
        },
    },
    {
        "if": {"not": {"properties": {"action": {"const": "erase"}}}},
        "then": {"required": ["categories"], "properties": {"categories": {"minItems": 1}}},
    },
]


def async_api() -> dict[str, Any]:
    """The AsyncAPI 3 document: topics, keys, headers and the schema of each record."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "wapipe",
            "version": f"{MAJOR}.0.0",
            "description": "Topics without `kafka.topic_prefix`. Values are JSON; readers ignore unknown fields.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic: _channel(topic, channel) for topic, channel in CHANNELS.items()},
        "operations": {
            f"{action}-{topic}": {"action": action, "channel": {"$ref": f"#/channels/{topic}"}}
            for topic, channel in CHANNELS.items()
            for action in channel.actions
        },
        "components": {"messages": {**{record: _message(record) for record in MODELS}, "dead-letter": _dead_letter()}},
    }


def _channel(topic: str, channel: Channel) -> dict[str, Any]:
    return {
        "address": topic,
        "description": f"Key: {channel.key}.",
        "messages": {channel.record: {"$ref": f"#/components/messages/{channel.record}"}},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _message(record: str) -> dict[str, Any]:
    headers = {
        "content-type": {"type": "string", "const": "application/json"},
        "schema": {"type": "string", "const": f"{record}/{MAJOR}"},
        "traceparent": {"type": "string", "description": "W3C trace context, kept as it came."},
    }
    return {
        "name": f"{record}/{MAJOR}",
        "contentType": "application/json",
        "headers": {"type": "object", "properties": headers},
        "payload": {
            "schemaFormat": "application/schema+json;version=2020-12",
            "schema": {"$ref": f"./{file_name(record)}"},
        },
        "examples": [{"name": name, "payload": value} for name, value in sorted(examples.VALID[record].items())],
    }


def _dead_letter() -> dict[str, Any]:
    headers: dict[str, Any] = {name: {"type": "string"} for name in deadletter.HEADERS}
    headers["errors.code"] = {"enum": list(deadletter.CODES)}
    headers["errors.stage"] = {"enum": list(deadletter.STAGES)}
    return {
        "name": "dead-letter",
        "summary": "Key and value are the original bytes; the original headers follow these.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "properties": headers, "required": list(deadletter.HEADERS)},
    }


def files() -> dict[str, str]:
    """Everything that `schemas/` holds: path inside it → text, sorted, each with a newline at its end."""
    made: dict[str, Any] = {file_name(record): schema_of(record) for record in MODELS}
    made[DOCUMENT] = async_api()
    for quality, cases in (("valid", examples.VALID), ("invalid", examples.INVALID)):
        for record, values in cases.items():
            made |= {f"examples/{record}/{quality}-{name}.json": value for name, value in values.items()}
    return {path: json.dumps(made[path], indent=2, sort_keys=True, ensure_ascii=False) + "\n" for path in sorted(made)}


def export(folder: Path, further: Mapping[str, str] | None = None) -> list[Path]:
    """Write schemas, AsyncAPI document and examples into a folder; returns the files written.

    Args:
        further: Documents of others that belong there: path inside the folder → text.

    Raises:
        OSError: the folder cannot be written.
    """
    written = []
    for path, text in {**files(), **(further or {})}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return written


def drift(folder: Path, further: Mapping[str, str] | None = None) -> list[str]:
    """Say how a folder differs from what `export` would write, one `file: what` each; empty: not at all."""
    wanted = {**files(), **(further or {})}
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.json"))}
    found = []
    for path, text in wanted.items():
        if path not in there:
            found.append(f"{path}: is missing")
        elif there[path].read_text(encoding="utf-8", errors="replace") != text:
            found.append(f"{path}: is not what the models say")
    found.extend(f"{path}: is no part of the contract" for path in there if path not in wanted)
    return found
