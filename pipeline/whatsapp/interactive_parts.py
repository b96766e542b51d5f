"""Parts of interactive messages: header, body, footer, and the action of each kind, with the documented limits.

Limits: Meta, OpenAPI v23; actions that it does not list: Meta, service messages. Data only.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from pipeline.whatsapp.body_parts import Document, Id, Link, Maybe, Media, Opaque, Part, Words

ROWS_MAX: Final = 10
SECTIONS_MAX: Final = 10
PRODUCTS_MAX: Final = 30

Text20 = Annotated[str, StringConstraints(min_length=1, max_length=20)]
Text24 = Annotated[str, StringConstraints(min_length=1, max_length=24)]
Text60 = Annotated[str, StringConstraints(min_length=1, max_length=60)]


class Body(Part):
    """The text."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=1_024)]


class Footer(Part):
    """The small text below."""

    text: Text60


class TextHeader(Part):
    """A headline."""

    type: Literal["text"]
    text: Text60
    sub_text: Maybe[Text60] = None


class ImageHeader(Part):
    """An image on top."""

    type: Literal["image"]
    image: Media


class VideoHeader(Part):
    """A video on top."""

    type: Literal["video"]
    video: Media


class DocumentHeader(Part):
    """A document on top."""

    type: Literal["document"]
    document: Document


Header = Annotated[TextHeader | ImageHeader | VideoHeader | DocumentHeader, Field(discriminator="type")]


def _unpadded(value: str) -> str:
    if value != value.strip():
        raise ValueError("must not begin or end with a blank")
    return value


class Reply(Part):
    """What a reply button shows, and the id that comes back, without blanks around it."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_unpadded)]
    title: Text20


class ReplyButton(Part):
    """A reply button."""

    type: Literal["reply"]
    reply: Reply


class ButtonAction(Part):
    """One to three reply buttons."""

    buttons: list[ReplyButton] = Field(min_length=1, max_length=3)


class Row(Part):
    """A choice of a list."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    title: Text24
    description: Maybe[Annotated[str, StringConstraints(max_length=72)]] = None


class ListSection(Part):
    """Choices under one title."""

    title: Maybe[Annotated[str, StringConstraints(max_length=24)]] = None
    rows: list[Row] = Field(min_length=1, max_length=ROWS_MAX)


class ListAction(Part):
    """The choices behind a list's button."""

    button: Text20
    sections: list[ListSection] = Field(min_length=1, max_length=SECTIONS_MAX)


class ProductAction(Part):
    """One product of a catalog."""

    catalog_id: Id
    product_retailer_id: Id


class ProductItem(Part):
    """A product of a section."""

    product_retailer_id: Id


class ProductSection(Part):
    """Products under one title."""

    title: Maybe[Annotated[str, StringConstraints(max_length=24)]] = None
    product_items: list[ProductItem] = Field(min_length=1, max_length=PRODUCTS_MAX)


class ProductListAction(Part):
    """Products of a catalog in sections."""

    catalog_id: Id
    sections: list[ProductSection] = Field(min_length=1, max_length=SECTIONS_MAX)


class CatalogParameters(Part):
    """The product whose picture stands for the catalog."""

    thumbnail_product_retailer_id: Id


class CatalogAction(Part):
    """Opens the catalog."""

    name: Literal["catalog_message"]
    parameters: Maybe[CatalogParameters] = None


class FlowPayload(Part):
    """First screen of a flow and its data, which is never empty."""

    screen: Maybe[Words] = None
    data: Maybe[Annotated[Opaque, Field(min_length=1)]] = None


class FlowParameters(Part):
    """Which flow, and how it starts: exactly one of `flow_id` and `flow_name`."""

    flow_message_version: Literal["3"]
    flow_cta: Annotated[str, StringConstraints(min_length=1, max_length=30)]
    flow_id: Maybe[Id] = None
    flow_name: Maybe[Id] = None
    mode: Maybe[Literal["draft", "published"]] = None
    flow_token: Maybe[Id] = None
    flow_action: Maybe[Literal["navigate", "data_exchange"]] = None
    flow_action_payload: Maybe[FlowPayload] = None

    @model_validator(mode="after")
    def _one_flow(self) -> FlowParameters:
        if (self.flow_id is None) == (self.flow_name is None):
            raise ValueError("needs exactly one of flow_id and flow_name")
        return self


class FlowAction(Part):
    """Starts a flow."""

    name: Literal["flow"]
    parameters: FlowParameters


class UrlParameters(Part):
    """What the button shows and opens."""

    display_text: Text20
    url: Link


class UrlAction(Part):
    """Opens a web address."""

    name: Literal["cta_url"]
    parameters: UrlParameters


class LocationAction(Part):
    """Asks where the person is."""

    name: Literal["send_location"]


class CallPermissionAction(Part):
    """Asks whether the business may call."""

    name: Literal["call_permission_request"]
