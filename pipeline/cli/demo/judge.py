"""Counts the books of a run, and says whether they balance. Pure.

produced = accepted + rejected + failed + expired + cancelled + dead-lettered + duplicate. Besides that: nothing lost,
nothing sent twice, order kept, limit kept, nothing sent after an opt-out, and every request ended as its kind must.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.cli.demo.books import Books, Key, Post, Request
from pipeline.cli.demo.campaign import URGENT_ENTRANCE, Planned
from pipeline.records.reasons import TERMINAL
from pipeline.records.request import DEFAULT_PRIORITY

OPT_OUT_GRACE_MS = 1_000
STATUSES = ("sent", "delivered", "read")
EXAMPLES_MAX = 5


class Latency(NamedTuple):
    """From a request on Kafka (broker time) to its first POST (the simulator's clock), milliseconds."""

    messages: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise: how often it was broken, with a few of the requests concerned."""

    name: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(slots=True)
class Verdict:
    """What the books say.

    Attributes:
        produced: Records of the run on the entrances.
        ends: How many ended in which way; `dead-lettered` and `duplicate` are ways.
        reasons: Of the rejected, failed and expired ones.
        hits: Requests to the API that a 429 or a 503 met.
        retried: Messages that met one and were accepted later.
        deferred: Distinct `deferred` events.
        urgent: Latency of one-time codes on a number that was not halted.
        urgent_halted: Of those whose number the API refused at that time.
        bulk: Of marketing messages.
        statuses: Distinct status events by status.
        findings: The promises; all counts are 0 if they were kept.
    """

    produced: int
    ends: Counter[str]
    reasons: Counter[tuple[str, str]]
    hits: Counter[str]
    retried: int
    deferred: int
    urgent: Latency | None
    urgent_halted: Latency | None
    bulk: Latency | None
    statuses: Counter[str]
    findings: list[Finding] = field(default_factory=list)

    @property
    def adds_up(self) -> bool:
        """Whether every produced record is in exactly one way to end."""
        return self.produced == self.ends.total()

    @property
    def is_good(self) -> bool:
        """Whether the books balance and every promise was kept."""
        return self.adds_up and not any(finding.count for finding in self.findings)


def judge(books: Books, planned: Sequence[Planned]) -> Verdict:
    """Count everything.

    Args:
        books: What topics and simulator hold.
        planned: What was to be written.
    """
    terminal = {key: event for key, event in books.events.items() if event["type"] in TERMINAL}
    duplicates = [event for event in books.events.values() if event["type"] == "duplicate"]
    ends: Counter[str] = Counter(event["type"] for event in terminal.values())
    ends["duplicate"], ends["dead-lettered"] = len(duplicates), books.dead_letters
    accepted = [post for post in books.posts if post.is_accepted]
    hits = Counter(post.fault for post in books.posts if post.fault in ("429", "503"))
    met = {(post.number, post.text) for post in books.posts if post.fault in ("429", "503")}
    own_ids = {post.message_id for post in accepted}
    statuses = Counter(status for message_id, status in books.statuses if message_id in own_ids)
    ended: Counter[Key] = Counter()
    for event in (*terminal.values(), *duplicates):
        ended[event["number"], event["request_id"]] += 1
    urgent, urgent_halted, bulk = _latencies(books)
    verdict = Verdict(
        produced=len(books.requests),
        ends=ends,
        reasons=Counter((e["type"], e["reason"]) for e in terminal.values() if e["type"] != "accepted"),
        hits=hits,
        retried=len(met & {(post.number, post.text) for post in accepted}),
        deferred=sum(event["type"] == "deferred" for event in books.events.values()),
        urgent=urgent,
        urgent_halted=urgent_halted,
        bulk=bulk,
        statuses=statuses,
    )
    verdict.findings += [
        _lost(books, planned, ended),
        _finding("sent twice", _repeats(accepted)),
        _finding("out of order", _out_of_order(books.requests, accepted)),
        _over_the_limit(books),
        _finding("sent after opt-out", _after_opt_out(books, accepted)),
        _finding("other than planned", _unplanned(planned, terminal.values(), duplicates, accepted)),
        Finding("statuses missing", max(0, len(STATUSES) * len(own_ids) - sum(statuses[one] for one in STATUSES))),
    ]
    return verdict


def _finding(name: str, cases: Iterable[str]) -> Finding:
    found = list(cases)
    return Finding(name, len(found), tuple(found[:EXAMPLES_MAX]))


def _lost(books: Books, planned: Sequence[Planned], ended: Mapping[Key, int]) -> Finding:
    """Records without an end, and those that never reached the topic."""
    produced = Counter(request.key for request in books.requests)
    unreadable = produced.pop(None, 0)
    missing = [f"{key[1]} x{count - ended[key]}" for key, count in produced.items() if key and count > ended[key]]
    count = sum(max(0, count - ended[key]) for key, count in produced.items() if key is not None)
    count += max(0, unreadable - books.dead_letters) + max(0, len(planned) - len(books.requests))
    return Finding("lost", count, tuple(missing[:EXAMPLES_MAX]))


def _repeats(accepted: Iterable[Post]) -> Iterable[str]:
    times = Counter((post.number, post.text) for post in accepted)
    return [f"{text} x{count}" for (_, text), count in times.items() for _ in range(count - 1)]


def _out_of_order(requests: Iterable[Request], accepted: Iterable[Post]) -> Iterable[str]:
    """Accepted messages that overtook one of their chain: per (number, person, priority) and entrance, by offset."""
    first: dict[Key, Request] = {}
    for request in requests:
        if request.key is not None:
            first.setdefault(request.key, request)
    last: dict[tuple[str, str, str, str], int] = defaultdict(lambda: -1)
    for post in accepted:
        known = first.get((post.number, post.text))
        if known is None:
            continue
        chain = (post.number, known.recipient, DEFAULT_PRIORITY[known.category], known.topic)
        if known.offset < last[chain]:
            yield post.text
        last[chain] = max(last[chain], known.offset)


def _over_the_limit(books: Books) -> Finding:
    """Requests that the API refused for the rate, outside of the spells, or that came above rate·t + burst."""
    refused = [post.text for post in books.posts if post.status == 429 and not post.fault]
    excess = sum(max(0, math.ceil(sender.excess)) for sender in books.senders.values())
    return Finding("over the limit", max(len(refused), excess), tuple(refused[:EXAMPLES_MAX]))


def _after_opt_out(books: Books, accepted: Iterable[Post]) -> Iterable[str]:
    for post in accepted:
        since_ms = books.opt_outs.get(post.recipient)
        if since_ms is not None and post.at_ms > since_ms + OPT_OUT_GRACE_MS:
            yield f"{post.text} {post.at_ms - since_ms:.0f} ms after"


def _unplanned(
    planned: Iterable[Planned],
    terminal: Iterable[Mapping[str, str]],
    duplicates: Iterable[Mapping[str, str]],
    accepted: Iterable[Post],
) -> Iterable[str]:
    """Ends that their kind of request must not have, and accepted messages whose event and ledger differ."""
    may: dict[Key, frozenset[str]] = {}
    may_repeat: dict[Key, frozenset[str]] = {}
    for one in planned:
        (may_repeat if one.is_repeat else may)[one.number, one.request_id] = one.ends
    told: set[Key] = set()
    for event in terminal:
        key = (event["number"], event["request_id"])
        end = event["reason"] or event["type"]
        if event["type"] == "accepted":
            told.add(key)
        if end not in may.get(key, frozenset()):
            yield f"{key[1]} ended {end}"
    for event in duplicates:
        key = (event["number"], event["request_id"])
        if event["reason"] not in may_repeat.get(key, frozenset()):
            yield f"{key[1]} ended {event['reason']}"
    sent = {(post.number, post.text) for post in accepted}
    yield from (f"{text} is accepted by the API, not by the events" for _, text in sent - told)
    yield from (f"{text} is accepted by the events, not by the API" for _, text in told - sent)


def _latencies(books: Books) -> tuple[Latency | None, Latency | None, Latency | None]:
    """Of codes while their number was not halted, of the other codes, and of marketing messages."""
    first_post: dict[Key, float] = {}
    for post in books.posts:
        first_post.setdefault((post.number, post.text), post.at_ms)
    halts = _halts(books)
    urgent: list[float] = []
    halted: list[float] = []
    bulk: list[float] = []
    for request in books.requests:
        at_ms = first_post.get(request.key) if request.key is not None else None
        if at_ms is None or request.key is None:
            continue
        waited_ms = at_ms - request.timestamp_ms
        if request.topic == URGENT_ENTRANCE:
            number = request.key[0]
            is_halted = any(
                number == one and begin <= at_ms and request.timestamp_ms <= end for one, begin, end in halts
            )
            (halted if is_halted else urgent).append(waited_ms)
        elif request.category == "marketing":
            bulk.append(waited_ms)
    return latency(urgent), latency(halted), latency(bulk)


def _halts(books: Books) -> list[tuple[str, float, float]]:
    """(number, begin, end) of the times in which a number was refused: from a spell's begin to the next acceptance."""
    halts = []
    for spell in books.spells:
        after = (
            post.at_ms for post in books.posts
            if post.number == spell.number and post.is_accepted and post.at_ms >= spell.to_ms
        )  # fmt: skip
        halts.append((spell.number, spell.from_ms, next(after, math.inf)))
    return halts


def latency(waits_ms: Sequence[float]) -> Latency | None:
    """Median, 99th percentile (nearest rank) and maximum; None if there is nothing to measure."""
    if not waits_ms:
        return None
    ordered = sorted(waits_ms)

    def rank(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Latency(len(ordered), rank(0.5), rank(0.99), ordered[-1])
