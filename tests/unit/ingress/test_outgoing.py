"""What a webhook becomes on Kafka: events by person, opt-outs as revokes, verified numbers, dead letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.config import OptOutPayload, PolicySettings, Settings
from pipeline.ingress.access import Voice
from pipeline.ingress.outgoing import MAX_EVENT_BYTES, Outgoing, Translator, Webhook
from pipeline.metrics import Metrics
from pipeline.records.account import WebhookState
from pipeline.records.alias import LINKS_HEADER, Link, read_links
from pipeline.records.codec import check, header_of
from pipeline.records.consent import ConsentUpdate
from pipeline.records.inbound import KIND_HEADER, InboundEvent
from tests.unit.ingress.support import (
    CLOUD,
    DIALOG,
    PERSON,
    V1,
    cloud,
    number,
    settings_with,
    status,
    text,
    voice_for_all,
)

NOW_MS = 1_795_300_100_000


def _translated(settings: Settings, raw: bytes, path_number: str | None = None, voice: Voice | None = None) -> Webhook:
    return Translator(settings).webhook(raw, NOW_MS, path_number, voice or voice_for_all(settings))


def _on(webhook: Webhook, topic: str) -> list[Outgoing]:
    return [record for record in webhook.records if record.topic == topic]


def _values(webhook: Webhook, topic: str) -> list[dict[str, Any]]:
    return [orjson.loads(record.value) for record in _on(webhook, topic)]


def _revokes(settings: Settings, raw: bytes) -> list[dict[str, Any]]:
    return _values(_translated(settings, raw), "consent-updates")


def test_a_status_is_one_event_keyed_by_the_person(tmp_path: Path) -> None:
    """The record fits the contract's model, carries its schema and the request that it belongs to."""
    raw = cloud(statuses=[status("delivered", biz_opaque_callback_data="order-1:2")])
    webhook = _translated(settings_with(tmp_path), raw)
    [record] = webhook.records
    event = check(InboundEvent, orjson.loads(record.value))
    assert (record.topic, record.key) == ("inbound-events", PERSON)
    assert (event.type, event.status, event.number) == ("status", "delivered", CLOUD)
    assert (event.request_id, event.attempt) == ("order-1", 2)
    assert header_of(record.headers, "schema") == b"inbound-event/1"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"statuses": [status("delivered")]}, b"status"), ({"statuses": [status("failed")]}, b"failed"),
        ({"messages": [text("hi")]}, b"message"),
    ],
)  # fmt: skip
def test_an_event_says_what_it_is_about_in_a_header(tmp_path: Path, value: dict[str, Any], kind: bytes) -> None:
    """Readers can pass over what does not concern them without parsing it."""
    [record] = _translated(settings_with(tmp_path), cloud(**value)).records
    assert header_of(record.headers, KIND_HEADER) == kind


def test_the_topic_prefix_goes_before_every_topic(tmp_path: Path) -> None:
    """All four topics are written under their full names."""
    base = settings_with(tmp_path)
    settings = base.model_copy(update={"kafka": base.kafka.model_copy(update={"topic_prefix": "eu."})})
    translator = Translator(settings)
    said = translator.webhook(cloud(messages=[text("STOP")]), NOW_MS, None, voice_for_all(settings))
    dead = translator.webhook(b"no", NOW_MS, None, voice_for_all(settings))
    written = {record.topic for record in (*said.records, *dead.records, *translator.verified([CLOUD], NOW_MS))}
    assert written == {"eu.inbound-events", "eu.consent-updates", "eu.dead-letter", "eu.account-state"}


def test_stop_becomes_a_revoke_beside_the_event(tmp_path: Path) -> None:
    """The revoke fits the contract: everything of the number's business ends, as of the message, with its evidence."""
    webhook = _translated(settings_with(tmp_path), cloud(messages=[text(" Stop ")]))
    [record] = _on(webhook, "consent-updates")
    update = check(ConsentUpdate, orjson.loads(record.value))
    assert record.key == update.recipient == PERSON
    assert (update.action, update.business, update.categories, update.purposes) == ("revoke", "acme", ["*"], ["*"])
    assert update.at == 1_795_300_000_000
    assert update.evidence is not None
    assert (update.evidence.method, update.evidence.actor, update.evidence.source) == ("keyword", "user", "wamid.in1")
    assert header_of(record.headers, "schema") == b"consent-update/1"
    assert len(_on(webhook, "inbound-events")) == 1
    assert webhook.opt_outs == ["keyword"]


def test_a_repeated_webhook_gives_the_same_ids(tmp_path: Path) -> None:
    """Events and revokes of a redelivery can be told to be the same."""
    settings, raw = settings_with(tmp_path), cloud(messages=[text("STOP")], statuses=[status("read")])
    translator = Translator(settings)
    first, again = (translator.webhook(raw, NOW_MS + late, None, voice_for_all(settings)) for late in (0, 60_000))
    ids = [
        [(value.get("event_id"), value.get("update_id")) for value in map(_parsed, one.records)]
        for one in (first, again)
    ]
    assert ids[0] == ids[1]
    assert _values(first, "consent-updates") == _values(again, "consent-updates")


def _parsed(record: Outgoing) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(record.value)
    return value


def test_an_ordinary_message_takes_nothing_back(tmp_path: Path) -> None:
    """A sentence that contains the word is no STOP."""
    assert _revokes(settings_with(tmp_path), cloud(messages=[text("please do not stop")])) == []


def test_a_button_revokes_what_the_policy_says(tmp_path: Path) -> None:
    """An opt-out payload ends one category and purpose."""
    policy = PolicySettings(opt_out_payloads={"STOP_OFFERS": OptOutPayload(category="marketing", purpose="offers")})
    settings = settings_with(tmp_path).model_copy(update={"policy": policy})
    button = text("", type="button", button={"payload": "STOP_OFFERS", "text": "No more"})
    [revoke] = _revokes(settings, cloud(messages=[button]))
    assert (revoke["categories"], revoke["purposes"]) == (["marketing"], ["offers"])
    assert revoke["evidence"]["method"] == "button"


def test_whatsapps_own_stop_revokes_marketing(tmp_path: Path) -> None:
    """A user preference `stop` ends marketing; `resume` is an update of its own, by the same method."""
    row = {"wa_id": PERSON, "category": "marketing_messages", "value": "stop", "timestamp": 1795300000}
    settings = settings_with(tmp_path)
    [revoke] = _revokes(settings, cloud(field="user_preferences", user_preferences=[row]))
    assert revoke["categories"] == ["marketing"]
    assert check(ConsentUpdate, revoke).evidence is not None
    [resume] = _revokes(settings, cloud(field="user_preferences", user_preferences=[{**row, "value": "resume"}]))
    assert (revoke["action"], resume["action"], resume["categories"]) == ("revoke", "resume", ["marketing"])
    assert resume["evidence"]["method"] == revoke["evidence"]["method"] == "preference"
    assert check(ConsentUpdate, resume).number is None


def test_a_person_known_by_user_id_only_can_opt_out(tmp_path: Path) -> None:
    """The business-scoped user id is the recipient when WhatsApp gives no number."""
    message = text("STOP", from_user_id="US.13491208655302741918")
    del message["from"]
    [revoke] = _revokes(settings_with(tmp_path), cloud(messages=[message]))
    assert revoke["recipient"] == "US.13491208655302741918"


def test_stop_to_an_unknown_number_revokes_for_the_only_business(tmp_path: Path) -> None:
    """With one business in the settings there is no doubt whose consent ends."""
    [revoke] = _revokes(settings_with(tmp_path), cloud("999", messages=[text("STOP")]))
    assert revoke["business"] == "acme"


def test_stop_to_an_unknown_number_among_several_businesses_is_an_orphan(tmp_path: Path) -> None:
    """Nobody can tell whose consent ends: the event is kept, the orphan is counted for the log."""
    numbers = {CLOUD: number("cloud", "acme", 0), DIALOG: number("cloud", "other", 1)}
    webhook = _translated(settings_with(tmp_path, numbers), cloud("999", messages=[text("STOP")]))
    assert (len(_on(webhook, "inbound-events")), _on(webhook, "consent-updates"), webhook.orphans) == (1, [], 1)
    assert webhook.numbers == set()


def test_an_opt_out_without_a_person_is_an_orphan(tmp_path: Path) -> None:
    """A group id is nobody's consent."""
    message = text("STOP", **{"from": "group-1"})
    webhook = _translated(settings_with(tmp_path), cloud(messages=[message]))
    assert ([record.key for record in webhook.records], webhook.orphans) == (["group-1"], 1)


def test_events_without_a_person_are_keyed_by_number_then_account(tmp_path: Path) -> None:
    """Account events of a number stay together, those without a number by their account."""
    quality = cloud(field="phone_number_quality_update", event="UPGRADE")
    assert _translated(settings_with(tmp_path), quality).records[0].key == CLOUD
    change = {"field": "account_update", "value": {"event": "ACCOUNT_DELETED"}}
    envelope = {"object": "whatsapp_business_account", "entry": [{"id": "300000000000001", "changes": [change]}]}
    assert _translated(settings_with(tmp_path), orjson.dumps(envelope)).records[0].key == "300000000000001"
    change["field"] = "something_new"
    envelope["entry"] = [{"changes": [change]}]
    [record] = _translated(settings_with(tmp_path), orjson.dumps(envelope)).records
    assert record.key == orjson.loads(record.value)["event_id"]


def test_a_v1_webhook_belongs_to_the_number_in_its_path(tmp_path: Path) -> None:
    """v1 bodies do not name their number; the path does."""
    raw = orjson.dumps({"statuses": [status("delivered")], "messages": [text("STOP")]})
    webhook = _translated(settings_with(tmp_path), raw, V1, Voice(frozenset({V1})))
    assert {event["number"] for event in _values(webhook, "inbound-events")} == {V1}
    assert webhook.numbers == {V1}
    assert webhook.opt_outs == ["keyword"]


def test_a_token_for_one_number_cannot_speak_for_another(tmp_path: Path) -> None:
    """Unsigned calls that report on a foreign number are dead letters; signed ones may."""
    settings, raw = settings_with(tmp_path), cloud(CLOUD, statuses=[status()])
    forged = _translated(settings, raw, V1, Voice(frozenset({V1})))
    assert [record.topic for record in forged.records] == ["dead-letter"]
    assert forged.numbers == set()
    assert _translated(settings, raw, V1).dead_code is None


@pytest.mark.parametrize("raw", [b"", b"no", b"[]", b"\xff\xfe", b'{"hello": 1}', b'{"object": "page", "entry": []}'])
def test_what_is_no_webhook_is_a_dead_letter_with_its_bytes(tmp_path: Path, raw: bytes) -> None:
    """Original bytes, stage, code and a reason without content of the body."""
    webhook = _translated(settings_with(tmp_path), raw, V1)
    [record] = webhook.records
    assert (record.topic, record.key, record.value) == ("dead-letter", V1, raw)
    assert header_of(record.headers, "errors.code") == b"bad_webhook"
    assert header_of(record.headers, "errors.stage") == b"ingress"
    assert header_of(record.headers, "errors.timestamp_ms") == str(NOW_MS).encode()
    assert webhook.dead_code == "bad_webhook"


def test_an_event_that_no_broker_would_take_goes_without_its_body(tmp_path: Path) -> None:
    """The fact stays on inbound-events, the whole body on dead-letter, small neighbours are untouched."""
    raw = cloud(messages=[text("x" * MAX_EVENT_BYTES)], statuses=[status("read")])
    webhook = _translated(settings_with(tmp_path), raw)
    events = {event["type"]: event for event in _values(webhook, "inbound-events")}
    assert events["message"]["body"] == {"too_large": True}
    assert events["message"]["message_id"] == "wamid.in1"
    assert events["status"]["body"]["status"] == "read"
    [letter] = _on(webhook, "dead-letter")
    assert (letter.value, webhook.dead_code) == (raw, "too_large")
    assert all(len(record.value) <= MAX_EVENT_BYTES for record in _on(webhook, "inbound-events"))


def test_an_empty_envelope_is_nothing_to_store(tmp_path: Path) -> None:
    """It is authentic and says nothing."""
    webhook = _translated(settings_with(tmp_path), b'{"object":"whatsapp_business_account","entry":[]}')
    assert (webhook.records, webhook.dead_code) == ([], None)


def test_verified_numbers_are_state_records_of_their_own_key(tmp_path: Path) -> None:
    """One key per number and aspect, as the contract has it."""
    records = Translator(settings_with(tmp_path)).verified([CLOUD, V1], NOW_MS)
    assert [record.key for record in records] == [f"number:{CLOUD}/webhook", f"number:{V1}/webhook"]
    state = check(WebhookState, orjson.loads(records[0].value))
    assert (state.id, state.verified, state.at, state.by) == (CLOUD, True, NOW_MS, "ingress")


def test_counts_use_bounded_labels(tmp_path: Path) -> None:
    """Whatever a body says, labels are published statuses and codes, `other` or `none`."""
    rows = [
        status("delivered"), status("invented-by-someone"), status("failed", errors=[{"code": 131049}]),
        status("failed", errors=[{"code": 987654}]), status("failed"),
    ]  # fmt: skip
    webhook, metrics = _translated(settings_with(tmp_path), cloud(statuses=rows, messages=[text("stop")])), Metrics()
    webhook.count(metrics)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("wapipe_statuses_total", status="delivered") == 1
    assert value("wapipe_statuses_total", status="other") == 1
    assert value("wapipe_statuses_total", status="failed") == 3
    assert [value("wapipe_undelivered_total", code=code) for code in ("131049", "other", "none")] == [1, 1, 1]
    assert value("wapipe_opt_outs_total", way="keyword") == 1


# -- one person, several ids ------------------------------------------------------------------------------------------
USER = "US.13491208655302741918"


def test_a_brazilian_id_without_the_ninth_digit_is_the_person_with_it(tmp_path: Path) -> None:
    """Events and opt-outs are keyed by the number's canonical form; the body keeps what WhatsApp wrote."""
    webhook = _translated(settings_with(tmp_path), cloud(messages=[text("STOP", **{"from": "551187654321"})]))
    assert {record.key for record in webhook.records} == {"5511987654321"}
    [event], [revoke] = (_values(webhook, topic) for topic in ("inbound-events", "consent-updates"))
    assert (event["recipient"], event["body"]["from"], revoke["recipient"]) == (
        "5511987654321", "551187654321", "5511987654321",
    )  # fmt: skip


def test_ids_that_a_webhook_names_together_are_told_in_a_header(tmp_path: Path) -> None:
    """The gate learns from it who is who without looking into every event."""
    named = cloud(contacts=[{"wa_id": PERSON, "user_id": USER}], messages=[text("hi", from_user_id=USER)])
    [record] = _translated(settings_with(tmp_path), named).records
    assert read_links(record.headers) == [Link(USER, PERSON, "user_id")]
    [plain] = _translated(settings_with(tmp_path), cloud(messages=[text("hi")])).records
    assert header_of(plain.headers, LINKS_HEADER) is None


def test_a_change_of_number_is_told_in_a_header(tmp_path: Path) -> None:
    """WhatsApp's notice comes from the old number and names the new one."""
    notice = {"type": "user_changed_number", "body": "User changed", "wa_id": "15550108888"}
    message = {"from": PERSON, "id": "wamid.s", "timestamp": "1795300000", "type": "system", "system": notice}
    [record] = _translated(settings_with(tmp_path), cloud(messages=[message])).records
    assert (record.key, read_links(record.headers)) == (PERSON, [Link(PERSON, "15550108888", "number")])


def test_stop_with_two_ids_is_written_for_both(tmp_path: Path) -> None:
    """Upstream may write to either, and nobody may know by then that the two are one."""
    webhook = _translated(settings_with(tmp_path), cloud(messages=[text("STOP", from_user_id=USER)]))
    revokes = _values(webhook, "consent-updates")
    assert [record.key for record in _on(webhook, "consent-updates")] == [PERSON, USER]
    assert [check(ConsentUpdate, revoke).recipient for revoke in revokes] == [PERSON, USER]
    assert len({revoke["update_id"] for revoke in revokes}) == 2
    assert webhook.opt_outs == ["keyword"]
