"""What a status `failed` comes to: an `undelivered` event, and a suppression if its code says so. Pure.

The message is not sent again by the pipeline. An opt-out in such a status (131050) went from the ingress straight to
`consent-updates`; pausing a template or a number is not the gate's part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pipeline.clock import parse_rfc3339_ms
from pipeline.errors import ContractError
from pipeline.records.consent import METHODS
from pipeline.records.consent_rule import rank
from pipeline.records.outbound import undelivered_event
from pipeline.records.request import normal_recipient
from pipeline.whatsapp.detail import clean
from pipeline.whatsapp.error_body import a_code, error_in
from pipeline.whatsapp.suppression import suppression_of

MAX_ID_CHARS: Final = 200
MAX_TIME_CHARS: Final = 40
UNKNOWN: Final = "unknown"


class Failure(NamedTuple):
    """A status `failed`, read.

    Attributes:
        number: The sending number.
        recipient: The person; None: a group, or nobody that a record could be keyed by.
        at_ms: When WhatsApp said so, milliseconds since 1970.
        code: Meta's error code, if there is one.
        detail: One line for people.
        event: The inbound-event as it stands on the topic.
    """

    number: str
    recipient: str | None
    at_ms: int
    code: int | None
    detail: str | None
    event: Mapping[str, Any]

    def told(self, business: str) -> dict[str, Any]:
        """The `undelivered` event."""
        return undelivered_event(
            self.event,
            at=self.event["at"],
            recipient=self.recipient,
            business=business,
            error_code=self.code,
            detail=self.detail,
        )

    def suppression(self, broker_ms: int, soft_s: float) -> dict[str, Any] | None:
        """The suppression that follows, if one does; a clock ahead of the broker's does not prolong it.

        Args:
            soft_s: How long one holds that ends by itself.
        """
        if self.recipient is None:
            return None
        return suppression_of(self.code, self.recipient, min(self.at_ms, broker_ms), soft_s)


def failure_of(event: Mapping[str, Any]) -> Failure:
    """Read a status `failed`.

    Raises:
        ContractError: it is not as the ingress writes it.
    """
    event_id, number, at = (event.get(name) for name in ("event_id", "number", "at"))
    if not isinstance(event_id, str) or not isinstance(number, str) or not isinstance(at, str):
        raise ContractError(["status event: event_id, number and at are needed"])
    if len(event_id) > MAX_ID_CHARS or len(at) > MAX_TIME_CHARS:
        raise ContractError(["status event: event_id or at is too long"])
    attempt = event.get("attempt")
    if attempt is not None and (not isinstance(attempt, int) or isinstance(attempt, bool)):
        raise ContractError(["status event: attempt must be a number or null"])
    try:
        at_ms = parse_rfc3339_ms(at)
    except (ValueError, OverflowError) as exc:
        raise ContractError([f"status event: {exc}"]) from exc
    error = error_in({"errors": event.get("errors")})
    # An event too large for the broker comes without its errors; its code stands beside them.
    code = error.code if error is not None and error.code is not None else a_code(event.get("error_code"))
    detail = clean(error.text) if error is not None else None
    return Failure(number, _person(event.get("recipient")), at_ms, code, detail, event)


def opt_in_method(consent: Mapping[str, Any] | None, business: str) -> str:
    """The method of the person's newest grant to a business, or `unknown`: a label of few values.

    A status does not tell the message's category; `wapipe consent report` joins message by message.
    """
    entries = consent["entries"] if consent is not None else ()
    grants = [entry for entry in entries if entry["business"] == business and entry["status"] == "granted"]
    newest = max(grants, key=rank, default=None)
    method = newest["method"] if newest is not None else None
    return method if method in METHODS else UNKNOWN


def _person(value: Any) -> str | None:
    try:
        return normal_recipient(value)
    except ValueError:
        return None
