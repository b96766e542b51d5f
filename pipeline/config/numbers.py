"""Settings of one sending number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section

MAX_LANE_PARTITION = 9_999

ProfileName = Literal["cloud", "360dialog", "v1"]


class Login(NamedTuple):
    """A user at a host.

    Attributes:
        base_url: Of the host.
        user: As the API knows it.
    """

    base_url: str
    user: str


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
    login_user: str | None = Field(
        None, pattern=r"^[^:\x00-\x1f\x7f]{1,256}$", description="v1 only, in place of a token: user of the login."
    )
    login_password_file: Path | None = Field(None, description="File that holds that user's password.")
    login_password_env: str | None = Field(None, description="Environment variable that holds it.")
    rate_per_s: float | None = Field(None, gt=0, le=100_000, description="Limit; default by profile: 80, 80, 50.")
    burst: float | None = Field(None, ge=1, le=1_000_000, description="Burst; default by profile: 80, 80, 150.")
    partitions: list[Annotated[int, Field(ge=0, le=MAX_LANE_PARTITION)]] | None = Field(
        None, min_length=1, description="Lane partitions, one per shard; required once there are two numbers."
    )
    max_in_flight: int | None = Field(None, ge=1, le=100_000, description="Default rate × 2 s, at least 16.")
    app_secret_files: list[Path] = Field(
        [],
        max_length=2,
        description="Secrets of the app that signs this number's webhooks, if it is not that of `ingress`.",
    )
    count_inbound: bool = Field(
        False, description="Messages from people take tokens, too: Cloud throughput is in and out together."
    )

    @field_validator("base_url")
    @classmethod
    def _no_last_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @property
    def login(self) -> Login | None:
        """Host and user of its login; numbers with the same one share a token. None: it has a token of its own."""
        return None if self.login_user is None else Login(self.base_url, self.login_user)

    @model_validator(mode="after")
    def _one_way_to_authenticate(self) -> Self:
        passwords = [self.login_password_file, self.login_password_env]
        ways = [self.token_file, self.token_env, self.login_user]
        if len(ways) - ways.count(None) != 1:
            raise ValueError(
                "needs exactly one of token_file and token_env (on v1 also: login_user); remove the others"
            )
        if self.login_user is None:
            if passwords.count(None) != len(passwords):
                raise ValueError(
                    "login_password_file and login_password_env go with login_user; set it, or remove them"
                )
            return self
        if self.profile != "v1":
            raise ValueError(f"login_user is for profile v1, there is no login on {self.profile}; use token_file")
        if passwords.count(None) != 1:
            raise ValueError("login_user needs exactly one of login_password_file and login_password_env")
        return self
