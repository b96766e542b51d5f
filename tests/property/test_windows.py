"""A commit never passes an unfinished record, whatever is delivered, finished, revoked, and in which order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.streams.windows import Windows

TPS = [("ready", 0), ("ready", 1), ("delayed", 0)]
PARTITIONS = st.sampled_from(TPS)


class Acknowledging(RuleBasedStateMachine):
    """A broker that delivers from the committed offset on, and an owner that finishes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = Windows()
        self.logs: dict[tuple[str, int], list[int]] = {tp: [] for tp in TPS}
        self.ever_finished: set[tuple[tuple[str, int], int]] = set()
        self.committed = dict.fromkeys(TPS, 0)
        self.delivered: dict[tuple[str, int], list[int]] = {tp: [] for tp in TPS}

    @rule(tp=PARTITIONS, gap=st.integers(1, 3))
    def append(self, tp: tuple[str, int], gap: int) -> None:
        """A record is on the log; offsets may have holes."""
        log = self.logs[tp]
        log.append((log[-1] if log else -1) + gap)

    @rule(tp=PARTITIONS)
    def deliver(self, tp: tuple[str, int]) -> None:
        """The next record is delivered."""
        new = [o for o in self.logs[tp] if o >= self.committed[tp] and o not in self.delivered[tp]]
        if new:
            assert self.windows.open(tp, new[0])
            self.delivered[tp].append(new[0])

    @precondition(lambda self: any(self.delivered.values()))
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        """A record is delivered once more in the same assignment."""
        tp = data.draw(st.sampled_from([tp for tp in TPS if self.delivered[tp]]))
        assert not self.windows.open(tp, data.draw(st.sampled_from(self.delivered[tp])))

    @precondition(lambda self: any(self.delivered.values()))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Any delivered record is finished, perhaps for the second time."""
        tp = data.draw(st.sampled_from([tp for tp in TPS if self.delivered[tp]]))
        offset = data.draw(st.sampled_from(self.delivered[tp]))
        self.windows.done(tp, offset)
        self.ever_finished.add((tp, offset))

    @rule(tp=PARTITIONS, offset=st.integers(0, 30))
    def finish_late(self, tp: tuple[str, int], offset: int) -> None:
        """A task of an older assignment finishes: it may only finish what is not delivered here."""
        if offset not in self.delivered[tp]:
            self.windows.done(tp, offset)

    @rule(tp=PARTITIONS)
    def commit(self, tp: tuple[str, int]) -> None:
        """What the windows allow is committed."""
        position = self.windows.position(tp)
        if position is not None:
            self.committed[tp] = max(self.committed[tp], position)

    @rule()
    def revoke(self) -> None:
        """The partitions go and come back: delivery starts at the committed offsets."""
        self.windows.forget_all()
        self.delivered = {tp: [] for tp in TPS}

    @invariant()
    def no_commit_passes_an_unfinished_record(self) -> None:
        """Everything below a position was finished, in this assignment or committed before."""
        for tp in TPS:
            position = self.windows.position(tp)
            for offset in self.logs[tp]:
                if position is not None and self.committed[tp] <= offset < position:
                    assert (tp, offset) in self.ever_finished

    @invariant()
    def the_position_is_as_far_as_it_may_be(self) -> None:
        """No finished beginning is left out."""
        for tp in TPS:
            window = self.windows.of(tp)
            if window is not None and window.first_unfinished is not None and window.position is not None:
                assert window.position <= window.first_unfinished

    @invariant()
    def memory_is_what_is_pending(self) -> None:
        """A window holds what was delivered and is not covered by its position."""
        for tp in TPS:
            window = self.windows.of(tp)
            expected = [o for o in self.delivered[tp] if window is None or o >= (window.position or 0)]
            assert (len(window) if window is not None else 0) == (len(expected) if window is not None else 0)


TestAcknowledging = Acknowledging.TestCase
TestAcknowledging.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
