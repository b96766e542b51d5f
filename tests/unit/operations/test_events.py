"""Which events somebody who looks on is shown."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.operations.events import EventFilter, step_at
from pipeline.operations.reading import Row
from pipeline.operations.timeline import Step

OUTBOUND = {"type": "rejected", "number": "2", "request_id": "r-1", "campaign": "spring"}
STATUS = {"type": "status", "status": "delivered", "number": "2", "request_id": "r-1"}


def step(event: dict[str, Any], topic: str = "outbound-events") -> Step:
    """An event as its topic holds it."""
    found = step_at(Row(topic, 3, 7, 1000, b"k", orjson.dumps(event)))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (EventFilter(), True),
        (EventFilter(("rejected", "failed"), "2", "spring", "r-1"), True),
        (EventFilter(("accepted",)), False),
        (EventFilter(number="3"), False),
        (EventFilter(campaign="summer"), False),
        (EventFilter(request_id="r-2"), False),
    ],
)
def test_filters_narrow_down(wanted: EventFilter, fits: bool) -> None:
    """An event has to fit every filter that is given."""
    assert wanted.fits(step(OUTBOUND)) is fits


def test_statuses_are_events_too() -> None:
    """A status is called by its word; no campaign is known of it."""
    delivered = step(STATUS, "inbound-events")
    assert (delivered.origin, delivered.place) == ("inbound", "inbound-events[3]@7")
    assert EventFilter(("delivered",)).fits(delivered)
    assert not EventFilter(campaign="spring").fits(delivered)


@pytest.mark.parametrize(
    ("kinds", "has_inbound", "topics"),
    [
        ((), False, ["outbound-events"]),
        ((), True, ["outbound-events", "inbound-events"]),
        (("rejected",), False, ["outbound-events"]),
        (("delivered",), False, ["inbound-events"]),
        (("failed", "read"), False, ["outbound-events", "inbound-events"]),
    ],
)
def test_only_topics_that_can_hold_one_are_read(kinds: tuple[str, ...], has_inbound: bool, topics: list[str]) -> None:
    """Whoever asks for ends does not wait for webhooks to be read."""
    assert EventFilter(kinds).topics(has_inbound=has_inbound) == topics


def test_rubbish_is_passed_over() -> None:
    """What is no event does not end a tail."""
    assert step_at(Row("outbound-events", 0, 0, 0, None, b"{")) is None
