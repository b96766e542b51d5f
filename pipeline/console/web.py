"""What every page stands on: its parts, who asks, and how HTML comes out. Runs on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.clock import unix_ms
from pipeline.config import Settings
from pipeline.console import people, query
from pipeline.console.access import Attempts, Doors, Session, Sessions
from pipeline.console.feed import Feed
from pipeline.console.query import Reading
from pipeline.console.rates import Rates
from pipeline.console.states import States
from pipeline.console.words import FILTERS, hidden
from pipeline.errors import PipelineError, WrongRequest
from pipeline.metrics import Metrics
from pipeline.operations.acts import Act, Actor
from pipeline.operations.people import Person
from pipeline.operations.writing import write_act
from pipeline.streams.delivery import Delivery

HERE: Final = Path(__file__).parent
MAX_REASON_CHARS: Final = 300
MAX_QUERY_CHARS: Final = 200
NAVIGATION: Final = (
    ("/", "Overview"), ("/messages", "Messages"), ("/campaigns", "Campaigns"), ("/consent", "Consent"),
    ("/templates", "Templates"), ("/dead-letters", "Dead letters"),
)  # fmt: skip


@dataclass(slots=True)
class Parts:
    """All that the pages use.

    Attributes:
        backlogs: Records that wait, by number and lane topic; renewed every two seconds.
        tiers_used: People that each portfolio has written to in a tier's day; renewed every ten.
        problem: Why Kafka cannot be asked now; None: it can.
        streams: Live streams that are open.
        draining: Set when the role is asked to stop.
    """

    settings: Settings
    metrics: Metrics
    doors: Doors
    sessions: Sessions
    attempts: Attempts
    feed: Feed
    rates: Rates
    states: States
    reading: Reading
    delivery: Delivery
    backlogs: dict[str, dict[str, int]] = field(default_factory=dict)
    tiers_used: dict[str, int] = field(default_factory=dict)
    problem: str | None = None
    streams: int = 0
    draining: asyncio.Event = field(default_factory=asyncio.Event)


PARTS: Final = web.AppKey("parts", Parts)
SESSION: Final = web.RequestKey("session", Session)
_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_ENVIRONMENT.filters.update(FILTERS)


def parts_of(request: web.Request) -> Parts:
    """The parts of the application."""
    return request.app[PARTS]


def fragment(request: web.Request, template: str, **values: Any) -> str:
    """HTML of a template, with what every page may use; all values are escaped."""
    parts, session = parts_of(request), request[SESSION]

    def shown(person: str | None, recipient: str | None = None) -> str:
        """A person's number, without its middle unless they asked for it."""
        whole = recipient or person
        return whole or "–" if parts.sessions.is_revealed(session, person) else hidden(whole)

    return _ENVIRONMENT.get_template(template).render(
        user=session, csrf=session.csrf, is_operator=session.role == "operator", shown=shown,
        is_revealed=lambda person: parts.sessions.is_revealed(session, person), now_ms=unix_ms(),
        behind=parts.feed.behind, problem=_problem(parts), here=request.path, navigation=NAVIGATION, **values,
    )  # fmt: skip


def _problem(parts: Parts) -> str | None:
    if parts.feed.error is not None:
        return "the read model stands still: see the console's log, then restart it (if need be with --rebuild)"
    return parts.problem


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """A whole page; what was noted for its reader is shown, once."""
    session = request[SESSION]
    text = fragment(request, template, notices=session.notices, **values)
    session.notices = []
    return web.Response(text=text, status=status, content_type="text/html")


def bare(template: str, *, status: int = 200, **values: Any) -> web.Response:
    """A page for those who are not logged in."""
    return web.Response(
        text=_ENVIRONMENT.get_template(template).render(**values), status=status, content_type="text/html"
    )


def query_text(request: web.Request, name: str) -> str:
    """A parameter of the address, trimmed.

    Raises:
        HTTPBadRequest: it is longer than anything that could be meant.
    """
    text = request.query.get(name, "").strip()
    if len(text) > MAX_QUERY_CHARS:
        raise web.HTTPBadRequest(text=f"{name}: at most {MAX_QUERY_CHARS} characters")
    return text


class Asked(NamedTuple):
    """A person that a page or a form is about.

    Attributes:
        person: None: what was given names nobody.
        ref: What was given, for links and forms about the same person: what was typed, or a message to them. Nothing
            else, as whoever sees numbers without their middle must not find them whole in a link.
    """

    person: Person | None
    ref: Mapping[str, str]


async def person_asked(parts: Parts, given: Mapping[str, Any]) -> Asked:
    """Whom an address or a form means: by `q`, a number or user id, or by `of`, the row of a message to them."""
    row, text = str(given.get("of", "")), str(given.get("q", "")).strip()
    if row.isascii() and row.isdigit() and len(row) < 19:
        message = await parts.reading.run(query.message_of, int(row))
        found = message.person if message is not None else None
        person = await parts.reading.run(people.find, found) if found is not None else None
        return Asked(person, {"of": row})
    return Asked(await parts.reading.run(people.find, text) if text else None, {"q": text})


def actor_of(request: web.Request) -> Actor:
    """Who acts, for the audit."""
    return Actor(request[SESSION].name, "console")


def reason_of(form: Mapping[str, Any]) -> str:
    """Why, from a form.

    Raises:
        WrongRequest: none is given, or it is too long.
    """
    reason = " ".join(str(form.get("reason", "")).split())
    if not reason:
        raise WrongRequest("say why: a reason is kept with every act")
    if len(reason) > MAX_REASON_CHARS:
        raise WrongRequest(f"the reason has more than {MAX_REASON_CHARS} characters")
    return reason


async def perform(request: web.Request, act: Act | None, done: str, already: str) -> None:
    """Write an act and note what came of it.

    Args:
        act: None: there is nothing to do.
        done: What to say when it is done; `already` when it was so before.
    """
    session, parts = request[SESSION], parts_of(request)
    if act is None:
        session.note("wait", already)
        return
    await write_act(parts.delivery, parts.settings, act)
    session.note("good", done)


def back(to: str) -> web.HTTPSeeOther:
    """Answer a form: look at this page next."""
    return web.HTTPSeeOther(to)


def failed(request: web.Request, error: PipelineError, to: str) -> web.HTTPSeeOther:
    """Answer a form that could not be done: say why on the page that comes next."""
    request[SESSION].note("bad", str(error))
    return web.HTTPSeeOther(to)
