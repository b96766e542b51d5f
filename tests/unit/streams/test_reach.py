"""The first contact: a refusal ends it at once, anything else when the time is over, and each says what to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaSettings
from pipeline.errors import BrokerRefused, BrokerUnreachable, ConfigError
from pipeline.streams import reach as module
from pipeline.streams.client import librdkafka
from pipeline.streams.reach import Reach

AGE = " (after 5ms in state AUTH_REQ)"
DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
HELLO = "sasl_ssl://k:9093/bootstrap: "


class FakeClient:
    """A client that meets the same errors at every try."""

    def __init__(self, conf: dict[str, Any], errors: list[KafkaError], answers_at: int | None = None) -> None:
        self._heard: Callable[[KafkaError], None] = conf["error_cb"]
        self._errors, self._answers_at = errors, answers_at
        self.looks_s: list[float] = []

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> str:
        """Metadata, at the try that has some."""
        self.looks_s.append(timeout)
        if len(self.looks_s) == self._answers_at:
            return f"metadata of {topic}"
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def poll(self, timeout: float = -1) -> int:
        """Tell the errors."""
        assert timeout == 0
        for error in self._errors:
            self._heard(error)
        return len(self._errors)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that each reading moves by a quarter of a second."""
    now = [0.0]

    def read() -> float:
        now[0] += 0.25
        return now[0]

    monkeypatch.setattr(module, "steady_s", read)
    return now


def met(errors: list[KafkaError], timeout_s: float = 3, **kafka: Any) -> tuple[BrokerUnreachable, int]:
    """What a client ends with that meets these errors, and after how many tries."""
    reach = Reach(librdkafka(KafkaSettings(bootstrap_servers="k:9093", **kafka)))
    client = reach.make(lambda conf: FakeClient(conf, errors))
    with pytest.raises(BrokerUnreachable) as caught:
        reach.metadata(client, timeout_s)
    return caught.value, len(client.looks_s)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("code", "text", "named"),
    [
        (KafkaError._AUTHENTICATION, "SASL authentication error: invalid credentials", "kafka.sasl_username"),
        (KafkaError._AUTHENTICATION, "SASL PLAIN mechanism handshake failed: x", "kafka.sasl_mechanism"),
        (KafkaError._SSL, "SSL handshake failed: certificate verify failed: broker certificate …", "kafka.ssl_ca_file"),
        (KafkaError._TRANSPORT, "Receive failed: tls alert bad certificate: SSL alert 42", "kafka.ssl_cert_file"),
    ],
)
def test_a_refusal_ends_the_wait(code: int, text: str, named: str) -> None:
    """A broker that does not let us in is not asked again; the error names it and the setting, in one line."""
    error, tries = met([KafkaError(code, HELLO + text + AGE), DOWN])
    assert isinstance(error, BrokerRefused)
    assert tries == 1
    assert str(error).startswith("k:9093: ")
    assert named in str(error)
    assert "bootstrap: " not in str(error)
    assert "\n" not in str(error)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([], "(_TRANSPORT); check kafka.bootstrap_servers"),
        ([KafkaError(KafkaError._TRANSPORT, "k:9093/bootstrap: Connection refused" + AGE), DOWN],
         "(Connection refused); check kafka.bootstrap_servers"),
        ([DOWN], "closed without a word); kafka.security_protocol is PLAINTEXT"),
        ([KafkaError(KafkaError._TRANSPORT, HELLO + "Disconnected: connecting to a PLAINTEXT broker listener?"), DOWN],
         "listener?); kafka.security_protocol is PLAINTEXT"),
    ],
    ids=["silence", "refused connection", "TLS listener", "plaintext listener"],
)  # fmt: skip
def test_no_answer_is_waited_for(errors: list[KafkaError], said: str) -> None:
    """What may still come right is tried until the time is over; then the reason is told, and what to look at."""
    error, tries = met(errors)
    assert not isinstance(error, BrokerRefused)
    assert str(error).startswith("k:9093: no answer within 3 s ")
    assert said in str(error)
    assert tries > 1


@pytest.mark.usefixtures("clock")
def test_a_slow_broker_gets_its_answer_through() -> None:
    """Each try is longer than the one before, so that an answer that takes its time arrives."""
    reach = Reach(librdkafka(KafkaSettings()))
    client = reach.make(lambda conf: FakeClient(conf, [], answers_at=4))
    assert reach.metadata(client, 60, "t") == "metadata of t"
    assert client.looks_s == [0.25, 0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"ssl.ca.location": "/dev/null", "security.protocol": "SSL"}, "kafka.ssl_ca_file"),
        ({"no.such": 1}, "kafka.client"),
    ],
)
def test_a_property_that_cannot_be_is_a_setting(properties: dict[str, Any], named: str) -> None:
    """What librdkafka refuses to be made with is an error of the settings, by the setting's name."""
    with pytest.raises(ConfigError, match=rf"^{named}: "):
        Reach(librdkafka(KafkaSettings(), **properties)).make(AdminClient)
