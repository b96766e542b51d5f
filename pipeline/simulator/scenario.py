"""A scenario file: settings, spells, scripts and timed events of one simulator in TOML. Read once, before the start."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from pipeline.errors import ConfigError
from pipeline.simulator.agenda import EVENTS_MAX
from pipeline.simulator.control import TimedEvent, problems
from pipeline.simulator.scripts import read_table
from pipeline.simulator.settings import SCRIPTS_MAX, SimulatorSettings

FILE_BYTES_MAX = 16 * 1024 * 1024


class Scenario(SimulatorSettings):
    """All settings, and what else a scenario holds.

    Attributes:
        scripts_file: Table of further scripts, `.csv` or `.toml`; a relative path counts from the scenario's folder.
        events: What happens at which time.
    """

    scripts_file: Path | None = None
    events: tuple[TimedEvent, ...] = Field(default=(), max_length=EVENTS_MAX)


def read_scenario(path: Path | None, given: dict[str, Any]) -> Scenario:
    """Read a scenario; what is `given` besides wins over the file.

    Raises:
        ConfigError: names the file, the key and what is wrong with it.
    """
    values = {} if path is None else _values(path)
    try:
        scenario = Scenario.model_validate({**values, **given})
    except ValidationError as error:
        # What came from the command line is named without the file.
        where = "" if path is None else f"{path}: "
        raise ConfigError("\n".join(f"{where}{problem}" for problem in problems(error))) from error
    if scenario.scripts_file is None:
        return scenario
    table = scenario.scripts_file
    if path is not None and "scripts_file" not in given:
        table = path.parent / table
    scripts = (*scenario.scripts, *read_table(table))
    if len(scripts) > SCRIPTS_MAX:
        raise ConfigError(f"{table}: at most {SCRIPTS_MAX} scripts")
    return scenario.model_copy(update={"scripts": scripts})


def _values(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: above {FILE_BYTES_MAX} bytes; put scripts into a table file")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; name a UTF-8 file that can be read") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
