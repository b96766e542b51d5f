"""Compares what was asked, what the API saw and what the events say. Pure, and independent of the product's counters.

Enters: requests in the order in which they were produced, rows of the simulator's ledger in arrival order, values of
`outbound-events`, the simulator's stats. Leaves: a `Verdict`; `Verdict.problems()` is what a test asserts to be empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.support.campaign import Asked

TERMINAL: Final = frozenset({"accepted", "rejected", "failed", "expired", "cancelled"})
JITTER_S: Final = 0.1
"""The pipeline leaves room in the burst for requests that are this late on their way (design §2)."""
TICK_S: Final = 0.02
"""The simulator's lag probe looks this often: a lag up to this long may go unseen."""
TURNS: Final = 3
"""Turns of its loop that the simulator takes at most from a request's first byte to its stamp."""
FIRST: Final = 140
"""How many requests of an idle number with a burst of 150 count as its first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a campaign.

    Attributes:
        requests: How many were asked.
        taken: Messages that the API took, repeats included.
        lost: Allowed ones that the API never took.
        duplicates: Messages that the API took again.
        order_violations: First acceptances of a chain before one that was produced earlier.
        not_allowed_sent: Messages that the API took without leave.
        strangers: Requests at the API that belong to none of what was asked.
        no_terminal: Requests without a terminal event.
        more_than_one_terminal: Requests with terminal events of different ids.
        accepted_unsent: Terminal events `accepted` of messages that the API did not take.
        sent_unaccepted: Messages that the API took and whose terminal event says otherwise.
        refused: Requests that the API did not take, by HTTP status; 0: no answer.
        limit_refusals: Those that its rate limit refused (not a spell, not a forced error).
        types: Events by type, each event id once.
        reasons: Events by `type: reason`, each event id once.
        excess: Arrivals beyond rate·t + burst in the worst interval of any number; ≤ 0: within.
        over_limit: The part of `excess` that the simulator's own lateness does not explain.
        read_lag_s: How late the simulator's loop ran at worst.
        utilisation: Taken / (burst + rate·t) from first to last arrival, of the worst number.
        first_s: Seconds from the first arrival to the `FIRST`th; None with less. Timing: to be printed only.
        seconds: From the first arrival to the last.
    """

    requests: int
    taken: int
    lost: int
    duplicates: int
    order_violations: int
    not_allowed_sent: int
    strangers: int
    no_terminal: int
    more_than_one_terminal: int
    accepted_unsent: int
    sent_unaccepted: int
    refused: Mapping[int, int] = field(default_factory=dict)
    limit_refusals: int = 0
    types: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    excess: float = 0.0
    over_limit: float = 0.0
    read_lag_s: float = 0.0
    utilisation: float = 0.0
    first_s: float | None = None
    seconds: float = 0.0

    def problems(self, *, duplicates_max: int = 0) -> list[str]:
        """Broken promises, as `name=value`; empty if all were kept.

        Args:
            duplicates_max: Repeats that are put up with, e.g. after a kill without webhooks.
        """
        zero = (
            "lost", "order_violations", "not_allowed_sent", "strangers", "no_terminal", "more_than_one_terminal",
            "accepted_unsent", "sent_unaccepted",
        )  # fmt: skip
        found = [f"{name}={getattr(self, name)}" for name in zero if getattr(self, name)]
        if self.duplicates > duplicates_max:
            found.append(f"duplicates={self.duplicates}")
        if self.over_limit > 0:
            found.append(f"over_limit={self.over_limit:.1f} (excess {self.excess:.1f}, lag {self.read_lag_s:.3f} s)")
        # The limit refuses nothing of a client that stays within it, whoever is late.
        if self.limit_refusals and self.excess <= 0:
            found.append(f"limit_refusals={self.limit_refusals}")
        return found

    def figures(self) -> dict[str, Any]:
        """All figures, for printing."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(slots=True)
class _Arrivals:
    """What the ledger says."""

    taken: Counter[str] = field(default_factory=Counter)
    not_allowed: int = 0
    strangers: int = 0
    order_violations: int = 0
    limit_refusals: int = 0
    refused: Counter[int] = field(default_factory=Counter)


def judge(
    requests: Sequence[Asked], rows: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]],
    stats: Mapping[str, Any],
) -> Verdict:  # fmt: skip
    """Compare them.

    Args:
        requests: In the order in which they were produced.
        rows: Of `GET /_simulator/ledger`; their `text` is the request's id.
        events: Values of `outbound-events`, of these requests or of others, too.
        stats: `GET /_simulator/stats` over the same time as the rows.
    """
    ledger = [row for row in rows if row["profile"] != "other"]
    arrived = _read_ledger(requests, ledger)
    terminal, types, reasons = _read_events(requests, events)
    ended_as = {request_id: next(iter(found.values())) for request_id, found in terminal.items()}
    excess, over = _excess(stats)
    times = [row["t_ns"] / 1e9 for row in ledger]
    senders = [sender for sender in stats["senders"].values() if sender["utilisation"] is not None]
    return Verdict(
        requests=len(requests),
        taken=arrived.taken.total(),
        lost=sum(one.is_allowed and not arrived.taken[one.request_id] for one in requests),
        duplicates=sum(count - 1 for count in arrived.taken.values() if count > 1),
        order_violations=arrived.order_violations,
        not_allowed_sent=arrived.not_allowed,
        strangers=arrived.strangers,
        no_terminal=sum(one.request_id not in terminal for one in requests),
        more_than_one_terminal=sum(len(found) > 1 for found in terminal.values()),
        accepted_unsent=sum(end == "accepted" and not arrived.taken[name] for name, end in ended_as.items()),
        sent_unaccepted=sum(end != "accepted" and arrived.taken[name] > 0 for name, end in ended_as.items()),
        refused=dict(arrived.refused),
        limit_refusals=arrived.limit_refusals,
        types=dict(types),
        reasons=dict(reasons),
        excess=excess,
        over_limit=over,
        read_lag_s=stats["max_lag_s"],
        utilisation=min((sender["utilisation"] for sender in senders), default=0.0),
        first_s=times[FIRST - 1] - times[0] if len(times) >= FIRST else None,
        seconds=times[-1] - times[0] if times else 0.0,
    )


def _read_ledger(requests: Sequence[Asked], rows: Iterable[Mapping[str, Any]]) -> _Arrivals:
    by_id = {one.request_id: (index, one) for index, one in enumerate(requests)}
    found, newest = _Arrivals(), dict[tuple[str, str, str, str], int]()
    for row in rows:
        if not row["accepted"]:
            found.refused[row["status"]] += 1
            found.limit_refusals += row["status"] == 429 and not row["fault"]
            continue
        index, one = by_id.get(row["text"], (-1, None))
        if one is None:
            found.strangers += 1
            continue
        found.taken[one.request_id] += 1
        found.not_allowed += not one.is_allowed
        if found.taken[one.request_id] == 1:
            found.order_violations += newest.get(one.chain, -1) > index
            newest[one.chain] = max(newest.get(one.chain, -1), index)
    return found


def _read_events(
    requests: Sequence[Asked], events: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, dict[str, str]], Counter[str], Counter[str]]:
    """Terminal event ids with their types by request; events by type and by reason. A re-written event counts once."""
    wanted = {one.request_id for one in requests}
    terminal: dict[str, dict[str, str]] = {}
    types, reasons, known = Counter[str](), Counter[str](), set[str]()
    for event in events:
        if event["request_id"] not in wanted or event["event_id"] in known:
            continue
        known.add(event["event_id"])
        types[event["type"]] += 1
        if event["reason"] is not None:
            reasons[f"{event['type']}: {event['reason']}"] += 1
        if event["type"] in TERMINAL:
            terminal.setdefault(event["request_id"], {})[event["event_id"]] = event["type"]
    return terminal, types, reasons


def _excess(stats: Mapping[str, Any]) -> tuple[float, float]:
    """The worst excess, and the worst part of one that is not the simulator's own doing.

    The simulator stamps a request when its loop gets to it. One that runs late by L sees requests of L more seconds
    arrive at once: up to rate·(L − `JITTER_S`) above a limit that the pipeline kept with room for `JITTER_S`.
    """
    late_s = max(0.0, TURNS * (stats["max_lag_s"] + TICK_S) - JITTER_S)
    found = [
        (sender["excess"], max(0.0, sender["excess"] - sender["rate_per_s"] * late_s))
        for sender in stats["senders"].values()
        if sender["excess"] is not None
    ]
    return max((excess for excess, _ in found), default=0.0), max((over for _, over in found), default=0.0)
