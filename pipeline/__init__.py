"""wapipe: WhatsApp messages from Kafka, with consent, within the limit, in order, once."""

__version__ = "0.1.0"
