"""Logs: one JSON line per event, without secrets, however badly a caller fills it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from pipeline import logs
from pipeline.redaction import HIDDEN, remember


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the process writes to stderr after `configure`."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("gate", "gate-1")
    return stream


def fail(error: Exception) -> None:
    """Raise, one frame further down."""
    raise error


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line, parsed."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_event_is_one_json_line(stderr: io.StringIO) -> None:
    """A structlog event is one JSON line with time, level, logger, role and its own fields."""
    structlog.get_logger("pipeline.gate").info("message_settled", request_id="r-1", attempt=2)
    [line] = lines(stderr)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "event": "message_settled", "request_id": "r-1", "attempt": 2, "level": "info", "logger": "pipeline.gate",
        "service": "gate", "instance": "gate-1",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["15••• 9999", "lone \ud800"])
def test_a_line_per_message_has_the_form_of_any_other(capfd: pytest.CaptureFixture[str], text: str) -> None:
    """What the shortest way writes differs from an ordinary line in nothing but its time, and keeps its place."""
    logs.configure("sender", "sender-1")
    for logger in (structlog.get_logger("pipeline.sender.finish"), logs.frequent("pipeline.sender.finish")):
        logger.info("message_settled", request_id=text, attempt=2)
    logs.frequent("pipeline.sender.finish").debug("unheard")
    first, second = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert {**first, "ts": None} == {**second, "ts": None}
    assert first["ts"] <= second["ts"]


def test_other_libraries_come_out_in_the_same_form(stderr: io.StringIO) -> None:
    """A line of the standard library's logging has the same keys, with `extra` as fields."""
    logging.getLogger("somebody").warning("lost %s", "it", extra={"topic": "consent"})
    [line] = lines(stderr)
    assert (line["event"], line["level"], line["logger"], line["topic"]) == (
        "lost it",
        "warning",
        "somebody",
        "consent",
    )
    assert line["service"] == "gate"


def test_time_has_milliseconds(stderr: io.StringIO) -> None:
    """`ts` is RFC 3339 in UTC with milliseconds, like every time of the contract."""
    structlog.get_logger("x").info("tick")
    assert len(lines(stderr)[0]["ts"]) == len("2026-11-22T10:00:00.000Z")


def test_level_is_respected(stderr: io.StringIO) -> None:
    """What is below the level is not written, for structlog and the rest."""
    structlog.get_logger("x").debug("steps")
    logging.getLogger("y").debug("steps")
    logging.getLogger("aiokafka.consumer").info("joined")
    assert lines(stderr) == []


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer EAAG.s3cr3t/x+y=",
        "authorization: BEARER EAAG.s3cr3t/x+y=",
        "{'D360-API-KEY': 'EAAG.s3cr3t'}",
        "d360-api-key: EAAG.s3cr3t",
        "GET /me?access_token=EAAG.s3cr3t&x=1",
    ],
)
def test_tokens_are_redacted(stderr: io.StringIO, text: str) -> None:
    """A token that got into a text, a field or a traceback comes out as [secret]."""
    structlog.get_logger("x").error("refused", detail=text)
    logging.getLogger("y").error(text)
    try:
        fail(ValueError(text))
    except ValueError:
        structlog.get_logger("z").exception("broke")
        logging.getLogger("z").exception("broke")
    written = stderr.getvalue()
    assert len(lines(stderr)) == 4
    assert "s3cr3t" not in written
    assert written.count("[secret]") >= 4


def test_a_secret_that_was_read_is_hidden_wherever_it_turns_up(stderr: io.StringIO) -> None:
    """Whatever it looks like, in a field, below one, in a library's line or a traceback: what was read is not shown."""
    odd = remember('zebra"crossing\\é')
    structlog.get_logger("x").error("refused", detail=f"not {odd}", told={"deep": [odd]})
    logging.getLogger("y").error("lost %s", odd)
    try:
        fail(ValueError(odd))
    except ValueError:
        structlog.get_logger("z").exception("broke")
    written = stderr.getvalue()
    assert len(lines(stderr)) == 3
    assert "zebra" not in written
    assert written.count(HIDDEN) >= 4


@pytest.mark.parametrize("field", ["detail", "error", "exception"])
def test_who_is_named_by_others_is_masked(stderr: io.StringIO, field: str) -> None:
    """A phone number in what an API or an error says is masked; ids that only hold digits among letters stay."""
    said = "15550109999 and +15550109999 by wamid.15550109999, code 131030"
    structlog.get_logger("x").warning("halted", **{field: said})
    assert lines(stderr)[0][field] == "1555•••9999 and +1555•••9999 by wamid.15550109999, code 131030"


def test_exception_comes_as_one_field(stderr: io.StringIO) -> None:
    """An exception with its frames is one field of the one line."""
    try:
        fail(KeyError("gone"))
    except KeyError:
        logging.getLogger("y").exception("broke")
    [line] = lines(stderr)
    assert "KeyError: 'gone'" in line["exception"]
    assert "test_logs.py" in line["exception"]


@pytest.mark.parametrize("value", ["\ud800", 2**80, {1: "x"}, b"\xff", object()])
def test_any_value_comes_out_as_a_line(stderr: io.StringIO, value: object) -> None:
    """A value that JSON has no form for never loses the line."""
    structlog.get_logger("x").info("odd", value=value)
    [line] = lines(stderr)
    assert line["event"] == "odd"


def test_terminal_gets_readable_lines_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the lines are for people, tracebacks included, and redacted all the same."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("gate", "gate-1")
    try:
        fail(ValueError("Bearer EAAG.s3cr3t"))
    except ValueError:
        structlog.get_logger("x").exception("broke")
    written = stream.getvalue()
    assert "broke" in written
    assert "ValueError: Bearer [secret]" in written
    assert not written.startswith("{")


@pytest.mark.parametrize(
    ("recipient", "shown"),
    [("15550109999", "1555•••9999"), ("12345678", "•••"), ("", "•••"), (None, None)],
)
def test_recipients_are_masked(recipient: str | None, shown: str | None) -> None:
    """The middle of a phone number is hidden; a short one altogether."""
    assert logs.masked(recipient) == shown


def test_repeats_are_held_back_and_counted() -> None:
    """One line of a kind passes per interval and says how many were held back; kinds do not share."""
    repeats = logs.Repeats(every_s=10)
    assert repeats.pass_now("a", 100.0) == 0
    assert repeats.pass_now("a", 100.1) is None
    assert repeats.pass_now("a", 109.9) is None
    assert repeats.pass_now("b", 109.9) == 0
    assert repeats.pass_now("a", 110.0) == 2
    assert repeats.pass_now("a", 120.0) == 0


def test_libraries_repeat_themselves_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same line of a library passes once in ten seconds and then says how often it was held back; ours always."""
    now_s = 100.0
    monkeypatch.setattr("pipeline.logs.time.monotonic", lambda: now_s)
    passes = logs.ForeignRepeats().filter

    def line(name: str, text: str, *args: object) -> logging.LogRecord:
        return logging.LogRecord(name, logging.ERROR, __file__, 1, text, args, None)

    assert passes(line("aiokafka", "cannot connect to node %s", 1))
    assert not passes(line("aiokafka", "cannot connect to node %s", 2))
    assert passes(line("aiokafka", "another one"))
    assert passes(line("pipeline.gate", "mine"))
    assert passes(line("pipeline.gate", "mine"))
    now_s += logs.REPEAT_EVERY_S
    again = line("aiokafka", "cannot connect to node %s", 3)
    assert passes(again)
    assert vars(again)["suppressed"] == 1
