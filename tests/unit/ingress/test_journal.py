"""Webhooks on disk: what was written is read, whatever a crash left of the last record; damage is told from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.ingress.access import Voice
from pipeline.ingress.journal import FOLDER, Damaged, Entry, Journal, journal_of, read_entries
from tests.unit.ingress.support import settings_with

names = st.sets(st.text(st.characters(codec="utf-8"), max_size=8), max_size=3).map(frozenset)
entries = st.builds(
    Entry,
    st.integers(0, 2**53),
    st.none() | st.text("0123456789", min_size=1, max_size=8),
    st.builds(Voice, names, names, st.booleans()),
    st.binary(max_size=200),
)
ONE = Entry(1_795_300_000_000, "1", Voice(frozenset({"1"})), b'{"a":1}')


def _read(path: Path) -> list[Entry]:
    return list(read_entries(path))


@given(st.lists(entries, min_size=1, max_size=5), st.data())
def test_a_torn_tail_costs_the_last_record_only(
    tmp_path_factory: pytest.TempPathFactory, written: list[Entry], data: st.DataObject
) -> None:
    """Everything written is read back; cut anywhere, all whole records before the cut are."""
    folder = tmp_path_factory.mktemp("journal")
    sizes = []
    with Journal(folder) as journal:
        for entry in written:
            journal.append([entry])
            sizes.append(journal.size_bytes)
        path = journal.oldest()
    assert path is not None
    assert _read(path) == written
    cut = data.draw(st.integers(0, sizes[-1]))
    path.write_bytes(path.read_bytes()[:cut])
    assert _read(path) == [entry for entry, end in zip(written, sizes, strict=True) if end <= cut]


def test_a_flipped_bit_is_damage_and_what_stands_before_is_read(tmp_path: Path) -> None:
    """A record that fails its checksum is never taken for a webhook."""
    with Journal(tmp_path) as journal:
        journal.append([ONE])
        first = journal.size_bytes
        journal.append([ONE])
        path = journal.oldest()
    assert path is not None
    raw = bytearray(path.read_bytes())
    raw[first + 12] ^= 1
    path.write_bytes(raw)
    rest = read_entries(path)
    assert next(rest) == ONE
    with pytest.raises(Damaged, match="checksum"):
        next(rest)


def test_files_come_in_order_and_survive_a_restart(tmp_path: Path) -> None:
    """A full file is followed by a new one; the next process reads both, oldest first, and writes after them."""
    with Journal(tmp_path, segment_bytes=1) as journal:
        for index in range(3):
            journal.append([ONE._replace(received_ms=index)])
    with Journal(tmp_path) as journal:
        journal.append([ONE._replace(received_ms=3)])
        found = []
        while (path := journal.oldest()) is not None:
            found += _read(path)
            journal.remove(path)
        assert [entry.received_ms for entry in found] == [0, 1, 2, 3]
        assert (journal.is_empty, journal.size_bytes) == (True, 0)


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    """A second journal on a folder is refused with the setting's name."""
    with Journal(tmp_path), pytest.raises(ConfigError, match=r"storage\.data_dir.*another ingress"):
        Journal(tmp_path)


def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    """The error names the setting and the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"storage\.data_dir"):
        Journal(tmp_path / "file" / "spool")


def test_the_first_worker_takes_over_from_workers_that_are_gone(tmp_path: Path) -> None:
    """With fewer workers than before, what the others left is read by the first; a live worker's folder stays."""
    settings = settings_with(tmp_path)
    settings = settings.model_copy(
        update={
            "storage": settings.storage.model_copy(update={"data_dir": tmp_path}),
            "ingress": settings.ingress.model_copy(update={"workers": 2}),
        }
    )
    for worker in (0, 1, 2):
        with Journal(tmp_path / FOLDER / str(worker)) as journal:
            journal.append([ONE._replace(received_ms=worker)])
    with journal_of(settings, 0) as journal:
        found = []
        while (path := journal.oldest()) is not None:
            found += [entry.received_ms for entry in _read(path)]
            journal.remove(path)
    assert found == [0, 2]


def test_a_disk_that_refuses_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed write the file ends where it did before, and the next write is whole."""
    with Journal(tmp_path) as journal:
        journal.append([ONE])

        def refuse(_fd: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr("pipeline.ingress.journal.os.fdatasync", refuse)
            with pytest.raises(OSError, match="No space"):
                journal.append([ONE])
        journal.append([ONE._replace(received_ms=7)])
        path = journal.oldest()
    assert path is not None
    assert [entry.received_ms for entry in _read(path)] == [ONE.received_ms, 7]
