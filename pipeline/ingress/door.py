"""The HTTP side: Meta's verification by GET, webhooks by POST. Handlers run on the ingress' loop and wait for Kafka.

The answer to a POST says what WhatsApp shall do: 200 = it is on Kafka, never come again; 503 = come again; 4xx = this
was not for us. No answer repeats anything of the call but the challenge that Meta asks to have back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
import structlog
from aiohttp import hdrs, web

from pipeline.clock import steady_s, unix_ms
from pipeline.config import Settings
from pipeline.health import Health
from pipeline.ingress.access import Access, Voice
from pipeline.ingress.connections import Connections
from pipeline.ingress.journal import Entry, Journal
from pipeline.ingress.load import MAX_BODY_BYTES, BodyTooLarge, BodyTooSlow, Held, Load, Overloaded, read_body
from pipeline.ingress.outgoing import Translator, Webhook
from pipeline.ingress.spool import Spool, SpoolFull
from pipeline.ingress.states import States
from pipeline.ingress.store import NotStored, Store
from pipeline.ingress.tls import common_name
from pipeline.logs import Repeats
from pipeline.metrics import Metrics
from pipeline.tracing import OFF, Tracing
from pipeline.whatsapp.signature import HEADER as SIGNATURE_HEADER
from pipeline.whatsapp.signature import TURN_HEADER

RETRY_AFTER_S = 5
MAX_CHALLENGE_CHARS = 1024
BEARER: Final = "Bearer "
NUMBER: Final = r"{number:[0-9]{1,32}}"
REFUSALS: Final = {404: "not_found", 405: "wrong_method", 400: "bad_request"}

log = structlog.get_logger(__name__)


class Door:
    """Handlers of the ingress.

    Args:
        health: Told while the door refuses calls because too much is in flight.
        states: What `account-state` says by now; None: nothing.
        journal: Where webhooks are kept while Kafka is away; None: they are answered 503 then.
        clock_ms: This host's date, ms since 1970.
        tracing: Follows the statuses of traced messages.

    Attributes:
        connections: To be watched while the door is open.
        spool: To be run while the door is open, if there is one.
    """

    def __init__(
        self,
        settings: Settings,
        access: Access,
        store: Store,
        health: Health,
        metrics: Metrics,
        load: Load | None = None,
        states: States | None = None,
        journal: Journal | None = None,
        clock_ms: Callable[[], int] = unix_ms,
        tracing: Tracing = OFF,
    ) -> None:
        self._settings = settings
        self._access, self._store, self._health, self._metrics = access, store, health, metrics
        self._load = load or Load()
        self._clock_ms = clock_ms
        self._translate = Translator(settings, states, tracing)
        self._verified: set[str] = set()
        self.connections = Connections(metrics)
        limit_bytes = settings.ingress.spool_max_bytes
        self.spool = None if journal is None else Spool(journal, limit_bytes, self._store_entries, metrics)
        self._is_draining = False
        self._repeats = Repeats()
        self._may_verify = frozenset(number for number, one in settings.numbers.items() if one.profile != "v1")

    def app(self) -> web.Application:
        """The application with its routes: `path`, `path/<number id>`, `path/<number id>/<token>`."""
        app = web.Application(middlewares=[self._counted], client_max_size=MAX_BODY_BYTES)
        base = self._settings.ingress.path.rstrip("/")
        for path in (base or "/", f"{base}/{NUMBER}"):
            app.router.add_get(path, self.verify, allow_head=False)
            app.router.add_post(path, self.receive)
        app.router.add_post(f"{base}/{NUMBER}/{{token}}", self.receive)
        return app

    def progress(self) -> tuple[int, bool]:
        """How many webhooks were answered, and whether more are in hand. Kafka away ends each of them in time: 503."""
        return self._load.finished, self._load.requests > 0

    async def drain(self, timeout_s: float) -> None:
        """Finish the webhooks under way, at most for `timeout_s`; connections end with the answer they get now."""
        self._is_draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._load.empty.wait()
        except TimeoutError:
            log.warning("calls_cut_off", count=self._load.requests)

    async def verify(self, request: web.Request) -> web.Response:
        """Answer Meta's verification (whatsapp-api.md §2.12), and note the numbers whose webhook works."""
        query = request.query
        challenge = query.get("hub.challenge", "")
        if query.get("hub.mode") != "subscribe" or not 0 < len(challenge) <= MAX_CHALLENGE_CHARS:
            return _refusal(400, "bad_request", "hub.mode=subscribe, hub.verify_token and hub.challenge are needed")
        if not self._access.may_verify(query.get("hub.verify_token", "")):
            self._warn("verification_refused", request)
            return _refusal(403, "bad_token", "wrong hub.verify_token")
        asked = request.match_info.get("number")
        numbers = self._may_verify if asked is None else self._may_verify & {asked}
        try:
            await self._store.put(self._translate.verified(sorted(numbers), self._clock_ms()))
        except NotStored as exc:
            return self._come_again(request, "unavailable", exc)
        self._verified |= numbers
        log.info("webhook_verified", numbers=sorted(numbers))
        answer = web.Response(text=challenge, content_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})
        return _told(answer, "verified")

    async def receive(self, request: web.Request) -> web.Response:
        """Take one webhook: 200 when all that it says is on Kafka."""
        if not self._is_welcome(request):
            self._warn("client_certificate_refused", request)
            return _closing(_refusal(403, "bad_certificate", "the client certificate has another name"))
        number, token = request.match_info.get("number"), request.match_info.get("token") or _bearer(request)
        signature = request.headers.get(SIGNATURE_HEADER) or request.headers.get(TURN_HEADER)
        if not self._access.may_knock(number, token, signature):
            self._warn("webhook_refused", request)
            return _closing(_refusal(401, "bad_signature", "no valid signature or token"))
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            return _closing(_refusal(415, "bad_request", "Content-Encoding is not supported"))
        try:
            held = self._load.enter()
        except Overloaded as exc:
            return _closing(self._overloaded(request, exc))
        try:
            return await self._take(request, held, number, token, signature)
        finally:
            held.leave()
            if self._load.has_room:
                self._health.meet("load")

    async def _take(
        self, request: web.Request, held: Held, number: str | None, token: str | None, signature: str | None
    ) -> web.Response:
        try:
            raw = await read_body(request.content, request.content_length, held)
        except BodyTooLarge:
            return _closing(_refusal(413, "too_large", f"a body may have {MAX_BODY_BYTES} bytes"))
        except BodyTooSlow:
            return _closing(_refusal(408, "too_slow", "the body did not arrive in time"))
        except Overloaded as exc:
            return _closing(self._overloaded(request, exc))
        voice = self._access.voice_of(raw, signature, number, token)
        if voice is None:
            self._warn("webhook_refused", request)
            return _refusal(401, "bad_signature", "no valid signature or token")
        return await self._keep(request, raw, number, voice)

    async def _keep(self, request: web.Request, raw: bytes, number: str | None, voice: Voice) -> web.Response:
        began_s, now_ms = steady_s(), self._clock_ms()
        webhook = self._translate.webhook(raw, now_ms, number, voice)
        entry = Entry(now_ms, number, voice, raw)
        if self.spool is not None and self.spool.is_in_use:
            return await self._spooled(request, self.spool, entry, webhook)
        try:
            await self._put([(webhook, now_ms)])
        except NotStored as exc:
            if self.spool is None:
                return self._come_again(request, "unavailable", exc)
            return await self._spooled(request, self.spool, entry, webhook)
        self._metrics.webhook_publish_seconds.observe(steady_s() - began_s)
        if webhook.orphans:
            log.warning("opt_out_without_owner", count=webhook.orphans)
        if webhook.dead_code is not None:
            self._warn("webhook_dead_lettered", request)
        return _told(web.Response(), "ok" if webhook.dead_code is None else "dead_letter")

    async def _spooled(self, request: web.Request, spool: Spool, entry: Entry, webhook: Webhook) -> web.Response:
        """Keep a webhook on disk. One with an opt-out is asked for again all the same: its 200 promises that senders
        can know of it."""
        try:
            await spool.keep(entry)
        except SpoolFull as exc:
            return self._come_again(request, "unavailable", exc)
        if webhook.opt_outs:
            return self._come_again(request, "spooled_opt_out", NotStored("it is on disk, not on Kafka"))
        return _told(web.Response(), "spooled")

    async def _store_entries(self, entries: list[Entry]) -> None:
        """Write webhooks that stood on disk.

        Raises:
            NotStored: Kafka did not take all of them in time; some may be there.
        """
        await self._put([
            (self._translate.webhook(one.raw, one.received_ms, one.number, one.voice), one.received_ms)
            for one in entries
        ])  # fmt: skip

    async def _put(self, webhooks: list[tuple[Webhook, int]]) -> None:
        """Write webhooks, each with the time when it came, and count them when Kafka has all their records.

        Raises:
            NotStored: Kafka did not take all of them in time; some may be there.
        """
        fresh = set[str]().union(*(webhook.numbers for webhook, _ in webhooks)) - self._verified
        records = [record for webhook, _ in webhooks for record in webhook.records]
        await self._store.put([*records, *self._translate.verified(sorted(fresh), self._clock_ms())])
        self._verified |= fresh
        for webhook, received_ms in webhooks:
            self._translate.stored(webhook, received_ms)
            webhook.count(self._metrics)

    def _is_welcome(self, request: web.Request) -> bool:
        """Whether the caller's certificate has the name that the settings ask for, if they do."""
        wanted = self._settings.ingress.client_name
        if wanted is None:
            return True
        certificate = request.get_extra_info("peercert")
        return common_name(certificate) == wanted

    def _overloaded(self, request: web.Request, exc: Overloaded) -> web.Response:
        self._health.miss("load", str(exc))
        return self._come_again(request, "overloaded", exc)

    def _come_again(self, request: web.Request, result: str, why: Exception) -> web.Response:
        self._warn("webhook_put_off", request, why=str(why))
        answer = _refusal(503, result, "try again later")
        answer.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_S)
        return answer

    def _warn(self, event: str, request: web.Request, **details: str) -> None:
        held_back = self._repeats.pass_now(event, steady_s())
        if held_back is not None:
            log.warning(event, remote=request.remote, suppressed=held_back, **details)

    @web.middleware
    async def _counted(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count every call by its answer, also those that no handler of ours saw or finished."""
        result = "failed"
        self.connections.called(request)
        try:
            answer = await handler(request)
            result = answer.get(_RESULT, "ok")
            if self._is_draining:
                answer.force_close()
        except web.HTTPException as exc:
            result = REFUSALS.get(exc.status, "bad_request")
            raise
        except asyncio.CancelledError:
            result = "aborted"
            raise
        except ConnectionError:
            # Nobody hears this answer; it keeps aiohttp from logging the caller's hanging up as an error of ours.
            result = "aborted"
            return _closing(_refusal(400, result, "the connection ended before the body did"))
        except web.RequestPayloadError:
            result = "bad_request"
            return _closing(_refusal(400, result, "the body was not sent as announced"))
        finally:
            self._metrics.webhook_requests.labels(result).inc()
        return answer


_RESULT: Final = web.ResponseKey("result", str)


def _told(answer: web.Response, result: str) -> web.Response:
    answer[_RESULT] = result
    return answer


def _refusal(status: int, result: str, message: str) -> web.Response:
    body = orjson.dumps({"error": message})
    return _told(web.Response(body=body, status=status, content_type="application/json"), result)


def _closing(answer: web.Response) -> web.Response:
    """An answer after which the connection ends: the rest of the body is not worth reading."""
    answer.force_close()
    return answer


def _bearer(request: web.Request) -> str | None:
    value = request.headers.get(hdrs.AUTHORIZATION, "")
    return value.removeprefix(BEARER) if value.startswith(BEARER) else None
