"""The simulator's doors from outside: its ledger, its stats, its control. Blocking HTTP; the simulator is a process."""

from __future__ import annotations

import http.client
from typing import Any, Final

import orjson

HTTP_TIMEOUT_S: Final = 60.0


class Api:
    """A running simulator.

    Attributes:
        url: Its base URL, without a path.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = url.removeprefix("http://")

    def ledger(self) -> list[dict[str, Any]]:
        """Every request since the start or the last reset, in arrival order."""
        return [orjson.loads(line) for line in self._call("GET", "ledger").splitlines()]

    def messages(self) -> list[dict[str, Any]]:
        """The ledger's requests to the messages endpoint: without logins and looks at a number."""
        return [row for row in self.ledger() if row["profile"] != "other"]

    def stats(self) -> dict[str, Any]:
        """Counters, limits and envelopes by number, lag, spells."""
        stats: dict[str, Any] = orjson.loads(self._call("GET", "stats"))
        return stats

    def control(self, **asked: Any) -> dict[str, Any]:
        """Change something: `reset=True`, `settings={…}`, `spell={…}`, `force={…}`, `inbound={…}`.

        Raises:
            AssertionError: the simulator refused; the message says why.
        """
        answer: dict[str, Any] = orjson.loads(self._call("POST", "control", orjson.dumps(asked)))
        return answer

    def _call(self, method: str, door: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(self._address, timeout=HTTP_TIMEOUT_S)
        try:
            connection.request(method, f"/_simulator/{door}", body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, f"{method} {door}: {answer.status} {content[:500]!r}"
        return content
