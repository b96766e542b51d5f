"""News of numbers, accounts and templates: written to `account-state` on top of what stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from pipeline.config import Settings
from pipeline.ingress import states as states_module
from pipeline.ingress.access import Voice
from pipeline.ingress.outgoing import Translator
from pipeline.ingress.states import States
from pipeline.records.account import LimitsState, TemplateState
from pipeline.records.codec import check, header_of
from tests.support.kafka_message import KafkaMessage
from tests.unit.ingress.support import CLOUD, DIALOG, V1, number, settings_with, voice_for_all

NOW_MS = 1_795_300_100_000
ACCOUNT, SHOWN = "300000000000001", "15550100001"
TEMPLATE: dict[str, Any] = {"message_template_name": "promo", "message_template_language": "en-US"}
KEY = f"template:{ACCOUNT}/promo/en_US"


def webhook(field: str, time_s: int | None = 1_795_300_000, **value: Any) -> bytes:
    """A webhook of one field beside `messages`."""
    entry: dict[str, Any] = {"id": ACCOUNT, "changes": [{"field": field, "value": value}]}
    if time_s is not None:
        entry["time"] = time_s
    return orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})


def quality(event: str, **more: Any) -> bytes:
    """A webhook about a number that it names by what people dial."""
    return webhook("phone_number_quality_update", display_phone_number="+1 555 010 0001", event=event, **more)


def owned(folder: Path, **one: Any) -> Settings:
    """Settings with a cloud number of the account, or more."""
    return settings_with(folder, {CLOUD: number("cloud").model_copy(update={"account": ACCOUNT, **one})})


class Stand:
    """A translator, and what it wrote."""

    def __init__(self, settings: Settings) -> None:
        self.states = States()
        self._voice = voice_for_all(settings)
        self.translator = Translator(settings, self.states)
        self.inbound_keys: list[str | None] = []

    def take(self, raw: bytes) -> dict[str, dict[str, Any]]:
        """State records that a webhook leads to, by key."""
        found = self.translator.webhook(raw, NOW_MS, None, self._voice)
        self.inbound_keys += [record.key for record in found.records if record.topic == "inbound-events"]
        written = [record for record in found.records if record.topic == "account-state"]
        assert all(header_of(record.headers, "schema") == b"account-state/1" for record in written)
        return {str(record.key): orjson.loads(record.value) for record in written}


def test_a_raised_throughput_is_a_limit_of_its_number(tmp_path: Path) -> None:
    """The only number of the account is meant; the record is the contract's, the event is keyed by the number."""
    stand = Stand(owned(tmp_path))
    written = stand.take(quality("THROUGHPUT_UPGRADE", max_daily_conversations_per_business="TIER_UNLIMITED"))
    limits = check(LimitsState, written[f"number:{CLOUD}/limits"])
    assert (limits.throughput, limits.tier, limits.id) == ("HIGH", "TIER_UNLIMITED", CLOUD)
    assert list(written) == [f"number:{CLOUD}/limits"]
    assert stand.inbound_keys == [CLOUD]


def test_a_tier_says_nothing_about_the_throughput(tmp_path: Path) -> None:
    """One part of a state that is told leaves the others as they were told before."""
    stand = Stand(owned(tmp_path))
    first = stand.take(quality("ONBOARDING", max_daily_conversations_per_business="TIER_250"))
    assert first[f"number:{CLOUD}/limits"]["throughput"] == "STANDARD"
    stand.take(quality("THROUGHPUT_UPGRADE"))
    last = stand.take(quality("DOWNGRADE", current_limit="TIER_10K"))[f"number:{CLOUD}/limits"]
    assert (last["throughput"], last["tier"]) == ("HIGH", "TIER_10K")


def test_numbers_are_told_apart_by_what_people_dial(tmp_path: Path) -> None:
    """With two numbers of one account the setting decides; without it nothing is guessed, and somebody is told."""
    two = {
        CLOUD: number("cloud").model_copy(update={"account": ACCOUNT}),
        DIALOG: number("cloud", partition=1).model_copy(update={"account": ACCOUNT, "display_phone_number": SHOWN}),
    }
    stand = Stand(settings_with(tmp_path, two))
    assert set(stand.take(quality("FLAGGED"))) == {f"number:{DIALOG}/quality"}
    nameless = {name: one.model_copy(update={"display_phone_number": None}) for name, one in two.items()}
    guessing = Stand(settings_with(tmp_path, nameless))
    with capture_logs() as lines:
        assert guessing.take(quality("FLAGGED")) == guessing.take(quality("UNFLAGGED")) == {}
    assert [line["event"] for line in lines] == ["number_not_recognised"]
    assert guessing.inbound_keys == [ACCOUNT, ACCOUNT]


def test_a_number_with_another_name_is_not_meant(tmp_path: Path) -> None:
    """The only number of an account here is not the one of the webhook if its own name says so."""
    assert Stand(owned(tmp_path, display_phone_number="15550100009")).take(quality("FLAGGED")) == {}


def test_a_template_is_told_piece_by_piece(tmp_path: Path) -> None:
    """Status, category and score come by different webhooks and stand in one record; languages are written with `_`."""
    stand = Stand(owned(tmp_path))
    stand.take(webhook("message_template_quality_update", new_quality_score="YELLOW", **TEMPLATE))
    written = stand.take(
        webhook("message_template_status_update", event="PAUSED", message_template_category="MARKETING", **TEMPLATE)
    )
    assert list(written) == [KEY]
    state = check(TemplateState, written[KEY])
    assert (state.status, state.category, state.quality) == ("PAUSED", "MARKETING", "YELLOW")


def test_changed_texts_are_told_as_a_time(tmp_path: Path) -> None:
    """What a message must give is not known from then on, until a sync has read the texts; nothing else changes."""
    stand = Stand(owned(tmp_path))
    stand.take(webhook("message_template_status_update", event="APPROVED", **TEMPLATE))
    written = stand.take(webhook("message_template_components_update", message_template_element="Hi", **TEMPLATE))
    state = check(TemplateState, written[KEY])
    assert (state.status, state.components_at) == ("APPROVED", 1_795_300_000_000)
    before = {name: value for name, value in written[KEY].items() if name != "components_at"}
    stand.states.apply([KafkaMessage(KEY.encode(), orjson.dumps(before))])
    assert KEY in stand.take(webhook("message_template_components_update", **TEMPLATE)), "written before it was known"


def test_an_older_webhook_changes_nothing(tmp_path: Path) -> None:
    """Webhooks come out of order: the time of the envelope decides, per part; the event is kept all the same."""
    stand = Stand(owned(tmp_path))
    stand.take(webhook("message_template_status_update", event="APPROVED", time_s=1_795_300_050, **TEMPLATE))
    assert stand.take(webhook("message_template_status_update", event="PAUSED", **TEMPLATE)) == {}
    late = stand.take(webhook("message_template_quality_update", new_quality_score="RED", **TEMPLATE))[KEY]
    assert (late["status"], late["quality"]) == ("APPROVED", "RED")
    timeless = stand.take(webhook("message_template_status_update", None, event="DISABLED", **TEMPLATE))[KEY]
    assert timeless["status"] == "DISABLED"
    assert len(stand.inbound_keys) == 4


def test_a_repeated_webhook_is_written_again(tmp_path: Path) -> None:
    """Its first delivery may have been answered 503: what stands on Kafka then is not known."""
    stand, raw = Stand(owned(tmp_path)), webhook("account_review_update", decision="APPROVED")
    assert stand.take(raw) == stand.take(raw) != {}


def test_what_stands_on_the_topic_counts(tmp_path: Path) -> None:
    """After a restart, and beside another door, news are merged on top of what was written there."""
    other, stand = Stand(owned(tmp_path)), Stand(owned(tmp_path))
    known = other.take(webhook("message_template_quality_update", new_quality_score="RED", **TEMPLATE))
    stand.states.apply([KafkaMessage(KEY.encode(), orjson.dumps(known[KEY]))])
    newer = webhook("message_template_status_update", event="PAUSED", time_s=1_795_300_050, **TEMPLATE)
    assert stand.take(newer)[KEY]["quality"] == "RED"
    stand.states.apply([KafkaMessage(KEY.encode(), orjson.dumps(known[KEY]))])
    later = webhook("message_template_quality_update", new_quality_score="GREEN", time_s=1_795_300_060, **TEMPLATE)
    assert stand.take(later)[KEY]["status"] == "PAUSED", "its own record is on its way, an older one came back"
    stand.states.apply([KafkaMessage(KEY.encode(), None)])
    assert stand.take(newer)[KEY]["quality"] is None


def test_rubbish_on_the_topic_is_passed_over(tmp_path: Path) -> None:
    """What others write there, or nobody can read, stops nothing."""
    stand = Stand(owned(tmp_path))
    stand.states.apply(
        [
            KafkaMessage(b"x", b"no"), KafkaMessage(None, b"{}"), KafkaMessage(KEY.encode(), b'{"aspect":"template"}'),
            KafkaMessage(b"lane:1#0/mark", b'{"aspect":"mark"}'),
        ]
    )  # fmt: skip
    assert KEY in stand.take(webhook("message_template_status_update", event="PAUSED", **TEMPLATE))


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound news are written as they come, and not remembered."""
    monkeypatch.setattr(states_module, "MAX_STATES", 0)
    stand = Stand(owned(tmp_path))
    stand.take(webhook("message_template_status_update", event="APPROVED", time_s=1_795_300_050, **TEMPLATE))
    assert stand.take(webhook("message_template_status_update", event="PAUSED", **TEMPLATE))[KEY]["status"] == "PAUSED"


def test_an_account_event_is_keyed_by_its_account(tmp_path: Path) -> None:
    """What is about no number is the account's, state and event; v1 webhooks tell no state."""
    stand = Stand(owned(tmp_path))
    written = stand.take(webhook("account_update", event="DISABLED_UPDATE", ban_info={"waba_ban_state": "DISABLE"}))
    assert set(written) == {f"account:{ACCOUNT}/ban"}
    assert stand.inbound_keys == [ACCOUNT]
    plain = orjson.dumps({"statuses": [{"id": "g", "status": "sent", "recipient_id": "15550109999"}]})
    found = stand.translator.webhook(plain, NOW_MS, V1, Voice(frozenset({V1})))
    assert [record.topic for record in found.records] == ["inbound-events"]
