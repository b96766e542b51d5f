"""The first contact with Kafka: an answer, or the one reason why there is none, in words that say what to change.

librdkafka tries again for ever and keeps its reasons to itself; here they are collected while it tries. A broker that
answers with a refusal ends the wait at once, anything else may still come right until the time is over. Blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException

from pipeline.clock import steady_s
from pipeline.config.kafka import SETTINGS_OF_PROPERTIES
from pipeline.errors import BrokerRefused, BrokerUnreachable, ConfigError
from pipeline.streams.client_log import shortened

FIRST_LOOK_S: Final = 0.25
"""How long the first try lasts; each further one twice as long, so that a slow broker gets its answer through."""
_OUR_CERTIFICATE: Final = ("bad certificate", "certificate required", "unknown ca", "certificate unknown")
_OTHER_PROTOCOL: Final = (
    "connecting to a PLAINTEXT broker listener?",
    "incorrect security.protocol",
    "wrong version",
    "SSL connection closed by peer",
)
"""What librdkafka calls the same mistake, by how far the handshake came before the connection was closed."""
DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
"""Kafka's answers to what its ACLs do not allow."""
_GRANT: Final = "`wapipe topics acls --role ROLE` prints what to allow; commands need what it says for `operator`"


class Client(Protocol):
    """What consumers, producers and admin clients share."""

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """Ask for metadata."""

    def poll(self, timeout: float = -1) -> Any:
        """Serve callbacks."""


AnyClient = TypeVar("AnyClient", bound=Client)


class Reach:
    """One client's way to Kafka.

    Args:
        conf: librdkafka properties, as `librdkafka`, `producer_conf` or `reader_conf` make them.
    """

    def __init__(self, conf: dict[str, Any]) -> None:
        self._conf = {"error_cb": self._heard, **conf}
        self._refusal: str | None = None
        self._trouble: str | None = None
        self._is_down = False

    def make(self, kind: Callable[[dict[str, Any]], AnyClient]) -> AnyClient:
        """Make the client.

        Raises:
            ConfigError: librdkafka does not take a property; names the setting that it comes from.
        """
        try:
            return kind(self._conf)
        except KafkaException as exc:
            reason = exc.args[0].str()
            settings = {**SETTINGS_OF_PROPERTIES, "ssl.key.password": "ssl_key_password_file"}
            key = next((own for name, own in settings.items() if name in reason), "client")
            raise ConfigError(f"kafka.{key}: {reason}; correct it, see `wapipe config docs`") from exc

    def metadata(self, client: AnyClient, timeout_s: float, topic: str | None = None) -> Any:
        """Ask until a broker answers.

        Args:
            client: As `make` made it.
            topic: Of this topic only; None: of all.

        Raises:
            BrokerRefused: a broker does not let us in, or its certificate is not to be trusted.
            BrokerUnreachable: no broker answered in time.
        """
        give_up_s, look_s = steady_s() + timeout_s, FIRST_LOOK_S
        while True:
            left_s = give_up_s - steady_s()
            try:
                return client.list_topics(topic, max(0.0, min(look_s, left_s)))
            except KafkaException as exc:
                client.poll(0)
                if self._refusal is not None or left_s <= look_s:
                    raise self.failure(exc, timeout_s) from exc
            look_s *= 2

    def failure(self, error: KafkaException, timeout_s: float) -> BrokerUnreachable:
        """The error that tells where Kafka was looked for, why it did not answer, and what to do."""
        where = self._conf["bootstrap.servers"]
        if self._refusal is not None:
            return BrokerRefused(f"{where}: {self._refusal}")
        if (denied := denial(where, error)) is not None:
            return denied
        protocol = self._conf["security.protocol"]
        remedy = "check kafka.bootstrap_servers, or start a broker with `wapipe broker`"
        why = self._trouble or error.args[0].name()
        if (self._trouble is None and self._is_down) or any(sign in why for sign in _OTHER_PROTOCOL):
            # A TLS listener closes the connection of a client that speaks in clear, without a word.
            why = self._trouble or "connections are closed without a word"
            remedy = f"kafka.security_protocol is {protocol}: does this listener speak another one?"
        return BrokerUnreachable(f"{where}: no answer within {timeout_s:.0f} s ({why}); {remedy}")

    def _heard(self, error: KafkaError) -> None:
        """Take what librdkafka met; called while the client is polled."""
        code, text = error.code(), shortened(error.str()).rpartition("/bootstrap: ")[2]
        if code == KafkaError._ALL_BROKERS_DOWN:
            self._is_down = True
        elif (refusal := _refusal(self._conf, code, text)) is not None:
            self._refusal = refusal
        else:
            self._trouble = text


def denial(where: str, error: KafkaException) -> BrokerRefused | None:
    """What an ACL does not allow, and what to do; None: it is something else.

    Args:
        where: `bootstrap.servers`.
    """
    reason = error.args[0]
    if not isinstance(reason, KafkaError) or reason.code() not in DENIED:
        return None
    return BrokerRefused(f"{where}: {reason.str()}; {_GRANT}")


def _refusal(conf: dict[str, Any], code: int, text: str) -> str | None:
    """What a broker's refusal means, and what to do; None: it is no refusal."""
    if code == KafkaError._AUTHENTICATION:
        mechanism, user = conf.get("sasl.mechanism"), conf.get("sasl.username")
        if "mechanism handshake failed" in text or "Unsupported SASL mechanism" in text:
            return f"Kafka does not take {mechanism} ({text}); set kafka.sasl_mechanism to what it supports"
        return (
            f"Kafka refused user {user!r} ({text}); check kafka.sasl_username and the password that"
            " kafka.sasl_password_file (or _env) names, and that the brokers know this user"
        )
    if "certificate verify failed" in text:
        trusted, reason = conf.get("ssl.ca.location", "those of the system"), text.partition(": broker certificate")[0]
        return (
            f"its certificate cannot be verified ({reason}); kafka.ssl_ca_file ({trusted}) must hold the CA that signed"
            " it, and it must name the host that is connected to"
        )
    if any(sign in text for sign in _OUR_CERTIFICATE):
        ours = conf.get("ssl.certificate.location", "not set")
        return (
            f"Kafka wants a client certificate that it trusts ({text}); check kafka.ssl_cert_file ({ours})"
            " and kafka.ssl_key_file"
        )
    return None
