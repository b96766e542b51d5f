"""The canonical form of numbers: one per person in Brazil, Mexico and Argentina, and nothing else is touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records.canonical import canonical, is_name
from pipeline.records.request import normal_recipient

DIGITS = st.text("0123456789", min_size=5, max_size=20)
AREAS = st.sampled_from(["11", "221", "223", "351", "388", "2202", "2966", "3327", "3894"])


@given(DIGITS)
def test_it_is_idempotent_and_a_recipient(number: str) -> None:
    """The canonical form of a canonical form is itself, and records may carry it."""
    once = canonical(number)
    assert canonical(once) == once == normal_recipient(once)


@given(DIGITS.filter(lambda number: not number.startswith(("52", "54", "55"))))
def test_other_countries_are_untouched(number: str) -> None:
    """No rule reaches beyond the three countries."""
    assert canonical(number) == number


@given(st.from_regex(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}", fullmatch=True))
def test_user_ids_are_untouched(user_id: str) -> None:
    """A user id is opaque, and is known as a name."""
    assert canonical(user_id) == user_id
    assert is_name(user_id)


@given(st.from_regex(r"\A[1-9][1-9]\Z"), st.from_regex(r"\A[6-9][0-9]{7}\Z"))
def test_brazilian_mobile_is_one_person_with_and_without_the_ninth_digit(area: str, number: str) -> None:
    """WhatsApp's id without the 9 and the number with it are one; the form with it stands."""
    assert canonical(f"55{area}{number}") == canonical(f"55{area}9{number}") == f"55{area}9{number}"


@given(st.from_regex(r"\A[1-9][1-9]\Z"), st.from_regex(r"\A[2-5][0-9]{7}\Z"))
def test_brazilian_landline_stays_another_person_than_the_mobile(area: str, number: str) -> None:
    """A landline has no ninth digit: with a 9 in front it is somebody else's mobile."""
    assert canonical(f"55{area}{number}") == f"55{area}{number}" != canonical(f"55{area}9{number}")


@given(st.from_regex(r"\A[2-9][0-9]{9}\Z"))
def test_mexican_number_is_one_person_with_and_without_the_1(number: str) -> None:
    """The old mobile prefix and the number without it are one; the form without it stands."""
    assert canonical(f"521{number}") == canonical(f"52{number}") == f"52{number}"


@given(AREAS, st.data())
def test_argentine_number_is_one_person_in_all_its_forms(area: str, data: st.DataObject) -> None:
    """With the 9 of abroad, the 15 of home, with both or neither: one person; the form with the 9 stands."""
    number = data.draw(st.text("0123456789", min_size=10 - len(area), max_size=10 - len(area)))
    forms = {f"54{area}{number}", f"549{area}{number}", f"54{area}15{number}", f"549{area}15{number}"}
    assert {canonical(form) for form in forms} == {f"549{area}{number}"}


@given(DIGITS, DIGITS)
def test_two_people_stay_two(one: str, other: str) -> None:
    """Forms that become one have the same subscriber digits at their end."""
    if canonical(one) == canonical(other):
        assert one[-6:] == other[-6:]


@pytest.mark.parametrize(
    "number", ["55119876543", "5511098765432", "5210123456789", "541512345678901", "5491", "52", "55"]
)
def test_what_no_plan_knows_is_untouched(number: str) -> None:
    """A number that fits no rule is left to the API."""
    assert canonical(number) == number
