"""Writing the records of one call: all acked, or an error in bounded time."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.config import KafkaSettings
from pipeline.ingress.outgoing import Outgoing
from pipeline.ingress.store import MESSAGE_TIMEOUT_MS, NotStored, Store, ingress_producer_conf
from pipeline.metrics import Metrics
from tests.unit.ingress.support import FakeDelivery

RECORDS = [Outgoing("t", "k1", b"1", []), Outgoing("t", "k2", b"2", [])]
TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


def _store(delivery: FakeDelivery, timeout_s: float = 60) -> tuple[Store, Metrics]:
    metrics = Metrics()
    return Store(delivery, metrics, timeout_s), metrics


def _errors(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("wapipe_producer_errors_total")


async def test_put_returns_when_every_record_is_acked_and_not_before() -> None:
    """With one ack missing the call waits; with the last one it goes on."""
    delivery = FakeDelivery()
    delivery.holds = True
    store, _ = _store(delivery)
    waiting = asyncio.create_task(store.put(RECORDS))
    await asyncio.sleep(0)
    delivery.held.pop(0)()
    await asyncio.sleep(0)
    assert not waiting.done()
    delivery.release()
    await waiting
    assert [key for _, key, _ in delivery.records] == ["k1", "k2"]


async def test_put_of_nothing_needs_no_kafka() -> None:
    """An empty envelope is answered without a record."""
    delivery = FakeDelivery()
    delivery.refuse = BufferError()
    await _store(delivery)[0].put([])


async def test_one_failed_record_fails_the_call_and_each_is_counted() -> None:
    """An error of any record means that not all is stored."""
    delivery = FakeDelivery()
    delivery.error = TIMED_OUT
    store, metrics = _store(delivery)
    with pytest.raises(NotStored):
        await store.put(RECORDS)
    await asyncio.sleep(0)
    assert _errors(metrics) == 2


async def test_acks_that_stay_away_fail_the_call_in_time_and_may_come_late() -> None:
    """The wait is bounded, and an ack after it disturbs nobody."""
    delivery = FakeDelivery()
    delivery.holds = True
    store, _ = _store(delivery, timeout_s=0)
    with pytest.raises(NotStored, match="no ack"):
        await store.put(RECORDS)
    delivery.release()


async def test_a_full_queue_fails_the_call_at_once() -> None:
    """Memory stays bounded: what has no room is refused."""
    delivery = FakeDelivery()
    delivery.refuse = BufferError()
    with pytest.raises(NotStored, match="queue is full"):
        await _store(delivery)[0].put(RECORDS)


async def test_a_record_that_the_producer_refuses_fails_the_call() -> None:
    """An error at the producer's door is the same as one of the broker."""
    delivery = FakeDelivery()
    delivery.refuse = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    store, metrics = _store(delivery)
    with pytest.raises(NotStored):
        await store.put(RECORDS)
    assert _errors(metrics) == 1


def test_the_producer_gives_up_soon_and_stays_safe() -> None:
    """Its time-outs are short and its acks are those of every producer."""
    conf = ingress_producer_conf(KafkaSettings())
    assert conf["message.timeout.ms"] == MESSAGE_TIMEOUT_MS
    assert conf["request.timeout.ms"] < conf["message.timeout.ms"]
    assert (conf["acks"], conf["enable.idempotence"]) == ("all", True)
