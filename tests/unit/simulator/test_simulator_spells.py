"""Fault spells: when they begin, whom they hit, what they say about their end."""

from __future__ import annotations

from random import Random

import pytest
from pydantic import ValidationError

from pipeline.simulator.limits import NS_PER_S
from pipeline.simulator.parts import SpellSettings
from pipeline.simulator.spells import Schedule

S = NS_PER_S


def _schedule(*spells: SpellSettings) -> Schedule:
    return Schedule(spells, 0, Random(1))


def test_spell_of_the_settings_counts_from_the_first_message() -> None:
    """A scheduled spell waits for the first message, however late that comes."""
    schedule = _schedule(SpellSettings(kind="429", in_s=5, for_s=10))
    assert schedule.draw(7 * S, "a", "300") is None
    schedule.begin(100 * S)
    assert schedule.draw(104 * S, "a", "300") is None
    assert schedule.draw(105 * S, "a", "300") is not None
    assert schedule.draw(115 * S - 1, "a", "300") is not None
    assert schedule.draw(115 * S, "a", "300") is None


def test_spell_of_the_settings_may_count_from_the_start() -> None:
    """`since: now` in the settings means the start of the simulator."""
    schedule = _schedule(SpellSettings(kind="503", in_s=1, for_s=1, since="now"))
    assert schedule.draw(S, "a", "300") is not None


def test_spell_by_control_begins_now_and_may_wait_for_the_first_message() -> None:
    """A spell by control counts from now, unless it asks for the first message."""
    schedule = _schedule()
    schedule.add(SpellSettings(kind="500", for_s=1), 3 * S, has_begun=False)
    schedule.add(SpellSettings(kind="hang", for_s=1, since="first_message"), 3 * S, has_begun=False)
    spell = schedule.draw(3 * S, "a", "300")
    assert spell is not None
    assert spell.kind == "500"
    assert [row["state"] for row in schedule.snapshot(3 * S)] == ["waiting", "active"]
    schedule.begin(9 * S)
    assert [row["state"] for row in schedule.snapshot(9 * S)] == ["over", "active"]


def test_spell_of_one_sender_spares_the_others() -> None:
    """A spell with a sender hits nobody else."""
    schedule = _schedule(SpellSettings(kind="429", for_s=9, since="now", sender="a"))
    assert schedule.draw(S, "b", "300") is None
    assert schedule.draw(S, "a", "300") is not None


def test_spell_with_a_probability_hits_a_part_and_counts_it() -> None:
    """Half of the requests are hit, the same ones for the same seed."""
    hits = []
    for _ in range(2):
        schedule = _schedule(SpellSettings(kind="reset", for_s=9, since="now", probability=0.5))
        hits.append([schedule.draw(S, "a", "300") is not None for _ in range(200)])
        assert schedule.snapshot(S)[0]["requests"] == sum(hits[-1])
    assert hits[0] == hits[1]
    assert 60 < sum(hits[0]) < 140


@pytest.mark.parametrize(
    ("asked", "form", "expected"),
    [
        (None, "seconds", None),
        (5, "seconds", "5"),
        (0.2, "seconds", "1"),
        ("auto", "seconds", "8"),
        ("auto", "date", "Thu, 01 Jan 1970 00:16:48 GMT"),
    ],
)
def test_retry_after_says_what_was_asked(asked: object, form: str, expected: str | None) -> None:
    """`Retry-After`: none, fixed seconds, what remains of the spell, or the same as an HTTP date, rounded up."""
    settings = SpellSettings.model_validate(
        {"kind": "429", "for_s": 10, "since": "now", "retry_after": asked, "retry_after_as": form}
    )
    spell = _schedule(settings).draw(2 * S + S // 2, "a", "300")
    assert spell is not None
    assert spell.retry_after(2 * S + S // 2, 1000.0) == expected


def test_clear_ends_every_spell() -> None:
    """After `clear` nothing is hit, not even by a spell that waited."""
    schedule = _schedule(SpellSettings(kind="429", for_s=9), SpellSettings(kind="429", for_s=9, since="now"))
    schedule.clear()
    schedule.begin(S)
    assert schedule.draw(S, "a", "300") is None


@pytest.mark.parametrize("wrong", [{"kind": "418", "for_s": 1}, {"kind": "429"}, {"kind": "429", "for_s": 0}])
def test_spell_settings_are_closed(wrong: dict[str, object]) -> None:
    """An unknown kind, no length or no time at all is refused."""
    with pytest.raises(ValidationError):
        SpellSettings.model_validate(wrong)
