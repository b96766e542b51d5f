"""The body of an interactive message, one model per kind, and the rules that join its parts.

Kinds: Meta, OpenAPI v23; those that it does not list: Meta, service messages. Pydantic models for the shape,
`interactive_problems` for what only several parts together show. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pipeline.whatsapp.body_parts import Maybe, Opaque, Part
from pipeline.whatsapp.interactive_parts import (
    ROWS_MAX,
    Body,
    ButtonAction,
    CallPermissionAction,
    CatalogAction,
    FlowAction,
    Footer,
    Header,
    ListAction,
    LocationAction,
    ProductAction,
    ProductListAction,
    TextHeader,
    UrlAction,
)

V1_KINDS: Final = frozenset({"button", "list", "product", "product_list", "catalog_message", "flow"})
"""Kinds of the On-Premises shape (Meta, On-Premises messages reference)."""


class Buttons(Part):
    """A text with reply buttons."""

    type: Literal["button"]
    header: Maybe[Header] = None
    body: Body
    footer: Maybe[Footer] = None
    action: ButtonAction


class Choices(Part):
    """A text with a list of choices."""

    type: Literal["list"]
    header: Maybe[TextHeader] = None
    body: Body
    footer: Maybe[Footer] = None
    action: ListAction


class SingleProduct(Part):
    """One product."""

    type: Literal["product"]
    body: Maybe[Body] = None
    footer: Maybe[Footer] = None
    action: ProductAction


class ProductList(Part):
    """Several products; needs a headline."""

    type: Literal["product_list"]
    header: TextHeader
    body: Body
    footer: Maybe[Footer] = None
    action: ProductListAction


class Catalog(Part):
    """The whole catalog."""

    type: Literal["catalog_message"]
    body: Body
    footer: Maybe[Footer] = None
    action: CatalogAction


class Flow(Part):
    """A flow."""

    type: Literal["flow"]
    header: Maybe[Header] = None
    body: Body
    footer: Maybe[Footer] = None
    action: FlowAction


class CtaUrl(Part):
    """A text with a button that opens a web address."""

    type: Literal["cta_url"]
    header: Maybe[Header] = None
    body: Body
    footer: Maybe[Footer] = None
    action: UrlAction


class LocationRequest(Part):
    """A request for the person's location."""

    type: Literal["location_request_message"]
    body: Body
    action: LocationAction


class CallPermissionRequest(Part):
    """A request for the permission to call; no header, no footer (Meta, "Obtain user call permissions")."""

    type: Literal["call_permission_request"]
    body: Maybe[Body] = None
    action: CallPermissionAction


class Other(Part):
    """Kinds whose action is not published in a form that could be checked (payments, contact details)."""

    type: Literal["order_details", "order_status", "request_contact_info"]
    header: Maybe[Header] = None
    body: Body
    footer: Maybe[Footer] = None
    action: Opaque


Interactive = Annotated[
    Buttons
    | Choices
    | SingleProduct
    | ProductList
    | Catalog
    | Flow
    | CtaUrl
    | LocationRequest
    | CallPermissionRequest
    | Other,
    Field(discriminator="type"),
]


def interactive_problems(interactive: Mapping[str, Any], *, is_v1: bool) -> Iterator[str]:
    """What is wrong with an interactive body whose parts are right one by one, as `path: reason`.

    Args:
        interactive: Has the shape of `Interactive`.
        is_v1: Whether kinds that only the Cloud API knows are a problem.
    """
    kind = interactive["type"]
    action = interactive["action"]
    header = interactive.get("header") or {"type": "text"}
    if is_v1 and kind not in V1_KINDS:
        yield f"interactive.type: v1 has no {kind}"
    elif not is_v1 and header["type"] != "text" and "provider" in header[header["type"]]:
        yield f"interactive.header.{header['type']}.provider: only v1 has media providers"
    if kind == "button":
        yield from _twice([button["reply"]["id"] for button in action["buttons"]], "interactive.action.buttons", "id")
        titles = [button["reply"]["title"] for button in action["buttons"]]
        yield from _twice(titles, "interactive.action.buttons", "title")
    elif kind in ("list", "product_list"):
        sections = action["sections"]
        if len(sections) > 1 and not all(section.get("title") for section in sections):
            yield "interactive.action.sections: with more than one section each needs a title"
        if kind == "list":
            ids = [row["id"] for section in sections for row in section["rows"]]
            if len(ids) > ROWS_MAX:
                yield f"interactive.action.sections: at most {ROWS_MAX} rows in all, found {len(ids)}"
            yield from _twice(ids, "interactive.action.sections", "row id")


def _twice(values: Iterable[str], where: str, what: str) -> Iterator[str]:
    if any(count > 1 for count in Counter(values).values()):
        yield f"{where}: the same {what} twice"
