"""The doors under `/_simulator/`: ledger, stats, control, health. Never counted and never faulty. Runs on the loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from pipeline.simulator import answers
from pipeline.simulator.control import ControlRequest, Inbound, changed, problems
from pipeline.simulator.limits import NS_PER_S
from pipeline.simulator.settings import SPELLS_MAX, LiveSettings, Profile
from pipeline.simulator.webhooks import InboundMessage

if TYPE_CHECKING:
    from pipeline.simulator.server import Simulator

PREFIX = "/_simulator/"
LINES_PER_WRITE = 500


class Doors:
    """Answers what people and tests ask of the simulator itself."""

    def __init__(self, simulator: Simulator) -> None:
        """Look at and act on `simulator`."""
        self._simulator = simulator
        self._inbound_count = 0

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
            "spells": referee.spells.snapshot(now_ns),
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
            settings = self._checked(asked)
        except ValueError as error:
            return _json({"error": [str(error)]}, status=400)
        simulator = self._simulator
        inbound_id = self._apply(asked, settings)
        return _json(
            {
                "settings": simulator.settings.model_dump(mode="json", exclude={"tokens", "logins", "number_of_token"}),
                "spells": simulator.referee.spells.snapshot(simulator.now_ns()),
                "inbound": {"message_id": inbound_id} if inbound_id else None,
            }
        )

    def _checked(self, asked: ControlRequest) -> LiveSettings:
        """The settings after a control request.

        Raises:
            ValueError: the request cannot be applied as a whole.
        """
        referee = self._simulator.referee
        settings = changed(referee.settings, asked)
        if asked.inbound is not None and settings.webhook_url_of(asked.inbound.number) is None:
            raise ValueError(f"inbound: number {asked.inbound.number} has no webhook; set settings.webhook_url")
        is_cleared = asked.reset or asked.clear_spells
        if asked.spell is not None and not is_cleared and referee.spells.is_full(self._simulator.now_ns()):
            raise ValueError(f"spell: at most {SPELLS_MAX} at a time; set clear_spells")
        return settings

    def _apply(self, asked: ControlRequest, settings: LiveSettings) -> str | None:
        """Apply a checked control request; the id of the inbound message, if there is one."""
        simulator = self._simulator
        referee, now_ns = simulator.referee, simulator.now_ns()
        if asked.reset:
            referee.reset(now_ns)
            simulator.postman.clear()
            simulator.lag.clear()
        referee.change(settings, now_ns)
        if asked.clear_spells:
            referee.spells.clear()
        if asked.expire_tokens:
            referee.credentials.expire()
        if asked.spell is not None:
            referee.spells.add(asked.spell, now_ns, has_begun=referee.first_message_ns is not None)
        return None if asked.inbound is None else self._inbound(asked.inbound)

    def _inbound(self, asked: Inbound) -> str | None:
        simulator = self._simulator
        meter = simulator.referee.senders.get(asked.number)
        profile: Profile = asked.profile or (meter.profile if meter is not None else "cloud")
        destination = simulator.destination(profile, asked.number)
        if destination is None:
            return None
        self._inbound_count += 1
        name = answers.message_id(profile, simulator.started_wall_ns, self._inbound_count) + "IN"
        message = InboundMessage(name, asked.sender, asked.name, asked.text, asked.button_payload)
        simulator.postman.inbound(destination, message)
        return name


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), headers={"Content-Type": "application/json"})
