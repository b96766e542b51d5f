"""May this process still act for its partitions? Only while the group cannot have given them away.

The broker restarts a member's session timer when it receives a heartbeat, that is not before the heartbeat was
sent. So whoever counts from the sending time of the last accepted one stops before the broker may expire it. Once a
rebalance is in progress, the group waits for a member at most the rebalance timeout. No two clocks are compared.

Written on the loop by the consumer's thread through `call_soon`-free plain attributes (a float store is atomic).
"""

from __future__ import annotations

from pipeline.clock import steady_s

FOREVER_AGO = float("-inf")


class Lease:
    """Valid until the last accepted heartbeat's sending time + session timeout − margin.

    Args:
        session_timeout_s: Of the consumer group.
        rebalance_timeout_s: Of the consumer group.
        margin_s: Safety taken off both.
    """

    def __init__(self, session_timeout_s: float, rebalance_timeout_s: float, margin_s: float) -> None:
        self._session_s = session_timeout_s - margin_s
        self._rebalance_s = rebalance_timeout_s - margin_s
        self._renewed = FOREVER_AGO
        self._rebalancing_since: float | None = None

    def renew(self, sent_at_s: float) -> None:
        """A heartbeat or sync that was sent then has been accepted."""
        self._renewed = max(self._renewed, sent_at_s)

    def rebalance_began(self, sent_at_s: float) -> None:
        """The broker answered "rebalance in progress": the member is alive, but the wait for it is bounded."""
        self.renew(sent_at_s)
        if self._rebalancing_since is None:
            self._rebalancing_since = sent_at_s

    def rebalance_ended(self, sent_at_s: float) -> None:
        """A new generation has begun with us in it."""
        self._rebalancing_since = None
        self.renew(sent_at_s)

    def revoke(self) -> None:
        """The broker no longer knows this member."""
        self._renewed = FOREVER_AGO

    def left_s(self, now_s: float) -> float:
        """Seconds that the lease still holds; 0 or less: nothing may leave."""
        left = self._renewed + self._session_s - now_s
        if self._rebalancing_since is not None:
            left = min(left, self._rebalancing_since + self._rebalance_s - now_s)
        return left

    @property
    def valid(self) -> bool:
        """Whether a request may leave now."""
        return self.left_s(steady_s()) > 0.0
