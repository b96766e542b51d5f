"""The demo's live figures come out of the topics once each, and its pace is that of the campaign."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from pipeline.cli.demo.drive import due
from pipeline.cli.demo.tally import RATE_WINDOW_MS, Tally
from pipeline.cli.demo.view import BAR_CHARS, View, bar, stops_of
from pipeline.cli.local_plan import V1_NUMBER
from pipeline.metrics import Metrics
from pipeline.records.outbound import outbound_event

NOW_MS = 1_800_000_000_000
TAG = "demo-1-"


class Message:
    """A record as a follower brings it."""

    def __init__(self, value: Any, offset: int = 0) -> None:
        self._value = value if isinstance(value, bytes) else orjson.dumps(value)
        self._offset = offset

    def value(self) -> bytes:
        """Its bytes."""
        return self._value

    def partition(self) -> int:
        """Always the first."""
        return 0

    def offset(self) -> int:
        """Its place."""
        return self._offset


def _events(request_id: str, *kinds: str, **fields: Any) -> Iterable[Message]:
    request = {"request_id": request_id, "from": V1_NUMBER, "to": "15550109999", "priority": "bulk"}
    source = {"topic": "outbound-requests", "partition": 0, "offset": 0}
    for kind in kinds:
        yield Message(outbound_event(kind, request, source, at_ms=NOW_MS, stage="gate", **fields))


def test_tally_follows_a_message_to_its_end() -> None:
    """What is queued waits until its terminal event, and an event that comes again changes nothing."""
    tally = Tally(TAG)
    queued = list(_events(f"{TAG}1", "queued"))
    tally.take_outbound(queued)
    tally.take_outbound(queued)
    assert tally.numbers[V1_NUMBER].waiting == {"bulk": 1}
    accepted = list(_events(f"{TAG}1", "accepted"))
    tally.take_outbound([*accepted, *accepted])
    assert tally.numbers[V1_NUMBER].waiting == {"bulk": 0}
    assert tally.ends == {"accepted": 1}
    assert tally.ended == 1


def test_message_that_ended_waits_no_more_whenever_its_queued_is_heard() -> None:
    """Gate and sender write apart: the end may be read before the beginning."""
    tally = Tally(TAG)
    tally.take_outbound(_events(f"{TAG}1", "accepted", "queued"))
    assert tally.numbers[V1_NUMBER].waiting.total() == 0


def test_headline_tells_why_messages_were_put_off() -> None:
    """Somebody who waits reads what for."""
    tally = Tally(TAG)
    tally.take_outbound(_events(f"{TAG}1", "deferred", reason="tier_exhausted"))
    tally.take_outbound(_events(f"{TAG}2", "deferred", reason="throttled"))
    tally.take_outbound(_events(f"{TAG}3", "deferred", reason="throttled"))
    assert "; 3 deferrals (2 throttled, 1 tier_exhausted), " in View.headline(tally, 3, 1.0)


def test_tally_leaves_other_runs_out() -> None:
    """Records of somebody else are not counted."""
    tally = Tally(TAG)
    tally.take_outbound(_events("cli-1", "queued", "accepted"))
    tally.take_dead([Message(b"not of this run")])
    assert tally.ended == 0


def test_dead_letters_count_once_by_their_place() -> None:
    """A dead letter is known by where it stands, as it has no id."""
    tally = Tally(TAG)
    tally.take_dead([Message(f"{TAG}x".encode(), 1), Message(f"{TAG}x".encode(), 1), Message(f"{TAG}x".encode(), 2)])
    assert tally.ended == 2


def test_rate_is_of_the_last_seconds() -> None:
    """What was accepted before the window is no longer part of the rate."""
    tally = Tally(TAG)
    for index in range(6):
        tally.take_outbound(_events(f"{TAG}{index}", "accepted"))
    number = tally.numbers[V1_NUMBER]
    assert number.rate_per_s(NOW_MS) == pytest.approx(6000 / RATE_WINDOW_MS)
    assert number.rate_per_s(NOW_MS + RATE_WINDOW_MS + 1) == 0


def test_statuses_and_stops_of_the_runs_people_are_counted() -> None:
    """Webhooks count for the run's people only, each once."""
    tally = Tally(TAG)
    status = {"event_id": "a", "type": "status", "status": "read", "recipient": "15550109999", "body": {}}
    stop = {"event_id": "b", "type": "message", "recipient": "15550109999", "body": {"text": {"body": "STOP"}}}
    other = {**status, "event_id": "c", "recipient": "4917000000"}
    tally.take_inbound([Message(status), Message(status), Message(stop), Message(other)], "1555")
    assert tally.statuses == {"read": 1}
    assert tally.stops == 1


def test_halts_are_read_from_a_senders_metrics() -> None:
    """The reasons that a sender shows are those that the view shows, and no other."""
    metrics = Metrics()
    metrics.show_stops("1", {"throttled", "webhook"})
    metrics.show_stops("2", ())
    assert stops_of(metrics.exposition().decode()) == {"1": {"throttled", "webhook"}}


def test_plain_view_prints_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are plain lines: the whole, then one per number with rate, limit, backlog and halts."""
    tally = Tally(TAG)
    tally.take_outbound(_events(f"{TAG}1", "queued"))
    with View({V1_NUMBER: (50, 150)}) as view:
        view.campaign(tally, 10, 1.0)
        view.campaign(tally, 10, 1.1)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2
    assert "0 of 10 ended" in out[0]
    assert V1_NUMBER in out[1]
    assert "of 50/s (bursts 150)" in out[1]
    assert "bulk 1" in out[1]
    assert "\x1b" not in "".join(out)


@pytest.mark.parametrize(("share", "full"), [(-1, 0), (0, 0), (0.5, BAR_CHARS // 2), (1, BAR_CHARS), (2, BAR_CHARS)])
def test_bar_is_full_at_the_end(share: float, full: int) -> None:
    """A bar has one length, whatever the share."""
    assert bar(share).count("#") == full
    assert len(bar(share)) == BAR_CHARS


def test_things_on_the_way_are_due_evenly_and_all_by_the_end() -> None:
    """Nothing is due before its part of the campaign, everything is after it, and never less than before."""
    counts = [due(share / 100, 0.2, 0.6, 40) for share in range(101)]
    assert counts[20] == 0
    assert counts[40] == 20
    assert counts[60] == counts[100] == 40
    assert counts == sorted(counts)
