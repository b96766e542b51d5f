"""What a sync writes about a list of templates, on top of what stood there."""

from __future__ import annotations

from typing import Any

import orjson

from pipeline.cli.template_listing import Listing, Source
from pipeline.cli.template_records import Changes, changes_of
from pipeline.clock import parse_rfc3339_ms, rfc3339
from pipeline.config import NumberSettings
from pipeline.records.account import TemplateDefinition, TemplatesState
from pipeline.records.codec import check, header_of
from pipeline.whatsapp.template_listing import Listed
from pipeline.whatsapp.template_registry import TemplateRegistry
from tests.support.template_values import ACCOUNT, AT, BODY, DEFINED, KEY, SYNCED, definition, told

BEGAN_MS = parse_rfc3339_ms("2026-11-22T10:00:00.000Z")
ASKED_MS = BEGAN_MS + 250
NUMBER = NumberSettings(
    business="acme", account=ACCOUNT, profile="cloud", base_url="https://api.invalid", token_env="TOKEN"
)
APPROVED = Listed("order_shipped", "en_US", "APPROVED", None, "UTILITY", "GREEN", None, [BODY])


def after(*templates: Listed, unreadable: int = 0, **records: dict[str, Any]) -> tuple[Changes, TemplateRegistry]:
    """What a sync of that list comes to, and the registry that has read what it wrote."""
    registry = TemplateRegistry()
    for key, name in ((KEY, "told"), (DEFINED, "seen")):
        if name in records:
            registry.put(key, records[name])
    listing = Listing(Source(ACCOUNT, "1", NUMBER), BEGAN_MS, [(one, ASKED_MS) for one in templates], unreadable, 1)
    changes = changes_of(listing, registry, "cli/ada")
    for record in changes.records:
        assert (record.topic, header_of(record.headers, "schema")) == ("account-state", b"account-state/1")
        value = orjson.loads(record.value) if record.value is not None else None
        if value is not None:
            check(TemplateDefinition, value)
        registry.put(str(record.key), value)
    return changes, registry


def status(registry: TemplateRegistry) -> str | None:
    """Of the template, as it reads then."""
    known = registry.find(ACCOUNT, "order_shipped", "en_US")
    return known.status if known is not None else "unknown"


def test_a_listed_template_is_defined_as_of_when_it_was_asked_for() -> None:
    """Its record is the contract's, and the sync says at last how many there are."""
    changes, registry = after(APPROVED)
    seen = registry.seen(next(iter(registry)).key)
    assert seen is not None
    assert (seen["at"], seen["changed_at"], seen["by"]) == (rfc3339(ASKED_MS), rfc3339(ASKED_MS), "cli/ada")
    assert changes.synced is not None
    assert changes.synced.value is not None
    state = check(TemplatesState, orjson.loads(changes.synced.value))
    assert (changes.synced.key, state.templates, state.id) == (SYNCED, 1, ACCOUNT)
    assert (changes.new, changes.changed, changes.gone) == (["order_shipped/en_US"], [], [])


def test_what_reads_as_before_keeps_the_date_of_its_last_change() -> None:
    """It is written again with the new time, for that decides against webhooks; a difference is a change."""
    changes, registry = after(APPROVED, seen=definition())
    assert (changes.new, changes.changed) == ([], [])
    [known] = registry
    assert (known.changed_ms, known.status_ms) == (parse_rfc3339_ms(AT), ASKED_MS)
    changes, registry = after(APPROVED._replace(status="DISABLED"), seen=definition())
    assert changes.changed == ["order_shipped/en_US"]
    assert [one.changed_ms for one in registry] == [ASKED_MS]


def test_a_sync_and_a_webhook_do_not_overwrite_each_other() -> None:
    """Whichever is newer counts, and neither record is touched by the other's writer."""
    paused = told(status="PAUSED", status_at="2026-11-22T10:00:00.251Z")
    changes, registry = after(APPROVED, told=paused)
    assert status(registry) == "PAUSED"
    assert [record.key for record in changes.records] == [DEFINED]
    assert status(after(APPROVED, told={**paused, "status_at": AT})[1]) == "APPROVED"


def test_a_vanished_template_becomes_deleted_and_then_disappears() -> None:
    """First DELETED, so that senders stop; with the next sync its record goes."""
    changes, registry = after(seen=definition())
    assert (changes.gone, status(registry)) == (["order_shipped/en_US"], "DELETED")
    [known] = registry
    seen = registry.seen(known.key)
    assert seen is not None
    changes, registry = after(seen=dict(seen))
    assert (changes.gone, status(registry)) == ([], "unknown")
    assert [record.value for record in changes.records] == [None]
    changes, registry = after(APPROVED, seen=definition(status="DELETED"))
    assert (changes.new, status(registry)) == (["order_shipped/en_US"], "APPROVED")


def test_what_only_webhooks_told_of_is_deleted_unless_they_told_it_later() -> None:
    """A template made while the list was read stays; the webhooks' own record is never taken away."""
    old = told(status="APPROVED", status_at=AT)
    changes, registry = after(told=old)
    assert (changes.gone, status(registry)) == (["order_shipped/en_US"], "DELETED")
    gone = definition(status="DELETED", at="2026-11-22T09:30:00.000Z")
    changes, registry = after(told=old, seen=gone)
    assert (changes.records, status(registry)) == ([], "DELETED")
    fresh = told(status="APPROVED", status_at="2026-11-22T10:00:01.000Z")
    assert status(after(told=fresh)[1]) == "APPROVED"


def test_nothing_is_deleted_by_a_list_that_cannot_be_read_whole() -> None:
    """An entry that is unreadable may be the one that seems to be gone."""
    changes, registry = after(unreadable=1, seen=definition())
    assert (changes.gone, status(registry)) == ([], "APPROVED")


def test_other_accounts_are_left_alone() -> None:
    """What is not of this account is neither listed nor gone."""
    registry = TemplateRegistry()
    registry.put("template:999/order_shipped/en_US/definition", definition())
    changes = changes_of(Listing(Source(ACCOUNT, "1", NUMBER), BEGAN_MS), registry, "cli/ada")
    assert changes.records == []


def test_of_two_entries_for_one_template_the_approved_one_counts() -> None:
    """A vendor may list what was rejected before beside what holds."""
    rejected = APPROVED._replace(status="REJECTED")
    for order in ((rejected, APPROVED), (APPROVED, rejected)):
        changes, registry = after(*order)
        assert (changes.templates, status(registry)) == (1, "APPROVED")
