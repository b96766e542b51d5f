"""Bodies of the types without inner kinds: text, media, location, contacts, reaction, and v1's `hsm`.

Pydantic models with the documented limits; data only.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from pipeline.whatsapp.body_parts import Id, Maybe, Part, Whole, Words, one_of

TEXT_CHARS_MAX: Final = 4_096  # Meta, On-Premises messages reference
WAMID_CHARS_MAX: Final = 128  # Meta, messages reference
CONTACTS_MAX: Final = 257
LIST_MAX: Final = 50
HSM_PARAMETERS_MAX: Final = 100

# Meta, On-Premises messages reference, in either case; MOBILE is what shared contacts bring (Meta, OpenAPI v23).
PhoneType = Annotated[str, one_of("CELL", "MAIN", "IPHONE", "HOME", "WORK", "MOBILE")]
PlaceType = Annotated[str, one_of("HOME", "WORK")]

MessageId = Annotated[str, StringConstraints(min_length=1, max_length=WAMID_CHARS_MAX)]


class Text(Part):
    """A text message."""

    body: Annotated[str, StringConstraints(min_length=1, max_length=TEXT_CHARS_MAX)]
    preview_url: Maybe[bool] = None


class Reaction(Part):
    """A reaction to a message; an empty `emoji` takes it back."""

    message_id: MessageId
    emoji: Annotated[str, StringConstraints(max_length=32)]


class Context(Part):
    """The message that this one answers."""

    message_id: MessageId


class ContactName(Part):
    """A name: as shown, plus at least one of its parts (Meta, On-Premises messages reference)."""

    formatted_name: Words
    first_name: Maybe[Words] = None
    last_name: Maybe[Words] = None
    middle_name: Maybe[Words] = None
    suffix: Maybe[Words] = None
    prefix: Maybe[Words] = None

    @model_validator(mode="after")
    def _has_a_part(self) -> ContactName:
        parts = (self.first_name, self.last_name, self.middle_name, self.suffix, self.prefix)
        if not any(parts):
            raise ValueError("needs one more part of the name beside formatted_name, e.g. first_name")
        return self


class Phone(Part):
    """A phone number of a contact."""

    phone: Words
    type: Maybe[PhoneType] = None
    wa_id: Maybe[Id] = None


class Email(Part):
    """An e-mail address of a contact."""

    email: Words
    type: Maybe[PlaceType] = None


class Url(Part):
    """A web address of a contact."""

    url: Words
    type: Maybe[PlaceType] = None


class Address(Part):
    """A postal address of a contact."""

    street: Maybe[Words] = None
    city: Maybe[Words] = None
    state: Maybe[Words] = None
    zip: Maybe[Words] = None
    country: Maybe[Words] = None
    country_code: Maybe[Words] = None
    type: Maybe[PlaceType] = None


class Organisation(Part):
    """Where a contact works."""

    company: Maybe[Words] = None
    department: Maybe[Words] = None
    title: Maybe[Words] = None


class Contact(Part):
    """One contact card."""

    name: ContactName
    birthday: Maybe[Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]] = None
    phones: list[Phone] = Field([], max_length=LIST_MAX)
    emails: list[Email] = Field([], max_length=LIST_MAX)
    urls: list[Url] = Field([], max_length=LIST_MAX)
    addresses: list[Address] = Field([], max_length=LIST_MAX)
    org: Maybe[Organisation] = None


Contacts = Annotated[list[Contact], Field(min_length=1, max_length=CONTACTS_MAX)]


class HsmLanguage(Part):
    """Language of a highly structured message; `fallback` was removed in client 2.27.8."""

    policy: Literal["deterministic"]
    code: Id


class HsmCurrency(Part):
    """An amount of money in thousandths."""

    currency_code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    amount_1000: Whole


class UnixEpoch(Part):
    """A moment."""

    timestamp: Whole


class HsmDateTime(Part):
    """A moment that the recipient's client writes."""

    unix_epoch: UnixEpoch


class HsmParameter(Part):
    """One parameter, with the text for clients that cannot write it themselves."""

    default: Words
    currency: Maybe[HsmCurrency] = None
    date_time: Maybe[HsmDateTime] = None

    @model_validator(mode="after")
    def _one_kind(self) -> HsmParameter:
        if self.currency is not None and self.date_time is not None:
            raise ValueError("is either a currency or a date_time")
        return self


class Hsm(Part):
    """The template message of old v1 clients (Meta, On-Premises messages reference; deprecated since 2.39)."""

    namespace: Id
    element_name: Id
    language: HsmLanguage
    localizable_params: list[HsmParameter] = Field([], max_length=HSM_PARAMETERS_MAX)
