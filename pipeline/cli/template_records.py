"""What a sync writes: the definition of each template that was listed, and of those that are gone. Pure.

Definitions stand under keys of their own (`template:ACCOUNT/NAME/LANG/definition`), which only a sync writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.cli.template_listing import Listing
from pipeline.clock import rfc3339
from pipeline.operations.acts import Outgoing
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.whatsapp.template_listing import Listed
from pipeline.whatsapp.template_registry import DEFINITION, DELETED, PREFIX, SENDABLE, TemplateKey, TemplateRegistry

TOPIC: Final = "account-state"
_HEADERS: Final = headers_for(SCHEMA)
_TOLD: Final = ("status", "reason", "category", "quality", "parameter_format", "components")


@dataclass(slots=True)
class Changes:
    """What a sync of one account comes to.

    Attributes:
        records: To be written before `synced`.
        synced: Says that the sync is complete.
        new: Templates that were not there before, or were gone.
        changed: Templates that read differently.
        gone: Templates that are not listed any more.
    """

    records: list[Outgoing] = field(default_factory=list)
    synced: Outgoing | None = None
    templates: int = 0
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def changes_of(listing: Listing, registry: TemplateRegistry, by: str) -> Changes:
    """Compare a complete list with what stood on the topic.

    Args:
        registry: What stands there.
        by: Who syncs.
    """
    account, found = listing.source.account, Changes()
    listed: dict[TemplateKey, tuple[Listed, int]] = {}
    for one, asked_ms in listing.templates:
        which = TemplateKey(account, one.name, one.language)
        if which not in listed or one.status in SENDABLE:
            listed[which] = one, asked_ms
    found.templates = len(listed)
    for which, (one, asked_ms) in listed.items():
        _defined(found, registry, which, one, asked_ms, by)
    if not listing.unreadable:  # else one of these may be what could not be read
        for known in list(registry):
            if known.key.account == account and known.key not in listed:
                _gone(found, registry, known.key, listing.began_ms, by)
    state = {"kind": "account", "id": account, "aspect": "templates", "templates": len(listed)}
    at = {"at": rfc3339(listing.began_ms), "by": by}
    found.synced = Outgoing(TOPIC, f"account:{account}/templates", encode({**state, **at}), _HEADERS)
    return found


def _defined(
    found: Changes, registry: TemplateRegistry, which: TemplateKey, one: Listed, asked_ms: int, by: str
) -> None:
    before = registry.seen(which)
    at = rfc3339(asked_ms)
    told = {name: getattr(one, name) for name in _TOLD}
    if before is None or before["status"] == DELETED:
        found.new.append(_shown(which))
        since = at
    elif any(before.get(name) != value for name, value in told.items()):
        found.changed.append(_shown(which))
        since = at
    else:
        since = before["changed_at"]
    found.records.append(_definition(which, {**told, "changed_at": since, "at": at, "by": by}))


def _gone(found: Changes, registry: TemplateRegistry, which: TemplateKey, began_ms: int, by: str) -> None:
    """DELETED first, so that senders stop; the record itself goes with the next sync."""
    before = registry.seen(which)
    if before is not None and before["status"] == DELETED:
        if registry.told(which) is None:
            found.records.append(Outgoing(TOPIC, _key(which), None, _HEADERS))
        return
    found.gone.append(_shown(which))
    at = rfc3339(began_ms)
    kept = {name: before.get(name) if before is not None else None for name in _TOLD}
    found.records.append(
        _definition(which, {**kept, "status": DELETED, "reason": None, "changed_at": at, "at": at, "by": by})
    )


def _definition(which: TemplateKey, fields: dict[str, Any]) -> Outgoing:
    record = {"kind": "template", "id": "/".join(which), "aspect": "definition", **fields}
    return Outgoing(TOPIC, _key(which), encode(record), _HEADERS)


def _key(which: TemplateKey) -> str:
    return f"{PREFIX}{'/'.join(which)}{DEFINITION}"


def _shown(which: TemplateKey) -> str:
    return f"{which.name}/{which.language}"
