"""State of numbers and campaigns, what an operator does to them, and what is said of a message that waits."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.clock import rfc3339
from pipeline.config import Settings
from pipeline.errors import WrongRequest
from pipeline.operations.account import wait_sentence
from pipeline.operations.acts import Act, Actor
from pipeline.operations.campaigns import Tally, set_campaign
from pipeline.operations.numbers import pause_number, standing
from pipeline.operations.timeline import step_of, stops_of
from pipeline.records.account import AuditEvent
from pipeline.records.codec import check
from pipeline.records.request import PRIORITIES
from pipeline.streams.topics import DELAYED, READY

NUMBER = "200000000000001"
NOW_MS = 1_795_341_600_000
PAUSE = {"paused": True, "priorities": ["bulk"], "at": rfc3339(NOW_MS), "by": "ada", "reason": "evening"}
IN_ORDER: dict[str, dict[str, Any]] = {f"number:{NUMBER}/webhook": {"verified": True}, "account:/templates": {}}
"""What `account-state` says of a number that may send."""
ADA = Actor("ada", "cli")


@pytest.fixture
def settings() -> Settings:
    """Settings of one number of the Cloud API, at its 80/s."""
    own = {"business": "acme", "profile": "cloud", "base_url": "https://graph.example", "token_env": "T"}
    return Settings.model_validate({"numbers": {NUMBER: own}})


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


def test_a_replay_ends_its_request_anew() -> None:
    """What failed and was taken when an operator sent it again counts as taken, also if its failure is told again."""
    tally = Tally()
    for at_ms, kind in enumerate(("queued", "failed", "failed", "queued", "accepted", "failed")):
        tally.add(event(kind), at_ms)
    assert tally.campaigns["spring"].ends == {"failed": 0, "accepted": 1}
    assert tally.campaigns["spring"].open == 0


def test_trace_names_the_pause_of_a_campaign(settings: Settings) -> None:
    """Who paused it, since when and why, and how it goes on; a campaign that runs is not named."""
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


@pytest.mark.parametrize(("priorities", "drains", "is_still"), [(["bulk"], 2.0, False), (None, None, True)])
def test_a_number_that_stands_still_never_drains(
    settings: Settings, priorities: list[str] | None, drains: float | None, is_still: bool
) -> None:
    """A hold on all that it sends leaves no time to drain; one on some of it leaves the rest at the full rate."""
    states: dict[str, dict[str, Any]] = {**IN_ORDER, f"number:{NUMBER}/pause": {**PAUSE, "priorities": priorities}}
    backlog = {**dict.fromkeys((*READY, *DELAYED), 0), "ready-bulk": 160}
    found = standing(settings, NUMBER, states, backlog, NOW_MS)
    assert (found.seconds_to_drain, found.is_still) == (drains, is_still)
    assert found.backlog == {"urgent": 0, "normal": 0, "bulk": 160}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({f"number:{NUMBER}/preflight": {"token": "refused", "detail": "expired"}}, "token"),
        ({f"number:{NUMBER}/webhook": {"verified": False}}, "webhook"),
        ({f"number:{NUMBER}/halt/0": {"halted": True, "reason": "throttled"}}, "throttled"),
        ({"account:/templates": None}, "preflight"),
    ],
)
def test_the_list_of_numbers_knows_all_that_a_trace_names(
    settings: Settings, changed: dict[str, dict[str, Any] | None], word: str
) -> None:
    """Whatever `trace` says that a message waits for, `numbers list` says that the number stands still for."""
    states = {key: value for key, value in {**IN_ORDER, **changed}.items() if value is not None}
    backlog = {**dict.fromkeys((*READY, *DELAYED), 0), "ready-normal": 1}
    found = standing(settings, NUMBER, states, backlog, NOW_MS)
    [stop] = found.stops
    assert (found.is_still, found.seconds_to_drain, stop.split(":")[0]) == (True, None, word)
    assert stop in wait_sentence(settings, step_of("outbound", event("queued", campaign=None), NOW_MS), states, NOW_MS)
    assert standing(settings, NUMBER, IN_ORDER, backlog, NOW_MS).stops == ()


def told(act: Act | None) -> tuple[AuditEvent, dict[str, Any]]:
    """The audit-event of an act, and the one value that it writes."""
    assert act is not None
    assert act.audit is not None
    [record] = act.records
    return check(AuditEvent, orjson.loads(act.audit.value or b"")), orjson.loads(record.value or b"")


def test_a_pause_says_what_and_who(settings: Settings) -> None:
    """State and audit record agree; all priorities are the same as none named; a resume names none."""
    kwargs: dict[str, Any] = {"reason": "evening", "now_ms": NOW_MS}
    act = pause_number(settings, ADA, NUMBER, is_paused=True, priorities=["bulk"], before=None, **kwargs)
    audit, state = told(act)
    assert (audit.action, audit.target, audit.before, audit.after) == ("pause", f"number:{NUMBER}", None, state)
    assert (state["paused"], state["priorities"], state["by"]) == (True, ["bulk"], "ada")
    whole = pause_number(settings, ADA, NUMBER, is_paused=True, priorities=PRIORITIES, before=state, **kwargs)
    assert told(whole)[1]["priorities"] is None
    audit, resumed = told(pause_number(settings, ADA, NUMBER, is_paused=False, before=state, **kwargs))
    assert (audit.action, audit.before, resumed["paused"]) == ("resume", state, False)


def test_what_is_so_already_is_no_act(settings: Settings) -> None:
    """Who pauses what is paused, or lets run what runs, writes nothing."""
    kwargs: dict[str, Any] = {"reason": "x", "now_ms": NOW_MS}
    assert pause_number(settings, ADA, NUMBER, is_paused=True, priorities=["bulk"], before=PAUSE, **kwargs) is None
    assert pause_number(settings, ADA, NUMBER, is_paused=False, before=None, **kwargs) is None
    assert set_campaign(ADA, "spring", "running", before=None, **kwargs) is None
    assert set_campaign(ADA, "spring", "paused", before={"state": "paused"}, **kwargs) is None


def test_a_cancelled_campaign_is_told_of() -> None:
    """State and audit record of a campaign agree, the one before is kept."""
    before = {"state": "paused", "reason": "wrong link"}
    audit, state = told(set_campaign(ADA, "spring", "cancelled", reason="sold out", before=before, now_ms=NOW_MS))
    assert (audit.action, audit.target, audit.before, audit.after) == ("cancel", "campaign:spring", before, state)
    assert (state["state"], state["reason"]) == ("cancelled", "sold out")


def test_what_cannot_be_is_named(settings: Settings) -> None:
    """An unknown number is told with those there are; a name that no request could carry, too."""
    kwargs: dict[str, Any] = {"reason": "x", "before": None, "now_ms": NOW_MS}
    with pytest.raises(WrongRequest, match=f"1 is not in the settings; there are: {NUMBER}"):
        pause_number(settings, ADA, "1", is_paused=True, **kwargs)
    with pytest.raises(WrongRequest, match="1 to 64 characters"):
        set_campaign(ADA, "x" * 65, "paused", **kwargs)
