"""`wapipe campaigns list | pause | resume | cancel`: what became of campaigns, and an operator's word about them.

The word goes to `account-state`; gates and senders follow it within a second. Counts come from `outbound-events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from pipeline.cli.app import DURATION, shell_user, with_settings
from pipeline.cli.output import Cell, SlowProgress, clock_time, json_document, line, note, table
from pipeline.clock import rfc3339, unix_ms
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE
from pipeline.operations.account import account_states
from pipeline.operations.campaigns import Campaign, State, campaign_states, check_name, counted, set_campaign, state_of
from pipeline.operations.reading import Reader, open_reader
from pipeline.operations.writing import perform

WEEK_MS: Final = 7 * 86_400_000
_SHOWN: Final = ("accepted", "rejected", "failed", "expired", "cancelled")
_STYLES: Final = {"running": "good", "paused": "wait", "cancelled": "bad"}


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
    return _say(settings, campaign, "paused", reason, WEEK_MS)


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
    return _say(settings, campaign, "running", reason, WEEK_MS)


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
    return _say(settings, campaign, "cancelled", reason, since_ms, must_ask=not yes)


def _say(settings: Settings, name: str, state: State, reason: str, since_ms: int, *, must_ask: bool = False) -> int:
    check_name(name)
    with open_reader(settings) as reader:
        before = _states(reader).get(name)
        if state_of(before) == state:
            since = f" since {before['at']}, by {before['by']}" if before is not None else ""
            note(f"{name} is {state} already{since}; nothing is changed")
            return EXIT_DONE
        found = _counted(reader, unix_ms() - since_ms).get(name)
    if found is None and before is None:
        note(f"no message of campaign {name} was told of; `wapipe campaigns list` shows those there are", "wait")
    open_count = found.open if found is not None else 0
    if must_ask:
        click.confirm(f"Cancel {name}? {open_count} of its messages are known to be open and will never go", abort=True)
    act = set_campaign(shell_user(), name, state, reason=reason, before=before, now_ms=unix_ms())
    if act is not None:
        perform(settings, act)
    line(name, (state, _STYLES[state]), f"{open_count} of its messages are known to be open")
    return EXIT_DONE


def _states(reader: Reader) -> dict[str, dict[str, Any]]:
    return campaign_states(account_states(reader))


def _counted(reader: Reader, since_ms: int) -> dict[str, Campaign]:
    with SlowProgress("reading events") as progress:
        return counted(reader, since_ms, progress.update)


def _row(name: str, found: Campaign, state: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    word = state_of(state)
    why = f"{state['reason']} ({state['by']}, {state['at']})" if state is not None else "-"
    times = [clock_time(at_ms) if at_ms else "-" for at_ms in (found.first_ms, found.last_ms)]
    counts = [str(found.ends.get(kind, 0)) for kind in _SHOWN]
    return (name, (word, _STYLES.get(word, "plain")), str(found.open), *counts, *times, why)


def _as_json(name: str, found: Campaign | None, state: Mapping[str, Any] | None) -> dict[str, Any]:
    known = found or Campaign()
    return {
        "campaign": name,
        "state": state_of(state),
        "reason": state["reason"] if state is not None else None,
        "at": state["at"] if state is not None else None,
        "by": state["by"] if state is not None else None,
        "open": known.open,
        **{kind: known.ends.get(kind, 0) for kind in _SHOWN},
        "first_at": rfc3339(known.first_ms) if found is not None else None,
        "last_at": rfc3339(known.last_ms) if found is not None else None,
    }
