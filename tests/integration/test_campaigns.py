"""A campaign that is paused half-way, goes on, and is cancelled, by commands, on a real Kafka: the counts add up."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.support.campaign import Ids, campaign, people
from tests.support.judge import TERMINAL
from tests.support.world import NUMBER, World

COUNT, RATE = 400, 20
SLACK_S = 2.0


def test_pause_resume_and_cancel_of_a_running_campaign(kafka: str, tmp_path: Path) -> None:
    """Paused: codes go on, it does not; resumed: it does; cancelled: nothing more is posted, and all ends are told."""
    ids, crowd = Ids("c"), people(COUNT)
    numbers = {NUMBER: {"profile": "v1", "rate_per_s": RATE, "burst": RATE}}
    with World(kafka, tmp_path, numbers=numbers) as world:
        world.spawn("gate")
        world.spawn("sender")
        world.ready()
        world.grant(crowd)
        sale = campaign(COUNT, [NUMBER], crowd, ids, category="marketing", campaign="sale")
        world.produce(sale)
        world.until_taken(20, timeout_s=30)

        world.wapipe("campaigns", "pause", "sale", "--reason", "wrong link")
        time.sleep(SLACK_S)  # the promise: from then on nothing of it
        before = world.api.stats()["accepted"]
        codes = campaign(5, [NUMBER], crowd, ids, category="authentication")
        world.produce(codes, "outbound-requests-urgent")
        world.until_terminal(codes, timeout_s=20)
        assert world.api.stats()["accepted"] == before + len(codes)
        held = [event for event in world.events() if event["reason"] == "held_campaign"]
        assert held
        assert {event["campaign"] for event in held} == {"sale"}

        world.wapipe("campaigns", "resume", "sale", "--reason", "corrected")
        world.until_taken(before + len(codes) + 10, timeout_s=20)
        told = world.wapipe("campaigns", "cancel", "sale", "--reason", "sold out", "--yes")
        assert "cancelled" in told
        time.sleep(SLACK_S)
        posted = world.api.stats()["accepted"]
        world.until_terminal(sale, timeout_s=30)
        assert world.api.stats()["accepted"] == posted, "nothing is posted later than 2 s after the cancel"
        ends = [event for event in world.events() if event["type"] in TERMINAL and event["campaign"] == "sale"]
        kinds = [event["type"] for event in ends]
        assert len({event["request_id"] for event in ends}) == COUNT
        assert kinds.count("accepted") == posted - len(codes)
        assert kinds.count("cancelled") == COUNT - kinds.count("accepted")
        [listed] = json.loads(world.wapipe("campaigns", "list", "--json"))
        assert (listed["state"], listed["open"], listed["cancelled"]) == ("cancelled", 0, kinds.count("cancelled"))
        [number] = json.loads(world.wapipe("numbers", "list", "--json"))
        assert number["number"] == NUMBER
        assert number["stands_still"] == []
