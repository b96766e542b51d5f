"""The lease: how long a process may act for its partitions."""

from __future__ import annotations

from pipeline.clock import steady_s
from pipeline.streams.lease import Lease


def lease() -> Lease:
    """Session 10 s, rebalance 30 s, margin 2 s."""
    return Lease(10.0, 30.0, 2.0)


def test_nobody_may_act_before_the_first_heartbeat() -> None:
    """A new lease is not valid."""
    assert lease().left_s(0.0) == float("-inf")
    assert not lease().valid


def test_it_lasts_from_the_sending_of_the_last_accepted_heartbeat() -> None:
    """Session time-out less margin, counted from when the heartbeat was sent, not from its answer."""
    held = lease()
    held.renew(100.0)
    assert held.left_s(101.0) == 7.0
    assert held.left_s(108.0) == 0.0
    assert held.left_s(150.0) < 0.0


def test_an_older_heartbeat_answered_late_changes_nothing() -> None:
    """Answers may come out of order."""
    held = lease()
    held.renew(100.0)
    held.renew(90.0)
    assert held.left_s(100.0) == 8.0


def test_a_rebalance_in_progress_caps_it() -> None:
    """The group waits no longer than the rebalance time-out, counted from the first answer that said so."""
    held = lease()
    held.renew(100.0)
    for now_s in range(101, 140):
        held.rebalance_began(float(now_s))
    assert held.left_s(129.0) == 0.0
    assert held.left_s(128.0) == 1.0


def test_a_new_generation_lifts_the_cap() -> None:
    """Once we are in the new generation only the session counts."""
    held = lease()
    held.rebalance_began(100.0)
    held.rebalance_ended(125.0)
    assert held.left_s(129.0) == 4.0
    held.renew(140.0)
    assert held.left_s(140.0) == 8.0


def test_a_member_that_is_no_longer_known_may_not_act() -> None:
    """After a revoke nothing may leave until a new generation begins."""
    held = lease()
    held.renew(100.0)
    held.revoke()
    assert held.left_s(100.0) == float("-inf")
    held.rebalance_ended(101.0)
    assert held.left_s(101.0) == 8.0


def test_validity_is_asked_of_the_steady_clock() -> None:
    """It goes on while the machine sleeps: a frozen process wakes without a lease."""
    held = lease()
    held.renew(steady_s())
    assert held.valid
    gone = lease()
    gone.renew(steady_s() - 8.5)
    assert not gone.valid
