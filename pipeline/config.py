"""Settings: one TOML file, every key also as an environment variable; a wrong one stops the start by name.

Nothing here reads a secret: settings name the files or variables that hold them, `pipeline/secrets.py` reads those.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from pipeline.errors import ConfigError

ENV_PREFIX = "WAPIPE_"
ENV_CONFIG = "WAPIPE_CONFIG"
MAX_LANE_PARTITION = 9_999
SECRET_KEYS = frozenset(
    {
        "token",
        "password",
        "sasl_password",
        "ssl_key_password",
        "app_secret",
        "app_secrets",
        "verify_token",
        "path_token",
    }
)
SECRET_CLIENT_PROPERTIES = frozenset(
    {
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "ssl.keystore.password",
    }
)

Category = Literal["marketing", "utility", "authentication", "service"]
ProfileName = Literal["cloud", "360dialog", "v1"]
OnUnknown = Literal["resend", "dead-letter"]
CATEGORIES: tuple[Category, ...] = ("marketing", "utility", "authentication", "service")


class Section(BaseModel):
    """A closed table of settings: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    sasl_username: str | None = Field(None, description="With SASL_*.")
    sasl_password_file: Path | None = Field(None, description="File that holds the SASL password.")
    ssl_ca_file: Path | None = Field(None, description="CA certificates, PEM.")
    ssl_cert_file: Path | None = Field(None, description="Client certificate, PEM.")
    ssl_key_file: Path | None = Field(None, description="Client key, PEM.")
    client: dict[str, str | int | float | bool] = Field({}, description="Any further librdkafka property, verbatim.")
    retention_h: dict[str, Annotated[float, Field(gt=0)]] = Field({}, description="Retention per topic, in hours.")

    @field_validator("client")
    @classmethod
    def _no_secret_property(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in SECRET_CLIENT_PROPERTIES:
                raise ValueError(f"{name} is a secret; use sasl_password_file or ssl_key_file instead")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(f"min_insync_replicas must be at most replication_factor ({self.replication_factor})")
        if self.security_protocol.startswith("SASL"):
            for name in ("sasl_mechanism", "sasl_username", "sasl_password_file"):
                if getattr(self, name) is None:
                    raise ValueError(f"{name} is required with security_protocol {self.security_protocol}")
        return self


class NumberSettings(Section):
    """One sending number: which API it uses, how fast, on which lanes."""

    business: str = Field(min_length=1, max_length=128, description="Whose consent its messages need.")
    display_phone_number: str | None = Field(
        None,
        pattern=r"^[0-9]{5,15}$",
        description="The number itself, digits: some webhooks name it so. Not needed by the only number of an account.",
    )
    account: str = Field("", max_length=64, description="WABA; templates and account throttles belong to it.")
    portfolio: str = Field("", max_length=64, description="The messaging tier belongs to it.")
    profile: ProfileName = Field(description="`cloud`, `360dialog` or `v1`.")
    api_version: str | None = Field(None, description="v1 only: before v2.25.3 the default limit is 20/60.")
    base_url: str = Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$", description="Where the API answers.")
    token_file: Path | None = Field(None, description="File that holds the access token.")
    token_env: str | None = Field(None, description="Environment variable that holds the access token.")
    rate_per_s: float | None = Field(None, gt=0, le=100_000, description="Limit; default by profile: 80, 80, 50.")
    burst: float | None = Field(None, ge=1, le=1_000_000, description="Burst; default by profile: 80, 80, 150.")
    partitions: list[Annotated[int, Field(ge=0, le=MAX_LANE_PARTITION)]] | None = Field(
        None, min_length=1, description="Lane partitions, one per shard; required once there are two numbers."
    )
    max_in_flight: int | None = Field(None, ge=1, le=100_000, description="Default rate × 2 s, at least 16.")

    @field_validator("base_url")
    @classmethod
    def _no_last_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_token_source(self) -> Self:
        if (self.token_file is None) == (self.token_env is None):
            raise ValueError("needs exactly one of token_file and token_env")
        return self


class OptOutPayload(Section):
    """What a quick-reply payload takes back."""

    category: Category | Literal["*"] = Field("*", description="Category that ends.")
    purpose: str = Field("*", pattern=r"^(\*|[a-z0-9-]{1,64})$", description="Purpose that ends.")


class PolicySettings(Section):
    """What the business allows."""

    require_webhook: bool = Field(True, description="Nothing is sent before a number's webhook was verified.")
    require_templates: bool = Field(True, description="false: an empty registry passes the template checks.")
    on_quality_red: Literal["pause-bulk", "slow", "none"] = Field(
        "pause-bulk", description="What a red quality rating does to a number."
    )
    require_opt_out_in_marketing: Literal["off", "warn", "reject"] = Field(
        "warn", description="A marketing template without a way out."
    )
    require_evidence_text: Literal["off", "warn", "reject"] = Field(
        "warn", description="A grant without the text that the person saw."
    )
    stop_keywords: list[str] = Field(["stop", "unsubscribe"], max_length=200, description="Words that opt out.")
    stop_revokes: list[Category | Literal["*"]] = Field(
        ["*"], min_length=1, description="Categories that a STOP word takes back."
    )
    opt_out_payloads: dict[str, OptOutPayload] = Field({}, description="Quick-reply payloads that opt out.")
    ttl_s: dict[Category, int] = Field(
        {"authentication": 600, "utility": 86_400, "marketing": 259_200, "service": 86_400},
        description="How long a request may wait if it names no `expires_at`, per category.",
    )

    @field_validator("ttl_s")
    @classmethod
    def _complete_ttl(cls, value: dict[str, int]) -> dict[str, int]:
        merged = {"authentication": 600, "utility": 86_400, "marketing": 259_200, "service": 86_400, **value}
        for name, seconds in merged.items():
            if seconds <= 0:
                raise ValueError(f"ttl_s.{name} must be above 0 seconds")
        return merged


class SenderSettings(Section):
    """How the sender treats trouble."""

    unknown_wait_s: float = Field(30, gt=0, description="Wait for evidence of a POST without an answer.")
    on_unknown: dict[Category, OnUnknown] = Field(
        {"authentication": "resend", "utility": "resend", "marketing": "dead-letter", "service": "resend"},
        description="What happens without evidence, per category.",
    )
    dedupe_window_s: float = Field(900, ge=60, le=604_800, description="How long a settled id is remembered.")
    max_attempts: int = Field(5, ge=1, le=1000, description="Attempts that transient errors may spend.")
    lane_wait_max_s: float = Field(2, gt=0, description="A longer wait of a message's own goes to delayed-retry.")
    opt_out_stale_s: float = Field(5, gt=0, description="Nothing is sent when the opt-out reader is further behind.")

    @field_validator("on_unknown")
    @classmethod
    def _complete_on_unknown(cls, value: dict[str, str]) -> dict[str, str]:
        return {
            "authentication": "resend", "utility": "resend", "marketing": "dead-letter", "service": "resend", **value,
        }  # fmt: skip


class IngressSettings(Section):
    """Where webhooks come in."""

    host: str = Field("0.0.0.0", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="0: any free one, printed.")
    path: str = Field("/webhook", pattern=r"^/[A-Za-z0-9/_-]*$", description="`/webhook/<number id>` for v1.")
    verify_token_file: Path | None = Field(None, description="File with the token of Meta's GET verification.")
    app_secret_files: list[Path] = Field([], max_length=2, description="Up to two live app secrets.")
    path_token_file: Path | None = Field(None, description="v1 without signatures: a secret part of the path.")


class HttpSettings(Section):
    """Health and metrics of each role: /livez, /readyz, /metrics."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int | None = Field(
        None, ge=0, le=65_535, description="Omitted: gate 9101, sender 9102, ingress 9103; 0: any."
    )


class StorageSettings(Section):
    """Where a role keeps what it can rebuild."""

    data_dir: Path = Field(Path(".wapipe"), description="Folder for local state.")


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    numbers: dict[str, NumberSettings] = {}
    policy: PolicySettings = PolicySettings()
    sender: SenderSettings = SenderSettings()
    ingress: IngressSettings = IngressSettings()
    http: HttpSettings = HttpSettings()
    storage: StorageSettings = StorageSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment wins over the file (which comes in as init values)."""
        return env_settings, init_settings

    @field_validator("numbers")
    @classmethod
    def _number_ids(cls, value: dict[str, NumberSettings]) -> dict[str, NumberSettings]:
        for number in value:
            if not number.isascii() or not number.isdigit() or len(number) > 32:
                raise ValueError(f"{number!r} is not a number id (digits only, at most 32)")
        return value

    @model_validator(mode="after")
    def _own_lanes(self) -> Self:
        owners: dict[int, str] = {}
        for number, settings in self.numbers.items():
            if settings.partitions is None and len(self.numbers) > 1:
                raise ValueError(f"numbers.{number}.partitions is required once there are two numbers, e.g. [0]")
            for partition in settings.partitions or [0]:
                if partition in owners:
                    raise ValueError(
                        f"numbers.{number}.partitions: lane {partition} already belongs to {owners[partition]};"
                        " give every number partitions of its own"
                    )
                owners[partition] = number
        return self

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        owners: dict[str, str] = {}
        for number, settings in self.numbers.items():
            shown = settings.display_phone_number
            if shown is not None and owners.setdefault(shown, number) != number:
                raise ValueError(f"numbers.{number}.display_phone_number: {shown} already belongs to {owners[shown]}")
        return self

    def lanes(self) -> dict[int, tuple[str, int]]:
        """Map each lane partition to its (number id, shard)."""
        return {
            partition: (number, shard)
            for number, settings in self.numbers.items()
            for shard, partition in enumerate(settings.partitions or [0])
        }

    def lane_partitions(self) -> int:
        """How many partitions lane topics need: the highest pinned one and all below it, at least 1."""
        return max(self.lanes(), default=0) + 1

    def topic(self, name: str) -> str:
        """Full name of a topic, with the prefix."""
        return self.kafka.topic_prefix + name


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read settings from a TOML file (or the one that WAPIPE_CONFIG names) and the environment.

    Args:
        path: The file; None: `WAPIPE_CONFIG`, else no file.
        environ: Only to look up WAPIPE_CONFIG and to find unknown WAPIPE_ variables; None: this process's.

    Raises:
        ConfigError: names the key and what would be right.
    """
    env = os.environ if environ is None else environ
    source = path or env.get(ENV_CONFIG)
    from_file = _read_toml(Path(source)) if source else {}
    _refuse_unknown_tables(from_file)
    _refuse_secrets(from_file, ())
    _refuse_unknown_variables(env)
    try:
        return Settings(**from_file)
    except ValidationError as exc:
        raise ConfigError(_explain(exc, str(source) if source else None)) from exc
    except SettingsError as exc:
        raise ConfigError(_explain_variable(exc, env)) from exc


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror}); name a readable file with --config") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not TOML: {exc}") from exc


def _refuse_unknown_tables(table: Mapping[str, Any]) -> None:
    # pydantic-settings takes arguments of its own by names like _env_file: the file must not reach them
    for key in table:
        if key not in Settings.model_fields:
            raise ConfigError(f"{key}: no such setting; tables are {', '.join(sorted(Settings.model_fields))}")


def _refuse_secrets(table: Mapping[str, Any], where: tuple[str, ...]) -> None:
    for key, value in table.items():
        name = ".".join((*where, key))
        if where[-1:] != ("client",) and key in SECRET_KEYS:
            raise ConfigError(f"{name}: a secret may not stand in the settings file; use {key}_file or {key}_env")
        if isinstance(value, Mapping):
            _refuse_secrets(value, (*where, key))


def _refuse_unknown_variables(env: Mapping[str, str]) -> None:
    roots = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for name in env:
        upper = name.upper()
        if upper.startswith(ENV_PREFIX) and upper != ENV_CONFIG and upper.split("__", 1)[0] not in roots:
            raise ConfigError(f"{name}: no such setting; tables are {', '.join(sorted(Settings.model_fields))}")


def _explain_variable(error: SettingsError, env: Mapping[str, str]) -> str:
    table = next((name for name in Settings.model_fields if f'field "{name}"' in str(error)), "")
    names = sorted(name for name in env if name.upper().startswith(ENV_PREFIX + table.upper()))
    return f"{', '.join(names)}: a list or table in the environment is written as JSON, e.g. '[\"stop\"]'"


def _explain(error: ValidationError, source: str | None) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            reason = "no such setting; see `wapipe config docs`"
        elif problem["type"] == "missing":
            reason = "is required"
        lines.append(f"{key}: {reason}")
    origin = f"{source} (or a WAPIPE_ variable)" if source else "settings"
    return f"{origin}:\n  " + "\n  ".join(lines)
