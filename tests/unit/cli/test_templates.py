"""`wapipe templates`: what is printed and how it ends, over a registry and lists that a test made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.cli import template_sync, templates
from pipeline.cli.template_listing import Listing, ListingFailed, Source, sources_of
from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.operations.acts import Outgoing
from pipeline.whatsapp.template_listing import Listed
from pipeline.whatsapp.template_registry import TemplateRegistry
from tests.support.template_values import ACCOUNT, AT, BODY, DEFINED, KEY, SYNCED, definition, synced, told
from tests.unit.cli.conftest import Run

OTHER = "300000000000002"
PROMO = f"template:{ACCOUNT}/promo/de"
LISTED = Listed("order_shipped", "en_US", "APPROVED", None, "UTILITY", "GREEN", None, [BODY])


@pytest.fixture
def known(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> TemplateRegistry:
    """What stands on the topic; the configured number has an account."""
    text = settings_file.read_text().replace('business = "acme"', f'business = "acme"\naccount = "{ACCOUNT}"')
    settings_file.write_text(text)
    registry = TemplateRegistry()
    monkeypatch.setattr(templates, "registry_of", lambda _settings: registry)
    monkeypatch.setattr(template_sync, "registry_of", lambda _settings: registry)
    return registry


def filled(registry: TemplateRegistry) -> None:
    """A good template, and a paused one in marketing without a way out."""
    registry.put(SYNCED, synced(2))
    registry.put(DEFINED, definition())
    offer = definition({"type": "BODY", "text": "Autumn is here."}, category="MARKETING", quality="RED")
    registry.put(f"{PROMO}/definition", offer)
    registry.put(PROMO, told(status="PAUSED", status_at="2026-11-22T09:30:00.000Z", until="2099-11-22T12:30:00.000Z"))


def rows(text: str) -> list[list[str]]:
    """Cells of a printed table, without its head."""
    return [line.split() for line in text.splitlines()[1:]]


def test_list_shows_each_template_with_where_it_stands(run: Run, known: TemplateRegistry) -> None:
    """Account, name, language, category, status with its end, score, and when it changed last."""
    filled(known)
    result = run("templates", "list")
    assert result.exit_code == 0
    assert rows(result.stdout) == [
        [ACCOUNT, "order_shipped", "en_US", "utility", "APPROVED", "GREEN", "2026-11-22", "09:00:00"],
        [
            ACCOUNT, "promo", "de", "marketing", "PAUSED", "until", "2099-11-22", "12:30", "RED", "2026-11-22",
            "09:00:00",
        ],
    ]  # fmt: skip
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--name", "ord"], ["order_shipped"]), (["--status", "paused"], ["promo"]),
        (["--status", "unsendable"], ["promo"]), (["--category", "utility"], ["order_shipped"]),
        (["--lang", "de"], ["promo"]), (["--account", OTHER], []), (["--lang", "en-US"], ["order_shipped"]),
    ],
)  # fmt: skip
def test_list_filters(run: Run, known: TemplateRegistry, options: list[str], names: list[str]) -> None:
    """Each filter leaves what fits it; scripts get whole values."""
    filled(known)
    found = orjson.loads(run("templates", "list", "--json", *options).stdout)
    assert [one["name"] for one in found] == names


def test_list_for_scripts_holds_everything(run: Run, known: TemplateRegistry) -> None:
    """Texts, times and whether it may be sent."""
    filled(known)
    [one] = orjson.loads(run("templates", "list", "--json", "--name", "promo").stdout)
    assert (one["sendable"], one["until"], one["status"]) == (False, "2099-11-22T12:30:00.000Z", "PAUSED")
    assert one["components"] == [{"type": "BODY", "text": "Autumn is here."}]


def test_deleted_ones_are_shown_only_if_asked_for(run: Run, known: TemplateRegistry) -> None:
    """What is gone is out of the way, and can be found."""
    known.put(SYNCED, synced())
    known.put(DEFINED, definition(status="DELETED"))
    assert "no templates that fit" in run("templates", "list").stdout
    assert "DELETED" in run("templates", "list", "--status", "deleted").stdout


def test_an_account_that_was_never_synced_is_named(run: Run, known: TemplateRegistry) -> None:
    """An empty list says what to do; lint does not call it in order."""
    result = run("templates", "list")
    assert (result.exit_code, result.stdout) == (0, "no templates are known\n")
    assert f"account {ACCOUNT} was never synced: run `wapipe templates sync`" in result.stderr
    assert run("templates", "lint").exit_code == 65
    known.put(SYNCED, synced(0))
    assert run("templates", "list").stderr == ""


def test_lint_ends_with_65_and_what_to_do(run: Run, known: TemplateRegistry) -> None:
    """Findings as a table or as JSON; a filter for rules and names; 0 where there is nothing."""
    filled(known)
    result = run("templates", "lint")
    assert result.exit_code == 65
    assert [row[:2] for row in rows(result.stdout)] == [["promo/de", "no_way_out"], ["promo/de", "not_approved"]]
    found = orjson.loads(run("templates", "lint", "--json", "--rule", "no_way_out").stdout)
    assert [(one["template"], one["account"]) for one in found] == [("promo/de", ACCOUNT)]
    assert "policy.opt_out_payloads" in found[0]["remedy"]
    result = run("templates", "lint", "--name", "order")
    assert (result.exit_code, result.stdout) == (0, "in order 2 templates looked at\n")


def test_lint_knows_the_ways_out_of_the_settings(run: Run, known: TemplateRegistry, settings_file: Path) -> None:
    """A reply that the policy maps is a way out."""
    filled(known)
    known.put(PROMO, told(status="APPROVED", status_at="2026-11-22T09:30:00.000Z"))
    reply = {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "No more"}]}
    known.put(f"{PROMO}/definition", definition(BODY, reply, category="MARKETING", at=AT))
    assert run("templates", "lint").exit_code == 65
    mapped = '\n[policy.opt_out_payloads]\n"No more" = { category = "marketing" }\n'
    settings_file.write_text(settings_file.read_text() + mapped)
    assert run("templates", "lint").exit_code == 0


class Kafka:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write_all(self, _settings: Settings, records: list[Outgoing]) -> int:
        """Keep them."""
        self.written += [str(record.key) for record in records]
        return len(records)

    def write_one(self, _settings: Settings, record: Outgoing) -> None:
        """Keep it."""
        self.written.append(str(record.key))


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """Where a sync writes."""
    made = Kafka()
    monkeypatch.setattr(template_sync, "write_all", made.write_all)
    monkeypatch.setattr(template_sync, "write_one", made.write_one)
    return made


def lists(monkeypatch: pytest.MonkeyPatch, read: Callable[[Source], Listing]) -> None:
    """Let the API's lists be these."""

    async def reading(_self: Any, source: Source) -> Listing:
        return read(source)

    monkeypatch.setattr("pipeline.cli.template_listing.Lister.read", reading)


def test_sync_writes_all_and_then_that_it_is_all(
    run: Run, known: TemplateRegistry, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record that says a sync was complete comes last; what is new is named."""
    known.put(f"{KEY}x/definition", definition())
    lists(monkeypatch, lambda source: Listing(source, 1_795_300_000_000, [(LISTED, 1_795_300_000_000)], 1, 1))
    result = run("templates", "sync")
    assert result.exit_code == 0
    assert kafka.written == [DEFINED, SYNCED]
    assert rows(result.stdout)[0][:7] == [ACCOUNT, "200000000000001", "1", "1", "0", "0", "1"]
    assert f"new in {ACCOUNT}: order_shipped/en_US" in result.stdout
    assert "1 entries of the list cannot be read" in result.stderr
    [told_of] = orjson.loads(run("templates", "sync", "--json").stdout)
    assert (told_of["account"], told_of["new"], told_of["error"]) == (ACCOUNT, ["order_shipped/en_US"], None)


@pytest.mark.parametrize("code", [65, 75, 78])
def test_an_account_that_fails_does_not_stop_the_others(
    run: Run, known: TemplateRegistry, kafka: Kafka, settings_file: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Its error is shown, the command ends with its code, and nothing is written for it."""
    assert len(known) == 0
    text = settings_file.read_text()
    token = settings_file.with_name("token")
    settings_file.write_text(
        f'{text}partitions = [0]\n[numbers.2]\nbusiness = "b"\naccount = "{OTHER}"\nprofile = "cloud"\n'
        f'partitions = [1]\nbase_url = "https://graph.example/v24.0"\ntoken_file = "{token}"\n'
    )

    def read(source: Source) -> Listing:
        if source.account == ACCOUNT:
            raise ListingFailed(code, "it says no")
        return Listing(source, 1_795_300_000_000)

    lists(monkeypatch, read)
    result = run("templates", "sync")
    assert result.exit_code == code
    assert "it says no" in result.stdout
    assert kafka.written == [f"account:{OTHER}/templates"]
    assert run("templates", "sync", "--account", OTHER).exit_code == 0


def test_the_best_number_of_an_account_is_asked() -> None:
    """Cloud before 360dialog before v1; an account that is not there is a mistake that is named."""
    own = {"business": "acme", "token_env": "TOKEN", "base_url": "https://api.invalid"}
    profiles = {"1": ("v1", "A"), "2": ("cloud", "A"), "3": ("360dialog", "B"), "4": ("v1", "B"), "5": ("cloud", "")}
    numbers = {
        number: {**own, "profile": profile, "account": account, "partitions": [int(number)]}
        for number, (profile, account) in profiles.items()
    }
    settings = Settings(numbers=numbers)
    assert [(one.account, one.number) for one in sources_of(settings)] == [("A", "2"), ("B", "3")]
    assert [one.number for one in sources_of(settings, "B")] == ["3"]
    with pytest.raises(ConfigError, match="no account C; configured: A, B"):
        sources_of(settings, "C")
    with pytest.raises(ConfigError, match="none is set"):
        sources_of(Settings(numbers={"5": numbers["5"]}))


def test_a_number_without_an_account_is_named(run: Run, settings_file: Path) -> None:
    """Its templates cannot be known: exit 78, and the setting that is missing."""
    assert "account" not in settings_file.read_text()
    result = run("templates", "sync")
    assert result.exit_code == 78
    assert "numbers.ID.account" in result.stderr
