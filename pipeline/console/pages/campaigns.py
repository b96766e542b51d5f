"""Campaigns: the funnel of each, what was refused and why, over time; and an operator's word about it."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from aiohttp import web
from markupsafe import Markup

from pipeline.clock import unix_ms
from pipeline.console import funnels, query
from pipeline.console.fold import FUNNEL
from pipeline.console.plots import stages_plot
from pipeline.console.web import actor_of, back, failed, fragment, page, parts_of, perform, query_text, reason_of
from pipeline.errors import PipelineError, WrongRequest
from pipeline.operations.campaigns import State, campaign_states, set_campaign, state_of
from pipeline.records.reasons import REASONS

ENDS: Final = ("rejected", "failed", "expired", "cancelled", "undelivered")
STYLES: Final = {"running": "good", "paused": "wait", "cancelled": "bad"}
_WORDS: Final[dict[str, State]] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}


async def campaigns(request: web.Request) -> web.Response:
    """`GET /campaigns`."""
    return page(request, "campaigns.html", live=Markup(await _list(request)))  # noqa: S704  a template has escaped it


async def list_fragments(request: web.Request) -> dict[str, str]:
    """The live part of the list."""
    return {"campaigns": await _list(request)}


async def _list(request: web.Request) -> str:
    parts = parts_of(request)
    found = await parts.reading.run(funnels.campaigns)
    said = campaign_states(parts.states.known)
    silent = sorted(said.keys() - {funnel.name for funnel in found})
    rows = [(funnel, state_of(said.get(funnel.name))) for funnel in found]
    rows += [(funnels.Funnel(name, 0, 0), state_of(said[name])) for name in silent]
    return fragment(request, "parts/campaigns.html", rows=rows, stages=FUNNEL, styles=STYLES)


async def campaign(request: web.Request) -> web.Response:
    """`GET /campaigns/view?name=`."""
    parts, name = parts_of(request), query_text(request, "name")
    said = campaign_states(parts.states.known).get(name)
    live = await _detail(request, name)
    acts = await parts.reading.run(lambda db: query.acts(db, targets=[f"campaign:{name}"]))
    if live is None and said is None:
        raise web.HTTPNotFound(text="no message of such a campaign was heard of")
    return page(
        request, "campaign.html", name=name, state=state_of(said), said=said, acts=acts, styles=STYLES,
        live=Markup(live or ""),  # noqa: S704  a template has escaped all values
    )  # fmt: skip


async def fragments(request: web.Request) -> dict[str, str]:
    """The live part of one campaign."""
    made = await _detail(request, query_text(request, "name"))
    return {} if made is None else {"campaign": made}


async def _detail(request: web.Request, name: str) -> str | None:
    parts = parts_of(request)
    funnel = await parts.reading.run(funnels.campaign, name)
    if funnel is None:
        return None
    course = await parts.reading.run(funnels.course, name)
    plot = stages_plot(course.counts, f"messages of {name} over time, by stage") if course is not None else None
    return fragment(
        request, "parts/campaign.html", funnel=funnel, stages=FUNNEL, ends=ENDS, reasons=REASONS, course=course,
        plot=plot, rows=sorted(funnel.reasons.items(), key=lambda row: -row[1]),
    )  # fmt: skip


async def act(request: web.Request) -> web.Response:
    """`POST /campaigns/act`: pause, resume or cancel."""
    parts, form = parts_of(request), await request.post()
    name = str(form.get("name", ""))
    to = f"/campaigns/view?name={quote(name, safe='')}"
    try:
        state = _WORDS.get(str(form.get("act")))
        if state is None:
            raise WrongRequest("act: pause, resume or cancel")
        before = campaign_states(parts.states.known).get(name)
        if state_of(before) == "cancelled" and state != "cancelled":
            raise WrongRequest("a cancelled campaign does not come back: its messages have ended")
        made = set_campaign(actor_of(request), name, state, reason=reason_of(form), before=before, now_ms=unix_ms())
        await perform(request, made, f"{name} is {state}", f"{name} was {state} already")
    except PipelineError as exc:
        raise failed(request, exc, to) from exc
    raise back(to)
