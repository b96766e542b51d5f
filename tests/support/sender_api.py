"""The API in virtual time: a bucket that nobody may overdraw, refusals, lost answers, statuses; and its client."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import orjson

from pipeline.clock import rfc3339
from pipeline.errors import NotSent
from pipeline.whatsapp.client import Answer, Client, LastCheck, RequestFailed
from tests.support.sender_plan import NUMBER

FATES = (
    "ok", "ok-lost", "never", "429", "transient", "final", "unconnected", "ok-502", "pair", "day", "stopped",
)  # fmt: skip
CODES = {
    "transient": (500, 131000),
    "final": (400, 131026),
    "pair": (400, 131056),
    "day": (400, 131049),
    "stopped": (400, 131050),
}
JITTER_S = 0.08
TIMEOUT_S = 10.0
ON_THE_WAY_MS = 500  # between the last look at the ledger and the API lie the write of an attempt and the way


class Post(NamedTuple):
    """A request that was written."""

    at_s: float
    request_id: str
    attempt: int | None
    recipient: str
    generation: int


class SimApi:
    """The API of one number.

    Attributes:
        posts: Requests written, whether they arrived or not.
        accepted: Per request id: (time, message id, when its status came or None).
    """

    def __init__(self, world: Any) -> None:
        self._world = world
        self.posts: list[Post] = []
        self.accepted: dict[str, list[tuple[float, str, float | None]]] = {}
        self._level, self._level_s = world.plan.burst, 0.0

    def arrive(self, post: Post, fate: str) -> tuple[int, dict[str, Any]]:
        """A request reaches the API.

        Returns:
            HTTP status and body of the answer.
        """
        world, plan = self._world, self._world.plan
        self._level = min(plan.burst, self._level + (world.now_s - self._level_s) * plan.rate) - 1
        self._level_s = world.now_s
        if self._level < -1e-6:
            world.violate("rate", f"level {self._level:.2f}")
        for begin_s, end_s, kind in plan.spells:
            if begin_s <= world.now_s < end_s:
                return (429, {"error": {"code": 130429}}) if kind == "429" else (503, {})
        if fate in ("ok", "ok-lost", "ok-502"):
            message_id = self._accept(post)
            if fate == "ok-502":
                return 502, {}
            return 200, {"messages": [{"id": message_id}], "contacts": [{"wa_id": post.recipient}]}
        if fate == "429":
            return 429, {"error": {"code": 130429}}
        status, code = CODES[fate]
        return status, {"error": {"code": code}}

    def _accept(self, post: Post) -> str:
        world, chance = self._world, self._world.chance
        message_id = f"wamid.{post.request_id}.{len(self.posts)}"
        delay_s: float | None = chance.uniform(0.05, 2.5)
        if world.plan.statuses == "late" and chance.random() < 0.5:
            delay_s = chance.choice([None, chance.uniform(20.0, 90.0)])
        if world.plan.statuses == "never":
            delay_s = None
        taken = self.accepted.setdefault(post.request_id, [])
        if taken:
            self._taken_again(post, taken)
        taken.append((world.now_s, message_id, world.now_s + delay_s if delay_s is not None else None))
        if delay_s is not None:
            world.at(world.now_s + delay_s, self._status, post, message_id, world.now_s)
        return message_id

    def _taken_again(self, post: Post, taken: list[tuple[float, str, float | None]]) -> None:
        world = self._world
        told_s = min((s for _, _, s in taken if s is not None), default=None)
        if told_s is not None and told_s < world.now_s - 3.0:
            world.violate("accepted-twice-despite-evidence", post.request_id)
            return
        settled_ms = world.settled_accepted_ms.get(post.request_id)
        if settled_ms is not None and settled_ms < world.kafka.broker_ms() - ON_THE_WAY_MS:
            world.violate("accepted-after-settled", post.request_id)

    def _status(self, post: Post, message_id: str, accepted_s: float) -> None:
        world = self._world
        stamp_ms = world.kafka.broker_ms() - int((world.now_s - accepted_s) * 1000)
        is_v1 = world.plan.profile == "v1"
        value = {
            "event_id": message_id, "type": "status", "at": rfc3339(stamp_ms // 1000 * 1000), "number": NUMBER,
            "recipient": post.recipient, "message_id": message_id, "status": "sent",
            "request_id": None if is_v1 else post.request_id, "attempt": None if is_v1 else post.attempt,
        }  # fmt: skip
        world.kafka.write("inbound-events", value)


class SimClient(Client):
    """The HTTP client of a simulated process."""

    def __init__(self, process: Any) -> None:
        self._process = process

    async def close(self) -> None:
        """Nothing is open."""

    async def post(self, url: str, headers: dict[str, str], body: bytes, check: LastCheck) -> Answer:
        """As the real one: connect, check and write in one step, wait for the answer."""
        process = self._process
        world, chance = process.world, process.world.chance
        await asyncio.sleep(chance.choice([0.001, 0.01, 0.05]) if chance.random() < 0.95 else chance.uniform(0.1, 1.2))
        fate = chance.choices(FATES[: len(world.plan.fates)], world.plan.fates)[0]
        if fate == "unconnected":
            raise RequestFailed(ConnectionRefusedError("refused"), written=False)
        refused = check()
        if refused is not None:
            raise NotSent(refused)
        post = self._written(orjson.loads(body))
        if fate == "never":
            await asyncio.sleep(chance.choice([0.01, TIMEOUT_S]))
            raise RequestFailed(TimeoutError("no answer"), written=True)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[tuple[int, dict[str, Any]]] = loop.create_future()
        spell = any(begin_s <= world.now_s < end_s for begin_s, end_s, _ in world.plan.spells)
        lost = fate == "ok-lost" or (spell and chance.random() < 0.02)

        def tell(answer: tuple[int, dict[str, Any]]) -> None:
            if not answered.done():
                answered.set_result(answer)

        def arrive() -> None:
            answer = world.api.arrive(post, fate)
            delay_s = chance.uniform(0.005, 0.06) if chance.random() < 0.9 else chance.uniform(0.3, 3.0)
            if not lost:
                world.at(world.now_s + delay_s, answer_comes, answer)

        def answer_comes(answer: tuple[int, dict[str, Any]]) -> None:
            loop.call_soon_threadsafe(tell, answer)
            world.point(process)

        world.at(world.now_s + chance.uniform(0.001, JITTER_S), arrive)
        world.point(process)
        try:
            status, value = await asyncio.wait_for(answered, chance.choice([0.1, TIMEOUT_S]) if lost else TIMEOUT_S)
        except TimeoutError as exc:
            raise RequestFailed(exc, written=True) from exc
        return Answer(status, {}, orjson.dumps(value))

    def _written(self, body: dict[str, Any]) -> Post:
        process = self._process
        world = process.world
        callback = body.get("biz_opaque_callback_data")
        request_id = body["text"]["body"]
        attempt = int(callback.rsplit(":", 1)[1]) if callback else None
        post = Post(world.now_s, request_id, attempt, body["to"].lstrip("+"), process.generation)
        world.posted(process, post)
        world.api.posts.append(post)
        return post
