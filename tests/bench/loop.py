"""The reference: what a team writes on a Friday. Consumer, semaphore, POST, commit; no consent, ledger, limit or order.

Run as a process of its own, so that its CPU can be read: `python -m tests.bench.loop BOOTSTRAP TOPIC URL COUNT`.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import orjson
import uvloop
from confluent_kafka import Consumer

CONCURRENT = 64
BATCH = 500


async def run(bootstrap: str, topic: str, url: str, count: int) -> None:
    """Post the first `count` records of a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"{topic}-loop", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    slots = asyncio.Semaphore(CONCURRENT)
    done = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(value: bytes) -> None:
            nonlocal done
            request = orjson.loads(value)
            body = orjson.dumps({"to": request["to"], **request["message"]})
            try:
                async with session.post(url, data=body, headers={"Authorization": "Bearer loop"}) as response:
                    await response.read()
            finally:
                slots.release()
                done += 1

        async with asyncio.TaskGroup() as tasks:
            started = 0
            while started < count:
                for message in await asyncio.to_thread(consumer.consume, BATCH, 0.1):
                    if message.error() is None and started < count:
                        await slots.acquire()
                        started += 1
                        tasks.create_task(post(message.value()))
    consumer.close()


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
