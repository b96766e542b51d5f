"""How far an import came: a small file beside the local state, so that one that was cut short goes on where it stopped.

Named by the content of the imported file and the options that give it its meaning: another content is another import.
Importing twice changes nothing anyway; the journal only saves the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

FOLDER: Final = "imports"


class Reached(NamedTuple):
    """What is done of a file.

    Attributes:
        line: Everything up to this line is on Kafka, or refused; 0: nothing is done.
        written: Updates so far.
        refused_count: Refused lines so far.
        refused: The first of them, each as (line, reason).
    """

    line: int = 0
    written: int = 0
    refused_count: int = 0
    refused: Sequence[tuple[int, str]] = ()


class ImportJournal:
    """The journal of one file.

    Args:
        data_dir: Folder of local state.
        file: What is imported.
        options: What else decides what a line means.
    """

    def __init__(self, data_dir: Path, file: Path, options: Sequence[object]) -> None:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256")
        digest.update(repr(options).encode())
        self._path = data_dir / FOLDER / f"{digest.hexdigest()[:32]}.json"

    def reached(self) -> Reached:
        """How far an earlier run came; a journal that cannot be read says nothing."""
        try:
            said: dict[str, Any] = orjson.loads(self._path.read_bytes())
            refused = [(int(line), str(reason)) for line, reason in said["refused"]]
            return Reached(int(said["line"]), int(said["written"]), int(said["refused_count"]), refused)
        except (OSError, ValueError, KeyError, TypeError):
            return Reached()

    def save(self, reached: Reached) -> None:
        """Keep how far this run came; written aside and renamed, so that it is never half."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._path.with_suffix(".partial")
        aside.write_bytes(orjson.dumps(reached._asdict()))
        aside.replace(self._path)

    def forget(self) -> None:
        """The import is complete, or begins anew."""
        self._path.unlink(missing_ok=True)
