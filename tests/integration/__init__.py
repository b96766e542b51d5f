"""Integration tests: a real Kafka, real processes, real sockets."""
