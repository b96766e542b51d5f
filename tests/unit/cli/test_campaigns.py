"""Campaigns and numbers from the command line, as far as no Kafka is needed; and what `trace` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.account import wait_sentence
from pipeline.cli.campaigns import Tally
from pipeline.cli.numbers import _standing
from pipeline.cli.timeline import step_of, stops_of
from pipeline.clock import rfc3339
from pipeline.config import load
from pipeline.streams.topics import DELAYED, READY
from tests.unit.cli.conftest import Run

NUMBER = "200000000000001"
NOW_MS = 1_795_341_600_000
PAUSE = {"paused": True, "priorities": ["bulk"], "at": rfc3339(NOW_MS), "by": "ada", "reason": "evening"}


def event(kind: str, request_id: str = "r-1", campaign: str | None = "spring") -> dict[str, Any]:
    """An outbound-event of a campaign's message."""
    return {"type": kind, "request_id": request_id, "number": NUMBER, "campaign": campaign, "at": rfc3339(NOW_MS)}


def test_a_tally_counts_each_request_once() -> None:
    """Deferrals, repeats and late copies of other events change no count; open ones are those without an end."""
    tally = Tally()
    for at_ms, one in enumerate(
        (event("queued"), event("deferred"), event("accepted"), event("accepted"), event("queued"),
         event("undelivered"), event("queued", "r-2"), event("cancelled", "r-3"), event("queued", "r-4", None))
    ):  # fmt: skip
        tally.add(one, at_ms)
    [campaign] = tally.campaigns.values()
    assert campaign.ends == {"accepted": 1, "cancelled": 1}
    assert (campaign.open, campaign.first_ms, campaign.last_ms) == (1, 0, 7)


def test_trace_names_the_pause_of_a_campaign(settings_file: Path) -> None:
    """Who paused it, since when and why, and how it goes on; a campaign that runs is not named."""
    settings = load(settings_file, {})
    step = step_of("outbound", event("deferred"), NOW_MS)
    state = {"state": "paused", "at": rfc3339(NOW_MS), "by": "ada", "reason": "wrong link"}
    told = wait_sentence(settings, step, {"campaign:spring": state}, NOW_MS)
    assert f"campaign spring is paused since {rfc3339(NOW_MS)} by ada (wrong link)" in told
    assert "wapipe campaigns resume spring" in told
    assert "spring" not in wait_sentence(settings, step, {"campaign:spring": {**state, "state": "running"}}, NOW_MS)


def test_a_number_s_pause_is_named() -> None:
    """Metric, `trace` and `numbers list` say `operator`, what is held, by whom and why; a resume takes it away."""
    states = {f"number:{NUMBER}/pause": PAUSE}
    [stop] = stops_of(NUMBER, states, require_webhook=False, now_ms=NOW_MS)
    assert stop == f"operator: bulk paused since {rfc3339(NOW_MS)} by ada (evening)"
    resumed = {f"number:{NUMBER}/pause": {**PAUSE, "paused": False}}
    assert stops_of(NUMBER, resumed, require_webhook=False, now_ms=NOW_MS) == []


@pytest.mark.parametrize(("priorities", "drains", "rate"), [(["bulk"], 2.0, None), (None, None, 0.0)])
def test_a_number_that_stands_still_never_drains(
    settings_file: Path, priorities: list[str] | None, drains: float | None, rate: float | None
) -> None:
    """A hold on all that it sends leaves no time to drain; one on some of it leaves the rest at the full rate."""
    settings = load(settings_file, {})
    verified = {f"number:{NUMBER}/webhook": {"verified": True}}
    states: dict[str, dict[str, Any]] = {**verified, f"number:{NUMBER}/pause": {**PAUSE, "priorities": priorities}}
    backlog = {**dict.fromkeys((*READY, *DELAYED), 0), "ready-bulk": 160}
    found = _standing(settings, NUMBER, states, backlog, NOW_MS)
    assert (found["seconds_to_drain"], found["rate_now_per_s"]) == (drains, rate)
    assert found["backlog"] == {"urgent": 0, "normal": 0, "bulk": 160}


def test_an_unknown_number_is_named_with_those_there_are(run: Run) -> None:
    """A slip of the finger changes nothing, and the message says what would be right."""
    result = run("numbers", "pause", "1", "--reason", "x")
    assert result.exit_code != 0
    assert f"1 is not in the settings; there are: {NUMBER}" in result.output
