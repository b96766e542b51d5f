"""The row type of the code tables: what to do about an error code, in a closed list of dispositions.

Data only; no task, no I/O.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

Scope = Literal["number", "host", "account", "recipient"]
"""How far a code reaches: the sending number, everything behind one `base_url`, the account (WABA), one recipient."""

Shape = Literal["cloud", "v1"]

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


class Disposition(StrEnum):
    """What to do about a message (or more) that met a code."""

    RETRY = "retry"
    """Transient: again, with growing delays and bounded attempts."""
    RETRY_LATER = "retry_later"
    """Again, but not before the row's `delay_s`."""
    THROTTLE = "throttle"
    """Too fast: halt the scope, probe, come back slower."""
    OVERLOAD = "overload"
    """The API itself is overloaded or not ready: halt everything behind that address."""
    PAIR = "pair"
    """Too many messages to this recipient: wait with this recipient only, 1, 4, 16 … seconds."""
    PAUSE_MARKETING = "pause_marketing"
    """Too many earlier messages were blocked or reported: stop, let a person look at the quality."""
    STOP_MARKETING = "stop_marketing"
    """The person stopped marketing from this business: an opt-out."""
    SUPPRESS = "suppress"
    """This recipient cannot or must not be reached: do not try again."""
    AUTHENTICATE = "authenticate"
    """The token is wrong or spent."""
    HALT = "halt"
    """The number or account may not send: an operator must act; messages stay queued."""
    TEMPLATE_PAUSED = "template_paused"
    """The template or flow comes back by itself after `delay_s`."""
    TEMPLATE_UNUSABLE = "template_unusable"
    """The template or flow cannot be used until somebody repairs it."""
    NEEDS_TEMPLATE = "needs_template"
    """The customer service window is closed: only a template may go."""
    CHECK_CONTACT = "check_contact"
    """v1 before 2.39: a contact check must come before the message."""
    REVIEW = "review"
    """The recipient's identity may have changed: a person decides, then sends again."""
    REJECT = "reject"
    """The request is wrong, or may not be repeated."""
    INBOUND_ONLY = "inbound_only"
    """About a received message; never the answer to a send."""


SCOPES: dict[Disposition, Scope] = {
    Disposition.THROTTLE: "number",
    Disposition.OVERLOAD: "host",
    Disposition.PAIR: "recipient",
    Disposition.PAUSE_MARKETING: "number",
    Disposition.STOP_MARKETING: "recipient",
    Disposition.SUPPRESS: "recipient",
    Disposition.REVIEW: "recipient",
    Disposition.AUTHENTICATE: "number",
    Disposition.HALT: "number",
}
"""Scope of a disposition where its row names no other."""


class CodeRow(NamedTuple):
    """One error code.

    Attributes:
        code: Meta's number.
        disposition: What to do.
        meaning: What Meta says, in our words.
        source: Where that is published.
        scope: How far it reaches; None if only this message is concerned.
        delay_s: Seconds before it makes sense to try again, where the code itself says so.
        shape: API that uses the code.
    """

    code: int
    disposition: Disposition
    meaning: str
    source: str
    scope: Scope | None
    delay_s: float | None
    shape: Shape


def cloud(
    code: int,
    disposition: Disposition,
    meaning: str,
    *,
    scope: Scope | None = None,
    delay_s: float | None = None,
    source: str = "Meta, error codes",
) -> CodeRow:
    """A row of the Cloud API; `scope` defaults to that of the disposition."""
    return CodeRow(code, disposition, meaning, source, scope or SCOPES.get(disposition), delay_s, "cloud")


def v1(
    code: int,
    disposition: Disposition,
    meaning: str,
    *,
    scope: Scope | None = None,
    delay_s: float | None = None,
    source: str = "On-Premises error list",
) -> CodeRow:
    """A row of the On-Premises shape; `scope` defaults to that of the disposition."""
    return CodeRow(code, disposition, meaning, source, scope or SCOPES.get(disposition), delay_s, "v1")
