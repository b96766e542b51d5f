"""Parts that outbound bodies of several types share, as pydantic models, with the documented limits.

Unknown fields are refused: the API answers a misspelt one with code 100 (Meta, error codes), and that would cost a
token of the rate limit. Lengths count characters. Data and pure functions.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

ID_CHARS_MAX: Final = 512
LINK_CHARS_MAX: Final = 2_048
CAPTION_CHARS_MAX: Final = 1_024  # Meta, On-Premises messages reference
FREE_TEXT_CHARS_MAX: Final = 1_024
OPAQUE_DEPTH_MAX: Final = 12
OPAQUE_VALUES_MAX: Final = 1_000
OPAQUE_CHARS_MAX: Final = 32_768
_DECIMAL: Final = re.compile(r"-?[0-9]{1,3}(\.[0-9]{1,24})?")


class Part(BaseModel):
    """A JSON object of a body: exactly the fields named, of exactly their types."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


T = TypeVar("T")


def _given(value: T) -> T:
    if value is None:
        raise ValueError("is null; leave it out")
    return value


Maybe = Annotated[T | None, AfterValidator(_given)]
"""A field that may be left out, but is not null: by Meta's OpenAPI no field of a message is."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=ID_CHARS_MAX)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=FREE_TEXT_CHARS_MAX)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A whole number that JSON's writer can write."""
Link = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]\S*$", max_length=LINK_CHARS_MAX)]
Caption = Annotated[str, StringConstraints(max_length=CAPTION_CHARS_MAX)]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


def one_of(*words: str) -> AfterValidator:
    """A check that a text is one of some words, in capitals or not."""

    def check(value: str) -> str:
        if value.upper() not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return AfterValidator(check)


class Provider(Part):
    """v1: a configured media provider that knows how to fetch a link."""

    name: Id


class Media(Part):
    """A media object: an uploaded `id` or a `link`, never both (Meta, On-Premises messages reference)."""

    id: Maybe[Id] = None
    link: Maybe[Link] = None
    provider: Maybe[Provider | Id] = None

    @model_validator(mode="after")
    def _one_place(self) -> Media:
        if (self.id is None) == (self.link is None):
            raise ValueError("needs exactly one of id and link")
        return self


class CaptionedMedia(Media):
    """An image or a video."""

    caption: Maybe[Caption] = None


class Document(CaptionedMedia):
    """A document; the extension of `filename` decides how it is shown."""

    filename: Maybe[FileName] = None


def _degrees(limit: float) -> AfterValidator:
    def check(value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number and not (isinstance(value, str) and _DECIMAL.fullmatch(value)):
            raise ValueError("must be a number of degrees")
        try:
            degrees = float(value)
        except (ValueError, OverflowError):
            degrees = math.nan
        if not -limit <= degrees <= limit:
            raise ValueError(f"must be a number between -{limit:g} and {limit:g}")
        return value

    return AfterValidator(check)


class Location(Part):
    """A place; degrees as numbers or as decimal strings (Meta, OpenAPI v23)."""

    latitude: Annotated[Any, _degrees(90)]
    longitude: Annotated[Any, _degrees(180)]
    name: Maybe[Words] = None
    address: Maybe[Words] = None


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse JSON that is nested too deeply, too large, or that cannot be written as JSON at all."""
    left, chars = OPAQUE_VALUES_MAX, OPAQUE_CHARS_MAX
    queue: list[tuple[Any, int]] = [(value, 1)]
    while queue:
        item, depth = queue.pop()
        left -= 1
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                raise ValueError("keys must be strings")
            children = [*item.keys(), *item.values()]
        elif isinstance(item, list):
            children = item
        else:
            chars -= _scalar_chars(item)
            children = []
        if depth > OPAQUE_DEPTH_MAX and children:
            raise ValueError(f"nested deeper than {OPAQUE_DEPTH_MAX} levels")
        if left < len(children) or chars < 0:
            raise ValueError(f"more than {OPAQUE_VALUES_MAX} values or {OPAQUE_CHARS_MAX} characters")
        queue.extend((child, depth + 1) for child in children)
    return value


def _scalar_chars(item: Any) -> int:
    if isinstance(item, str):
        if not item.isascii() and any("\ud800" <= char <= "\udfff" for char in item[:OPAQUE_CHARS_MAX]):
            raise ValueError("holds half a surrogate pair, which is no text")
        return len(item)
    if item is None or isinstance(item, bool):
        return 4
    if isinstance(item, int) and -(2**63) <= item < 2**64:
        return 8
    if isinstance(item, float) and math.isfinite(item):
        return 8
    raise ValueError("holds a value that JSON cannot carry")


Opaque = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""An object whose content only the recipient's flow knows; bounded in depth, size and number of values."""
