"""What `wapipe topics plan | check | apply` print: the topics as a diff, in the manner of `terraform plan`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.cli.output import Cell
from pipeline.config import Settings
from pipeline.streams.topics import BY_NAME, TOPICS, Change, wanted_config

Row = tuple[Cell, ...]
_SIGNS: Final = {"create": ("+", "good"), "add_partitions": ("~", "wait"), "set": ("~", "wait"), "refuse": ("!", "bad")}
_HEADS: Final = {"+": "is made", "~": "is changed", "!": "cannot be changed by `topics apply`"}
_WIDTH: Final = 28
_UNITS_MS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


def diff(settings: Settings, changes: Sequence[Change]) -> Iterator[Row]:
    """The lines of the diff: per topic a head and what it is made with, or changes from and to.

    Args:
        changes: In the table's order.
    """
    for name in dict.fromkeys(change.topic for change in changes):
        own = [change for change in changes if change.topic == name]
        sign, style = next((_SIGNS[one.action] for one in own if one.action == "refuse"), _SIGNS[own[0].action])
        yield (sign, style), (settings.topic(name), "plain"), (_HEADS[sign], style)
        for change in own:
            if change.action == "create":
                yield from _made(settings, change)
            else:
                yield _changed(change)


def _made(settings: Settings, change: Change) -> Iterator[Row]:
    partitions = change.wanted.removesuffix(" partitions")
    properties = {
        "partitions": partitions, "replication": str(settings.kafka.replication_factor),
        **wanted_config(BY_NAME[change.topic], settings),
    }  # fmt: skip
    for what, value in properties.items():
        yield ("+", "good"), f"    {what:<{_WIDTH}}", (_readable(what, value), "good")


def _changed(change: Change) -> Row:
    sign = _SIGNS[change.action]
    found = (_readable(change.what, change.found), "bad" if change.action == "refuse" else "dim")
    wanted = (_readable(change.what, change.wanted), "good")
    remedy: Row = ((f"({change.remedy})", "dim"),) if change.action == "refuse" else ()
    return sign, f"    {change.what:<{_WIDTH}}", found, ("→", "dim"), wanted, *remedy


def _readable(what: str, value: str) -> str:
    """A time in ms with a unit beside it; everything else as it is."""
    if not what.endswith(".ms") or not value.isdigit():
        return value
    for size_ms, unit in _UNITS_MS:
        if int(value) and not int(value) % size_ms:
            return f"{value} ({int(value) // size_ms:,} {unit})"
    return value


def summary(settings: Settings, changes: Sequence[Change]) -> list[Row]:
    """What it comes to: how many topics are made, changed, refused, left alone; and the next step."""
    made, changed, refused = (
        {change.topic for change in changes if change.action in actions}
        for actions in (("create",), ("add_partitions", "set"), ("refuse",))
    )
    touched = made | changed | refused
    alone = [settings.topic(topic.name) for topic in TOPICS if topic.name not in touched]
    counts: Row = (
        f"{len(made)} to make,", f"{len(changed - refused)} to change,", f"{len(refused)} refused,",
        f"{len(alone)} left alone",
    )  # fmt: skip
    rows: list[Row] = [("",)]
    if alone:
        rows.append((("left alone:", "dim"), (", ".join(alone), "dim")))
    rows.append((("plan:", "wait"), *counts))
    if refused:
        rows.append((("!", "bad"), "`topics apply` changes nothing before that is mended by hand"))
    elif touched:
        rows.append((("next:", "dim"), "wapipe topics apply"))
    return rows
