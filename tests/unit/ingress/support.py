"""Settings, bodies and a producer for tests of the ingress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaError

from pipeline.config import IngressSettings, NumberSettings, Settings
from pipeline.ingress.access import Voice
from pipeline.records.codec import Headers
from pipeline.streams.delivery import Done, Receipt
from pipeline.whatsapp.signature import sign

CLOUD, DIALOG, V1 = "200000000000001", "200000000000002", "200000000000003"
PERSON = "15550109999"
SECRET, VERIFY_TOKEN, PATH_TOKEN = b"app-secret-one", "verify-me", "path-token-1"


def number(profile: str, business: str = "acme", partition: int = 0) -> NumberSettings:
    """A number of a profile."""
    return NumberSettings.model_validate(
        {
            "business": business,
            "profile": profile,
            "base_url": "http://127.0.0.1:1",
            "token_env": "UNUSED_TOKEN",
            "partitions": [partition],
        }
    )


def secret_file(folder: Path, name: str, content: str | bytes) -> Path:
    """A file with one secret."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def settings_with(folder: Path, numbers: dict[str, NumberSettings] | None = None, **ingress: Any) -> Settings:
    """Settings of an ingress with one app secret and a verify token; None takes a key away."""
    chosen = {
        "host": "127.0.0.1",
        "port": 0,
        "app_secret_files": [secret_file(folder, "app", SECRET)],
        "verify_token_file": secret_file(folder, "verify", VERIFY_TOKEN),
        **ingress,
    }
    given = {key: value for key, value in chosen.items() if value is not None}
    owned = {CLOUD: number("cloud"), DIALOG: number("360dialog", "acme", 1), V1: number("v1", "acme", 2)}
    return Settings(numbers=owned if numbers is None else numbers, ingress=IngressSettings.model_validate(given))


def voice_for_all(settings: Settings) -> Voice:
    """What the ingress' own app may speak for if no number has secrets of its own: everything."""
    accounts = {one.account for one in settings.numbers.values()}
    return Voice(frozenset(settings.numbers), frozenset(accounts), others=True)


def signed(raw: bytes, secret: bytes = SECRET) -> dict[str, str]:
    """The header that an app with this secret sends."""
    return {"X-Hub-Signature-256": sign(raw, secret)}


def cloud(number_id: str = CLOUD, field: str = "messages", **value: Any) -> bytes:
    """A Cloud envelope with one change."""
    metadata = {"display_phone_number": "15550100001", "phone_number_id": number_id}
    content = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    changes = [{"field": field, "value": content}]
    return orjson.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "300000000000001", "changes": changes}]}
    )


def status(name: str = "delivered", **more: Any) -> dict[str, Any]:
    """A status of a message to `PERSON`."""
    return {"id": "wamid.1", "status": name, "timestamp": "1795300004", "recipient_id": PERSON, **more}


def text(body: str, message_id: str = "wamid.in1", **more: Any) -> dict[str, Any]:
    """A text message from `PERSON`."""
    content = {"from": PERSON, "id": message_id, "timestamp": "1795300000", "type": "text", "text": {"body": body}}
    return {**content, **more}


class FakeDelivery:
    """A producer that keeps what it was given and answers by `answer`: acks at once unless told otherwise."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str | bytes | None, bytes | None]] = []
        self.refuse: Exception | None = None
        self.error: KafkaError | None = None
        self.holds = False
        self.held: list[Callable[[], None]] = []

    def produce(
        self, topic: str, value: bytes | None, key: str | bytes | None, headers: Headers | None, done: Done
    ) -> None:
        """Keep the record; ack on the next turn of the loop, or when `release` is called."""
        if self.refuse is not None:
            raise self.refuse
        self.records.append((topic, key, value))
        receipt, error = (None, self.error) if self.error is not None else (Receipt(len(self.records), 0), None)

        def answer() -> None:
            done(receipt, error)

        if self.holds:
            self.held.append(answer)
        else:
            asyncio.get_running_loop().call_soon(answer)

    def release(self) -> None:
        """Answer all that was held back."""
        for answer in self.held:
            answer()
        self.held.clear()

    def __len__(self) -> int:
        """Records not answered yet."""
        return len(self.held)

    def on(self, topic: str) -> list[dict[str, Any]]:
        """Values on a topic."""
        return [orjson.loads(value) for name, _, value in self.records if name == topic and value is not None]
