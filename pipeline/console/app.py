"""The console's addresses, and the application that serves them."""

from __future__ import annotations

from aiohttp import web

from pipeline.console.guard import MAX_BODY_BYTES, guard
from pipeline.console.live import live
from pipeline.console.pages import campaigns, consent, dead_letters, login, messages, overview, templates
from pipeline.console.web import PARTS, Parts

CAMPAIGN_EVERY_S = 2.0


def app_of(parts: Parts) -> web.Application:
    """The application; `guard` stands before every handler."""
    app = web.Application(middlewares=[guard], client_max_size=MAX_BODY_BYTES)
    app[PARTS] = parts
    app.add_routes([
        web.get("/console.js", login.file),
        web.get("/console.css", login.file),
        web.get("/favicon.ico", login.no_icon),
        web.get("/login", login.login_page),
        web.post("/login", login.login),
        web.post("/logout", login.logout),
        web.get("/", overview.overview),
        web.get("/live", live(overview.fragments)),
        web.post(r"/numbers/{number:\d{1,32}}", overview.act),
        web.get("/messages", messages.messages),
        web.get(r"/messages/{id:\d{1,18}}", messages.message),
        web.get(r"/messages/{id:\d{1,18}}/live", live(messages.fragments)),
        web.post("/reveal", messages.reveal),
        web.get("/campaigns", campaigns.campaigns),
        web.get("/campaigns/live", live(campaigns.list_fragments, CAMPAIGN_EVERY_S)),
        web.get("/campaigns/view", campaigns.campaign),
        web.get("/campaigns/view/live", live(campaigns.fragments, CAMPAIGN_EVERY_S)),
        web.post("/campaigns/act", campaigns.act),
        web.get("/consent", consent.consent),
        web.post("/consent/revoke", consent.revoke),
        web.get("/templates", templates.templates),
        web.get("/dead-letters", dead_letters.dead_letters),
        web.get(r"/dead-letters/{part:\d{1,6}}/{at:\d{1,18}}", dead_letters.dead_letter),
        web.post(r"/dead-letters/{part:\d{1,6}}/{at:\d{1,18}}", dead_letters.act),
    ])  # fmt: skip
    return app
