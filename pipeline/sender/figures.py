"""What a sender tells of its numbers, about once a second: the lanes that it has of each, together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from pipeline.metrics import Metrics
from pipeline.sender.lane import Lane
from pipeline.throttle.priority import PRIORITIES


class Figures:
    """Sets the gauges of numbers.

    Args:
        stop_reasons: Why a lane sends nothing, in the words of the contract.
    """

    def __init__(self, metrics: Metrics, stop_reasons: Callable[[Lane], set[str]]) -> None:
        self._metrics, self._stop_reasons = metrics, stop_reasons

    def show(self, lanes: Iterable[Lane], now_s: float, now_ms: int) -> None:
        """Tell how the numbers of these lanes stand.

        Args:
            now_s: The steady clock.
            now_ms: This host's date.
        """
        by_number: dict[str, list[Lane]] = defaultdict(list)
        for lane in lanes:
            by_number[lane.number].append(lane)
        for number, own in by_number.items():
            self._number(number, own, now_s, now_ms)

    def _number(self, number: str, lanes: list[Lane], now_s: float, now_ms: int) -> None:
        metrics = self._metrics
        reasons = [self._stop_reasons(lane) for lane in lanes]
        metrics.show_stops(number, set[str]().union(*reasons))
        metrics.bucket_tokens.labels(number).set(sum(lane.bucket.tokens(now_s) for lane in lanes))
        moving = [lane for lane, stops in zip(lanes, reasons, strict=True) if not stops]
        metrics.rate_limit_per_second.labels(number).set(sum(lane.bucket.limit.rate_per_s for lane in moving))
        oldest = [lane.oldest_source_ms() for lane in lanes]
        for index, name in enumerate(PRIORITIES):
            metrics.ready_backlog.labels(number, name).set(sum(lane.backlog[index] for lane in lanes))
            sources_ms = [found for each in oldest if (found := each[index]) is not None]
            age_s = max(0.0, (now_ms - min(sources_ms)) / 1000) if sources_ms else 0.0
            metrics.oldest_ready_seconds.labels(number, name).set(age_s)
        drained_per_s = sum(lane.limit.rate_per_s for lane in lanes)
        metrics.seconds_to_drain.labels(number).set(sum(len(lane.jobs) for lane in lanes) / drained_per_s)
