"""librdkafka's lines come out as ours: once in ten seconds per kind, at the level that somebody has to act on."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline.streams import client_log
from pipeline.streams.client_log import TEXT_CHARS_MAX, ClientLog, shortened

FORM = "%s [%s] %s"
AWAY = (
    "[thrd:10.0.0.7:9092/bootstrap]: 10.0.0.{}:9092/bootstrap: Connect to ipv4#10.0.0.7:9092 failed: Connection refused"
    " (after {}ms in state CONNECT, 3 identical error(s) suppressed)"
)
REFUSED = (
    "[thrd:a]: sasl_ssl://a:9093/1: SASL authentication error: Authentication failed (after 9ms in state AUTH_REQ)"
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(client_log, "steady_s", lambda: now[0])
    return now


def said(client: ClientLog, level: int, *texts: str) -> list[Any]:
    """Log lines that come of these lines."""
    with capture_logs() as lines:
        for text in texts:
            client.log(level, FORM, "FAIL", "rdkafka#consumer-1", text)
    return lines


def test_what_repeats_is_written_once(clock: list[float]) -> None:
    """A broker that is away is one line in ten seconds, whichever broker and client; the next says how many came."""
    client = ClientLog()
    lines = said(client, logging.ERROR, *(AWAY.format(broker, 7 * broker) for broker in range(1, 40)))
    assert [line["text"] for line in lines] == [shortened(AWAY.format(1, 7))]
    assert (lines[0]["event"], lines[0]["log_level"], lines[0]["facility"]) == ("kafka_client", "warning", "FAIL")
    clock[0] += 10
    assert said(client, logging.ERROR, AWAY.format(1, 1))[0]["suppressed"] == 38


@pytest.mark.usefixtures("clock")
def test_a_refusal_is_an_error() -> None:
    """What waiting does not mend is an error; it is not held back behind a line about something else."""
    lines = said(ClientLog(), logging.ERROR, AWAY.format(1, 1), REFUSED)
    assert [line["log_level"] for line in lines] == ["warning", "error"]
    assert lines[1]["text"] == "sasl_ssl://a:9093/1: SASL authentication error: Authentication failed"


@pytest.mark.usefixtures("clock")
def test_debug_is_written_whole() -> None:
    """Whoever sets librdkafka's `debug` sees every line; all others have a length."""
    assert len(said(ClientLog(), logging.DEBUG, *["same"] * 5)) == 5
    assert len(said(ClientLog(), logging.INFO, "x" * 2000)[0]["text"]) == TEXT_CHARS_MAX
