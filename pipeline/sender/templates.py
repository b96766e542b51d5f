"""May the template of a message still be used? Asked before an attempt, and once more in the step that writes it.

The gate has judged by what was known then; Meta pauses, disables, deletes and recategorises templates at any time, and
a message may wait in its lane for hours. A category that changed is not what the person's consent was checked for. A
template that is not known here refuses nothing: the gate may have heard of it a moment earlier.
"""

from __future__ import annotations

from pipeline.records.ready import ReadyMessage
from pipeline.whatsapp.template_registry import Refusal, TemplateRegistry, template_in


def template_refusal(
    registry: TemplateRegistry, account: str, message: ReadyMessage, now_ms: int
) -> tuple[Refusal, str] | None:
    """Why a message may not use its template any more, as reason and detail; None: it may, or has none.

    Args:
        account: Of the sending number.
        now_ms: Host date, ms.
    """
    named = template_in(message.record["request"]["message"])
    known = registry.find(account, *named) if named is not None else None
    return known.refusal(message.category, now_ms) if known is not None else None
