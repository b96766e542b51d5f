"""The reference: what a team writes on a Friday. Consumer, semaphore, token bucket, POST, commit of the lowest
unfinished offset; a refusal is tried again by itself after a while. No consent, ledger, order or shared halt.

Run as a process of its own, so that its CPU can be read: `python -m tests.bench.loop BOOTSTRAP TOPIC URL [COUNT [RATE
BURST]]`. Without a count, or with 0, it goes on until it is ended; without a rate there is no limit.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from collections import defaultdict

import aiohttp
import orjson
import uvloop
from confluent_kafka import Consumer, Message, TopicPartition

CONCURRENT = 64
BATCH = 500
COMMIT_EVERY_S = 1.0
BACKOFF_S, BACKOFF_S_MAX = 0.5, 8.0
TOKEN = "token-200000000000001"  # a simulator that is told of no tokens takes any; one that is knows the number by it


class Bucket:
    """A token bucket; it starts full."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._tokens, self._at_s = burst, time.monotonic()

    async def take(self) -> None:
        """Wait for a token."""
        if math.isinf(self._rate_per_s):
            return
        while True:
            now_s = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_per_s)
            self._at_s = now_s
            if self._tokens >= 1:
                self._tokens -= 1
                return
            await asyncio.sleep((1 - self._tokens) / self._rate_per_s)


class Loop:
    """One consumer and its POSTs."""

    def __init__(self, bootstrap: str, topic: str, url: str, bucket: Bucket) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": f"{topic}-loop", "auto.offset.reset": "earliest",
                "enable.auto.commit": False, "session.timeout.ms": 10_000, "fetch.wait.max.ms": 10,
            }
        )  # fmt: skip
        self._consumer.subscribe([topic], on_revoke=self._leave)
        self._topic, self._url, self._bucket = topic, url, bucket
        self._slots = asyncio.Semaphore(CONCURRENT)
        self._open: dict[int, set[int]] = defaultdict(set)
        self._next: dict[int, int] = {}
        self._commit_s = 0.0

    async def run(self, count: int) -> None:
        """Post the first `count` records; 0: all, for ever."""
        started = 0
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            while not count or started < count:
                for message in await asyncio.to_thread(self._consume):
                    if message.error() is None and (not count or started < count):
                        await self._slots.acquire()
                        started += 1
                        self._open[message.partition()].add(message.offset())
                        self._next[message.partition()] = message.offset() + 1
                        tasks.create_task(self._deliver(session, message))
                        self._commit_now_and_then()
                self._commit_now_and_then()
        self._commit()
        self._consumer.close()

    def _consume(self) -> list[Message]:
        first = self._consumer.poll(0.1)
        return [] if first is None else [first, *self._consumer.consume(BATCH - 1, 0)]

    async def _deliver(self, session: aiohttp.ClientSession, message: Message) -> None:
        request = orjson.loads(message.value())
        request["message"]["template"]["language"]["policy"] = "deterministic"  # v1 wants it
        body = orjson.dumps({"to": request["to"], **request["message"]})
        wait_s = BACKOFF_S
        try:
            while True:
                await self._bucket.take()
                if await self._post(session, body):
                    return
                await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))
                wait_s = min(BACKOFF_S_MAX, 2 * wait_s)
        finally:
            self._slots.release()
            self._open[message.partition()].discard(message.offset())

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> bool:
        """Whether that was the end of it."""
        try:
            async with session.post(self._url, data=body, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
                await response.read()
                return response.status != 429 and response.status < 500
        except aiohttp.ClientError:
            return False

    def _commit_now_and_then(self) -> None:
        if time.monotonic() >= self._commit_s:
            self._commit_s = time.monotonic() + COMMIT_EVERY_S
            self._commit()

    def _commit(self) -> None:
        places = [TopicPartition(self._topic, n, min(self._open[n], default=end)) for n, end in self._next.items()]
        if places:
            self._consumer.commit(offsets=places, asynchronous=True)

    def _leave(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        """What was somebody's is somebody else's: commit, and forget it."""
        self._commit()
        self._next.clear()


if __name__ == "__main__":
    bootstrap, topic, url, *more = sys.argv[1:]
    count, rate, burst = (*map(float, more), *(0.0, math.inf, math.inf)[len(more) :])

    async def main() -> None:
        """Inside the event loop, as the semaphore wants it."""
        await Loop(bootstrap, topic, url, Bucket(rate, burst)).run(int(count))

    uvloop.run(main())
