"""Webhooks while ingress and broker die: a loader that comes again until it hears 200, and what Kafka then has."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.embedded.broker import EmbeddedKafka
from pipeline.embedded.layout import choose_ports
from tests.support import webhooks_loader
from tests.support.broker import wait_until
from tests.support.ingress_door import FIRST, Ingress, write_config

START_S: Final = 60.0


class Outcome(NamedTuple):
    """What was sent and what is there.

    Attributes:
        said: Of the loader.
        lost: Updates that are on no record.
        invented: Message ids on records that nobody authentic sent.
        repeated: Records beyond one per `event_id`.
        conflicting: Message ids with more than one `event_id`.
    """

    said: dict[str, Any]
    lost: int
    invented: list[str]
    repeated: int
    conflicting: int


def redelivered(broker: EmbeddedKafka, folder: Path, count: int, *, kills: int, outage_s: float) -> Outcome:
    """Post `count` webhooks while the ingress is SIGKILLed `kills` times and the broker once.

    Args:
        outage_s: How long the broker is away.
    """
    [ports] = choose_ports(1)
    config = write_config(folder, broker.bootstrap, port=ports.client)
    ingress = Ingress(config, folder / "log-0")
    loader: subprocess.Popen[bytes] | None = None
    try:
        loader = webhooks_loader.start(
            f"http://127.0.0.1:{ports.client}/webhook", FIRST, requests=count, connections=16
        )
        for kill in range(kills):
            _until_more(ingress, count // (kills + 2))
            ingress.process.send_signal(signal.SIGKILL)
            ingress.process.wait(START_S)
            if kill == kills // 2:
                broker.kill(0)
                time.sleep(outage_s)
                broker.start_broker(0)
            ingress = Ingress(config, folder / f"log-{kill + 1}")
        said = webhooks_loader.result(loader)
        return _judged(ingress, said, count)
    finally:
        ingress.end()
        if loader is not None and loader.poll() is None:
            loader.kill()
            loader.wait()


def _until_more(ingress: Ingress, more: int) -> None:
    """Wait until so many webhooks more were taken by this process."""
    wait_until(lambda: ingress.metric('wapipe_webhook_requests_total{result="ok"}') >= more, "it takes them", START_S)


def _judged(ingress: Ingress, said: dict[str, Any], count: int) -> Outcome:
    pairs = [(record.value["message_id"], record.value["event_id"]) for record in ingress.read("inbound-events")]
    sent = {f"wamid.load-{index}" for index in range(count)}
    there = {message for message, _ in pairs}
    by_message = Counter(message for message, _ in set(pairs))
    return Outcome(
        said, len(sent - there), sorted(there - sent), len(pairs) - len({event for _, event in pairs}),
        sum(events > 1 for events in by_message.values()),
    )  # fmt: skip
