"""Which ids of one person does a webhook name together? Pure; the ingress asks for each inbound event.

Since 2026 webhooks carry a business-scoped user id beside the phone number; of people with a username the number may be
missing later, so what is named together is kept (Meta, business-scoped user IDs). A change of number comes as a system
message from the old one, with the new number, and with the old and new user id, as a change regenerates it; a change of
the user id alone comes likewise, without numbers (Meta, system messages webhook). Some providers pass on
`user_id_update` events with the previous and the current id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.records.alias import NAME, NUMBER, Link, id_of
from pipeline.records.canonical import is_name

_CHANGED_NUMBER: Final = frozenset({"user_changed_number", "customer_changed_number"})
_CHANGED_USER_ID: Final = "user_changed_user_id"
_PARENTS: Final = {
    "message": "from_parent_user_id", "status": "recipient_parent_user_id", "preference": "parent_user_id",
}  # fmt: skip
ROWS_MAX: Final = 8


def links_of(event: Mapping[str, Any]) -> list[Link]:
    """Links that an inbound-event/1 record tells of; most tell of none.

    Of statuses only `delivered` is looked at, as one message has several.
    """
    body, kind = event.get("body"), event.get("type")
    if not isinstance(body, Mapping) or (kind == "status" and event.get("status") != "delivered"):
        return []
    if kind == "message" and body.get("type") == "system":
        found = _system(id_of(event.get("recipient")), _part(body, "system"))
    elif kind in _PARENTS:
        person, user_id = id_of(event.get("recipient")), id_of(event.get("user_id"))
        found = _names(person, user_id, id_of(body.get(_PARENTS[kind])))
    elif kind == "account" and body.get("field") == "user_id_update":
        found = _updates(_part(body, "value"))
    else:
        return []
    return list(dict.fromkeys(found))


def _names(person: str | None, *names: str | None) -> Iterator[Link]:
    for name in names:
        if person is not None and name is not None and name != person and is_name(name):
            yield Link(name, person, NAME)


def _system(person: str | None, system: Mapping[str, Any]) -> Iterator[Link]:
    now, before = id_of(system.get("user_id")), id_of(system.get("previous_user_id"))
    parent, parent_before = id_of(system.get("parent_user_id")), id_of(system.get("previous_parent_user_id"))
    if system.get("type") in _CHANGED_NUMBER:
        number = id_of(system.get("wa_id")) or id_of(system.get("new_wa_id"))
        if person is not None and number is not None and person != number:
            yield Link(person, number, NAME if is_name(person) else NUMBER)
        yield from _names(person, before, parent_before)
        yield from _names(number, now, parent)
    elif system.get("type") == _CHANGED_USER_ID:
        # Without a number the former id stays the one that the others lead to: consent lies there.
        root = before if person is None or is_name(person) else person
        yield from _names(root or person, before, now, person)
        yield from _names(parent_before, parent)


def _updates(value: Mapping[str, Any]) -> Iterator[Link]:
    rows = value.get("user_id_update")
    for row in rows[:ROWS_MAX] if isinstance(rows, list) else ():
        if isinstance(row, Mapping):
            ids = _part(row, "user_id")
            before, now, number = id_of(ids.get("previous")), id_of(ids.get("current")), id_of(row.get("wa_id"))
            yield from _names(number or before, before, now)


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = body.get(name)
    return part if isinstance(part, Mapping) else {}
