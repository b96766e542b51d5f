"""Bodies of answers, as the API writes them: success, errors, login. Pure functions; error bodies are cached.

Sources: whatsapp-api.md §1.1, §1.3–1.4 (v1), §2.3–2.5 (cloud), §5 (360dialog's own gateway).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from pipeline.simulator.requests import Message
from pipeline.simulator.settings import Profile

HTML_503 = b"<html><head><title>503 Service Temporarily Unavailable</title></head><body>503</body></html>"
_V1_META = {"api_status": "stable", "version": "2.53.1"}
_TRACE_ID = "AsimSimulatorTraceId000"


@dataclass(frozen=True, slots=True)
class Fault:
    """How a code is told: its usual HTTP status, its title, its details."""

    status: int
    title: str
    details: str


_CLOUD = {
    0: Fault(401, "AuthException", "The token is not valid."),
    1: Fault(400, "API Unknown", "Invalid request or possible server error."),
    2: Fault(503, "API Service", "Temporary because of downtime or overload."),
    3: Fault(500, "API Method", "Capability or permission problem."),
    4: Fault(429, "API Too Many Calls", "The app has reached its API call rate limit."),
    10: Fault(403, "Permission Denied", "Permission is not granted or was removed."),
    33: Fault(400, "Parameter value is not valid", "The business number was deleted."),
    100: Fault(400, "Invalid parameter", "A parameter is not supported or misspelled."),
    190: Fault(401, "Access token has expired", "The token is not valid."),
    368: Fault(403, "Temporarily blocked for policies violations", "The account is restricted."),
    80007: Fault(429, "Rate limit issues", "The business account has reached its rate limit."),
    130429: Fault(429, "Rate limit hit", "Cloud API message throughput has been reached."),
    131000: Fault(500, "Something went wrong", "Unknown error; try again."),
    131005: Fault(403, "Access denied", "Permission is missing."),
    131008: Fault(400, "Required parameter is missing", "A required parameter is missing."),
    131009: Fault(400, "Parameter value is not valid", "A parameter value is not valid."),
    131016: Fault(503, "Service unavailable", "The service is temporarily unavailable."),
    131026: Fault(400, "Message undeliverable", "The recipient cannot receive this message."),
    131031: Fault(403, "Account has been locked", "The account is locked."),
    131045: Fault(500, "Incorrect certificate", "Registration of the number failed."),
    131047: Fault(400, "Re-engagement message", "More than 24 hours have passed since the recipient last replied."),
    131048: Fault(429, "Spam rate limit hit", "Too many earlier messages were blocked or flagged."),
    131049: Fault(400, "Not delivered", "Withheld to keep the ecosystem healthy."),
    131050: Fault(400, "User has stopped marketing messages", "The recipient takes no marketing messages."),
    131056: Fault(429, "Pair rate limit hit", "Too many messages to this recipient in a short time."),
    131057: Fault(500, "Account in maintenance mode", "The account is in maintenance mode."),
    132000: Fault(400, "Template parameter count mismatch", "The number of parameters does not match."),
    132001: Fault(404, "Template does not exist", "There is no such template in that language."),
    132015: Fault(400, "Template is paused", "The template is paused because of low quality."),
    133004: Fault(503, "Server temporarily unavailable", "The server is temporarily unavailable."),
    134102: Fault(500, "Template unavailable", "The template cannot be used."),
    2500: Fault(404, "Unknown path components", "There is no such endpoint."),
}
_V1 = {
    470: Fault(400, "Message failed to send because more than 24 hours have passed", ""),
    471: Fault(400, "Spam rate limit hit", "Too many earlier messages were blocked or flagged."),
    500: Fault(500, "Message failed to send because of an unknown error", ""),
    1000: Fault(500, "Generic error", "Try again."),
    1005: Fault(401, "Access denied", "The token is not valid."),
    1006: Fault(404, "Resource not found", "unknown contact"),
    1008: Fault(400, "Required parameter is missing", "A required parameter is missing."),
    1009: Fault(400, "Parameter value is not valid", "A parameter value is not valid."),
    1011: Fault(503, "Service not ready", "Try again."),
    1013: Fault(400, "User is not valid", "The recipient has no WhatsApp account."),
    1014: Fault(500, "Internal error", "The number is offline."),
    1015: Fault(429, "Too many requests", "Too many requests."),
    1016: Fault(503, "System overloaded", "The system is overloaded."),
    1025: Fault(400, "Request not valid", "The request is not valid."),
    1026: Fault(400, "Receiver incapable", "The recipient cannot receive this message."),
    1031: Fault(403, "Sender account has been locked", "The account is locked."),
}
_UNKNOWN = Fault(400, "Error", "No more is known of this code.")

# The code that says the same in each family of profiles: (v1, cloud).
CODE_THROTTLED = (1015, 130429)
CODE_OVERLOADED = (1016, 131016)
CODE_ACCESS = (1005, 190)
CODE_SERVER = (1000, 131000)
CODE_INVALID = (1009, 131009)
CODE_NO_ENDPOINT = (1006, 2500)
CODE_PAIR = 131056


def code_of(profile: Profile, codes: tuple[int, int]) -> int:
    """The code of a pair above that a profile uses."""
    return codes[0] if profile == "v1" else codes[1]


def fault_of(profile: Profile, code: int) -> Fault:
    """How a profile tells a code; an unknown one is a 400."""
    return (_V1 if profile == "v1" else _CLOUD).get(code, _UNKNOWN)


@lru_cache(maxsize=1024)
def error_body(profile: Profile, code: int, details: str | None = None) -> bytes:
    """The JSON body of an error; `details` None = the usual ones of that code."""
    fault = fault_of(profile, code)
    if profile == "v1":
        error: dict[str, object] = {"code": code, "title": fault.title}
        if details or fault.details:
            error["details"] = details or fault.details
        return orjson.dumps({"meta": _V1_META, "errors": [error]})
    return orjson.dumps(
        {
            "error": {
                "message": f"(#{code}) {fault.title}",
                "type": "OAuthException",
                "code": code,
                "error_data": {"messaging_product": "whatsapp", "details": details or fault.details},
                "fbtrace_id": _TRACE_ID,
            }
        }
    )


def access_body(profile: Profile) -> bytes:
    """The JSON body of a 401; 360dialog's comes from its own gateway and has another shape."""
    if profile == "360dialog":
        return orjson.dumps({"meta": {"http_code": 401, "developer_message": "Invalid api key", "success": False}})
    return error_body(profile, code_of(profile, CODE_ACCESS))


def success_body(profile: Profile, message: Message, message_id: str) -> bytes:
    """The JSON body of an accepted message; an empty `message_id` gives the 2xx that names no message."""
    if profile == "v1":
        return orjson.dumps({"messages": [{"id": message_id}] if message_id else [], "meta": _V1_META})
    entry = {"id": message_id}
    if message.type == "template":
        entry["message_status"] = "accepted"
    return orjson.dumps(
        {
            "messaging_product": "whatsapp",
            "contacts": [{"input": message.to, "wa_id": message.recipient}],
            "messages": [entry] if message_id else [],
        }
    )


def login_body(token: str, expires_at_s: float) -> bytes:
    """The JSON body of a login; its time has a space where ISO has a T, as the API writes it."""
    expires = datetime.fromtimestamp(expires_at_s, UTC).strftime("%Y-%m-%d %H:%M:%S+00:00")
    return orjson.dumps({"users": [{"token": token, "expires_after": expires}], "meta": _V1_META})


def message_id(profile: Profile, run: int, number: int) -> str:
    """The id of the message `number` of a run; ids of different runs never meet (`run` is its start in ns)."""
    name = f"{run:016X}{number:08X}"
    return f"gBEG{name}" if profile == "v1" else f"wamid.HBgL{name}"
