"""What is known of templates: two writers joined, the newer piece of each counts."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.clock import parse_rfc3339_ms
from pipeline.whatsapp import template_registry
from pipeline.whatsapp.template_registry import Known, TemplateRegistry
from tests.support.template_values import ACCOUNT, AT, BODY, DEFINED, KEY, SYNCED, definition, synced, told

NOW_MS = parse_rfc3339_ms("2026-11-22T10:00:00.000Z")
EARLIER, LATER = "2026-11-22T08:00:00.000Z", "2026-11-22T09:30:00.000Z"


def registry(**records: dict[str, Any] | None) -> TemplateRegistry:
    """A registry that read what webhooks `told` and a sync has `seen`."""
    made = TemplateRegistry()
    for key, name in ((KEY, "told"), (DEFINED, "seen")):
        if name in records:
            made.put(key, records[name])
    return made


def known(**records: dict[str, Any] | None) -> Known:
    """What it knows of the template then."""
    found = registry(**records).find(ACCOUNT, "order_shipped", "en_US")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("at", "status", "category", "quality"),
    [
        (EARLIER, "APPROVED", "UTILITY", "GREEN"), (AT, "PAUSED", "MARKETING", "RED"),
        (LATER, "PAUSED", "MARKETING", "RED"),
    ],
)  # fmt: skip
def test_of_each_piece_the_newer_one_counts(at: str, status: str, category: str, quality: str) -> None:
    """A webhook from before the sync changes nothing, one from its moment or after it does; whatever came first."""
    news = told(
        status="PAUSED", status_at=at, category="MARKETING", category_at=at, quality="RED", quality_at=at
    )  # fmt: skip
    both = known(told=news, seen=definition())
    assert (both.status, both.category, both.quality) == (status, category, quality)
    other = TemplateRegistry()
    other.put(DEFINED, definition())
    other.put(KEY, news)
    assert other.find(ACCOUNT, "order_shipped", "en_US") == both


def test_pieces_are_joined_one_by_one() -> None:
    """A sync's status beside a webhook's newer quality: each part has its own time."""
    both = known(told=told(status="REJECTED", status_at=EARLIER, quality="RED", quality_at=LATER), seen=definition())
    assert (both.status, both.quality, both.category) == ("APPROVED", "RED", "UTILITY")


@pytest.mark.parametrize(
    ("status", "is_sendable"),
    [
        ("APPROVED", True), ("FLAGGED", True), ("REINSTATED", True), ("PAUSED", False), ("DISABLED", False),
        ("REJECTED", False), ("PENDING", False), ("ARCHIVED", False), ("DELETED", False), ("PENDING_DELETION", False),
        ("IN_APPEAL", False), ("LOCKED", False), ("SOMETHING_NEW", False),
    ],
)  # fmt: skip
def test_only_approved_templates_are_sent(status: str, is_sendable: bool) -> None:
    """What Meta does not take is refused with its status; a status that nobody knows, too."""
    found = known(seen=definition(status=status))
    assert found.is_sendable(NOW_MS) == is_sendable
    refusal = found.refusal("utility", NOW_MS)
    assert (refusal is None) == is_sendable
    assert refusal is None or (refusal[0], status in refusal[1]) == ("template_not_approved", True)


def test_a_pause_ends_by_itself() -> None:
    """A pause of a known length is over in the millisecond of its end; one without an end lasts until it is told."""
    paused = told(status="PAUSED", status_at=AT, until="2026-11-22T10:00:00.000Z")
    assert not known(told=paused).is_sendable(NOW_MS - 1)
    assert known(told=paused).is_sendable(NOW_MS)
    assert not known(told={**paused, "until": None}).is_sendable(NOW_MS)


def test_a_sync_during_a_pause_keeps_its_end_and_one_after_it_does_not() -> None:
    """The list says paused and not until when: the webhook's end holds, unless the pause was seen to outlive it."""
    paused = told(status="PAUSED", status_at=EARLIER, until="2026-11-22T09:45:00.000Z")
    assert known(told=paused, seen=definition(status="PAUSED")).is_sendable(NOW_MS)
    late = definition(status="PAUSED", at="2026-11-22T09:50:00.000Z")
    assert not known(told=paused, seen=late).is_sendable(NOW_MS)


def test_an_announced_category_counts_from_its_moment() -> None:
    """Meta announces a change: until then the old category holds; a sync after that moment has the last word."""
    coming = told(category="UTILITY", category_at=AT, next_category="MARKETING", next_category_at=LATER)
    moment_ms = parse_rfc3339_ms(LATER)
    found = known(told=coming, seen=definition(at=EARLIER))
    assert found.refusal("utility", moment_ms - 1) is None
    assert found.refusal("utility", moment_ms) == (
        "category_mismatch", "template order_shipped/en_US is marketing, the request says utility",
    )  # fmt: skip
    assert known(told=coming, seen=definition(at=LATER)).category_at(NOW_MS) == "utility"


def test_changed_texts_make_parameters_unknown() -> None:
    """Once a webhook said that texts changed, nothing is refused for its parameters until the next sync."""
    assert known(seen=definition()).shape is not None
    changed = told(components_at=LATER)
    assert known(told=changed, seen=definition()).shape is None
    assert known(told=changed, seen=definition(at="2026-11-22T09:40:00.000Z")).components == [BODY]


def test_languages_are_one_however_they_are_written() -> None:
    """Webhooks write en-US, sends en_US."""
    assert registry(seen=definition()).find(ACCOUNT, "order_shipped", "en-US") is not None
    assert registry(seen=definition()).find(ACCOUNT, "order_shipped", "de") is None
    assert registry(seen=definition()).find("300000000000002", "order_shipped", "en_US") is None


def test_what_is_gone_from_the_topic_is_not_known() -> None:
    """A tombstone takes back what its writer said; the other's word stays."""
    made = registry(told=told(status="PAUSED", status_at=AT), seen=definition())
    made.put(DEFINED, None)
    found = made.find(ACCOUNT, "order_shipped", "en_US")
    assert found is not None
    assert (found.status, found.components) == ("PAUSED", None)
    made.put(KEY, None)
    assert (len(made), made.find(ACCOUNT, "order_shipped", "en_US")) == (0, None)


def test_rubbish_changes_nothing() -> None:
    """A record that cannot be read leaves what was known before it."""
    made = registry(seen=definition())
    for broken in ({}, {"at": "soon"}, definition(at=7), definition(components=3), told(status_at="x")):
        made.put(DEFINED, broken)
        made.put(KEY, {"status_at": "never"})
    for key in ("template:", "template:a/b", f"{KEY}/x/y", "lane:1#0/mark"):
        made.put(key, definition())
    assert [one.status for one in made] == ["APPROVED"]


def test_an_account_is_filled_once_a_sync_was_complete() -> None:
    """Only a complete sync with a result says that what it did not name does not exist."""
    made = registry(seen=definition())
    assert not made.is_filled(ACCOUNT)
    assert not made.put(SYNCED, synced()), "others read that record, too"
    assert made.is_filled(ACCOUNT)
    made.put(SYNCED, synced(0))
    assert not made.is_filled(ACCOUNT)


def test_a_sender_keeps_no_texts() -> None:
    """Without texts there is a status and a category, and nothing else."""
    made = TemplateRegistry(has_texts=False)
    assert made.put(DEFINED, definition())
    found = made.find(ACCOUNT, "order_shipped", "en_US")
    assert found is not None
    assert (found.status, found.category, found.components, found.shape) == ("APPROVED", "UTILITY", None, None)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound further templates are not known; those that are stay current."""
    monkeypatch.setattr(template_registry, "TEMPLATES_MAX", 1)
    made = registry(seen=definition())
    made.put(f"template:{ACCOUNT}/other/en_US/definition", definition())
    made.put(DEFINED, definition(status="DISABLED"))
    assert [one.status for one in made] == ["DISABLED"]
