"""What became of campaigns, by their events; and an operator's word about them, which gates and senders follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pipeline.clock import rfc3339
from pipeline.errors import WrongRequest
from pipeline.operations.acts import Act, Actor, Outgoing, audited
from pipeline.operations.reading import Advance, Reader, decoded
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.records.reasons import TERMINAL

EVENTS: Final = "outbound-events"
ACCOUNT: Final = "account-state"
MAX_REQUESTS: Final = 5_000_000
"""Requests of campaigns whose ends are told apart: some 500 MB. Of more, repeated events may be counted twice."""
MAX_NAME_CHARS: Final = 64

State = Literal["running", "paused", "cancelled"]
_PREFIX: Final = "campaign:"
_VERBS: Final[Mapping[State, str]] = {"running": "resume", "paused": "pause", "cancelled": "cancel"}


@dataclass(slots=True)
class Campaign:
    """What its events tell.

    Attributes:
        ends: Requests by the type of their terminal event.
        open: Requests that were told of and have not ended.
        first_ms: Time of its first event; `last_ms` of its last.
    """

    ends: dict[str, int] = field(default_factory=dict)
    open: int = 0
    first_ms: int = 0
    last_ms: int = 0


class Tally:
    """Counts the events of campaigns, each request once, by its last end."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}
        self._ends: dict[tuple[Any, Any], str | None] = {}

    def add(self, event: Mapping[str, Any], at_ms: int) -> None:
        """Take an event in; those of no campaign, and repeats, change nothing."""
        name, kind = event.get("campaign"), event.get("type")
        if not isinstance(name, str) or kind in ("duplicate", "undelivered"):
            return
        campaign = self.campaigns.setdefault(name, Campaign(first_ms=at_ms))
        campaign.first_ms, campaign.last_ms = min(campaign.first_ms, at_ms), max(campaign.last_ms, at_ms)
        key, end = (event.get("number"), event.get("request_id")), str(kind) if kind in TERMINAL else None
        is_new, before = key not in self._ends, self._ends.get(key)
        # Only what failed can end anew, by an operator's replay.
        if (end is None and not is_new) or before not in (None, "failed"):
            return
        if is_new and len(self._ends) >= MAX_REQUESTS:
            return
        self._ends[key] = end
        if is_new and end is None:
            campaign.open += 1
        elif end is not None:
            campaign.open -= not is_new and before is None
            campaign.ends[end] = campaign.ends.get(end, 0) + 1
        if before is not None:
            campaign.ends[before] -= 1


def counted(reader: Reader, since_ms: int, advance: Advance | None = None) -> dict[str, Campaign]:
    """Every campaign that `outbound-events` tells of since then; blocks until its end is read."""
    tally = Tally()
    for row in reader.to_end(EVENTS, since_ms=max(0, since_ms), advance=advance):
        if b'"campaign":null' in (row.value or b""):
            continue
        event = decoded(row)
        if event is not None:
            tally.add(event, row.timestamp_ms)
    return tally.campaigns


def campaign_states(states: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What operators said of campaigns, by name.

    Args:
        states: Newest value of each key of `account-state`.
    """
    return {key.removeprefix(_PREFIX): state for key, state in states.items() if key.startswith(_PREFIX)}


def state_of(said: Mapping[str, Any] | None) -> str:
    """The state of a campaign by what was said of it last; one that nobody spoke of is running."""
    return str(said["state"]) if said is not None else "running"


def check_name(name: str) -> None:
    """See whether a campaign can be called so.

    Raises:
        WrongRequest: no request could name it.
    """
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise WrongRequest(f"CAMPAIGN: 1 to {MAX_NAME_CHARS} characters, as in the requests")


def set_campaign(
    actor: Actor, name: str, state: State, *, reason: str, before: Mapping[str, Any] | None, now_ms: int
) -> Act | None:
    """Let a campaign run, hold it, or end all of it that is not sent yet.

    Args:
        before: What was said of it last, from `campaign_states`.

    Returns:
        The act; None: it is so already.

    Raises:
        WrongRequest: no campaign can be called so.
    """
    check_name(name)
    if state_of(before) == state:
        return None
    after = {
        "kind": "campaign", "id": name, "aspect": "campaign", "state": state, "reason": reason,
        "at": rfc3339(now_ms), "by": actor.name,
    }  # fmt: skip
    target = f"{_PREFIX}{name}"
    record = Outgoing(ACCOUNT, target, encode(after), headers_for(SCHEMA))
    return audited(actor, _VERBS[state], target, reason=reason, before=before, after=after, records=(record,))
