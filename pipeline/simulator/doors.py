"""The doors under `/_simulator/`: ledger, stats, control, health. Never counted and never faulty. Runs on the loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from pipeline.simulator.control import ControlRequest, Verification, changed, problems
from pipeline.simulator.limits import NS_PER_S

if TYPE_CHECKING:
    from pipeline.simulator.server import Simulator

PREFIX = "/_simulator/"
LINES_PER_WRITE = 500


class Doors:
    """Answers what people and tests ask of the simulator itself."""

    def __init__(self, simulator: Simulator) -> None:
        """Look at and act on `simulator`."""
        self._simulator = simulator
        self._challenges = 0

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a request whose path begins with `PREFIX`; 404 and 405 name what there is."""
        door = f"{request.method} {path.removeprefix(PREFIX)}"
        match door:
            case "GET health":
                return _json({"status": "ok", "uptime_s": self._simulator.now_ns() / NS_PER_S})
            case "GET stats":
                return _json(self.stats())
            case "GET ledger":
                return await self._ledger(request)
            case "POST control":
                return await self._control(request)
        doors = "GET health, GET stats, GET ledger, POST control"
        return _json({"error": f"no such door: {door}; there are {doors}"}, status=404)

    def stats(self) -> dict[str, Any]:
        """Counters of everything, as plain values."""
        simulator = self._simulator
        referee, postman = simulator.referee, simulator.postman
        now_ns = simulator.now_ns()
        senders = referee.senders.snapshot()
        return {
            "started_at": datetime.fromtimestamp(simulator.started_wall_ns / NS_PER_S, UTC).isoformat(
                timespec="milliseconds"
            ),
            "started_monotonic_ns": simulator.started_ns,
            "now_ns": now_ns,
            "first_message_ns": referee.first_message_ns,
            "requests": len(referee.ledger) + referee.ledger.dropped,
            "accepted": sum(meter.accepted for _, meter in referee.senders.named()),
            "ledger_rows": len(referee.ledger),
            "ledger_dropped": referee.ledger.dropped,
            "connections": simulator.connections,
            "in_flight": simulator.in_flight,
            "read_lag_s": simulator.lag.last_s,
            "max_lag_s": simulator.lag.max_s,
            "webhooks": {
                "sent": postman.sent,
                "failed": postman.failed,
                "queued": postman.queued,
                "dropped": postman.dropped,
            },
            "events": {"done": simulator.director.agenda.done, "refused": simulator.director.agenda.refused},
            "spells": referee.spells.snapshot(now_ns),
            "templates": referee.conduct.templates.snapshot(),
            "senders": senders,
            "others": referee.others.snapshot(),
        }

    async def _ledger(self, request: web.BaseRequest) -> web.StreamResponse:
        """Rows from `?since=N` on (default 0), at most `?limit=M`, as they stand now; one JSON object a line."""
        ledger = self._simulator.referee.ledger
        try:
            since = int(request.query.get("since", "0"))
            limit = int(request.query.get("limit", str(len(ledger))))
        except ValueError:
            return _json({"error": "since and limit are whole numbers"}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines = ledger.lines(since, min(len(ledger), since + limit))
        while chunk := b"".join(islice(lines, LINES_PER_WRITE)):
            await response.write(chunk)
            # The API goes on while millions of rows are read out.
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def _control(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            asked = ControlRequest.model_validate_json(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return _json({"error": "the body is above 1 MiB"}, status=413)
        except ValidationError as error:
            return _json({"error": problems(error)}, status=400)
        try:
            self._verifiable(asked)
            inbound_id = self._simulator.director.act(asked)
        except ValueError as error:
            return _json({"error": [str(error)]}, status=400)
        simulator = self._simulator
        answer = {
            "settings": simulator.settings.model_dump(mode="json", exclude={"tokens", "logins", "number_of_token"}),
            "spells": simulator.referee.spells.snapshot(simulator.now_ns()),
            "inbound": {"message_id": inbound_id} if inbound_id else None,
        }
        if asked.verify is not None:
            answer["verify"] = await self._verify(asked.verify)
        return _json(answer)

    def _verifiable(self, asked: ControlRequest) -> None:
        """Refuse a handshake with nobody.

        Raises:
            ValueError: the number has no webhook.
        """
        if asked.verify is None:
            return
        settings = changed(self._simulator.settings, asked)
        if settings.webhook_url_of(asked.verify.number) is None:
            raise ValueError(f"verify: number {asked.verify.number} has no webhook; set settings.webhook_url")

    async def _verify(self, asked: Verification) -> dict[str, object] | None:
        url = self._simulator.settings.webhook_url_of(asked.number)
        if url is None:
            return None
        self._challenges += 1
        return await self._simulator.postman.verify(url, asked.token, str(1_158_201_443 + self._challenges))


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), headers={"Content-Type": "application/json"})
