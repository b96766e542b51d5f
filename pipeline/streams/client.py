"""Connection properties for librdkafka clients and Faust, from one set of settings."""

from __future__ import annotations

import ssl
from typing import Any

from pipeline.config import KafkaSettings
from pipeline.secrets import read_secret_file

EVENTS_LINGER_MS = 50
"""How long events gather: they spread over many partitions, each a request of its own, and nothing waits for them."""
EVENTS_POLL_S = 0.01
"""How often their answers are collected."""


def librdkafka(kafka: KafkaSettings, **properties: Any) -> dict[str, Any]:
    """Properties of a librdkafka client: the connection, then `kafka.client`, then the caller's own.

    Raises:
        ConfigError: the SASL password file cannot be read.
    """
    conf: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "log_level": 3,
        "topic.metadata.refresh.interval.ms": 60_000,
    }
    if kafka.security_protocol.startswith("SASL"):
        conf["sasl.mechanism"] = kafka.sasl_mechanism
        conf["sasl.username"] = kafka.sasl_username
        if kafka.sasl_password_file is not None:
            conf["sasl.password"] = read_secret_file("kafka.sasl_password_file", kafka.sasl_password_file)
    for name, path in (
        ("ssl.ca.location", kafka.ssl_ca_file),
        ("ssl.certificate.location", kafka.ssl_cert_file),
        ("ssl.key.location", kafka.ssl_key_file),
    ):
        if path is not None:
            conf[name] = str(path)
    return {**conf, **kafka.client, **properties}


def producer_conf(kafka: KafkaSettings, **properties: Any) -> dict[str, Any]:
    """Properties of every producer: idempotent, all replicas, Java's partitioner, and an end to every wait.

    `message.timeout.ms` stays below the group session, so that a frozen process cannot write after its partitions
    were given away. One request at a time: a broker works off those of a connection one by one in any case, and what
    comes meanwhile gathers in the next one; so requests grow with the load, and an idle pipeline waits for nothing.
    """
    timeout_ms = int(kafka.session_timeout_s * 1000) - 1000
    return librdkafka(
        kafka,
        **{
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 0.5,
            "max.in.flight.requests.per.connection": 1,
            "message.timeout.ms": timeout_ms,
            "request.timeout.ms": min(5000, timeout_ms),
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 262_144,
            "message.max.bytes": 6 * 1024 * 1024,
            **properties,
        },
    )


def reader_conf(kafka: KafkaSettings, **properties: Any) -> dict[str, Any]:
    """Properties of a consumer that is given its partitions by hand and never commits."""
    return librdkafka(
        kafka,
        **{
            "group.id": "wapipe-reader-never-commits",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            "queued.max.messages.kbytes": 32_768,
            **properties,
        },
    )


def faust_broker(kafka: KafkaSettings) -> str:
    """The broker URL list that Faust wants."""
    return ";".join(f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",") if server.strip())


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """TLS context for Faust, or None without TLS."""
    if not kafka.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=str(kafka.ssl_ca_file) if kafka.ssl_ca_file else None)
    if kafka.ssl_cert_file is not None:
        context.load_cert_chain(str(kafka.ssl_cert_file), str(kafka.ssl_key_file) if kafka.ssl_key_file else None)
    return context
