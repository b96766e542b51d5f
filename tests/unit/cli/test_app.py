"""Durations, and choices that may be left out."""

from __future__ import annotations

import click
import pytest

from pipeline.cli.app import duration_ms, only, quiet
from pipeline.config import KafkaSettings, Settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90_000), ("10m", 600_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("250ms", 250), ("30", 30_000),
        ("0.5", 500), ("1.5h", 5_400_000), ("0", 0),
    ],
)  # fmt: skip
def test_duration_reads_units(text: str, expected: int) -> None:
    """A duration is the sum of its parts in milliseconds; a bare number is seconds."""
    assert duration_ms(text) == expected


@pytest.mark.parametrize("text", ["", "h", "10x", "1h 30m", "-5s", "1e3", "١s", "10s10", "9999999999s"])
def test_duration_refuses_what_it_cannot_read(text: str) -> None:
    """Anything else is refused with an example of what would be right."""
    with pytest.raises(ValueError, match="write 90s"):
        duration_ms(text)


def test_only_choice_may_be_left_out() -> None:
    """One configured thing needs no option; none or two do, and two are named."""
    assert only("number", "--from", ["1"]) == "1"
    with pytest.raises(click.UsageError, match=r"--from.*1, 2"):
        only("number", "--from", ["1", "2"])
    with pytest.raises(click.UsageError, match="--from"):
        only("number", "--from", [])


def test_quiet_keeps_what_the_user_set() -> None:
    """librdkafka's log lines are off for commands, unless the settings ask for them."""
    assert quiet(Settings()).kafka.client == {"log_level": 0}
    loud = Settings(kafka=KafkaSettings(client={"log_level": 7, "debug": "broker"}))
    assert quiet(loud).kafka.client == {"log_level": 7, "debug": "broker"}
