"""Connection properties: one set of settings for librdkafka and Faust, secrets from files, safe defaults."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from pipeline.config import KafkaSettings
from pipeline.errors import ConfigError
from pipeline.streams import client


def kafka(**settings: Any) -> KafkaSettings:
    """Settings with some values of their own."""
    return KafkaSettings(**{"bootstrap_servers": "a:9092,b:9092", **settings})


def test_properties_are_layered() -> None:
    """The connection comes first, then the operator's properties, then what the caller insists on."""
    conf = client.librdkafka(kafka(client={"log_level": 6, "client.id": "ops"}), **{"client.id": "ours"})
    assert conf["bootstrap.servers"] == "a:9092,b:9092"
    assert conf["log_level"] == 6
    assert conf["client.id"] == "ours"


def test_sasl_and_tls_come_from_files(tmp_path: Path) -> None:
    """User, password and certificates reach librdkafka; the password is read from its file."""
    password, ca, cert, key = (tmp_path / name for name in ("password", "ca.pem", "cert.pem", "key.pem"))
    for path in (password, ca, cert, key):
        path.write_text("hush\n")
    conf = client.librdkafka(
        kafka(
            security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_username="wapipe",
            sasl_password_file=password, ssl_ca_file=ca, ssl_cert_file=cert, ssl_key_file=key,
            ssl_key_password_file=password,
        )
    )  # fmt: skip
    assert conf["security.protocol"] == "SASL_SSL"
    assert (conf["sasl.mechanism"], conf["sasl.username"], conf["sasl.password"]) == ("SCRAM-SHA-512", "wapipe", "hush")
    assert conf["ssl.ca.location"] == str(ca)
    assert conf["ssl.certificate.location"] == str(cert)
    assert (conf["ssl.key.location"], conf["ssl.key.password"]) == (str(key), "hush")


def test_password_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SASL password may be in the variable that the settings name; one that is not set is named."""
    settings = kafka(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u", sasl_password_env="KAFKA_PASSWORD",
    )  # fmt: skip
    monkeypatch.setenv("KAFKA_PASSWORD", "hush")
    assert client.librdkafka(settings)["sasl.password"] == "hush"
    monkeypatch.delenv("KAFKA_PASSWORD")
    with pytest.raises(ConfigError, match=r"^kafka\.sasl_password_env: .*KAFKA_PASSWORD is not set"):
        client.librdkafka(settings)


@pytest.mark.parametrize("key", ["ssl_ca_file", "ssl_cert_file", "ssl_key_file"])
def test_missing_certificate_is_named(tmp_path: Path, key: str) -> None:
    """A file of the TLS settings that is not there stops the start by its setting and path."""
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.write_text("")
    files = {"ssl_cert_file": there, "ssl_key_file": there, key: missing}
    with pytest.raises(ConfigError, match=rf"^kafka\.{key}: {missing}: cannot be read"):
        client.librdkafka(kafka(security_protocol="SSL", **files))


def test_missing_password_is_named(tmp_path: Path) -> None:
    """A password file that cannot be read stops the start by the setting's name."""
    settings = kafka(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", sasl_username="u",
        sasl_password_file=tmp_path / "none",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"^kafka\.sasl_password_file: "):
        client.librdkafka(settings)


def test_plaintext_needs_no_secret() -> None:
    """Without SASL nothing of it is set."""
    assert not [name for name in client.librdkafka(kafka()) if name.startswith(("sasl", "ssl"))]


@pytest.mark.parametrize("session_s", [6, 10, 60])
def test_producer_gives_up_before_its_partitions_are_given_away(session_s: float) -> None:
    """A record is stored before the group session ends, or never; everything else is safe by default."""
    conf = client.producer_conf(kafka(session_timeout_s=session_s))
    assert conf["message.timeout.ms"] < session_s * 1000
    assert conf["request.timeout.ms"] <= conf["message.timeout.ms"]
    assert conf["acks"] == "all"
    assert conf["enable.idempotence"] is True
    assert conf["partitioner"] == "murmur2_random"


def test_operator_cannot_switch_safety_off() -> None:
    """Properties in `kafka.client` never undo acks, idempotence or the partitioner."""
    conf = client.producer_conf(kafka(client={"acks": 0, "enable.idempotence": False, "partitioner": "random"}))
    assert (conf["acks"], conf["enable.idempotence"], conf["partitioner"]) == ("all", True, "murmur2_random")


def test_reader_never_commits() -> None:
    """A reader follows topics without leaving a trace in any group."""
    conf = client.reader_conf(kafka(), **{"fetch.wait.max.ms": 5})
    assert conf["enable.auto.commit"] is False
    assert conf["enable.auto.offset.store"] is False
    assert conf["fetch.wait.max.ms"] == 5


def test_faust_gets_the_same_brokers() -> None:
    """Faust's list has one URL per broker, without the blanks and commas people leave."""
    assert client.faust_broker(kafka(bootstrap_servers="a:9092, b:9093,")) == "kafka://a:9092;kafka://b:9093"


def test_tls_context_only_with_tls() -> None:
    """Faust gets a TLS context that verifies, and none without TLS."""
    assert client.ssl_context(kafka()) is None
    context = client.ssl_context(kafka(security_protocol="SSL"))
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_faust_has_the_certificate_and_the_key(tmp_path: Path) -> None:
    """Faust's context holds the client's certificate, its encrypted key read with the password; a wrong one is told."""
    authority = trustme.CA()
    certificate = authority.issue_cert("client.wapipe.test")
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    password, ca, cert, key_file = (tmp_path / name for name in ("password", "ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    certificate.cert_chain_pems[0].write_to_path(cert)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush")))
    settings = kafka(
        security_protocol="SSL", ssl_ca_file=ca, ssl_cert_file=cert, ssl_key_file=key_file,
        ssl_key_password_file=password,
    )  # fmt: skip
    password.write_text("hush")
    context = client.ssl_context(settings)
    assert context is not None
    assert len(context.get_ca_certs()) == 1
    password.write_text("wrong")
    with pytest.raises(ConfigError, match=r"^kafka\.ssl_"):
        client.ssl_context(settings)


def test_faust_verifies_what_librdkafka_verifies() -> None:
    """An operator who switches the check of the host's name off, or of all, does so for both libraries."""
    nameless = client.ssl_context(
        kafka(security_protocol="SSL", client={"ssl.endpoint.identification.algorithm": "none"})
    )
    blind = client.ssl_context(kafka(security_protocol="SSL", client={"enable.ssl.certificate.verification": False}))
    assert nameless is not None
    assert (nameless.check_hostname, nameless.verify_mode) == (False, ssl.CERT_REQUIRED)
    assert blind is not None
    assert (blind.check_hostname, blind.verify_mode) == (False, ssl.CERT_NONE)
