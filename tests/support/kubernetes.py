"""Kubernetes objects against the strict JSON Schemas of one of its versions, as a Python package ships them."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry
from referencing.jsonschema import DRAFT7


def problems(one: dict[str, Any], version: str) -> list[str]:
    """What is wrong with an object, one `path: why` each; a kind that has no schema is wrong, too."""
    group, _, major = one["apiVersion"].rpartition("/")
    name = "-".join(filter(None, (one["kind"].lower(), group.split(".", 1)[0], major)))
    found = sorted(_validator(name, version).iter_errors(one), key=lambda error: list(error.absolute_path))
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def standalone_schemas(version: str, folder: Path) -> str:
    """Lay the schemas of a version out for kubeconform, which would look for their `$id` on the internet.

    Returns:
        The value of its `-schema-location`.
    """
    for path in _folder(version).glob("*.json"):
        text = path.read_text().replace('"/api/_definitions.json', '"_definitions.json')
        text = re.sub(r'\s*"\$id": "[^"]*",?', "", text)
        # What was the last member may have left its comma behind.
        (folder / path.name).write_text(re.sub(r",(\s*\})\s*$", r"\1", text))
    return str(folder / "{{.ResourceKind}}{{.KindSuffix}}.json")


@functools.cache
def _validator(name: str, version: str) -> Any:
    schema = json.loads((_folder(version) / f"{name}.json").read_text())
    schema.pop("$id", None)
    return jsonschema.Draft7Validator(schema, registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> Registry[Any]:
    path = _folder(version) / "_definitions.json"
    resource = DRAFT7.create_resource(json.loads(path.read_text()))
    return Registry().with_resources([(name, resource) for name in ("_definitions.json", "/api/_definitions.json")])


def _folder(version: str) -> Path:
    found = importlib.util.find_spec("kubernetes_validate")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "kubernetes-json-schema" / f"v{version}-local-strict"
