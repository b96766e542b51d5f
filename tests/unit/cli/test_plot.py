"""The picture of a number's requests against its limit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.cli.plot import draw
from pipeline.errors import ConfigError
from pipeline.operations.arrivals import Arrivals
from tests.unit.cli.conftest import Run

NUMBER = "200000000000001"
ARRIVALS = Arrivals([1000, 1000, 1200, 3400], [3300], 5, 3)


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG\r\n"), ("a.svg", b"<?xml")])
def test_a_picture_is_drawn(tmp_path: Path, name: str, begins: bytes) -> None:
    """Each format is written, and says whether the limit held."""
    assert draw(ARRIVALS, NUMBER, 1000, 5000, tmp_path / name) == 0
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert draw(Arrivals([0] * 5, (), 5, 3), NUMBER, 0, 1000, tmp_path / name) == 2


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks the extra is told its line, without a traceback."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'wapipe\[plot\]'"):
        draw(ARRIVALS, NUMBER, 1000, 5000, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("7",), "7 is not in the settings"),
        ((NUMBER, "--out", "rate.gif"), "a .png or a .svg file"),
        ((NUMBER, "--out", "nosuch/rate.png"), "there is no folder nosuch"),
        ((NUMBER, "--last", "2d"), "at most 1d"),
        ((NUMBER, "--last", "soon"), "not a duration"),
    ],
)
def test_what_cannot_be_drawn_is_named(run: Run, args: tuple[str, ...], says: str) -> None:
    """A wrong number, file or time ends before Kafka is asked."""
    result = run("numbers", "plot", *args)
    assert result.exit_code == 64
    assert says in " ".join(result.stderr.split())
