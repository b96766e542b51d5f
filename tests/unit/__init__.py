"""Unit tests: mirror of `pipeline/`, no sockets, a few seconds in all."""
