"""Customer service windows: free-form messages may go for 24 h after a person's last message or call to a number.

A free entry point (an advertisement that the person wrote from) changes what messages cost, for 72 h, and admits
nothing (Meta, pricing). Three clocks meet here. WhatsApp's dates the message, and Meta's own window ends by that clock;
what it dates ahead of the broker's time counts from the broker's time, so no date opens a longer window. Whether the
window is open is asked of the host's clock, at the gate and again as the request is written. A host's clock that is
behind lets a message through to Meta, which refuses it (131047): the request fails as `api_rejected`.

Pure. A window record is a plain object as it stands on `service-windows` (one per person, windows by number).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.clock import parse_rfc3339_ms, rfc3339

WINDOW_MS: Final = 24 * 3_600_000


def open_window(
    record: Mapping[str, Any] | None, recipient: str, number: str, said_ms: int, broker_ms: int, message_id: str | None
) -> dict[str, Any] | None:
    """Let a message of a person open or prolong the window; windows that are over are dropped on the way.

    Args:
        record: The person's windows so far.
        said_ms: When the person wrote, by WhatsApp's clock; what lies ahead of `broker_ms` counts as `broker_ms`.
        broker_ms: Broker time of the record that tells of the message.

    Returns:
        The record to write, or None if nothing changes: a later message is known, or the window is over already.
    """
    at_ms = min(said_ms, broker_ms)
    windows: dict[str, Any] = dict(record["windows"]) if record is not None else {}
    there = windows.get(number)
    if at_ms + WINDOW_MS <= broker_ms or (there is not None and parse_rfc3339_ms(there["opened_at"]) >= at_ms):
        return None
    kept = {name: window for name, window in windows.items() if parse_rfc3339_ms(window["until"]) > broker_ms}
    kept[number] = {"opened_at": rfc3339(at_ms), "until": rfc3339(at_ms + WINDOW_MS), "message_id": message_id}
    return {"recipient": recipient, "windows": kept}


def wrote_since(record: Mapping[str, Any] | None, at_ms: int) -> bool:
    """Whether the person wrote to any number at that moment or later, as far as windows tell (24 h)."""
    windows = record["windows"].values() if record is not None else ()
    return any(parse_rfc3339_ms(window["opened_at"]) >= at_ms for window in windows)


def is_windows(value: Mapping[str, Any]) -> bool:
    """Whether a stored value is one that can be read: anybody who may write to the topic may have written it."""
    windows = value.get("windows")
    if not isinstance(windows, dict):
        return False
    return all(isinstance(window, dict) and _is_window(window) for window in windows.values())


def _is_window(window: Mapping[str, Any]) -> bool:
    try:
        return all(parse_rfc3339_ms(window[name]) >= 0 for name in ("opened_at", "until"))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        return False


def open_until(record: Mapping[str, Any] | None, number: str) -> int | None:
    """End of a person's window with a number in milliseconds since 1970 (may be past), or None."""
    window = record["windows"].get(number) if record is not None else None
    return parse_rfc3339_ms(window["until"]) if window is not None else None
