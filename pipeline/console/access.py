"""Who is who: logins by token or by a proxy's header, and their sessions. Touched on the loop; holds no secret.

A session is a random name in a cookie; what it stands for is kept here, so a restart of the console ends them all.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final, Literal

import structlog

from pipeline.clock import steady_s
from pipeline.config import ConsoleSettings, Settings
from pipeline.errors import ConfigError
from pipeline.secrets import read_secret_file

log = structlog.get_logger(__name__)

Role = Literal["viewer", "operator"]
MAX_SESSIONS: Final = 1_000
MAX_NAME_CHARS: Final = 64
MAX_TOKEN_CHARS: Final = 1_024
TOKEN_BYTES: Final = 24
SESSION_BYTES: Final = 32
MAX_NOTICES: Final = 5
REVEALED_S: Final = 900.0
"""How long a person's number stays unmasked for who asked for it."""
FAILURES_MAX: Final = 10
FAILURES_S: Final = 60.0
ADDRESSES_MAX: Final = 10_000


@dataclass(slots=True)
class Session:
    """Somebody who is logged in.

    Attributes:
        name: Who, for the audit.
        csrf: What every form of theirs carries.
        is_proxied: Whether a proxy vouches for them with each request.
        notices: (style, text) to show on the next page.
        revealed: People whose numbers they see whole, with the end of that.
    """

    name: str
    role: Role
    csrf: str
    until_s: float
    is_proxied: bool = False
    notices: list[tuple[str, str]] = field(default_factory=list)
    revealed: dict[str, float] = field(default_factory=dict)

    def note(self, style: str, text: str) -> None:
        """Say something on the next page."""
        self.notices = [*self.notices, (style, text)][-MAX_NOTICES:]


class Sessions:
    """All that are logged in; beyond `MAX_SESSIONS` the oldest is logged out."""

    def __init__(self, session_s: float, clock: Callable[[], float] = steady_s) -> None:
        self._session_s, self._clock = session_s, clock
        self._by_cookie: OrderedDict[str, Session] = OrderedDict()

    def open(self, name: str, role: Role, *, is_proxied: bool = False) -> tuple[str, Session]:
        """Log somebody in; returns the cookie's value and the session."""
        cookie = secrets.token_urlsafe(SESSION_BYTES)
        session = Session(name, role, secrets.token_urlsafe(SESSION_BYTES), self._clock() + self._session_s, is_proxied)
        self._by_cookie[cookie] = session
        while len(self._by_cookie) > MAX_SESSIONS:
            self._by_cookie.popitem(last=False)
        return cookie, session

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None: there is none, or it is over."""
        session = self._by_cookie.get(cookie) if cookie else None
        if session is not None and session.until_s <= self._clock():
            del self._by_cookie[str(cookie)]
            return None
        return session

    def close(self, cookie: str | None) -> None:
        """Log out."""
        self._by_cookie.pop(cookie or "", None)

    def reveal(self, session: Session, ids: Iterable[str]) -> None:
        """Show a person's ids whole for a while."""
        session.revealed |= dict.fromkeys(ids, self._clock() + REVEALED_S)

    def is_revealed(self, session: Session, person: str | None) -> bool:
        """Whether they see this person's number whole."""
        return person is not None and session.revealed.get(person, 0.0) > self._clock()


class Attempts:
    """Failed logins by address; who failed too often has to wait."""

    def __init__(self, clock: Callable[[], float] = steady_s) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def may_try(self, address: str) -> bool:
        """Whether this address may try now."""
        since_s = self._clock() - FAILURES_S
        recent = [at for at in self._failed.get(address, ()) if at > since_s]
        if recent:
            self._failed[address] = recent
        else:
            self._failed.pop(address, None)
        return len(recent) < FAILURES_MAX

    def fail(self, address: str) -> None:
        """Note a failure."""
        self._failed.setdefault(address, []).append(self._clock())
        while len(self._failed) > ADDRESSES_MAX:
            self._failed.popitem(last=False)


class Doors:
    """The ways to log in, by the settings.

    Args:
        folder: Gets a token made at random if the settings name no way and only this machine can reach the console.

    Attributes:
        made_token_file: That token's file; None: none was needed.

    Raises:
        ConfigError: others could reach the console and there is no way to log in, or a token cannot be read.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        console = settings.console
        require_login(console)
        self.made_token_file = None if console.has_login else _made_token(folder)
        files: dict[Role, tuple[str, Path | None]] = {
            "operator": ("console.operator_token_file", console.operator_token_file or self.made_token_file),
            "viewer": ("console.viewer_token_file", console.viewer_token_file),
        }
        self._files: dict[Role, tuple[str, Path]] = {
            role: (key, path) for role, (key, path) in files.items() if path is not None
        }
        tokens = [read_secret_file(key, path) for key, path in self._files.values()]
        if len(set(tokens)) < len(tokens):
            raise ConfigError("console.viewer_token_file: holds the operators' token; viewers need one of their own")
        self._console = console
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(one) for one in console.trusted_proxies]

    @property
    def takes_tokens(self) -> bool:
        """Whether there is a token to log in with."""
        return bool(self._files)

    def role_of(self, token: str) -> Role | None:
        """What a token lets one do; None: nothing. Files are read anew each time, so a token can be changed."""
        offered, found = token.strip()[:MAX_TOKEN_CHARS].encode(), None
        for role, (key, path) in self._files.items():
            try:
                known = read_secret_file(key, path).encode()
            except ConfigError as exc:
                log.warning("console_token_unreadable", setting=key, reason=str(exc))
                continue
            # every token is compared, and in full, so that the time tells nothing
            if hmac.compare_digest(offered, known) and found is None:
                found = role
        return found

    def is_trusted(self, address: str | None) -> bool:
        """Whether a request comes from a proxy whose headers are believed."""
        try:
            peer = ip_address(address or "")
        except ValueError:
            return False
        return any(peer.version == network.version and peer in network for network in self._networks)

    def proxied(self, address: str | None, headers: Mapping[str, str]) -> tuple[str, Role] | None:
        """Who a proxy says this is, and what they may do; None: nobody, or nothing."""
        console = self._console
        if console.proxy_user_header is None or not self.is_trusted(address):
            return None
        name = clean_name(headers.get(console.proxy_user_header, ""))
        if not name:
            return None
        groups = headers.get(console.proxy_groups_header, "") if console.proxy_groups_header is not None else ""
        principals = {"*", name, *(group.strip() for group in groups.split(","))} - {""}
        if principals & set(console.operators):
            return name, "operator"
        return (name, "viewer") if principals & set(console.viewers) else None


def clean_name(text: str) -> str:
    """A name as it may stand in an audit record: printable, short; empty if nothing is left."""
    return "".join(char for char in text if char.isprintable()).strip()[:MAX_NAME_CHARS]


def require_login(console: ConsoleSettings) -> None:
    """Refuse settings with which others could reach the console without a login.

    Raises:
        ConfigError: they do.
    """
    if not console.has_login and not console.is_loopback:
        raise ConfigError(
            f"console.operator_token_file: missing; console.host {console.host} can be reached by others: name a file"
            " with a token (or console.proxy_user_header, if a proxy logs people in), or listen on 127.0.0.1"
        )


def _made_token(folder: Path) -> Path:
    """The file of the token that was made for this folder; only its owner may read it."""
    path = (folder / "operator-token").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(TOKEN_BYTES) + "\n")
    return path
