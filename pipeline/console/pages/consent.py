"""Consent: what holds for a person, how it came to be, with evidence; and a revoke by an operator."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from pipeline.clock import rfc3339, unix_ms
from pipeline.config import CATEGORIES
from pipeline.console import people, query
from pipeline.console.web import actor_of, back, failed, page, parts_of, perform, person_asked, query_text, reason_of
from pipeline.errors import PipelineError, WrongRequest
from pipeline.operations.consent import businesses_of, change_consent, rules_of

STYLES = {"granted": "good", "resumed": "good", "revoked": "bad", "applied": "good", "refused": "bad"}


async def consent(request: web.Request) -> web.Response:
    """`GET /consent?q=`, or `?of=` a message to them: one person."""
    parts, text = parts_of(request), query_text(request, "q")
    person, ref = await person_asked(parts, request.query)
    held: dict[str, Any] | None = None
    history: list[dict[str, Any]] = []
    acts: list[dict[str, Any]] = []
    if person is not None:
        held, history = await parts.reading.run(people.consent, person)
        acts = await parts.reading.run(lambda db: query.acts(db, targets=[f"recipient:{one}" for one in person.ids]))
    return page(
        request, "consent.html", q=text, person=person, ref=ref, held=held, history=history, acts=acts, styles=STYLES,
        businesses=sorted(businesses_of(parts.settings)), categories=CATEGORIES,
    )  # fmt: skip


async def revoke(request: web.Request) -> web.Response:
    """`POST /consent/revoke`: what a person allowed ends, from the moment Kafka has it."""
    parts, form, now_ms = parts_of(request), await request.post(), unix_ms()
    person, ref = await person_asked(parts, form)
    to = f"/consent?{urlencode(ref)}"
    try:
        if person is None:
            raise WrongRequest("person: no number and no user id")
        reason, actor = reason_of(form), actor_of(request)
        update = {
            "update_id": f"console-{uuid.uuid4().hex}",
            "recipient": person.key,
            "business": str(form.get("business", "")),
            "action": "revoke",
            "categories": [str(form.get("category", "*"))],
            "purposes": [str(form.get("purpose", "")).strip() or "*"],
            "at": rfc3339(now_ms),
            "evidence": {"method": "other", "actor": "business", "source": "wapipe console", "reference": actor.name},
        }
        change = change_consent(actor, update, rules_of(parts.settings, now_ms), reason=reason)
        await perform(request, change.act, "revoked: nothing of that goes to them any more", "")
    except PipelineError as exc:
        raise failed(request, exc, to) from exc
    raise back(to)
