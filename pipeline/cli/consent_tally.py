"""Grants, opt-outs and undelivered messages by the method and source of the opt-in. Pure; memory is bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

MAX_ROWS = 1_000
MAX_MESSAGES = 1_000_000
OTHER = "(other)"
UNKNOWN = "unknown"
COUNTS = ("grants", "opt_outs", "accepted", "undelivered")

Kind = tuple[str, str]


class Tally:
    """Counts as events are handed in; an event handed in twice counts once per update and method.

    Attributes:
        unmatched: Undelivered messages whose accepted event was not among the last `MAX_MESSAGES`.
    """

    def __init__(self) -> None:
        self.unmatched = 0
        self._counts: dict[Kind, dict[str, int]] = {}
        self._messages: OrderedDict[str, Kind] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._early: OrderedDict[str, None] = OrderedDict()

    def consent(self, event: Mapping[str, Any]) -> None:
        """Take a consent-event: a grant that was applied, or a revoke of what was granted."""
        if event.get("result") != "applied" or not self._is_new(event):
            return
        if event.get("action") == "grant":
            # An update that was known already changed nothing and is no second opt-in.
            if event.get("before") != event.get("after"):
                self._add(_kind(event.get("evidence")), "grants")
        elif event.get("action") == "revoke":
            # One that was merged before took nothing now.
            if any(entry.get("update_id") == event.get("update_id") for entry in event.get("before") or ()):
                return
            for kind in sorted(lost_grants(event)):
                self._add(kind, "opt_outs")

    def outbound(self, event: Mapping[str, Any]) -> None:
        """Take an outbound-event; partitions are read one after the other or mixed, so either may come first."""
        message_id = event.get("message_id")
        if not isinstance(message_id, str) or not self._is_new(event):
            return
        if event.get("type") == "accepted" and message_id not in self._messages:
            kind = _kind(event.get("consent"))
            self._messages[message_id] = kind
            self._add(kind, "accepted")
            if message_id in self._early:
                del self._early[message_id]
                self.unmatched -= 1
                self._add(kind, "undelivered")
            if len(self._messages) > MAX_MESSAGES:
                self._messages.popitem(last=False)
        elif event.get("type") == "undelivered" and message_id in self._messages:
            self._add(self._messages[message_id], "undelivered")
        elif event.get("type") == "undelivered" and message_id not in self._early:
            self.unmatched += 1
            self._early[message_id] = None
            if len(self._early) > MAX_MESSAGES:
                self._early.popitem(last=False)

    def rows(self) -> list[dict[str, Any]]:
        """One row per method and source, most opt-outs first."""
        rows = []
        for (method, source), counts in self._counts.items():
            rates = {
                "opt_out_rate": _rate(counts["opt_outs"], counts["grants"]),
                "undelivered_rate": _rate(counts["undelivered"], counts["accepted"]),
            }
            rows.append({"method": method, "source": source, **counts, **rates})
        return sorted(rows, key=lambda row: (-row["opt_outs"], -row["undelivered"], row["method"], row["source"]))

    def _is_new(self, event: Mapping[str, Any]) -> bool:
        """Whether it is no re-written event: those follow soon, under the same id."""
        event_id = event.get("event_id")
        if not isinstance(event_id, str):
            return True
        if event_id in self._seen:
            return False
        self._seen[event_id] = None
        if len(self._seen) > MAX_MESSAGES:
            self._seen.popitem(last=False)
        return True

    def _add(self, kind: Kind, what: str) -> None:
        if kind not in self._counts and len(self._counts) >= MAX_ROWS:
            kind = (kind[0], OTHER)
        self._counts.setdefault(kind, dict.fromkeys(COUNTS, 0))[what] += 1


def lost_grants(event: Mapping[str, Any]) -> set[Kind]:
    """Methods and sources of the grants that a revoke took; `unknown` if it names none that was there."""
    taken = {_kind(entry) for entry in event.get("before") or () if entry.get("status") == "granted"}
    return taken or {(UNKNOWN, UNKNOWN)}


def _kind(evidence: Any) -> Kind:
    said = evidence if isinstance(evidence, Mapping) else {}
    return str(said.get("method") or UNKNOWN), str(said.get("source") or UNKNOWN)


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
