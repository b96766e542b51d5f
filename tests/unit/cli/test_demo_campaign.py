"""The demo's campaign holds what it promises, whatever its size."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from pipeline.cli.demo.campaign import MESSAGES_MIN, URGENT_ENTRANCE, Builder, Campaign
from pipeline.cli.local_plan import CLOUD_NUMBER, V1_NUMBER
from pipeline.records.codec import check
from pipeline.records.consent import ConsentUpdate
from pipeline.records.reasons import REASONS
from pipeline.records.request import Request

NOW_MS = 1_800_000_000_000


def _campaign(messages: int = 1000, seed: int = 1, run: int = 77) -> Campaign:
    return Builder(run, messages, seed, NOW_MS).build()


@pytest.mark.parametrize("messages", [MESSAGES_MIN, 1000, 4001])
def test_writes_exactly_as_many_requests_as_asked(messages: int) -> None:
    """All kinds together are the number of messages that was asked for."""
    assert len(list(_campaign(messages).requests)) == messages


def test_same_seed_gives_the_same_campaign_another_one_another() -> None:
    """A run can be repeated by its seed."""
    assert _campaign(seed=5) == _campaign(seed=5)
    assert _campaign(seed=5).main != _campaign(seed=6).main


def test_every_record_holds_the_runs_tag_and_people() -> None:
    """Whatever a run writes can be told from any other run's, by its bytes and by its keys."""
    made = _campaign()
    for request in made.requests:
        assert made.tag.encode() in request.value
        assert request.recipient.startswith(made.people)
    assert all(person.startswith(made.people) and made.tag.encode() in value for person, value in made.grants)


def test_has_every_kind_of_end() -> None:
    """Even the smallest campaign has something of each kind, on both numbers, and codes at the express entrance."""
    made = _campaign(MESSAGES_MIN)
    ends = {end for request in made.requests for end in request.ends}
    wanted = {
        "accepted", "no_consent", "consent_expired", "consent_withdrawn", "window_closed", "expired", "api_rejected",
        "duplicate", "dead-letter",
    }  # fmt: skip
    assert wanted <= ends
    assert ends <= {*REASONS, "accepted", "dead-letter"}
    assert {request.number for request in made.requests} >= {V1_NUMBER, CLOUD_NUMBER}
    assert made.codes
    assert all(code.topic == URGENT_ENTRANCE for code in made.codes)
    assert len(made.late) == len(made.stoppers) > 0
    assert made.greeters


def test_what_may_be_accepted_is_a_valid_request() -> None:
    """Only what is meant to be malformed is."""
    for planned in _campaign().requests:
        if planned.ends & {"accepted", "duplicate"}:
            request = check(Request, orjson.loads(planned.value))
            assert (request.request_id, request.from_, request.to) == (
                planned.request_id, planned.number, planned.recipient,
            )  # fmt: skip


def test_ids_are_used_once_but_for_the_repeats() -> None:
    """A request id comes twice only where a repeat is planned, and then after its first use."""
    seen: Counter[str] = Counter()
    for request in _campaign().requests:
        if request.request_id:
            assert (seen[request.request_id] > 0) == request.is_repeat
            seen[request.request_id] += 1


def test_grants_are_valid_updates_of_different_people() -> None:
    """Everybody opts in once, by an act of their own, with evidence."""
    grants = _campaign().grants
    assert len({person for person, _ in grants}) == len(grants)
    for person, value in grants:
        update = check(ConsentUpdate, orjson.loads(value))
        assert update.recipient == person
        assert update.evidence is not None
        assert update.evidence.actor == "user"
