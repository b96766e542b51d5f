"""Unit tests of the embedded broker's room."""
