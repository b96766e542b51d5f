"""Malformed records by name, with what has to become of each: for the two input topics and for those inside.

Pure. `Bad.expected` is `dead-letter: CODE`, or `TYPE: REASON` of an outbound-event, or `refused: REASON` of a
consent-event. A record that names an id is called by its case there (`request_id` or `update_id` = `bad-CASE`); every
record has the header `case`, which its dead letter keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson

from tests.support.campaign import grant, message, request

DEEP: Final = 200
BIG_BYTES: Final = 900_000


class Bad(NamedTuple):
    """A malformed record."""

    case: str
    value: bytes | None
    expected: str
    headers: tuple[tuple[str, bytes], ...] = ()


def _dead(code: str, values: Mapping[str, bytes | None]) -> list[Bad]:
    return [Bad(case, value, f"dead-letter: {code}") for case, value in values.items()]


def unreadable(schema: str) -> list[Bad]:
    """Bytes that are no JSON object, whatever topic they stand on; `schema` is that topic's record kind."""
    return [
        *_dead("not_json", {
            "text": b"hello",
            "empty": b"",
            "no-value": None,
            "blank": b" \n\t ",
            "cut-off": b'{"request_id": "bad-cut-off", "from"',
            "single-quotes": b"{'request_id': 'bad-single-quotes'}",
            "trailing-comma": b'{"request_id": "bad-trailing-comma",}',
            "comment": b'{} // a comment',
            "two-objects": b"{}{}",
            "nan": b'{"value": NaN}',
            "lone-surrogate": b'{"request_id": "bad-\\ud800"}',
            "byte-order-mark": b"\xef\xbb\xbf{}",
            "control-characters": b"\x00\x01\x02\x03",
            "wire-format": b"\x00\x00\x00\x00\x07" + b'{"request_id": "bad-wire-format"}',
        }),
        *_dead("not_utf8", {
            "latin-1": '{"name": "Zoë"}'.encode("latin-1"),
            "utf-16": '{"name": "x"}'.encode("utf-16"),
            "compressed": b"\x1f\x8b\x08\x00\xde\xad\xbe\xef",
        }),
        *_dead("too_large", {"too-large": orjson.dumps({"name": "x" * BIG_BYTES})}),
        *_dead("too_deep", {
            "deep-list": b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b"}",
            "deep-object": b'{"a": ' * DEEP + b"1" + b"}" * DEEP,
            "bottomless": b"[" * 100_000,
        }),
        *_dead("contract", {
            "list": b"[]", "number": b"42", "string": b'"hello"', "null": b"null", "true": b"true",
            "no-fields": b"{}",
        }),
        Bad("next-major", b"{}", "dead-letter: unsupported_schema", (("schema", f"{schema}/2".encode()),)),
        Bad("other-record", b"{}", "dead-letter: unsupported_schema", (("schema", b"order/1"),)),
        Bad("odd-schema", b"{}", "dead-letter: unsupported_schema", (("schema", b"\xff\x00"),)),
    ]  # fmt: skip


def bad_requests(number: str, to: str) -> list[Bad]:
    """Malformed requests for one person; all that can be told of a request, is."""
    now = datetime.now(UTC)

    def changed(case: str, **fields: Any) -> bytes:
        return orjson.dumps({**request(f"bad-{case}", number, to), **fields})

    def without(case: str, name: str) -> bytes:
        whole = request(f"bad-{case}", number, to)
        return orjson.dumps({key: value for key, value in whole.items() if key != name})

    nameless = {
        "no-id": without("no-id", "request_id"),
        "no-number": without("no-number", "from"),
        "no-recipient": without("no-recipient", "to"),
        "empty-id": changed("empty-id", request_id=""),
        "list-id": changed("list-id", request_id=["x"]),
        "long-id": changed("long-id", request_id="x" * 129),
        "null-number": changed("null-number", **{"from": None}),
        "object-recipient": changed("object-recipient", to={}),
    }
    invalid: dict[str, dict[str, Any]] = {
        "numeric-number": {"from": int(number)},
        "numeric-recipient": {"to": int(to)},
        "no-phone": {"to": "nobody"},
        "short-phone": {"to": "12"},
        "no-category": {"category": None},
        "unknown-category": {"category": "spam"},
        "unknown-priority": {"priority": "asap"},
        "odd-purpose": {"purpose": "Not Allowed!"},
        "empty-campaign": {"campaign": ""},
        "null-message": {"message": None},
        "text-message": {"message": "hello"},
        "empty-message": {"message": {}},
        "unknown-type": {"message": {"type": "telepathy", "telepathy": {}}},
        "no-template": {"message": {"type": "template"}},
        "nameless-template": {"message": {"type": "template", "template": {"language": {"code": "en"}}}},
        "no-language": {"message": {"type": "template", "template": {"name": "order_shipped"}}},
        "list-template": {"message": {"type": "template", "template": []}},
        "our-fields": {"message": {**message("x"), "to": "15550000000"}},
        "numeric-expiry": {"expires_at": 1_800_000_000},
        "odd-expiry": {"expires_at": "tomorrow"},
        "local-expiry": {"expires_at": "2030-01-01T00:00:00"},
        "far-expiry": {"expires_at": _at(now + timedelta(days=30))},
        "far-begin": {"not_before": _at(now + timedelta(days=30))},
        "backwards": {"not_before": _at(now + timedelta(hours=2)), "expires_at": _at(now + timedelta(hours=1))},
        "list-metadata": {"metadata": []},
        "numeric-metadata": {"metadata": {"a": 1}},
        "much-metadata": {"metadata": {f"k{i}": "v" for i in range(51)}},
        "long-metadata": {"metadata": {"a": "x" * 501}},
    }
    return [
        *_dead("contract", nameless),
        *(Bad(case, changed(case, **fields), "rejected: invalid") for case, fields in invalid.items()),
        Bad("unknown-number", changed("unknown-number", **{"from": "999"}), "rejected: unknown_number"),
        Bad("over", changed("over", expires_at=_at(now - timedelta(seconds=1))), "expired: expired"),
        Bad("no-window", changed("no-window", category="service"), "rejected: window_closed"),
    ]


def bad_updates(to: str) -> list[Bad]:
    """Malformed consent updates about one person."""

    def changed(case: str, **fields: Any) -> bytes:
        return orjson.dumps(grant(to, f"bad-{case}", **fields))

    def evidence(**fields: Any) -> dict[str, Any]:
        return {"evidence": {**grant(to, "x")["evidence"], **fields}}

    nameless = {
        "no-person": changed("no-person", recipient=None),
        "odd-person": changed("odd-person", recipient="nobody"),
        "no-update-id": changed("no-update-id", update_id=None),
        "empty-update-id": changed("empty-update-id", update_id=""),
    }
    refused: dict[str, tuple[str, dict[str, Any]]] = {
        "no-action": ("invalid", {"action": None}),
        "unknown-action": ("invalid", {"action": "maybe"}),
        "no-categories": ("invalid", {"categories": []}),
        "text-categories": ("invalid", {"categories": "utility"}),
        "unknown-category": ("invalid", {"categories": ["spam"]}),
        "grant-of-all": ("invalid", {"categories": ["*"]}),
        "odd-purpose": ("invalid", {"purposes": ["Not Allowed!"]}),
        "no-purposes": ("invalid", {"purposes": []}),
        "no-business": ("invalid", {"business": None}),
        "any-business": ("invalid", {"business": "*"}),
        "no-time": ("invalid", {"at": None}),
        "odd-time": ("invalid", {"at": "yesterday"}),
        "numeric-time": ("invalid", {"at": 1_790_000_000}),
        "odd-expiry": ("invalid", {"expires_at": "never"}),
        "text-evidence": ("invalid", {"evidence": "she said so"}),
        "unknown-method": ("invalid", evidence(method="telepathy")),
        "unknown-actor": ("invalid", evidence(actor="cat")),
        "long-source": ("invalid", evidence(source="x" * 2049)),
        "no-evidence": ("evidence_missing", {"evidence": None}),
        "no-method": ("evidence_missing", evidence(method=None)),
        "no-source": ("evidence_missing", evidence(source=None)),
        "assumed": ("not_active", evidence(actor="business")),
        "no-actor": ("not_active", evidence(actor=None)),
        "other-business": ("unknown_business", {"business": "nobody-we-know"}),
        "from-the-future": ("at_in_future", {"at": _at(datetime.now(UTC) + timedelta(hours=1))}),
    }
    return [
        *_dead("contract", nameless),
        *(Bad(case, changed(case, **fields), f"refused: {reason}") for case, (reason, fields) in refused.items()),
    ]


def bad_ready(sound: dict[str, Any]) -> list[Bad]:
    """Malformed records for the lane topics, each a sound ready/1 but for one thing."""

    def changed(**fields: Any) -> bytes:
        return orjson.dumps({**sound, **fields})

    def inner(name: str, **fields: Any) -> bytes:
        return orjson.dumps({**sound, name: {**sound[name], **fields}})

    contract = {f"no-{name}": orjson.dumps({k: v for k, v in sound.items() if k != name}) for name in sound} | {
        "text-request": changed(request="x"),
        "no-request-id": inner("request", request_id=None),
        "no-to": inner("request", to=None),
        "numeric-category": inner("request", category=7),
        "text-message": inner("request", message="x"),
        "typeless-message": inner("request", message={}),
        "list-source": changed(source=[]),
        "text-offset": inner("source", offset="7"),
        "no-source-time": inner("source", timestamp_ms=None),
        "unknown-priority": changed(priority="asap"),
        "odd-times": changed(judged_at="a while ago"),
        "odd-expiry": changed(expires_at=5),
        "odd-valid-until": changed(valid_until=None),
        "odd-due": changed(due_at="soon"),
        "text-attempt": changed(attempt="1"),
        "numeric-unknown": changed(unknown=1),
        "float-spent": changed(spent=0.5),
        "list-lane": changed(lane=[]),
    }
    return [*_dead("contract", contract), Bad("other-lane", changed(lane="999#0"), "dead-letter: misrouted")]


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
