"""Connection properties for librdkafka clients and Faust, from one set of settings."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

from pipeline.config import KafkaSettings
from pipeline.errors import ConfigError
from pipeline.secrets import key_password_of, sasl_password_of
from pipeline.streams.client_log import CLIENT_LOG

LOG_LEVEL: Final = 3
"""Syslog's: errors. What librdkafka warns of beyond that, it mends by itself."""
TLS_FILES: Final = {
    "ssl.ca.location": "ssl_ca_file",
    "ssl.certificate.location": "ssl_cert_file",
    "ssl.key.location": "ssl_key_file",
}
"""Settings by the properties that they become."""
VERIFICATION: Final = ("ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification")
READER_GROUP: Final = "wapipe-reader-never-commits"
"""librdkafka has no consumer without a group; nobody joins this one."""

EVENTS_LINGER_MS = 50
"""How long events gather: they spread over many partitions, each a request of its own, and nothing waits for them."""
EVENTS_POLL_S = 0.01
"""How often their answers are collected."""


def librdkafka(kafka: KafkaSettings, **properties: Any) -> dict[str, Any]:
    """Properties of a librdkafka client: the connection, then `kafka.client`, then the caller's own.

    Raises:
        ConfigError: a password or a file with certificates cannot be read.
    """
    conf: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "log_level": LOG_LEVEL,
        "logger": CLIENT_LOG,
        "topic.metadata.refresh.interval.ms": 60_000,
    }
    if kafka.security_protocol.startswith("SASL"):
        conf["sasl.mechanism"] = kafka.sasl_mechanism
        conf["sasl.username"] = kafka.sasl_username
        conf["sasl.password"] = sasl_password_of(kafka)
    for name, key in TLS_FILES.items():
        path: Path | None = getattr(kafka, key)
        if path is not None:
            _check_readable(f"kafka.{key}", path)
            conf[name] = str(path)
    if (password := key_password_of(kafka)) is not None:
        conf["ssl.key.password"] = password
    return {**conf, **kafka.client, **properties}


def _check_readable(key: str, path: Path) -> None:
    # What the TLS library says of a file that is not there names neither the file nor the setting.
    try:
        with path.open("rb"):
            pass
    except OSError as exc:
        raise ConfigError(f"{key}: {path}: cannot be read ({exc.strerror}); name a PEM file") from exc


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
            "group.id": READER_GROUP,
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
    """TLS context for Faust, or None without TLS.

    Note:
        Of `kafka.client` it obeys the two properties that say what is verified, so that both libraries agree.

    Raises:
        ConfigError: a file cannot be read, or is not what its setting asks for.
    """
    if not kafka.security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=str(kafka.ssl_ca_file) if kafka.ssl_ca_file else None)
        if kafka.ssl_cert_file is not None:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(kafka.ssl_cert_file, kafka.ssl_key_file, key_password_of(kafka) or "")
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"kafka.ssl_*: {exc}; name PEM files: CA, client certificate and its key") from exc
    verification = {name: str(kafka.client.get(name, "")).lower() for name in VERIFICATION}
    if verification["ssl.endpoint.identification.algorithm"] == "none":
        context.check_hostname = False
    if verification["enable.ssl.certificate.verification"] == "false":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
