"""Settings as text: complete, and without secrets."""

from __future__ import annotations

import tomllib

from pipeline.cli.settings_text import MASK, as_markdown, as_toml, leaves, masked_settings
from pipeline.config import KafkaSettings, NumberSettings, OptOutPayload, PolicySettings, Settings


def _settings() -> Settings:
    number = NumberSettings.model_validate({
        "business": "a\"c\\me\x7f", "profile": "cloud", "base_url": "https://user:hidden@graph.example/v24.0",
        "token_env": "TOKEN", "partitions": [0, 1],
    })  # fmt: skip
    return Settings(
        kafka=KafkaSettings(
            client={"sasl.oauthbearer.config": "hidden", "ssl.some.password": "hidden", "linger.ms": 5}
        ),
        numbers={"200000000000001": number},
        policy=PolicySettings(opt_out_payloads={"STOP OFFERS": OptOutPayload(category="marketing")}),
    )


def test_shown_settings_are_toml_that_gives_the_same_settings() -> None:
    """What `config show` prints can be read again: all values but masked ones come back."""
    settings = _settings()
    values = masked_settings(settings)
    parsed = tomllib.loads(as_toml(values))
    again = Settings(**parsed)
    assert masked_settings(again) == values
    assert again.policy == settings.policy
    assert again.numbers["200000000000001"].business == 'a"c\\me\x7f'


def test_nothing_secret_is_shown() -> None:
    """User info in URLs and client properties that may hold secrets are masked; others are not."""
    text = as_toml(masked_settings(_settings()))
    assert "hidden" not in text
    assert f"https://{MASK}@graph.example" in text
    assert '"linger.ms" = 5' in text


def test_list_values_with_commas_are_kept() -> None:
    """A comma inside a text is not touched."""
    values = {"policy": {"stop_keywords": ["a,b", "c"]}}
    assert tomllib.loads(as_toml(values)) == values


def test_every_setting_is_in_the_table_with_a_meaning() -> None:
    """The table has a row for each key of every section, each with type, default and meaning."""
    rows = [line.split(" | ") for line in as_markdown().splitlines()[2:]]
    keys = [row[0].removeprefix("| ").strip("`") for row in rows]
    assert len(keys) == len(set(keys)) == len(list(leaves(Settings, "")))
    for expected in (
        "kafka.bootstrap_servers", "numbers.<number id>.profile", "policy.opt_out_payloads.<payload>.category",
        "sender.unknown_wait_s", "storage.data_dir",
    ):  # fmt: skip
        assert expected in keys
    for row in rows:
        assert len(row) == 4
        assert all(cell.strip(" |") for cell in row), row


def test_table_names_defaults_and_bounds() -> None:
    """Defaults, required keys, choices and bounds are readable."""
    rows = {line.split("`")[1]: line for line in as_markdown().splitlines()[2:]}
    assert "| required |" in rows["numbers.<number id>.business"]
    assert "≥ 6, ≤ 60" in rows["kafka.session_timeout_s"]
    assert "`cloud` `360dialog` `v1`" in rows["numbers.<number id>.profile"]
    assert '`".wapipe"`' in rows["storage.data_dir"]
