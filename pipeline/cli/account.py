"""Why a number stands still, read from `account-state`; for commands that say what a message waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.cli.reading import Reader, decoded
from pipeline.cli.timeline import Step, campaign_sentence, stops_of, waits_for
from pipeline.config import Settings


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
    """What a request waits for whose last step is `last`, as one sentence."""
    held = campaign_sentence(last, states)
    if held is not None:
        return held
    require_webhook = settings.policy.require_webhook
    stops = stops_of(str(last.request[0]), states, require_webhook=require_webhook, now_ms=now_ms)
    return waits_for(last, stops, now_ms)
