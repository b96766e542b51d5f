"""`wapipe topics plan` as a diff: what is made, changed, refused, left alone."""

from __future__ import annotations

from pipeline.cli.topics_diff import diff, summary
from pipeline.config import Settings
from pipeline.streams.topics import TOPICS, Found, compare, wanted_config

SETTINGS = Settings.model_validate({"kafka": {"topic_prefix": "t-"}})


def broker() -> dict[str, Found]:
    """A broker on which all is as it should be."""
    return {
        topic.name: Found(12 if topic.kind == "recipient" else 1, 1, wanted_config(topic, SETTINGS)) for topic in TOPICS
    }


def told(found: dict[str, Found]) -> tuple[list[str], list[str]]:
    """Diff and summary, as plain lines."""
    changes = compare(SETTINGS, found)
    rows = diff(SETTINGS, changes), summary(SETTINGS, changes)
    first, second = ([" ".join(c if isinstance(c, str) else c[0] for c in row) for row in part] for part in rows)
    return first, second


def test_what_is_made_and_changed_stands_with_its_values() -> None:
    """A new topic shows with all that it is made with; a property from and to, times with a unit; then the sum."""
    found = broker()
    del found["dead-letter"]
    found["send-ledger"] = Found(1, 1, {**found["send-ledger"].config, "retention.ms": "3600000"})
    lines, summed = told(found)
    assert lines[0] == "+ t-dead-letter is made"
    assert "+     partitions                   12" in lines
    assert "+     max.message.bytes            6291456" in lines
    assert lines[-2:] == [
        "~ t-send-ledger is changed",
        "~     retention.ms                 3600000 (1 h) → 604800000 (7 d)",
    ]
    assert "plan: 1 to make, 1 to change, 0 refused, 20 left alone" in summed
    assert summed[-1] == "next: wapipe topics apply"
    [alone] = [line for line in summed if line.startswith("left alone")]
    assert "t-consent," in alone
    assert "send-ledger" not in alone


def test_what_is_refused_stands_with_its_remedy() -> None:
    """Recipient topics of unequal counts are no matter of `apply`, which then does nothing at all."""
    found = broker()
    found["consent"] = Found(24, 1, found["consent"].config)
    lines, summed = told(found)
    remedy = "give all recipient topics one count: wapipe topics scale --recipients 24"
    assert lines == [
        "! t-consent cannot be changed by `topics apply`",
        f"!     partitions                   24 → 12 ({remedy})",
    ]
    assert "plan: 0 to make, 0 to change, 1 refused, 21 left alone" in summed
    assert summed[-1].startswith("! `topics apply` changes nothing before")
