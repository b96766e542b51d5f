"""Bodies of answers, as the API writes them: success, errors, login. Pure functions; error bodies are cached.

Sources: whatsapp-api.md §1.1, §1.3–1.4 (v1), §2.3–2.5 (cloud), §5 (360dialog's own gateway).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import orjson

from pipeline.simulator.codes import CLOUD, UNKNOWN, V1, Fault
from pipeline.simulator.messages import Message
from pipeline.simulator.parts import Profile

HTML_503 = b"<html><head><title>503 Service Temporarily Unavailable</title></head><body>503</body></html>"
_V1_META = {"api_status": "stable", "version": "2.53.1"}
_TRACE_ID = "AsimSimulatorTraceId000"


# The code that says the same in each family of profiles: (v1, cloud).
CODE_THROTTLED = (1015, 130429)
CODE_OVERLOADED = (1016, 131016)
CODE_ACCESS = (1005, 190)
CODE_SERVER = (1000, 131000)
CODE_INVALID = (1009, 131009)
CODE_NO_ENDPOINT = (1006, 2500)
CODE_PAUSED = (2061, 132015)
CODE_DISABLED = (2062, 132016)
CODE_NO_TEMPLATE = (2001, 132001)
CODE_COUNT = (2000, 132000)
CODE_FORMAT = (2012, 132012)
CODE_WINDOW = (470, 131047)
CODE_NO_MEDIUM = (1006, 131009)
CODE_MISSING = (1008, 131008)
CODE_PAIR = 131056
CODE_ACCOUNT_LIMIT = 80007
CODE_APP_LIMIT = 4
CODE_SENDER = 131021
CODE_STOPPED = 131050
CODE_NEEDS_PHONE = 131062
CODE_MARKETING_OFF = 131063
CODE_TEMPLATES_ONLY = 131055
CODE_MARKETING_ONLY = 134100
CODE_MAINTENANCE = 131057

SUCCESS = orjson.dumps({"success": True})
GATEWAY_THROTTLED = orjson.dumps(
    {"meta": {"http_code": 400, "developer_message": "Endpoint rate limit exceeded", "success": False}}
)
"""360dialog's gateway tells its own rate limit as HTTP 400 (whatsapp-api.md §5)."""


def code_of(profile: Profile, codes: tuple[int, int]) -> int:
    """The code of a pair above that a profile uses."""
    return codes[0] if profile == "v1" else codes[1]


def fault_of(profile: Profile, code: int) -> Fault:
    """How a profile tells a code; an unknown one is a 400."""
    return (V1 if profile == "v1" else CLOUD).get(code, UNKNOWN)


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
        return v1_body(messages=[{"id": message_id}] if message_id else [])
    entry = {"id": message_id}
    if message.type == "template":
        entry["message_status"] = "accepted"
    # Who is written to by user id has no phone to be told (whatsapp-api.md §2.3, §2.16).
    known_as = "user_id" if "." in message.to else "wa_id"
    return orjson.dumps(
        {
            "messaging_product": "whatsapp",
            "contacts": [{"input": message.to, known_as: message.recipient}],
            "messages": [entry] if message_id else [],
        }
    )


def login_body(token: str, expires_at_s: float) -> bytes:
    """The JSON body of a login; its time has a space where ISO has a T, as the API writes it."""
    expires = datetime.fromtimestamp(expires_at_s, UTC).strftime("%Y-%m-%d %H:%M:%S+00:00")
    return v1_body(users=[{"token": token, "expires_after": expires}])


def v1_body(**parts: object) -> bytes:
    """The JSON body of any v1 answer without an error."""
    return orjson.dumps({**parts, "meta": _V1_META})


def message_id(profile: Profile, run: int, number: int) -> str:
    """The id of the message `number` of a run; ids of different runs never meet (`run` is its start in ns)."""
    name = f"{run:016X}{number:08X}"
    return f"gBEG{name}" if profile == "v1" else f"wamid.HBgL{name}"
