"""The tree of errors: what it draws is what there is, and each says how a command ends."""

from __future__ import annotations

import inspect
import re

import pytest

from pipeline import errors

CLASSES = {
    name: item
    for name, item in vars(errors).items()
    if inspect.isclass(item) and issubclass(item, errors.PipelineError)
}


def test_the_drawn_tree_is_the_real_one() -> None:
    """The tree at the top of the module names every error, under its parent, and no other."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^((?:│   )*)(├── |└── )?([A-Z]\w+)", line):
            depth = len(found[1]) // 4 + bool(found[2])
            del above[depth:]
            drawn[found[3]] = above[-1] if above else "Exception"
            above.append(found[3])
    drawn.pop("Every", None)
    assert drawn == {name: item.__bases__[0].__name__ for name, item in CLASSES.items()}


@pytest.mark.parametrize("name", CLASSES)
def test_errors_are_documented(name: str) -> None:
    """Every error says what it means; one that a command ends with tells the operator what to do."""
    item = CLASSES[name]
    assert item.__doc__
    if item.exit_code != errors.EXIT_CRASHED:
        assert "Operator action:" in item.__doc__


def test_exit_codes_are_the_contracts() -> None:
    """The shell sees 78 for settings and topics, 69 without a broker, 1 for what is a crash."""
    assert errors.ConfigError("x").exit_code == 78
    assert errors.TopicsWrong("x").exit_code == 78
    assert errors.BrokerUnreachable("x").exit_code == 69
    assert errors.InvariantBroken("x").exit_code == 1


def test_contract_error_lists_its_problems() -> None:
    """A ContractError keeps each problem, prints all, and has a dead-letter code."""
    error = errors.ContractError(["to: missing", "category: unknown"])
    assert error.problems == ("to: missing", "category: unknown")
    assert str(error) == "to: missing; category: unknown"
    assert error.code == "contract"
    assert errors.ContractError(["x"], "unsupported_schema").code == "unsupported_schema"


def test_not_sent_names_the_check_that_stopped_it() -> None:
    """NotSent carries the reason alone and prints the detail with it."""
    assert errors.NotSent("connect", "refused").reason == "connect"
    assert str(errors.NotSent("connect", "refused")) == "connect: refused"
    assert str(errors.NotSent("halt")) == "halt"
