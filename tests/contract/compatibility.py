"""What a schema promises, in a form that two releases can be compared by.

`schemas.lock.json` beside this file holds the promises of the last release. A field that is added there may never go,
change its name or its type, nor refuse what it took before. Run `python -m tests.contract.compatibility` to add new
fields to it; the command refuses to write down a break.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.records import schemas

LOCK = Path(__file__).parent / "schemas.lock.json"
LOWER_BOUNDS = ("minLength", "minItems", "minimum")
UPPER_BOUNDS = ("maxLength", "maxItems", "maxProperties", "maximum")

INPUTS = frozenset({"request", "consent-update"})
"""Records that others write; all the rest are written by us and read by others."""

Field = dict[str, Any]
Promises = dict[str, dict[str, Field]]


def promises() -> Promises:
    """Record → path of a field → its types, whether it is required, its values and bounds."""
    return {
        record: dict(sorted(_fields(schemas.schema_of(record), "", schemas.schema_of(record), True)))
        for record in schemas.MODELS
    }


def _fields(
    schema: Mapping[str, Any], path: str, root: Mapping[str, Any], required: bool
) -> Iterator[tuple[str, Field]]:
    parts = list(_alternatives(schema, root))
    field: Field = {"required": required, "types": sorted({str(part["type"]) for part in parts})}
    values = [value for part in parts for value in part.get("enum", [part["const"]] if "const" in part else [])]
    if values:
        field["values"] = sorted(map(str, values))
    for part in parts:
        field |= {name: part[name] for name in (*LOWER_BOUNDS, *UPPER_BOUNDS, "pattern") if name in part}
    yield path or ".", field
    for part in parts:
        shape = f"<{part['title']}>" if len([p for p in parts if "properties" in p]) > 1 else ""
        for name, inner in part.get("properties", {}).items():
            yield from _fields(inner, f"{path}{shape}.{name}", root, name in part.get("required", ()))
        for name in ("items", "additionalProperties"):
            if isinstance(part.get(name), Mapping) and part[name]:
                yield from _fields(part[name], f"{path}[]", root, False)


def _alternatives(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "$ref" in schema:
        yield from _alternatives(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    elif "anyOf" in schema or "oneOf" in schema:
        for part in schema.get("anyOf", schema.get("oneOf", ())):
            yield from _alternatives(part, root)
    elif "enum" in schema and "type" not in schema:
        yield {**schema, "type": "string", "enum": [value for value in schema["enum"] if value is not None]}
        if None in schema["enum"]:
            yield {"type": "null"}
    elif "type" in schema:
        yield schema
    else:
        yield {**schema, "type": "any"}


def breaks(before: Promises, after: Promises) -> list[str]:
    """What a program that was written against `before` would stumble over in `after`, one sentence each."""
    found = []
    for record, fields in before.items():
        now = after.get(record)
        if now is None:
            found.append(f"{record}: the record is gone")
            continue
        for path, field in fields.items():
            found += [f"{record}{path}: {what}" for what in _field_breaks(field, now.get(path))]
            if record not in INPUTS and path in now:
                found += [f"{record}{path}: {what}" for what in _reader_breaks(field, now[path])]
        found += [
            f"{record}{path}: is new and required, which older writers do not know"
            for path, field in now.items()
            if path not in fields and field["required"] and _has_parent(path, fields)
        ]
    return found


def _has_parent(path: str, fields: Mapping[str, Field]) -> bool:
    parent = path.rsplit(".", 1)[0]
    return any(known.startswith(f"{parent}.") for known in fields)


def _reader_breaks(before: Field, after: Field) -> Iterator[str]:
    if new := set(after["types"]) - set(before["types"]):
        yield f"may be of type {', '.join(sorted(new))} now"
    if before["required"] and not after["required"]:
        yield "is no longer always there"


def _field_breaks(before: Field, after: Field | None) -> Iterator[str]:
    if after is None:
        yield "is gone"
        return
    if gone := set(before["types"]) - set(after["types"]):
        yield f"is no longer of type {', '.join(sorted(gone))}"
    if after["required"] and not before["required"]:
        yield "is required now"
    values: list[str] = before.get("values", [])
    if gone := set(values) - set(after.get("values", values)):
        yield f"no longer takes {', '.join(sorted(gone))}"
    if "values" in after and "values" not in before:
        yield "takes only some values now"
    if after.get("pattern") not in (None, before.get("pattern")):
        yield "has another pattern"
    for name in LOWER_BOUNDS:
        if after.get(name, 0) > before.get(name, 0):
            yield f"{name} went up"
    for name in UPPER_BOUNDS:
        if name in after and after[name] < before.get(name, float("inf")):
            yield f"{name} went down"


def main() -> int:
    """Write new fields down, unless something would break."""
    now = promises()
    found = breaks(json.loads(LOCK.read_text()), now) if LOCK.exists() else []
    if found:
        sys.stderr.write("\n".join(found) + "\n")
        return 1
    LOCK.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
