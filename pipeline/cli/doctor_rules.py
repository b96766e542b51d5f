"""What `wapipe doctor` makes of what it found: one row per check and number, with the remedy. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from pipeline.cli.doctor_facts import Broker, Facts, Group, Looked
from pipeline.clock import parse_rfc3339_ms
from pipeline.operations.overrides import override_key, override_of
from pipeline.sender.lane import limit_of
from pipeline.streams.topics import TOPICS, blocking
from pipeline.whatsapp.look import Seen

Status = Literal["ok", "warn", "fail", "skip"]
SKEW_OK_S: Final = 1.0
SKEW_FAIL_S: Final = 30.0
"""Windows, expiry and consent are compared across clocks: seconds blur their edges, half a minute moves them."""
FREE_BYTES_MIN: Final = 1_000_000_000
TEMPLATES_AGE_DAYS: Final = 7
GATE_LAG_RECORDS: Final = 100_000
DAY_MS: Final = 86_400_000
NO_KAFKA: Final = "not looked at: Kafka does not answer"
NO_TOPICS: Final = "not looked at: topics are not in order"


class Finding(NamedTuple):
    """One row.

    Attributes:
        about: A number, or empty for the whole.
        found: What there is, in a few words.
        remedy: What to do; None: nothing.
    """

    check: str
    about: str
    status: Status
    found: str
    remedy: str | None = None


def diagnose(facts: Facts) -> list[Finding]:
    """All rows, first those of the whole, then those of each number."""
    rows = [_secrets(facts), _data_dir(facts), _kafka(facts)]
    broker = facts.broker
    if isinstance(broker, str):
        rows += [Finding(check, "", "skip", NO_KAFKA) for check in ("topics", "clock", "gates", "senders")]
    else:
        rows.append(_topics(broker))
        rows += [_broker_clock(broker), _group(broker, "gate"), _group(broker, "sender")]
    rows.append(_opt_outs(facts))
    for number in facts.settings.numbers:
        rows += _of_number(facts, number)
    return rows


# -- the whole ---------------------------------------------------------------------------------------------------------
def _secrets(facts: Facts) -> Finding:
    if facts.secrets:
        return Finding("secrets", "", "fail", "; ".join(facts.secrets), "wapipe config check")
    return Finding("secrets", "", "ok", "all readable")


def _data_dir(facts: Facts) -> Finding:
    folder, free = facts.settings.storage.data_dir, facts.free_bytes
    if isinstance(free, str):
        return Finding("data folder", "", "fail", free, "let this user write there, or set storage.data_dir")
    if free < FREE_BYTES_MIN:
        return Finding("data folder", "", "warn", f"{folder}: {free / 1e9:.1f} GB free", "make room")
    return Finding("data folder", "", "ok", f"{folder}: {free / 1e9:.0f} GB free")


def _kafka(facts: Facts) -> Finding:
    if isinstance(facts.broker, str):
        return Finding("kafka", "", "fail", facts.broker, "start it, or correct kafka.bootstrap_servers")
    where = facts.settings.kafka.bootstrap_servers
    return Finding("kafka", "", "ok", f"{where} answers after {facts.broker.took_ms} ms")


def _topics(broker: Broker) -> Finding:
    if not broker.changes:
        return Finding("topics", "", "ok", f"all {len(TOPICS)} as needed")
    wrong = blocking(broker.changes)
    first = (wrong or broker.changes)[0]
    found = f"{len(broker.changes)} differences, e.g. {first.topic}: {first.what} {first.found}, wanted {first.wanted}"
    return Finding("topics", "", "fail" if wrong else "warn", found, first.remedy)


def _broker_clock(broker: Broker) -> Finding:
    if broker.skew_s is None:
        return Finding("clock", "", "skip", NO_TOPICS)
    return _clock("", broker.skew_s, "Kafka's")


def _clock(about: str, skew_s: float, whose: str) -> Finding:
    off_s = abs(skew_s)
    if off_s <= SKEW_OK_S:
        return Finding("clock", about, "ok", f"agrees with {whose}")
    found = f"{off_s:.1f} s {'ahead of' if skew_s > 0 else 'behind'} {whose}"
    return Finding("clock", about, "warn" if off_s < SKEW_FAIL_S else "fail", found, "keep this host's clock by NTP")


def _group(broker: Broker, role: Literal["gate", "sender"]) -> Finding:
    check, group = f"{role}s", broker.groups.get(role)
    if group is None:
        return Finding(check, "", "skip", NO_TOPICS)
    if not isinstance(group, Group):
        return Finding(check, "", "fail", group, "let this user describe groups")
    found = f"{group.members} running, {group.lag:,} records behind"
    if not group.members:
        return Finding(check, "", "fail", found, f"wapipe {role}")
    if group.state != "STABLE":
        return Finding(check, "", "warn", f"{found}; group is {group.state.lower()}", "wait a moment, look again")
    if role == "gate" and group.lag > GATE_LAG_RECORDS:
        return Finding(check, "", "warn", found, "start another gate, up to one per recipient partition")
    return Finding(check, "", "ok", found)


def _opt_outs(facts: Facts) -> Finding:
    lag_s, most_s = facts.opt_out_lag_s, facts.settings.sender.opt_out_stale_s
    if isinstance(lag_s, str):
        where = "run it where a sender runs, or look at wapipe_opt_out_reader_lag_seconds there"
        return Finding("opt-outs", "", "warn", lag_s, where)
    if lag_s > most_s:
        found = f"the reader of consent-updates is {lag_s:.0f} s behind: nothing is sent"
        return Finding("opt-outs", "", "fail", found, "see whether the sender reaches Kafka, and its log")
    return Finding("opt-outs", "", "ok", f"the reader of consent-updates knows all of {lag_s:.1f} s ago")


# -- a number ----------------------------------------------------------------------------------------------------------
def _of_number(facts: Facts, number: str) -> Iterator[Finding]:
    broker, looked = facts.broker, facts.looks[number]
    states = broker.states if isinstance(broker, Broker) else None
    seen = looked.seen if isinstance(looked, Looked) else None
    lifted = override_of((states or {}).get(override_key(number), {}), facts.now_ms)
    yield _webhook(facts, number, states, lifted)
    yield _token(facts, number, looked, states)
    if isinstance(looked, Looked) and looked.skew_s is not None:
        yield _clock(number, looked.skew_s, "the API's")
    yield _templates(facts, number, states, lifted)
    yield _limits(facts, number, seen)
    yield _quality(number, seen, states)
    if lifted and states is not None:
        yield _override(number, states, lifted)


def _webhook(facts: Facts, number: str, states: Mapping[str, Mapping[str, Any]] | None, lifted: list[str]) -> Finding:
    if not facts.settings.policy.require_webhook:
        return Finding("webhook", number, "ok", "not required (policy.require_webhook)")
    if states is None:
        return Finding("webhook", number, "skip", NO_KAFKA)
    state = states.get(f"number:{number}/webhook", {})
    if state.get("verified"):
        return Finding("webhook", number, "ok", f"verified {state.get('at')}")
    return _unmet("webhook", number, "not verified", f"wapipe webhooks check {number}", lifted)


def _unmet(check: str, number: str, found: str, remedy: str, lifted: list[str]) -> Finding:
    if check in lifted:
        return Finding(check, number, "warn", f"{found}; lifted by an override", remedy)
    return Finding(check, number, "fail", f"{found}: the number sends nothing", remedy)


def _token(facts: Facts, number: str, looked: Looked | str, states: Mapping[str, Mapping[str, Any]] | None) -> Finding:
    conf = facts.settings.numbers[number]
    told = (states or {}).get(f"number:{number}/preflight", {})
    if isinstance(looked, str):
        word, detail = told.get("token"), f"{looked}; its sender says: {told.get('token') or 'nothing yet'}"
    else:
        word, detail = looked.seen.token, looked.seen.detail or ""
    if word == "accepted":
        return Finding("token", number, "ok", f"accepted by {conf.base_url}")
    if word == "refused":
        source = conf.token_file or conf.token_env or conf.login_user
        return Finding("token", number, "fail", f"refused: {detail}", f"put a valid one where {source} points")
    if isinstance(looked, Looked) and not looked.seen.is_final:
        return Finding("token", number, "fail", f"{conf.base_url}: {detail}", "check base_url and the way there")
    return Finding("token", number, "warn", f"the API does not tell: {detail}", "send one message: wapipe send --wait")


def _templates(facts: Facts, number: str, states: Mapping[str, Mapping[str, Any]] | None, lifted: list[str]) -> Finding:
    account = facts.settings.numbers[number].account
    if not facts.settings.policy.require_templates:
        return Finding("templates", number, "ok", "not required (policy.require_templates)")
    if states is None:
        return Finding("templates", number, "skip", NO_KAFKA)
    state = states.get(f"account:{account}/templates")
    if state is None:
        remedy = "wapipe templates sync" if account else f"set numbers.{number}.account, then wapipe templates sync"
        return _unmet("templates", number, "never synced", remedy, lifted)
    days = max(0, facts.now_ms - _ms(state.get("at"))) / DAY_MS
    found = f"{state.get('templates')} synced {state.get('at')}"
    if days > TEMPLATES_AGE_DAYS or not state.get("templates"):
        return Finding("templates", number, "warn", f"{found}, {days:.0f} days ago", "wapipe templates sync")
    return Finding("templates", number, "ok", found)


def _limits(facts: Facts, number: str, seen: Seen | None) -> Finding:
    conf = facts.settings.numbers[number]
    lane, shards = limit_of(conf), len(conf.partitions or [0])
    rate = lane.rate_per_s * shards
    found = f"{rate:g}/s"
    for name, value in (("throughput", seen and seen.throughput), ("tier", seen and seen.tier)):
        found += f", {name} {value or 'not told'}"
    if seen is not None and seen.throughput == "HIGH" and rate < 1000:
        return Finding("limits", number, "warn", found, f"it may send faster: numbers.{number}.rate_per_s = 1000")
    return Finding("limits", number, "ok", found)


def _quality(number: str, seen: Seen | None, states: Mapping[str, Mapping[str, Any]] | None) -> Finding:
    flagged = bool((states or {}).get(f"number:{number}/quality", {}).get("flagged"))
    rating = (seen and seen.quality) or "not told"
    found = f"{rating}{', flagged by WhatsApp' if flagged else ''}"
    if rating == "RED" or flagged:
        return Finding("quality", number, "fail", found, "send less and better wanted messages: wapipe consent report")
    if rating == "YELLOW":
        return Finding("quality", number, "warn", found, "look at opt-outs per source: wapipe consent report")
    return Finding("quality", number, "ok", found)


def _override(number: str, states: Mapping[str, Mapping[str, Any]], lifted: list[str]) -> Finding:
    state = states[override_key(number)]
    found = f"{', '.join(lifted)} lifted until {state.get('until')} by {state.get('by')}: {state.get('reason')}"
    return Finding("override", number, "warn", found, f"wapipe doctor --withdraw {number}")


def _ms(text: object) -> int:
    try:
        return parse_rfc3339_ms(str(text))
    except ValueError:
        return 0
