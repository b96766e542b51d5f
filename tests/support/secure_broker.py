"""A broker that asks who is there: SASL_SSL with SCRAM users, and SSL that wants a client certificate (mTLS).

Its PLAINTEXT listener stays, for what only prepares or judges a test. Certificates are made anew for each folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import trustme
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pipeline.embedded.broker import EmbeddedKafka
from pipeline.embedded.layout import HOST, ClusterPlan, choose_ports, new_cluster_id, plan_to_json, server_properties

USER: Final = "wapipe"
PASSWORD: Final = "correct-horse-battery"
SCRAM: Final = "SCRAM-SHA-512"
ADMIN_TIMEOUT_S: Final = 30.0
_SHOWN_POLL_S: Final = 0.05
_OPERATIONS: Final = {operation.name.replace("_", "").lower(): operation for operation in AclOperation}


@dataclass(frozen=True)
class SecureBroker:
    """A running broker and what its clients need.

    Attributes:
        plaintext: `bootstrap.servers` of the listener that asks nothing.
        sasl_ssl: That of the listener with TLS and SCRAM-SHA-512.
        ssl: That of the listener that wants a client certificate.
        ca_file: The CA of its certificates.
        foreign_ca_file: A CA that signed nothing here.
        cert_file: Certificate of a client.
        key_file: Its key.
    """

    kafka: EmbeddedKafka
    plaintext: str
    sasl_ssl: str
    ssl: str
    ca_file: Path
    foreign_ca_file: Path
    cert_file: Path
    key_file: Path

    def sasl(self, password_file: Path, **changed: Any) -> dict[str, Any]:
        """Settings of `[kafka]` for SASL_SSL, some of them changed."""
        return {
            "bootstrap_servers": self.sasl_ssl, "security_protocol": "SASL_SSL", "sasl_mechanism": SCRAM,
            "sasl_username": USER, "sasl_password_file": str(password_file), "ssl_ca_file": str(self.ca_file),
            **changed,
        }  # fmt: skip

    def mtls(self, **changed: Any) -> dict[str, Any]:
        """Settings of `[kafka]` for SSL with a client certificate, some of them changed."""
        return {
            "bootstrap_servers": self.ssl, "security_protocol": "SSL", "ssl_ca_file": str(self.ca_file),
            "ssl_cert_file": str(self.cert_file), "ssl_key_file": str(self.key_file), **changed,
        }  # fmt: skip

    def set_password(self, user: str, password: str | None) -> None:
        """Make a SCRAM user, change its password, or (None) take it away; wait until the broker knows."""
        admin = AdminClient({"bootstrap.servers": self.plaintext, "log_level": 0})
        mechanism = ScramMechanism.SCRAM_SHA_512
        change: Any
        if password is None:
            change = UserScramCredentialDeletion(user, mechanism)
        else:
            change = UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
        admin.alter_user_scram_credentials([change])[user].result(ADMIN_TIMEOUT_S)
        give_up_at = time.monotonic() + ADMIN_TIMEOUT_S
        while _is_known(admin, user) != (password is not None):
            assert time.monotonic() < give_up_at, f"{user}: the broker does not show its credential"
            time.sleep(_SHOWN_POLL_S)

    def allow(self, lines: Iterable[str]) -> None:
        """Add ACLs, given as arguments of Kafka's own tool, as `wapipe topics acls` prints them."""
        bindings: list[AclBinding] = []
        for words in map(str.split, lines):
            options = list(pairwise(words))
            principal = next(value for name, value in options if name == "--allow-principal")
            kind, resource = next((name, value) for name, value in options if name in {"--topic", "--group"})
            bindings += [
                AclBinding(
                    ResourceType.TOPIC if kind == "--topic" else ResourceType.GROUP, resource,
                    ResourcePatternType.LITERAL, principal, "*", _OPERATIONS[value.lower()], AclPermissionType.ALLOW,
                )
                for name, value in options
                if name == "--operation"
            ]  # fmt: skip
        admin = AdminClient({"bootstrap.servers": self.plaintext, "log_level": 0})
        for future in admin.create_acls(bindings).values():
            future.result(ADMIN_TIMEOUT_S)


def _is_known(admin: AdminClient, user: str) -> bool:
    try:
        return bool(admin.describe_user_scram_credentials([user])[user].result(ADMIN_TIMEOUT_S).scram_credential_infos)
    except KafkaException:
        return False


@contextmanager
def secure_broker(folder: Path) -> Iterator[SecureBroker]:
    """Run such a broker for the time of a `with` block, with one user: `USER`, `PASSWORD`."""
    authority, foreign = trustme.CA(), trustme.CA()
    ca_file, foreign_ca_file = folder / "ca.pem", folder / "foreign-ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    foreign.cert_pem.write_to_path(foreign_ca_file)
    own, theirs = authority.issue_cert(HOST, "localhost"), authority.issue_cert("client.wapipe.test")
    keystore, cert_file, key_file = folder / "broker.pem", folder / "client.pem", folder / "client.key"
    keystore.write_bytes(_pkcs8(own) + b"".join(blob.bytes() for blob in own.cert_chain_pems))
    cert_file.write_bytes(b"".join(blob.bytes() for blob in theirs.cert_chain_pems))
    key_file.write_bytes(_pkcs8(theirs))
    properties = {
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(ca_file),
        "sasl.enabled.mechanisms": SCRAM,
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config":
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        "listener.name.ssl.ssl.client.auth": "required",
        # Who came without a login prepares and judges; everybody else may do what an ACL says.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{USER}",
        "listener.name.ssl.ssl.principal.mapping.rules": f"RULE:^.*$/{USER}/",
    }  # fmt: skip
    # The second pair of ports is for the listeners that the embedded broker does not have by itself.
    ours, (further,) = (ports := choose_ports(2))[:1], ports[1:]
    plan = ClusterPlan(new_cluster_id(), ours)
    (folder / "broker.json").write_text(plan_to_json(plan))
    for name in ("listeners", "advertised.listeners"):
        plain = server_properties(plan, 0, folder, {})[name]
        properties[name] = f"{plain},SASL_SSL://{HOST}:{further.client},SSL://{HOST}:{further.controller}"
    properties["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL"
    with EmbeddedKafka(folder, properties=properties) as kafka:
        broker = SecureBroker(
            kafka, kafka.bootstrap, f"{HOST}:{further.client}", f"{HOST}:{further.controller}",
            ca_file, foreign_ca_file, cert_file, key_file,
        )  # fmt: skip
        broker.set_password(USER, PASSWORD)
        yield broker


def _pkcs8(certificate: trustme.LeafCert) -> bytes:
    """The key in the only form that Kafka reads from PEM."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
