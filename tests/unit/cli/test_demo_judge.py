"""The demo's judge: books that are right pass, and each kind of fault is found and counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from pipeline.cli.demo.books import Books, Post, Request, Sender, Spell
from pipeline.cli.demo.campaign import Builder, Campaign, Planned
from pipeline.cli.demo.judge import STATUSES, Verdict, judge, latency
from pipeline.cli.demo.summary import summary_lines
from pipeline.cli.local_plan import CLOUD_NUMBER, V1_NUMBER
from pipeline.records.outbound import outbound_event
from pipeline.records.reasons import REASONS

NOW_MS = 1_800_000_000_000
STEP_MS = 20.0


class World:
    """The books of a run in which everything went as planned."""

    def __init__(self) -> None:
        self.made: Campaign = Builder(5, 400, 3, NOW_MS).build()
        self.planned = list(self.made.requests)
        self.books = Books(senders={V1_NUMBER: Sender(-3.0), CLOUD_NUMBER: Sender(-1.5)})
        for offset, planned in enumerate(self.planned):
            self._end(planned, offset)

    def _end(self, planned: Planned, offset: int) -> None:
        end = sorted(planned.ends)[0]
        key = (planned.number, planned.request_id) if planned.request_id else None
        category = str(orjson.loads(planned.value)["category"]) if key else "None"
        at_ms = NOW_MS + offset
        self.books.requests.append(Request(planned.topic, 0, offset, at_ms, key, planned.recipient, category))
        if end == "dead-letter":
            self.books.dead_letters += 1
            return
        event = _event(end, planned, offset)
        self.books.events[event["event_id"], event["type"]] = event
        if end == "accepted":
            self.post(planned, at_ms + STEP_MS)

    def post(self, planned: Planned, at_ms: float, **fields: Any) -> None:
        """Let the simulator accept a message."""
        message_id = f"wamid.{len(self.books.posts)}"
        post = Post(at_ms, planned.number, planned.recipient, planned.request_id, 200, True, message_id, "")
        self.books.posts.append(post._replace(**fields))
        if self.books.posts[-1].is_accepted:
            self.books.statuses |= {(message_id, status) for status in STATUSES}

    @property
    def accepted(self) -> list[Planned]:
        """What the API took, in order."""
        by_id = {planned.request_id: planned for planned in self.planned if not planned.is_repeat}
        return [by_id[post.text] for post in self.books.posts]

    def verdict(self) -> Verdict:
        """What the judge says."""
        return judge(self.books, self.planned)


def _event(end: str, planned: Planned, offset: int) -> dict[str, Any]:
    kind = REASONS[end].type if end in REASONS else end
    request = {"request_id": planned.request_id, "from": planned.number, "to": planned.recipient}
    source = {"topic": planned.topic, "partition": 0, "offset": offset}
    reason = end if end in REASONS else None
    return outbound_event(kind, request, source, at_ms=NOW_MS, stage="sender", reason=reason)


@pytest.fixture
def world() -> World:
    """A run without fault."""
    return World()


def _counts(verdict: Verdict) -> dict[str, int]:
    return {finding.name: finding.count for finding in verdict.findings if finding.count}


def test_books_of_a_good_run_balance(world: World) -> None:
    """Everything ended as planned: it adds up, and no promise was broken."""
    verdict = world.verdict()
    assert verdict.adds_up
    assert _counts(verdict) == {}
    assert verdict.is_good
    assert verdict.produced == 400


def test_request_without_an_end_is_lost(world: World) -> None:
    """A missing terminal event breaks the sum and is named."""
    key = next(key for key, event in world.books.events.items() if event["type"] == "rejected")
    lost = world.books.events.pop(key)
    verdict = world.verdict()
    assert not verdict.adds_up
    assert not verdict.is_good
    assert _counts(verdict) == {"lost": 1}
    assert lost["request_id"] in verdict.findings[0].examples[0]


def test_unreadable_record_that_is_not_in_dead_letter_is_lost(world: World) -> None:
    """What cannot be read must be found again in dead-letter."""
    world.books.dead_letters -= 1
    assert _counts(world.verdict()) == {"lost": 1}


def test_repeat_without_a_duplicate_event_is_lost(world: World) -> None:
    """Each record of an id that was used twice has its own end."""
    key = next(key for key, event in world.books.events.items() if event["type"] == "duplicate")
    del world.books.events[key]
    assert _counts(world.verdict()) == {"lost": 1}


def test_record_that_never_reached_the_topic_is_lost(world: World) -> None:
    """A planned record that is not on its entrance counts, whatever the events say."""
    world.books.requests.pop()
    assert _counts(world.verdict())["lost"] == 1


def test_second_acceptance_is_sent_twice(world: World) -> None:
    """Two accepted POSTs of one request are one too many."""
    world.post(world.accepted[-1], NOW_MS + 5000)
    assert _counts(world.verdict()) == {"sent twice": 1}


def test_overtaking_in_a_chain_is_out_of_order(world: World) -> None:
    """Of two messages to one person of one priority, the later one may not be accepted first; of two people, it may."""
    posts = world.books.posts
    requests = {request.key: request for request in world.books.requests}
    chains: dict[Any, list[int]] = {}
    for index, post in enumerate(posts):
        request = requests[post.number, post.text]
        chains.setdefault((post.number, post.recipient, request.category, request.topic), []).append(index)
    first, second, *_ = next(found for found in chains.values() if len(found) > 1)
    posts[first], posts[second] = posts[second], posts[first]
    assert _counts(world.verdict()) == {"out of order": 1}


@pytest.mark.parametrize(("excess", "count"), [(0.0, 0), (0.2, 1), (4.0, 4)])
def test_more_than_the_envelope_is_over_the_limit(world: World, excess: float, count: int) -> None:
    """The simulator's worst interval may hold no request beyond rate·t + burst."""
    world.books.senders[V1_NUMBER] = Sender(excess)
    assert _counts(world.verdict()).get("over the limit", 0) == count


@pytest.mark.parametrize(("fault", "count"), [("", 1), ("429", 0)])
def test_429_counts_only_outside_of_spells(world: World, fault: str, count: int) -> None:
    """A 429 that the demo itself caused breaks no promise; one of the API's own limit does."""
    world.post(world.accepted[0], NOW_MS, status=429, is_accepted=False, message_id="", fault=fault)
    assert _counts(world.verdict()).get("over the limit", 0) == count


@pytest.mark.parametrize(("after_ms", "count"), [(900, 0), (1100, 1)])
def test_post_long_after_an_opt_out_is_found(world: World, after_ms: int, count: int) -> None:
    """A message may leave up to a second after the opt-out was on Kafka, and not later."""
    post = world.books.posts[-1]
    world.books.opt_outs[post.recipient] = int(post.at_ms) - after_ms
    assert _counts(world.verdict()).get("sent after opt-out", 0) == count


def test_wrong_end_is_other_than_planned(world: World) -> None:
    """A message to somebody without consent that is accepted is found, even if everything else fits."""
    planned = next(one for one in world.planned if one.ends == {"no_consent"})
    event = _event("accepted", planned, 0)
    world.books.events.pop((event["event_id"], "rejected"))
    world.books.events[event["event_id"], "accepted"] = event
    world.post(planned, NOW_MS + 9000)
    verdict = world.verdict()
    assert verdict.adds_up
    assert _counts(verdict) == {"other than planned": 1}


def test_event_and_ledger_must_agree(world: World) -> None:
    """What the events call accepted the API took, and the reverse."""
    post = world.books.posts.pop()
    assert f"{post.text} is accepted by the events, not by the API" in str(world.verdict().findings)
    other = next(one for one in world.planned if one.ends == {"no_consent"})
    world.post(other, NOW_MS)
    assert f"{other.request_id} is accepted by the API, not by the events" in str(world.verdict().findings)


def test_missing_status_is_counted(world: World) -> None:
    """Each accepted message has all its statuses on Kafka."""
    world.books.statuses.pop()
    assert _counts(world.verdict()) == {"statuses missing": 1}


def test_codes_on_a_halted_number_are_told_apart(world: World) -> None:
    """A code that waited for the API to take messages again does not blur the latency of the others."""
    code = world.made.codes[0]
    index = next(n for n, post in enumerate(world.books.posts) if post.text == code.request_id)
    late_ms = world.books.posts[index].at_ms + 7000
    world.books.posts[index] = world.books.posts[index]._replace(at_ms=late_ms)
    spell = Spell(code.number, late_ms - 6000, late_ms - 10)
    before = world.verdict()
    world.books.spells = [spell]
    after = world.verdict()
    assert before.urgent is not None
    assert after.urgent is not None
    assert after.urgent_halted is not None
    assert before.urgent.max_ms > 7000 > after.urgent.max_ms
    assert after.urgent_halted.max_ms > 7000


def test_latency_is_by_nearest_rank() -> None:
    """Of a hundred waits, the 50th and the 99th."""
    found = latency([float(n) for n in range(100, 0, -1)])
    assert found is not None
    assert (found.messages, found.p50_ms, found.p99_ms, found.max_ms) == (100, 50, 99, 100)
    assert latency([]) is None


def test_summary_says_whether_it_adds_up(world: World) -> None:
    """The first line of the summary holds the sum, and says so if it is none."""
    good = world.verdict()
    assert "(adds up)" in str(summary_lines(good)[0])
    bad = replace(good, produced=good.produced + 1)
    assert "DOES NOT ADD UP" in str(summary_lines(bad)[0])
