"""Templates as the API lists them, and the records of `account-state` that tell of them."""

from __future__ import annotations

from typing import Any

ACCOUNT = "300000000000001"
AT = "2026-11-22T09:00:00.000Z"
BODY: dict[str, Any] = {"type": "BODY", "text": "Order {{1}} is on its way."}
KEY = f"template:{ACCOUNT}/order_shipped/en_US"
DEFINED = f"{KEY}/definition"
SYNCED = f"account:{ACCOUNT}/templates"


def definition(*components: dict[str, Any], name: str = "order_shipped", **fields: Any) -> dict[str, Any]:
    """What a sync saw of a template: approved, utility, one parameter unless said otherwise."""
    return {
        "kind": "template", "id": f"{ACCOUNT}/{name}/en_US", "aspect": "definition", "status": "APPROVED",
        "reason": None, "category": "UTILITY", "quality": "GREEN", "parameter_format": None,
        "components": list(components) or [BODY], "changed_at": AT, "at": AT, "by": "cli/ada", **fields,
    }  # fmt: skip


def told(**fields: Any) -> dict[str, Any]:
    """What webhooks told of a template: nothing unless said otherwise."""
    return {
        "kind": "template", "id": f"{ACCOUNT}/order_shipped/en_US", "aspect": "template", "status": None,
        "reason": None, "until": None, "status_at": None, "category": None, "next_category": None,
        "next_category_at": None, "category_at": None, "quality": None, "quality_at": None, "components_at": None,
        "at": AT, "by": "ingress", **fields,
    }  # fmt: skip


def synced(templates: int = 1) -> dict[str, Any]:
    """A sync was complete."""
    return {
        "kind": "account", "id": ACCOUNT, "aspect": "templates", "templates": templates, "at": AT, "by": "cli/ada",
    }  # fmt: skip
