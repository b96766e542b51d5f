"""Who is held up by whom: a number that is refused for a minute beside one that is not, one person who gets many
messages, and an API whose limit is lower than the configured one."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.campaign import Ids, campaign, people, request
from tests.support.world import NUMBER, World

Figures = dict[str, float | int | str]
OTHER = "200000000000002"
WAIT_S = 900.0
SPELL_S = 60.0
SETTLE_S = 4.0
FRIEND_MESSAGES = 200
"""To one person, among many to others."""
MINUTE_NS = 60 * 10**9


def _start(world: World) -> None:
    for role in ("gate", "sender"):
        world.spawn(role)
    world.ready()


def scopes(kafka: str, folder: Path, count: int) -> Figures:
    """Two numbers on one process: one has a backlog and is refused for a minute, the other keeps its rate."""
    numbers = {NUMBER: {"profile": "v1"}, OTHER: {"profile": "v1", "account": "300000000000002"}}
    crowds = people(2000), people(2000, start=5000)
    with World(kafka, folder, numbers=numbers) as world:
        _start(world)
        world.grant([*crowds[0], *crowds[1]])
        ids = Ids()
        backlog = campaign(count, [NUMBER], crowds[0], ids)
        world.produce(backlog)
        world.until(lambda: world.count("ready-normal") >= count // 2, "half of the backlog is judged", WAIT_S)
        rate = 50
        beside = campaign(rate * int(SPELL_S + 30), [OTHER], crowds[1], ids)
        world.produce(beside)
        world.until(lambda: OTHER in world.api.stats()["senders"], "the other number sends", WAIT_S)
        time.sleep(SETTLE_S)
        began_ns = int(world.api.stats()["now_ns"])
        world.api.control(spell={"kind": "429", "for_s": SPELL_S, "sender": NUMBER})
        time.sleep(SPELL_S)
        world.until_terminal(beside, timeout_s=WAIT_S)
        rows = world.api.messages()
        is_ordered = _is_ordered(rows, crowds[0])
    in_spell = [row for row in rows if began_ns <= row["t_ns"] < began_ns + SPELL_S * 1e9]
    of_other = sum(row["sender"] == OTHER for row in in_spell)
    return {
        "backlog of the refused number": count,
        "its requests in 60 s of 429": len(in_spell) - of_other,
        "the other number's rate meanwhile, part of its limit": round(of_other / (rate * SPELL_S), 4),
        "order of the refused one afterwards": "kept" if is_ordered else "BROKEN",
    }


def _is_ordered(rows: list[dict[str, object]], crowd: list[str]) -> bool:
    """Whether each person of the crowd got the messages in the order of their ids, which is that of their writing."""
    newest: dict[str, str] = dict.fromkeys(crowd, "")
    for row in rows:
        to, text = str(row["to"]).removeprefix("+"), str(row["text"])
        if row["accepted"] and to in newest:
            if text < newest[to]:
                return False
            newest[to] = text
    return True


def pair(kafka: str, folder: Path, count: int) -> Figures:
    """200 messages to one person among many to others, on a number with Meta's pair limit."""
    crowd, friend = people(1000), people(1, start=9000)[0]
    with World(kafka, folder, numbers={NUMBER: {"profile": "cloud"}}) as world:
        _start(world)
        world.grant([*crowd, friend])
        ids = Ids()
        others = campaign(count, [NUMBER], crowd, ids)
        friendly = [request(next(ids), NUMBER, friend) for _ in range(FRIEND_MESSAGES)]
        time.sleep(SETTLE_S)
        step = count // FRIEND_MESSAGES
        mixed = [one for i in range(FRIEND_MESSAGES) for one in (friendly[i], *others[i * step : (i + 1) * step])]
        world.produce(mixed)
        world.until_terminal(mixed[1:] if step == 0 else others[: step * FRIEND_MESSAGES], timeout_s=WAIT_S)
        rows, stats = world.api.messages(), world.api.stats()["senders"][NUMBER]
    taken = [row for row in rows if row["accepted"]]
    seconds = (taken[-1]["t_ns"] - taken[0]["t_ns"]) / 1e9
    return {
        "messages to others": step * FRIEND_MESSAGES,
        "messages to one person": FRIEND_MESSAGES,
        "answers 131056": sum(row["code"] == 131056 for row in rows),
        "refused at all": sum(stats["refused"].values()),
        "used of rate·t + burst until the others are sent": round(len(taken) / (80 + 80 * seconds), 4),
    }


def w3b(kafka: str, folder: Path, count: int) -> Figures:
    """The true limit is 30/60, the settings say 50/150: what is refused, minute by minute."""
    crowd = people(2000)
    limited = ("--latency-ms", "20", "--rate", "30", "--burst", "60")
    with World(kafka, folder, numbers={NUMBER: {"profile": "v1"}}, simulator=limited) as world:
        _start(world)
        world.grant(crowd)
        requests = campaign(count, [NUMBER], crowd, Ids())
        time.sleep(SETTLE_S)
        world.produce(requests)
        world.until_terminal(requests, timeout_s=WAIT_S)
        rows = world.api.messages()
    first_ns = rows[0]["t_ns"]
    minutes: dict[int, list[bool]] = {}
    for row in rows:
        minutes.setdefault((row["t_ns"] - first_ns) // MINUTE_NS, []).append(row["accepted"])
    whole = range(1, max(minutes))  # the last minute is not full
    later = [taken for minute in whole for taken in minutes[minute]]
    return {
        "messages": count,
        "refused in the first minute, %": round(100 * (1 - sum(minutes[0]) / len(minutes[0])), 2),
        "refused later, %": round(100 * (1 - sum(later) / len(later)), 2) if later else "too short a run",
        "worst minute later, %": max(
            (round(100 * (1 - sum(minutes[m]) / len(minutes[m])), 2) for m in whole), default="too short a run"
        ),
        "used of the true limit later": round(sum(later) / (30 * 60 * len(whole)), 4) if later else "too short a run",
    }
