"""TLS at the door, where no proxy ends it: our certificate, and Meta's client certificate if it is asked for.

Meta presents a certificate of its own CA with a fixed common name (Meta, webhooks, mTLS; whatsapp-api.md §2.12). The CA
is checked in the handshake, the name per call. Files that change are read again; new connections see the new ones.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from pipeline.config import IngressSettings
from pipeline.errors import ConfigError

RECHECK_S: Final = 5.0

log = structlog.get_logger(__name__)


class Tls:
    """The server's side of TLS by the settings.

    Attributes:
        context: For the listening socket.

    Raises:
        ConfigError: a file cannot be read, or is no certificate or key; names the setting.
    """

    def __init__(self, ingress: IngressSettings) -> None:
        self._ingress = ingress
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if ingress.client_ca_file is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
        self._load()
        self._stamps = self._look()

    async def follow_files(self) -> None:
        """Read the files again whenever they change, until cancelled; a broken one leaves the last good one live."""
        while True:
            await asyncio.sleep(RECHECK_S)
            self.renew()

    def renew(self) -> None:
        """Read the files again if one of them has changed."""
        stamps = self._look()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._load()
        except ConfigError as exc:
            log.warning("certificate_kept", reason=str(exc))
        else:
            log.info("certificate_reloaded")

    def _load(self) -> None:
        ingress = self._ingress
        try:
            self.context.load_cert_chain(str(ingress.tls_cert_file), str(ingress.tls_key_file), _no_password)
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"ingress.tls_cert_file, ingress.tls_key_file: {_why(exc)}; name PEM files of one certificate chain and"
                " its key, without a password"
            ) from exc
        if ingress.client_ca_file is not None:
            try:
                self.context.load_verify_locations(str(ingress.client_ca_file))
            except OSError as exc:
                raise ConfigError(
                    f"ingress.client_ca_file: {_why(exc)}; name a PEM file with the CA that signs the callers'"
                    " certificates"
                ) from exc

    def _look(self) -> list[tuple[int, int] | None]:
        paths = (self._ingress.tls_cert_file, self._ingress.tls_key_file, self._ingress.client_ca_file)
        return [_stamp(path) for path in paths if path is not None]


def tls_of(ingress: IngressSettings) -> Tls | None:
    """TLS as the settings want it; None: a proxy before us ends it.

    Raises:
        ConfigError: see `Tls`.
    """
    return None if ingress.tls_cert_file is None else Tls(ingress)


def common_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The subject's common name of a peer's certificate, as `ssl.SSLSocket.getpeercert` describes it."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None


def _no_password() -> str:
    """What a key with a password is told, in place of the prompt on the terminal that would be the default."""
    raise ValueError("the key has a password")


def _why(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
