"""Commands as a shell calls them, as far as they need no Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.cli import schemas, webhooks
from pipeline.cli.simulator import settings_of, spell_of
from pipeline.ingress.check import CheckResult
from tests.unit.cli.conftest import Run

SEND = ("send", "--to", "+1 555-010-9999", "--category", "utility")


def test_config_check_says_ok(run: Run) -> None:
    """Good settings with readable secrets are ok."""
    result = run("config", "check")
    assert result.exit_code == 0
    assert result.stdout == "ok 1 number, Kafka at 127.0.0.1:1\n"


def test_config_check_names_every_secret_that_is_missing(run: Run, settings_file: Path, tmp_path: Path) -> None:
    """All unusable secret files are named by key, exit 78; without --no-secrets only."""
    (tmp_path / "token").unlink()
    settings_file.write_text(settings_file.read_text() + '\n[ingress]\nverify_token_file = "/nowhere/verify"\n')
    result = run("config", "check")
    assert result.exit_code == 78
    assert "numbers.200000000000001.token_file" in result.stderr
    assert "ingress.verify_token_file" in result.stderr
    assert run("config", "check", "--no-secrets").exit_code == 0


def test_config_show_never_reads_a_secret(run: Run) -> None:
    """Neither tokens nor passwords in addresses are shown, in either form."""
    for args in (("config", "show"), ("config", "show", "--json")):
        result = run(*args)
        assert result.exit_code == 0
        assert "t0ken" not in result.stdout
        assert "hidden" not in result.stdout
        assert "token_file" in result.stdout
    assert orjson.loads(run("config", "show", "--json").stdout)["kafka"]["bootstrap_servers"] == "127.0.0.1:1"


def test_config_knows_logins(run: Run, settings_file: Path, tmp_path: Path) -> None:
    """`check` looks for the password of a login, `show` names where it is, and nobody prints it."""
    password, text = tmp_path / "password", settings_file.read_text()
    text = text.replace('"cloud"', '"v1"').replace("token_file", 'login_user = "admin"\nlogin_password_file')
    settings_file.write_text(text.replace(str(tmp_path / "token"), str(password)))
    result = run("config", "check")
    assert result.exit_code == 78
    assert "numbers.200000000000001.login_password_file" in result.stderr
    password.write_text("HUSH")
    assert run("config", "check").exit_code == 0
    shown = run("config", "show").stdout
    assert f'login_password_file = "{password}"' in shown
    assert 'login_user = "admin"' in shown
    assert "HUSH" not in shown


def test_config_docs_needs_no_settings(run: Run) -> None:
    """The table of settings is printed without any settings at hand."""
    result = run("config", "docs", config=None)
    assert result.exit_code == 0
    assert result.stdout.startswith("| key | type | default | meaning |")


def test_send_dry_run_prints_the_record(run: Run) -> None:
    """--dry-run needs no broker and prints what would be written; the only configured number is the sender."""
    result = run(
        *SEND, "--template", "order_shipped", "--lang", "en_US", "--param", "4711", "--request-id", "r1",
        "--purpose", "order-updates", "--campaign", "c", "--metadata", "shop=berlin", "--expires-in", "10m",
        "--urgent", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = orjson.loads(result.stdout)
    assert record.pop("expires_at").endswith("Z")
    assert record == {
        "request_id": "r1", "from": "200000000000001", "to": "15550109999", "category": "utility",
        "purpose": "order-updates", "priority": "urgent", "campaign": "c", "not_before": None,
        "metadata": {"shop": "berlin"},
        "message": {"type": "template", "template": {
            "name": "order_shipped", "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "4711"}]}]}},
    }  # fmt: skip


def test_send_reads_a_message_from_stdin(run: Run) -> None:
    """`--file -` takes the message body from standard input."""
    body = {"type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": "👍"}}
    result = run(*SEND, "--file", "-", "--dry-run", stdin=orjson.dumps(body).decode())
    assert orjson.loads(result.stdout)["message"] == body


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ((), "exactly one"),
        (("--text", "a", "--template", "b"), "exactly one"),
        (("--template", "b"), "--lang"),
        (("--text", "a", "--lang", "de"), "belong to --template"),
        (("--text", "a", "--priority", "high"), "--priority"),
        (("--text", "a", "--timeout", "never"), "never"),
    ],
)
def test_send_with_contradicting_options_exits_64(run: Run, args: tuple[str, ...], word: str) -> None:
    """Options that do not go together are a usage error that names them."""
    result = run(*SEND, *args)
    assert result.exit_code == 64
    assert word in result.stderr


def test_send_lists_every_problem_and_exits_65(run: Run) -> None:
    """A request that breaks the contract is not written: one line per problem, exit 65, nothing on stdout."""
    result = run("send", "--to", "abc", "--category", "utility", "--text", "hi", "--purpose", "A B")
    assert result.exit_code == 65
    assert [text.split(":")[0] for text in result.stderr.splitlines()] == ["to", "purpose"]
    assert result.stdout == ""


def test_send_without_number_names_the_choices(run: Run, settings_file: Path) -> None:
    """With two numbers configured, --from is needed."""
    text = settings_file.read_text()
    second = text[text.index("[numbers") :].replace("200000000000001", "200000000000002")
    settings_file.write_text(f"{text}\npartitions = [0]\n{second}\npartitions = [1]\n")
    result = run(*SEND, "--text", "hi")
    assert result.exit_code == 64
    assert "200000000000001, 200000000000002" in result.stderr


def test_consent_grant_that_would_be_refused_is_not_written(run: Run) -> None:
    """A grant that the gate would refuse exits 65 with the gate's reason."""
    common = ("consent", "grant", "15550109999", "--category", "utility", "--method", "checkbox", "--source", "x")
    result = run(*common, "--actor", "business")
    assert result.exit_code == 65
    assert "not_active" in result.stderr
    result = run(*common, "--business", "other")
    assert result.exit_code == 65
    assert "unknown_business" in result.stderr


def test_consent_import_dry_run_needs_no_broker(run: Run, tmp_path: Path) -> None:
    """A dry run checks every line, lists the refused ones, exits 65 for them, and writes nothing."""
    file = tmp_path / "c.jsonl"
    good = {
        "recipient": "15550109999", "business": "acme", "categories": ["utility"], "at": "2026-01-20T08:00:00Z",
        "method": "checkbox", "source": "x",
    }  # fmt: skip
    file.write_bytes(orjson.dumps(good) + b"\n" + orjson.dumps({**good, "recipient": "x"}) + b"\n")
    result = run("consent", "import", str(file), "--dry-run")
    assert result.exit_code == 65
    assert result.stdout.splitlines()[-1] == "1 would be written of 2, 1 refused"
    parsed = orjson.loads(run("consent", "import", str(file), "--dry-run", "--json").stdout)
    assert (parsed["written"], parsed["good"], parsed["refused"]) == (0, 1, 1)
    assert parsed["refused_lines"][0]["line"] == 2


def test_spells_are_read(run: Run) -> None:
    """KIND:IN:FOR[:RETRY_AFTER] in durations; anything else names the form."""
    assert spell_of("429:20s:10s") == {"kind": "429", "in_s": 20, "for_s": 10}
    assert spell_of("503:1m:500ms:auto") == {"kind": "503", "in_s": 60, "for_s": 0.5, "retry_after": "auto"}
    assert spell_of("503:0:10:5")["retry_after"] == 5
    for bad in ("429:1s", "429:1s:2s:3s:4s", "429:x:1s", "418:1s:1s", "429:1s:0"):
        result = run("simulator", "--spell", bad)
        assert result.exit_code == 64, bad


def test_simulator_options_become_its_settings() -> None:
    """Options that were given are set, the others keep the simulator's own defaults."""
    settings = settings_of({"port": 0, "rate_per_s": 50.0, "burst": None, "pair_limit": True}, ("429:20s:10s:auto",))
    assert (settings.port, settings.rate_per_s, settings.burst, settings.pair_limit) == (0, 50.0, None, True)
    assert settings.spells[0].retry_after == "auto"


def test_simulator_scenario_is_read_and_named(run: Run, tmp_path: Path) -> None:
    """A scenario gives settings, options win over it, and a wrong one exits 78 with file and key."""
    path = tmp_path / "storm.toml"
    path.write_text("burst = 3\nseed = 9\n[[events]]\nexpire_tokens = true\n")
    settings = settings_of({"profile": "cloud", "burst": 5}, (), path)
    assert (settings.profile, settings.burst, settings.seed, len(settings.events)) == ("cloud", 5, 9, 1)
    path.write_text("bursts = 3\n")
    result = run("simulator", "--scenario", str(path))
    assert result.exit_code == 78
    assert "storm.toml: bursts" in result.stderr


def test_schemas_check_exits_65_on_drift(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drift is listed and exits 65; no drift exits 0."""
    monkeypatch.setattr(schemas, "drift", lambda folder, _further: [f"{folder.name}/request-1.json differs"])
    result = run("schemas", "check", str(tmp_path), config=None)
    assert result.exit_code == 65
    assert "request-1.json differs" in result.stdout
    monkeypatch.setattr(schemas, "drift", lambda _folder, _further: [])
    assert run("schemas", "check", str(tmp_path), config=None).exit_code == 0


def test_schemas_export_then_check_agree(run: Run, tmp_path: Path) -> None:
    """What export wrote, check finds in order; a changed file is drift."""
    result = run("schemas", "export", str(tmp_path / "s"), "--json", config=None)
    assert result.exit_code == 0, result.output
    files = orjson.loads(result.stdout)
    assert files
    assert run("schemas", "check", str(tmp_path / "s"), config=None).exit_code == 0
    Path(files[0]).write_text("{}")
    assert run("schemas", "check", str(tmp_path / "s"), config=None).exit_code == 65


@pytest.mark.parametrize(("is_ok", "code"), [(True, 0), (False, 65)])
def test_webhooks_check_exits_by_the_answer(run: Run, monkeypatch: pytest.MonkeyPatch, is_ok: bool, code: int) -> None:
    """The ingress's answer is shown, and decides between 0 and 65."""

    async def check(_settings: object, number: str, port: int | None) -> CheckResult:
        return CheckResult(number, f"http://127.0.0.1:{port}/webhook", is_ok, 200 if is_ok else 401, "said so", 12)

    monkeypatch.setattr(webhooks, "check_webhook", check)
    result = run("webhooks", "check", "200000000000001", "--port", "8085")
    assert result.exit_code == code
    assert "http://127.0.0.1:8085/webhook said so" in result.stdout


def test_webhooks_check_of_an_unknown_number_exits_78(run: Run) -> None:
    """A number that is not configured is a configuration error that names the known ones."""
    result = run("webhooks", "check", "9")
    assert result.exit_code == 78
    assert "200000000000001" in result.stderr
