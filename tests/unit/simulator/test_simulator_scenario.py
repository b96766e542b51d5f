"""Scenario files: those in README are good, wrong ones are named by file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.simulator.scenario import Scenario, read_scenario

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
SCENARIOS = re.findall(r"```toml scenario\n(.*?)```", README, re.DOTALL)


def _read(folder: Path, text: str) -> Scenario:
    path = folder / "storm.toml"
    path.write_text(text)
    return read_scenario(path, {})


def test_scenarios_of_readme_are_good(tmp_path: Path) -> None:
    """What README shows can be run as it stands."""
    assert len(SCENARIOS) == 2
    storm, templates = (_read(tmp_path, text) for text in SCENARIOS)
    assert [spell.kind for spell in storm.spells] == ["429", "lost", "code"]
    assert (len(storm.scripts), len(storm.events), len(templates.events)) == (2, 1, 5)


def test_every_setting_that_readme_names_exists() -> None:
    """The table of settings in README names keys that there are."""
    section = README.partition("## The simulator")[2].partition("\n## ")[0]
    table = "\n".join(re.findall(r"^\| (?:limits|bodies|statuses) \|.*$", section, re.MULTILINE))
    keys = set(re.findall(r"`([a-z0-9_]+)`", table))
    assert keys
    assert keys - set(Scenario.model_fields) == set()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rate = 5", "storm.toml: rate: "),
        ("[[spells]]\nkind = '429'", "storm.toml: spells.0.for_s: "),
        ("[[spells]]\nkind = 'code'\nfor_s = 1", "storm.toml: spells.0: .*code goes with"),
        ("[[scripts]]\nrecipient = '1'\noutcomes = ['explode']", "storm.toml: scripts.0.outcomes.0: "),
        ("[[events]]\nupgrade = {}", "storm.toml: events.0.upgrade.number: "),
        ("[[events]]\ntemplate = {name = 'a'}", "storm.toml: events.0.template: .*one of status"),
        ("[[events]]\nverify = {number = '1', token = 'x'}", "storm.toml: events.0.verify: "),
        ("rate_per_s = ", "storm.toml: "),
    ],
)
def test_wrong_scenarios_are_named(tmp_path: Path, text: str, named: str) -> None:
    """A scenario that is wrong is refused with its file, the key and what is wrong."""
    with pytest.raises(ConfigError, match=named):
        _read(tmp_path, text)


def test_options_win_over_the_file_and_tables_lie_beside_it(tmp_path: Path) -> None:
    """What the command line says counts; a table of scripts is found in the scenario's folder."""
    (tmp_path / "people.csv").write_text("recipient,outcomes\n1555,lost\n")
    path = tmp_path / "storm.toml"
    path.write_text("burst = 5\nseed = 3\nscripts_file = 'people.csv'\n")
    scenario = read_scenario(path, {"burst": 7})
    assert (scenario.burst, scenario.seed, scenario.scripts[0].outcomes) == (7, 3, ("lost",))
    with pytest.raises(ConfigError, match="none"):
        read_scenario(tmp_path / "none.toml", {})
