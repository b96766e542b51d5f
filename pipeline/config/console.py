"""Settings of the console: where it listens, who may look and who may act, how much it keeps."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from pipeline.config.section import Section

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Principal = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class ConsoleSettings(Section):
    """The page where people look and act."""

    host: str = Field("127.0.0.1", description="Address to listen on; others than loopback need a way to log in.")
    port: int = Field(8090, ge=0, le=65_535, description="0: any free one, printed.")
    operator_token_file: Path | None = Field(
        None, description="Whoever has this token may look and act. On loopback one is made if there is no other way."
    )
    viewer_token_file: Path | None = Field(None, description="Whoever has this token may look.")
    proxy_user_header: HeaderName | None = Field(
        None, description="Header in which a proxy names who is logged in (OIDC), e.g. `X-Forwarded-User`."
    )
    proxy_groups_header: HeaderName | None = Field(
        None, description="Header in which it names their groups, comma separated."
    )
    trusted_proxies: list[str] = Field(
        [], max_length=64, description="Addresses or networks whose headers are believed; required with a proxy."
    )
    operators: list[Principal] = Field(
        [], max_length=1000, description="Users or groups of the proxy who may act; `*`: all."
    )
    viewers: list[Principal] = Field(
        ["*"], max_length=1000, description="Users or groups of the proxy who may look; `*`: all."
    )
    session_h: float = Field(12, gt=0, le=168, description="How long a login lasts, hours.")
    retention_days: float = Field(14, gt=0, le=366, description="How far back the read model goes.")
    max_bytes: int = Field(
        8 * 1024**3, ge=16 * 1024**2, description="What the read model may take on disk; the oldest goes first."
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        for one in value:
            try:
                ip_network(one)
            except ValueError as exc:
                raise ValueError(f"{one!r} is neither an address nor a network, e.g. 10.0.0.0/8") from exc
        return value

    @model_validator(mode="after")
    def _is_locked(self) -> Self:
        if self.proxy_groups_header is not None and self.proxy_user_header is None:
            raise ValueError("proxy_groups_header goes with proxy_user_header; set it, too")
        if self.proxy_user_header is not None and not self.trusted_proxies:
            raise ValueError("proxy_user_header needs trusted_proxies: else anybody could name themselves")
        return self

    @property
    def has_login(self) -> bool:
        """Whether a way to log in was named."""
        named = (self.operator_token_file, self.viewer_token_file, self.proxy_user_header)
        return any(one is not None for one in named)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
