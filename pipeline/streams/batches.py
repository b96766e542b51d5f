"""Records of an agent's stream, as many at a time as are there: its first one by Faust's way, the rest from its queue.

Faust gives the event loop a turn before each record that a stream delivers: under load every turn does other work, too,
so that records came as slowly as turns were long, and nothing could be done for several messages at once. Runs in the
agent's task. The benchmark behind it: `python -m tests.bench W1`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pipeline.streams.hardened import HardenedApp


async def batches(app: HardenedApp, stream: Any, records_max: int) -> AsyncIterator[list[Any]]:
    """Deliver what has come, and give the loop a turn before each batch.

    Args:
        stream: Of an agent over `bytes_topic`; Faust acknowledges nothing of it.
        records_max: In one batch, ≥ 1.

    Yields:
        Faust's messages, at least one. Those of an assignment that has ended are left out, as a stream does.
    """
    own = stream.noack()
    queue = own.channel.queue
    async for event in own.events():
        records = [event.message]
        while len(records) < records_max and not queue.empty():
            record = queue.get_nowait().message
            if app.flow_control.is_active() and record.generation_id == app.consumer_generation_id:
                records.append(record)
        yield records
