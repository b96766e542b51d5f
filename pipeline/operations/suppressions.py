"""Who gets nothing any more, and the way back for one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.operations.acts import Act, Actor, Outgoing, audited
from pipeline.operations.reading import Advance, Reader, decoded
from pipeline.records.codec import headers_for
from pipeline.whatsapp.suppression import SCHEMA, is_suppression

TOPIC: Final = "suppressions"


def suppressed(reader: Reader, person: str | None = None, advance: Advance | None = None) -> dict[str, dict[str, Any]]:
    """The newest readable record by recipient; blocks until the topic's end is read.

    Args:
        person: Only this one, normalised; None: all.
    """
    found: dict[str, dict[str, Any]] = {}
    for recipient, row in reader.newest(TOPIC, None if person is None else [person], advance).items():
        record = decoded(row)
        if record is not None and is_suppression(record):
            found[recipient] = {**record, "recipient": recipient}
    return found


def lift_suppression(actor: Actor, person: str, *, reason: str | None, before: Mapping[str, Any]) -> Act:
    """Let messages go to a person again; a failure with the same code suppresses them anew.

    Args:
        before: The suppression that holds.
    """
    record = Outgoing(TOPIC, person, None, headers_for(SCHEMA))
    return audited(actor, "lift", f"suppression:{person}", reason=reason, before=before, after=None, records=(record,))
