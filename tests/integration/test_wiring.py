"""What the chart and the Compose file declare, run as declared: commands, settings, mounts, probes, ports, names.

Nothing of a declaration is read by eye here: `tests/support/wiring.py` says what is mapped to this machine; whatever
cannot be mapped fails.
"""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from tests.support import chart, compose_workloads
from tests.support.api import Api
from tests.support.broker import wait_until
from tests.support.chart_workloads import Release
from tests.support.reading import read_all
from tests.support.stage import Stage
from tests.support.wiring import Wiring
from tests.support.workload import ROOT, image_of

NUMBER, PERSON = "200000000000001", "15550109999"
SECRET, VERIFY, CONSOLE_TOKEN = "app-secret-of-the-test", "verify-token-of-the-test", "console-token-of-the-test"
STATUS_TIMEOUT_S: Final = 60.0
IMAGE: Final = image_of((ROOT / "Dockerfile").read_text())


def _values(prefix: str) -> dict[str, Any]:
    """The chart's own values, with one number and the names of its Secrets: the least that README asks for."""
    return {
        "config": {
            "kafka": {"topic_prefix": prefix, "replication_factor": 1, "min_insync_replicas": 1},
            "numbers": {
                NUMBER: {
                    "business": "acme", "account": "300000000000001", "portfolio": "p1", "profile": "cloud",
                    "base_url": "https://graph.facebook.com/v24.0", "token_file": "/etc/wapipe/whatsapp/token",
                }
            },
            "ingress": {
                "app_secret_files": ["/etc/wapipe/webhooks/app-secret"],
                "verify_token_file": "/etc/wapipe/webhooks/verify-token",
            },
            "console": {"operator_token_file": "/etc/wapipe/console/operator"},
            "policy": {"require_templates": False},
        },
        "secrets": {"whatsapp": "tokens", "webhooks": "webhooks", "console": "console"},
        "console": {"enabled": True},
        "gate": {"replicas": 1},
        "ingress": {"replicas": 1, "route": {"enabled": True, "hosts": ["hooks.example.com"]}},
    }  # fmt: skip


def _message_goes_out_and_its_status_comes_back(wiring: Wiring, gate: str, kafka: str, inbound: str) -> None:
    """A grant, a request, `accepted`, then `delivered` through the ingress; by commands run in a gate's container."""
    grant = ("--category", "utility", "--method", "checkbox", "--source", "https://shop.example")
    granted = wiring.run_in(gate, "consent", "grant", PERSON, *grant)
    assert granted.returncode == 0, granted.stdout + granted.stderr
    message = ("--template", "order_shipped", "--lang", "en_US", "--param", "4711")
    sent = wiring.run_in(gate, "send", "--from", NUMBER, "--to", PERSON, "--category", "utility", *message, "--wait")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "accepted" in sent.stdout

    def is_delivered() -> bool:
        wiring.look()
        events = map(orjson.loads, read_all_values(kafka, inbound))
        return any((one["type"], one["status"]) == ("status", "delivered") for one in events)

    wait_until(is_delivered, "a status comes back through the ingress", STATUS_TIMEOUT_S)


def _page_opens(console: str) -> None:
    """A browser gets a page: it asks for a login, as everybody comes from outside."""
    with urllib.request.urlopen(f"http://{console}/", timeout=30) as page:
        assert page.headers.get_content_type() == "text/html"
        assert b"password" in page.read()


def read_all_values(kafka: str, topic: str) -> list[bytes]:
    """Everything that a topic holds now."""
    return [record.value for record in read_all(kafka, topic) if record.value is not None]


def test_the_chart_runs_as_rendered(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Job, pods and Services of a release: topics made, probes good, a message out, its status back, all drained."""
    stage = Stage(tmp_path)
    try:
        secret = tmp_path / "secret-of-the-api"
        secret.write_text(SECRET)
        api = stage.start_simulator(["--webhook-secret-file", str(secret), "--latency-ms", "20"])
        release = Release(
            list(chart.objects_of(chart.rendered(_values(topic_prefix)))),
            {
                "tokens": {"token": "any"},
                "webhooks": {"app-secret": SECRET, "verify-token": VERIFY},
                "console": {"operator": CONSOLE_TOKEN},
            },
        )
        outside = {"kafka-bootstrap:9092": kafka, "https://graph.facebook.com": api.url}
        with Wiring(tmp_path, IMAGE, release.workloads(), release.services(), outside) as wiring:
            wiring.up()
            [(path, service)] = release.routes().items()
            webhook = f"http://{wiring.address(service)}{path}"
            asked = f"hub.mode=subscribe&hub.challenge=71&hub.verify_token={VERIFY}"
            with urllib.request.urlopen(f"{webhook}?{asked}", timeout=10) as answer:
                assert answer.read() == b"71"
            api.control(settings={"webhook_url": webhook})
            _message_goes_out_and_its_status_comes_back(
                wiring, "wa-wapipe-gate-0", kafka, f"{topic_prefix}inbound-events"
            )
            assert len(api.messages()) == 1
            _page_opens(wiring.address("wa-wapipe-console:80"))
            wiring.down()
    finally:
        stage.end()


def test_compose_runs_as_written(kafka: str, tmp_path: Path) -> None:
    """`docker compose up`: everything starts in its order and becomes healthy; a message out, its status back."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    workloads = compose_workloads.workloads_of(document, given={"kafka"})
    services = compose_workloads.services_of(document, workloads)
    assert "INSIDE://kafka:9092" in document["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    with Wiring(tmp_path, IMAGE, workloads, services, {"kafka:9092": kafka}) as wiring:
        wiring.up()
        _message_goes_out_and_its_status_comes_back(wiring, "gate", kafka, "inbound-events")
        assert len(Api(f"http://{wiring.published('simulator', 8085)}").messages()) == 1
        _page_opens(wiring.published("console", 8090))
        wiring.down()
