"""Commands on a real Kafka: what they write, what they read, how they end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.cli.main import cli
from pipeline.clock import rfc3339, steady_s, unix_ms
from pipeline.config import Settings, load
from pipeline.errors import TopicsWrong
from pipeline.operations.consent import UPDATES
from pipeline.operations.reading import Row, open_reader
from pipeline.records.account import AuditEvent
from pipeline.records.codec import check
from pipeline.records.outbound import outbound_event
from pipeline.streams.partition import partition_of
from pipeline.streams.topics import TOPICS

pytestmark = pytest.mark.kafka

NUMBER = "200000000000001"
PARTITIONS = 5
SEND = ("send", "--category", "utility", "--text", "hello")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def config(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings for topics that the tests of this file share; made once."""
    return _config(tmp_path_factory.mktemp("cli"), kafka, f"cli{uuid.uuid4().hex[:8]}-")


def _config(folder: Path, bootstrap: str, prefix: str) -> Path:
    (folder / "token").write_text("t0ken")
    file = folder / "wapipe.toml"
    file.write_text(
        f'[kafka]\nbootstrap_servers = "{bootstrap}"\ntopic_prefix = "{prefix}"\nrecipient_partitions = {PARTITIONS}\n'
        f'[numbers.{NUMBER}]\nbusiness = "acme"\nprofile = "cloud"\nbase_url = "http://127.0.0.1:9"\n'
        f'token_file = "{folder / "token"}"\n'
    )
    return file


def _run(config: Path, *args: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(config), *args])


@pytest.fixture(scope="module")
def run(config: Path) -> Run:
    """Run a command on topics that are there."""
    assert _run(config, "topics", "apply").exit_code == 0
    return lambda *args: _run(config, *args)


@pytest.fixture
def settings(config: Path) -> Settings:
    """The settings that the commands get."""
    return load(config)


def _rows(settings: Settings, topic: str, **options: Any) -> list[Row]:
    with open_reader(settings) as reader:
        return list(reader.to_end(topic, **options))


def _write(settings: Settings, topic: str, key: str, *values: Any) -> None:
    producer = Producer({
        "bootstrap.servers": settings.kafka.bootstrap_servers, "partitioner": "murmur2_random", "log_level": 0,
    })  # fmt: skip
    for value in values:
        producer.produce(settings.topic(topic), None if value is None else orjson.dumps(value), key)
    assert producer.flush(30) == 0


def _person() -> str:
    """A recipient that no other test has."""
    return f"1555{uuid.uuid4().int % 10**9:09d}"


def _event(kind: str, request_id: str, recipient: str, at_ms: int, **fields: Any) -> dict[str, Any]:
    request = {"request_id": request_id, "from": NUMBER, "to": recipient, "category": "utility", "priority": "normal"}
    source = {"topic": "outbound-requests", "partition": 0, "offset": 0}
    return outbound_event(kind, request, source, at_ms=at_ms, stage="sender", **fields)


class _Answering:
    """A stand-in for gate and sender: answers every record of one topic with records on another, in a thread."""

    def __init__(
        self, settings: Settings, source: str, target: str, answer: Callable[[dict[str, Any]], list[Any]]
    ) -> None:
        self._settings, self._source, self._target, self._answer = settings, source, target, answer
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _loop(self) -> None:
        with open_reader(self._settings) as reader:
            reader.follow_from_end(self._source)
            self._ready.set()
            while not self._stop.is_set():
                for row in reader.following(steady_s() + 0.2):
                    value = orjson.loads(row.value or b"{}")
                    _write(self._settings, self._target, (row.key or b"").decode(), *self._answer(value))


# --- topics


def test_topics_are_planned_made_and_checked(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Plan lists all that is missing and changes nothing; apply makes it; after that nothing differs, again."""
    config = _config(tmp_path, kafka, topic_prefix)
    for _ in range(2):
        plan = _run(config, "topics", "plan", "--json")
        assert plan.exit_code == 0
        assert {change["topic"] for change in orjson.loads(plan.stdout)} == {
            topic_prefix + topic.name for topic in TOPICS
        }
    assert _run(config, "topics", "check").exit_code == 65
    first = _run(config, "topics", "apply")
    assert first.exit_code == 0
    assert f"+ {topic_prefix}outbound-requests is made\n" in first.stdout
    again = _run(config, "topics", "apply", "--json")
    assert (again.exit_code, orjson.loads(again.stdout)) == (0, [])
    assert _run(config, "topics", "check").exit_code == 0
    assert orjson.loads(_run(config, "topics", "plan", "--json").stdout) == []


def test_topics_check_finds_what_was_changed_and_apply_mends_it(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """A changed setting shows as drift with found and wanted, exit 65; apply sets it, and adds lanes."""
    config = _config(tmp_path, kafka, topic_prefix)
    assert _run(config, "topics", "apply").exit_code == 0
    text = config.read_text().replace("[numbers", "[kafka.retention_h]\noutbound-events = 5\n[numbers", 1)
    config.write_text(text + "partitions = [2]\n")
    check = _run(config, "topics", "check", "--json")
    assert check.exit_code == 65
    changes = {(c["topic"].removeprefix(topic_prefix), c["action"]): c for c in orjson.loads(check.stdout)}
    assert changes[("outbound-events", "set")]["wanted"] == str(5 * 3_600_000)
    assert changes[("send-ledger", "add_partitions")]["wanted"] == "3"
    assert _run(config, "topics", "apply").exit_code == 0
    assert _run(config, "topics", "check").exit_code == 0


# --- send


def test_send_writes_the_record_to_its_person_s_partition(run: Run, settings: Settings) -> None:
    """The record is on the partition of Java's partitioner, keyed by the normal recipient, with its headers."""
    person = _person()
    written = run(*SEND, "--to", f"+{person}", "--request-id", f"r-{person}")
    assert (written.exit_code, written.stdout) == (0, f"r-{person}\n")
    partition = partition_of(person, PARTITIONS)
    row = next(r for r in _rows(settings, "outbound-requests", partitions=[partition]) if r.key == person.encode())
    assert orjson.loads(row.value or b"")["to"] == person
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": person, "log_level": 0})
    try:
        consumer.assign([TopicPartition(settings.topic("outbound-requests"), partition, row.offset)])
        message = consumer.poll(30)
        assert dict(message.headers()) == {"content-type": b"application/json", "schema": b"request/1"}
    finally:
        consumer.close()


def test_urgent_uses_the_express_entrance(run: Run, settings: Settings) -> None:
    """--urgent writes to outbound-requests-urgent and nowhere else."""
    person = _person()
    assert run(*SEND, "--to", person, "--urgent").exit_code == 0
    partitions = [partition_of(person, PARTITIONS)]
    keys = {
        t: [r.key for r in _rows(settings, t, partitions=partitions)]
        for t in ("outbound-requests", "outbound-requests-urgent")
    }
    assert person.encode() in keys["outbound-requests-urgent"]
    assert person.encode() not in keys["outbound-requests"]


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("accepted", {"message_id": "wamid.1"}, 0),
        ("rejected", {"reason": "no_consent"}, 65),
        ("expired", {"reason": "expired"}, 65),
    ],
)
def test_send_wait_follows_the_message_to_its_end(
    run: Run, settings: Settings, kind: str, fields: dict[str, Any], code: int
) -> None:
    """--wait prints every event of this request and no other, and its exit code tells the end."""
    person = _person()

    def answer(request: dict[str, Any]) -> list[Any]:
        now_ms = unix_ms()
        steps = [("queued", {}), (kind, fields)]
        foreign = _event("failed", "another", person, now_ms, reason="api_rejected")
        return [foreign, *(_event(name, request["request_id"], person, now_ms, **more) for name, more in steps)]

    with _Answering(settings, "outbound-requests", "outbound-events", answer):
        result = run(*SEND, "--to", person, "--wait", "--timeout", "60")
    assert result.exit_code == code, result.output
    request_id, *lines = result.stdout.splitlines()
    assert request_id.startswith("cli-")
    assert [line.split()[2] for line in lines] == ["queued", kind]


def test_send_wait_times_out_with_a_hint(run: Run) -> None:
    """Without a gate --wait exits 75 after its time and says what is missing."""
    result = run(*SEND, "--to", _person(), "--wait", "--timeout", "300ms")
    assert result.exit_code == 75
    assert "wapipe gate" in result.stderr


def test_send_wait_times_out_with_the_reason_of_the_number(run: Run, settings: Settings) -> None:
    """A message that is queued when the time is up is told with why its number stands still."""
    person = _person()

    def answer(request: dict[str, Any]) -> list[Any]:
        return [_event("queued", request["request_id"], person, unix_ms())]

    with _Answering(settings, "outbound-requests", "outbound-events", answer):
        result = run(*SEND, "--to", person, "--wait", "--timeout", "5")
    assert result.exit_code == 75
    assert "queued" in result.stdout
    assert "stands still: webhook" in result.stderr


# --- consent


def test_consent_grant_shows_the_gate_s_answer(run: Run, settings: Settings) -> None:
    """A grant waits for its consent-event: applied exits 0, refused 65 with the reason; without a gate 75."""
    grant = ("consent", "grant", "--category", "utility", "--method", "checkbox", "--source", "https://x.example")
    for result_word, reason, code, shown in (
        ("applied", None, 0, "applied"),
        ("refused", "erased", 65, "refused erased"),
    ):

        def answer(update: dict[str, Any], word: str = result_word, why: str | None = reason) -> list[Any]:
            return [
                {"update_id": "another", "result": "refused"},
                {"update_id": update["update_id"], "result": word, "reason": why},
            ]

        with _Answering(settings, UPDATES, "consent-events", answer):
            result = run(*grant, _person(), "--wait", "60")
        assert result.exit_code == code, result.output
        assert shown in result.stdout
    late = run(*grant, _person(), "--wait", "300ms")
    assert late.exit_code == 75
    assert "wapipe gate" in late.stderr


def test_consent_revoke_covers_everything_by_default(run: Run, settings: Settings) -> None:
    """A revoke without options takes back everything of every business, and is not waited for with 0."""
    person = _person()
    result = run("consent", "revoke", person, "--wait", "0", "--json")
    assert result.exit_code == 0
    row = next(r for r in _rows(settings, UPDATES) if r.key == person.encode())
    update = orjson.loads(row.value or b"")
    assert orjson.loads(result.stdout) == update
    assert (update["business"], update["categories"], update["purposes"]) == ("*", ["*"], ["*"])


def test_consent_show_is_the_newest_record(run: Run, settings: Settings) -> None:
    """Of several records of a person the newest counts; a tombstone is nothing; others are not shown."""
    person = _person()
    entry = {
        "business": "acme", "category": "utility", "purpose": "*", "status": "granted",
        "at": "2026-11-20T08:00:00.000Z", "expires_at": None, "update_id": "u-1", "method": "checkbox", "source": "https://x.example",
    }  # fmt: skip
    record = {"recipient": person, "entries": [entry], "erased_at": None, "updated_at": "2026-11-20T08:00:00.000Z"}
    revoked = {**record, "entries": [{**entry, "status": "revoked", "update_id": "u-2"}]}
    _write(settings, "consent", _person(), record)
    _write(settings, "consent", person, record, revoked)
    shown = run("consent", "show", f"+{person}")
    assert shown.exit_code == 0
    assert [line.split()[:4] for line in shown.stdout.splitlines()[1:]] == [["acme", "utility", "*", "revoked"]]
    assert "https://x.example" in shown.stdout
    assert orjson.loads(run("consent", "show", person, "--json").stdout) == revoked
    _write(settings, "consent", person, None)
    gone = run("consent", "show", person)
    assert (gone.exit_code, gone.stdout) == (0, "")
    assert "no consent" in gone.stderr


def test_consent_import_writes_each_good_line_once_and_names_the_others(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Thousands of lines arrive on the right partitions, under the same ids each time; bad ones are named."""
    config = _config(tmp_path, kafka, topic_prefix)
    assert _run(config, "topics", "apply").exit_code == 0
    file = tmp_path / "consent.csv"
    lines = [f"+1555{n:07d},acme,utility,,2026-01-20T08:00:00Z,checkbox,https://x.example" for n in range(5000)]
    lines[1234] = lines[1234].replace("acme", "other")
    file.write_text("\n".join(["recipient,business,categories,purposes,at,method,source", *lines]))
    for _ in range(2):
        result = _run(config, "consent", "import", str(file))
        assert result.exit_code == 65
        assert "1236  unknown_business" in result.stdout
        assert "4999 written of 5000, 1 refused" in result.stdout
    rows = _rows(load(config), UPDATES)
    assert len(rows) == 2 * 4999
    assert len({orjson.loads(row.value or b"")["update_id"] for row in rows}) == 4999
    assert all(row.partition == partition_of((row.key or b"").decode(), PARTITIONS) for row in rows)


# --- trace


@pytest.fixture
def message(run: Run, settings: Settings) -> tuple[str, str]:
    """A message from request to delivery, whose statuses carry no request id (v1): its id and its person."""
    assert run("topics", "check").exit_code == 0
    person, now_ms = _person(), unix_ms()
    request_id, message_id = f"r-{person}", f"wamid.{person}"
    request = {"request_id": request_id, "from": NUMBER, "to": f"+{person}", "category": "utility"}
    _write(settings, "outbound-requests", person, request)
    accepted = _event("accepted", request_id, person, now_ms + 50, message_id=message_id, queue_ms=12, api_ms=38)
    _write(settings, "outbound-events", person, _event("queued", request_id, person, now_ms + 10), accepted, accepted)
    status = {
        "event_id": message_id, "type": "status", "status": "delivered", "number": NUMBER, "recipient": person,
        "message_id": message_id, "request_id": None, "at": rfc3339(now_ms), "received_at": rfc3339(now_ms + 90),
    }  # fmt: skip
    text = {**status, "event_id": f"in-{person}", "type": "message", "message_id": "wamid.in", "body": {"text": "hi"}}
    _write(settings, "inbound-events", person, status, status, text)
    return request_id, person


def test_trace_of_a_request_joins_events_and_webhooks(run: Run, message: tuple[str, str]) -> None:
    """A request's timeline has each event once, in time order, webhooks joined by message id."""
    result = run("trace", message[0])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[4] for line in lines[1:]] == ["queued", "accepted", "delivered"]
    assert "queue 12 ms" in result.stdout
    parsed = orjson.loads(run("trace", message[0], "--json").stdout)
    assert parsed["waits_for"] == []
    assert parsed["steps"][1]["event"]["message_id"] == f"wamid.{message[1]}"


def test_trace_of_a_person_shows_both_directions(run: Run, message: tuple[str, str]) -> None:
    """--to shows the request itself, its events, statuses, and the person's own messages; not their text."""
    result = run("trace", "--to", f"+{message[1]}", "--since", "1h")
    assert result.exit_code == 0
    kinds = [line.split()[4] for line in result.stdout.splitlines()[1:]]
    assert sorted(kinds) == ["accepted", "delivered", "message", "queued", "request"]
    assert kinds.index("queued") < kinds.index("accepted") < kinds.index("delivered")


def test_trace_of_a_person_can_be_limited_to_a_number(run: Run, message: tuple[str, str]) -> None:
    """--from leaves out what other numbers sent."""
    assert run("trace", "--to", message[1], "--from", "9").exit_code == 65


def test_trace_says_what_a_message_waits_for(run: Run, settings: Settings) -> None:
    """Without a terminal event the last line names the wait and why the number stands still."""
    person = _person()
    _write(settings, "outbound-events", person, _event("queued", f"r-{person}", person, unix_ms()))
    _write(settings, "account-state", f"number:{NUMBER}/webhook", {"verified": False})
    _write(settings, "account-state", f"number:{NUMBER}/halt/0", {"halted": True, "reason": "throttled", "until": None})
    last = run("trace", f"r-{person}").stdout.splitlines()[-1]
    _write(settings, "account-state", f"number:{NUMBER}/halt/0", None)
    assert last.startswith(f"waits: r-{person}")
    assert "throttled" in last
    assert "wapipe webhooks check" in last
    assert "throttled" not in run("trace", f"r-{person}").stdout


def test_trace_of_a_request_without_events_waits_for_the_gate(run: Run) -> None:
    """A request that no gate has read yet is found on its entrance."""
    person = _person()
    assert run(*SEND, "--to", person, "--request-id", f"r-{person}").exit_code == 0
    result = run("trace", f"r-{person}")
    assert result.exit_code == 0
    assert "wapipe gate" in result.stdout.splitlines()[-1]


def test_trace_of_nothing_exits_65(run: Run) -> None:
    """An id that is nowhere exits 65 and says how far it looked back."""
    result = run("trace", "nowhere")
    assert result.exit_code == 65
    assert "--since" in result.stderr


def test_trace_looks_back_only_as_far_as_asked(run: Run, settings: Settings) -> None:
    """Records older than --since are left out, by the broker's time."""
    person = _person()
    _write(settings, "outbound-events", person, _event("queued", f"r-{person}", person, unix_ms()))
    time.sleep(1.5)
    assert run("trace", f"r-{person}", "--since", "1s").exit_code == 65
    assert run("trace", f"r-{person}", "--since", "10m").exit_code == 0


# --- suppressions


def test_a_suppression_is_listed_and_lifted(run: Run, settings: Settings) -> None:
    """`lift` writes the tombstone and who did it; who is not suppressed, any more or ever, exits 65 with a hint."""
    person, past, at_ms = _person(), _person(), unix_ms() - 1000
    held = {"recipient": person, "reason": "not_on_whatsapp", "until": rfc3339(at_ms + 60_000), "at": rfc3339(at_ms)}
    _write(settings, "suppressions", person, held)
    _write(settings, "suppressions", past, {**held, "recipient": past, "until": rfc3339(at_ms)})
    listed = run("suppressions", "list")
    assert listed.exit_code == 0
    assert [person, "not_on_whatsapp"] in [text.split()[:2] for text in listed.stdout.splitlines()]
    assert past not in listed.stdout
    assert held in map(orjson.loads, run("suppressions", "list", "--json").stdout.splitlines())
    assert run("suppressions", "lift", f"+{person}", "--reason", "asked us").exit_code == 0
    assert [row.value for row in _rows(settings, "suppressions") if row.key == person.encode()][-1] is None
    [audit] = [
        event for row in _rows(settings, "audit-events")
        if (event := orjson.loads(row.value or b""))["target"] == f"suppression:{person}"
    ]  # fmt: skip
    check(AuditEvent, audit)
    assert (audit["action"], audit["reason"], audit["before"], audit["after"]) == ("lift", "asked us", held, None)
    for who in (person, past):
        refused = run("suppressions", "lift", who)
        assert refused.exit_code == 65
        assert "is not suppressed" in refused.stderr
    assert run("suppressions", "lift", "nobody").exit_code == 64


# --- reading


def test_reader_ends_at_the_end_it_saw(run: Run, settings: Settings) -> None:
    """A bounded read neither waits for more records nor returns ones that came after its start."""
    assert run("topics", "check").exit_code == 0
    person = _person()
    _write(settings, "suppressions", person, *({"n": n} for n in range(100)))
    partition = partition_of(person, PARTITIONS)
    with open_reader(settings) as reader:
        rows = reader.to_end("suppressions", partitions=[partition])
        first = next(rows)
        _write(settings, "suppressions", person, *({"n": n} for n in range(100, 200)))
        values = [orjson.loads(row.value or b"")["n"] for row in (first, *rows) if row.key == person.encode()]
        assert values == list(range(100))
        assert reader.partitions("suppressions") == PARTITIONS
        with pytest.raises(TopicsWrong, match="topics apply"):
            reader.partitions("nosuch")


# --- exit codes


@pytest.mark.parametrize(
    "args",
    [
        ("topics", "plan"),
        (*SEND, "--to", "15550109999"),
        ("trace", "r1"),
        ("consent", "show", "15550109999"),
        ("consent", "revoke", "15550109999"),
    ],
)
def test_unreachable_broker_exits_69(tmp_path: Path, args: tuple[str, ...]) -> None:
    """Without a broker a command ends by itself with 69 and names the setting and a way out."""
    result = _run(_config(tmp_path, "127.0.0.1:1", ""), *args)
    assert result.exit_code == 69
    assert "kafka.bootstrap_servers" in result.stderr
    assert "wapipe broker" in result.stderr
    assert result.stdout == ""


def test_missing_topics_exit_78(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """On a broker without our topics, commands name the topic and `topics apply`, and make nothing by the way."""
    config = _config(tmp_path, kafka, topic_prefix)
    for args in ((*SEND, "--to", "15550109999"), ("trace", "r1"), ("consent", "show", "15550109999")):
        result = _run(config, *args)
        assert result.exit_code == 78, args
        assert "wapipe topics apply" in result.stderr
    assert len(orjson.loads(_run(config, "topics", "plan", "--json").stdout)) == len(TOPICS)


def test_program_runs_as_a_module_with_data_on_stdout_only(config: Path, run: Run) -> None:
    """`python -m pipeline` is the command; WAPIPE_CONFIG names the settings; a quiet run says nothing on stderr."""
    assert run("topics", "check").exit_code == 0
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "topics", "check", "--json"],
        env={**os.environ, "WAPIPE_CONFIG": str(config)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_doctor_sees_what_is_missing_and_an_override_is_kept(run: Run, config: Path) -> None:
    """On topics alone: Kafka and clocks are fine, no role runs, nothing was synced; what an operator lifts shows."""
    sick = run("doctor", "--json")
    assert sick.exit_code == 65, sick.output
    rows = {(found["check"], found["about"]): found for found in orjson.loads(sick.stdout)}
    fine = {("settings", ""), ("secrets", ""), ("data folder", ""), ("kafka", ""), ("topics", ""), ("clock", "")}
    assert {key for key, found in rows.items() if found["status"] == "ok"} >= fine
    for row, about in (("gates", ""), ("senders", ""), ("token", NUMBER), ("webhook", NUMBER), ("templates", NUMBER)):
        assert rows[row, about]["status"] == "fail", row
    lifted = run("doctor", "--override", NUMBER, "--check", "webhook", "--reason", "it moves", "--for", "2h")
    assert lifted.exit_code == 0, lifted.output
    rows = {(found["check"], found["about"]): found for found in orjson.loads(run("doctor", "--json").stdout)}
    assert rows["webhook", NUMBER]["status"] == "warn"
    assert "webhook lifted until" in rows["override", NUMBER]["found"]
    assert run("doctor", "--withdraw", NUMBER).exit_code == 0
    rows = {(found["check"], found["about"]): found for found in orjson.loads(run("doctor", "--json").stdout)}
    assert ("override", NUMBER) not in rows
    with open_reader(load(config)) as reader:
        audited = [orjson.loads(row.value or b"") for row in reader.to_end("audit-events")]
    assert [event["reason"] for event in audited if event["action"] == "override"] == ["it moves", None]
