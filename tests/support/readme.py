"""README's tables, made from the code: `python -m tests.support.readme` writes them into README.md.

A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; what is outside is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.cli.plan import paper
from pipeline.cli.settings_text import as_markdown
from pipeline.config import ENV_CONFIG
from pipeline.errors import EXIT_DONE
from pipeline.records.reasons import REASONS, TERMINAL, TYPES, reasons_of
from pipeline.sizing.costs import costs
from pipeline.sizing.limits import breaks
from pipeline.streams.topics import DAY_MS, TOPICS, Topic
from pipeline.whatsapp.stop_words import LANGUAGES

README = Path(__file__).parents[2] / "README.md"
_YEAR_DAYS = 365
_PARTITIONS = {"recipient": "R", "lane": "L", "single": "1"}


def reasons_table() -> str:
    """Every type of an outbound-event with its reasons."""
    lines = ["| type | ends it | reason | meaning | what to do | said by |", "|---|---|---|---|---|---|"]
    for kind in TYPES:
        end = "yes" if kind in TERMINAL else "no"
        names = reasons_of(kind)
        for name in names:
            reason = REASONS[name]
            lines.append(f"| `{kind}` | {end} | `{name}` | {reason.meaning} | {reason.remedy} | {reason.stage} |")
        lines += [] if names else [f"| `{kind}` | {end} | – | {_PLAIN[kind]} | – | {_PLAIN_STAGE[kind]} |"]
    return "\n".join(lines) + "\n"


_PLAIN = {"queued": "admitted, waits in a lane", "accepted": "the API took it (not: delivered)"}
_PLAIN_STAGE = {"queued": "gate", "accepted": "sender"}


def topics_table() -> str:
    """Every topic as `wapipe topics apply` makes it."""
    lines = ["| topic | key | partitions | policy | kept |", "|---|---|---|---|---|"]
    for topic in TOPICS:
        key = {"recipient": "recipient", "lane": "lane", "single": "one per aspect"}[topic.kind]
        lines.append(f"| `{topic.name}` | {key} | {_PARTITIONS[topic.kind]} | {topic.cleanup} | {_kept(topic)} |")
    return "\n".join(lines) + "\n"


def _kept(topic: Topic) -> str:
    if topic.retention_ms is None:
        return "newest per key"
    days = topic.retention_ms // DAY_MS
    return f"{days // _YEAR_DAYS} years" if days >= _YEAR_DAYS else f"{days} days"


def words_table() -> str:
    """Words that end and resume messages, by language."""
    lines = ["| language | STOP | START |", "|---|---|---|"]
    for name, words in LANGUAGES.items():
        lines.append(f"| `{name}` | {', '.join(words.stop)} | {', '.join(words.start)} |")
    return "\n".join(lines) + "\n"


def plan_example() -> str:
    """What `wapipe plan` prints for a small demand."""
    done = CliRunner().invoke(cli, EXAMPLE, env={ENV_CONFIG: None})
    if done.exit_code != EXIT_DONE:
        raise ValueError(f"wapipe {' '.join(EXAMPLE)}: exit {done.exit_code}: {done.output}")
    return f"```text\n{done.stdout}```\n"


def breaks_table() -> str:
    """In which order limits are met on the way to as many numbers as there are on paper."""
    lines = ["| numbers | what is full there | then |", "|---|---|---|"]
    for one in breaks(paper(), costs(), {}):
        then = one.limit.then if one.limit.stops else f"nothing stops; {one.limit.then}"
        lines.append(f"| {one.numbers:,} | {one.limit.name} | {then} |")
    return "\n".join(lines) + "\n"


EXAMPLE = ("plan", "--numbers", "3", "--rate", "80", "--messages-per-day", "2e6", "--recipients", "5e5")
TABLES: Mapping[str, Callable[[], str]] = {
    "topics": topics_table, "reasons": reasons_table, "settings": as_markdown, "words": words_table,
    "plan": plan_example, "breaks": breaks_table,
}  # fmt: skip


def _mark(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- begin {name} -->\n\n)(.*?)(?=\n<!-- end {name} -->)", re.DOTALL)


def section(text: str, name: str) -> str:
    """What stands between the marks of a table.

    Raises:
        ValueError: the marks are not there exactly once.
    """
    found = _mark(name).findall(text)
    if len(found) != 1:
        raise ValueError(f"README.md: the marks of {name} are there {len(found)} times")
    return str(found[0])


def renewed(text: str) -> str:
    """README with all tables as the code has them."""
    for name, make in TABLES.items():
        table = make()
        text = _mark(name).sub(lambda _found, table=table: table, text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
