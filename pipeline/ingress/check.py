"""`wapipe webhooks check NUMBER`: is the door open for this number? Posts a webhook as WhatsApp would, to ourselves.

Runs on the loop of the command that asks. The webhook is a status `sent` of a message that never was, about the number
itself, so that it touches no person; an ingress that takes it marks the number's webhook as verified.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from pipeline.clock import steady_s, unix_s
from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.ingress.door import BEARER
from pipeline.secrets import app_secrets, read_secret_file
from pipeline.whatsapp.signature import HEADER, sign

CHECK_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 500
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
CHECK_MESSAGE_ID = "wamid.wapipe-webhooks-check"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How the ingress answered.

    Attributes:
        is_ok: It took the webhook: Kafka has it, the number counts as verified.
        http_status: None if there was no answer.
        detail: One sentence for an operator.
        took_ms: From the POST to its answer.
    """

    number: str
    url: str
    is_ok: bool
    http_status: int | None
    detail: str
    took_ms: int


async def check_webhook(settings: Settings, number: str, port: int | None = None) -> CheckResult:
    """Post a synthetic webhook for a number to this machine's ingress.

    Args:
        number: A configured number id.
        port: Where the ingress listens if `ingress.port` is 0; None: `ingress.port`.

    Raises:
        ConfigError: the number is not configured, the port is not known, a secret cannot be read, or callers need a
            certificate of WhatsApp's.
    """
    if number not in settings.numbers:
        raise ConfigError(
            f"numbers.{number}: not configured; known are {', '.join(sorted(settings.numbers)) or 'none'}"
        )
    port = port or settings.ingress.port
    if port == 0:
        raise ConfigError("ingress.port: is 0, so nobody can tell where the ingress listens; set a port")
    if settings.ingress.client_ca_file is not None:
        raise ConfigError(
            "ingress.client_ca_file: the ingress asks for a certificate that only WhatsApp has, so nobody else can"
            " check it; let WhatsApp verify the webhook (its GET counts)"
        )
    is_v1 = settings.numbers[number].profile == "v1"
    raw = _body(number, int(unix_s()), is_v1=is_v1)
    host = EVERY_ADDRESS.get(settings.ingress.host, settings.ingress.host)
    path = settings.ingress.path.rstrip("/") + (f"/{number}" if is_v1 else "")
    ingress = settings.ingress
    url = f"{'http' if ingress.tls_cert_file is None else 'https'}://{host}:{port}{path or '/'}"
    began_s = steady_s()
    try:
        http_status, detail = await _post(url, raw, _headers(settings, number, raw))
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as exc:
        http_status, detail = None, f"no answer ({type(exc).__name__}); is `wapipe ingress` running there?"
    took_ms = int((steady_s() - began_s) * 1000)
    return CheckResult(number, url, http_status == 200, http_status, detail, took_ms)


async def _post(url: str, raw: bytes, headers: dict[str, str]) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(total=CHECK_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        # Our own door on this machine, whose certificate is made out to the name that WhatsApp calls.
        session.post(url, data=raw, headers=headers, ssl=False) as answer,
    ):
        if answer.status == 200:
            return 200, "taken: it is on inbound-events, and the number's webhook counts as verified"
        said = await answer.content.read(MAX_ANSWER_BYTES)
        return answer.status, f"refused with {answer.status}: {said.decode(errors='replace')}"


def _headers(settings: Settings, number: str, raw: bytes) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    secrets = app_secrets(settings, number)
    if secrets:
        headers[HEADER] = sign(raw, secrets[0])
    path_token_file = settings.ingress.path_token_file
    if settings.numbers[number].profile == "v1" and path_token_file is not None:
        headers["Authorization"] = BEARER + read_secret_file("ingress.path_token_file", path_token_file)
    return headers


def _body(number: str, now_s: int, *, is_v1: bool) -> bytes:
    status = {"id": CHECK_MESSAGE_ID, "status": "sent", "timestamp": str(now_s), "recipient_id": number}
    if is_v1:
        return orjson.dumps({"statuses": [status]})
    metadata = {"display_phone_number": number, "phone_number_id": number}
    value: dict[str, Any] = {"messaging_product": "whatsapp", "metadata": metadata, "statuses": [status]}
    change = {"field": "messages", "value": value}
    return orjson.dumps({"object": "whatsapp_business_account", "entry": [{"id": "0", "changes": [change]}]})
