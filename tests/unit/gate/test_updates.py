"""Consent updates and inbound events: what is written, and what the tables show meanwhile."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.clock import rfc3339
from pipeline.gate.item import Out
from pipeline.records.consent import Consent, ConsentEvent
from pipeline.records.inbound import ServiceWindow
from pipeline.streams.partition import partition_of
from tests.unit.gate import making
from tests.unit.gate.making import ADA, NOW_MS, NUMBER, PARTITIONS, Tables, body, item

HOME = partition_of(ADA, PARTITIONS)
KEY = ADA.encode()


def by_topic(outs: list[Out]) -> dict[str, Out]:
    """Records by their topic."""
    return {out.topic: out for out in outs}


def test_grant_writes_consent_and_its_event() -> None:
    """A merged update leaves the whole consent on its own partition and the proof on consent-events."""
    outs = by_topic(Tables().updates.apply(item("update", making.update(), offset=4)))
    consent, told = outs["consent"], ConsentEvent.model_validate(body(outs["consent-events"]))
    assert (consent.key, consent.partition) == (KEY, HOME)
    assert Consent.model_validate(body(consent)).entries[0].status == "granted"
    assert (told.result, told.reason, told.before, len(told.after)) == ("applied", None, [], 1)
    assert told.origin.model_dump() == {"topic": "consent-updates", "partition": HOME, "offset": 4}
    assert told.evidence is not None
    assert told.evidence["actor"] == "user"


def test_update_read_twice_leaves_no_second_effect() -> None:
    """The same record again writes the same event and no second consent."""
    tables = Tables()
    first = by_topic(tables.updates.apply(item("update", making.update())))
    again = by_topic(tables.updates.apply(item("update", making.update())))
    assert "consent" not in again
    assert body(first["consent-events"])["event_id"] == body(again["consent-events"])["event_id"]
    assert body(again["consent-events"])["result"] == "applied"


def test_next_update_builds_on_what_is_still_on_its_way() -> None:
    """Two updates in a row merge, though the table shows neither yet."""
    tables = Tables()
    tables.updates.apply(item("update", making.update()))
    marketing = making.update(update_id="u-2", categories=["marketing"])
    consent = by_topic(tables.updates.apply(item("update", marketing)))["consent"]
    assert {entry["category"] for entry in body(consent)["entries"]} == {"utility", "marketing"}


def test_grant_followed_by_a_request_is_judged_on_the_grant() -> None:
    """A request right behind its grant is admitted."""
    tables = Tables()
    tables.grant()
    assert tables.outcome(making.request(), settled=False)["type"] == "queued"


def test_refused_and_ignored_updates_leave_only_an_event() -> None:
    """What does not change the consent is told and written nowhere else."""
    tables = Tables()
    refused = tables.updates.apply(item("update", making.update(evidence=...)))
    assert [out.topic for out in refused] == ["consent-events"]
    assert (body(refused[0])["result"], body(refused[0])["reason"]) == ("refused", "evidence_missing")
    tables.grant(action="revoke", at="2026-11-21T08:00:00Z")
    ignored = tables.updates.apply(item("update", making.update()))
    assert [(out.topic, body(out)["result"]) for out in ignored] == [("consent-events", "ignored_older")]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"action": "maybe"}, "maybe"),
        ({"categories": []}, "grant"),
        ({"categories": ["*"]}, "grant"),
        ({"categories": "utility"}, "grant"),
        ({"business": "*"}, "grant"),
        ({"business": 7}, "grant"),
        ({"at": "yesterday"}, "grant"),
        ({"at": ...}, "grant"),
        ({"purposes": ["Order Updates"]}, "grant"),
        ({"evidence": {"method": "telepathy", "actor": "user", "source": "x"}}, "grant"),
    ],
)
def test_readable_but_wrong_update_is_refused_as_invalid(fields: dict[str, Any], named: str) -> None:
    """If person and id can be read, the history says `refused: invalid`."""
    (out,) = Tables().updates.apply(item("update", making.update(**fields)))
    told = ConsentEvent.model_validate(body(out))
    assert (out.topic, told.result, told.reason, told.action) == ("consent-events", "refused", "invalid", named)


@pytest.mark.parametrize(
    ("raw", "headers", "code"),
    [
        (None, [], b"not_json"),
        (b"{", [], b"not_json"),
        (b"\xc3\x28", [], b"not_utf8"),
        (b"[]", [], b"contract"),
        (orjson.dumps(making.update(recipient="Ada")), [], b"contract"),
        (orjson.dumps(making.update(update_id="")), [], b"contract"),
        (orjson.dumps(making.update(update_id="x" * 201)), [], b"contract"),
        (orjson.dumps(making.update()), [("schema", b"request/1")], b"unsupported_schema"),
    ],
)
def test_unreadable_update_becomes_a_dead_letter(raw: Any, headers: Any, code: bytes) -> None:
    """What cannot be read at all keeps its bytes on dead-letter."""
    (out,) = Tables().updates.apply(item("update", raw, headers=headers))
    assert (out.topic, out.value, dict(out.headers)["errors.code"]) == ("dead-letter", raw, code)


def test_update_on_a_foreign_partition_is_re_routed_once() -> None:
    """An opt-out by a foreign partitioner still reaches its person; a second foreign place ends it."""
    tables, away = Tables(), (HOME + 3) % PARTITIONS
    (out,) = tables.updates.apply(item("update", making.update(), partition=away, key=None))
    assert (out.topic, out.key, out.partition) == ("consent-updates", ADA, HOME)
    (letter,) = tables.updates.apply(item("update", making.update(), partition=away, headers=out.headers))
    assert dict(letter.headers)["errors.code"] == b"misrouted"


def test_merging_again_writes_only_what_differs() -> None:
    """The second merge repairs a consent that a frozen predecessor wrote over, and tells nothing twice."""
    tables = Tables()
    tables.grant()
    stop = making.update(update_id="stop", action="revoke", at="2026-11-21T08:00:00Z")
    outs = by_topic(tables.updates.apply(item("update", stop)))
    right = outs["consent"]
    assert right.stored is not None
    right.stored(2)
    tables.applied["consent"] = 3
    old = by_topic(Tables().updates.apply(item("update", making.update())))["consent"]
    assert old.value is not None
    tables.stored["consent"][HOME, KEY] = old.value
    tables.consents.sweep()
    repaired = tables.updates.apply(item("remerge", stop))
    assert [out.topic for out in repaired] == ["consent"]
    assert body(repaired[0])["entries"][0]["status"] == "revoked"
    assert tables.updates.apply(item("remerge", stop)) == []
    assert tables.updates.apply(item("remerge", b"{")) == []
    assert tables.updates.apply(item("remerge", making.update(action="maybe"))) == []
    assert tables.updates.apply(item("remerge", stop, partition=(HOME + 1) % PARTITIONS)) == []


def test_message_of_a_person_opens_the_window() -> None:
    """A message event writes the window; a service message goes at once, though the table does not show it yet."""
    tables = Tables()
    (out,) = tables.inbound.apply(item("inbound", making.message_event()))
    record = ServiceWindow.model_validate(body(out))
    assert (out.topic, out.key, out.partition) == ("service-windows", KEY, HOME)
    assert set(record.windows) == {NUMBER}
    service = making.request(category="service", message=making.text())
    assert tables.outcome(service, settled=False)["type"] == "queued"
    assert tables.inbound.apply(item("inbound", making.message_event())) == []


@pytest.mark.parametrize("fields", [{"type": "status"}, {"type": "unknown", "recipient": None}, {"number": "999"}])
def test_other_events_are_passed_by(fields: dict[str, Any]) -> None:
    """Statuses, account events and messages to numbers that are not ours write nothing."""
    assert Tables().inbound.apply(item("inbound", making.message_event(**fields))) == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, b"not_json"),
        (b"{", b"not_json"),
        (b"\xff", b"not_utf8"),
        (orjson.dumps(making.message_event(recipient=None)), b"contract"),
        (orjson.dumps(making.message_event(at="now")), b"contract"),
        (orjson.dumps(making.message_event(number=None)), b"contract"),
    ],
)
def test_unreadable_inbound_event_becomes_a_dead_letter(raw: Any, code: bytes) -> None:
    """A message event that does not say who wrote, when and to whom is kept for a person to look at."""
    (out,) = Tables().inbound.apply(item("inbound", raw))
    assert (out.topic, dict(out.headers)["errors.code"]) == ("dead-letter", code)


def test_inbound_event_on_a_foreign_partition_opens_nothing_here() -> None:
    """A window is kept only by the owner of its partition, where the event is brought once."""
    away = (HOME + 1) % PARTITIONS
    (out,) = Tables().inbound.apply(item("inbound", making.message_event(), partition=away))
    assert (out.topic, out.key, out.partition) == ("inbound-events", ADA, HOME)
    (letter,) = Tables().inbound.apply(item("inbound", making.message_event(), partition=away, headers=out.headers))
    assert dict(letter.headers)["errors.code"] == b"misrouted"


def test_view_drops_what_the_table_shows() -> None:
    """A value lies on top of the table until its own offset was applied, and not longer."""
    tables = Tables()
    view = tables.consents
    first = view.put(HOME, KEY, {"entries": [], "erased_at": None, "n": 1})
    second = view.put(HOME, KEY, {"entries": [], "erased_at": None, "n": 2})
    first(7)
    tables.applied["consent"] = 7
    view.sweep()
    assert (view.get(HOME, KEY) or {})["n"] == 2
    second(8)
    tables.applied["consent"] = 8
    view.sweep()
    assert view.get(HOME, KEY) is None
    assert len(view) == 0


def test_view_takes_no_stranger_s_value() -> None:
    """A table value that is none of ours counts as nothing known: nobody is written to because of it."""
    tables = Tables()
    for raw in (b"{", b"[]", b'{"entries": []}'):
        tables.stored["consent"][HOME, KEY] = raw
        assert tables.consents.get(HOME, KEY) is None


def test_warning_about_missing_text_changes_nothing() -> None:
    """`require_evidence_text = "warn"` lets a grant without text through; `reject` refuses it."""
    bare = making.update(evidence={"method": "qr", "actor": "user", "source": "poster"}, at=rfc3339(NOW_MS))
    warned = Tables().updates.apply(item("update", bare))
    assert {out.topic for out in warned} == {"consent", "consent-events"}
    (refused,) = Tables(policy={"require_evidence_text": "reject"}).updates.apply(item("update", bare))
    assert body(refused)["reason"] == "evidence_missing"


def test_erase_forgets_windows_and_suppressions_that_are_not_newer() -> None:
    """An erase leaves tombstones for what else is stored of the person; a window opened after it stays."""
    for opened_at, is_forgotten in (("2026-11-22T09:00:00.000Z", True), ("2026-11-22T09:59:30.000Z", False)):
        tables = Tables()
        window = {"opened_at": opened_at, "until": "2026-11-23T09:00:00.000Z", "message_id": None}
        tables.windows.put(HOME, KEY, {"recipient": ADA, "windows": {NUMBER: window}})
        suppression = {"recipient": ADA, "reason": "blocked", "until": None, "at": "2026-11-21T08:00:00.000Z"}
        tables.suppressions.put(HOME, KEY, suppression)
        erase = making.update(action="erase", business="*", categories=[], at="2026-11-22T09:59:00.000Z")
        outs = by_topic(tables.updates.apply(item("update", erase)))
        assert outs["suppressions"].value is None
        assert tables.suppressions.get(HOME, KEY) is None
        assert ("service-windows" in outs) == is_forgotten
        assert (tables.windows.get(HOME, KEY) is None) == is_forgotten


def test_opt_out_is_counted_by_the_method_of_the_opt_in_it_took() -> None:
    """A wide revoke tells the narrow grants that it takes, and counts once under their method, repeats not at all."""
    tables = Tables()
    tables.grant()
    stop = making.update(
        update_id="stop", action="revoke", business="*", categories=["*"], at="2026-11-21T08:00:00Z", evidence=...
    )
    told = body(by_topic(tables.updates.apply(item("update", stop)))["consent-events"])
    assert [entry["update_id"] for entry in told["before"]] == ["u-1"]
    tables.updates.apply(item("update", stop))
    tables.updates.apply(item("update", {**stop, "update_id": "again", "at": "2026-11-21T09:00:00Z"}))
    counter = tables.metrics.consent_opt_outs.labels("checkbox")
    assert counter._value.get() == 1


def test_evidence_is_never_logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a good nor a refused update leaves the person's words or number in a log line."""
    tables = Tables(policy={"require_evidence_text": "warn"})
    secret = {"method": "qr", "actor": "user", "source": "secret-source", "reference": "secret-reference"}
    tables.grant(evidence=secret)
    tables.grant(evidence={**secret, "actor": "business"}, update_id="u-2")
    tables.updates.apply(item("remerge", making.update(evidence=secret, update_id="u-3", at="2026-11-21T08:00:00Z")))
    printed = capsys.readouterr()
    logged = caplog.text + printed.out + printed.err
    assert "grant_without_text" in logged
    assert "secret" not in logged
    assert ADA not in logged
