"""Parameters of template messages, one model per kind, with the documented limits.

Shapes: Meta, On-Premises messages reference, OpenAPI v23, and Meta's pages on limited-time offer, flow and product
templates. Data only.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from pipeline.whatsapp.body_parts import Document, Id, Location, Maybe, Media, Opaque, Part, Whole, Words

PARAMETER_CHARS_MAX: Final = 32_768
HEADER_CHARS_MAX: Final = 60
PRODUCTS_MAX: Final = 30
SECTIONS_MAX: Final = 10

ParameterName = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class TextParameter(Part):
    """A text; with `parameter_name` in templates with named parameters."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=PARAMETER_CHARS_MAX)]
    parameter_name: Maybe[ParameterName] = None


class HeaderTextParameter(TextParameter):
    """A text in a header."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=HEADER_CHARS_MAX)]


class Currency(Part):
    """An amount of money in thousandths, and the text for clients that cannot write it."""

    fallback_value: Words
    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    amount_1000: Whole


class CurrencyParameter(Part):
    """An amount of money."""

    type: Literal["currency"]
    currency: Currency
    parameter_name: Maybe[ParameterName] = None


class DateTime(Part):
    """A moment as text; the Cloud API always shows `fallback_value`, old clients could use the rest."""

    fallback_value: Words
    day_of_week: Maybe[Whole | str] = None
    day_of_month: Maybe[Whole] = None
    year: Maybe[Whole] = None
    month: Maybe[Whole] = None
    hour: Maybe[Whole] = None
    minute: Maybe[Whole] = None
    timestamp: Maybe[Whole] = None
    calendar: Maybe[str] = None


class DateTimeParameter(Part):
    """A moment."""

    type: Literal["date_time"]
    date_time: DateTime
    parameter_name: Maybe[ParameterName] = None


class ImageParameter(Part):
    """An image in a header."""

    type: Literal["image"]
    image: Media


class VideoParameter(Part):
    """A video in a header."""

    type: Literal["video"]
    video: Media


class DocumentParameter(Part):
    """A PDF in a header."""

    type: Literal["document"]
    document: Document


class LocationParameter(Part):
    """A place in a header (Cloud)."""

    type: Literal["location"]
    location: Location


class Product(Part):
    """A product of a catalog."""

    product_retailer_id: Id
    catalog_id: Maybe[Id] = None


class ProductParameter(Part):
    """A product in a header (Cloud)."""

    type: Literal["product"]
    product: Product


class PayloadParameter(Part):
    """What comes back when the quick reply is tapped."""

    type: Literal["payload"]
    payload: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class UrlParameter(Part):
    """The variable end of a button's address."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class CouponParameter(Part):
    """The code that a button copies."""

    type: Literal["coupon_code"]
    coupon_code: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class ProductSection(Part):
    """Products under one title."""

    title: Maybe[Annotated[str, StringConstraints(max_length=24)]] = None
    product_items: list[Product] = Field(min_length=1, max_length=PRODUCTS_MAX)


class Action(Part):
    """What a flow, catalog or product-list button opens."""

    flow_token: Maybe[Id] = None
    flow_action_data: Maybe[Opaque] = None
    thumbnail_product_retailer_id: Maybe[Id] = None
    sections: Maybe[list[ProductSection]] = Field(None, min_length=1, max_length=SECTIONS_MAX)


class ActionParameter(Part):
    """Parameter of a flow, catalog or product-list button."""

    type: Literal["action"]
    action: Action


class Offer(Part):
    """When an offer ends."""

    expiration_time_ms: int = Field(gt=0, lt=2**63)


class OfferParameter(Part):
    """Parameter of a limited-time offer."""

    type: Literal["limited_time_offer"]
    limited_time_offer: Offer


HeaderParameter = Annotated[
    HeaderTextParameter
    | CurrencyParameter
    | DateTimeParameter
    | ImageParameter
    | VideoParameter
    | DocumentParameter
    | LocationParameter
    | ProductParameter,
    Field(discriminator="type"),
]
BodyParameter = Annotated[TextParameter | CurrencyParameter | DateTimeParameter, Field(discriminator="type")]
