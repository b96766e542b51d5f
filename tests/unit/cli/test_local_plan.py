"""What `wapipe up` and `wapipe demo` run is decided by the user's settings alone, and holds no secret in the open."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import local_plan as plan
from pipeline.cli.settings_text import as_toml
from pipeline.config import KafkaSettings, NumberSettings, Settings, load


def _number(url: str, lane: int = 0) -> NumberSettings:
    return NumberSettings.model_validate(
        {"business": "acme", "profile": "cloud", "base_url": url, "token_env": "TOKEN", "partitions": [lane]}
    )


def _settings(*urls: str) -> Settings:
    return Settings(numbers={str(20 + lane): _number(url, lane) for lane, url in enumerate(urls)})


@pytest.mark.parametrize(
    ("urls", "port"),
    [
        ((), 0),
        (("http://127.0.0.1:8085/v24.0",), 8085),
        (("http://127.0.0.1:8085", "http://localhost:8085/v24.0"), 8085),
        (("https://graph.facebook.com/v24.0",), None),
        (("http://127.0.0.1:8085", "https://graph.facebook.com/v24.0"), None),
        (("http://127.0.0.1:8085", "http://127.0.0.1:8086"), None),
    ],
)
def test_simulator_runs_only_for_numbers_on_this_machine(urls: tuple[str, ...], port: int | None) -> None:
    """No numbers: a simulator anywhere; all at one port of this machine: there; a real API: none."""
    assert plan.simulator_port(_settings(*urls)) == port


def test_simulator_gets_to_know_tokens_and_logins(tmp_path: Path) -> None:
    """Fixed tokens and logins are told apart, and each stands for its number."""
    token, password = tmp_path / "token", tmp_path / "password"
    token.write_text("t")
    password.write_text("p")
    own = {"business": "acme", "profile": "v1", "base_url": "http://127.0.0.1:1"}
    numbers = {
        "20": {**own, "token_file": token, "partitions": [0]},
        "21": {**own, "login_user": "admin", "login_password_file": password, "partitions": [1]},
    }
    assert plan.credentials(Settings.model_validate({"numbers": numbers})) == {
        "tokens": ["t"], "logins": {"admin": "p"}, "number_of_token": {"t": "20", "admin": "21"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "environ", "is_configured"),
    [
        ("", {}, False),
        ("[kafka]\ntopic_prefix = 'a'\n", {}, False),
        ("[kafka]\nbootstrap_servers = '127.0.0.1:9092'\n", {}, True),
        ("", {"WAPIPE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9092"}, True),
        ("", {"wapipe_kafka__bootstrap_servers": "127.0.0.1:9092"}, True),
        ("", {"WAPIPE_KAFKA": '{"bootstrap_servers": "a:1"}'}, True),
        ("", {"WAPIPE_KAFKA__TOPIC_PREFIX": "a"}, False),
    ],
)
def test_broker_is_configured_only_if_somebody_named_it(
    tmp_path: Path, text: str, environ: dict[str, str], is_configured: bool
) -> None:
    """A broker counts as the user's if file or environment names one, the default's address included."""
    file = tmp_path / "wapipe.toml"
    file.write_text(text)
    assert plan.is_broker_configured(file, environ) is is_configured


def test_settings_file_reads_back_as_what_runs(tmp_path: Path) -> None:
    """The generated file holds all settings: commands that are given it see what the processes see."""
    settings = plan.local_settings(Settings(), KafkaSettings(), tmp_path, "http://127.0.0.1:1", 2, 3)
    assert load(plan.write_settings(settings, tmp_path), {}) == settings
    assert set(settings.numbers) == {plan.V1_NUMBER, plan.CLOUD_NUMBER}
    assert settings.ingress.port == 2


def test_numbers_of_the_user_are_left_as_they_are(tmp_path: Path) -> None:
    """With numbers of their own, a user gets no others and keeps the ingress; only the console gets a token."""
    base = _settings("https://graph.facebook.com/v24.0")
    settings = plan.local_settings(base, base.kafka, tmp_path, None, 2, 3)
    assert settings.model_copy(update={"console": base.console}) == base
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["console-token"]


def test_secrets_are_random_kept_and_private(tmp_path: Path) -> None:
    """Secrets are made once, differ, may be read by their owner only, and stand in no settings."""
    settings = plan.local_settings(Settings(), KafkaSettings(), tmp_path, "http://127.0.0.1:1", 2, 3)
    files = sorted((tmp_path / "secrets").iterdir())
    texts = [file.read_text().strip() for file in files]
    assert len(set(texts)) == len(files) == 5
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    plan.local_settings(Settings(), KafkaSettings(), tmp_path, "http://127.0.0.1:1", 2, 3)
    assert [file.read_text().strip() for file in files] == texts
    assert not any(text in as_toml(settings.model_dump(mode="json")) for text in texts)


def test_own_broker_gets_nothing_that_a_single_one_cannot_do() -> None:
    """Security and replication of the user's cluster do not hold for the broker on this machine; names and sizes do."""
    given = KafkaSettings(bootstrap_servers="a:1", replication_factor=3, min_insync_replicas=2, topic_prefix="x-")
    own = plan.own_kafka(given, "127.0.0.1:5")
    assert (own.bootstrap_servers, own.replication_factor, own.min_insync_replicas) == ("127.0.0.1:5", 1, 1)
    assert own.topic_prefix == "x-"


def test_children_have_ports_and_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of a role share neither port nor folder, and settings of this shell do not reach them twice."""
    monkeypatch.setenv("WAPIPE_HTTP__PORT", "9101")
    monkeypatch.setenv("TOKEN", "t")
    children = plan.role_children(tmp_path / "wapipe.toml", tmp_path, {"gate": 2, "sender": 1})
    assert [child.name for child in children] == ["gate-1", "gate-2", "sender-1"]
    assert len({child.health_url for child in children}) == 3
    assert len({child.env["WAPIPE_STORAGE__DATA_DIR"] for child in children}) == 3
    assert "9101" not in {child.env["WAPIPE_HTTP__PORT"] for child in children}
    assert all(child.env["TOKEN"] == "t" and child.argv[-1] == child.name.split("-")[0] for child in children)
