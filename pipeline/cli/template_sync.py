"""A sync of templates: what the API lists is written to `account-state`, account by account.

Runs on the main thread; first all lists are read, in a loop of its own, then what they come to is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.cli.app import shell_user
from pipeline.cli.template_listing import Lister, Listing, ListingFailed, Source, Tell, open_session
from pipeline.cli.template_records import changes_of
from pipeline.clock import steady_s
from pipeline.config import Settings
from pipeline.operations.reading import open_reader
from pipeline.operations.templates import templates_of
from pipeline.operations.writing import write_all, write_one
from pipeline.whatsapp.template_registry import TemplateRegistry


@dataclass(frozen=True, slots=True)
class Result:
    """How the sync of one account went.

    Attributes:
        number: Through which its templates were read.
        error: Why nothing was written; None: it is complete.
        exit_code: 0 if it is complete.
        unreadable: Entries of the list that are no templates.
    """

    account: str
    number: str
    error: str | None = None
    exit_code: int = 0
    templates: int = 0
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unreadable: int = 0
    pages: int = 0
    took_ms: int = 0


def sync(settings: Settings, sources: Sequence[Source], tell: Tell = lambda _done, _total: None) -> list[Result]:
    """Read the templates of accounts and write what is known of them; one that fails does not stop the others.

    Args:
        tell: Called after each page with templates read and expected, of the account in hand.

    Raises:
        BrokerUnreachable: Kafka did not answer, or did not take all in time.
        TopicsWrong: there is no `account-state`.
    """
    registry = registry_of(settings)
    return [
        _written(settings, registry, source, outcome, took_ms)
        for source, (outcome, took_ms) in zip(sources, asyncio.run(_read_all(sources, tell)), strict=True)
    ]


def registry_of(settings: Settings) -> TemplateRegistry:
    """What `account-state` says of templates now; blocks until its end is read.

    Raises:
        BrokerUnreachable: no broker answered in time.
        TopicsWrong: there is no such topic.
    """
    with open_reader(settings) as reader:
        return templates_of(reader)


async def _read_all(sources: Sequence[Source], tell: Tell) -> list[tuple[Listing | ListingFailed, int]]:
    found: list[tuple[Listing | ListingFailed, int]] = []
    async with open_session() as session:
        lister = Lister(session, tell)
        for source in sources:
            began_s = steady_s()
            outcome: Listing | ListingFailed
            try:
                outcome = await lister.read(source)
            except ListingFailed as exc:
                outcome = exc
            found.append((outcome, int((steady_s() - began_s) * 1000)))
    return found


def _written(
    settings: Settings, registry: TemplateRegistry, source: Source, outcome: Listing | ListingFailed, took_ms: int
) -> Result:
    if isinstance(outcome, ListingFailed):
        return Result(source.account, source.number, str(outcome), outcome.exit_code, took_ms=took_ms)
    changes = changes_of(outcome, registry, f"cli/{shell_user().name}")
    # Step 1: all that was seen. Step 2: that this is all: who reads it knows that nothing is missing.
    write_all(settings, changes.records)
    if changes.synced is not None:
        write_one(settings, changes.synced)
    return Result(
        source.account, source.number, None, 0, changes.templates, changes.new, changes.changed, changes.gone,
        outcome.unreadable, outcome.pages, took_ms,
    )  # fmt: skip
