"""The table `[kafka]`: how to reach Kafka, and what topics are made like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section

SECRET_CLIENT_PROPERTIES: Final = {
    "sasl.password": "sasl_password_file",
    "ssl.key.password": "ssl_key_password_file",
    "ssl.key.pem": "ssl_key_file",
    "ssl.keystore.password": "ssl_key_file",
    "sasl.oauthbearer.client.secret": "sasl_password_file",
}
"""Properties of librdkafka that hold a secret, and the setting to use instead."""
SETTINGS_OF_PROPERTIES: Final = {
    "bootstrap.servers": "bootstrap_servers",
    "metadata.broker.list": "bootstrap_servers",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_username",
    "ssl.ca.location": "ssl_ca_file",
    "ssl.certificate.location": "ssl_cert_file",
    "ssl.key.location": "ssl_key_file",
}
"""Properties that have a setting of their own: Faust would not hear of what `client` says."""
SASL_ONLY: Final = ("sasl_mechanism", "sasl_username", "sasl_password_file", "sasl_password_env")
TLS_ONLY: Final = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file", "ssl_key_password_file", "ssl_key_password_env")


class KafkaSettings(Section):
    """How to reach Kafka, and what topics are made like."""

    bootstrap_servers: str = Field("127.0.0.1:9092", min_length=1, description="Brokers, `host:port`, comma separated.")
    topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="Goes before every topic's name.")
    recipient_partitions: int = Field(12, ge=1, le=10_000, description="Partitions of recipient topics when created.")
    replication_factor: int = Field(1, ge=1, le=10, description="Copies of each partition when created.")
    min_insync_replicas: int = Field(1, ge=1, le=10, description="Copies that must have a record before it counts.")
    startup_timeout_s: float = Field(60, gt=0, description="How long a role waits for Kafka when it starts.")
    session_timeout_s: float = Field(10, ge=6, le=60, description="Group session of gate and sender; heartbeat 1 s.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="For librdkafka and Faust alike."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(None, description="With SASL_*.")
    sasl_username: str | None = Field(None, min_length=1, description="With SASL_*.")
    sasl_password_file: Path | None = Field(None, description="File that holds the SASL password.")
    sasl_password_env: str | None = Field(None, description="Environment variable that holds it.")
    ssl_ca_file: Path | None = Field(None, description="CA certificates, PEM; omitted: those of the system.")
    ssl_cert_file: Path | None = Field(None, description="Client certificate (mTLS), PEM.")
    ssl_key_file: Path | None = Field(None, description="Its key, PEM.")
    ssl_key_password_file: Path | None = Field(None, description="File with the password that the key is encrypted by.")
    ssl_key_password_env: str | None = Field(None, description="Environment variable that holds it.")
    client: dict[str, str | int | float | bool] = Field({}, description="Any further librdkafka property, verbatim.")
    retention_h: dict[str, Annotated[float, Field(gt=0)]] = Field({}, description="Retention per topic, in hours.")

    @field_validator("client")
    @classmethod
    def _only_further_properties(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in SECRET_CLIENT_PROPERTIES:
                raise ValueError(f"{name} is a secret; use {SECRET_CLIENT_PROPERTIES[name]} instead")
            if name in SETTINGS_OF_PROPERTIES:
                raise ValueError(f"{name}: use {SETTINGS_OF_PROPERTIES[name]} instead, which Faust hears of, too")
        # Whole numbers may come as floats (Helm writes them so), which librdkafka does not read.
        return {name: int(one) if isinstance(one, float) and one.is_integer() else one for name, one in value.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(f"min_insync_replicas must be at most replication_factor ({self.replication_factor})")
        return self

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        protocol = self.security_protocol
        if protocol.startswith("SASL"):
            for name in ("sasl_mechanism", "sasl_username"):
                if getattr(self, name) is None:
                    raise ValueError(f"{name} is required with security_protocol {protocol}")
            if (self.sasl_password_file is None) == (self.sasl_password_env is None):
                raise ValueError(
                    f"security_protocol {protocol} needs sasl_password_file or sasl_password_env; name one of them"
                )
        if (self.ssl_cert_file is None) != (self.ssl_key_file is None):
            raise ValueError("ssl_cert_file and ssl_key_file go together; set both or none")
        if self.ssl_key_password_file is not None and self.ssl_key_password_env is not None:
            raise ValueError("name either ssl_key_password_file or ssl_key_password_env")
        return self

    @model_validator(mode="after")
    def _nothing_unused(self) -> Self:
        """Whoever names a user or a CA does not mean to talk without them."""
        for names, is_used, wanted in (
            (SASL_ONLY, self.security_protocol.startswith("SASL"), "SASL_SSL"),
            (TLS_ONLY, self.security_protocol.endswith("SSL"), "SSL or SASL_SSL"),
        ):
            for name in names:
                if getattr(self, name) is not None and not is_used:
                    raise ValueError(
                        f"{name} is set, but security_protocol {self.security_protocol} does not use it;"
                        f" set security_protocol to {wanted}"
                    )
        return self
