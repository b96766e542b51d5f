"""The gate's judgement over any input: it never fails, never admits without consent, always ends a request."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import parse_rfc3339_ms
from pipeline.gate.item import Out
from pipeline.gate.requests import Wait
from pipeline.records.consent_rule import standing
from pipeline.records.outbound import OutboundEvent
from pipeline.records.ready import parse_ready
from tests.unit.gate import making
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, OTHER, Tables, body, item

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
FIELDS = (
    "request_id", "from", "to", "category", "purpose", "priority", "campaign", "message", "not_before", "expires_at",
    "metadata",
)  # fmt: skip
TIMES = st.sampled_from(
    [None, "2026-11-22T09:59:59.999Z", "2026-11-22T10:00:00Z", "2026-11-22T11:30:00+01:00", "2026-11-25T00:00:00Z"]
)


@st.composite
def broken_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request in which some fields are something else, or gone."""
    value = making.request()
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=4, unique=True)):
        value[name] = draw(anything)
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=1)):
        value.pop(name, None)
    return value


@st.composite
def good_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request that fits the contract, of any kind."""
    return making.request(
        **{
            "from": draw(st.sampled_from([NUMBER, OTHER, "999"])),
            "category": draw(st.sampled_from(["marketing", "utility", "authentication", "service"])),
            "purpose": draw(st.sampled_from([None, "offers", "order-updates"])),
            "priority": draw(st.sampled_from([None, "urgent", "normal", "bulk"])),
            "message": draw(st.sampled_from([making.template(), making.text()])),
            "not_before": draw(TIMES),
            "expires_at": draw(TIMES),
        }
    )


@st.composite
def histories(draw: st.DrawFn) -> Tables:
    """Tables after some updates and perhaps a message of Ada's."""
    tables = Tables()
    for number in range(draw(st.integers(0, 3))):
        tables.grant(
            update_id=f"u-{number}",
            action=draw(st.sampled_from(["grant", "revoke"])),
            categories=draw(st.sampled_from([["utility"], ["marketing", "utility"], ["service"]])),
            purposes=draw(st.sampled_from([["*"], ["offers"]])),
            at=draw(st.sampled_from(["2026-11-20T08:00:00Z", "2026-11-21T08:00:00Z"])),
            expires_at=draw(st.sampled_from([None, "2026-11-22T10:30:00Z", "2026-11-22T10:00:00Z"])),
        )
    if draw(st.booleans()):
        tables.inbound.apply(item("inbound", making.message_event()))
    return tables


def ended(outs: list[Out] | Wait) -> list[Out]:
    """What was written; a settled request never waits."""
    assert not isinstance(outs, Wait)
    return outs


@given(st.binary(max_size=200) | anything.map(orjson.dumps) | broken_requests().map(orjson.dumps))
def test_any_bytes_end_in_exactly_one_thing(raw: bytes) -> None:
    """Whatever stands on the topic: one dead letter, one re-route, or one event (with a ready record if queued)."""
    outs = ended(Tables().judge(raw))
    topics = sorted(out.topic for out in outs)
    assert topics in (["dead-letter"], ["outbound-requests"], ["outbound-events"])
    if topics == ["outbound-events"]:
        assert OutboundEvent.model_validate(body(outs[0])).terminal


@given(st.binary(max_size=200) | anything.map(orjson.dumps))
def test_any_bytes_on_the_other_topics_end_in_at_most_a_letter(raw: bytes) -> None:
    """Updates and inbound events that are noise change no table."""
    tables = Tables()
    for outs in (tables.updates.apply(item("update", raw)), tables.inbound.apply(item("inbound", raw))):
        assert {out.topic for out in outs} <= {"dead-letter"}
    assert len(tables.consents) == len(tables.windows) == 0


@given(histories(), good_requests())
def test_nothing_is_admitted_without_consent_or_window(tables: Tables, value: dict[str, Any]) -> None:
    """What is admitted has a standing grant (service: no revoke), an open window if free-form, and time left."""
    outs = {out.topic: out for out in ended(tables.judge(value))}
    told = OutboundEvent.model_validate(body(outs["outbound-events"]))
    copies = [out for topic, out in outs.items() if topic != "outbound-events"]
    assert bool(copies) == (not told.terminal)
    if not copies:
        return
    message = parse_ready(body(copies[0]))
    business = tables.settings.numbers[value["from"]].business
    consent = tables.consents.get(item("normal", b"").tp[1], ADA.encode())
    kind = standing(consent, business, value["category"], value["purpose"], NOW_MS).kind
    if value["category"] == "service":
        assert kind != "withdrawn"
    else:
        assert kind == "granted"
    if value["category"] == "service" or value["message"]["type"] != "template":
        assert message.valid_until_ms <= parse_rfc3339_ms("2026-11-23T09:59:00.000Z")
    assert NOW_MS < message.valid_until_ms <= message.expires_ms
    assert (message.due_ms is not None) == (told.type == "deferred")
