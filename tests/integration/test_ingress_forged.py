"""Webhooks by the thousand: nothing forged gets in, valid ones unharmed."""

from __future__ import annotations

import pytest

from tests.support import webhooks_loader
from tests.support.ingress_door import FIRST, Ingress
from tests.support.producers import Missing


def test_forged_and_malformed_calls_harm_no_valid_one(ingress: Ingress) -> None:
    """Among forged and malformed calls every valid webhook is answered 200, and no forged event is published."""
    try:
        loader = webhooks_loader.start(
            f"http://127.0.0.1:{ingress.port}/webhook", FIRST, requests=1500, connections=16, forged=1000, malformed=500
        )
    except Missing as exc:
        pytest.skip(f"the loader cannot be built: {exc}")
    said = webhooks_loader.result(loader)
    assert said["authentic"] == {"200": 1500}
    assert said["forged"] == {"401": 1000}
    assert sum(said["malformed"].values()) == 500
    assert set(said["malformed"]) <= {"400", "401", "415", "hung up"}
    ids = {record.value["message_id"] for record in ingress.read("inbound-events")}
    assert ids == {f"wamid.load-{index}" for index in range(1500)}
