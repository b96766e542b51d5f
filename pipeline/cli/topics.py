"""`wapipe topics plan | apply | check | acls | scale`: the table of topics against a broker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from pipeline.cli.acls import acls
from pipeline.cli.app import shell_user, with_settings
from pipeline.cli.output import json_document, line
from pipeline.cli.scaling import note_layout
from pipeline.cli.topics_diff import diff, summary
from pipeline.cli.topics_scale import scale
from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.errors import EXIT_DONE, EXIT_NEGATIVE, TopicsWrong
from pipeline.operations.reading import CONNECT_TIMEOUT_S
from pipeline.streams.topics import TOPICS, Change, compare, read_broker
from pipeline.streams.topics import apply as make

SETTLE_TIMEOUT_S = 15.0
SETTLE_EVERY_S = 0.2

as_json = click.option("--json", "is_json", is_flag=True, help="Differences as JSON on stdout.")


@click.group()
def topics() -> None:
    """Compare the topics with what the pipeline needs, and make them."""


def differences(settings: Settings) -> list[Change]:
    """What has to change on the broker.

    Raises:
        BrokerUnreachable: no broker answered in time.
    """
    return compare(settings, read_broker(settings, CONNECT_TIMEOUT_S))


def _show(settings: Settings, changes: Sequence[Change], is_json: bool, *, is_plan: bool = True) -> None:
    if is_json:
        json_document([{**asdict(change), "topic": settings.topic(change.topic)} for change in changes])
        return
    if not changes:
        line(("in order", "good"), f"all {len(TOPICS)} topics are as the pipeline needs them")
        return
    for row in (*diff(settings, changes), *(summary(settings, changes) if is_plan else ())):
        line(*row)


@topics.command()
@as_json
@with_settings
def plan(settings: Settings, is_json: bool) -> int:
    """Show what `topics apply` would change; changes nothing.

    A diff: + is made, ~ is changed (from → to), ! cannot be changed by `topics apply`, with the remedy.

    \b
    Examples:
      wapipe topics plan
      wapipe topics plan --json
    """
    _show(settings, differences(settings), is_json)
    return EXIT_DONE


@topics.command()
@as_json
@with_settings
def check(settings: Settings, is_json: bool) -> int:
    """Exit 65 if anything differs from what the pipeline needs.

    \b
    Example:
      wapipe topics check --json
    """
    changes = differences(settings)
    _show(settings, changes, is_json)
    return EXIT_NEGATIVE if changes else EXIT_DONE


@topics.command()
@as_json
@with_settings
def apply(settings: Settings, is_json: bool) -> int:
    """Create what is missing, add lane partitions, set properties.

    Never takes anything away and never changes the number of recipient partitions. May be called again at any time,
    also by several at once.

    \b
    Example:
      wapipe topics apply
    """
    changes = differences(settings)
    if changes:
        try:
            make(settings, changes)
        except TopicsWrong:
            # Somebody else may have made the same changes just now: what counts is how it is.
            if differences(settings):
                raise
        _await_in_order(settings)
        note_layout(settings, changes, shell_user().name)
    _show(settings, changes, is_json, is_plan=False)
    if changes and not is_json:
        line(("done", "good"), f"{len(changes)} changes made; all topics are as the pipeline needs them")
    return EXIT_DONE


def _await_in_order(settings: Settings) -> None:
    """Wait until the broker shows the changes, so that a role that starts next finds them."""
    give_up_s = steady_s() + SETTLE_TIMEOUT_S
    while left := differences(settings):
        if steady_s() > give_up_s:
            names = ", ".join(dict.fromkeys(change.topic for change in left))
            raise TopicsWrong(f"the broker took the changes but does not show them yet: {names}; run it again")
        time.sleep(SETTLE_EVERY_S)


topics.add_command(acls)
topics.add_command(scale)
