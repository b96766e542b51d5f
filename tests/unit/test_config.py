"""Settings: the contract's file loads, the environment wins, every mistake is named with what would be right."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ENV_CONFIG, ENV_PREFIX, NumberSettings, Settings, load
from pipeline.errors import EXIT_CONFIG, ConfigError

FULL = """
[kafka]
bootstrap_servers = "127.0.0.1:9092"
topic_prefix = ""
recipient_partitions = 12
replication_factor = 1
startup_timeout_s = 60
session_timeout_s = 10
security_protocol = "PLAINTEXT"
[kafka.client]
[kafka.retention_h]

[numbers.200000000000001]
business = "acme"
account = "300000000000001"
portfolio = "p1"
profile = "cloud"
api_version = "v2.53"
base_url = "https://graph.facebook.com/v24.0"
token_file = "/run/secrets/token"
rate_per_s = 80
burst = 80
partitions = [0]

[policy]
require_webhook = true
require_templates = true
on_quality_red = "pause-bulk"
require_opt_out_in_marketing = "warn"
require_evidence_text = "warn"
stop_keywords = ["stop", "unsubscribe"]
stop_revokes = ["*"]
opt_out_payloads = { STOP_OFFERS = { category = "marketing", purpose = "offers" } }
ttl_s = { authentication = 600, utility = 86400, marketing = 259200, service = 86400 }

[sender]
unknown_wait_s = 30
on_unknown = { authentication = "resend", utility = "resend", marketing = "dead-letter", service = "resend" }
dedupe_window_s = 900
max_attempts = 5
lane_wait_max_s = 2
opt_out_stale_s = 5

[ingress]
host = "0.0.0.0"
port = 8080
path = "/webhook"
verify_token_file = "…"
app_secret_files = ["…"]

[http]
host = "127.0.0.1"

[storage]
data_dir = ".wapipe"
"""

ONE = """
[numbers.200000000000001]
business = "acme"
profile = "cloud"
base_url = "https://graph.facebook.com/v24.0"
token_env = "ACME_TOKEN"
"""

Load = Callable[[str], Settings]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the settings of the machine that runs the tests out of the way."""
    for name in [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """A function that loads settings from the text of a TOML file."""

    def load_it(text: str) -> Settings:
        path = tmp_path / "wapipe.toml"
        path.write_text(text)
        return load(path)

    return load_it


def test_the_contracts_file_loads(load_text: Load) -> None:
    """Every key that the contract shows is taken, with the value it shows."""
    settings = load_text(FULL)
    number = settings.numbers["200000000000001"]
    assert (number.business, number.profile, number.rate_per_s, number.burst) == ("acme", "cloud", 80, 80)
    assert number.token_file == Path("/run/secrets/token")
    assert settings.policy.opt_out_payloads["STOP_OFFERS"].purpose == "offers"
    assert settings.sender.on_unknown["marketing"] == "dead-letter"
    assert settings.http.port is None
    assert settings.storage.data_dir == Path(".wapipe")


def test_without_a_file_the_defaults_hold() -> None:
    """No file and no variable: the defaults of the contract, and no number."""
    settings = load()
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert settings.kafka.recipient_partitions == 12
    assert settings.numbers == {}
    assert settings.lanes() == {}
    assert settings.lane_partitions() == 1


def test_defaults_are_the_contracts(load_text: Load) -> None:
    """Leaving out what the contract calls a default changes nothing (but rate and burst, which go by profile)."""
    full = load_text(FULL)
    bare = load_text(ONE)
    assert full.kafka == bare.kafka
    assert full.sender == bare.sender
    assert full.http == bare.http
    assert full.policy.model_copy(update={"opt_out_payloads": {}}) == bare.policy


def test_file_is_named_by_variable(tmp_path: Path) -> None:
    """WAPIPE_CONFIG names the file when no path is given; a given path goes before it."""
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text('[kafka]\ntopic_prefix = "a-"')
    second.write_text('[kafka]\ntopic_prefix = "b-"')
    assert load(environ={ENV_CONFIG: str(first)}).topic("consent") == "a-consent"
    assert load(second, environ={ENV_CONFIG: str(first)}).topic("consent") == "b-consent"


def test_environment_wins_over_the_file(load_text: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces the one key it names; its neighbours in the file stay."""
    monkeypatch.setenv("WAPIPE_KAFKA__BOOTSTRAP_SERVERS", "kafka-1:9092")
    monkeypatch.setenv("WAPIPE_NUMBERS__200000000000001__RATE_PER_S", "20")
    monkeypatch.setenv("WAPIPE_NUMBERS__200000000000001__PARTITIONS", "[3, 4]")
    monkeypatch.setenv("WAPIPE_POLICY__TTL_S__SERVICE", "60")
    settings = load_text('[kafka]\nbootstrap_servers = "file:1"\ntopic_prefix = "p-"\n' + ONE)
    assert settings.kafka.bootstrap_servers == "kafka-1:9092"
    assert settings.kafka.topic_prefix == "p-"
    assert settings.numbers["200000000000001"].rate_per_s == 20
    assert settings.numbers["200000000000001"].business == "acme"
    assert settings.lanes() == {3: ("200000000000001", 0), 4: ("200000000000001", 1)}
    assert settings.policy.ttl_s["service"] == 60


def test_variables_alone_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container needs no file: a whole number can be set by variables."""
    for name, value in {
        "BUSINESS": "acme", "PROFILE": "v1", "BASE_URL": "https://waba.example:9090/", "TOKEN_FILE": "/run/token",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"WAPIPE_NUMBERS__7__{name}", value)
    number = load().numbers["7"]
    assert number.profile == "v1"
    assert number.base_url == "https://waba.example:9090"
    assert number.token_file == Path("/run/token")


def test_lanes_and_their_partitions(load_text: Load) -> None:
    """Each pinned partition is one lane of its number; lane topics need all partitions up to the highest."""
    settings = load_text(
        ONE + "partitions = [4, 1]\n" + ONE.replace("200000000000001", "200000000000002") + "partitions = [0]"
    )
    assert settings.lanes() == {
        4: ("200000000000001", 0),
        1: ("200000000000001", 1),
        0: ("200000000000002", 0),
    }
    assert settings.lane_partitions() == 5


def test_a_login_in_place_of_a_token(load_text: Load) -> None:
    """A v1 number may log in; numbers with the same user at the same base_url have the same login, others none."""
    other = LOGIN.replace("200000000000001", "2").replace("v24.0", "v24.0/") + PASSWORD + "\npartitions = [1]"
    third = ONE.replace("200000000000001", "3") + "partitions = [2]"
    settings = load_text(LOGIN + PASSWORD + "\npartitions = [0]" + other + third)
    first, second, fixed = settings.numbers.values()
    assert first.login == second.login == ("https://graph.facebook.com/v24.0", "admin")
    assert fixed.login is None


def test_a_single_number_needs_no_partitions(load_text: Load) -> None:
    """One number without pinned partitions has lane 0."""
    settings = load_text(ONE)
    assert settings.lanes() == {0: ("200000000000001", 0)}
    assert settings.lane_partitions() == 1


def test_partial_tables_keep_the_other_defaults(load_text: Load) -> None:
    """Setting the time of one category leaves those of the others."""
    settings = load_text('[policy]\nttl_s = { marketing = 60 }\n[sender]\non_unknown = { utility = "dead-letter" }')
    assert settings.policy.ttl_s == {"authentication": 600, "utility": 86_400, "marketing": 60, "service": 86_400}
    assert settings.sender.on_unknown["utility"] == "dead-letter"
    assert settings.sender.on_unknown["authentication"] == "resend"


N = "numbers.200000000000001"
SASL = "[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_mechanism = 'PLAIN'\nsasl_username = 'u'\n"
LOGIN = ONE.replace('"cloud"', '"v1"').replace('token_env = "ACME_TOKEN"', 'login_user = "admin"')
PASSWORD = 'login_password_file = "/run/secrets/password"'


@pytest.mark.parametrize(
    ("text", "key", "right"),
    [
        pytest.param("[kafka]\nbootstrap = 'x:1'", "kafka.bootstrap", "no such setting", id="wrong key"),
        pytest.param("[kafak]\nx = 1", "kafak", "tables are console, http, ingress, kafka", id="wrong table"),
        pytest.param("_cli_parse_args = true", "_cli_parse_args", "no such setting", id="a switch of the library"),
        pytest.param("[kafka]\nrecipient_partitions = 'many'", "kafka.recipient_partitions", "integer", id="type"),
        pytest.param("[policy]\nstop_keywords = 'stop'", "policy.stop_keywords", "list", id="text for a list"),
        pytest.param("[kafka.client]\n'x.y' = [1]", "kafka.client.x.y", "valid", id="list as librdkafka property"),
        pytest.param(ONE + "rate_per_s = 0", f"{N}.rate_per_s", "greater than 0", id="rate 0"),
        pytest.param(ONE + "rate_per_s = -1", f"{N}.rate_per_s", "greater than 0", id="rate below 0"),
        pytest.param(ONE + "rate_per_s = nan", f"{N}.rate_per_s", "finite number", id="rate nan"),
        pytest.param(ONE + "burst = 0.5", f"{N}.burst", "greater than or equal to 1", id="burst below 1"),
        pytest.param(ONE + "max_in_flight = 0", f"{N}.max_in_flight", "greater than or equal to 1", id="no request"),
        pytest.param(ONE + "partitions = []", f"{N}.partitions", "at least 1", id="no lane"),
        pytest.param(ONE + "partitions = [-1]", f"{N}.partitions.0", "greater than or equal to 0", id="lane below 0"),
        pytest.param(ONE + "partitions = [0, 0]", f"{N}.partitions", "partitions of its own", id="lane twice"),
        pytest.param(ONE.replace('profile = "cloud"', ""), f"{N}.profile", "is required", id="no profile"),
        pytest.param(
            ONE.replace('"cloud"', '"clowd"'), f"{N}.profile", "'cloud', '360dialog' or 'v1'", id="unknown profile"
        ),
        pytest.param(ONE.replace("business", "busyness"), f"{N}.business", "is required", id="no business"),
        pytest.param(ONE.replace("https://", ""), f"{N}.base_url", "https?://", id="base_url without scheme"),
        pytest.param(ONE.replace("https://", "ftp://"), f"{N}.base_url", "https?://", id="base_url of another scheme"),
        pytest.param(ONE.replace("v24.0", "v24.0?x=1"), f"{N}.base_url", "https?://", id="base_url with a query"),
        pytest.param(
            ONE.replace('token_env = "ACME_TOKEN"', ""), N, "exactly one of token_file and token_env", id="no token"
        ),
        pytest.param(ONE + 'token_file = "t"', N, "exactly one of token_file and token_env", id="two tokens"),
        pytest.param(ONE + 'token = "HUSH"', f"{N}.token", "token_file or token_env", id="token in the file"),
        pytest.param(LOGIN, N, "exactly one of login_password_file and login_password_env", id="no password"),
        pytest.param(
            LOGIN + PASSWORD + '\nlogin_password_env = "P"', N, "exactly one of login_password_file", id="two passwords"
        ),
        pytest.param(LOGIN + PASSWORD + '\ntoken_env = "T"', N, "exactly one of token_file", id="token and login"),
        pytest.param(ONE + PASSWORD, N, "go with login_user", id="password without a user"),
        pytest.param(
            LOGIN.replace('"v1"', '"cloud"') + PASSWORD, N, "no login on cloud; use token_file", id="login on cloud"
        ),
        pytest.param(
            LOGIN + "login_password = 'HUSH'", f"{N}.login_password", "login_password_file or login_password_env",
            id="login password in the file",
        ),
        pytest.param(LOGIN.replace("admin", "a:b") + PASSWORD, f"{N}.login_user", "pattern", id="user with a colon"),
        pytest.param(
            LOGIN + PASSWORD + "\npartitions = [0]" + LOGIN.replace("200000000000001", "2")
            + 'partitions = [1]\nlogin_password_env = "P"',
            "numbers.2", "same login_password_file (or _env)", id="one login with two passwords",
        ),
        pytest.param(
            "[kafka]\nsasl_password = 'HUSH'", "kafka.sasl_password", "sasl_password_file", id="password in the file"
        ),
        pytest.param(
            "[ingress]\napp_secret = 'HUSH'", "ingress.app_secret", "may not stand in the settings", id="app secret"
        ),
        pytest.param(
            "[kafka.client]\n'sasl.password' = 'HUSH'", "kafka.client", "sasl_password_file", id="secret property"
        ),
        pytest.param(ONE.replace("200000000000001", "'+49151'"), "numbers", "digits only", id="number id with a plus"),
        pytest.param("[numbers]\n7 = 1", "numbers.7", "dictionary", id="number that is no table"),
        pytest.param(
            ONE + ONE.replace("200000000000001", "2"), "numbers.200000000000001.partitions", "is required once",
            id="two numbers without lanes",
        ),
        pytest.param(
            ONE + 'display_phone_number = "+49 151"', "numbers.200000000000001.display_phone_number", "pattern",
            id="display number that is not digits",
        ),
        pytest.param(
            (ONE + 'partitions = [0]\ndisplay_phone_number = "15550100001"')
            + ONE.replace("200000000000001", "2") + 'partitions = [1]\ndisplay_phone_number = "15550100001"',
            "numbers.2.display_phone_number", "already belongs to 200000000000001", id="two numbers of one name",
        ),
        pytest.param(
            ONE + "partitions = [0, 1]" + ONE.replace("200000000000001", "2") + "partitions = [1]",
            "numbers.2.partitions: lane 1", "already belongs to 200000000000001", id="two numbers on one lane",
        ),
        pytest.param(
            "[kafka]\nmin_insync_replicas = 2", "kafka", "min_insync_replicas must be at most", id="more in sync"
        ),
        pytest.param(
            "[kafka]\nsecurity_protocol = 'SASL_SSL'", "kafka", "sasl_mechanism is required", id="SASL without a way"
        ),
        pytest.param(SASL, "kafka", "needs sasl_password_file or sasl_password_env", id="SASL without a password"),
        pytest.param(
            SASL + "sasl_password_file = 'f'\nsasl_password_env = 'V'", "kafka", "name one of them", id="two passwords"
        ),
        pytest.param(
            "[kafka]\nsasl_username = 'u'", "kafka", "set security_protocol to SASL_SSL", id="user that is not used"
        ),
        pytest.param(
            "[kafka]\nssl_ca_file = 'f'", "kafka", "set security_protocol to SSL or SASL_SSL", id="CA that is not used"
        ),
        pytest.param(
            "[kafka]\nsecurity_protocol = 'SSL'\nssl_cert_file = 'f'", "kafka", "go together", id="no key"
        ),
        pytest.param(
            "[kafka.client]\n'sasl.mechanism' = 'PLAIN'", "kafka.client", "use sasl_mechanism instead",
            id="property that Faust would not hear of",
        ),
        pytest.param("[kafka.retention_h]\nconsent = 0", "kafka.retention_h.consent", "greater than 0", id="0 hours"),
        pytest.param("[kafka.retention_h]\nconsent = inf", "kafka.retention_h.consent", "finite", id="endless hours"),
        pytest.param("[policy]\nttl_s = { utility = 0 }", "policy.ttl_s", "ttl_s.utility must be above 0", id="0 s"),
        pytest.param("[policy]\nttl_s = { news = 5 }", "policy.ttl_s.news", "'marketing', 'utility'", id="no category"),
        pytest.param(
            "[policy]\nstop_revokes = ['all']", "policy.stop_revokes.0", "'marketing', 'utility'", id="STOP of nothing"
        ),
        pytest.param(
            "[sender]\non_unknown = { utility = 'drop' }", "sender.on_unknown.utility", "'resend' or 'dead-letter'",
            id="unknown policy",
        ),
        pytest.param("[ingress]\napp_secret_files = ['a','b','c']", "app_secret_files", "at most 2", id="3 secrets"),
        pytest.param("[http]\nport = 70000", "http.port", "less than or equal to 65535", id="port too high"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_would_be_right(load_text: Load, text: str, key: str, right: str) -> None:
    """A wrong setting stops the start with its key and what would be right, and never shows a secret."""
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    said = str(caught.value)
    assert key in said
    assert right in said
    assert "HUSH" not in said
    assert caught.value.exit_code == EXIT_CONFIG


def test_every_mistake_is_named_at_once(load_text: Load) -> None:
    """Two mistakes are two lines under the name of the file."""
    with pytest.raises(ConfigError, match=r"wapipe\.toml") as caught:
        load_text("[http]\nport = -1\n[kafka]\nrecipient_partitions = 0")
    assert "http.port: " in str(caught.value)
    assert "kafka.recipient_partitions: " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("WAPIPE_KAFAK__BOOTSTRAP_SERVERS", "x", "WAPIPE_KAFAK__BOOTSTRAP_SERVERS: no such setting; tables are"),
        ("WAPIPE_TOKEN", "HUSH", "WAPIPE_TOKEN: no such setting"),
        ("wapipe_kafak__x", "x", "no such setting"),
        ("WAPIPE_KAFKA__BOOTSTRAP", "x", "kafka.bootstrap: no such setting"),
        ("WAPIPE_KAFKA__RECIPIENT_PARTITIONS", "many", "kafka.recipient_partitions: Input should be a valid integer"),
        ("WAPIPE_NUMBERS__7__TOKEN", "HUSH", "numbers.7.token: no such setting"),
        ("WAPIPE_NUMBERS__7__LOGIN_PASSWORD", "HUSH", "numbers.7.login_password: no such setting"),
        ("WAPIPE_KAFKA", "HUSH", "WAPIPE_KAFKA: a list or table in the environment is written as JSON"),
        ("WAPIPE_POLICY__STOP_KEYWORDS", "stop", "WAPIPE_POLICY__STOP_KEYWORDS: a list or table"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, right: str) -> None:
    """A variable that names no setting, or holds a wrong value, stops the start by name."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert right in str(caught.value)
    assert "HUSH" not in str(caught.value)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    """A missing file, a folder and a file that is no TOML are named with what would be right."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read .*--config"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read"):
        load(tmp_path)
    for content in (b"[kafka", b"\xff\xfe", b"a = 1\na = 2"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
            load(tmp_path / "bad.toml")


def test_settings_do_not_change(load_text: Load) -> None:
    """Settings are values: nobody changes them after the start."""
    settings = load_text(ONE)
    target: Any = settings.kafka
    with pytest.raises(ValueError, match="frozen"):
        target.topic_prefix = "x"


def test_numbers_can_be_made_in_code() -> None:
    """Tests and tools make settings without a file."""
    number = NumberSettings(business="acme", profile="v1", base_url="http://127.0.0.1:9/", token_env="T")
    assert number.base_url == "http://127.0.0.1:9"
