"""The `wapipe broker` role: an embedded Kafka in the foreground, until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeline.embedded.broker import EmbeddedKafka

CHECK_EVERY_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _StopRequested(BaseException):
    """Raised in the main thread by the first SIGTERM or SIGINT; like KeyboardInterrupt, no handler swallows it."""


def print_line(line: str) -> None:
    """Write a line to stdout at once, so that a pipe's reader sees it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run_broker_forever(data_dir: Path, brokers: int = 1, *, announce: Callable[[str], None] = print_line) -> None:
    """Run a broker until this process gets SIGTERM or SIGINT; then end it and return.

    Further signals change nothing: the end is bounded. A signal during the start ends that, too.

    Args:
        data_dir: The brokers' data folder.
        brokers: 1 or 3.
        announce: Gets the bootstrap address once clients are served.

    Raises:
        ConfigError: See `EmbeddedKafka.start`.
        BrokerUnreachable: A broker did not start, or exited by itself.
    """
    try:
        with _first_signal_raises(), EmbeddedKafka(data_dir, brokers=brokers) as kafka:
            announce(kafka.bootstrap)
            while True:  # until a signal raises, or a broker exits
                kafka.check()
                time.sleep(CHECK_EVERY_S)
    except _StopRequested:
        return


@contextmanager
def _first_signal_raises() -> Iterator[None]:
    is_stopping = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            raise _StopRequested

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
