"""What `account-state` says, and why a number stands still by it: the answer to what a message waits for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from pipeline.config import Settings
from pipeline.operations.overrides import override_key, override_of
from pipeline.operations.reading import Reader, decoded
from pipeline.operations.timeline import Step, campaign_sentence, stops_of, waits_for
from pipeline.records.lanes import lanes_key, parse_lanes

MOVES: Final = "lanes:"


def account_states(reader: Reader) -> dict[str, dict[str, Any]]:
    """Newest value of each key of `account-state`; blocks until its end is read."""
    states: dict[str, dict[str, Any]] = {}
    for row in reader.to_end("account-state"):
        key = (row.key or b"").decode(errors="replace")
        value = decoded(row)
        if value is None:
            states.pop(key, None)
        else:
            states[key] = value
    return states


def wait_sentence(settings: Settings, last: Step, states: Mapping[str, Mapping[str, Any]], now_ms: int) -> str:
    """What a request waits for whose last step is `last`, as one sentence; and what an operator lifted meanwhile."""
    held = campaign_sentence(last, states)
    if held is not None:
        return held
    number = str(last.request[0])
    state = states.get(override_key(number), {})
    lifted = override_of(state, now_ms)
    sentence = waits_for(last, all_stops(settings, number, states, lifted, now_ms), now_ms)
    note = f" ({', '.join(lifted)} lifted until {state['until']} by {state.get('by')})" if lifted else ""
    return sentence + note


def all_stops(
    settings: Settings, number: str, states: Mapping[str, Mapping[str, Any]], lifted: Collection[str], now_ms: int
) -> list[str]:
    """Why a number sends nothing now, or less; each begins with the word that metrics use.

    Args:
        lifted: Checks that an operator has lifted for now, as `override_of` says.
    """
    require_webhook = settings.policy.require_webhook and "webhook" not in lifted
    stops = stops_of(number, states, require_webhook=require_webhook, now_ms=now_ms)
    return stops + preflight_stops(settings, number, states, lifted) + lane_stops(number, states)


def lane_stops(number: str, states: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """That a number is being moved to other lanes: newer messages wait there until the older ones are sent."""
    lanes = parse_lanes(states.get(lanes_key(number)))
    if lanes is None or lanes.target is None:
        return []
    count = len(lanes.target)
    return [f"{MOVES} it moves to {count}; killed? wapipe topics scale --lanes {number}={count}"]


def preflight_stops(
    settings: Settings, number: str, states: Mapping[str, Mapping[str, Any]], lifted: Collection[str]
) -> list[str]:
    """What is not in order before a number sends, besides its webhook; each begins with the word that metrics use."""
    stops: list[str] = []
    own = settings.numbers.get(number)
    if own is None:
        return stops
    needs_templates = settings.policy.require_templates and "templates" not in lifted
    if needs_templates and f"account:{own.account}/templates" not in states:
        stops.append("preflight: templates were never synced; remedy: wapipe templates sync")
    looked = states.get(f"number:{number}/preflight", {})
    if looked.get("token") == "refused" and "limits" not in lifted:
        stops.append(f"token: the API refuses it ({looked.get('detail')}); remedy: wapipe doctor")
    return stops
