"""Writes files whole or not at all, and reads text files. Imports only the standard library."""

import contextlib
import errno
import gzip
import hashlib
import json
import os
import tempfile
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from weightdistill.errors import DistillationError

_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextlib.contextmanager
def writing(path: str | Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path next to `path`. Rename it to `path` when the block ends; remove it if the block fails.

    Args:
        path: The file to write.
        temporary: The temporary path. By default its name is unique, also across hosts that share the folder. A fixed
            name is for a single writer: it overwrites what an earlier, killed run left there.

    Raises:
        DistillationError: The file could not be written. Other errors of the block pass through unchanged, such as
            that of an input file that cannot be read.
    """
    path = Path(path)
    temporary = temporary or path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        of_this_file = error.filename is None or str(error.filename) == str(temporary)
        if not of_this_file or (error.filename is None and error.errno not in _WRITE_ERRORS):
            raise
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all.

    Raises:
        DistillationError: The file could not be written.
    """
    with writing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def require_writable(path: str | Path) -> None:
    """Check that a file can be written at `path` before the work that produces it begins. Creates the folder.

    Raises:
        DistillationError: The file could not be written.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, not a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


def fingerprint(path: str | Path) -> str:
    """Compute the SHA-256 of a file, as 64 hexadecimal digits.

    Raises:
        DistillationError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise DistillationError(f"{path} cannot be read: {error.strerror}; give the path of a file") from error
    return digest.hexdigest()


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a UTF-8 text file.

    Only a line feed ends a line; a carriage return before it is dropped.

    Args:
        path: The file, gzipped if it ends in .gz.

    Raises:
        DistillationError: The file is missing, unreadable, empty or not UTF-8.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DistillationError(f"{path} cannot be read: {reason}; give the path of a text file") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DistillationError(f"{path}: line {line} is not UTF-8; convert the file first") from error
    if not text.strip():
        raise DistillationError(f"{path} is empty; it must hold one sentence per line")
    # Not splitlines(): it would also break lines at characters such as U+2028, and the sides would no longer align.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def decode_lines(lines: Iterable[bytes], name: str, first: int = 1) -> Iterator[str]:
    """Decode lines of UTF-8, and drop the line feed, and a carriage return before it, that end them.

    Args:
        lines: The lines, as a binary file gives them: only a line feed ends a line.
        name: Name of the file for errors.
        first: Number of the first line.

    Raises:
        DistillationError: A line is not UTF-8.
    """
    for number, line in enumerate(lines, start=first):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DistillationError(f"{name}: line {number} is not UTF-8; convert the file first") from error
        yield text.removesuffix("\n").removesuffix("\r")


def first_line(text: str, *words: str) -> str:
    """Return the first line that contains one of the words, or the first line if none does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in lines if any(word in line for word in words)), lines[0])


def _cannot_write(path: Path, error: OSError) -> DistillationError:
    return DistillationError(
        f"cannot write {path}: {first_line(error.strerror or str(error))}; check that the folder is writable "
        "and the disk not full"
    )
