"""The error that all parts raise for unusable input, and how a program ends that meets an error.

Imports only the standard library.
"""

import contextlib
import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

UNUSABLE_INPUT, UNEXPECTED = 2, 70
"""Exit codes: of an error that names its remedy, and of a fault of the program (EX_SOFTWARE)."""


class DistillationError(ValueError):
    """Unusable input. The message names the field, the rule, the value found and the remedy."""


def one_line(message: object, program: str = "weightdistill") -> str:
    """Return an error's message as the line that a program prints."""
    return f"{program}: error: {' '.join(str(message).split())}"


@contextlib.contextmanager
def reported(program: str = "weightdistill") -> Iterator[None]:
    """Within the block, end the program with one line on standard error instead of a traceback.

    A DistillationError ends it with exit code 2, and so does a full disk for standard output. Any other exception is a
    fault of the program: its traceback goes to a log in the working folder, or else in the system's folder of temporary
    files, and the exit code is 70.

    Args:
        program: The name that the line begins with.

    Raises:
        SystemExit: There was an error.
    """
    try:
        yield
        sys.stdout.flush()
    except DistillationError as error:
        print(one_line(error, program), file=sys.stderr)
        sys.exit(UNUSABLE_INPUT)
    except BrokenPipeError:  # the reader of our output has seen enough
        _discard_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
            # That of a file is a DistillationError of who writes it.
            _discard_output()
            message = f"cannot write the output: {error.strerror}; check that the disk is not full"
            print(one_line(message, program), file=sys.stderr)
            sys.exit(UNUSABLE_INPUT)
        kind = type(error).__name__
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        print(
            one_line(f"unexpected {kind}: {reason}; please report this with the traceback in {_log()}", program),
            file=sys.stderr,
        )
        sys.exit(UNEXPECTED)


def _discard_output() -> None:
    """Let what standard output still holds go nowhere, or else flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _log() -> str:
    """Write the traceback of the exception that is being handled, and return where."""
    name = f"weightdistill-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (Path.cwd, lambda: Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            path = folder() / name
            path.write_text(traceback.format_exc(), encoding="utf-8")
            return str(path)
    traceback.print_exc()
    return "the lines above"
