"""What Meta approved, as the pipeline knows it."""

from __future__ import annotations

from pipeline.operations.account import account_states
from pipeline.operations.reading import Reader
from pipeline.whatsapp.template_registry import TemplateRegistry


def templates_of(reader: Reader) -> TemplateRegistry:
    """What `account-state` says of templates now; blocks until its end is read."""
    registry = TemplateRegistry()
    for key, value in account_states(reader).items():
        registry.put(key, value)
    return registry
