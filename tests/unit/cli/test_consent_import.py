"""An import that is cut short: what it wrote is not written again, and what it refused is told all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import consent_import
from pipeline.cli.main import cli
from pipeline.errors import BrokerUnreachable
from pipeline.operations.acts import Outgoing

LINES = 10


class Kafka:
    """Takes pieces of updates until it is gone."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.pieces_left = 99

    def write_all(self, _settings: object, records: Iterable[Outgoing]) -> int:
        """As the writer of commands."""
        if not self.pieces_left:
            raise BrokerUnreachable("gone")
        self.pieces_left -= 1
        piece = [str(record.key) for record in records]
        self.taken += piece
        return len(piece)


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """In place of the broker; pieces of two rows."""
    made = Kafka()

    class Reader:
        def partitions(self, _topic: str) -> int:
            return 1

    @contextmanager
    def open_reader(_settings: object) -> Any:
        yield Reader()

    monkeypatch.setattr(consent_import, "write_all", made.write_all)
    monkeypatch.setattr(consent_import, "open_reader", open_reader)
    monkeypatch.setattr(consent_import, "PIECE_ROWS", 2)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Import the file of these tests: ten people, the third of a business that there is not."""
    config = tmp_path / "wapipe.toml"
    config.write_text(
        f'[storage]\ndata_dir = "{tmp_path}/data"\n[numbers.200000000000001]\nbusiness = "acme"\nprofile = "cloud"\n'
        'base_url = "http://127.0.0.1:1"\ntoken_env = "T"\n'
    )
    rows = [f"1555000000{n},{'other' if n == 2 else 'acme'},utility,checkbox,https://x.example" for n in range(LINES)]
    file = tmp_path / "people.csv"
    file.write_text("\n".join(["recipient,business,categories,method,source", *rows]))

    def call(*options: str) -> Any:
        at = ("--default", "at=2026-01-20T08:00:00Z")
        return CliRunner().invoke(cli, ["--config", str(config), "consent", "import", str(file), *at, *options])

    return call


def test_a_cut_off_import_goes_on_where_it_stopped(kafka: Kafka, run: Callable[..., Any], tmp_path: Path) -> None:
    """Nobody is written twice, nobody is left out, and the summary is that of the whole file."""
    kafka.pieces_left = 2
    assert run().exit_code == 69
    assert len(kafka.taken) == 4
    kafka.pieces_left = 99
    again = run()
    assert again.exit_code == 65
    assert "goes on behind line 6" in again.stderr
    assert "9 written of 10, 1 refused" in again.stdout
    assert "unknown_business" in again.stdout, "what the first run refused"
    assert kafka.taken == [f"1555000000{n}" for n in range(LINES) if n != 2]
    assert list((tmp_path / "data" / "imports").iterdir()) == []


def test_restart_and_another_meaning_begin_anew(kafka: Kafka, run: Callable[..., Any]) -> None:
    """--restart forgets how far it came; other options make it another import."""
    kafka.pieces_left = 1
    assert run().exit_code == 69
    kafka.pieces_left = 1
    assert run("--default", "purposes=offers").exit_code == 69
    assert kafka.taken == ["15550000000", "15550000001"] * 2
    kafka.pieces_left = 99
    restarted = run("--restart")
    assert "goes on" not in restarted.stderr
    assert len(kafka.taken) == 4 + LINES - 1


def test_a_broken_journal_says_nothing(kafka: Kafka, run: Callable[..., Any], tmp_path: Path) -> None:
    """What cannot be read is as if it were not there: the import begins anew."""
    kafka.pieces_left = 1
    run()
    [journal] = (tmp_path / "data" / "imports").iterdir()
    journal.write_text("{")
    kafka.pieces_left = 99
    assert run().exit_code == 65
    assert len(kafka.taken) == 2 + LINES - 1
