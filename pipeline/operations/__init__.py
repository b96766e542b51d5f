"""What operators see and do, shared by the command line and the console: acts, and the state they act on.

Rules and acts are pure; `reading.py` and `writing.py` talk to Kafka and block. Nothing here prints or parses options.
"""
