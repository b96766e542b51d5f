"""The body of a template message: every kind of component, and the rules that join them.

Pydantic models for the shape, `template_problems` for what only several parts together show. Pure. Shapes: Meta,
On-Premises messages reference, OpenAPI v23, and Meta's pages on carousel and limited-time offer templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from pipeline.whatsapp.body_parts import Id, Maybe, Part
from pipeline.whatsapp.template_parameters import (
    ActionParameter,
    BodyParameter,
    CouponParameter,
    HeaderParameter,
    OfferParameter,
    PayloadParameter,
    UrlParameter,
)

NAME_CHARS_MAX: Final = 512  # Meta, product list templates
COMPONENTS_MAX: Final = 16
PARAMETERS_MAX: Final = 100
CARDS_MAX: Final = 10  # Meta, media card carousel templates


def _no_truth(value: Any) -> Any:
    if type(value) is bool:
        raise ValueError("must be 0 to 9")  # to Python false is 0
    return value


_Index = Literal["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
ButtonIndex = Annotated[_Index, BeforeValidator(_no_truth)]


class HeaderComponent(Part):
    """Values of the header: one text, or one piece of media."""

    type: Literal["header"]
    parameters: list[HeaderParameter] = Field([], max_length=1)


class BodyComponent(Part):
    """Values of the body."""

    type: Literal["body"]
    parameters: list[BodyParameter] = Field([], max_length=PARAMETERS_MAX)


class QuickReplyButton(Part):
    """Payload of a quick reply."""

    type: Literal["button"]
    sub_type: Literal["quick_reply"]
    index: ButtonIndex
    parameters: list[PayloadParameter] = Field(min_length=1, max_length=1)


class UrlButton(Part):
    """End of a button's address, or the one-time code of an authentication template."""

    type: Literal["button"]
    sub_type: Literal["url"]
    index: ButtonIndex
    parameters: list[UrlParameter] = Field(min_length=1, max_length=1)


class CopyCodeButton(Part):
    """Code of a copy-code button (v1: client 2.49 and later)."""

    type: Literal["button"]
    sub_type: Literal["copy_code"]
    index: ButtonIndex
    parameters: list[CouponParameter] = Field(min_length=1, max_length=1)


class ActionButton(Part):
    """A button that opens a catalog, a product list or a flow."""

    type: Literal["button"]
    sub_type: Literal["catalog", "CATALOG", "mpm", "flow"]  # capitals: Meta, OpenAPI v23, catalog template example
    index: ButtonIndex
    parameters: list[ActionParameter] = Field([], max_length=1)


Button = Annotated[QuickReplyButton | UrlButton | CopyCodeButton | ActionButton, Field(discriminator="sub_type")]


class OfferComponent(Part):
    """End of a limited-time offer (Cloud)."""

    type: Literal["limited_time_offer"]
    parameters: list[OfferParameter] = Field(min_length=1, max_length=1)


class Card(Part):
    """One card of a carousel."""

    card_index: int = Field(ge=0, lt=CARDS_MAX)
    components: list[Annotated[HeaderComponent | BodyComponent | Button, Field(discriminator="type")]] = Field(
        min_length=1, max_length=COMPONENTS_MAX
    )


class CarouselComponent(Part):
    """Cards side by side (Cloud)."""

    type: Literal["carousel"]
    cards: list[Card] = Field(min_length=1, max_length=CARDS_MAX)


Component = Annotated[
    HeaderComponent | BodyComponent | Button | OfferComponent | CarouselComponent, Field(discriminator="type")
]


class Language(Part):
    """Language of the template; the API knows one policy."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,2}$")]
    policy: Maybe[Literal["deterministic"]] = None


class Template(Part):
    """A template message; `namespace` is v1's."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=NAME_CHARS_MAX)]
    language: Language
    namespace: Maybe[Id] = None
    components: list[Component] = Field([], max_length=COMPONENTS_MAX)


# What v1 has (Meta, On-Premises messages reference).
_V1_COMPONENTS: Final = frozenset({"header", "body", "button"})
_V1_BUTTONS: Final = frozenset({"quick_reply", "url", "copy_code", "catalog"})
_CLOUD_HEADERS: Final = frozenset({"location", "product"})


def template_problems(template: Mapping[str, Any], *, is_v1: bool) -> Iterator[str]:
    """What is wrong with a template whose parts are right one by one, as `path: reason`.

    Args:
        template: Has the shape of `Template`.
        is_v1: Whether what only the Cloud API knows is a problem, too.
    """
    components = template.get("components", ())
    yield from _repeated(components, "template.components")
    styles: set[bool] = set()
    for component, where in _with_cards(components):
        if component["type"] in ("header", "body"):
            styles.update("parameter_name" in value for value in component.get("parameters", ()) if "text" in value)
        for at, card in enumerate(component.get("cards", ())):
            yield from _repeated(card["components"], f"{where}.cards[{at}].components")
        yield from _not_on_v1(component, where) if is_v1 else _on_v1_only(component, where)
    if len(styles) > 1:
        yield "template.components: all text parameters have a parameter_name, or none (132000, 132012)"


def _with_cards(components: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each component with its path, those of a carousel's cards behind it."""
    for number, component in enumerate(components):
        where = f"template.components[{number}]"
        yield component, where
        for at, card in enumerate(component.get("cards", ())):
            for place, part in enumerate(card["components"]):
                yield part, f"{where}.cards[{at}].components[{place}]"


def _repeated(components: Any, where: str) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for number, component in enumerate(components):
        kind = component["type"]
        key = (kind, str(component["index"])) if kind == "button" else (kind, "")
        if key in seen:
            what = f"button with index {key[1]}" if kind == "button" else kind
            yield f"{where}[{number}]: a second {what}"
        seen.add(key)


def _not_on_v1(component: Mapping[str, Any], where: str) -> Iterator[str]:
    kind = component["type"]
    if kind not in _V1_COMPONENTS:
        yield f"{where}.type: v1 has no {kind} component"
        return
    if kind == "button" and component["sub_type"] not in _V1_BUTTONS:
        yield f"{where}.sub_type: v1 has no {component['sub_type']} button"
    for number, value in enumerate(component.get("parameters", ())):
        if "parameter_name" in value:
            yield f"{where}.parameters[{number}].parameter_name: v1 has positional parameters only"
        if kind == "header" and value["type"] in _CLOUD_HEADERS:
            yield f"{where}.parameters[{number}].type: v1 has no {value['type']} header"


def _on_v1_only(component: Mapping[str, Any], where: str) -> Iterator[str]:
    for number, value in enumerate(component.get("parameters", ()) if component["type"] == "header" else ()):
        kind = value["type"]
        if kind != "text" and "provider" in value[kind]:
            yield f"{where}.parameters[{number}].{kind}.provider: only v1 has media providers"
