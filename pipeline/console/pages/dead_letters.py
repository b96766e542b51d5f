"""Dead letters: filter them, look at their bytes; see what a replay would do, then replay or discard.

The list comes from the read model, an act from Kafka: what is replayed is the record itself, looked up at its place.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from pipeline.config import Settings
from pipeline.console import query
from pipeline.console.web import SESSION, Parts, actor_of, back, failed, page, parts_of, query_text, reason_of
from pipeline.errors import PipelineError, WrongRequest
from pipeline.operations.acts import Actor
from pipeline.operations.dead_letters import UNKNOWN, Place, Verb
from pipeline.operations.reading import open_reader
from pipeline.operations.replaying import Planned, carry_out, look_up, plan
from pipeline.records.deadletter import CODES

HEX_BYTES = 1_024
LINE = 16
_VERBS: dict[str, Verb] = {"replay": "replay", "discard": "discard"}
_DONE = {"replay": "replayed", "discard": "discarded"}


async def dead_letters(request: web.Request) -> web.Response:
    """`GET /dead-letters?code=&topic=`."""
    parts = parts_of(request)
    code, topic = query_text(request, "code"), query_text(request, "topic")
    found = await parts.reading.run(lambda db: query.dead_letters(db, code=code, topic=topic))
    handled = await parts.reading.run(query.handled, [_place(one).target for one in found])
    rows = [{**one, "handled": _DONE.get(handled.get(_place(one).target, ""))} for one in found]
    return page(request, "dead_letters.html", letters=rows, codes=CODES, code=code, topic=topic)


async def dead_letter(request: web.Request) -> web.Response:
    """`GET /dead-letters/{partition}/{offset}`; what stands in the way of a replay is tried, and nothing written."""
    parts, found = parts_of(request), await _found(request)
    place = _place(found)
    acts = await parts.reading.run(lambda db: query.acts(db, targets=[place.target]))
    obstacle = await _obstacle(parts, place, may_duplicate=found["code"] == UNKNOWN)
    return page(
        request, "dead_letter.html", letter=found, text=_as_text(found["value"]), dump=_dump(found["value"]), acts=acts,
        obstacle=obstacle, is_risky=found["code"] == UNKNOWN, path=_path(place),
    )  # fmt: skip


async def act(request: web.Request) -> web.Response:
    """`POST /dead-letters/{partition}/{offset}`: replay or discard."""
    parts, form = parts_of(request), await request.post()
    place = Place(int(request.match_info["part"]), int(request.match_info["at"]))
    try:
        verb = _VERBS.get(str(form.get("act")))
        if verb is None:
            raise WrongRequest("act: replay or discard")
        may_duplicate, reason = form.get("may_duplicate") == "yes", reason_of(form)
        actor = actor_of(request)
        done = await asyncio.to_thread(_carry_out, parts.settings, actor, verb, place, reason, may_duplicate)
        if done.obstacle is not None:
            raise WrongRequest(f"nothing was done: {done.obstacle}")
        request[SESSION].note("good", f"{place} is {_DONE[verb]}")
    except PipelineError as exc:
        raise failed(request, exc, _path(place)) from exc
    raise back(_path(place))


async def _obstacle(parts: Parts, place: Place, *, may_duplicate: bool) -> str | None:
    try:
        return (await asyncio.to_thread(_plan, parts.settings, place, "replay", may_duplicate)).obstacle
    except PipelineError as exc:
        return str(exc)


def _plan(settings: Settings, place: Place, verb: Verb, may_duplicate: bool) -> Planned:
    with open_reader(settings) as reader:
        return plan(look_up(reader, settings, [place]), verb, may_duplicate=may_duplicate)[0]


def _carry_out(settings: Settings, actor: Actor, verb: Verb, place: Place, reason: str, may_duplicate: bool) -> Planned:
    with open_reader(settings) as reader:
        planned = plan(look_up(reader, settings, [place]), verb, may_duplicate=may_duplicate)
        return carry_out(reader, settings, actor, verb, planned, reason, may_duplicate=may_duplicate)[0]


async def _found(request: web.Request) -> dict[str, Any]:
    part, at = int(request.match_info["part"]), int(request.match_info["at"])
    found = await parts_of(request).reading.run(query.dead_letter, part, at)
    if found is None:
        raise web.HTTPNotFound(text="no such dead letter: it may be older than the console keeps")
    return found


def _place(letter: dict[str, Any]) -> Place:
    return Place(letter["part"], letter["at"])


def _path(place: Place) -> str:
    return f"/dead-letters/{place.partition}/{place.offset}"


def _as_text(value: bytes) -> str:
    """Its bytes as text; what is none is shown as escapes."""
    return value.decode(errors="backslashreplace")


def _dump(value: bytes) -> str:
    """The first bytes as a hex dump."""
    lines = []
    for start in range(0, min(len(value), HEX_BYTES), LINE):
        row = value[start : start + LINE]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:06x}  {row.hex(' '):<{LINE * 3}} {shown}")
    return "\n".join(lines)
