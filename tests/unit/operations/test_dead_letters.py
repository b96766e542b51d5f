"""Dead letters: what they say, which can go again, with which marks, and what is remembered of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.clock import rfc3339
from pipeline.errors import WrongRequest
from pipeline.operations.acts import Actor
from pipeline.operations.dead_letters import (
    Letter,
    Place,
    Wanted,
    act_on,
    handled_of,
    key_of,
    letter_of,
    obstacle,
    place_of,
    replayed,
)
from pipeline.operations.reading import Row
from pipeline.operations.replaying import Found, plan
from pipeline.records.account import AuditEvent
from pipeline.records.codec import check, headers_for
from pipeline.records.deadletter import Stage, dead_letter_headers
from pipeline.records.returning import FIRST_TIME, Returning, read_returning, returning_headers

NOW_MS = 1_795_341_600_000
ADA = Actor("ada", "cli")
REQUEST = {"request_id": "r-1", "from": "200000000000001", "to": "15550109999"}
FIRST = {"topic": "outbound-requests", "partition": 3, "offset": 7, "timestamp_ms": 5}


def letter(
    value: bytes | None = orjson.dumps(REQUEST), *, topic: str = "p-outbound-requests", stage: Stage = "gate",
    code: str = "unsupported_schema", attempts: int = 0, original: Any = None, key: bytes | None = b"15550109999",
) -> Letter:  # fmt: skip
    """A letter as the gate or the sender writes it."""
    headers = dead_letter_headers(
        topic=topic, partition=3 if topic else None, offset=991 if topic else None, stage=stage, code=code,
        message="why", attempts=attempts, timestamp_ms=NOW_MS, original=original,
    )  # fmt: skip
    return letter_of(Row("dead-letter", 2, 17, NOW_MS + 5, key, value, headers), "p-")


def test_a_letter_tells_what_it_was() -> None:
    """Source without the prefix, reason, ids as far as they can be read, and the record's own headers alone."""
    found = letter(original=[("schema", b"request/9"), ("traceparent", b"00-x")])
    assert (found.place, found.at_ms, found.gave_up_ms) == (Place(2, 17), NOW_MS + 5, NOW_MS)
    assert (found.topic, found.source, found.stage, found.code) == (
        "outbound-requests", (3, 991), "gate", "unsupported_schema",
    )  # fmt: skip
    assert (found.request_id, found.number, found.recipient) == ("r-1", "200000000000001", "15550109999")
    assert found.headers == [("schema", b"request/9"), ("traceparent", b"00-x")]


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"[1]", b'{"request_id": 5, "from": []}'])
def test_rubbish_can_be_looked_at(value: bytes | None) -> None:
    """Bytes that nobody can read, and headers that are not there, leave the ids empty."""
    found = letter(value, key=None)
    assert (found.request_id, found.number, found.recipient) == (None, None, None)
    bare = letter_of(Row("dead-letter", 0, 0, NOW_MS, None, value), "")
    assert (bare.topic, bare.source, bare.code, bare.attempts, bare.gave_up_ms) == ("", None, "", 0, NOW_MS)


def test_a_lane_s_letter_names_its_request() -> None:
    """In the sender's records the request is inside."""
    found = letter(orjson.dumps({"request": REQUEST, "business": "acme"}), topic="p-ready-bulk", stage="sender")
    assert (found.topic, found.request_id) == ("ready-bulk", "r-1")


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(), True),
        (Wanted(stage="gate", code="unsupported_schema", number="200000000000001", request_id="r-1"), True),
        (Wanted(stage="sender"), False),
        (Wanted(stage="gate", request_id="r-2"), False),
    ],
)
def test_filters_narrow_down(wanted: Wanted, fits: bool) -> None:
    """A letter has to fit every filter that is given."""
    assert wanted.fits(letter()) is fits


def test_places_are_read_as_they_are_written() -> None:
    """The id of a list, and the target of an audit record; anything else is named."""
    assert place_of("2:17") == place_of("dead-letter:2:17") == Place(2, 17)
    assert place_of(str(Place(0, 10**12))) == Place(0, 10**12)
    for text in ("", "2", "2:", "2:-1", "a:b", "2:17:3", "²:1"):
        with pytest.raises(WrongRequest, match="PARTITION:OFFSET"):
            place_of(text)


def test_a_request_goes_again_as_it_was_with_marks() -> None:
    """The same key, bytes and headers, its first source, and what says that an operator sends it again, and why."""
    own = [*headers_for("request/1", b"00-trace"), ("wapipe-rerouted", b"1")]
    found = letter(code="misrouted", original=own)
    again = replayed(found)
    assert (again.topic, again.key, again.value, again.partition) == (
        "outbound-requests", b"15550109999", found.value, -1,
    )  # fmt: skip
    assert list(again.headers)[:3] == own[:3]
    assert ("wapipe-rerouted", b"1") not in again.headers, "it is routed once more"
    assert ("wapipe-replay-of", b"dead-letter[2]@17") in again.headers
    source = {"topic": "outbound-requests", "partition": 3, "offset": 991, "timestamp_ms": NOW_MS}
    assert read_returning(again.headers) == Returning(source, replay=True)


def test_a_request_of_unknown_outcome_stays_one() -> None:
    """Its attempts go on counting, and it cannot end as if it had never been sent."""
    found = letter(code="outcome_unknown", stage="sender", attempts=2, topic="outbound-requests")
    known = read_returning(replayed(found).headers)
    assert (known.attempt, known.unknown, known.replay) == (2, True, True)


def test_what_came_back_before_keeps_its_first_source() -> None:
    """A letter of a re-routed request names the place where it came in first, and marks stand once."""
    found = letter(original=returning_headers(FIRST, attempt=4, spent=3))
    headers = list(replayed(found).headers)
    assert read_returning(headers) == Returning(FIRST, attempt=4, replay=True)
    assert len({name for name, _ in headers}) == len(headers)
    broken = replayed(letter(original=[("wapipe-source", b"[1]")]))
    assert read_returning(broken.headers).source == {**FIRST, "offset": 991, "timestamp_ms": NOW_MS}


def test_other_records_go_back_to_their_topic() -> None:
    """Consent updates by their key; a lane's record to its lane, which no key leads to."""
    update = replayed(letter(topic="p-consent-updates"))
    assert (update.topic, update.partition) == ("consent-updates", -1)
    assert read_returning(update.headers) == FIRST_TIME
    lane = replayed(letter(topic="p-delayed-retry-1m", stage="sender"))
    assert (lane.topic, lane.partition) == ("delayed-retry-1m", 3)


@pytest.mark.parametrize(
    ("found", "may_duplicate", "words"),
    [
        (letter(), False, None),
        (letter(code="outcome_unknown"), False, "--may-duplicate"),
        (letter(code="outcome_unknown"), True, None),
        (letter(topic="", stage="ingress", code="bad_webhook"), True, "webhook"),
        (letter(topic="p-consent"), True, "nothing reads consent"),
        (letter(topic="elsewhere"), True, "nothing reads elsewhere"),
        (letter(topic="p-ready-bulk"), False, None),
    ],
)
def test_what_cannot_go_again_says_why(found: Letter, may_duplicate: bool, words: str | None) -> None:
    """Only what somebody reads goes again, and what may have been sent only at the operator's risk."""
    why = obstacle(found, may_duplicate=may_duplicate)
    assert why is None if words is None else words in str(why)


def audited(act: Any) -> dict[str, Any]:
    """The audit-event of an act."""
    return dict(orjson.loads(act.audit.value))


def test_acts_are_remembered_by_their_audit_records() -> None:
    """Who replayed or discarded a letter, and why, is found again by its place and time, oldest first."""
    found = letter()
    acts = [act_on(ADA, "replay", found, "upgraded"), act_on(ADA, "discard", found, "a test")]
    told = check(AuditEvent, audited(acts[0]))
    assert (told.action, told.target, told.reason) == ("replay", "dead-letter:2:17", "upgraded")
    assert [record.topic for record in acts[0].records] == ["outbound-requests"]
    assert acts[1].records == ()
    others = [{"action": "pause", "target": "number:1"}, {"action": "replay", "target": "x"}, {"action": "replay"}]
    handled = handled_of([*others, *map(audited, acts)])
    assert [(one.action, one.actor, one.reason) for one in handled[key_of(found)]] == [
        ("replay", "ada", "upgraded"), ("discard", "ada", "a test"),
    ]  # fmt: skip
    assert list(handled) == [(Place(2, 17), rfc3339(NOW_MS + 5))], "a topic made anew has letters of other times"


def test_a_letter_is_handled_once_unless_asked_for() -> None:
    """A second replay or discard stays away, and says who did the first one; `again` lifts that."""
    [handled] = handled_of([audited(act_on(ADA, "replay", letter(), "x"))]).values()
    done, waiting = Found(letter(), handled[-1]), Found(letter(code="outcome_unknown"), None)
    assert [one.obstacle is None for one in plan([done, waiting], "discard")] == [False, True]
    first, second = plan([done, waiting], "replay")
    assert first.obstacle is not None
    assert "by ada" in first.obstacle
    assert second.obstacle is not None
    assert [one.obstacle for one in plan([done, waiting], "replay", may_duplicate=True, again=True)] == [None, None]
