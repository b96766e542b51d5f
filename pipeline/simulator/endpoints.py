"""Every endpoint that takes no messages: logins, media, contacts, health, numbers, history, templates. No I/O.

Runs on the loop. Shapes: whatsapp-api.md §1.1, §1.6 (v1), §2.2, §2.6, §2.8, §2.11 (cloud).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.simulator import answers
from pipeline.simulator.history import History
from pipeline.simulator.listing import gateway_page, graph_page
from pipeline.simulator.media import MEDIUM_BYTES_MAX, Medium, form_parts
from pipeline.simulator.messages import NOT_DIGITS
from pipeline.simulator.referee import Referee
from pipeline.simulator.requests import basic_login
from pipeline.simulator.verdicts import Arrival, Verdict, refused, told

HIGH_FROM_PER_S = 1000
CONTACTS_MAX = 1000


class Endpoints:
    """Answers requests to these endpoints; limits and counting are the referee's."""

    def __init__(self, referee: Referee, history: History) -> None:
        """Ask `referee` for what it knows, and `history` for what became of statuses."""
        self._referee = referee
        self._history = history

    def answer(self, arrival: Arrival, headers: Mapping[str, str], query: Mapping[str, str], url: str) -> Verdict:
        """Answer a request; `url` is the simulator's own address, for links to media."""
        route, profile = arrival.route, arrival.route.profile
        if route.kind == "login":
            return self._login(arrival, headers)
        if route.kind == "other":
            return refused(profile, answers.code_of(profile, answers.CODE_NO_ENDPOINT), "There is no such endpoint.")
        if not self._referee.has_access(arrival):
            return Verdict(401, answers.access_body(profile), answers.code_of(profile, answers.CODE_ACCESS))
        match route.kind:
            case "logout":
                self._referee.credentials.logout(arrival.credential)
                return told(answers.v1_body())
            case "media":
                return self._upload(arrival, headers)
            case "item" | "download":
                return self._item(arrival, query, url)
            case "delete":
                return self._delete(arrival)
            case "history":
                return told(orjson.dumps(self._history.page(route.number or "", query.get("message_id"))))
            case "events":
                events = self._history.events(route.item or "")
                return self._unknown(arrival) if events is None else told(orjson.dumps(events))
            case "templates":
                return self._templates(arrival, query, url)
            case "contacts":
                return self._contacts(arrival)
            case "health":
                return told(_health(route.profile))
        return self._mark_read(arrival)

    def _login(self, arrival: Arrival, headers: Mapping[str, str]) -> Verdict:
        referee, basic, given = self._referee, basic_login(headers), None
        if basic is not None:
            given = referee.credentials.login(referee.settings, *basic, referee.clock.at(arrival.wall_s))
        if given is None:
            return Verdict(401, answers.access_body("v1"), answers.code_of("v1", answers.CODE_ACCESS))
        return told(answers.login_body(*given))

    def _upload(self, arrival: Arrival, headers: Mapping[str, str]) -> Verdict:
        content_type, profile = headers.get("Content-Type", ""), arrival.route.profile
        missing = answers.code_of(profile, answers.CODE_MISSING)
        media = self._referee.conduct.media
        if len(arrival.body) > MEDIUM_BYTES_MAX:
            return refused(profile, answers.code_of(profile, answers.CODE_INVALID), "the medium is too large")
        if profile == "v1":
            if not arrival.body or not content_type:
                return refused(profile, missing, "the body is the medium, Content-Type its type")
            name = media.add(Medium(content_type, arrival.body), is_v1=True)
            return told(answers.v1_body(media=[{"id": name}]))
        parts = form_parts(content_type, arrival.body)
        if parts.get("messaging_product", (b"", ""))[0] != b"whatsapp":
            return refused(profile, 100, "the parameter messaging_product is required and must be whatsapp")
        raw, own_type = parts.get("file", (b"", ""))
        kind = parts.get("type", (b"", ""))[0].decode("latin-1") or own_type
        if not raw or not kind:
            return refused(profile, missing, "the parameters file and type are required")
        return told(orjson.dumps({"id": media.add(Medium(kind, raw), is_v1=False)}))

    def _delete(self, arrival: Arrival) -> Verdict:
        route = arrival.route
        if not self._referee.conduct.media.delete(route.item or ""):
            return self._unknown(arrival)
        return told(answers.v1_body() if route.profile == "v1" else answers.SUCCESS)

    def _item(self, arrival: Arrival, query: Mapping[str, str], url: str) -> Verdict:
        route, name = arrival.route, arrival.route.item or ""
        medium = self._referee.conduct.media.get(name)
        if medium is None:
            is_number = route.kind == "item" and route.profile == "cloud"
            return self._number(name, query) if is_number else self._unknown(arrival)
        if route.profile == "v1" or route.kind == "download":
            return told(medium.raw, medium.mime_type)
        known = {"id": name, "url": f"{url}/_media/{name}", "mime_type": medium.mime_type, "sha256": medium.sha256}
        return told(orjson.dumps({"messaging_product": "whatsapp", "file_size": len(medium.raw), **known}))

    def _number(self, number: str, query: Mapping[str, str]) -> Verdict:
        settings = self._referee.settings
        is_high = settings.limit_of("cloud", number).rate_per_s >= HIGH_FROM_PER_S
        known: dict[str, Any] = {
            "throughput": {"level": "HIGH" if is_high else "STANDARD"},
            "quality_rating": self._referee.conduct.rating(number),
            "whatsapp_business_manager_messaging_limit": self._referee.conduct.tier(number),
            "display_phone_number": settings.phone_of(number),
        }
        asked = [name.strip() for name in query.get("fields", ",".join(known)).split(",")]
        unknown = [name for name in asked if name not in known and name != "id"]
        if unknown:
            return refused("cloud", 100, f"there is no field {unknown[0][:64]}")
        return told(orjson.dumps({name: known[name] for name in asked if name in known} | {"id": number}))

    def _templates(self, arrival: Arrival, query: Mapping[str, str], url: str) -> Verdict:
        rows, profile = self._referee.conduct.templates.rows(), arrival.route.profile
        page = graph_page(rows, query, url + arrival.path) if profile == "cloud" else gateway_page(rows, query)
        if isinstance(page, bytes):
            return told(page)
        return refused(profile, 100 if profile == "cloud" else answers.code_of(profile, answers.CODE_INVALID), page)

    def _contacts(self, arrival: Arrival) -> Verdict:
        """All are valid, as since client 2.43: it cannot be used to find out who is on WhatsApp."""
        given = _json_object(arrival.body)
        inputs = given.get("contacts")
        if not isinstance(inputs, list) or not all(isinstance(item, str) for item in inputs):
            return refused("v1", answers.code_of("v1", answers.CODE_MISSING), "the parameter contacts is required")
        if not 1 <= len(inputs) <= CONTACTS_MAX or given.get("blocking", "no_wait") not in ("wait", "no_wait"):
            return refused("v1", answers.code_of("v1", answers.CODE_INVALID))
        known = [{"input": item, "status": "valid", "wa_id": NOT_DIGITS.sub("", item)} for item in inputs]
        return told(answers.v1_body(contacts=known))

    def _mark_read(self, arrival: Arrival) -> Verdict:
        if _json_object(arrival.body).get("status") != "read":
            return refused("v1", answers.code_of("v1", answers.CODE_INVALID), "the parameter status is read")
        return told(answers.v1_body())

    def _unknown(self, arrival: Arrival) -> Verdict:
        profile = arrival.route.profile
        if profile == "v1":
            return refused(profile, answers.code_of(profile, answers.CODE_NO_MEDIUM), "there is no such object")
        return refused(profile, 100, "there is no such object", 404)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return given if isinstance(given, dict) else {}


def _health(profile: str) -> bytes:
    if profile == "360dialog":
        return orjson.dumps({"health_status": {"can_send_message": "AVAILABLE", "entities": []}})
    return answers.v1_body(health={"gateway_status": "connected"})
