"""What lanes learn from `account-state`: whose halt holds whom, paused marketing, the throughput of a number."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from pipeline.clock import rfc3339
from pipeline.records.schemas import AccountState as AccountRecord
from pipeline.sender.account import AccountState
from pipeline.sender.halts import Halts, pause_marketing
from tests.support.kafka_message import KafkaMessage
from tests.unit.sender.making import MARKS, Bench, Make

NOW_MS = 1_795_300_000_000


def told(key: str, value: dict[str, Any]) -> KafkaMessage:
    """A record on `account-state`."""
    return KafkaMessage(key.encode(), orjson.dumps(value))


def halt(number: str = "1", shard: int = 0, **fields: Any) -> KafkaMessage:
    """A lane of another process says that it is halted for ten seconds."""
    value = {
        "kind": "number", "id": number, "aspect": "halt", "shard": shard, "reason": "throttled", "scope": "number",
        "account": "waba-1", "base_url": "https://one", "halted": True, "until": rfc3339(NOW_MS + 10_000),
        "at": rfc3339(NOW_MS), "by": "other/1", **fields,
    }  # fmt: skip
    return told(f"number:{number}/halt/{shard}", value)


def state(*messages: KafkaMessage) -> AccountState:
    """What is known after these."""
    account = AccountState(lambda: None)
    account.apply(list(messages))
    return account


LANES = {
    "itself": ("1", 0, "waba-1", "https://one"),
    "shard": ("1", 1, "waba-1", "https://one"),
    "account": ("2", 0, "waba-1", "https://two"),
    "host": ("3", 0, "waba-2", "https://one"),
    "stranger": ("4", 0, "waba-2", "https://two"),
}


@pytest.mark.parametrize(
    ("fields", "held"),
    [
        ({"scope": "number"}, {"shard"}),
        ({"scope": "account"}, {"shard", "account"}),
        ({"scope": "host", "reason": "overloaded"}, {"shard", "host"}),
        ({"scope": None, "reason": "overloaded"}, {"shard", "host"}),  # as releases before this field wrote it
        ({"scope": "account", "account": None}, {"shard"}),
        ({"until": rfc3339(NOW_MS)}, set()),
        ({"by": "own/1"}, set()),
    ],
)
def test_a_sisters_halt_holds_exactly_its_scope(fields: dict[str, Any], held: set[str]) -> None:
    """Shards of the number always, other numbers by account or host; an old one, or one of our own, nobody."""
    account = state(halt(**fields))
    assert {who for who, lane in LANES.items() if account.sister_halt(*lane, NOW_MS, "own/1") is not None} == held


def test_the_end_of_a_halt_frees() -> None:
    """The sister says that it is over."""
    account = state(halt(), halt(halted=False, reason=None, scope=None, until=None))
    assert account.sister_halt(*LANES["shard"], NOW_MS, "own/1") is None


def test_the_longest_halt_is_told() -> None:
    """Its word is the reason that the lane is shown with."""
    account = state(halt(), halt("2", scope="account", reason="preflight", until=rfc3339(NOW_MS + 60_000)))
    found = account.sister_halt(*LANES["shard"], NOW_MS, "own/1")
    assert found is not None
    assert (found.reason, found.until_ms) == ("preflight", NOW_MS + 60_000)


def published(world: Bench) -> list[dict[str, Any]]:
    """What this process said on `account-state`, each a record of the contract."""
    world.run_for(0.5)
    values = world.log(MARKS)
    for value in values:
        TypeAdapter(AccountRecord).validate_python(value)
    return values


def test_the_widest_halt_is_published_and_its_end(bench: Make) -> None:
    """Sisters hear of a host's halt before the number's own; when it is over, of that."""
    world = bench(profile="v1")
    lane, halts = world.opened(), Halts(world.ctx)
    lane.scopes.refused("number", "token", 0.0, world.now_s, 600.0, 0.0)
    lane.scopes.refused("host", "overloaded", 0.0, world.now_s, 5.0, 0.0)
    halts.tick(lane)
    lane.scopes.host.halt.accepted(world.now_s)
    halts.tick(lane)
    lane.scopes.number.halt.accepted(world.now_s)
    halts.tick(lane)
    halts.tick(lane)
    said = [(value["scope"], value["reason"], value["halted"]) for value in published(world)]
    assert said == [("host", "overloaded", True), ("number", "token", True), (None, None, False)]


def test_a_pause_of_marketing_is_heard_by_all_and_never_cut_short(bench: Make) -> None:
    """The lane that was told knows at once, its sisters from `account-state`."""
    world = bench(profile="v1")
    lane = world.opened()
    pause_marketing(world.ctx, lane, 86_400.0, 471)
    now_ms = world.ctx.unix_ms()
    assert world.ctx.account.no_marketing_until_ms(lane.number, now_ms) == now_ms + 86_400_000
    assert world.ctx.account.no_marketing_until_ms("another", now_ms) is None
    [said] = published(world)
    sister = state(told("k", said), told("k2", {**said, "until": rfc3339(now_ms + 1000)}))
    assert sister.no_marketing_until_ms(lane.number, now_ms) == now_ms + 86_400_000
    assert sister.no_marketing_until_ms(lane.number, now_ms + 86_400_000) is None
    assert (said["aspect"], said["error_code"]) == ("marketing", 471)


def test_the_throughput_of_a_number_is_known() -> None:
    """As the newest webhook said."""
    account = state(told("number:1/limits", {"aspect": "limits", "throughput": "HIGH"}))
    assert (account.throughput("1"), account.throughput("2")) == ("HIGH", None)
