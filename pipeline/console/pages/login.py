"""Log in by a token and a name, and out again; and the two files that pages load."""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import web

from pipeline.console.access import clean_name
from pipeline.console.guard import COOKIE, next_of, set_cookie
from pipeline.console.web import HERE, PARTS, bare

log = structlog.get_logger(__name__)

_FILES: Final = {
    name: (HERE / "static" / name, kind)
    for name, kind in (("console.js", "text/javascript"), ("console.css", "text/css"))
}


async def file(request: web.Request) -> web.Response:
    """`GET /console.js`, `GET /console.css`: two files, by name, and nothing else."""
    path, kind = _FILES[request.path.removeprefix("/")]
    return web.Response(body=path.read_bytes(), content_type=kind, charset="utf-8")


async def no_icon(_request: web.Request) -> web.Response:
    """`GET /favicon.ico`: browsers ask by themselves; there is none."""
    return web.Response(status=204)


async def login_page(request: web.Request) -> web.Response:
    """`GET /login`."""
    made = request.app[PARTS].doors.made_token_file
    return bare("login.html", next=next_of(request.query.get("next", "/")), problem=None, file=made)


async def login(request: web.Request) -> web.Response:
    """`POST /login`: a name for the audit and a token; slowed down by address after failures."""
    parts, form, address = request.app[PARTS], await request.post(), request.remote or ""
    made, to = parts.doors.made_token_file, next_of(str(form.get("next", "/")))
    tries = parts.metrics.console_logins
    if not parts.attempts.may_try(address):
        tries.labels("slowed_down").inc()
        answer = bare("login.html", status=429, next=to, problem="too many attempts; wait a minute", file=made)
        answer.headers["Retry-After"] = "60"
        return answer
    name, role = clean_name(str(form.get("name", ""))), parts.doors.role_of(str(form.get("token", "")))
    if role is None or not name:
        if role is None:
            parts.attempts.fail(address)
            tries.labels("refused").inc()
            log.warning("console_login_refused", address=address)
        problem = "this token opens nothing here" if role is None else "say who you are: it is kept with what you do"
        return bare("login.html", status=403, next=to, problem=problem, file=made)
    cookie, _ = parts.sessions.open(name, role)
    tries.labels("ok").inc()
    log.info("console_login", actor=name, role=role)
    answer = web.Response(status=303, headers={"Location": to})
    set_cookie(request, answer, cookie)
    return answer


async def logout(request: web.Request) -> web.Response:
    """`POST /logout`."""
    request.app[PARTS].sessions.close(request.cookies.get(COOKIE))
    answer = web.Response(status=303, headers={"Location": "/login"})
    answer.del_cookie(COOKIE, path="/")
    return answer
