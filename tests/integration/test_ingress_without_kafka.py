"""An ingress whose broker hangs, dies, is not there: 503, or the spool; and back to 200 by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.embedded.broker import EmbeddedKafka
from pipeline.errors import BrokerUnreachable
from pipeline.ingress.run import run_ingress
from pipeline.whatsapp.signature import sign
from tests.support.broker import wait_until
from tests.support.ingress_door import FIRST, WAIT_S, Ingress, cloud, status, text, write_config
from tests.support.producers import Missing
from tests.support.redelivery import redelivered

GOOD = cloud(statuses=[status()])
SPOOLED = 30
REDELIVERED = 2000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker that these tests may kill; each leaves it running."""
    with EmbeddedKafka(tmp_path_factory.mktemp("broker")) as running:
        yield running


def test_kafka_away_is_503_and_ends_by_itself(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """A broker that hangs, then one that is gone: 503 in bounded time, alive, and 200 again without a restart."""
    folder = tmp_path / "ingress"
    folder.mkdir()
    ingress = Ingress(write_config(folder, broker.bootstrap), folder / "log")
    try:
        assert ingress.post(GOOD) == 200
        os.kill(broker.pids[0], signal.SIGSTOP)
        try:
            _expect_unavailable(ingress)
        finally:
            os.kill(broker.pids[0], signal.SIGCONT)
        _expect_recovery(ingress)
        broker.kill(0)
        _expect_unavailable(ingress)
        assert ingress.call("GET", "/livez", port=ingress.health_port)[0] == 200
        broker.start_broker(0)
        _expect_recovery(ingress)
        assert ingress.metric('wapipe_webhook_requests_total{result="unavailable"}') >= 2
        events = [record.value["event_id"] for record in ingress.read("inbound-events")]
        assert len(set(events)) == 1
        assert ingress.stop() == 0
    finally:
        ingress.end()


def test_every_webhook_is_there_once_whatever_dies(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """SIGKILLs of ingress and broker: what is redelivered until it hears 200 is there, under one id each."""
    try:
        outcome = redelivered(broker, tmp_path, REDELIVERED, kills=1, outage_s=0.5)
    except Missing as exc:
        pytest.skip(f"the loader cannot be built: {exc}")
    assert outcome.said["taken"] == REDELIVERED
    assert (outcome.lost, outcome.invented, outcome.conflicting) == (0, [], 0)
    assert len(outcome.said["authentic"]) > 1, "something died while webhooks came"


def _expect_unavailable(ingress: Ingress) -> None:
    began_s = time.monotonic()
    code, _, headers = ingress.call("POST", "/webhook", GOOD, {"X-Hub-Signature-256": sign(GOOD, FIRST)})
    assert (code, headers["Retry-After"]) == (503, "5")
    assert time.monotonic() - began_s < WAIT_S / 4  # two seconds on a machine that has nothing else to do


def _expect_recovery(ingress: Ingress) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while ingress.post(GOOD) != 200:
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


def test_the_spool_survives_kafka_and_its_own_death(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """With Kafka away, webhooks are answered 200 from disk; a SIGKILL before they are written loses none of them."""
    config = write_config(tmp_path, broker.bootstrap, f"spool = true\n[storage]\ndata_dir = '{tmp_path}/data'\n")
    ingress = Ingress(config, tmp_path / "log")
    try:
        assert ingress.post(GOOD) == 200
        broker.kill(0)
        bodies = [cloud(statuses=[status(id=f"wamid.{index}")]) for index in range(SPOOLED)]
        assert [ingress.post(raw) for raw in bodies] == [200] * SPOOLED
        assert ingress.post(cloud(messages=[text("STOP")])) == 503, "a 200 would promise that senders can know of it"
        assert ingress.metric('wapipe_webhook_requests_total{result="spooled"}') == SPOOLED
    finally:
        ingress.end()
        broker.start_broker(0)
    again = Ingress(config, tmp_path / "log-again")
    try:
        wait_until(lambda: any(line["event"] == "spool_drained" for line in again.log_lines()), "the spool is drained")
        found = [record.value["message_id"] for record in again.read("inbound-events")]
        assert sorted(set(found)) == sorted({"wamid.1", "wamid.in1", *(f"wamid.{index}" for index in range(SPOOLED))})
        assert [record.value["action"] for record in again.read("consent-updates")] == ["revoke"]
        assert again.post(GOOD) == 200
        assert again.metric('wapipe_webhook_requests_total{result="ok"}') == 1, "the spool is out of use again"
        assert again.stop() == 0
    finally:
        again.end()


def test_without_kafka_the_start_ends_with_a_named_error(tmp_path: Path) -> None:
    """No broker within `kafka.startup_timeout_s`: the error of exit code 69, which names the setting."""
    secret = tmp_path / "one"
    secret.write_bytes(FIRST)
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": "127.0.0.1:1", "startup_timeout_s": 0.5, "client": {"log_level": 0}},
            "ingress": {"host": "127.0.0.1", "port": 0, "app_secret_files": [secret]},
            "http": {"port": 0},
        }
    )
    with pytest.raises(BrokerUnreachable, match=r"kafka\.bootstrap_servers"):
        run_ingress(settings)
