"""Who may post a webhook: signatures by app secrets, a secret token for v1, both read anew when their files change.

A number may have app secrets of its own (another app delivers its webhooks); whoever signs with them speaks for the
numbers that name them and their accounts, and for nobody else.

Touched on the ingress' loop only. A look at a file's date costs microseconds and happens at most once per
`RECHECK_S`; the file is read only when it changed, and a file that cannot be read leaves the last good secret live.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import structlog

from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.secrets import read_secret_file
from pipeline.whatsapp.signature import verify_signature

RECHECK_S = 1.0
MAX_APP_SECRETS = 64
"""Each costs an HMAC per call: 64 over a body of 1 kB take a quarter of a millisecond."""

log = structlog.get_logger(__name__)


class SecretFile:
    """One secret that follows its file.

    Args:
        key: The setting that names the file.
        clock: Seconds on a clock that never steps.

    Raises:
        ConfigError: the file cannot be read now; later failures are logged and change nothing.
    """

    def __init__(self, key: str, path: Path, clock: Callable[[], float] = steady_s) -> None:
        self._key, self._path, self._clock = key, path, clock
        self._stamp = self._look()
        self._value = read_secret_file(key, path).encode()
        self._looked_s = clock()

    def value(self) -> bytes:
        """The secret as the file holds it, at most `RECHECK_S` old."""
        now_s = self._clock()
        if now_s - self._looked_s >= RECHECK_S:
            self._looked_s = now_s
            stamp = self._look()
            if stamp != self._stamp:
                self._reload(stamp)
        return self._value

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def _reload(self, stamp: tuple[int, int, int] | None) -> None:
        self._stamp = stamp
        try:
            self._value = read_secret_file(self._key, self._path).encode()
        except ConfigError as exc:
            log.warning("secret_kept", setting=self._key, reason=str(exc))
        else:
            log.info("secret_reloaded", setting=self._key)


class Voice(NamedTuple):
    """Whom an authentic call may speak for.

    Attributes:
        numbers: Configured numbers.
        accounts: Accounts whose own events (templates, limits, …) it may tell.
        others: Whether it may speak for what nobody named, too: unknown numbers, accounts that are in no settings.
    """

    numbers: frozenset[str]
    accounts: frozenset[str] = frozenset()
    others: bool = False

    def may_tell(self, number: str | None, account: str | None, known: Collection[str]) -> bool:
        """Whether an event about this number, or, if it names none, this account, is its to tell.

        Args:
            known: All numbers and accounts of the settings.
        """
        name = number or account
        if name in self.numbers or (number is None and name in self.accounts):
            return True
        return self.others and name not in known


class Access:
    """Decides whether a call is authentic.

    Raises:
        ConfigError: the settings would leave the door open, or a secret cannot be read; names the key.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = steady_s) -> None:
        require_locks(settings)
        ingress = settings.ingress
        self._secrets: dict[Path, SecretFile] = {}
        self._voices: list[tuple[list[SecretFile], Voice]] = []
        for paths, numbers in _signers(settings).items():
            for key, path in _keyed(settings, paths, numbers):
                self._secrets.setdefault(path, SecretFile(key, path, clock))
            self._voices.append(([self._secrets[path] for path in paths], _voice(settings, paths, numbers)))
        if len(self._secrets) > MAX_APP_SECRETS:
            raise ConfigError(
                f"numbers.*.app_secret_files: {len(self._secrets)} secrets, at most {MAX_APP_SECRETS} are tried per"
                " call; run several ingresses, each with some of the numbers"
            )
        self._path_token = self._optional("ingress.path_token_file", ingress.path_token_file, clock)
        self._verify_token = self._optional("ingress.verify_token_file", ingress.verify_token_file, clock)
        self._v1 = frozenset(number for number, one in settings.numbers.items() if one.profile == "v1")
        self._is_open = not self._secrets and self._path_token is None

    @staticmethod
    def _optional(key: str, path: Path | None, clock: Callable[[], float]) -> SecretFile | None:
        return None if path is None else SecretFile(key, path, clock)

    def may_verify(self, token: str) -> bool:
        """Whether a GET verification carries our token; without `ingress.verify_token_file` none does."""
        return self._verify_token is not None and _same(token, self._verify_token.value())

    def may_knock(self, number: str | None, token: str | None, signature: str | None) -> bool:
        """Whether reading the body is worth it: something is offered that could turn out authentic."""
        return bool(self._secrets and signature) or self.has_token(number, token)

    def voice_of(self, raw: bytes, signature: str | None, number: str | None, token: str | None) -> Voice | None:
        """For whom a call speaks: by the app secret that signed its bytes, else by its token; None: for nobody."""
        signers = [voice for secrets, voice in self._voices if _is_signed(raw, signature, secrets)]
        if signers:
            return signers[0]
        return Voice(frozenset({number})) if number is not None and self.has_token(number, token) else None

    def has_token(self, number: str | None, token: str | None) -> bool:
        """Whether a call may speak for one v1 number without a signature: by the shared token, or on an open loopback.

        Args:
            number: The number id in the path; only a configured v1 number can be spoken for this way.
            token: The token in path or header.
        """
        if number not in self._v1:
            return False
        if self._path_token is None:
            return self._is_open
        return token is not None and _same(token, self._path_token.value())


def _is_signed(raw: bytes, signature: str | None, secrets: Iterable[SecretFile]) -> bool:
    return verify_signature(raw, signature, [secret.value() for secret in secrets])


def _signers(settings: Settings) -> dict[tuple[Path, ...], list[str]]:
    """Numbers by the files with the secrets of the app that delivers their webhooks; the ingress' own app first."""
    common = tuple(settings.ingress.app_secret_files)
    found: dict[tuple[Path, ...], list[str]] = {common: []} if common else {}
    for number, one in settings.numbers.items():
        paths = tuple(one.app_secret_files) or common
        if paths:
            found.setdefault(paths, []).append(number)
    return found


def _keyed(settings: Settings, paths: Sequence[Path], numbers: Sequence[str]) -> list[tuple[str, Path]]:
    """Each file with the setting that names it."""
    is_common = tuple(paths) == tuple(settings.ingress.app_secret_files)
    table = "ingress" if is_common else f"numbers.{numbers[0]}"
    return [(f"{table}.app_secret_files.{index}", path) for index, path in enumerate(paths)]


def _voice(settings: Settings, paths: Sequence[Path], numbers: Sequence[str]) -> Voice:
    accounts = {settings.numbers[number].account for number in numbers} - {""}
    is_common = tuple(paths) == tuple(settings.ingress.app_secret_files)
    return Voice(frozenset(numbers), frozenset(accounts), others=is_common)


def require_locks(settings: Settings) -> None:
    """Refuse settings with which anybody could post webhooks.

    Raises:
        ConfigError: signed profiles without an app secret, or unsigned v1 on an address that others can reach.
    """
    ingress = settings.ingress
    if ingress.app_secret_files:
        return
    signed = sorted(
        number for number, one in settings.numbers.items() if one.profile != "v1" and not one.app_secret_files
    )
    if signed or not settings.numbers:
        whose = f"numbers.{signed[0]} is of profile {settings.numbers[signed[0]].profile}" if signed else "no numbers"
        raise ConfigError(
            f"ingress.app_secret_files: missing ({whose}); name one or two files with the secret of the app that"
            " signs the webhooks"
        )
    if ingress.path_token_file is None and not _is_loopback(ingress.host):
        raise ConfigError(
            f"ingress.path_token_file: missing; v1 webhooks carry no signature and ingress.host {ingress.host} can be"
            " reached by others: name a file with a secret, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _same(given: str, wanted: bytes) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted)
