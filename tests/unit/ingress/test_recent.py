"""The short memory of stored events: what counts as an immediate repeat, and how much is remembered."""

from __future__ import annotations

from pathlib import Path

from pipeline.ingress.outgoing import Translator, Webhook
from pipeline.ingress.recent import Recent
from tests.unit.ingress.support import cloud, settings_with, status, text, voice_for_all

NOW_MS = 1_795_300_100_000


def test_only_what_was_stored_within_the_time_is_known() -> None:
    """An event is known from its storing on, for as long as asked, and again from a later storing on."""
    recent = Recent(10)
    assert not recent.knows("a", 0)
    recent.stored(["a"], 0)
    assert [recent.knows("a", at) for at in (0, 10, 10.1)] == [True, True, False]
    recent.stored(["a"], 20)
    assert recent.knows("a", 30)


def test_the_memory_is_bounded_in_time_and_number() -> None:
    """The oldest go first, and nothing is kept past its time."""
    recent = Recent(10, max_events=2)
    recent.stored(["a", "b", "c"], 0)
    assert [recent.knows(one, 1) for one in "abc"] == [False, True, True]
    recent.stored(["d"], 11)
    assert len(recent) == 1


def test_off_remembers_nothing() -> None:
    """Without the setting every delivery is written."""
    recent = Recent(0)
    recent.stored(["a"], 0)
    assert (recent.knows("a", 0), len(recent)) == (False, 0)


def _taken(translator: Translator, settings_folder: Path, *events: str) -> Webhook:
    settings = settings_with(settings_folder)
    raw = cloud(statuses=[status(name) for name in events], messages=[text("STOP")])
    return translator.webhook(raw, NOW_MS, None, voice_for_all(settings))


def test_a_repeat_is_left_out_whole_once_it_was_stored(tmp_path: Path) -> None:
    """Neither its event nor its opt-out is written again; what is new in the same body is."""
    translator = Translator(settings_with(tmp_path, dedupe_s=60))
    first = _taken(translator, tmp_path, "sent")
    assert (len(first.records), first.repeats) == (3, 0)
    again = _taken(translator, tmp_path, "sent")
    assert (len(again.records), again.repeats) == (3, 0), "nothing of it was stored yet"
    translator.stored(again, NOW_MS)
    third = _taken(translator, tmp_path, "sent", "read")
    assert [record.topic for record in third.records] == ["inbound-events"]
    assert (third.repeats, third.statuses, third.opt_outs) == (2, ["read"], [])
