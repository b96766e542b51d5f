"""Properties of webhooks: parsing is total and deterministic, a redelivery repeats its event ids, signatures hold."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records.inbound import InboundEvent
from pipeline.records.schemas import MODELS
from pipeline.whatsapp.callback import callback_of
from pipeline.whatsapp.news import merge, news_of
from pipeline.whatsapp.optout import opt_out_of
from pipeline.whatsapp.signature import sign, verify_signature
from pipeline.whatsapp.stop_words import fold
from pipeline.whatsapp.webhooks import WebhookError, parse_webhook

AT = "2026-11-22T10:00:00.000Z"
LATER = "2026-11-22T11:00:00.000Z"
NAMES = st.sampled_from(
    [
        *("id", "status", "timestamp", "recipient_id", "from", "errors", "code", "pricing", "type", "text", "body"),
        *("contacts", "wa_id", "user_id", "metadata", "phone_number_id", "statuses", "messages", "button", "payload"),
        *("event", "restriction_info", "expiration", "ban_info", "alert_info", "alert_type", "current_limit", "time"),
        *("message_template_name", "message_template_language", "other_info", "title", "new_category", "decision"),
        *("biz_opaque_callback_data", "interactive", "user_preferences", "value", "recipient_participant_id"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=6)
JSON = st.recursive(
    SCALARS | st.sampled_from(["stop", "STOP", "1795300000", "PAUSED", "promo", "en-US", "TIER_1K"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=5)
VALUES = st.fixed_dictionaries(
    {}, optional={key: st.lists(OBJECTS | JSON, max_size=3) for key in ("messages", "statuses", "errors", "contacts")}
)
FIELDS = [
    *("messages", "user_preferences", "calls", "account_update", "account_alerts", "account_review_update"),
    *("phone_number_quality_update", "business_capability_update", "template_category_update"),
    *("message_template_status_update", "message_template_quality_update"),
]
CHANGES = st.fixed_dictionaries({"field": st.sampled_from(FIELDS), "value": VALUES | OBJECTS | JSON})
ENVELOPES = st.fixed_dictionaries(
    {
        "object": st.just("whatsapp_business_account"),
        "entry": st.lists(
            st.fixed_dictionaries(
                {"id": st.just("3") | JSON, "time": JSON, "changes": st.lists(CHANGES | JSON, max_size=3)}
            )
            | JSON,
            max_size=2,
        ),
    }
)
DOCUMENTS = ENVELOPES | VALUES | OBJECTS


def parsed(body: bytes, received_at: str = AT) -> list[dict[str, Any]] | None:
    """The events of a body, None if it is no webhook; anything else that is raised is a failure of the test."""
    try:
        return parse_webhook(body, received_at=received_at, number="7")
    except WebhookError:
        return None


@given(body=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_events_or_a_webhook_error(body: bytes) -> None:
    """Any bytes become events or a WebhookError, nothing else."""
    parsed(body)


@given(document=DOCUMENTS)
@settings(max_examples=150, deadline=None)
def test_events_fit_their_record(document: dict[str, Any]) -> None:
    """Any JSON object becomes valid inbound-event records or a WebhookError; opt-outs and states are read from any."""
    for event in parsed(orjson.dumps(document)) or []:
        InboundEvent.model_validate(orjson.loads(orjson.dumps(event)))
        opt_out_of(event, stops={"stop": "en"}, starts={"start": "en"}, payloads={"STOP": {"category": "marketing"}})
        for news in news_of({**event, "number": "7"}):
            MODELS["account-state"].validate_python(merge(None, news))


@given(document=DOCUMENTS)
@settings(max_examples=100, deadline=None)
def test_redelivery_repeats_event_ids(document: dict[str, Any]) -> None:
    """The same webhook, written with other blanks and delivered an hour later, gives the same event ids."""
    first = parsed(orjson.dumps(document))
    again = parsed(orjson.dumps(document, option=orjson.OPT_INDENT_2), LATER)
    assert [event["event_id"] for event in first or []] == [event["event_id"] for event in again or []]
    assert (first is None) == (again is None)
    assert first == parsed(orjson.dumps(document))


@given(request_id=st.text(min_size=1, max_size=128), attempt=st.integers(0, 999_999_999))
def test_callback_round_trip(request_id: str, attempt: int) -> None:
    """Whatever the request id holds, colons too, the callback data brings id and attempt back."""
    assert callback_of(f"{request_id}:{attempt}") == (request_id, attempt)


@given(raw=st.binary(), secret=st.binary(min_size=1), other=st.binary(min_size=1), flipped=st.integers(0, 63))
def test_signature_holds_for_its_bytes_only(raw: bytes, secret: bytes, other: bytes, flipped: int) -> None:
    """A signature verifies with its own secret among others, and no changed signature or body does."""
    header = sign(raw, secret)
    assert verify_signature(raw, header, [other, secret])
    assert not verify_signature(raw + b" ", header, [secret])
    at = len("sha256=") + flipped
    changed = header[:at] + ("0" if header[at] != "0" else "1") + header[at + 1 :]
    assert not verify_signature(raw, changed, [secret])


@given(header=st.none() | st.text(st.characters(), max_size=80), raw=st.binary(max_size=20))
def test_any_header_is_judged(header: str | None, raw: bytes) -> None:
    """Any header is judged without an exception, and none made without the secret verifies."""
    assert not verify_signature(raw, header, [b"secret of the test", b""])


@given(text=st.text(max_size=40))
def test_fold_is_idempotent(text: str) -> None:
    """A folded text stays as it is when folded again."""
    assert fold(fold(text)) == fold(text)
