"""Writes files whole or not at all, and reads text files. Imports only the standard library.

    python -m weightdistill.files PROGRAM OPTION=OUTPUT... -- OPTION=INPUT...

is `require_separate` for the stages; PROGRAM is the name that an error begins with.
"""

import contextlib
import errno
import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weightdistill.errors import DistillationError, reported

Place = Path | Iterable[Path] | None
"""What an option names: a file or folder, several, or nothing."""

_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_SMALL = 2**16
"""Bytes that a disk must have room for."""
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_TEMPORARY = re.compile(rf"\..*\.{_HOST}-[0-9a-f]{{12}}\.tmp")


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
    try:
        _require_file(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    with _temporary_beside(path) as unique:
        temporary = temporary or unique
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
            _remove(temporary)


@contextlib.contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new folder next to `path`, in which what is to be there can be made. Remove it when the block ends.

    Args:
        path: The file or folder that is to be made.

    Raises:
        DistillationError: The folder could not be made.
    """
    path = Path(path)
    with _temporary_beside(path) as folder:
        try:
            folder.mkdir()
        except OSError as error:
            raise _cannot_write(path, error) from error
        try:
            yield folder
        finally:
            _remove(folder)


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
        _require_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(_SMALL))  # a full disk still takes empty files
    except OSError as error:
        raise _cannot_write(path, error) from error


def require_separate(outputs: Mapping[str, Place], inputs: Mapping[str, Place]) -> None:
    """Check, before any work, that no output would replace an input or another output.

    Args:
        outputs: What will be written, by the option that names it: a file, several, or a folder that is written anew.
        inputs: What will be read, by the option that names it.

    Raises:
        DistillationError: An input is an output, or lies in a folder that is written anew; or two outputs are the same
            file. Paths are compared after following symbolic links.
    """
    written: dict[Path, str] = {}
    for name, path in _named_paths(outputs):
        place = resolved(path)
        if place in written:
            both = name if name == written[place] else f"{written[place]} and {name}"
            raise DistillationError(f"{both} must name different files, but two are {path}; give another name")
        written[place] = name
    for name, path in _named_paths(inputs):
        place = resolved(path)
        if replaced := next((place for place in (place, *place.parents) if place in written), None):
            raise DistillationError(
                f"{written[replaced]} must not replace what is read, but would replace {path} ({name}); give another "
                "path"
            )


def separated_paths(text: str) -> list[Path]:
    """Split the paths that an option names, separated by commas."""
    return [Path(path.strip()) for path in text.split(",") if path.strip()]


def resolved(path: Path) -> Path:
    """Return the absolute path of a file or folder, which need not exist, without symbolic links.

    Raises:
        DistillationError: Its symbolic links form a loop.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError before Python 3.13
        raise DistillationError(f"{path} leads into a loop of symbolic links; remove one of them") from error


def _named_paths(places: Mapping[str, Place]) -> Iterator[tuple[str, Path]]:
    for name, place in places.items():
        for path in [place] if isinstance(place, Path) else place or ():
            yield name, path


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


def main(arguments: list[str]) -> None:
    """Check the places that a stage names. Wrong arguments print the usage, and end with exit code 1."""
    if "--" not in arguments or not all("=" in word or word == "--" for word in arguments):
        sys.exit(__doc__)
    middle = arguments.index("--")
    require_separate(_places(arguments[:middle]), _places(arguments[middle + 1 :]))


def _places(words: Sequence[str]) -> dict[str, list[Path]]:
    places: dict[str, list[Path]] = {}
    for name, _, path in (word.partition("=") for word in words):
        places.setdefault(name, []).append(Path(path))
    return places


def _require_file(path: Path) -> None:
    """Refuse to replace anything but a file; a rename would replace a device, such as /dev/null, too."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a {'folder' if path.is_dir() else 'device'}, not a file")


@contextlib.contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """Yield a new temporary path next to `path`. Remove those that killed processes left in its folder, and make it.

    All who write to a folder share a lock on it. Who has the lock alone knows that what lies there is of no living one
    on this host; the names tell the hosts apart, because a lock on a folder may not reach others.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with contextlib.suppress(OSError):  # another is writing, or the file system does not lock folders
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for entry in path.parent.iterdir():
                if _TEMPORARY.fullmatch(entry.name):
                    _remove(entry)
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield path.with_name(f".{path.name}.{_HOST}-{uuid.uuid4().hex[:12]}.tmp")
    finally:
        os.close(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _cannot_write(path: Path, error: OSError) -> DistillationError:
    return DistillationError(
        f"cannot write {path}: {first_line(error.strerror or str(error))}; check that the folder is writable "
        "and the disk not full"
    )


if __name__ == "__main__":
    with reported(sys.argv[1] if len(sys.argv) > 1 else "files"):
        main(sys.argv[2:])
