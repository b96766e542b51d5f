"""What strangers send does not fill the log; what we did wrong stands in it."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from aiohttp.http_exceptions import BadStatusLine

from pipeline.ingress.noise import MalformedHttp, server_logger
from pipeline.metrics import Metrics


def _record(error: BaseException | None) -> logging.LogRecord:
    caught: tuple[type[BaseException], BaseException, TracebackType | None] | None = None
    if error is not None:
        try:
            raise error
        except type(error):
            kind, raised, trace = sys.exc_info()
            assert kind is not None
            assert raised is not None
            caught = (kind, raised, trace)
    return logging.LogRecord("aiohttp.server", logging.ERROR, "f", 1, "Error handling request", (), caught)


def test_bytes_that_are_no_http_are_counted_and_not_written() -> None:
    """Each is a count, none is a record with its bytes."""
    metrics = Metrics()
    quiet = MalformedHttp(metrics, lambda: 0.0)
    assert not any(quiet.filter(_record(BadStatusLine("secret bytes"))) for _ in range(3))
    assert metrics.registry.get_sample_value("wapipe_webhook_requests_total", {"result": "malformed"}) == 3


def test_any_other_error_is_written() -> None:
    """A bug of ours, and a record without an exception, pass."""
    quiet = MalformedHttp(Metrics(), lambda: 0.0)
    assert quiet.filter(_record(KeyError("ours")))
    assert quiet.filter(_record(None))


def test_the_servers_logger_is_nobody_elses() -> None:
    """Two servers count apart, and the logger that aiohttp shares is untouched."""
    one, other = server_logger(Metrics()), server_logger(Metrics())
    assert one is not other
    assert one.parent is logging.getLogger()
    assert logging.getLogger("aiohttp.server").filters == []
