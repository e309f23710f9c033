"""Errors of this project as one line on standard error under fairseq's commands.

These know nothing of DistillationError, and would bury its message below a traceback.
"""

import sys
from types import TracebackType

from weightdistill.errors import DistillationError, one_line

PREFIX = one_line("")
"""How the line begins."""

_NAME = f"\n{DistillationError.__module__}.{DistillationError.__qualname__}: "
_default_hook = sys.excepthook


def install() -> None:
    """From now on, end this process with one line instead of a traceback where a DistillationError is not caught.

    Also where it was raised in a process that fairseq started for one of several GPUs. All other errors keep their
    traceback. May be called more than once.
    """
    sys.excepthook = _print_error


def _print_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    message = str(error) if isinstance(error, DistillationError) else _message_of_child(error)
    if message is None:
        _default_hook(kind, error, trace)
    else:
        print(one_line(message), file=sys.stderr)


def _message_of_child(error: BaseException) -> str | None:
    """The message of a DistillationError that ended a child process; torch sends the parent the child's traceback."""
    if type(error).__name__ != "ProcessRaisedException":
        return None
    _, name, message = str(error).rpartition(_NAME)
    # Another error may have been raised while ours was handled; then that is the reason.
    return message if name and "\nTraceback (most recent call last):" not in message else None
