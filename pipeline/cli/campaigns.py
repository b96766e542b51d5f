"""`wapipe campaigns list | pause | resume | cancel`: what became of campaigns, and an operator's word about them.

The word goes to `account-state`; gates and senders follow it within a second. Counts come from `outbound-events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import click

from pipeline.cli.account import account_states
from pipeline.cli.app import DURATION, with_settings
from pipeline.cli.audit import actor_name, audit
from pipeline.cli.output import Cell, SlowProgress, clock_time, json_document, line, note, table
from pipeline.cli.reading import Reader, decoded, open_reader
from pipeline.cli.writing import Outgoing, write_all
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE
from pipeline.records.account import SCHEMA
from pipeline.records.codec import encode, headers_for
from pipeline.records.reasons import TERMINAL

EVENTS: Final = "outbound-events"
ACCOUNT: Final = "account-state"
WEEK_MS: Final = 7 * 86_400_000
MAX_REQUESTS: Final = 5_000_000
"""Requests of campaigns whose ends are told apart: some 500 MB. Of more, repeated events may be counted twice."""
MAX_NAME_CHARS: Final = 64
_SHOWN: Final = ("accepted", "rejected", "failed", "expired", "cancelled")
_STYLES: Final = {"running": "good", "paused": "wait", "cancelled": "bad"}


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
    """Counts the events of campaigns, each request once."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}
        self._ended: dict[tuple[Any, Any], bool] = {}

    def add(self, event: Mapping[str, Any], at_ms: int) -> None:
        """Take an event in; those of no campaign, and repeats, change nothing."""
        name, kind = event.get("campaign"), event.get("type")
        if not isinstance(name, str) or kind in ("duplicate", "undelivered"):
            return
        campaign = self.campaigns.setdefault(name, Campaign(first_ms=at_ms))
        campaign.first_ms, campaign.last_ms = min(campaign.first_ms, at_ms), max(campaign.last_ms, at_ms)
        key, ends = (event.get("number"), event.get("request_id")), kind in TERMINAL
        known = self._ended.get(key)
        if known or (known is False and not ends):
            return
        if known is None and len(self._ended) >= MAX_REQUESTS:
            return
        self._ended[key] = ends
        if known is None:
            campaign.open += 1
        if ends:
            campaign.open -= 1
            campaign.ends[str(kind)] = campaign.ends.get(str(kind), 0) + 1


@click.group()
def campaigns() -> None:
    """Show, pause, resume and cancel campaigns."""


_SINCE = click.option("--since", "since_ms", type=DURATION, default=WEEK_MS, show_default="7d", help="How far to look.")
_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why; kept in audit-events.")


@campaigns.command("list")
@_SINCE
@click.option("--json", "is_json", is_flag=True, help="As JSON.")
@with_settings
def list_(settings: Settings, since_ms: int, is_json: bool) -> int:
    """Show every campaign: its state, and what became of its messages.

    \b
    Example:
      wapipe campaigns list --since 1d
    """
    now_ms = unix_ms()
    with open_reader(settings) as reader:
        states, found = _states(reader), _counted(reader, now_ms - since_ms)
    names = sorted(found.keys() | states.keys(), key=lambda name: (-found.get(name, Campaign()).last_ms, name))
    if is_json:
        json_document([_as_json(name, found.get(name), states.get(name)) for name in names])
    elif names:
        columns = ("campaign", "state", "open", *_SHOWN, "first (UTC)", "last (UTC)", "why")
        table(columns, (_row(name, found.get(name, Campaign()), states.get(name)) for name in names))
    else:
        note("no message with a campaign was told of in that time; requests name theirs in `campaign`", "wait")
    return EXIT_DONE


@campaigns.command()
@click.argument("campaign")
@_REASON
@with_settings
def pause(settings: Settings, campaign: str, reason: str) -> int:
    """Hold a campaign's messages; all others go on. They still expire.

    \b
    Example:
      wapipe campaigns pause spring-sale --reason "wrong link"
    """
    return _say(settings, campaign, "paused", "pause", reason, WEEK_MS)


@campaigns.command()
@click.argument("campaign")
@_REASON
@with_settings
def resume(settings: Settings, campaign: str, reason: str) -> int:
    """Let a campaign go on that was paused; one that was cancelled takes new messages again.

    \b
    Example:
      wapipe campaigns resume spring-sale --reason "link corrected"
    """
    return _say(settings, campaign, "running", "resume", reason, WEEK_MS)


@campaigns.command()
@click.argument("campaign")
@_REASON
@_SINCE
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings
def cancel(settings: Settings, campaign: str, reason: str, since_ms: int, yes: bool) -> int:
    """End all messages of a campaign that are not sent yet; there is no way back for them.

    \b
    Example:
      wapipe campaigns cancel spring-sale --reason "sold out" --yes
    """
    return _say(settings, campaign, "cancelled", "cancel", reason, since_ms, must_ask=not yes)


def _say(
    settings: Settings, name: str, state: str, verb: str, reason: str, since_ms: int, *, must_ask: bool = False
) -> int:
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise click.UsageError(f"CAMPAIGN: 1 to {MAX_NAME_CHARS} characters, as in the requests")
    now_ms = unix_ms()
    with open_reader(settings) as reader:
        before = _states(reader).get(name)
        was = before["state"] if before is not None else "running"
        if was == state:
            since = f" since {before['at']}, by {before['by']}" if before is not None else ""
            note(f"{name} is {state} already{since}; nothing is changed")
            return EXIT_DONE
        found = _counted(reader, now_ms - since_ms).get(name)
    if found is None and before is None:
        note(f"no message of campaign {name} was told of; `wapipe campaigns list` shows those there are", "wait")
        if verb == "resume":
            return EXIT_NEGATIVE
    open_count = found.open if found is not None else 0
    if must_ask:
        click.confirm(f"Cancel {name}? {open_count} of its messages are known to be open and will never go", abort=True)
    after = {
        "kind": "campaign", "id": name, "aspect": "campaign", "state": state, "reason": reason,
        "at": rfc3339(unix_ms()), "by": actor_name(),
    }  # fmt: skip
    target = f"campaign:{name}"
    record = Outgoing(ACCOUNT, target, encode(after), headers_for(SCHEMA))
    write_all(settings, [record, audit(verb, target, reason=reason, before=before, after=after)])
    line(name, (state, _STYLES[state]), f"{open_count} of its messages are known to be open")
    return EXIT_DONE


def _states(reader: Reader) -> dict[str, dict[str, Any]]:
    prefix = "campaign:"
    return {key.removeprefix(prefix): s for key, s in account_states(reader).items() if key.startswith(prefix)}


def _counted(reader: Reader, since_ms: int) -> dict[str, Campaign]:
    tally = Tally()
    with SlowProgress("reading events") as progress:
        for row in reader.to_end(EVENTS, since_ms=max(0, since_ms), advance=progress.update):
            if b'"campaign":null' in (row.value or b""):
                continue
            event = decoded(row)
            if event is not None:
                tally.add(event, row.timestamp_ms)
    return tally.campaigns


def _row(name: str, found: Campaign, state: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    word = str(state["state"]) if state is not None else "running"
    why = f"{state['reason']} ({state['by']}, {state['at']})" if state is not None else "-"
    times = [clock_time(at_ms) if at_ms else "-" for at_ms in (found.first_ms, found.last_ms)]
    counts = [str(found.ends.get(kind, 0)) for kind in _SHOWN]
    return (name, (word, _STYLES.get(word, "plain")), str(found.open), *counts, *times, why)


def _as_json(name: str, found: Campaign | None, state: Mapping[str, Any] | None) -> dict[str, Any]:
    known = found or Campaign()
    return {
        "campaign": name,
        "state": state["state"] if state is not None else "running",
        "reason": state["reason"] if state is not None else None,
        "at": state["at"] if state is not None else None,
        "by": state["by"] if state is not None else None,
        "open": known.open,
        **{kind: known.ends.get(kind, 0) for kind in _SHOWN},
        "first_at": rfc3339(known.first_ms) if found is not None else None,
        "last_at": rfc3339(known.last_ms) if found is not None else None,
    }
