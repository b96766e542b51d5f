"""librdkafka's own lines, as lines of ours: what repeats is written once in ten seconds.

Called in whatever thread polls a client. A client that is never polled says nothing: its lines stay in its queue.
"""

from __future__ import annotations

import logging
import re
from typing import Final

import structlog

from pipeline.clock import steady_s
from pipeline.logs import Repeats

log = structlog.get_logger(__name__)

_THREAD: Final = re.compile(r"^\[thrd:[^\]]*\]: ")
_AGE: Final = re.compile(r" \(after \d+ms in state \w+(?:, \d+ identical error\(s\) suppressed)?\)$")
_NUMBERS: Final = re.compile(r"\d+")
_REFUSALS: Final = ("SASL authentication error", "certificate verify failed", "SSL alert")
TEXT_CHARS_MAX: Final = 500


def shortened(text: str) -> str:
    """A line without the name of the thread at its beginning and the age of a connection at its end."""
    return _AGE.sub("", _THREAD.sub("", text))[:TEXT_CHARS_MAX]


class ClientLog:
    """Stands where librdkafka's binding expects a logger.

    Two lines are of one kind if they differ in numbers only: brokers, ports, times.
    """

    def __init__(self) -> None:
        self._repeats = Repeats()

    def log(self, level: int, _form: str, facility: str, client: str, text: str) -> None:
        """Write one line, or count it.

        Args:
            level: Python's.
            facility: librdkafka's word for what it is about, e.g. `FAIL`.
            client: Its name for the client.
        """
        if level <= logging.DEBUG:  # whoever sets `debug` wants to see all of it
            log.debug("kafka_client", facility=facility, client=client, text=text)
            return
        said = shortened(text)
        held = self._repeats.pass_now(_NUMBERS.sub("#", said), steady_s())
        if held is not None:
            # A broker that is away comes back without us; one that refuses us needs a person.
            level = logging.ERROR if any(sign in said for sign in _REFUSALS) else min(level, logging.WARNING)
            log.log(level, "kafka_client", facility=facility, client=client, text=said, suppressed=held)


CLIENT_LOG: Final = ClientLog()
"""One for the process: a broker that is away is away for all of its clients."""
