"""Settings as text: TOML with secrets masked, and the Markdown table of all keys. Pure."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config import Settings

MASK = "[secret]"
_SECRET_NAME = re.compile(r"(?i)password|secret|\.pem$|jaas|oauthbearer\.config|token")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_KEYS_OF: Mapping[str, str] = {"numbers": "<number id>", "policy.opt_out_payloads": "<payload>"}
"""What the keys of a table stand for, where a table has keys of the user's own and sections as values."""
_WORDS: dict[type, str] = {str: "text", int: "integer", float: "number", bool: "true/false", Path: "path"}


def masked_settings(settings: Settings) -> dict[str, Any]:
    """All settings as plain values, with what could hold a secret masked: client properties, user info in URLs."""
    values: dict[str, Any] = settings.model_dump(mode="json")
    client = values["kafka"]["client"]
    values["kafka"]["client"] = {k: MASK if _SECRET_NAME.search(k) else v for k, v in client.items()}
    for number in values["numbers"].values():
        number["base_url"] = _USER_INFO.sub(MASK, number["base_url"])
    return values


def as_toml(values: Mapping[str, Any]) -> str:
    """Write nested plain values as TOML; a key without a value is a comment."""
    return "\n".join(_toml_tables(values, ())).strip("\n") + "\n"


def _toml_tables(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if path and (plain or not table):
        yield f"\n[{'.'.join(map(_toml_key, path))}]"
    for key, value in plain.items():
        yield f"# {_toml_key(key)} is not set" if value is None else f"{_toml_key(key)} = {_toml_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _toml_tables(value, (*path, key))


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    # A JSON string, number or boolean is TOML, too; only DEL has to be escaped in addition.
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")


def as_markdown() -> str:
    """The table of all settings: key, type, default, meaning."""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{key}` | {_cell(_type_text(info))} | {_cell(_default_text(info))} | {_cell(info.description or '')} |"
        for key, info in leaves(Settings, "")
    ]
    return "\n".join(lines) + "\n"


def leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Every setting that is no section itself, with its full key."""
    for name, info in model.model_fields.items():
        key = prefix + name
        section = _section_of(info.annotation)
        if section is None:
            yield key, info
        else:
            own_key = f".{_KEYS_OF[key]}" if get_origin(info.annotation) is dict else ""
            yield from leaves(section, f"{key}{own_key}.")


def _section_of(annotation: Any) -> type[BaseModel] | None:
    inner = get_args(annotation)[1] if get_origin(annotation) is dict else annotation
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _type_text(info: FieldInfo) -> str:
    bounds = []
    for rule in info.metadata:
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            bound = getattr(rule, name, None)
            if bound is not None:
                bounds.append(f"{sign} {bound:,}")
    return ", ".join([_annotation_text(info.annotation), *bounds])


def _annotation_text(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotation_text(args[0])
    if origin is Literal:
        return " ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(_annotation_text(arg) for arg in args if arg is not type(None))
    if origin is list:
        return f"list of {_annotation_text(args[0])}"
    if origin is dict:
        return f"table: {_annotation_text(args[0])} → {_annotation_text(args[1])}"
    return _WORDS.get(annotation, str(annotation))


def _default_text(info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "–"
    if isinstance(default, Path):
        default = str(default)
    return f"`{orjson.dumps(default).decode()}`"
