"""The ingress' HTTP side as an OpenAPI 3.1 document, for whoever puts a gateway before it. Pure.

Its limits and answers are those of `door.py` and `load.py`; a test calls a running ingress by this document.
"""

from __future__ import annotations

import json
from typing import Any, Final

from pipeline.ingress.door import MAX_CHALLENGE_CHARS, RETRY_AFTER_S
from pipeline.ingress.load import MAX_BODY_BYTES, READ_TIMEOUT_S
from pipeline.whatsapp.signature import HEADER, TURN_HEADER

FILE: Final = "openapi-ingress.json"
PATH: Final = "/webhook"

_ERROR: Final = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    }
}
_BAD_REQUEST: Final = {
    # In plain text where the server's HTTP parser refuses, as with a line above 8 kB.
    "content": {**_ERROR["content"], "text/plain": {"schema": {"type": "string"}}},
}
_NUMBER: Final = {
    "name": "number", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]{1,32}$"},
    "description": "The sending number that the webhook is for.",
}  # fmt: skip
_TOKEN: Final = {
    "name": "token", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,200}$"},
    "description": "The secret of ingress.path_token_file.",
}  # fmt: skip
_NO_SUCH_PATH: Final = {
    "description": "The number in the path is no number.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_AGAIN: Final = {
    **_ERROR,
    "description": "Kafka did not take it in time, or too much is in flight: come again.",
    "headers": {"Retry-After": {"schema": {"type": "integer", "const": RETRY_AFTER_S}, "description": "Seconds."}},
}


def open_api() -> dict[str, Any]:
    """Build the document, with the default of `ingress.path`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wapipe ingress",
            "version": "1",
            "description": "Where WhatsApp delivers webhooks. 200 means: all that the body says is on Kafka.",
        },
        "paths": {
            PATH: {"get": _verify(), "post": _receive()},
            PATH + "/{number}": {"parameters": [_NUMBER], "get": _verify(), "post": _receive()},
            PATH + "/{number}/{token}": {"parameters": [_NUMBER, _TOKEN], "post": _receive()},
        },
    }


def text() -> str:
    """The document as it stands in `schemas/`."""
    return json.dumps(open_api(), indent=2, sort_keys=True) + "\n"


def _verify() -> dict[str, Any]:
    def query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "in": "query", "required": True, "schema": {"type": "string", **schema}}

    return {
        "summary": "Meta's verification of the webhook.",
        "parameters": [
            query("hub.mode", {"enum": ["subscribe"]}),
            query("hub.verify_token", {"minLength": 1}),
            query("hub.challenge", {"minLength": 1, "maxLength": MAX_CHALLENGE_CHARS}),
        ],
        "responses": {
            "200": {
                "description": "The challenge, back.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            "400": {"description": "A parameter is missing or wrong.", **_BAD_REQUEST},
            "403": {"description": "The verify token is not ours.", **_ERROR},
            "404": _NO_SUCH_PATH,
            "503": _AGAIN,
        },
    }


def _receive() -> dict[str, Any]:
    def header(name: str, text: str) -> dict[str, Any]:
        return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}

    return {
        "summary": "One webhook.",
        "parameters": [
            header(HEADER, "sha256=<hex>: HMAC-SHA256 over the raw body, key = app secret."),
            header(TURN_HEADER, "The same digest in base64, as Turn.io sends it."),
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {MAX_BODY_BYTES} bytes, complete within {READ_TIMEOUT_S:.0f} s, not compressed.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        "responses": {
            "200": {"description": "Kafka has it, or keeps what cannot be read as a dead letter. Never come again."},
            "400": {"description": "The call was not sent as announced, or is no HTTP.", **_BAD_REQUEST},
            "401": {"description": "No valid signature or token.", **_ERROR},
            "403": {"description": "The client certificate has another name (ingress.client_name).", **_ERROR},
            "404": _NO_SUCH_PATH,
            "408": {"description": "The body did not arrive in time.", **_ERROR},
            "413": {"description": "The body is too large.", **_ERROR},
            "415": {"description": "The body is compressed.", **_ERROR},
            "503": _AGAIN,
        },
    }
