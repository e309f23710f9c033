"""Writes files whole or not at all, and reads text files. Imports only the standard library, and YAML to read YAML."""

import codecs
import contextlib
import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import socket
import tempfile
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from weightdistill.errors import DistillationError

_BLOCK = 2**16
_GZIP = b"\x1f\x8b"
_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_YAML_NODES = 10**6
_SMALL = 2**16
"""Bytes that a disk must have room for."""
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_TEMPORARY = re.compile(rf"\..*\.{_HOST}-[0-9a-f]{{12}}\.tmp")


@contextlib.contextmanager
def writing(path: str | Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path next to `path`. Rename it to `path` when the block ends; remove it if the block fails.

    Args:
        path: The file to write. Where it is a symbolic link, the link stays, and the file behind it is replaced.
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
    path = Path(os.path.realpath(path))
    with _temporary_beside(path) as unique:
        temporary = temporary or unique
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            named = {str(name) for name in (error.filename, error.filename2) if name is not None}  # copying names two
            if str(temporary) not in named and (named or error.errno not in _WRITE_ERRORS):
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


@contextlib.contextmanager
def reading(path: str | Path, remedy: str = "give the path of a text file") -> Iterator[BinaryIO]:
    """Open a file for reading, and decompress it if it is gzipped, whatever its name.

    Args:
        path: The file.
        remedy: What the error advises.

    Raises:
        DistillationError: The file cannot be opened, or the block cannot read or decompress it to its end.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if path.suffix == ".gz" or file.peek(2).startswith(_GZIP):
                with gzip.open(file) as content:
                    yield content  # type: ignore[misc]  # a GzipFile is a binary file in all but its type
            else:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        if getattr(error, "filename", None) not in (None, str(path)):
            raise  # of another file that the block uses
        reason = getattr(error, "strerror", None) or error
        raise DistillationError(f"{path} cannot be read: {reason}; {remedy}") from error


def read_bytes(path: str | Path, remedy: str = "give the path of a text file") -> bytes:
    """Read a file, gzipped or not, see `reading`."""
    with reading(path, remedy) as file:
        return file.read()


def decode(
    data: bytes, name: str | Path, encoding: str = "utf-8", first: int = 1, remedy: str = "convert the file first"
) -> str:
    """Decode text.

    Args:
        data: The bytes of one or several lines. A byte order mark at the beginning of a file in UTF-8 is dropped.
        name: Name of the file for errors.
        encoding: Encoding by its name in Python.
        first: Number of the first line in the file.
        remedy: What the error advises.

    Raises:
        DistillationError: Python does not know the encoding, or a line is not in it or holds a NUL character; the
            message names the line.
    """
    is_utf8 = encoding.lower() in ("utf-8", "utf8")
    try:
        text = data.decode("utf-8-sig" if is_utf8 and first == 1 else encoding)
        if not is_utf8:
            text.encode()  # some encodings, such as UTF-7, can hold what is no character
    except (UnicodeError, LookupError) as error:
        raise _cannot_decode(name, encoding, error, first, remedy) from error
    if (start := text.find("\0")) >= 0:
        line = first + text.count("\n", 0, start)
        raise DistillationError(
            f"{name}: line {line} holds a NUL character, as UTF-16 read as {encoding.upper()} does; convert the file "
            "to UTF-8, or remove the character"
        )
    return text


def decode_blocks(file: BinaryIO, name: str | Path, encoding: str, remedy: str) -> Iterator[str]:
    """Decode text block by block, where the whole may not fit into main memory. See `decode`."""
    line = 1
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)  # refuses what is no encoding of text, such as hex
        decoder = codecs.getincrementaldecoder(encoding)()
        while block := file.read(_BLOCK):
            text = decoder.decode(block)
            yield text
            line += text.count("\n")
        yield decoder.decode(b"", final=True)
    except (UnicodeError, LookupError) as error:
        raise _cannot_decode(name, encoding, error, line, remedy) from error


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a UTF-8 text file, which may be gzipped, see `split_lines`.

    Raises:
        DistillationError: The file is missing, unreadable, empty or not UTF-8.
    """
    return split_lines(read_bytes(path), path)


def split_lines(data: bytes, name: str | Path) -> list[str]:
    """Decode the lines of a UTF-8 text file. Only a line feed ends a line; a carriage return before it is dropped.

    Args:
        data: The bytes of the file.
        name: Its name for errors.

    Raises:
        DistillationError: The file is empty or not UTF-8.
    """
    text = decode(data, name)
    if not text.strip():
        raise DistillationError(f"{name} is empty; it must have at least one line of text")
    # Not splitlines(): it would also break lines at characters such as U+2028, and the sides would no longer align.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def decode_lines(lines: Iterable[bytes], name: str | Path, first: int = 1) -> Iterator[str]:
    """Decode lines of UTF-8, and drop the line feed, and a carriage return before it, that end them.

    Args:
        lines: The lines, as a binary file gives them: only a line feed ends a line.
        name: Name of the file for errors.
        first: Number of the first line.

    Raises:
        DistillationError: A line is not UTF-8.
    """
    for number, line in enumerate(lines, start=first):
        yield decode(line, name, first=number).removesuffix("\n").removesuffix("\r")


def read_json(path: str | Path, remedy: str = "make the file again") -> Any:
    """Read a value from a JSON file.

    Args:
        path: The file.
        remedy: What the error advises.

    Raises:
        DistillationError: The file cannot be read, or is not JSON in UTF-8.
    """
    return parse_json(decode(read_bytes(path, remedy), path, remedy=remedy), path, remedy)


def parse_json(text: str, name: str | Path, remedy: str) -> Any:
    """Parse JSON.

    Args:
        text: The JSON.
        name: Name of the file for errors.
        remedy: What the error advises.

    Raises:
        DistillationError: The text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DistillationError(f"{name} is damaged or is not JSON: {error}; {remedy}") from error


def read_yaml(path: str | Path, remedy: str) -> Any:
    """Read a value from a YAML file.

    Args:
        path: The file.
        remedy: What the error advises.

    Raises:
        DistillationError: The file cannot be read, is not YAML in UTF-8, is nested too deeply, or stands by its aliases
            for more than _YAML_NODES values.
    """
    import yaml

    text = decode(read_bytes(path, remedy), path, remedy=remedy)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if (size := _expanded(node, {})) > _YAML_NODES:
            raise DistillationError(
                f"{path} must stand for at most {_YAML_NODES:,} values, but its aliases make {size:,}; {remedy}"
            )
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DistillationError):
            raise
        raise DistillationError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}; {remedy}") from error


def first_line(text: str, *words: str) -> str:
    """Return the first line that contains one of the words, or the first line if none does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in lines if any(word in line for word in words)), lines[0])


def _require_file(path: Path) -> None:
    """Refuse to replace anything but a file: a rename would replace /dev/null, too, and the link /dev/stdout."""
    place = path.absolute()
    while place.is_symlink() and not place.is_relative_to("/proc"):
        if place.is_relative_to("/dev"):
            raise OSError(f"{path} is a device, not a file")
        place = place.parent / place.readlink()
    if place.is_relative_to("/proc") or (place.exists() and not place.is_file()):
        raise OSError(f"{path} is a {'folder' if place.is_dir() else 'device'}, not a file")


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
        # A name may have 255 bytes, and a character four.
        yield path.with_name(f".{path.name[:50]}.{_HOST}-{uuid.uuid4().hex[:12]}.tmp")
    finally:
        os.close(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _expanded(node: Any, sizes: dict[int, int]) -> int:
    """Count the values that a YAML node stands for, those of its aliases each time.

    Args:
        node: The node; a key and its value are a pair of nodes.
        sizes: Of the nodes counted so far, each by its identity.
    """
    if id(node) not in sizes:
        parts = getattr(node, "value", node)
        sizes[id(node)] = 1 + sum(_expanded(part, sizes) for part in parts) if isinstance(parts, list | tuple) else 1
    return sizes[id(node)]


def _cannot_decode(
    name: str | Path, encoding: str, error: UnicodeError | LookupError, first: int, remedy: str
) -> DistillationError:
    if isinstance(error, LookupError):
        return DistillationError(
            f"{name}: encoding must be one that Python knows, but is {encoding!r}; e.g. utf-8 or gb18030"
        )
    line = first + (error.object.count(b"\n", 0, error.start) if isinstance(error, UnicodeDecodeError) else 0)
    return DistillationError(f"{name}: line {line} is not {encoding.upper()}; {remedy}")


def _cannot_write(path: Path, error: OSError) -> DistillationError:
    return DistillationError(
        f"cannot write {path}: {first_line(error.strerror or str(error))}; check that the folder is writable "
        "and the disk not full"
    )
