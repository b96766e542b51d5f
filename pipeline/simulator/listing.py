"""The list of templates, by pages, as each kind of API has it. Pure; runs on the simulator's loop.

Cloud: `GET /{version}/{account}/message_templates?fields=…&limit=…&after=…` with `paging.cursors` (Meta, WhatsApp
Business HSM reference); 360dialog, and v1 where it hosted that: `GET /v1/configs/templates?limit=…&offset=…` with
`waba_templates` and `total` (360dialog, template messages). All accounts have the same templates here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from zlib import crc32

import orjson

from pipeline.simulator.parts import TemplateSettings
from pipeline.simulator.templates import State

LIMIT_DEFAULT = 25
LIMIT_MAX = 250
CURSOR = "QVFI"
FIELDS = frozenset(
    {
        "id", "name", "language", "status", "category", "components", "quality_score", "rejected_reason",
        "parameter_format", "previous_category", "correct_category", "message_send_ttl_seconds",
    }
)  # fmt: skip

Row = tuple[TemplateSettings, State]


def graph_page(rows: Sequence[Row], query: Mapping[str, str], url: str) -> bytes | str:
    """One page in Graph's form, or the sentence that refuses the query.

    Args:
        url: Address of the list, without query, for `paging.next`.
    """
    limit, after = query.get("limit", str(LIMIT_DEFAULT)), query.get("after", "")
    start = after.removeprefix(CURSOR) or "0"
    if not limit.isdecimal() or not 1 <= int(limit) <= LIMIT_MAX:
        return f"(#100) limit must be 1 to {LIMIT_MAX}"
    if (after and not after.startswith(CURSOR)) or not start.isdecimal():
        return "(#100) after: invalid cursor"
    asked = [name for name in query.get("fields", "name,language,status,category,components").split(",") if name]
    unknown = [name for name in asked if name not in FIELDS]
    if unknown:
        return f"(#100) Tried accessing nonexisting field ({unknown[0][:64]})"
    begin, end = int(start), int(start) + int(limit)
    listed = [_described(*row) for row in rows[begin:end]]
    data = [{name: value for name, value in one.items() if name in asked or name == "id"} for one in listed]
    paging: dict[str, Any] = {"cursors": {"before": f"{CURSOR}{begin}", "after": f"{CURSOR}{min(end, len(rows))}"}}
    if end < len(rows):
        paging["next"] = f"{url}?{urlencode({**query, 'after': f'{CURSOR}{end}'})}"
    return orjson.dumps({"data": data, "paging": paging} if data else {"data": []})


def gateway_page(rows: Sequence[Row], query: Mapping[str, str]) -> bytes | str:
    """One page in 360dialog's form, or the sentence that refuses the query."""
    limit, offset = query.get("limit", str(LIMIT_DEFAULT)), query.get("offset", "0")
    if not limit.isdecimal() or not offset.isdecimal() or int(limit) < 1:
        return "limit and offset are whole numbers"
    begin, most = int(offset), min(int(limit), LIMIT_MAX)
    listed = [_described(*row) for row in rows[begin : begin + most]]
    data = [{**one, "status": str(one["status"]).lower()} for one in listed]
    return orjson.dumps(
        {"count": len(data), "limit": most, "offset": begin, "total": len(rows), "waba_templates": data}
    )


def _described(template: TemplateSettings, state: State) -> dict[str, Any]:
    is_named = any(":" in word for word in template.body)
    return {
        "id": str(crc32(f"{template.name}/{template.language}".encode())),
        "name": template.name,
        "language": template.language,
        "status": state.status,
        "category": (state.category or template.category).upper(),
        "components": _components(template),
        "quality_score": {"score": state.quality, "date": 1_795_300_000},
        "rejected_reason": "NONE",
        "parameter_format": "NAMED" if is_named else "POSITIONAL",
    }


def _components(template: TemplateSettings) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if template.header == "text":
        found.append({"type": "HEADER", "format": "TEXT", "text": "About {{1}}"})
    elif template.header is not None:
        found.append({"type": "HEADER", "format": template.header.upper()})
    names = [word.partition(":")[2] or str(place) for place, word in enumerate(template.body, 1)]
    values = " and ".join(f"{{{{{name}}}}}" for name in names)
    found.append({"type": "BODY", "text": f"This is about {values}, as you asked." if names else "As you asked."})
    if template.footer is not None:
        found.append({"type": "FOOTER", "text": template.footer})
    if template.buttons:
        last = max(map(int, template.buttons))
        rows = [_button(template.buttons.get(str(index))) for index in range(last + 1)]
        found.append({"type": "BUTTONS", "buttons": rows})
    return found


def _button(sub_type: str | None) -> dict[str, str]:
    if sub_type == "url":
        return {"type": "URL", "text": "Open", "url": "https://shop.example/{{1}}"}
    if sub_type is None:
        return {"type": "PHONE_NUMBER", "text": "Call us", "phone_number": "+15550100001"}
    return {"type": sub_type.upper(), "text": "Tap here"}
