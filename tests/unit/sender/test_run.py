"""What stops a sender before it has asked anybody anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.sender.run import run_sender
from tests.support.sender_values import NUMBER


@pytest.mark.parametrize(
    ("way", "key"),
    [
        ({"token_file": "nowhere"}, "token_file"),
        ({"login_user": "admin", "login_password_file": "nowhere"}, "login_password_file"),
        ({"login_user": "admin", "login_password_env": "WAPIPE_TEST_NOWHERE"}, "login_password_env"),
    ],
)
def test_a_missing_secret_stops_the_start(tmp_path: Path, way: dict[str, str], key: str) -> None:
    """A token or password that cannot be read is named by its key, before Kafka is waited for."""
    paths = {name: str(tmp_path / value) if name.endswith("_file") else value for name, value in way.items()}
    number = {"business": "acme", "profile": "v1", "base_url": "http://127.0.0.1:1", **paths}
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "numbers": {NUMBER: number}})
    with pytest.raises(ConfigError, match=rf"^numbers\.{NUMBER}\.{key}: ") as caught:
        run_sender(settings)
    assert caught.value.exit_code == 78
