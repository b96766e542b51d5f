"""Templates: what Meta approved, as gate and sender know it, and what is wrong or risky in them."""

from __future__ import annotations

from collections import defaultdict

from aiohttp import web

from pipeline.clock import unix_ms
from pipeline.console.web import Parts, page, parts_of, query_text
from pipeline.whatsapp.stop_words import stops
from pipeline.whatsapp.template_lint import Finding, lint
from pipeline.whatsapp.template_registry import DELETED, Known
from pipeline.whatsapp.template_ways import WaysOut

MAX_SHOWN = 500
QUALITIES = {"GREEN": "good", "YELLOW": "wait", "RED": "bad"}


async def templates(request: web.Request) -> web.Response:
    """`GET /templates?q=`."""
    parts, text, now_ms = parts_of(request), query_text(request, "q"), unix_ms()
    alive = [known for known in parts.states.templates if known.status != DELETED]
    found = sorted((known for known in alive if text.lower() in known.key.name.lower()), key=lambda known: known.key)
    findings: dict[str, list[Finding]] = defaultdict(list)
    for finding in lint(alive, _ways(parts), now_ms):
        findings[f"{finding.account}/{finding.template}"].append(finding)
    return page(
        request, "templates.html", q=text, templates=[_row(known, findings, now_ms) for known in found[:MAX_SHOWN]],
        total=len(found), qualities=QUALITIES,
        unsynced=[account for account in _accounts(parts) if not parts.states.templates.is_synced(account)],
    )  # fmt: skip


def _row(known: Known, findings: dict[str, list[Finding]], now_ms: int) -> dict[str, object]:
    key = known.key
    own = findings.get(f"{key.account}/{key.name}/{key.language}", [])
    return {
        "key": key, "status": known.status or "unknown", "is_sendable": known.is_sendable(now_ms),
        "until_ms": known.until_ms if known.status == "PAUSED" else None, "category": known.category_at(now_ms),
        "quality": known.quality, "texts": _texts(known),
        "findings": own + findings.get(f"{key.account}/{key.name}", []),
    }  # fmt: skip


def _texts(known: Known) -> list[tuple[str, str]]:
    """The parts of a template that are text, as (where, text)."""
    return [
        (str(component.get("type", "")).lower(), text)
        for component in known.components or ()
        if isinstance(text := component.get("text"), str)
    ]


def _ways(parts: Parts) -> WaysOut:
    policy = parts.settings.policy
    return WaysOut(stops(policy.keyword_languages, policy.stop_keywords), policy.opt_out_payloads.keys())


def _accounts(parts: Parts) -> list[str]:
    return sorted({own.account for own in parts.settings.numbers.values()} - {""})
