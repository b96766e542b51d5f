"""What `wapipe up` and `wapipe demo` run on one machine, as values: settings, secrets, processes. Pure but for secrets.

FOLDER/wapipe.toml       the settings that every process runs with, for the user's own commands, too
FOLDER/secrets/          tokens, app secret, verify token, made at random unless the user has numbers of their own
FOLDER/kafka/            the broker's data, if the broker is ours
FOLDER/<process>/        local state of that process
FOLDER/logs/<process>.log
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.cli.settings_text import as_toml
from pipeline.config import ENV_PREFIX, KafkaSettings, NumberSettings, Settings
from pipeline.embedded.layout import HOST, choose_ports
from pipeline.secrets import password_of, token_of

V1_NUMBER, CLOUD_NUMBER = "200000000000001", "200000000000002"
"""The two numbers that there are when the user configured none: 50/s with bursts to 150, and 80/s."""
BUSINESS = "acme"
ACCOUNT = "300000000000001"
SIMULATED_TEMPLATES: tuple[dict[str, Any], ...] = (
    {"name": "order_shipped", "category": "utility", "body": ["text"]},
    {"name": "autumn_offer", "category": "marketing", "body": ["text"], "footer": "Reply STOP to unsubscribe"},
    {"name": "login_code", "category": "authentication", "body": ["text"]},
)
"""What the simulator of ours has approved, all in `en_US`."""
CONFIG_NAME = "wapipe.toml"
ROLE_COUNT_MAX = 16
SECRET_BYTES = 24
_BROKER_KEY = "bootstrap_servers"
_OF_THE_CLUSTER = ("topic_prefix", "recipient_partitions", "startup_timeout_s", "session_timeout_s", "retention_h")
"""What of the user's Kafka settings also holds for a broker of ours: nothing about security or replication."""


@dataclass(frozen=True, slots=True)
class Child:
    """One process of ours.

    Attributes:
        name: E.g. `sender-2`; also its folder's and its log's.
        argv: Program and arguments.
        env: Its whole environment.
        health_url: Where it answers /readyz and /metrics; None: it has no such server.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    health_url: str | None


def is_broker_configured(config_file: Path | None, environ: Mapping[str, str]) -> bool:
    """Whether the user named a Kafka, in the file or in the environment; a default is no name.

    Args:
        config_file: A file that `load` has read already; None: there is none.
    """
    for name, value in environ.items():
        upper = name.upper()
        if upper == f"{ENV_PREFIX}KAFKA__{_BROKER_KEY.upper()}" or (
            upper == f"{ENV_PREFIX}KAFKA" and _BROKER_KEY in value
        ):
            return True
    if config_file is None:
        return False
    return _BROKER_KEY in tomllib.loads(config_file.read_text()).get("kafka", {})


def simulator_port(settings: Settings) -> int | None:
    """Where a simulator has to listen for these numbers.

    Returns:
        0: anywhere, as there are no numbers yet; None: nowhere, as a number talks to a real API, or to several.
    """
    urls = [urlsplit(number.base_url) for number in settings.numbers.values()]
    ports = {url.port for url in urls}
    if not urls:
        return 0
    is_local = all(url.hostname in (HOST, "localhost") for url in urls)
    return ports.pop() if is_local and len(ports) == 1 else None


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that nobody listens on now.

    Raises:
        ConfigError: there are not so many.
    """
    pairs = choose_ports((count + 1) // 2)
    return [port for pair in pairs for port in (pair.client, pair.controller)][:count]


def own_kafka(kafka: KafkaSettings, bootstrap: str) -> KafkaSettings:
    """Kafka settings for the broker that we run ourselves."""
    kept = {name: getattr(kafka, name) for name in _OF_THE_CLUSTER}
    return KafkaSettings(bootstrap_servers=bootstrap, **kept)


def demo_numbers(simulator_url: str, folder: Path) -> dict[str, NumberSettings]:
    """Two numbers at the simulator, one of each kind of API, with their tokens in `folder`."""
    profiles = {V1_NUMBER: ("v1", simulator_url), CLOUD_NUMBER: ("cloud", f"{simulator_url}/v24.0")}
    return {
        number: NumberSettings.model_validate({
            "business": BUSINESS, "account": ACCOUNT, "portfolio": "p1", "profile": profile, "base_url": url,
            "token_file": secret(folder, f"token-{number}"), "partitions": [lane],
        })
        for lane, (number, (profile, url)) in enumerate(profiles.items())
    }  # fmt: skip


def credentials(settings: Settings) -> dict[str, Any]:
    """What a simulator has to know of these numbers: tokens, logins, and which number each of them stands for.

    Raises:
        ConfigError: a token or a password is missing.
    """
    tokens = {token_of(number, own): number for number, own in settings.numbers.items() if own.login is None}
    logins = {own.login.user: (number, own) for number, own in settings.numbers.items() if own.login is not None}
    return {
        "tokens": list(tokens),
        "logins": {user: password_of(number, own) for user, (number, own) in logins.items()},
        "number_of_token": {**tokens, **{user: number for user, (number, _) in logins.items()}},
    }


def free_or(wanted: int, other: int) -> int:
    """The port that is wanted, unless somebody listens on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            return other
    return wanted


def local_settings(
    base: Settings, kafka: KafkaSettings, folder: Path, simulator_url: str | None, ingress_port: int, console_port: int
) -> Settings:
    """What the local processes run with: the user's settings, completed by what is ours.

    Args:
        kafka: The user's broker, or ours.
        simulator_url: Where the simulator of ours will listen; None: there is none.
        ingress_port: For the ingress, unless the user has numbers and a port.
        console_port: For the console.
    """
    console = base.console.model_copy(update={"port": console_port})
    if not console.has_login:
        console = console.model_copy(update={"operator_token_file": secret(folder, "console-token")})
    update: dict[str, Any] = {"kafka": kafka, "console": console}
    if not base.numbers:
        update["numbers"] = demo_numbers(simulator_url or "", folder)
        locks = {
            "app_secret_files": [secret(folder, "app-secret")], "verify_token_file": secret(folder, "verify-token"),
        }  # fmt: skip
        # On loopback, where only the simulator of ours can sign.
        update["ingress"] = base.ingress.model_copy(update={"host": HOST, "port": ingress_port, **locks})
    elif base.ingress.port == 0:
        update["ingress"] = base.ingress.model_copy(update={"port": ingress_port})
    settings: Settings = base.model_copy(update=update)
    return settings


def secret(folder: Path, name: str) -> Path:
    """The file of a secret, made at random unless it is there; only its owner may read it."""
    path = (folder / "secrets" / name).absolute()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(SECRET_BYTES) + "\n")
    return path


def write_settings(settings: Settings, folder: Path) -> Path:
    """Write settings as the TOML file that the processes and the user's own commands read; returns its path."""
    path = folder / CONFIG_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(as_toml(settings.model_dump(mode="json")))
    return path


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings: they are all in the file, and each process has some of its own."""
    return {name: value for name, value in environ.items() if not name.upper().startswith(ENV_PREFIX)}


def role_children(settings_file: Path, folder: Path, counts: Mapping[str, int]) -> list[Child]:
    """The processes of the roles, each with a health port and a folder of its own.

    Args:
        counts: Processes by role.

    Raises:
        ConfigError: there are not so many free ports.
    """
    names = [(role, f"{role}-{n + 1}") for role, count in counts.items() for n in range(count)]
    children = []
    for (role, name), port in zip(names, free_ports(len(names)), strict=True):
        env = {
            **child_environment(os.environ),
            f"{ENV_PREFIX}HTTP__HOST": HOST,
            f"{ENV_PREFIX}HTTP__PORT": str(port),
            f"{ENV_PREFIX}STORAGE__DATA_DIR": str((folder / name).absolute()),
        }
        children.append(Child(name, wapipe("--config", str(settings_file), role), env, f"http://{HOST}:{port}"))
    return children


def wapipe(*arguments: str) -> tuple[str, ...]:
    """The command line that runs `wapipe` with this Python."""
    return (sys.executable, "-m", "pipeline", *arguments)


def called_as() -> str:
    """How the user called `wapipe`, to be copied in front of further arguments."""
    program = Path(sys.argv[0])
    if program.name == "wapipe":
        return "wapipe" if not program.is_absolute() and len(program.parts) == 1 else shown(program)
    return f"{shown(Path(sys.executable))} -m pipeline"


def shown(path: Path) -> str:
    """A path as it is shortest to type from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
