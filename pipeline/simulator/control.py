"""What `POST /_simulator/control` understands: a closed model; anything else is a 400 that names the key."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from pipeline.simulator.settings import Closed, ForcedError, LiveSettings, SpellSettings


class Inbound(Closed):
    """A person writes to a number: goes out as a signed webhook at once.

    Attributes:
        sender: The person (`from` in JSON), digits.
        number: The number they write to.
        text: What they write, or the label of the button they press.
        button_payload: Payload of a quick-reply button; None = a plain text.
        name: Profile name.
        profile: Profile of the number; None = the one it has used so far, `cloud` if none.
    """

    sender: str = Field(alias="from", pattern=r"^[0-9]{1,20}$")
    number: str = Field(min_length=1, max_length=256)
    text: str = Field(min_length=1, max_length=4096)
    button_payload: str | None = Field(default=None, max_length=256)
    name: str = Field(default="Ada", max_length=256)
    profile: Literal["cloud", "360dialog", "v1"] | None = None


class ControlRequest(Closed):
    """One control request. Its parts are applied in this order, all or none.

    Attributes:
        reset: Forget ledger, buckets, counters and waiting webhooks first; spells of the settings start over.
        settings: Settings to change; those that are not named stay.
        force: Recipient → forced error, or null to lift it; others stay.
        clear_spells: End all spells.
        expire_tokens: Let all tokens that logins gave run out.
        spell: A spell to start, from now unless it says otherwise.
        inbound: A message from a person.
    """

    reset: bool = False
    settings: LiveSettings = LiveSettings()
    force: dict[str, ForcedError | None] = Field(default={}, max_length=100_000)
    clear_spells: bool = False
    expire_tokens: bool = False
    spell: SpellSettings | None = None
    inbound: Inbound | None = None


def changed(current: LiveSettings, request: ControlRequest) -> LiveSettings:
    """The settings in force after `request`."""
    named = {key: getattr(request.settings, key) for key in request.settings.model_fields_set}
    forced = dict(named.get("force", current.force))
    for recipient, error in request.force.items():
        if error is None:
            forced.pop(recipient, None)
        else:
            forced[recipient] = error
    return current.model_copy(update={**named, "force": forced})


def problems(error: ValidationError) -> list[str]:
    """One sentence for each thing that is wrong: `key: reason`."""
    return [
        f"{'.'.join(str(part) for part in found['loc']) or 'body'}: {found['msg']}"
        for found in error.errors(include_url=False, include_input=False)
    ]
