"""Reports of the body check; recorded bodies are in tests/contract/whatsapp."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.whatsapp.bodies import PROBLEMS_MAX, TYPES, check_message, check_recipient


def test_unknown_profile() -> None:
    """A profile that does not exist is a mistake of the caller."""
    with pytest.raises(ValueError, match="unknown profile"):
        check_message({"type": "text", "text": {"body": "x"}}, "v2")


def test_few_problems() -> None:
    """However much is wrong, the report stays short."""
    contacts: list[Any] = [{"name": {}}] * 40
    assert len(check_message({"type": "contacts", "contacts": contacts}, "v1")) == PROBLEMS_MAX


def test_values_are_not_repeated() -> None:
    """The text of a message does not appear in the problems found with it."""
    message = {"type": "text", "text": {"body": "my secret " * 500, "bodi": "another secret"}}
    assert not any("secret" in problem for problem in check_message(message, "cloud"))


def test_field_names_from_outside_are_tamed() -> None:
    """A field name with line breaks, halves of surrogates or great length becomes a short readable path."""
    found = check_message({"type": "text", "text": {"body": "x"}, "a\nb\ud800" + "c" * 500: 1, "": 2}, "cloud")
    assert len(found) == 2
    assert all("\n" not in problem and len(problem) <= 300 and problem.encode() for problem in found)


def test_types_of_the_profiles() -> None:
    """v1 has hsm and no reactions, the Cloud API the reverse."""
    assert set(TYPES["v1"]) - set(TYPES["cloud"]) == {"hsm"}
    assert set(TYPES["cloud"]) - set(TYPES["v1"]) == {"reaction"}
    assert TYPES["cloud"] == TYPES["360dialog"]


@pytest.mark.parametrize("profile", ["cloud", "360dialog", "v1"])
def test_who_can_be_reached(profile: str) -> None:
    """Phone numbers everywhere, user ids on the Cloud API only."""
    assert check_recipient("15550109999", profile) == []
    found = check_recipient("US.13491208655302741918", profile)
    assert [problem.partition(":")[0] for problem in found] == (["to"] if profile == "v1" else [])


def test_problems_of_both_kinds_together() -> None:
    """A stray field and a wrong value are reported together."""
    found = check_message({"type": "image", "image": {"id": "1", "link": "https://x.example/"}, "to": "1"}, "cloud")
    assert [problem.split(":")[0] for problem in found] == ["to", "image"]


def test_numbers_fit_into_64_bits() -> None:
    """A whole number that could not be written into the request is refused before it gets there."""
    money = {"fallback_value": "$1", "code": "USD", "amount_1000": 2**63}
    body = {"type": "body", "parameters": [{"type": "currency", "currency": money}]}
    message = {"type": "template", "template": {"name": "a", "language": {"code": "en"}, "components": [body]}}
    assert check_message(message, "cloud")
    money["amount_1000"] = 2**63 - 1
    assert check_message(message, "cloud") == []
