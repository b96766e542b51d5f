"""Two releases share internal topics in an upgrade and in its withdrawal: each reads what the other one wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from pipeline.gate.state import AccountFacts
from pipeline.ingress.states import States
from pipeline.records import examples, schemas
from pipeline.records.ready import parse_ready
from pipeline.sender.account import AccountState
from pipeline.sender.ledger_state import LedgerState
from tests.support.kafka_message import KafkaMessage
from tests.support.previous import INTERNAL, Kept, kept_facts, kept_records, known_shape, moved

KEPT = kept_records()
ADDED = "added_later"


def record_of(topic: str) -> str:
    """Name of a topic's records."""
    return {"send-ledger": "ledger", "account-state": "account-state"}.get(topic, "ready")


def internal(record: str) -> list[Kept]:
    """What is kept of the previous release's records of a kind; tombstones are left out."""
    return [one for one in KEPT if one.topic in INTERNAL and record_of(one.topic) == record and one.value is not None]


def test_what_is_kept_is_worth_it() -> None:
    """The previous release was stopped in the midst: each kind of record that an upgrade meets is there."""
    topics = {one.topic for one in KEPT}
    assert topics >= {"ready-urgent", "ready-normal", "ready-bulk", "delayed-retry", "delayed-retry-1h", "send-ledger"}
    states = LedgerState()
    for one in (kept for kept in internal("ledger") if kept.partition == 0):
        states.apply(one.json(), one.offset, one.timestamp_ms)
    assert states.unknown_ids(), "attempts without an outcome"
    assert {one.json()["kind"] for one in internal("ledger")} >= {"opened", "attempt", "settled"}
    aspects = {one.json()["aspect"] for one in internal("account-state")}
    assert aspects >= {"pause", "campaign", "halt", "webhook", "mark", "definition", "templates"}


@pytest.mark.parametrize("topic", INTERNAL)
def test_nothing_of_it_is_changed(topic: str) -> None:
    """What a test writes to Kafka is byte for byte what was left there, but for the times; no offset is missing."""
    mine = [one for one in KEPT if one.topic == topic]
    for one in mine:
        assert moved(one, 0) == (one.value.encode() if one.value is not None else None)
    if topic != "account-state":  # which is compacted
        for partition in {one.partition for one in mine}:
            offsets = [one.offset for one in mine if one.partition == partition]
            assert offsets == list(range(len(offsets)))


@pytest.mark.parametrize("record", ["ready", "ledger", "account-state"])
def test_this_release_reads_the_previous_one(record: str) -> None:
    """Every record that the previous release left is read by model and schema."""
    validator = Draft202012Validator(schemas.schema_of(record))
    for one in internal(record):
        validator.validate(one.json())
        schemas.MODELS[record].validate_python(one.json(), by_alias=True, by_name=False)
        if record == "ready":
            assert parse_ready(one.json()).request_id


@pytest.mark.parametrize("record", ["ready", "ledger", "account-state"])
def test_the_previous_release_reads_this_one(record: str) -> None:
    """Every record as this release builds it fits the previous one's schema; a new kind of state is passed over."""
    schema = kept_facts().schemas[record]
    validator = Draft202012Validator(schema)
    known = [value for value in examples.VALID[record].values() if known_shape(value, schema)]
    assert known
    for value in known:
        validator.validate(value)


def test_a_break_would_be_noticed() -> None:
    """A record that lost a field, or has it of another type, does not pass for one that the previous release reads."""
    schema = kept_facts().schemas["ready"]
    value = next(iter(examples.VALID["ready"].values()))
    validator = Draft202012Validator(schema)
    assert validator.is_valid(value)
    assert not validator.is_valid({name: one for name, one in value.items() if name != "hops"})
    assert not validator.is_valid({**value, "attempt": "1"})


def newer(value: Any) -> Any:
    """The record as a later release might write it: a field more in every object."""
    if isinstance(value, dict):
        return {**{name: newer(one) for name, one in value.items()}, ADDED: {"x": [1]}}
    return [newer(one) for one in value] if isinstance(value, list) else value


def older(value: Any) -> Any:
    """The same without these fields."""
    if isinstance(value, dict):
        return {name: older(one) for name, one in value.items() if name != ADDED}
    return [older(one) for one in value] if isinstance(value, list) else value


def test_the_sender_ignores_new_fields_of_ready() -> None:
    """A ready record with fields of a later release is the same message."""
    for one in internal("ready"):
        there, then = parse_ready(one.json()), parse_ready(newer(one.json()))
        assert then._replace(record=there.record) == there
        assert set(there._fields) > {"record"}


def test_the_sender_ignores_new_fields_of_the_ledger() -> None:
    """A ledger with fields of a later release says the same of every request."""
    there, then = LedgerState(), LedgerState()
    for one in internal("ledger"):
        there.apply(one.json(), one.offset, one.timestamp_ms)
        then.apply(newer(one.json()), one.offset, one.timestamp_ms)
    for state in then.ids.values():
        state.event = older(state.event)
    assert vars(then) == vars(there)


def sender_knows(batch: list[Any]) -> list[Any]:
    """What a sender makes of account states."""
    state = AccountState(lambda: None)
    state.apply(batch)
    numbers = {message.key().decode().removeprefix("number:").partition("/")[0] for message in batch}
    verified = {number: state.webhook_verified(number) for number in numbers}
    return [state._halts, state._no_marketing_ms, verified, vars(state.stops), state.templates._known]


def gate_knows(batch: list[Any]) -> list[Any]:
    """What a gate makes of them: newest values, which its rules look up by field, and templates."""
    facts = AccountFacts()
    facts.apply(batch)
    known = {key: (one.status, one.category, one.quality, one.shape) for key, one in facts.templates._known.items()}
    return [older(facts._values), facts.changes, known]


def ingress_knows(batch: list[Any]) -> list[Any]:
    """What an ingress makes of them."""
    states = States()
    states.apply(batch)
    return [older(states._known)]


@pytest.mark.parametrize("knows", [sender_knows, gate_knows, ingress_knows])
def test_readers_of_account_state_ignore_new_fields_and_kinds(knows: Callable[[list[Any]], list[Any]]) -> None:
    """States with fields of a later release say the same, and one of a kind that nobody knows yet disturbs nobody."""
    values = {one.key or "": one.json() for one in internal("account-state")}
    values |= {f"example:{name}": value for name, value in examples.VALID["account-state"].items()}
    there = [message_of(key, value) for key, value in values.items()]
    then = [message_of(key, newer(value)) for key, value in values.items()]
    assert knows(there) == knows(then)
    strange = {"kind": "planet", "id": "x", "aspect": "orbit", "at": "2026-11-20T08:00:00.000Z", "by": "later"}
    knows([*then, message_of("planet:x/orbit", strange)])


def message_of(key: str, value: Any) -> KafkaMessage:
    """A Kafka message."""
    return KafkaMessage(key.encode(), orjson.dumps(value))
