"""Who became suppressed after the gate judged gets nothing; what the API refuses of a person suppresses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import orjson
import pytest

from pipeline.clock import rfc3339
from pipeline.errors import NotSent
from pipeline.records.layout import MOVED_HEADER
from pipeline.sender import suppressions
from pipeline.sender.dispatch import Dispatch
from pipeline.sender.flight import Flight
from pipeline.sender.jobs import Stage
from pipeline.sender.lane import Lane
from pipeline.sender.posting import Posting
from pipeline.sender.suppressions import Suppressions
from pipeline.sender.unknown import Unknowns
from pipeline.whatsapp.client import Answer, Client, LastCheck
from pipeline.whatsapp.suppression import is_suppression
from tests.support.kafka_message import KafkaMessage
from tests.support.sender_values import ADA, BOB, NOW_MS, NUMBER
from tests.unit.sender.making import Bench, Make

EVENTS = "outbound-events"
DAY_MS = 86_400_000
REFUSED = Answer(400, {}, b'{"error":{"message":"Message undeliverable","code":131026}}')
OTHERWISE = Answer(400, {}, b'{"error":{"message":"Invalid parameter","code":131009}}')


def of(recipient: str, until_ms: int | None = None, **fields: Any) -> KafkaMessage:
    """A suppression of that person."""
    until = rfc3339(until_ms) if until_ms is not None else None
    value = {"recipient": recipient, "reason": "not_on_whatsapp", "until": until, "at": rfc3339(NOW_MS), **fields}
    return KafkaMessage(recipient.encode(), orjson.dumps(value))


def knowing(*messages: KafkaMessage) -> Suppressions:
    """What is known after these records."""
    known = Suppressions(lambda: NOW_MS)
    known.apply(list(messages))
    return known


def test_it_holds_until_it_ends_or_is_lifted() -> None:
    """The newest record of a person decides; a tombstone and the end of its days lift it."""
    known = knowing(of(ADA, NOW_MS + DAY_MS), of(BOB))
    assert known.forbids(ADA, NOW_MS)
    assert known.forbids(BOB, NOW_MS + 9 * DAY_MS)
    assert not known.forbids("15550100000", NOW_MS)
    assert not known.forbids(ADA, NOW_MS + DAY_MS)
    known.apply([KafkaMessage(BOB.encode(), None)])
    assert not known.forbids(BOB, NOW_MS)


def test_who_was_moved_to_another_partition_stays_suppressed() -> None:
    """The tombstone that a move leaves behind lifts nothing, in whatever order the two partitions are read."""
    left = KafkaMessage(ADA.encode(), None, said=((MOVED_HEADER, b"1"),))
    assert knowing(of(ADA), left).forbids(ADA, NOW_MS)
    assert knowing(left, of(ADA)).forbids(ADA, NOW_MS)


def test_what_is_over_is_not_kept() -> None:
    """Memory holds who is suppressed now, not who ever was."""
    known = knowing(of(ADA, NOW_MS - 1), of(BOB, NOW_MS + DAY_MS), of(BOB, NOW_MS - 1))
    assert len(known) == 0


def test_rubbish_changes_nothing() -> None:
    """A record that cannot be read neither suppresses nor stops the reading."""
    known = knowing(
        KafkaMessage(ADA.encode(), b"no"),
        KafkaMessage(ADA.encode(), b"[]"),
        of(ADA, until="soon"),
        KafkaMessage(None, b"{}"),
        of(BOB),
    )
    assert (known.forbids(ADA, NOW_MS), known.forbids(BOB, NOW_MS), len(known)) == (False, True, 1)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the newest are not kept, those that are kept stay current."""
    monkeypatch.setattr(suppressions, "MAX_PEOPLE", 1)
    known = knowing(of(ADA, NOW_MS + 1), of(BOB), of(ADA, NOW_MS + DAY_MS))
    assert (len(known), known.forbids(BOB, NOW_MS), known.forbids(ADA, NOW_MS + 1)) == (1, False, True)


class OneAnswer:
    """An API that says the same to everybody; before it is asked, something may happen."""

    def __init__(self, answer: Answer, before: Callable[[], None]) -> None:
        self._answer, self._before = answer, before
        self.forbidden: str | None = None

    async def post(self, _url: str, _headers: dict[str, str], _body: bytes, check: LastCheck) -> Answer:
        """Ask the last check, then answer."""
        self._before()
        self.forbidden = check()
        if self.forbidden is not None:
            raise NotSent(self.forbidden)
        return self._answer


def sending(world: Bench, answer: Answer, before: Callable[[], None] = lambda: None) -> tuple[Lane, Posting]:
    """A lane with one message in hand, and who sends it."""
    lane = world.opened()
    world.deliver(world.ready("r-1"))
    for _ in range(4):  # until there are tokens, and opt-outs are read
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)
    world.ctx.client = cast("Client", OneAnswer(answer, before))
    lane.chains.take(lane.jobs["r-1"].priority)
    lane.jobs["r-1"].stage = Stage.IN_HAND
    return lane, Posting(world.ctx, world.finish, world.scheduling)


def test_the_last_check_obeys_it(bench: Make) -> None:
    """Suppressed while its attempt was written: nothing leaves, the attempt is void, the message is rejected."""
    world = bench()
    lane, posting = sending(world, REFUSED, lambda: world.ctx.suppressions.apply([of(ADA)]))
    world.run(posting.send(lane, lane.jobs["r-1"], Flight(lane, world.scheduling.wake), probe=False))
    [event] = world.log(EVENTS)
    assert (event["type"], event["reason"], event["consent"]) == ("rejected", "suppressed", None)
    kinds = [(record["kind"], record.get("reason")) for record in world.log("send-ledger")]
    assert kinds[-2:] == [("void", "suppressed"), ("settled", None)]
    assert lane.jobs == {}


def test_a_waiting_message_is_not_even_tried(bench: Make) -> None:
    """Who is suppressed before the turn comes costs no token and no attempt."""
    world = bench()
    lane = world.opened()
    posting = Posting(world.ctx, world.finish, world.scheduling)
    Dispatch(world.ctx, world.finish, world.scheduling, posting, cast("Unknowns", NoUnknowns()))
    world.kafka.write("account-state", {"aspect": "webhook", "verified": True}, f"number:{NUMBER}/webhook")
    world.ctx.suppressions.apply([of(ADA)])
    world.deliver(world.ready("r-1"))
    for _ in range(4):
        world.ctx.optouts.beat(world.now_s)
        world.run_for(0.8)
    [event] = world.log(EVENTS)
    assert (event["type"], event["reason"], event["attempt"]) == ("rejected", "suppressed", None)
    assert "attempt" not in [record["kind"] for record in world.log("send-ledger")]
    assert lane.jobs == {}


class NoUnknowns:
    """Nothing is of unknown outcome."""

    async def end_unsent(self, _lane: Lane, _job: Any) -> None:
        """Never asked."""
        raise AssertionError


@pytest.mark.parametrize("answer", [REFUSED, OTHERWISE], ids=["suppresses", "does not"])
def test_a_refusal_in_the_answer_suppresses_before_it_is_settled(bench: Make, answer: Answer) -> None:
    """The suppression is on Kafka before the request is settled, and only if the code is about the person."""
    world = bench()
    seen: list[list[str]] = []
    lane, posting = sending(world, answer)
    world.kafka.watchers.append(
        lambda stored: (
            seen.append([record["kind"] for record in world.log("send-ledger")])
            if stored.where[0] == "suppressions"
            else None
        )
    )
    world.run(posting.send(lane, lane.jobs["r-1"], Flight(lane, world.scheduling.wake), probe=False))
    [event] = world.log(EVENTS)
    assert (event["type"], event["reason"]) == ("failed", "api_rejected")
    written = world.log("suppressions")
    if answer is REFUSED:
        [record] = written
        assert is_suppression(record)
        assert (record["recipient"], record["reason"]) == (ADA, "not_on_whatsapp")
        assert "settled" not in seen[0]
    else:
        assert written == []
