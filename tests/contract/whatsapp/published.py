"""Meta's published OpenAPI (v23.0) as a judge of bodies and answers, mended in the places where it contradicts itself.

`openapi/messages-v23.json` holds the schemas and examples of the messages endpoint as published, beside their licence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import jsonschema
import orjson

PUBLISHED: Final[dict[str, Any]] = orjson.loads((Path(__file__).parent / "openapi" / "messages-v23.json").read_bytes())
EXAMPLES: Final[dict[str, dict[str, Any]]] = PUBLISHED["examples"]


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A message type whose fields are those of both of its halves.

    As published, the half of a type forbids every field that it does not name itself, those of the common half too:
    nothing at all would pass. Meant is what `unevaluatedProperties` says.
    """
    common, own = schema["allOf"]
    return {
        "allOf": [common, {name: rule for name, rule in own.items() if name != "additionalProperties"}],
        "unevaluatedProperties": False,
    }


def _mended() -> dict[str, Any]:
    schemas: dict[str, Any] = orjson.loads(orjson.dumps(PUBLISHED["schemas"]))
    for reference in schemas["Message"]["discriminator"]["mapping"].values():
        name = reference.rpartition("/")[2]
        schemas[name] = _closed(schemas[name])
    # Documented for every type on Meta's pages (messages reference), not in the OpenAPI.
    schemas["BaseMessageProperties"]["properties"]["biz_opaque_callback_data"] = {"type": "string", "maxLength": 512}
    # The text beside it says "0-9"; the published pattern lets no "0" pass. Examples have numbers as well.
    schemas["TemplateComponent"]["properties"]["index"] = {"type": ["string", "integer"], "pattern": "^[0-9]$"}
    return schemas


_SCHEMAS: Final = _mended()


def objections(name: str, value: Any, *, schemas: dict[str, Any] = _SCHEMAS) -> list[str]:
    """What a schema has against a value, as `path: reason`; empty if it passes.

    Args:
        name: Of the schema; `Message` is judged by the type that the value names.
        value: Any JSON value.
        schemas: By name.
    """
    if name == "Message":
        mapping = schemas["Message"]["discriminator"]["mapping"]
        kind = value.get("type") if isinstance(value, dict) else None
        if kind not in mapping:
            return [f"type: none of {', '.join(mapping)}"]
        name = mapping[kind].rpartition("/")[2]
    root = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    judge = jsonschema.Draft202012Validator(root)
    return [f"{error.json_path}: {error.message}" for error in judge.iter_errors(value)]
