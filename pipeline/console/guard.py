"""Stands before every page: who may come in, what a form must prove, what a browser may do with the answer.

1. limits on address and body   2. a login, or the page that asks for one   3. for a form: same site, CSRF token,
and the role   4. headers on every answer: no foreign script, style, frame or form target
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import web

from pipeline.console.access import Session
from pipeline.console.web import PARTS, SESSION, Parts, bare

log = structlog.get_logger(__name__)

COOKIE: Final = "wapipe_session"
MAX_BODY_BYTES: Final = 16_384
MAX_ADDRESS_CHARS: Final = 2_048
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with that, browsers send forms with `Origin: null`, and ours could not be told from others'.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
OPEN: Final = frozenset({"/login", "/console.js", "/console.css", "/favicon.ico"})
FOR_VIEWERS: Final = frozenset({"/logout"})
"""Forms that need no operator."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through, or answer it."""
    try:
        answer = await _guarded(request, handler)
    except web.HTTPException as exc:
        answer = exc
    if not answer.prepared:
        secure(answer)
    request.app[PARTS].metrics.console_requests.labels(str(answer.status)).inc()
    if isinstance(answer, web.HTTPException):
        raise answer
    return answer


def secure(answer: web.StreamResponse) -> None:
    """Set the headers that every answer has."""
    answer.headers.update(HEADERS)


async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    if len(request.raw_path) > MAX_ADDRESS_CHARS:
        raise web.HTTPRequestURITooLong(text=f"at most {MAX_ADDRESS_CHARS} characters")
    parts = request.app[PARTS]
    is_form = request.method not in ("GET", "HEAD")
    if is_form and not is_same_site(request, parts):
        raise web.HTTPForbidden(text="a form of another site")
    if request.path in OPEN:
        return await handler(request)
    cookie, session = _session(request, parts)
    if session is None:
        return _unknown(request, parts)
    request[SESSION] = session
    if is_form:
        await _prove(request, session)
    answer = await handler(request)
    if cookie is not None and not answer.prepared:
        set_cookie(request, answer, cookie)
    return answer


def _session(request: web.Request, parts: Parts) -> tuple[str | None, Session | None]:
    """Whose request this is, and the cookie to set if they were not known yet."""
    session = parts.sessions.find(request.cookies.get(COOKIE))
    who = parts.doors.proxied(request.remote, request.headers)
    if session is not None and session.is_proxied:
        # the proxy vouches with each request, not once
        if who is None or who[0] != session.name:
            session = None
        else:
            session.role = who[1]
    if session is None and who is not None:
        return parts.sessions.open(*who, is_proxied=True)
    return None, session


def _unknown(request: web.Request, parts: Parts) -> web.StreamResponse:
    if request.method != "GET" or request.path.endswith("/live"):
        raise web.HTTPUnauthorized(text="log in first")
    if not parts.doors.takes_tokens:
        return bare("unknown.html", status=401)
    there = "" if request.path == "/" else f"?next={quote(request.path_qs, safe='')}"
    raise web.HTTPSeeOther(f"/login{there}")


async def _prove(request: web.Request, session: Session) -> None:
    """A form must carry what only our own page could give it, and come from somebody who may act."""
    form = await request.post()
    offered = str(form.get("csrf", ""))
    if not hmac.compare_digest(offered.encode(), session.csrf.encode()):
        raise web.HTTPForbidden(text="the form is too old, or not ours: load the page again")
    if session.role != "operator" and request.path not in FOR_VIEWERS:
        raise web.HTTPForbidden(text="viewers may look, not act: log in as an operator")


def is_same_site(request: web.Request, parts: Parts) -> bool:
    """Whether a form was sent by a page of ours, by what the browser says of it; what says nothing passes."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    hosts = {request.headers.get("Host", "")}
    if parts.doors.is_trusted(request.remote):
        hosts.add(request.headers.get("X-Forwarded-Host", ""))
    return urlsplit(origin).netloc in hosts - {""}


def set_cookie(request: web.Request, answer: web.StreamResponse, cookie: str) -> None:
    """Give the browser its session; over TLS, ours or a trusted proxy's, it never travels without."""
    parts = request.app[PARTS]
    is_secure = request.secure or (
        parts.doors.is_trusted(request.remote) and request.headers.get("X-Forwarded-Proto") == "https"
    )
    answer.set_cookie(
        COOKIE, cookie, path="/", httponly=True, samesite="Strict", secure=is_secure,
        max_age=round(parts.settings.console.session_h * 3600),
    )  # fmt: skip


def next_of(text: str) -> str:
    """Where to go after a login: a page of ours, whatever the address says."""
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_ours else "/"
