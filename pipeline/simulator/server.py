"""The simulator's shell: sockets, HTTP and the clock around the referee.

Runs in one asyncio loop (uvloop under `run_simulator`); a request is decided synchronously as soon as its body is there
and only then waits for its latency. aiohttp's low-level server: no routing, no middleware, no access log.
"""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import struct
from collections.abc import Callable
from random import Random
from time import monotonic_ns, time, time_ns

import structlog
import uvloop
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from pipeline.errors import ConfigError
from pipeline.simulator import answers, webhooks
from pipeline.simulator.doors import PREFIX, Doors
from pipeline.simulator.lag import LagProbe
from pipeline.simulator.limits import NS_PER_S
from pipeline.simulator.postman import Destination, Postman
from pipeline.simulator.referee import Arrival, Referee, Verdict
from pipeline.simulator.requests import BODY_BYTES_MAX, Route, basic_login, clean, credential, route
from pipeline.simulator.settings import LATENCY_MS_MAX, LiveSettings, Profile, SimulatorSettings

log = structlog.stdlib.get_logger(__name__)

SHUTDOWN_S = 1.0
ROUTES_MAX = 10_000
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Simulator:
    """A running simulator; make it with `start_simulator`.

    Attributes:
        referee: Limits, faults, counters, ledger.
        postman: Webhooks.
        lag: How late the loop ran, which bounds how late an arrival was stamped.
        in_flight: Requests without an answer yet.
        started_ns: Start on this machine's monotonic clock; `t_ns` in the ledger counts from here.
        started_wall_ns: The same in Unix time.
    """

    def __init__(self, settings: SimulatorSettings, secret: bytes | None) -> None:
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
        )
        self.lag = LagProbe()
        self.in_flight = 0
        self._latency = Random(f"{settings.seed}/latency")  # noqa: S311 - reproducible on purpose
        self._routes: dict[tuple[str, str], Route] = {}
        self._doors = Doors(self)
        self._server = web.Server(
            self._handle, request_factory=_bounded_request, access_log=None, handler_cancellation=True
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

    async def stop(self) -> None:
        """Stop listening, give what is in flight a second, drop waiting webhooks."""
        if self._listener is not None:
            self._listener.close()
        self.lag.stop()
        await self.postman.stop()
        self._server.pre_shutdown()
        await self._server.shutdown(SHUTDOWN_S)

    def destination(self, profile: Profile, number: str) -> Destination | None:
        """Where the webhooks of a number go; None = no URL is set."""
        settings = self.settings
        url = settings.webhook_url_of(number)
        if url is None:
            return None
        shape: webhooks.Shape = "v1" if profile == "v1" else "cloud"
        if settings.webhook_shape != "auto":
            shape = settings.webhook_shape
        return Destination(url, shape, number)

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
        if where.kind != "messages":
            answer = self._login(request, arrival) if where.kind == "login" else _no_endpoint(where)
            return self.referee.judge_other(arrival, answer)
        verdict = self.referee.judge(arrival)
        if verdict.accepted:
            self._plan_statuses(where.profile, verdict)
        return verdict

    def _route(self, method: str, path: str) -> Route:
        known = self._routes.get((method, path))
        if known is None:
            known = route(method, path)
            if len(self._routes) < ROUTES_MAX:
                self._routes[method, path] = known
        return known

    def _login(self, request: web.BaseRequest, arrival: Arrival) -> Verdict:
        basic = basic_login(request.headers)
        given = None
        if basic is not None:
            given = self.referee.credentials.login(self.settings, *basic, arrival.wall_s)
        if given is None:
            code = answers.code_of("v1", answers.CODE_ACCESS)
            return Verdict(401, answers.access_body("v1"), code)
        return Verdict(200, answers.login_body(*given))

    def _plan_statuses(self, profile: Profile, verdict: Verdict) -> None:
        destination = self.destination(profile, verdict.sender)
        if destination is None:
            return
        message = verdict.message
        update = webhooks.StatusUpdate(
            message_id=verdict.message_id,
            recipient=message.recipient,
            status="sent",
            callback=message.callback,
            category="utility" if message.type == "template" else "service",
        )
        self.postman.statuses(
            destination, update, in_s=self.settings.latency_ms / 1000, failed_code=verdict.failed_code
        )

    def _latency_s(self) -> float:
        settings = self.settings
        latency_s = settings.latency_ms / 1000
        if settings.latency_sigma and latency_s:
            latency_s = self._latency.lognormvariate(math.log(latency_s), settings.latency_sigma)
        return min(latency_s, LATENCY_MS_MAX / 1000)

    async def _answer(self, request: web.BaseRequest, verdict: Verdict) -> web.StreamResponse:
        if verdict.silence == "hang":
            await asyncio.sleep(max(0, verdict.silent_to_ns - self.now_ns()) / NS_PER_S)
        else:
            latency_s = self._latency_s()
            if latency_s:
                await asyncio.sleep(latency_s)
        if verdict.silence is not None:
            _reset(request)
            return web.Response()
        headers = {"Content-Type": verdict.content_type}
        if verdict.retry_after is not None:
            headers["Retry-After"] = verdict.retry_after
        return web.Response(status=verdict.status, body=verdict.body, headers=headers)


def _bounded_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_BYTES_MAX)


def _no_endpoint(where: Route) -> Verdict:
    code = answers.code_of(where.profile, answers.CODE_NO_ENDPOINT)
    return Verdict(404, answers.error_body(where.profile, code, "There is no such endpoint."), code)


def _reset(request: web.BaseRequest) -> None:
    """End the connection with a RST: linger 0 throws away what is unsent and skips the FIN."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def start_simulator(settings: SimulatorSettings) -> Simulator:
    """Start a simulator in the running loop.

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
    simulator = Simulator(settings, secret)
    await simulator.start(settings.host, settings.port)
    return simulator


def run_simulator(settings: SimulatorSettings, on_ready: Callable[[Simulator], None] | None = None) -> None:
    """Run a simulator in a loop of its own until SIGTERM or SIGINT, then stop it and return.

    Args:
        settings: What to simulate.
        on_ready: Called once it listens, e.g. to print its address.

    Raises:
        ConfigError: as `start_simulator`.
    """
    uvloop.run(_run(settings, on_ready))


async def _run(settings: SimulatorSettings, on_ready: Callable[[Simulator], None] | None) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    simulator = await start_simulator(settings)
    try:
        log.info("simulator_listening", url=simulator.url)
        if on_ready is not None:
            on_ready(simulator)
        await ended.wait()
    finally:
        await simulator.stop()
        log.info("simulator_stopped", requests=len(simulator.referee.ledger))
