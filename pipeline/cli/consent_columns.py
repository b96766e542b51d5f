"""Which column of a file is which field of a consent-update. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import click

COLUMNS = (
    "recipient", "business", "categories", "purposes", "at", "expires_at", "method", "source", "text", "reference",
)  # fmt: skip
KNOWN = frozenset((*COLUMNS, "action"))


class Columns(NamedTuple):
    """How a file's columns are read.

    Attributes:
        names: Our column by the file's name of it, in lower case.
        defaults: Value by our column, for lines that have none.
        ignores_unknown: Whether other columns are passed over instead of refused.
    """

    names: Mapping[str, str] = {}
    defaults: Mapping[str, str] = {}
    ignores_unknown: bool = False

    def ours(self, name: str) -> str | None:
        """Our name of a file's column; None: it is passed over."""
        plain = name.strip().lower()
        # A name that another column was mapped to is free: `--map recipient=phone` leaves a column recipient unused.
        mine = self.names.get(plain) or (plain if plain not in self.names.values() else None)
        return None if mine is None or (self.ignores_unknown and mine not in KNOWN) else mine

    def read(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a JSON line under our names, defaults filled in."""
        named = {mine: value for name, value in line.items() if (mine := self.ours(name)) is not None}
        return self.filled(named)

    def filled(self, named: dict[str, Any]) -> dict[str, Any]:
        """The same with defaults where a value is missing."""
        for name, value in self.defaults.items():
            if named.get(name) in (None, "", []):
                named[name] = value
        return named


AS_THEY_ARE = Columns()


def columns_of(mapped: Iterable[str], defaults: Iterable[str], *, ignores_unknown: bool) -> Columns:
    """Read `--map` and `--default`.

    Raises:
        UsageError: not COLUMN=…, a column that there is not, or one given twice.
    """
    names = _pairs("--map", mapped, KNOWN)
    by_file = {theirs.strip().lower(): mine for mine, theirs in names.items()}
    if len(by_file) < len(names):
        raise click.UsageError("--map: two columns are taken from the same one")
    return Columns(by_file, _pairs("--default", defaults, KNOWN), ignores_unknown)


def _pairs(option: str, texts: Iterable[str], known: Collection[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip().lower()
        if not sign or not value.strip() or name not in known:
            raise click.UsageError(f"{option} {text}: write COLUMN=…, with one of {', '.join(sorted(known))}")
        if name in pairs:
            raise click.UsageError(f"{option} {name}: given twice")
        pairs[name] = value.strip()
    return pairs
