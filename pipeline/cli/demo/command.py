"""`wapipe demo`: starts everything, runs the campaign, prints the books, ends everything.

Runs on the main thread; the campaign itself in an event loop on it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click

from pipeline.cli import local_plan as plan
from pipeline.cli.app import load_settings
from pipeline.cli.demo import campaign as campaigns
from pipeline.cli.demo.books import Books, read_books
from pipeline.cli.demo.drive import Drive
from pipeline.cli.demo.judge import Verdict, judge
from pipeline.cli.demo.summary import show_summary
from pipeline.cli.demo.view import View
from pipeline.cli.local import Local, Shape
from pipeline.cli.main import EXIT_INTERRUPTED
from pipeline.cli.output import line, note
from pipeline.cli.stopping import Stopped, StopSignals, stop_signals
from pipeline.cli.up import named_config_file
from pipeline.clock import steady_s, unix_ms
from pipeline.config import (
    ConsoleSettings,
    HttpSettings,
    IngressSettings,
    KafkaSettings,
    PolicySettings,
    SenderSettings,
    Settings,
)
from pipeline.embedded.locks import FileLock
from pipeline.errors import EXIT_CRASHED, EXIT_DONE, ConfigError
from pipeline.whatsapp.profiles import default_limit

SHAPE = Shape({"gate": 2, "sender": 2, "ingress": 1}, ("--latency-ms", "20", "--pair-limit"), stop_timeout_s=3.0)
STAYING = replace(SHAPE, counts={**SHAPE.counts, "console": 1})
POLL_S = 0.5
FOREIGN_PREFIX = "wapipe-demo-"
SEND = "send --from {number} --to {person} --category utility --template order_shipped --lang en_US --param 4711 --wait"
_PERSON = "15550109999"
_EVIDENCE = '--method checkbox --source https://shop.example/checkout --text "Send me order updates"'
COMMANDS_AFTERWARDS = (
    "up",
    f"consent grant {_PERSON} --category utility {_EVIDENCE}",
    SEND.format(number=plan.V1_NUMBER, person=_PERSON),
)
SINCE_MARGIN_MS = 60_000  # the broker's clock may be another host's


@click.command()
@click.option("--stay", is_flag=True, help="Leave everything running afterwards, until Ctrl-C.")
@click.option(
    "--messages",
    type=click.IntRange(campaigns.MESSAGES_MIN, campaigns.MESSAGES_MAX),
    default=campaigns.MESSAGES_DEFAULT,
    show_default=True,
    help="Requests to write, all kinds together.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Start of every random choice.")
@click.pass_context
def demo(ctx: click.Context, stay: bool, messages: int, seed: int) -> int:
    """Run a campaign with faults on this machine, and count everything.

    Starts a broker (unless kafka.bootstrap_servers is set: then all topics get the prefix `wapipe-demo-`), a simulated
    API, two gates, two senders and an ingress. Numbers of the settings are never used. Exits 1 if anything does not
    add up. Ctrl-C ends everything at any time.

    \b
    Examples:
      wapipe demo
      wapipe demo --stay
    """
    base = load_settings(ctx)
    has_broker = plan.is_broker_configured(named_config_file(ctx), os.environ)
    folder = base.storage.data_dir / "demo"
    with stop_signals() as signals:
        try:
            clear_folder(folder)
            shape = STAYING if stay else SHAPE
            with Local(demo_settings(base, has_broker), folder, has_broker, shape, _say, signals) as local:
                run = run_campaign(local, messages, seed)
                show_next(local, run, is_staying=stay)
                if stay:
                    _stay(local, signals)
                return EXIT_DONE if run.verdict.is_good else EXIT_CRASHED
        except Stopped:
            note("ended")
            return EXIT_INTERRUPTED


def demo_settings(base: Settings, has_broker: bool) -> Settings:
    """Settings of the demo: of the user's, only where Kafka is and where local state goes."""
    kafka = base.kafka.model_copy(update={"topic_prefix": FOREIGN_PREFIX}) if has_broker else KafkaSettings()
    settings: Settings = base.model_copy(update={
        "kafka": kafka, "numbers": {}, "policy": PolicySettings(), "sender": SenderSettings(),
        "ingress": IngressSettings(), "console": ConsoleSettings(), "http": HttpSettings(),
    })  # fmt: skip
    return settings


def clear_folder(folder: Path) -> None:
    """Forget the last run, so that this one is about itself only; not while that one still runs.

    Raises:
        ConfigError: it does.
    """
    lock = FileLock(folder / "lock")
    if not lock.acquire(0):
        raise ConfigError(f"{folder}: a `wapipe demo` runs there; end that one first")
    try:
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class Run:
    """A campaign that is over."""

    made: campaigns.Campaign
    books: Books
    verdict: Verdict


def run_campaign(local: Local, messages: int, seed: int) -> Run:
    """Write a campaign, follow it to its end, read the books and print them."""
    began_ms, began_s = unix_ms(), steady_s()
    made = campaigns.Builder(began_ms // 1000, messages, seed, began_ms).build()
    since_ms = began_ms - SINCE_MARGIN_MS
    with View(limits_of(local.settings)) as view:
        drive = Drive(local, made, view)
        is_over = asyncio.run(drive.run(since_ms))
    if not is_over:
        note("the campaign did not end in time: what follows is how far it came", "bad")
    stats, ledger = local.simulator_stats(), local.simulator_ledger()
    books = read_books(local.settings, made.tag, made.people, since_ms, stats, ledger, drive.spelled)
    verdict = judge(books, list(made.requests))
    show_summary(verdict, limits_of(local.settings), steady_s() - began_s)
    return Run(made, books, verdict)


def limits_of(settings: Settings) -> Mapping[str, tuple[float, int]]:
    """(requests per second, burst) by number."""
    return {number: default_limit(own.profile, own.api_version) for number, own in settings.numbers.items()}


def show_next(local: Local, run: Run, *, is_staying: bool) -> None:
    """Three commands to copy."""
    line()
    if not run.verdict.is_good:
        line(("NOT GOOD", "bad"), f"the processes' logs are in {plan.shown(local.folder / 'logs')}")
    if is_staying:
        line(("Everything is still up; Ctrl-C ends it. Try next, in a second terminal:", "good"))
        commands = commands_while_up(run)
        settings = local.settings_file
    else:
        line("Everything is ended. Try next (the second and third in a second terminal, once the first is up):")
        commands = COMMANDS_AFTERWARDS
        settings = local.base.storage.data_dir / "up" / plan.CONFIG_NAME
    with_settings = f"{plan.called_as()} --config {plan.shown(settings)}"
    for command in commands:
        line(f"  {plan.called_as() if command == 'up' else with_settings} {command}")


def commands_while_up(run: Run) -> Sequence[str]:
    """Look at a message that met a throttle, at somebody who sent STOP, and send one more."""
    throttled = next((post.text for post in run.books.posts if post.fault == "429"), run.made.codes[0].request_id)
    person, number = run.made.stoppers[0]
    return (
        f"trace {throttled}",
        f"consent show {person}",
        SEND.format(number=number, person=run.made.codes[0].recipient),
    )


def _stay(local: Local, signals: StopSignals) -> None:
    with suppress(Stopped):
        while not signals.is_ending:
            local.poll()
            time.sleep(POLL_S)
    note("ending")


def _say(text: str) -> None:
    line((text, "dim"))
