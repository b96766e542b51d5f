"""Error codes of the Cloud API (and of 360dialog, which passes them through), one row each.

Data only. Meanings: Meta, "Error codes", in the copy of September 2026, unless a row names another source.
"""

from __future__ import annotations

from typing import Final

from pipeline.whatsapp.code_row import DAY_S, HOUR_S, CodeRow, Disposition, cloud

D = Disposition
_PYWA: Final = "pywa, errors.py (cross-check; not on Meta's page)"
_OPENAPI: Final = "Meta, OpenAPI v23"
_BSUID: Final = "Meta, business-scoped user IDs"
_DIRECT: Final = "Meta, Direct Send"
_PAUSING: Final = "Meta, error codes; template pausing (3 h, then 6 h)"

TEN_MINUTES_S: Final = 600.0

CLOUD_ROWS: tuple[CodeRow, ...] = (
    # The token and what it may do.
    cloud(0, D.AUTHENTICATE, "could not authenticate the app user; token expired or invalidated"),
    cloud(3, D.HALT, "capability or permission problem (comes as HTTP 500 all the same)"),
    cloud(10, D.HALT, "permission not granted or removed, or not eligible for the endpoint"),
    cloud(104, D.AUTHENTICATE, "token missing", source=_OPENAPI),
    cloud(190, D.AUTHENTICATE, "token expired"),
    cloud(200, D.HALT, "permission missing"),
    cloud(33, D.HALT, "the business number was deleted, or its id is wrong"),
    cloud(131005, D.HALT, "permission missing"),
    # The account and its number.
    cloud(368, D.HALT, "account restricted or disabled for a policy violation", scope="account"),
    # For everybody in that country; nothing here knows countries, so it is learnt person by person.
    cloud(130497, D.SUPPRESS, "the account may not message people in this country"),
    cloud(131031, D.HALT, "account locked, or its data could not be verified", scope="account"),
    cloud(131037, D.HALT, "a 555 number without an approved display name"),
    cloud(131042, D.HALT, "payment or eligibility problem", scope="account"),
    cloud(131044, D.HALT, "business eligibility or payment problem", scope="account", source=_PYWA),
    cloud(131045, D.HALT, "number registration or certificate error (comes as HTTP 500 all the same)"),
    # Meta limits templates only; which messages are concerned is not told, so the account waits as a whole.
    cloud(131064, D.HALT, "limited for misclassified templates; lifts after the enforcement", scope="account"),
    cloud(133000, D.HALT, "an earlier deregistration failed"),
    cloud(133005, D.HALT, "two-step PIN wrong"),
    cloud(133006, D.HALT, "the number must be verified first"),
    cloud(133008, D.HALT, "too many PIN guesses"),
    cloud(133009, D.HALT, "PIN guesses too fast"),
    cloud(133010, D.HALT, "number not registered"),
    cloud(133015, D.HALT, "number deleted a moment ago; wait five minutes before it is registered again"),
    cloud(133016, D.HALT, "too many attempts to register or deregister"),
    cloud(134011, D.HALT, "terms of payments not accepted"),
    # Too fast, overloaded, down. The app of 4 and 613 may serve several accounts; each learns it by its own answers.
    cloud(4, D.THROTTLE, "the app reached its API call limit", scope="account"),
    cloud(613, D.THROTTLE, "call rate exceeded (Graph, generic)", scope="account", source=_PYWA),
    cloud(80007, D.THROTTLE, "the account reached its rate limit", scope="account"),
    cloud(130429, D.THROTTLE, "throughput of the number reached"),
    cloud(131056, D.PAIR, "too many messages to this recipient in a short time; others are not concerned"),
    # Maintenance concerns every message of the number: they wait together and spend no attempts.
    cloud(131057, D.THROTTLE, "number in maintenance, e.g. up to a minute while its throughput is raised"),
    cloud(2494100, D.THROTTLE, "number in maintenance; try again in minutes"),
    cloud(1, D.RETRY, "invalid request or possible server error"),
    cloud(2, D.RETRY, "temporary: down or overloaded"),
    cloud(131000, D.RETRY, "unknown error; try again"),
    cloud(131016, D.RETRY, "service temporarily unavailable"),
    cloud(133004, D.RETRY, "server temporarily unavailable"),
    # The person.
    cloud(130403, D.SUPPRESS, "the business has blocked this person"),
    cloud(130472, D.REJECT, "not sent: the person is in an experiment on marketing messages"),
    cloud(131021, D.REJECT, "sender and recipient are the same"),
    cloud(131026, D.SUPPRESS, "undeliverable: not on WhatsApp, terms not accepted, or client too old"),
    cloud(131030, D.REJECT, "recipient not on the allowed list of a test number", source=_PYWA),
    cloud(131047, D.NEEDS_TEMPLATE, "more than 24 hours since the person's last message"),
    cloud(131048, D.PAUSE_MARKETING, "too many earlier messages were blocked or reported", delay_s=DAY_S),
    cloud(131049, D.RETRY_LATER, "withheld: marketing limit of this person", scope="recipient", delay_s=DAY_S),
    cloud(131050, D.STOP_MARKETING, "the person stopped marketing messages from this business"),
    cloud(131062, D.REJECT, "this kind of message needs a phone number, not a user id", source=_BSUID),
    cloud(137000, D.REVIEW, "identity key hash does not match", source=_PYWA),
    # The request.
    cloud(100, D.REJECT, "unsupported or misspelled parameter, or too long"),
    cloud(131008, D.REJECT, "required parameter missing"),
    cloud(131009, D.REJECT, "parameter value invalid"),
    cloud(131051, D.REJECT, "message type not supported"),
    cloud(131052, D.INBOUND_ONLY, "media of a received message could not be downloaded"),
    cloud(131053, D.REJECT, "media could not be uploaded"),
    cloud(131055, D.REJECT, "this endpoint takes marketing templates only"),
    cloud(131060, D.INBOUND_ONLY, "received message not available", source=_PYWA),
    # Utility and authentication still go, so the number is not halted; there is no other endpoint to turn to.
    cloud(131063, D.REJECT, "marketing templates are switched off on the Cloud API for this account"),
    # The same parameters once more meet the same error: no attempt is spent on it.
    cloud(135000, D.REJECT, "unknown error with the parameters of the request"),
    cloud(139200, D.REJECT, "Direct Send: request not allowed", source=_DIRECT),
    cloud(2388318, D.REJECT, "Direct Send: request not allowed", source=_DIRECT),
    cloud(2388330, D.REJECT, "Direct Send: request not allowed", source=_DIRECT),
    cloud(1752041, D.REJECT, "duplicate onboarding request"),
    # The template or flow.
    cloud(132000, D.REJECT, "number of parameters differs from the template's"),
    cloud(132001, D.TEMPLATE_UNUSABLE, "template missing in that language, or not approved"),
    cloud(132005, D.REJECT, "text with its parameters filled in is too long"),
    cloud(132007, D.TEMPLATE_UNUSABLE, "content violates a policy"),
    cloud(132012, D.REJECT, "format of a parameter differs from the template's"),
    cloud(132015, D.TEMPLATE_PAUSED, "template paused for low quality", delay_s=3 * HOUR_S, source=_PAUSING),
    cloud(132016, D.TEMPLATE_UNUSABLE, "template disabled for good"),
    cloud(132018, D.REJECT, "parameters of the template invalid"),
    cloud(132068, D.TEMPLATE_UNUSABLE, "flow blocked"),
    cloud(132069, D.TEMPLATE_PAUSED, "flow throttled: ten messages with it in the last hour", delay_s=HOUR_S),
    cloud(134100, D.REJECT, "this endpoint takes marketing templates only"),
    cloud(134101, D.TEMPLATE_PAUSED, "template still being synchronised", delay_s=TEN_MINUTES_S),
    cloud(134102, D.TEMPLATE_UNUSABLE, "template not available or not eligible (comes as HTTP 500 all the same)"),
)
