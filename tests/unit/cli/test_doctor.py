"""`wapipe doctor`: each row says what is wrong and what to do; overrides are bounded, reasoned and audited."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.cli import doctor as command
from pipeline.cli.doctor_facts import Broker, Facts, Group, Looked
from pipeline.cli.doctor_rules import Finding, diagnose
from pipeline.clock import parse_rfc3339_ms
from pipeline.config import Settings
from pipeline.operations.account import wait_sentence
from pipeline.operations.acts import Act
from pipeline.operations.timeline import step_of
from pipeline.streams.topics import Change
from pipeline.whatsapp.look import Seen
from tests.unit.cli.conftest import Run

NUMBER, ACCOUNT = "200000000000001", "300000000000001"
AT = "2026-11-22T10:00:00.000Z"
NOW_MS = parse_rfc3339_ms("2026-11-22T12:00:00.000Z")
SEEN = Seen("accepted", quality="GREEN", tier="TIER_2K", throughput="STANDARD")
OVERRIDE = {"checks": ["webhook", "templates"], "until": "2026-11-22T13:00:00.000Z", "by": "ada", "reason": "moved"}
STATES: dict[str, dict[str, Any]] = {
    f"number:{NUMBER}/webhook": {"verified": True, "at": AT},
    f"account:{ACCOUNT}/templates": {"templates": 12, "at": AT},
}
BROKER = Broker(3, [], 0.0, STATES, {"gate": Group(2, "STABLE", 5), "sender": Group(1, "STABLE", 700)})


def settings(policy: dict[str, Any] | None = None, **number: Any) -> Settings:
    """Settings of one number."""
    fields = {"business": "acme", "account": ACCOUNT, "profile": "cloud", "base_url": "https://g", "token_env": "T"}
    return Settings.model_validate({"numbers": {NUMBER: {**fields, **number}}, "policy": policy or {}})


def facts(**fields: Any) -> Facts:
    """All in order, but for these."""
    looks = {NUMBER: Looked(SEEN, 0.0)}
    return replace(Facts(settings(), NOW_MS, [], 50_000_000_000, BROKER, looks, 0.4), **fields)


def states(**changes: Any) -> Facts:
    """Other values on `account-state`, by the last part of their key; None: none."""
    keys = {"webhook": f"number:{NUMBER}/webhook", "templates": f"account:{ACCOUNT}/templates"}
    values = {**STATES, **{keys.get(name, f"number:{NUMBER}/{name}"): value for name, value in changes.items()}}
    return facts(broker=replace(BROKER, states={key: value for key, value in values.items() if value is not None}))


def seen(**fields: Any) -> Facts:
    """The API said something else."""
    return facts(looks={NUMBER: Looked(replace(SEEN, **fields), 0.0)})


def row(found: Facts, check: str, about: str = "") -> Finding:
    """The one row of a check."""
    [one] = [finding for finding in diagnose(found) if (finding.check, finding.about) == (check, about)]
    return one


def test_all_is_well() -> None:
    """With everything in order each row is ok and names no remedy."""
    rows = diagnose(facts())
    assert [(r.check, r.about) for r in rows] == [
        *(
            (check, "")
            for check in ("secrets", "data folder", "kafka", "topics", "clock", "gates", "senders", "opt-outs")
        ),
        *((check, NUMBER) for check in ("webhook", "token", "clock", "templates", "limits", "quality")),
    ]
    assert {r.status for r in rows} == {"ok"}
    assert {r.remedy for r in rows} == {None}


CHANGE = Change("create", "consent", "topic", "missing", "12 partitions", "wapipe topics apply")
SET = Change("set", "consent", "segment.ms", "1", "2", "wapipe topics apply")


def groups(**by_role: Any) -> Facts:
    """Other groups."""
    return facts(broker=replace(BROKER, groups={**BROKER.groups, **by_role}))


@pytest.mark.parametrize(
    ("found", "check", "status", "says", "remedy"),
    [
        (facts(secrets=["numbers.1.token_file: gone"]), "secrets", "fail", "token_file: gone", "wapipe config check"),
        (facts(free_bytes="/data cannot be written to"), "data folder", "fail", "/data", "storage.data_dir"),
        (facts(free_bytes=5_000_000), "data folder", "warn", "0.0 GB free", "make room"),
        (facts(broker="no answer"), "kafka", "fail", "no answer", "kafka.bootstrap_servers"),
        (facts(broker=Broker(3, [CHANGE])), "topics", "fail", "consent: topic missing", "wapipe topics apply"),
        (facts(broker=replace(BROKER, changes=[SET])), "topics", "warn", "segment.ms 1, wanted 2", "topics apply"),
        (facts(broker=replace(BROKER, skew_s=-4.2)), "clock", "warn", "4.2 s behind Kafka's", "NTP"),
        (facts(broker=replace(BROKER, skew_s=31.0)), "clock", "fail", "31.0 s ahead of Kafka's", "NTP"),
        (groups(gate=Group(0, "EMPTY", 9)), "gates", "fail", "0 running, 9 records behind", "wapipe gate"),
        (groups(gate=Group(1, "STABLE", 100_001)), "gates", "warn", "100,001 records behind", "another gate"),
        (groups(gate=Group(1, "PREPARING_REBALANCING", 0)), "gates", "warn", "preparing_rebalancing", "look again"),
        (groups(sender=Group(0, "EMPTY", 0)), "senders", "fail", "0 running", "wapipe sender"),
        (groups(sender="not authorised"), "senders", "fail", "not authorised", "describe groups"),
        (facts(opt_out_lag_s="no sender answers"), "opt-outs", "warn", "no sender", "opt_out_reader_lag_seconds"),
        (facts(opt_out_lag_s=6.0), "opt-outs", "fail", "6 s behind: nothing is sent", "reaches Kafka"),
    ],
)  # fmt: skip
def test_each_row_of_the_whole(found: Facts, check: str, status: str, says: str, remedy: str) -> None:
    """What is wrong with machine, Kafka or processes makes its row fail or warn, in words and with a remedy."""
    one = row(found, check)
    assert one.status == status
    assert says in one.found
    assert remedy in (one.remedy or "")


def looked(word: Looked | str, **number: Any) -> Facts:
    """The API was looked at with this."""
    return facts(looks={NUMBER: word}, settings=settings(**number))


SILENT = Looked(Seen("unknown", is_final=False, detail="no answer: TimeoutError"))
LOGIN: dict[str, Any] = {"token_env": None, "profile": "v1", "login_user": "admin", "login_password_env": "P"}


@pytest.mark.parametrize(
    ("found", "check", "status", "says", "remedy"),
    [
        (states(webhook=None), "webhook", "fail", "the number sends nothing", f"wapipe webhooks check {NUMBER}"),
        (states(webhook=None, override=OVERRIDE), "webhook", "warn", "lifted by an override", "wapipe webhooks check"),
        (seen(token="refused", detail="expired"), "token", "fail", "refused: expired", "where T points"),
        (seen(token="unknown", detail="HTTP 404"), "token", "warn", "HTTP 404", "wapipe send"),
        (looked(SILENT), "token", "fail", "no answer: TimeoutError", "base_url"),
        (looked("it logs in", **LOGIN), "token", "warn", "its sender says: nothing yet", "wapipe send"),
        (facts(looks={NUMBER: Looked(SEEN, 40.0)}), "clock", "fail", "40.0 s ahead of the API's", "NTP"),
        (states(templates=None), "templates", "fail", "never synced: the number sends nothing", "templates sync"),
        (states(templates=None, override=OVERRIDE), "templates", "warn", "lifted", "wapipe templates sync"),
        (states(templates={"templates": 12, "at": "2026-11-01T10:00:00.000Z"}), "templates", "warn", "21 days ago",
         "wapipe templates sync"),
        (states(templates={"templates": 0, "at": AT}), "templates", "warn", "0 synced", "wapipe templates sync"),
        (seen(throughput="HIGH"), "limits", "warn", "80/s, throughput HIGH, tier TIER_2K", "rate_per_s = 1000"),
        (seen(quality="YELLOW"), "quality", "warn", "YELLOW", "consent report"),
        (seen(quality="RED"), "quality", "fail", "RED", "consent report"),
        (states(quality={"flagged": True}), "quality", "fail", "GREEN, flagged by WhatsApp", "consent report"),
        (states(override=OVERRIDE), "override", "warn", "templates lifted until 2026-11-22T13:00:00.000Z by ada: moved",
         f"wapipe doctor --withdraw {NUMBER}"),
    ],
)  # fmt: skip
def test_each_row_of_a_number(found: Facts, check: str, status: str, says: str, remedy: str) -> None:
    """What keeps a number from sending, or soon may, makes its row fail or warn, in words and with a remedy."""
    one = row(found, check, NUMBER)
    assert one.status == status
    assert says in one.found
    assert remedy in (one.remedy or "")


def test_what_is_not_required_is_ok() -> None:
    """With the checks off by policy their rows say so."""
    lax = settings({"require_webhook": False, "require_templates": False})
    found = facts(settings=lax, broker=replace(BROKER, states={}))
    for check in ("webhook", "templates"):
        one = row(found, check, NUMBER)
        assert (one.status, one.remedy) == ("ok", None)
        assert f"policy.require_{check.removesuffix('s') if check == 'webhook' else check}" in one.found


def test_a_login_is_judged_by_what_its_sender_saw() -> None:
    """Only a sender holds the token of a login; what it saw is on `account-state`."""
    told = {f"number:{NUMBER}/preflight": {"token": "accepted"}}
    found = looked("it logs in", **LOGIN)
    assert row(replace(found, broker=replace(BROKER, states=told)), "token", NUMBER).status == "ok"


def test_an_account_without_a_name_is_told_to_name_it() -> None:
    """Templates belong to an account: a number without one learns which setting is missing."""
    one = row(facts(settings=settings(account=""), broker=replace(BROKER, states={})), "templates", NUMBER)
    assert (one.remedy or "").startswith(f"set numbers.{NUMBER}.account")


def test_without_kafka_the_rest_is_still_looked_at() -> None:
    """What only Kafka knows is skipped, and says so; the API and this machine are judged."""
    rows = {(r.check, r.about): r.status for r in diagnose(facts(broker="no answer"))}
    assert rows["kafka", ""] == "fail"
    assert rows["token", NUMBER] == rows["secrets", ""] == "ok"
    assert rows["topics", ""] == rows["webhook", NUMBER] == rows["templates", NUMBER] == "skip"


# -- the command -------------------------------------------------------------------------------------------------------
def test_no_broker_exits_69_and_shows_the_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not answer is a failing row, with the others beside it; exit 69."""
    monkeypatch.setattr("pipeline.cli.doctor_facts.KAFKA_TIMEOUT_S", 0.2)
    monkeypatch.setattr("pipeline.cli.doctor_facts.API_TIMEOUT_S", 0.2)
    result = run("doctor", "--json")
    assert result.exit_code == 69, result.output
    rows = {(found["check"], found["about"]): found for found in orjson.loads(result.stdout)}
    assert rows["settings", ""]["status"] == "ok"
    assert rows["kafka", ""]["status"] == "fail"
    assert "t0ken" not in result.output


@pytest.mark.parametrize(("free_bytes", "exit_code"), [(50_000_000_000, 0), ("read only", 65)])
def test_the_worst_row_decides_the_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, free_bytes: object, exit_code: int
) -> None:
    """All ok: 0; one failing row: 65; the table ends with a count."""
    monkeypatch.setattr(command, "gather", lambda _settings: facts(free_bytes=free_bytes))
    result = run("doctor")
    assert result.exit_code == exit_code, result.output
    assert result.stdout.splitlines()[0].split() == ["STATUS", "CHECK", "NUMBER", "FOUND", "REMEDY"]
    assert result.stdout.splitlines()[-1].startswith("15 checks: ")


def test_wrong_settings_are_a_row_too(run: Run, settings_file: Path) -> None:
    """Settings that do not hold are the only row; exit 78."""
    settings_file.write_text("[kafka]\nbootstrap = 1\n")
    result = run("doctor", "--json")
    assert result.exit_code == 78
    [only] = orjson.loads(result.stdout)
    assert (only["check"], only["status"]) == ("settings", "fail")


def test_no_number_is_a_failing_row(run: Run, monkeypatch: pytest.MonkeyPatch, settings_file: Path) -> None:
    """Without a sending number nothing can go."""
    settings_file.write_text("")
    monkeypatch.setattr(command, "gather", lambda found: facts(settings=found, looks={}))
    result = run("doctor", "--json")
    assert result.exit_code == 65
    assert orjson.loads(result.stdout)[0]["found"] == "valid, 0 numbers"


LIFT = ("doctor", "--override", NUMBER, "--check", "templates", "--reason", "sync is down")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("doctor", "--override", NUMBER, "--check", "token", "--reason", "x"), "no override makes the API take"),
        (("doctor", "--override", NUMBER, "--check", "templates"), "--reason"),
        (("doctor", "--override", NUMBER, "--reason", "x"), "--check"),
        (("doctor", "--override", "7", "--check", "templates", "--reason", "x"), "7: not configured"),
        ((*LIFT, "--for", "8d"), "at most 7d"),
        ((*LIFT, "--withdraw", NUMBER), "two acts"),
        (("doctor", "--check", "templates"), "--override NUMBER"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(run: Run, args: tuple[str, ...], says: str) -> None:
    """Nobody lifts a token, or anything without a reason, an end or a number."""
    result = run(*args)
    assert result.exit_code == 64
    assert says in " ".join(result.stderr.split())


class _NoReader:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def test_an_override_is_audited_and_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the audit-event with before and after, then the state with checks, reason, end and author."""
    acts: list[Act] = []
    monkeypatch.setattr(command, "open_reader", lambda _settings: _NoReader())
    monkeypatch.setattr(command, "account_states", lambda _reader: {f"number:{NUMBER}/override": OVERRIDE})
    monkeypatch.setattr(command, "perform", lambda _settings, act: acts.append(act))
    assert run(*LIFT, "--for", "2h").exit_code == 0
    assert run("doctor", "--withdraw", NUMBER).exit_code == 0
    wrote = [record for act in acts for record in (act.audit, *act.records) if record is not None]
    assert [record.key for record in wrote[1::2]] == [f"number:{NUMBER}/override"] * 2
    audited, lifted, _, withdrawn = (orjson.loads(record.value or b"") for record in wrote)
    assert [record.topic for record in wrote] == ["audit-events", "account-state"] * 2
    assert (audited["action"], audited["before"], audited["after"]) == ("override", OVERRIDE, lifted)
    assert (lifted["checks"], lifted["reason"]) == (["templates"], "sync is down")
    assert parse_rfc3339_ms(lifted["until"]) - parse_rfc3339_ms(lifted["at"]) == 7_200_000
    assert (withdrawn["checks"], withdrawn["until"]) == ([], withdrawn["at"])


def test_trace_names_what_is_not_in_order_and_what_was_lifted() -> None:
    """What a request waits for is said in the words of `number_stopped`; an override is named with its author."""
    last = step_of("outbound", {"type": "queued", "number": NUMBER, "request_id": "r", "at": AT}, NOW_MS)
    refused = {f"number:{NUMBER}/preflight": {"token": "refused", "detail": "expired"}}
    sentence = wait_sentence(settings(), last, refused, NOW_MS)
    assert "webhook: not verified" in sentence
    assert "preflight: templates were never synced" in sentence
    assert "token: the API refuses it (expired)" in sentence
    lifted = wait_sentence(settings(), last, {f"number:{NUMBER}/override": OVERRIDE}, NOW_MS)
    assert "stands still" not in lifted
    assert lifted.endswith("(webhook, templates lifted until 2026-11-22T13:00:00.000Z by ada)")
