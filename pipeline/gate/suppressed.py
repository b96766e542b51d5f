"""Suppressions whose time is over are taken off their topic when the gate meets them: one tombstone each.

Nobody else could: the topic is compacted, so a record stays until another one of its key comes. Runs in the worker.
"""

from __future__ import annotations

from pipeline.gate.item import Item, Out, traced
from pipeline.gate.view import View
from pipeline.whatsapp.suppression import SCHEMA

TOPIC = "suppressions"


def lapsed(item: Item, recipient: str, suppressions: View) -> list[Out]:
    """Write the tombstone of a suppression that holds no more: a request has just passed it.

    Args:
        item: The request, on the recipient's partition.
        suppressions: The table; it knows of the tombstone from now on, so there is only one.
    """
    partition, key = item.tp[1], recipient.encode()
    stored = suppressions.put(partition, key, None)
    return [Out(TOPIC, key, None, traced(SCHEMA, item), partition, stored)]
