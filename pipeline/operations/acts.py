"""Who did what, and why: an operator's act as the records that make it, with its audit record. Pure.

An act is built from what was read before, and written by `writing.perform`: the audit record first, as an act that
nobody can account for must not be.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from pipeline.clock import rfc3339, unix_ms
from pipeline.records.codec import Headers, encode, headers_for

AUDIT: Final = "audit-events"
AUDIT_SCHEMA: Final = "audit-event/1"

Via = Literal["cli", "console"]


class Outgoing(NamedTuple):
    """A record to write.

    Attributes:
        topic: Its name without the prefix.
        value: None: a tombstone.
        partition: A lane's; -1: by the key.
    """

    topic: str
    key: str | bytes | None
    value: bytes | None
    headers: Headers
    partition: int = -1


class Actor(NamedTuple):
    """Who acts, and by which door."""

    name: str
    via: Via


class Act(NamedTuple):
    """One act of an operator.

    Attributes:
        audit: Its audit record; None: an act that the contract does not audit (a grant).
        records: What it changes, in the order to write it in.
        before: What held, as far as it was known; None: nothing.
        after: What holds once it is written; None: nothing.
    """

    audit: Outgoing | None
    records: tuple[Outgoing, ...]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def audited(
    actor: Actor,
    action: str,
    target: str,
    *,
    reason: str | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    records: tuple[Outgoing, ...],
) -> Act:
    """An act with its audit-event/1.

    Args:
        action: A verb of the contract (pause, resume, revoke, erase, replay, cancel, override), or discard, lift.
        target: What it is done to, e.g. `number:200000000000001`; a recipient in full.
        reason: Why, in the operator's words.
    """
    event = {
        "event_id": f"audit-{uuid.uuid4().hex}",
        "at": rfc3339(unix_ms()),
        "actor": actor.name,
        "via": actor.via,
        "action": action,
        "target": target,
        "reason": reason,
        "before": dict(before) if before is not None else None,
        "after": dict(after) if after is not None else None,
    }
    record = Outgoing(AUDIT, actor.name, encode(event), headers_for(AUDIT_SCHEMA))
    return Act(record, records, before, after)
