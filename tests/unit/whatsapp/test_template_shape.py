"""What a template takes, and whether a message gives just that."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.whatsapp.template_shape import misfits, shape_of

TEXT = {"type": "text", "text": "4711"}
NAMED = {"type": "text", "text": "4711", "parameter_name": "order"}
IMAGE = {"type": "image", "image": {"link": "https://cdn.example/a.png"}}
BODY = {"type": "BODY", "text": "Hi {{1}}, order {{2}}: {{1}}."}
URL = {"type": "URL", "text": "Track", "url": "https://shop.example/{{1}}"}


def body(*parameters: dict[str, Any]) -> dict[str, Any]:
    """A body component of a message."""
    return {"type": "body", "parameters": list(parameters)}


def header(*parameters: dict[str, Any]) -> dict[str, Any]:
    """A header component of a message."""
    return {"type": "header", "parameters": list(parameters)}


def button(sub_type: str, index: Any = "0") -> dict[str, Any]:
    """A button component of a message."""
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": [TEXT]}


def buttons(*rows: dict[str, Any]) -> dict[str, Any]:
    """The buttons of a template."""
    return {"type": "BUTTONS", "buttons": list(rows)}


FITS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "nothing to fill in": ([{"type": "BODY", "text": "Hello."}], []),
    "a variable used twice is one parameter": ([BODY], [body(TEXT, TEXT)]),
    "named": ([{"type": "BODY", "text": "Order {{order}}."}], [body(NAMED)]),
    "media header": ([{"type": "HEADER", "format": "IMAGE"}], [header(IMAGE)]),
    "text header": ([{"type": "HEADER", "format": "TEXT", "text": "For {{1}}"}], [header(TEXT)]),
    "header without a variable": ([{"type": "HEADER", "format": "TEXT", "text": "News"}], []),
    "url with an end": ([buttons(URL)], [button("url", 0)]),
    "quick reply without a payload": ([buttons({"type": "QUICK_REPLY", "text": "Stop"})], []),
    "quick reply with one": ([buttons({"type": "QUICK_REPLY", "text": "Stop"})], [button("quick_reply")]),
    "catalog in capitals": ([buttons({"type": "CATALOG"})], [button("CATALOG")]),
    "kinds that nobody knows yet": (
        [buttons({"type": "HOLOGRAM"}), {"type": "HEADER", "format": "SCENT"}, {"type": "SOUND"}], [button("url")],
    ),
    "cards": (
        [{"type": "CAROUSEL", "cards": [{"components": [{"type": "HEADER", "format": "IMAGE"}, buttons(URL)]}]}],
        [{"type": "carousel", "cards": [{"card_index": 0, "components": [header(IMAGE), button("url")]}]}],
    ),
    "rubbish in the listing": (
        [{"type": 1}, {"type": "BODY", "text": 7}, {"type": "BUTTONS", "buttons": [3]}, {"type": "CAROUSEL"}], [],
    ),
}  # fmt: skip

DIFFERS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], str]] = {
    "one too few": ([BODY], [body(TEXT)], "components.body: the template takes 2 parameters, 1 given"),
    "no body at all": ([BODY], [], "components.body: the template takes 2 parameters, 0 given"),
    "one too many": ([{"type": "BODY", "text": "Hello."}], [body(TEXT)], "components.body: the template takes 0"),
    "name for position": ([BODY], [body(TEXT, NAMED)], "components.body: the template's parameters go by position"),
    "position for name": (
        [{"type": "BODY", "text": "Order {{order}}."}], [body(TEXT)], "components.body: the template's parameters go",
    ),
    "another name": (
        [{"type": "BODY", "text": "Order {{number}}."}], [body(NAMED)], "components.body: the template's parameters",
    ),
    "another medium": ([{"type": "HEADER", "format": "VIDEO"}], [header(IMAGE)], "components.header: the template"),
    "no medium": ([{"type": "HEADER", "format": "IMAGE"}], [], "components.header: the template needs one image"),
    "medium for text": (
        [{"type": "HEADER", "text": "For {{1}}"}], [header(IMAGE)], "components.header: the template has a text header",
    ),
    "no header there": ([{"type": "BODY", "text": "Hi."}], [header(TEXT)], "components.header: the template's header"),
    "no end of the url": ([buttons(URL)], [], "components.button[0]: the template needs a parameter of sub_type url"),
    "url without a variable": (
        [buttons({"type": "URL", "url": "https://shop.example"})], [button("url")], "components.button[0]: this button",
    ),
    "another kind of button": ([buttons(URL)], [button("quick_reply")], "components.button[0]: this button is filled"),
    "no such button": ([buttons(URL)], [button("url"), button("url", 1)], "components.button[1]: the template has 1"),
    "no code": ([buttons({"type": "OTP"})], [], "components.button[0]: the template needs a parameter of sub_type url"),
    "no cards": ([{"type": "CAROUSEL", "cards": [{}]}], [], "components.carousel: the template has 1 cards, 0 given"),
    "in a card": (
        [{"type": "CAROUSEL", "cards": [{"components": [BODY]}]}],
        [{"type": "carousel", "cards": [{"card_index": 0, "components": [header(TEXT)]}]}],
        "components.carousel.cards[0].body: the template takes 2 parameters, 0 given",
    ),
    "a card too far": (
        [{"type": "CAROUSEL", "cards": [{}]}], [{"type": "carousel", "cards": [{"card_index": 3, "components": []}]}],
        "components.carousel: the template has no card 3",
    ),
    "no end of the offer": (
        [{"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"has_expiration": True}}], [],
        "components.limited_time_offer: the template needs the end",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("listed", "given"), FITS.values(), ids=FITS.keys())
def test_what_fits_is_let_through(listed: list[dict[str, Any]], given: list[dict[str, Any]]) -> None:
    """A message that gives what the template takes has no problem; what nobody knows is left to the API."""
    assert misfits(shape_of(listed), given) == []


@pytest.mark.parametrize(("listed", "given", "found"), DIFFERS.values(), ids=DIFFERS.keys())
def test_what_differs_is_named(listed: list[dict[str, Any]], given: list[dict[str, Any]], found: str) -> None:
    """A parameter that is missing, too much or of another kind is told with its place."""
    assert misfits(shape_of(listed), given)[0].startswith(found)


def test_the_format_that_is_listed_decides() -> None:
    """A template may say itself that its parameters go by name, whatever its variables look like."""
    named = shape_of([{"type": "BODY", "text": "Order {{1}}."}], "NAMED")
    assert misfits(named, [body({**TEXT, "parameter_name": "1"})]) == []
    assert misfits(named, [body(TEXT)]) != []
