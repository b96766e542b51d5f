"""How old an attempt record may be when its request is written. Pure; one per lane.

The next owner of a lane computes its tokens from the newest attempt's broker time: a request that left later than that
by more than the attempt allowed would not be in its books. So an attempt says how old it may get, and one that is
older is void. Short is good for the next owner, but while Kafka is slower than that, nothing would ever leave: the
age grows when attempts turn out too old, and shrinks again.
"""

from __future__ import annotations

from typing import Final

AGE_MIN_S: Final = 0.5
AGE_MAX_S: Final = 5.0
GROWS: Final = 2.0
SHRINKS: Final = 0.9
EASY: Final = 0.25
"""A request that leaves within this part of the age shows that it may be shorter."""


class AttemptAge:
    """The age in force.

    Attributes:
        limit_s: What the next attempt is allowed, seconds.
    """

    def __init__(self) -> None:
        self.limit_s = AGE_MIN_S

    def too_old(self, allowed_s: float) -> None:
        """An attempt that was allowed so much got older; many such at one time count once."""
        self.limit_s = max(self.limit_s, min(AGE_MAX_S, GROWS * allowed_s))

    def written(self, age_s: float) -> None:
        """A request left when its attempt was so old."""
        if age_s < EASY * self.limit_s:
            self.limit_s = max(AGE_MIN_S, SHRINKS * self.limit_s)
