"""The throttle room: when may a message go?

Pure rules over plain numbers. Whoever owns a lane asks them on its event loop, passes the reading of a clock
that never steps (seconds, ≥ 0), and is the only one to touch their state; nothing here blocks, sleeps or reads a
clock.

- `bucket`: the number's rate and burst, and what a new owner of a lane may start with;
- `pair`: one recipient's share of one number (cloud: one message per 6 s, burst 45);
- `halt`: after a 429 or 503: wait, probe, come back at half, learn a lower true limit;
- `priority`: which of urgent, normal and bulk goes next.
"""
