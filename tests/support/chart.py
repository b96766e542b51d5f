"""The chart: what of it is made from the code, and rendering it with a real helm (its library, no binary needed).

`python -m tests.support.chart` renews in place what is made from the code (settings in the values schema, the table of
topics) and the golden copies of what the chart renders; tests compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import helm_python
import yaml

from pipeline.config import Settings
from pipeline.streams.topics import TOPICS, wanted_config

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm"
VALUES_SCHEMA: Final = CHART / "values.schema.json"
TOPICS_FILE: Final = CHART / "files" / "topics.yaml"
CASES: Final = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
"""Values files that must render, by name."""
GOLDEN: Final = ROOT / "tests" / "helm" / "golden"
RELEASE, NAMESPACE = "wa", "messaging"


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """A values schema whose `config` is what the program's settings are: closed, with types, bounds and texts."""
    settings = Settings.model_json_schema()
    definitions = settings.pop("$defs")
    settings["description"] = "The settings of wapipe, as in its TOML file."
    return {**schema, "properties": {**schema["properties"], "config": settings}, "$defs": definitions}


def topics_yaml() -> str:
    """The table of topics with their properties, but those that come from the values."""
    from_values = ("min.insync.replicas",)
    lines = ["# Made from the code's table of topics: python -m tests.support.chart", "topics:"]
    for topic in TOPICS:
        lines += [f"  - name: {topic.name}", f"    kind: {topic.kind}", "    config:"]
        config = wanted_config(topic, Settings())
        lines += [f'      {name}: "{value}"' for name, value in sorted(config.items()) if name not in from_values]
    return "\n".join(lines) + "\n"


def schema_text() -> str:
    """The values schema as it should be: the hand-kept part as it stands, the settings anew."""
    return json.dumps(with_settings(json.loads(VALUES_SCHEMA.read_text())), indent=2, sort_keys=True) + "\n"


def values_of(case: str) -> dict[str, Any]:
    """The values of a case."""
    values: dict[str, Any] = yaml.safe_load(CASES[case].read_text()) or {}
    return values


def rendered(values: dict[str, Any]) -> str:
    """All manifests for these values as one YAML stream, in the order of their templates.

    Raises:
        HelmError: the chart refuses the values; the message says why.
    """
    made = helm_python.Chart.load(CHART).render(values, name=RELEASE, namespace=NAMESPACE)
    parts = [text.strip("\n -") for path, text in sorted(made.items()) if path.endswith(".yaml")]
    return "\n---\n".join(part for part in parts if part) + "\n"


def objects_of(manifests: str) -> Iterator[dict[str, Any]]:
    """The Kubernetes objects of a YAML stream."""
    yield from (one for one in yaml.safe_load_all(manifests) if one)


def main() -> None:
    """Write everything that is made."""
    VALUES_SCHEMA.write_text(schema_text())
    TOPICS_FILE.write_text(topics_yaml())
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"{case}.yaml").write_text(rendered(values_of(case)))


if __name__ == "__main__":
    main()
