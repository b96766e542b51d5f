"""Tests of the pipeline: unit (no sockets), property, contract, integration (real Kafka, real processes)."""
