"""Keeps what strangers send from filling the log: bytes that are no HTTP become a count and a line now and then.

aiohttp answers such bytes with 400 by itself, before any handler of ours, and logs an error with the bytes in it.
Runs wherever aiohttp logs: on the ingress' loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from pipeline.clock import steady_s
from pipeline.logs import Repeats
from pipeline.metrics import Metrics

log = structlog.get_logger(__name__)


class MalformedHttp(logging.Filter):
    """Lets every record through but those about bytes that are no HTTP; these are counted as `malformed`."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = steady_s) -> None:
        super().__init__()
        self._metrics, self._clock = metrics, clock
        self._repeats = Repeats()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        cause = record.exc_info[1] if record.exc_info else None
        if not isinstance(cause, HttpProcessingError):
            return True
        self._metrics.webhook_requests.labels("malformed").inc()
        held_back = self._repeats.pass_now("malformed", self._clock())
        if held_back is not None:
            log.warning("malformed_http", kind=type(cause).__name__, suppressed=held_back)
        return False


def server_logger(metrics: Metrics) -> logging.Logger:
    """A logger for one aiohttp server, with the filter; it hangs on the root logger and is known to nobody else."""
    logger = logging.Logger("aiohttp.server")
    logger.parent = logging.getLogger()
    logger.addFilter(MalformedHttp(metrics))
    return logger
