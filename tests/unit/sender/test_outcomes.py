"""What follows from an answer."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.sender.outcomes import (
    BLOCKED_RETRY_S,
    MARKETING_PAUSE_S,
    TOKEN_RETRY_S,
    Decision,
    Stop,
    decide,
)
from pipeline.whatsapp.answer import Kind, Outcome


def after(kind: Kind, *, spent: int = 0, pair_failures: int = 0, max_attempts: int = 5, **fields: Any) -> Decision:
    """The decision about an outcome of this kind."""
    outcome = Outcome(kind, **fields)
    return decide(outcome, spent=spent, pair_failures=pair_failures, max_attempts=max_attempts, jitter=0.0)


def test_accepted_is_settled() -> None:
    """The API took it: the end."""
    assert after(Kind.ACCEPTED) == Decision("settle", "accepted")


@pytest.mark.parametrize(
    ("kind", "scope", "halt"),
    [
        (Kind.THROTTLED, "number", ("number", "throttled")), (Kind.THROTTLED, "account", ("account", "throttled")),
        (Kind.OVERLOADED, "host", ("host", "overloaded")), (Kind.UNAUTHORISED, "number", ("number", "token")),
        (Kind.NUMBER_BLOCKED, "number", ("number", "preflight")),
        (Kind.NUMBER_BLOCKED, "account", ("account", "preflight")),
    ],
)  # fmt: skip
def test_what_concerns_others_halts_its_scope_and_spends_nothing(kind: Kind, scope: str, halt: Stop) -> None:
    """Number, account or host, as the code says; a throttle never spends an attempt, however often it comes."""
    what = after(kind, spent=1000, scope=scope)
    assert (what.action, what.halt, what.spends) == ("return", halt, False)


def test_a_block_holds_as_long_as_its_code_says() -> None:
    """And is tried now and then, if it says nothing."""
    assert after(Kind.NUMBER_BLOCKED, delay_s=300.0).delay_s == 300.0
    assert after(Kind.NUMBER_BLOCKED).delay_s == BLOCKED_RETRY_S


def test_a_message_goes_again_at_once_with_another_token() -> None:
    """A token that was renewed meanwhile halts nothing and spends nothing."""
    assert after(Kind.TOKEN_SPENT, spent=1000) == Decision("return", reason="throttled")


def test_a_token_is_tried_again_after_a_while() -> None:
    """A wrong token heals when an operator puts the right one in its place."""
    assert after(Kind.UNAUTHORISED).delay_s == TOKEN_RETRY_S


def test_the_day_of_a_held_back_message_is_kept() -> None:
    """131049 concerns one person for a day: no halt."""
    what = after(Kind.TRANSIENT, delay_s=86_400.0, scope="recipient")
    assert (what.action, what.reason, what.delay_s, what.halt) == ("return", "marketing_limit", 86_400.0, None)


def test_a_spam_limit_pauses_marketing() -> None:
    """131048 and 471: no marketing from this number for a day, and the rest goes on."""
    what = after(Kind.MARKETING_PAUSED)
    assert (what.action, what.reason, what.delay_s, what.halt) == ("return", "marketing_limit", MARKETING_PAUSE_S, None)
    assert what.pauses_marketing
    assert not what.spends
    assert after(Kind.MARKETING_PAUSED, delay_s=90_000.0).delay_s == 90_000.0


def test_a_pair_limit_waits_with_this_person_only() -> None:
    """Nobody else is halted, no attempt is spent, and it waits 4^n s, n counting the refusals before."""
    waits = [after(Kind.PAIR_LIMITED, pair_failures=failures, scope="recipient") for failures in range(4)]
    assert [what.delay_s for what in waits] == [1.0, 4.0, 16.0, 64.0]
    assert {(what.action, what.reason, what.halt, what.spends) for what in waits} == {
        ("return", "pair_limited", None, False)
    }
    assert after(Kind.PAIR_LIMITED, pair_failures=1, retry_after_s=20.0).delay_s == 20.0


def test_marketing_that_a_person_is_spared_says_so() -> None:
    """131049 concerns one person for a day, and each try counts: resending soon prolongs it."""
    what = after(Kind.TRANSIENT, delay_s=86_400.0, scope="recipient")
    assert (what.reason, what.delay_s, what.halt, what.spends) == ("marketing_limit", 86_400.0, None, True)


def test_no_answer_is_unknown_and_not_a_failure() -> None:
    """The API may have taken it."""
    assert after(Kind.UNKNOWN) == Decision("unknown")


def test_what_never_left_is_void_and_halts_the_host() -> None:
    """A refused connection says that the host is away, not that the message is bad."""
    what = after(Kind.NOT_SENT)
    assert (what.action, what.halt, what.spends) == ("void", ("host", "overloaded"), False)


def test_transient_errors_spend_attempts_and_end() -> None:
    """Delays grow; the last attempt that may be spent ends the request."""
    first = after(Kind.TRANSIENT)
    assert (first.action, first.delay_s, first.spends) == ("return", 1.0, True)
    assert after(Kind.TRANSIENT, spent=2).delay_s == 4.0
    last = after(Kind.TRANSIENT, spent=4)
    assert (last.action, last.outcome, last.reason, last.spends) == ("settle", "failed", "attempts_spent", True)


def test_what_the_api_asks_for_is_obeyed() -> None:
    """The code's delay wins; a Retry-After is the least that is waited."""
    assert after(Kind.TRANSIENT, delay_s=7200.0).delay_s == 7200.0
    assert after(Kind.TRANSIENT, delay_s=7200.0).reason == "transient"
    assert after(Kind.TRANSIENT, retry_after_s=50.0).delay_s == 50.0
    assert after(Kind.TRANSIENT, retry_after_s=0.1).delay_s == 1.0


def test_refusals_end_the_request() -> None:
    """A person's stop is an opt-out on top."""
    assert after(Kind.REFUSED) == Decision("settle", "failed", "api_rejected")
    assert after(Kind.RECIPIENT_STOPPED).withdraws


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("spent", [0, 4, 99])
def test_every_outcome_has_a_decision(kind: Kind, spent: int) -> None:
    """None is left out, and what is settled says as what."""
    what = after(kind, spent=spent)
    assert (what.outcome is not None) == (what.action == "settle")
    assert what.delay_s >= 0.0
