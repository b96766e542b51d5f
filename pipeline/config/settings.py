"""The tables of settings and what they have to do with each other; Kafka's and a number's have files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pipeline.config.console import ConsoleSettings
from pipeline.config.kafka import KafkaSettings
from pipeline.config.numbers import Login, NumberSettings
from pipeline.config.section import Section

ENV_PREFIX = "WAPIPE_"

Category = Literal["marketing", "utility", "authentication", "service"]
OnUnknown = Literal["resend", "dead-letter"]
CATEGORIES: tuple[Category, ...] = ("marketing", "utility", "authentication", "service")


KeywordLanguage = Literal["en", "es", "pt", "fr", "de", "it", "nl", "id", "ar", "hi", "tr", "ru", "he", "uk", "pl"]
KEYWORD_LANGUAGES: Final[tuple[KeywordLanguage, ...]] = get_args(KeywordLanguage)
ConfirmationText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


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
    tier_share: float = Field(0.95, gt=0, le=1, description="Part of a messaging tier that bulk may use up.")
    unreachable_s: int = Field(
        604_800, ge=60, description="How long nothing goes to who is not on WhatsApp, or whose client is too old."
    )
    require_opt_out_in_marketing: Literal["off", "warn", "reject"] = Field(
        "warn", description="A marketing template without a way out."
    )
    require_evidence_text: Literal["off", "warn", "reject"] = Field(
        "warn", description="A grant without the text that the person saw."
    )
    stop_keywords: list[str] = Field(
        ["stop", "unsubscribe"], max_length=200, description="Words that opt out, besides those of the languages."
    )
    start_keywords: list[str] = Field(
        [], max_length=200, description="Words that take a STOP word back, besides those of the languages."
    )
    keyword_languages: list[KeywordLanguage] = Field(
        list(KEYWORD_LANGUAGES), description='Whose words count (README, "Ways out"); []: only your own.'
    )
    opt_out_confirmation: dict[str, ConfirmationText] = Field(
        {},
        max_length=64,
        description="Answer to an opt-out, by language (`en`), and `default` for all others; empty: none is sent.",
    )
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
    workers: int = Field(1, ge=1, le=64, description="Processes that share the port.")
    path: str = Field("/webhook", pattern=r"^/[A-Za-z0-9/_-]*$", description="`/webhook/<number id>` for v1.")
    verify_token_file: Path | None = Field(None, description="File with the token of Meta's GET verification.")
    app_secret_files: list[Path] = Field([], max_length=2, description="Up to two live app secrets.")
    path_token_file: Path | None = Field(None, description="v1 without signatures: a secret part of the path.")
    dedupe_s: float = Field(
        0, ge=0, le=600, description="An event that was stored so recently is not written again; 0: always written."
    )
    spool: bool = Field(
        False, description="While Kafka is away, webhooks are kept on disk (`storage.data_dir`) and answered 200."
    )
    spool_max_bytes: int = Field(
        1024**3, ge=16 * 1024**2, description="What the spool of one process may take; beyond it: 503."
    )
    tls_cert_file: Path | None = Field(None, description="Our certificate chain, PEM; omitted: a proxy ends TLS.")
    tls_key_file: Path | None = Field(None, description="Its key, PEM.")
    client_ca_file: Path | None = Field(None, description="Callers need a certificate of this CA (mTLS), PEM.")
    client_name: str | None = Field(None, description="Common name that their certificate must have.")

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together; set both or none")
        if self.client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("client_ca_file needs tls_cert_file: where a proxy ends TLS, it must ask for certificates")
        if self.client_name is not None and self.client_ca_file is None:
            raise ValueError("client_name needs client_ca_file: without a CA anybody can have any name")
        return self


class HttpSettings(Section):
    """Health and metrics of each role: /livez, /readyz, /metrics."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int | None = Field(
        None, ge=0, le=65_535, description="Omitted: gate 9101, sender 9102, ingress 9103, console 9104; 0: any."
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
    console: ConsoleSettings = ConsoleSettings()
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
    def _one_password_per_login(self) -> Self:
        passwords: dict[Login, tuple[str, Path | str | None]] = {}
        for number, settings in self.numbers.items():
            if settings.login is None:
                continue
            password = settings.login_password_file or settings.login_password_env
            first, known = passwords.setdefault(settings.login, (number, password))
            if known != password:
                raise ValueError(
                    f"numbers.{number}: its password comes from elsewhere than that of number {first}, which has the"
                    " same login_user at the same base_url; name the same login_password_file (or _env) in both"
                )
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

    def group(self, role: str) -> str:
        """Id of the consumer group of the gates or the senders."""
        return f"{self.kafka.topic_prefix}wapipe-{role}"
