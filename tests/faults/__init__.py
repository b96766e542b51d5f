"""Faults on a whole pipeline: three brokers, real processes, cut links, frozen workers; judged by ledger and topics."""
