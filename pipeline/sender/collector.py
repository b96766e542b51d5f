"""Python's cycle collector, kept from going through a history while that is built. Any thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Collector:
    """Pauses the collector of the process while at least one history is being read.

    Reading makes nothing but what stays, hundreds of thousands of objects: to look for cycles among them takes a third
    of the time, again and again, and stops the event loop meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Collect nothing within.

        Nothing is frozen afterwards: what is garbage by then would stay for ever, and a lane that was given up a moment
        before is such a cycle, with all its messages.
        """
        with self._lock:
            self._readers += 1
            gc.disable()
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if not self._readers:
                    gc.enable()
