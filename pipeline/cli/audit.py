"""Who did what, and why: the audit record of an operator's act, written with what the act writes."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Mapping
from typing import Any, Final

from pipeline.cli.writing import Outgoing
from pipeline.clock import rfc3339, unix_ms
from pipeline.records.codec import encode, headers_for

AUDIT: Final = "audit-events"
AUDIT_SCHEMA: Final = "audit-event/1"


def audit(
    action: str,
    target: str,
    *,
    reason: str | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> Outgoing:
    """Build the audit-event/1 of a command.

    Args:
        action: A verb of the contract: pause, resume, revoke, erase, replay, cancel, override.
        target: What it was done to, e.g. `number:200000000000001`; a recipient in full.
        reason: Why, in the operator's words.
        before: State before, as far as it is known.
        after: State after.
    """
    actor = actor_name()
    event = {
        "event_id": f"audit-{uuid.uuid4().hex}",
        "at": rfc3339(unix_ms()),
        "actor": actor,
        "via": "cli",
        "action": action,
        "target": target,
        "reason": reason,
        "before": dict(before) if before is not None else None,
        "after": dict(after) if after is not None else None,
    }
    return Outgoing(AUDIT, actor, encode(event), headers_for(AUDIT_SCHEMA))


def actor_name() -> str:
    """The login name of whoever runs the command; `unknown` where the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
