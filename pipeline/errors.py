"""Every failure of the pipeline, in one tree.

PipelineError
├── ConfigError          a setting is wrong or missing; exit 78; names the key and what would be right
├── BrokerUnreachable    no answer from Kafka in time; exit 69
│   └── BrokerRefused    Kafka answers, and does not let us in: credentials, certificate; exit 69
├── TopicsWrong          a topic is missing or made differently; exit 78; names found, wanted, remedy
├── RecordError          this record can never be processed → dead letter
│   ├── DecodeError      not JSON, not UTF-8, too large, too deep
│   └── ContractError    JSON, but not the schema; carries the list of what is wrong
├── WrongRequest         what an operator asks for cannot be; exit 64; names it and what would be right
├── NotSent              a POST ended before a byte of it left → free to try again
├── OutcomeUnknown       the request left, no answer came → may have been taken
├── AssignmentLost       the partition is no longer ours: drop work, commit nothing
└── InvariantBroken      our own bug: log, exit non-zero, restart
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_DONE = 0
EXIT_CRASHED = 1
EXIT_USAGE = 64
EXIT_NEGATIVE = 65
EXIT_NO_BROKER = 69
EXIT_TIMED_OUT = 75
EXIT_CONFIG = 78


class PipelineError(Exception):
    """Root of all errors that the pipeline raises on purpose.

    Attributes:
        exit_code: What a command that ends with this error returns to the shell.
    """

    exit_code = EXIT_CRASHED


class ConfigError(PipelineError):
    """A setting is wrong or missing.

    Operator action: change the key that the message names to what it asks for, then start again.
    """

    exit_code = EXIT_CONFIG


class BrokerUnreachable(PipelineError):
    """Kafka did not answer within the time given.

    Operator action: check `kafka.bootstrap_servers`, the network and the broker; `wapipe broker` starts a local one.
    """

    exit_code = EXIT_NO_BROKER


class BrokerRefused(BrokerUnreachable):
    """Kafka answered that it does not let us in, or we do not trust its certificate; waiting does not help.

    Operator action: change the settings of `[kafka]` that the message names, or the user on the brokers.
    """


class TopicsWrong(PipelineError):
    """Topics are missing or were made with other properties than the pipeline needs.

    Operator action: run `wapipe topics plan`, then `wapipe topics apply`.
    """

    exit_code = EXIT_CONFIG


class RecordError(PipelineError):
    """This record can never be processed; it belongs into `dead-letter` with its original bytes.

    Attributes:
        code: One of the dead-letter codes of the contract, e.g. `not_json`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class DecodeError(RecordError):
    """The bytes are not a JSON object: not UTF-8, not JSON, too large, too deep."""


class ContractError(RecordError):
    """JSON, but not what the schema of this record asks for.

    Attributes:
        problems: One sentence each, `path: reason`.
    """

    def __init__(self, problems: Sequence[str], code: str = "contract") -> None:
        super().__init__(code, "; ".join(problems))
        self.problems = tuple(problems)


class WrongRequest(PipelineError):
    """What an operator asks for cannot be: there is no such number, campaign, record.

    Operator action: ask for what the message names.
    """

    exit_code = EXIT_USAGE


class NotSent(PipelineError):
    """A POST was given up before a byte of it left this process: it is free to be tried again.

    Attributes:
        reason: The check that stopped it, or `connect`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class OutcomeUnknown(PipelineError):
    """A request left, but no answer came: the API may have taken the message."""


class AssignmentLost(PipelineError):
    """The partition belongs to another process by now: nothing of it may be acted on or committed."""


class InvariantBroken(PipelineError):
    """A state that our own code must never reach: the process logs it, exits and is started anew."""
