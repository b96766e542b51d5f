"""What a run with faults proved: the judge's figures, opt-outs, zombies, repeats by name. Pure but for reading logs.

Everything comes from the simulator's ledger, the topics and the proxy's notes; the pipeline's own counters say nothing
here. A figure that must be zero and is not comes with the requests it is about.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.bench.measure import percentile
from tests.support.campaign import Asked, Request, asked
from tests.support.judge import TERMINAL, Verdict, judge

OPT_OUT_GRACE_NS: Final = 1_000_000_000
EXAMPLES_MAX: Final = 20
RATE_WINDOW_S: Final = 5.0
FULL_RATE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Findings:
    """The verdict of a run.

    Attributes:
        base: The judge's.
        sent_after_opt_out: POSTs later than a second after Kafka had acked the person's opt-out.
        opt_outs_undone: People whose opt-out is not the last word of `consent`, or who got a message at the very end.
        zombie_posts: Bytes of requests that a thawed worker sent before it had a lane again.
        recovered_s: From the brokers' return to the full rate; None: it was not asked for, or did not come.
        opt_out_lag_s: How long after an opt-out the last POST came that it forbids; 0 for most: there was none.
        silence_s: The longest time without an arrival, by number, while the load went on.
        examples: Requests behind the figures, by figure.
    """

    base: Verdict
    sent_after_opt_out: int
    opt_outs_undone: int
    zombie_posts: int
    recovered_s: float | None = None
    silence_s: Mapping[str, float] = field(default_factory=dict)
    opt_out_lag_s: Mapping[str, float] = field(default_factory=dict)
    examples: Mapping[str, list[str]] = field(default_factory=dict)

    def problems(self, *, repeats_max: int = 0, utilisation_min: float | None = None) -> list[str]:
        """Broken promises as `name=value`; empty if all were kept."""
        found = self.base.problems(duplicates_max=repeats_max)
        for name in ("sent_after_opt_out", "opt_outs_undone", "zombie_posts"):
            if getattr(self, name):
                found.append(f"{name}={getattr(self, name)}")
        if utilisation_min is not None and self.base.utilisation < utilisation_min:
            found.append(f"utilisation={self.base.utilisation:.3f}")
        return found

    def figures(self) -> dict[str, Any]:
        """All figures, for printing."""
        own = {name: value for name, value in asdict(self).items() if name != "base"}
        return {**self.base.figures(), **own}


def find(
    requests: Sequence[tuple[Request, str]],
    rows: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    stats: Mapping[str, Any],
    *,
    opted_out: Mapping[str, int],
    undone: Iterable[str],
    zombie_posts: int,
    lag_s: float,
    loaded_ns: tuple[int, int],
    back_ns: int | None = None,
    taken_back: Mapping[str, Sequence[str]] | None = None,
    refused: Iterable[str] = (),
) -> Findings:
    """Judge a run.

    Args:
        requests: What was written, each with its entrance, in order.
        rows: The simulator's ledger.
        events: `outbound-events`.
        stats: The simulator's.
        opted_out: When Kafka acked the opt-out of a person, monotonic clock of this machine, ns.
        undone: People whose last `consent` is no revoke although they opted out.
        zombie_posts: As `Findings`.
        lag_s: How late the proxy's loop ran at worst: requests may arrive that much bunched.
        loaded_ns: Begin and end of the load, monotonic clock.
        back_ns: When all brokers came back, if they were away.
        taken_back: What a person's opt-out is about, categories or `*`; who is not named took back everything.
        refused: People for whom the API refused messages because they had stopped marketing.
    """
    stats = {**stats, "max_lag_s": stats["max_lag_s"] + lag_s}
    withdrawn = _withdrawn(events, rows, frozenset(refused))
    known = [
        asked(made, entrance, is_allowed=not (made["to"] in opted_out and made["request_id"] in withdrawn))
        for made, entrance in requests
    ]
    base = judge(known, rows, events, stats)
    started_ns = stats["started_monotonic_ns"]
    category_of = {made["request_id"]: made["category"] for made, _ in requests}
    forbidden = _forbidden(rows, opted_out, taken_back or {}, category_of, started_ns)
    late = _after_opt_out(forbidden, stats["max_lag_s"])
    undone = sorted(undone)
    arrivals: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row["profile"] != "other":
            arrivals[row["sender"]].append(row["t_ns"] + started_ns)
    return Findings(
        base=base,
        sent_after_opt_out=len(late),
        opt_outs_undone=len(undone),
        zombie_posts=zombie_posts,
        recovered_s=None if back_ns is None else _recovered_s(arrivals, back_ns, stats),
        opt_out_lag_s=_lags_s(forbidden, len(opted_out)),
        silence_s={number: _silence_s(times, loaded_ns) for number, times in arrivals.items()},
        examples={
            name: found[:EXAMPLES_MAX]
            for name, found in {
                **_examples(known, rows, events), "sent_after_opt_out": late, "opt_outs_undone": undone,
            }.items()
            if found
        },
    )  # fmt: skip


def _withdrawn(
    events: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]], refused: frozenset[str]
) -> set[str]:
    """Ids that an opt-out may have kept from being sent: refused for it, or of unknown outcome and not sent again."""
    taken = {row["text"] for row in rows if row["accepted"]}
    ends, known = {"consent_withdrawn": set[str](), "outcome_unknown": set[str]()}, set[str]()
    for event in events:
        # The first with an id counts: a gate that judges again after a crash may come to another end.
        if event["event_id"] not in known and event["reason"] in ends:
            ends[event["reason"]].add(event["request_id"])
        elif event["event_id"] not in known and event["reason"] == "api_rejected" and event["recipient"] in refused:
            ends["consent_withdrawn"].add(event["request_id"])
        known.add(event["event_id"])
    return ends["consent_withdrawn"] | (ends["outcome_unknown"] - taken)


def _forbidden(
    rows: Iterable[Mapping[str, Any]],
    opted_out: Mapping[str, int],
    taken_back: Mapping[str, Sequence[str]],
    category_of: Mapping[str, str],
    started_ns: int,
) -> list[tuple[str, str, float]]:
    """(person, request id, seconds after the opt-out) of POSTs that an opt-out of before forbids."""
    found = []
    for row in rows:
        person = row["to"].removeprefix("+")
        acked_ns, scope = opted_out.get(person), taken_back.get(person, ("*",))
        if acked_ns is None or row["profile"] == "other" or row["t_ns"] + started_ns <= acked_ns:
            continue
        if "*" in scope or category_of.get(row["text"]) in (*scope, None):
            found.append((person, row["text"], (row["t_ns"] + started_ns - acked_ns) / 1e9))
    return found


def _after_opt_out(forbidden: Iterable[tuple[str, str, float]], lag_s: float) -> list[str]:
    """What was POSTed too late; the simulator stamps a request late by its lag at most."""
    grace_s = OPT_OUT_GRACE_NS / 1e9 + lag_s
    return [f"{name} {after_s:.2f} s later" for _, name, after_s in forbidden if after_s > grace_s]


def _lags_s(forbidden: Iterable[tuple[str, str, float]], opt_outs: int) -> dict[str, float]:
    """The last POST after each opt-out, over all opt-outs; 0: none came."""
    last: dict[str, float] = {}
    for person, _, after_s in forbidden:
        last[person] = max(after_s, last.get(person, 0.0))
    lags = [*last.values(), *(0.0 for _ in range(opt_outs - len(last)))]
    return {
        "opt_outs": opt_outs, "with_a_post_after": len(last),
        "p50": round(percentile(lags, 0.5), 3), "p99": round(percentile(lags, 0.99), 3),
        "max": round(max(lags, default=0.0), 3),
    }  # fmt: skip


def _examples(
    known: Sequence[Asked], rows: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Which requests were lost, repeated, out of order, or ended not once."""
    taken: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    newest: dict[tuple[str, ...], tuple[int, str]] = {}
    index_of = {one.request_id: (index, one) for index, one in enumerate(known)}
    disorder = []
    for row in rows:
        if not row["accepted"] or row["text"] not in index_of:
            continue
        index, one = index_of[row["text"]]
        taken[one.request_id].append(row)
        if len(taken[one.request_id]) > 1:
            continue
        before = newest.get(one.chain)
        if before is not None and before[0] > index:
            disorder.append(f"{one.request_id} after {before[1]} at {row['t_ns'] / 1e9:.3f} s")
        if before is None or before[0] < index:
            newest[one.chain] = (index, one.request_id)
    ends: dict[str, dict[str, str]] = defaultdict(dict)
    for event in events:
        if event["type"] in TERMINAL:
            ends[event["request_id"]].setdefault(event["event_id"], f"{event['type']}/{event['reason']}")
    return {
        "lost": [f"{one.request_id} {ends.get(one.request_id)}" for one in known
                 if one.is_allowed and one.request_id not in taken],
        "duplicates": [
            f"{name} " + ", ".join(f"{row['t_ns'] / 1e9:.3f} s {row['callback']} {row['status']}" for row in found)
            for name, found in taken.items() if len(found) > 1
        ],
        "order_violations": disorder,
        "terminal": [f"{one.request_id} {ends.get(one.request_id)}" for one in known
                     if len(ends.get(one.request_id, ())) != 1],
        "sent_unaccepted": [
            f"{name} {ends[name]}" for name in taken
            if ends.get(name) and not any(end.startswith("accepted") for end in ends[name].values())
        ],
    }  # fmt: skip


def _silence_s(times: Sequence[int], loaded_ns: tuple[int, int]) -> float:
    inside = [loaded_ns[0], *(t for t in times if loaded_ns[0] <= t <= loaded_ns[1]), loaded_ns[1]]
    return round(max(after - before for before, after in itertools.pairwise(inside)) / 1e9, 2)


def _recovered_s(arrivals: Mapping[str, Sequence[int]], back_ns: int, stats: Mapping[str, Any]) -> float | None:
    """Until every number had a stretch of `RATE_WINDOW_S` at its full rate."""
    slowest = 0.0
    for number, times in arrivals.items():
        wanted = FULL_RATE * stats["senders"][number]["rate_per_s"] * RATE_WINDOW_S
        window_ns = int(RATE_WINDOW_S * 1e9)
        begins = times[bisect_left(times, back_ns) :]
        found = next((t for t in begins if bisect_right(times, t + window_ns) - bisect_left(times, t) >= wanted), None)
        if found is None:
            return None
        slowest = max(slowest, (found - back_ns) / 1e9)
    return round(slowest, 2)


def table(findings: Findings) -> str:
    """The verdict as a person reads it."""
    base = findings.base
    rows = (
        ("requests", base.requests), ("sent", base.taken), ("lost", base.lost), ("sent twice", base.duplicates),
        ("out of order", base.order_violations), ("over the limit", round(base.over_limit, 1)),
        ("excess (raw)", round(base.excess, 1)), ("sent after opt-out", findings.sent_after_opt_out),
        ("last POST after an opt-out, s", dict(findings.opt_out_lag_s)),
        ("opt-outs undone", findings.opt_outs_undone), ("zombie posts", findings.zombie_posts),
        ("without a terminal event", base.no_terminal), ("with two terminal events", base.more_than_one_terminal),
        ("accepted, not sent", base.accepted_unsent), ("sent, not accepted", base.sent_unaccepted),
        ("strangers", base.strangers), ("utilisation", round(base.utilisation, 3)),
        ("longest silence, s", dict(findings.silence_s)), ("full rate after, s", findings.recovered_s),
        ("refused, by status", dict(base.refused)), ("reasons", dict(base.reasons)),
    )  # fmt: skip
    lines = [f"{name:>26}  {value}" for name, value in rows]
    for name, examples in findings.examples.items():
        lines += [f"{name}:", *(f"    {one}" for one in examples)]
    return "\n".join(lines)


def count_by_name(names: Iterable[str]) -> dict[str, int]:
    """How often each comes, the most frequent first."""
    return dict(Counter(names).most_common())
