"""Fuzzing of the WhatsApp room: generated answers, messages and webhooks, judged by what every input must keep."""
