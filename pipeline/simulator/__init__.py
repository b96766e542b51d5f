"""An API to try it all against: limits, faults, webhooks and a ledger of every request, over real sockets."""
