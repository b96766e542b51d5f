"""What may stand in `template`: data only. Shapes: whatsapp-api.md §1.2 (v1), §2.2 (cloud)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from pipeline.simulator.shapes import ABSENT, Captioned, Document, Location, Shape, Short, Words

PARAMETERS_MAX = 256
V1_BUTTONS = frozenset({"quick_reply", "url", "copy_code", "catalog"})
V1_COMPONENTS = frozenset({"header", "body", "button"})

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", min_length=1, max_length=512)]
_Index = Annotated[str, StringConstraints(pattern=r"^[0-9]$")] | Annotated[int, Field(ge=0, le=9)]


class _Text(Shape):
    type: Literal["text"]
    text: Words
    parameter_name: Short = ABSENT


class _HeaderText(_Text):
    text: Annotated[str, StringConstraints(min_length=1, max_length=60)]


class _Money(Shape):
    fallback_value: Words
    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    amount_1000: int


class _Currency(Shape):
    type: Literal["currency"]
    currency: _Money
    parameter_name: Short = ABSENT


class _Time(Shape):
    # Older senders add the parts of the date; the Cloud API shows the fallback whatever they say.
    fallback_value: Words
    day_of_week: int = ABSENT
    year: int = ABSENT
    month: int = ABSENT
    day_of_month: int = ABSENT
    hour: int = ABSENT
    minute: int = ABSENT
    calendar: str = ABSENT
    timestamp: int = ABSENT


class _DateTime(Shape):
    type: Literal["date_time"]
    date_time: _Time
    parameter_name: Short = ABSENT


class _Image(Shape):
    type: Literal["image"]
    image: Captioned


class _Video(Shape):
    type: Literal["video"]
    video: Captioned


class _Document(Shape):
    type: Literal["document"]
    document: Document


class _Location(Shape):
    type: Literal["location"]
    location: Location


class _Item(Shape):
    product_retailer_id: Short
    catalog_id: Short = ABSENT


class _Product(Shape):
    type: Literal["product"]
    product: _Item


class _Payload(Shape):
    type: Literal["payload"]
    payload: Words


class _UrlText(Shape):
    type: Literal["text"]
    text: Words


class _Coupon(Shape):
    type: Literal["coupon_code"]
    coupon_code: Words


class _Action(Shape):
    type: Literal["action"]
    action: dict[str, Any]


class _End(Shape):
    expiration_time_ms: Annotated[int, Field(gt=0)]


class _Offer(Shape):
    type: Literal["limited_time_offer"]
    limited_time_offer: _End


_HeaderParameter = Annotated[
    _HeaderText | _Image | _Video | _Document | _Location | _Product, Field(discriminator="type")
]
_BodyParameter = Annotated[_Text | _Currency | _DateTime, Field(discriminator="type")]


class _Header(Shape):
    type: Literal["header"]
    parameters: Annotated[list[_HeaderParameter], Field(max_length=1)] = Field(default=[])


class _Body(Shape):
    type: Literal["body"]
    parameters: Annotated[list[_BodyParameter], Field(max_length=PARAMETERS_MAX)] = Field(default=[])


class _Button(Shape):
    type: Literal["button"]
    index: _Index


class _QuickReply(_Button):
    sub_type: Literal["quick_reply"]
    parameters: Annotated[list[_Payload], Field(min_length=1, max_length=1)]


class _UrlButton(_Button):
    sub_type: Literal["url"]
    parameters: Annotated[list[_UrlText], Field(min_length=1, max_length=1)]


class _CopyCode(_Button):
    sub_type: Literal["copy_code"]
    parameters: Annotated[list[_Coupon], Field(min_length=1, max_length=1)]


class _ActionButton(_Button):
    sub_type: Literal["catalog", "CATALOG", "flow", "mpm", "order_details"]  # capitals: an example of the OpenAPI
    parameters: Annotated[list[_Action], Field(max_length=1)] = Field(default=[])


_Buttons = Annotated[_QuickReply | _UrlButton | _CopyCode | _ActionButton, Field(discriminator="sub_type")]


class _LimitedTime(Shape):
    type: Literal["limited_time_offer"]
    parameters: Annotated[list[_Offer], Field(min_length=1, max_length=1)]


class _Card(Shape):
    card_index: Annotated[int, Field(ge=0, le=9)]
    components: list[Annotated[_Header | _Body | _Buttons, Field(discriminator="type")]]


class _Carousel(Shape):
    type: Literal["carousel"]
    cards: Annotated[list[_Card], Field(min_length=1, max_length=10)]


class _Language(Shape):
    code: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(_[A-Za-z]{2,4})?$")]
    policy: Literal["deterministic"] = ABSENT


class Template(Shape):
    """A template with its values."""

    name: Name
    language: _Language
    namespace: Short = ABSENT
    components: list[Annotated[_Header | _Body | _Buttons | _LimitedTime | _Carousel, Field(discriminator="type")]] = (
        Field(default=[])
    )
