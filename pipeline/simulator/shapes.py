"""What may stand in the content of a message: plain types. Data only, written from the facts, shared with nobody.

This is the simulator's own judgement of bodies, as independent of the pipeline's checks as its buckets are of the
pipeline's limiter. Limits: whatsapp-api.md §1.2 (v1), §2.2 (cloud).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Words = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Short = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Link = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]\S*$", max_length=2048)]
Caption = Annotated[str, StringConstraints(max_length=1024)]
MessageId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
ABSENT: Any = None
"""Default of a field that may be left out. Its type has no null: by Meta's OpenAPI no field of a message has."""


class Shape(BaseModel):
    """An object that has no other fields than these, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Text(Shape):
    """A text; `preview_url` is beside it on v1."""

    body: Words
    preview_url: bool = ABSENT


class V1Text(Shape):
    """A text of v1."""

    body: Words


class _Provider(Shape):
    name: Short


class Media(Shape):
    """An uploaded medium or a link to one; `provider` names a media provider of v1."""

    id: Short = ABSENT
    link: Link = ABSENT
    provider: Short | _Provider = ABSENT

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Media:
        if len({"id", "link"} & self.model_fields_set) != 1:
            raise ValueError("exactly one of id and link is required")
        return self


class Captioned(Media):
    """Image or video."""

    caption: Caption = ABSENT


class Document(Captioned):
    """A document with the name that it is shown under."""

    filename: Short = ABSENT


Degrees = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,3}(\.[0-9]+)?$")] | float | int


class Location(Shape):
    """A place. Meta's OpenAPI has strings here, its examples numbers."""

    latitude: Degrees
    longitude: Degrees
    name: Short = ABSENT
    address: Short = ABSENT

    @model_validator(mode="after")
    def _is_on_earth(self) -> Location:
        if not (abs(float(self.latitude)) <= 90 and abs(float(self.longitude)) <= 180):
            raise ValueError("latitude is -90 to 90, longitude -180 to 180")
        return self


class V1Location(Location):
    """A place on v1, where all four fields are required."""

    latitude: float | int
    longitude: float | int
    name: Short
    address: Short


class Reaction(Shape):
    """A reaction; an empty emoji takes it back."""

    message_id: MessageId
    emoji: Annotated[str, StringConstraints(max_length=32)]


class Context(Shape):
    """The quoted message."""

    message_id: MessageId


class _Name(Shape):
    formatted_name: Short
    first_name: Short = ABSENT
    last_name: Short = ABSENT
    middle_name: Short = ABSENT
    suffix: Short = ABSENT
    prefix: Short = ABSENT

    @model_validator(mode="after")
    def _has_a_part(self) -> _Name:
        if not (self.first_name or self.last_name or self.middle_name or self.suffix or self.prefix):
            raise ValueError("one more part of the name beside formatted_name is required")
        return self


# The words of §1.2, whatever their case; MOBILE is what shared contacts bring.
_PhoneType = Annotated[str, StringConstraints(pattern=r"(?i)^(cell|main|iphone|home|work|mobile)$")]
_PlaceType = Annotated[str, StringConstraints(pattern=r"(?i)^(home|work)$")]


class _Phone(Shape):
    phone: Short
    type: _PhoneType = ABSENT
    wa_id: Short = ABSENT


class _Email(Shape):
    email: Short
    type: _PlaceType = ABSENT


class _Url(Shape):
    url: Short
    type: _PlaceType = ABSENT


class _Address(Shape):
    street: Short = ABSENT
    city: Short = ABSENT
    state: Short = ABSENT
    zip: Short = ABSENT
    country: Short = ABSENT
    country_code: Short = ABSENT
    type: _PlaceType = ABSENT


class _Organisation(Shape):
    company: Short = ABSENT
    department: Short = ABSENT
    title: Short = ABSENT


class Contact(Shape):
    """A contact card."""

    name: _Name
    birthday: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = ABSENT
    phones: list[_Phone] = []
    emails: list[_Email] = []
    urls: list[_Url] = []
    addresses: list[_Address] = []
    org: _Organisation = ABSENT


# The OpenAPI has 1 to 5, the On-Premises reference no maximum.
Contacts = Annotated[list[Contact], Field(min_length=1, max_length=5)]
V1Contacts = Annotated[list[Contact], Field(min_length=1)]


class _HsmLanguage(Shape):
    policy: Literal["deterministic"]
    code: Short


class _HsmMoney(Shape):
    currency_code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    amount_1000: int


class _Epoch(Shape):
    timestamp: int


class _HsmMoment(Shape):
    unix_epoch: _Epoch


class _HsmParameter(Shape):
    default: Words
    currency: _HsmMoney = ABSENT
    date_time: _HsmMoment = ABSENT

    @model_validator(mode="after")
    def _is_one_kind(self) -> _HsmParameter:
        if {"currency", "date_time"} <= self.model_fields_set:
            raise ValueError("a parameter is an amount or a moment")
        return self


class Hsm(Shape):
    """The template message of v1 clients before 2.39."""

    namespace: Short
    element_name: Short
    language: _HsmLanguage
    localizable_params: list[_HsmParameter] = []
