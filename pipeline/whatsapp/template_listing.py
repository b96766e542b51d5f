"""How each profile lists the templates of an account: the request for a page, and what its answer says. Pure.

Cloud: `GET {base_url}/{account}/message_templates`, pages by `paging.cursors.after` while there is a `paging.next`
(Meta, WhatsApp Business HSM reference). 360dialog, and v1 on hosts that have it: `GET {base_url}/v1/configs/templates`,
pages by `offset` up to `total` (360dialog, template messages); the On-Premises client itself has no list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import orjson

from pipeline.whatsapp.profiles import OTHER_ENDPOINTS_LIMIT, PROFILES

PAGE_TEMPLATES: Final = 100
PAGES_MAX: Final = 100
"""10,000 templates; an account may have 6,000 (Meta, template limits)."""
PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
COMPONENTS_BYTES_MAX: Final = 128 * 1024
"""Larger texts than any template may have are not kept: its parameters are not checked then."""
COMPONENTS_DEPTH_MAX: Final = 16
CURSOR_CHARS_MAX: Final = 4_096
TEXT_CHARS_MAX: Final = 512
FIELDS: Final = "name,language,status,category,components,quality_score,rejected_reason,parameter_format"
CODE_ACCOUNT_BUSY: Final = 80008
"""Too many calls to this account (Meta, WhatsApp Business HSM reference)."""
HOURLY_CALLS: Final = 200
"""Of an app to an account's management endpoints (Meta, about the platform)."""

_NAME: Final = re.compile(r"[a-z0-9_]{1,512}", re.ASCII)
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListingRequest:
    """What is asked for.

    Attributes:
        url: Absolute address; holds no secret.
        headers: With the token in them: never printed.
    """

    url: str
    headers: dict[str, str] = field(repr=False)


class Listed(NamedTuple):
    """One template as the API lists it.

    Attributes:
        language: With `_`, as sends write it.
        status: In capitals.
        category: In capitals; None: not told.
        components: Without their examples; None: not told, or too large.
    """

    name: str
    language: str
    status: str
    reason: str | None
    category: str | None
    quality: str | None
    parameter_format: str | None
    components: list[dict[str, Any]] | None


class Page(NamedTuple):
    """One page of the list.

    Attributes:
        unreadable: How many of its entries are no templates.
        cursor: For the next page; None: it was the last one.
        total: Of all pages, if the API says.
    """

    templates: list[Listed]
    unreadable: int
    cursor: str | None
    total: int | None


def endpoint_limit(profile: str) -> tuple[float, int]:
    """Requests per second and burst of this endpoint: its own, nothing of the messages endpoint's."""
    return OTHER_ENDPOINTS_LIMIT if profile == "v1" else (HOURLY_CALLS / 3600, HOURLY_CALLS)


def listing_request(
    profile: str, base_url: str, account: str, number: str, token: str, cursor: str | None
) -> ListingRequest:
    """The request for one page.

    Args:
        number: Through which it is asked; only its token counts.
        cursor: Of the page before; None: the first page.
    """
    headers = PROFILES[profile].endpoint(base_url, number, token).headers
    root = base_url.rstrip("/")
    if profile == "cloud":
        query = {"fields": FIELDS, "limit": str(PAGE_TEMPLATES)} | ({} if cursor is None else {"after": cursor})
        path = f"{quote(account, safe='')}/message_templates"
        return ListingRequest(f"{root}/{path}?{urlencode(query, safe=',')}", headers)
    query = {"limit": str(PAGE_TEMPLATES), "offset": cursor or "0"}
    return ListingRequest(f"{root}/v1/configs/templates?{urlencode(query)}", headers)


def read_page(profile: str, body: bytes, cursor: str | None) -> Page:
    """Read the answer to a request for a page.

    Args:
        body: Of a 2xx answer.
        cursor: That was asked with.

    Raises:
        ValueError: it is no list of templates; the text quotes nothing of it.
    """
    try:
        document = orjson.loads(body)
    except ValueError as exc:
        raise ValueError("the answer is not JSON") from exc
    name = "data" if profile == "cloud" else "waba_templates"
    rows = document.get(name) if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"the answer has no list `{name}`")  # noqa: TRY004  a wrong answer, not a wrong argument
    read = [_listed(row) for row in rows]
    templates = [one for one in read if one is not None]
    following = _after(document) if profile == "cloud" else _offset(document, len(rows), cursor)
    if following is not None and following == cursor:
        raise ValueError("the cursor of the next page is that of this page")
    total = document.get("total")
    return Page(templates, len(read) - len(templates), following, total if isinstance(total, int) else None)


def _after(document: Mapping[str, Any]) -> str | None:
    """`paging.next` holds the token of whoever asked: only its cursor is used, never the address."""
    paging = document.get("paging")
    address = paging.get("next") if isinstance(paging, dict) else None
    if not isinstance(address, str) or not address:
        return None
    cursors = paging.get("cursors") if isinstance(paging, dict) else None
    after = cursors.get("after") if isinstance(cursors, dict) else None
    if not isinstance(after, str) or not after:
        after = parse_qs(urlsplit(address).query).get("after", [""])[0]
    if not 0 < len(after) <= CURSOR_CHARS_MAX:
        raise ValueError("there is a next page, but no cursor for it")
    return after


def _offset(document: Mapping[str, Any], count: int, cursor: str | None) -> str | None:
    total, done = document.get("total"), int(cursor or 0) + count
    is_more = done < total if isinstance(total, int) else count >= PAGE_TEMPLATES
    return str(done) if is_more and count else None


def _listed(row: Any) -> Listed | None:
    if not isinstance(row, dict):
        return None
    name, language, status = row.get("name"), row.get("language"), _capitals(row.get("status"))
    if not isinstance(name, str) or not isinstance(language, str) or status is None:
        return None
    if not _NAME.fullmatch(name) or not _LANGUAGE.fullmatch(language):
        return None
    score = row.get("quality_score")
    quality = score.get("score") if isinstance(score, dict) else score
    reason = _capitals(row.get("rejected_reason"))
    return Listed(
        name, language.replace("-", "_"), status, None if reason == "NONE" else reason, _capitals(row.get("category")),
        _capitals(quality), _capitals(row.get("parameter_format")), _components(row.get("components")),
    )  # fmt: skip


def _capitals(value: Any) -> str | None:
    return value.upper() if isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX else None


def _components(value: Any) -> list[dict[str, Any]] | None:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return None
    found: list[dict[str, Any]] = _without_examples(value)
    return found if len(orjson.dumps(found)) <= COMPONENTS_BYTES_MAX else None


def _without_examples(value: Any, depth: int = 0) -> Any:
    """Examples are long and say nothing about what a message must give; what lies deeper than any template is cut."""
    if depth > COMPONENTS_DEPTH_MAX:
        return None
    if isinstance(value, dict):
        return {name: _without_examples(one, depth + 1) for name, one in value.items() if name != "example"}
    return [_without_examples(one, depth + 1) for one in value] if isinstance(value, list) else value
