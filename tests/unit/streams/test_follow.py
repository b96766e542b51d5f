"""A follower hears everything from its beginning on, in order, and never believes that it is fresher than it is."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaException

from pipeline.config import KafkaSettings
from pipeline.streams import follow
from pipeline.streams.follow import BATCH_RECORDS, ENDS_EVERY_S, Follower
from tests.unit.streams.following import (
    AWAY,
    MARKER,
    TOPIC,
    Broker,
    FakeAdmin,
    FakeConsumer,
    Message,
    Reading,
)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Broker]:
    """Makes a broker that followers read from; retries come at once."""

    def make(partitions: int = 1) -> Broker:
        made = Broker(partitions)
        monkeypatch.setattr(follow, "Consumer", lambda conf: FakeConsumer(made, conf))
        monkeypatch.setattr(follow, "AdminClient", lambda _conf: FakeAdmin(made))
        monkeypatch.setattr(follow, "steady_s", lambda: made.now_s)
        monkeypatch.setattr(follow, "RETRY_S", 0.0)
        return made

    return make


Make = Callable[..., Broker]


# -- where it begins -------------------------------------------------------------------------------------------------
def test_it_hears_everything_from_the_beginning(broker: Make) -> None:
    """Without a time it begins at the first record that is left, on every partition, and goes on with what comes."""
    kafka = broker(partitions=2)
    kafka.put("gone", "a", "b")
    kafka.put("x", "y", partition=1)
    kafka.low[0] = 1
    kafka.polled[3] = lambda: kafka.put("c")
    reading = Reading(kafka)
    reading.run(polls=6)
    assert reading.heard == {0: ["a", "b", "c"], 1: ["x", "y"]}


@pytest.mark.parametrize(("from_ms", "heard"), [(200, ["b", "c"]), (-5000, ["a", "b", "c"]), (150, ["b", "c"])])
def test_it_hears_everything_from_a_time(broker: Make, from_ms: int, heard: list[str]) -> None:
    """With a time it begins at the first record that is not older; a time before all times is the beginning."""
    kafka = broker()
    for text, time_ms in (("a", 100), ("b", 200), ("c", 300)):
        kafka.put(text, time_ms=time_ms)
    reading = Reading(kafka, from_ms)
    reading.run(polls=4)
    assert reading.texts == heard


def test_it_begins_at_the_end_if_nothing_is_so_young(broker: Make) -> None:
    """Older records are not heard; what comes after the end was asked for is, even before the question for the time."""
    kafka = broker()
    kafka.put("old", time_ms=100)
    kafka.asked_for_times = lambda: kafka.put("meanwhile", time_ms=50)
    reading = Reading(kafka, from_ms=200)
    reading.run(polls=4)
    assert reading.texts == ["meanwhile"]


def test_what_is_there_comes_in_large_batches(broker: Make) -> None:
    """The loop is asked once for all that was fetched, but never for more than a batch holds."""
    kafka = broker()
    kafka.fetchable = 3000
    kafka.put(*(str(n) for n in range(BATCH_RECORDS + 500)))
    reading = Reading(kafka)
    reading.run(polls=4)
    assert reading.batches == [BATCH_RECORDS, 500]
    assert reading.texts == [str(n) for n in range(BATCH_RECORDS + 500)]


def test_it_reads_for_itself_alone(broker: Make) -> None:
    """It joins no group and commits nothing; records of aborted transactions are not heard."""
    kafka = broker()
    Reading(kafka).run(polls=1)
    (conf,) = kafka.conf
    assert (conf["enable.auto.commit"], conf["isolation.level"]) == (False, "read_committed")
    assert conf["enable.partition.eof"] is False, "the end is proven by offsets"


# -- how fresh it is -------------------------------------------------------------------------------------------------
def test_it_knows_nothing_at_first(broker: Make) -> None:
    """Before anything was read its knowledge is infinitely old."""
    reading = Reading(broker())
    assert reading.lag_s() == float("inf")
    assert not reading.follower.caught_up.is_set()


def test_an_empty_topic_is_known_at_once(broker: Make) -> None:
    """Nothing to read is everything read: proven by offsets, not by the lack of records."""
    reading = Reading(broker(partitions=3))
    reading.run(polls=2)
    assert reading.follower.caught_up.is_set()
    assert reading.lag_s() < 1.0


def test_it_has_caught_up_only_when_all_is_applied(broker: Make) -> None:
    """While records up to the end that was asked for are missing, on any partition, it is as old as before."""
    kafka = broker(partitions=2)
    kafka.put("a", "b", "c")
    kafka.put("x", partition=1)
    kafka.fetchable = 1
    reading = Reading(kafka)
    lags: list[float] = []
    for poll in range(2, 6):
        kafka.polled[poll] = lambda: lags.append(reading.lag_s())
    reading.run(polls=6)
    assert lags[:3] == [float("inf")] * 3
    assert lags[3] < float("inf")
    assert reading.caught_up_at_batch == [False] * 4, "the last record is applied before it counts"


def test_its_age_counts_from_the_question_for_the_ends(broker: Make) -> None:
    """What was written after the ends were asked for may be unknown, however late they were reached."""
    kafka = broker()
    kafka.put(*"abcd")
    kafka.fetchable = 1

    def time_passes() -> None:
        kafka.now_s += 10.0

    kafka.polled.update({2: time_passes, 3: time_passes})
    ages: list[float] = []
    kafka.polled[5] = lambda: ages.append(reading.lag_s())
    reading = Reading(kafka)
    reading.run(polls=6)
    assert kafka.ends_asked_s[0] == 1000.0
    assert ages == [20.0]


def test_it_grows_old_while_it_is_behind(broker: Make) -> None:
    """Records that cannot be fetched make its knowledge older and older; it does not move its end closer."""
    kafka = broker()
    reading = Reading(kafka)

    def stuck() -> None:
        kafka.put("late")
        kafka.fetchable = 0

    def resumes() -> None:
        assert reading.lag_s() > 2.0
        assert len(kafka.ends_asked_s) == asked[0], "no newer end is asked for"
        kafka.fetchable = 10

    asked: list[int] = []
    kafka.polled.update({5: stuck, 10: lambda: asked.append(len(kafka.ends_asked_s)), 20: resumes})
    reading.run(polls=24)
    assert reading.texts == ["late"]
    assert reading.lag_s() < 1.5


def test_the_ends_are_asked_for_twice_a_second(broker: Make) -> None:
    """While it is at the end it proves its freshness regularly, and not with every poll."""
    kafka = broker()
    reading = Reading(kafka)
    reading.run(polls=21)
    gaps = {after - before for before, after in zip(kafka.ends_asked_s, kafka.ends_asked_s[1:], strict=False)}
    assert gaps == {ENDS_EVERY_S}
    assert reading.lag_s() <= 2 * ENDS_EVERY_S


def test_what_is_no_record_is_passed(broker: Make) -> None:
    """The marker of a transaction stands at the end of the log and is never given: it is no reason to be behind."""
    kafka = broker()
    kafka.put("a", MARKER)
    reading = Reading(kafka)
    reading.run(polls=6)
    assert reading.texts == ["a"]
    assert reading.follower.caught_up.is_set()


# -- trouble ---------------------------------------------------------------------------------------------------------
def test_errors_are_no_records(broker: Make) -> None:
    """An error among the records is left out; the records are heard."""
    kafka = broker()
    kafka.put("a")
    kafka.errors.append(Message(0, -1, 0, "", AWAY))
    reading = Reading(kafka)
    reading.run(polls=4)
    assert reading.texts == ["a"]
    assert all(reading.batches), "there are no empty batches"


def test_it_comes_back_when_kafka_does(broker: Make) -> None:
    """A lost connection ends nothing: it goes on where it was, and meanwhile its knowledge only grows older."""
    kafka = broker()
    kafka.put("a")
    reading = Reading(kafka)

    def lost() -> None:
        kafka.now_s += 5.0
        kafka.put("b")
        raise KafkaException(AWAY)

    ages: list[float] = []
    kafka.polled.update({4: lost, 5: lambda: ages.append(reading.lag_s())})
    reading.run(polls=8)
    assert reading.texts == ["a", "b"], "nothing twice, and nothing left out"
    assert ages[0] >= 5.0
    assert reading.lag_s() < 1.0
    assert kafka.closed == len(kafka.conf) == 2, "no client is left over"


def test_a_topic_that_is_not_there_yet_is_waited_for(broker: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without metadata it tries again, and knows nothing."""
    kafka = broker()
    kafka.put("a")
    kafka.lists = False
    tries = FakeConsumer.list_topics

    def appears(consumer: FakeConsumer, topic: str, timeout: float) -> Any:
        answer = tries(consumer, topic, timeout)
        assert reading.lag_s() == float("inf")
        kafka.lists = len(kafka.conf) >= 2
        return answer

    monkeypatch.setattr(FakeConsumer, "list_topics", appears)
    reading = Reading(kafka)
    reading.run(polls=3)
    assert len(kafka.conf) == 3
    assert reading.texts == ["a"]


def test_it_ends_with_its_loop(broker: Make) -> None:
    """A closed loop is nobody who listens: the thread ends, and leaves no client behind."""
    kafka = broker()
    reading = Reading(kafka)
    kafka.put("a")
    reading.loop.closed = True
    reading.follower._run()
    assert reading.texts == []
    assert kafka.closed == 1


async def test_a_thread_reads_and_the_loop_applies(broker: Make) -> None:
    """Batches are applied on the loop's thread; `stop` ends the reading for good."""
    kafka = broker()
    kafka.polls_max, kafka.pause_s = sys.maxsize, 0.001
    kafka.put("a", "b")
    applied: list[tuple[str, threading.Thread]] = []

    def apply(batch: list[Message]) -> None:
        applied.extend((message.text, threading.current_thread()) for message in batch)

    follower = Follower(KafkaSettings(), TOPIC, apply, asyncio.get_running_loop())
    follower.start()
    await asyncio.wait_for(follower.caught_up.wait(), 30.0)
    await follower.stop()
    assert [text for text, _ in applied] == ["a", "b"]
    assert {thread for _, thread in applied} == {threading.main_thread()}
    assert not follower._thread.is_alive()
    assert kafka.closed == 1


# -- bounds and ends -------------------------------------------------------------------------------------------------
def test_it_reads_no_faster_than_it_is_applied(broker: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is busy holds a few batches, not the whole topic; what it had no room for is not passed."""
    monkeypatch.setattr(follow, "HAND_OVER_LOOK_S", 0.0)
    kafka = broker()
    kafka.put(*(str(number) for number in range(100)))
    kafka.fetchable = 1
    reading, waiting = Reading(kafka), list[Callable[[], None]]()

    def later(callback: Callable[..., None], *args: Any) -> None:
        waiting.append(lambda: callback(*args))
        if len(waiting) == follow.BATCHES_ON_THE_WAY:
            kafka.polled[kafka.polls + 1] = reading.follower._stop.set

    monkeypatch.setattr(reading.loop, "call_soon_threadsafe", later)
    reading.follower._run()
    assert len(waiting) == follow.BATCHES_ON_THE_WAY
    for apply in waiting:
        apply()
    assert reading.texts == ["0", "1", "2", "3"]


def test_added_partition_is_heard(broker: Make) -> None:
    """What is said on a partition that was added later counts, too; nothing of before is heard twice."""
    kafka = broker()
    kafka.put("a")
    reading = Reading(kafka)
    reading.heard[1] = []

    def grow() -> None:
        kafka.logs[1], kafka.low[1] = [], 0
        kafka.put("b", partition=1)
        kafka.now_s += follow.COUNT_EVERY_S

    lags: list[float] = []
    kafka.polled |= dict.fromkeys(range(4, 10), lambda: lags.append(reading.lag_s()) if len(kafka.conf) > 1 else None)
    kafka.polled[3] = grow
    reading.run(polls=9)
    assert reading.heard == {0: ["a"], 1: ["b"]}
    assert lags[0] == float("inf")  # nothing counts as known before the added one is read to its end
    assert reading.follower.partitions == 2
    assert reading.lag_s() < 1.0


def test_what_nobody_foresaw_is_told(broker: Make) -> None:
    """A bug in the reading ends it, and says so: a silent reader would look healthy."""
    kafka = broker()

    def bug() -> None:
        raise ValueError("a bug")

    kafka.polled[2] = bug
    reading = Reading(kafka)
    reading.follower._run()
    assert isinstance(reading.follower.error, ValueError)


def test_batch_that_cannot_be_applied_is_never_taken_for_known(broker: Make) -> None:
    """What it said is lost: the reader is at its end, and its knowledge only grows older from there on."""
    kafka = broker()
    kafka.put("a")
    reading = Reading(kafka)
    reading.heard = {}
    reading.run(polls=6)
    assert isinstance(reading.follower.error, KeyError)
    assert reading.lag_s() == float("inf")
