"""Limits that more than one number shares, and Turn.io's windows.

Runs on the simulator's loop; clock readings come in.
"""

from __future__ import annotations

from pipeline.simulator import answers
from pipeline.simulator.limits import NS_PER_S, FixedWindow, TokenBucket
from pipeline.simulator.meters import METERS_MAX
from pipeline.simulator.parts import RateLimit, WindowLimit
from pipeline.simulator.settings import LiveSettings
from pipeline.simulator.strict import MEDIA_TYPES
from pipeline.simulator.verdicts import Arrival, Verdict, refused

_APP = "(app)"


class Shared:
    """The buckets of accounts and of the app; what is refused takes nothing."""

    def __init__(self) -> None:
        """Every bucket is full."""
        self._buckets: dict[tuple[int, str], TokenBucket] = {}
        self._limits: tuple[RateLimit | None, RateLimit | None] = (None, None)

    def lacking(self, settings: LiveSettings, account: str, now_ns: int) -> tuple[int, float] | None:
        """Code of the first shared limit that is used up, and seconds until it is not; None = there is room."""
        for code, bucket in self._of(settings, account, now_ns):
            if not bucket.has_token(now_ns):
                return code, bucket.wait_ns(now_ns) / NS_PER_S
        return None

    def take(self, settings: LiveSettings, account: str, now_ns: int) -> None:
        """Take a token of each, after `lacking` said that there is one."""
        for _, bucket in self._of(settings, account, now_ns):
            bucket.take(now_ns)

    def _of(self, settings: LiveSettings, account: str, now_ns: int) -> list[tuple[int, TokenBucket]]:
        limits = (settings.account_limit, settings.app_limit)
        if limits != self._limits:
            self._buckets.clear()
            self._limits = limits
        names = ((answers.CODE_ACCOUNT_LIMIT, account, limits[0]), (answers.CODE_APP_LIMIT, _APP, limits[1]))
        return [(code, self._bucket(code, name, limit, now_ns)) for code, name, limit in names if limit is not None]

    def _bucket(self, code: int, name: str, limit: RateLimit, now_ns: int) -> TokenBucket:
        bucket = self._buckets.get((code, name))
        if bucket is None:
            if len(self._buckets) >= METERS_MAX:
                self._buckets.pop(next(iter(self._buckets)))
            bucket = self._buckets[code, name] = TokenBucket(limit.limit(), now_ns)
        return bucket


class Windows:
    """Turn.io's windows: one per number and kind of call (whatsapp-api.md §5)."""

    def __init__(self) -> None:
        """Nothing is used."""
        self._windows: dict[tuple[str, str], FixedWindow] = {}

    def clear(self) -> None:
        """Forget what was used."""
        self._windows.clear()

    def take(self, limit: WindowLimit, sender: str, kind: str, wall_s: float) -> tuple[bool, dict[str, str]]:
        """Use one; say whether there was room, and the headers that tell of it."""
        window = self._windows.get((sender, kind))
        if window is None or (window.requests, window.window_s) != (limit.requests, limit.window_s):
            if len(self._windows) >= METERS_MAX:
                self._windows.pop(next(iter(self._windows)))
            window = self._windows[sender, kind] = FixedWindow(limit.requests, limit.window_s)
        has_room = window.take(wall_s)
        headers = {
            "X-Ratelimit-Bucket": kind,
            "X-Ratelimit-Limit": str(window.requests),
            "X-Ratelimit-Remaining": str(window.remaining),
            "X-Ratelimit-Reset": str(window.reset_s),
        }
        if not has_room:
            headers["Retry-After"] = str(max(1, window.reset_s - int(wall_s)))
        return has_room, headers


def kind_of(arrival: Arrival, message_type: str) -> str:
    """Which of Turn.io's buckets a call counts in; which types count as media is a guess of ours."""
    if arrival.route.kind in ("media", "item", "delete") or message_type in MEDIA_TYPES:
        return "media"
    return "text" if arrival.route.takes_messages else "general"


def out_of_window(headers: dict[str, str]) -> Verdict:
    """The 429 of a used-up window."""
    verdict = refused("v1", answers.code_of("v1", answers.CODE_THROTTLED))
    verdict.headers = headers
    return verdict
