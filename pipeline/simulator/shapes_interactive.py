"""What may stand in `interactive`: data only. Limits: Meta's OpenAPI v23 (whatsapp-api.md §2.2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, TypeAdapter, model_validator

from pipeline.simulator.shapes import ABSENT, Captioned, Document, Link, Shape, Short, Words

ROWS_MAX = 10


def _title(chars_max: int) -> Any:
    return StringConstraints(min_length=1, max_length=chars_max)


class _TextHeader(Shape):
    type: Literal["text"]
    text: Annotated[str, _title(60)]
    sub_text: Annotated[str, _title(60)] = ABSENT


class _ImageHeader(Shape):
    type: Literal["image"]
    image: Captioned


class _VideoHeader(Shape):
    type: Literal["video"]
    video: Captioned


class _DocumentHeader(Shape):
    type: Literal["document"]
    document: Document


_Header = Annotated[
    _TextHeader | _ImageHeader | _VideoHeader | _DocumentHeader,
    Field(discriminator="type"),
]


class _Body(Shape):
    text: Annotated[str, _title(1024)]


class _Footer(Shape):
    text: Annotated[str, _title(60)]


class _Base(Shape):
    body: _Body
    footer: _Footer = ABSENT


class _Reply(Shape):
    # No blanks around it.
    id: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"(?s)^\S(.*\S)?$")]
    title: Annotated[str, _title(20)]


class _ReplyButton(Shape):
    type: Literal["reply"]
    reply: _Reply


class _Buttons(Shape):
    buttons: Annotated[list[_ReplyButton], Field(min_length=1, max_length=3)]

    @model_validator(mode="after")
    def _is_unique(self) -> _Buttons:
        _differ([button.reply.id for button in self.buttons], "ids of buttons")
        _differ([button.reply.title for button in self.buttons], "titles of buttons")
        return self


class _ButtonMessage(_Base):
    type: Literal["button"]
    header: _Header = ABSENT
    action: _Buttons


_SectionTitle = Annotated[str, StringConstraints(max_length=24)]


class _Row(Shape):
    id: Annotated[str, _title(200)]
    title: Annotated[str, _title(24)]
    description: Annotated[str, StringConstraints(max_length=72)] = ABSENT


class _ListSection(Shape):
    title: _SectionTitle = ABSENT
    rows: Annotated[list[_Row], Field(min_length=1, max_length=ROWS_MAX)]


class _List(Shape):
    button: Annotated[str, _title(20)]
    sections: Annotated[list[_ListSection], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _fits(self) -> _List:
        rows = [row.id for section in self.sections for row in section.rows]
        if len(rows) > ROWS_MAX:
            raise ValueError(f"at most {ROWS_MAX} rows in all sections")
        _differ(rows, "ids of rows")
        _titled([section.title for section in self.sections])
        return self


class _ListMessage(_Base):
    type: Literal["list"]
    header: _TextHeader = ABSENT
    action: _List


class _Product(Shape):
    catalog_id: Short
    product_retailer_id: Short


class _ProductMessage(Shape):
    type: Literal["product"]
    body: _Body = ABSENT
    footer: _Footer = ABSENT
    action: _Product


class _Item(Shape):
    product_retailer_id: Short


class ProductSection(Shape):
    """A section of a list of products."""

    title: _SectionTitle = ABSENT
    product_items: Annotated[list[_Item], Field(min_length=1, max_length=30)]


class _Products(Shape):
    catalog_id: Short
    sections: Annotated[list[ProductSection], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _is_titled(self) -> _Products:
        _titled([section.title for section in self.sections])
        return self


class _ProductListMessage(_Base):
    type: Literal["product_list"]
    header: _TextHeader
    action: _Products


class _Thumbnail(Shape):
    thumbnail_product_retailer_id: Short


class _Catalog(Shape):
    name: Literal["catalog_message"]
    parameters: _Thumbnail = ABSENT


class _CatalogMessage(_Base):
    type: Literal["catalog_message"]
    action: _Catalog


class _FlowPayload(Shape):
    screen: Words = ABSENT
    data: Annotated[dict[str, Any], Field(min_length=1)] = ABSENT


class _FlowParameters(Shape):
    flow_message_version: Literal["3"]
    flow_id: Short = ABSENT
    flow_name: Short = ABSENT
    flow_cta: Annotated[str, _title(30)]
    flow_token: Words = ABSENT
    mode: Literal["draft", "published"] = ABSENT
    flow_action: Literal["navigate", "data_exchange"] = ABSENT
    flow_action_payload: _FlowPayload = ABSENT

    @model_validator(mode="after")
    def _is_one_flow(self) -> _FlowParameters:
        if len({"flow_id", "flow_name"} & self.model_fields_set) != 1:
            raise ValueError("exactly one of flow_id and flow_name is required")
        return self


class _Flow(Shape):
    name: Literal["flow"]
    parameters: _FlowParameters


class _FlowMessage(_Base):
    type: Literal["flow"]
    header: _Header = ABSENT
    action: _Flow


class _UrlParameters(Shape):
    display_text: Annotated[str, _title(20)]
    url: Link


class _UrlAction(Shape):
    name: Literal["cta_url"]
    parameters: _UrlParameters


class _UrlMessage(_Base):
    type: Literal["cta_url"]
    header: _Header = ABSENT
    action: _UrlAction


class _LocationAction(Shape):
    name: Literal["send_location"]


class _LocationMessage(_Base):
    type: Literal["location_request_message"]
    action: _LocationAction


class _CallAction(Shape):
    name: Literal["call_permission_request"]


class _CallMessage(Shape):
    # Without header and footer, and a text that need not be (Meta, "Obtain user call permissions").
    type: Literal["call_permission_request"]
    body: _Body = ABSENT
    action: _CallAction


class _OpenAction(Shape):
    name: Short
    parameters: dict[str, Any] = ABSENT


class _OpenMessage(_Base):
    """Payments, addresses and requests for contact data, whose inside the facts do not list."""

    type: Literal["order_details", "order_status", "address_message", "request_contact_info"]
    header: _Header = ABSENT
    action: _OpenAction


V1_TYPES = frozenset({"button", "list", "product", "product_list", "catalog_message", "flow"})
INTERACTIVE: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _ButtonMessage
        | _ListMessage
        | _ProductMessage
        | _ProductListMessage
        | _CatalogMessage
        | _FlowMessage
        | _UrlMessage
        | _LocationMessage
        | _CallMessage
        | _OpenMessage,
        Field(discriminator="type"),
    ]
)


def _differ(names: list[str], what: str) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"the {what} must differ")


def _titled(titles: list[str]) -> None:
    if len(titles) > 1 and not all(titles):
        raise ValueError("with more than one section each needs a title")
