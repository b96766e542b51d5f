"""TLS at the door, over real sockets: who may shake hands, whose name counts, certificates that change."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import ClientConnectorError, ClientSession, ServerDisconnectedError, web

from pipeline.config import IngressSettings, Settings
from pipeline.errors import ConfigError
from pipeline.health import Health, listen
from pipeline.ingress.access import Access
from pipeline.ingress.door import Door
from pipeline.ingress.store import Store
from pipeline.ingress.tls import Tls, common_name, tls_of
from pipeline.metrics import Metrics
from tests.unit.ingress.support import FakeDelivery, cloud, settings_with, signed, status

META = "client.webhooks.fbclientcerts.com"


class Papers:
    """Our own CA and certificate, and a CA for callers, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours, self.theirs = trustme.CA(), trustme.CA()
        self.ingress: dict[str, Any] = {
            "tls_cert_file": folder / "cert.pem",
            "tls_key_file": folder / "key.pem",
            "client_ca_file": folder / "ca.pem",
            "client_name": META,
        }
        self.theirs.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.issue("127.0.0.1")

    def issue(self, name: str) -> None:
        """A new certificate of ours, in the same files."""
        made = self.ours.issue_cert(name)
        (self.folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(self.folder / "key.pem"))

    def caller(self, name: str | None, ca: trustme.CA | None = None) -> ssl.SSLContext:
        """The client side, with a certificate of that common name; None: without one."""
        context = ssl.create_default_context(cadata=self.ours.cert_pem.bytes().decode())
        if name is not None:
            (ca or self.theirs).issue_cert("caller.example", common_name=name).configure_cert(context)
        return context


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[tuple[str, Tls]]:
    tls = tls_of(settings.ingress)
    assert tls is not None
    metrics = Metrics()
    door = Door(settings, Access(settings), Store(FakeDelivery(), metrics, 60), Health(), metrics)
    runner = web.AppRunner(door.app(), access_log=None, shutdown_timeout=1)
    port = await listen(runner, "127.0.0.1", 0, "ingress", tls.context)
    try:
        yield f"https://127.0.0.1:{port}/webhook", tls
    finally:
        await runner.cleanup()


async def _post(url: str, context: ssl.SSLContext) -> int:
    raw = cloud(statuses=[status()])
    async with (
        ClientSession() as session,
        session.post(url, data=raw, headers=signed(raw), ssl=context) as answer,
    ):
        return answer.status


async def test_only_the_named_caller_of_that_ca_gets_in(tmp_path: Path) -> None:
    """The right CA and name: 200; another name: 403; another CA or no certificate: no handshake."""
    papers = Papers(tmp_path)
    async with _open(settings_with(tmp_path, **papers.ingress)) as (url, _):
        assert await _post(url, papers.caller(META)) == 200
        assert await _post(url, papers.caller("someone.example")) == 403
        for stranger in (papers.caller(META, trustme.CA()), papers.caller(None)):
            with pytest.raises((ClientConnectorError, ServerDisconnectedError, OSError)):
                await _post(url, stranger)


async def test_without_a_client_ca_everybody_may_shake_hands(tmp_path: Path) -> None:
    """TLS alone asks for no certificate; the signature still decides."""
    papers = Papers(tmp_path)
    plain = {**papers.ingress, "client_ca_file": None, "client_name": None}
    async with _open(settings_with(tmp_path, **plain)) as (url, _):
        assert await _post(url, papers.caller(None)) == 200


async def test_a_renewed_certificate_is_served_to_new_connections(tmp_path: Path) -> None:
    """A changed file counts without a restart; a broken one leaves the last good certificate live."""
    papers = Papers(tmp_path)
    async with _open(settings_with(tmp_path, **papers.ingress)) as (url, tls):
        papers.ours = trustme.CA()
        papers.issue("127.0.0.1")
        tls.renew()
        assert await _post(url, papers.caller(META)) == 200
        (tmp_path / "cert.pem").write_text("no certificate")
        tls.renew()
        assert await _post(url, papers.caller(META)) == 200


@pytest.mark.parametrize(
    ("broken", "content", "named"),
    [
        ("cert.pem", "nothing", "tls_cert_file"),
        ("key.pem", "nothing", "tls_key_file"),
        ("ca.pem", "nothing", "client_ca_file"),
        ("cert.pem", None, "tls_cert_file"),
        ("ca.pem", None, "client_ca_file"),
    ],
)
def test_papers_that_cannot_be_read_stop_the_start(
    tmp_path: Path, broken: str, content: str | None, named: str
) -> None:
    """A file that is missing or holds something else is a configuration error that names its setting."""
    papers = Papers(tmp_path)
    if content is None:
        (tmp_path / broken).unlink()
    else:
        (tmp_path / broken).write_text(content)
    with pytest.raises(ConfigError, match=f"ingress.*{named}"):
        tls_of(settings_with(tmp_path, **papers.ingress).ingress)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"tls_cert_file": "a"}, "go together"),
        ({"tls_key_file": "a"}, "go together"),
        ({"client_ca_file": "a"}, "client_ca_file needs tls_cert_file"),
        ({"tls_cert_file": "a", "tls_key_file": "b", "client_name": META}, "client_name needs client_ca_file"),
    ],
)
def test_half_of_tls_is_no_setting(keys: dict[str, str], named: str) -> None:
    """What would not protect as it seems to is refused."""
    with pytest.raises(ValueError, match=named):
        IngressSettings.model_validate(keys)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, None), ({}, None), ({"subject": ((("organizationName", "Meta"),),)}, None),
        ({"subject": ((("organizationName", "Meta"),), (("commonName", META),))}, META),
    ],
)  # fmt: skip
def test_the_common_name_of_a_certificate(certificate: dict[str, Any] | None, name: str | None) -> None:
    """Read from the subject; a certificate without one has none."""
    assert common_name(certificate) == name
