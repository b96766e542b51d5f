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

from tests.support.campaign import BUSINESS, grant, message, request

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


def unreadable(schema: str, big: str = "too_large") -> list[Bad]:
    """Bytes that are no JSON object, or too many, whatever topic they stand on.

    Args:
        schema: That topic's record kind.
        big: Code of a dead letter of `BIG_BYTES`.
    """
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
        *_dead(big, {"big": orjson.dumps({"name": "x" * BIG_BYTES})}),
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
        return orjson.dumps({**grant(to, f"bad-{case}"), **fields})

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
    """Malformed records for the lane topics, each a sound ready/1 of a request of its own but for one thing."""

    def bad(case: str, record: dict[str, Any]) -> Bad:
        mine = record.get("request")
        if isinstance(mine, dict) and mine.get("request_id"):
            record = {**record, "request": {**mine, "request_id": f"bad-{case}"}}
        return Bad(case, orjson.dumps(record), "dead-letter: contract")

    inside: dict[str, tuple[str, dict[str, Any]]] = {
        "no-request-id": ("request", {"request_id": None}),
        "no-to": ("request", {"to": None}),
        "numeric-category": ("request", {"category": 7}),
        "text-message": ("request", {"message": "x"}),
        "typeless-message": ("request", {"message": {}}),
        "text-offset": ("source", {"offset": "7"}),
        "no-source-time": ("source", {"timestamp_ms": None}),
    }
    whole: dict[str, dict[str, Any]] = {
        "text-request": {"request": "x"},
        "list-source": {"source": []},
        "null-business": {"business": None},
        "unknown-priority": {"priority": "asap"},
        "odd-times": {"judged_at": "a while ago"},
        "numeric-expiry": {"expires_at": 5},
        "null-valid-until": {"valid_until": None},
        "odd-cause": {"valid_cause": "mood"},
        "text-consent": {"consent": "yes"},
        "timeless-consent": {"consent": {"update_id": "u", "status": "granted"}},
        "odd-due": {"due_at": "soon"},
        "text-attempt": {"attempt": "1"},
        "numeric-unknown": {"unknown": 1},
        "float-spent": {"spent": 0.5},
        "list-lane": {"lane": []},
    }
    return [
        *(
            bad(f"lacks-{name}", {key: sound[key] for key in sound if key != name})
            for name in sound
            if name != "heard_ms"
        ),
        *(bad(case, {**sound, name: {**sound[name], **fields}}) for case, (name, fields) in inside.items()),
        *(bad(case, {**sound, **fields}) for case, fields in whole.items()),
        bad("other-lane", {**sound, "lane": "999#0"})._replace(expected="dead-letter: misrouted"),
    ]


def bad_consents() -> list[bytes]:
    """Values for `consent` that are no consent/1; what should hold for such a person is: nothing."""
    entry = {
        "business": BUSINESS, "category": "utility", "purpose": "*", "status": "granted", "expires_at": None,
        "update_id": "u", "method": "checkbox", "source": "x",
    }  # fmt: skip
    entries: list[Any] = [
        None, 5, "x", {}, [1], [None], [{}], [[]], [entry], [{**entry, "at": "then"}], [{**entry, "at": 7}],
    ]  # fmt: skip
    erased: list[Any] = [5, "then", [], False]
    return [
        *_values("consent"),
        *(orjson.dumps({"entries": odd, "erased_at": None}) for odd in entries),
        *(orjson.dumps({"entries": [], "erased_at": odd}) for odd in erased),
    ]


def bad_windows(number: str) -> list[bytes]:
    """Values for `service-windows` that are no service-window/1."""
    whole: list[Any] = [None, 5, [], "x"]
    one: list[Any] = [None, 5, [], "x", {}, {"until": 5}, {"until": "later"}, {"opened_at": "x", "until": None}]
    return [
        *_values("service-window"),
        *(orjson.dumps({"windows": odd}) for odd in whole),
        *(orjson.dumps({"windows": {number: odd}}) for odd in one),
    ]


def bad_states(number: str) -> list[bytes]:
    """Values for `account-state`: garbage, halts without a readable end, marks without readable offsets."""
    halt = {"kind": "number", "id": number, "aspect": "halt", "halted": True, "reason": "throttled", "until": None}
    mark = {"kind": "lane", "id": f"{number}#0", "aspect": "mark"}
    ends: list[Any] = [None, "soon", 5, [], {}, "9999-99-99T00:00:00Z"]
    names: list[Any] = [None, 7, [], {}]
    marks: list[Any] = [None, "x", 0.5, [], {}]
    return [
        *_values("account-state"),
        *(orjson.dumps({**halt, "until": odd}) for odd in ends),
        *(orjson.dumps({**halt, "id": odd, "until": "2020-01-01T00:00:00.000Z"}) for odd in names),
        *(orjson.dumps({**mark, "needed": odd, "generation": odd, "last_attempt_ms": odd}) for odd in marks),
    ]


def _values(schema: str) -> list[bytes]:
    """The unreadable ones without the tombstone, which is a sound record of a compacted topic."""
    return [one.value for one in unreadable(schema) if one.value is not None]


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
