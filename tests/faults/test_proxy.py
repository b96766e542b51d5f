"""The proxy: what a cut, swallowing, slow or answer-losing link looks like to a client and to the server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.embedded.layout import HOST, choose_ports
from tests.faults.proxy import Links

TIMEOUT_S = 10.0
SHORT_S = 0.3


class Echo:
    """A server that answers every chunk with itself, and keeps what it got."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.got: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.got.append(data)
                    connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()


class Rig:
    """A link before an echo server."""

    def __init__(self, links: Links) -> None:
        self.links, self.echo = links, Echo()
        self.port = choose_ports(1)[0].client
        links.open("link", self.port, self.echo.port, is_noted=True)

    def connect(self) -> socket.socket:
        """A client's connection through the link."""
        return socket.create_connection((HOST, self.port), TIMEOUT_S)

    def ask(self, connection: socket.socket, data: bytes = b"hello") -> bytes:
        """Send a chunk and read the answer."""
        connection.sendall(data)
        return connection.recv(65536)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A running proxy with one link."""
    with Links() as links:
        running = Rig(links)
        yield running
        running.echo.close()


def test_open_link_hands_on_and_notes(rig: Rig) -> None:
    """Bytes pass both ways, and the time of each request is noted."""
    before_ns = time.monotonic_ns()
    with rig.connect() as client:
        assert rig.ask(client) == b"hello"
    (at_ns,) = rig.links.sent_ns("link")
    assert before_ns <= at_ns <= time.monotonic_ns()


def test_cut_link_resets_refuses_and_heals(rig: Rig) -> None:
    """A cut resets what is open and refuses what is new; afterwards the same port works again."""
    with rig.connect() as client:
        assert rig.ask(client) == b"hello"
        rig.links.cut("link")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        rig.connect()
    rig.links.heal("link")
    with rig.connect() as client:
        assert rig.ask(client) == b"hello"


def test_swallowed_bytes_never_arrive(rig: Rig) -> None:
    """A swallowing link is silent, and what it swallowed is not delivered when it heals: the connection is reset."""
    with rig.connect() as client:
        assert rig.ask(client, b"before") == b"before"
        rig.links.swallow("link")
        client.settimeout(SHORT_S)
        with pytest.raises(TimeoutError):
            rig.ask(client, b"swallowed")
        rig.links.heal("link")
        client.settimeout(TIMEOUT_S)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert rig.echo.got == [b"before"]


def test_lost_answer_was_a_request(rig: Rig) -> None:
    """The server got the request, the client a reset; only requests that match lose their answers, and only so many."""
    rig.links.lose_answers("/v1/", 1)
    with rig.connect() as other:
        assert rig.ask(other, b"POST /v24/") == b"POST /v24/"
    with rig.connect() as client, pytest.raises(ConnectionResetError):
        rig.ask(client, b"POST /v1/")
    assert b"POST /v1/" in rig.echo.got
    assert rig.links.answers_to_lose() == 0
    with rig.connect() as client:
        assert rig.ask(client, b"POST /v1/") == b"POST /v1/"


def test_slow_link_delays_answers_only(rig: Rig) -> None:
    """The request is there at once, its answer later."""
    rig.links.slow("link", answer_delay_s=SHORT_S)
    with rig.connect() as client:
        began_s = time.monotonic()
        assert rig.ask(client) == b"hello"
        assert time.monotonic() - began_s >= SHORT_S
