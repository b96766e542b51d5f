"""What commands print: aligned, clean, uncoloured in a pipe."""

from __future__ import annotations

import io
import re
import sys
import time

import orjson
import pytest

from pipeline.cli.output import SlowProgress, clean, clock_time, json_lines, line, table


def test_clean_escapes_control_characters() -> None:
    """No text from a topic can move the cursor, clear the screen or reverse the line; None is a dash."""
    assert clean("plain ünïcode") == "plain ünïcode"
    assert clean("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
    assert clean("\u202egnp") == "\\u202egnp"
    assert clean("\ud800").isprintable()
    assert clean(None) == "-"
    assert clean(5) == "5"


def test_clock_time_is_utc_with_milliseconds() -> None:
    """Moments are printed in UTC to the millisecond."""
    assert clock_time(1_795_341_600_123) == "2026-11-22 10:00:00.123"


def test_table_in_a_pipe_is_aligned_plain_and_uncut(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a table has no colours, no cut cells and no trailing spaces, and brackets stay as they are."""
    long = "x" * 500
    table(("name", "value"), [(("[red]a[/red]", "bad"), long), ("bbb", "1")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["NAME          VALUE", f"[red]a[/red]  {long}", "bbb           1"]


def test_narrow_terminal_wraps_long_cells_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal a time stays in one piece, and a long text loses nothing."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    table(("time", "detail"), [("2026-11-22 10:00:00.123", "word " * 30)])
    lines = terminal.getvalue().splitlines()
    assert "2026-11-22 10:00:00.123" in lines[1]
    assert max(map(len, lines[1:])) <= 50
    assert sum(text.count("word") for text in lines) == 30


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours, a file does not."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream, is_coloured in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stdout", stream)
        line("id", ("accepted", "good"))
        assert ("\x1b[32m" in stream.getvalue()) is is_coloured


def test_json_lines_are_one_value_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Each value is a line of its own that parses."""
    json_lines([{"a": "x\ny"}, [1]])
    assert [orjson.loads(text) for text in capsys.readouterr().out.splitlines()] == [{"a": "x\ny"}, [1]]


def test_progress_is_silent_for_quick_work_and_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A bar appears after 2 s only, and never in a pipe."""
    now_s = [0.0]
    with SlowProgress("reading", clock=lambda: now_s[0]) as progress:
        progress.update(1, 10)
        now_s[0] = 3.0
        progress.update(5, 10)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == ""


def test_progress_shows_on_a_terminal_once_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2 s nothing is shown; after that what is done and how far."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    now_s = [0.0]
    with SlowProgress("reading events", clock=lambda: now_s[0]) as progress:
        now_s[0] = 1.9
        progress.update(1, 10)
        assert terminal.getvalue() == ""
        now_s[0] = 2.1
        progress.update(4, 10)
        time.sleep(0.01)  # rich takes the rate from its own clock
        now_s[0] = 3.0
        progress.update(5, 10)
    assert "reading events" in terminal.getvalue()
    assert "50%" in terminal.getvalue()
    assert re.search(r"[\d,]+ records/s", terminal.getvalue())
