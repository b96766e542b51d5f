"""What the ledger of a lane says, as a pure fold over its records in log order: `state.apply(record, offset, time)`.

Which records count:
* Outcomes belong to the attempt with the same (id, attempt, generation). After a newer `opened`, attempts, voids and
  returns of an older generation change nothing: the lease kept those attempts from leaving.
* A `settled` of an older generation counts only if it rests on the API's own answer.
* The first counting `settled` of an id in log order is the truth.

Used by the owner for what it writes itself, and at take-over for what its predecessors wrote. Touched by one task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from pipeline.sender.attempt_age import AGE_MIN_S

SourceKey = tuple[str, int, int]
MAX_IDS = 1_000_000
PAIR_MEMORY_MS = 270_000
USUAL_AGE_MS = int(AGE_MIN_S * 1000)
MAX_PAIR_ATTEMPTS = 100_000
NOWHERE = -1
"""Before every record of a ledger."""
NEVER_NEEDED = 2**62
"""Behind every record of a ledger."""


@dataclass(slots=True)
class IdState:
    """What is known of one request id.

    Attributes:
        source: Identity of the record that came first; None before an attempt or settlement.
        digest: Short hash of its message.
        attempts: Highest attempt number that counts.
        spent: Attempts that count against the maximum.
        pair_failures: Attempts that the limit per recipient refused.
        open: Attempts without an outcome: number → broker time in ms.
        ever_unknown: Whether an attempt of it was open at a take-over, lost its answer, or was given up.
        settled_at: Offset of the counting settlement.
        outcome: Its outcome, e.g. `accepted`.
        event: The terminal event, as long as it may have to be written (again).
        first_offset: Of its first record in the ledger.
        last_ms: Broker time of its newest record.
        message_id: The API's id of an accepted message.
        place: Where the settled message was consumed from.
    """

    source: SourceKey | None = None
    digest: str | None = None
    attempts: int = 0
    spent: int = 0
    pair_failures: int = 0
    open: dict[int, int] = field(default_factory=dict)
    ever_unknown: bool = False
    settled_at: int | None = None
    outcome: str | None = None
    event: dict[str, Any] | None = None
    first_offset: int = -1
    last_ms: int = 0
    message_id: str | None = None
    place: SourceKey | None = None

    @property
    def settled(self) -> bool:
        """Whether the request is done."""
        return self.settled_at is not None

    def is_over(self, *, replay: bool) -> bool:
        """Whether a record of the request finds it done; an operator's replay lifts a failure."""
        return self.settled and not (replay and self.outcome == "failed")


class LedgerState:
    """All that one lane's ledger says.

    Args:
        generation: The one in force where reading began, if a mark told it.
        last_attempt_ms: Broker time of the last attempt before that, if a mark told it; later by what the attempt was
            allowed to be older than usual when its request was written.
    """

    def __init__(self, generation: int | None = None, last_attempt_ms: int | None = None) -> None:
        self.generation = generation
        self.opened_ms: int | None = None
        self.last_attempt_ms = last_attempt_ms
        self.next_offset = 0
        self.ids: dict[str, IdState] = {}
        self.message_ids: set[str] = set()
        self.pair_attempts: deque[tuple[str, int]] = deque(maxlen=MAX_PAIR_ATTEMPTS)
        self.openings: deque[tuple[int, int]] = deque(maxlen=10_000)

    def apply(self, record: Mapping[str, Any], offset: int, timestamp_ms: int) -> None:
        """Take the next record in; records must come in log order, each once."""
        self.next_offset = max(self.next_offset, offset + 1)
        generation = record["generation"]
        kind = record["kind"]
        if kind == "opened":
            if self.generation is None or generation >= self.generation:
                self._open(generation, offset, timestamp_ms)
            return
        if self.generation is None or generation > self.generation:
            self._begin(generation, offset)  # reading began behind its `opened`
        elif not self.openings:
            self.openings.append((offset, self.generation))
        current = generation == self.generation
        if kind == "attempt":
            if current:
                self._attempt(record, offset, timestamp_ms)
        elif kind in ("void", "returned"):
            if current:
                self._close(record, timestamp_ms)
        elif kind == "settled" and (current or record["basis"] == "answer"):
            self._settle(record, offset, timestamp_ms)

    def _open(self, generation: int, offset: int, timestamp_ms: int) -> None:
        self.opened_ms = timestamp_ms
        self._begin(generation, offset)

    def _begin(self, generation: int, offset: int) -> None:
        self.generation = generation
        self.openings.append((offset, generation))
        for state in self.ids.values():
            if state.open and not state.settled:
                state.ever_unknown = True

    def _attempt(self, record: Mapping[str, Any], offset: int, timestamp_ms: int) -> None:
        state = self._state(record, offset, timestamp_ms)
        if state.settled and state.outcome == "failed":  # an operator's replay lifts the end
            state.settled_at, state.outcome = None, None
        number = record["attempt"]
        state.open[number] = timestamp_ms
        state.attempts = max(state.attempts, number)
        state.spent = max(state.spent, record.get("spent") or 0)
        longer_ms = max(0, (record.get("age_ms") or 0) - USUAL_AGE_MS)
        self.last_attempt_ms = max(self.last_attempt_ms or 0, timestamp_ms + longer_ms)
        pairs = self.pair_attempts
        while pairs and pairs[0][1] < timestamp_ms - PAIR_MEMORY_MS:
            pairs.popleft()
        pairs.append((record["recipient"], timestamp_ms + longer_ms))

    def _close(self, record: Mapping[str, Any], timestamp_ms: int) -> None:
        state = self.ids.get(record["request_id"])
        if state is None:
            return
        state.open.pop(record["attempt"], None)
        state.last_ms = timestamp_ms
        if record["kind"] == "returned":
            state.spent = max(state.spent, record.get("spent") or 0)
            state.pair_failures += record.get("reason") == "pair_limited"

    def _settle(self, record: Mapping[str, Any], offset: int, timestamp_ms: int) -> None:
        state = self._state(record, offset, timestamp_ms)
        if state.settled:
            return
        state.settled_at = offset
        state.outcome = record["outcome"]
        state.event = record["event"]
        state.attempts = max(state.attempts, record["attempt"] or 0)
        if record["basis"] in ("evidence", "policy") or state.open.keys() - {record["attempt"]}:
            state.ever_unknown = True  # an attempt of it had no outcome: a replay must know
        place = record["place"]
        state.place = (place["topic"], place["partition"], place["offset"]) if place else None
        state.open.clear()
        state.message_id = record["message_id"]
        if state.message_id is not None:
            self.message_ids.add(state.message_id)

    def _state(self, record: Mapping[str, Any], offset: int, timestamp_ms: int) -> IdState:
        request_id = record["request_id"]
        state = self.ids.get(request_id)
        if state is None:
            if len(self.ids) >= MAX_IDS:
                self._forget_oldest_settled()
            state = self.ids[request_id] = IdState(first_offset=offset)
        source = record["source"]
        if state.source is None and source is not None:
            state.source = (source["topic"], source["partition"], source["offset"])
            state.digest = record["digest"]
        state.last_ms = timestamp_ms
        return state

    def _forget_oldest_settled(self) -> None:
        """At the cap the oldest settled ids go first: a repeat of them within the window would be sent again."""
        for request_id, state in self.ids.items():
            if state.settled and state.event is None:
                self._forget(request_id, state)
                return

    def _forget(self, request_id: str, state: IdState) -> None:
        del self.ids[request_id]
        if state.message_id is not None:
            self.message_ids.discard(state.message_id)

    def of(self, request_id: str) -> IdState | None:
        """What is known of an id, or None."""
        return self.ids.get(request_id)

    def unknown_ids(self) -> list[str]:
        """Ids with an attempt whose outcome nobody knows."""
        return [request_id for request_id, state in self.ids.items() if state.open and not state.settled]

    def forget_older(self, before_ms: int, kept: frozenset[str] = frozenset()) -> None:
        """Drop ids that were settled before a broker time and whose event is written."""
        old = [
            (request_id, state)
            for request_id, state in self.ids.items()
            if state.settled and state.event is None and state.last_ms < before_ms and request_id not in kept
        ]
        for request_id, state in old:
            self._forget(request_id, state)

    def inherit(self, earlier: LedgerState, own: Collection[str], persons: Collection[str]) -> None:
        """Know what was settled on a lane that the number had before: it is not sent again here.

        Nothing of it has to be told any more, and offsets of that ledger mean nothing in this one.

        Args:
            own: Request ids there whose person belongs to this lane now.
            persons: These persons.
        """
        for request_id in own:
            known = earlier.of(request_id)
            if known is not None and known.settled and request_id not in self.ids:
                self.ids[request_id] = replace(
                    known, settled_at=NOWHERE, first_offset=NEVER_NEEDED, event=None, place=None, open={}
                )
                if known.message_id is not None:
                    self.message_ids.add(known.message_id)
        pairs = [pair for pair in earlier.pair_attempts if pair[0] in persons]
        self.pair_attempts = deque(
            sorted((*pairs, *self.pair_attempts), key=itemgetter(1)), maxlen=MAX_PAIR_ATTEMPTS
        )  # fmt: skip
        # Tokens that another lane has spent are spent, whoever it was for.
        last_ms = max(earlier.last_attempt_ms or 0, self.last_attempt_ms or 0)
        self.last_attempt_ms = last_ms or None

    def recent_pairs(self, now_ms: int) -> dict[str, list[int]]:
        """Attempts of the last 270 s by recipient: broker times in ms."""
        recent: dict[str, list[int]] = {}
        for recipient, attempted_ms in self.pair_attempts:
            if attempted_ms >= now_ms - PAIR_MEMORY_MS:
                recent.setdefault(recipient, []).append(attempted_ms)
        return recent

    def opened_by(self, generation: int) -> int | None:
        """Offset at which a generation began, as far as openings are remembered."""
        return next((offset for offset, opened in self.openings if opened == generation), None)

    def generation_at(self, offset: int) -> int | None:
        """The generation in force at an offset, as far as openings are remembered."""
        found = None
        for opened_offset, generation in self.openings:
            if opened_offset > offset:
                break
            found = generation
        return found
