"""The simulator's shell: sockets, HTTP and the clock around the referee.

Runs in one asyncio loop (uvloop under `run_simulator`); a request is decided synchronously as soon as its body is there
and only then waits for its latency. aiohttp's low-level server: no routing, no middleware, no access log.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from time import monotonic_ns, time, time_ns

import structlog
import uvloop
from aiohttp import web

from pipeline.errors import ConfigError
from pipeline.simulator import webhooks
from pipeline.simulator.control import TimedEvent
from pipeline.simulator.director import Director
from pipeline.simulator.doors import PREFIX, Doors
from pipeline.simulator.endpoints import Endpoints
from pipeline.simulator.lag import LagProbe
from pipeline.simulator.limits import NS_PER_S
from pipeline.simulator.parts import Profile
from pipeline.simulator.postman import Destination, Postman
from pipeline.simulator.referee import Referee
from pipeline.simulator.requests import Route, clean, credential, route
from pipeline.simulator.settings import LiveSettings, SimulatorSettings
from pipeline.simulator.statuses import Sent
from pipeline.simulator.verdicts import Arrival, Verdict
from pipeline.simulator.wire import Latency, bounded_request, reset

log = structlog.stdlib.get_logger(__name__)

SHUTDOWN_S = 1.0
ROUTES_MAX = 10_000


class Simulator:
    """A running simulator; make it with `start_simulator`.

    Attributes:
        referee: Limits, faults, counters, ledger.
        postman: Webhooks.
        director: Does what control requests and events ask for.
        lag: How late the loop ran, which bounds how late an arrival was stamped.
        in_flight: Requests without an answer yet.
        started_ns: Start on this machine's monotonic clock; `t_ns` in the ledger counts from here.
        started_wall_ns: The same in Unix time.
    """

    def __init__(self, settings: SimulatorSettings, secret: bytes | None, events: Sequence[TimedEvent] = ()) -> None:
        """Prepare everything but the socket."""
        self.started_ns = monotonic_ns()
        self.started_wall_ns = time_ns()
        self.referee = Referee(settings, self.started_wall_ns)
        self.postman = Postman(
            lambda: self.settings,
            secret=secret,
            concurrency=settings.webhook_concurrency,
            queue_max=settings.webhook_queue,
            seed=settings.seed,
            real_s=self.referee.clock.real_s,
        )
        self.director = Director(self, events)
        self.lag = LagProbe()
        self.in_flight = 0
        self._only = settings.profile
        self._latency = Latency(settings.seed)
        self._routes: dict[tuple[str, str], Route] = {}
        self._endpoints = Endpoints(self.referee, self.postman.history)
        self._doors = Doors(self)
        self._server = web.Server(
            self._handle, request_factory=bounded_request, access_log=None, handler_cancellation=True
        )
        self._listener: asyncio.Server | None = None
        self._host = settings.host

    @property
    def settings(self) -> LiveSettings:
        """The settings in force."""
        return self.referee.settings

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._listener is not None, "start() comes first"  # noqa: S101 - programmer's error
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Its base URL, without a path."""
        return f"http://{self._host}:{self.port}"

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._server.connections)

    def now_ns(self) -> int:
        """Nanoseconds since the start, monotonic."""
        return monotonic_ns() - self.started_ns

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._server, host, port, backlog=1024)
        except OSError as error:
            raise ConfigError(f"simulator: cannot listen on {host}:{port}: {error}; choose another port") from error
        self.postman.start()
        self.lag.start()
        self.director.agenda.start()

    async def stop(self) -> None:
        """Stop listening, give what is in flight a second, drop waiting webhooks."""
        if self._listener is not None:
            self._listener.close()
        self.lag.stop()
        self.director.agenda.stop()
        await self.postman.stop()
        self._server.pre_shutdown()
        await self._server.shutdown(SHUTDOWN_S)

    def clear(self) -> None:
        """Drop waiting webhooks and start random choices over, as part of a reset."""
        self.postman.clear()
        self.lag.clear()
        self._latency.restart()

    def destination(
        self, profile: Profile, number: str | None, settings: LiveSettings | None = None
    ) -> Destination | None:
        """Where the webhooks of a number go; None = no URL is set.

        Args:
            profile: Its profile.
            number: None = none in particular; only a URL without `{number}` takes that.
            settings: None = those in force.
        """
        settings = settings or self.settings
        url = settings.webhook_url if number is None else settings.webhook_url_of(number)
        if url is None or (number is None and "{number}" in url):
            return None
        shape: webhooks.Shape = "v1" if profile == "v1" else "cloud"
        if settings.webhook_shape != "auto":
            shape = settings.webhook_shape
        return Destination(url, shape, number or "")

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = clean(request.raw_path.partition("?")[0])
        if path.startswith(PREFIX):
            return await self._doors.answer(request, path)
        self.in_flight += 1
        try:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                # What nobody reads is not a message: it is decided, counted and recorded as one without a body.
                body = b""
            verdict = self._decide(request, path, body)
            return await self._answer(request, verdict)
        finally:
            self.in_flight -= 1

    def _decide(self, request: web.BaseRequest, path: str, body: bytes) -> Verdict:
        where = self._route(request.method, path)
        arrival = Arrival(
            t_ns=self.now_ns(),
            wall_s=time(),
            route=where,
            path=path,
            credential=credential(where.profile, request.headers),
            body=body,
        )
        if not where.takes_messages:
            return self.referee.judge_other(
                arrival, lambda: self._endpoints.answer(arrival, request.headers, request.query, self.url)
            )
        verdict = self.referee.judge(arrival)
        if self.director.agenda.is_waiting:
            self.director.agenda.begin()
        if verdict.accepted or verdict.failed_code is not None:
            self._plan_statuses(where, verdict)
        return verdict

    def _route(self, method: str, path: str) -> Route:
        known = self._routes.get((method, path))
        if known is None:
            known = route(method, path)
            if self._only not in (None, known.profile):
                known = Route("other", self._only)
            if len(self._routes) < ROUTES_MAX:
                self._routes[method, path] = known
        return known

    def _plan_statuses(self, where: Route, verdict: Verdict) -> None:
        destination = self.destination(where.profile, verdict.sender)
        if destination is None:
            return
        message, settings = verdict.message, self.settings
        sent = Sent(
            message_id=verdict.message_id,
            recipient=message.recipient,
            type=message.type,
            profile=where.profile,
            version=where.version,
            callback=message.callback,
            category=self.referee.conduct.category(settings, where, message),
            failed_code=verdict.failed_code,
            asked=verdict.statuses,
        )
        self.postman.statuses(destination, sent, in_s=settings.latency_ms / 1000 + verdict.delay_s)

    async def _answer(self, request: web.BaseRequest, verdict: Verdict) -> web.StreamResponse:
        if verdict.silence == "hang":
            await asyncio.sleep(max(0, verdict.silent_to_ns - self.now_ns()) / NS_PER_S)
        else:
            latency_s = self._latency.draw_s(self.settings) + verdict.delay_s
            if latency_s:
                await asyncio.sleep(latency_s)
        if verdict.silence is not None:
            reset(request)
            return web.Response()
        headers = {"Content-Type": verdict.content_type}
        if verdict.headers is not None:
            headers |= verdict.headers
        if verdict.retry_after is not None:
            headers["Retry-After"] = verdict.retry_after
        return web.Response(status=verdict.status, body=verdict.body, headers=headers)


async def start_simulator(settings: SimulatorSettings, events: Sequence[TimedEvent] = ()) -> Simulator:
    """Start a simulator in the running loop; `events` happen to it at their times.

    Returns:
        The simulator; `.port` and `.url` say where it listens, `await .stop()` ends it.

    Raises:
        ConfigError: the address is taken, or the secret file cannot be read or is empty.
    """
    secret: bytes | None = None
    if settings.webhook_secret_file is not None:
        try:
            secret = settings.webhook_secret_file.read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"webhook_secret_file: {error}; name a file that can be read") from error
        if not secret:
            raise ConfigError("webhook_secret_file: the file is empty; write the app secret into it")
    simulator = Simulator(settings, secret, events)
    await simulator.start(settings.host, settings.port)
    return simulator


def run_simulator(
    settings: SimulatorSettings,
    on_ready: Callable[[Simulator], None] | None = None,
    events: Sequence[TimedEvent] = (),
) -> None:
    """Run a simulator in a loop of its own until SIGTERM or SIGINT, then stop it and return.

    Args:
        settings: What to simulate.
        on_ready: Called once it listens, e.g. to print its address.
        events: What happens to it while it runs.

    Raises:
        ConfigError: as `start_simulator`.
    """
    uvloop.run(_run(settings, on_ready, events))


async def _run(
    settings: SimulatorSettings, on_ready: Callable[[Simulator], None] | None, events: Sequence[TimedEvent]
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    simulator = await start_simulator(settings, events)
    try:
        log.info("simulator_listening", url=simulator.url)
        if on_ready is not None:
            on_ready(simulator)
        await ended.wait()
    finally:
        await simulator.stop()
        log.info("simulator_stopped", requests=len(simulator.referee.ledger))
