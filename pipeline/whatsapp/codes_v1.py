"""Error codes of the On-Premises shape (v1), one row each.

Data only. Names: the error list of the On-Premises API as re-published in great-detail/WhatsApp-Nodejs-SDK;
behaviour of 401/1005, 404/1006, 470, 471, 480 and 1026 as in nyaruka/courier's fixtures. Codes below 1000 come in
status webhooks only, never as the answer to a send.
"""

from __future__ import annotations

from typing import Final

from pipeline.whatsapp.code_row import DAY_S, HOUR_S, CodeRow, Disposition, v1

D = Disposition
_COURIER: Final = "On-Premises error list; nyaruka/courier"
_360DIALOG: Final = "On-Premises error list; 360dialog, error messages (On-Premises era)"

# The wait that courier keeps after a spam rate limit: a day and five minutes.
SPAM_PAUSE_S: Final = DAY_S + 300.0
# 360dialog asks for about ten minutes when the number is offline.
OFFLINE_S: Final = 600.0

V1_ROWS: tuple[CodeRow, ...] = (
    # In status webhooks.
    v1(400, D.REJECT, "media could not be downloaded: of a received message, or behind a link of ours"),
    v1(401, D.REJECT, "group does not exist"),
    v1(402, D.HALT, "payment or eligibility problem of the business", scope="account"),
    v1(408, D.RETRY, "pending too long, no longer valid"),
    v1(410, D.REJECT, "message expired"),
    v1(429, D.THROTTLE, "rate limit hit while sending"),
    v1(430, D.HALT, "certificate or registration problem"),
    v1(432, D.HALT, "certificate or registration problem"),
    v1(433, D.HALT, "certificate or registration problem"),
    v1(470, D.NEEDS_TEMPLATE, "more than 24 hours since the person's last message", source=_COURIER),
    v1(471, D.PAUSE_MARKETING, "too many earlier messages blocked", delay_s=SPAM_PAUSE_S, source=_COURIER),
    v1(472, D.REJECT, "the person is in an experiment"),
    v1(480, D.REVIEW, "the recipient's identity may have changed", source=_COURIER),
    v1(500, D.RETRY, "generic server error"),
    v1(501, D.REJECT, "the recipient's client does not support this message type"),
    # In answers.
    v1(1000, D.RETRY, "generic error"),
    v1(1001, D.REJECT, "message too long"),
    v1(1002, D.REJECT, "recipient type invalid"),
    v1(1004, D.REJECT, "resource exists already"),
    v1(1005, D.AUTHENTICATE, "access denied: token wrong or expired", source=_COURIER),
    # Clients since 2.39 need no contact check, and since 2.43 it finds everybody valid: none is made.
    v1(1006, D.CHECK_CONTACT, "resource not found, e.g. unknown contact", source=_COURIER),
    v1(1007, D.SUPPRESS, "recipient blocked"),
    v1(1008, D.REJECT, "required parameter missing"),
    v1(1009, D.REJECT, "parameter value invalid"),
    v1(1010, D.REJECT, "parameter not required"),
    # Not ready for anybody: one probe instead of every message.
    v1(1011, D.OVERLOAD, "service not ready"),
    v1(1013, D.SUPPRESS, "no WhatsApp account"),
    v1(1014, D.RETRY_LATER, "internal error; the number may be offline", delay_s=OFFLINE_S, source=_360DIALOG),
    v1(1015, D.THROTTLE, "too many requests"),
    v1(1016, D.OVERLOAD, "system overloaded, often because its callbacks are not answered", source=_360DIALOG),
    v1(1017, D.RETRY, "not the primary master"),
    v1(1018, D.RETRY, "not the primary coreapp"),
    v1(1021, D.HALT, "user of the login is wrong"),
    v1(1022, D.HALT, "webhook address not configured"),
    v1(1023, D.RETRY, "database error"),
    v1(1024, D.HALT, "the password must be changed first"),
    v1(1025, D.REJECT, "invalid request"),
    # Strictly this type of message only; clients that old take few others.
    v1(1026, D.SUPPRESS, "the recipient's client cannot take this message", source=_COURIER),
    v1(1028, D.REVIEW, "an identity change must be acknowledged first"),
    v1(1031, D.HALT, "sender's account locked for a policy violation", scope="account"),
    # Templates and interactive messages, in both places.
    v1(2000, D.REJECT, "number of parameters differs from the template's"),
    v1(2001, D.TEMPLATE_UNUSABLE, "template missing in that language, or not approved"),
    v1(2002, D.RETRY, "could not fetch the template"),
    v1(2003, D.TEMPLATE_UNUSABLE, "template pack missing"),
    v1(2004, D.REJECT, "parameter too long"),
    v1(2005, D.REJECT, "text with its parameters filled in is too long"),
    v1(2006, D.REJECT, "white space of a parameter violates the policy"),
    v1(2007, D.REJECT, "characters of a parameter violate the policy"),
    v1(2008, D.REJECT, "media format not supported"),
    v1(2009, D.REJECT, "required component missing"),
    v1(2010, D.REJECT, "address with its parameters filled in is invalid"),
    v1(2011, D.REJECT, "phone number invalid"),
    v1(2012, D.REJECT, "format of a parameter differs from the template's"),
    v1(2013, D.REJECT, "buttons not supported"),
    v1(2014, D.REJECT, "namespace empty"),
    v1(2015, D.REJECT, "wrong number of sections"),
    v1(2016, D.REJECT, "wrong number of rows"),
    v1(2017, D.REJECT, "characters violate the policy"),
    v1(2023, D.REJECT, "product list: wrong number of products or sections"),
    v1(2024, D.REJECT, "product list or catalog problem"),
    v1(2025, D.REJECT, "catalog missing"),
    v1(2026, D.REJECT, "catalog not linked"),
    v1(2027, D.REJECT, "products missing"),
    v1(2028, D.REJECT, "commerce compliance information missing"),
    v1(2029, D.REJECT, "commerce compliance information missing"),
    v1(2030, D.REJECT, "commerce compliance information missing"),
    v1(2036, D.REJECT, "structure of the header wrong"),
    v1(2050, D.REJECT, "commerce compliance information missing"),
    v1(2060, D.TEMPLATE_UNUSABLE, "template rejected"),
    v1(2061, D.TEMPLATE_PAUSED, "template paused", delay_s=3 * HOUR_S),
    v1(2062, D.TEMPLATE_UNUSABLE, "template disabled"),
    v1(2068, D.TEMPLATE_UNUSABLE, "flow blocked"),
    v1(2069, D.TEMPLATE_PAUSED, "flow throttled", delay_s=HOUR_S),
)
