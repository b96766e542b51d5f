"""The list of templates: what is asked for, and what an answer says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.whatsapp.template_listing import COMPONENTS_BYTES_MAX, PAGE_TEMPLATES, listing_request, read_page

ACCOUNT, NUMBER = "300000000000001", "200000000000001"
ROW: dict[str, Any] = {
    "name": "promo", "language": "en-US", "status": "approved", "category": "MARKETING", "id": "1",
    "components": [{"type": "BODY", "text": "Hi {{1}}.", "example": {"body_text": [["Ada"]]}}],
    "quality_score": {"score": "GREEN", "date": 1}, "rejected_reason": "NONE", "parameter_format": "POSITIONAL",
}  # fmt: skip


def graph(*rows: Any, after: Any = None, following: Any = None) -> bytes:
    """A page of the Cloud API."""
    return orjson.dumps({"data": rows, "paging": {"cursors": {"before": "b", "after": after}, "next": following}})


def gateway(*rows: Any, **fields: Any) -> bytes:
    """A page of 360dialog."""
    return orjson.dumps({"waba_templates": rows, **fields})


def test_each_profile_is_asked_its_own_way() -> None:
    """Address and header are the profile's; the token is in no address and in no text of the request."""
    base = "https://graph.example/v24.0"
    cloud = listing_request("cloud", base, ACCOUNT, NUMBER, "t0ken", None)
    assert cloud.url.startswith(f"{base}/{ACCOUNT}/message_templates?fields=name,language,status")
    assert cloud.headers["Authorization"] == "Bearer t0ken"
    assert "t0ken" not in f"{cloud}{cloud.url}"
    assert "&after=a%3D" in listing_request("cloud", base, ACCOUNT, NUMBER, "t", "a=").url
    dialog = listing_request("360dialog", "https://waba-v2.360dialog.io/", ACCOUNT, NUMBER, "t0ken", "100")
    assert dialog.url == f"https://waba-v2.360dialog.io/v1/configs/templates?limit={PAGE_TEMPLATES}&offset=100"
    assert dialog.headers["D360-API-KEY"] == "t0ken"
    v1 = listing_request("v1", "https://turn.example", ACCOUNT, NUMBER, "t0ken", None)
    assert v1.url.startswith("https://turn.example/v1/configs/templates?")
    assert v1.headers["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(("profile", "body"), [("cloud", graph(ROW)), ("v1", gateway(ROW, total=1))])
def test_an_entry_is_read_in_one_form(profile: str, body: bytes) -> None:
    """Status in capitals, language as sends write it, no examples, whatever the API calls its list."""
    [one] = read_page(profile, body, None).templates
    assert one == (
        "promo", "en_US", "APPROVED", None, "MARKETING", "GREEN", "POSITIONAL", [{"type": "BODY", "text": "Hi {{1}}."}],
    )  # fmt: skip


def test_pages_of_the_cloud_go_by_cursor_and_end_without_a_next_one() -> None:
    """The cursor counts only beside `next`, which holds the caller's token and is never followed."""
    address = "https://graph.example/v24.0/1/message_templates?access_token=t0ken&after=fromnext"
    assert read_page("cloud", graph(ROW, after="c2", following=address), None).cursor == "c2"
    assert read_page("cloud", graph(ROW, following=address), None).cursor == "fromnext"
    assert read_page("cloud", graph(ROW, after="c2"), None).cursor is None
    assert read_page("cloud", orjson.dumps({"data": []}), "c2").cursor is None


def test_pages_of_360dialog_go_by_offset() -> None:
    """Until `total` is reached, or a page is not full where no total is told."""
    assert read_page("360dialog", gateway(ROW, ROW, total=3), None).cursor == "2"
    assert read_page("360dialog", gateway(ROW, total=3), "2").cursor is None
    assert read_page("360dialog", gateway(*[ROW] * PAGE_TEMPLATES), "100").cursor == "200"
    assert read_page("360dialog", gateway(ROW), "100").cursor is None
    assert read_page("360dialog", gateway(total=3), "2").cursor is None, "an empty page ends it"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>", "not JSON"), (b"[]", "no list `data`"), (b'{"data":{}}', "no list `data`"),
        (graph(following="https://x.example/?y=1"), "no cursor"),
        (graph(after="same", following="https://x.example/"), "that of this page"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_an_error(body: bytes, told: str) -> None:
    """No empty list is made of an answer that nobody understands, and no loop of a cursor that stands still."""
    with pytest.raises(ValueError, match=told):
        read_page("cloud", body, "same")


def test_unreadable_entries_are_counted() -> None:
    """One entry that is no template does not hide the others, and is told of."""
    broken = [7, {}, {**ROW, "name": "No/Slash"}, {**ROW, "language": "../x"}, {**ROW, "status": None}]
    page = read_page("cloud", graph(*broken, ROW), None)
    assert ([one.name for one in page.templates], page.unreadable) == (["promo"], 5)


@pytest.mark.parametrize("components", [None, "x", [3], [{"type": "BODY", "text": "x" * COMPONENTS_BYTES_MAX}]])
def test_texts_that_cannot_be_kept_are_not_known(components: Any) -> None:
    """A template without texts is known all the same; its parameters are not checked then."""
    [one] = read_page("cloud", graph({**ROW, "components": components}), None).templates
    assert (one.name, one.components) == ("promo", None)


def test_depth_is_bounded() -> None:
    """What is nested deeper than any template is cut off."""
    nested: Any = "end"
    for _ in range(100):
        nested = [nested]
    [one] = read_page("cloud", graph({**ROW, "components": [{"deep": nested}]}), None).templates
    assert b"end" not in orjson.dumps(one.components)
