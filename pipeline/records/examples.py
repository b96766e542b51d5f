"""Examples of every record, valid and invalid: they stand in `schemas/examples/`, and the tests check each of them.

Plain values. What our own code writes is built by the function that writes it, so that an example cannot go stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clock import parse_rfc3339_ms
from pipeline.records.ledger import ledger_record
from pipeline.records.outbound import outbound_event, undelivered_event
from pipeline.records.ready import copy_of, parse_ready, ready_record

Example = dict[str, Any]

_AT = "2026-11-22T10:00:00.000Z"
_AT_MS = parse_rfc3339_ms(_AT)
_LATER_MS = _AT_MS + 7_200_000
_NUMBER, _PERSON = "200000000000001", "15550109999"
_LANE = f"{_NUMBER}#0"
_PLACE = {"topic": "outbound-requests", "partition": 3, "offset": 991}
_SOURCE = {**_PLACE, "timestamp_ms": _AT_MS}
_BASIS = {
    "update_id": "u-1", "status": "granted", "at": "2026-11-20T08:00:00.000Z", "method": "checkbox",
    "source": "https://shop.example/checkout",
}  # fmt: skip
_EVIDENCE = {
    "method": "checkbox", "actor": "user", "source": "https://shop.example/checkout",
    "text": "Send me order updates on WhatsApp", "reference": "order-4711",
}  # fmt: skip

_REQUEST: Example = {
    "request_id": "order-4711-shipped",
    "from": _NUMBER,
    "to": _PERSON,
    "category": "utility",
    "purpose": "order-updates",
    "priority": "normal",
    "campaign": None,
    "message": {
        "type": "template",
        "template": {
            "name": "order_shipped",
            "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "4711"}]}],
        },
    },
    "not_before": None,
    "expires_at": "2026-11-22T12:00:00.000Z",
    "metadata": {"shop": "berlin"},
}
_SHORTEST: Example = {
    "request_id": "code-1",
    "from": _NUMBER,
    "to": "+1 555 010-9999",
    "category": "authentication",
    "message": {"type": "text", "text": {"body": "123456 is your code"}},
}
_GRANT: Example = {
    "update_id": "u-1",
    "recipient": _PERSON,
    "business": "acme",
    "action": "grant",
    "categories": ["utility"],
    "purposes": ["order-updates"],
    "at": "2026-11-20T08:00:00.000Z",
    "expires_at": None,
    "evidence": _EVIDENCE,
}
_STOP: Example = {
    "update_id": "in-7", "recipient": _PERSON, "business": "*", "action": "revoke", "categories": ["*"],
    "at": "2026-11-21T08:00:00+01:00", "evidence": {"method": "keyword", "source": "wamid.7", "actor": "user"},
}  # fmt: skip
_START: Example = {
    "update_id": "in-8", "recipient": _PERSON, "business": "acme", "action": "resume", "categories": ["*"],
    "at": _AT, "evidence": {"method": "keyword", "source": "wamid.8", "actor": "user"}, "number": _NUMBER,
    "language": "en",
}  # fmt: skip
_ENTRY: Example = {
    "business": "acme", "category": "utility", "purpose": "*", "status": "granted", "at": "2026-11-20T08:00:00.000Z",
    "expires_at": None, "update_id": "u-1", "method": "checkbox", "source": "https://shop.example/checkout",
}  # fmt: skip
_CONSENT: Example = {"recipient": _PERSON, "entries": [_ENTRY], "erased_at": None, "updated_at": _AT}
_CONSENT_EVENT: Example = {
    "event_id": "0f3c",
    "update_id": "u-1",
    "recipient": _PERSON,
    "business": "acme",
    "categories": ["utility"],
    "purposes": ["order-updates"],
    "action": "grant",
    "result": "applied",
    "reason": None,
    "before": [],
    "after": [_ENTRY],
    "evidence": _EVIDENCE,
    "origin": {"topic": "consent-updates", "partition": 3, "offset": 17},
    "at": "2026-11-20T08:00:00.000Z",
    "recorded_at": _AT,
}
_ACCEPTED = outbound_event(
    "accepted", _REQUEST, _SOURCE, at_ms=_AT_MS, stage="sender", business="acme", attempt=1, message_id="wamid.4711",
    wa_id=_PERSON, http_status=200, queue_ms=12, api_ms=87, consent=_BASIS,
)  # fmt: skip
_DEFERRED = outbound_event(
    "deferred", _REQUEST, _SOURCE, at_ms=_AT_MS, stage="sender", business="acme", reason="throttled", attempt=1,
    http_status=429, error_code=130429, due_at_ms=_AT_MS + 5000,
)  # fmt: skip
_REJECTED = outbound_event(
    "rejected", _REQUEST, _SOURCE, at_ms=_AT_MS, stage="gate", business="acme", reason="no_consent",
    detail="nothing is known of acme, utility, order-updates",
)  # fmt: skip
_STATUS: Example = {
    "event_id": "9a1e",
    "type": "status",
    "at": "2026-11-22T10:00:02.000Z",
    "received_at": "2026-11-22T10:00:02.310Z",
    "number": _NUMBER,
    "recipient": _PERSON,
    "user_id": None,
    "message_id": "wamid.4711",
    "status": "delivered",
    "request_id": "order-4711-shipped",
    "attempt": 1,
    "error_code": None,
    "errors": [],
    "pricing": None,
    "profile": "cloud",
    "body": {"id": "wamid.4711", "status": "delivered"},
}
_FAILED: Example = {
    **_STATUS, "event_id": "9a1f", "status": "failed", "error_code": 131026,
    "errors": [{"code": 131026, "title": "Message undeliverable"}], "body": {"id": "wamid.4711", "status": "failed"},
}  # fmt: skip
_UNDELIVERED = undelivered_event(
    _FAILED, at=_FAILED["at"], recipient=_PERSON, business="acme", error_code=131026, detail="Message undeliverable"
)
_READY = ready_record(
    _REQUEST, _SOURCE, business="acme", lane=_LANE, priority="normal", judged_ms=_AT_MS, expires_ms=_LATER_MS,
    valid_until_ms=_LATER_MS, valid_cause="expired", consent=_BASIS,
)  # fmt: skip
_COPY = copy_of(
    parse_ready(_READY), due_ms=_AT_MS + 5000, reason="throttled", attempt=1, spent=0, unknown=False, hops=0
)  # fmt: skip
_ATTEMPT = ledger_record(
    "attempt", 7, owner="sender-1", request_id="order-4711-shipped", attempt=1, recipient=_PERSON, priority="normal",
    source=_SOURCE, place=("ready-normal", 0, 55), digest="5f0c", spent=0,
)  # fmt: skip
_SETTLED = ledger_record(
    "settled", 7, owner="sender-1", request_id="order-4711-shipped", attempt=1, recipient=_PERSON, priority="normal",
    source=_SOURCE, place=("ready-normal", 0, 55), digest="5f0c", outcome="accepted", basis="answer",
    message_id="wamid.4711", event=_ACCEPTED,
)  # fmt: skip
_WEBHOOK: Example = {
    "kind": "number", "id": _NUMBER, "aspect": "webhook", "verified": True, "at": _AT, "by": "ingress-1",
}  # fmt: skip
_HALT: Example = {
    "kind": "number", "id": _NUMBER, "aspect": "halt", "shard": 0, "reason": "throttled",
    "scope": "account", "account": "300000000000001",
    "base_url": "https://graph.facebook.com/v24.0", "halted": True, "until": "2026-11-22T10:00:05.000Z", "at": _AT,
    "by": "sender-1",
}  # fmt: skip
_NO_MARKETING: Example = {
    "kind": "number", "id": _NUMBER, "aspect": "marketing", "shard": 0, "until": "2026-11-23T10:00:00.000Z",
    "error_code": 131048, "at": _AT, "by": "sender-1",
}  # fmt: skip
_PREFLIGHT: Example = {
    "kind": "number", "id": _NUMBER, "aspect": "preflight", "token": "accepted", "quality": "GREEN", "tier": "TIER_2K",
    "throughput": "STANDARD", "detail": None, "at": _AT, "by": "sender-1",
}  # fmt: skip
_OVERRIDE: Example = {
    "kind": "number", "id": _NUMBER, "aspect": "override", "checks": ["templates"], "reason": "registry is down",
    "until": "2026-11-22T12:00:00.000Z", "at": _AT, "by": "ada",
}  # fmt: skip
_MARK: Example = {
    "kind": "lane", "id": _LANE, "aspect": "mark", "needed": 4711, "generation": 7, "last_attempt_ms": _AT_MS,
    "at": _AT, "by": "sender-1",
}  # fmt: skip
_CAMPAIGN: Example = {
    "kind": "campaign", "id": "spring", "aspect": "campaign", "state": "paused", "reason": "wrong link", "at": _AT,
    "by": "ada",
}  # fmt: skip
_PAUSE: Example = {
    "kind": "number", "id": _NUMBER, "aspect": "pause", "paused": True, "priorities": ["bulk"], "reason": "too many",
    "at": _AT, "by": "ada",
}  # fmt: skip
_LANES: Example = {
    "kind": "number", "id": _NUMBER, "aspect": "lanes", "partitions": [0], "target": [1, 2], "step": "drain",
    "earlier": [], "run": "5f0c", "at": _AT, "by": "ada",
}  # fmt: skip
_LAYOUT: Example = {
    "kind": "topics", "id": "recipients", "aspect": "layout", "partitions": 12, "target": 24, "step": "move",
    "moved": ["consent"], "earlier": [], "settling_until": None, "run": "5f0c", "at": _AT, "by": "ada",
}  # fmt: skip
_BY_WEBHOOK: Example = {"at": _AT, "by": "ingress"}
_OF_NUMBER: Example = {"kind": "number", "id": _NUMBER, **_BY_WEBHOOK}
_OF_ACCOUNT: Example = {"kind": "account", "id": "300000000000001", **_BY_WEBHOOK}
_QUALITY: Example = {**_OF_NUMBER, "aspect": "quality", "event": "FLAGGED", "flagged": True}
_LIMITS: Example = {
    **_OF_NUMBER, "aspect": "limits", "throughput": "HIGH", "throughput_at": _AT, "tier": "TIER_UNLIMITED",
    "tier_at": _AT,
}  # fmt: skip
_RESTRICTION: Example = {
    **_OF_ACCOUNT, "aspect": "restriction",
    "restrictions": [{"type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "until": "2026-11-25T10:00:00.000Z"}],
}  # fmt: skip
_TEMPLATE: Example = {
    "kind": "template", "id": "300000000000001/promo/en_US", "aspect": "template", "status": "PAUSED", "reason": "NONE",
    "until": "2026-11-22T13:00:00.000Z", "status_at": _AT, "category": "MARKETING", "next_category": None,
    "next_category_at": None, "category_at": _AT, "quality": "RED", "quality_at": "2026-11-22T09:00:00.000Z",
    "components_at": None, **_BY_WEBHOOK,
}  # fmt: skip
_DEFINITION: Example = {
    "kind": "template", "id": "300000000000001/order_shipped/en_US", "aspect": "definition", "status": "APPROVED",
    "reason": None, "category": "UTILITY", "quality": "GREEN", "parameter_format": "POSITIONAL",
    "components": [{"type": "BODY", "text": "Order {{1}} is on its way."}], "changed_at": "2026-11-20T10:00:00.000Z",
    "at": _AT, "by": "cli/ada",
}  # fmt: skip
_SYNCED: Example = {
    "kind": "account", "id": "300000000000001", "aspect": "templates", "templates": 12, "at": _AT, "by": "cli/ada",
}  # fmt: skip
_AUDIT: Example = {
    "event_id": "77aa", "at": _AT, "actor": "ada", "via": "cli", "action": "consent.revoke", "target": _PERSON,
    "reason": "asked on the phone", "before": None, "after": {"status": "revoked"},
}  # fmt: skip
_WINDOW: Example = {
    "recipient": _PERSON,
    "windows": {_NUMBER: {"opened_at": _AT, "until": "2026-11-23T10:00:00.000Z", "message_id": "wamid.9"}},
}
_ALIAS: Example = {"alias": "US.13491208655302741918", "recipient": _PERSON, "kind": "user_id", "at": _AT, "ids": []}
_SUPPRESSION: Example = {"recipient": _PERSON, "reason": "not_on_whatsapp", "until": None, "at": _AT}

VALID: dict[str, dict[str, Example]] = {
    "request": {"template": _REQUEST, "shortest": _SHORTEST},
    "consent-update": {"grant": _GRANT, "stop": _STOP, "start": _START},
    "consent": {
        "granted": _CONSENT,
        "erased": {"recipient": _PERSON, "entries": [], "erased_at": _AT, "updated_at": _AT},
    },
    "consent-event": {
        "applied": _CONSENT_EVENT,
        "refused": {**_CONSENT_EVENT, "result": "refused", "reason": "not_active", "after": [], "evidence": None},
    },
    "outbound-event": {
        "accepted": _ACCEPTED,
        "deferred": _DEFERRED,
        "rejected": _REJECTED,
        "undelivered": _UNDELIVERED,
        "undelivered-v1": {**_UNDELIVERED, "request_id": None, "attempt": None},
    },
    "inbound-event": {"status": _STATUS, "failed": _FAILED},
    "service-window": {"open": _WINDOW},
    "alias": {
        "user-id": _ALIAS,
        "itself": {**_ALIAS, "alias": _PERSON, "kind": "self", "ids": ["US.13491208655302741918"]},
        "number-given-up": {**_ALIAS, "alias": "15550108888", "kind": "number"},
    },
    "tier-recipient": {"of-one-portfolio": {"recipient": _PERSON, "portfolios": {"p1": _AT}}},
    "suppression": {
        "for-good": {**_SUPPRESSION, "reason": "blocked_by_business"},
        "for-days": {**_SUPPRESSION, "until": "2026-11-29T10:00:00.000Z"},
    },
    "ready": {"fresh": _READY, "copy": _COPY},
    "ledger": {
        "opened": ledger_record("opened", 7, owner="sender-1"),
        "attempt": _ATTEMPT,
        "settled": _SETTLED,
    },
    "account-state": {
        "webhook": _WEBHOOK,
        "halt": _HALT,
        "marketing": _NO_MARKETING,
        "preflight": _PREFLIGHT,
        "override": _OVERRIDE,
        "mark": _MARK,
        "quality": _QUALITY,
        "limits": _LIMITS,
        "capability": {**_OF_ACCOUNT, "aspect": "capability", "tier": "TIER_2K"},
        "restriction": _RESTRICTION,
        "ban": {**_OF_ACCOUNT, "aspect": "ban", "state": "DISABLE", "date": "November 22, 2026"},
        "alert": {
            **_OF_ACCOUNT,
            "aspect": "alert",
            "type": "PROFILE_PICTURE_LOST",
            "severity": "WARNING",
            "status": "ACTIVE",
        },
        "review": {**_OF_ACCOUNT, "aspect": "review", "decision": "APPROVED"},
        "template": _TEMPLATE,
        "campaign": _CAMPAIGN,
        "pause": _PAUSE,
        "definition": _DEFINITION,
        "templates": _SYNCED,
        "layout": _LAYOUT,
        "lanes": _LANES,
    },
    "audit-event": {"revoke": _AUDIT},
}
"""Record → name → a value that the schema takes."""


def _without(value: Mapping[str, Any], key: str) -> Example:
    return {name: item for name, item in value.items() if name != key}


INVALID: dict[str, dict[str, Example]] = {
    "request": {
        "no-recipient": _without(_REQUEST, "to"),
        "recipient-is-no-number": {**_REQUEST, "to": "ada@example.org"},
        "unknown-category": {**_REQUEST, "category": "promo"},
        "unknown-priority": {**_REQUEST, "priority": "high"},
        "empty-request-id": {**_REQUEST, "request_id": ""},
        "long-request-id": {**_REQUEST, "request_id": "x" * 129},
        "time-without-offset": {**_REQUEST, "expires_at": "2026-11-22T12:00:00"},
        "metadata-number": {**_REQUEST, "metadata": {"items": 3}},
        "message-is-text": {**_REQUEST, "message": "hello"},
        "purpose-with-capitals": {**_REQUEST, "purpose": "Offers"},
        "from-by-field-name": {**_without(_REQUEST, "from"), "from_": _NUMBER},
    },
    "consent-update": {
        "grant-of-everything": {**_GRANT, "categories": ["*"]},
        "grant-for-every-business": {**_GRANT, "business": "*"},
        "revoke-of-nothing": {**_STOP, "categories": []},
        "unknown-action": {**_GRANT, "action": "allow"},
        "unknown-method": {**_GRANT, "evidence": {**_EVIDENCE, "method": "guess"}},
        "no-time": _without(_GRANT, "at"),
    },
    "consent": {
        "unknown-status": {**_CONSENT, "entries": [{**_ENTRY, "status": "maybe"}]},
        "no-updated-at": _without(_CONSENT, "updated_at"),
    },
    "consent-event": {"unknown-result": {**_CONSENT_EVENT, "result": "merged"}},
    "outbound-event": {
        "unknown-type": {**_ACCEPTED, "type": "sent"},
        "no-event-id": _without(_ACCEPTED, "event_id"),
        "status-code-is-text": {**_ACCEPTED, "http_status": "OK"},
        "accepted-of-no-request": {**_ACCEPTED, "request_id": None},
    },
    "inbound-event": {"unknown-type": {**_STATUS, "type": "reaction"}, "no-body": _without(_STATUS, "body")},
    "service-window": {"no-end": {"recipient": _PERSON, "windows": {_NUMBER: {"opened_at": _AT}}}},
    "alias": {"no-recipient": _without(_ALIAS, "recipient")},
    "tier-recipient": {"time-is-seconds": {"recipient": _PERSON, "portfolios": {"p1": 1_795_341_600}}},
    "suppression": {"until-is-seconds": {**_SUPPRESSION, "until": 1_795_341_600}},
    "ready": {"unknown-priority": {**_READY, "priority": "soon"}, "no-source": _without(_READY, "source")},
    "ledger": {"unknown-kind": {**_ATTEMPT, "kind": "sent"}, "no-generation": _without(_ATTEMPT, "generation")},
    "account-state": {
        "unknown-aspect": {**_WEBHOOK, "aspect": "mood"},
        "halt-without-shard": _without(_HALT, "shard"),
        "throughput-is-a-number": {**_LIMITS, "throughput": 1000},
        "restriction-until-is-seconds": {**_RESTRICTION, "restrictions": [{"type": "X", "until": 1_795_900_000}]},
        "template-without-status": _without(_TEMPLATE, "status"),
        "campaign-of-no-state": {**_CAMPAIGN, "state": "stopped"},
        "pause-of-no-priority": {**_PAUSE, "priorities": ["slow"]},
        "layout-of-no-step": {**_LAYOUT, "step": "soon"},
        "lanes-without-one": {**_LANES, "partitions": []},
        "definition-with-text-for-components": {**_DEFINITION, "components": "hello"},
    },
    "audit-event": {"unknown-way": {**_AUDIT, "via": "phone"}},
}
"""Record → name, which says what is wrong → a value that neither the schema nor the model takes."""
