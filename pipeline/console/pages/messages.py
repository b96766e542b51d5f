"""Messages: search, and a message's way from request to read, with reasons in words and what to do about them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from markupsafe import Markup

from pipeline.clock import unix_ms
from pipeline.console import people, query
from pipeline.console.fold import Message
from pipeline.console.web import (
    SESSION,
    actor_of,
    back,
    failed,
    fragment,
    page,
    parts_of,
    perform,
    person_asked,
    query_text,
    reason_of,
)
from pipeline.errors import PipelineError
from pipeline.operations.account import wait_sentence
from pipeline.operations.acts import audited
from pipeline.operations.timeline import Step, describe, unfinished
from pipeline.records.reasons import REASONS

STYLES = {
    "accepted": "good", "sent": "good", "delivered": "good", "read": "good", "queued": "plain", "deferred": "wait",
    "rejected": "bad", "failed": "bad", "expired": "bad", "cancelled": "bad", "undelivered": "bad",
}  # fmt: skip


async def messages(request: web.Request) -> web.Response:
    """`GET /messages?q=`, or `?of=` a message: what a search finds, or all to that person; else the newest."""
    parts, text = parts_of(request), query_text(request, "q")
    person, ref = await person_asked(parts, request.query) if "of" in request.query else (None, {"q": text})
    if person is not None:
        hits = await parts.reading.run(query.to_person, person)
    elif text:
        hits = await parts.reading.run(query.search, text)
    else:
        hits = query.Hits(None, await parts.reading.run(query.recent))
    heard = await parts.reading.run(people.heard, hits.person) if hits.person is not None else []
    return page(
        request, "messages.html", q=text, ref=ref, hits=hits, heard=heard, styles=STYLES, most=query.MAX_FOUND,
        is_search=bool(text) or person is not None,
    )  # fmt: skip


async def message(request: web.Request) -> web.Response:
    """`GET /messages/{id}`."""
    found = await _found(request)
    live = Markup(await _timeline(request, found))  # noqa: S704  a template has escaped all values
    return page(request, "message.html", message=found, live=live)


async def fragments(request: web.Request) -> dict[str, str]:
    """The live part: state and timeline."""
    return {"timeline": await _timeline(request, await _found(request))}


async def _found(request: web.Request) -> Message:
    parts = parts_of(request)
    found = await parts.reading.run(query.message_of, int(request.match_info["id"]))
    if found is None:
        raise web.HTTPNotFound(text="no such message: it may be older than the console keeps")
    return found


async def _timeline(request: web.Request, message: Message) -> str:
    parts = parts_of(request)
    steps = await parts.reading.run(query.steps_of, message)
    waits = None
    if message.end is None:
        waits = next(
            (wait_sentence(parts.settings, last, parts.states.known, unix_ms()) for last in unfinished(steps)), None
        )
    remedy = REASONS[message.reason].remedy if message.reason in REASONS else None
    shown = [_shown(step, steps[0].at_ms) for step in steps]
    for before, one in pairwise(shown):
        one["is_same_consent"] = one["consent"] == before["consent"]
    return fragment(
        request, "parts/timeline.html", message=message, steps=shown, waits=waits, remedy=remedy, styles=STYLES
    )


def _shown(step: Step, first_ms: int) -> dict[str, Any]:
    reason = REASONS.get(str(step.event.get("reason")))
    return {
        "at_ms": step.at_ms, "after_ms": step.at_ms - first_ms, "kind": step.kind, "style": step.style,
        "words": describe(step), "place": step.place, "remedy": reason.remedy if reason is not None else None,
        "consent": step.event.get("consent"), "is_same_consent": False,
    }  # fmt: skip


async def reveal(request: web.Request) -> web.Response:
    """`POST /reveal`: show a person's number whole for a while; who asked, and why, is kept."""
    parts, form = parts_of(request), await request.post()
    person, ref = await person_asked(parts, form)
    to = f"/messages/{ref['of']}" if form.get("to") == "message" and "of" in ref else f"/consent?{urlencode(ref)}"
    if person is None:
        raise web.HTTPBadRequest(text="person: no number")
    try:
        made = audited(
            actor_of(request), "reveal", f"recipient:{person.key}", reason=reason_of(form), before=None, after=None,
            records=(),
        )  # fmt: skip
        await perform(request, made, "the number is shown for 15 minutes; that you asked is kept", "")
    except PipelineError as exc:
        raise failed(request, exc, to) from exc
    parts.sessions.reveal(request[SESSION], person.ids)
    raise back(to)
