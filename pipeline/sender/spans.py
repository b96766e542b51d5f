"""A message's spans at the sender: its wait in the lane, and each request to the API. Nothing while tracing is off.

They continue from the span of the gate. A wait is told when it is over: by the request that ended it, or by the end of
a message that was never, or not again, written. The POST's context travels in the callback data, so that the statuses
of the message, which come as webhooks, are found to belong to its trace; no header of ours goes to the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from pipeline.sender.jobs import Job
from pipeline.sender.lane import Lane
from pipeline.tracing import Span, SpanKind, Status, StatusCode, Tracing, end_at, traceparent_of
from pipeline.whatsapp.answer import Kind, Outcome

WAIT: Final = "wait in lane"
POST: Final = "POST messages"


class Attempt(NamedTuple):
    """A request under way.

    Attributes:
        began_ms: When it was made, ms since 1970: the wait before it ends then.
    """

    span: Span
    began_ms: int

    @property
    def trace(self) -> bytes | None:
        """What its statuses bring back; None: the trace is not kept (`OTEL_TRACES_SAMPLER`)."""
        return traceparent_of(self.span) if self.span.is_recording() else None


class Spans:
    """Makes them.

    Attributes:
        is_on: To be asked first.
    """

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self.is_on = tracing.is_on

    def attempt(self, lane: Lane, job: Job, now_ms: int) -> Attempt:
        """A request is made ready; if it does not leave, this is forgotten and the wait goes on."""
        attributes = {
            **_who(lane, job),
            "http.request.method": "POST",
            "server.address": urlsplit(lane.endpoint.url).hostname,
            "wapipe.attempt": job.attempt,
        }
        return Attempt(self._tracing.begin(POST, SpanKind.CLIENT, job.trace, now_ms, attributes), now_ms)

    def answered(self, attempt: Attempt, lane: Lane, job: Job, outcome: Outcome, now_ms: int) -> None:
        """The API answered, or nobody knows; from now on the message waits again, unless that was its end."""
        self._wait(lane, job, attempt.began_ms, {})
        span = attempt.span
        told = {
            "http.response.status_code": outcome.http_status,
            "wapipe.outcome": outcome.kind.value,
            "wapipe.error_code": outcome.error_code,
        }
        span.set_attributes({name: value for name, value in told.items() if value is not None})
        if outcome.kind is not Kind.ACCEPTED:
            span.set_attribute("error.type", outcome.kind.value)
            span.set_status(Status(StatusCode.ERROR, outcome.kind.value))
        end_at(span, now_ms)
        job.waits_since_ms = now_ms

    def ended(self, lane: Lane, job: Job, event: Mapping[str, Any], now_ms: int) -> None:
        """A message ended otherwise than by the answer to its last request: a check, evidence, a policy."""
        self._wait(lane, job, now_ms, {"wapipe.outcome": event["type"], "wapipe.reason": event.get("reason")})

    def _wait(self, lane: Lane, job: Job, until_ms: int, further: Mapping[str, Any]) -> None:
        began_ms = min(job.waits_since_ms or until_ms, until_ms)  # the broker's clock may be ahead of ours
        attributes = {**_who(lane, job), "wapipe.deferred": job.reason or None, **further}
        end_at(self._tracing.begin(WAIT, SpanKind.INTERNAL, job.trace, began_ms, attributes), until_ms)


def _who(lane: Lane, job: Job) -> dict[str, Any]:
    message = job.message
    return {
        "wapipe.number": lane.number,
        "wapipe.lane": lane.key,
        "wapipe.request_id": message.request_id,
        "wapipe.category": message.category,
        "wapipe.priority": message.priority,
    }
