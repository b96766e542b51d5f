"""The gate's view of a table: what is on its way lies on top, and what cannot be read counts as absent."""

from __future__ import annotations

import orjson
import pytest

from pipeline.gate.view import View
from pipeline.gate.windows import is_windows
from pipeline.records.consent_rule import is_consent
from tests.support.malformed import bad_consents, bad_windows

NUMBER = "200000000000001"
ENTRY = {
    "business": "acme", "category": "utility", "purpose": "*", "status": "granted", "at": "2026-11-20T08:00:00.000Z",
    "expires_at": None, "update_id": "u-1", "method": "checkbox", "source": "https://shop.example",
}  # fmt: skip
SOUND = {"recipient": "15550109999", "entries": [ENTRY], "erased_at": None, "updated_at": "2026-11-20T08:00:00.000Z"}
WINDOW = {"opened_at": "2026-11-20T08:00:00.000Z", "until": "2026-11-21T08:00:00.000Z", "message_id": "wamid.1"}


def view_of(value: bytes | None) -> View:
    """A table of consents in which every key has this value."""
    return View(lambda _partition, _key: value, lambda _partition: -1, is_consent)


def test_a_stored_value_is_shown() -> None:
    """What the table holds is what the rules see; a key without a value is nobody."""
    assert view_of(orjson.dumps(SOUND)).get(0, b"k") == SOUND
    assert view_of(None).get(0, b"k") is None


@pytest.mark.parametrize("value", bad_consents())
def test_an_unreadable_consent_counts_as_none(value: bytes) -> None:
    """Whatever somebody wrote there, no rule meets a value that it cannot read."""
    assert view_of(value).get(0, b"k") is None


@pytest.mark.parametrize("value", bad_windows(NUMBER))
def test_an_unreadable_window_counts_as_none(value: bytes) -> None:
    """The same for service windows."""
    view = View(lambda _partition, _key: value, lambda _partition: -1, is_windows)
    assert view.get(0, b"k") is None


def test_an_erased_person_and_open_windows_are_sound() -> None:
    """The other forms that the gate itself writes are read."""
    assert is_consent({**SOUND, "entries": [], "erased_at": "2026-11-20T08:00:00.000Z"})
    assert is_consent({**SOUND, "entries": [{**ENTRY, "status": "revoked", "method": None, "source": None}]})
    assert is_windows({"recipient": "15550109999", "windows": {}})
    assert is_windows({"recipient": "15550109999", "windows": {NUMBER: WINDOW}})


def test_what_is_on_its_way_lies_on_top_until_the_table_shows_it() -> None:
    """A value that was put counts at once, and makes room when the table has got to its offset."""
    applied = [-1]
    view = View(lambda _partition, _key: None, lambda _partition: applied[0], is_consent)
    stored = view.put(3, b"k", SOUND)
    view.sweep()
    assert view.get(3, b"k") == SOUND
    stored(7)
    applied[0] = 6
    view.sweep()
    assert len(view) == 1
    applied[0] = 7
    view.sweep()
    assert len(view) == 0
    assert view.get(3, b"k") is None
