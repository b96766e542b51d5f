"""Turns itself into another program that cannot outlive the process which started it.

Run as a script, `guard.py PARENT_PID PROGRAM ARGUMENT…`, by `processes.py`. It asks the kernel for a SIGKILL when the
parent ends, however that ends, and then becomes PROGRAM under the same pid. A small program in front is safe where code
between fork and exec is not: the parent has librdkafka's threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
EXIT_NOT_RUNNABLE = 127  # what a shell answers when it cannot run a program


def main(arguments: list[str]) -> int:
    """Bind this process to its parent's life and become the program.

    Args:
        arguments: The parent's pid, then the program and its arguments.

    Returns:
        Only if the program cannot be run: an exit code.
    """
    parent_pid, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        return EXIT_NOT_RUNNABLE  # The parent ended before the kernel knew what to do about it.
    # Python ignores SIGPIPE, and an ignored signal stays ignored in the program that follows.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell is what we want
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error.strerror}\n")
    return EXIT_NOT_RUNNABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
