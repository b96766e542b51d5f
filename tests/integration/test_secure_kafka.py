"""Kafka with TLS, passwords and ACLs: each role as its own user over SASL_SSL, a sender by mTLS; what is refused is
told, and ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.config import KafkaSettings, Settings
from pipeline.errors import EXIT_NO_BROKER, BrokerRefused, BrokerUnreachable, ConfigError
from pipeline.operations.acts import Outgoing
from pipeline.operations.writing import write_one
from pipeline.streams.client import producer_conf
from pipeline.streams.delivery import Delivery
from pipeline.streams.topics import read_broker
from tests.support.broker import create_topics
from tests.support.secure_broker import PASSWORD, SecureBroker, secure_broker
from tests.support.stage import WAPIPE, Stage
from tests.support.world import NUMBER, World, table

PERSON = "15550109999"
GRANT = ("--category", "utility", "--method", "checkbox", "--source", "https://shop.example", "--text", "Send me news")
WAIT_S = 60.0
TEMPLATE = ("--template", "order_shipped", "--lang", "en_US", "--param", "4711")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """A broker with one user."""
    with secure_broker(tmp_path_factory.mktemp("secure")) as running:
        yield running


@pytest.fixture(scope="module")
def password_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with that user's password."""
    path = tmp_path_factory.mktemp("secret") / "password"
    path.write_text(PASSWORD + "\n")
    return path


def sent(world: World) -> list[dict[str, Any]]:
    """Let a person opt in, send them one message, and follow it to its end; its events."""
    world.wapipe("consent", "grant", PERSON, "--business", "acme", *GRANT)
    lines = world.wapipe(
        "send", "--from", NUMBER, "--to", PERSON, "--category", "utility", *TEMPLATE, "--wait", "--json"
    ).splitlines()
    return [json.loads(line) for line in lines]


def test_everything_works_over_sasl_ssl(broker: SecureBroker, password_file: Path, tmp_path: Path) -> None:
    """With TLS, SCRAM and what `topics acls` says allowed, all roles and commands work; by mTLS a sender joins."""
    with World(
        broker.plaintext, tmp_path, numbers={NUMBER: {"profile": "cloud"}}, settings="[console]\nport = 0\n",
        webhooks=True, partitions=2, kafka=broker.sasl(password_file),
    ) as world:  # fmt: skip  # its first ingress may do everything
        for role in ("gate", "sender", "console", "operator"):
            broker.set_password(role, PASSWORD)
            broker.allow(world.wapipe("topics", "acls", "--role", role).splitlines())
        for role in ("gate", "sender", "console"):
            world.log_in(broker.sasl(password_file, sasl_username=role))
            world.spawn(role)
            world.ready(role)
        world.log_in(broker.sasl(password_file, sasl_username="operator"))
        assert world.wapipe("topics", "check").startswith("in order")
        assert sent(world)[-1]["what"] == "accepted"
        rows = json.loads(world.attempt("doctor", "--json").stdout)
        assert {row["check"] for row in rows if row["status"] == "ok"} >= {"kafka", "topics", "gates", "senders"}
        broker.set_password("ingress", PASSWORD)
        broker.allow(world.wapipe("topics", "acls", "--role", "ingress").splitlines())
        world.log_in(broker.sasl(password_file, sasl_username="ingress"))
        world.spawn("ingress", "ingress-by-acl")
        world.ready("ingress-by-acl")
        heard = world.heard("ingress-by-acl")
        assert heard is not None
        world.log_in(broker.sasl(password_file, sasl_username="operator"))
        world.wapipe("webhooks", "check", NUMBER, "--port", str(heard["port"]))
        world.log_in(broker.mtls())
        world.spawn("sender", "sender-by-certificate")
        world.ready("sender-by-certificate")
        said = "".join(path.read_text() for path in tmp_path.glob("*.log"))
        assert PASSWORD not in said
        assert "AUTHORIZATION" not in said.upper()


def changed(broker: SecureBroker, password_file: Path, name: str) -> dict[str, Any]:
    """Settings of `[kafka]` that Kafka does not let in, by what is wrong with them."""
    wrong_password = password_file.with_name("wrong")
    wrong_password.write_text("not-" + PASSWORD)
    return {
        "wrong password": broker.sasl(wrong_password),
        "unknown user": broker.sasl(password_file, sasl_username="nobody"),
        "other mechanism": broker.sasl(password_file, sasl_mechanism="PLAIN"),
        "wrong CA": broker.sasl(password_file, ssl_ca_file=str(broker.foreign_ca_file)),
        "no client certificate": broker.mtls(ssl_cert_file=None, ssl_key_file=None),
        "plaintext against TLS": {"bootstrap_servers": broker.sasl_ssl},
        "TLS against plaintext": broker.sasl(password_file, bootstrap_servers=broker.plaintext),
        "no password file": broker.sasl(password_file.with_name("none")),
        "no CA file": broker.sasl(password_file, ssl_ca_file=str(password_file.with_name("none"))),
        "key of another certificate": broker.mtls(ssl_cert_file=str(broker.ca_file)),
    }[name]


@pytest.mark.parametrize(
    ("name", "error", "named"),
    [
        ("wrong password", BrokerRefused, "kafka.sasl_password_file"),
        ("unknown user", BrokerRefused, "user 'nobody'"),
        ("other mechanism", BrokerRefused, "supported mechanisms: SCRAM-SHA-512"),
        ("wrong CA", BrokerRefused, "foreign-ca.pem) must hold the CA"),
        ("no client certificate", BrokerRefused, "kafka.ssl_cert_file (not set)"),
        ("plaintext against TLS", BrokerUnreachable, "kafka.security_protocol is PLAINTEXT"),
        ("TLS against plaintext", BrokerUnreachable, "kafka.security_protocol is SASL_SSL"),
        ("no password file", ConfigError, "kafka.sasl_password_file: "),
        ("no CA file", ConfigError, "kafka.ssl_ca_file: "),
        ("key of another certificate", ConfigError, "kafka.ssl_key_file: "),
    ],
)
def test_what_is_wrong_is_named(
    broker: SecureBroker, password_file: Path, name: str, error: type[Exception], named: str
) -> None:
    """Each mistake in login and certificates is one line with the address or file, the setting and the remedy."""
    settings = Settings(kafka=KafkaSettings(**changed(broker, password_file, name)))
    is_waited_for = error is BrokerUnreachable
    with pytest.raises(error) as caught:
        read_broker(settings, 2.0 if is_waited_for else WAIT_S)
    assert type(caught.value) is error
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


STRANGER = "stranger"
"""A user whom no ACL allows anything."""


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("nobody", "Kafka refused user 'nobody' "),
        (STRANGER, "Kafka does not allow stranger what the role {role} needs: Describe, DescribeConfigs"),
    ],
)
def test_roles_end_when_refused(
    broker: SecureBroker, password_file: Path, tmp_path: Path, user: str, told: str
) -> None:
    """Every role ends by itself with 69 and one line, not with librdkafka's, nor after a minute."""
    broker.set_password(STRANGER, PASSWORD)
    (secret := tmp_path / "secret").write_text("s3cret")
    config = tmp_path / "wapipe.toml"
    number = {"business": "acme", "profile": "v1", "base_url": "http://127.0.0.1:1", "token_file": str(secret)}
    door = {"host": "127.0.0.1", "port": 0, "app_secret_files": [str(secret)]}
    tables = {"kafka": broker.sasl(password_file, sasl_username=user), f"numbers.{NUMBER}": number, "ingress": door}
    config.write_text("\n".join(table(name, fields) for name, fields in tables.items()))
    stage = Stage(tmp_path)
    argv = [*WAPIPE, "--config", str(config)]
    running = {
        role: subprocess.Popen([*argv, role], stderr=subprocess.PIPE, text=True, env=stage.environment(role))
        for role in ("gate", "sender", "ingress", "console")
    }
    try:
        ends = {role: (process.communicate(timeout=WAIT_S)[1], process.returncode) for role, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    for role, (text, code) in ends.items():
        *logged, last = text.splitlines()
        assert code == EXIT_NO_BROKER, (role, text)
        assert last.startswith(f"error: {broker.sasl_ssl}: {told.format(role=role)}")
        assert len([line for line in logged if "kafka_client" in line]) <= 1
        assert not [line for line in logged if not line.startswith("{")], "lines of librdkafka's own"


async def test_a_producer_that_can_never_write_says_so(broker: SecureBroker, password_file: Path) -> None:
    """After a fatal error what was on its way fails with it, what comes later at once, and its owner is told, once."""
    user, topic = "reader", "read-only"
    broker.set_password(user, PASSWORD)
    create_topics(broker.plaintext, {topic: 1})
    broker.allow([f"--add --allow-principal User:{user} --operation Read --topic {topic}"])
    kafka = KafkaSettings(**broker.sasl(password_file, sasl_username=user), client={"log_level": 0})
    told: list[KafkaException] = []
    delivery = Delivery(producer_conf(kafka), asyncio.get_running_loop(), on_fatal=told.append)
    try:
        sends = [delivery.send(topic, b"{}") for _ in range(3)]
        results = await asyncio.wait_for(asyncio.gather(*sends, return_exceptions=True), WAIT_S)
        denied = KafkaError.CLUSTER_AUTHORIZATION_FAILED
        assert [isinstance(end, KafkaException) and end.args[0].code() for end in results] == [denied] * 3
        assert len(delivery) == 0
        with pytest.raises(KafkaException):
            await delivery.send(topic, b"{}")
    finally:
        assert await delivery.close() == 0
    assert [error.args[0].fatal() for error in told] == [True]


def test_a_command_that_is_not_allowed_says_so(broker: SecureBroker, password_file: Path) -> None:
    """What an ACL keeps a command from doing is named, with the way to allow it."""
    broker.set_password(STRANGER, PASSWORD)
    settings = Settings(kafka=KafkaSettings(**broker.sasl(password_file, sasl_username=STRANGER)))
    with pytest.raises(BrokerRefused, match=r"authorization failed; `wapipe topics acls --role ROLE` prints"):
        write_one(settings, Outgoing("account-state", "nobody", None, []))
