"""What the WhatsApp API *is*, as data and pure functions: shapes, limits, codes, bodies, webhooks, signatures.

Enters: messages, answers, webhook bodies. Leaves: requests, outcomes, inbound events, opt-outs. Nothing here does I/O
but the HTTP client; every rule names the public page that it comes from. Read `answer.py` first, then `codes.py`.
"""
